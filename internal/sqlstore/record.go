// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// recordColumns are what scanRecord reads of tsidp_record g.
const recordColumns = "g.id, g.version, g.data, g.entries, g.created_at, g.used_at, g.expires_at, g.dead_at, g.dead_reason"

// scanRecord returns a record of that kind from a row that begins with
// recordColumns; what follows is stored in more.
func scanRecord(scan Scan, kind store.Kind, more ...any) (store.Record, error) {
	r := store.Record{Kind: kind}
	var id, entries, reason []byte
	var created, used, expires, dead *int64
	dest := append([]any{&id, &r.Version, &r.Data, &entries, &created, &used, &expires, &dead, &reason}, more...)
	if err := scan(dest...); err != nil {
		return store.Record{}, err
	}
	index, err := decodeEntries(entries)
	if err != nil {
		return store.Record{}, err
	}
	r.ID, r.DeadReason, r.Index = string(id), string(reason), index
	r.CreatedAt, r.UsedAt = fromMicros(created), fromMicros(used)
	r.ExpiresAt, r.DeadAt = fromMicros(expires), fromMicros(dead)
	return r, nil
}

// RecordArgs returns kind, ID, version, data, entries, the four times and the
// reason as columns hold them: the arguments of insertRecord, and of
// updateRecord from the third.
func RecordArgs(r store.Record) []any {
	return []any{
		Key(string(r.Kind)), []byte(r.ID), r.Version, append([]byte{}, r.Data...), encodeEntries(r.Index),
		Micros(r.CreatedAt), Micros(r.UsedAt), Micros(r.ExpiresAt), Micros(r.DeadAt), []byte(r.DeadReason),
	}
}

const (
	selectRecord = `SELECT ` + recordColumns + ` FROM tsidp_record g
		WHERE g.kind = $1 AND g.id = $2 AND (g.expires_at IS NULL OR g.expires_at > $3)`
	selectHead   = `SELECT seq, version, entries, expires_at FROM tsidp_record WHERE kind = $1 AND id = $2`
	insertRecord = `INSERT INTO tsidp_record
		(kind, id, version, data, entries, created_at, used_at, expires_at, dead_at, dead_reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (kind, id) DO NOTHING RETURNING seq`
	updateRecord = `UPDATE tsidp_record
		SET version = $2, data = $3, entries = $4, created_at = $5, used_at = $6, expires_at = $7, dead_at = $8, dead_reason = $9
		WHERE seq = $1`
	deleteRecord  = `DELETE FROM tsidp_record WHERE seq = $1`
	insertEntry   = `INSERT INTO tsidp_record_index (record, name, kind, value, id) VALUES ($1, $2, $3, $4, $5)`
	deleteEntries = `DELETE FROM tsidp_record_index WHERE record = $1`
)

// Get implements [store.Store]. Isolation: one statement.
func (s *Store) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	var r store.Record
	found := false
	err := s.db.Read(ctx, func(tx Tx) error {
		found = false
		args := []any{Key(string(kind)), []byte(id), now.UnixMicro()}
		return tx.Query(ctx, selectRecord, args, func(scan Scan) (err error) {
			r, err = scanRecord(scan, kind)
			found = err == nil
			return err
		})
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("getting %q record: %w", kind, err)
	}
	return r, nil
}

// A head is what decides about the write of a record.
type head struct {
	seq, version int64
	entries      []byte
	expires      *int64
}

// head returns the head of a record, expired or not, after locking its row.
func (s *Store) head(ctx context.Context, tx Tx, kind store.Kind, id string) (h head, found bool, err error) {
	args := []any{Key(string(kind)), []byte(id)}
	found, err = queryRow(ctx, tx, selectHead+s.d.ForUpdate, args, &h.seq, &h.version, &h.entries, &h.expires)
	return h, found, err
}

// Put implements [store.Store]. Isolation: row lock; of two that create a
// record, the unique key lets one do it.
func (s *Store) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if err := storecheck.Put(r); err != nil {
		return 0, err
	}
	err := s.db.Write(ctx, func(tx Tx) error { return s.put(ctx, tx, r, now) })
	if err != nil {
		return 0, fmt.Errorf("putting %q record: %w", r.Kind, err)
	}
	return r.Version + 1, nil
}

func (s *Store) put(ctx context.Context, tx Tx, r store.Record, now time.Time) error {
	h, found, err := s.head(ctx, tx, r.Kind, r.ID)
	if err != nil {
		return err
	}
	var version int64
	if found && !expired(h.expires, now) {
		version = h.version
	}
	if r.Version != version {
		return store.ErrConflict
	}
	r.Version++
	if found {
		return overwrite(ctx, tx, h, r)
	}
	_, created, err := insert(ctx, tx, r)
	if err == nil && !created {
		err = store.ErrConflict
	}
	return err
}

// insert creates a record, and reports whether there was none. Seq is the
// number of its row.
func insert(ctx context.Context, tx Tx, r store.Record) (seq int64, created bool, err error) {
	created, err = queryRow(ctx, tx, insertRecord, RecordArgs(r), &seq)
	if err != nil || !created {
		return 0, false, err
	}
	return seq, true, insertEntries(ctx, tx, seq, r)
}

// overwrite puts r in place of a record whose row is locked.
func overwrite(ctx context.Context, tx Tx, h head, r store.Record) error {
	args := append([]any{h.seq}, RecordArgs(r)[2:]...)
	if _, err := tx.Exec(ctx, updateRecord, args...); err != nil {
		return err
	}
	if bytes.Equal(h.entries, encodeEntries(r.Index)) {
		return nil
	}
	if _, err := tx.Exec(ctx, deleteEntries, h.seq); err != nil {
		return err
	}
	return insertEntries(ctx, tx, h.seq, r)
}

func insertEntries(ctx context.Context, tx Tx, seq int64, r store.Record) error {
	var rows [][]any
	kind, id := Key(string(r.Kind)), []byte(r.ID)
	for _, e := range Entries(r.Index) {
		rows = append(rows, []any{seq, e.Name, kind, e.Value, id})
	}
	return tx.ExecEach(ctx, insertEntry, rows)
}

// Delete implements [store.Store]. Isolation: row lock.
func (s *Store) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	if err := storecheck.Delete(kind); err != nil {
		return err
	}
	err := s.db.Write(ctx, func(tx Tx) error {
		h, found, err := s.head(ctx, tx, kind, id)
		switch {
		case err != nil:
			return err
		case !found || expired(h.expires, now):
			return store.ErrNotFound
		case h.version != version:
			return store.ErrConflict
		}
		_, err = tx.Exec(ctx, deleteRecord, h.seq)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting %q record: %w", kind, err)
	}
	return nil
}
