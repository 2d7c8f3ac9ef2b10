// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"context"
	"time"

	"github.com/tailscale/tsidp/store"
)

func endChecks() []check {
	return []check{
		{"calls after Close give an error", checkClose},
		{"an ended context changes nothing", checkContext},
	}
}

// calls returns by name a call of each method that would succeed where the
// record id, the grant g and no key set are.
func (h *harness) calls() map[string]func(context.Context) error {
	now := h.now
	return map[string]func(context.Context) error{
		"Redeem": func(ctx context.Context) error {
			r := h.redemption("new")
			r.Marks = h.marks()
			return h.Redeem(ctx, r)
		},
		"Refresh": func(ctx context.Context) error {
			_, _, err := h.Refresh(ctx, h.hash("g.0"), now)
			return err
		},
		"Rotate": func(ctx context.Context) error {
			_, err := h.Rotate(ctx, h.rotation("g.0", "g.1", now))
			return err
		},
		"Revoke": func(ctx context.Context) error {
			r := h.revocation(byIndex(map[string]string{"user": "u1"}), now)
			r.Delete = []store.Key{{Kind: thing, ID: "id"}}
			_, err := h.Revoke(ctx, r)
			return err
		},
		"UseOnce": func(ctx context.Context) error {
			return h.UseOnce(ctx, "space", "new", now, now.Add(time.Hour))
		},
		"Keys": func(ctx context.Context) error {
			_, err := h.Keys(ctx)
			return err
		},
		"SwapKeys": func(ctx context.Context) error {
			_, err := h.SwapKeys(ctx, 0, []byte("keys"))
			return err
		},
		"Get": func(ctx context.Context) error {
			_, err := h.Get(ctx, thing, "id", now)
			return err
		},
		"Put": func(ctx context.Context) error {
			_, err := h.Put(ctx, h.record("new"), now)
			return err
		},
		"Delete": func(ctx context.Context) error {
			return h.Delete(ctx, thing, "id", 1, now)
		},
		"List": func(ctx context.Context) error {
			_, err := h.List(ctx, store.Query{Kind: thing, Now: now})
			return err
		},
		"Count": func(ctx context.Context) error {
			_, err := h.Count(ctx, store.Query{Kind: thing, Now: now})
			return err
		},
		"Expire": func(ctx context.Context) error {
			_, err := h.Expire(ctx, now, 10)
			return err
		},
	}
}

// prepare makes what calls expects, and a row that has expired.
func (h *harness) prepare() {
	h.Helper()
	h.put(h.record("id"))
	h.open("g")
	h.must(h.UseOnce(h.ctx, "space", "expired", h.in(-time.Hour), h.now), "UseOnce")
}

func checkClose(h *harness) {
	h.prepare()
	h.must(h.Close(), "Close")
	for name, call := range h.calls() {
		h.wantRefusal(call(h.ctx), "%s after Close", name)
	}
	h.wantRefusal(h.Close(), "Close after Close")
}

func checkContext(h *harness) {
	h.prepare()
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	h.unchanged(h.now, "calls with an ended context", func() {
		for name, call := range h.calls() {
			h.wantRefusal(call(ctx), "%s with an ended context", name)
		}
	})
	h.expire(h.now, 10, 1)
	h.must(h.UseOnce(h.ctx, "space", "new", h.now, h.in(time.Hour)), "UseOnce after one with an ended context")
	r := h.redemption("after")
	r.IssuedAt = h.now
	h.wantErr(h.Redeem(h.ctx, r), nil, "Redeem after a Revoke with an ended context")
}
