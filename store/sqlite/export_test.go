// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"fmt"
	"testing"

	"github.com/tailscale/tsidp/internal/sqlstore"
)

// pragma returns the integer that a pragma of the writing connection gives.
func (s *Store) pragma(t testing.TB, text string) (n int64) {
	t.Helper()
	err := s.writer.do(t.Context(), func(tx sqlstore.Tx) error {
		return tx.Query(t.Context(), "PRAGMA "+text, nil, func(scan sqlstore.Scan) error { return scan(&n) })
	})
	if err != nil {
		t.Fatalf("PRAGMA %s: %v", text, err)
	}
	return n
}

// setMaxPages lets the file grow to n pages, as a full disk would.
func (s *Store) setMaxPages(t testing.TB, n int64) {
	t.Helper()
	if got := s.pragma(t, fmt.Sprintf("max_page_count = %d", n)); got != n {
		t.Fatalf("max_page_count = %d, want %d", got, n)
	}
}

// usedPages returns how many pages hold something.
func (s *Store) usedPages(t testing.TB) int64 {
	t.Helper()
	return s.pragma(t, "page_count") - s.pragma(t, "freelist_count")
}
