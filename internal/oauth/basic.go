// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBasic is the length in bytes of the longest Authorization header that ParseBasic reads.
const maxBasic = 4096

// A Basic is what an Authorization header of the Basic scheme holds.
type Basic struct {
	ID string
	// Secret is the client secret as RFC 6749 §2.3.1 wants it to be read. Raw is what stands there, which is the secret of
	// clients that skip the encoding. They differ only if there is "%" or "+" in Raw, which generated secrets never have; a
	// Raw that nobody has encoded (it has a broken escape) is Secret too.
	Secret, Raw string
}

// ParseBasic reads a client id and a client secret from the value of an Authorization header of the Basic scheme, as RFC 6749
// §2.3.1 wants it: base64 of two halves, each in the application/x-www-form-urlencoded form, with a colon between them. So "+"
// is a blank, and a colon in a client id is "%3A".
//
// present is false, and the rest is zero, if the header is absent or of another scheme; the scheme's letter case does not matter.
// Otherwise err says what is malformed: no or undecodable credentials, no colon, a broken percent escape in the client id, an
// empty one or one with control characters or invalid UTF-8, or more than 4096 bytes. Its text quotes nothing of the header. The
// secret may be empty, and may be any bytes.
func ParseBasic(header string) (b Basic, present bool, err error) {
	// RFC 9110 §11.1: "It uses a case-insensitive token to identify the authentication scheme".
	scheme, credentials, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return Basic{}, false, nil
	}
	if len(header) > maxBasic {
		return Basic{}, true, fmt.Errorf("basic credentials are longer than %d bytes", maxBasic)
	}
	b, err = decodeBasic(strings.Trim(credentials, " "))
	return b, true, err
}

// decodeBasic wraps no error of the decoders: theirs quote what they could not decode, which may be of the secret.
func decodeBasic(credentials string) (Basic, error) {
	// The decoder would skip line breaks.
	text, err := base64.StdEncoding.Strict().DecodeString(credentials)
	if err != nil || strings.ContainsAny(credentials, "\r\n") {
		return Basic{}, errors.New("basic credentials are not base64")
	}
	// RFC 7617 §2: "a user-id containing a colon character is invalid, as the first colon in a user-pass string
	// separates user-id and password from one another".
	first, raw, found := strings.Cut(string(text), ":")
	if !found {
		return Basic{}, errors.New("basic credentials have no colon")
	}
	id, err := url.QueryUnescape(first)
	if err != nil {
		return Basic{}, errors.New("client id in basic credentials is not form-urlencoded")
	}
	if id == "" || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return Basic{}, errors.New("client id in basic credentials is empty or has control characters or invalid UTF-8")
	}
	secret, err := url.QueryUnescape(raw)
	if err != nil {
		secret = raw
	}
	return Basic{id, secret, raw}, nil
}
