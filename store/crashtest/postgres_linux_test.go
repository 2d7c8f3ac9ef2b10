// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package crashtest

import (
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/pgtest"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/postgres"
)

// Here it is the database's processes that are killed; the store stays open.
func TestPostgres(t *testing.T) {
	rounds := 10
	if *long {
		rounds = 200
	}
	server := pgtest.New(t)
	s, err := postgres.Open(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h := newHistory()
	cut := 0 // kills with operations in flight
	for h.round = range rounds {
		killServer(t, h, server, s, kill(h.round, rounds))
		if h.inFlight() > 0 {
			cut++
		}
		server.Start(t)
		since := h.round
		if h.round%20 == 19 || h.round == rounds-1 {
			since = 0
		}
		for _, fault := range verify(t.Context(), s, h, since) {
			t.Errorf("round %d: %s", h.round, fault)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d of them with operations in flight; %d operations acknowledged", rounds, cut, h.acked)
	if cut == 0 {
		t.Error("no kill met an operation in flight")
	}
}

// killServer runs a load, and kills the server under it, upon which each
// worker fails and ends.
func killServer(t *testing.T, h *history, server *pgtest.Server, s store.Store, m moment) {
	t.Helper()
	reached := make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	var mu sync.Mutex
	killing := false
	goal := h.acked + m.acked
	tell := func(e event) {
		mu.Lock()
		defer mu.Unlock()
		if e.what == fail { // it stays pending
			if !killing {
				t.Errorf("before the kill: %v", e)
			}
			once()
			return
		}
		if err := h.add(e); err != nil {
			t.Error(err)
		}
		if h.acked >= goal {
			once()
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load{store: s, round: h.round, tell: tell}.run(t.Context())
	}()
	<-reached
	timer := time.NewTimer(m.after)
	<-timer.C
	mu.Lock()
	killing = true
	mu.Unlock()
	server.Kill(t)
	<-ended
}
