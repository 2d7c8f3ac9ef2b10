// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
)

// TestIntrospection: RFC 7662 section 2.2, what a client learns about its own
// tokens.
func TestIntrospection(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada, "scope", "openid email profile groups")
	f.clock.advance(10 * time.Second)
	now := float64(f.clock.now().Unix())
	r := f.post("/introspect", url.Values{"token": {res.AccessToken}, "token_type_hint": {"refresh_token"}}, basicAuth("web", webSecret)...)
	got := r.json(200)
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", cc)
	}
	if d := cmp.Diff(map[string]any{
		"active": true, "iss": testIssuer, "sub": "userid:1001", "client_id": "web", "token_type": "Bearer",
		"scope": "openid profile email groups", "exp": now + 290, "iat": now - 10, "auth_time": now - 10,
		"jti": claimsOf(t, res.AccessToken)["jti"], "aud": []any{testIssuer}, "username": "ada@example.com",
		"email": "ada@example.com", "email_verified": true, "name": "Ada Ó Briain", "preferred_username": "ada",
		"picture": "https://pics.example/lap", "groups": []any{},
	}, got); d != "" {
		t.Errorf("access token (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]any{
		"active": true, "iss": testIssuer, "sub": "userid:1001", "client_id": "web", "username": "ada@example.com",
		"scope": "openid profile email groups", "exp": now - 10 + 30*24*3600, "iat": now - 10, "auth_time": now - 10,
	}, f.introspect("web", res.RefreshToken)); d != "" {
		t.Errorf("refresh token (-want +got):\n%s", d)
	}
	f.wantInactive("web", res.IDToken)
	f.wantSilentLog(res.AccessToken, res.RefreshToken, res.IDToken)
}

// TestIntrospectionWho: who may ask about what.
func TestIntrospectionWho(t *testing.T) {
	const deeper = testResource + "/deeper"
	f := newFixture(t)
	f.allow(ada, resourceRule("*"))
	for id, resources := range map[string][]string{
		"slash": {testResource + "/"}, "capitals": {"HTTPS://MCP.tail1234.ts.net:443/mcp"}, "several": {"https://x.example/", testResource},
		"deeper": {deeper}, "origin": {"https://mcp.tail1234.ts.net"}, "issuer": {testIssuer}, "nothing": nil,
	} {
		f.addClient(id, webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: resources})
	}
	logins := map[string]tokenResponse{
		"mcp":    f.login(ada, "resource", testResource),
		"slash":  f.login(ada, "resource", testResource+"/"),
		"deeper": f.login(ada, "resource", deeper),
		"both":   f.login(ada, "resource", otherResource, "resource", testResource),
		"issuer": f.login(ada),
	}
	knows := map[string][]string{
		"web":      {"mcp", "slash", "deeper", "both", "issuer"}, // its own
		"rs":       {"mcp", "slash", "both"},
		"slash":    {"mcp", "slash", "both"},
		"capitals": {"mcp", "slash", "both"},
		"several":  {"mcp", "slash", "both"},
		"deeper":   {"deeper"},
		"issuer":   {"issuer"},
		"origin":   nil,
		"nothing":  nil,
	}
	for client, active := range knows {
		for name, res := range logins {
			if !slices.Contains(active, name) {
				f.wantInactive(client, res.AccessToken)
				f.wantInactive(client, res.RefreshToken)
				continue
			}
			if in := f.introspect(client, res.AccessToken); in["active"] != true || in["sub"] != "userid:1001" || in["client_id"] != "web" {
				t.Errorf("client %s about token %s: %v", client, name, in)
			}
			// A refresh token is nobody's business but its client's.
			if client != "web" {
				f.wantInactive(client, res.RefreshToken)
			}
		}
	}
}

// TestIntrospectionPolicy: answers follow the policy of the moment.
func TestIntrospectionPolicy(t *testing.T) {
	f := newFixture(t)
	f.addClient("api", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{otherResource}})
	f.allow(ada, resourceRule(testResource, otherResource))
	one, both := f.login(ada, "resource", testResource), f.login(ada, "resource", testResource, "resource", otherResource)
	audience := func(client, token string) any {
		t.Helper()
		in := f.introspect(client, token)
		if in["active"] != true {
			t.Errorf("client %s: %v", client, in)
		}
		return in["aud"]
	}
	for _, client := range []string{"web", "rs", "api"} {
		if d := cmp.Diff(any([]any{testResource, otherResource}), audience(client, both.AccessToken)); d != "" {
			t.Errorf("client %s: aud (-want +got):\n%s", client, d)
		}
	}
	f.allow(ada, resourceRule(otherResource))
	f.wantInactive("web", one.AccessToken)
	f.wantInactive("rs", one.AccessToken)
	f.wantInactive("rs", both.AccessToken) // the token is good, but no longer for that server
	for _, client := range []string{"web", "api"} {
		if d := cmp.Diff(any([]any{otherResource}), audience(client, both.AccessToken)); d != "" {
			t.Errorf("client %s: aud (-want +got):\n%s", client, d)
		}
	}
	f.allow(ada, resourceRule("*"))
	for _, client := range []string{"web", "rs", "api"} {
		audience(client, both.AccessToken)
	}

	// Names and groups are those of today.
	res := f.login(ada, "scope", "openid email groups")
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.UserProfile.LoginName = "ada.new@example.com" })
	f.allow(ada, `{"groups":["ops"]}`)
	if in := f.introspect("web", res.AccessToken); in["username"] != "ada.new@example.com" || in["email"] != "ada.new@example.com" || !cmp.Equal(in["groups"], any([]any{"ops"})) {
		t.Errorf("introspection %v", in)
	}
}

// TestIntrospectionScope: what the scopes did not ask for is not told.
func TestIntrospectionScope(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule("*"))
	protocol := []string{"active", "aud", "auth_time", "client_id", "exp", "iat", "iss", "jti", "scope", "sub", "token_type", "username"}
	for scope, want := range map[string][]string{
		"openid":    nil,
		"email":     {"email", "email_verified"},
		"profile":   {"name", "picture", "preferred_username"},
		"tailscale": {"addresses", "key", "nid", "node", "tailnet", "uid"},
	} {
		res := f.login(ada, "scope", scope, "resource", testResource)
		for _, client := range []string{"web", "rs"} {
			var got []string
			for _, name := range slices.Sorted(maps.Keys(f.introspect(client, res.AccessToken))) {
				if !slices.Contains(protocol, name) {
					got = append(got, name)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("scope %s, client %s: claims %v, want %v", scope, client, got, want)
			}
		}
	}
}

// TestIntrospectionOfRefreshToken: spent, revoked and expired ones are not
// active.
func TestIntrospectionOfRefreshToken(t *testing.T) {
	f := newFixture(t)
	r0 := f.login(ada).RefreshToken
	r1 := f.refresh(r0).tokens()
	f.wantInactive("web", r0)
	if in := f.introspect("web", r1.RefreshToken); in["active"] != true {
		t.Errorf("the successor: %v", in)
	}
	f.clock.advance(30*24*time.Hour - time.Second)
	if in := f.introspect("web", r1.RefreshToken); in["active"] != true {
		t.Errorf("a second before its end: %v", in)
	}
	f.clock.advance(time.Second)
	f.wantInactive("web", r1.RefreshToken)

	res := f.login(ada)
	f.clock.advance(time.Minute)
	f.refresh(f.refresh(f.refresh(res.RefreshToken).tokens().RefreshToken).tokens().RefreshToken).tokens()
	f.refresh(res.RefreshToken).wantError(400, "invalid_grant") // reuse
	f.wantDead(res)
}

// TestIntrospectionHTTP: the form of the request.
func TestIntrospectionHTTP(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada).AccessToken
	for _, tt := range []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}{
		{"GET", "GET", "", "", "", 405, "method_not_allowed"},
		{"token in the query", "POST", "?token=" + token, formType, "", 400, "invalid_request"},
		{"JSON", "POST", "", "application/json", `{"token":"x"}`, 400, "invalid_request"},
		{"no token", "POST", "", formType, "", 400, "invalid_request"},
		{"empty token", "POST", "", formType, "token=", 400, "invalid_request"},
		{"two tokens", "POST", "", formType, "token=" + token + "&token=" + token, 400, "invalid_request"},
		{"NUL", "POST", "", formType, "token=%00", 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			f.do(ada, tt.method, "/introspect"+tt.path, tt.contentType, tt.body, basicAuth("web", webSecret)...).wantError(tt.status, tt.code)
		})
	}
	// From a page too: the client's credentials count, not where it runs.
	r := f.do(ada, "POST", "/introspect", formType, "token="+token, append(basicAuth("web", webSecret), "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")...)
	if r.status != http.StatusOK || r.json(200)["active"] != true {
		t.Errorf("answer %d %s", r.status, r.body)
	}
}

// TestIntrospectDisabled: a disabled client learns nothing.
func TestIntrospectDisabled(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"users":["*"],"resources":["*"]}`) })
	token := f.login(ada, "resource", testResource).AccessToken
	if m := f.introspect("rs", token); m["active"] != true {
		t.Fatalf("before: %v", m)
	}
	f.editClient("rs", func(c *client) { c.Disabled = true })
	if m := f.introspect("rs", token); m["active"] != false {
		t.Errorf("answer %v", m)
	}
}
