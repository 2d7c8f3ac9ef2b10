// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest_test

import (
	"context"
	"sync"
	"time"

	"github.com/tailscale/tsidp/store"
)

// An override is a store some of whose methods are replaced.
type override struct {
	store.Store
	redeem   func(ctx context.Context, r store.Redemption) error
	refresh  func(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error)
	rotate   func(ctx context.Context, r store.Rotation) ([32]byte, error)
	revoke   func(ctx context.Context, r store.Revocation) (int, error)
	useOnce  func(ctx context.Context, space, id string, now, exp time.Time) error
	keys     func(ctx context.Context) (store.KeySet, error)
	swapKeys func(ctx context.Context, version int64, data []byte) (int64, error)
	get      func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error)
	put      func(ctx context.Context, r store.Record, now time.Time) (int64, error)
	del      func(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error
	list     func(ctx context.Context, q store.Query) (store.Page, error)
	count    func(ctx context.Context, q store.Query) (int, error)
	expire   func(ctx context.Context, now time.Time, limit int) (int, error)
	close    func() error
}

func (o *override) Redeem(ctx context.Context, r store.Redemption) error {
	if o.redeem == nil {
		return o.Store.Redeem(ctx, r)
	}
	return o.redeem(ctx, r)
}

func (o *override) Refresh(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
	if o.refresh == nil {
		return o.Store.Refresh(ctx, h, now)
	}
	return o.refresh(ctx, h, now)
}

func (o *override) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	if o.rotate == nil {
		return o.Store.Rotate(ctx, r)
	}
	return o.rotate(ctx, r)
}

func (o *override) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	if o.revoke == nil {
		return o.Store.Revoke(ctx, r)
	}
	return o.revoke(ctx, r)
}

func (o *override) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	if o.useOnce == nil {
		return o.Store.UseOnce(ctx, space, id, now, exp)
	}
	return o.useOnce(ctx, space, id, now, exp)
}

func (o *override) Keys(ctx context.Context) (store.KeySet, error) {
	if o.keys == nil {
		return o.Store.Keys(ctx)
	}
	return o.keys(ctx)
}

func (o *override) SwapKeys(ctx context.Context, version int64, data []byte) (int64, error) {
	if o.swapKeys == nil {
		return o.Store.SwapKeys(ctx, version, data)
	}
	return o.swapKeys(ctx, version, data)
}

func (o *override) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	if o.get == nil {
		return o.Store.Get(ctx, kind, id, now)
	}
	return o.get(ctx, kind, id, now)
}

func (o *override) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if o.put == nil {
		return o.Store.Put(ctx, r, now)
	}
	return o.put(ctx, r, now)
}

func (o *override) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	if o.del == nil {
		return o.Store.Delete(ctx, kind, id, version, now)
	}
	return o.del(ctx, kind, id, version, now)
}

func (o *override) List(ctx context.Context, q store.Query) (store.Page, error) {
	if o.list == nil {
		return o.Store.List(ctx, q)
	}
	return o.list(ctx, q)
}

func (o *override) Count(ctx context.Context, q store.Query) (int, error) {
	if o.count == nil {
		return o.Store.Count(ctx, q)
	}
	return o.count(ctx, q)
}

func (o *override) Expire(ctx context.Context, now time.Time, limit int) (int, error) {
	if o.expire == nil {
		return o.Store.Expire(ctx, now, limit)
	}
	return o.expire(ctx, now, limit)
}

func (o *override) Close() error {
	if o.close == nil {
		return o.Store.Close()
	}
	return o.close()
}

// notes is what a fault remembers. Its zero value is ready for use.
type notes[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]V
}

func (n *notes[K, V]) get(key K) (V, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	value, ok := n.m[key]
	return value, ok
}

func (n *notes[K, V]) set(key K, value V) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		n.m = make(map[K]V)
	}
	n.m[key] = value
}

// crowd returns a function that reports whether it is called the eighth time
// with a key: the sequential checks do not come so far.
func crowd[K comparable]() func(K) bool {
	var mu sync.Mutex
	calls := make(map[K]int)
	return func(key K) bool {
		mu.Lock()
		defer mu.Unlock()
		calls[key]++
		return calls[key] == 8
	}
}
