// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"time"

	"github.com/tailscale/tsidp/store"
)

func redeemChecks() []check {
	return []check{
		{"inserts all", checkRedeem},
		{"needs no refresh token", checkRedeemNoRefresh},
		{"inserts alive and unspent", checkRedeemAlive},
		{"twice is ErrSpent", checkRedeemTwice},
		{"after death is ErrSpent", checkRedeemDead},
		{"after reuse is ErrSpent", checkRedeemReused},
		{"after expiry is ErrSpent", checkRedeemExpired},
		{"ErrSpent goes before ErrDead", checkRedeemPrecedence},
		{"after Expire begins anew", checkRedeemSwept},
		{"leaves marks that exist", checkMarksPresent},
		{"inserts marks that have expired", checkMarksExpired},
		{"inserts the first of two marks", checkMarksTwice},
		{"of a token in use is ErrConflict", checkRedeemConflict},
		{"refuses what is no redemption", checkRedeemRefused},
	}
}

// marks returns two marks.
func (h *harness) marks() []store.Record {
	one, two := h.record("one"), h.record("two")
	one.Index = map[string]string{"client": "c1"}
	two.Kind = other
	two.ExpiresAt = h.in(time.Hour)
	return []store.Record{one, two}
}

func checkRedeem(h *harness) {
	r := h.redemption("g")
	r.Grant.UsedAt = h.in(-tick)
	r.Marks = h.marks()
	h.redeem(r)

	want := r.Grant
	want.Version = 1
	h.wantEqual(h.get(store.KindGrant, "g", h.now), want, "grant from Get")
	token, grant, err := h.Refresh(h.ctx, r.Refresh.Hash, h.now)
	h.must(err, "Refresh")
	h.wantEqual(token, *r.Refresh, "refresh token")
	h.wantEqual(grant, want, "grant from Refresh")
	h.wantIDs(store.Query{Kind: store.KindGrant, Index: "client", Value: "c1", Now: h.now}, "g")
	h.wantIDs(store.Query{Kind: store.KindGrant, Index: "user", Value: "u1", Now: h.now}, "g")
	for _, mark := range r.Marks {
		mark.Version = 1
		h.wantEqual(h.get(mark.Kind, mark.ID, h.now), mark, "mark %q", mark.ID)
	}
	h.wantIDs(store.Query{Kind: thing, Index: "client", Value: "c1", Now: h.now}, "one")
	mark := h.get(thing, "one", h.now)
	h.wantEqual(h.put(mark), int64(2), "version that Put of a mark returns")
}

func checkRedeemNoRefresh(h *harness) {
	r := h.redemption("g")
	hash := r.Refresh.Hash
	r.Refresh = nil
	h.redeem(r)
	h.wantAlive("g", h.now)
	_, _, err := h.Refresh(h.ctx, hash, h.now)
	h.wantErr(err, store.ErrNotFound, "Refresh")
}

func checkRedeemAlive(h *harness) {
	r := h.redemption("g")
	r.Grant.Version, r.Grant.DeadAt, r.Grant.DeadReason = 7, h.now, "dead"
	r.Refresh.SpentAt = h.now
	mark := h.record("mark")
	mark.Version = 7
	r.Marks = []store.Record{mark}
	h.redeem(r)
	h.wantAlive("g", h.now)
	h.wantEqual(h.get(store.KindGrant, "g", h.now).Version, int64(1), "version of the grant")
	h.wantEqual(h.get(thing, "mark", h.now).Version, int64(1), "version of the mark")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
}

// wantRedeemErr reports it unless Redeem of a grant, with another refresh
// token and with marks, gives an error and leaves no trace.
func (h *harness) wantRedeemErr(id string, now time.Time, want error, what string) {
	h.Helper()
	r := h.redemption(id)
	r.Grant.Data = []byte("other data")
	r.Refresh.Hash = h.hash(id + " again")
	r.Refresh.ExpiresAt = now.Add(tokenLife)
	r.Grant.ExpiresAt = now.Add(grantLife)
	r.IssuedAt, r.Now = now, now
	r.Marks = h.marks()
	for i := range r.Marks {
		r.Marks[i].ExpiresAt = time.Time{}
	}
	h.unchanged(now, what, func() {
		h.Helper()
		h.wantErr(h.Redeem(h.ctx, r), want, "%s", what)
	})
}

func checkRedeemTwice(h *harness) {
	h.open("g")
	h.wantRedeemErr("g", h.now, store.ErrSpent, "second Redeem")
	h.wantRedeemErr("g", h.in(time.Minute), store.ErrSpent, "third Redeem")
	h.open("G")
	h.open("g ")
}

func checkRedeemDead(h *harness) {
	h.open("g")
	h.revoke(h.revocation(byID("g"), h.in(time.Second)), 1)
	h.wantRedeemErr("g", h.in(time.Second), store.ErrSpent, "Redeem of a dead grant")
}

func checkRedeemReused(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.wantRotateErr(h.rotation("g.0", "g.2", h.in(time.Hour)), store.ErrReuse, "a spent token")
	h.wantRedeemErr("g", h.in(time.Hour), store.ErrSpent, "Redeem of a grant that reuse has killed")
}

func checkRedeemExpired(h *harness) {
	r := h.redemption("g")
	r.Grant.ExpiresAt = h.in(codeLife)
	h.redeem(r)
	for _, after := range []time.Duration{0, time.Hour} {
		h.wantGone(store.KindGrant, "g", h.in(codeLife+after))
		h.wantRedeemErr("g", h.in(codeLife+after), store.ErrSpent, "Redeem of an expired grant")
	}
}

func checkRedeemPrecedence(h *harness) {
	h.open("g")
	h.revoke(h.revocation(byIndex(map[string]string{"user": "u1"}), h.in(time.Second)), 1)
	h.wantRedeemErr("new", h.in(time.Second), store.ErrDead, "Redeem under a watermark")
	h.wantRedeemErr("g", h.in(time.Second), store.ErrSpent, "second Redeem under a watermark")
}

func checkRedeemSwept(h *harness) {
	r := h.redemption("g")
	r.Grant.ExpiresAt = h.in(codeLife)
	h.redeem(r)
	now := h.in(codeLife)
	h.sweep(now)
	again := h.redemption("g")
	again.Grant.ExpiresAt = h.in(time.Hour)
	again.Grant.Data = []byte("second life")
	again.Refresh, again.Now = nil, now
	h.redeem(again)
	want := again.Grant
	want.Version = 1
	h.wantEqual(h.get(store.KindGrant, "g", now), want, "grant")
	_, _, err := h.Refresh(h.ctx, r.Refresh.Hash, now)
	h.wantErr(err, store.ErrNotFound, "Refresh of a token of the grant that had this ID before")
}

func checkMarksPresent(h *harness) {
	mark := h.record("one")
	mark.Data = []byte("present")
	h.put(mark)
	mark.Version = 1
	mark.Version = h.put(mark)
	r := h.redemption("g")
	r.Marks = h.marks()
	h.redeem(r)
	h.wantEqual(h.get(thing, "one", h.now), mark, "mark that was there")
	h.get(other, "two", h.now)
	h.wantIDs(store.Query{Kind: thing, Index: "client", Value: "c1", Now: h.now})

	r = h.redemption("second")
	r.Marks = h.marks()
	r.Marks[1].Data = []byte("changed")
	want := h.get(other, "two", h.now)
	h.redeem(r)
	h.wantEqual(h.get(thing, "one", h.now), mark, "mark that was there, after a second Redeem")
	h.wantEqual(h.get(other, "two", h.now), want, "mark of the first Redeem, after a second")
}

func checkMarksExpired(h *harness) {
	mark := h.record("one")
	mark.ExpiresAt = h.in(-time.Minute)
	mark.Version = 0
	_, err := h.Put(h.ctx, mark, h.in(-time.Hour))
	h.must(err, "Put")
	mark.Version = 1
	_, err = h.Put(h.ctx, mark, h.in(-time.Hour))
	h.must(err, "Put")
	r := h.redemption("g")
	r.Marks = h.marks()
	h.redeem(r)
	want := r.Marks[0]
	want.Version = 1
	h.wantEqual(h.get(thing, "one", h.now), want, "mark in place of an expired one")
}

func checkMarksTwice(h *harness) {
	r := h.redemption("g")
	first, second := h.record("mark"), h.record("mark")
	second.Data = []byte("second")
	r.Marks = []store.Record{first, second}
	h.redeem(r)
	first.Version = 1
	h.wantEqual(h.get(thing, "mark", h.now), first, "mark")
}

func checkRedeemConflict(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	for _, name := range []string{"g.0", "g.1"} {
		r := h.redemption("new")
		r.Refresh.Hash = h.hash(name)
		r.Marks = h.marks()
		h.unchanged(h.now, "Redeem with a token in use", func() {
			h.wantErr(h.Redeem(h.ctx, r), store.ErrConflict, "Redeem with token %s in use", name)
		})
	}
	h.open("new")
}

func checkRedeemRefused(h *harness) {
	for name, spoil := range map[string]func(*store.Redemption){
		"another kind":           func(r *store.Redemption) { r.Grant.Kind = thing },
		"a grant as mark":        func(r *store.Redemption) { r.Marks = append(h.marks(), h.grant("mark")) },
		"another grant's token":  func(r *store.Redemption) { r.Refresh.Grant = "another" },
		"no grant of the token":  func(r *store.Redemption) { r.Refresh.Grant = "" },
		"a token without expiry": func(r *store.Redemption) { r.Refresh.ExpiresAt = time.Time{} },
	} {
		r := h.redemption("g")
		r.Marks = h.marks()
		spoil(&r)
		h.unchanged(h.now, "refused Redeem with "+name, func() {
			h.wantRefusal(h.Redeem(h.ctx, r), "Redeem with %s", name)
		})
	}
	h.open("g")
}

func refreshChecks() []check {
	return []check{
		{"finds spent and unspent tokens", checkRefreshSpent},
		{"finds dead grants", checkRefreshDead},
		{"of an unknown token is ErrNotFound", checkRefreshUnknown},
		{"of an expired token is ErrNotFound", checkRefreshExpired},
		{"of an expired grant is ErrNotFound", checkRefreshGrantExpired},
	}
}

// wantRefresh reports it unless Refresh finds a token of a grant.
func (h *harness) wantRefresh(name string, now time.Time, want store.Refresh, grant string) {
	h.Helper()
	want.Hash, want.Grant = h.hash(name), grant
	token, g, err := h.Refresh(h.ctx, want.Hash, now)
	h.must(err, "Refresh(%s)", name)
	h.wantEqual(token, want, "token %s", name)
	h.wantEqual(g, h.get(store.KindGrant, grant, now), "grant that Refresh(%s) returns", name)
}

// wantNoRefresh reports it unless Refresh says ErrNotFound.
func (h *harness) wantNoRefresh(name string, now time.Time) {
	h.Helper()
	token, grant, err := h.Refresh(h.ctx, h.hash(name), now)
	h.wantErr(err, store.ErrNotFound, "Refresh(%s)", name)
	h.wantEqual(token, store.Refresh{}, "token that Refresh(%s) returns with its error", name)
	h.wantEqual(grant, store.Record{}, "grant that Refresh(%s) returns with its error", name)
}

func checkRefreshSpent(h *harness) {
	h.open("g")
	h.open("another")
	first := store.Refresh{CreatedAt: h.now, ExpiresAt: h.in(tokenLife)}
	h.wantRefresh("g.0", h.now, first, "g")
	now := h.in(time.Hour)
	h.rotate(h.rotation("g.0", "g.1", now), "g.1")
	first.SpentAt = now
	h.wantRefresh("g.0", now, first, "g")
	h.wantRefresh("g.1", now, store.Refresh{CreatedAt: now, ExpiresAt: now.Add(tokenLife)}, "g")
}

func checkRefreshDead(h *harness) {
	h.open("g")
	h.revoke(h.revocation(byID("g"), h.now), 1)
	h.wantRefresh("g.0", h.now, store.Refresh{CreatedAt: h.now, ExpiresAt: h.in(tokenLife)}, "g")
	h.wantDead("g", "test", h.now)
}

func checkRefreshUnknown(h *harness) {
	h.open("g")
	h.wantNoRefresh("g.1", h.now)
	_, _, err := h.Refresh(h.ctx, store.Hash{}, h.now)
	h.wantErr(err, store.ErrNotFound, "Refresh of the zero hash")
}

func checkRefreshExpired(h *harness) {
	h.open("g")
	h.wantRefresh("g.0", h.in(tokenLife-tick), store.Refresh{CreatedAt: h.now, ExpiresAt: h.in(tokenLife)}, "g")
	h.wantNoRefresh("g.0", h.in(tokenLife))
	h.wantAlive("g", h.in(tokenLife))
}

func checkRefreshGrantExpired(h *harness) {
	r := h.redemption("g")
	r.Grant.ExpiresAt = h.in(time.Hour)
	h.redeem(r)
	h.wantRefresh("g.0", h.in(time.Hour-tick), store.Refresh{CreatedAt: h.now, ExpiresAt: h.in(tokenLife)}, "g")
	h.wantNoRefresh("g.0", h.in(time.Hour))
}
