// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"fmt"
	"time"

	"github.com/tailscale/tsidp/store"
)

func rotateChecks() []check {
	return []check{
		{"spends and inserts", checkRotate},
		{"again within Grace is the winner's salt", checkRetry},
		{"again changes nothing", checkRetryUnchanged},
		{"again by a clock behind is a retry", checkRetryBehind},
		{"goes on from the successor", checkRotateChain},
		{"may end expiry of the grant", checkRotateNever},
		{"may bring the expiry of the grant forward", checkRotateShorten},
		{"of a dead grant is ErrDead", checkRotateDead},
		{"of an unknown token is ErrNotFound", checkRotateUnknown},
		{"of an expired token is ErrNotFound", checkRotateExpired},
		{"of an expired grant is ErrNotFound", checkRotateGrantExpired},
		{"into a token in use is ErrConflict", checkRotateConflict},
		{"without NextExpiresAt is refused", checkRotateRefused},
	}
}

func reuseChecks() []check {
	return []check{
		{"at exactly Grace", checkReuseAtGrace},
		{"with no Grace", checkReuseNoGrace},
		{"after Grace", checkReuseAfterGrace},
		{"after the successor was used", checkReuseSuccessorUsed},
		{"after the successor expired", checkReuseSuccessorExpired},
		{"of an older token", checkReuseAncestor},
		{"ends all tokens of the grant", checkReuseEndsAll},
		{"leaves other grants alone", checkReuseOthers},
	}
}

func checkRotate(h *harness) {
	h.open("g")
	h.open("another")
	want := h.get(store.KindGrant, "g", h.now)
	another := h.get(store.KindGrant, "another", h.now)
	now := h.in(time.Hour)
	h.rotate(h.rotation("g.0", "g.1", now), "g.1")

	want.Version, want.UsedAt, want.ExpiresAt = 2, now, now.Add(grantLife)
	h.wantEqual(h.get(store.KindGrant, "g", now), want, "grant")
	h.wantEqual(h.get(store.KindGrant, "another", now), another, "another grant")
	h.wantRefresh("g.0", now, store.Refresh{CreatedAt: h.now, ExpiresAt: h.in(tokenLife), SpentAt: now}, "g")
	h.wantRefresh("g.1", now, store.Refresh{CreatedAt: now, ExpiresAt: now.Add(tokenLife)}, "g")
	h.wantRefresh("another.0", now, store.Refresh{CreatedAt: h.now, ExpiresAt: h.in(tokenLife)}, "another")
	h.wantIDs(store.Query{Kind: store.KindGrant, Index: "user", Value: "u1", Now: now}, "another", "g")
	h.wantGone(store.KindGrant, "another", h.in(grantLife))
	h.get(store.KindGrant, "g", h.in(grantLife))
}

func checkRetry(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "winner", h.now), "winner")
	for i, after := range []time.Duration{0, tick, grace / 2, grace - tick, 0} {
		h.rotate(h.rotation("g.0", fmt.Sprint("loser ", i), h.in(after)), "winner")
	}
	h.rotate(h.rotation("g.0", "winner", h.in(time.Second)), "winner")
}

func checkRetryUnchanged(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "winner", h.now), "winner")
	now := h.in(grace - tick)
	h.unchanged(now, "a retry", func() {
		h.rotate(h.rotation("g.0", "loser", now), "winner")
		h.wantNoRefresh("loser", now)
	})
	h.wantRotateErr(h.rotation("loser", "loser.1", now), store.ErrNotFound, "a loser's successor")
	h.rotate(h.rotation("winner", "g.2", now), "g.2")
}

// The clocks of two instances are not the same.
func checkRetryBehind(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "winner", h.now), "winner")
	h.rotate(h.rotation("g.0", "loser", h.in(-time.Second)), "winner")
	h.wantAlive("g", h.now)
}

func checkRotateChain(h *harness) {
	h.open("g")
	now := h.now
	for i := range 20 {
		now = now.Add(tokenLife - tick)
		old, next := fmt.Sprint("g.", i), fmt.Sprint("g.", i+1)
		h.rotate(h.rotation(old, next, now), next)
		h.rotate(h.rotation(old, "loser", now), next)
	}
	g := h.get(store.KindGrant, "g", now)
	h.wantEqual(g.Version, int64(21), "version of the grant")
	h.wantEqual(g.UsedAt, now, "UsedAt of the grant")
	h.wantAlive("g", now)
}

func checkRotateNever(h *harness) {
	h.open("g")
	r := h.rotation("g.0", "g.1", h.now)
	r.GrantExpiresAt = time.Time{}
	h.rotate(r, "g.1")
	g := h.get(store.KindGrant, "g", h.in(10*grantLife))
	if !g.ExpiresAt.IsZero() {
		h.Errorf("ExpiresAt of the grant = %v, want zero", g.ExpiresAt)
	}
	h.expire(h.in(10*grantLife), 10, 2) // the tokens
	h.wantAlive("g", h.in(10*grantLife))
}

func checkRotateShorten(h *harness) {
	h.open("g")
	r := h.rotation("g.0", "g.1", h.now)
	r.GrantExpiresAt = h.in(time.Hour)
	h.rotate(r, "g.1")
	h.wantAlive("g", h.in(time.Hour-tick))
	h.wantGone(store.KindGrant, "g", h.in(time.Hour))
	h.wantNoRefresh("g.1", h.in(time.Hour))
	h.wantRotateErr(h.rotation("g.1", "g.2", h.in(time.Hour)), store.ErrNotFound, "a token of an expired grant")
}

func checkRotateDead(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	now := h.in(time.Second)
	h.revoke(h.revocation(byID("g"), now), 1)
	h.unchanged(now, "rotations of a dead grant", func() {
		h.wantRotateErr(h.rotation("g.1", "g.2", now), store.ErrDead, "an unspent token of a dead grant")
		h.wantRotateErr(h.rotation("g.0", "g.3", now), store.ErrDead, "a token just spent of a dead grant")
		h.wantRotateErr(h.rotation("g.0", "g.3", now.Add(grace)), store.ErrDead, "a token long spent of a dead grant")
		h.wantRotateErr(h.rotation("g.1", "g.0", now), store.ErrDead, "a token of a dead grant into one in use")
	})
	h.wantDead("g", "test", now)
}

func checkRotateUnknown(h *harness) {
	h.open("g")
	h.unchanged(h.now, "rotation of an unknown token", func() {
		h.wantRotateErr(h.rotation("unknown", "next", h.now), store.ErrNotFound, "an unknown token")
		h.wantRotateErr(h.rotation("unknown", "g.0", h.now), store.ErrNotFound, "an unknown token into one in use")
	})
}

func checkRotateExpired(h *harness) {
	h.open("spent")
	h.open("unspent")
	h.rotate(h.rotation("spent.0", "spent.1", h.in(time.Hour)), "spent.1")
	h.rotate(h.rotation("spent.1", "spent.2", h.in(2*time.Hour)), "spent.2")
	now := h.in(tokenLife)
	h.unchanged(now, "rotation of expired tokens", func() {
		h.wantRotateErr(h.rotation("unspent.0", "next", now), store.ErrNotFound, "an expired token")
		h.wantRotateErr(h.rotation("spent.0", "next", now), store.ErrNotFound, "an expired spent token")
	})
	h.wantAlive("spent", now)
	h.wantAlive("unspent", now)
	h.rotate(h.rotation("unspent.0", "unspent.1", now.Add(-tick)), "unspent.1")
}

func checkRotateGrantExpired(h *harness) {
	r := h.redemption("g")
	r.Grant.ExpiresAt = h.in(time.Hour)
	h.redeem(r)
	h.wantRotateErr(h.rotation("g.0", "g.1", h.in(time.Hour)), store.ErrNotFound, "a token of an expired grant")
	h.wantGone(store.KindGrant, "g", h.in(time.Hour))
	h.wantNoRefresh("g.1", h.in(time.Hour-tick))
	h.rotate(h.rotation("g.0", "g.1", h.in(time.Hour-tick)), "g.1")
}

func checkRotateConflict(h *harness) {
	h.open("g")
	h.open("another")
	for _, next := range []string{"g.0", "another.0"} {
		h.unchanged(h.now, "a rotation into a token in use", func() {
			h.wantRotateErr(h.rotation("g.0", next, h.now), store.ErrConflict, "g.0 into %s", next)
		})
	}
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.rotate(h.rotation("g.0", "another.0", h.now), "g.1")
}

func checkRotateRefused(h *harness) {
	h.open("g")
	r := h.rotation("g.0", "g.1", h.now)
	r.NextExpiresAt = time.Time{}
	h.unchanged(h.now, "a refused rotation", func() {
		_, err := h.Rotate(h.ctx, r)
		h.wantRefusal(err, "Rotate without NextExpiresAt")
	})
}

// wantReuse reports it unless the rotation is reuse, which kills the grant and
// does nothing else.
func (h *harness) wantReuse(grant string, r store.Rotation) {
	h.Helper()
	want := h.get(store.KindGrant, grant, r.Now)
	before := h.state(r.Now)
	got, err := h.Rotate(h.ctx, r)
	h.wantErr(err, store.ErrReuse, "Rotate at %v", r.Now.Sub(h.now))
	h.wantEqual(got, [32]byte{}, "salt that Rotate returns with its error")
	want.Version++
	want.DeadAt, want.DeadReason = r.Now, "reuse"
	h.wantEqual(h.get(store.KindGrant, grant, r.Now), want, "grant after reuse")
	h.wantEqual(h.state(r.Now).Tokens, before.Tokens, "tokens after reuse")
	h.wantRotateErr(r, store.ErrDead, "the same once more")
	h.wantEqual(h.get(store.KindGrant, grant, r.Now), want, "grant after the same once more")
}

func checkReuseAtGrace(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.in(time.Hour)), "g.1")
	h.wantReuse("g", h.rotation("g.0", "g.2", h.in(time.Hour+grace)))
}

func checkReuseNoGrace(h *harness) {
	h.open("g")
	r := h.rotation("g.0", "g.1", h.now)
	r.Grace = 0
	h.rotate(r, "g.1")
	h.wantReuse("g", r)
}

func checkReuseAfterGrace(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	// A retry does not begin the grace period anew.
	h.rotate(h.rotation("g.0", "g.2", h.in(grace-tick)), "g.1")
	h.wantReuse("g", h.rotation("g.0", "g.3", h.in(grace+time.Second)))
}

func checkReuseSuccessorUsed(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.rotate(h.rotation("g.1", "g.2", h.in(time.Second)), "g.2")
	h.wantReuse("g", h.rotation("g.0", "g.3", h.in(2*time.Second)))
}

func checkReuseSuccessorExpired(h *harness) {
	for _, sweep := range []bool{false, true} {
		id := fmt.Sprint("swept ", sweep)
		h.open(id)
		r := h.rotation(id+".0", id+".1", h.now)
		r.NextExpiresAt = h.in(time.Second)
		h.rotate(r, id+".1")
		h.rotate(h.rotation(id+".0", id+".2", h.in(time.Second-tick)), id+".1")
		if sweep {
			h.sweep(h.in(time.Second))
		}
		h.wantReuse(id, h.rotation(id+".0", id+".2", h.in(time.Second)))
	}
}

func checkReuseAncestor(h *harness) {
	h.open("g")
	for i := range 5 {
		next := fmt.Sprint("g.", i+1)
		h.rotate(h.rotation(fmt.Sprint("g.", i), next, h.in(time.Duration(i)*time.Hour)), next)
	}
	h.wantReuse("g", h.rotation("g.1", "g.6", h.in(5*time.Hour)))
}

func checkReuseEndsAll(h *harness) {
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.rotate(h.rotation("g.1", "g.2", h.now), "g.2")
	now := h.in(time.Minute)
	h.wantReuse("g", h.rotation("g.0", "g.3", now))
	for _, name := range []string{"g.0", "g.1", "g.2"} {
		h.wantRotateErr(h.rotation(name, "next", now), store.ErrDead, "token %s after reuse", name)
	}
	h.wantNoRefresh("next", now)
	h.wantNoRefresh("g.3", now)
}

func checkReuseOthers(h *harness) {
	h.open("g")
	h.open("another")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	h.rotate(h.rotation("another.0", "another.1", h.now), "another.1")
	now := h.in(time.Minute)
	h.wantReuse("g", h.rotation("g.0", "g.2", now))
	h.wantAlive("another", now)
	h.rotate(h.rotation("another.1", "another.2", now), "another.2")
	// Reuse leaves no watermark.
	r := h.redemption("new")
	r.IssuedAt, r.Now = h.now, now
	h.redeem(r)
}
