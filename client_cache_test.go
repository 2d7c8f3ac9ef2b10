// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
)

// TestClientCache: a client is read once a second; what is written through the
// cache counts at once, what another instance writes within that second.
func TestClientCache(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	shared := memory.New()
	s := &faultStore{Store: shared, calls: make(map[string]int)}
	c := newClientCache(s)
	rec := store.Record{Kind: kindClient, ID: "a", CreatedAt: now}
	write := func(to store.Store, name string) {
		t.Helper()
		var err error
		if rec.Data, err = json.Marshal(&client{ClientMetadata: admin.ClientMetadata{ID: "a", Name: name, RedirectURIs: []string{webRedirect}}}); err != nil {
			t.Fatal(err)
		}
		if rec.Version, err = to.Put(ctx, rec, now); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string, version int64, reads int) {
		t.Helper()
		before := s.called("Get")
		got, err := c.get(ctx, "a", now)
		if err != nil || got.Name != name || got.version != version {
			t.Fatalf("got %+v, %v, want %q version %d", got, err, name, version)
		}
		if n := s.called("Get") - before; n != reads {
			t.Errorf("%d reads of the store, want %d", n, reads)
		}
		got.Name, got.method, got.kept = "noted by a request", authBasic, []string{"x"}
	}
	write(c, "One")
	want("One", 1, 1)
	want("One", 1, 0)
	write(c, "Two")
	want("Two", 2, 1)
	write(shared, "Three")
	want("Two", 2, 0)
	now = now.Add(maxClientAge)
	want("Three", 3, 1)
	write(shared, "Three") // another version that says the same
	now = now.Add(maxClientAge)
	want("Three", 4, 1)
	now = now.Add(-maxClientAge / 2) // the clock was set back
	want("Three", 4, 1)
	if got, err := c.Get(ctx, kindClient, "a", now); err != nil || string(got.Data) != string(rec.Data) {
		t.Errorf("Get: %s, %v", got.Data, err)
	}

	// A writer who knew an old version finds the new one when it looks again.
	write(shared, "Five")
	stale := rec
	stale.Version--
	if _, err := c.Put(ctx, stale, now); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a write over another version: %v", err)
	}
	want("Five", 5, 1)
	gone := func(why string) {
		t.Helper()
		if _, err := c.get(ctx, "a", now); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if _, err := c.Revoke(ctx, store.Revocation{Now: now, KeepFor: time.Hour, Delete: []store.Key{{Kind: kindClient, ID: "a"}}}); err != nil {
		t.Fatal(err)
	}
	gone("a client that was removed")
	rec.Version, rec.ExpiresAt = 0, now.Add(maxClientAge/2)
	write(c, "Six")
	want("Six", 1, 1)
	now = rec.ExpiresAt
	gone("a client that has ended")
	rec.Version, rec.ExpiresAt = 0, time.Time{}
	write(c, "Seven")
	want("Seven", 1, 1)
	if err := c.Delete(ctx, kindClient, "a", 1, now); err != nil {
		t.Fatal(err)
	}
	gone("a client that was deleted")

	// A read that a write overtakes is not kept.
	c.remember("late", knownClient{at: now}, c.writes-1)
	for i := range 2*maxKnownClients + 7 {
		c.remember(strconv.Itoa(i), knownClient{at: now}, c.writes)
	}
	if _, ok := c.known["late"]; ok || len(c.known) > maxKnownClients {
		t.Errorf("%d clients are known, among them an old one: %t", len(c.known), ok)
	}
	rec.Version, rec.Data = 0, []byte("{")
	if _, err := c.Put(ctx, rec, now); err != nil {
		t.Fatal(err)
	}
	if _, err := c.get(ctx, "a", now); err == nil {
		t.Error("a broken record is a client")
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
