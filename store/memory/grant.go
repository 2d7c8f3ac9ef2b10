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

// A token is a refresh token in the store.
type token struct {
	store.Refresh
	grant *record
	due   *deadline
	// salt and next are what the winning rotation has left, once SpentAt is
	// not zero.
	salt [32]byte
	next store.Hash
}

// Redeem implements [store.Store].
func (s *Store) Redeem(ctx context.Context, r store.Redemption) error {
	if err := storecheck.Redemption(r); err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	key := store.Key{Kind: store.KindGrant, ID: r.Grant.ID}
	switch {
	case s.records[key] != nil:
		return fmt.Errorf("redeeming authorization code: %w", store.ErrSpent)
	case s.revoked(r.Grant.Index, r.IssuedAt, r.Now):
		return fmt.Errorf("redeeming authorization code: %w", store.ErrDead)
	case r.Refresh != nil && s.tokens[r.Refresh.Hash] != nil:
		return fmt.Errorf("redeeming authorization code: inserting refresh token: %w", store.ErrConflict)
	}
	// Nothing below fails.
	grant := r.Grant
	grant.Version, grant.DeadAt, grant.DeadReason = 1, time.Time{}, ""
	g := s.replace(key, grant)
	if r.Refresh != nil {
		s.addToken(g, *r.Refresh)
	}
	for _, mark := range r.Marks {
		key := store.Key{Kind: mark.Kind, ID: mark.ID}
		if s.live(key, r.Now) == nil {
			mark.Version = 1
			s.replace(key, mark)
		}
	}
	return nil
}

// addToken inserts an unspent refresh token of g.
func (s *Store) addToken(g *record, value store.Refresh) {
	t := &token{grant: g, Refresh: store.Refresh{
		Hash:      value.Hash,
		Grant:     g.ID,
		CreatedAt: stored(value.CreatedAt),
		ExpiresAt: stored(value.ExpiresAt),
	}}
	t.due = s.schedule(t, t.ExpiresAt)
	s.tokens[t.Hash] = t
	if g.tokens == nil {
		g.tokens = make(map[store.Hash]*token)
	}
	g.tokens[t.Hash] = t
}

// expire removes t.
func (t *token) expire(s *Store) {
	s.unschedule(t.due)
	delete(s.tokens, t.Hash)
	delete(t.grant.tokens, t.Hash)
}

// liveToken returns a refresh token unless it or its grant has expired, or nil.
func (s *Store) liveToken(h store.Hash, now time.Time) *token {
	t := s.tokens[h]
	if t == nil || expired(t.ExpiresAt, now) || expired(t.grant.ExpiresAt, now) {
		return nil
	}
	return t
}

// Refresh implements [store.Store].
func (s *Store) Refresh(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
	if err := s.lock(ctx); err != nil {
		return store.Refresh{}, store.Record{}, err
	}
	defer s.mu.Unlock()
	t := s.liveToken(h, now)
	if t == nil {
		return store.Refresh{}, store.Record{}, fmt.Errorf("looking up refresh token: %w", store.ErrNotFound)
	}
	return t.Refresh, clone(t.grant.Record), nil
}

// Rotate implements [store.Store].
func (s *Store) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	if err := storecheck.Rotation(r); err != nil {
		return [32]byte{}, err
	}
	if err := s.lock(ctx); err != nil {
		return [32]byte{}, err
	}
	defer s.mu.Unlock()
	salt, err := s.rotate(r)
	if err != nil {
		return [32]byte{}, fmt.Errorf("rotating refresh token: %w", err)
	}
	return salt, nil
}

func (s *Store) rotate(r store.Rotation) ([32]byte, error) {
	t := s.liveToken(r.Old, r.Now)
	switch {
	case t == nil:
		return [32]byte{}, store.ErrNotFound
	case !t.grant.DeadAt.IsZero():
		return [32]byte{}, store.ErrDead
	case t.SpentAt.IsZero() && s.tokens[r.Next] != nil:
		return [32]byte{}, store.ErrConflict
	case t.SpentAt.IsZero():
		s.spend(t, r)
		return r.Salt, nil
	case s.isRetry(t, r):
		return t.salt, nil
	}
	// RFC 9700, 4.14.2: "The authorization server cannot determine which
	// party submitted the invalid refresh token, but it will revoke the
	// active refresh token."
	s.kill(t.grant, "reuse", r.Now)
	return [32]byte{}, store.ErrReuse
}

// spend rotates t for the first time.
func (s *Store) spend(t *token, r store.Rotation) {
	t.SpentAt, t.salt, t.next = stored(r.Now), r.Salt, r.Next
	s.addToken(t.grant, store.Refresh{
		Hash:      r.Next,
		CreatedAt: r.Now,
		ExpiresAt: r.NextExpiresAt,
	})
	t.grant.Version++
	t.grant.UsedAt = stored(r.Now)
	s.postpone(t.grant, r.GrantExpiresAt)
}

// isRetry reports whether presenting the spent t is the client asking again
// for an answer that it did not get.
func (s *Store) isRetry(t *token, r store.Rotation) bool {
	if r.Now.Sub(t.SpentAt) >= r.Grace {
		return false
	}
	next := s.liveToken(t.next, r.Now)
	return next != nil && next.SpentAt.IsZero()
}

// kill marks a living grant dead.
func (s *Store) kill(g *record, reason string, now time.Time) {
	g.Version++
	g.DeadAt, g.DeadReason = stored(now), reason
}
