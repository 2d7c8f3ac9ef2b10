// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// Lengths of a code verifier in characters, RFC 7636 §4.1.
const (
	minVerifier = 43
	maxVerifier = 128
)

// ValidVerifier reports whether v is a PKCE code verifier by RFC 7636 §4.1: 43 to 128 letters, digits, "-", ".", "_" and "~".
func ValidVerifier(v string) bool {
	if len(v) < minVerifier || len(v) > maxVerifier {
		return false
	}
	for i := range len(v) {
		if c := v[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return true
}

// ValidChallenge reports whether c can be the S256 code challenge of some verifier: exactly 43 characters that are the one
// base64url form, without padding, of 32 bytes.
func ValidChallenge(c string) bool {
	// The decoder skips line breaks; a challenge with one of them is too short to give 32 bytes.
	sum, err := base64.RawURLEncoding.Strict().DecodeString(c)
	return err == nil && len(sum) == sha256.Size && len(c) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// ChallengeS256 returns the S256 code challenge of verifier.
func ChallengeS256(verifier string) string {
	// RFC 7636 §4.2: code_challenge = BASE64URL-ENCODE(SHA256(ASCII(code_verifier)))
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// VerifyS256 reports whether verifier is a valid code verifier and challenge its S256 code challenge. The time that it takes
// does not depend on where the challenges differ.
func VerifyS256(challenge, verifier string) bool {
	return ValidVerifier(verifier) && subtle.ConstantTimeCompare([]byte(ChallengeS256(verifier)), []byte(challenge)) == 1
}
