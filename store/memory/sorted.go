// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package memory

import (
	"iter"
	"slices"
	"sort"
)

// blockMax is how many values a block holds before it is split.
const blockMax = 512

// A sorted is an ordered set. It keeps its values in a list of blocks, so that
// inserting or removing one moves at most a block of values and the list of
// blocks, and the rank of a value is the sum of some block lengths.
//
// No block is empty, and no two neighbors fit into half a block.
type sorted[T any] struct {
	compare func(a, b T) int
	blocks  [][]T
}

// A place is where a value is, or where it would be, in a sorted. The place
// after the last value is {len(blocks), 0}, so that each has one place only.
type place struct{ block, item int }

// before reports whether p comes before q.
func (p place) before(q place) bool {
	return p.block < q.block || p.block == q.block && p.item < q.item
}

// find returns the place of the first value for which before is false; before
// must be true for a beginning of the order and false for the rest.
func (l *sorted[T]) find(before func(T) bool) place {
	b := sort.Search(len(l.blocks), func(i int) bool {
		return !before(l.blocks[i][len(l.blocks[i])-1])
	})
	if b == len(l.blocks) {
		return place{b, 0}
	}
	return place{b, sort.Search(len(l.blocks[b]), func(i int) bool {
		return !before(l.blocks[b][i])
	})}
}

// insert adds v, which must not be there.
func (l *sorted[T]) insert(v T) {
	if len(l.blocks) == 0 {
		l.blocks = [][]T{{v}}
		return
	}
	p := l.find(func(e T) bool { return l.compare(e, v) < 0 })
	if p.block == len(l.blocks) {
		p.block--
		p.item = len(l.blocks[p.block])
	}
	block := slices.Insert(l.blocks[p.block], p.item, v)
	l.blocks[p.block] = block
	if len(block) <= blockMax {
		return
	}
	half := len(block) / 2
	l.blocks = slices.Insert(l.blocks, p.block+1, slices.Clone(block[half:]))
	l.blocks[p.block] = slices.Delete(block, half, len(block))
}

// remove takes v out, which must be there.
func (l *sorted[T]) remove(v T) {
	p := l.find(func(e T) bool { return l.compare(e, v) < 0 })
	l.blocks[p.block] = slices.Delete(l.blocks[p.block], p.item, p.item+1)
	if len(l.blocks[p.block]) == 0 {
		l.blocks = slices.Delete(l.blocks, p.block, p.block+1)
		return
	}
	l.merge(p.block)
	l.merge(p.block - 1)
}

// merge joins block b and the one after it if they fit into half a block.
func (l *sorted[T]) merge(b int) {
	if b < 0 || b+1 >= len(l.blocks) || len(l.blocks[b])+len(l.blocks[b+1]) > blockMax/2 {
		return
	}
	l.blocks[b] = append(l.blocks[b], l.blocks[b+1]...)
	l.blocks = slices.Delete(l.blocks, b+1, b+2)
}

// end returns the place after the last value.
func (l *sorted[T]) end() place { return place{len(l.blocks), 0} }

// between yields the values from start until before end. The set must not
// change meanwhile.
func (l *sorted[T]) between(start, end place) iter.Seq[T] {
	return func(yield func(T) bool) {
		for p := start; p.before(end); {
			if !yield(l.blocks[p.block][p.item]) {
				return
			}
			if p.item++; p.item == len(l.blocks[p.block]) {
				p = place{p.block + 1, 0}
			}
		}
	}
}

// first returns the first value, if there is one.
func (l *sorted[T]) first() (v T, ok bool) {
	if len(l.blocks) == 0 {
		return v, false
	}
	return l.blocks[0][0], true
}

// rank returns how many values are before p.
func (l *sorted[T]) rank(p place) int {
	n := p.item
	for _, block := range l.blocks[:p.block] {
		n += len(block)
	}
	return n
}
