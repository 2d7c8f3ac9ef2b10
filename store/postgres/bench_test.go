// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tailscale/tsidp/internal/pgtest"
)

// BenchmarkRotate measures a rotation, which is durable when it returns:
// alone, and by 16 callers at a time.
func BenchmarkRotate(b *testing.B) {
	s := openAt(b, pgtest.Start(b))
	var chain atomic.Int64
	b.Run("writers=1", func(b *testing.B) { rotateChain(b, s, chain.Add(1), b.N) })
	b.Run("writers=16", func(b *testing.B) {
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { rotateChain(b, s, chain.Add(1), b.N/16+1) })
		}
		all.Wait()
	})
}

// rotateChain opens a grant and rotates its token n times.
func rotateChain(b *testing.B, s *Store, chain int64, n int) {
	id := fmt.Sprint("chain", chain)
	if err := s.Redeem(b.Context(), redemption(id)); err != nil {
		b.Error(err)
		return
	}
	for i := range n {
		if _, err := s.Rotate(b.Context(), rotation(fmt.Sprint(id, ".", i), fmt.Sprint(id, ".", i+1))); err != nil {
			b.Error(err)
			return
		}
	}
}
