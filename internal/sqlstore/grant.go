// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

const insertToken = `INSERT INTO tsidp_refresh (hash, grant_seq, created_at, expires_at) VALUES ($1, $2, $3, $4)
	ON CONFLICT (hash) DO NOTHING`

// Redeem implements [store.Store]. Isolation: code lock; of two that open one
// grant, the unique key lets one do it.
func (s *Store) Redeem(ctx context.Context, r store.Redemption) error {
	if err := storecheck.Redemption(r); err != nil {
		return err
	}
	if err := s.db.Write(ctx, func(tx Tx) error { return s.redeem(ctx, tx, r) }); err != nil {
		return fmt.Errorf("redeeming authorization code: %w", err)
	}
	return nil
}

func (s *Store) redeem(ctx context.Context, tx Tx, r store.Redemption) error {
	if err := lock(ctx, tx, s.d.ShareCodes); err != nil {
		return err
	}
	seq, created, err := insert(ctx, tx, NewGrant(r))
	if err != nil {
		return err
	}
	if !created {
		return store.ErrSpent
	}
	if refused, err := revoked(ctx, tx, r); err != nil || refused {
		return cmp.Or(err, store.ErrDead)
	}
	if t := r.Refresh; t != nil {
		n, err := tx.Exec(ctx, insertToken, t.Hash[:], seq, Micros(t.CreatedAt), Micros(t.ExpiresAt))
		if err != nil || n == 0 {
			return cmp.Or(err, store.ErrConflict)
		}
	}
	for _, mark := range Marks(r) {
		if err := s.mark(ctx, tx, mark, r.Now); err != nil {
			return err
		}
	}
	return nil
}

// NewGrant returns the grant that r opens, as it is inserted.
func NewGrant(r store.Redemption) store.Record {
	g := r.Grant
	g.Version, g.DeadAt, g.DeadReason = 1, time.Time{}, ""
	return g
}

// Marks returns the marks of r as they are inserted: the first of each key, in
// one order for all, so that no two transactions wait for each other's.
func Marks(r store.Redemption) []store.Record {
	byKey := func(a, b store.Record) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	}
	marks := slices.SortedStableFunc(slices.Values(r.Marks), byKey)
	marks = slices.CompactFunc(marks, func(a, b store.Record) bool { return byKey(a, b) == 0 })
	for i := range marks {
		marks[i].Version = 1
	}
	return marks
}

// revoked reports whether a watermark refuses the code.
func revoked(ctx context.Context, tx Tx, r store.Redemption) (bool, error) {
	keys := SelectorKeys(r.Grant.Index)
	if len(keys) == 0 {
		return false, nil
	}
	var c conditions
	c.add("revoked_at >= ?", r.IssuedAt.UnixMicro())
	c.add("expires_at > ?", r.Now.UnixMicro())
	args := make([]any, len(keys))
	for i, key := range keys {
		args[i] = key
	}
	c.add("selector IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	var one int64
	return queryRow(ctx, tx, "SELECT 1 FROM tsidp_watermark"+c.where()+" LIMIT 1", c.args, &one)
}

// mark inserts a record where there is none that lives.
func (s *Store) mark(ctx context.Context, tx Tx, r store.Record, now time.Time) error {
	for range 3 {
		if _, created, err := insert(ctx, tx, r); err != nil || created {
			return err
		}
		h, found, err := s.head(ctx, tx, r.Kind, r.ID)
		switch {
		case err != nil:
			return err
		case found && expired(h.expires, now):
			return overwrite(ctx, tx, h, r)
		case found:
			return nil
		}
		// It has been deleted since the statement before.
	}
	return errors.New("inserting mark: it comes and goes")
}

const selectTokenAndGrant = `SELECT ` + recordColumns + `, t.created_at, t.expires_at, t.spent_at
	FROM tsidp_refresh t JOIN tsidp_record g ON g.seq = t.grant_seq
	WHERE t.hash = $1 AND t.expires_at > $2 AND (g.expires_at IS NULL OR g.expires_at > $2)`

// Refresh implements [store.Store]. Isolation: one statement.
func (s *Store) Refresh(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
	var grant store.Record
	var created, expires, spent *int64
	found := false
	err := s.db.Read(ctx, func(tx Tx) error {
		found = false
		return tx.Query(ctx, selectTokenAndGrant, []any{h[:], now.UnixMicro()}, func(scan Scan) (err error) {
			grant, err = scanRecord(scan, store.KindGrant, &created, &expires, &spent)
			found = err == nil
			return err
		})
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Refresh{}, store.Record{}, fmt.Errorf("looking up refresh token: %w", err)
	}
	token := store.Refresh{
		Hash:      h,
		Grant:     grant.ID,
		CreatedAt: fromMicros(created),
		ExpiresAt: fromMicros(expires),
		SpentAt:   fromMicros(spent),
	}
	return token, grant, nil
}

// A token is what decides about a rotation.
type token struct {
	grant                     int64
	spent                     *int64
	salt, next                []byte
	expires, grantExpires, by *int64 // by: when the grant died
}

const (
	selectToken = `SELECT t.grant_seq, t.spent_at, t.salt, t.next_hash, t.expires_at, g.expires_at, g.dead_at
		FROM tsidp_refresh t JOIN tsidp_record g ON g.seq = t.grant_seq WHERE t.hash = $1`
	selectUnused = `SELECT 1 FROM tsidp_refresh WHERE hash = $1 AND spent_at IS NULL AND expires_at > $2`
	spendToken   = `UPDATE tsidp_refresh SET spent_at = $2, salt = $3, next_hash = $4 WHERE hash = $1`
	touchGrant   = `UPDATE tsidp_record SET version = version + 1, used_at = $2, expires_at = $3 WHERE seq = $1`
	killGrant    = `UPDATE tsidp_record SET version = version + 1, dead_at = $2, dead_reason = $3 WHERE seq = $1`
)

// Rotate implements [store.Store]. Isolation: row lock, of the grant and of
// the token; whoever rotates the successor waits for that of the grant.
func (s *Store) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	if err := storecheck.Rotation(r); err != nil {
		return [32]byte{}, err
	}
	var salt [32]byte
	reused := false
	err := s.db.Write(ctx, func(tx Tx) (err error) {
		salt, reused, err = s.rotate(ctx, tx, r)
		return err
	})
	if err == nil && reused {
		err = store.ErrReuse
	}
	if err != nil {
		return [32]byte{}, fmt.Errorf("rotating refresh token: %w", err)
	}
	return salt, nil
}

// rotate returns the salt of the successor, or reused if it has killed the
// grant instead, which is not undone as an error would be.
func (s *Store) rotate(ctx context.Context, tx Tx, r store.Rotation) (salt [32]byte, reused bool, err error) {
	var t token
	found, err := queryRow(ctx, tx, selectToken+s.d.ForGrant, []any{r.Old[:]},
		&t.grant, &t.spent, &t.salt, &t.next, &t.expires, &t.grantExpires, &t.by)
	switch {
	case err != nil:
		return salt, false, err
	case !found || expired(t.expires, r.Now) || expired(t.grantExpires, r.Now):
		return salt, false, store.ErrNotFound
	case t.by != nil:
		return salt, false, store.ErrDead
	case t.spent == nil:
		return r.Salt, false, spend(ctx, tx, t.grant, r)
	}
	retry, err := isRetry(ctx, tx, t, r)
	if err != nil {
		return salt, false, err
	}
	if retry {
		copy(salt[:], t.salt)
		return salt, false, nil
	}
	// RFC 9700, 4.14.2: "The authorization server cannot determine which
	// party submitted the invalid refresh token, but it will revoke the
	// active refresh token."
	_, err = tx.Exec(ctx, killGrant, t.grant, r.Now.UnixMicro(), []byte("reuse"))
	return salt, true, err
}

// spend rotates a token for the first time.
func spend(ctx context.Context, tx Tx, grant int64, r store.Rotation) error {
	now := r.Now.UnixMicro()
	n, err := tx.Exec(ctx, insertToken, r.Next[:], grant, now, Micros(r.NextExpiresAt))
	if err != nil || n == 0 {
		return cmp.Or(err, store.ErrConflict)
	}
	if _, err := tx.Exec(ctx, spendToken, r.Old[:], now, r.Salt[:], r.Next[:]); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, touchGrant, grant, now, Micros(r.GrantExpiresAt))
	return err
}

// isRetry reports whether presenting the spent t is the client asking again
// for an answer that it did not get.
func isRetry(ctx context.Context, tx Tx, t token, r store.Rotation) (bool, error) {
	if r.Now.Sub(fromMicros(t.spent)) >= r.Grace {
		return false, nil
	}
	var one int64
	return queryRow(ctx, tx, selectUnused, []any{t.next, r.Now.UnixMicro()}, &one)
}
