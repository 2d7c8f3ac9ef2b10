// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

type benchmarkClaims struct {
	Claims
	Groups []string `json:"groups"`
}

func newBenchmarkClaims() *benchmarkClaims {
	now := time.Unix(1900000000, 0)
	return &benchmarkClaims{
		Claims: Claims{
			Issuer:   "https://idp.example.ts.net",
			Subject:  "userid:1234567890",
			Audience: Audience{"https://mcp.example.ts.net/mcp"},
			Expiry:   NewNumericDate(now.Add(5 * time.Minute)),
			IssuedAt: NewNumericDate(now),
			ID:       "4KZUJHQ6MMXQ5EKGGU3JPGDO5T",
			ClientID: "0d1e2f3a4b5c6d7e",
			Scope:    "openid profile email groups",
		},
		Groups: []string{"group:eng", "group:ops"},
	}
}

// benchmarkSigner uses a key as the provider does, without [deterministic].
func benchmarkSigner(b *testing.B, alg string) *Signer {
	b.Helper()
	key, ok := joseKey(b, alg).(crypto.Signer)
	if !ok {
		b.Fatal("no signer")
	}
	s, err := NewSigner(alg, alg, key)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkSign measures a whole token beside the signature alone.
func BenchmarkSign(b *testing.B) {
	for _, alg := range algorithms {
		s := benchmarkSigner(b, alg)
		claims := newBenchmarkClaims()
		token, err := s.Sign(TypeAccessToken, claims)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(alg+"/token", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Sign(TypeAccessToken, claims); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			input := []byte(token[:strings.LastIndexByte(token, '.')])
			for b.Loop() {
				message, opts := input, crypto.Hash(0)
				if alg != EdDSA {
					digest := sha256.Sum256(input)
					message, opts = digest[:], crypto.SHA256
				}
				if _, err := s.signDigest(rand.Reader, message, opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify measures the signature and the claims.
func BenchmarkVerify(b *testing.B) {
	keys := testKeys(b)
	now := time.Unix(1900000000, 0)
	for _, alg := range algorithms {
		token, err := benchmarkSigner(b, alg).Sign(TypeAccessToken, newBenchmarkClaims())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				payload, err := Verify(token, TypeAccessToken, keys)
				if err != nil {
					b.Fatal(err)
				}
				var claims Claims
				if err := Unmarshal(payload, &claims); err != nil {
					b.Fatal(err)
				}
				if err := claims.CheckTime(now, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	s := testSealer(b)
	plaintext := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open("code", s.Seal("code", plaintext)); err != nil {
			b.Fatal(err)
		}
	}
}
