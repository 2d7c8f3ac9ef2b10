// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestPrivateKeyRoundTrip(t *testing.T) {
	for _, alg := range algorithms {
		key, err := GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		der, err := MarshalPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParsePrivateKey(alg, der)
		if err != nil {
			t.Fatal(err)
		}
		again, err := MarshalPrivateKey(got)
		if err != nil || !bytes.Equal(der, again) {
			t.Errorf("%s: key changed on its way, %v", alg, err)
		}
		for _, other := range append(algorithms, "", "none", "HS256", "ES384") {
			if _, err := ParsePrivateKey(other, der); (err == nil) != (other == alg) {
				t.Errorf("%s key as %q: %v", alg, other, err)
			}
		}
	}
}

func TestGenerateKey(t *testing.T) {
	key, err := GenerateKey(RS256)
	if err != nil {
		t.Fatal(err)
	}
	if bits := key.Public().(*rsa.PublicKey).N.BitLen(); bits != 2048 {
		t.Errorf("RSA key of %d bits", bits)
	}
	for _, alg := range []string{"", "HS256", "none", "rs256", "PS256"} {
		if key, err := GenerateKey(alg); err == nil {
			t.Errorf("GenerateKey(%q) = %T", alg, key)
		}
	}
}

func TestPrivateKeyRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		alg string
		key any
	}{
		{RS256, small},
		{ES256, p384},
		{EdDSA, x25519},
	} {
		der, err := x509.MarshalPKCS8PrivateKey(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePrivateKey(tt.alg, der); err == nil {
			t.Errorf("ParsePrivateKey took a %T", tt.key)
		}
		signer, ok := tt.key.(crypto.Signer)
		if !ok {
			continue
		}
		if _, err := MarshalPrivateKey(signer); err == nil {
			t.Errorf("MarshalPrivateKey took a %T", tt.key)
		}
		if _, err := NewSigner("1", tt.alg, signer); err == nil {
			t.Errorf("NewSigner took a %T", tt.key)
		}
	}
	// A key of a kind that x509 cannot write.
	if _, err := MarshalPrivateKey(deterministic{testKey(t, ES256).(deterministic).PrivateKey}); err == nil {
		t.Error("MarshalPrivateKey took a key that is not of the standard library")
	}
	if _, err := MarshalPrivateKey(nil); err == nil {
		t.Error("MarshalPrivateKey took no key")
	}
	for _, der := range []string{"", "\x30", strings.Repeat("\x30\x80", 1000)} {
		if _, err := ParsePrivateKey(RS256, []byte(der)); err == nil {
			t.Errorf("ParsePrivateKey took %q", der)
		}
	}
}

func TestPublicKeyCheck(t *testing.T) {
	odd := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1)
	}
	p256 := testKey(t, ES256).Public()
	for _, tt := range []struct {
		name string
		key  PublicKey
		ok   bool
	}{
		{"RSA", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(2048), E: 65537}}, true},
		{"largest RSA", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(8192), E: 3}}, true},
		{"P-256", PublicKey{"1", ES256, p256}, true},
		{"Ed25519", PublicKey{"1", EdDSA, make(ed25519.PublicKey, 32)}, true},
		{"long id", PublicKey{strings.Repeat("k", 256), ES256, p256}, true},
		{"odd id", PublicKey{` "~</`, ES256, p256}, true},

		{"zero", PublicKey{}, false},
		{"no key", PublicKey{"1", ES256, nil}, false},
		{"no id", PublicKey{"", ES256, p256}, false},
		{"too long id", PublicKey{strings.Repeat("k", 257), ES256, p256}, false},
		{"control character in id", PublicKey{"a\nb", ES256, p256}, false},
		{"delete in id", PublicKey{"a\x7f", ES256, p256}, false},
		{"umlaut in id", PublicKey{"ä", ES256, p256}, false},
		{"no alg", PublicKey{"1", "", p256}, false},
		{"none", PublicKey{"1", "none", p256}, false},
		{"other alg", PublicKey{"1", RS256, p256}, false},
		{"secret", PublicKey{"1", "HS256", []byte("0123456789abcdef0123456789abcdef")}, false},
		{"private key", PublicKey{"1", EdDSA, testKey(t, EdDSA)}, false},
		{"private key RSA", PublicKey{"1", RS256, testKey(t, RS256)}, false},
		{"nil RSA", PublicKey{"1", RS256, (*rsa.PublicKey)(nil)}, false},
		{"no modulus", PublicKey{"1", RS256, &rsa.PublicKey{E: 65537}}, false},
		{"short RSA", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(2047), E: 65537}}, false},
		{"huge RSA", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(8193), E: 65537}}, false},
		{"even modulus", PublicKey{"1", RS256, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}}, false},
		{"exponent 1", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(2048), E: 1}}, false},
		{"even exponent", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(2048), E: 4}}, false},
		{"huge exponent", PublicKey{"1", RS256, &rsa.PublicKey{N: odd(2048), E: math.MaxInt32 + 2}}, false},
		{"nil P-256", PublicKey{"1", ES256, (*ecdsa.PublicKey)(nil)}, false},
		{"P-384", PublicKey{"1", ES256, &ecdsa.PublicKey{Curve: elliptic.P384()}}, false},
		{"no curve", PublicKey{"1", ES256, &ecdsa.PublicKey{}}, false},
		{"short Ed25519", PublicKey{"1", EdDSA, make(ed25519.PublicKey, 31)}, false},
	} {
		if err := tt.key.check(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		// What check refuses neither verifies nor is published.
		if !tt.ok {
			if out, err := JWKS([]PublicKey{tt.key}); err == nil {
				t.Errorf("%s: published as %s", tt.name, out)
			}
			token := sign(t, testSigner(t, ES256), TypeJWT)
			_, err := Verify(token, TypeJWT, func(string) (PublicKey, bool) { return tt.key, true })
			wantInvalid(t, err, "key cannot verify", token)
		}
	}
}
