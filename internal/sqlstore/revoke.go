// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

const (
	// The grant is locked by being updated; one that another transaction has
	// changed meanwhile is looked at again.
	killSelected = `UPDATE tsidp_record
		SET version = version + 1, dead_at = ?, dead_reason = ?,
			expires_at = CASE WHEN expires_at <= ? THEN expires_at ELSE ? END`
	insertWatermark = `INSERT INTO tsidp_watermark (selector, revoked_at, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (selector, revoked_at, expires_at) DO NOTHING`
	// A watermark says nothing that a later one does not say for longer.
	deleteWatermarks = `DELETE FROM tsidp_watermark WHERE selector = $1 AND revoked_at <= $2 AND expires_at <= $3`
	deleteByKey      = `DELETE FROM tsidp_record WHERE kind = $1 AND id = $2`
	// How many grants have an entry; from 10000 on they are many.
	countEntry = `SELECT count(*) FROM (SELECT 1 FROM tsidp_record_index
		WHERE kind = $1 AND name = $2 AND value = $3 LIMIT 10000) AS few`
)

// Revoke implements [store.Store]. Isolation: code lock when by an index, and
// row lock, taken by the update.
func (s *Store) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	if err := storecheck.Revocation(r); err != nil {
		return 0, err
	}
	var killed int64
	err := s.db.Write(ctx, func(tx Tx) (err error) {
		killed, err = s.revoke(ctx, tx, r)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("revoking grants: %w", err)
	}
	return int(killed), nil
}

func (s *Store) revoke(ctx context.Context, tx Tx, r store.Revocation) (int64, error) {
	var killed int64
	if len(r.Select.Index) > 0 {
		if err := lock(ctx, tx, s.d.RefuseCodes); err != nil {
			return 0, err
		}
		if err := leaveWatermark(ctx, tx, r); err != nil {
			return 0, err
		}
	}
	if r.Select.ID != "" || len(r.Select.Index) > 0 {
		statement, args, err := killStatement(ctx, tx, r)
		if err != nil {
			return 0, err
		}
		if killed, err = tx.Exec(ctx, statement, args...); err != nil {
			return 0, err
		}
	}
	return killed, deleteKeys(ctx, tx, r.Delete)
}

func leaveWatermark(ctx context.Context, tx Tx, r store.Revocation) error {
	args := []any{selectorKey(r.Select.Index), r.Now.UnixMicro(), until(r)}
	if _, err := tx.Exec(ctx, deleteWatermarks, args...); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertWatermark, args...)
	return err
}

// until returns how long dead grants and the watermark stay.
func until(r store.Revocation) int64 { return r.Now.Add(r.KeepFor).UnixMicro() }

// killStatement returns the statement that kills the selected grants.
func killStatement(ctx context.Context, tx Tx, r store.Revocation) (string, []any, error) {
	c := conditions{}
	set := c.number(killSelected, r.Now.UnixMicro(), []byte(r.Reason), until(r), until(r))
	c.add("dead_at IS NULL")
	c.add("(expires_at IS NULL OR expires_at > ?)", r.Now.UnixMicro())
	if r.Select.ID != "" {
		c.add("kind = ? AND id = ?", grantKind(), []byte(r.Select.ID))
		return set + c.where(), c.args, nil
	}
	entries, err := byCount(ctx, tx, r.Select.Index)
	if err != nil {
		return "", nil, err
	}
	// The rarest entry finds the grants, the others are looked up for each.
	for i, e := range entries {
		entry := "kind = ? AND name = ? AND value = ?"
		args := []any{grantKind(), e.Name, e.Value}
		if i == 0 {
			c.add("seq IN (SELECT record FROM tsidp_record_index WHERE "+entry+")", args...)
		} else {
			c.add("EXISTS (SELECT 1 FROM tsidp_record_index WHERE record = seq AND "+entry+")", args...)
		}
	}
	return set + c.where(), c.args, nil
}

// byCount returns the entries of an index, with the one that the fewest grants
// have first.
func byCount(ctx context.Context, tx Tx, index map[string]string) ([]Entry, error) {
	entries := Entries(index)
	if len(entries) == 1 {
		return entries, nil
	}
	best, fewest := 0, int64(-1)
	for i, e := range entries {
		var n int64
		if _, err := queryRow(ctx, tx, countEntry, []any{grantKind(), e.Name, e.Value}, &n); err != nil {
			return nil, err
		}
		if fewest < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	entries[0], entries[best] = entries[best], entries[0]
	return entries, nil
}

// deleteKeys removes records, in one order for all transactions.
func deleteKeys(ctx context.Context, tx Tx, keys []store.Key) error {
	unique := make(map[store.Key]bool)
	for _, key := range keys {
		unique[key] = true
	}
	sorted := slices.SortedFunc(maps.Keys(unique), func(a, b store.Key) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	var rows [][]any
	for _, key := range sorted {
		rows = append(rows, []any{Key(string(key.Kind)), []byte(key.ID)})
	}
	return tx.ExecEach(ctx, deleteByKey, rows)
}

const useOnce = `INSERT INTO tsidp_once (space, id, expires_at) VALUES ($1, $2, $4)
	ON CONFLICT (space, id) DO UPDATE SET expires_at = excluded.expires_at WHERE tsidp_once.expires_at <= $3`

// UseOnce implements [store.Store]. Isolation: one statement.
func (s *Store) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	if err := storecheck.UseOnce(space, id, exp); err != nil {
		return err
	}
	n, err := s.db.Exec(ctx, useOnce, Key(space), []byte(id), now.UnixMicro(), exp.UnixMicro())
	if err == nil && n == 0 {
		err = store.ErrSpent
	}
	if err != nil {
		return fmt.Errorf("using %q value once: %w", space, err)
	}
	return nil
}
