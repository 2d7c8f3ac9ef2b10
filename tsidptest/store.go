// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidptest

import (
	"context"
	"sync"
	"time"

	"github.com/tailscale/tsidp/store"
)

// A gatedStore is a store that can be made to fail or to be slow.
type gatedStore struct {
	store.Store

	mu    sync.Mutex
	err   error
	delay time.Duration
}

func (s *gatedStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *gatedStore) slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// pass is what every verb goes through first.
func (s *gatedStore) pass(ctx context.Context) error {
	s.mu.Lock()
	err, delay := s.err, s.delay
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (s *gatedStore) Redeem(ctx context.Context, r store.Redemption) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.Redeem(ctx, r)
}

func (s *gatedStore) Refresh(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
	if err := s.pass(ctx); err != nil {
		return store.Refresh{}, store.Record{}, err
	}
	return s.Store.Refresh(ctx, h, now)
}

func (s *gatedStore) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	if err := s.pass(ctx); err != nil {
		return [32]byte{}, err
	}
	return s.Store.Rotate(ctx, r)
}

func (s *gatedStore) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	if err := s.pass(ctx); err != nil {
		return 0, err
	}
	return s.Store.Revoke(ctx, r)
}

func (s *gatedStore) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.UseOnce(ctx, space, id, now, exp)
}

func (s *gatedStore) Keys(ctx context.Context) (store.KeySet, error) {
	if err := s.pass(ctx); err != nil {
		return store.KeySet{}, err
	}
	return s.Store.Keys(ctx)
}

func (s *gatedStore) SwapKeys(ctx context.Context, version int64, data []byte) (int64, error) {
	if err := s.pass(ctx); err != nil {
		return 0, err
	}
	return s.Store.SwapKeys(ctx, version, data)
}

func (s *gatedStore) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	if err := s.pass(ctx); err != nil {
		return store.Record{}, err
	}
	return s.Store.Get(ctx, kind, id, now)
}

func (s *gatedStore) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if err := s.pass(ctx); err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, r, now)
}

func (s *gatedStore) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, kind, id, version, now)
}

func (s *gatedStore) List(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.pass(ctx); err != nil {
		return store.Page{}, err
	}
	return s.Store.List(ctx, q)
}

func (s *gatedStore) Count(ctx context.Context, q store.Query) (int, error) {
	if err := s.pass(ctx); err != nil {
		return 0, err
	}
	return s.Store.Count(ctx, q)
}

func (s *gatedStore) Expire(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := s.pass(ctx); err != nil {
		return 0, err
	}
	return s.Store.Expire(ctx, now, limit)
}
