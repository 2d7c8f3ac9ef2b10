// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"slices"
	"sync"
	"time"
)

// tries bounds how often each of many may do something within a window of
// time. It is safe for concurrent use.
//
// It counts in memory, per process: several instances allow as many times the
// number, and a restart forgets. What it protects bears that (a user code has
// 34 bits), and a guess that is wrong stays free of store writes.
type tries struct {
	most   int
	window time.Duration

	mu sync.Mutex // guards taken
	// taken are the times at which each key has taken its tries, in order.
	taken map[string][]time.Time
}

// maxTriesKeys bounds the memory. Keys are people and nodes of the tailnet,
// or addresses with what they ask for; should there be more, all begin anew.
const maxTriesKeys = 10_000

func newTries(most int, window time.Duration) *tries {
	return &tries{most: most, window: window, taken: make(map[string][]time.Time)}
}

// take takes one try. If key has none left it reports false, and how long it
// is until it has.
func (t *tries) take(key string, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.taken[key]; !known && len(t.taken) >= maxTriesKeys {
		t.sweep(now)
	}
	times := t.current(t.taken[key], now)
	if len(times) >= t.most {
		t.taken[key] = times
		return t.window - now.Sub(times[0]), false
	}
	t.taken[key] = append(times, now)
	return 0, true
}

// left is take without taking.
func (t *tries) left(key string, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	times, known := t.taken[key]
	if !known {
		return 0, true
	}
	if times = t.current(times, now); len(times) == 0 {
		delete(t.taken, key)
		return 0, true
	}
	t.taken[key] = times
	return t.window - now.Sub(times[0]), len(times) < t.most
}

// giveBack undoes the take of key at that time: it does not count after all.
func (t *tries) giveBack(key string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.taken[key], at.Equal); i >= 0 {
		t.taken[key] = slices.Delete(t.taken[key], i, i+1)
	}
	if len(t.taken[key]) == 0 {
		delete(t.taken, key)
	}
}

// current leaves out the times that are outside the window, those of a clock
// that was set back among them.
func (t *tries) current(times []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(times, func(at time.Time) bool { age := now.Sub(at); return age < 0 || age >= t.window })
}

func (t *tries) sweep(now time.Time) {
	for key, times := range t.taken {
		if t.taken[key] = t.current(times, now); len(t.taken[key]) == 0 {
			delete(t.taken, key)
		}
	}
	if len(t.taken) >= maxTriesKeys {
		clear(t.taken)
	}
}
