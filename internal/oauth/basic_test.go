// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// basic is the header of a client that writes text between scheme and base64.
func basic(text string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(text))
}

// encodedBasic is the header of a client that follows RFC 6749 §2.3.1.
func encodedBasic(id, secret string) string {
	return basic(url.QueryEscape(id) + ":" + url.QueryEscape(secret))
}

func TestParseBasic(t *testing.T) {
	tests := []struct {
		name, header, id, secret string
	}{
		{"fixture of C08", encodedBasic("c0ffee", "s%2B+é:/="), "c0ffee", "s%2B+é:/="},
		{"fixture, spelled out", basic("c0ffee:s%252B%2B%C3%A9%3A%2F%3D"), "c0ffee", "s%2B+é:/="},
		{"raw", basic("c0ffee:abc_-123"), "c0ffee", "abc_-123"},
		{"raw colon in the secret", basic("c0ffee:a:b:c"), "c0ffee", "a:b:c"},
		{"raw slash and equals", basic("c0ffee:a/b="), "c0ffee", "a/b="},
		{"plus is a blank", basic("my+app:a+b"), "my app", "a b"},
		{"URL as id", encodedBasic("https://app.example/client.json", "x"), "https://app.example/client.json", "x"},
		{"raw broken escape", basic("a:hunter%2"), "a", "hunter%2"},
		{"empty secret", basic("c0ffee:"), "c0ffee", ""},
		{"any bytes in the secret", basic("c0ffee:%00%FF\n"), "c0ffee", "\x00\xff\n"},
		{"letter case of the scheme", "bAsIc " + basic("a:b")[len("Basic "):], "a", "b"},
		{"several blanks", "Basic   " + basic("a:b")[len("Basic "):] + " ", "a", "b"},
		{"4096 bytes", basic("a:" + strings.Repeat("b", 3064)), "a", strings.Repeat("b", 3064)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, present, err := ParseBasic(test.header)
			if err != nil || !present {
				t.Fatalf("ParseBasic(%q): present %v, %v", test.header, present, err)
			}
			if b.ID != test.id || b.Secret != test.secret {
				t.Errorf("ParseBasic(%q) = %+v, want %q, %q", test.header, b, test.id, test.secret)
			}
		})
	}
}

func TestParseBasicAbsent(t *testing.T) {
	for _, header := range []string{"", "Bearer abc", "BasicX YTpi", "Basic\tYTpi", "Basi YTpi", " Basic YTpi", "BasicYTpi", "Bearer " + strings.Repeat("a", 2*maxBasic)} {
		if b, present, err := ParseBasic(header); b != (Basic{}) || present || err != nil {
			t.Errorf("ParseBasic(%q) = %+v, %v, %v, want nothing", header, b, present, err)
		}
	}
}

// TestParseBasicRaw: what was not encoded is there as it was written.
func TestParseBasicRaw(t *testing.T) {
	for _, secret := range []string{"", "abc", "a+b", "a%20b", "a%zz", "s%2B+é:/=", "%", "+", "a:b"} {
		b, _, err := ParseBasic(basic("a:" + secret))
		if err != nil || b.Raw != secret {
			t.Errorf("%q: %+v, %v", secret, b, err)
		}
		if plain := !strings.ContainsAny(secret, "%+"); plain && b.Secret != b.Raw {
			t.Errorf("%q has two readings: %+v", secret, b)
		}
	}
}

func TestParseBasicErrors(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{"no credentials", "Basic", "no colon"},
		{"blank", "Basic ", "no colon"},
		{"not base64", "Basic !!!", "not base64"},
		{"base64url", "Basic " + base64.URLEncoding.EncodeToString([]byte("a:\xfb\xff")), "not base64"},
		{"no padding", "Basic YTpiYw", "not base64"},
		{"loose final bits", "Basic YTpiYx==", "not base64"},
		{"line break", "Basic YTpi\nYTpi", "not base64"},
		{"two credentials", "Basic YTpi YTpi", "not base64"},
		{"no colon", basic("c0ffee"), "no colon"},
		{"escaped colon only", basic("a%3Ab"), "no colon"},
		{"empty id", basic(":secret"), "client id"},
		{"broken escape in the id", basic("a%zz:b"), "client id"},
		{"NUL in the id", basic("a%00:b"), "client id"},
		{"line break in the id", basic("a\r\n:b"), "client id"},
		{"C1 control character in the id", basic("a%C2%85:b"), "client id"},
		{"invalid UTF-8 in the id", basic("a%FF:b"), "client id"},
		{"more than 4096 bytes", basic("a:" + strings.Repeat("b", 3067)), "longer than 4096 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, present, err := ParseBasic(test.header)
			checkError(t, "ParseBasic", test.header, err, test.want)
			if !present || b != (Basic{}) {
				t.Errorf("ParseBasic(%q) = %+v, %v beside an error", test.header, b, present)
			}
			if err != nil && strings.Contains(err.Error(), "%") {
				t.Errorf("error quotes the credentials: %v", err)
			}
		})
	}
}

func FuzzParseBasic(f *testing.F) {
	f.Add("Basic YTpi", "c0ffee", "s%2B+é:/=")
	f.Add("basic !", "a:b", "")
	f.Add("Bearer x", "\x00", "\xff")
	f.Fuzz(func(t *testing.T, header, id, secret string) {
		got, present, err := ParseBasic(header)
		if hasScheme := len(header) >= 5 && strings.EqualFold(header[:5], "basic"); present && !hasScheme {
			t.Fatalf("ParseBasic(%q) found Basic", header)
		}
		if (!present || err != nil) && got != (Basic{}) {
			t.Fatalf("ParseBasic(%q) = %+v, %v, %v", header, got, present, err)
		}
		checkBasicRoundTrip(t, id, secret)
	})
}

// checkBasicRoundTrip checks that what RFC 6749 §2.3.1 encodes is decoded, and nothing that may not be a client id.
func checkBasicRoundTrip(t *testing.T, id, secret string) {
	t.Helper()
	header := encodedBasic(id, secret)
	got, present, err := ParseBasic(header)
	valid := id != "" && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl) && len(header) <= maxBasic
	if !present || valid != (err == nil) {
		t.Fatalf("ParseBasic of %q and %q: present %v, %v", id, secret, present, err)
	}
	if err == nil && (got.ID != id || got.Secret != secret) {
		t.Fatalf("ParseBasic = %q, %q, want %q, %q", got.ID, got.Secret, id, secret)
	}
}
