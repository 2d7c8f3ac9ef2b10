// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

func recordChecks() []check {
	return []check{
		{"comes back as written", checkRoundTrip},
		{"strings are bytes", checkBytes},
		{"times are cut to microseconds", checkPrecision},
		{"times come back in UTC", checkUTC},
		{"unknown is ErrNotFound", checkUnknown},
		{"kinds are apart", checkKinds},
		{"Put writes all", checkPutAll},
		{"Put moves in indexes", checkPutIndex},
		{"expires at ExpiresAt", checkRecordExpiry},
		{"zero ExpiresAt is never", checkNever},
		{"Put and Delete refuse grants", checkRefuseGrants},
	}
}

func checkRoundTrip(h *harness) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	full := store.Record{
		Kind:       thing,
		ID:         "full",
		Data:       all,
		Index:      map[string]string{"client": "c1", "user": "ünï", "empty": ""},
		CreatedAt:  h.in(-time.Hour).Add(tick),
		UsedAt:     h.in(-time.Minute).Add(2 * tick),
		ExpiresAt:  h.in(time.Hour).Add(3 * tick),
		DeadAt:     h.in(-time.Second).Add(4 * tick),
		DeadReason: "reason",
	}
	for _, r := range []store.Record{
		full,
		{Kind: thing, ID: "least"},
		{Kind: thing, ID: "emptiness", Data: []byte{}, Index: map[string]string{}},
		{Kind: thing, ID: "epoch", CreatedAt: time.Unix(0, 0), UsedAt: time.Unix(0, 0), DeadAt: time.Unix(0, 0)},
		{Kind: thing, ID: "before the epoch", CreatedAt: time.Unix(-1, 5000), UsedAt: time.Date(1901, 2, 3, 4, 5, 6, 7000, time.UTC)},
		{Kind: thing, ID: "far future", ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)},
	} {
		version := h.put(r)
		want := r
		want.Version = 1
		h.wantEqual(version, want.Version, "version that Put(%q) returns", r.ID)
		got := h.get(thing, r.ID, h.now)
		h.wantEqual(got, want, "record %q from Get", r.ID)
		h.wantEqual(h.list(store.Query{Kind: thing, Value: r.ID, Prefix: true, Now: h.now}), []store.Record{want}, "record %q from List", r.ID)
		for name, pair := range times(got, want) {
			if got, want := pair[0].IsZero(), pair[1].IsZero(); got != want {
				h.Errorf("record %q: %s.IsZero() = %t, want %t", r.ID, name, got, want)
			}
		}
	}
}

// times returns the times of two records by their names.
func times(a, b store.Record) map[string][2]time.Time {
	return map[string][2]time.Time{
		"CreatedAt": {a.CreatedAt, b.CreatedAt},
		"UsedAt":    {a.UsedAt, b.UsedAt},
		"ExpiresAt": {a.ExpiresAt, b.ExpiresAt},
		"DeadAt":    {a.DeadAt, b.DeadAt},
	}
}

// oddStrings returns strings that a database may stumble over.
func oddStrings() []string {
	return []string{
		"\x00", "a\x00", "a\x00b", "\xff", "\xff\xff", "a\xc3", "\xed\xa0\x80",
		"é", "e\u0301", "ß", "İ", "日本", "\U0001F511", "\u202e",
		"'", "''", "\"", "`", "a'b--", ";", "\\", "\\x00", "?", "$1", ":a", "@a", "%", "_",
		" ", "a ", " a", "\n", "\r\n", "a", "A", "0", "00", "1e1", "NULL", "null", "{}", "[\"a\"]",
	}
}

func checkBytes(h *harness) {
	for i, s := range oddStrings() {
		h.wantGone(thing, s, h.now)
		r := h.record(s)
		r.Index = map[string]string{"odd": s, s: "value", "all": "1"}
		h.put(r)
		r.Version = 1
		h.wantEqual(h.get(thing, s, h.now), r, "record %q", s)
		h.wantIDs(store.Query{Kind: thing, Index: "odd", Value: s, Now: h.now}, s)
		h.wantIDs(store.Query{Kind: thing, Index: s, Value: "value", Now: h.now}, s)
		if n, err := h.Count(h.ctx, store.Query{Kind: thing, Index: "all", Value: "1", Now: h.now}); err != nil || n != i+1 {
			h.Errorf("Count after record %q = %d, %v, want %d: it took the place of another", s, n, err, i+1)
		}
	}
	for _, s := range oddStrings() {
		h.must(h.Delete(h.ctx, thing, s, 1, h.now), "Delete(%q)", s)
	}
}

func checkPrecision(h *harness) {
	r := h.record("fine")
	r.CreatedAt = h.in(999 * time.Nanosecond)
	r.UsedAt = h.in(500 * time.Nanosecond)
	r.ExpiresAt = h.in(time.Hour + 999*time.Nanosecond)
	r.DeadAt = h.in(time.Nanosecond)
	h.put(r)
	for name, pair := range times(h.get(thing, "fine", h.now), r) {
		if lost := pair[1].Sub(pair[0]); lost < 0 || lost >= tick {
			h.Errorf("%s written as %v comes back as %v, want at most a microsecond less", name, pair[1], pair[0])
		}
	}
}

func checkUTC(h *harness) {
	zone := time.FixedZone("elsewhere", 2*60*60)
	r := h.record("zone")
	r.CreatedAt, r.UsedAt = h.now.In(zone), h.in(time.Second).In(zone)
	r.ExpiresAt, r.DeadAt = h.in(time.Hour).In(zone), h.in(2*time.Second).In(zone)
	h.put(r)
	redemption := h.redemption("g")
	redemption.Grant.ExpiresAt = redemption.Grant.ExpiresAt.In(zone)
	redemption.Refresh.CreatedAt, redemption.Refresh.ExpiresAt = h.now.In(zone), h.in(time.Hour).In(zone)
	h.redeem(redemption)
	rotation := h.rotation("g.0", "g.1", h.in(time.Second).In(zone))
	h.rotate(rotation, "g.1")
	h.revoke(h.revocation(byID("g"), h.in(2*time.Second).In(zone)), 1)

	wantUTC := func(what string, times ...time.Time) {
		h.Helper()
		for i, t := range times {
			if t.Location() != time.UTC {
				h.Errorf("%s: time %d is in %v, want UTC", what, i, t.Location())
			}
		}
	}
	got := h.get(thing, "zone", h.now)
	h.wantEqual(got.CreatedAt, r.CreatedAt, "CreatedAt")
	wantUTC("record", got.CreatedAt, got.UsedAt, got.ExpiresAt, got.DeadAt)
	for _, name := range []string{"g.0", "g.1"} {
		token, grant, err := h.Refresh(h.ctx, h.hash(name), h.now)
		h.must(err, "Refresh(%q)", name)
		wantUTC("token "+name, token.CreatedAt, token.ExpiresAt, token.SpentAt)
		wantUTC("grant", grant.CreatedAt, grant.UsedAt, grant.ExpiresAt, grant.DeadAt)
	}
}

func checkUnknown(h *harness) {
	h.put(h.record("known"))
	for _, id := range []string{"unknown", "Known", "know", "known ", "", strings.Repeat("x", 2*store.MaxIDLen)} {
		h.wantGone(thing, id, h.now)
		h.wantErr(h.Delete(h.ctx, thing, id, 1, h.now), store.ErrNotFound, "Delete(%.20q)", id)
	}
	h.wantGone(other, "known", h.now)
	h.wantGone("", "known", h.now)
	h.wantGone(store.KindGrant, "known", h.now)
}

func checkKinds(h *harness) {
	one, two := h.record("id"), h.record("id")
	two.Kind, two.Data = other, []byte("second")
	h.put(one)
	h.put(two)
	two.Version = h.put(store.Record{Kind: other, ID: "id", Version: 1, Data: two.Data, CreatedAt: h.now})
	h.must(h.Delete(h.ctx, thing, "id", 1, h.now), "Delete")
	h.wantGone(thing, "id", h.now)
	h.wantEqual(h.get(other, "id", h.now), two, "record of the other kind")
	h.wantIDs(store.Query{Kind: thing, Now: h.now})
	h.wantIDs(store.Query{Kind: other, Now: h.now}, "id")
}

func checkPutAll(h *harness) {
	r := store.Record{
		Kind: thing, ID: "id", Data: []byte("before"), Index: map[string]string{"a": "1", "b": "2"},
		CreatedAt: h.in(tick), UsedAt: h.now, ExpiresAt: h.in(time.Hour), DeadAt: h.now, DeadReason: "before",
	}
	h.put(r)
	for _, next := range []store.Record{
		{Kind: thing, ID: "id", Version: 1, Data: []byte("after"), CreatedAt: h.in(time.Second), UsedAt: h.in(2 * time.Second),
			ExpiresAt: h.in(2 * time.Hour), DeadAt: h.in(3 * time.Second), DeadReason: "after", Index: map[string]string{"b": "3", "c": "4"}},
		{Kind: thing, ID: "id", Version: 2},
	} {
		got := h.put(next)
		next.Version++
		h.wantEqual(got, next.Version, "version that Put returns")
		h.wantEqual(h.get(thing, "id", h.now), next, "record after the write of version %d", next.Version)
	}
}

func checkPutIndex(h *harness) {
	q := func(name, value string) store.Query {
		return store.Query{Kind: thing, Index: name, Value: value, Now: h.now}
	}
	r := h.record("id")
	r.Index = map[string]string{"a": "1", "b": "2"}
	r.Version = h.put(r)
	h.wantIDs(q("a", "1"), "id")
	h.wantIDs(q("b", "2"), "id")
	r.Index = map[string]string{"b": "3", "c": "4"}
	r.Version = h.put(r)
	h.wantIDs(q("a", "1"))
	h.wantIDs(q("b", "2"))
	h.wantIDs(q("b", "3"), "id")
	h.wantIDs(q("c", "4"), "id")
	h.wantIDs(store.Query{Kind: thing, Now: h.now}, "id")
	h.must(h.Delete(h.ctx, thing, "id", r.Version, h.now), "Delete")
	h.wantIDs(q("b", "3"))
	h.wantIDs(q("c", "4"))
	h.wantIDs(store.Query{Kind: thing, Now: h.now})
}

func checkRecordExpiry(h *harness) {
	r := h.record("id")
	r.Index = map[string]string{"a": "1"}
	r.ExpiresAt = h.in(time.Minute)
	r.Version = h.put(r)
	byID := store.Query{Kind: thing, Now: h.in(time.Minute - tick)}
	byIndex := store.Query{Kind: thing, Index: "a", Value: "1", Now: byID.Now}
	h.wantEqual(h.get(thing, "id", byID.Now), r, "record just before its expiry")
	h.wantIDs(byID, "id")
	h.wantIDs(byIndex, "id")
	for _, now := range []time.Time{h.in(time.Minute), h.in(time.Hour)} {
		byID.Now, byIndex.Now = now, now
		h.wantGone(thing, "id", now)
		h.wantIDs(byID)
		h.wantIDs(byIndex)
		h.wantErr(h.Delete(h.ctx, thing, "id", 1, now), store.ErrNotFound, "Delete of an expired record")
	}
	// The clock of another caller may be behind: the row must be there still.
	h.wantEqual(h.get(thing, "id", h.now), r, "record seen by an earlier clock")
}

func checkNever(h *harness) {
	h.put(h.record("id"))
	end := h.in(200 * 365 * 24 * time.Hour)
	h.get(thing, "id", end)
	h.wantIDs(store.Query{Kind: thing, Now: end}, "id")
	h.expire(end, 10, 0)
	h.get(thing, "id", end)
}

func checkRefuseGrants(h *harness) {
	h.open("g")
	h.unchanged(h.now, "refused writes of grants", func() {
		grant := h.get(store.KindGrant, "g", h.now)
		_, err := h.Put(h.ctx, grant, h.now)
		h.wantRefusal(err, "Put of a grant")
		_, err = h.Put(h.ctx, h.grant("new"), h.now)
		h.wantRefusal(err, "Put of a new grant")
		h.wantRefusal(h.Delete(h.ctx, store.KindGrant, "g", 1, h.now), "Delete of a grant")
		h.wantRefusal(h.Delete(h.ctx, store.KindGrant, "absent", 1, h.now), "Delete of an absent grant")
	})
}
