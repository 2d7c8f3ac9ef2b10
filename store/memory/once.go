// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// A useKey names a use-once value.
type useKey struct{ space, id string }

// A use is the record of a use-once value. It does not change.
type use struct {
	key useKey
	due *deadline
}

// UseOnce implements [store.Store].
func (s *Store) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	if err := storecheck.UseOnce(space, id, exp); err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	u := &use{key: useKey{space, id}}
	if old := s.used[u.key]; old != nil {
		if !expired(old.due.at, now) {
			return fmt.Errorf("using %q value once: %w", space, store.ErrSpent)
		}
		old.expire(s)
	}
	s.used[u.key] = u
	u.due = s.schedule(u, stored(exp))
	return nil
}

// expire removes u.
func (u *use) expire(s *Store) {
	s.unschedule(u.due)
	delete(s.used, u.key)
}

// Expire implements [store.Store]. It looks at the rows that it removes only.
func (s *Store) Expire(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := storecheck.Expire(limit); err != nil {
		return 0, err
	}
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for n := range limit {
		d, ok := s.deadlines.first()
		if !ok || d.at.After(now) {
			return n, nil
		}
		d.row.expire(s)
	}
	return limit, nil
}
