// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/storetest"
)

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
		path := filepath.Join(t.TempDir(), "tsidp.db")
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
