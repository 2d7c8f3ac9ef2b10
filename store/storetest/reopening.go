// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tailscale/tsidp/store"
)

// Reopening returns a store that calls open for each of its methods, asks what
// open returned, and closes it. A backend that passes [Run] with it keeps all
// of its state in its database, and can share it with other instances: where
// calls are concurrent, so are the stores.
//
// All stores that open returns must be on one database. Those that fail to
// open or to close fail the call.
func Reopening(open func() (store.Store, error)) store.Store {
	return &reopening{open: open}
}

type reopening struct {
	open   func() (store.Store, error)
	closed atomic.Bool
}

// with calls f with a store of its own.
func (r *reopening) with(f func(store.Store) error) error {
	if r.closed.Load() {
		return errors.New("reopening store is closed")
	}
	s, err := r.open()
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.Close())
}

func (r *reopening) Redeem(ctx context.Context, redemption store.Redemption) error {
	return r.with(func(s store.Store) error { return s.Redeem(ctx, redemption) })
}

func (r *reopening) Refresh(ctx context.Context, h store.Hash, now time.Time) (token store.Refresh, grant store.Record, err error) {
	err = r.with(func(s store.Store) (err error) {
		token, grant, err = s.Refresh(ctx, h, now)
		return err
	})
	return token, grant, err
}

func (r *reopening) Rotate(ctx context.Context, rotation store.Rotation) (salt [32]byte, err error) {
	err = r.with(func(s store.Store) (err error) {
		salt, err = s.Rotate(ctx, rotation)
		return err
	})
	return salt, err
}

func (r *reopening) Revoke(ctx context.Context, revocation store.Revocation) (n int, err error) {
	err = r.with(func(s store.Store) (err error) {
		n, err = s.Revoke(ctx, revocation)
		return err
	})
	return n, err
}

func (r *reopening) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	return r.with(func(s store.Store) error { return s.UseOnce(ctx, space, id, now, exp) })
}

func (r *reopening) Keys(ctx context.Context) (keys store.KeySet, err error) {
	err = r.with(func(s store.Store) (err error) {
		keys, err = s.Keys(ctx)
		return err
	})
	return keys, err
}

func (r *reopening) SwapKeys(ctx context.Context, version int64, data []byte) (next int64, err error) {
	err = r.with(func(s store.Store) (err error) {
		next, err = s.SwapKeys(ctx, version, data)
		return err
	})
	return next, err
}

func (r *reopening) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (record store.Record, err error) {
	err = r.with(func(s store.Store) (err error) {
		record, err = s.Get(ctx, kind, id, now)
		return err
	})
	return record, err
}

func (r *reopening) Put(ctx context.Context, record store.Record, now time.Time) (version int64, err error) {
	err = r.with(func(s store.Store) (err error) {
		version, err = s.Put(ctx, record, now)
		return err
	})
	return version, err
}

func (r *reopening) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	return r.with(func(s store.Store) error { return s.Delete(ctx, kind, id, version, now) })
}

func (r *reopening) List(ctx context.Context, q store.Query) (page store.Page, err error) {
	err = r.with(func(s store.Store) (err error) {
		page, err = s.List(ctx, q)
		return err
	})
	return page, err
}

func (r *reopening) Count(ctx context.Context, q store.Query) (n int, err error) {
	err = r.with(func(s store.Store) (err error) {
		n, err = s.Count(ctx, q)
		return err
	})
	return n, err
}

func (r *reopening) Expire(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = r.with(func(s store.Store) (err error) {
		n, err = s.Expire(ctx, now, limit)
		return err
	})
	return n, err
}

// Close ends r. There is no store to close: each call has closed its own.
func (r *reopening) Close() error {
	if r.closed.Swap(true) {
		return errors.New("reopening store is closed")
	}
	return nil
}
