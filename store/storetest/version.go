// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

func versionChecks() []check {
	return []check{
		{"counts the writes", checkVersionCounts},
		{"Put of another is ErrConflict", checkPutConflict},
		{"Delete of another is ErrConflict", checkDeleteConflict},
		{"begins anew after expiry", checkVersionExpired},
		{"begins anew after Delete", checkVersionDeleted},
	}
}

func checkVersionCounts(h *harness) {
	r := h.record("id")
	for want := int64(1); want <= 5; want++ {
		r.Version = h.put(r)
		h.wantEqual(r.Version, want, "version that Put returns")
		h.wantEqual(h.get(thing, "id", h.now).Version, want, "version that Get returns")
	}
}

func checkPutConflict(h *harness) {
	absent := h.record("absent")
	present := h.record("present")
	present.Version = h.put(present)
	present.Version = h.put(present)
	h.unchanged(h.now, "conflicting writes", func() {
		for _, version := range []int64{-1, 1, 2} {
			absent.Version = version
			_, err := h.Put(h.ctx, absent, h.now)
			h.wantErr(err, store.ErrConflict, "Put of version %d where there is none", version)
		}
		present.Data = []byte("changed")
		for _, version := range []int64{-1, 0, 1, 3} {
			present.Version = version
			_, err := h.Put(h.ctx, present, h.now)
			h.wantErr(err, store.ErrConflict, "Put of version %d where there is 2", version)
		}
	})
}

func checkDeleteConflict(h *harness) {
	r := h.record("id")
	r.Version = h.put(r)
	r.Version = h.put(r)
	h.unchanged(h.now, "conflicting deletions", func() {
		for _, version := range []int64{-1, 0, 1, 3} {
			h.wantErr(h.Delete(h.ctx, thing, "id", version, h.now), store.ErrConflict, "Delete of version %d where there is 2", version)
		}
	})
	h.wantErr(h.Delete(h.ctx, thing, "id", 2, h.now), nil, "Delete of version 2")
	h.wantGone(thing, "id", h.now)
	h.wantErr(h.Delete(h.ctx, thing, "id", 2, h.now), store.ErrNotFound, "second Delete")
}

func checkVersionExpired(h *harness) {
	r := h.record("id")
	r.Index = map[string]string{"a": "1"}
	r.ExpiresAt = h.in(time.Minute)
	r.Version = h.put(r)
	r.Version = h.put(r)
	now := h.in(time.Minute)
	_, err := h.Put(h.ctx, r, now)
	h.wantErr(err, store.ErrConflict, "Put of the version of an expired record")
	h.wantGone(thing, "id", now)

	r.Version, r.Index, r.ExpiresAt = 0, map[string]string{"b": "2"}, h.in(time.Hour)
	version, err := h.Put(h.ctx, r, now)
	h.must(err, "Put of version 0 where a record has expired")
	h.wantEqual(version, int64(1), "version that Put returns")
	r.Version = 1
	h.wantEqual(h.get(thing, "id", now), r, "record in place of an expired one")
	h.wantIDs(store.Query{Kind: thing, Index: "a", Value: "1", Now: h.now})
	h.wantIDs(store.Query{Kind: thing, Index: "b", Value: "2", Now: now}, "id")
	h.expire(now, 10, 0)
}

func checkVersionDeleted(h *harness) {
	r := h.record("id")
	r.Version = h.put(r)
	r.Version = h.put(r)
	h.must(h.Delete(h.ctx, thing, "id", r.Version, h.now), "Delete")
	r.Version = 0
	h.wantEqual(h.put(r), int64(1), "version that Put returns after Delete")
}

func limitChecks() []check {
	return []check{
		{"at it is stored", checkAtLimit},
		{"over it is refused by Put", checkPutOverLimit},
		{"over it is refused by Redeem", checkRedeemOverLimit},
		{"over it is refused by Revoke", checkRevokeOverLimit},
		{"over it is refused by UseOnce", checkUseOnceOverLimit},
	}
}

// text returns n letters that do not compress well.
func text(seed uint64, n int) string {
	random := rand.New(rand.NewPCG(seed, seed))
	var b strings.Builder
	for range n {
		b.WriteByte(byte('a' + random.IntN(26)))
	}
	return b.String()
}

// index returns an index of n entries.
func index(n int) map[string]string {
	m := make(map[string]string)
	for i := range n {
		m[fmt.Sprint("name", i)] = "value"
	}
	return m
}

func checkAtLimit(h *harness) {
	long := text(1, store.MaxIndexLen-1)
	var want []string
	for i := range uint64(3) {
		r := store.Record{Kind: thing, ID: text(2, store.MaxIDLen-1) + fmt.Sprint(i), Index: index(store.MaxIndexes - 2)}
		r.Data = []byte(text(3, store.MaxDataLen))
		r.Index["long"] = long + fmt.Sprint(i)
		r.Index[text(4, store.MaxIndexLen)] = "value"
		h.put(r)
		r.Version = 1
		want = append(want, r.ID)
		if got := h.get(thing, r.ID, h.now); string(got.Data) != string(r.Data) {
			h.Errorf("data of %d bytes come back as other %d bytes", len(r.Data), len(got.Data))
		}
		h.wantIDs(store.Query{Kind: thing, Index: "long", Value: r.Index["long"], Now: h.now}, r.ID)
	}
	h.wantIDs(store.Query{Kind: thing, Index: "long", Value: long, Prefix: true, Limit: 1, Now: h.now}, want...)
	h.wantIDs(store.Query{Kind: thing, Index: text(4, store.MaxIndexLen), Value: "value", Limit: 1, Now: h.now}, want...)

	h.openFor(text(5, store.MaxIDLen), index(store.MaxIndexes))
	h.revoke(h.revocation(byIndex(index(store.MaxIndexes)), h.now), 1)
	id := text(6, store.MaxIDLen)
	h.must(h.UseOnce(h.ctx, "space", id, h.now, h.in(time.Hour)), "UseOnce of a long id")
	h.wantErr(h.UseOnce(h.ctx, "space", id, h.now, h.in(time.Hour)), store.ErrSpent, "second UseOnce of a long id")
}

// overLimit returns by name what makes a good record one that is refused.
func overLimit() map[string]func(*store.Record) {
	return map[string]func(*store.Record){
		"empty kind":       func(r *store.Record) { r.Kind = "" },
		"empty ID":         func(r *store.Record) { r.ID = "" },
		"long ID":          func(r *store.Record) { r.ID = text(1, store.MaxIDLen+1) },
		"long data":        func(r *store.Record) { r.Data = make([]byte, store.MaxDataLen+1) },
		"many indexes":     func(r *store.Record) { r.Index = index(store.MaxIndexes + 1) },
		"empty index name": func(r *store.Record) { r.Index = map[string]string{"": "value"} },
		"long index name":  func(r *store.Record) { r.Index = map[string]string{text(1, store.MaxIndexLen+1): "value"} },
		"long index value": func(r *store.Record) { r.Index = map[string]string{"name": text(1, store.MaxIndexLen+1)} },
	}
}

func checkPutOverLimit(h *harness) {
	h.unchanged(h.now, "refused writes", func() {
		for name, spoil := range overLimit() {
			r := h.record("id")
			spoil(&r)
			_, err := h.Put(h.ctx, r, h.now)
			h.wantRefusal(err, "Put of a record with %s", name)
		}
	})
}

func checkRedeemOverLimit(h *harness) {
	for name, spoil := range overLimit() {
		grant, mark := h.redemption("g"), h.redemption("m")
		h.unchanged(h.now, "refused redemptions", func() {
			spoil(&grant.Grant)
			grant.Refresh.Grant = grant.Grant.ID
			h.wantRefusal(h.Redeem(h.ctx, grant), "Redeem of a grant with %s", name)
			bad := h.record("bad")
			spoil(&bad)
			mark.Marks = []store.Record{h.record("good"), bad}
			h.wantRefusal(h.Redeem(h.ctx, mark), "Redeem with a mark with %s", name)
		})
	}
}

func checkRevokeOverLimit(h *harness) {
	h.open("g")
	h.unchanged(h.now, "refused revocations", func() {
		for name, index := range map[string]map[string]string{
			"many entries": index(store.MaxIndexes + 1),
			"empty name":   {"": "value"},
			"long name":    {text(1, store.MaxIndexLen+1): "value"},
			"long value":   {"name": text(1, store.MaxIndexLen+1)},
		} {
			_, err := h.Revoke(h.ctx, h.revocation(byIndex(index), h.now))
			h.wantRefusal(err, "Revoke by an index with %s", name)
		}
	})
}

func checkUseOnceOverLimit(h *harness) {
	exp := h.in(time.Hour)
	h.wantRefusal(h.UseOnce(h.ctx, "space", text(1, store.MaxIDLen+1), h.now, exp), "UseOnce of a long id")
	h.wantRefusal(h.UseOnce(h.ctx, "space", "", h.now, exp), "UseOnce of an empty id")
	h.wantRefusal(h.UseOnce(h.ctx, "", "id", h.now, exp), "UseOnce in an empty space")
	h.wantRefusal(h.UseOnce(h.ctx, "space", "id", h.now, time.Time{}), "UseOnce without expiry")
	h.wantErr(h.UseOnce(h.ctx, "space", "id", h.now, exp), nil, "UseOnce after refusals")
}
