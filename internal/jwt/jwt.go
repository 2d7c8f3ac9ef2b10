// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package jwt mints and verifies the signed tokens of the provider, reads the
// ones that clients and resource servers meet, and seals short-lived values
// into opaque strings.
//
// It deals in values only: no I/O, no HTTP, no wall clock. Keys come from the
// store, times come from the caller.
//
// # What it refuses to be flexible about
//
// A key is pinned to one algorithm, and the algorithm of a token is the one of
// the key that its kid names; the token's own alg is compared, never obeyed.
// There is one serialization (compact JWS), one spelling of each byte string
// (base64url, unpadded, canonical), and no header that brings a key, an
// address of a key, encryption, compression or a critical extension. Only
// public key signatures exist here, so a public key can never pass as a shared
// secret.
//
// A token is not identified by its characters: whoever holds a valid ES256
// signature (r, s) can compute the equally valid (r, n-s). Replay and
// revocation go by the jti claim.
package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Algorithms, by their JOSE names (RFC 7518 §3.1, RFC 8037 §3.1).
const (
	RS256 = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256, modulus of 2048 to 8192 bits
	ES256 = "ES256" // ECDSA on P-256 with SHA-256
	EdDSA = "EdDSA" // Ed25519

	// PS256 is RSASSA-PSS with SHA-256, modulus of 2048 to 8192 bits. Clients
	// may use it; the provider's own keys do not.
	PS256 = "PS256"
)

// Media types for the typ header.
const (
	TypeJWT         = "JWT"    // ID tokens and other plain JWTs (RFC 7519 §5.1)
	TypeAccessToken = "at+jwt" // access tokens (RFC 9068 §2.1)

	// TypeClientAuthentication is that of client assertions
	// (draft-ietf-oauth-rfc7523bis). Most have none yet.
	TypeClientAuthentication = "client-authentication+jwt"
)

// ErrInvalid is wrapped by every error of [Verify], [VerifyAssertion],
// [Unmarshal], [Claims.CheckTime] and [Sealer.Open]. The text of such an error
// is for logs: it names the reason and holds nothing of the token.
var ErrInvalid = errors.New("invalid token")

// Reason returns the reason that an error of this package names, for the peer
// that made the token. It is one of a fixed set of texts, or empty.
func Reason(err error) string {
	reason, ok := strings.CutPrefix(err.Error(), ErrInvalid.Error()+": ")
	if !ok {
		return ""
	}
	return reason
}

func invalid(reason string) error { return fmt.Errorf("%w: %s", ErrInvalid, reason) }

// decode64 decodes base64url without padding, and accepts exactly one spelling
// of each byte string: RFC 7515 §2 wants it "without the inclusion of any line
// breaks, whitespace, or other additional characters", and the unused bits of
// the last character must be zero.
func decode64(s string) ([]byte, error) {
	// Package base64 skips line breaks, even in strict mode.
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
