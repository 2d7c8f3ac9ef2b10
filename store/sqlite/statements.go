// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/tailscale/tsidp/internal/sqlstore"
)

// A preparer is an *sql.DB or an *sql.Conn.
type preparer interface {
	PrepareContext(ctx context.Context, statement string) (*sql.Stmt, error)
	ExecContext(ctx context.Context, script string, args ...any) (sql.Result, error)
}

// statements implements [sqlstore.Tx], with each statement prepared once. Its
// methods may be called concurrently if those of the preparer may.
type statements struct {
	on preparer

	mu       sync.Mutex
	prepared map[string]*sql.Stmt
}

var _ sqlstore.Tx = (*statements)(nil)

func newStatements(on preparer) *statements {
	return &statements{on: on, prepared: make(map[string]*sql.Stmt)}
}

func (s *statements) prepare(statement string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.prepared[statement]; p != nil {
		return p, nil
	}
	// What is prepared outlives the call for which it is.
	p, err := s.on.PrepareContext(context.Background(), statement)
	if err != nil {
		return nil, err
	}
	s.prepared[statement] = p
	return p, nil
}

// close gives the statements back; SQLite would keep the files of a connection
// that has some.
func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.prepared {
		errs = append(errs, p.Close())
	}
	clear(s.prepared)
	return errors.Join(errs...)
}

func (s *statements) Exec(ctx context.Context, statement string, args ...any) (int64, error) {
	p, err := s.prepare(statement)
	if err != nil {
		return 0, err
	}
	result, err := p.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (s *statements) ExecEach(ctx context.Context, statement string, args [][]any) error {
	for _, a := range args {
		if _, err := s.Exec(ctx, statement, a...); err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) Query(ctx context.Context, statement string, args []any, row func(sqlstore.Scan) error) error {
	p, err := s.prepare(statement)
	if err != nil {
		return err
	}
	rows, err := p.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	for err == nil && rows.Next() {
		err = row(rows.Scan)
	}
	return errors.Join(err, rows.Err(), rows.Close())
}

func (s *statements) Script(ctx context.Context, script string) error {
	_, err := s.on.ExecContext(ctx, script)
	return err
}

// uninterrupted is a [sqlstore.Tx] whose statements run to their end whatever
// becomes of the caller's context: SQLite answers an interrupt by rolling back
// the transaction, which is that of other callers too.
type uninterrupted struct{ tx sqlstore.Tx }

func (u uninterrupted) Exec(_ context.Context, statement string, args ...any) (int64, error) {
	return u.tx.Exec(context.Background(), statement, args...)
}

func (u uninterrupted) ExecEach(_ context.Context, statement string, args [][]any) error {
	return u.tx.ExecEach(context.Background(), statement, args)
}

func (u uninterrupted) Query(_ context.Context, statement string, args []any, row func(sqlstore.Scan) error) error {
	return u.tx.Query(context.Background(), statement, args, row)
}

func (u uninterrupted) Script(_ context.Context, script string) error {
	return u.tx.Script(context.Background(), script)
}
