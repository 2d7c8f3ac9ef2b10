// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package postgres keeps the provider's state in a PostgreSQL database, which
// any number of instances may share.
//
// Its tables have names that begin with tsidp_, and are in the first schema of
// the connection's search_path. The role needs the right to create tables
// there when the program is new to the database or newer than the tables;
// otherwise the rights to select, insert, update and delete are enough.
//
// # Durability
//
// What a method has acknowledged is committed with synchronous_commit, also
// where the server's configuration turns that off. Concurrent commits share
// their writes to the disk by the server's doing.
//
// Transactions are READ COMMITTED whatever the server's default is. Those that
// the server gives up (deadlock, serialization failure) are run again, at most
// five times.
//
// # Growth
//
// What Expire removes is used again once the server has vacuumed the tables,
// which it does by itself unless autovacuum is turned off. So they grow to what
// has lived at one time, and what was removed since the last vacuum. Where all
// has gone, vacuum gives the space back to the system.
//
// # Connections
//
// Settings that begin with pool_ in the connection string are those of pgx;
// pool_max_conns is 16 unless given. When the server goes away, calls fail
// until it is back. A pooler between must keep one server connection for each
// client connection ("session" mode).
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tailscale/tsidp/internal/sqlstore"
	"github.com/tailscale/tsidp/store"
)

// errClosed answers every call after Close.
var errClosed = errors.New("postgres store is closed")

// dialect is where PostgreSQL differs. Two schemas of one database have the
// same advisory locks, which costs a wait and nothing else.
var dialect = sqlstore.Dialect{
	Bytes:       "BYTEA",
	Integer:     "BIGINT",
	Identity:    "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	CountSchema: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('tsidp_schema')",
	ForUpdate:   " FOR UPDATE",
	ForGrant:    " FOR UPDATE OF g, t",
	SkipLocked:  " FOR UPDATE SKIP LOCKED",
	LockSchema:  "SELECT pg_advisory_xact_lock(" + lockNumber + "00)",
	ShareCodes:  "SELECT pg_advisory_xact_lock_shared(" + lockNumber + "01)",
	RefuseCodes: "SELECT pg_advisory_xact_lock(" + lockNumber + "01)",
}

// lockNumber is the beginning of the numbers of advisory locks: "tsidp" in
// ASCII, read as a number.
const lockNumber = "500152493168"

// A Store implements [store.Store]. Make one with [Open]. Its methods may be
// called concurrently.
type Store struct {
	*sqlstore.Store
	db     *database
	closed atomic.Bool
}

var _ store.Store = (*Store)(nil)

// Open connects to the database that dsn names, a URL such as
// postgres://user@host/database or a list such as "host=/run/postgresql
// dbname=tsidp", and brings its tables up to date. What dsn leaves out comes
// from the environment and the files that libpq reads (PGHOST, PGPASSWORD,
// PGPASSFILE and so on).
//
// A server older than PostgreSQL 15, and tables that a newer program has
// written, are refused. No error contains the password.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, err := parseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return open(ctx, config)
}

func open(ctx context.Context, config *pgxpool.Config) (*Store, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, redact(config, fmt.Errorf("opening PostgreSQL database: %w", err))
	}
	db := &database{pool}
	if err := prepare(ctx, db, config); err != nil {
		pool.Close()
		return nil, redact(config, err)
	}
	return &Store{Store: sqlstore.New(db, dialect), db: db}, nil
}

// prepare checks the server and its tables.
func prepare(ctx context.Context, db *database, config *pgxpool.Config) error {
	var number, text string
	const versions = "SELECT current_setting('server_version_num'), current_setting('server_version')"
	if err := db.pool.QueryRow(ctx, versions).Scan(&number, &text); err != nil {
		return fmt.Errorf("opening PostgreSQL database: %w", err)
	}
	if err := checkVersion(number, text); err != nil {
		return err
	}
	name := fmt.Sprintf("PostgreSQL database %q at %s", config.ConnConfig.Database, config.ConnConfig.Host)
	return sqlstore.Migrate(ctx, db, dialect, name)
}

// oldest is the oldest version of the server for which this is tested.
const oldest = 15

// checkVersion returns an error if the server is too old. Its number is
// server_version_num, such as 150004.
func checkVersion(number, text string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("checking PostgreSQL version: %q is no number", number)
	}
	if n/10000 < oldest {
		return fmt.Errorf("checking PostgreSQL version: the server is %s, tsidp needs %d or newer", text, oldest)
	}
	return nil
}

// Close implements [store.Store]. It waits for calls that have begun.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return errClosed
	}
	s.db.pool.Close()
	return nil
}

// session sets what must not depend on the server's configuration.
const session = `SELECT
	set_config('default_transaction_isolation', 'read committed', false),
	CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END`

// afterConnect prepares a new connection.
func afterConnect(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, session)
	return err
}
