// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tailscale/tsidp/store"
)

// A clientCache is a store that reuses the record of a client for up to
// maxClientAge: every request of a client begins with that read. What this
// process writes counts at once. What another instance writes counts within
// that time, except the end of a client: its grants die in the store.
type clientCache struct {
	store.Store

	mu      sync.Mutex // guards what follows
	records map[string]cachedClient
	writes  uint64 // so far
}

type cachedClient struct {
	record store.Record
	at     time.Time
}

const (
	// maxClientAge bounds how long a change made by another instance goes
	// unseen.
	maxClientAge = time.Second
	// maxCachedClients bounds the memory.
	maxCachedClients = 256
)

// Get implements [store.Store].
func (c *clientCache) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	if kind != kindClient {
		return c.Store.Get(ctx, kind, id, now)
	}
	c.mu.Lock()
	cached, ok := c.records[id]
	writes := c.writes
	c.mu.Unlock()
	if age := now.Sub(cached.at); ok && 0 <= age && age < maxClientAge && cached.alive(now) {
		return cloneRecord(cached.record), nil
	}
	rec, err := c.Store.Get(ctx, kind, id, now)
	if err == nil {
		c.remember(cachedClient{cloneRecord(rec), now}, writes)
	}
	return rec, err
}

func (c cachedClient) alive(now time.Time) bool {
	return c.record.ExpiresAt.IsZero() || now.Before(c.record.ExpiresAt)
}

// remember keeps what was read, unless there has been a write since: the
// reading may be older than that.
func (c *clientCache) remember(cached cachedClient, writes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes != writes {
		return
	}
	if len(c.records) >= maxCachedClients {
		clear(c.records)
	}
	c.records[cached.record.ID] = cached
}

// forget drops a client that has been written, or was found to be another than
// the writer had thought.
func (c *clientCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	delete(c.records, id)
}

// Put implements [store.Store].
func (c *clientCache) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if r.Kind == kindClient {
		defer c.forget(r.ID)
	}
	return c.Store.Put(ctx, r, now)
}

// Delete implements [store.Store].
func (c *clientCache) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	if kind == kindClient {
		defer c.forget(id)
	}
	return c.Store.Delete(ctx, kind, id, version, now)
}

// Revoke implements [store.Store].
func (c *clientCache) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	for _, k := range r.Delete {
		if k.Kind == kindClient {
			defer c.forget(k.ID)
		}
	}
	return c.Store.Revoke(ctx, r)
}

func cloneRecord(r store.Record) store.Record {
	r.Data, r.Index = slices.Clone(r.Data), maps.Clone(r.Index)
	return r
}
