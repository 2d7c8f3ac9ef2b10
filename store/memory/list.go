// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/tailscale/tsidp/store"
)

// List implements [store.Store].
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	after, err := checkPage(q)
	if err != nil {
		return store.Page{}, err
	}
	if err := s.lock(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.mu.Unlock()
	sp := s.span(q)
	if after != nil {
		sp.skip(*after)
	}
	var page store.Page
	var last entry
	for e := range sp.all() {
		if expired(e.record.ExpiresAt, q.Now) {
			continue
		}
		if len(page.Records) == limit(q) {
			page.Next = cursor{last.value, last.record.ID}.String()
			break
		}
		page.Records = append(page.Records, clone(e.record.Record))
		last = e
	}
	return page, nil
}

// Count implements [store.Store]. It costs a binary search and a look at what
// has expired and was not removed yet.
func (s *Store) Count(ctx context.Context, q store.Query) (int, error) {
	if err := checkQuery(q); err != nil {
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

// limit returns the size of a page.
func limit(q store.Query) int {
	if q.Limit == 0 {
		return store.MaxPage
	}
	return q.Limit
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

// skip takes what is not after c out of sp.
func (sp *span) skip(c cursor) {
	start := sp.list.find(func(e entry) bool {
		return e.value < c.value || e.value == c.value && e.record.ID <= c.id
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
// values, see checkQuery.
func matches(q store.Query, value string) bool {
	if q.Prefix || q.Index == "" {
		return strings.HasPrefix(value, q.Value)
	}
	return value == q.Value
}

// checkQuery returns an error unless q is one that Count answers.
func checkQuery(q store.Query) error {
	if q.Index == "" && q.Value != "" && !q.Prefix {
		return errors.New("checking query: value without index or prefix")
	}
	return nil
}

// checkPage returns an error unless q is one that List answers, and where its
// page begins; nil is the start.
func checkPage(q store.Query) (*cursor, error) {
	if err := checkQuery(q); err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.Limit > store.MaxPage {
		return nil, fmt.Errorf("checking query: limit of %d, 0 to %d allowed", q.Limit, store.MaxPage)
	}
	if q.After == "" {
		return nil, nil
	}
	c, err := parseCursor(q.After)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// A cursor is what Page.Next says: the last entry of the page.
type cursor struct {
	value string // at most 65535 bytes
	id    string
}

// String returns c in base64url: the length of the value in two bytes, big
// endian, the value, the ID.
func (c cursor) String() string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(c.value)))
	b = append(b, c.value...)
	b = append(b, c.id...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor is the inverse of cursor.String.
func parseCursor(s string) (cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return cursor{}, fmt.Errorf("reading page token: %w: %w", store.ErrPage, err)
	}
	if len(b) < 2 {
		return cursor{}, fmt.Errorf("reading page token: %w: too short", store.ErrPage)
	}
	n, rest := int(binary.BigEndian.Uint16(b)), string(b[2:])
	if n > len(rest) {
		return cursor{}, fmt.Errorf("reading page token: %w: too short", store.ErrPage)
	}
	c := cursor{rest[:n], rest[n:]}
	if c.String() != s { // the decoder overlooks line ends
		return cursor{}, fmt.Errorf("reading page token: %w: stray characters", store.ErrPage)
	}
	return c, nil
}
