// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package sqlstore is what the SQL backends of package store share: the
// tables, their migrations, and one set of hand-written statements with the
// decisions between them.
//
// A backend brings a [DB], which runs transactions, and a [Dialect], which
// says where its SQL differs, and gets a [Store], which has all methods of
// [store.Store] but Close. It may answer some of them in a shorter way of its
// own, as long as it leaves what it cannot decide to this package.
//
// # Isolation
//
// Each verb is one statement, or one transaction of DB.Write. What it relies
// on stands above each verb in one of these terms:
//
//   - one statement: atomic in itself; SQLite has one writer at a time, and in
//     PostgreSQL a statement that meets a row changed since it began looks at
//     the new row once more (READ COMMITTED).
//   - row lock: the transaction first locks the row on which it decides. In
//     SQLite there is no other writer; PostgreSQL locks with FOR UPDATE. The
//     lock of a grant is always taken before that of its refresh tokens.
//   - code lock: Redeem shares it, and Revoke by an index has it for itself,
//     so that no grant is opened between the look at the watermarks and the
//     look at the grants. SQLite has it in having one writer.
package sqlstore

import (
	"context"
	"fmt"

	"github.com/tailscale/tsidp/store"
)

// A Tx runs statements with parameters $1, $2, …, whose values are int64,
// []byte (not nil) or nil. A statement is one of a bounded number of texts, so
// that a Tx may keep it prepared.
type Tx interface {
	// Exec returns how many rows the statement has changed.
	Exec(ctx context.Context, statement string, args ...any) (int64, error)
	// ExecEach runs a statement once for each list of arguments.
	ExecEach(ctx context.Context, statement string, args [][]any) error
	// Query calls row for each row of the answer. What a scan has stored is
	// row's to keep.
	Query(ctx context.Context, statement string, args []any, row func(scan Scan) error) error
	// Script runs several statements without parameters.
	Script(ctx context.Context, script string) error
}

// A Scan stores the columns of a row in *int64, **int64 (nil for NULL) and
// *[]byte.
type Scan func(dest ...any) error

// A DB runs functions in transactions.
type DB interface {
	// Read runs f, whose statements need not see the same state.
	Read(ctx context.Context, f func(Tx) error) error
	// Write runs f in a transaction and commits it, unless f returns an error,
	// which Write returns as it is. It may run f again if the database asks for
	// that, so f must leave nothing from one time to the next.
	Write(ctx context.Context, f func(Tx) error) error
	// Exec runs one statement in a transaction of its own, like Write, and
	// returns how many rows it has changed.
	Exec(ctx context.Context, statement string, args ...any) (int64, error)
}

// A Dialect says where the SQL of a database differs.
type Dialect struct {
	Bytes    string // type of a column that holds bytes
	Integer  string // type of a column that holds an int64
	Identity string // type of a column with the number of the row
	Rows     string // end of CREATE TABLE
	Keyed    string // end of CREATE TABLE where rows may lie in order of the primary key

	CountSchema string // query: 1 if there is a table tsidp_schema, 0 if not

	ForUpdate  string // end of a query that locks its rows
	ForGrant   string // end of a query that locks the rows g, then t
	SkipLocked string // end of a query that locks its rows, leaving out locked ones

	// Statements that take a lock until the end of the transaction; empty
	// where there is one writer anyway.
	LockSchema  string
	ShareCodes  string // the code lock, shared
	RefuseCodes string // the code lock, alone
}

// A Store has the verbs of [store.Store]. Its methods may be called
// concurrently.
type Store struct {
	db DB
	d  Dialect
}

// New returns a store on a database that [Migrate] has prepared.
func New(db DB, d Dialect) *Store { return &Store{db: db, d: d} }

// lock takes one of the dialect's locks.
func lock(ctx context.Context, tx Tx, statement string) error {
	if statement == "" {
		return nil
	}
	if _, err := tx.Exec(ctx, statement); err != nil {
		return fmt.Errorf("waiting for lock: %w", err)
	}
	return nil
}

// queryRow stores the first row of the answer, and reports whether there is
// one.
func queryRow(ctx context.Context, tx Tx, statement string, args []any, dest ...any) (found bool, err error) {
	err = tx.Query(ctx, statement, args, func(scan Scan) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	})
	return found && err == nil, err
}

// Keys implements [store.Store]. Isolation: one statement.
func (s *Store) Keys(ctx context.Context) (store.KeySet, error) {
	var keys store.KeySet
	err := s.db.Read(ctx, func(tx Tx) error {
		_, err := queryRow(ctx, tx, "SELECT version, data FROM tsidp_key_set", nil, &keys.Version, &keys.Data)
		return err
	})
	if err != nil {
		return store.KeySet{}, fmt.Errorf("reading key set: %w", err)
	}
	return keys, nil
}

// The first key set is inserted, a further one takes the place of its
// predecessor.
const (
	insertKeys = "INSERT INTO tsidp_key_set (one, version, data) VALUES (1, $1 + 1, $2) ON CONFLICT (one) DO NOTHING"
	updateKeys = "UPDATE tsidp_key_set SET version = version + 1, data = $2 WHERE version = $1"
)

// SwapKeys implements [store.Store]. Isolation: one statement.
func (s *Store) SwapKeys(ctx context.Context, version int64, data []byte) (int64, error) {
	statement := updateKeys
	if version == 0 {
		statement = insertKeys
	}
	n, err := s.db.Exec(ctx, statement, version, append([]byte{}, data...))
	if err == nil && n == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("replacing key set: %w", err)
	}
	return version + 1, nil
}
