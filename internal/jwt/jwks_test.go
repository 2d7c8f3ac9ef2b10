// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func publicKeys(t testing.TB) []PublicKey {
	t.Helper()
	var keys []PublicKey
	for _, alg := range algorithms {
		keys = append(keys, testSigner(t, alg).Public())
	}
	return keys
}

func jwks(t testing.TB, keys ...PublicKey) string {
	t.Helper()
	data, err := JWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestJWKS(t *testing.T) {
	got := jwks(t, publicKeys(t)...)
	if again := jwks(t, publicKeys(t)...); again != got {
		t.Errorf("rendered twice: %s and %s", got, again)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(got)); err != nil || compact.String() != got {
		t.Errorf("not compact: %v\n%s", err, got)
	}
	// Exactly the public members, and of each key type its own.
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(got), &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		for _, member := range []string{"n", "x", "y"} {
			if key[member] != "" {
				key[member] = fmt.Sprint(len(key[member]))
			}
		}
	}
	want := []map[string]string{
		{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256", "n": "342", "e": "AQAB"},
		{"kty": "EC", "use": "sig", "alg": "ES256", "kid": "ES256", "crv": "P-256", "x": "43", "y": "43"},
		{"kty": "OKP", "use": "sig", "alg": "EdDSA", "kid": "EdDSA", "crv": "Ed25519", "x": "43"},
	}
	if diff := cmp.Diff(want, set.Keys); diff != "" {
		t.Error(diff)
	}
	if got := jwks(t); got != `{"keys":[]}` {
		t.Errorf("empty set: %s", got)
	}
}

// TestJWKSGoJOSE has go-jose read our set.
func TestJWKSGoJOSE(t *testing.T) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(jwks(t, publicKeys(t)...)), &set); err != nil {
		t.Fatal(err)
	}
	var got []PublicKey
	for _, key := range set.Keys {
		if !key.Valid() || !key.IsPublic() || key.Use != "sig" {
			t.Errorf("key %q: %+v", key.KeyID, key)
		}
		got = append(got, PublicKey{ID: key.KeyID, Alg: key.Algorithm, Key: key.Key})
	}
	if !equalKeys(got, publicKeys(t)) {
		t.Errorf("got %v", got)
	}
}

// TestParseJWKSGoJOSE has us read a set of go-jose.
func TestParseJWKSGoJOSE(t *testing.T) {
	for _, withAlg := range []bool{true, false} {
		var set jose.JSONWebKeySet
		for _, key := range publicKeys(t) {
			k := jose.JSONWebKey{Key: key.Key, KeyID: key.ID, Use: "sig"}
			if withAlg {
				k.Algorithm = key.Alg
			}
			set.Keys = append(set.Keys, k)
		}
		data, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseJWKS(data)
		if err != nil || !equalKeys(got, publicKeys(t)) {
			t.Errorf("alg present: %v: %v, %v", withAlg, got, err)
		}
	}
}

func equalKeys(a, b []PublicKey) bool {
	return cmp.Equal(a, b, cmp.Comparer(func(a, b PublicKey) bool {
		ka, err := a.jwk()
		kb, err2 := b.jwk()
		return err == nil && err2 == nil && ka == kb
	}))
}

func TestJWKSRefused(t *testing.T) {
	key := testSigner(t, ES256).Public()
	if _, err := JWKS([]PublicKey{key, testSigner(t, EdDSA).Public(), key}); err == nil {
		t.Error("JWKS took an id twice")
	}
	offCurve := &ecdsa.PublicKey{
		Curve: elliptic.P256(),
		X:     big.NewInt(1), //lint:ignore SA1019 only the deprecated fields can hold a point off the curve
		Y:     big.NewInt(1), //lint:ignore SA1019 as above
	}
	if _, err := JWKS([]PublicKey{{"1", ES256, offCurve}}); err == nil {
		t.Error("JWKS took a point off the curve")
	}
}

// jwkMembers are the members of a usable key of each type.
func jwkMembers(t testing.TB, alg string) map[string]any {
	t.Helper()
	k, err := testSigner(t, alg).Public().jwk()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// TestParseJWKSKeys changes a usable key and looks whether it is still used.
func TestParseJWKSKeys(t *testing.T) {
	type members map[string]any
	smallest := new(big.Int).Lsh(big.NewInt(1), 2047)
	smallest.SetBit(smallest, 0, 1)
	short := new(big.Int).Rsh(smallest, 1)
	short.SetBit(short, 0, 1)
	fill := func(n int) string { return strings.Repeat("\x01", n) }
	x, y := fmt.Sprint(jwkMembers(t, ES256)["x"]), fmt.Sprint(jwkMembers(t, ES256)["y"])
	point := string(decoded(t, x)) + string(decoded(t, y))
	for _, tt := range []struct {
		name   string
		alg    string
		change members // nil deletes
		ok     bool
	}{
		{"no use", ES256, members{"use": nil}, true},
		{"no alg", ES256, members{"alg": nil}, true},
		{"no alg RSA", RS256, members{"alg": nil}, true},
		{"no alg Ed25519", EdDSA, members{"alg": nil}, true},
		{"key_ops", ES256, members{"key_ops": []string{"sign", "verify"}}, true},
		{"unknown members", ES256, members{"x5t": "1", "exp": 1, "ext": true}, true},
		{"smallest RSA", RS256, members{"n": encode(string(smallest.Bytes()))}, true},
		{"padded RSA", RS256, members{"e": "AAEAAQ"}, true},

		{"use enc", ES256, members{"use": "enc"}, false},
		{"use of another type", ES256, members{"use": 1}, false},
		{"key_ops without verify", ES256, members{"key_ops": []string{"encrypt"}}, false},
		{"empty key_ops", ES256, members{"key_ops": []string{}}, false},
		{"no kid", ES256, members{"kid": nil}, false},
		{"empty kid", ES256, members{"kid": ""}, false},
		{"numeric kid", ES256, members{"kid": 1}, false},
		{"long kid", ES256, members{"kid": strings.Repeat("k", 257)}, false},
		{"no kty", ES256, members{"kty": nil}, false},
		{"unknown kty", ES256, members{"kty": "AKP"}, false},
		{"kty of other case", ES256, members{"kty": "ec"}, false},
		{"secret", ES256, members{"kty": "oct", "k": "c2VjcmV0"}, false},
		{"other alg", RS256, members{"alg": "PS256"}, false},
		{"alg of another type", RS256, members{"alg": "ES256"}, false},
		{"HS256", RS256, members{"alg": "HS256"}, false},
		{"none", EdDSA, members{"alg": "none"}, false},
		{"private key", ES256, members{"d": encode(fill(32))}, false},
		{"private key RSA", RS256, members{"d": encode(fill(256))}, false},
		{"short RSA", RS256, members{"n": encode(string(short.Bytes()))}, false},
		{"huge RSA", RS256, members{"n": encode(fill(1025))}, false},
		{"no modulus", RS256, members{"n": nil}, false},
		{"no exponent", RS256, members{"e": nil}, false},
		{"exponent 1", RS256, members{"e": encode("\x01")}, false},
		{"exponent of five bytes", RS256, members{"e": encode("\x01\x00\x00\x00\x01")}, false},
		{"exponent of nine bytes", RS256, members{"e": encode("\x01\x00\x00\x00\x00\x00\x01\x00\x01")}, false},
		{"exponent of 32 bits", RS256, members{"e": encode("\xff\xff\xff\xff")}, false},
		{"padded base64 in n", RS256, members{"n": encode(fill(256)) + "=="}, false},
		{"padded base64 in e", RS256, members{"e": "AQAB===="}, false},
		{"unknown curve", ES256, members{"crv": "P-384"}, false},
		{"curve of another type", ES256, members{"crv": "Ed25519"}, false},
		{"off the curve", ES256, members{"y": encode(fill(32))}, false},
		{"point at infinity", ES256, members{"x": encode(strings.Repeat("\x00", 32)), "y": encode(strings.Repeat("\x00", 32))}, false},
		{"long coordinate", ES256, members{"x": encode("\x00" + fill(32))}, false},
		{"coordinates divided elsewhere", ES256, members{"x": encode(point[:33]), "y": encode(point[33:])}, false},
		{"no y", ES256, members{"y": nil}, false},
		{"line break in x", ES256, members{"x": x + "\n"}, false},
		{"unknown OKP", EdDSA, members{"crv": "X25519"}, false},
		{"short Ed25519", EdDSA, members{"x": encode(fill(31))}, false},
		{"line break in Ed25519", EdDSA, members{"x": encode(fill(32)) + "\n"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := jwkMembers(t, tt.alg)
			for name, value := range tt.change {
				if key[name] = value; value == nil {
					delete(key, name)
				}
			}
			sound := jwkMembers(t, EdDSA)
			sound["kid"] = "sound"
			data, err := json.Marshal(map[string]any{"keys": []any{key, sound}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseJWKS(data)
			if err != nil {
				t.Fatal(err)
			}
			// Whatever the first key is like, the second is used.
			want := []string{"sound"}
			if tt.ok {
				want = []string{tt.alg, "sound"}
			}
			var ids []string
			for _, key := range got {
				ids = append(ids, key.ID)
			}
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("%s\n%s", diff, data)
			}
		})
	}
}

func TestParseJWKSDocuments(t *testing.T) {
	key := strings.TrimSuffix(strings.TrimPrefix(jwks(t, testSigner(t, EdDSA).Public()), `{"keys":[`), `]}`)
	pad := strings.Repeat(" ", maxJWKSLen)
	for _, tt := range []struct {
		name string
		in   string
		want int // -1: an error
	}{
		{"one", `{"keys":[` + key + `]}`, 1},
		{"unknown member", `{"keys":[` + key + `],"more":{}}`, 1},
		{"empty", `{"keys":[]}`, 0},
		{"junk keys", `{"keys":[null,1,"x",[],{},{"kid":{}}]}`, 0},
		{"repeated member in a key", `{"keys":[` + strings.Replace(key, `"use":"sig"`, `"use":"enc","use":"sig"`, 1) + `]}`, 0},
		{"same kid, one unusable", `{"keys":[` + key + `,` + strings.Replace(key, `"sig"`, `"enc"`, 1) + `]}`, 1},
		{"largest", (`{"keys":[` + key + `]}` + pad)[:maxJWKSLen], 1},

		{"too large", `{"keys":[` + key + `]}` + pad, -1},
		{"same kid", `{"keys":[` + key + `,` + key + `]}`, -1},
		{"keys twice", `{"keys":[],"keys":[` + key + `]}`, -1},
		{"keys of other case", `{"KEYS":[` + key + `]}`, -1},
		{"no keys", `{}`, -1},
		{"null keys", `{"keys":null}`, -1},
		{"keys an object", `{"keys":{}}`, -1},
		{"a key", key, -1},
		{"array", `[` + key + `]`, -1},
		{"null", `null`, -1},
		{"nothing", ``, -1},
		{"two documents", `{"keys":[]}{"keys":[]}`, -1},
		{"page", `<!doctype html>`, -1},
		{"deep", strings.Repeat("[", maxJWKSLen), -1},
		{"deep key", `{"keys":[` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `]}`, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseJWKS([]byte(tt.in))
			if tt.want < 0 {
				if err == nil {
					t.Errorf("got %v, want an error", got)
				}
				return
			}
			if err != nil || got == nil || len(got) != tt.want {
				t.Errorf("got %v, %v; want %d keys", got, err, tt.want)
			}
		})
	}
}

func FuzzParseJWKS(f *testing.F) {
	all := jwks(f, publicKeys(f)...)
	f.Add([]byte(all))
	f.Add([]byte(strings.ReplaceAll(all, `"use":"sig",`, "")))
	f.Add([]byte(strings.ReplaceAll(all, `"alg":`, `"alq":`)))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"1"},{"kty":"RSA","n":"AQ","e":"AQ","kid":"2"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":"","kid":"1","d":null,"key_ops":[]}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseJWKS(data)
		if err != nil {
			return
		}
		for _, key := range keys {
			if err := key.check(); err != nil {
				t.Errorf("unusable key: %v", err)
			}
		}
		// What was read can be published, and comes back the same.
		again, err := ParseJWKS([]byte(jwks(t, keys...)))
		if err != nil || !equalKeys(keys, again) {
			t.Errorf("round trip: %v, %v", again, err)
		}
	})
}
