// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storecheck

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tailscale/tsidp/store"
)

// Count returns an error unless q is one that Count answers.
func Count(q store.Query) error {
	if q.Index == "" && q.Value != "" && !q.Prefix {
		return errors.New("checking query: value without index or prefix")
	}
	return nil
}

// List returns an error unless q is one that List answers; otherwise how many
// records its page has at most, and after what it begins: nil is the start.
func List(q store.Query) (limit int, after *Cursor, err error) {
	if err := Count(q); err != nil {
		return 0, nil, err
	}
	if q.Limit < 0 || q.Limit > store.MaxPage {
		return 0, nil, fmt.Errorf("checking query: limit of %d, 0 to %d allowed", q.Limit, store.MaxPage)
	}
	limit = q.Limit
	if limit == 0 {
		limit = store.MaxPage
	}
	if q.After == "" {
		return limit, nil, nil
	}
	c, err := parseCursor(q.After)
	if err != nil {
		return 0, nil, err
	}
	if !c.isOf(q) {
		return 0, nil, fmt.Errorf("reading page token: %w: that of another query", store.ErrPage)
	}
	return limit, &c, nil
}

// Next returns the page token behind a page of q that ends with last.
func Next(q store.Query, last store.Record) string {
	return Cursor{last.Index[q.Index], last.ID}.String()
}

// A Cursor is what Page.Next says: the last record of the page.
type Cursor struct {
	Value string // in the index of the query, or none; at most 65535 bytes
	ID    string
}

// isOf reports whether c is a place among what q selects.
func (c Cursor) isOf(q store.Query) bool {
	switch {
	case q.Index == "":
		return c.Value == "" && strings.HasPrefix(c.ID, q.Value)
	case q.Prefix:
		return strings.HasPrefix(c.Value, q.Value)
	}
	return c.Value == q.Value
}

// String returns c in base64url: the length of the value in two bytes, big
// endian, the value, the ID.
func (c Cursor) String() string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(c.Value)))
	b = append(b, c.Value...)
	b = append(b, c.ID...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor is the inverse of Cursor.String.
func parseCursor(s string) (Cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return Cursor{}, fmt.Errorf("reading page token: %w: %w", store.ErrPage, err)
	}
	if len(b) < 2 {
		return Cursor{}, fmt.Errorf("reading page token: %w: too short", store.ErrPage)
	}
	n, rest := int(binary.BigEndian.Uint16(b)), string(b[2:])
	if n > len(rest) {
		return Cursor{}, fmt.Errorf("reading page token: %w: too short", store.ErrPage)
	}
	c := Cursor{rest[:n], rest[n:]}
	if c.String() != s { // the decoder overlooks line ends
		return Cursor{}, fmt.Errorf("reading page token: %w: stray characters", store.ErrPage)
	}
	return c, nil
}
