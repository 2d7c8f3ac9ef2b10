// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/tailscale/tsidp/store"
)

func watermarkChecks() []check {
	return []check{
		{"refuses codes issued until then", checkWatermark},
		{"is left where no grant is", checkWatermarkAlone},
		{"is not left by ID", checkWatermarkByID},
		{"lets a refused Redeem leave no trace", checkWatermarkTrace},
		{"does not spend the code", checkWatermarkUnspent},
		{"ends after KeepFor", checkWatermarkEnds},
		{"does not replace another", checkWatermarkMany},
		{"stands beside others", checkWatermarkBeside},
		{"compares whole values", checkWatermarkExact},
	}
}

// wantCode reports it unless Redeem of a new code answers with that error.
func (h *harness) wantCode(index map[string]string, issuedAt, now time.Time, want error, format string, args ...any) {
	h.Helper()
	r := h.redemption(fmt.Sprintf("code %d", len(h.hashes)))
	r.Grant.Index, r.IssuedAt, r.Now = index, issuedAt, now
	h.wantErr(h.Redeem(h.ctx, r), want, "Redeem of a code "+format, args...)
}

func checkWatermark(h *harness) {
	for _, tt := range selectorTests() {
		// What one round leaves must be gone in the next.
		h.now = h.in(2 * grantLife)
		h.sweep(h.now)
		grants := h.someGrants()
		at := h.in(time.Hour)
		h.revoke(h.revocation(byIndex(tt.index), at), len(tt.picks))
		for id, index := range grants {
			dead := error(nil)
			if slices.Contains(tt.picks, id) {
				dead = store.ErrDead
			}
			now := at.Add(codeLife)
			h.wantCode(index, at.Add(-codeLife), now, dead, "of %v issued before a revocation of %v", index, tt.index)
			h.wantCode(index, at.Add(-tick), now, dead, "of %v issued just before a revocation of %v", index, tt.index)
			h.wantCode(index, at, now, dead, "of %v issued at a revocation of %v", index, tt.index)
			h.wantCode(index, at, at, dead, "of %v issued and redeemed at a revocation of %v", index, tt.index)
			h.wantCode(index, at.Add(tick), now, nil, "of %v issued just after a revocation of %v", index, tt.index)
		}
	}
}

func checkWatermarkAlone(h *harness) {
	user := map[string]string{"user": "u1"}
	h.revoke(h.revocation(byIndex(user), h.now), 0)
	h.wantCode(user, h.now, h.now, store.ErrDead, "of a user who had no grant when revoked")
	h.wantCode(map[string]string{"user": "u2"}, h.now, h.now, nil, "of another user")
	h.wantCode(nil, h.now, h.now, nil, "without index")
}

func checkWatermarkByID(h *harness) {
	h.open("g")
	h.revoke(h.revocation(byID("g"), h.now), 1)
	h.revoke(h.revocation(byID("new"), h.now), 0)
	h.wantCode(h.grant("").Index, h.in(-time.Second), h.now, nil, "of the same user and client")
	h.open("new")
}

func checkWatermarkTrace(h *harness) {
	h.revoke(h.revocation(byIndex(map[string]string{"client": "c1"}), h.now), 0)
	h.wantRedeemErr("g", h.now, store.ErrDead, "Redeem under a watermark")
	h.wantGone(store.KindGrant, "g", h.now)
}

func checkWatermarkUnspent(h *harness) {
	h.revoke(h.revocation(byIndex(map[string]string{"client": "c1"}), h.now), 0)
	r := h.redemption("g")
	r.IssuedAt = h.now
	h.wantErr(h.Redeem(h.ctx, r), store.ErrDead, "Redeem under a watermark")
	h.wantErr(h.Redeem(h.ctx, r), store.ErrDead, "second Redeem under a watermark")
	r.IssuedAt = h.in(tick)
	h.redeem(r)
}

func checkWatermarkEnds(h *harness) {
	user := map[string]string{"user": "u1"}
	h.revoke(h.revocation(byIndex(user), h.now), 0)
	end := h.in(keepFor)
	h.wantCode(user, h.now, end.Add(-tick), store.ErrDead, "just before the watermark's end")
	h.wantCode(user, h.now, end, nil, "at the watermark's end")
}

func checkWatermarkMany(h *harness) {
	user := map[string]string{"user": "u1"}
	leave := func(at, keep time.Duration) {
		r := h.revocation(byIndex(user), h.in(at))
		r.KeepFor = keep
		_, err := h.Revoke(h.ctx, r)
		h.must(err, "Revoke")
	}
	// In this order, so that each is left where the others are.
	leave(20*time.Second, time.Minute)  // until 1m20s
	leave(10*time.Second, time.Hour)    // an earlier one for longer
	leave(15*time.Second, time.Second)  // one that says nothing new
	leave(30*time.Second, time.Second)  // a later one for less
	leave(20*time.Second, time.Minute)  // the first once more
	leave(5*time.Second, 2*time.Second) // one that is over soon
	leave(40*time.Second, 2*time.Hour)  // one that says all
	for _, tt := range []struct {
		issued, now time.Duration
		want        error
	}{
		{40 * time.Second, time.Minute, store.ErrDead},
		{40*time.Second + tick, time.Minute, nil},
		{5 * time.Second, 90 * time.Minute, store.ErrDead},
		{5 * time.Second, 40*time.Second + 2*time.Hour - tick, store.ErrDead},
		{5 * time.Second, 40*time.Second + 2*time.Hour, nil},
	} {
		h.wantCode(user, h.in(tt.issued), h.in(tt.now), tt.want, "issued at %v and redeemed at %v", tt.issued, tt.now)
	}

	user["user"] = "u2"
	leave(20*time.Second, time.Minute)
	leave(10*time.Second, time.Hour)
	leave(30*time.Second, time.Second)
	for _, tt := range []struct {
		issued, now time.Duration
		want        error
	}{
		{30 * time.Second, 30 * time.Second, store.ErrDead},
		{30 * time.Second, 31 * time.Second, nil},
		{20 * time.Second, 31 * time.Second, store.ErrDead},
		{20 * time.Second, 80*time.Second - tick, store.ErrDead},
		{20 * time.Second, 80 * time.Second, nil},
		{10 * time.Second, 80 * time.Second, store.ErrDead},
		{10 * time.Second, 10*time.Second + time.Hour, nil},
	} {
		h.wantCode(user, h.in(tt.issued), h.in(tt.now), tt.want, "issued at %v and redeemed at %v", tt.issued, tt.now)
	}
}

func checkWatermarkBeside(h *harness) {
	leave := func(index map[string]string) {
		h.Helper()
		_, err := h.Revoke(h.ctx, h.revocation(byIndex(index), h.now))
		h.must(err, "Revoke")
	}
	leave(map[string]string{"client": "c1", "user": "u1"})
	leave(map[string]string{"client": "c1", "user": "u2"})
	leave(map[string]string{"client": "c1", "user": "u2", "node": "n1"})
	leave(map[string]string{"user": "u4"})
	for _, tt := range []struct {
		client, user string
		want         error
	}{
		{"c1", "u1", store.ErrDead},
		{"c1", "u2", store.ErrDead},
		{"c1", "u3", nil},
		{"c1", "u4", store.ErrDead},
		{"c2", "u1", nil},
		{"c2", "u4", store.ErrDead},
	} {
		h.wantCode(map[string]string{"client": tt.client, "user": tt.user, "node": "n2"}, h.now, h.now, tt.want, "of %s at %s", tt.user, tt.client)
	}
}

func checkWatermarkExact(h *harness) {
	odd := append(oddStrings(), "", "ab", "aB")
	for i, value := range odd {
		index := map[string]string{"value": value}
		h.wantCode(index, h.now, h.now, nil, "of %q before its revocation", value)
		h.revoke(h.revocation(byIndex(index), h.now), 1)
		for _, value := range odd[:i+1] {
			h.wantCode(map[string]string{"value": value}, h.now, h.now, store.ErrDead, "of %q after its revocation", value)
		}
	}
	// What separates a name, its value and the next name must not be part
	// of either.
	h.revoke(h.revocation(byIndex(map[string]string{"a": "1,b=2", "c": "3"}), h.now), 0)
	h.revoke(h.revocation(byIndex(map[string]string{"a": "1\x00b\x002", "c": "3"}), h.now), 0)
	h.wantCode(map[string]string{"a": "1", "b": "2", "c": "3"}, h.now, h.now, nil, "with another split of names and values")
	h.wantCode(map[string]string{"a": "1", "b": "2,c=3"}, h.now, h.now, nil, "with another split of names and values")
}
