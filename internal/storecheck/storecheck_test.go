// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storecheck

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/store"
)

var later = time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC)

// refused reports it unless err is one, and one that is no answer about the
// state, exactly if want says so.
func refused(t *testing.T, what string, err error, want bool) {
	t.Helper()
	if (err != nil) != want {
		t.Errorf("%s: error %v, want one: %t", what, err, want)
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrConflict, store.ErrSpent, store.ErrDead, store.ErrReuse, store.ErrPage} {
		if errors.Is(err, sentinel) {
			t.Errorf("%s: %v is what a caller branches on", what, err)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

// records are such as may be stored, or not, whatever their kind.
func records(kind store.Kind) map[string]struct {
	record  store.Record
	refused bool
} {
	six := map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "", long(store.MaxIndexLen): long(store.MaxIndexLen)}
	seven := maps.Clone(six)
	seven["g"] = ""
	return map[string]struct {
		record  store.Record
		refused bool
	}{
		"least":         {record: store.Record{Kind: kind, ID: "i"}},
		"most":          {record: store.Record{Kind: kind, ID: long(store.MaxIDLen), Data: make([]byte, store.MaxDataLen), Index: six}},
		"no ID":         {record: store.Record{Kind: kind}, refused: true},
		"long ID":       {record: store.Record{Kind: kind, ID: long(store.MaxIDLen + 1)}, refused: true},
		"much data":     {record: store.Record{Kind: kind, ID: "i", Data: make([]byte, store.MaxDataLen+1)}, refused: true},
		"seven entries": {record: store.Record{Kind: kind, ID: "i", Index: seven}, refused: true},
		"no name":       {record: store.Record{Kind: kind, ID: "i", Index: map[string]string{"": "v"}}, refused: true},
		"long name":     {record: store.Record{Kind: kind, ID: "i", Index: map[string]string{long(store.MaxIndexLen + 1): ""}}, refused: true},
		"long value":    {record: store.Record{Kind: kind, ID: "i", Index: map[string]string{"n": long(store.MaxIndexLen + 1)}}, refused: true},
	}
}

func TestRecords(t *testing.T) {
	for name, tt := range records("thing") {
		refused(t, "Put of "+name, Put(tt.record), tt.refused)
		r := store.Redemption{Grant: store.Record{Kind: store.KindGrant, ID: "g"}, Marks: []store.Record{{Kind: "mark", ID: "m"}, tt.record}}
		refused(t, "Redemption with the mark "+name, Redemption(r), tt.refused)
	}
	for name, tt := range records(store.KindGrant) {
		refused(t, "Put of a grant with "+name, Put(tt.record), true)
		refused(t, "Redemption of "+name, Redemption(store.Redemption{Grant: tt.record}), tt.refused)
	}
	refused(t, "Put of no kind", Put(store.Record{ID: "i"}), true)
	refused(t, "Delete of a grant", Delete(store.KindGrant), true)
	refused(t, "Delete of another", Delete("thing"), false)
}

func TestRedemption(t *testing.T) {
	grant := store.Record{Kind: store.KindGrant, ID: "g"}
	for name, tt := range map[string]struct {
		r    store.Redemption
		want bool
	}{
		"no token":          {store.Redemption{Grant: grant}, false},
		"a token":           {store.Redemption{Grant: grant, Refresh: &store.Refresh{Grant: "g", ExpiresAt: later}}, false},
		"another's token":   {store.Redemption{Grant: grant, Refresh: &store.Refresh{Grant: "h", ExpiresAt: later}}, true},
		"an eternal token":  {store.Redemption{Grant: grant, Refresh: &store.Refresh{Grant: "g"}}, true},
		"another kind":      {store.Redemption{Grant: store.Record{Kind: "thing", ID: "g"}}, true},
		"a mark of a grant": {store.Redemption{Grant: grant, Marks: []store.Record{{Kind: store.KindGrant, ID: "h"}}}, true},
	} {
		refused(t, name, Redemption(tt.r), tt.want)
	}
}

func TestOtherVerbs(t *testing.T) {
	index := map[string]string{"user": "u"}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"rotation":                          {Rotation(store.Rotation{NextExpiresAt: later}), false},
		"rotation to an eternal token":      {Rotation(store.Rotation{}), true},
		"revocation by ID":                  {Revocation(store.Revocation{Select: store.Selector{ID: "g"}, KeepFor: 1}), false},
		"revocation by index":               {Revocation(store.Revocation{Select: store.Selector{Index: index}, KeepFor: 1}), false},
		"revocation of nothing":             {Revocation(store.Revocation{KeepFor: 1, Delete: []store.Key{{Kind: "thing", ID: "i"}}}), false},
		"revocation by both":                {Revocation(store.Revocation{Select: store.Selector{ID: "g", Index: index}, KeepFor: 1}), true},
		"revocation that keeps nothing":     {Revocation(store.Revocation{Select: store.Selector{ID: "g"}}), true},
		"revocation that deletes a grant":   {Revocation(store.Revocation{KeepFor: 1, Delete: []store.Key{{Kind: store.KindGrant, ID: "g"}}}), true},
		"revocation by a forbidden index":   {Revocation(store.Revocation{Select: store.Selector{Index: map[string]string{"": ""}}, KeepFor: 1}), true},
		"use":                               {UseOnce("space", long(store.MaxIDLen), later), false},
		"use without space":                 {UseOnce("", "id", later), true},
		"use without ID":                    {UseOnce("space", "", later), true},
		"use of a long ID":                  {UseOnce("space", long(store.MaxIDLen+1), later), true},
		"use for ever":                      {UseOnce("space", "id", time.Time{}), true},
		"expiry of one":                     {Expire(1), false},
		"expiry of none":                    {Expire(0), true},
		"count of all":                      {Count(store.Query{Kind: "thing"}), false},
		"count of a prefix of the ID":       {Count(store.Query{Value: "i", Prefix: true}), false},
		"count of an index":                 {Count(store.Query{Index: "user", Value: "u"}), false},
		"count of a value without an index": {Count(store.Query{Value: "i"}), true},
	} {
		refused(t, name, tt.err, tt.want)
	}
}

func TestList(t *testing.T) {
	for name, tt := range map[string]struct {
		q     store.Query
		limit int // 0: refused
	}{
		"the default":   {store.Query{}, store.MaxPage},
		"one":           {store.Query{Limit: 1}, 1},
		"the most":      {store.Query{Limit: store.MaxPage}, store.MaxPage},
		"too many":      {store.Query{Limit: store.MaxPage + 1}, 0},
		"less than one": {store.Query{Limit: -1}, 0},
		"a bad query":   {store.Query{Value: "i"}, 0},
	} {
		limit, after, err := List(tt.q)
		if limit != tt.limit || after != nil {
			t.Errorf("%s: %d records after %v, want %d after nil", name, limit, after, tt.limit)
		}
		refused(t, name, err, tt.limit == 0)
	}
}

// A page token is one of the query that it continues.
func TestListAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		q    store.Query
		c    Cursor
		want bool
	}{
		"by ID":                      {store.Query{}, Cursor{"", "i"}, true},
		"by ID, with a value":        {store.Query{}, Cursor{"v", "i"}, false},
		"by prefix of the ID":        {store.Query{Prefix: true, Value: "i"}, Cursor{"", "ij"}, true},
		"by another prefix":          {store.Query{Prefix: true, Value: "i"}, Cursor{"", "j"}, false},
		"by index":                   {store.Query{Index: "n", Value: "v"}, Cursor{"v", "i"}, true},
		"by another value":           {store.Query{Index: "n", Value: "v"}, Cursor{"vw", "i"}, false},
		"by prefix of the value":     {store.Query{Index: "n", Prefix: true, Value: "v"}, Cursor{"vw", "i"}, true},
		"by another prefix of those": {store.Query{Index: "n", Prefix: true, Value: "v"}, Cursor{"w", "i"}, false},
	} {
		tt.q.After = tt.c.String()
		_, after, err := List(tt.q)
		switch {
		case tt.want && (err != nil || *after != tt.c):
			t.Errorf("%s: page after %v, %v, want after %v", name, after, err, tt.c)
		case !tt.want && !errors.Is(err, store.ErrPage):
			t.Errorf("%s: error %v, want %v", name, err, store.ErrPage)
		}
	}
}

// cursors are such as a page can end with.
func cursors() []Cursor {
	return []Cursor{
		{"", ""}, {"", "i"}, {"v", ""}, {"value", "id"}, {"\xff\x00", "\x00\xff"},
		{long(store.MaxIndexLen), long(store.MaxIDLen)}, {long(65535), "i"},
	}
}

// noCursors are no page tokens.
func noCursors() []string {
	return []string{"", "A", "AA", "AAE", "AAEA=", "AAF", "AAB", "AA\nA", "AAA\n", "AAA=", "AA A", "__8", "////", "AAB2\n", "AAB2=", "\x00", "no token!"}
}

// What a page ends with is where the next one begins.
func TestNext(t *testing.T) {
	last := store.Record{ID: "i", Index: map[string]string{"n": "v"}}
	for name, tt := range map[string]struct {
		q    store.Query
		want Cursor
	}{
		"by ID":               {store.Query{}, Cursor{"", "i"}},
		"by prefix of the ID": {store.Query{Prefix: true, Value: "i"}, Cursor{"", "i"}},
		"by index":            {store.Query{Index: "n", Value: "v"}, Cursor{"v", "i"}},
		"by prefix":           {store.Query{Index: "n", Prefix: true}, Cursor{"v", "i"}},
	} {
		tt.q.After = Next(tt.q, last)
		if _, after, err := List(tt.q); err != nil || *after != tt.want {
			t.Errorf("%s: page after %v, %v, want after %v", name, after, err, tt.want)
		}
	}
}

func TestCursor(t *testing.T) {
	for _, want := range cursors() {
		if got, err := parseCursor(want.String()); got != want || err != nil {
			t.Errorf("parseCursor of the cursor %.50q = %.50q, %v", want, got, err)
		}
	}
	for _, s := range noCursors() {
		if got, err := parseCursor(s); !errors.Is(err, store.ErrPage) {
			t.Errorf("parseCursor(%q) = %q, %v, want %v", s, got, err, store.ErrPage)
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, c := range cursors() {
		f.Add(c.String())
	}
	for _, s := range noCursors() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err != nil {
			if !errors.Is(err, store.ErrPage) {
				t.Errorf("parseCursor(%q): error %v, want %v", s, err, store.ErrPage)
			}
			return
		}
		if again := c.String(); again != s {
			t.Errorf("parseCursor(%q).String() = %q", s, again)
		}
	})
}
