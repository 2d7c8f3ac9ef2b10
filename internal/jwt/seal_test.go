// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const testIssuer = "https://idp.example.ts.net"

func testSealKey(id uint32) SealKey {
	return SealKey{ID: id, Key: [32]byte{byte(id), 'k', 'e', 'y'}}
}

func testSealer(t testing.TB) *Sealer {
	t.Helper()
	return newSealer(t, testIssuer, testSealKey(1))
}

func newSealer(t testing.TB, issuer string, keys ...SealKey) *Sealer {
	t.Helper()
	s, err := NewSealer(issuer, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSeal(t *testing.T) {
	s := testSealer(t)
	form := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	for _, n := range []int{0, 1, 2, 3, 15, 16, 17, 300, 6099} {
		plaintext := bytes.Repeat([]byte{0xff}, n)
		sealed := s.Seal("code", plaintext)
		if !form.MatchString(sealed) {
			t.Errorf("%d bytes: %s", n, sealed)
		}
		got, err := s.Open("code", sealed)
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: %x, %v", n, got, err)
		}
		if again := s.Seal("code", plaintext); again == sealed {
			t.Errorf("%d bytes: sealed twice the same", n)
		}
	}
}

// TestSealLength states what a sealed value costs: an authorization code must
// stay short.
func TestSealLength(t *testing.T) {
	s := testSealer(t)
	for _, tt := range []struct{ plaintext, sealed int }{
		{0, 60},
		{300, 460},
		{480, 700}, // the longest code for one resource
		{12243, MaxSealedLen},
	} {
		if got := len(s.Seal("code", make([]byte, tt.plaintext))); got != tt.sealed {
			t.Errorf("%d bytes: %d characters, want %d", tt.plaintext, got, tt.sealed)
		}
	}
}

func TestSealKeyRotation(t *testing.T) {
	before := newSealer(t, testIssuer, testSealKey(1))
	during := newSealer(t, testIssuer, testSealKey(1), testSealKey(2))
	after := newSealer(t, testIssuer, testSealKey(2), testSealKey(1))
	last := newSealer(t, testIssuer, testSealKey(2))
	for _, tt := range []struct {
		name       string
		seal, open *Sealer
		ok         bool
	}{
		{"before, during", before, during, true},
		{"during, before", during, before, true}, // the first key seals
		{"during, after", during, after, true},
		{"after, during", after, during, true},
		{"after, last", after, last, true},
		{"after, before", after, before, false},
		{"before, last", before, last, false},
	} {
		sealed := tt.seal.Seal("code", []byte("x"))
		got, err := tt.open.Open("code", sealed)
		if tt.ok {
			if err != nil || string(got) != "x" {
				t.Errorf("%s: %q, %v", tt.name, got, err)
			}
			continue
		}
		wantInvalid(t, err, "unknown key", sealed)
		if !errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: %v is not ErrUnknownKey", tt.name, err)
		}
	}
	// The same ID with another key.
	other := SealKey{ID: 1, Key: testSealKey(9).Key}
	sealed := before.Seal("code", []byte("x"))
	_, err := newSealer(t, testIssuer, other).Open("code", sealed)
	wantInvalid(t, err, "not by us", sealed)
	if errors.Is(err, ErrUnknownKey) {
		t.Errorf("%v is ErrUnknownKey, but the key is known", err)
	}
	// The ID is bound, even where two IDs name the same key.
	twins := newSealer(t, testIssuer, testSealKey(1), SealKey{ID: 2, Key: testSealKey(1).Key})
	data := decoded(t, sealed)
	data[4] = 2
	_, err = twins.Open("code", encode(string(data)))
	wantInvalid(t, err, "not by us", sealed)
	// The ID of another key, which the sealer also has.
	_, err = during.Open("code", encode(string(data)))
	wantInvalid(t, err, "not by us", sealed)
}

// TestSealBinding: a code is no cookie, and serves no other issuer.
func TestSealBinding(t *testing.T) {
	sealed := newSealer(t, "https://a", testSealKey(1)).Seal("code", []byte("x"))
	for _, tt := range []struct{ issuer, purpose string }{
		{"https://a", "cookie"},
		{"https://a", ""},
		{"https://a", "Code"},
		{"https://a", "code "},
		{"https://b", "code"},
		{"https://a/", "code"},
		// The same characters, divided otherwise.
		{"https://acode", ""},
		{"https://ac", "ode"},
		{"https://", "acode"},
		{"https://a\x00", "code"},
		{"https://a\x00\x00\x00\x00\x00\x00\x00\x04code", ""},
	} {
		_, err := newSealer(t, tt.issuer, testSealKey(1)).Open(tt.purpose, sealed)
		if err == nil {
			t.Errorf("%q opens for %q, %q", sealed, tt.issuer, tt.purpose)
			continue
		}
		wantInvalid(t, err, "for something else", sealed)
	}
	if got, err := newSealer(t, "https://a", testSealKey(1)).Open("code", sealed); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestSealAssociatedData: no two pairs have the same encoding.
func TestSealAssociatedData(t *testing.T) {
	seen := make(map[string]string)
	parts := []string{"a", "aa", "a\x00", "\x00", "\x00\x00\x00\x00\x00\x00\x00\x01", "\x00\x00\x00\x00\x00\x00\x00\x01a"}
	for _, issuer := range parts {
		for _, purpose := range append(parts, "") {
			data := string(newSealer(t, issuer, testSealKey(1)).associatedData(nil, purpose))
			pair := fmt.Sprintf("%q %q", issuer, purpose)
			if other, ok := seen[data]; ok {
				t.Errorf("%s and %s are the same", pair, other)
			}
			seen[data] = pair
		}
	}
}

func TestOpenRefused(t *testing.T) {
	s := testSealer(t)
	sealed := s.Seal("code", []byte("plaintext!"))
	data := decoded(t, sealed)
	version := append([]byte{2}, data[1:]...)
	for _, tt := range []struct{ name, in, reason string }{
		{"nothing", "", "not a sealed value"},
		{"one character", "A", "not a sealed value"},
		{"too short", sealed[:59], "not a sealed value"},
		{"no ciphertext", encode(string(data[:45])), "not by us"},
		{"cut off", encode(string(data[:len(data)-1])), "not by us"},
		{"longer", encode(string(data) + "\x00"), "not by us"},
		{"twice", sealed + sealed, "not"},
		{"too long", strings.Repeat("A", MaxSealedLen+1), "too long"},
		{"longest junk", strings.Repeat("A", MaxSealedLen), "not a sealed value"},
		{"other version", encode(string(version)), "not a sealed value"},
		{"another spelling", respell(t, sealed), "not a sealed value"},
		{"padded", sealed + "=", "not a sealed value"},
		{"line break", sealed[:8] + "\n" + sealed[8:], "not a sealed value"},
		{"line break at the end", sealed + "\r\n", "not a sealed value"},
		{"blank", sealed + " ", "not a sealed value"},
		{"standard base64", "+/" + sealed[2:], "not a sealed value"},
		{"a token", sign(t, testSigner(t, ES256), TypeJWT), "not a sealed value"},
	} {
		got, err := s.Open("code", tt.in)
		if err == nil {
			t.Errorf("%s: opens as %q", tt.name, got)
			continue
		}
		wantInvalid(t, err, tt.reason, tt.in)
	}
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		if got, err := s.Open("code", encode(string(changed))); err == nil {
			t.Errorf("opens as %q with byte %d changed", got, i)
		}
	}
}

func TestNewSealer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		issuer string
		keys   []SealKey
	}{
		{"no issuer", "", []SealKey{testSealKey(1)}},
		{"no keys", testIssuer, nil},
		{"duplicate ID", testIssuer, []SealKey{testSealKey(1), testSealKey(2), {ID: 1, Key: testSealKey(3).Key}}},
		{"the same key twice", testIssuer, []SealKey{testSealKey(1), testSealKey(1)}},
		{"zero key", testIssuer, []SealKey{{ID: 1}}},
		{"zero key among others", testIssuer, []SealKey{testSealKey(1), {ID: 2}}},
	} {
		if s, err := NewSealer(tt.issuer, tt.keys...); err == nil {
			t.Errorf("%s: %v", tt.name, s)
		}
	}
	// Any ID is as good as another.
	for _, id := range []uint32{0, 1, 1 << 31, 1<<32 - 1} {
		key := testSealKey(7)
		key.ID = id
		s := newSealer(t, testIssuer, key)
		if got, err := s.Open("p", s.Seal("p", []byte("x"))); err != nil || string(got) != "x" {
			t.Errorf("ID %d: %q, %v", id, got, err)
		}
	}
}

func TestSealConcurrently(t *testing.T) {
	s := testSealer(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			want := fmt.Sprint(i)
			if got, err := s.Open("code", s.Seal("code", []byte(want))); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	s := testSealer(f)
	for _, n := range []int{0, 1, 2, 300} {
		f.Add(s.Seal("code", make([]byte, n)), "code", 7, byte(1))
		f.Add(s.Seal("cookie", make([]byte, n)), "code", 60, byte(0))
	}
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, 45)), "", -1, byte(0))
	f.Add("AQAAAAE", "code", 0, byte(0))
	f.Fuzz(func(t *testing.T, sealed, purpose string, at int, flip byte) {
		got, err := s.Open(purpose, sealed)
		if err != nil {
			wantInvalid(t, err, "", "")
		} else {
			// All that was ever sealed with this key are zeros, for a code or
			// a cookie (and the round trip below).
			if encode(string(decoded(t, sealed))) != sealed {
				t.Errorf("another spelling opens: %s", sealed)
			}
			if purpose != "code" && purpose != "cookie" || strings.Trim(string(got), "\x00") != "" {
				t.Errorf("%q opens %s as %x", purpose, sealed, got)
			}
		}
		// Whatever is sealed opens, and a changed character is noticed. A key
		// of its own, so that the values above stay all there are.
		s := newSealer(t, testIssuer, testSealKey(2))
		fresh := s.Seal(purpose, []byte(sealed))
		got, err = s.Open(purpose, fresh)
		if len(fresh) > MaxSealedLen {
			wantInvalid(t, err, "too long", "")
			return
		}
		if err != nil || string(got) != sealed {
			t.Errorf("round trip: %q, %v", got, err)
		}
		if 0 <= at && at < len(fresh) && flip != 0 {
			changed := []byte(fresh)
			changed[at] ^= flip
			if got, err := s.Open(purpose, string(changed)); err == nil {
				t.Errorf("opens as %q with character %d changed", got, at)
			}
		}
	})
}
