// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/tailscale/tsidp/store"
)

func raceRevokeRotate(h *harness) {
	for round := range 20 {
		id := fmt.Sprint("g", round)
		h.open(id)
		rotation := h.rotation(id+".0", id+".1", h.now)
		revocation := h.revocation(byID(id), h.now)
		errs := together(2, func(i int) error {
			if i == round%2 {
				_, err := h.Revoke(h.ctx, revocation)
				return err
			}
			_, err := h.Rotate(h.ctx, rotation)
			return err
		})
		h.must(errs[round%2], "concurrent Revoke")
		h.wantDead(id, "test", h.now)
		next := h.rotation(id+".1", id+".2", h.now)
		if err := errs[1-round%2]; err == nil {
			h.wantRotateErr(next, store.ErrDead, "the successor of a rotation that raced a revocation")
		} else {
			h.wantErr(err, store.ErrDead, "Rotate that raced a revocation")
			h.wantRotateErr(next, store.ErrNotFound, "the successor of a rotation that lost")
		}
		h.wantRotateErr(rotation, store.ErrDead, "a token of a grant that was revoked")
	}
}

func raceExpire(h *harness) {
	const rows, n = 40, 8
	for i := range rows {
		r := h.record(fmt.Sprint(i))
		r.ExpiresAt = h.in(time.Minute)
		h.put(r)
	}
	counts := make([]int, n)
	errs := together(n, func(i int) (err error) {
		counts[i], err = h.Expire(h.ctx, h.in(time.Minute), rows)
		return err
	})
	h.wantErrs(errs, "Expire", map[error]int{nil: n})
	total := 0
	for _, c := range counts {
		total += c
	}
	h.wantEqual(total, rows, "sum of what concurrent Expire counts")
}

// A record of this check says its version in three places.
func raceReaders(h *harness) {
	const versions, readers = 30, 4
	write := func(version int64) error {
		r := h.record("id")
		r.Version = version
		r.Data = fmt.Append(nil, version+1)
		r.Index = map[string]string{"version": fmt.Sprint(version + 1)}
		_, err := h.Put(h.ctx, r, h.now)
		return err
	}
	h.must(write(0), "Put")
	torn := func(r store.Record) error {
		if v := fmt.Sprint(r.Version); string(r.Data) != v || r.Index["version"] != v {
			return fmt.Errorf("reading version %d with data %q and index %v", r.Version, r.Data, r.Index)
		}
		return nil
	}
	errs := together(1+readers, func(i int) error {
		last := int64(1)
		for version := last; version < versions; version++ {
			if i == 0 {
				if err := write(version); err != nil {
					return err
				}
				continue
			}
			r, err := h.Get(h.ctx, thing, "id", h.now)
			if err == nil {
				err = torn(r)
			}
			if err == nil && r.Version < last {
				err = fmt.Errorf("reading version %d after %d", r.Version, last)
			}
			if err != nil {
				return err
			}
			last = r.Version
			page, err := h.List(h.ctx, store.Query{Kind: thing, Index: "version", Prefix: true, Now: h.now})
			if err != nil {
				return err
			}
			if len(page.Records) != 1 {
				return fmt.Errorf("listing %d records, want 1", len(page.Records))
			}
			if err := torn(page.Records[0]); err != nil {
				return err
			}
		}
		return nil
	})
	h.wantErrs(errs, "reads and writes", map[error]int{nil: 1 + readers})
}

func raceContext(h *harness) {
	for round := range 20 {
		id := fmt.Sprint("g", round)
		r := h.redemption(id)
		r.Marks = []store.Record{h.record(id)}
		ctx, cancel := context.WithCancel(h.ctx)
		errs := together(2, func(i int) error {
			if i == round%2 {
				cancel()
				return nil
			}
			return h.Redeem(ctx, r)
		})
		_, grantErr := h.Get(h.ctx, store.KindGrant, id, h.now)
		_, markErr := h.Get(h.ctx, thing, id, h.now)
		_, _, tokenErr := h.Refresh(h.ctx, r.Refresh.Hash, h.now)
		want := error(store.ErrNotFound)
		if grantErr == nil {
			want = nil
		}
		if err := errs[1-round%2]; err == nil {
			h.wantErr(grantErr, nil, "Get of the grant after Redeem")
		} else {
			h.wantRefusal(err, "Redeem with a context that ends")
		}
		h.wantErr(grantErr, want, "Get of the grant after Redeem with a context that ends")
		h.wantErr(markErr, want, "Get of the mark where the grant says %v", grantErr)
		h.wantErr(tokenErr, want, "Refresh where the grant says %v", grantErr)
	}
}
