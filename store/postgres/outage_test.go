// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tailscale/tsidp/internal/pgtest"
	"github.com/tailscale/tsidp/store"
)

// isSentinel reports whether a caller would take err for an answer.
func isSentinel(err error) bool {
	for _, s := range []error{store.ErrNotFound, store.ErrConflict, store.ErrSpent, store.ErrDead, store.ErrReuse, store.ErrPage} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// calls returns one call of each sort: what reads, what is one statement, and
// what is a transaction. None of them has an effect, or none that another
// call would see.
func calls(s *Store, round string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error {
			_, err := s.Get(ctx, store.KindGrant, "g", start)
			return err
		},
		"Keys": func(ctx context.Context) error {
			_, err := s.Keys(ctx)
			return err
		},
		"Rotate": func(ctx context.Context) error {
			_, err := s.Rotate(ctx, rotation("g.0", "g.1"))
			return err
		},
		"Redeem": func(ctx context.Context) error { return s.Redeem(ctx, redemption(round)) },
		"UseOnce": func(ctx context.Context) error {
			return s.UseOnce(ctx, "space", round, start, start.Add(time.Hour))
		},
		"Put": func(ctx context.Context) error {
			_, err := s.Put(ctx, store.Record{Kind: "thing", ID: round}, start)
			return err
		},
		"Expire": func(ctx context.Context) error {
			_, err := s.Expire(ctx, start, 10)
			return err
		},
	}
}

// The server goes away and comes back; the store neither has to be opened
// again nor takes what it cannot know for an answer.
func TestOutage(t *testing.T) {
	server := pgtest.New(t)
	s := openAt(t, server.DSN())
	wantErr(t, "redeeming before", s.Redeem(t.Context(), redemption("g")), nil)
	for name, end := range map[string]func(testing.TB){"Stop": server.Stop, "Kill": server.Kill} {
		// As many connections as there can be, all of which will be dead.
		var all sync.WaitGroup
		for range maxConns {
			all.Go(func() {
				if _, err := s.Get(t.Context(), store.KindGrant, "g", start); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		end(t)
		for call, f := range calls(s, name) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := f(ctx); err == nil || isSentinel(err) || ctx.Err() != nil {
				t.Errorf("%s after %s: error %v, want one soon that is no sentinel", call, name, err)
			}
			cancel()
		}
		server.Start(t)
		for call, f := range calls(s, name) {
			if err := f(t.Context()); err != nil {
				t.Errorf("%s after %s and Start: %v", call, name, err)
			}
		}
	}
}

// The server comes back before the store has noticed that it was away.
func TestRestartBetweenCalls(t *testing.T) {
	server := pgtest.New(t)
	s := openAt(t, server.DSN())
	wantErr(t, "redeeming before", s.Redeem(t.Context(), redemption("g")), nil)
	var all sync.WaitGroup
	for range maxConns {
		all.Go(func() { s.Get(t.Context(), store.KindGrant, "g", start) })
	}
	all.Wait()
	server.Stop(t)
	server.Start(t)
	for call, f := range calls(s, "restart") {
		if err := f(t.Context()); err != nil {
			t.Errorf("%s after a restart: %v", call, err)
		}
	}
}

// lockGrant begins a transaction that holds the row of a grant until the
// function it returns is called.
func lockGrant(t *testing.T, dsn, id string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "SELECT 1 FROM tsidp_record WHERE id = $1 FOR UPDATE", []byte(id))
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(context.Background()), conn.Close(context.Background())); err != nil {
			t.Error(err)
		}
	}
}

// A context that ends while a statement waits for a lock ends the statement at
// the server too.
func TestContextEndsStatement(t *testing.T) {
	dsn := pgtest.Start(t)
	s := openAt(t, dsn)
	wantErr(t, "redeeming", s.Redeem(t.Context(), redemption("g")), nil)
	release := lockGrant(t, dsn, "g")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Rotate(ctx, rotation("g.0", "g.1"))
	wantErr(t, "rotating while the grant is locked", err, context.DeadlineExceeded)
	release()
	// Had the statement gone on waiting, it would have rotated the token now.
	token, _, err := s.Refresh(t.Context(), hash("g.0"), start)
	if err != nil || !token.SpentAt.IsZero() {
		t.Errorf("token after a rotation that was given up: %+v, %v, want unspent", token, err)
	}
	var waiting int
	show(t, s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()", &waiting)
	if waiting != 0 {
		t.Errorf("%d statements still run", waiting)
	}
	_, err = s.Rotate(t.Context(), rotation("g.0", "g.1"))
	wantErr(t, "rotating afterwards", err, nil)
}

// Expire does not wait for a grant that is being rotated, and does not remove
// it.
func TestExpireLeavesLocked(t *testing.T) {
	dsn := pgtest.Start(t)
	s := openAt(t, dsn)
	for _, id := range []string{"locked", "free"} {
		r := redemption(id)
		r.Refresh, r.Marks = nil, nil
		wantErr(t, "redeeming", s.Redeem(t.Context(), r), nil)
	}
	release := lockGrant(t, dsn, "locked")
	end := start.Add(24 * time.Hour)
	if n, err := s.Expire(t.Context(), end, 10); n != 1 || err != nil {
		t.Errorf("expiring while one grant is locked: %d rows, %v, want 1", n, err)
	}
	release()
	if n, err := s.Expire(t.Context(), end, 10); n != 1 || err != nil {
		t.Errorf("expiring when it is free: %d rows, %v, want 1", n, err)
	}
}

func TestRetry(t *testing.T) {
	serialization := &pgconn.PgError{Code: "40001"}
	deadlock := fmt.Errorf("rotating: %w", &pgconn.PgError{Code: "40P01"})
	duplicate := &pgconn.PgError{Code: "23505"}
	always := func(err error) []error {
		return []error{err, err, err, err, err, err, err, err, err, err}
	}
	for name, tt := range map[string]struct {
		answers []error
		want    error
		runs    int
	}{
		"success":               {[]error{nil}, nil, 1},
		"serialization failure": {[]error{serialization, nil}, nil, 2},
		"deadlock":              {[]error{deadlock, serialization, deadlock, nil}, nil, 4},
		"always":                {always(serialization), serialization, 1 + maxRetries},
		"another refusal":       {[]error{duplicate, nil}, duplicate, 1},
		"a sentinel":            {[]error{store.ErrSpent, nil}, store.ErrSpent, 1},
		"then a sentinel":       {[]error{deadlock, store.ErrDead, nil}, store.ErrDead, 2},
	} {
		runs := 0
		err := new(database).retry(t.Context(), func() error {
			runs++
			return tt.answers[runs-1]
		})
		if !errors.Is(err, tt.want) || runs != tt.runs {
			t.Errorf("%s: error %v after %d runs, want %v after %d", name, err, runs, tt.want, tt.runs)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	err := new(database).retry(ctx, func() error {
		runs++
		cancel()
		return serialization
	})
	if err == nil || runs != 1 {
		t.Errorf("with a context that ends: error %v after %d runs, want one after 1", err, runs)
	}
}
