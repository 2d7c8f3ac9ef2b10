// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tailscale/tsidp/store"
)

// A cursor is what Page.Next says: the last record of the page.
type cursor struct {
	value string // in the index of the query, or none; at most 65535 bytes
	id    string
}

// isOf reports whether c is a place among what q selects.
func (c cursor) isOf(q store.Query) bool {
	switch {
	case q.Index == "":
		return c.value == "" && strings.HasPrefix(c.id, q.Value)
	case q.Prefix:
		return strings.HasPrefix(c.value, q.Value)
	}
	return c.value == q.Value
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
