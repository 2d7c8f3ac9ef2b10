// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
)

// encodeEntries returns an index as bytes: for each entry in order of the
// names, the length of the name, the name, the length of the value, the value.
// Equal indexes have equal bytes, and others have others.
func encodeEntries(index map[string]string) []byte {
	return appendEntries([]byte{}, index, slices.Sorted(maps.Keys(index)))
}

// appendEntries appends the entries of those names to b.
func appendEntries(b []byte, index map[string]string, names []string) []byte {
	for _, name := range names {
		for _, s := range []string{name, index[name]} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// decodeEntries is the inverse of encodeEntries; no entries are nil.
func decodeEntries(b []byte) (map[string]string, error) {
	var index map[string]string
	for len(b) > 0 {
		name, rest, ok := cutString(b)
		if !ok {
			return nil, errors.New("decoding index: name is cut off")
		}
		value, rest, ok := cutString(rest)
		if !ok {
			return nil, errors.New("decoding index: value is cut off")
		}
		if index == nil {
			index = make(map[string]string)
		}
		if _, twice := index[name]; twice {
			return nil, errors.New("decoding index: a name comes twice")
		}
		index[name] = value
		b = rest
	}
	return index, nil
}

// cutString returns the string at the start of b and what is behind it.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return "", nil, false
	}
	end := n + int(length)
	return string(b[n:end]), b[end:], true
}

// selectorKey returns what stands for the index of a selector in
// tsidp_watermark.
func selectorKey(index map[string]string) []byte {
	sum := sha256.Sum256(encodeEntries(index))
	return sum[:]
}

// SelectorKeys returns the values of tsidp_watermark.selector that match a
// grant with that index: those of all selectors made of its entries, of which
// [store.MaxIndexes] entries have 63.
func SelectorKeys(index map[string]string) [][]byte {
	names := slices.Sorted(maps.Keys(index))
	keys := make([][]byte, 0, 1<<len(names)-1)
	var part []string
	var b []byte
	for set := 1; set < 1<<len(names); set++ {
		part = part[:0]
		for i, name := range names {
			if set&(1<<i) != 0 {
				part = append(part, name)
			}
		}
		b = appendEntries(b[:0], index, part)
		sum := sha256.Sum256(b)
		keys = append(keys, sum[:])
	}
	return keys
}
