// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
	"tailscale.com/client/tailscale/apitype"
)

const (
	upstream  = "https://upstream.example/api"
	elsewhere = "https://elsewhere.example"
)

// withExchange is a provider with token exchange: "gw" is the resource
// testResource and may exchange, and ada may have tokens for it and upstream.
func withExchange(t *testing.T) *fixture {
	f := newFixture(t, func(c *Config) { c.TokenExchange = new(TokenExchange) })
	exchanger := admin.ClientMetadata{Name: "Gateway", RedirectURIs: []string{webRedirect}, GrantTypes: []string{grantTokenExchange, grantAuthorizationCode, grantRefreshToken}}
	m := exchanger
	m.ResourceIdentifiers = []string{testResource}
	f.addClient("gw", webSecret, m)
	f.addClient("gw2", webSecret, exchanger)
	f.allow(ada, `{"users":["*"],"resources":["`+testResource+`","`+upstream+`"]}`)
	return f
}

func exchangeForm(token string, change ...string) url.Values {
	return edited(url.Values{
		"grant_type": {grantTokenExchange}, "subject_token": {token}, "subject_token_type": {tokenTypeAccess}, "audience": {upstream},
	}, change)
}

// exchange sends a token exchange as a client, from nowhere on the tailnet.
func (f *fixture) exchange(id, token string, change ...string) *reply {
	f.t.Helper()
	return f.post("/token", exchangeForm(token, change...), basicAuth(id, webSecret)...)
}

// TestExchange: the token that a gateway received becomes one for the server
// behind it; who the person is, and who acts, both stand in it.
func TestExchange(t *testing.T) {
	f := withExchange(t)
	login := f.login(ada, "scope", "openid profile email", "resource", testResource)
	f.clock.advance(time.Minute)
	r := f.exchange("gw", login.AccessToken).json(200)
	if r["issued_token_type"] != tokenTypeAccess || r["token_type"] != "Bearer" || r["expires_in"] != 240.0 || r["scope"] != "openid profile email" {
		t.Errorf("answer %v", r)
	}
	if r["id_token"] != nil || r["refresh_token"] != nil {
		t.Error("an exchange gives an access token, and no other")
	}
	token := r["access_token"].(string)
	subject, got := claimsOf(t, login.AccessToken), claimsOf(t, token)
	delete(got, "jti")
	if d := cmp.Diff(map[string]any{
		"iss": testIssuer, "sub": "userid:1001", "aud": upstream, "client_id": "gw", "scope": "openid profile email", "exp": subject["exp"],
		"iat": float64(f.clock.now().Unix()), "auth_time": subject["auth_time"], "acr": acrNode, "amr": []any{"pop"},
		"act": map[string]any{"sub": "gw", "client_id": "gw"},
	}, got); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	if headerOf(t, token)["typ"] != "at+jwt" {
		t.Error("not an access token by RFC 9068")
	}
	f.addClient("up", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{upstream}})
	in := f.introspect("up", token)
	if in["active"] != true || in["client_id"] != "gw" || fmt.Sprint(in["act"]) != "map[client_id:gw sub:gw]" {
		t.Errorf("introspection %v", in)
	}
	if f.introspect("web", token)["active"] != false {
		t.Error("the first client may look at what others exchanged")
	}
	f.userinfo(token).json(401)
}

// TestExchangeOff: then there is no such grant type.
func TestExchangeOff(t *testing.T) {
	f := newFixture(t)
	f.exchange("web", f.login(ada).AccessToken).wantError(400, "unsupported_grant_type")
}

// TestC55Exchange: targets, scopes and types.
func TestC55Exchange(t *testing.T) {
	f := withExchange(t)
	login := f.login(ada, "scope", "openid email", "resource", testResource)
	for name, tt := range map[string]struct {
		change []string
		aud    string // expected; or
		err    string
	}{
		"(a) allowed":               {nil, upstream, ""},
		"(b) not allowed":           {[]string{"audience", elsewhere}, "", "invalid_target"},
		"(c) one of two":            {[]string{"audience", upstream, "audience", elsewhere}, "", "invalid_target"},
		"(d) none":                  {[]string{"audience", ""}, testResource, ""},
		"(e) resource":              {[]string{"audience", "", "resource", upstream}, upstream, ""},
		"(f) both":                  {[]string{"audience", upstream, "resource", testResource}, "[" + testResource + " " + upstream + "]", ""},
		"(f) the same twice":        {[]string{"audience", upstream, "resource", upstream + "/"}, upstream + "/", ""},
		"(g) relative":              {[]string{"audience", "upstream"}, "", "invalid_target"},
		"(g) fragment":              {[]string{"audience", upstream + "#x"}, "", "invalid_target"},
		"issuer":                    {[]string{"audience", testIssuer}, "", "invalid_target"},
		"narrower scope":            {[]string{"scope", "email"}, upstream, ""},
		"wider scope":               {[]string{"scope", "email profile"}, "", "invalid_scope"},
		"unknown scope":             {[]string{"scope", "made-up"}, "", "invalid_scope"},
		"type access token":         {[]string{"requested_token_type", tokenTypeAccess}, upstream, ""},
		"type jwt":                  {[]string{"requested_token_type", tokenTypeJWT}, upstream, ""},
		"type refresh":              {[]string{"requested_token_type", tokenTypeRefresh}, "", "invalid_request"},
		"type id":                   {[]string{"requested_token_type", tokenTypeID}, "", "invalid_request"},
		"type rubbish":              {[]string{"requested_token_type", "rubbish"}, "", "invalid_request"},
		"no subject":                {[]string{"subject_token", ""}, "", "invalid_request"},
		"no subject type":           {[]string{"subject_token_type", ""}, "", "invalid_request"},
		"rubbish subject":           {[]string{"subject_token", "rubbish"}, "", "invalid_request"},
		"rubbish subject type":      {[]string{"subject_token_type", "rubbish"}, "", "invalid_request"},
		"subject as jwt":            {[]string{"subject_token_type", tokenTypeJWT}, upstream, ""},
		"subject as id":             {[]string{"subject_token_type", tokenTypeID}, "", "invalid_request"},
		"subject as refresh":        {[]string{"subject_token_type", tokenTypeRefresh}, "", "invalid_request"},
		"actor type without actor":  {[]string{"actor_token_type", tokenTypeAccess}, "", "invalid_request"},
		"rubbish actor":             {[]string{"actor_token", "x", "actor_token_type", tokenTypeAccess}, "", "invalid_request"},
		"actor of another type":     {[]string{"actor_token", login.AccessToken, "actor_token_type", tokenTypeID}, "", "invalid_request"},
		"subject token given twice": {[]string{"subject_token", "a", "subject_token", "b"}, "", "invalid_request"},
		"many targets":              {append([]string{"audience", ""}, repeat("resource", upstream, maxResources+1)...), "", "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.in(t).exchange("gw", login.AccessToken, tt.change...)
			if tt.err != "" {
				r.wantError(400, tt.err)
				return
			}
			res := r.json(200)
			if aud := fmt.Sprint(claimsOf(t, res["access_token"].(string))["aud"]); aud != tt.aud {
				t.Errorf("aud %s, want %s", aud, tt.aud)
			}
			want := tokenTypeAccess
			if slices.Contains(tt.change, tokenTypeJWT) && tt.change[0] == "requested_token_type" {
				want = tokenTypeJWT
			}
			if res["issued_token_type"] != want {
				t.Errorf("issued_token_type %v, want %s", res["issued_token_type"], want)
			}
		})
	}
}

func repeat(name, value string, n int) []string {
	var pairs []string
	for i := range n {
		pairs = append(pairs, name, fmt.Sprint(value, "/", i))
	}
	return pairs
}

// TestExchangeWhose: what was issued to a client or sent to it, it may
// exchange; anything else only by a rule of the peer that it runs on.
func TestExchangeWhose(t *testing.T) {
	f := withExchange(t)
	token := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	f.exchange("gw2", token).wantError(400, "invalid_request")
	f.exchange("web", token).wantError(400, "unauthorized_client")

	as := func(peer netip.Addr, header ...string) *reply {
		t.Helper()
		return f.do(peer, "POST", "/token", "application/x-www-form-urlencoded", exchangeForm(token).Encode(), append(header, basicAuth("gw2", webSecret)...)...)
	}
	refused := as(ci)
	refused.wantError(400, "invalid_request")
	f.allow(ci, `{"exchange":["https://other.example/*"]}`)
	as(ci).wantError(400, "invalid_request")
	f.allow(ci, `{"exchange":["`+testResource+`"]}`)
	res := as(ci).json(200)
	if act := fmt.Sprint(claimsOf(t, res["access_token"].(string))["act"]); act != "map[client_id:gw2 sub:gw2]" {
		t.Errorf("act %s", act)
	}
	as(ada).wantError(400, "invalid_request") // another peer
	as(ci, "Origin", "https://evil.example").wantError(400, "invalid_request")
	f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", exchangeForm(token).Encode(), basicAuth("gw2", webSecret)...).wantError(400, "invalid_request")
	// Nobody is left out of the actors without a rule that says so.
	f.allow(ci, `{"exchange":["`+testResource+`"],"impersonate":true}`)
	if act := claimsOf(t, as(ci).json(200)["access_token"].(string))["act"]; act != nil {
		t.Errorf("act %v", act)
	}
	// ID tokens and refresh tokens are their client's alone, whatever a rule says.
	login := f.login(ada, "scope", "openid", "resource", testResource)
	f.allow(ci, `{"exchange":["*"]}`)
	for typ, tok := range map[string]string{tokenTypeID: login.IDToken, tokenTypeRefresh: login.RefreshToken} {
		f.do(ci, "POST", "/token", "application/x-www-form-urlencoded", exchangeForm(tok, "subject_token_type", typ).Encode(), basicAuth("gw2", webSecret)...).wantError(400, "invalid_request")
	}
}

// TestExchangeOwnTokens: a client exchanges the tokens of its own logins, of
// all kinds; a refresh token is not spent by it.
func TestExchangeOwnTokens(t *testing.T) {
	f := withExchange(t)
	code := f.code(ada, "client_id", "gw", "scope", "openid email", "resource", testResource)
	own := f.post("/token", codeForm(code), basicAuth("gw", webSecret)...).tokens()
	for typ, tok := range map[string]string{tokenTypeAccess: own.AccessToken, tokenTypeJWT: own.AccessToken, tokenTypeID: own.IDToken, tokenTypeRefresh: own.RefreshToken} {
		res := f.exchange("gw", tok, "subject_token_type", typ).json(200)
		c := claimsOf(t, res["access_token"].(string))
		if c["sub"] != "userid:1001" || c["aud"] != upstream || c["scope"] != "openid email" {
			t.Errorf("%s: claims %v", typ, c)
		}
		res = f.exchange("gw", tok, "subject_token_type", typ, "audience", "").json(200)
		if aud := claimsOf(t, res["access_token"].(string))["aud"]; aud != testResource {
			t.Errorf("%s without a target is for %v", typ, aud)
		}
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {own.RefreshToken}}
	f.post("/token", refresh, basicAuth("gw", webSecret)...).tokens()
	f.exchange("gw", own.RefreshToken, "subject_token_type", tokenTypeRefresh).wantError(400, "invalid_request") // spent
	f.clock.advance(time.Hour)
	f.exchange("gw", own.IDToken, "subject_token_type", tokenTypeID).wantError(400, "invalid_request")
	f.exchange("gw", own.AccessToken).wantError(400, "invalid_request")
}

// TestExchangeForged: what we did not sign for this purpose is no token.
func TestExchangeForged(t *testing.T) {
	f := withExchange(t)
	token := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	other := newFixture(t, func(c *Config) { c.Issuer, c.Hosts = "https://other.tail1234.ts.net", []string{"idp.tail1234.ts.net"} })
	foreign := other.login(ada).AccessToken
	head, rest, _ := strings.Cut(token, ".")
	for name, forged := range map[string]string{
		"foreign": foreign, "cut": token[:len(token)-4], "none": "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(rest, ".")[0] + ".",
		"header alone": head, "code": f.code(ada), "long": strings.Repeat("a.b.c", 10000), "empty parts": "..",
	} {
		r := f.exchange("gw", forged)
		r.t = named{t, name}
		r.wantError(400, "invalid_request")
		f.exchange("gw", token, "actor_token", forged, "actor_token_type", tokenTypeAccess).wantError(400, "invalid_request")
	}
}

// TestExchangeToday: the policy of this moment decides, for the subject.
func TestExchangeToday(t *testing.T) {
	f := withExchange(t)
	login := f.login(ada, "scope", "openid", "resource", testResource)
	rules := `{"users":["*"],"resources":["` + testResource + `","` + upstream + `"]}`
	exchanged := f.exchange("gw", login.AccessToken).json(200)["access_token"].(string)
	f.addClient("up", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{upstream}})
	active := func(want bool) {
		t.Helper()
		if got := f.introspect("up", exchanged)["active"]; got != want {
			t.Errorf("the exchanged token is active: %v, want %v", got, want)
		}
	}
	f.allow(ada, `{"users":["*"],"resources":["`+testResource+`"]}`)
	f.exchange("gw", login.AccessToken).wantError(400, "invalid_target")
	active(false)
	f.allow(ada, rules)
	f.exchange("gw", login.AccessToken).json(200)
	active(true)

	f.editClient("gw", func(c *client) { c.Disabled = true })
	f.exchange("gw", login.AccessToken).wantError(400, "unauthorized_client")
	active(false)
	f.editClient("gw", func(c *client) { c.Disabled = false })
	f.editClient("web", func(c *client) { c.Access = accessGranted })
	f.exchange("gw", login.AccessToken).wantError(400, "invalid_request")
	active(false)
	f.editClient("web", func(c *client) { c.Access = accessTailnet })
	active(true)

	f.tailnet.set(func(n *fakeTailnet) { n.err = errTest })
	f.clock.advance(2 * time.Second)
	f.exchange("gw", login.AccessToken).wantError(503, "temporarily_unavailable")
	f.tailnet.set(func(n *fakeTailnet) { n.err = nil })
	f.clock.advance(2 * time.Second)
	f.exchange("gw", login.AccessToken).json(200)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHER" })
	f.clock.advance(2 * time.Second)
	f.exchange("gw", login.AccessToken).wantError(400, "invalid_request")
	active(false)
}

// TestExchangeEndsWithItsGrant: whoever ends the login ends all of it; whoever
// exchanged ends what it got, and no more.
func TestExchangeEndsWithItsGrant(t *testing.T) {
	f := withExchange(t)
	login := f.login(ada, "scope", "openid", "resource", testResource)
	f.addClient("up", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{upstream}})
	one := f.exchange("gw", login.AccessToken).json(200)["access_token"].(string)
	two := f.exchange("gw", login.AccessToken).json(200)["access_token"].(string)
	f.revoke("web", one).wantError(400, "invalid_grant")
	for range 2 {
		if r := f.revoke("gw", one); r.status != 200 {
			t.Fatalf("answer %d %s", r.status, r.body)
		}
	}
	if f.introspect("up", one)["active"] != false || f.introspect("up", two)["active"] != true {
		t.Error("want the revoked token dead, and the other one alive")
	}
	f.exchange("gw", one, "audience", upstream).wantError(400, "invalid_request")
	f.refresh(login.RefreshToken).tokens()
	f.revoke("web", login.AccessToken)
	if f.introspect("up", two)["active"] != false {
		t.Error("the exchanged token outlives its grant")
	}
}

// TestExchangeChain: each exchange adds its actor, the life shrinks, and the
// chain has an end.
func TestExchangeChain(t *testing.T) {
	f := withExchange(t)
	f.allow(ada, `{"users":["*"],"resources":["*"]}`)
	for i := range 6 {
		f.addClient(fmt.Sprint("hop", i), webSecret, admin.ClientMetadata{
			GrantTypes: []string{grantTokenExchange}, ResourceIdentifiers: []string{fmt.Sprint("https://hop.example/", i)},
		})
	}
	token := f.login(ada, "scope", "openid", "resource", "https://hop.example/0").AccessToken
	end := claimsOf(t, token)["exp"]
	for i := range 5 {
		f.clock.advance(10 * time.Second)
		token = f.exchange(fmt.Sprint("hop", i), token, "audience", fmt.Sprint("https://hop.example/", i+1)).json(200)["access_token"].(string)
		if claimsOf(t, token)["exp"] != end {
			t.Fatal("an exchange prolongs a token")
		}
	}
	want := "map[act:map[act:map[act:map[act:map[client_id:hop0 sub:hop0] client_id:hop1 sub:hop1] client_id:hop2 sub:hop2] client_id:hop3 sub:hop3] client_id:hop4 sub:hop4]"
	if got := fmt.Sprint(claimsOf(t, token)["act"]); got != want {
		t.Errorf("act %s\nwant %s", got, want)
	}
	f.exchange("hop5", token, "audience", upstream).wantError(400, "invalid_request")
}

// TestExchangeActor: an actor token puts its subject in front, with the chain
// that it has; only one that is the client's own, or for it, counts.
func TestExchangeActor(t *testing.T) {
	f := withExchange(t)
	f.allow(gus, `{"users":["*"],"resources":["`+testResource+`"]}`)
	subject := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	actor := f.login(gus, "scope", "openid", "resource", testResource).AccessToken
	for _, typ := range []string{tokenTypeAccess, ""} {
		res := f.exchange("gw", subject, "actor_token", actor, "actor_token_type", typ).json(200)
		c := claimsOf(t, res["access_token"].(string))
		if c["sub"] != "userid:1001" || fmt.Sprint(c["act"]) != "map[client_id:web sub:userid:1002]" {
			t.Errorf("sub %v, act %v", c["sub"], c["act"])
		}
	}
	stranger := f.login(gus, "scope", "openid").AccessToken // for userinfo, of another client
	f.exchange("gw", subject, "actor_token", stranger, "actor_token_type", tokenTypeAccess).wantError(400, "invalid_request")
	f.allow(gus, `{}`)
	f.exchange("gw", subject, "actor_token", actor, "actor_token_type", tokenTypeAccess).wantError(400, "invalid_request")
	f.clock.advance(10 * time.Minute)
	f.exchange("gw", f.login(ada, "scope", "openid", "resource", testResource).AccessToken, "actor_token", actor, "actor_token_type", tokenTypeAccess).wantError(400, "invalid_request")
}

// TestMayAct: a token that names who may act is exchanged by nobody else.
func TestMayAct(t *testing.T) {
	f := withExchange(t)
	login := f.login(ada, "scope", "openid", "resource", testResource)
	var c jwt.Claims
	payload, err := jwt.Verify(login.AccessToken, jwt.TypeAccessToken, f.p.keys.Load().lookup)
	if err != nil {
		t.Fatal(err)
	}
	if err := jwt.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		may *jwt.Actor
		ok  bool
	}{
		{nil, true}, {&jwt.Actor{Subject: "gw"}, true}, {&jwt.Actor{ClientID: "gw", Issuer: testIssuer}, true}, {&jwt.Actor{}, true},
		{&jwt.Actor{Subject: "gw2"}, false}, {&jwt.Actor{Subject: "gw", ClientID: "x"}, false}, {&jwt.Actor{Subject: "gw", Issuer: "https://other"}, false},
	} {
		c.MayAct = tt.may
		token, err := f.p.keys.Load().signers[jwt.ES256].Sign(jwt.TypeAccessToken, &c)
		if err != nil {
			t.Fatal(err)
		}
		if r := f.exchange("gw", token); (r.status == 200) != tt.ok {
			t.Errorf("may_act %+v: answer %d %s", tt.may, r.status, r.body)
		}
	}
}

// TestExchangeLegacyShape: what clients of earlier versions send works on.
func TestExchangeLegacyShape(t *testing.T) {
	f := withExchange(t)
	f.addClient("old", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{testResource}})
	f.editClient("old", func(c *client) { c.Imported, c.GrantTypes = true, nil })
	token := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	form := exchangeForm(token, "client_id", "old", "client_secret", webSecret)
	res := f.post("/token", form).json(200)
	if res["issued_token_type"] != tokenTypeAccess || res["token_type"] != "Bearer" {
		t.Errorf("answer %v", res)
	}
}

// TestExchangePublic: a client that proves nothing exchanges nothing.
func TestExchangePublic(t *testing.T) {
	f := withExchange(t)
	f.addClient("spa", "", admin.ClientMetadata{RedirectURIs: []string{webRedirect}, TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantTokenExchange, grantAuthorizationCode}})
	f.post("/token", exchangeForm(f.login(ada).AccessToken, "client_id", "spa")).wantError(400, "unauthorized_client")
}

// TestExchangeConcurrent: an exchange consumes nothing.
func TestExchangeConcurrent(t *testing.T) {
	f := withExchange(t)
	token := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r := f.exchange("gw", token); r.status != http.StatusOK {
				t.Errorf("answer %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
}
