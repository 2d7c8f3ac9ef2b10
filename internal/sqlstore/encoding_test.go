// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tailscale/tsidp/store"
)

// indexes returns indexes that have different bytes.
func indexes() []map[string]string {
	return []map[string]string{
		nil,
		{"a": ""},
		{"a": "1"},
		{"a": "1", "b": "2"},
		{"a": "1b2"},
		{"a1": "", "b2": ""},
		{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "6"},
		{"\x00": "\xff", "\xff": "\x00"},
		{strings.Repeat("n", store.MaxIndexLen): strings.Repeat("v", store.MaxIndexLen)},
	}
}

func TestEntriesRoundTrip(t *testing.T) {
	seen := make(map[string]bool)
	for _, index := range indexes() {
		b := encodeEntries(index)
		if b == nil {
			t.Errorf("encodeEntries(%.50q) = nil, which a column does not take", index)
		}
		if seen[string(b)] {
			t.Errorf("encodeEntries(%.50q) = %q, which is another index too", index, b)
		}
		seen[string(b)] = true
		got, err := decodeEntries(b)
		if diff := cmp.Diff(index, got); err != nil || diff != "" {
			t.Errorf("decodeEntries(encodeEntries(%.50q)): %v (-want +got):\n%s", index, err, diff)
		}
	}
}

func TestDecodeEntriesRefuses(t *testing.T) {
	for _, s := range []string{"\x01", "\x01a", "\x01a\x02b", "\x01a\x01b\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80", "\x01a\x00\x01a\x00"} {
		if got, err := decodeEntries([]byte(s)); err == nil {
			t.Errorf("decodeEntries(%q) = %q, want an error", s, got)
		}
	}
}

func FuzzDecodeEntries(f *testing.F) {
	for _, index := range indexes() {
		f.Add(encodeEntries(index))
	}
	f.Add([]byte("\x80\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		index, err := decodeEntries(b)
		if err != nil {
			return
		}
		again, err := decodeEntries(encodeEntries(index))
		if diff := cmp.Diff(index, again); err != nil || diff != "" {
			t.Errorf("decoding %q again: %v (-first +second):\n%s", b, err, diff)
		}
	})
}

func TestSelectorKeys(t *testing.T) {
	index := map[string]string{"client": "c1", "user": "u1", "node": "n1"}
	keys := SelectorKeys(index)
	has := func(selector map[string]string) bool {
		key := selectorKey(selector)
		for _, k := range keys {
			if bytes.Equal(k, key) {
				return true
			}
		}
		return false
	}
	for _, part := range []map[string]string{
		{"client": "c1"}, {"user": "u1"}, {"node": "n1"}, {"client": "c1", "user": "u1"},
		{"client": "c1", "node": "n1"}, {"user": "u1", "node": "n1"}, index,
	} {
		if !has(part) {
			t.Errorf("the selector %v does not match %v", part, index)
		}
	}
	for _, other := range []map[string]string{
		{"client": "u1"}, {"client": "c1", "user": "u2"}, {"client": ""}, {"client": "c1", "user": "u1", "node": "n1", "x": "y"},
	} {
		if has(other) {
			t.Errorf("the selector %v matches %v", other, index)
		}
	}
	for n, want := range []int{0, 1, 3, 7, 15, 31, 63} {
		index := make(map[string]string)
		for i := range n {
			index[fmt.Sprint(i)] = ""
		}
		if got := len(SelectorKeys(index)); got != want {
			t.Errorf("%d selectors match an index of %d entries, want %d", got, n, want)
		}
	}
}

func TestKey(t *testing.T) {
	seen := make(map[string]string)
	long := strings.Repeat("k", keyLen)
	for _, s := range []string{"", "a", long[1:], long, long + "k", long + "l", string(Key(long))} {
		key := string(Key(s))
		if len(key) > keyLen {
			t.Errorf("Key(%q) has %d bytes, %d allowed", s, len(key), keyLen)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("Key(%q) = Key(%q)", s, other)
		}
		seen[key] = s
	}
}

func TestSuccessor(t *testing.T) {
	for _, tt := range []struct {
		prefix, want string
		ok           bool
	}{
		{"", "", false},
		{"\xff", "", false},
		{"\xff\xff", "", false},
		{"a", "b", true},
		{"a\xff", "b", true},
		{"a\xff\xff", "b", true},
		{"\xff\xfe", "\xff\xff", true},
		{"\x00", "\x01", true},
	} {
		got, ok := successor(tt.prefix)
		if string(got) != tt.want || ok != tt.ok {
			t.Errorf("successor(%q) = %q, %t, want %q, %t", tt.prefix, got, ok, tt.want, tt.ok)
		}
	}
}

func TestMicros(t *testing.T) {
	for _, tt := range []struct {
		t    time.Time
		want any
	}{
		{time.Time{}, nil},
		{time.Unix(0, 0), int64(0)},
		{time.Unix(1, 1999), int64(1_000_001)},
		{time.Unix(-1, 999), int64(-1_000_000)},
		{time.Unix(-1, 1000), int64(-999_999)},
	} {
		got := Micros(tt.t)
		if got != tt.want {
			t.Errorf("Micros(%v) = %v, want %v", tt.t, got, tt.want)
			continue
		}
		var us *int64
		if n, ok := got.(int64); ok {
			us = &n
		}
		if back := fromMicros(us); !back.Equal(tt.t.Truncate(time.Microsecond)) || back.IsZero() != tt.t.IsZero() || back.Location() != time.UTC {
			t.Errorf("fromMicros(Micros(%v)) = %v", tt.t, back)
		}
	}
}

func TestConditions(t *testing.T) {
	var c conditions
	set := c.number("SET a = ?, b = ?", int64(1), int64(2))
	c.add("c IS NULL")
	c.add("(d, e) > (?, ?)", int64(3), int64(4))
	got := set + c.where() + c.number(" LIMIT ?", int64(5))
	if want := "SET a = $1, b = $2 WHERE c IS NULL AND (d, e) > ($3, $4) LIMIT $5"; got != want {
		t.Errorf("statement = %q, want %q", got, want)
	}
	if diff := cmp.Diff([]any{int64(1), int64(2), int64(3), int64(4), int64(5)}, c.args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// What order Marks returns decides which of two transactions waits.
func TestMarks(t *testing.T) {
	record := func(kind store.Kind, id, data string) store.Record {
		return store.Record{Kind: kind, ID: id, Version: 7, Data: []byte(data)}
	}
	r := store.Redemption{Marks: []store.Record{record("b", "1", "first"), record("a", "2", ""), record("b", "1", "second"), record("a", "1", "")}}
	want := []store.Record{record("a", "1", ""), record("a", "2", ""), record("b", "1", "first")}
	for i := range want {
		want[i].Version = 1
	}
	if diff := cmp.Diff(want, Marks(r)); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	if r.Marks[0].Version != 7 {
		t.Error("Marks changes what it is given")
	}
}
