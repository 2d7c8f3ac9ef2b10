// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

var algorithms = []string{RS256, ES256, EdDSA}

//go:embed testdata/rs256.pem
var rs256PEM []byte

// testKey returns the key that the tests use with an algorithm: the same in
// every process, since the workers of a fuzz test must verify what their
// coordinator has signed.
func testKey(t testing.TB, alg string) crypto.Signer {
	t.Helper()
	secret := sha256.Sum256([]byte("tsidp test key"))
	switch alg {
	case RS256:
		block, _ := pem.Decode(rs256PEM)
		key, err := ParsePrivateKey(RS256, block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return key
	case ES256:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret[:])
		if err != nil {
			t.Fatal(err)
		}
		return deterministic{key}
	}
	return ed25519.NewKeyFromSeed(secret[:])
}

// deterministic signs by RFC 6979, so that a test knows all valid tokens.
type deterministic struct{ *ecdsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.Sign(nil, digest, opts)
}

// testSigner returns a signer whose ID is its algorithm.
func testSigner(t testing.TB, alg string) *Signer {
	t.Helper()
	s, err := NewSigner(alg, alg, testKey(t, alg))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testKeys finds the public keys of the test signers.
func testKeys(t testing.TB) func(string) (PublicKey, bool) {
	t.Helper()
	keys := make(map[string]PublicKey)
	for _, alg := range algorithms {
		keys[alg] = testSigner(t, alg).Public()
	}
	return func(kid string) (PublicKey, bool) {
		key, ok := keys[kid]
		return key, ok
	}
}

const testClaims = `{"iss":"https://idp.example.ts.net","sub":"userid:42","aud":"https://mcp.example.ts.net/mcp","exp":1900000300,"iat":1900000000,"jti":"8kWk0nKf"}`

func sign(t testing.TB, s *Signer, typ string) string {
	t.Helper()
	token, err := s.Sign(typ, json.RawMessage(testClaims))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signRaw signs any header and payload, as a hostile holder of a key might.
func signRaw(t testing.TB, s *Signer, header, payload string) string {
	t.Helper()
	input := encode(header) + "." + encode(payload)
	signature, err := s.sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + encode(string(signature))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// respell returns base64url that lenient decoders take for the same bytes: a
// bit is set that no byte has.
func respell(t testing.TB, s string) string {
	t.Helper()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(s) - 1
	twin := s[:last] + string(alphabet[strings.IndexByte(alphabet, s[last])|1])
	a, err := base64.RawURLEncoding.DecodeString(s)
	b, err2 := base64.RawURLEncoding.DecodeString(twin)
	if s == twin || err != nil || err2 != nil || string(a) != string(b) {
		t.Fatalf("%q is not another spelling of %q", twin, s)
	}
	return twin
}

func joseKey(t testing.TB, alg string) any {
	t.Helper()
	if key, ok := testKey(t, alg).(deterministic); ok {
		return key.PrivateKey
	}
	return testKey(t, alg)
}

func joseSigner(t testing.TB, alg, typ string) jose.Signer {
	t.Helper()
	key := jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(alg),
		Key:       jose.JSONWebKey{Key: joseKey(t, alg), KeyID: alg},
	}
	s, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantInvalid checks that err is an ErrInvalid for the reason, and that its
// text has no part of the token.
func wantInvalid(t testing.TB, err error, reason, token string) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("err = %v, want ErrInvalid", err)
	}
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("err = %q, want the reason %q", err, reason)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("err = %q quotes the token", err)
		}
	}
}

func TestDecode64(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string
		ok   bool
	}{
		{"", "", true},
		{"Zg", "f", true},
		{"Zm8", "fo", true},
		{"Zm9v", "foo", true},
		{"-_8", "\xfb\xff", true},
		{"Zh", "", false},     // trailing bits
		{"Zm9", "", false},    // trailing bits
		{"Z", "", false},      // impossible length
		{"Zg==", "", false},   // padding
		{"+/8", "", false},    // alphabet of standard base64
		{"Zm9v\n", "", false}, // skipped by encoding/base64
		{"Zm\r9v", "", false}, // skipped by encoding/base64
		{"Zm 9v", "", false},
		{"Zm9v\x00", "", false},
		{"Zm9ü", "", false},
	} {
		got, err := decode64(tt.in)
		if tt.ok != (err == nil) || tt.ok && string(got) != tt.want {
			t.Errorf("decode64(%q) = %q, %v; want %q, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
	for b := range 256 {
		if got, err := decode64(encode(string([]byte{byte(b)}))); err != nil || !slices.Equal(got, []byte{byte(b)}) {
			t.Errorf("byte %d: %v, %v", b, got, err)
		}
	}
}
