// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/tailscale/tsidp/store"
)

// Every request of a login begins with its client, whose record says the same
// as at the last one. A clientCache is the provider's store, and remembers
// what was read: for up to maxClientAge it does not ask again, and what the
// JSON says it knows until that changes.
//
// What this process writes counts at once. What another instance writes counts
// within that time, except the end of a client: its grants die in the store.
type clientCache struct {
	store.Store

	mu     sync.Mutex // guards what follows
	known  map[string]knownClient
	writes uint64 // of clients, so far
}

type knownClient struct {
	data    []byte
	client  *client // shared: never modified
	expires time.Time
	at      time.Time // when the store said so
}

const (
	// maxClientAge bounds how long a change made by another instance goes
	// unseen.
	maxClientAge = time.Second
	// maxKnownClients bounds the memory: some megabytes.
	maxKnownClients = 2048
)

func newClientCache(s store.Store) *clientCache {
	return &clientCache{Store: s, known: make(map[string]knownClient)}
}

// fresh reports whether k may be used without asking.
func (k *knownClient) fresh(now time.Time) bool {
	age := now.Sub(k.at)
	return 0 <= age && age < maxClientAge && (k.expires.IsZero() || now.Before(k.expires))
}

// get returns a client that is not going to be changed: what its fields refer
// to, others have too. Errors are those of Get.
func (c *clientCache) get(ctx context.Context, id string, now time.Time) (*client, error) {
	c.mu.Lock()
	k, ok := c.known[id]
	writes := c.writes
	c.mu.Unlock()
	if ok && k.fresh(now) {
		return k.copy(), nil
	}
	rec, err := c.Get(ctx, kindClient, id, now)
	if err != nil {
		return nil, err
	}
	if ok && bytes.Equal(k.data, rec.Data) {
		same := *k.client
		same.version = rec.Version
		k.client = &same
	} else if k.client, err = decodeClient(rec); err != nil {
		return nil, err
	}
	k.data, k.expires, k.at = rec.Data, rec.ExpiresAt, now
	c.remember(id, k, writes)
	return k.copy(), nil
}

func (k *knownClient) copy() *client {
	c := *k.client
	return &c
}

// remember keeps what was read, unless there has been a write since: the
// reading may be older than that.
func (c *clientCache) remember(id string, k knownClient, writes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes != writes {
		return
	}
	if len(c.known) >= maxKnownClients {
		clear(c.known)
	}
	c.known[id] = k
}

// forget drops a client that has been written, or was found to be another than
// the writer had thought.
func (c *clientCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	delete(c.known, id)
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
