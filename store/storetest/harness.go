// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tailscale/tsidp/store"
)

// The kinds that checks use beside store.KindGrant.
const (
	thing store.Kind = "thing"
	other store.Kind = "other"
)

// The durations that checks use where another one is not to the point.
const (
	grantLife = 30 * 24 * time.Hour // of a grant since its last rotation
	tokenLife = 7 * 24 * time.Hour  // of a refresh token
	codeLife  = time.Minute         // of an authorization code
	keepFor   = 10 * time.Minute    // of dead grants and watermarks
	grace     = 30 * time.Second    // of a rotation
	tick      = time.Microsecond    // what every backend can tell apart
)

// A harness is what a check works with: the test, the store and the means to
// ask it tersely. Its methods that do not return an error end the check if
// the store gives one.
type harness struct {
	testing.TB
	store.Store
	ctx context.Context
	now time.Time

	mu     sync.Mutex
	hashes []string // names of the refresh tokens that have been spoken of
}

func newHarness(tb testing.TB, s store.Store) *harness {
	return &harness{
		TB:    tb,
		Store: s,
		ctx:   tb.Context(),
		now:   time.Date(2031, time.March, 4, 5, 6, 7, 891011000, time.UTC),
	}
}

// in returns the time that is d after h.now.
func (h *harness) in(d time.Duration) time.Time { return h.now.Add(d) }

// hash returns the hash of the refresh token of that name.
func (h *harness) hash(name string) store.Hash {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.hashes, name) {
		h.hashes = append(h.hashes, name)
	}
	return sha256.Sum256([]byte("refresh token " + name))
}

// salt returns the salt by that name.
func salt(name string) [32]byte { return sha256.Sum256([]byte("salt " + name)) }

// sentinels returns the errors by which callers branch.
func sentinels() []error {
	return []error{store.ErrNotFound, store.ErrConflict, store.ErrSpent, store.ErrDead, store.ErrReuse}
}

// wantErr reports it unless err is want (nil for success) and none of the
// other sentinels.
func (h *harness) wantErr(err, want error, format string, args ...any) {
	h.Helper()
	ok := errors.Is(err, want)
	for _, s := range sentinels() {
		ok = ok && (errors.Is(err, s) == errors.Is(want, s))
	}
	if !ok {
		h.Errorf(format+": error = %v, want %v", append(args, err, want)...)
	}
}

// wantRefusal reports it unless err is an error and none of the sentinels.
func (h *harness) wantRefusal(err error, format string, args ...any) {
	h.Helper()
	if err == nil {
		h.Errorf(format+": error = nil, want one", args...)
	}
	for _, s := range sentinels() {
		if errors.Is(err, s) {
			h.Errorf(format+": error = %v, want one that is no sentinel", append(args, err)...)
		}
	}
}

// must ends the check if err is not nil.
func (h *harness) must(err error, format string, args ...any) {
	h.Helper()
	if err != nil {
		h.Fatalf(format+": error = %v, want nil", append(args, err)...)
	}
}

// wantEqual reports how got differs from want. Nil and empty are the same,
// and times are equal if they are the same instant.
func (h *harness) wantEqual(got, want any, format string, args ...any) {
	h.Helper()
	// Byte by byte, long data would take long to compare.
	data := cmp.FilterValues(func(a, b []byte) bool { return len(a) > 0 || len(b) > 0 }, cmp.Comparer(bytes.Equal))
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), data); diff != "" {
		h.Errorf(format+" (-want +got):\n%.5000s", append(args, diff)...)
	}
}

// record returns a record of kind thing that never expires.
func (h *harness) record(id string) store.Record {
	return store.Record{Kind: thing, ID: id, Data: []byte("data of " + id), CreatedAt: h.now}
}

// put creates or writes a record.
func (h *harness) put(r store.Record) int64 {
	h.Helper()
	version, err := h.Put(h.ctx, r, h.now)
	h.must(err, "Put(%q)", r.ID)
	return version
}

// get returns a record.
func (h *harness) get(kind store.Kind, id string, now time.Time) store.Record {
	h.Helper()
	r, err := h.Get(h.ctx, kind, id, now)
	h.must(err, "Get(%s %q)", kind, id)
	return r
}

// wantGone reports it unless Get says ErrNotFound.
func (h *harness) wantGone(kind store.Kind, id string, now time.Time) {
	h.Helper()
	r, err := h.Get(h.ctx, kind, id, now)
	h.wantErr(err, store.ErrNotFound, "Get(%s %q)", kind, id)
	h.wantEqual(r, store.Record{}, "record that Get(%s %q) returns with its error", kind, id)
}

// grant returns a grant of user u1 and client c1.
func (h *harness) grant(id string) store.Record {
	return store.Record{
		Kind:      store.KindGrant,
		ID:        id,
		Data:      []byte("data of " + id),
		Index:     map[string]string{"client": "c1", "user": "u1"},
		CreatedAt: h.now,
		ExpiresAt: h.in(grantLife),
	}
}

// redemption returns what opens the grant with the refresh token id.0 now.
func (h *harness) redemption(id string) store.Redemption {
	return store.Redemption{
		Grant:    h.grant(id),
		IssuedAt: h.in(-time.Second),
		Refresh: &store.Refresh{
			Hash:      h.hash(id + ".0"),
			Grant:     id,
			CreatedAt: h.now,
			ExpiresAt: h.in(tokenLife),
		},
		Now: h.now,
	}
}

// redeem opens a grant.
func (h *harness) redeem(r store.Redemption) {
	h.Helper()
	h.must(h.Redeem(h.ctx, r), "Redeem(%q)", r.Grant.ID)
}

// open opens a grant of user u1 and client c1 with the refresh token id.0.
func (h *harness) open(id string) {
	h.Helper()
	h.redeem(h.redemption(id))
}

// openFor opens a grant with an index, and with the refresh token id.0.
func (h *harness) openFor(id string, index map[string]string) {
	h.Helper()
	r := h.redemption(id)
	r.Grant.Index = index
	h.redeem(r)
}

// rotation returns what rotates the token old into next at a time. The salt
// is the one by the name of next.
func (h *harness) rotation(old, next string, now time.Time) store.Rotation {
	return store.Rotation{
		Old:            h.hash(old),
		Salt:           salt(next),
		Next:           h.hash(next),
		NextExpiresAt:  now.Add(tokenLife),
		GrantExpiresAt: now.Add(grantLife),
		Now:            now,
		Grace:          grace,
	}
}

// rotate rotates a token, and reports it unless the answer is the salt by the
// name winner.
func (h *harness) rotate(r store.Rotation, winner string) {
	h.Helper()
	got, err := h.Rotate(h.ctx, r)
	h.must(err, "Rotate at %v", r.Now.Sub(h.now))
	if got != salt(winner) {
		h.Errorf("Rotate at %v: salt = %s, want that of %q", r.Now.Sub(h.now), h.saltName(got), winner)
	}
}

// saltName returns the name of a salt, in words if it has none.
func (h *harness) saltName(s [32]byte) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range h.hashes {
		if s == salt(name) {
			return fmt.Sprintf("that of %q", name)
		}
	}
	return "unknown"
}

// wantRotateErr reports it unless Rotate gives that error.
func (h *harness) wantRotateErr(r store.Rotation, want error, format string, args ...any) {
	h.Helper()
	_, err := h.Rotate(h.ctx, r)
	h.wantErr(err, want, "Rotate of "+format, args...)
}

// wantDead reports it unless the grant died at a time, for a reason.
func (h *harness) wantDead(id, reason string, at time.Time) {
	h.Helper()
	g := h.get(store.KindGrant, id, at)
	if !g.DeadAt.Equal(at) || g.DeadReason != reason {
		h.Errorf("grant %q: DeadAt = %v, DeadReason = %q, want %v, %q", id, g.DeadAt, g.DeadReason, at, reason)
	}
}

// wantAlive reports it unless the grant lives.
func (h *harness) wantAlive(id string, now time.Time) {
	h.Helper()
	g := h.get(store.KindGrant, id, now)
	if !g.DeadAt.IsZero() || g.DeadReason != "" {
		h.Errorf("grant %q: DeadAt = %v, DeadReason = %q, want alive", id, g.DeadAt, g.DeadReason)
	}
}

// byID and byIndex return selectors.
func byID(id string) store.Selector { return store.Selector{ID: id} }

func byIndex(index map[string]string) store.Selector { return store.Selector{Index: index} }

// revocation returns what revokes the selected grants at a time.
func (h *harness) revocation(sel store.Selector, now time.Time) store.Revocation {
	return store.Revocation{Select: sel, Reason: "test", Now: now, KeepFor: keepFor}
}

// revoke reports it unless Revoke kills that many grants.
func (h *harness) revoke(r store.Revocation, want int) {
	h.Helper()
	n, err := h.Revoke(h.ctx, r)
	h.must(err, "Revoke(%+v)", r.Select)
	if n != want {
		h.Errorf("Revoke(%+v) = %d grants, want %d", r.Select, n, want)
	}
}

// expire reports it unless Expire removes that many rows in one call.
func (h *harness) expire(now time.Time, limit, want int) {
	h.Helper()
	n, err := h.Expire(h.ctx, now, limit)
	h.must(err, "Expire with limit %d", limit)
	if n != want {
		h.Errorf("Expire at %v with limit %d = %d rows, want %d", now.Sub(h.now), limit, n, want)
	}
}

// sweep removes all that has expired at a time.
func (h *harness) sweep(now time.Time) {
	h.Helper()
	for range 100 {
		n, err := h.Expire(h.ctx, now, 1000)
		h.must(err, "Expire")
		if n < 1000 {
			return
		}
	}
	h.Fatalf("Expire at %v finds no end", now.Sub(h.now))
}

// list returns all that q selects, page by page.
func (h *harness) list(q store.Query) []store.Record {
	h.Helper()
	var all []store.Record
	seen := make(map[string]bool)
	for {
		page, err := h.List(h.ctx, q)
		h.must(err, "List(%+v)", q)
		for _, r := range page.Records {
			if seen[r.ID] {
				h.Fatalf("List(%+v): %q is returned twice", q, r.ID)
			}
			seen[r.ID] = true
		}
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		if len(page.Records) == 0 {
			h.Fatalf("List(%+v): an empty page with Next = %q", q, page.Next)
		}
		q.After = page.Next
	}
}

// ids returns the IDs of records.
func ids(records []store.Record) []string {
	var s []string
	for _, r := range records {
		s = append(s, r.ID)
	}
	return s
}

// wantIDs reports it unless List and Count say that q selects these.
func (h *harness) wantIDs(q store.Query, want ...string) {
	h.Helper()
	h.wantEqual(ids(h.list(q)), want, "IDs of List(%+v)", q)
	n, err := h.Count(h.ctx, q)
	h.must(err, "Count(%+v)", q)
	if n != len(want) {
		h.Errorf("Count(%+v) = %d, want %d", q, n, len(want))
	}
}

// A state is all that can be seen of a store at a time.
type state struct {
	Records []store.Record
	Tokens  map[string]store.Refresh
	Keys    store.KeySet
}

// state returns what can be seen at a time of the kinds and refresh tokens
// that checks use.
func (h *harness) state(now time.Time) state {
	h.Helper()
	st := state{Tokens: make(map[string]store.Refresh)}
	for _, kind := range []store.Kind{thing, other, store.KindGrant} {
		st.Records = append(st.Records, h.list(store.Query{Kind: kind, Now: now})...)
	}
	for _, name := range slices.Clone(h.hashes) {
		switch token, _, err := h.Refresh(h.ctx, h.hash(name), now); {
		case err == nil:
			st.Tokens[name] = token
		case !errors.Is(err, store.ErrNotFound):
			h.Fatalf("Refresh(%q): error = %v, want nil or %v", name, err, store.ErrNotFound)
		}
	}
	var err error
	st.Keys, err = h.Keys(h.ctx)
	h.must(err, "Keys")
	return st
}

// unchanged reports what call changes of the state at a time.
func (h *harness) unchanged(now time.Time, what string, call func()) {
	h.Helper()
	before := h.state(now)
	call()
	h.wantEqual(h.state(now), before, "state after %s", what)
}
