// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"slices"
	"time"

	"github.com/tailscale/tsidp/store"
)

func revokeChecks() []check {
	return []check{
		{"by ID kills one", checkRevokeID},
		{"by index kills those that have all", checkRevokeIndex},
		{"by index compares whole values", checkRevokeExact},
		{"ends the tokens", checkRevokeTokens},
		{"leaves the dead as they are", checkRevokeAgain},
		{"leaves the expired as they are", checkRevokeExpired},
		{"leaves other kinds alone", checkRevokeKinds},
		{"brings ExpiresAt forward to KeepFor", checkKeepFor},
		{"by the zero Selector picks nothing", checkRevokeNothing},
		{"deletes records", checkRevokeDelete},
		{"refuses what is no revocation", checkRevokeRefused},
	}
}

func checkRevokeID(h *harness) {
	h.open("g")
	h.open("another")
	want := h.get(store.KindGrant, "g", h.now)
	now := h.in(time.Second)
	r := h.revocation(byID("g"), now)
	r.Reason = "lost"
	h.revoke(r, 1)
	want.Version, want.DeadAt, want.DeadReason, want.ExpiresAt = 2, now, "lost", now.Add(keepFor)
	h.wantEqual(h.get(store.KindGrant, "g", now), want, "revoked grant")
	h.wantAlive("another", now)
	h.revoke(h.revocation(byID("unknown"), now), 0)
	h.wantAlive("another", now)
}

// someGrants opens grants of all pairs of users and clients, and one without
// a user. It returns their indexes by ID.
func (h *harness) someGrants() map[string]map[string]string {
	all := map[string]map[string]string{"c1": {"client": "c1"}}
	for _, client := range []string{"c1", "c2"} {
		for _, user := range []string{"u1", "u2"} {
			all[client+user] = map[string]string{"client": client, "user": user, "node": "n1"}
		}
	}
	for id, index := range all {
		h.openFor(id, index)
	}
	return all
}

// A selectorTest is an index of a Selector, and the IDs that it picks of
// someGrants.
type selectorTest struct {
	index map[string]string
	picks []string
}

func selectorTests() []selectorTest {
	return []selectorTest{
		{map[string]string{"client": "c1"}, []string{"c1", "c1u1", "c1u2"}},
		{map[string]string{"user": "u1"}, []string{"c1u1", "c2u1"}},
		{map[string]string{"user": "u1", "client": "c1"}, []string{"c1u1"}},
		{map[string]string{"user": "u1", "client": "c1", "node": "n1"}, []string{"c1u1"}},
		{map[string]string{"user": "u1", "node": "n1"}, []string{"c1u1", "c2u1"}},
		{map[string]string{"node": "n1"}, []string{"c1u1", "c1u2", "c2u1", "c2u2"}},
		{map[string]string{"user": "u1", "client": "c1", "node": "n2"}, nil},
		{map[string]string{"user": "u1", "client": "c3"}, nil},
		{map[string]string{"user": "u1", "other": "u1"}, nil},
		{map[string]string{"client": "u1", "user": "c1"}, nil},
		{map[string]string{"user": "", "client": "c1"}, nil},
		{map[string]string{"client": ""}, nil},
		{map[string]string{"CLIENT": "c1"}, nil},
	}
}

func checkRevokeIndex(h *harness) {
	for _, tt := range selectorTests() {
		// What one round leaves must be gone in the next.
		h.now = h.in(2 * grantLife)
		h.sweep(h.now)
		all := h.someGrants()
		h.revoke(h.revocation(byIndex(tt.index), h.now), len(tt.picks))
		for id := range all {
			if slices.Contains(tt.picks, id) {
				h.wantDead(id, "test", h.now)
			} else {
				h.wantAlive(id, h.now)
			}
		}
	}
}

func checkRevokeExact(h *harness) {
	values := append(oddStrings(), "", "ab", "aB")
	for i, value := range values {
		h.openFor(text(uint64(i), 20), map[string]string{"value": value})
	}
	for i, value := range values {
		h.revoke(h.revocation(byIndex(map[string]string{"value": value}), h.now), 1)
		h.wantDead(text(uint64(i), 20), "test", h.now)
	}
}

func checkRevokeTokens(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.revoke(h.revocation(byIndex(map[string]string{"user": "u1"}), h.now), 1)
	h.wantRotateErr(h.rotation("g.1", "g.2", h.now), store.ErrDead, "a token of a revoked grant")
	h.wantRotateErr(h.rotation("g.0", "g.2", h.now), store.ErrDead, "a spent token of a revoked grant")
	h.wantNoRefresh("g.1", h.in(keepFor))
}

func checkRevokeAgain(h *harness) {
	h.open("g")
	h.open("reused")
	h.rotate(h.rotation("reused.0", "reused.1", h.now), "reused.1")
	h.wantReuse("reused", h.rotation("reused.0", "reused.2", h.in(grace)))
	now := h.in(time.Minute)
	h.revoke(h.revocation(byID("g"), now), 1)
	want := []store.Record{h.get(store.KindGrant, "g", now), h.get(store.KindGrant, "reused", now)}
	for _, sel := range []store.Selector{byID("g"), byID("reused"), byIndex(map[string]string{"user": "u1"})} {
		r := h.revocation(sel, h.in(2*time.Minute))
		r.Reason, r.KeepFor = "again", time.Second
		h.revoke(r, 0)
	}
	h.wantEqual(h.list(store.Query{Kind: store.KindGrant, Now: now}), want, "dead grants after further revocations")
}

func checkRevokeExpired(h *harness) {
	for _, id := range []string{"expired", "alive"} {
		r := h.redemption(id)
		if id == "expired" {
			r.Grant.ExpiresAt = h.in(time.Minute)
		}
		h.redeem(r)
	}
	now := h.in(time.Minute)
	h.revoke(h.revocation(byID("expired"), now), 0)
	h.revoke(h.revocation(byIndex(map[string]string{"user": "u1"}), now), 1)
	h.wantGone(store.KindGrant, "expired", now)
	h.wantAlive("expired", now.Add(-tick))
}

func checkRevokeKinds(h *harness) {
	r := h.record("g")
	r.Index = map[string]string{"user": "u1"}
	r.Version = h.put(r)
	h.open("g")
	h.revoke(h.revocation(byID("g"), h.now), 1)
	h.revoke(h.revocation(byIndex(map[string]string{"user": "u1"}), h.now), 0)
	h.wantEqual(h.get(thing, "g", h.now), r, "record of another kind")
}

func checkKeepFor(h *harness) {
	now := h.in(time.Hour)
	for id, tt := range map[string]struct{ expires, want time.Time }{
		"later":   {now.Add(keepFor + tick), now.Add(keepFor)},
		"same":    {now.Add(keepFor), now.Add(keepFor)},
		"earlier": {now.Add(keepFor - tick), now.Add(keepFor - tick)},
		"never":   {time.Time{}, now.Add(keepFor)},
	} {
		r := h.redemption(id)
		r.Grant.ExpiresAt = tt.expires
		h.redeem(r)
		h.revoke(h.revocation(byID(id), now), 1)
		h.wantEqual(h.get(store.KindGrant, id, now).ExpiresAt, tt.want, "ExpiresAt of the grant that would have expired %s", id)
		h.get(store.KindGrant, id, tt.want.Add(-tick))
		h.wantGone(store.KindGrant, id, tt.want)
	}
}

func checkRevokeNothing(h *harness) {
	h.open("g")
	h.openFor("without index", nil)
	for _, sel := range []store.Selector{{}, byIndex(map[string]string{})} {
		h.put(h.record("id"))
		r := h.revocation(sel, h.in(time.Hour))
		r.Delete = []store.Key{{Kind: thing, ID: "id"}}
		h.revoke(r, 0)
		h.wantAlive("g", h.now)
		h.wantAlive("without index", h.now)
		h.wantGone(thing, "id", h.now)
	}
	h.open("under no watermark")
	h.openFor("under no watermark and without index", nil)
}

func checkRevokeDelete(h *harness) {
	for _, id := range []string{"first", "second", "stays"} {
		r := h.record(id)
		r.Index = map[string]string{"client": "c1"}
		for range 3 {
			r.Version = h.put(r)
		}
	}
	expired := h.record("expired")
	expired.ExpiresAt = h.in(tick)
	h.put(expired)
	h.open("g")
	h.open("another")
	now := h.in(time.Second)
	r := h.revocation(byID("g"), now)
	r.Delete = []store.Key{
		{Kind: thing, ID: "first"}, {Kind: thing, ID: "absent"}, {Kind: thing, ID: "expired"},
		{Kind: other, ID: "stays"}, {Kind: thing, ID: "second"}, {Kind: thing, ID: "second"}, {Kind: thing},
	}
	h.revoke(r, 1)
	h.wantGone(thing, "first", now)
	h.wantGone(thing, "second", now)
	h.wantIDs(store.Query{Kind: thing, Now: now}, "stays")
	h.wantIDs(store.Query{Kind: thing, Index: "client", Value: "c1", Now: now}, "stays")
	h.wantAlive("another", now)
	h.wantEqual(h.put(h.record("first")), int64(1), "version that Put returns after the deletion")
}

func checkRevokeRefused(h *harness) {
	h.open("g")
	h.put(h.record("id"))
	user := map[string]string{"user": "u1"}
	now := h.in(time.Second)
	for name, spoil := range map[string]func(*store.Revocation){
		"ID and index":     func(r *store.Revocation) { r.Select.ID = "g" },
		"no KeepFor":       func(r *store.Revocation) { r.KeepFor = 0 },
		"negative KeepFor": func(r *store.Revocation) { r.KeepFor = -time.Second },
		"Delete of a grant": func(r *store.Revocation) {
			r.Delete = []store.Key{{Kind: thing, ID: "id"}, {Kind: store.KindGrant, ID: "g"}}
		},
		"Delete of an absent grant": func(r *store.Revocation) {
			r.Delete = []store.Key{{Kind: thing, ID: "id"}, {Kind: store.KindGrant, ID: "absent"}}
		},
	} {
		r := h.revocation(byIndex(user), now)
		spoil(&r)
		h.unchanged(now, "refused Revoke with "+name, func() {
			_, err := h.Revoke(h.ctx, r)
			h.wantRefusal(err, "Revoke with %s", name)
		})
	}
	h.open("under no watermark")
}
