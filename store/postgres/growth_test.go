// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/pgtest"
)

// sizes returns how many bytes of rows the tables have, and with those of
// their indexes.
func sizes(t *testing.T, s *Store) (tables, all int64) {
	t.Helper()
	const query = `SELECT coalesce(sum(pg_relation_size(oid)), 0)::bigint FROM pg_class
		WHERE relname LIKE 'tsidp\_%' AND relkind IN `
	show(t, s, query+"('r')", &tables)
	show(t, s, query+"('r', 'i')", &all)
	return tables, all
}

// fill opens n grants, so many at a time.
func fill(t *testing.T, s *Store, round, n, workers int) {
	t.Helper()
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < n; i += workers {
				if err := s.Redeem(t.Context(), redemption(fmt.Sprint(round, ".", i))); err != nil {
					t.Errorf("opening grant %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// After all has expired the tables are as small as before, and a second
// generation needs no more room than the first. The server gives back room
// when it vacuums, which it does by itself some time after Expire has removed
// rows; here it is told when.
func TestGrowthIsBounded(t *testing.T) {
	// Callers that wait for each other make the server extend tables by more
	// than it needs, which is much beside a small table.
	n, workers := 500, 1
	if *long {
		n, workers = 100_000, maxConns
	}
	dsn := pgtest.Start(t)
	s := openAt(t, dsn)
	empty, _ := sizes(t, s)
	var first int64
	for round := range 2 {
		fill(t, s, round, n, workers)
		tables, total := sizes(t, s)
		t.Logf("round %d: %d grants have %d kB, and with indexes %d kB", round, n, tables/1000, total/1000)
		if round == 0 {
			first = total
		}
		// Trees that grow and shrink in another order are not quite the same.
		if total > first+first/10 {
			t.Errorf("round %d: %d bytes, of which the first round needed %d", round, total, first)
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
		// What the first takes out of an index the second finds free.
		execute(t, dsn, "VACUUM")
		execute(t, dsn, "VACUUM")
		// The mark of the client lives on.
		const page = 8192
		if left, _ := sizes(t, s); left > empty+page {
			t.Errorf("round %d: the tables have %d bytes after all has expired, want at most %d", round, left, empty+page)
		}
	}
}
