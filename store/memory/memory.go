// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package memory keeps the provider's state in the memory of the process. It
// is for tests, for development and for tailnets that can live with everybody
// logging in again after a restart.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tailscale/tsidp/store"
)

// errClosed answers every call after Close.
var errClosed = errors.New("memory store is closed")

// A Store implements [store.Store]. Make one with [New]. Its methods may be
// called concurrently. Nothing survives the process.
type Store struct {
	// mu guards everything below and everything reachable from it.
	mu     sync.Mutex
	closed bool

	keys    store.KeySet
	records map[store.Key]*record
	// lists orders the records of a kind that have an index of a name. The
	// name "" stands for the ID, so that each record is in that list too.
	lists  map[listName]*sorted[entry]
	tokens map[store.Hash]*token
	used   map[useKey]*use
	// watermarks are found by the pair of their selector with the smallest
	// name: a grant need only look under its own pairs.
	watermarks map[pair][]*watermark

	// deadlines orders everything that expires.
	deadlines sorted[*deadline]
	sequence  uint64 // number of deadlines made
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		records:    make(map[store.Key]*record),
		lists:      make(map[listName]*sorted[entry]),
		tokens:     make(map[store.Hash]*token),
		used:       make(map[useKey]*use),
		watermarks: make(map[pair][]*watermark),
		deadlines:  sorted[*deadline]{compare: compareDeadlines},
	}
}

// Close implements [store.Store]. It lets go of all state.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.closed = true
	s.keys = store.KeySet{}
	s.records, s.lists, s.tokens, s.used, s.watermarks = nil, nil, nil, nil, nil
	s.deadlines.blocks = nil
	return nil
}

// lock begins a method. If it returns nil, the caller must unlock s.mu.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("asking the memory store: %w", err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	return nil
}

// Keys implements [store.Store].
func (s *Store) Keys(ctx context.Context) (store.KeySet, error) {
	if err := s.lock(ctx); err != nil {
		return store.KeySet{}, err
	}
	defer s.mu.Unlock()
	return store.KeySet{Version: s.keys.Version, Data: bytes.Clone(s.keys.Data)}, nil
}

// SwapKeys implements [store.Store].
func (s *Store) SwapKeys(ctx context.Context, version int64, data []byte) (int64, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	if s.keys.Version != version {
		return 0, fmt.Errorf("replacing key set: %w", store.ErrConflict)
	}
	s.keys = store.KeySet{Version: version + 1, Data: bytes.Clone(data)}
	return s.keys.Version, nil
}

// A row is something that expires.
type row interface {
	// expire removes the row, or one that has to go before it.
	expire(*Store)
}

// A deadline is when a row expires, as s.deadlines holds it.
type deadline struct {
	at       time.Time
	sequence uint64 // tells equal times apart
	row      row
}

func compareDeadlines(a, b *deadline) int {
	if c := a.at.Compare(b.at); c != 0 {
		return c
	}
	return cmp.Compare(a.sequence, b.sequence)
}

// schedule enters the deadline of r, and returns it; nil if at is zero, which
// means never.
func (s *Store) schedule(r row, at time.Time) *deadline {
	if at.IsZero() {
		return nil
	}
	s.sequence++
	d := &deadline{at: at, sequence: s.sequence, row: r}
	s.deadlines.insert(d)
	return d
}

// unschedule forgets what schedule returned.
func (s *Store) unschedule(d *deadline) {
	if d != nil {
		s.deadlines.remove(d)
	}
}

// expired reports whether something that expires at that time is gone at now.
func expired(at, now time.Time) bool {
	return !at.IsZero() && !at.After(now)
}

// stored returns t as the store keeps it: in UTC, without monotonic clock.
func stored(t time.Time) time.Time {
	return t.Round(0).UTC()
}

// clone returns a record that shares nothing with r.
func clone(r store.Record) store.Record {
	r.Data = bytes.Clone(r.Data)
	r.Index = maps.Clone(r.Index)
	return r
}
