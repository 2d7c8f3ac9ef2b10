// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
)

// TestOpaqueAccessToken: a client may have access tokens that nobody else can
// read. Whoever asks about one gets the answers of a JWT.
func TestOpaqueAccessToken(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, `{"users":["*"],"resources":["*"]}`)
	f.editClient("web", func(c *client) { c.AccessTokenFormat = formatOpaque })
	res := f.login(ada, "scope", "openid email")
	token := res.AccessToken
	if strings.Contains(token, ".") || strings.Contains(token, "ada") || len(token) == refreshTokenLen {
		t.Errorf("access token %s", token)
	}
	if claims := claimsOf(t, res.IDToken); claims["at_hash"] != jwt.HalfHash(jwt.RS256, token) {
		t.Errorf("at_hash %v", claims["at_hash"])
	}
	if info := f.userinfo(token).json(200); info["sub"] != "userid:1001" || info["email"] != "ada@example.com" {
		t.Errorf("userinfo %v", info)
	}
	if in := f.introspect("web", token); in["active"] != true || in["sub"] != "userid:1001" || in["scope"] != "openid email" || in["client_id"] != "web" {
		t.Errorf("introspection %v", in)
	}
	if in := f.introspect("rs", token); in["active"] != false {
		t.Errorf("introspection by another client %v", in)
	}
	if in := f.introspect("rs", f.login(ada, "resource", testResource).AccessToken); in["active"] != true || fmt.Sprint(in["aud"]) != "["+testResource+"]" {
		t.Errorf("introspection by its resource %v", in)
	}

	// One bit off, cut, or with another purpose: nobody's token.
	bad := []string{token[:len(token)-1], token + "A", "A" + token, token[:60], strings.Repeat("A", jwt.MaxSealedLen+1), "AQ", f.code(ada)}
	for _, i := range []int{0, 3, 20, 60, len(token) - 3} {
		b := []byte(token)
		b[i] ^= 1
		bad = append(bad, string(b))
	}
	for _, s := range bad {
		f.userinfo(s).wantError(401, "invalid_token")
		if in := f.introspect("web", s); len(in) != 1 || in["active"] != false {
			t.Errorf("introspection of %q: %v", s, in)
		}
	}
	f.redeem(token).wantError(400, "invalid_grant")
	f.refresh(token).wantError(400, "invalid_grant")

	// It ends as others do: by its time, and by revocation.
	f.clock.advance(f.p.life.AccessToken + clockSkew + time.Second)
	f.userinfo(token).wantError(401, "invalid_token")
	next := f.refresh(res.RefreshToken).tokens()
	f.userinfo(next.AccessToken).json(200)
	f.post("/revoke", url.Values{"token": {next.AccessToken}}, basicAuth("web", webSecret)...).wantEmpty(200)
	f.userinfo(next.AccessToken).wantError(401, "invalid_token")
	f.refresh(next.RefreshToken).wantError(400, "invalid_grant")
}

// TestOpaqueExchange: an opaque token can be exchanged, and a client of opaque
// tokens gets a JWT when it asks for one.
func TestOpaqueExchange(t *testing.T) {
	f := withExchange(t)
	f.editClient("web", func(c *client) { c.AccessTokenFormat = formatOpaque })
	f.editClient("gw", func(c *client) { c.AccessTokenFormat = formatOpaque })
	token := f.login(ada, "resource", testResource).AccessToken
	if got := f.exchange("gw", token).tokens().AccessToken; strings.Contains(got, ".") || f.introspect("gw", got)["active"] != true {
		t.Errorf("exchanged access token %s", got)
	}
	if got := f.exchange("gw", token, "requested_token_type", tokenTypeJWT).tokens().AccessToken; claimsOf(t, got)["aud"] != upstream {
		t.Errorf("exchanged JWT %s", got)
	}
}

// TestResourceBytes: a request is refused, and its code left alone, whose
// token would be longer than anybody takes.
func TestResourceBytes(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, `{"users":["*"],"resources":["*"]}`)
	code := f.code(ada)
	var long []string
	for range 5 {
		long = append(long, "https://r.example/"+strings.Repeat("x", maxResourceBytes/5))
	}
	f.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}, "resource": long,
	}, basicAuth("web", webSecret)...).wantError(400, "invalid_target")
	f.redeem(code).tokens()
}

// FuzzAccessToken: what is presented as an access token is one of ours or
// nothing, whatever its form.
func FuzzAccessToken(f *testing.F) {
	fx := newFixture(f)
	signed := fx.login(ada).AccessToken
	fx.editClient("web", func(c *client) { c.AccessTokenFormat = formatOpaque })
	sealed := fx.login(ada).AccessToken
	for _, s := range []string{signed, sealed, "", ".", "..", sealed[:60], signed[:len(signed)-1], strings.Replace(signed, ".", "", 2), fx.code(ada)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := fx.p.parseAccessToken(t.Context(), token); err == nil && token != signed && token != sealed {
			t.Errorf("%q is good", token)
		}
	})
}
