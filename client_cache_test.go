// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
)

// TestClientCache: a client is read once a second; what is written through the
// cache counts at once, what another instance writes within that second.
func TestClientCache(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	shared := memory.New()
	s := &faultStore{Store: shared, calls: make(map[string]int)}
	c := &clientCache{Store: s, records: make(map[string]cachedClient)}
	rec := store.Record{Kind: kindClient, ID: "a", Data: []byte("1"), CreatedAt: now}
	write := func(to store.Store, data string) {
		t.Helper()
		rec.Data = []byte(data)
		var err error
		if rec.Version, err = to.Put(ctx, rec, now); err != nil {
			t.Fatal(err)
		}
	}
	want := func(data string, reads int) {
		t.Helper()
		before := s.called("Get")
		got, err := c.Get(ctx, kindClient, "a", now)
		if err != nil || string(got.Data) != data || got.Version != rec.Version && data == string(rec.Data) {
			t.Errorf("got %q version %d, %v, want %q", got.Data, got.Version, err, data)
		}
		if n := s.called("Get") - before; n != reads {
			t.Errorf("%d reads of the store, want %d", n, reads)
		}
		if len(got.Data) > 0 {
			got.Data[0] = 'x' // it is the caller's
		}
	}
	write(c, "1")
	want("1", 1)
	want("1", 0)
	write(c, "2")
	want("2", 1)
	write(shared, "3")
	want("2", 0)
	now = now.Add(maxClientAge)
	want("3", 1)
	now = now.Add(-maxClientAge / 2) // the clock was set back
	want("3", 1)

	// A writer who knew an old version finds the new one when it looks again.
	write(shared, "4")
	stale := rec
	stale.Version--
	if _, err := c.Put(ctx, stale, now); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a write over another version: %v", err)
	}
	want("4", 1)
	if _, err := c.Revoke(ctx, store.Revocation{Now: now, KeepFor: time.Hour, Delete: []store.Key{{Kind: kindClient, ID: "a"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, kindClient, "a", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a client that was removed: %v", err)
	}
	rec.Version, rec.ExpiresAt = 0, now.Add(maxClientAge/2)
	write(c, "5")
	want("5", 1)
	now = rec.ExpiresAt
	if _, err := c.Get(ctx, kindClient, "a", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a client that has ended: %v", err)
	}
	// A read that a write overtakes is not kept.
	c.remember(cachedClient{store.Record{Kind: kindClient, ID: "a"}, now}, c.writes-1)
	for i := range 2 * maxCachedClients {
		c.remember(cachedClient{store.Record{Kind: kindClient, ID: fmt.Sprint(i)}, now}, c.writes)
	}
	if _, ok := c.records["a"]; ok || len(c.records) > maxCachedClients {
		t.Errorf("%d records are kept, among them an old one: %t", len(c.records), ok)
	}
}

// TestRefreshRoundTrips: a refresh is one read and one committing write of
// the store, and a use of an access token one read.
func TestRefreshRoundTrips(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	res := f.login(ada)
	f.userinfo(res.AccessToken).json(200) // the login has noted the use of its client
	calls := func(do func()) map[string]int {
		before := s.allCalls()
		do()
		after := s.allCalls()
		for verb, n := range before {
			if after[verb] -= n; after[verb] == 0 {
				delete(after, verb)
			}
		}
		return after
	}
	for name, tt := range map[string]struct {
		do   func()
		want map[string]int
	}{
		"refresh":  {func() { f.refresh(res.RefreshToken).tokens() }, map[string]int{"Refresh": 1, "Rotate": 1}},
		"userinfo": {func() { f.userinfo(res.AccessToken).json(200) }, map[string]int{"Get": 1}},
	} {
		if got := calls(tt.do); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// allCalls returns how often each verb was called.
func (s *faultStore) allCalls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}
