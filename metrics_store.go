// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"time"

	"github.com/tailscale/tsidp/store"
)

// storeVerbNames are the verbs of a store as metrics name them.
var storeVerbNames = []string{
	"count", "delete", "expire", "get", "keys", "list", "put",
	"redeem", "refresh", "revoke", "rotate", "swap_keys", "use_once",
}

// A timedStore is the provider's store with a clock at every verb. It changes
// nothing.
type timedStore struct {
	store.Store
	now     func() time.Time
	metrics *metrics
}

// timed notes how long verb took, from the deferred call's argument on.
func (s *timedStore) timed(verb string, begun time.Time, err *error) {
	s.metrics.store[verb].observe(s.now().Sub(begun))
	if *err == nil || errors.Is(*err, context.Canceled) { // the peer has left
		return
	}
	for _, answer := range []error{store.ErrNotFound, store.ErrConflict, store.ErrSpent, store.ErrDead, store.ErrReuse, store.ErrPage} {
		if errors.Is(*err, answer) {
			return
		}
	}
	s.metrics.storeErrors.inc(verb)
}

func (s *timedStore) Redeem(ctx context.Context, r store.Redemption) (err error) {
	defer s.timed("redeem", s.now(), &err)
	return s.Store.Redeem(ctx, r)
}

func (s *timedStore) Refresh(ctx context.Context, h store.Hash, now time.Time) (_ store.Refresh, _ store.Record, err error) {
	defer s.timed("refresh", s.now(), &err)
	return s.Store.Refresh(ctx, h, now)
}

func (s *timedStore) Rotate(ctx context.Context, r store.Rotation) (_ [32]byte, err error) {
	defer s.timed("rotate", s.now(), &err)
	return s.Store.Rotate(ctx, r)
}

func (s *timedStore) Revoke(ctx context.Context, r store.Revocation) (_ int, err error) {
	defer s.timed("revoke", s.now(), &err)
	return s.Store.Revoke(ctx, r)
}

func (s *timedStore) UseOnce(ctx context.Context, space, id string, now, exp time.Time) (err error) {
	defer s.timed("use_once", s.now(), &err)
	return s.Store.UseOnce(ctx, space, id, now, exp)
}

func (s *timedStore) Keys(ctx context.Context) (_ store.KeySet, err error) {
	defer s.timed("keys", s.now(), &err)
	return s.Store.Keys(ctx)
}

func (s *timedStore) SwapKeys(ctx context.Context, version int64, data []byte) (_ int64, err error) {
	defer s.timed("swap_keys", s.now(), &err)
	return s.Store.SwapKeys(ctx, version, data)
}

func (s *timedStore) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (_ store.Record, err error) {
	defer s.timed("get", s.now(), &err)
	return s.Store.Get(ctx, kind, id, now)
}

func (s *timedStore) Put(ctx context.Context, r store.Record, now time.Time) (_ int64, err error) {
	defer s.timed("put", s.now(), &err)
	return s.Store.Put(ctx, r, now)
}

func (s *timedStore) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) (err error) {
	defer s.timed("delete", s.now(), &err)
	return s.Store.Delete(ctx, kind, id, version, now)
}

func (s *timedStore) List(ctx context.Context, q store.Query) (_ store.Page, err error) {
	defer s.timed("list", s.now(), &err)
	return s.Store.List(ctx, q)
}

func (s *timedStore) Count(ctx context.Context, q store.Query) (_ int, err error) {
	defer s.timed("count", s.now(), &err)
	return s.Store.Count(ctx, q)
}

func (s *timedStore) Expire(ctx context.Context, now time.Time, limit int) (_ int, err error) {
	defer s.timed("expire", s.now(), &err)
	return s.Store.Expire(ctx, now, limit)
}
