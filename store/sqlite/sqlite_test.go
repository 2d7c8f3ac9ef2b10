// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/storetest"
)

var long = flag.Bool("long", false, "run the long forms of the tests that have one")

// start is the time at which tests begin.
var start = time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC)

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // the test may have done so
	return s
}

func openNew(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "tsidp.db"))
}

// memoryDir returns a directory in memory, where there is one, for tests that
// would wait for the disk much and learn nothing from it.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tsidp-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func hash(name string) store.Hash { return sha256.Sum256([]byte(name)) }

// redemption returns what opens the grant with the refresh token id.0.
func redemption(id string) store.Redemption {
	return store.Redemption{
		Grant: store.Record{
			Kind:      store.KindGrant,
			ID:        id,
			Data:      []byte(strings.Repeat("d", 400)),
			Index:     map[string]string{"client": "c1", "user": "u" + id, "node": "n" + id},
			CreatedAt: start,
			ExpiresAt: start.Add(24 * time.Hour),
		},
		IssuedAt: start,
		Refresh:  &store.Refresh{Hash: hash(id + ".0"), Grant: id, CreatedAt: start, ExpiresAt: start.Add(time.Hour)},
		Now:      start,
	}
}

// rotation returns what rotates a token.
func rotation(old, next string) store.Rotation {
	return store.Rotation{
		Old: hash(old), Next: hash(next), Salt: hash("salt " + next),
		NextExpiresAt: start.Add(time.Hour), GrantExpiresAt: start.Add(24 * time.Hour), Now: start, Grace: 30 * time.Second,
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openNew(t) })
}

// A turn is a store that has the file until it is closed.
type turn struct {
	*Store
	mu *sync.Mutex
}

func (s turn) Close() error {
	defer s.mu.Unlock()
	return s.Store.Close()
}

func TestReopening(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		path := filepath.Join(memoryDir(t), "tsidp.db")
		var mu sync.Mutex
		return storetest.Reopening(func() (store.Store, error) {
			mu.Lock()
			s, err := Open(t.Context(), path)
			if err != nil {
				mu.Unlock()
				return nil, err
			}
			return turn{s, &mu}, nil
		})
	})
}

func TestCloseFinishesWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tsidp.db")
	s := openAt(t, path)
	const n = 100
	var errs [n]error
	var first, all sync.WaitGroup
	first.Add(1)
	for i := range n {
		all.Go(func() {
			errs[i] = s.Redeem(t.Context(), redemption(fmt.Sprint(i)))
			if i == 0 {
				first.Done()
			}
		})
	}
	first.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Errorf("%s-wal is there after Close", path)
	}
	s = openAt(t, path)
	for i, err := range errs {
		_, got := s.Get(t.Context(), store.KindGrant, fmt.Sprint(i), start)
		if (err == nil) != (got == nil) {
			t.Errorf("grant %d: Redeem said %v, Get after Close and Open says %v", i, err, got)
		}
		if err != nil && !errors.Is(err, errClosed) {
			t.Errorf("grant %d: Redeem said %v, want nil or %v", i, err, errClosed)
		}
	}
}

func TestDiskFull(t *testing.T) {
	s := openNew(t)
	if err := s.Redeem(t.Context(), redemption("before")); err != nil {
		t.Fatal(err)
	}
	s.setMaxPages(t, s.pragma(t, "page_count")+20)
	full := 0
	for i := range 200 {
		err := s.Redeem(t.Context(), redemption(fmt.Sprint(i)))
		_, got := s.Get(t.Context(), store.KindGrant, fmt.Sprint(i), start)
		switch {
		case err == nil && got == nil:
			continue
		case err == nil || !errors.Is(got, store.ErrNotFound):
			t.Fatalf("grant %d: Redeem says %v, Get says %v", i, err, got)
		case !strings.Contains(err.Error(), "full"):
			t.Fatalf("grant %d: error %v, want one that says that it is full", i, err)
		}
		full++
	}
	if full == 0 {
		t.Fatal("the disk never got full")
	}
	// Several at once, of which a batch is made.
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := s.Redeem(t.Context(), redemption(fmt.Sprint("batch", i))); err != nil {
				if _, got := s.Get(t.Context(), store.KindGrant, fmt.Sprint("batch", i), start); !errors.Is(got, store.ErrNotFound) {
					t.Errorf("batch of grants: Redeem says %v, Get says %v", err, got)
				}
			}
		})
	}
	all.Wait()
	if _, _, err := s.Refresh(t.Context(), hash("before.0"), start); err != nil {
		t.Errorf("reading while the disk is full: %v", err)
	}
	s.setMaxPages(t, 1<<20)
	if err := s.Redeem(t.Context(), redemption("after")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if _, err := s.Rotate(t.Context(), rotation("before.0", "before.1")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n := s.pragma(t, "foreign_key_check"); n != 0 {
		t.Errorf("foreign_key_check finds something")
	}
}

// fill opens n grants, many at a time.
func fill(t testing.TB, s *Store, round, n int) {
	t.Helper()
	var all sync.WaitGroup
	for worker := range maxBatch {
		all.Go(func() {
			for i := worker; i < n; i += maxBatch {
				if err := s.Redeem(t.Context(), redemption(fmt.Sprint(round, ".", i))); err != nil {
					t.Errorf("opening grant %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestGrowthIsBounded(t *testing.T) {
	n := 20_000
	if *long {
		n = 100_000
	}
	s := openAt(t, filepath.Join(memoryDir(t), "tsidp.db"))
	empty := s.usedPages(t)
	var first int64
	for round := range 2 {
		fill(t, s, round, n)
		size := s.pragma(t, "page_count")
		if round == 0 {
			first = size
		}
		// Trees that grow and shrink in another order are not quite the same.
		if size > first+first/10 {
			t.Errorf("round %d: %d pages, of which the first round needed %d", round, size, first)
		}
		removed := 0
		for {
			got, err := s.Expire(t.Context(), start.Add(24*time.Hour), 1000)
			if err != nil {
				t.Fatal(err)
			}
			removed += got
			if got < 1000 {
				break
			}
		}
		if removed != 2*n {
			t.Errorf("round %d: %d rows expired, want %d", round, removed, 2*n)
		}
		if used := s.usedPages(t); used > empty {
			t.Errorf("round %d: %d pages hold something after all has expired, %d did when there was nothing", round, used, empty)
		}
	}
}
