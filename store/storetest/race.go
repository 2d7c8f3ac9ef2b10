// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tailscale/tsidp/store"
)

func raceChecks() []check {
	return []check{
		{"Redeem of one grant has one winner", raceRedeem},
		{"Rotate of one token has one successor", raceRotate},
		{"Rotate of a spent token kills once", raceReuse},
		{"UseOnce of one value has one winner", raceUseOnce},
		{"UseOnce of an expired value has one winner", raceUseOnceExpired},
		{"SwapKeys from one version has one winner", raceSwapKeys},
		{"Put of one version has one winner", racePut},
		{"Put and Delete of one version have one winner", racePutDelete},
		{"Redeem with one mark inserts it once", raceMarks},
		{"Revoke counts each grant once", raceRevoke},
		{"Revoke and Redeem leave no living grant", raceRevokeRedeem},
		{"Revoke and Rotate leave no usable token", raceRevokeRotate},
		{"Expire counts each row once", raceExpire},
		{"readers see whole writes", raceReaders},
		{"an ending context leaves the whole or nothing", raceContext},
	}
}

// together calls f with 0 to n-1 at the same time, and returns the errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// wantErrs reports it unless errs has that many of each error and no others.
func (h *harness) wantErrs(errs []error, what string, want map[error]int) {
	h.Helper()
	got := make(map[error]int)
	for _, err := range errs {
		known := false
		for e := range want {
			if errors.Is(err, e) {
				got[e]++
				known = true
			}
		}
		if !known {
			h.Errorf("concurrent %s: error = %v, which is none of those expected", what, err)
		}
	}
	for e, n := range want {
		if got[e] != n {
			h.Errorf("concurrent %s: %d of %d calls gave %v, want %d", what, got[e], len(errs), e, n)
		}
	}
}

func raceRedeem(h *harness) {
	const n = 64
	var redemptions []store.Redemption
	for i := range n {
		r := h.redemption("g")
		r.Refresh.Hash = h.hash(fmt.Sprint("token ", i))
		r.Marks = []store.Record{h.record(fmt.Sprint("mark ", i))}
		redemptions = append(redemptions, r)
	}
	errs := together(n, func(i int) error { return h.Redeem(h.ctx, redemptions[i]) })
	h.wantErrs(errs, "Redeem", map[error]int{nil: 1, store.ErrSpent: n - 1})
	for i, err := range errs {
		if err != nil {
			h.wantNoRefresh(fmt.Sprint("token ", i), h.now)
			h.wantGone(thing, fmt.Sprint("mark ", i), h.now)
			continue
		}
		_, _, err := h.Refresh(h.ctx, redemptions[i].Refresh.Hash, h.now)
		h.wantErr(err, nil, "Refresh of the winner's token")
		h.get(thing, fmt.Sprint("mark ", i), h.now)
	}
}

func raceRotate(h *harness) {
	const n = 20
	h.open("g")
	var rotations []store.Rotation
	for i := range n {
		rotations = append(rotations, h.rotation("g.0", fmt.Sprint("next ", i), h.now))
	}
	salts := make([][32]byte, n)
	errs := together(n, func(i int) (err error) {
		salts[i], err = h.Rotate(h.ctx, rotations[i])
		return err
	})
	h.wantErrs(errs, "Rotate", map[error]int{nil: n})
	successors := 0
	for i := range n {
		if salts[i] != salts[0] {
			h.Errorf("concurrent Rotate: call %d got the salt %s, call 0 that of %s", i, h.saltName(salts[i]), h.saltName(salts[0]))
		}
		if _, _, err := h.Refresh(h.ctx, rotations[i].Next, h.now); err != nil {
			continue
		}
		successors++
		if salts[0] != rotations[i].Salt {
			h.Errorf("concurrent Rotate: the successor is that of %s, the salt %s", h.saltName(rotations[i].Salt), h.saltName(salts[0]))
		}
	}
	h.wantEqual(successors, 1, "number of successors")
	h.wantEqual(h.get(store.KindGrant, "g", h.now).Version, int64(2), "version of the grant")
}

func raceReuse(h *harness) {
	const n = 20
	h.open("g")
	h.rotate(h.rotation("g.0", "g.1", h.now), "g.1")
	r := h.rotation("g.0", "g.2", h.in(grace))
	errs := together(n, func(int) error {
		_, err := h.Rotate(h.ctx, r)
		return err
	})
	h.wantErrs(errs, "Rotate of a spent token", map[error]int{store.ErrReuse: 1, store.ErrDead: n - 1})
	h.wantDead("g", "reuse", h.in(grace))
	h.wantEqual(h.get(store.KindGrant, "g", h.now).Version, int64(3), "version of the grant")
}

func raceUseOnce(h *harness) {
	const n = 32
	errs := together(n, func(int) error { return h.UseOnce(h.ctx, "space", "id", h.now, h.in(time.Minute)) })
	h.wantErrs(errs, "UseOnce", map[error]int{nil: 1, store.ErrSpent: n - 1})
}

func raceUseOnceExpired(h *harness) {
	const n = 32
	h.must(h.UseOnce(h.ctx, "space", "id", h.in(-time.Hour), h.now), "UseOnce")
	errs := together(n, func(int) error { return h.UseOnce(h.ctx, "space", "id", h.now, h.in(time.Minute)) })
	h.wantErrs(errs, "UseOnce of an expired value", map[error]int{nil: 1, store.ErrSpent: n - 1})
}

func raceSwapKeys(h *harness) {
	const n = 32
	for version := range int64(3) {
		errs := together(n, func(i int) error {
			_, err := h.SwapKeys(h.ctx, version, fmt.Append(nil, version, " of ", i))
			return err
		})
		h.wantErrs(errs, "SwapKeys", map[error]int{nil: 1, store.ErrConflict: n - 1})
		for i, err := range errs {
			if err == nil {
				h.wantKeys(version+1, fmt.Sprint(version, " of ", i))
			}
		}
	}
}

func racePut(h *harness) {
	const n = 32
	for version := range int64(3) {
		errs := together(n, func(i int) error {
			r := h.record("id")
			r.Version, r.Index = version, map[string]string{"writer": fmt.Sprint(i)}
			_, err := h.Put(h.ctx, r, h.now)
			return err
		})
		h.wantErrs(errs, "Put", map[error]int{nil: 1, store.ErrConflict: n - 1})
		var want []string
		for i, err := range errs {
			if err == nil {
				want = append(want, fmt.Sprint(i))
			}
		}
		var got []string
		for _, r := range h.list(store.Query{Kind: thing, Index: "writer", Prefix: true, Now: h.now}) {
			got = append(got, r.Index["writer"])
		}
		h.wantEqual(got, want, "writer of version %d", version+1)
	}
}

func racePutDelete(h *harness) {
	const n = 32
	r := h.record("id")
	r.Version = h.put(r)
	errs := together(n, func(i int) error {
		if i%2 == 0 {
			return h.Delete(h.ctx, thing, "id", 1, h.now)
		}
		_, err := h.Put(h.ctx, r, h.now)
		return err
	})
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
		case errors.Is(err, store.ErrConflict):
		case errors.Is(err, store.ErrNotFound) && i%2 == 0:
		default:
			h.Errorf("concurrent Put and Delete: call %d: error = %v", i, err)
		}
	}
	h.wantEqual(winners, 1, "number of winners among Put and Delete")
}

func raceMarks(h *harness) {
	const n = 32
	var redemptions []store.Redemption
	for i := range n {
		r := h.redemption(fmt.Sprint(i))
		r.Marks = []store.Record{h.record("mark")}
		redemptions = append(redemptions, r)
	}
	errs := together(n, func(i int) error { return h.Redeem(h.ctx, redemptions[i]) })
	h.wantErrs(errs, "Redeem with one mark", map[error]int{nil: n})
	h.wantEqual(h.get(thing, "mark", h.now).Version, int64(1), "version of the mark")
}

func raceRevoke(h *harness) {
	const n = 8
	for i := range n {
		h.open(fmt.Sprint(i))
	}
	counts := make([]int, n)
	r := h.revocation(byIndex(map[string]string{"user": "u1"}), h.now)
	errs := together(n, func(i int) (err error) {
		counts[i], err = h.Revoke(h.ctx, r)
		return err
	})
	h.wantErrs(errs, "Revoke", map[error]int{nil: n})
	total := 0
	for _, c := range counts {
		total += c
	}
	h.wantEqual(total, n, "sum of what concurrent Revoke counts")
	for _, g := range h.list(store.Query{Kind: store.KindGrant, Now: h.now}) {
		h.wantEqual(g.Version, int64(2), "version of grant %q", g.ID)
	}
}

func raceRevokeRedeem(h *harness) {
	const n = 33 // of which the one in the middle revokes
	var redemptions []store.Redemption
	for i := range n {
		r := h.redemption(fmt.Sprint(i))
		r.IssuedAt = h.now
		redemptions = append(redemptions, r)
	}
	var killed int
	r := h.revocation(byIndex(map[string]string{"user": "u1"}), h.now)
	errs := together(n, func(i int) (err error) {
		if i == n/2 {
			killed, err = h.Revoke(h.ctx, r)
			return err
		}
		return h.Redeem(h.ctx, redemptions[i])
	})
	h.must(errs[n/2], "concurrent Revoke")
	opened := 0
	for i, err := range errs {
		switch {
		case i == n/2:
		case err == nil:
			opened++
		default:
			h.wantErr(err, store.ErrDead, "concurrent Redeem that lost")
		}
	}
	h.wantEqual(killed, opened, "number of grants that Revoke killed, of those opened")
	grants := h.list(store.Query{Kind: store.KindGrant, Now: h.now})
	h.wantEqual(len(grants), opened, "number of grants, of those opened")
	for _, g := range grants {
		h.wantDead(g.ID, "test", h.now)
	}
}
