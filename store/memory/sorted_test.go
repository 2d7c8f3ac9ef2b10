// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// check reports every way in which l differs from the ordered set want.
func check(t *testing.T, l *sorted[int], want []int) {
	t.Helper()
	if got := slices.Collect(l.between(place{}, l.end())); !slices.Equal(got, want) {
		t.Fatalf("values = %v, want %v", got, want)
	}
	if got := l.rank(l.end()); got != len(want) {
		t.Fatalf("rank of the end = %d, want %d", got, len(want))
	}
	if v, ok := l.first(); ok != (len(want) > 0) || ok && v != want[0] {
		t.Fatalf("first = %d, %t in %v", v, ok, want)
	}
	checkBlocks(t, l)
}

// checkBlocks reports every broken invariant of l.
func checkBlocks(t *testing.T, l *sorted[int]) {
	t.Helper()
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
				checkBlocks(t, l)
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
				checkBlocks(t, l)
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
	size := l.rank(l.end())
	for v := range size + 1 {
		p := l.find(func(e int) bool { return e < v })
		if got := l.rank(p); got != v {
			t.Fatalf("rank of %d = %d", v, got)
		}
		if v < size && l.blocks[p.block][p.item] != v {
			t.Fatalf("value at the place of %d = %d", v, l.blocks[p.block][p.item])
		}
		if v == size && p != l.end() {
			t.Fatalf("place of %d = %v, want %v", v, p, l.end())
		}
		if v%97 != 0 && v != size {
			continue
		}
		if n := len(slices.Collect(l.between(place{}, p))); n != v {
			t.Fatalf("%d values are before %d", n, v)
		}
		if n := len(slices.Collect(l.between(p, place{}))); n != 0 {
			t.Fatalf("%d values are from %d to the start, want 0", n, v)
		}
	}
}
