// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
)

// BenchmarkVerify measures a token that was seen before and one that was not,
// beside the signature check that no implementation can do without. Goals: at
// most 2 µs, and at most 1.5 times bare.
func BenchmarkVerify(b *testing.B) {
	f := newFakeIssuer(b)
	key := f.newKey("k1")
	f.publish(key)
	token := f.sign(key)
	s := f.newServer()
	if _, err := s.Verify(b.Context(), token); err != nil {
		b.Fatal(err)
	}
	b.Run("seen", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.seen.Remove(token)
			if _, err := s.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		dot := strings.LastIndexByte(token, '.')
		input := []byte(token[:dot])
		signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		if err != nil {
			b.Fatal(err)
		}
		public := key.Public().Key.(*ecdsa.PublicKey)
		for b.Loop() {
			digest := sha256.Sum256(input)
			r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
			if !ecdsa.Verify(public, digest[:], r, s) {
				b.Fatal("signature does not verify")
			}
		}
	})
}

// BenchmarkVerifyParallel is many connections with seen tokens.
func BenchmarkVerifyParallel(b *testing.B) {
	f := newFakeIssuer(b)
	key := f.newKey("k1")
	f.publish(key)
	token := f.sign(key)
	s := f.newServer()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Verify(b.Context(), token); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
