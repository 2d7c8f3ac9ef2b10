// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/tailscale/tsidp/store"
)

// keyLen is the number of bytes of a key at most. It is part of what is in the
// database: a change needs a migration. Two keys fit with an index value and
// an ID into the 2704 bytes that a row of a PostgreSQL index may have.
const keyLen = 64

// Key returns what stands for a kind, a space or the name of an index: the
// string if it is short, or its beginning and its hash.
func Key(s string) []byte {
	if len(s) < keyLen {
		return []byte(s)
	}
	sum := sha256.Sum256([]byte(s))
	return append([]byte(s[:keyLen-len(sum)]), sum[:]...)
}

// grantKind is the key of the kind of grants.
func grantKind() []byte { return Key(string(store.KindGrant)) }

// An Entry is what a row of tsidp_record_index says beside its record.
type Entry struct {
	Name  []byte // its key
	Value []byte
}

// Entries returns the rows of tsidp_record_index of a record with that index.
func Entries(index map[string]string) []Entry {
	entries := make([]Entry, 0, len(index))
	for _, name := range slices.Sorted(maps.Keys(index)) {
		entries = append(entries, Entry{Key(name), []byte(index[name])})
	}
	return entries
}

// successor returns the least string that is greater than all strings with
// that prefix, or false if there is none.
func successor(prefix string) ([]byte, bool) {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return nil, false
	}
	b[len(b)-1]++
	return b, true
}

// Micros returns a time as a column holds it, cut to microseconds: nil for the
// zero time.
func Micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of Micros.
func fromMicros(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return time.UnixMicro(*us).UTC()
}

// expired reports whether a row with that ExpiresAt is gone.
func expired(expiresAt *int64, now time.Time) bool {
	return expiresAt != nil && *expiresAt <= now.UnixMicro()
}
