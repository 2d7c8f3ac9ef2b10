// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"crypto/sha256"
	"sync"
)

// maxSeen is how many tokens are remembered: some megabytes.
const maxSeen = 4096

// A cache remembers tokens by their SHA-256, so that a dump of memory shows
// none. It holds two generations: when the younger is full, the older is
// forgotten. What is used stays, and no operation is longer than another.
type cache struct {
	limit int // of each generation

	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]*verified
}

func newCache(limit int) *cache {
	return &cache{limit: limit / 2, young: make(map[[sha256.Size]byte]*verified)}
}

// get returns nil for a token that is not remembered.
func (c *cache) get(sum [sha256.Size]byte) *verified {
	c.mu.RLock()
	v, young := c.young[sum]
	if !young {
		v = c.old[sum]
	}
	c.mu.RUnlock()
	if v != nil && !young {
		c.put(sum, v)
	}
	return v
}

func (c *cache) put(sum [sha256.Size]byte, v *verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]*verified)
	}
	c.young[sum] = v
}

func (c *cache) remove(sum [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, sum)
	delete(c.old, sum)
}
