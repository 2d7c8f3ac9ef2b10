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

// ParseBasic reads a client id and a client secret from the value of an Authorization header of the Basic scheme, as RFC 6749
// §2.3.1 wants it: base64 of two halves, each in the application/x-www-form-urlencoded form, with a colon between them. So "+"
// is a blank, and a colon in a client id is "%3A". Clients that skip that encoding are understood as long as their
// credentials contain neither "%" nor "+", which generated ones never do.
//
// present is false, and the rest is zero, if the header is absent or of another scheme; the scheme's letter case does not matter.
// Otherwise err says what is malformed: no or undecodable credentials, no colon, a broken percent escape, an empty client
// id or one with control characters or invalid UTF-8, or more than 4096 bytes. Its text quotes nothing of the header. The
// secret may be empty, and may be any bytes.
func ParseBasic(header string) (id, secret string, present bool, err error) {
	// RFC 9110 §11.1: "It uses a case-insensitive token to identify the authentication scheme".
	scheme, credentials, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false, nil
	}
	if len(header) > maxBasic {
		return "", "", true, fmt.Errorf("basic credentials are longer than %d bytes", maxBasic)
	}
	id, secret, err = decodeBasic(strings.Trim(credentials, " "))
	return id, secret, true, err
}

// decodeBasic wraps no error of the decoders: theirs quote what they could not decode, which may be of the secret.
func decodeBasic(credentials string) (id, secret string, err error) {
	// The decoder would skip line breaks.
	text, err := base64.StdEncoding.Strict().DecodeString(credentials)
	if err != nil || strings.ContainsAny(credentials, "\r\n") {
		return "", "", errors.New("basic credentials are not base64")
	}
	// RFC 7617 §2: "a user-id containing a colon character is invalid, as the first colon in a user-pass string
	// separates user-id and password from one another".
	first, second, found := strings.Cut(string(text), ":")
	if !found {
		return "", "", errors.New("basic credentials have no colon")
	}
	id, err = url.QueryUnescape(first)
	if err != nil {
		return "", "", errors.New("client id in basic credentials is not form-urlencoded")
	}
	secret, err = url.QueryUnescape(second)
	if err != nil {
		return "", "", errors.New("client secret in basic credentials is not form-urlencoded")
	}
	if id == "" || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return "", "", errors.New("client id in basic credentials is empty or has control characters or invalid UTF-8")
	}
	return id, secret, nil
}
