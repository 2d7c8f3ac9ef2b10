// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a scope parameter.
const (
	maxScopeBytes = 2048
	maxScopes     = 300
)

// ParseScope splits a scope parameter into scopes, in their order and without duplicates. Blanks and tabs, any number of them,
// separate and surround scopes. Letter case matters.
//
// A word with commas, such as Portainer's "openid,email,profile", is split at them if known reports true for every part that
// is not empty; otherwise, or with a nil known, it stays one scope. known is asked about nothing else, and so
// unknown scopes are in the result: to narrow them away is the caller's part.
//
// Nothing asked gives no scopes and no error. The error, which means invalid_scope, is for more than 2048 bytes, more than 300
// scopes, or a character that no scope has: line breaks and other control characters, quotation marks, backslashes, and
// everything outside ASCII. Its text quotes nothing of s.
func ParseScope(s string, known func(string) bool) (scopes []string, err error) {
	if len(s) > maxScopeBytes {
		return nil, fmt.Errorf("scope is longer than %d bytes", maxScopeBytes)
	}
	seen := make(map[string]bool)
	for _, word := range strings.FieldsFunc(s, isScopeSeparator) {
		if !validScopeToken(word) {
			return nil, errors.New("scope contains a character that no scope has")
		}
		for _, scope := range splitCommas(word, known) {
			if !seen[scope] {
				seen[scope] = true
				scopes = append(scopes, scope)
			}
		}
	}
	if len(scopes) > maxScopes {
		return nil, fmt.Errorf("scope has more than %d scopes", maxScopes)
	}
	return scopes, nil
}

func isScopeSeparator(r rune) bool { return r == ' ' || r == '\t' }

// validScopeToken reports whether word is a scope-token by RFC 6749 §3.3: 1*( %x21 / %x23-5B / %x5D-7E ).
func validScopeToken(word string) bool {
	for i := range len(word) {
		if c := word[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// splitCommas returns the parts of word between commas if all of them are known, else word alone.
func splitCommas(word string, known func(string) bool) []string {
	if known == nil || !strings.Contains(word, ",") {
		return []string{word}
	}
	// "openid, email" typed into a form arrives as "openid," and "email".
	pieces := strings.FieldsFunc(word, func(r rune) bool { return r == ',' })
	unknown := func(piece string) bool { return !known(piece) }
	if len(pieces) == 0 || slices.ContainsFunc(pieces, unknown) {
		return []string{word}
	}
	return pieces
}
