// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/internal/sqlstore"
	"github.com/tailscale/tsidp/store"
)

const (
	insertSpace = "INSERT INTO tsidp_once (space, id, expires_at) VALUES ($1, $1, 0)"
	countSpaces = "SELECT count(*) FROM tsidp_once"
)

// insert returns a request that writes a row.
func insert(t *testing.T, name string) *request {
	return &request{ctx: t.Context(), run: func(tx sqlstore.Tx) error {
		_, err := tx.Exec(t.Context(), insertSpace, []byte(name))
		return err
	}}
}

// then returns r with something done afterwards.
func (r *request) then(f func(tx sqlstore.Tx) error) *request {
	run := r.run
	r.run = func(tx sqlstore.Tx) error {
		if err := run(tx); err != nil {
			return err
		}
		return f(tx)
	}
	return r
}

// refuse returns a request that writes a row and is refused then.
func refuse(t *testing.T, name string, err error) *request {
	return insert(t, name).then(func(sqlstore.Tx) error { return err })
}

// script returns what runs SQL without a look at its errors, and then fails.
func script(t *testing.T, sql string, fail error) func(sqlstore.Tx) error {
	return func(tx sqlstore.Tx) error {
		if err := tx.Script(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		return fail
	}
}

func (s *Store) wantRows(t *testing.T, what string, want int64) {
	t.Helper()
	var n int64
	err := s.writer.do(t.Context(), func(tx sqlstore.Tx) error {
		return tx.Query(t.Context(), countSpaces, nil, func(scan sqlstore.Scan) error { return scan(&n) })
	})
	if err != nil || n != want {
		t.Errorf("%s: %d rows, %v, want %d", what, n, err, want)
	}
}

var errTest = errors.New("test")

// orphan is what lets COMMIT fail.
const orphan = `PRAGMA defer_foreign_keys = 1;
	INSERT INTO tsidp_refresh (hash, grant_seq, expires_at) VALUES (randomblob(32), 12345, 0)`

func TestBatches(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		batch []*request
		fails bool    // the whole batch
		errs  []error // of each, if not
		rows  int64
	}{
		"one": {
			batch: []*request{insert(t, "a")},
			errs:  []error{nil},
			rows:  1,
		},
		"three": {
			batch: []*request{insert(t, "a"), insert(t, "b"), insert(t, "c")},
			errs:  []error{nil, nil, nil},
			rows:  3,
		},
		"a refused one alone": {
			batch: []*request{refuse(t, "a", store.ErrSpent)},
			errs:  []error{store.ErrSpent},
		},
		"a refused one in the middle": {
			batch: []*request{insert(t, "a"), refuse(t, "b", store.ErrSpent), insert(t, "c")},
			errs:  []error{nil, store.ErrSpent, nil},
			rows:  2,
		},
		"a refused one at each end": {
			batch: []*request{refuse(t, "a", store.ErrDead), insert(t, "b"), refuse(t, "c", store.ErrConflict)},
			errs:  []error{store.ErrDead, nil, store.ErrConflict},
			rows:  1,
		},
		"a statement that fails in the middle": {
			batch: []*request{insert(t, "a"), insert(t, "b").then(insert(t, "a").run), insert(t, "c")},
			errs:  []error{nil, errAny, nil},
			rows:  2,
		},
		"one whose context has ended": {
			batch: []*request{insert(t, "a"), {ctx: ended, run: insert(t, "b").run}, insert(t, "c")},
			errs:  []error{nil, context.Canceled, nil},
			rows:  2,
		},
		"one alone whose context has ended": {
			batch: []*request{{ctx: ended, run: insert(t, "b").run}},
			errs:  []error{context.Canceled},
		},
		"a commit that fails": {
			batch: []*request{insert(t, "a"), refuse(t, "b", store.ErrSpent), insert(t, "c").then(script(t, orphan, nil))},
			fails: true,
		},
		"a commit of one that fails": {
			batch: []*request{insert(t, "a").then(script(t, orphan, nil))},
			fails: true,
		},
		"an error that ends the transaction": {
			batch: []*request{insert(t, "a"), insert(t, "b").then(script(t, "ROLLBACK", errTest)), insert(t, "c")},
			fails: true,
		},
		"an error that ends the transaction of one": {
			batch: []*request{insert(t, "a").then(script(t, "ROLLBACK", errTest))},
			errs:  []error{errTest},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			// The writer's goroutine waits for a request and has no part in this.
			err := s.writer.commit(tt.batch)
			if (err != nil) != tt.fails {
				t.Fatalf("commit: error %v, want one: %t", err, tt.fails)
			}
			for i, want := range tt.errs {
				got := tt.batch[i].err
				if want == errAny && got != nil {
					continue
				}
				if !errors.Is(got, want) {
					t.Errorf("request %d: error %v, want %v", i, got, want)
				}
			}
			s.wantRows(t, "after the batch", tt.rows)
			if err := s.writer.commit([]*request{insert(t, "x"), insert(t, "y")}); err != nil {
				t.Errorf("next batch: %v", err)
			}
			s.wantRows(t, "after the next batch", tt.rows+2)
		})
	}
}

// errAny stands for an error of whatever sort.
var errAny = errors.New("any error")

// All callers of a batch are told when it fails, also those who were refused
// on grounds of it.
func TestFailedBatchIsTold(t *testing.T) {
	s := openNew(t)
	inside, release := make(chan struct{}), make(chan struct{})
	answers := make(chan error, 3)
	go func() {
		answers <- s.writer.do(t.Context(), insert(t, "a").then(func(sqlstore.Tx) error {
			close(inside)
			<-release
			return store.ErrDead
		}).run)
	}()
	<-inside
	// These two wait for their turn; together or one after the other.
	for _, r := range []*request{insert(t, "b").then(script(t, orphan, nil)), insert(t, "c").then(script(t, orphan, store.ErrSpent))} {
		go func() { answers <- s.writer.do(t.Context(), r.run) }()
	}
	close(release)
	told := ""
	for range 3 {
		err := <-answers
		if err == nil {
			t.Error("a write that failed is acknowledged")
			continue
		}
		told += err.Error() + "\n"
	}
	if !strings.Contains(told, s.path) || !strings.Contains(told, store.ErrDead.Error()) {
		t.Errorf("answers: %s", told)
	}
	s.wantRows(t, "after all failed", 0)
}

func TestWriterConnectsAgain(t *testing.T) {
	s := openNew(t)
	for i := range 3 {
		if err := s.UseOnce(t.Context(), "space", fmt.Sprint(i), start, start.Add(1e9)); err != nil {
			t.Fatal(err)
		}
		s.writer.disconnect() // as after an error that leaves the state unknown
	}
	s.wantRows(t, "after three connections", 3)
}

func TestContextThatEndsWhileWaiting(t *testing.T) {
	s := openNew(t)
	inside, release := make(chan struct{}), make(chan struct{})
	answer := make(chan error)
	go func() {
		answer <- s.writer.do(t.Context(), func(sqlstore.Tx) error {
			close(inside)
			<-release
			return nil
		})
	}()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { waiting <- s.writer.do(ctx, insert(t, "a").run) }()
	cancel()
	// The writer is still busy, so this is what the context says.
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	s.wantRows(t, "after a request was given up", 0)
}
