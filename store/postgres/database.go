// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tailscale/tsidp/internal/sqlstore"
)

// A database implements [sqlstore.DB].
type database struct{ pool *pgxpool.Pool }

func (d *database) Read(ctx context.Context, f func(sqlstore.Tx) error) error {
	return d.retry(ctx, func() error { return f(transaction{d.pool}) })
}

func (d *database) Write(ctx context.Context, f func(sqlstore.Tx) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	return d.retry(ctx, func() error {
		return pgx.BeginTxFunc(ctx, d.pool, options, func(tx pgx.Tx) error { return f(transaction{tx}) })
	})
}

func (d *database) Exec(ctx context.Context, statement string, args ...any) (n int64, err error) {
	err = d.retry(ctx, func() error {
		tag, err := d.pool.Exec(ctx, statement, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// maxRetries bounds how often a transaction is run again.
const maxRetries = 5

// retry calls f again where the server has rolled back f's transaction for
// what others did, or where nothing of it has reached the server.
func (d *database) retry(ctx context.Context, f func() error) error {
	for attempt := 0; ; attempt++ {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		if lostConnection(err) {
			// Those that are idle have gone the same way.
			d.pool.Reset()
		}
		if attempt == maxRetries || !canRetry(err) {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// ended returns err, said by a call whose context has ended, as that of the
// context where it comes from it.
func ended(ctx context.Context, err error) error {
	if code(err) == "57014" { // query_canceled
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// code returns the SQLSTATE of an answer of the server, or nothing if err is
// none.
func code(err error) string {
	if refusal := (*pgconn.PgError)(nil); errors.As(err, &refusal) {
		return refusal.Code
	}
	return ""
}

// canRetry reports whether a transaction that failed has certainly left
// nothing, and may succeed if it is run again.
func canRetry(err error) bool {
	switch code(err) {
	case "40001", // serialization_failure
		"40P01", // deadlock_detected
		"23503": // foreign_key_violation: a grant got a token as it expired
		return true
	case "":
	default:
		return false
	}
	// Without a connection at all, the server is away and not only restarted.
	if failed := (*pgconn.ConnectError)(nil); errors.As(err, &failed) {
		return false
	}
	return pgconn.SafeToRetry(err)
}

// lostConnection reports whether a connection is gone, or could not be made.
func lostConnection(err error) bool {
	switch code(err) {
	case "57P01", // admin_shutdown
		"57P02", // crash_shutdown
		"57P03": // cannot_connect_now
		return true
	case "":
	default:
		return false
	}
	var network net.Error
	return errors.As(err, &network) && !network.Timeout() || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// pause waits a moment that is longer for later attempts, and not the same for
// those who have met.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A querier is a [pgxpool.Pool] or a [pgx.Tx].
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// A transaction implements [sqlstore.Tx].
type transaction struct{ on querier }

func (t transaction) Exec(ctx context.Context, statement string, args ...any) (int64, error) {
	tag, err := t.on.Exec(ctx, statement, args...)
	return tag.RowsAffected(), err
}

// ExecEach sends all statements in one round trip.
func (t transaction) ExecEach(ctx context.Context, statement string, args [][]any) error {
	if len(args) == 0 {
		return nil
	}
	var b pgx.Batch
	for _, a := range args {
		b.Queue(statement, a...)
	}
	return t.on.SendBatch(ctx, &b).Close()
}

func (t transaction) Query(ctx context.Context, statement string, args []any, row func(sqlstore.Scan) error) error {
	rows, err := t.on.Query(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t transaction) Script(ctx context.Context, script string) error {
	_, err := t.on.Exec(ctx, script) // without arguments it may be several statements
	return err
}
