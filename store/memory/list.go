// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"context"
	"iter"
	"strings"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// List implements [store.Store].
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	limit, after, err := storecheck.List(q)
	if err != nil {
		return store.Page{}, err
	}
	if err := s.lock(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.mu.Unlock()
	sp := s.span(q)
	if after != nil {
		sp.skip(q, *after)
	}
	var page store.Page
	for e := range sp.all() {
		if expired(e.record.ExpiresAt, q.Now) {
			continue
		}
		if len(page.Records) == limit {
			page.Next = storecheck.Next(q, page.Records[limit-1])
			break
		}
		page.Records = append(page.Records, clone(e.record.Record))
	}
	return page, nil
}

// Count implements [store.Store]. It costs a binary search and a look at what
// has expired and was not removed yet.
func (s *Store) Count(ctx context.Context, q store.Query) (int, error) {
	if err := storecheck.Count(q); err != nil {
		return 0, err
	}
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	n := s.span(q).size()
	for d := range s.deadlines.between(place{}, s.deadlines.end()) {
		if !expired(d.at, q.Now) {
			break
		}
		r, ok := d.row.(*record)
		if !ok || r.Kind != q.Kind {
			continue
		}
		if value, ok := r.value(q.Index); ok && matches(q, value) {
			n--
		}
	}
	return n, nil
}

// A span is what a query selects, and what of that has expired.
type span struct {
	list       *sorted[entry]
	start, end place // where end is not after start, there is nothing
}

// span returns what q selects.
func (s *Store) span(q store.Query) span {
	l := s.lists[listName{q.Kind, q.Index}]
	if l == nil {
		l = new(sorted[entry])
	}
	// All values with a prefix stand together, and not before the prefix.
	return span{
		list:  l,
		start: l.find(func(e entry) bool { return e.value < q.Value }),
		end:   l.find(func(e entry) bool { return e.value < q.Value || matches(q, e.value) }),
	}
}

// skip takes what is not after c out of sp, which is that of q.
func (sp *span) skip(q store.Query, c storecheck.Cursor) {
	value := c.Value
	if q.Index == "" {
		value = c.ID
	}
	start := sp.list.find(func(e entry) bool {
		return e.value < value || e.value == value && e.record.ID <= c.ID
	})
	if sp.start.before(start) {
		sp.start = start
	}
}

// all yields the entries of sp.
func (sp span) all() iter.Seq[entry] { return sp.list.between(sp.start, sp.end) }

// size returns the number of entries of sp, which must not have been skipped.
func (sp span) size() int { return sp.list.rank(sp.end) - sp.list.rank(sp.start) }

// matches reports whether q selects value. The index by ID has no exact
// values, see [storecheck.Count].
func matches(q store.Query, value string) bool {
	if q.Prefix || q.Index == "" {
		return strings.HasPrefix(value, q.Value)
	}
	return value == q.Value
}
