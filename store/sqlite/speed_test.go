// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// The tests of this file hold bounds on speed. What is compared takes turns,
// so that all else that the machine does meets both sides alike, and medians
// are compared. In the long form, which is for a quiet machine, the bounds are
// those that the project promises; in the default one they are such as only a
// mistake exceeds.

// median returns the middle one of some durations, which it sorts.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// timed returns how long f takes.
func timed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

// bound returns the bound for this form of the test.
func bound(inLong, inDefault float64) float64 {
	if *long {
		return inLong
	}
	return inDefault
}

// rounds returns how many turns each side takes.
func rounds() int { return int(bound(41, 11)) }

// syncs returns how long the disk under dir takes to make a page durable.
func syncs(t testing.TB, dir string) func() {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func() {
		_, err := f.WriteAt(make([]byte, 4096), 0)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Callers at the same time share the wait for the disk: 16 of them rotate
// 2.5 times as fast as one.
func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "tsidp.db"))
	const writers, each = 16, 25
	var chains [1 + writers]*chain // the first is for the one
	for i := range chains {
		chains[i] = newChain(t, s, fmt.Sprint("chain", i))
	}
	sync1 := syncs(t, dir)
	var disk, alone, together []time.Duration
	for range rounds() {
		disk = append(disk, timed(sync1))
		alone = append(alone, timed(func() { chains[0].rotate(t, s, each) })/each)
		together = append(together, timed(func() {
			var all sync.WaitGroup
			for _, c := range chains[1:] {
				all.Go(func() { c.rotate(t, s, each) })
			}
			all.Wait()
		})/(writers*each))
	}
	// Where there is next to nothing to wait for there is nothing to share.
	least := 0.5
	if median(disk) >= 100*time.Microsecond {
		least = bound(2.5, 1.5)
	}
	rate := float64(median(alone)) / float64(median(together))
	t.Logf("fsync %v; a rotation alone %v, with %d writers %v: %.2f times the rate (at least %.2f)",
		median(disk), median(alone), writers, median(together), rate, least)
	if rate < least {
		t.Errorf("%d writers rotate %.2f times as fast as one, want %.2f", writers, rate, least)
	}
}

// A rotation costs at most half as much again as the raw SQLite transaction
// that it contains.
func TestRotationOverRaw(t *testing.T) {
	const each = 20
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "tsidp.db"))
	fill(t, s, 0, 1000)
	c := newChain(t, s, "chain")
	raw := newRaw(t, s, *c, filepath.Join(dir, "raw.db"), rounds()*each)
	var ours, theirs []time.Duration
	for range rounds() {
		for range each {
			ours = append(ours, timed(func() { c.rotate(t, s, 1) }))
		}
		for range each {
			theirs = append(theirs, timed(func() { raw.next(t) }))
		}
	}
	cost, most := float64(median(ours))/float64(median(theirs)), bound(1.5, 2.5)
	t.Logf("a rotation %v, its raw transaction %v: %.2f times the cost (at most %.2f)", median(ours), median(theirs), cost, most)
	if cost > most {
		t.Errorf("a rotation costs %.2f times its raw transaction, want at most %.2f", cost, most)
	}
}
