// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

func listChecks() []check {
	return []check{
		{"of nothing is empty", checkListNothing},
		{"orders by ID", checkOrderByID},
		{"orders by index value, then ID", checkOrderByIndex},
		{"selects an exact value", checkExact},
		{"selects by prefix", checkPrefix},
		{"has dead grants", checkListDead},
		{"Value without Index or Prefix is refused", checkValueAlone},
		{"Count ignores Limit and After", checkCount},
	}
}

func pageChecks() []check {
	return []check{
		{"holds Limit records", checkLimit},
		{"breaks ties", checkTies},
		{"is full in spite of expired records", checkPageExpired},
		{"Limit 0 is MaxPage", checkMaxPage},
		{"other limits are refused", checkBadLimit},
		{"survives changes between", checkChangesBetween},
		{"After must be a Next", checkBadAfter},
	}
}

func checkListNothing(h *harness) {
	r := h.record("id")
	r.Index = map[string]string{"a": "1"}
	h.put(r)
	for _, q := range []store.Query{
		{Kind: other},
		{Kind: store.KindGrant},
		{Kind: "absent", Index: "a", Value: "1"},
		{Kind: thing, Index: "b", Value: "1"},
		{Kind: thing, Index: "b", Prefix: true},
		{Kind: thing, Index: "a", Value: "2"},
		{Kind: thing, Index: "a", Value: ""},
		{Kind: thing, Index: "a", Value: text(1, 2*store.MaxIndexLen), Prefix: true},
		{Kind: thing, Value: "x", Prefix: true},
	} {
		q.Now = h.now
		h.wantIDs(q)
	}
}

// sortedOdd returns oddStrings in the order of their bytes.
func sortedOdd() []string {
	return slices.Sorted(slices.Values(oddStrings()))
}

func checkOrderByID(h *harness) {
	for _, id := range oddStrings() {
		h.put(h.record(id))
	}
	h.wantIDs(store.Query{Kind: thing, Now: h.now}, sortedOdd()...)
	h.wantIDs(store.Query{Kind: thing, Limit: 1, Now: h.now}, sortedOdd()...)
}

func checkOrderByIndex(h *harness) {
	// The IDs order the other way round than the values.
	var want []string
	for i, value := range sortedOdd() {
		for _, suffix := range []string{"A", "B", "a", "é", "\xff"} {
			r := h.record(fmt.Sprintf("%02d%s", 99-i, suffix))
			r.Index = map[string]string{"odd": value}
			h.put(r)
			want = append(want, r.ID)
		}
	}
	h.put(h.record("without index"))
	h.wantIDs(store.Query{Kind: thing, Index: "odd", Prefix: true, Now: h.now}, want...)
	h.wantIDs(store.Query{Kind: thing, Index: "odd", Prefix: true, Limit: 3, Now: h.now}, want...)
}

func checkExact(h *harness) {
	values := append(oddStrings(), "", "ab", "abc", "aB")
	for i, value := range values {
		for _, kind := range []store.Kind{thing, other} {
			r := h.record(fmt.Sprint(i))
			r.Kind = kind
			r.Index = map[string]string{"value": value, "constant": "ab"}
			h.put(r)
		}
	}
	h.put(h.record("without index"))
	for i, value := range values {
		h.wantIDs(store.Query{Kind: thing, Index: "value", Value: value, Now: h.now}, fmt.Sprint(i))
	}
}

// likeStrings returns strings that are alike for the patterns of databases.
func likeStrings() []string {
	return []string{
		"a", "ab", "abc", "aXb", "a%b", "a_b", "a\\b", "a\\%b", "a*b", "a?b", "a[b]", "A", "AB", "A%B", "b",
		"%", "%%", "_", "\\", "*", "?", "[a]", "é", "e", "\x00", "a\x00b",
		"\xfe", "\xfe\xff", "\xfe\xff\xff", "\xff", "\xff\xff", "\xff\xffa", "\xffa", "\xc3", "a\xff", "a\xffb",
	}
}

func checkPrefix(h *harness) {
	all := slices.Sorted(slices.Values(likeStrings()))
	for _, s := range all {
		r := h.record(s)
		r.Index = map[string]string{"value": s}
		h.put(r)
		r.Kind = other
		h.put(r)
	}
	r := h.record("~ without index")
	r.Kind = other
	h.put(r)
	for _, prefix := range append(all, "", "abcd", "zzz") {
		var want []string
		for _, s := range all {
			if strings.HasPrefix(s, prefix) {
				want = append(want, s)
			}
		}
		for _, limit := range []int{0, 1, 2} {
			h.wantIDs(store.Query{Kind: thing, Value: prefix, Prefix: true, Limit: limit, Now: h.now}, want...)
			h.wantIDs(store.Query{Kind: other, Index: "value", Value: prefix, Prefix: true, Limit: limit, Now: h.now}, want...)
		}
	}
}

func checkListDead(h *harness) {
	h.open("alive")
	h.open("dead")
	h.revoke(h.revocation(byID("dead"), h.now), 1)
	h.wantIDs(store.Query{Kind: store.KindGrant, Now: h.now}, "alive", "dead")
	h.wantIDs(store.Query{Kind: store.KindGrant, Index: "client", Value: "c1", Now: h.now}, "alive", "dead")
}

func checkValueAlone(h *harness) {
	h.put(h.record("id"))
	q := store.Query{Kind: thing, Value: "id", Now: h.now}
	_, err := h.List(h.ctx, q)
	h.wantRefusal(err, "List(%+v)", q)
	_, err = h.Count(h.ctx, q)
	h.wantRefusal(err, "Count(%+v)", q)
}

func checkCount(h *harness) {
	h.fill(25)
	for _, q := range []store.Query{
		{Limit: 1}, {Limit: -1}, {Limit: store.MaxPage + 1}, {After: "no token!"}, {Limit: 5, After: h.page(5, "").Next},
	} {
		for _, index := range []string{"", "same"} {
			q.Kind, q.Index, q.Prefix, q.Now = thing, index, true, h.now
			if n, err := h.Count(h.ctx, q); n != 25 || err != nil {
				h.Errorf("Count(%+v) = %d, %v, want 25", q, n, err)
			}
		}
	}
}

// fill creates n records that have one value in the index same, and returns
// their IDs in order.
func (h *harness) fill(n int) []string {
	var all []string
	for i := range n {
		r := h.record(fmt.Sprintf("%05d", i))
		r.Index = map[string]string{"same": "value"}
		h.put(r)
		all = append(all, r.ID)
	}
	return all
}

// page returns a page of the records that fill makes.
func (h *harness) page(limit int, after string) store.Page {
	h.Helper()
	page, err := h.List(h.ctx, store.Query{Kind: thing, Index: "same", Value: "value", Limit: limit, After: after, Now: h.now})
	h.must(err, "List")
	return page
}

func checkLimit(h *harness) {
	const total = 12
	h.fill(total)
	for limit := 1; limit <= total+1; limit++ {
		for after, seen := "", 0; ; {
			page := h.page(limit, after)
			want := min(limit, total-seen)
			if len(page.Records) != want {
				h.Fatalf("page after %d records with limit %d holds %d, want %d", seen, limit, len(page.Records), want)
			}
			seen += want
			if got, want := page.Next == "", seen == total; got != want {
				h.Fatalf("after %d of %d records with limit %d: Next is empty: %t, want %t", seen, total, limit, got, want)
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
}

func checkTies(h *harness) {
	all := h.fill(12)
	for limit := 1; limit <= 13; limit++ {
		h.wantIDs(store.Query{Kind: thing, Index: "same", Value: "value", Limit: limit, Now: h.now}, all...)
		h.wantIDs(store.Query{Kind: thing, Index: "same", Value: "v", Prefix: true, Limit: limit, Now: h.now}, all...)
		h.wantIDs(store.Query{Kind: thing, Limit: limit, Now: h.now}, all...)
	}
}

func checkPageExpired(h *harness) {
	var want []string
	for i := range 20 {
		r := h.record(fmt.Sprintf("%02d", i))
		r.Index = map[string]string{"same": "value"}
		if i%5 == 1 {
			want = append(want, r.ID)
		} else {
			r.ExpiresAt = h.in(time.Minute)
		}
		h.put(r)
	}
	// Expired rows of other sorts are no business of the query.
	r := h.record("00")
	r.Kind, r.Index, r.ExpiresAt = other, map[string]string{"same": "value"}, h.in(time.Minute)
	h.put(r)
	h.use("space", "00", 0, time.Minute, nil)
	h.now = h.in(time.Minute)
	h.wantIDs(store.Query{Kind: thing, Now: h.now}, want...)
	h.wantIDs(store.Query{Kind: thing, Index: "same", Prefix: true, Limit: 1, Now: h.now}, want...)
	h.wantIDs(store.Query{Kind: thing, Value: "1", Prefix: true, Now: h.now}, want[2:]...)
	first := h.page(2, "")
	h.wantEqual(ids(first.Records), want[:2], "first page")
	second := h.page(2, first.Next)
	h.wantEqual(ids(second.Records), want[2:], "second page")
	h.wantEqual(second.Next, "", "Next where only expired records are left")
}

func checkMaxPage(h *harness) {
	all := h.fill(store.MaxPage + 1)
	for _, limit := range []int{0, store.MaxPage} {
		page := h.page(limit, "")
		if n := len(page.Records); n != store.MaxPage || page.Next == "" {
			h.Fatalf("page with limit %d of %d records holds %d, Next = %q, want %d and a Next", limit, len(all), n, page.Next, store.MaxPage)
		}
		page = h.page(limit, page.Next)
		h.wantEqual(ids(page.Records), all[store.MaxPage:], "last page with limit %d", limit)
		h.wantEqual(page.Next, "", "Next of the last page")
	}
}

func checkBadLimit(h *harness) {
	for _, limit := range []int{-1, store.MaxPage + 1} {
		_, err := h.List(h.ctx, store.Query{Kind: thing, Limit: limit, Now: h.now})
		h.wantRefusal(err, "List with limit %d", limit)
	}
}

func checkChangesBetween(h *harness) {
	h.fill(10)
	first := h.page(4, "")
	// Of the first page two vanish, among them the last; before and behind
	// it come new ones; of the rest one vanishes.
	for _, id := range []string{"00001", "00003", "00006"} {
		h.must(h.Delete(h.ctx, thing, id, 1, h.now), "Delete(%q)", id)
	}
	for _, id := range []string{"00000a", "00007a"} {
		r := h.record(id)
		r.Index = map[string]string{"same": "value"}
		h.put(r)
	}
	if first.Next == "" {
		h.Fatalf("Next of a page of 4 of 10 records is empty")
	}
	rest := ids(h.list(store.Query{Kind: thing, Index: "same", Value: "value", Limit: 3, After: first.Next, Now: h.now}))
	rest = slices.DeleteFunc(rest, func(id string) bool { return id == "00007a" }) // it may be missed
	h.wantEqual(rest, []string{"00004", "00005", "00007", "00008", "00009"}, "IDs of the pages after the first")
}

func checkBadAfter(h *harness) {
	h.fill(5)
	next := h.page(2, "").Next
	if next == "" {
		h.Fatalf("Next of a page of 2 of 5 records is empty")
	}
	for _, after := range []string{
		"no token!", "\x00", "\xff\xfe", " ", "'; DROP TABLE record; --", "%", "日本", strings.Repeat("~", 1<<16), next + "!", "!" + next,
	} {
		for _, index := range []string{"", "same"} {
			_, err := h.List(h.ctx, store.Query{Kind: thing, Index: index, Prefix: true, After: after, Now: h.now})
			if !errors.Is(err, store.ErrPage) {
				h.Errorf("List with index %q after %.30q: error %v, want ErrPage", index, after, err)
			}
		}
	}
	// A backend may not see that these are of another query, or none; then
	// they do no harm.
	for _, value := range []string{"u", "w"} {
		r := h.record(value)
		r.Index = map[string]string{"same": value}
		h.put(r)
		page, err := h.List(h.ctx, store.Query{Kind: thing, Index: "same", Value: value, After: next, Now: h.now})
		for _, r := range page.Records {
			if err == nil && r.Index["same"] != value {
				h.Errorf("List of %q after the Next of another query returns a record of %q", value, r.Index["same"])
			}
		}
	}
	for i := range next {
		for _, after := range []string{next[:i], next[i:], next[:i] + "A" + next[i+1:]} {
			if page, err := h.List(h.ctx, store.Query{Kind: thing, Index: "same", Prefix: true, After: after, Now: h.now}); err == nil && len(page.Records) > 7 {
				h.Errorf("List after %q returns %d of 7 records", after, len(page.Records))
			}
		}
	}
}
