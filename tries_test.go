// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"testing"
	"time"
)

// TestTries: the memory is bounded, and clocks may go backwards.
func TestTries(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s := newTries(2, time.Minute)
	take := func(key string, want bool) {
		t.Helper()
		if wait, ok := s.take(key, now); ok != want || !ok && (wait <= 0 || wait > time.Minute) {
			t.Errorf("take %s at %v: %v, %t", key, now, wait, ok)
		}
	}
	take("a", true)
	at := now
	now = now.Add(time.Second)
	take("a", true)
	take("a", false)
	s.giveBack("a", at)
	take("a", true)
	take("a", false)
	s.giveBack("a", at) // nothing is there to give back
	s.giveBack("b", at)
	take("a", false)
	now = now.Add(-time.Hour)
	take("a", true)
	now = now.Add(time.Hour)
	for i := range maxTriesKeys + 10 {
		take(fmt.Sprint("k", i), true)
		if len(s.taken) > maxTriesKeys {
			t.Fatalf("%d keys", len(s.taken))
		}
	}
}
