// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// conditions are what stands behind WHERE. The zero value has none.
type conditions struct {
	list []string
	args []any
}

// add adds a condition in which each ? is the next of args.
func (c *conditions) add(condition string, args ...any) {
	c.list = append(c.list, c.number(condition, args...))
}

// number returns SQL in which each ? is the next of args, with the numbers
// that these have in c.args.
func (c *conditions) number(sql string, args ...any) string {
	c.args = append(c.args, args...)
	parts := strings.Split(sql, "?")
	first := len(c.args) - len(args) + 1
	var b strings.Builder
	b.WriteString(parts[0])
	for i, part := range parts[1:] {
		b.WriteString("$" + strconv.Itoa(first+i) + part)
	}
	return b.String()
}

func (c *conditions) where() string { return " WHERE " + strings.Join(c.list, " AND ") }

// within adds that column begins with prefix. What comes before the prefix
// need not be kept out if a cursor does so.
func (c *conditions) within(column, prefix string, at *storecheck.Cursor) {
	if at == nil {
		c.add(column+" >= ?", []byte(prefix))
	}
	if end, ok := successor(prefix); ok {
		c.add(column+" < ?", end)
	}
}

// selection returns the tables that q asks, as they stand behind FROM, and
// its conditions: a range of an index, behind the cursor if there is one, and
// that the record lives.
func selection(q store.Query, at *storecheck.Cursor) (from string, c conditions) {
	kind := Key(string(q.Kind))
	switch {
	case q.Index == "":
		from = "tsidp_record g"
		c.add("g.kind = ?", kind)
		c.within("g.id", q.Value, at)
		if at != nil {
			c.add("g.id > ?", []byte(at.ID))
		}
	case q.Prefix:
		from = "tsidp_record_index i JOIN tsidp_record g ON g.seq = i.record"
		c.add("i.kind = ? AND i.name = ?", kind, Key(q.Index))
		c.within("i.value", q.Value, at)
		if at != nil {
			c.add("(i.value, i.id) > (?, ?)", []byte(at.Value), []byte(at.ID))
		}
	default:
		from = "tsidp_record_index i JOIN tsidp_record g ON g.seq = i.record"
		c.add("i.kind = ? AND i.name = ? AND i.value = ?", kind, Key(q.Index), []byte(q.Value))
		if at != nil {
			c.add("i.id > ?", []byte(at.ID))
		}
	}
	c.add("(g.expires_at IS NULL OR g.expires_at > ?)", q.Now.UnixMicro())
	return from, c
}

// order returns the columns by which q orders.
func order(q store.Query) string {
	if q.Index == "" {
		return "g.id"
	}
	return "i.value, i.id"
}

// List implements [store.Store]. Isolation: one statement.
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	limit, at, err := storecheck.List(q)
	if err != nil {
		return store.Page{}, err
	}
	from, c := selection(q, at)
	// One more says whether there is a next page.
	sql := "SELECT " + recordColumns + " FROM " + from + c.where() + " ORDER BY " + order(q) + c.number(" LIMIT ?", int64(limit)+1)
	var records []store.Record
	err = s.db.Read(ctx, func(tx Tx) error {
		records = nil
		return tx.Query(ctx, sql, c.args, func(scan Scan) error {
			r, err := scanRecord(scan, q.Kind)
			records = append(records, r)
			return err
		})
	})
	if err != nil {
		return store.Page{}, fmt.Errorf("listing %q records: %w", q.Kind, err)
	}
	page := store.Page{Records: records}
	if len(records) > limit {
		page.Records = records[:limit]
		page.Next = storecheck.Next(q, records[limit-1])
	}
	return page, nil
}

// Count implements [store.Store]. Isolation: one statement. It looks at every
// record that it counts.
func (s *Store) Count(ctx context.Context, q store.Query) (int, error) {
	if err := storecheck.Count(q); err != nil {
		return 0, err
	}
	from, c := selection(q, nil)
	var n int64
	err := s.db.Read(ctx, func(tx Tx) error {
		_, err := queryRow(ctx, tx, "SELECT count(*) FROM "+from+c.where(), c.args, &n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("counting %q records: %w", q.Kind, err)
	}
	return int(n), nil
}
