// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tailscale/tsidp/internal/sqlstore"
)

// A step is a statement as it was run.
type step struct {
	text    string
	args    []any
	columns int // of its answer; none: it is no query
}

// A recorder notes the steps of transactions that it passes on.
type recorder struct {
	sqlstore.DB
	transactions [][]step
}

func (r *recorder) Write(ctx context.Context, f func(sqlstore.Tx) error) error {
	return r.DB.Write(ctx, func(tx sqlstore.Tx) error {
		note := &recording{Tx: tx}
		err := f(note)
		r.transactions = append(r.transactions, note.steps)
		return err
	})
}

type recording struct {
	sqlstore.Tx
	steps []step
}

func (r *recording) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	r.steps = append(r.steps, step{text: text, args: slices.Clone(args)})
	return r.Tx.Exec(ctx, text, args...)
}

func (r *recording) Query(ctx context.Context, text string, args []any, row func(sqlstore.Scan) error) error {
	s := step{text: text, args: slices.Clone(args)}
	err := r.Tx.Query(ctx, text, args, func(scan sqlstore.Scan) error {
		return row(func(dest ...any) error {
			s.columns = len(dest)
			return scan(dest...)
		})
	})
	r.steps = append(r.steps, s)
	return err
}

// A raw is a plain connection to a database, and the transactions that it is
// to run there: what rotations of a store contain, with nothing around it.
type raw struct {
	conn         *sql.Conn
	prepared     map[string]*sql.Stmt
	transactions [][]step
}

// newRaw copies the database of s to path, and prepares to do there what the
// next n rotations of c would.
func newRaw(t testing.TB, s *Store, c chain, path string, n int) *raw {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Backup(t.Context(), path))
	other := filepath.Join(memoryDir(t), "recorded.db")
	must(s.Backup(t.Context(), other))
	recorded := openAt(t, other)
	rec := &recorder{DB: &database{reads: recorded.prepared, writer: recorded.writer}}
	c.rotate(t, sqlstore.New(rec, dialect), n)
	must(recorded.Close())

	db, err := sql.Open("sqlite", writerDSN(path))
	must(err)
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	must(err)
	t.Cleanup(func() { conn.Close() })
	r := &raw{conn: conn, prepared: make(map[string]*sql.Stmt), transactions: rec.transactions}
	for _, s := range append([]step{{text: "BEGIN IMMEDIATE"}, {text: "COMMIT"}}, rec.transactions[0]...) {
		r.prepared[s.text], err = conn.PrepareContext(t.Context(), s.text)
		must(err)
	}
	return r
}

// next runs the next transaction.
func (r *raw) next(t testing.TB) {
	steps := r.transactions[0]
	r.transactions = r.transactions[1:]
	err := r.exec(t.Context(), "BEGIN IMMEDIATE")
	for _, s := range steps {
		if err != nil {
			break
		}
		if s.columns == 0 {
			err = r.exec(t.Context(), s.text, s.args...)
		} else {
			err = r.query(t.Context(), s)
		}
	}
	if err == nil {
		err = r.exec(t.Context(), "COMMIT")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *raw) exec(ctx context.Context, text string, args ...any) error {
	_, err := r.prepared[text].ExecContext(ctx, args...)
	return err
}

// query reads the one row of an answer.
func (r *raw) query(ctx context.Context, s step) error {
	dest := make([]any, s.columns)
	for i := range dest {
		dest[i] = new(any)
	}
	return r.prepared[s.text].QueryRowContext(ctx, s.args...).Scan(dest...)
}
