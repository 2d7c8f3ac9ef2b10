// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

// TestSignGoJOSE has go-jose verify what we sign.
func TestSignGoJOSE(t *testing.T) {
	for _, alg := range algorithms {
		for _, typ := range []string{TypeJWT, TypeAccessToken, "logout+jwt"} {
			s := testSigner(t, alg)
			token := sign(t, s, typ)
			jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := jws.Verify(s.Public().Key)
			if err != nil || string(got) != testClaims {
				t.Errorf("%s %s: %s, %v", alg, typ, got, err)
			}
			header := jws.Signatures[0].Protected
			if header.Algorithm != alg || header.KeyID != s.ID() || header.ExtraHeaders["typ"] != typ || len(header.ExtraHeaders) != 1 {
				t.Errorf("%s %s: header %+v", alg, typ, header)
			}
		}
	}
}

// TestVerifyGoJOSE has us verify what go-jose signs.
func TestVerifyGoJOSE(t *testing.T) {
	for _, alg := range algorithms {
		for _, typ := range []string{TypeJWT, TypeAccessToken} {
			jws, err := joseSigner(t, alg, typ).Sign([]byte(testClaims))
			if err != nil {
				t.Fatal(err)
			}
			token, err := jws.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Verify(token, typ, testKeys(t))
			if err != nil || string(got) != testClaims {
				t.Errorf("%s %s: %s, %v", alg, typ, got, err)
			}
		}
	}
}

func TestSignClaims(t *testing.T) {
	s := testSigner(t, EdDSA)
	for _, tt := range []struct {
		name   string
		claims any
		want   string // "": an error
	}{
		{"struct", Claims{Subject: "userid:42"}, `{"sub":"userid:42"}`},
		{"map", map[string]any{"a": 1}, `{"a":1}`},
		{"raw message", json.RawMessage(`{ "a":1 }`), `{ "a":1 }`},
		{"bytes", []byte(`{"a":1}`), `{"a":1}`},
		{"empty object", struct{}{}, `{}`},
		{"nil", nil, ""},
		{"nil pointer", (*Claims)(nil), ""},
		{"no bytes", []byte(nil), ""},
		{"array", []string{"a"}, ""},
		{"string", "{}", ""},
		{"unmarshallable", map[string]any{"a": func() {}}, ""},
	} {
		token, err := s.Sign(TypeJWT, tt.claims)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: signed %s", tt.name, token)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := Verify(token, TypeJWT, testKeys(t))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestSignType(t *testing.T) {
	s := testSigner(t, EdDSA)
	for _, typ := range []string{"", " ", "at jwt", "at+jwt\n", `"`, "JWT\x00", "ſ+jwt", strings.Repeat("a", 257)} {
		if token, err := s.Sign(typ, Claims{}); err == nil {
			t.Errorf("Sign(%q) = %s", typ, token)
		}
	}
}

func TestNewSigner(t *testing.T) {
	key := testKey(t, EdDSA)
	s, err := NewSigner("2026-11", EdDSA, key)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID() != "2026-11" || s.Alg() != EdDSA {
		t.Errorf("ID %q, Alg %q", s.ID(), s.Alg())
	}
	want := PublicKey{"2026-11", EdDSA, key.Public()}
	if diff := cmp.Diff(want, s.Public()); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		name, id, alg string
		key           crypto.Signer
	}{
		{"no key", "1", EdDSA, nil},
		{"other alg", "1", ES256, key},
		{"no alg", "1", "", key},
		{"no id", "", EdDSA, key},
		{"long id", strings.Repeat("1", 257), EdDSA, key},
		{"control character", "1\n", EdDSA, key},
	} {
		if _, err := NewSigner(tt.id, tt.alg, tt.key); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
	// The longest ID makes a header that Verify reads.
	long, err := NewSigner(strings.Repeat(`"`, 256), EdDSA, key)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, long, strings.Repeat("t", 127))
	if _, err := Verify(token, strings.Repeat("t", 127), func(kid string) (PublicKey, bool) { return long.Public(), kid == long.ID() }); err != nil {
		t.Error(err)
	}
}

// TestSignECDSAPadding signs until r and s have both been short: then each
// must be padded on the left.
func TestSignECDSAPadding(t *testing.T) {
	s := testSigner(t, ES256)
	var shortR, shortS bool
	for i := 0; !shortR || !shortS; i++ {
		if i > 20000 {
			t.Fatal("no short integer in 20000 signatures")
		}
		signature, err := s.sign([]byte(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		if len(signature) != 64 {
			t.Fatalf("signature of %d bytes", len(signature))
		}
		if signature[0] != 0 && signature[32] != 0 {
			continue
		}
		shortR = shortR || signature[0] == 0
		shortS = shortS || signature[32] == 0
		token := signRaw(t, s, `{"alg":"ES256","kid":"ES256","typ":"JWT"}`, fmt.Sprintf(`{"i":%d}`, i))
		if _, err := Verify(token, TypeJWT, testKeys(t)); err != nil {
			t.Errorf("signature %d: %v", i, err)
		}
	}
}

func TestConcatenated(t *testing.T) {
	der := func(r, s *big.Int) []byte {
		out, err := asn1.Marshal([]*big.Int{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one, top := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 255)
	got, err := concatenated(der(one, top))
	want := append(append(make([]byte, 31), 1, 0x80), make([]byte, 31)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v", got, err)
	}
	sound := der(one, one)
	for name, in := range map[string][]byte{
		"nothing":      nil,
		"no sequence":  {2, 1, 1},
		"trailing":     append(bytes.Clone(sound), 0),
		"one integer":  {0x30, 3, 2, 1, 1},
		"no integers":  {0x30, 0},
		"three":        {0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1},
		"negative":     der(big.NewInt(-1), one),
		"r of 33 byte": der(new(big.Int).Lsh(one, 256), one),
		"s of 33 byte": der(one, new(big.Int).Lsh(one, 256)),
	} {
		if out, err := concatenated(in); err == nil {
			t.Errorf("%s: %x", name, out)
		}
	}
}

// brokenKey is a key in hardware that has gone away.
type brokenKey struct{ crypto.Signer }

var errBroken = errors.New("no such device")

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errBroken }

func TestSignKeyFails(t *testing.T) {
	for _, alg := range algorithms {
		s, err := NewSigner("1", alg, brokenKey{testKey(t, alg)})
		if err != nil {
			t.Fatal(err)
		}
		if token, err := s.Sign(TypeJWT, Claims{}); !errors.Is(err, errBroken) || token != "" {
			t.Errorf("%s: %q, %v", alg, token, err)
		}
	}
}

func TestSignConcurrently(t *testing.T) {
	for _, alg := range algorithms {
		s := testSigner(t, alg)
		keys := testKeys(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				token, err := s.Sign(TypeAccessToken, json.RawMessage(testClaims))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := Verify(token, TypeAccessToken, keys); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// TestSecretsDoNotPrint prints what holds a key in every way.
func TestSecretsDoNotPrint(t *testing.T) {
	signer := testSigner(t, EdDSA)
	seed := sha256.Sum256([]byte("tsidp test key"))
	sealKey := SealKey{ID: 7, Key: seed}
	sealer, err := NewSealer("https://idp.example.ts.net", sealKey)
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, verb := range []string{"%v", "%x", "%X", "%d", "%#v", "%q"} {
		out := fmt.Sprintf(verb, seed[:4])
		secrets = append(secrets, strings.Trim(out, "[]"))
	}
	secrets = append(secrets, string(seed[:4]))
	for _, value := range []any{signer, *signer, sealKey, &sealKey, sealer, *sealer, []SealKey{sealKey}, struct{ s *Signer }{signer}, struct{ s *Sealer }{sealer}} {
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "value", value)
		if _, list := value.([]SealKey); !list {
			slog.New(slog.NewJSONHandler(&out, nil)).Info("", "value", value)
		}
		for _, secret := range secrets {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%T prints %q:\n%s", value, secret, out.String())
			}
		}
	}
	if got, want := fmt.Sprint(signer), `EdDSA key "EdDSA"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%#v", sealKey), "seal key 7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHalfHash has the example of OpenID Connect Core §A.3, and halves that
// sha256sum and sha512sum computed.
func TestHalfHash(t *testing.T) {
	const token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
	for _, tt := range []struct{ alg, want string }{
		{RS256, "77QmUPtjPfzWtF2AnpK9RQ"},
		{ES256, "77QmUPtjPfzWtF2AnpK9RQ"},
		{EdDSA, "q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM"},
		{"HS256", ""},
		{"none", ""},
		{"", ""},
	} {
		if got := HalfHash(tt.alg, token); got != tt.want {
			t.Errorf("HalfHash(%q) = %q, want %q", tt.alg, got, tt.want)
		}
	}
}
