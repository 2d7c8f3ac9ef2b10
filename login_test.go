// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func decodeSegment(t testing.TB, token string, i int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no compact JWS", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLogin is the main job: a code, its tokens, what they say, and what the
// other endpoints say about them.
func TestLogin(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada, "scope", "openid profile email groups tailscale offline_access", "nonce", "N1")
	if res.TokenType != "Bearer" || res.ExpiresIn != 300 || res.RefreshToken == "" {
		t.Errorf("token response %+v", res)
	}

	id := claimsOf(t, res.IDToken)
	for name, want := range map[string]any{
		"iss": testIssuer, "sub": "userid:1001", "aud": "web", "nonce": "N1",
		"email": "ada@example.com", "email_verified": true, "name": "Ada Ó Briain",
		"preferred_username": "ada", "picture": "https://pics.example/lap",
		"node": "lap.tail1234.ts.net", "tailnet": "tail1234.ts.net",
		"exp": float64(f.clock.now().Add(time.Hour).Unix()), "auth_time": float64(f.clock.now().Unix()),
	} {
		if id[name] != want {
			t.Errorf("ID token: %s is %v, want %v", name, id[name], want)
		}
	}
	if g, ok := id["groups"].([]any); !ok || len(g) != 0 {
		t.Errorf("ID token: groups is %v, want []", id["groups"])
	}
	if h := headerOf(t, res.IDToken); h["typ"] != "JWT" || h["alg"] != "RS256" {
		t.Errorf("ID token header %v", h)
	}

	at := claimsOf(t, res.AccessToken)
	if h := headerOf(t, res.AccessToken); h["typ"] != "at+jwt" || h["alg"] != "ES256" {
		t.Errorf("access token header %v", h)
	}
	if at["aud"] != testIssuer || at["client_id"] != "web" || at["sub"] != "userid:1001" {
		t.Errorf("access token %v", at)
	}

	info := f.userinfo(res.AccessToken).json(200)
	if info["sub"] != "userid:1001" || info["email"] != "ada@example.com" || info["preferred_username"] != "ada" {
		t.Errorf("userinfo %v", info)
	}
	in := f.introspect("web", res.AccessToken)
	if in["active"] != true || in["sub"] != "userid:1001" || in["client_id"] != "web" || in["username"] != "ada@example.com" {
		t.Errorf("introspection %v", in)
	}

	again := f.refresh(res.RefreshToken).tokens()
	if again.RefreshToken == res.RefreshToken || again.AccessToken == res.AccessToken {
		t.Error("refresh did not rotate")
	}
	if c := claimsOf(t, again.IDToken); c["nonce"] != nil || c["sub"] != id["sub"] || c["aud"] != id["aud"] || c["auth_time"] != id["auth_time"] {
		t.Errorf("refreshed ID token %v", c)
	}
}
