// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/tailscale/tsidp/store"
)

func expireChecks() []check {
	return []check{
		{"removes each sort of row", checkExpireSorts},
		{"leaves what lives", checkExpireLiving},
		{"goes in batches", checkExpireBatches},
		{"removes refresh tokens with their grant", checkExpireTokens},
		{"never removes a grant early", checkExpireGrantEarly},
		{"follows changed times", checkExpireFollows},
		{"limit below 1 is refused", checkExpireRefused},
	}
}

func checkExpireSorts(h *harness) {
	h.expire(h.now, 10, 0)
	for name, add := range map[string]func(exp time.Time){
		"record": func(exp time.Time) {
			r := h.record("id")
			r.ExpiresAt, r.Index = exp, map[string]string{"a": "1", "b": "2"}
			h.put(r)
		},
		"grant": func(exp time.Time) {
			r := h.redemption("without token")
			r.Refresh, r.Grant.ExpiresAt = nil, exp
			h.redeem(r)
		},
		"refresh token": func(exp time.Time) {
			r := h.redemption(fmt.Sprint("forever", exp))
			r.Refresh.ExpiresAt, r.Grant.ExpiresAt = exp, time.Time{}
			h.redeem(r)
		},
		"use-once value": func(exp time.Time) {
			h.must(h.UseOnce(h.ctx, "space", "id", h.now, exp), "UseOnce")
		},
		"watermark": func(exp time.Time) {
			r := h.revocation(byIndex(map[string]string{"user": "nobody"}), h.now)
			r.KeepFor = exp.Sub(h.now)
			h.revoke(r, 0)
		},
	} {
		h.Logf("a %s", name)
		add(h.in(time.Minute))
		h.expire(h.in(time.Minute-tick), 10, 0)
		h.expire(h.in(time.Minute), 10, 1)
		h.expire(h.in(time.Minute), 10, 0)
		h.expire(h.in(time.Hour), 10, 0)
		add(h.in(time.Hour))
		h.expire(h.in(2*time.Hour), 10, 1)
		h.expire(h.in(2*time.Hour), 10, 0)
	}
}

func checkExpireLiving(h *harness) {
	h.put(h.record("never"))
	r := h.record("later")
	r.ExpiresAt = h.in(time.Hour)
	h.put(r)
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.swap(0, "keys", 1, nil)
	h.use("space", "id", 0, time.Hour, nil)
	h.revoke(h.revocation(byIndex(map[string]string{"user": "u2"}), h.in(time.Minute)), 0)
	now := h.in(5 * time.Minute)
	h.unchanged(now, "Expire", func() {
		gone := h.record("gone")
		gone.ExpiresAt = now
		h.put(gone)
		h.expire(now, 10, 1)
	})
	h.use("space", "id", 5*time.Minute, time.Hour, store.ErrSpent)
	h.wantCode(map[string]string{"user": "u2"}, h.in(time.Minute), now, store.ErrDead, "after Expire")
	h.expire(h.in(100*grantLife), 1000, 1+1+2+1+1) // the record, g, its tokens, the id, the watermark
	h.wantIDs(store.Query{Kind: thing, Now: h.in(100 * grantLife)}, "never")
	h.wantKeys(1, "keys")
}

func checkExpireBatches(h *harness) {
	for i := range 10 {
		r := h.record(fmt.Sprint(i))
		r.ExpiresAt = h.in(time.Duration(i+1) * time.Second)
		h.put(r)
		h.use("space", r.ID, 0, time.Minute, nil)
		h.openFor(r.ID, map[string]string{"user": r.ID})
		h.revoke(h.revocation(byIndex(map[string]string{"user": r.ID}), h.now), 1)
	}
	h.put(h.record("stays"))
	// Of each of the ten: a record, a value, a grant, its token, a watermark.
	now := h.in(time.Hour)
	for _, want := range []int{15, 15, 15, 5, 0} {
		h.expire(now, 15, want)
	}
	h.wantIDs(store.Query{Kind: thing, Now: h.now}, "stays")
	h.wantIDs(store.Query{Kind: store.KindGrant, Now: h.now})
	h.put(h.record("0"))
	h.expire(now, 1, 0)
}

// A row that only time can remove would stay for the life of a token.
func checkExpireTokens(h *harness) {
	h.open("g")
	for i := range 7 {
		next := fmt.Sprint("g.", i+1)
		h.rotate(h.rotation(fmt.Sprint("g.", i), next, h.now), next)
	}
	h.open("another")
	h.revoke(h.revocation(byID("g"), h.now), 1)
	now := h.in(keepFor)
	h.expire(now.Add(-tick), 100, 0)
	for _, want := range []int{4, 4, 1, 0} {
		// Until the last of its tokens is gone, the grant is there.
		if err := h.Redeem(h.ctx, h.redemption("g")); !errors.Is(err, store.ErrSpent) && want > 0 {
			h.Fatalf("Redeem in the middle of Expire: error = %v, want %v", err, store.ErrSpent)
		}
		h.expire(now, 4, want)
	}
	h.wantAlive("another", now)
	h.rotate(h.rotation("another.0", "another.1", now), "another.1")
}

func checkExpireGrantEarly(h *harness) {
	for _, id := range []string{"alive", "dead", "reused"} {
		r := h.redemption(id)
		r.Grant.ExpiresAt = h.in(codeLife)
		r.Refresh.ExpiresAt = h.in(2 * time.Second)
		h.redeem(r)
	}
	kill := h.revocation(byID("dead"), h.in(time.Second))
	kill.KeepFor = codeLife - time.Second
	h.revoke(kill, 1)
	r := h.rotation("reused.0", "reused.1", h.in(time.Second))
	r.GrantExpiresAt, r.NextExpiresAt, r.Grace = h.in(codeLife), h.in(2*time.Second), 0
	h.rotate(r, "reused.1")
	h.wantRotateErr(r, store.ErrReuse, "a spent token")

	h.expire(h.in(codeLife-tick), 100, 4) // the tokens
	for _, id := range []string{"alive", "dead", "reused"} {
		again := h.redemption(id)
		again.Now = h.in(codeLife - tick)
		h.wantErr(h.Redeem(h.ctx, again), store.ErrSpent, "Redeem(%q) just before it expires", id)
	}
	h.expire(h.in(codeLife), 100, 3)
	for _, id := range []string{"alive", "dead", "reused"} {
		h.open(id)
	}
}

func checkExpireFollows(h *harness) {
	later, sooner, never := h.record("later"), h.record("sooner"), h.record("never")
	for _, r := range []*store.Record{&later, &sooner, &never} {
		r.ExpiresAt = h.in(time.Hour)
		r.Version = h.put(*r)
	}
	later.ExpiresAt, sooner.ExpiresAt, never.ExpiresAt = h.in(2*time.Hour), h.in(time.Minute), time.Time{}
	later.Version, sooner.Version, never.Version = h.put(later), h.put(sooner), h.put(never)
	h.expire(h.in(time.Minute), 10, 1)
	h.expire(h.in(time.Hour), 10, 0)
	h.expire(h.in(2*time.Hour), 10, 1)
	h.expire(h.in(100*grantLife), 10, 0)

	r := h.redemption("g")
	r.Grant.ExpiresAt = h.in(time.Hour)
	h.redeem(r)
	h.rotate(h.rotation("g.0", "g.1", h.in(time.Minute)), "g.1")
	h.expire(h.in(time.Hour), 10, 0)
	h.wantAlive("g", h.in(time.Hour))

	h.use("space", "id", 0, time.Hour, nil)
	h.use("space", "id", time.Hour, 2*time.Hour, nil)
	h.expire(h.in(time.Hour), 10, 0)
	h.use("space", "id", time.Hour, 2*time.Hour, store.ErrSpent)
	h.expire(h.in(2*time.Hour), 10, 1)
}

func checkExpireRefused(h *harness) {
	r := h.record("id")
	r.ExpiresAt = h.in(time.Minute)
	h.put(r)
	for _, limit := range []int{0, -1} {
		_, err := h.Expire(h.ctx, h.in(time.Minute), limit)
		h.wantRefusal(err, "Expire with limit %d", limit)
	}
	h.expire(h.in(time.Minute), 1, 1)
}
