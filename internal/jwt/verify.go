// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	strictjson "github.com/go-jose/go-jose/v4/json"
)

// MaxTokenLen is the longest compact token that [Verify] looks at, in bytes.
const MaxTokenLen = 16 << 10

// maxHeaderLen is the longest decoded header, in bytes.
const maxHeaderLen = 1 << 10

// Verify checks the signature of a compact JWS and returns its payload, which
// the caller owns. It says nothing about the claims: see [Unmarshal] and
// [Claims.CheckTime], and compare iss, sub and aud.
//
// The function keys finds the key by the token's kid, which is mandatory and
// the sender's choice: 1 to 256 printable ASCII characters, to be looked up,
// never to be used as a path or an address. It is called at most once.
//
// The header typ must be the media type typ, which keeps a token of one kind
// from being taken for another (RFC 8725 §3.11, RFC 9068 §4); letter case and
// a prefix "application/" make no difference.
func Verify(token, typ string, keys func(kid string) (PublicKey, bool)) (payload []byte, err error) {
	header, err := split(token)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	if got, _ := header["typ"].(string); !sameMediaType(got, typ) {
		return nil, invalid("typ is not the expected one")
	}
	kid, _ := header["kid"].(string)
	if checkID(kid) != nil {
		return nil, invalid("kid is missing or malformed")
	}
	key, ok := keys(kid)
	if !ok {
		return nil, invalid("unknown kid")
	}
	if key.check() != nil {
		return nil, invalid("key cannot verify")
	}
	return verifySignature(token, header, key)
}

// verifySignature checks the signature of a token with a key that has been
// checked, and returns the payload.
func verifySignature(token string, header map[string]any, key PublicKey) (payload []byte, err error) {
	// RFC 8725 §3.1: "each key MUST be used with exactly one algorithm, and
	// this MUST be checked when the cryptographic operation is performed."
	if alg, _ := header["alg"].(string); alg != key.Alg {
		return nil, invalid("alg is not the one of the key")
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(key.Alg)})
	if err != nil {
		return nil, invalid("not a compact JWS")
	}
	payload, err = jws.Verify(key.Key)
	if err != nil {
		return nil, invalid("signature does not verify")
	}
	return payload, nil
}

// split checks the outer form of a token and returns its header.
func split(token string) (header map[string]any, err error) {
	// The length comes first, since it bounds the work of all that follows.
	if len(token) > MaxTokenLen {
		return nil, invalid("too long")
	}
	if strings.Count(token, ".") != 2 {
		return nil, invalid("not three parts")
	}
	protected, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for _, part := range []string{payload, signature} {
		if b, err := decode64(part); err != nil || len(b) == 0 {
			return nil, invalid("payload or signature is empty or not base64url")
		}
	}
	data, err := decode64(protected)
	if err != nil || len(data) > maxHeaderLen || !utf8.Valid(data) {
		return nil, invalid("header is too long or malformed")
	}
	// RFC 7515 §4: "The Header Parameter names within the JOSE Header MUST be
	// unique". This decoder refuses repeated members at any depth, and
	// compares names exactly.
	if err := strictjson.Unmarshal(data, &header); err != nil {
		return nil, invalid("header is not a JSON object with unique members")
	}
	return header, nil
}

// checkHeader refuses the members that no header of ours, or for us, has.
func checkHeader(header map[string]any) error {
	for _, name := range []string{
		// RFC 7515 §4.1.11: "If any of the listed extension Header Parameters
		// are not understood and supported by the recipient, then the JWS is
		// invalid." None is supported, b64 (RFC 7797) included.
		"crit", "b64",
		// Keys, and addresses of keys, that the sender would like us to use.
		"jku", "jwk", "x5c", "x5u",
		// RFC 7516: encryption, password-based keys, compression.
		"enc", "epk", "p2c", "p2s", "zip",
	} {
		if _, ok := header[name]; ok {
			return invalid("header has " + name)
		}
	}
	return nil
}

// sameMediaType compares values of the typ header. RFC 7515 §4.1.9: "A
// recipient using the media type value MUST treat it as if "application/" were
// prepended to any "typ" value not containing a '/'."
func sameMediaType(a, b string) bool {
	return isMediaType(a) && isMediaType(b) && shortMediaType(a) == shortMediaType(b)
}

func shortMediaType(s string) string {
	s = strings.ToLower(s)
	if short, ok := strings.CutPrefix(s, "application/"); ok && !strings.Contains(short, "/") {
		return short
	}
	return s
}

// isMediaType reports whether s has only characters of media types (RFC 6838
// §4.2). All are ASCII, so that comparing without regard to case meets no
// letter that only folds to an ASCII one.
func isMediaType(s string) bool {
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.ContainsRune("!#$&-^_.+/", c):
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxIDLen
}
