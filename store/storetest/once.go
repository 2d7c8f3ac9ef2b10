// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"time"

	"github.com/tailscale/tsidp/store"
)

func onceChecks() []check {
	return []check{
		{"twice is ErrSpent", checkUseTwice},
		{"is free again at exp", checkUseExpired},
		{"ErrSpent does not move exp", checkUseNoExtension},
		{"spaces are apart", checkUseSpaces},
		{"ids are bytes", checkUseBytes},
		{"is no record", checkUseNoRecord},
	}
}

// use reports it unless UseOnce at a time until another gives an error.
func (h *harness) use(space, id string, now, exp time.Duration, want error) {
	h.Helper()
	h.wantErr(h.UseOnce(h.ctx, space, id, h.in(now), h.in(exp)), want, "UseOnce(%q, %q) at %v until %v", space, id, now, exp)
}

func checkUseTwice(h *harness) {
	h.use("space", "id", 0, time.Minute, nil)
	h.use("space", "id", 0, time.Minute, store.ErrSpent)
	h.use("space", "id", time.Second, time.Hour, store.ErrSpent)
	h.use("space", "another", 0, time.Minute, nil)
}

func checkUseExpired(h *harness) {
	h.use("space", "id", 0, time.Minute, nil)
	h.use("space", "id", time.Minute-tick, time.Hour, store.ErrSpent)
	h.use("space", "id", time.Minute, time.Hour, nil)
	h.use("space", "id", time.Minute, 2*time.Hour, store.ErrSpent)
	h.use("space", "id", time.Hour-tick, 2*time.Hour, store.ErrSpent)
	h.use("space", "id", time.Hour, 2*time.Hour, nil)
}

func checkUseNoExtension(h *harness) {
	h.use("space", "id", 0, time.Minute, nil)
	h.use("space", "id", time.Second, time.Hour, store.ErrSpent)
	h.use("space", "id", 2*time.Second, 3*time.Second, store.ErrSpent)
	h.use("space", "id", time.Minute-tick, time.Hour, store.ErrSpent)
	h.use("space", "id", time.Minute, time.Hour, nil)
}

func checkUseSpaces(h *harness) {
	for _, key := range [][2]string{
		{"a", "bc"}, {"ab", "c"}, {"a", "b c"}, {"a b", "c"}, {"a", "b:c"}, {"a:b", "c"}, {"a", "b/c"}, {"a/b", "c"},
		{"A", "bc"}, {"b", "bc"},
	} {
		h.use(key[0], key[1], 0, time.Minute, nil)
	}
	h.use("a", "bc", 0, time.Minute, store.ErrSpent)
}

func checkUseBytes(h *harness) {
	for _, want := range []error{nil, store.ErrSpent} {
		for _, s := range oddStrings() {
			h.use("space", s, 0, time.Minute, want)
		}
	}
}

func checkUseNoRecord(h *harness) {
	h.put(h.record("id"))
	h.open("id")
	h.unchanged(h.now, "UseOnce", func() {
		h.use(string(thing), "id", 0, time.Minute, nil)
		h.use(string(store.KindGrant), "id", 0, time.Minute, nil)
	})
}

func keysChecks() []check {
	return []check{
		{"begin with none", checkKeysNone},
		{"are swapped from version to version", checkKeysSwap},
		{"of another version are ErrConflict", checkKeysConflict},
		{"come back as written", checkKeysData},
	}
}

// wantKeys reports it unless Keys returns that.
func (h *harness) wantKeys(version int64, data string) {
	h.Helper()
	keys, err := h.Keys(h.ctx)
	h.must(err, "Keys")
	h.wantEqual(keys, store.KeySet{Version: version, Data: []byte(data)}, "key set")
}

// swap reports it unless SwapKeys gives a version or an error.
func (h *harness) swap(version int64, data string, want int64, wantErr error) {
	h.Helper()
	got, err := h.SwapKeys(h.ctx, version, []byte(data))
	h.wantErr(err, wantErr, "SwapKeys(%d)", version)
	h.wantEqual(got, want, "version that SwapKeys(%d) returns", version)
}

func checkKeysNone(h *harness) {
	h.wantKeys(0, "")
}

func checkKeysSwap(h *harness) {
	h.swap(0, "first", 1, nil)
	h.wantKeys(1, "first")
	h.swap(1, "second", 2, nil)
	h.wantKeys(2, "second")
	h.swap(2, "second", 3, nil)
	h.wantKeys(3, "second")
}

func checkKeysConflict(h *harness) {
	for _, version := range []int64{-1, 1, 2} {
		h.swap(version, "conflict", 0, store.ErrConflict)
	}
	h.wantKeys(0, "")
	h.swap(0, "first", 1, nil)
	h.swap(1, "second", 2, nil)
	for _, version := range []int64{-1, 0, 1, 3} {
		h.swap(version, "conflict", 0, store.ErrConflict)
	}
	h.wantKeys(2, "second")
}

func checkKeysData(h *harness) {
	for i, data := range []string{"\x00\xff\xfe'\"\\", text(1, 1<<16), "", "last"} {
		h.swap(int64(i), data, int64(i+1), nil)
		h.wantKeys(int64(i+1), data)
	}
}
