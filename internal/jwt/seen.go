// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto/sha256"
	"sync"
)

// A Seen remembers tokens that need no second look at their signatures, each
// with a value. It says nothing about what may have changed since: whether the
// key is still good, the time, who may use the token. It is safe for concurrent
// use.
//
// Tokens are remembered by their SHA-256, so that a dump of memory shows none,
// and so that one which differs in any byte is another. There are two
// generations: when the younger is full, the older is forgotten. What is used
// stays, and no operation is longer than another.
type Seen[V any] struct {
	limit int // of each generation

	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]V
}

// NewSeen returns a Seen of at most limit tokens.
func NewSeen[V any](limit int) *Seen[V] {
	return &Seen[V]{limit: limit / 2, young: make(map[[sha256.Size]byte]V)}
}

// Get returns what token was remembered with.
func (s *Seen[V]) Get(token string) (v V, ok bool) {
	sum := sha256.Sum256([]byte(token))
	s.mu.RLock()
	v, young := s.young[sum]
	ok = young
	if !young {
		v, ok = s.old[sum]
	}
	s.mu.RUnlock()
	if ok && !young {
		s.put(sum, v)
	}
	return v, ok
}

// Put remembers token, unless it is longer than [MaxTokenLen]: such a token
// does not verify.
func (s *Seen[V]) Put(token string, v V) {
	if len(token) <= MaxTokenLen {
		s.put(sha256.Sum256([]byte(token)), v)
	}
}

func (s *Seen[V]) put(sum [sha256.Size]byte, v V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= s.limit {
		s.old, s.young = s.young, make(map[[sha256.Size]byte]V)
	}
	s.young[sum] = v
}

// Remove forgets token.
func (s *Seen[V]) Remove(token string) {
	sum := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, sum)
	delete(s.old, sum)
}

// Len returns how many are remembered, which is never more than the limit.
func (s *Seen[V]) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.young) + len(s.old)
}
