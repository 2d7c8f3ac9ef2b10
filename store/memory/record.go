// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// A record is a store.Record in the store. Its key and Index never change: a
// write of other than a grant replaces the record.
type record struct {
	store.Record
	due    *deadline
	tokens map[store.Hash]*token // of a grant
}

// A listName names an ordered list of records.
type listName struct {
	kind  store.Kind
	index string
}

// An entry is a record in the list of an index in which it has that value.
type entry struct {
	value  string
	record *record
}

// compareEntries orders like [store.Query].
func compareEntries(a, b entry) int {
	if c := strings.Compare(a.value, b.value); c != 0 {
		return c
	}
	return strings.Compare(a.record.ID, b.record.ID)
}

// value returns the value of r in an index, of which "" is the one by ID.
func (r *record) value(index string) (string, bool) {
	if index == "" {
		return r.ID, true
	}
	v, ok := r.Index[index]
	return v, ok
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	if err := s.lock(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.mu.Unlock()
	r := s.live(store.Key{Kind: kind, ID: id}, now)
	if r == nil {
		return store.Record{}, fmt.Errorf("getting %q record: %w", kind, store.ErrNotFound)
	}
	return clone(r.Record), nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if err := storecheck.Put(r); err != nil {
		return 0, err
	}
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	key := store.Key{Kind: r.Kind, ID: r.ID}
	var version int64
	if old := s.live(key, now); old != nil {
		version = old.Version
	}
	if r.Version != version {
		return 0, fmt.Errorf("putting %q record: %w", r.Kind, store.ErrConflict)
	}
	r.Version++
	s.replace(key, r)
	return r.Version, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	if err := storecheck.Delete(kind); err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r := s.live(store.Key{Kind: kind, ID: id}, now)
	if r == nil {
		return fmt.Errorf("deleting %q record: %w", kind, store.ErrNotFound)
	}
	if r.Version != version {
		return fmt.Errorf("deleting %q record: %w", kind, store.ErrConflict)
	}
	s.remove(r)
	return nil
}

// live returns the record unless it has expired, or nil.
func (s *Store) live(key store.Key, now time.Time) *record {
	r := s.records[key]
	if r == nil || expired(r.ExpiresAt, now) {
		return nil
	}
	return r
}

// replace adds a copy of value in place of what is there, expired or not.
func (s *Store) replace(key store.Key, value store.Record) *record {
	if old := s.records[key]; old != nil {
		s.remove(old)
	}
	r := &record{Record: clone(value)}
	r.CreatedAt = stored(r.CreatedAt)
	r.UsedAt = stored(r.UsedAt)
	r.ExpiresAt = stored(r.ExpiresAt)
	r.DeadAt = stored(r.DeadAt)
	r.due = s.schedule(r, r.ExpiresAt)
	s.records[key] = r
	s.enlist("", r)
	for index := range r.Index {
		s.enlist(index, r)
	}
	return r
}

// remove takes r out of all that refers to it. A grant must have no tokens.
func (s *Store) remove(r *record) {
	s.unschedule(r.due)
	delete(s.records, store.Key{Kind: r.Kind, ID: r.ID})
	s.delist("", r)
	for index := range r.Index {
		s.delist(index, r)
	}
}

// expire removes r, or one of the refresh tokens that vanish with it.
func (r *record) expire(s *Store) {
	for _, t := range r.tokens {
		t.expire(s)
		return
	}
	s.remove(r)
}

// postpone changes the ExpiresAt of r.
func (s *Store) postpone(r *record, at time.Time) {
	s.unschedule(r.due)
	r.ExpiresAt = stored(at)
	r.due = s.schedule(r, r.ExpiresAt)
}

func (s *Store) enlist(index string, r *record) {
	name := listName{r.Kind, index}
	l := s.lists[name]
	if l == nil {
		l = &sorted[entry]{compare: compareEntries}
		s.lists[name] = l
	}
	value, _ := r.value(index)
	l.insert(entry{value, r})
}

func (s *Store) delist(index string, r *record) {
	name := listName{r.Kind, index}
	l := s.lists[name]
	value, _ := r.value(index)
	l.remove(entry{value, r})
	if len(l.blocks) == 0 {
		delete(s.lists, name)
	}
}
