// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"strings"
)

// What is said of keys that a rule has and we do not know: most are known ones,
// misspelled.

// unknownKey is the fault of a key that no rule has.
func unknownKey(key string) error {
	if near := nearestKey(key); near != "" {
		return fmt.Errorf("the key %q is unknown and ignored; did you mean %q?", key, near)
	}
	return fmt.Errorf("the key %q is unknown and ignored", shortened(key))
}

// shortened is s as a log line has room for it.
func shortened(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// nearestKey returns the known key that is spelled like key, or "".
func nearestKey(key string) string {
	if len(key) > 64 {
		return ""
	}
	plain := strings.NewReplacer("_", "", "-", "", " ", "")
	best, at := "", 3 // typing errors
	for _, k := range ruleKeys {
		a, b := strings.ToLower(plain.Replace(key)), strings.ToLower(plain.Replace(k.name))
		// Two errors in a short word make another word.
		if d := distance(a, b); d < at && (d < 2 || len(b) > 6) {
			best, at = k.name, d
		}
	}
	return best
}

// distance is how many bytes to insert, delete or replace make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
