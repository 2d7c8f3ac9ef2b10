// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
)

// removals returns the statements of Expire, in their order. $1 is the time,
// $2 how many rows may be removed.
//
// A grant goes after its tokens. So that a call need not look at all that has
// expired, the second and third statement look at the records that expired
// first: if the second has not removed as many tokens as it may, the records
// at which the third looks have none left.
func removals(d Dialect) []string {
	statements := []string{
		`WITH doomed AS MATERIALIZED (
			SELECT hash FROM tsidp_refresh WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {{lock}}
		) DELETE FROM tsidp_refresh WHERE hash IN (SELECT hash FROM doomed)`,
		`WITH gone AS MATERIALIZED (
			SELECT seq FROM tsidp_record WHERE expires_at <= $1 ORDER BY expires_at, seq LIMIT $2 {{lock}}
		), doomed AS MATERIALIZED (
			SELECT hash FROM gone JOIN tsidp_refresh ON grant_seq = seq LIMIT $2
		) DELETE FROM tsidp_refresh WHERE hash IN (SELECT hash FROM doomed)`,
		`WITH gone AS MATERIALIZED (
			SELECT seq FROM tsidp_record WHERE expires_at <= $1 ORDER BY expires_at, seq LIMIT $2 {{lock}}
		) DELETE FROM tsidp_record WHERE seq IN (SELECT seq FROM gone)
			AND NOT EXISTS (SELECT 1 FROM tsidp_refresh WHERE grant_seq = seq)`,
		`WITH doomed AS MATERIALIZED (
			SELECT space, id FROM tsidp_once WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {{lock}}
		) DELETE FROM tsidp_once WHERE (space, id) IN (SELECT space, id FROM doomed)`,
		`WITH doomed AS MATERIALIZED (
			SELECT selector, revoked_at, expires_at FROM tsidp_watermark WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 {{lock}}
		) DELETE FROM tsidp_watermark
			WHERE (selector, revoked_at, expires_at) IN (SELECT selector, revoked_at, expires_at FROM doomed)`,
	}
	for i := range statements {
		statements[i] = strings.ReplaceAll(statements[i], "{{lock}}", d.SkipLocked)
	}
	return statements
}

// Expire implements [store.Store]. Isolation: row lock; rows that another
// transaction holds are left for another time.
func (s *Store) Expire(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := storecheck.Expire(limit); err != nil {
		return 0, err
	}
	var removed int64
	err := s.db.Write(ctx, func(tx Tx) error {
		removed = 0
		for _, statement := range removals(s.d) {
			if removed == int64(limit) {
				return nil
			}
			n, err := tx.Exec(ctx, statement, now.UnixMicro(), int64(limit)-removed)
			if err != nil {
				return err
			}
			removed += n
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("removing expired rows: %w", err)
	}
	return int(removed), nil
}
