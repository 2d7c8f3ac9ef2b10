// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
)

// machine asks for a token as the node at addr, which has no credentials.
func (f *fixture) machine(as netip.Addr, change ...string) *reply {
	f.t.Helper()
	form := edited(url.Values{"grant_type": {"client_credentials"}, "resource": {upstream}}, change)
	return f.do(as, "POST", "/token", "application/x-www-form-urlencoded", form.Encode())
}

const machineRule = `{"machine":true,"users":["*"],"resources":["` + upstream + `"]}`

// withMachine has ci as a machine that may call upstream, whose server "up"
// may introspect.
func withMachine(t *testing.T, configure ...func(*Config)) *fixture {
	f := newFixture(t, configure...)
	f.addClient("up", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{upstream}})
	f.addClient("job", webSecret, admin.ClientMetadata{GrantTypes: []string{grantClientCredentials}})
	f.allow(ci, machineRule)
	return f
}

// TestMachineToken: a tagged node needs no registration and no secret.
func TestMachineToken(t *testing.T) {
	f := withMachine(t)
	id := "node:n999CNTRL"
	for _, clientID := range []string{"", id} {
		r := f.machine(ci, "client_id", clientID).json(200)
		if r["token_type"] != "Bearer" || r["expires_in"] != 300.0 || r["refresh_token"] != nil || r["id_token"] != nil {
			t.Errorf("answer %v", r)
		}
		if _, ok := r["scope"]; ok {
			t.Errorf("scope %q, want none", r["scope"])
		}
		token := r["access_token"].(string)
		got := claimsOf(t, token)
		now := float64(f.clock.now().Unix())
		delete(got, "jti")
		if d := cmp.Diff(map[string]any{
			"iss": testIssuer, "sub": id, "client_id": id, "aud": upstream, "iat": now, "exp": now + 300, "tags": []any{"tag:ci"},
		}, got); d != "" {
			t.Errorf("claims (-want +got):\n%s", d)
		}
		in := f.introspect("up", token)
		if in["active"] != true || in["sub"] != id || fmt.Sprint(in["tags"]) != "[tag:ci]" || in["username"] != nil {
			t.Errorf("introspection %v", in)
		}
	}
	token := f.machine(ci, "resource", "").json(200)["access_token"].(string)
	if aud := claimsOf(t, token)["aud"]; aud != testIssuer {
		t.Errorf("without a resource it is for %v", aud)
	}
	r := f.userinfo(token)
	if r.status != 403 { // there is nobody in it
		t.Errorf("userinfo answers %d %s", r.status, r.body)
	}
}

// TestMachineRefused: by WhoIs of the peer only, over the tailnet only, with a
// rule only.
func TestMachineRefused(t *testing.T) {
	f := withMachine(t)
	f.machine(ada).wantError(401, "invalid_client")
	f.machine(netip.Addr{}).wantError(401, "invalid_client")
	f.machine(netip.MustParseAddr("100.64.9.9")).wantError(401, "invalid_client")
	f.machine(ci, "client_id", "node:n1CNTRL").wantError(401, "invalid_client")
	f.machine(ci, "client_id", "node:").wantError(401, "invalid_client")
	f.machine(ci, "client_id", "node:n999CNTRL", "client_secret", webSecret).wantError(401, "invalid_client")
	f.machine(ci, "client_secret", webSecret).wantError(401, "invalid_client")
	f.machine(ci, "grant_type", "authorization_code", "code", "x").wantError(400, "unauthorized_client")
	f.machine(ci, "resource", elsewhere).wantError(400, "invalid_target")
	form := url.Values{"grant_type": {"client_credentials"}}.Encode()
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"}, {"Host", "evil.example"}} {
		f.do(ci, "POST", "/token", "application/x-www-form-urlencoded", form, header...).wantError(401, "invalid_client")
	}
	f.allow(ci, `{"users":["*"],"resources":["*"]}`)
	r := f.machine(ci)
	r.wantError(401, "invalid_client")
	if !strings.Contains(r.body, `"machine"`) || !strings.Contains(r.body, `"tag:ci"`) {
		t.Errorf("the answer does not name the grant: %s", r.body)
	}
	// No rule makes a machine of another tailnet one of ours.
	f.allow(ci, machineRule)
	f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) { res.Node.Sharer = 77 })
	f.clock.advance(2 * time.Second)
	r = f.machine(ci)
	r.wantError(401, "invalid_client")
	if strings.Contains(r.body, "grants") || strings.Contains(r.body, `"app"`) {
		t.Errorf("the answer has a grant that would not help: %s", r.body)
	}
	f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) { res.Node.Sharer = 0 })
	f.clock.advance(2 * time.Second)
	public := f.in(t)
	public.client = serve(t, f.p.PublicHandler())
	if r := public.machine(netip.Addr{}); r.status == 200 {
		t.Error("a machine is one through the public handler")
	}
	f.tailnet.set(func(n *fakeTailnet) { n.err = errTest })
	f.clock.advance(2 * time.Second)
	f.machine(ci).wantError(503, "temporarily_unavailable")
	// Nobody registers an id that a node has.
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_id":"node:n999CNTRL","redirect_uris":["https://a.example"]}`)
}

// TestMachineToday: its rules are asked at each use.
func TestMachineToday(t *testing.T) {
	f := withMachine(t)
	token := f.machine(ci).json(200)["access_token"].(string)
	active := func(want bool, after string) {
		t.Helper()
		f.clock.advance(2 * time.Second)
		if got := f.introspect("up", token)["active"]; got != want {
			t.Errorf("%s: active %v, want %v", after, got, want)
		}
	}
	f.allow(ci, `{"users":["*"],"resources":["`+upstream+`"]}`)
	active(false, "machine withdrawn")
	f.allow(ci, `{"machine":true,"users":["*"],"resources":["https://other.example"]}`)
	active(false, "resource withdrawn")
	f.allow(ci, `{"machine":true,"users":["tag:ci"],"resources":["`+upstream+`"]}`)
	active(true, "rule by tag")
	f.allow(ci, `{"machine":true,"users":["tag:other"],"resources":["`+upstream+`"]}`)
	active(false, "rule for another tag")
	f.allow(ci, machineRule)
	active(true, "put back")
	f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHER" })
	active(false, "address of another node")
}

// TestClientCredentials: any client that authenticates may have a token of its
// own; what for, the rules of the node that it runs on say.
func TestClientCredentials(t *testing.T) {
	f := withMachine(t)
	form := url.Values{"grant_type": {"client_credentials"}}
	ask := func(as netip.Addr, change ...string) *reply {
		t.Helper()
		return f.do(as, "POST", "/token", "application/x-www-form-urlencoded", edited(url.Values{"grant_type": {"client_credentials"}}, change).Encode(), basicAuth("job", webSecret)...)
	}
	token := f.post("/token", form, basicAuth("job", webSecret)...).json(200)["access_token"].(string)
	got := claimsOf(t, token)
	if got["sub"] != "job" || got["client_id"] != "job" || got["aud"] != testIssuer || got["auth_time"] != nil || got["tags"] != nil {
		t.Errorf("claims %v", got)
	}
	if in := f.introspect("job", token); in["active"] != true || in["sub"] != "job" {
		t.Errorf("introspection %v", in)
	}
	ask(netip.Addr{}, "resource", upstream).wantError(400, "invalid_target")
	ask(ada, "resource", upstream).wantError(400, "invalid_target")
	f.allow(ada, `{"users":["ada@example.com"],"resources":["`+upstream+`"]}`)
	token = ask(ada, "resource", upstream).json(200)["access_token"].(string)
	if f.introspect("up", token)["active"] != true {
		t.Error("the token is not active")
	}
	f.allow(ada, `{}`)
	f.clock.advance(2 * time.Second)
	if f.introspect("up", token)["active"] != false {
		t.Error("the token outlives the rule")
	}
	f.editClient("job", func(c *client) { c.Disabled = true })
	ask(netip.Addr{}).wantError(400, "unauthorized_client")
	f.editClient("job", func(c *client) { c.Disabled = false })
	f.post("/token", form, basicAuth("web", webSecret)...).wantError(400, "unauthorized_client")
	f.addClient("spa", "", admin.ClientMetadata{TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantClientCredentials}})
	f.post("/token", edited(form, []string{"client_id", "spa"})).wantError(400, "unauthorized_client")
}

// TestStandingGrant: all tokens of a machine hang from one grant; revoking one
// ends all, and the next request begins anew.
func TestStandingGrant(t *testing.T) {
	f := withMachine(t)
	f.allow(ada, `{"users":["*"],"resources":["`+upstream+`"]}`)
	ask := func() (string, string) {
		t.Helper()
		token := f.post("/token", url.Values{"grant_type": {"client_credentials"}}, basicAuth("job", webSecret)...).json(200)["access_token"].(string)
		grant, _ := grantOf(claimsOf(t, token)["jti"].(string))
		return token, grant
	}
	first, grant := ask()
	second, same := ask()
	if grant != same {
		t.Error("two grants")
	}
	f.clock.advance(20 * time.Hour)
	if _, still := ask(); still != grant {
		t.Error("another grant within its life")
	}
	f.clock.advance(5 * time.Hour)
	third, other := ask()
	if other == grant {
		t.Error("the grant goes on for good")
	}
	_ = second
	f.revoke("job", third)
	if f.introspect("job", third)["active"] != false {
		t.Error("revoked, and active")
	}
	f.clock.advance(time.Second)
	fourth, again := ask()
	if again == other || f.introspect("job", fourth)["active"] != true {
		t.Error("no new grant after the revocation")
	}
	_ = first
	var wg sync.WaitGroup
	f.revoke("job", fourth)
	f.clock.advance(time.Second)
	grants := make(chan string, 20)
	for range 20 {
		wg.Go(func() { _, g := ask(); grants <- g })
	}
	wg.Wait()
	close(grants)
	one := <-grants
	for g := range grants {
		if g != one {
			t.Fatal("requests at the same time open several grants")
		}
	}
}

// TestNodeIntrospects: a node that is a resource, by a rule, introspects
// without a secret; off unless the rule is there.
func TestNodeIntrospects(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, `{"users":["*"],"resources":["`+testResource+`","`+upstream+`"]}`)
	token := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	other := f.login(ada, "scope", "openid", "resource", upstream).AccessToken
	ask := func(token string, header ...string) *reply {
		return f.do(ci, "POST", "/introspect", "application/x-www-form-urlencoded", url.Values{"token": {token}}.Encode(), header...)
	}
	ask(token).wantError(401, "invalid_client")
	f.allow(ci, `{"introspect":["`+testResource+`"]}`)
	if in := ask(token).json(200); in["active"] != true || in["sub"] != "userid:1001" {
		t.Errorf("introspection %v", in)
	}
	if in := ask(other).json(200); in["active"] != false {
		t.Errorf("a token for another resource: %v", in)
	}
	ask(token, "Origin", "https://evil.example").wantError(401, "invalid_client")
	ask(token, "Host", "evil.example").wantError(401, "invalid_client")
	f.allow(ci, `{"introspect":["*"]}`) // a pattern is no resource
	ask(token).wantError(401, "invalid_client")
	f.machine(ci).wantError(401, "invalid_client")
}

// TestNodeExchanges: the same rule lets it exchange what was sent to it.
func TestNodeExchanges(t *testing.T) {
	f := withExchange(t)
	token := f.login(ada, "scope", "openid", "resource", testResource).AccessToken
	for _, rule := range []string{`{"introspect":["` + testResource + `"]}`, `{"introspect":["` + testResource + `"],"machine":true}`} {
		f.allow(ci, rule)
		r := f.do(ci, "POST", "/token", "application/x-www-form-urlencoded", exchangeForm(token).Encode()).json(200)
		c := claimsOf(t, r["access_token"].(string))
		if c["sub"] != "userid:1001" || c["aud"] != upstream || fmt.Sprint(c["act"]) != "map[client_id:node:n999CNTRL sub:node:n999CNTRL]" {
			t.Errorf("%s: claims %v", rule, c)
		}
	}
}

// TestMachineLogin: a rule lets a tagged node log in like a person.
func TestMachineLogin(t *testing.T) {
	f := newFixture(t)
	f.authorize(ci).page(403)
	f.allow(ci, `{"machine_login":true}`)
	res := f.login(ci, "scope", "openid email profile")
	id := claimsOf(t, res.IDToken)
	if id["sub"] != "node:n999CNTRL" || id["email"] != nil || id["preferred_username"] != nil {
		t.Errorf("claims %v", id)
	}
	f.userinfo(res.AccessToken).json(200)
	f.allow(ci, `{}`)
	f.clock.advance(2 * time.Second)
	f.userinfo(res.AccessToken).json(401)
	f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
}

// TestCustomScopes: a scope that is not ours needs a rule, now as later; what
// is not granted is left out.
func TestCustomScopes(t *testing.T) {
	f := withMachine(t)
	f.authorize(ada, "scope", "mcp:write").redirectError("invalid_scope")
	f.allow(ada, `{"scopes":["mcp:*"]}`)
	res := f.login(ada, "scope", "openid mcp:write mcp:read other")
	if res.Scope != "openid mcp:write mcp:read" {
		t.Errorf("scope %q", res.Scope)
	}
	f.login(ada, "scope", "mcp:write")
	if in := f.introspect("web", res.AccessToken); in["scope"] != "openid mcp:write mcp:read" {
		t.Errorf("introspection %v", in)
	}
	f.allow(ada, `{"scopes":["mcp:read"]}`)
	f.clock.advance(2 * time.Second)
	if in := f.introspect("web", res.AccessToken); in["scope"] != "openid mcp:read" {
		t.Errorf("introspection after the rule has changed %v", in)
	}
	res = f.refresh(res.RefreshToken).tokens()
	if res.Scope != "openid mcp:read" {
		t.Errorf("refresh gives %q", res.Scope)
	}
	f.allow(ada, `{"scopes":["*"]}`)
	f.clock.advance(2 * time.Second)
	if again := f.refresh(res.RefreshToken).tokens(); again.Scope != "openid mcp:write mcp:read" {
		t.Errorf("put back, refresh gives %q", again.Scope)
	}
	f.allow(ci, `{"machine":true,"scopes":["mcp:*"],"users":["*"],"resources":["*"]}`)
	if r := f.machine(ci, "scope", "openid mcp:write").json(200); r["scope"] != "mcp:write" {
		t.Errorf("a machine gets %v", r["scope"])
	}
}
