// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClaims(t *testing.T) {
	const in = `{"iss":"https://idp.example.ts.net","sub":"userid:42","aud":["a","b"],"exp":1900000300,` +
		`"nbf":1900000000,"iat":1900000001,"auth_time":1899999999,"jti":"8kWk","client_id":"web","scope":"openid email"}`
	want := Claims{
		Issuer:    "https://idp.example.ts.net",
		Subject:   "userid:42",
		Audience:  Audience{"a", "b"},
		Expiry:    new(NumericDate(1900000300)),
		NotBefore: new(NumericDate(1900000000)),
		IssuedAt:  new(NumericDate(1900000001)),
		AuthTime:  new(NumericDate(1899999999)),
		ID:        "8kWk",
		ClientID:  "web",
		Scope:     "openid email",
	}
	var got Claims
	if err := Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	out, err := json.Marshal(got)
	if err != nil || string(out) != in {
		t.Errorf("got  %s, %v\nwant %s", out, err, in)
	}
	// Nothing that is not set is written.
	if out, err := json.Marshal(Claims{}); err != nil || string(out) != "{}" {
		t.Errorf("got %s, %v", out, err)
	}
}

// TestUnmarshalEmbedded is the way to more claims, and to an audience that
// must be one string.
func TestUnmarshalEmbedded(t *testing.T) {
	type assertion struct {
		Claims
		Audience string `json:"aud"`
		Nonce    string `json:"nonce"`
	}
	var got assertion
	if err := Unmarshal([]byte(` {"sub":"web","aud":"https://idp.example.ts.net","nonce":"n","exp":1} `), &got); err != nil {
		t.Fatal(err)
	}
	want := assertion{
		Claims:   Claims{Subject: "web", Expiry: new(NumericDate(1))},
		Audience: "https://idp.example.ts.net",
		Nonce:    "n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	in := `{"aud":["https://idp.example.ts.net"]}`
	wantInvalid(t, Unmarshal([]byte(in), &got), "wrong type", in)
}

func TestUnmarshalRefused(t *testing.T) {
	for _, in := range []string{
		``, `null`, `[]`, `"x"`, `1`, `{`, `{}{}`, `{} x`, "\ufeff{}", "{\"sub\":\"\xff\"}", `{"sub"}`, `{'sub':''}`,
		`{"sub":"a","sub":"a"}`, `{"sub":"a","s\u0075b":"b"}`, `{"x":1,"x":1}`,
		`{"sub":1}`, `{"sub":["a"]}`, `{"iss":{}}`, `{"scope":["a"]}`, `{"jti":1}`,
		`{"aud":1}`, `{"aud":{}}`, `{"aud":["a",1]}`, `{"aud":["a",null]}`, `{"aud":null}`, `{"aud":[["a"]]}`,
		`{"exp":"1900000300"}`, `{"exp":true}`, `{"exp":[1]}`, `{"exp":1e400}`, `{"exp":NaN}`, `{"exp":0x10}`,
		`{"exp":9007199254740992}`, `{"nbf":-9007199254740992}`, `{"iat":"1"}`, `{"auth_time":""}`, `{"exp":18446744073709551616}`,
	} {
		var claims Claims
		wantInvalid(t, Unmarshal([]byte(in), &claims), "claims are", in)
	}
}

// TestUnmarshalExactNames: names of other case are other claims.
func TestUnmarshalExactNames(t *testing.T) {
	var got Claims
	if err := Unmarshal([]byte(`{"SUB":"a","sub":"b","Sub":"c","Exp":1,"ſcope":"x"}`), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Claims{Subject: "b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAudience(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Audience
		out  string
	}{
		{`"a"`, Audience{"a"}, `"a"`},
		{`""`, Audience{""}, `""`},
		{`["a"]`, Audience{"a"}, `"a"`},
		{`["a","b"]`, Audience{"a", "b"}, `["a","b"]`},
		{`[]`, Audience{}, `[]`},
		{`"\u0061"`, Audience{"a"}, `"a"`},
	} {
		var got Audience
		if err := json.Unmarshal([]byte(tt.in), &got); err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.in, diff)
		}
		if out, err := json.Marshal(got); err != nil || string(out) != tt.out {
			t.Errorf("%s: marshals as %s, %v", tt.in, out, err)
		}
	}
	for _, in := range []string{``, `null`, `1`, `{}`, `[1]`, `[null]`, `"a`, `["a"`, `"a""b"`} {
		got := Audience{"kept"}
		if err := got.UnmarshalJSON([]byte(in)); err == nil || len(got) != 1 || got[0] != "kept" {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestNumericDate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want NumericDate
	}{
		{`0`, 0},
		{`-0`, 0},
		{`1900000000`, 1900000000},
		{`1900000000.0`, 1900000000},
		{`1900000000.999`, 1900000000},
		{`1.9e9`, 1900000000},
		{`19E+8`, 1900000000},
		{`-1`, -1},
		{`-1.5`, -2},
		{`1e-400`, 0},
		{`9007199254740991`, 1<<53 - 1},
		{`-9007199254740991`, -1<<53 + 1},
	} {
		var got NumericDate
		if err := json.Unmarshal([]byte(tt.in), &got); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{
		``, `null`, `"1"`, `""`, `true`, `{}`, `[]`, `NaN`, `Infinity`, `-Infinity`, `inf`, `+1`, `01`, `1.`, `.5`, `0x1p4`, `1_000`,
		`9007199254740992`, `9007199254740993`, `9223372036854775808`, `1e309`, `-1e309`, `1 2`,
	} {
		got := NumericDate(7)
		if err := got.UnmarshalJSON([]byte(in)); err == nil || got != 7 {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 999, time.FixedZone("", 3600))
	n := NewNumericDate(now)
	if got, want := n.Time(), now.Truncate(time.Second); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("got %v, want %v", got, want)
	}
	if out, err := json.Marshal(n); err != nil || string(out) != "1795604400" {
		t.Errorf("marshals as %s, %v", out, err)
	}
}

func TestCheckTime(t *testing.T) {
	const leeway = 10 * time.Second
	now := time.Unix(1900000000, 0)
	at := func(offset NumericDate) *NumericDate { return new(1900000000 + offset) }
	for _, tt := range []struct {
		name   string
		claims Claims
		now    time.Time
		leeway time.Duration
		reason string // "": valid
	}{
		{"sound", Claims{Expiry: at(300), NotBefore: at(0), IssuedAt: at(0)}, now, 0, ""},
		{"exp alone", Claims{Expiry: at(1)}, now, 0, ""},
		{"a nanosecond before exp", Claims{Expiry: at(1)}, now.Add(time.Second - 1), 0, ""},
		{"at exp with leeway", Claims{Expiry: at(0)}, now, leeway, ""},
		{"at the end of the leeway", Claims{Expiry: at(-10)}, now.Add(-1), leeway, ""},
		{"nbf within leeway", Claims{Expiry: at(300), NotBefore: at(10)}, now, leeway, ""},
		{"iat within leeway", Claims{Expiry: at(300), IssuedAt: at(10)}, now, leeway, ""},
		{"latest exp", Claims{Expiry: new(NumericDate(1<<53 - 1))}, now, leeway, ""},
		{"earliest nbf", Claims{Expiry: at(300), NotBefore: new(NumericDate(-1<<53 + 1))}, now, leeway, ""},

		{"no exp", Claims{IssuedAt: at(0)}, now, leeway, "no exp"},
		{"at exp", Claims{Expiry: at(0)}, now, 0, "expired"},
		{"after exp", Claims{Expiry: at(-1)}, now, 0, "expired"},
		{"after the leeway", Claims{Expiry: at(-10)}, now, leeway, "expired"},
		{"zero exp", Claims{Expiry: new(NumericDate)}, now, leeway, "expired"},
		{"earliest exp", Claims{Expiry: new(NumericDate(-1<<53 + 1))}, now, leeway, "expired"},
		{"nbf ahead", Claims{Expiry: at(300), NotBefore: at(1)}, now, 0, "not valid yet"},
		{"nbf beyond leeway", Claims{Expiry: at(300), NotBefore: at(11)}, now, leeway, "not valid yet"},
		{"iat ahead", Claims{Expiry: at(300), IssuedAt: at(1)}, now, 0, "issued in the future"},
		{"iat beyond leeway", Claims{Expiry: at(300), IssuedAt: at(11)}, now, leeway, "issued in the future"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.claims.CheckTime(tt.now, tt.leeway)
			if tt.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantInvalid(t, err, tt.reason, "")
		})
	}
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(testClaims))
	f.Add([]byte(`{"aud":["a","b"],"exp":1.5,"nbf":-1,"iat":1e9,"auth_time":null,"x":{"y":[{}]}}`))
	f.Add([]byte(`{"SUB":"a","sub":"b","exp":9007199254740991}`))
	f.Add([]byte(`{"aud":[null],"exp":"1"}`))
	f.Add([]byte(` {"sub":"\ud800","jti":"\u0000"} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		var claims Claims
		if err := Unmarshal(data, &claims); err != nil {
			wantInvalid(t, err, "", "")
			return
		}
		if !json.Valid(data) {
			t.Fatal("not JSON")
		}
		for _, n := range []*NumericDate{claims.Expiry, claims.NotBefore, claims.IssuedAt, claims.AuthTime} {
			if n != nil && math.Abs(float64(*n)) >= 1<<53 {
				t.Errorf("date %d", *n)
			}
		}
		now := time.Unix(1900000000, 0)
		if err := claims.CheckTime(now, time.Minute); err == nil && claims.Expiry.Time().Before(now.Add(-time.Minute)) {
			t.Error("valid after its time")
		}
		// What was read comes back the same; an empty list is not written.
		out, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		if len(claims.Audience) == 0 {
			claims.Audience = nil
		}
		var again Claims
		if err := Unmarshal(out, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(claims, again); diff != "" {
			t.Error(diff)
		}
	})
}
