// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tailscale/tsidp/internal/sqlstore"
	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// The two transitions that every login and every refresh makes are statements
// that do all of it or nothing, in one round trip. Where one does nothing, the
// transaction of package sqlstore finds out why, and it may succeed there.

// redeemStatement opens a grant unless its ID is taken, a watermark refuses
// the code, or a mark is missing.
//
// Isolation: the code lock is taken by a statement before, so that the
// snapshot of this one is younger than the lock. Of two that open one grant,
// the unique key lets one do it.
const redeemStatement = `WITH opened AS (
	INSERT INTO tsidp_record (kind, id, version, data, entries, created_at, used_at, expires_at, dead_reason)
	SELECT $1::bytea, $2::bytea, 1, $3::bytea, $4::bytea, $5::bigint, $6::bigint, $7::bigint, ''::bytea
	WHERE NOT EXISTS (
		SELECT 1 FROM tsidp_watermark
		WHERE selector = ANY ($8::bytea[]) AND revoked_at >= $9::bigint AND expires_at > $10::bigint
	) AND NOT EXISTS (
		SELECT 1 FROM unnest($11::bytea[], $12::bytea[]) AS mark (kind, id)
		WHERE NOT EXISTS (
			SELECT 1 FROM tsidp_record r
			WHERE r.kind = mark.kind AND r.id = mark.id AND (r.expires_at IS NULL OR r.expires_at > $10::bigint)
		)
	)
	ON CONFLICT (kind, id) DO NOTHING
	RETURNING seq
), entered AS (
	INSERT INTO tsidp_record_index (record, name, kind, value, id)
	SELECT seq, entry.name, $1::bytea, entry.value, $2::bytea
	FROM opened, unnest($13::bytea[], $14::bytea[]) AS entry (name, value)
), issued AS (
	INSERT INTO tsidp_refresh (hash, grant_seq, created_at, expires_at)
	SELECT $15::bytea, seq, $16::bigint, $17::bigint FROM opened WHERE $15::bytea IS NOT NULL
)
SELECT count(*) FROM opened`

// Redeem implements [store.Store].
func (s *Store) Redeem(ctx context.Context, r store.Redemption) error {
	if err := storecheck.Redemption(r); err != nil {
		return err
	}
	var opened int64
	err := s.db.retry(ctx, func() error {
		var b pgx.Batch // of which all or nothing is committed
		b.Queue(dialect.ShareCodes)
		b.Queue(redeemStatement, redeemArgs(r)...).QueryRow(func(row pgx.Row) error { return row.Scan(&opened) })
		return s.db.pool.SendBatch(ctx, &b).Close()
	})
	switch {
	case err == nil && opened == 1:
		return nil
	case err == nil || isDuplicate(err):
		return s.Store.Redeem(ctx, r)
	}
	return fmt.Errorf("redeeming authorization code: %w", err)
}

// redeemArgs returns the arguments of redeemStatement.
func redeemArgs(r store.Redemption) []any {
	g := sqlstore.NewGrant(r)
	args := sqlstore.RecordArgs(g)
	kind, id, data, entries := args[0], args[1], args[3], args[4]
	created, used, expires := args[5], args[6], args[7]
	var markKinds, markIDs, names, values [][]byte
	for _, mark := range sqlstore.Marks(r) {
		markKinds = append(markKinds, sqlstore.Key(string(mark.Kind)))
		markIDs = append(markIDs, []byte(mark.ID))
	}
	for _, e := range sqlstore.Entries(g.Index) {
		names = append(names, e.Name)
		values = append(values, e.Value)
	}
	var hash, tokenCreated, tokenExpires any
	if t := r.Refresh; t != nil {
		hash, tokenCreated, tokenExpires = t.Hash[:], sqlstore.Micros(t.CreatedAt), sqlstore.Micros(t.ExpiresAt)
	}
	return []any{
		kind, id, data, entries, created, used, expires,
		sqlstore.SelectorKeys(g.Index), r.IssuedAt.UnixMicro(), r.Now.UnixMicro(),
		markKinds, markIDs, names, values,
		hash, tokenCreated, tokenExpires,
	}
}

// rotateStatement rotates a token that is unspent, and whose grant lives.
//
// Isolation: row lock. What another transaction has changed while this one
// waited is looked at again, for both rows, before anything is written.
const rotateStatement = `WITH locked AS (
	SELECT t.hash, t.grant_seq FROM tsidp_refresh t JOIN tsidp_record g ON g.seq = t.grant_seq
	WHERE t.hash = $1::bytea AND t.spent_at IS NULL AND t.expires_at > $5::bigint
		AND g.dead_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > $5::bigint)
	FOR UPDATE OF g, t
), spent AS (
	UPDATE tsidp_refresh t SET spent_at = $5::bigint, salt = $2::bytea, next_hash = $3::bytea
	FROM locked WHERE t.hash = locked.hash
), touched AS (
	UPDATE tsidp_record SET version = version + 1, used_at = $5::bigint, expires_at = $6::bigint
	FROM locked WHERE seq = locked.grant_seq
)
INSERT INTO tsidp_refresh (hash, grant_seq, created_at, expires_at)
SELECT $3::bytea, grant_seq, $5::bigint, $4::bigint FROM locked`

// Rotate implements [store.Store].
func (s *Store) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	if err := storecheck.Rotation(r); err != nil {
		return [32]byte{}, err
	}
	n, err := s.db.Exec(ctx, rotateStatement, r.Old[:], r.Salt[:], r.Next[:],
		sqlstore.Micros(r.NextExpiresAt), r.Now.UnixMicro(), sqlstore.Micros(r.GrantExpiresAt))
	switch {
	case err == nil && n == 1:
		return r.Salt, nil
	case err == nil || isDuplicate(err):
		return s.Store.Rotate(ctx, r)
	}
	return [32]byte{}, fmt.Errorf("rotating refresh token: %w", err)
}

// isDuplicate reports whether a row was refused for its unique key.
func isDuplicate(err error) bool { return code(err) == "23505" }
