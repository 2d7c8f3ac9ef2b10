// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"bytes"

	"github.com/tailscale/tsidp/store"
)

func ownerChecks() []check {
	return []check{
		{"Put does not retain", checkPutRetains},
		{"Redeem does not retain", checkRedeemRetains},
		{"Revoke does not retain", checkRevokeRetains},
		{"SwapKeys does not retain", checkSwapRetains},
		{"what Get and List return is the caller's", checkReturnedRecords},
		{"what Refresh returns is the caller's", checkReturnedGrant},
		{"what Keys returns is the caller's", checkReturnedKeys},
	}
}

// scribble writes over all that r refers to.
func scribble(r store.Record) {
	for i := range r.Data {
		r.Data[i] ^= 0xff
	}
	for name := range r.Index {
		r.Index[name] = "scribble"
	}
	if r.Index != nil {
		r.Index["scribble"] = "scribble"
	}
}

// copied returns a record that shares nothing with r.
func copied(r store.Record) store.Record {
	c := r
	c.Data, c.Index = bytes.Clone(r.Data), make(map[string]string)
	for name, value := range r.Index {
		c.Index[name] = value
	}
	return c
}

// wantClean reports it unless a record is what it was, also for List.
func (h *harness) wantClean(want store.Record, what string) {
	h.Helper()
	h.wantEqual(h.get(want.Kind, want.ID, h.now), want, "record from Get after %s was written over", what)
	h.wantIDs(store.Query{Kind: want.Kind, Index: "client", Value: "c1", Now: h.now}, want.ID)
	h.wantIDs(store.Query{Kind: want.Kind, Index: "scribble", Value: "scribble", Now: h.now})
}

// indexed returns a record with an index.
func (h *harness) indexed(id string) store.Record {
	r := h.record(id)
	r.Index = map[string]string{"client": "c1"}
	return r
}

func checkPutRetains(h *harness) {
	r := h.indexed("id")
	for range 2 {
		want := copied(r)
		want.Version = h.put(r)
		scribble(r)
		h.wantClean(want, "what Put was given")
		r = copied(want)
	}
}

func checkRedeemRetains(h *harness) {
	r := h.redemption("g")
	r.Marks = []store.Record{h.indexed("mark")}
	grant, mark, token := copied(r.Grant), copied(r.Marks[0]), *r.Refresh
	grant.Version, mark.Version = 1, 1
	h.redeem(r)
	scribble(r.Grant)
	scribble(r.Marks[0])
	r.Marks[0] = store.Record{}
	*r.Refresh = store.Refresh{}
	h.wantClean(grant, "the grant that Redeem was given")
	h.wantClean(mark, "the mark that Redeem was given")
	got, _, err := h.Refresh(h.ctx, token.Hash, h.now)
	h.must(err, "Refresh")
	h.wantEqual(got, token, "token after what Redeem was given was written over")
}

func checkRevokeRetains(h *harness) {
	index := map[string]string{"user": "u1", "client": "c1"}
	r := h.revocation(byIndex(index), h.now)
	h.revoke(r, 0)
	index["user"] = "u2"
	h.wantCode(map[string]string{"user": "u1", "client": "c1"}, h.now, h.now, store.ErrDead, "of the user who was revoked")
	h.wantCode(map[string]string{"user": "u2", "client": "c1"}, h.now, h.now, nil, "of the user who was not")
}

func checkSwapRetains(h *harness) {
	data := []byte("keys")
	_, err := h.SwapKeys(h.ctx, 0, data)
	h.must(err, "SwapKeys")
	data[0] = 'x'
	h.wantKeys(1, "keys")
}

func checkReturnedRecords(h *harness) {
	want := h.indexed("id")
	want.Version = h.put(want)
	scribble(h.get(thing, "id", h.now))
	h.wantClean(want, "what Get returned")
	for _, r := range h.list(store.Query{Kind: thing, Now: h.now}) {
		scribble(r)
	}
	h.wantClean(want, "what List returned")
}

func checkReturnedGrant(h *harness) {
	h.open("g")
	want := h.get(store.KindGrant, "g", h.now)
	_, grant, err := h.Refresh(h.ctx, h.hash("g.0"), h.now)
	h.must(err, "Refresh")
	scribble(grant)
	h.wantClean(want, "what Refresh returned")
}

func checkReturnedKeys(h *harness) {
	h.swap(0, "keys", 1, nil)
	keys, err := h.Keys(h.ctx)
	h.must(err, "Keys")
	clear(keys.Data)
	h.wantKeys(1, "keys")
}
