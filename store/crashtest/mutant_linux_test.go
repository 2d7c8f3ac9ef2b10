// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package crashtest

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"time"

	"github.com/tailscale/tsidp/store"
)

// Stores that are wrong only if they are killed.
const (
	mutantEarlyAck   = "early-ack"
	mutantTwoCommits = "two-commits"
)

// mutate returns s as one of the mutants, or s itself.
func mutate(s store.Store, mutant, path string) (store.Store, error) {
	switch mutant {
	case mutantEarlyAck:
		return newEarlyAck(s), nil
	case mutantTwoCommits:
		u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)"}
		db, err := sql.Open("sqlite", u.String())
		return &twoCommits{Store: s, db: db}, err
	}
	return s, nil
}

// An earlyAck acknowledges before it commits. What it has acknowledged is done
// in the same order, and before Close returns.
type earlyAck struct {
	store.Store
	later chan func() error
	ended chan error
}

func newEarlyAck(s store.Store) *earlyAck {
	e := &earlyAck{Store: s, later: make(chan func() error, 4), ended: make(chan error, 1)}
	go func() {
		var errs []error
		for f := range e.later {
			errs = append(errs, f())
		}
		e.ended <- errors.Join(errs...)
	}()
	return e
}

func (e *earlyAck) Redeem(ctx context.Context, r store.Redemption) error {
	e.later <- func() error { return e.Store.Redeem(ctx, r) }
	return nil
}

func (e *earlyAck) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	e.later <- func() error { _, err := e.Store.Rotate(ctx, r); return err }
	return r.Salt, nil
}

func (e *earlyAck) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	e.later <- func() error { _, err := e.Store.Revoke(ctx, r); return err }
	return 1, nil
}

func (e *earlyAck) Close() error {
	close(e.later)
	return errors.Join(<-e.ended, e.Store.Close())
}

// A twoCommits spends the old token in one transaction and inserts its
// successor in the next.
type twoCommits struct {
	store.Store
	db *sql.DB
}

func (t *twoCommits) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	_, err := t.db.ExecContext(ctx, "UPDATE tsidp_refresh SET spent_at = $2, salt = $3, next_hash = $4 WHERE hash = $1",
		r.Old[:], micros(r.Now), r.Salt[:], r.Next[:])
	if err != nil {
		return r.Salt, err
	}
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return r.Salt, err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, `INSERT INTO tsidp_refresh (hash, grant_seq, created_at, expires_at)
		SELECT $2, grant_seq, $3, $4 FROM tsidp_refresh WHERE hash = $1`, r.Old[:], r.Next[:], micros(r.Now), micros(r.NextExpiresAt))
	if err != nil {
		return r.Salt, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE tsidp_record SET version = version + 1, used_at = $2, expires_at = $3
		WHERE seq = (SELECT grant_seq FROM tsidp_refresh WHERE hash = $1)`, r.Old[:], micros(r.Now), micros(r.GrantExpiresAt))
	if err != nil {
		return r.Salt, err
	}
	return r.Salt, tx.Commit()
}

func (t *twoCommits) Close() error { return errors.Join(t.db.Close(), t.Store.Close()) }

func micros(t time.Time) int64 { return t.UnixMicro() }
