// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/tailscale/tsidp/store"
)

// verify compares a store with what was told of it since a round, and tries
// what must not work. It settles what was pending, and what it changes in the
// store it adds to the history. It returns what is wrong.
func verify(ctx context.Context, st store.Store, h *history, since int) (faults []string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	work := make(chan *subject)
	for range workers {
		all.Go(func() {
			for s := range work {
				if err := check(ctx, st, s, s.round == h.round); err != nil {
					mu.Lock()
					faults = append(faults, fmt.Sprintf("%s, after %v, pending %q: %v", s.id, s.done, s.pending, err))
					mu.Unlock()
				}
			}
		})
	}
	for _, s := range h.since(since) {
		work <- s
	}
	close(work)
	all.Wait()
	if len(faults) == 0 {
		faults = counts(ctx, st, h)
	}
	return faults
}

// counts compares the number of records: there is nothing that nobody wrote.
func counts(ctx context.Context, st store.Store, h *history) (faults []string) {
	want := make(map[store.Kind]int)
	for _, s := range h.subjects {
		seen := stateAfter(s.done)
		switch {
		case seen.Version == 0:
		case s.isClient():
			want[kindClient]++
		default:
			want[store.KindGrant]++
		}
		if seen.Mark {
			want[kindMark]++
		}
	}
	for _, kind := range []store.Kind{kindClient, store.KindGrant, kindMark} {
		n, err := st.Count(ctx, store.Query{Kind: kind, Now: start()})
		if err != nil || n != want[kind] {
			faults = append(faults, fmt.Sprintf("%d records of kind %s, %v, want %d", n, kind, err, want[kind]))
		}
	}
	return faults
}

// check verifies one subject, and if probing is true tries what must be
// refused.
func check(ctx context.Context, st store.Store, s *subject, probing bool) error {
	if err := settle(ctx, st, s); err != nil {
		return err
	}
	if !probing || s.isClient() {
		return nil
	}
	if err := probe(ctx, st, s); err != nil {
		return err
	}
	return settle(ctx, st, s) // what was refused has changed nothing
}

// settle finds out whether what is pending has happened. It must have
// happened as a whole, or else not at all, so that it can happen now.
func settle(ctx context.Context, st store.Store, s *subject) error {
	got, err := observe(ctx, st, s)
	if err != nil {
		return err
	}
	diff := cmp.Diff(stateAfter(s.done), got)
	if s.pending == "" {
		if diff != "" {
			return fmt.Errorf("acknowledged state (-want +got):\n%s", diff)
		}
		return nil
	}
	after := append(slices.Clone(s.done), s.pending)
	switch {
	case cmp.Equal(stateAfter(after), got):
	case diff == "":
		if err := s.do(ctx, st, s.pending); err != nil {
			return fmt.Errorf("doing what had not happened: %w", err)
		}
	default:
		return fmt.Errorf("neither before nor after what was pending (-before +got):\n%s", diff)
	}
	s.done, s.pending = after, ""
	return nil
}

// observe reads what is there of s.
func observe(ctx context.Context, st store.Store, s *subject) (got state, err error) {
	kind := store.KindGrant
	if s.isClient() {
		kind = kindClient
	}
	switch r, err := st.Get(ctx, kind, s.id, start()); {
	case err == nil:
		got.Version, got.Dead = r.Version, r.DeadReason
		if s.isClient() {
			got.Data = string(r.Data)
		}
	case !errors.Is(err, store.ErrNotFound):
		return state{}, err
	}
	if s.isClient() {
		return got, nil
	}
	switch _, err := st.Get(ctx, kindMark, s.id, start()); {
	case err == nil:
		got.Mark = true
	case !errors.Is(err, store.ErrNotFound):
		return state{}, err
	}
	there := 0
	for i := range s.count(opRotate) + 3 { // one more might be pending, and none may come after it
		what, err := observeToken(ctx, st, s.id, i)
		if err != nil {
			return state{}, err
		}
		got.Tokens = append(got.Tokens, what)
		if what != absent {
			there = i + 1
		}
	}
	if got.Tokens = got.Tokens[:there]; there == 0 {
		got.Tokens = nil
	}
	return got, nil
}

func observeToken(ctx context.Context, st store.Store, id string, n int) (string, error) {
	switch r, _, err := st.Refresh(ctx, token(id, n), start()); {
	case errors.Is(err, store.ErrNotFound):
		return absent, nil
	case err != nil:
		return "", err
	case r.Grant != id:
		return "", fmt.Errorf("refresh token %d is of grant %q", n, r.Grant)
	case r.SpentAt.IsZero():
		return unused, nil
	}
	return spent, nil
}

// probe tries what must be refused for a grant that is there.
func probe(ctx context.Context, st store.Store, s *subject) error {
	if len(s.done) == 0 {
		return nil
	}
	other := store.Hash(saltOf(s.id, -1))
	if err := st.Redeem(ctx, redemption(s.id, s.id, other)); !errors.Is(err, store.ErrSpent) {
		return fmt.Errorf("redeeming again: error %v, want %v", err, store.ErrSpent)
	}
	if s.count(opRevoke) > 0 {
		if err := st.Redeem(ctx, redemption(s.id+"-late", s.id, other)); !errors.Is(err, store.ErrDead) {
			return fmt.Errorf("redeeming an older code: error %v, want %v", err, store.ErrDead)
		}
	}
	if stateAfter(s.done).Dead == "" {
		if err := probeLiving(ctx, st, s); err != nil {
			return err
		}
	}
	if stateAfter(s.done).Dead == "" {
		return nil
	}
	for i := range s.count(opRotate) + 1 {
		if _, err := st.Rotate(ctx, reuse(s.id, i)); !errors.Is(err, store.ErrDead) {
			return fmt.Errorf("rotating token %d of a dead grant: error %v, want %v", i, err, store.ErrDead)
		}
	}
	return nil
}

// probeLiving rotates tokens of a living grant. One of three lives on; one is
// rotated first, so that it is seen that its last token works once.
func probeLiving(ctx context.Context, st store.Store, s *subject) error {
	n := s.count(opRotate)
	if n > 0 { // a retry: the winner's salt is there
		r := reuse(s.id, n-1)
		r.Now = start()
		if salt, err := st.Rotate(ctx, r); err != nil || salt != saltOf(s.id, n-1) {
			return fmt.Errorf("retrying rotation %d: salt %x, error %v, want salt %x", n-1, salt, err, saltOf(s.id, n-1))
		}
	}
	sum := int(crc32.ChecksumIEEE([]byte(s.id)))
	victim := -1
	switch {
	case sum%3 == 1:
		if err := s.do(ctx, st, opRotate); err != nil {
			return fmt.Errorf("rotating the last token: %w", err)
		}
		s.done = append(s.done, opRotate)
		victim = n
	case sum%3 == 2 && n > 0:
		victim = sum % n
	}
	if victim < 0 {
		return nil
	}
	if _, err := st.Rotate(ctx, reuse(s.id, victim)); !errors.Is(err, store.ErrReuse) {
		return fmt.Errorf("reusing token %d: error %v, want %v", victim, err, store.ErrReuse)
	}
	s.done = append(s.done, opReuse)
	return nil
}
