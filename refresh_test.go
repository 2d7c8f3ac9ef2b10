// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/tailscale/apitype"
)

// TestC31ParallelRefresh: op-engine §8 item 20. Twenty windows of an agent
// share one token; a retry gets what the first one got; a late one ends the
// login.
func TestC31ParallelRefresh(t *testing.T) {
	for _, public := range []bool{false, true} {
		f := newFixture(t)
		auth, form := basicAuth("web", webSecret), func(token string) url.Values { return refreshForm(token) }
		login, name := func() tokenResponse { return f.login(ada) }, "confidential"
		if public {
			auth, form = nil, func(token string) url.Values { return refreshForm(token, "client_id", "pub") }
			login, name = func() tokenResponse { return f.loginPub(ada) }, "public"
		}
		refresh := func(f *fixture, token string) *reply {
			f.t.Helper()
			return f.post("/token", form(token), auth...)
		}
		// rotated runs 20 refreshes at once and returns the one successor.
		rotated := func(f *fixture, r0 string) tokenResponse {
			f.t.Helper()
			var res tokenResponse
			for i, r := range f.postAll(20, "/token", func(int) url.Values { return form(r0) }, auth...) {
				got := r.tokens()
				if i > 0 && got.RefreshToken != res.RefreshToken {
					f.t.Fatal("the successors differ")
				}
				if u := f.userinfo(got.AccessToken); u.status != 200 {
					f.t.Errorf("access token %d: userinfo answers %d", i, u.status)
				}
				res = got
			}
			if res.RefreshToken == r0 || res.RefreshToken == "" {
				f.t.Fatalf("successor %q", res.RefreshToken)
			}
			return res
		}
		dead := func(f *fixture, tokens ...string) {
			f.t.Helper()
			for _, token := range tokens {
				refresh(f, token).wantError(400, "invalid_grant")
			}
		}
		t.Run(name+", 5 s later", func(t *testing.T) {
			f := f.in(t)
			r0 := login().RefreshToken
			r1 := rotated(f, r0)
			f.clock.advance(5 * time.Second)
			again := refresh(f, r0).tokens()
			if again.RefreshToken != r1.RefreshToken || again.AccessToken == r1.AccessToken {
				t.Error("a retry after 5 s got another refresh token, or the same access token")
			}
			f.clock.advance(refreshGrace - 5*time.Second - time.Microsecond)
			if again := refresh(f, r0).tokens(); again.RefreshToken != r1.RefreshToken {
				t.Error("a retry within the grace period got another refresh token")
			}
			refresh(f, r1.RefreshToken).tokens()
			f.wantSilentLog(r0, r1.RefreshToken)
		})
		for _, late := range []time.Duration{refreshGrace, 60 * time.Second} {
			t.Run(name+", "+late.String()+" later", func(t *testing.T) {
				f := f.in(t)
				r0 := login().RefreshToken
				r1 := rotated(f, r0)
				f.clock.advance(late)
				dead(f, r0, r1.RefreshToken, r0)
				f.userinfo(r1.AccessToken).wantChallenge(401, `error="invalid_token"`)
				if !strings.Contains(f.log.String(), "refresh token reused") {
					t.Error("the log says nothing of the reuse")
				}
			})
		}
		t.Run(name+", successor used", func(t *testing.T) {
			f := f.in(t)
			r0 := login().RefreshToken
			r1 := rotated(f, r0)
			r2 := rotated(f, r1.RefreshToken)
			f.userinfo(r2.AccessToken).json(200)
			dead(f, r0, r1.RefreshToken, r2.RefreshToken)
			f.userinfo(r2.AccessToken).wantChallenge(401, `error="invalid_token"`)
		})
		t.Run(name+", another login lives on", func(t *testing.T) {
			f := f.in(t)
			one, two := login(), login()
			r1 := rotated(f, one.RefreshToken)
			f.clock.advance(time.Minute)
			dead(f, one.RefreshToken, r1.RefreshToken)
			refresh(f, two.RefreshToken).tokens()
		})
	}
}

// TestReuseByOthers: whoever is not the client cannot end a login with a
// token that has leaked.
func TestReuseByOthers(t *testing.T) {
	f := newFixture(t)
	r0 := f.login(ada).RefreshToken
	r1 := f.refresh(r0).tokens()
	f.clock.advance(time.Minute)
	f.post("/token", refreshForm(r0), basicAuth("web", "wrong")...).wantError(401, "invalid_client")
	f.post("/token", refreshForm(r0), basicAuth("rs", webSecret)...).wantError(400, "invalid_grant")
	f.post("/token", refreshForm(r0, "client_id", "pub")).wantError(400, "invalid_grant")
	f.wantInactive("rs", r0)
	f.wantInactive("web", r0) // spent; asking is no reuse
	f.wantAlive(r1)
	f.refresh(r1.RefreshToken).tokens()
}

// TestC32LostAnswer: (a) the client never saw the successor.
func TestC32LostAnswer(t *testing.T) {
	f := newFixture(t)
	r0 := f.login(ada).RefreshToken
	for range 3 { // each of the chain is lost once
		f.refresh(r0)
		f.clock.advance(20 * time.Second)
		r1 := f.refresh(r0).tokens().RefreshToken
		f.clock.advance(20 * time.Second)
		r0 = r1
	}
	f.refresh(r0).tokens()
}

// TestRefreshScope: scope may narrow, never widen (RFC 6749 section 6).
func TestRefreshScope(t *testing.T) {
	f := newFixture(t)
	refresh := f.login(ada, "scope", "openid email profile offline_access").RefreshToken
	const all = "openid profile email offline_access"
	for _, tt := range []struct {
		name, scope, granted, code string
		idToken                    bool
	}{
		{"none", "", all, "", true},
		{"narrower", "openid email", "openid email", "", true},
		{"as before", all, all, "", true},
		{"without openid", "email", "email", "", false},
		{"narrower does not last", "", all, "", true},
		{"another order", "email openid", "email openid", "", true},
		{"commas", "openid,email", "openid email", "", true},
		{"twice", "openid openid", "openid", "", true},
		{"wider", "openid groups", "", "invalid_scope", false},
		{"only what was not granted", "groups", "", "invalid_scope", false},
		{"unknown beside known", "openid made:up", "openid", "", true},
		{"unknown alone", "made:up", "", "invalid_scope", false},
		{"capitals", "OPENID", "", "invalid_scope", false},
		{"no scope token", `openid "x"`, "", "invalid_scope", false},
		{"300 and one", strings.Repeat("x y ", 600), "", "invalid_scope", false},
		{"none again", "", all, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			r := f.refresh(refresh, "scope", tt.scope)
			if tt.code != "" {
				r.wantError(400, tt.code)
				return
			}
			res := r.tokens()
			refresh = res.RefreshToken
			if res.Scope != tt.granted || claimsOf(t, res.AccessToken)["scope"] != tt.granted || (res.IDToken != "") != tt.idToken {
				t.Errorf("scope %q, ID token %t; want %q, %t", res.Scope, res.IDToken != "", tt.granted, tt.idToken)
			}
			if tt.idToken {
				_, has := claimsOf(t, res.IDToken)["name"]
				if want := strings.Contains(tt.granted, "profile"); has != want {
					t.Errorf("the ID token has the claim name: %t, want %t", has, want)
				}
			}
		})
	}
	// The same at the code, where nothing else may be asked for.
	code := f.code(ada, "scope", "openid email")
	f.redeem(code, "scope", "openid groups").wantError(400, "invalid_scope")
	f.redeem(code, "scope", "made:up").wantError(400, "invalid_scope")
	if res := f.redeem(code, "scope", "openid").tokens(); res.Scope != "openid" {
		t.Errorf("scope %q, want openid", res.Scope)
	}
}

// TestRefreshedIDToken: OpenID Connect Core section 12.2.
func TestRefreshedIDToken(t *testing.T) {
	f := newFixture(t)
	first := f.login(ada, "nonce", "N", "scope", "openid email")
	f.clock.advance(time.Hour)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.UserProfile.LoginName = "ada.new@example.com" }) // C26
	again := f.refresh(first.RefreshToken).tokens()
	was, is := claimsOf(t, first.IDToken), claimsOf(t, again.IDToken)
	for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
		if was[name] != is[name] {
			t.Errorf("%s was %v, is %v", name, was[name], is[name])
		}
	}
	if was["iat"].(float64)+3600 != is["iat"] || is["nonce"] != nil || is["email"] != "ada.new@example.com" || was["email"] != "ada@example.com" {
		t.Errorf("refreshed ID token %v", is)
	}
}

// TestC35Resources: (a) the policy drops a resource, and takes it back.
func TestC35Resources(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule(testResource, otherResource))
	one := f.login(ada, "resource", testResource)
	two := f.login(ada, "resource", testResource, "resource", otherResource)
	mixed := f.login(ada, "resource", testResource, "resource", testIssuer)
	codeOne, codeTwo := f.code(ada, "resource", testResource), f.code(ada, "resource", testResource, "resource", otherResource)

	f.allow(ada, resourceRule(otherResource))
	f.refresh(one.RefreshToken).wantError(400, "invalid_target")
	f.redeem(codeOne).wantError(400, "invalid_target")
	f.redeem(codeTwo).wantError(400, "invalid_target")
	for _, client := range []string{"web", "rs"} {
		f.wantInactive(client, one.AccessToken)
	}
	f.wantInactive("web", one.RefreshToken)
	two = f.refresh(two.RefreshToken).tokens()
	if got := audienceOf(t, two.AccessToken); got != otherResource {
		t.Errorf("two resources, one withdrawn: aud %v, want %s", got, otherResource)
	}
	f.refresh(two.RefreshToken, "resource", testResource).wantError(400, "invalid_target")
	mixed = f.refresh(mixed.RefreshToken).tokens()
	if got := audienceOf(t, mixed.AccessToken); got != testIssuer {
		t.Errorf("a resource and the issuer, the first withdrawn: aud %v, want %s", got, testIssuer)
	}

	f.allow(ada, resourceRule("*"))
	one = f.refresh(one.RefreshToken).tokens()
	if got := audienceOf(t, one.AccessToken); got != testResource {
		t.Errorf("back again: aud %v", got)
	}
	two = f.refresh(two.RefreshToken).tokens()
	if d := cmp.Diff(any([]any{testResource, otherResource}), audienceOf(t, two.AccessToken)); d != "" {
		t.Errorf("back again (-want +got):\n%s", d)
	}
	f.redeem(codeOne).tokens()
	f.redeem(codeTwo).tokens()
	if in := f.introspect("rs", one.AccessToken); in["active"] != true {
		t.Errorf("introspection by the resource server: %v", in)
	}
}

// TestC35Person: (b) who logged in is gone for a while: refused, not killed.
// Afterwards everything works as before, with the same code and tokens.
func TestC35Person(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fixture, *apitype.WhoIsResponse)
	}{
		{"node removed", nil},
		{"expired", func(_ *fixture, res *apitype.WhoIsResponse) { res.Node.Expired = true }},
		{"key expiry", func(f *fixture, res *apitype.WhoIsResponse) { res.Node.KeyExpiry = f.clock.now().Add(time.Second) }},
		{"client closed to them", func(f *fixture, _ *apitype.WhoIsResponse) {
			f.editClient("web", func(c *client) { c.Access = accessGranted })
		}},
		{"client disabled", func(f *fixture, _ *apitype.WhoIsResponse) {
			f.editClient("web", func(c *client) { c.Disabled = true })
		}},
		{"shared in", func(_ *fixture, res *apitype.WhoIsResponse) { res.Node.Sharer = 77 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			res, code := f.login(ada), f.code(ada)
			var before *apitype.WhoIsResponse
			f.tailnet.set(func(ft *fakeTailnet) { before = ft.peers[ada] })
			if tt.change == nil {
				f.tailnet.set(func(ft *fakeTailnet) { delete(ft.peers, ada) })
			} else {
				f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { tt.change(f, res) })
			}
			f.clock.advance(2 * time.Second)
			f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
			f.redeem(code).wantError(400, "invalid_grant")
			f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
			if !strings.HasPrefix(tt.name, "client") {
				f.wantInactive("web", res.AccessToken)
				f.wantInactive("web", res.RefreshToken)
			}

			f.tailnet.set(func(ft *fakeTailnet) { ft.peers[ada] = before })
			f.editClient("web", func(c *client) { c.Access, c.Disabled = accessTailnet, false })
			f.clock.advance(time.Second)
			f.wantAlive(res)
			f.refresh(res.RefreshToken).tokens()
			f.redeem(code).tokens()
		})
	}
}

// TestC35Moved: a grant belongs to one user on one node. When the address is
// somebody else's, it is dead for good, also when the address returns.
func TestC35Moved(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(res *apitype.WhoIsResponse)
	}{
		{"another node", func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHERCNTRL" }},
		{"another user", func(res *apitype.WhoIsResponse) { res.UserProfile.ID = 1077 }},
		{"tagged", func(res *apitype.WhoIsResponse) { res.Node.Tags = []string{"tag:x"} }},
	} {
		for name, notice := range map[string]func(*fixture, tokenResponse){
			"refresh":       func(f *fixture, res tokenResponse) { f.refresh(res.RefreshToken).wantError(400, "invalid_grant") },
			"userinfo":      func(f *fixture, res tokenResponse) { f.userinfo(res.AccessToken).wantChallenge(401, "invalid_token") },
			"introspection": func(f *fixture, res tokenResponse) { f.wantInactive("web", res.AccessToken) },
		} {
			t.Run(tt.name+", noticed by "+name, func(t *testing.T) {
				f := newFixture(t)
				res, other, code := f.login(ada), f.login(gus), f.code(ada)
				var before *apitype.WhoIsResponse
				f.tailnet.set(func(ft *fakeTailnet) { before = ft.peers[ada] })
				f.tailnet.edit(ada, tt.change)
				f.clock.advance(time.Second)
				f.redeem(code).wantError(400, "invalid_grant")
				notice(f, res)
				f.tailnet.set(func(ft *fakeTailnet) { ft.peers[ada] = before })
				f.clock.advance(time.Second)
				f.wantDead(res)
				f.wantAlive(other)
				f.wantAlive(f.login(ada))
			})
		}
	}
}

// TestC35CannotAsk: 503, and nothing is consumed.
func TestC35CannotAsk(t *testing.T) {
	for name, set := range map[string]func(*fakeTailnet){
		"WhoIs fails":     func(ft *fakeTailnet) { ft.err = errTest },
		"not logged in":   func(ft *fakeTailnet) { ft.state = "NeedsLogin" },
		"stopped":         func(ft *fakeTailnet) { ft.state = "Stopped" },
		"no state at all": func(ft *fakeTailnet) { ft.state = "" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			res, code, pub := f.login(ada), f.code(ada), f.loginPub(ada)
			f.tailnet.set(set)
			f.clock.advance(30 * time.Second)
			for range 2 {
				f.refresh(res.RefreshToken).wantUnavailable()
				f.redeem(code).wantUnavailable()
				f.userinfo(res.AccessToken).wantUnavailable()
				for _, token := range []string{res.AccessToken, res.RefreshToken} {
					f.post("/introspect", url.Values{"token": {token}}, basicAuth("web", webSecret)...).wantUnavailable()
				}
				f.authorize(ada).wantUnavailable()
				f.do(adm, "GET", "/api/v1/clients", "", "").wantUnavailable()
			}
			// What can be answered without the tailnet is.
			f.refresh(strings.Repeat("A", 43)).wantError(400, "invalid_grant")
			f.post("/token", codeForm(code), basicAuth("web", "wrong")...).wantError(401, "invalid_client")
			f.userinfo("x").wantChallenge(401, "invalid_token")
			for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/jwks.json", "/healthz"} {
				f.do(netip.Addr{}, "GET", path, "", "").json(200)
			}
			f.tailnet.set(func(ft *fakeTailnet) { ft.err, ft.state = nil, "Running" })
			f.wantAlive(res)
			f.redeem(code).tokens()
			f.refresh(res.RefreshToken).tokens()
			f.refreshPub(pub.RefreshToken).tokens()
		})
	}
}

// TestRevokedGrant: revocation, as by an administrator, ends all of a login,
// and codes that are on their way.
func TestRevokedGrant(t *testing.T) {
	f := newFixture(t)
	res, other, code := f.login(ada), f.login(gus), f.code(ada)
	f.clock.advance(time.Second)
	n, err := f.store.Revoke(t.Context(), store.Revocation{
		Select: store.Selector{Index: map[string]string{indexUser: "userid:1001", indexClient: "web"}},
		Reason: "administrator", Now: f.clock.now(), KeepFor: deadFor,
	})
	if err != nil || n != 1 {
		t.Fatalf("Revoke: %d, %v; want 1 grant", n, err)
	}
	f.wantDead(res)
	f.redeem(code).wantError(400, "invalid_grant")
	f.wantAlive(other)
	f.clock.advance(time.Second)
	f.wantAlive(f.login(ada))
}

// TestGrantKeepsNoRules: what the tailnet said at the login is of no use
// later; claims are those of today.
func TestGrantKeepsNoRules(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada, "scope", "openid groups")
	f.allow(ada, `{"groups":["ops","dev"]}`, `{"groups":["dev"]}`)
	groups := func(token string) []string {
		var list []string
		for _, g := range claimsOf(t, token)["groups"].([]any) {
			list = append(list, g.(string))
		}
		return list
	}
	res = f.refresh(res.RefreshToken).tokens()
	if got := groups(res.IDToken); !slices.Equal(got, []string{"dev", "ops"}) {
		t.Errorf("groups %v, want [dev ops]", got)
	}
	f.allow(ada)
	res = f.refresh(res.RefreshToken).tokens()
	if got := groups(res.IDToken); len(got) != 0 {
		t.Errorf("groups %v, want none", got)
	}
}
