// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"github.com/tailscale/tsidp/store/storetest"
)

// shared is a memory store that outlives its Close, as a database does.
type shared struct{ store.Store }

func (shared) Close() error { return nil }

func TestReopening(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		s := memory.New()
		return storetest.Reopening(func() (store.Store, error) { return shared{s}, nil })
	})
}

func TestReopeningSeesForgetfulStore(t *testing.T) {
	s := storetest.Reopening(func() (store.Store, error) { return memory.New(), nil })
	for _, c := range storetest.Checks() {
		if c.Name == "Record/comes back as written" && len(failures(t, c, s)) == 0 {
			t.Errorf("%s passes with a store that keeps nothing", c.Name)
		}
	}
}

func TestReopeningFailsWithStore(t *testing.T) {
	want := fmt.Errorf("broken")
	s := storetest.Reopening(func() (store.Store, error) { return nil, want })
	if _, err := s.Keys(t.Context()); err != want {
		t.Errorf("Keys of a store that cannot be opened: error = %v, want %v", err, want)
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range storetest.Checks() {
		if seen[c.Name] {
			t.Errorf("two checks are named %q", c.Name)
		}
		seen[c.Name] = true
	}
}

// A recorder is a testing.TB that keeps failures to itself.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	messages []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failures returns what a check says about a store.
func failures(t *testing.T, c storetest.Check, s store.Store) []string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("%s panics with a faulty store, want a message: %v", c.Name, p)
			}
		}()
		c.Run(r, s)
	}()
	<-done
	return r.messages
}

func TestPassesWithoutFault(t *testing.T) {
	for _, c := range storetest.Checks() {
		if got := failures(t, c, &override{Store: memory.New()}); len(got) > 0 {
			t.Errorf("%s fails with a store without fault: %q", c.Name, got)
		}
	}
}

// TestFaults shows that each fault is caught by the checks that are for it.
func TestFaults(t *testing.T) {
	checks := make(map[string]storetest.Check)
	for _, c := range storetest.Checks() {
		checks[c.Name] = c
	}
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			for _, name := range f.caught {
				c, ok := checks[name]
				if !ok {
					t.Fatalf("no check is named %q", name)
				}
				if len(failures(t, c, f.wrap(memory.New()))) == 0 {
					t.Errorf("%s passes", name)
				}
			}
		})
	}
}

// TestEveryCheckHasAFault keeps out checks that nothing has ever failed.
func TestEveryCheckHasAFault(t *testing.T) {
	caught := make(map[string]bool)
	for _, f := range faults() {
		for _, name := range f.caught {
			caught[name] = true
		}
	}
	for _, c := range storetest.Checks() {
		if !caught[c.Name] {
			t.Errorf("no fault shows that %s can fail", c.Name)
		}
	}
}
