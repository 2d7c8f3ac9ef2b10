// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"strconv"
	"strings"
	"testing"
)

// TestSeen: what is used stays, what is not is forgotten.
func TestSeen(t *testing.T) {
	s := NewSeen[int](8)
	s.Put("0", 7)
	for i := 1; i < 100; i++ {
		s.Put(strconv.Itoa(i), i)
		if v, ok := s.Get("0"); !ok || v != 7 {
			t.Fatalf("%d, %t after %d others", v, ok, i)
		}
		if n := s.Len(); n > 8 {
			t.Fatalf("%d are remembered", n)
		}
	}
	long := strings.Repeat("x", MaxTokenLen+1)
	s.Put(long, 1)
	for _, token := range []string{"1", "00", "", long} {
		if _, ok := s.Get(token); ok {
			t.Errorf("%.20q is remembered", token)
		}
	}
	s.Remove("0")
	if _, ok := s.Get("0"); ok {
		t.Error("remembered though removed")
	}
}

// TestPublicKeyEqual: another key under the same id is another key.
func TestPublicKeyEqual(t *testing.T) {
	for _, alg := range algorithms {
		first, err := GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		second, err := GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		key := PublicKey{ID: "k", Alg: alg, Key: first.Public()}
		if same := key; !key.Equal(same) {
			t.Errorf("%s: a key is not equal to itself", alg)
		}
		for _, other := range []PublicKey{
			{ID: "l", Alg: alg, Key: first.Public()}, {ID: "k", Alg: "none", Key: first.Public()},
			{ID: "k", Alg: alg, Key: second.Public()}, {ID: "k", Alg: alg}, {},
		} {
			if key.Equal(other) || other.Equal(key) {
				t.Errorf("%s: equal to %+v", alg, other)
			}
		}
	}
}
