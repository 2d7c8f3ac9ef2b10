// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package sqlite keeps the provider's state in one SQLite file, for one
// process at a time. It needs no cgo.
//
// # Durability
//
// The database is in WAL mode with synchronous=FULL: what a method has
// acknowledged is on the disk, as far as the disk tells the truth. Writes go
// through one connection. Those that arrive while a transaction is being
// written are put into the next one together, so that a busy store pays for
// one fsync per transaction and not per call. Reads have connections of their
// own and never wait for writes.
//
// # Files
//
// Beside the file at path are path-wal and path-shm while it is open, and
// path.lock, which says who has it open and may stay for good. All have mode
// 0600. A copy of path alone is complete only after Close; while the store is
// open use [Store.Backup]. To restore a backup, move it to path and delete
// path-wal and path-shm, while no process has path open.
//
// What Expire frees is used again, so the file grows to what has lived at one
// time and no further. It does not shrink: a backup is as small as can be.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tailscale/tsidp/internal/sqlstore"
	"github.com/tailscale/tsidp/store"
)

// errClosed answers every call after Close.
var errClosed = errors.New("sqlite store is closed")

// dialect is where SQLite differs.
var dialect = sqlstore.Dialect{
	Bytes:       "BLOB",
	Integer:     "INTEGER",
	Identity:    "INTEGER PRIMARY KEY",
	Rows:        " STRICT",
	Keyed:       " STRICT, WITHOUT ROWID",
	CountSchema: "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'tsidp_schema'",
}

// A Store implements [store.Store]. Make one with [Open]. Its methods may be
// called concurrently.
type Store struct {
	*sqlstore.Store
	path     string
	lock     *fileLock
	reads    *sql.DB
	prepared *statements // on reads
	writer   *writer

	mu      sync.Mutex
	closed  bool
	closing chan struct{}  // closed when closed becomes true
	backups sync.WaitGroup // Add only under mu, and not when closed
}

var _ store.Store = (*Store)(nil)

// Open opens the database at path, and creates it if there is none: the file
// with mode 0600, missing directories with mode 0700. It brings the tables up
// to date, and refuses a file that a newer program has written.
//
// A file that is open already, in this process or another, is refused at
// once; the error names the process. (Where files cannot be locked, such as
// on some network file systems, opening fails too.)
func Open(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening database: %w", err)
	}
	if err := prepareDir(path); err != nil {
		return nil, err
	}
	// Before anything touches the file: SQLite's own locks vanish when this
	// process closes any descriptor of it.
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, path)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	s.lock = lock
	return s, nil
}

// open opens a database that no one else has open.
func open(ctx context.Context, path string) (*Store, error) {
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	s := &Store{path: path, closing: make(chan struct{})}
	w, err := newWriter(ctx, path)
	if err != nil {
		return nil, err
	}
	s.writer = w
	s.reads, err = sql.Open("sqlite", readerDSN(path))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), w.close())
	}
	n := max(4, runtime.GOMAXPROCS(0))
	s.reads.SetMaxOpenConns(n)
	s.reads.SetMaxIdleConns(n)
	db := &database{reads: newStatements(s.reads), writer: w}
	s.prepared = db.reads
	if err := sqlstore.Migrate(ctx, db, dialect, path); err != nil {
		return nil, errors.Join(err, s.prepared.close(), s.reads.Close(), w.close())
	}
	s.Store = sqlstore.New(db, dialect)
	return s, nil
}

// busyTimeout is how long a connection waits for a lock. Between the
// connections of one process only a checkpoint at the end holds one that
// another waits for.
const busyTimeout = 5 * time.Second

// dsn returns the name by which the driver opens the file at path and then
// runs the pragmas.
func dsn(path string, pragmas ...string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive letter
	}
	pragmas = append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, pragmas...)
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}

// readerDSN returns the name by which the driver opens the file at path for
// reading.
func readerDSN(path string) string {
	return dsn(path,
		"query_only(1)",
		// KiB. Each commit empties the caches of all readers, and a page in
		// one takes twice its size: with more, much memory would hold little.
		"cache_size(-1000)",
	)
}

// Close implements [store.Store]. Calls that have begun to write are finished
// first; a backup is given up. Close leaves all of the state in the one file.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()
	s.backups.Wait()
	// The writer last: what others read can not be moved out of the log.
	if err := errors.Join(s.prepared.close(), s.reads.Close(), s.writer.close(), s.lock.release()); err != nil {
		return fmt.Errorf("closing %s: %w", s.path, err)
	}
	return nil
}

// A database implements [sqlstore.DB].
type database struct {
	reads  *statements
	writer *writer
}

func (d *database) Read(ctx context.Context, f func(sqlstore.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f(d.reads)
}

func (d *database) Write(ctx context.Context, f func(sqlstore.Tx) error) error {
	return d.writer.do(ctx, f)
}

func (d *database) Exec(ctx context.Context, statement string, args ...any) (n int64, err error) {
	err = d.writer.do(ctx, func(tx sqlstore.Tx) error {
		n, err = tx.Exec(ctx, statement, args...)
		return err
	})
	return n, err
}
