// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tailscale/tsidp/internal/pgtest"
	"github.com/tailscale/tsidp/store"
)

// A tracer notes the round trips of a pool: of each the first words of its
// statements.
type tracer struct {
	mu    sync.Mutex
	trips []string
}

// take returns the round trips since the last call.
func (r *tracer) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	trips := r.trips
	r.trips = nil
	return trips
}

func (r *tracer) add(trip string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trips = append(r.trips, trip)
}

func verb(sql string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	return strings.ToUpper(word)
}

func (r *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.add(verb(data.SQL))
	return ctx
}

func (r *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (r *tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	var verbs []string
	for _, q := range data.Batch.QueuedQueries {
		verbs = append(verbs, verb(q.SQL))
	}
	r.add(strings.Join(verbs, "+"))
	return ctx
}

func (r *tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (r *tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// openTraced returns a store whose round trips are noted. It has one
// connection.
func openTraced(t testing.TB) (*Store, *tracer) {
	t.Helper()
	config, err := parseConfig(with(t, pgtest.Start(t), "pool_max_conns", "1"))
	if err != nil {
		t.Fatal(err)
	}
	r := new(tracer)
	config.ConnConfig.Tracer = r
	s, err := open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, r
}

// nextXID returns the number of the next transaction that writes.
func nextXID(t *testing.T, s *Store) (n int64) {
	t.Helper()
	show(t, s, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint", &n)
	return n
}

// writers returns how many transactions since have written what is in the
// tables now.
func writers(t *testing.T, s *Store, since int64) (n int64) {
	t.Helper()
	var parts []string
	for _, table := range []string{"tsidp_record", "tsidp_record_index", "tsidp_refresh", "tsidp_once", "tsidp_watermark"} {
		parts = append(parts, "SELECT xmin::text::bigint AS x FROM "+table)
	}
	show(t, s, fmt.Sprintf("SELECT count(DISTINCT x) FROM (%s) AS rows WHERE x >= %d", strings.Join(parts, " UNION ALL "), since), &n)
	return n
}

// What a login and a refresh cost: round trips, and transactions that write.
func TestRoundTrips(t *testing.T) {
	s, trace := openTraced(t)
	ctx := t.Context()
	for _, tt := range []struct {
		name   string
		call   func() error
		trips  []string
		writes int64
	}{
		{
			// The first login at a client leaves a mark, which is rare.
			name:   "Redeem with a new mark",
			call:   func() error { return s.Redeem(ctx, redemption("g")) },
			trips:  []string{"SELECT+WITH", "BEGIN", "SELECT", "INSERT", "INSERT+INSERT+INSERT", "SELECT", "INSERT", "INSERT", "COMMIT"},
			writes: 1,
		},
		{
			name:   "Redeem",
			call:   func() error { return s.Redeem(ctx, redemption("h")) },
			trips:  []string{"SELECT+WITH"},
			writes: 1,
		},
		{
			name: "Refresh",
			call: func() error {
				_, _, err := s.Refresh(ctx, hash("g.0"), start)
				return err
			},
			trips: []string{"SELECT"},
		},
		{
			name: "Rotate",
			call: func() error {
				_, err := s.Rotate(ctx, rotation("g.0", "g.1"))
				return err
			},
			trips:  []string{"WITH"},
			writes: 1,
		},
		{
			name: "a refresh: Refresh, then Rotate",
			call: func() error {
				_, _, err := s.Refresh(ctx, hash("h.0"), start)
				if err == nil {
					_, err = s.Rotate(ctx, rotation("h.0", "h.1"))
				}
				return err
			},
			trips:  []string{"SELECT", "WITH"},
			writes: 1,
		},
		{
			name: "Rotate again",
			call: func() error {
				_, err := s.Rotate(ctx, rotation("g.0", "g.2"))
				return err
			},
			trips: []string{"WITH", "BEGIN", "SELECT", "SELECT", "COMMIT"},
		},
		{
			name: "Get",
			call: func() error {
				_, err := s.Get(ctx, store.KindGrant, "g", start)
				return err
			},
			trips: []string{"SELECT"},
		},
		{
			name:   "UseOnce",
			call:   func() error { return s.UseOnce(ctx, "space", "id", start, start.Add(1e9)) },
			trips:  []string{"INSERT"},
			writes: 1,
		},
	} {
		before := nextXID(t, s)
		trace.take()
		if err := tt.call(); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.trips, trace.take()); diff != "" {
			t.Errorf("%s: round trips (-want +got):\n%s", tt.name, diff)
		}
		if got := writers(t, s, before); got != tt.writes {
			t.Errorf("%s: %d transactions that write, want %d", tt.name, got, tt.writes)
		}
	}
}
