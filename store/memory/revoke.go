// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// A pair is one entry of an index.
type pair struct{ name, value string }

// A watermark refuses codes issued at or before a time for grants that have
// all entries of an index. Watermarks do not change.
type watermark struct {
	index map[string]string
	at    time.Time
	due   *deadline
}

// Revoke implements [store.Store].
func (s *Store) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	if err := storecheck.Revocation(r); err != nil {
		return 0, err
	}
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	until := r.Now.Add(r.KeepFor)
	grants := s.selected(r.Select, r.Now)
	for _, g := range grants {
		s.kill(g, r.Reason, r.Now)
		if g.ExpiresAt.IsZero() || until.Before(g.ExpiresAt) {
			s.postpone(g, until)
		}
	}
	if len(r.Select.Index) > 0 {
		s.addWatermark(r.Select.Index, r.Now, until)
	}
	for _, key := range r.Delete {
		if old := s.records[key]; old != nil {
			s.remove(old)
		}
	}
	return len(grants), nil
}

// selected returns the living grants that sel picks.
func (s *Store) selected(sel store.Selector, now time.Time) []*record {
	return slices.DeleteFunc(s.candidates(sel), func(g *record) bool {
		return !g.DeadAt.IsZero() || expired(g.ExpiresAt, now) || !contains(g.Index, sel.Index)
	})
}

// candidates returns grants among which are all that sel picks: the one with
// the ID, or those with the entry of the index that the fewest grants have.
func (s *Store) candidates(sel store.Selector) []*record {
	if g := s.records[store.Key{Kind: store.KindGrant, ID: sel.ID}]; g != nil {
		return []*record{g}
	}
	var best *span
	for name, value := range sel.Index {
		sp := s.span(store.Query{Kind: store.KindGrant, Index: name, Value: value})
		if best == nil || sp.size() < best.size() {
			best = &sp
		}
	}
	if best == nil {
		return nil
	}
	var grants []*record
	for e := range best.all() {
		grants = append(grants, e.record)
	}
	return grants
}

// contains reports whether index has all entries of part.
func contains(index, part map[string]string) bool {
	for name, value := range part {
		if v, ok := index[name]; !ok || v != value {
			return false
		}
	}
	return true
}

// bucket returns under which pair the watermarks of a selector are.
func bucket(index map[string]string) pair {
	name := slices.Min(slices.Collect(maps.Keys(index)))
	return pair{name, index[name]}
}

// addWatermark adds a watermark, and removes those that it makes needless. It
// does nothing if there is one that does the same for as long.
func (s *Store) addWatermark(index map[string]string, at, until time.Time) {
	at, until = stored(at), stored(until)
	for _, w := range slices.Clone(s.watermarks[bucket(index)]) {
		if !maps.Equal(w.index, index) {
			continue
		}
		if !w.at.Before(at) && !w.due.at.Before(until) {
			return
		}
		if !at.Before(w.at) && !until.Before(w.due.at) {
			w.expire(s)
		}
	}
	w := &watermark{index: maps.Clone(index), at: at}
	w.due = s.schedule(w, until)
	key := bucket(index)
	s.watermarks[key] = append(s.watermarks[key], w)
}

// expire removes w.
func (w *watermark) expire(s *Store) {
	s.unschedule(w.due)
	key := bucket(w.index)
	rest := slices.DeleteFunc(s.watermarks[key], func(other *watermark) bool { return other == w })
	if len(rest) == 0 {
		delete(s.watermarks, key)
		return
	}
	s.watermarks[key] = rest
}

// revoked reports whether a watermark refuses a code for a grant with that
// index.
func (s *Store) revoked(index map[string]string, issuedAt, now time.Time) bool {
	for name, value := range index {
		for _, w := range s.watermarks[pair{name, value}] {
			if !w.at.Before(issuedAt) && !expired(w.due.at, now) && contains(index, w.index) {
				return true
			}
		}
	}
	return false
}
