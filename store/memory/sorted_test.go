// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// check reports every way in which l differs from the ordered set want, and
// every broken invariant.
func check(t *testing.T, l *sorted[int], want []int) {
	t.Helper()
	if got := slices.Collect(l.from(place{})); !slices.Equal(got, want) {
		t.Fatalf("values = %v, want %v", got, want)
	}
	if got := l.rank(place{len(l.blocks), 0}); got != len(want) {
		t.Fatalf("rank of the end = %d, want %d", got, len(want))
	}
	if v, ok := l.first(); ok != (len(want) > 0) || ok && v != want[0] {
		t.Fatalf("first = %d, %t in %v", v, ok, want)
	}
	for i, block := range l.blocks {
		if len(block) == 0 || len(block) > blockMax {
			t.Fatalf("block %d holds %d values, want 1 to %d", i, len(block), blockMax)
		}
		if i > 0 && len(block)+len(l.blocks[i-1]) <= blockMax/2 {
			t.Fatalf("blocks %d and %d hold %d and %d values and were not merged", i-1, i, len(l.blocks[i-1]), len(block))
		}
	}
}

func TestSortedAgainstModel(t *testing.T) {
	const values = 6000
	for _, order := range []string{"ascending", "descending", "random"} {
		t.Run(order, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			add := random.Perm(values)
			switch order {
			case "ascending":
				slices.Sort(add)
			case "descending":
				slices.SortFunc(add, func(a, b int) int { return b - a })
			}
			l := &sorted[int]{compare: cmp.Compare[int]}
			var model []int
			for i, v := range add {
				l.insert(v)
				at, _ := slices.BinarySearch(model, v)
				model = slices.Insert(model, at, v)
				if i%500 == 0 {
					check(t, l, model)
				}
			}
			check(t, l, model)
			checkFind(t, l)
			for i, v := range random.Perm(values) {
				l.remove(v)
				at, _ := slices.BinarySearch(model, v)
				model = slices.Delete(model, at, at+1)
				if i%500 == 0 || len(model) < 10 {
					check(t, l, model)
				}
			}
			if len(l.blocks) != 0 {
				t.Errorf("%d blocks left of an empty set, want 0", len(l.blocks))
			}
		})
	}
}

// checkFind expects that l holds 0, 1, 2, … so that values are their ranks.
func checkFind(t *testing.T, l *sorted[int]) {
	t.Helper()
	size := l.rank(place{len(l.blocks), 0})
	for v := range size + 1 {
		p := l.find(func(e int) bool { return e < v })
		if got := l.rank(p); got != v {
			t.Fatalf("rank of %d = %d", v, got)
		}
		for e := range l.from(p) {
			if e != v {
				t.Fatalf("first value from the place of %d = %d", v, e)
			}
			break
		}
	}
}
