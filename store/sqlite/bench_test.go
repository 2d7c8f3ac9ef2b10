// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tailscale/tsidp/store"
)

// BenchmarkRotate measures a rotation, which is durable when it returns:
// alone, by 16 callers at a time (group commit), and as the raw transaction
// that it contains; beside them one fsync, and the reading of a token. Run it
// on the disk that is to be judged: TMPDIR says where.
func BenchmarkRotate(b *testing.B) {
	grants := []int{1000}
	if *long {
		grants = append(grants, 1_000_000)
	}
	for _, n := range grants {
		dir := b.TempDir()
		s := openAt(b, filepath.Join(dir, "tsidp.db"))
		fill(b, s, 0, n)
		var number atomic.Int64
		next := func(b *testing.B) *chain { return newChain(b, s, fmt.Sprint("chain", number.Add(1))) }
		b.Run(fmt.Sprintf("grants=%d/fsync", n), func(b *testing.B) {
			sync1 := syncs(b, dir)
			for range b.N {
				sync1()
			}
		})
		b.Run(fmt.Sprintf("grants=%d/raw", n), func(b *testing.B) {
			raw := newRaw(b, s, *next(b), filepath.Join(b.TempDir(), "raw.db"), b.N)
			b.ResetTimer()
			for range b.N {
				raw.next(b)
			}
		})
		b.Run(fmt.Sprintf("grants=%d/writers=1", n), func(b *testing.B) {
			next(b).rotate(b, s, b.N)
		})
		b.Run(fmt.Sprintf("grants=%d/writers=16", n), func(b *testing.B) {
			var all sync.WaitGroup
			for range 16 {
				c := next(b)
				all.Go(func() { c.rotate(b, s, b.N/16+1) })
			}
			all.Wait()
		})
		b.Run(fmt.Sprintf("grants=%d/refresh", n), func(b *testing.B) {
			for i := range b.N {
				if _, _, err := s.Refresh(b.Context(), hash(fmt.Sprint(0, ".", i*7919%n, ".0")), start); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A chain is a grant whose tokens are rotated one after the other.
type chain struct {
	id string
	n  int // rotations so far
}

func newChain(t testing.TB, s *Store, id string) *chain {
	t.Helper()
	if err := s.Redeem(t.Context(), redemption(id)); err != nil {
		t.Fatal(err)
	}
	return &chain{id: id}
}

// A rotator is a Store, or the part of one.
type rotator interface {
	Rotate(context.Context, store.Rotation) ([32]byte, error)
}

// rotate rotates n times.
func (c *chain) rotate(t testing.TB, s rotator, n int) {
	for range n {
		if _, err := s.Rotate(t.Context(), rotation(fmt.Sprint(c.id, ".", c.n), fmt.Sprint(c.id, ".", c.n+1))); err != nil {
			t.Error(err)
			return
		}
		c.n++
	}
}
