// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/tailscale/tsidp/internal/sqlstore"
)

// maxBatch is how many requests share a transaction at most.
const maxBatch = 64

// A request is a function that wants to run in a transaction.
type request struct {
	ctx  context.Context
	run  func(sqlstore.Tx) error
	err  error      // of run, or why it did not run
	done chan error // gets the answer; has room for it
}

// A writer has the one connection that writes. Its goroutine puts requests
// that wait into one transaction, a savepoint for each, and answers them when
// that is committed.
//
// What a request has refused on grounds of what another one of its batch has
// done is true only if the batch is committed. So if the commit fails, all
// requests that ran get its error, and nothing has happened.
type writer struct {
	path     string
	db       *sql.DB
	requests chan *request // without buffer: who has sent will be answered
	closing  chan struct{}
	stop     sync.Once
	stopped  chan struct{} // closed by the goroutine as it ends

	// The following belong to the goroutine. conn is nil after a failure that
	// leaves its state unknown; tx is prepared on conn.
	conn *sql.Conn
	tx   *statements
}

// writerDSN returns the name by which the driver opens the file at path for
// writing.
func writerDSN(path string) string {
	return dsn(path,
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		// Pages of log between checkpoints, 16 MB: what is written several
		// times meanwhile is moved once. The default of 1000 makes rotations
		// write a sixth more.
		"wal_autocheckpoint(4000)",
		// Where fsync leaves data in the disk's cache (macOS).
		"fullfsync(1)",
		"checkpoint_fullfsync(1)",
		// Bytes of log that stay after a checkpoint, however long it was.
		"journal_size_limit(67108864)",
	)
}

// newWriter opens the database for writing, and starts the goroutine, which
// runs until close.
func newWriter(ctx context.Context, path string) (*writer, error) {
	db, err := sql.Open("sqlite", writerDSN(path))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	w := &writer{
		path:     path,
		db:       db,
		requests: make(chan *request),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if err := w.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.Close())
	}
	go w.loop()
	return w, nil
}

// connect makes sure that there is a connection.
func (w *writer) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return errors.Join(err, conn.Close())
	}
	if mode != "wal" {
		return errors.Join(fmt.Errorf("journal mode is %q and cannot be wal: put the file on a local disk", mode), conn.Close())
	}
	w.conn, w.tx = conn, newStatements(conn)
	return nil
}

// disconnect gives up the connection, and with it any transaction.
func (w *writer) disconnect() {
	w.tx.close()
	w.conn.Raw(func(any) error { return driver.ErrBadConn }) // the driver's connection is closed, not kept
	w.conn.Close()
	w.conn, w.tx = nil, nil
}

// do runs f in a transaction. If ctx ends before f has begun, f does not run;
// then do waits for the commit, which decides.
func (w *writer) do(ctx context.Context, f func(sqlstore.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{ctx: ctx, run: f, done: make(chan error, 1)}
	select {
	case <-w.closing:
		return errClosed
	default:
	}
	select {
	case w.requests <- r:
		return <-r.done
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return errClosed
	}
}

// close ends the goroutine after the requests that it has taken, and moves the
// log into the file. Only the first call does.
func (w *writer) close() (err error) {
	w.stop.Do(func() {
		close(w.closing)
		<-w.stopped
		if err = w.connect(context.Background()); err == nil {
			_, err = w.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
			err = errors.Join(err, w.tx.close(), w.conn.Close())
		}
		err = errors.Join(err, w.db.Close())
	})
	return err
}

func (w *writer) loop() {
	defer close(w.stopped)
	batch := make([]*request, 0, maxBatch)
	for {
		select {
		case r := <-w.requests:
			batch = w.gather(append(batch[:0], r))
		case <-w.closing:
			return
		}
		err := w.commit(batch)
		for _, r := range batch {
			if err != nil {
				r.err = fmt.Errorf("writing to %s: %w", w.path, err)
			}
			r.done <- r.err
		}
		clear(batch)
	}
}

// gather adds the requests that wait. Those whose callers have just been
// answered come first if these are let run.
func (w *writer) gather(batch []*request) []*request {
	runtime.Gosched()
	for len(batch) < maxBatch {
		select {
		case r := <-w.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction, which is over when commit returns.
// It stores the answer in each request, but if it returns an error, nothing
// has happened.
func (w *writer) commit(batch []*request) error {
	ctx := context.Background()
	if err := w.connect(ctx); err != nil {
		return err
	}
	if _, err := w.tx.Exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		w.disconnect()
		return err
	}
	end := "COMMIT"
	for _, r := range batch {
		if len(batch) > 1 {
			if err := w.runInside(r); err != nil {
				w.rollback()
				return err
			}
		} else if r.err = w.runOne(r); r.err != nil {
			end = "ROLLBACK"
		}
	}
	_, err := w.tx.Exec(ctx, end)
	if err == nil {
		return nil
	}
	w.rollback()
	if end == "ROLLBACK" { // and by itself SQLite has done so already
		return nil
	}
	return err
}

// runOne runs r, unless its context has ended.
func (w *writer) runOne(r *request) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	return r.run(uninterrupted{w.tx})
}

// runInside runs r in a savepoint, and stores its answer. If it returns an
// error, the transaction can not go on.
func (w *writer) runInside(r *request) error {
	ctx := context.Background()
	if _, err := w.tx.Exec(ctx, "SAVEPOINT request"); err != nil {
		return err
	}
	if r.err = w.runOne(r); r.err != nil {
		if _, err := w.tx.Exec(ctx, "ROLLBACK TO request"); err != nil {
			return r.err // which has ended the transaction
		}
	}
	_, err := w.tx.Exec(ctx, "RELEASE request")
	return err
}

// rollback ends a transaction that may have ended already.
func (w *writer) rollback() {
	if _, err := w.tx.Exec(context.Background(), "ROLLBACK"); err != nil {
		w.disconnect()
	}
}
