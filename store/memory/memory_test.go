// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return New() })
}

// start is the time at which the tests of this file begin.
var start = time.Date(2030, time.January, 1, 0, 0, 0, 0, time.UTC)

// checkConsistent reports what does not fit together in s.
func checkConsistent(t *testing.T, s *Store) {
	t.Helper()
	deadlines, entries := 0, make(map[listName]int)
	has := func(what string, d *deadline, r row, at time.Time) {
		t.Helper()
		if (d == nil) != at.IsZero() || d != nil && (d.row != r || !d.at.Equal(at)) {
			t.Fatalf("%s that expires at %v has the deadline %+v", what, at, d)
		}
		if d != nil {
			deadlines++
		}
	}
	for key, r := range s.records {
		if r.Kind != key.Kind || r.ID != key.ID {
			t.Fatalf("record %v is under %v", r.Record, key)
		}
		has("record", r.due, r, r.ExpiresAt)
		entries[listName{r.Kind, ""}]++
		for index := range r.Index {
			entries[listName{r.Kind, index}]++
		}
		for h, token := range r.tokens {
			if token.grant != r || s.tokens[h] != token {
				t.Fatalf("token of %q is not among all tokens", r.ID)
			}
		}
	}
	for h, token := range s.tokens {
		if token.Hash != h || token.grant.tokens[h] != token || s.records[store.Key{Kind: store.KindGrant, ID: token.Grant}] != token.grant {
			t.Fatalf("token of %q is not among those of its grant", token.Grant)
		}
		has("token", token.due, token, token.ExpiresAt)
	}
	for key, u := range s.used {
		if u.key != key || u.due == nil {
			t.Fatalf("use of %v is under %v", u.key, key)
		}
		has("use", u.due, u, u.due.at)
	}
	for key, bucket := range s.watermarks {
		if len(bucket) == 0 {
			t.Fatalf("no watermarks are under %v", key)
		}
		for _, w := range bucket {
			if w.index[key.name] != key.value || w.due == nil {
				t.Fatalf("watermark of %v is under %v", w.index, key)
			}
			has("watermark", w.due, w, w.due.at)
		}
	}
	if got := s.deadlines.rank(s.deadlines.end()); got != deadlines {
		t.Fatalf("%d deadlines are scheduled, want %d", got, deadlines)
	}
	for name, l := range s.lists {
		if got := l.rank(l.end()); got != entries[name] || got == 0 {
			t.Fatalf("%d entries are in list %v, want %d", got, name, entries[name])
		}
		for e := range l.between(place{}, l.end()) {
			if value, ok := e.record.value(name.index); !ok || value != e.value || s.records[store.Key{Kind: name.kind, ID: e.record.ID}] != e.record {
				t.Fatalf("entry %q of list %v is that of no record", e.value, name)
			}
		}
		delete(entries, name)
	}
	if len(entries) != 0 {
		t.Fatalf("lists are missing: %v", entries)
	}
}

// act does something at random, and returns an error if that is none of the
// sentinels.
func act(ctx context.Context, s *Store, random *rand.Rand, now time.Time) error {
	pick := func() string { return fmt.Sprint(random.IntN(20)) }
	soon := func() time.Time { return now.Add(time.Duration(1+random.IntN(100)) * time.Second) }
	hash := func() store.Hash { return store.Hash{byte(random.IntN(60))} }
	index := map[string]string{"user": pick(), "client": pick()}
	id := pick()
	var err error
	switch random.IntN(8) {
	case 0, 1:
		grant := store.Record{Kind: store.KindGrant, ID: id, Index: index, ExpiresAt: soon()}
		r := store.Redemption{Grant: grant, IssuedAt: now, Now: now}
		r.Refresh = &store.Refresh{Hash: hash(), Grant: id, ExpiresAt: soon()}
		r.Marks = []store.Record{{Kind: "mark", ID: pick(), ExpiresAt: soon()}}
		err = s.Redeem(ctx, r)
	case 2, 3:
		_, err = s.Rotate(ctx, store.Rotation{Old: hash(), Next: hash(), NextExpiresAt: soon(), GrantExpiresAt: soon(), Now: now, Grace: time.Second})
	case 4:
		r := store.Revocation{Select: store.Selector{ID: id}, Now: now, KeepFor: soon().Sub(now)}
		if random.IntN(2) == 0 {
			delete(index, "client")
			r.Select = store.Selector{Index: index}
		}
		r.Delete = []store.Key{{Kind: "mark", ID: pick()}}
		_, err = s.Revoke(ctx, r)
	case 5:
		err = s.UseOnce(ctx, "space", id, now, soon())
	case 6:
		old, _ := s.Get(ctx, "record", id, now)
		_, err = s.Put(ctx, store.Record{Kind: "record", ID: id, Version: old.Version, Index: index, ExpiresAt: soon()}, now)
	case 7:
		_, err = s.Expire(ctx, now, 1+random.IntN(10))
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrConflict, store.ErrSpent, store.ErrDead, store.ErrReuse} {
		if errors.Is(err, sentinel) {
			return nil
		}
	}
	return err
}

func TestStaysConsistentAndLeavesNothing(t *testing.T) {
	ctx := t.Context()
	s := New()
	random := rand.New(rand.NewPCG(3, 4))
	now := start
	for i := range 20000 {
		now = now.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
		if err := act(ctx, s, random, now); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			checkConsistent(t, s)
		}
	}
	if len(s.records) == 0 || len(s.tokens) == 0 || len(s.used) == 0 || len(s.watermarks) == 0 {
		t.Errorf("the test leaves %d records, %d tokens, %d uses, %d watermarks, want some of each",
			len(s.records), len(s.tokens), len(s.used), len(s.watermarks))
	}
	if _, err := s.Expire(ctx, now.Add(time.Hour), 1_000_000); err != nil {
		t.Fatal(err)
	}
	checkConsistent(t, s)
	if n := len(s.records) + len(s.lists) + len(s.tokens) + len(s.used) + len(s.watermarks) + len(s.deadlines.blocks); n != 0 {
		t.Errorf("after all has expired, %d entries are left, want 0", n)
	}
}

func TestCloseLetsGo(t *testing.T) {
	s := New()
	if _, err := s.Put(t.Context(), store.Record{Kind: "k", ID: "i", ExpiresAt: start}, start); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SwapKeys(t.Context(), 0, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.records != nil || s.lists != nil || s.deadlines.blocks != nil || s.keys.Data != nil {
		t.Errorf("a closed store keeps %v, %v, %v, %v", s.records, s.lists, s.deadlines.blocks, s.keys)
	}
}

func TestWatermarksDoNotPileUp(t *testing.T) {
	for name, step := range map[string]time.Duration{"later": time.Second, "same": 0, "earlier": -time.Second} {
		t.Run(name, func(t *testing.T) {
			s := New()
			index := map[string]string{"user": "u1", "client": "c1"}
			for i := range 100 {
				r := store.Revocation{Select: store.Selector{Index: index}, Now: start.Add(time.Duration(i) * step), KeepFor: time.Hour}
				if _, err := s.Revoke(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(s.watermarks[pair{"client", "c1"}]); got != 1 {
				t.Errorf("a hundred revocations of one client and user leave %d watermarks, want 1", got)
			}
			checkConsistent(t, s)
		})
	}
}

func TestRevokeLooksAtTheFewest(t *testing.T) {
	s := New()
	for i := range 100 {
		id := fmt.Sprint(i)
		grant := store.Record{Kind: store.KindGrant, ID: id, Index: map[string]string{"all": "1", "one": id, "ten": fmt.Sprint(i / 10)}}
		if err := s.Redeem(t.Context(), store.Redemption{Grant: grant, Now: start}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		index map[string]string
		want  int
	}{
		{map[string]string{"all": "1", "one": "7", "ten": "0"}, 1},
		{map[string]string{"all": "1", "ten": "0"}, 10},
		{map[string]string{"all": "1"}, 100},
		{map[string]string{"all": "1", "absent": "1"}, 0},
	} {
		if got := len(s.candidates(store.Selector{Index: tt.index})); got != tt.want {
			t.Errorf("Revoke of %v looks at %d grants, want %d", tt.index, got, tt.want)
		}
	}
}

// fill returns a store of n living records.
func fill(b *testing.B, n int) *Store {
	s := New()
	random := rand.New(rand.NewPCG(5, 6))
	for i := range n {
		put(b, s, random, i, start.Add(time.Hour+time.Duration(random.IntN(1e9))))
	}
	return s
}

func put(b *testing.B, s *Store, random *rand.Rand, i int, expires time.Time) {
	r := store.Record{
		Kind:      "record",
		ID:        fmt.Sprintf("%016x%d", random.Uint64(), i),
		Index:     map[string]string{"user": fmt.Sprint(random.IntN(1000)), "client": fmt.Sprint(random.IntN(100))},
		ExpiresAt: expires,
	}
	if _, err := s.Put(b.Context(), r, start); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkStore(b *testing.B) {
	for _, n := range []int{1e4, 1e5} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s := fill(b, n)
			random := rand.New(rand.NewPCG(7, 8))
			b.Run("Put", func(b *testing.B) {
				for i := range b.N {
					put(b, s, random, i, start.Add(time.Hour))
				}
			})
			b.Run("Expire nothing", func(b *testing.B) {
				for range b.N {
					s.Expire(b.Context(), start, 1000)
				}
			})
			b.Run("List page of an index", func(b *testing.B) {
				for range b.N {
					s.List(b.Context(), store.Query{Kind: "record", Index: "user", Value: "500", Limit: 10, Now: start})
				}
			})
			b.Run("Count all", func(b *testing.B) {
				for range b.N {
					s.Count(b.Context(), store.Query{Kind: "record", Now: start})
				}
			})
		})
	}
}
