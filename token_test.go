// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"
)

// otherResource is a second resource server.
const otherResource = "https://api.tail1234.ts.net/v1"

// noPKCE takes PKCE out of an authorization request.
var noPKCE = []string{"code_challenge", "", "code_challenge_method", ""}

// resourceRule is a rule that lets everybody obtain tokens for resources.
func resourceRule(resources ...string) string {
	b, err := json.Marshal(map[string]any{"users": []string{"*"}, "resources": resources})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// in returns f for a subtest.
func (f *fixture) in(t testing.TB) *fixture {
	g := *f
	g.t = t
	return &g
}

// allow replaces the rules of a peer and lets the time pass until they count.
func (f *fixture) allow(addr netip.Addr, rules ...string) {
	f.tailnet.edit(addr, func(res *apitype.WhoIsResponse) { setRules(res, rules...) })
	f.clock.advance(maxAnswerAge)
}

// deleteClient removes a client as an administrator does.
func (f *fixture) deleteClient(id string) {
	f.t.Helper()
	if r := f.do(adm, "DELETE", "/api/v1/clients/"+id, "", ""); r.status != http.StatusNoContent {
		f.t.Fatalf("deleting client %s: %d %s", id, r.status, r.body)
	}
}

// loginPub runs a whole login of client pub.
func (f *fixture) loginPub(as netip.Addr, change ...string) tokenResponse {
	f.t.Helper()
	return f.redeemPub(f.code(as, forPub(change...)...)).tokens()
}

// refreshPub rotates a refresh token of client pub.
func (f *fixture) refreshPub(token string, change ...string) *reply {
	f.t.Helper()
	return f.post("/token", edited(url.Values{"grant_type": {"refresh_token"}, "client_id": {"pub"}, "refresh_token": {token}}, change))
}

// codeForm is a token request for a code of client web, without credentials.
func codeForm(code string, change ...string) url.Values {
	return edited(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}, change)
}

func refreshForm(token string, change ...string) url.Values {
	return edited(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, change)
}

// postAll sends n forms at once.
func (f *fixture) postAll(n int, path string, form func(int) url.Values, header ...string) []*reply {
	f.t.Helper()
	replies, errs := make([]*reply, n), make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		req, err := http.NewRequest("POST", strings.Replace(testIssuer, "https", "http", 1)+path, strings.NewReader(form(i).Encode()))
		if err != nil {
			f.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for pair := range slices.Chunk(header, 2) {
			req.Header.Set(pair[0], pair[1])
		}
		wg.Go(func() {
			<-start
			res, err := f.client.Do(req)
			if err != nil {
				errs[i] = err
				return
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			replies[i], errs[i] = &reply{f.t, res.StatusCode, res.Header, string(body)}, err
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return replies
}

// wantAlive checks that a login works everywhere.
func (f *fixture) wantAlive(res tokenResponse) {
	f.t.Helper()
	if r := f.userinfo(res.AccessToken); r.status != 200 {
		f.t.Errorf("userinfo answers %d %s, want 200", r.status, r.body)
	}
	if in := f.introspect("web", res.AccessToken); in["active"] != true {
		f.t.Errorf("introspection answers %v, want an active token", in)
	}
}

// wantDead checks that nothing of a login of client web works any longer.
func (f *fixture) wantDead(res tokenResponse) {
	f.t.Helper()
	f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
	for _, token := range []string{res.AccessToken, res.RefreshToken} {
		f.wantInactive("web", token)
	}
	f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
}

// wantInactive checks that introspection says nothing but that.
func (f *fixture) wantInactive(client, token string) {
	f.t.Helper()
	r := f.post("/introspect", url.Values{"token": {token}}, basicAuth(client, webSecret)...)
	if r.status != 200 || r.body != `{"active":false}`+"\n" {
		f.t.Errorf("introspection by %s answers %d %s, want {\"active\":false} and no other member", client, r.status, r.body)
	}
}

// wantChallenge checks for a bearer challenge that contains part.
func (r *reply) wantChallenge(status int, part string) {
	r.t.Helper()
	c := r.header.Get("WWW-Authenticate")
	if r.status != status || !strings.HasPrefix(c, "Bearer ") || !strings.Contains(c, part) {
		r.t.Errorf("answer %d, WWW-Authenticate %q, %s; want %d with %q", r.status, c, r.body, status, part)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		r.t.Errorf("Content-Type %q, want application/json", ct)
	}
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		r.t.Errorf("Cache-Control %q, want no-store", cc)
	}
}

// wantUnavailable checks for "try again": 503, when, and no word of why.
func (r *reply) wantUnavailable() {
	r.t.Helper()
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		r.t.Errorf("answer %d, Retry-After %q, %s; want 503 with Retry-After", r.status, r.header.Get("Retry-After"), r.body)
	}
	if strings.Contains(r.body, errTest.Error()) {
		r.t.Errorf("the answer quotes the cause: %s", r.body)
	}
}

// wantSilentLog checks that none of these secrets are in the log.
func (f *fixture) wantSilentLog(secrets ...string) {
	f.t.Helper()
	log := f.log.String()
	for _, s := range secrets {
		if s != "" && strings.Contains(log, s) {
			f.t.Errorf("the log contains %q", s)
		}
	}
	if strings.Contains(log, "panic") {
		f.t.Error("there was a panic")
	}
}

// audienceOf returns the aud claim of a token as it stands there.
func audienceOf(t testing.TB, token string) any {
	t.Helper()
	return claimsOf(t, token)["aud"]
}

// TestTokenResponse: op-engine §8 item 6; RFC 6749 section 5.1.
func TestTokenResponse(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		name, scope, granted string
		idToken              bool
	}{
		{"openid", "openid", "openid", true},
		{"all", "openid profile email groups tailscale offline_access", "openid profile email groups tailscale offline_access", true},
		{"plain OAuth", "email profile", "profile email", false}, // the order of scopes means nothing
		{"unknown ones", "openid made:up email", "openid email", true},
		{"none asked", "", "openid profile email", true},
		{"commas", "email,openid,profile", "openid profile email", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			code := f.code(ada, "scope", tt.scope)
			r := f.redeem(code)
			want := []string{"access_token", "expires_in", "refresh_token", "scope", "token_type"}
			if tt.idToken {
				want = []string{"access_token", "expires_in", "id_token", "refresh_token", "scope", "token_type"}
			}
			m := r.json(200)
			var members []string
			for name := range m {
				members = append(members, name)
			}
			slices.Sort(members)
			if d := cmp.Diff(want, members); d != "" {
				t.Errorf("members (-want +got):\n%s", d)
			}
			if m["scope"] != tt.granted || m["token_type"] != "Bearer" || m["expires_in"] != 300.0 {
				t.Errorf("scope %q, token_type %v, expires_in %v; want %q, Bearer, 300", m["scope"], m["token_type"], m["expires_in"], tt.granted)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
				"Location": "", "Set-Cookie": "", "WWW-Authenticate": "", "Access-Control-Allow-Credentials": "",
			} {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if c := claimsOf(t, m["access_token"].(string)); c["scope"] != tt.granted {
				t.Errorf("access token has scope %q, want %q", c["scope"], tt.granted)
			}
			f.wantSilentLog(code, m["access_token"].(string), m["refresh_token"].(string), webSecret, testVerifier)
		})
	}
}

// TestAccessTokenRFC9068: section 2.2, the claims of access tokens.
func TestAccessTokenRFC9068(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada)
	f.clock.advance(7 * time.Second)
	now := float64(f.clock.now().Unix())
	again := f.refresh(res.RefreshToken).tokens()
	got := claimsOf(t, again.AccessToken)
	jti := got["jti"]
	delete(got, "jti")
	if d := cmp.Diff(map[string]any{
		"iss": testIssuer, "sub": "userid:1001", "aud": testIssuer, "client_id": "web", "scope": "openid",
		"exp": now + 300, "iat": now, "auth_time": now - 7, "acr": acrNode, "amr": []any{"pop"},
	}, got); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	if s, ok := jti.(string); !ok || s == "" {
		t.Errorf("jti is %v", jti)
	}
	h := headerOf(t, again.AccessToken)
	if h["typ"] != "at+jwt" || h["alg"] != "ES256" || !strings.Contains(f.do(ada, "GET", "/.well-known/jwks.json", "", "").body, fmt.Sprintf("%q", h["kid"])) {
		t.Errorf("header %v, want typ at+jwt, alg ES256 and a published kid", h)
	}
	// ID tokens are of another type (RFC 9068 section 4).
	if h := headerOf(t, again.IDToken); h["typ"] != "JWT" {
		t.Errorf("ID token header %v", h)
	}
}

// TestTokenID: "jti ... unique identifier" (RFC 7519 section 4.1.7), also
// within one grant and when answers are given twice.
func TestTokenID(t *testing.T) {
	f := newFixture(t)
	seen := make(map[any]bool)
	note := func(token string) {
		t.Helper()
		jti := claimsOf(t, token)["jti"]
		if seen[jti] {
			t.Errorf("jti %v comes twice", jti)
		}
		seen[jti] = true
	}
	for range 3 {
		res := f.login(ada)
		note(res.AccessToken)
		for range 2 {
			note(f.refresh(res.RefreshToken).tokens().AccessToken) // the second one is a retry
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d token ids, want 9", len(seen))
	}
}

// TestC21Audience: the ID token is for the client, the access token for the
// resources, before and after a refresh.
func TestC21Audience(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule(testResource, otherResource))
	for _, tt := range []struct {
		name      string
		resources []string
		want      any
	}{
		{"plain", nil, testIssuer},
		{"one", []string{testResource}, testResource},
		{"two", []string{testResource, otherResource}, []any{testResource, otherResource}},
		{"one, twice", []string{testResource, testResource}, testResource},
		{"with the issuer", []string{testResource, testIssuer}, []any{testResource, testIssuer}},
		{"the issuer alone", []string{testIssuer}, testIssuer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			var change []string
			for _, r := range tt.resources {
				change = append(change, "resource", r)
			}
			res := f.login(ada, change...)
			for range 2 {
				id := claimsOf(t, res.IDToken)
				if _, ok := id["azp"]; ok || id["aud"] != "web" {
					t.Errorf("ID token: aud %v, azp %v; want the text web and none", id["aud"], id["azp"])
				}
				if d := cmp.Diff(tt.want, audienceOf(t, res.AccessToken)); d != "" {
					t.Errorf("aud of the access token (-want +got):\n%s", d)
				}
				var list []string
				for _, aud := range f.introspect("web", res.AccessToken)["aud"].([]any) {
					list = append(list, aud.(string))
				}
				want, ok := tt.want.([]any)
				if !ok {
					want = []any{tt.want}
				}
				if fmt.Sprint(list) != fmt.Sprint(want) {
					t.Errorf("introspection: aud %v, want %v", list, want)
				}
				res = f.refresh(res.RefreshToken).tokens()
			}
		})
	}
}

// TestC07RedirectURI: the redirect URI of the token request, for a client
// with two of them.
func TestC07RedirectURI(t *testing.T) {
	const second = "http://127.0.0.1/oauth/callback"
	f := newFixture(t)
	f.editClient("pub", func(c *client) { c.RedirectURIs = append(c.RedirectURIs, second) })

	code := f.code(ada, forPub()...)
	for _, wrong := range []string{
		second, pubRedirect + "/", pubRedirect + "?", pubRedirect + "#", "http://127.0.0.1:80/callback", "http://localhost/callback",
		"HTTP://127.0.0.1/callback", "http://127.0.0.1/callback ", "x",
	} {
		r := f.redeemPub(code, "redirect_uri", wrong)
		r.wantError(400, "invalid_grant")
		if !strings.Contains(r.body, "redirect_uri") || strings.Contains(r.body, code) {
			t.Errorf("description %s, want one that names redirect_uri and echoes no code", r.body)
		}
	}
	f.redeemPub(code).tokens() // nothing of this has burned the code

	t.Run("left out", func(t *testing.T) {
		f := f.in(t)
		f.redeemPub(f.code(ada, forPub()...), "redirect_uri", "").tokens()
	})
	t.Run("left out without PKCE", func(t *testing.T) {
		f := f.in(t)
		code := f.code(ada, noPKCE...)
		f.redeem(code, "redirect_uri", "", "code_verifier", "").wantError(400, "invalid_grant")
		f.redeem(code, "code_verifier", "").tokens()
	})
	t.Run("loopback port", func(t *testing.T) { // C04: the very same port
		f := f.in(t)
		code := f.code(ada, "client_id", "pub", "redirect_uri", "http://127.0.0.1:51999/callback")
		f.redeemPub(code).wantError(400, "invalid_grant")
		f.redeemPub(code, "redirect_uri", "http://127.0.0.1:51998/callback").wantError(400, "invalid_grant")
		f.redeemPub(code, "redirect_uri", "http://127.0.0.1:51999/callback").tokens()
	})
}

// TestC13PKCE: op-engine §8 item 1; RFC 9700 section 4.8.2. None of it burns
// a code.
func TestC13PKCE(t *testing.T) {
	f := newFixture(t)
	t.Run("(a) verifier without challenge", func(t *testing.T) {
		f := f.in(t)
		code := f.code(ada, noPKCE...)
		f.redeem(code).wantError(400, "invalid_grant")
		f.redeem(code, "code_verifier", "").tokens()
	})
	for _, tt := range []struct {
		name, verifier string
	}{
		{"(b) none", ""},
		{"(g) 42 characters", testVerifier[:42]},
		{"(g) 129 characters", strings.Repeat("v", 129)},
		{"(g) é", "é" + testVerifier[2:]},
		{"another", "w" + testVerifier[1:]},
		{"longer", testVerifier + "v"},
		{"the challenge", oauth.ChallengeS256(testVerifier)},
		{"with a blank", testVerifier + " "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			code := f.code(ada)
			f.redeem(code, "code_verifier", tt.verifier).wantError(400, "invalid_grant")
			f.redeem(code).tokens()
			code = f.code(ada, forPub()...)
			f.redeemPub(code, "code_verifier", tt.verifier).wantError(400, "invalid_grant")
			f.redeemPub(code).tokens()
		})
	}
	// "(g)" with a challenge that fits: RFC 7636 section 4.1 bounds the
	// verifier itself.
	for _, verifier := range []string{testVerifier[:42], strings.Repeat("v", 129), testVerifier + "!"} {
		code := f.code(ada, "code_challenge", oauth.ChallengeS256(verifier))
		f.redeem(code, "code_verifier", verifier).wantError(400, "invalid_grant")
	}
	longest := strings.Repeat("v", 128)
	f.redeem(f.code(ada, "code_challenge", oauth.ChallengeS256(longest)), "code_verifier", longest).tokens()
}

// TestTokenPKCEAuto: a confidential client may do without PKCE until it has shown
// that it can.
func TestTokenPKCEAuto(t *testing.T) {
	f := newFixture(t)
	bare := func() *reply { return f.redeem(f.code(ada, noPKCE...), "code_verifier", "") }
	bare().tokens()

	// What proves nothing changes nothing: a request, a failed redemption.
	code := f.code(ada)
	bare().tokens()
	f.redeem(code, "code_verifier", strings.Repeat("x", 43)).wantError(400, "invalid_grant")
	f.post("/token", codeForm(code), basicAuth("web", "wrong")...).wantError(401, "invalid_client")
	bare().tokens()

	inFlight := f.code(ada, noPKCE...)
	f.redeem(code).tokens()
	f.authorize(ada, noPKCE...).redirectError("invalid_request")
	f.redeem(inFlight, "code_verifier", "").wantError(400, "invalid_grant")
	f.redeem(f.code(ada)).tokens()

	// The other client has not.
	rs := f.code(ada, append([]string{"client_id", "rs"}, noPKCE...)...)
	f.post("/token", codeForm(rs, "code_verifier", ""), basicAuth("rs", webSecret)...).tokens()

	f.editClient("rs", func(c *client) { c.PKCE = pkceRequired })
	f.authorize(ada, append([]string{"client_id", "rs"}, noPKCE...)...).redirectError("invalid_request")

	// A client that is removed and made again begins anew.
	f.deleteClient("web")
	f.clock.advance(time.Second)
	f.addClient("web", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	bare().tokens()
}

// TestC33CodeReplay: op-engine §8 item 19 as DESIGN.md decides it.
func TestC33CodeReplay(t *testing.T) {
	f := newFixture(t)
	t.Run("(a) 50 at once (b) 3 s later", func(t *testing.T) {
		f := f.in(t)
		code := f.code(ada)
		var res tokenResponse
		won := 0
		for _, r := range f.postAll(50, "/token", func(int) url.Values { return codeForm(code) }, basicAuth("web", webSecret)...) {
			if r.status == 200 {
				won++
				res = r.tokens()
				continue
			}
			r.wantError(400, "invalid_grant")
		}
		if won != 1 {
			t.Fatalf("%d of 50 succeeded, want 1", won)
		}
		f.wantAlive(res)
		f.clock.advance(doubleClick - time.Microsecond)
		f.redeem(code).wantError(400, "invalid_grant")
		f.wantAlive(res)
		f.clock.advance(time.Second)
		successor := f.refresh(res.RefreshToken).tokens()
		f.redeem(code).wantError(400, "invalid_grant")
		f.wantDead(res)
		f.wantDead(successor)
	})
	t.Run("(b) without refresh token", func(t *testing.T) {
		f := f.in(t)
		f.editClient("rs", func(c *client) { c.GrantTypes = []string{grantAuthorizationCode} })
		code := f.code(ada, "client_id", "rs")
		res := f.post("/token", codeForm(code), basicAuth("rs", webSecret)...).tokens()
		f.clock.advance(3 * time.Second)
		if r := f.userinfo(res.AccessToken); r.status != 200 {
			t.Errorf("userinfo %d", r.status)
		}
		f.post("/token", codeForm(code), basicAuth("rs", webSecret)...).wantError(400, "invalid_grant")
		f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
		f.wantInactive("rs", res.AccessToken)
	})
	for _, tt := range []struct {
		name   string
		status int
		code   string
		change []string
		auth   []string
	}{
		{"(c) another client", 400, "invalid_grant", nil, basicAuth("rs", webSecret)},
		{"(c) a public client", 400, "invalid_grant", []string{"client_id", "pub"}, nil},
		{"(d) wrong verifier", 400, "invalid_grant", []string{"code_verifier", strings.Repeat("x", 43)}, basicAuth("web", webSecret)},
		{"(d) no verifier", 400, "invalid_grant", []string{"code_verifier", ""}, basicAuth("web", webSecret)},
		{"another redirect URI", 400, "invalid_grant", []string{"redirect_uri", webRedirect + "2"}, basicAuth("web", webSecret)},
		{"wrong secret", 401, "invalid_client", nil, basicAuth("web", "wrong")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			code := f.code(ada)
			res := f.redeem(code).tokens()
			f.clock.advance(3 * time.Second)
			f.post("/token", codeForm(code, tt.change...), tt.auth...).wantError(tt.status, tt.code)
			f.wantAlive(res)
			f.refresh(res.RefreshToken).tokens()
		})
	}
	t.Run("(e) old", func(t *testing.T) {
		f := f.in(t)
		for age, ok := range map[time.Duration]bool{
			59 * time.Second: true, time.Minute: false, 61 * time.Second: false, 10 * time.Minute: false, -6 * time.Second: false,
		} {
			code := f.code(ada)
			f.clock.advance(age)
			if r := f.redeem(code); (r.status == 200) != ok {
				t.Errorf("a code that is %v old gets %d %s", age, r.status, r.body)
			} else if !ok {
				r.wantError(400, "invalid_grant")
			}
		}
	})
	t.Run("spent is spent after expiry", func(t *testing.T) {
		f := f.in(t)
		// The row that makes a code spent lives longer than the code, also
		// where the access token is short.
		f.editClient("rs", func(c *client) {
			c.GrantTypes, c.AccessTokenSeconds = []string{grantAuthorizationCode}, 1
		})
		code := f.code(ada, "client_id", "rs")
		f.post("/token", codeForm(code), basicAuth("rs", webSecret)...).tokens()
		f.clock.advance(59 * time.Second)
		if _, err := f.store.Expire(t.Context(), f.clock.now(), 1000); err != nil {
			t.Fatal(err)
		}
		f.post("/token", codeForm(code), basicAuth("rs", webSecret)...).wantError(400, "invalid_grant")
	})
}

// resourceRows are those of C59 for a login with testResource: what a token
// request asks for, and the aud it gets, or "" for invalid_target.
var resourceRows = []struct {
	name      string
	resources []string
	aud       string
}{
	{"(a) same", []string{testResource}, testResource},
	{"(b) slash", []string{testResource + "/"}, testResource + "/"},
	{"(c) capitals", []string{"HTTPS://MCP.Tail1234.ts.net/mcp"}, "HTTPS://MCP.Tail1234.ts.net/mcp"},
	{"(d) port", []string{"https://mcp.tail1234.ts.net:443/mcp"}, "https://mcp.tail1234.ts.net:443/mcp"},
	{"(e) origin", []string{"https://mcp.tail1234.ts.net"}, ""},
	{"(e) origin and slash", []string{"https://mcp.tail1234.ts.net/"}, ""},
	{"(f) deeper", []string{testResource + "/x"}, ""},
	{"(g) query", []string{testResource + "?x=1"}, ""},
	{"(h) fragment", []string{testResource + "#f"}, ""},
	{"(h) empty fragment", []string{testResource + "#"}, ""},
	{"(i) none", nil, testResource},
	{"(j) another", []string{otherResource}, ""},
	{"(j) the issuer", []string{testIssuer}, ""},
	{"(k) two", []string{testResource, otherResource}, ""},
	{"(l) empty", []string{""}, testResource},
	{"(l) empty and another", []string{"", otherResource}, ""},
	{"(m) escaped slash", []string{"https://mcp.tail1234.ts.net%2Fmcp"}, ""},
	{"(m) escaped letter", []string{"https://mcp.tail1234.ts.net/m%63p"}, ""},
	{"path in capitals", []string{"https://mcp.tail1234.ts.net/MCP"}, ""},
	{"two slashes", []string{testResource + "//"}, ""},
	{"http", []string{"http://mcp.tail1234.ts.net/mcp"}, ""},
	{"user", []string{"https://u@mcp.tail1234.ts.net/mcp"}, ""},
	{"relative", []string{"mcp"}, ""},
	{"star", []string{"*"}, ""},
	{"same, twice", []string{testResource, testResource}, testResource},
	{"21 of them", slices.Repeat([]string{testResource}, 21), ""},
}

// TestC59Token: resource at the token endpoint. The rules allow both
// resources throughout; the login was for one.
func TestC59Token(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule("*"))
	send := func(form url.Values, resources []string) *reply {
		body := form.Encode()
		for _, r := range resources {
			body += "&resource=" + url.QueryEscape(r)
		}
		return f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", body, basicAuth("web", webSecret)...)
	}
	refresh := f.login(ada, "resource", testResource).RefreshToken
	for _, tt := range resourceRows {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			code := f.code(ada, "resource", testResource)
			first, second := send(codeForm(code), tt.resources), send(refreshForm(refresh), tt.resources)
			if tt.aud == "" {
				first.wantError(400, "invalid_target")
				second.wantError(400, "invalid_target")
				f.redeem(code).tokens() // not burned
				refresh = f.refresh(refresh).tokens().RefreshToken
				return
			}
			if got := audienceOf(t, first.tokens().AccessToken); got != tt.aud {
				t.Errorf("code: aud %v, want %v", got, tt.aud)
			}
			if got := audienceOf(t, second.tokens().AccessToken); got != tt.aud {
				t.Errorf("refresh: aud %v, want %v", got, tt.aud)
			}
			refresh = second.tokens().RefreshToken
		})
	}
	t.Run("spelling of the authorization request", func(t *testing.T) {
		f := f.in(t)
		const odd = "https://MCP.tail1234.ts.net:443/mcp/"
		res := f.login(ada, "resource", odd)
		for range 2 {
			if got := audienceOf(t, res.AccessToken); got != odd {
				t.Errorf("aud %v, want %v", got, odd)
			}
			res = f.refresh(res.RefreshToken).tokens()
		}
	})
	t.Run("a login without resource gets none later", func(t *testing.T) {
		f := f.in(t)
		res := f.login(ada)
		f.refresh(res.RefreshToken, "resource", testResource).wantError(400, "invalid_target")
		f.redeem(f.code(ada), "resource", testResource).wantError(400, "invalid_target")
	})
	t.Run("narrow, never widen", func(t *testing.T) {
		f := f.in(t)
		both := []any{testResource, otherResource}
		res := f.redeem(f.code(ada, "resource", testResource, "resource", otherResource), "resource", otherResource).tokens()
		if got := audienceOf(t, res.AccessToken); got != otherResource {
			t.Errorf("narrowed at the code: aud %v", got)
		}
		res = f.refresh(res.RefreshToken).tokens()
		if d := cmp.Diff(any(both), audienceOf(t, res.AccessToken)); d != "" {
			t.Errorf("after that (-want +got):\n%s", d)
		}
		res = f.refresh(res.RefreshToken, "resource", testResource).tokens()
		if got := audienceOf(t, res.AccessToken); got != testResource {
			t.Errorf("narrowed at the refresh: aud %v", got)
		}
		f.refresh(res.RefreshToken, "resource", testResource, "resource", "https://third.example/").wantError(400, "invalid_target")
		res = f.refresh(res.RefreshToken).tokens()
		if d := cmp.Diff(any(both), audienceOf(t, res.AccessToken)); d != "" {
			t.Errorf("after the narrowed refresh (-want +got):\n%s", d)
		}
	})
}

// TestTokenGrantType: the parameter, and what the client is registered for.
func TestTokenGrantType(t *testing.T) {
	f := newFixture(t)
	f.addClient("once", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, GrantTypes: []string{grantAuthorizationCode}})
	f.addClient("machine", webSecret, admin.ClientMetadata{GrantTypes: []string{grantRefreshToken}})
	code := f.code(ada)
	refresh := f.login(ada).RefreshToken
	both := "&code=" + code + "&redirect_uri=" + url.QueryEscape(webRedirect) + "&code_verifier=" + testVerifier + "&refresh_token=" + refresh
	for _, tt := range []struct {
		name, grantType, client, code string
	}{
		{"missing", "", "web", "invalid_request"},
		{"empty", "grant_type=", "web", "invalid_request"},
		{"unknown", "grant_type=password", "web", "unsupported_grant_type"},
		{"jwt-bearer", "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer", "web", "unsupported_grant_type"}, // §8 item 13
		{"token exchange", "grant_type=urn:ietf:params:oauth:grant-type:token-exchange", "web", "unsupported_grant_type"},
		{"client_credentials", "grant_type=client_credentials", "web", "unauthorized_client"},
		{"capitals", "grant_type=Authorization_Code", "web", "unsupported_grant_type"},
		{"markup", "grant_type=%3Cscript%3E", "web", "unsupported_grant_type"},
		{"twice", "grant_type=authorization_code&grant_type=authorization_code", "web", "invalid_request"},
		{"two", "grant_type=authorization_code&grant_type=refresh_token", "web", "invalid_request"},
		{"not registered", "grant_type=refresh_token", "once", "unauthorized_client"},
		{"not registered either", "grant_type=authorization_code", "machine", "unauthorized_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			r := f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", tt.grantType+both, basicAuth(tt.client, webSecret)...)
			r.wantError(400, tt.code)
			if strings.Contains(r.body, "<script") {
				t.Errorf("the answer echoes the grant type: %s", r.body)
			}
		})
	}
	for _, name := range []string{"code", "refresh_token"} {
		grantType := map[string]string{"code": "authorization_code", "refresh_token": "refresh_token"}[name]
		f.post("/token", url.Values{"grant_type": {grantType}, "redirect_uri": {webRedirect}}, basicAuth("web", webSecret)...).wantError(400, "invalid_request")
		for _, rubbish := range []string{"x", "é", strings.Repeat("A", 43), strings.Repeat("A", 1500), "a.b.c", "../../x"} {
			f.post("/token", url.Values{"grant_type": {grantType}, "redirect_uri": {webRedirect}, name: {rubbish}}, basicAuth("web", webSecret)...).wantError(400, "invalid_grant")
		}
	}
	f.redeem(code).tokens()
	f.refresh(refresh).tokens()
}

// TestTokenHTTP: op-engine §8 items 5, 8, 12 and 15. A code and a client that
// are good make sure that the form of the request alone is refused.
func TestTokenHTTP(t *testing.T) {
	f := newFixture(t)
	const form = "application/x-www-form-urlencoded"
	code := f.code(ada)
	good := codeForm(code).Encode()
	for _, tt := range []struct {
		name, method, path, contentType, body string
		status                                int
		code                                  string
	}{
		{"GET", "GET", "/token?" + good, "", "", 405, "method_not_allowed"},
		{"HEAD", "HEAD", "/token", "", "", 405, ""},
		{"PUT", "PUT", "/token", form, good, 405, "method_not_allowed"},
		{"query too", "POST", "/token?x=1", form, good, 400, "invalid_request"},
		{"query only", "POST", "/token?" + good, form, "", 400, "invalid_request"},
		{"empty query", "POST", "/token?", form, good, 400, "invalid_request"},
		{"slash", "POST", "/token/", form, good, 404, "not_found"},
		{"JSON", "POST", "/token", "application/json", `{"grant_type":"authorization_code"}`, 400, "invalid_request"},
		{"multipart", "POST", "/token", "multipart/form-data; boundary=x", "--x--", 400, "invalid_request"},
		{"no type", "POST", "/token", "", good, 400, "invalid_request"},
		{"64 KiB and 1", "POST", "/token", form, good + "&x=" + strings.Repeat("x", maxBody-len(good)-2), 413, "request_too_large"},
		{"%zz", "POST", "/token", form, good + "&x=%zz", 400, "invalid_request"},
		{"semicolon", "POST", "/token", form, good + ";x=1", 400, "invalid_request"},
		{"invalid UTF-8", "POST", "/token", form, good + "&x=%E4", 400, "invalid_request"},
		{"NUL", "POST", "/token", form, good + "&x=%00", 400, "invalid_request"},
		{"code twice", "POST", "/token", form, good + "&code=" + code, 400, "invalid_request"},
		{"redirect_uri twice", "POST", "/token", form, good + "&redirect_uri=x", 400, "invalid_request"},
		{"scope twice", "POST", "/token", form, good + "&scope=openid&scope=openid", 400, "invalid_request"},
		{"unknown parameter twice", "POST", "/token", form, good + "&x=1&x=2", 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			r := f.do(netip.Addr{}, tt.method, tt.path, tt.contentType, tt.body, basicAuth("web", webSecret)...)
			if tt.code == "" {
				if r.status != tt.status {
					t.Errorf("status %d, want %d", r.status, tt.status)
				}
				return
			}
			r.wantError(tt.status, tt.code)
			if allow := r.header.Get("Allow"); (allow == "POST") != (tt.status == 405) {
				t.Errorf("status %d, Allow %q", tt.status, allow)
			}
		})
	}
	// A page of another origin may: what counts are the client's credentials.
	f.do(netip.Addr{}, "POST", "/token", form+"; charset=UTF-8", good+"&x="+strings.Repeat("x", maxBody-len(good)-3), append(basicAuth("web", webSecret),
		"Origin", "https://spa.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Host", "anything.example")...).tokens()
}

// TestNoRefreshToken: clients without the grant type get none, whatever they
// ask for.
func TestNoRefreshToken(t *testing.T) {
	f := newFixture(t)
	f.addClient("once", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, GrantTypes: []string{grantAuthorizationCode}})
	for _, scope := range []string{"openid", "openid offline_access", "offline_access"} {
		code := f.code(ada, "client_id", "once", "scope", scope, "prompt", "consent")
		m := f.post("/token", codeForm(code), basicAuth("once", webSecret)...).json(200)
		if _, ok := m["refresh_token"]; ok {
			t.Errorf("scope %q: there is a refresh token", scope)
		}
	}
	// The grant type may go later: then its tokens rest.
	res := f.login(ada)
	f.editClient("web", func(c *client) { c.GrantTypes = []string{grantAuthorizationCode} })
	f.refresh(res.RefreshToken).wantError(400, "unauthorized_client")
	if again := f.login(ada); again.RefreshToken != "" {
		t.Error("a refresh token for a client that may not refresh")
	}
	f.editClient("web", func(c *client) { c.GrantTypes = supportedGrantTypes })
	f.refresh(res.RefreshToken).tokens()
}

// TestTokenLifetimes: the defaults, the provider's and the client's own.
func TestTokenLifetimes(t *testing.T) {
	span := func(t *testing.T, token string) time.Duration {
		c := claimsOf(t, token)
		return time.Duration(c["exp"].(float64)-c["iat"].(float64)) * time.Second
	}
	check := func(t *testing.T, res tokenResponse, access, id time.Duration) {
		t.Helper()
		if res.ExpiresIn != int64(access.Seconds()) || span(t, res.AccessToken) != access || span(t, res.IDToken) != id {
			t.Errorf("expires_in %d, access token %v, ID token %v; want %v and %v", res.ExpiresIn, span(t, res.AccessToken), span(t, res.IDToken), access, id)
		}
	}
	t.Run("defaults", func(t *testing.T) {
		f := newFixture(t)
		res := f.login(ada)
		check(t, res, 5*time.Minute, time.Hour)
		f.clock.advance(30*24*time.Hour - time.Second)
		res = f.refresh(res.RefreshToken).tokens()
		check(t, res, 5*time.Minute, time.Hour)
		f.clock.advance(30 * 24 * time.Hour)
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")

		res = f.login(ada)
		for range 17 {
			f.clock.advance(21 * 24 * time.Hour)
			res = f.refresh(res.RefreshToken).tokens()
		}
		f.clock.advance(8*24*time.Hour - time.Second) // 365 days and no more
		res = f.refresh(res.RefreshToken).tokens()
		f.clock.advance(time.Second)
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
	})
	t.Run("provider and client", func(t *testing.T) {
		f := newFixture(t, func(c *Config) {
			c.Lifetimes = &Lifetimes{Code: 10 * time.Second, AccessToken: 2 * time.Minute, IDToken: 3 * time.Minute, RefreshIdle: time.Hour, RefreshTotal: 2 * time.Hour}
		})
		check(t, f.login(ada), 2*time.Minute, 3*time.Minute)
		code := f.code(ada)
		f.clock.advance(10 * time.Second)
		f.redeem(code).wantError(400, "invalid_grant")

		f.editClient("web", func(c *client) {
			c.AccessTokenSeconds, c.IDTokenSeconds, c.RefreshIdleSeconds, c.RefreshTotalSeconds = 60, 7200, 100, 250
		})
		res := f.login(ada)
		check(t, res, time.Minute, 2*time.Hour)
		f.clock.advance(100 * time.Second)
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")

		res = f.login(ada)
		for _, after := range []time.Duration{99 * time.Second, 99 * time.Second, 51 * time.Second} {
			f.clock.advance(after)
			res = f.refresh(res.RefreshToken).tokens()
			check(t, res, time.Minute, 2*time.Hour)
		}
		f.clock.advance(time.Second)
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
	})
	t.Run("an access token may outlive the login", func(t *testing.T) {
		// The grant is kept as long as something of it is valid.
		f := newFixture(t)
		f.editClient("web", func(c *client) { c.RefreshIdleSeconds, c.RefreshTotalSeconds = 60, 60 })
		res := f.login(ada)
		f.clock.advance(40 * time.Second)
		res = f.refresh(res.RefreshToken).tokens()
		f.clock.advance(299 * time.Second)
		f.wantAlive(res)
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
		f.clock.advance(time.Second + clockSkew)
		f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
	})
}

// TestLeanLogin: the claims of scopes are left to userinfo.
func TestLeanLogin(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) { c.LeanIDToken = true })
	res := f.login(ada, "scope", "openid profile email groups tailscale", "nonce", "N")
	for range 2 {
		var names []string
		for name := range claimsOf(t, res.IDToken) {
			if name != "nonce" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if d := cmp.Diff([]string{"acr", "amr", "at_hash", "aud", "auth_time", "exp", "iat", "iss", "jti", "sub"}, names); d != "" {
			t.Errorf("claims (-want +got):\n%s", d)
		}
		info := f.userinfo(res.AccessToken).json(200)
		for _, name := range []string{"email", "email_verified", "name", "preferred_username", "picture", "groups", "node", "uid"} {
			if info[name] == nil {
				t.Errorf("userinfo lacks %s: %v", name, info)
			}
		}
		res = f.refresh(res.RefreshToken).tokens()
	}
}

// jwksURL is where the fixture's server has the keys.
const jwksURL = "http://idp.tail1234.ts.net/.well-known/jwks.json"

// verifyIDToken checks an ID token as a relying party does.
func (f *fixture) verifyIDToken(client, alg string, res tokenResponse) {
	f.t.Helper()
	ctx := oidc.ClientContext(context.Background(), f.client)
	v := oidc.NewVerifier(testIssuer, oidc.NewRemoteKeySet(ctx, jwksURL), &oidc.Config{ClientID: client, SupportedSigningAlgs: []string{alg}, Now: f.clock.now})
	id, err := v.Verify(ctx, res.IDToken)
	if err != nil {
		f.t.Errorf("verifying %s ID token: %v", alg, err)
		return
	}
	if err := id.VerifyAccessToken(res.AccessToken); err != nil {
		f.t.Errorf("at_hash of %s ID token: %v", alg, err)
	}
}

// keysOf reads the key set with go-jose.
func (f *fixture) keysOf() *jose.JSONWebKeySet {
	f.t.Helper()
	r := f.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", "")
	r.json(200)
	set := new(jose.JSONWebKeySet)
	if err := json.Unmarshal([]byte(r.body), set); err != nil {
		f.t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || k.Use != "sig" || k.KeyID == "" || k.Algorithm == "" {
			f.t.Errorf("key %q: public %t, use %q, alg %q", k.KeyID, k.IsPublic(), k.Use, k.Algorithm)
		}
	}
	return set
}

// TestIDTokenAlgorithms: op-engine §8 item 18.
func TestIDTokenAlgorithms(t *testing.T) {
	f := newFixture(t)
	for _, alg := range []string{jwt.RS256, jwt.ES256, jwt.EdDSA} {
		t.Run(alg, func(t *testing.T) {
			f := f.in(t)
			f.editClient("web", func(c *client) { c.IDTokenAlg = alg })
			res := f.login(ada, "nonce", "N")
			for range 2 {
				f.verifyIDToken("web", alg, res)
				kid := headerOf(t, res.IDToken)["kid"].(string)
				if keys := f.keysOf().Key(kid); len(keys) != 1 || keys[0].Algorithm != alg {
					t.Errorf("%d keys of id %s", len(keys), kid)
				}
				sig, err := jose.ParseSignedCompact(res.IDToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := sig.Verify(f.keysOf().Key(kid)[0]); err != nil {
					t.Error(err)
				}
				if got := headerOf(t, res.AccessToken)["alg"]; got != jwt.ES256 {
					t.Errorf("access token is signed with %v, want ES256", got)
				}
				f.wantAlive(res)
				res = f.refresh(res.RefreshToken).tokens()
			}
		})
	}
	if algs, err := f.p.storage.SignatureAlgorithms(t.Context()); err != nil || len(algs) != 3 {
		t.Errorf("SignatureAlgorithms: %v, %v", algs, err)
	}
}

// TestEdDSAKeyOnDemand: the key is made when first asked for, once, also when
// many ask at once, and stays.
func TestEdDSAKeyOnDemand(t *testing.T) {
	f := newFixture(t)
	count := func(set *jose.JSONWebKeySet) (all, ed int) {
		for _, k := range set.Keys {
			if k.Algorithm == jwt.EdDSA {
				ed++
			}
		}
		return len(set.Keys), ed
	}
	before := f.keysOf()
	if all, ed := count(before); all != 2 || ed != 0 {
		t.Fatalf("at first %d keys, %d of them EdDSA; want 2 and 0", all, ed)
	}
	f.editClient("web", func(c *client) { c.IDTokenAlg = jwt.EdDSA })
	codes := make([]string, 20)
	for i := range codes {
		codes[i] = f.code(ada)
	}
	kids := make(map[any]bool)
	for _, r := range f.postAll(20, "/token", func(i int) url.Values { return codeForm(codes[i]) }, basicAuth("web", webSecret)...) {
		res := r.tokens()
		kids[headerOf(t, res.IDToken)["kid"]] = true
		f.verifyIDToken("web", jwt.EdDSA, res)
	}
	after := f.keysOf()
	if all, ed := count(after); all != 3 || ed != 1 || len(kids) != 1 {
		t.Errorf("after 20 requests %d keys, %d of them EdDSA, %d used; want 3, 1 and 1", all, ed, len(kids))
	}
	for _, k := range before.Keys {
		if len(after.Key(k.KeyID)) != 1 {
			t.Errorf("key %s has gone", k.KeyID)
		}
	}
	// The next process has the same keys.
	g := newFixture(t, func(c *Config) { c.Store = &reopened{f.store}; c.Now = f.clock.now })
	if d := cmp.Diff(f.do(ada, "GET", "/.well-known/jwks.json", "", "").body, g.do(ada, "GET", "/.well-known/jwks.json", "", "").body); d != "" {
		t.Errorf("keys after a restart (-before +after):\n%s", d)
	}
}

// reopened is a store for a second fixture, whose clients are there already.
type reopened struct{ store.Store }

func (s *reopened) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if v, err := s.Store.Put(ctx, r, now); err == nil || r.Kind != kindClient {
		return v, err
	}
	return 1, nil
}

// TestTwoProvidersShareNothing: op-engine §8 item 16. What one has handed out is nothing
// at another, also under the same issuer with the same client ids and
// secrets.
func TestTwoProvidersShareNothing(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Store = memory.New() })
	f.addClient("first", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	f.addClient("eddsa", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, IDTokenAlg: jwt.EdDSA})
	for _, tt := range []struct {
		name      string
		configure func(*Config)
	}{
		{"same issuer", func(c *Config) { c.Store = memory.New() }},
		{"another issuer", func(c *Config) {
			c.Store, c.Issuer, c.Hosts = memory.New(), "https://other.tail1234.ts.net", []string{"idp.tail1234.ts.net"}
		}},
		{"another path", func(c *Config) {
			c.Store, c.Issuer, c.Hosts = memory.New(), testIssuer+"/b", []string{"idp.tail1234.ts.net"}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			g := newFixture(t, tt.configure)
			prefix := g.p.path
			res, code := f.login(ada), f.code(ada)
			g.post(prefix+"/token", codeForm(code), basicAuth("web", webSecret)...).wantError(400, "invalid_grant")
			g.post(prefix+"/token", refreshForm(res.RefreshToken), basicAuth("web", webSecret)...).wantError(400, "invalid_grant")
			g.post(prefix+"/token", codeForm(code), basicAuth("first", webSecret)...).wantError(401, "invalid_client")
			for _, token := range []string{res.AccessToken, res.RefreshToken, res.IDToken} {
				if r := g.post(prefix+"/introspect", url.Values{"token": {token}}, basicAuth("web", webSecret)...); r.body != `{"active":false}`+"\n" {
					t.Errorf("introspection answers %d %s", r.status, r.body)
				}
				g.do(netip.Addr{}, "GET", prefix+"/userinfo", "", "", "Authorization", "Bearer "+token).wantChallenge(401, `error="invalid_token"`)
			}
			for _, k := range f.keysOf().Keys {
				if strings.Contains(g.do(ada, "GET", prefix+"/.well-known/jwks.json", "", "").body, k.KeyID) {
					t.Error("they share a key")
				}
			}
			// That client web used PKCE at one says nothing at the other.
			bare := authorizeQuery(noPKCE...).Encode()
			if got := g.do(ada, "GET", prefix+"/authorize?"+bare, "", "").redirect(); got.Get("code") == "" {
				t.Errorf("a login without PKCE is answered with %v", got)
			}
			// A key made on demand at one is not at the other.
			f.post("/token", codeForm(f.code(ada, "client_id", "eddsa")), basicAuth("eddsa", webSecret)...).tokens()
			if strings.Contains(g.do(ada, "GET", prefix+"/.well-known/jwks.json", "", "").body, jwt.EdDSA) {
				t.Error("the EdDSA key is at both")
			}
			// Nothing of this has cost anything.
			f.redeem(code).tokens()
			f.refresh(res.RefreshToken).tokens()
			f.wantAlive(res)
		})
	}
}

// TestSubjectEverywhere: op-engine §8 item 14; sub is one and the same everywhere.
func TestSubjectEverywhere(t *testing.T) {
	f := newFixture(t)
	for _, id := range []tailcfg.UserID{1, 1001, math.MaxInt64} {
		f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.UserProfile.ID, res.Node.User = id, id })
		f.clock.advance(time.Second)
		want := fmt.Sprintf("userid:%d", int64(id))
		res := f.login(ada, "scope", "openid tailscale")
		for range 2 {
			for name, got := range map[string]any{
				"ID token": claimsOf(t, res.IDToken)["sub"], "access token": claimsOf(t, res.AccessToken)["sub"],
				"userinfo": f.userinfo(res.AccessToken).json(200)["sub"], "introspection": f.introspect("web", res.AccessToken)["sub"],
				"introspection of the refresh token": f.introspect("web", res.RefreshToken)["sub"],
			} {
				if got != want {
					t.Errorf("%s: sub %v, want %s", name, got, want)
				}
			}
			if body := f.userinfo(res.AccessToken).body; !strings.Contains(body, fmt.Sprintf(`"uid":%d`, int64(id))) {
				t.Errorf("uid is not exact in %s", body)
			}
			res = f.refresh(res.RefreshToken).tokens()
		}
	}
}

// TestNonceRoundTrip: what was sent comes back, byte by byte, and only then.
func TestNonceRoundTrip(t *testing.T) {
	f := newFixture(t)
	for _, nonce := range []string{"", "N", `a b+c%20"<>\`, "é…☃", strings.Repeat("n", 200), "\n\t"} {
		res := f.login(ada, "nonce", nonce)
		got, ok := claimsOf(t, res.IDToken)["nonce"]
		if ok != (nonce != "") || ok && got != nonce {
			t.Errorf("nonce %q came back as %v", nonce, got)
		}
		if _, ok := claimsOf(t, res.AccessToken)["nonce"]; ok {
			t.Error("the access token has a nonce")
		}
	}
}

// TestStorageRoundTrip: whatever is in an authorization survives the code,
// the grant and the rotation.
func TestStorageRoundTrip(t *testing.T) {
	f := newFixture(t)
	s, ctx := f.p.storage, t.Context()
	const odd = "a:\x00\"é|\\ \xff\n%"
	in := &codeRequest{
		authorization: authorization{
			grantID: newID(), clientID: "web", subject: "node:" + odd, node: odd, addr: netip.MustParseAddr("fd7a:115c:a1e0::1"),
			scopes: []string{scopeEmail, scopeOpenID}, resources: []string{testResource, "urn:x:" + "y"}, authTime: f.clock.now().Add(-time.Hour),
		},
		issuedAt: f.clock.now(), nonce: odd,
	}
	code, err := s.sealCode(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.AuthRequestByCode(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	if out.GetSubject() != in.subject || out.GetNonce() != odd || !slices.Equal(out.GetAudience(), in.resources) {
		t.Errorf("code: %+v", out)
	}
	c := out.(*codeRequest)
	c.life = f.p.life
	id, refresh, _, err := s.CreateAccessAndRefreshTokens(ctx, c, "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.TokenRequestByRefreshToken(ctx, refresh)
	if err != nil {
		t.Fatal(err)
	}
	// JSON, in which grants are kept, has no text that is not UTF-8; sub and
	// node are indexes, which are bytes.
	if r.GetSubject() != in.subject || r.GetClientID() != "web" || !r.GetAuthTime().Equal(in.authTime) || !slices.Equal(r.GetAudience(), in.resources) {
		t.Errorf("refresh token: %+v", r)
	}
	if rr := r.(*refreshRequest); rr.node != in.node || rr.addr != in.addr || len(rr.scopes) != 2 {
		t.Errorf("refresh token: %+v", rr)
	}
	if err := s.RevokeToken(ctx, id, "", "web"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.refreshToken(ctx, refresh); err != nil || !r.dead {
		t.Errorf("after RevokeToken: %+v, %v; want a dead one", r, err)
	}
	if err := s.RevokeToken(ctx, "x", "", "web"); err == nil {
		t.Error("RevokeToken takes an id that is none")
	}
}

// TestStorageRefuses: what no route reaches must not work by accident.
func TestStorageRefuses(t *testing.T) {
	f := newFixture(t)
	s, ctx := f.p.storage, t.Context()
	for name, call := range map[string]func() error{
		"CreateAuthRequest":           func() error { _, err := s.CreateAuthRequest(ctx, nil, ""); return err },
		"AuthRequestByID":             func() error { _, err := s.AuthRequestByID(ctx, "x"); return err },
		"SaveAuthCode":                func() error { return s.SaveAuthCode(ctx, "x", "x") },
		"DeleteAuthRequest":           func() error { return s.DeleteAuthRequest(ctx, "x") },
		"TerminateSession":            func() error { return s.TerminateSession(ctx, "x", "x") },
		"GetRefreshTokenInfo":         func() error { _, _, err := s.GetRefreshTokenInfo(ctx, "x", "x"); return err },
		"SetUserinfoFromScopes":       func() error { return s.SetUserinfoFromScopes(ctx, nil, "x", "x", nil) },
		"SetUserinfoFromToken":        func() error { return s.SetUserinfoFromToken(ctx, nil, "x", "x", "") },
		"SetIntrospectionFromToken":   func() error { return s.SetIntrospectionFromToken(ctx, nil, "x", "x", "") },
		"GetPrivateClaimsFromScopes":  func() error { _, err := s.GetPrivateClaimsFromScopes(ctx, "x", "x", nil); return err },
		"GetKeyByIDAndClientID":       func() error { _, err := s.GetKeyByIDAndClientID(ctx, "x", "x"); return err },
		"ValidateJWTProfileScopes":    func() error { _, err := s.ValidateJWTProfileScopes(ctx, "x", nil); return err },
		"SigningKey":                  func() error { _, err := s.SigningKey(ctx); return err },
		"CreateAccessToken of nobody": func() error { _, _, err := s.CreateAccessToken(ctx, nil); return err },
		"rotation of nothing":         func() error { _, _, _, err := s.CreateAccessAndRefreshTokens(ctx, nil, "x"); return err },
		"GetClientByClientID":         func() error { _, err := s.GetClientByClientID(ctx, "nobody"); return err },
		"wrong secret":                func() error { return s.AuthorizeClientIDSecret(ctx, "web", "wrong") },
		"no secret":                   func() error { return s.AuthorizeClientIDSecret(ctx, "web", "") },
		"secret of nobody":            func() error { return s.AuthorizeClientIDSecret(ctx, "nobody", webSecret) },
	} {
		if err := call(); err == nil {
			t.Errorf("%s succeeds", name)
		}
	}
	if err := s.AuthorizeClientIDSecret(ctx, "web", webSecret); err != nil {
		t.Error(err)
	}
}

// TestMetadataIsTrue: op-engine §8 item 17. What the document lists works
// here, and what works is listed.
func TestMetadataIsTrue(t *testing.T) {
	f := newFixture(t)
	m := f.do(netip.Addr{}, "GET", "/.well-known/openid-configuration", "", "").json(200)
	list := func(name string) (texts []string) {
		for _, v := range m[name].([]any) {
			texts = append(texts, v.(string))
		}
		return texts
	}
	for _, grantType := range []string{
		"authorization_code", "refresh_token", "client_credentials", "password", "implicit",
		"urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:device_code",
	} {
		code := f.post("/token", url.Values{"grant_type": {grantType}}, basicAuth("web", webSecret)...).json(400)["error"]
		if listed := slices.Contains(list("grant_types_supported"), grantType); listed == (code == "unsupported_grant_type") {
			t.Errorf("grant type %s: listed %t, answered with %v", grantType, listed, code)
		}
	}
	key := newClientKey(t, "ES256", "1")
	f.addKeyClient("signer", jwksOf(t, key))
	auth := map[string]func(form url.Values) []string{
		authPrivateKeyJWT: func(form url.Values) []string {
			maps.Copy(form, assertionForm(f.assert(key, "signer")))
			return nil
		},
		authNone:  func(form url.Values) []string { form.Set("client_id", "pub"); return nil },
		authBasic: func(url.Values) []string { return basicAuth("web", webSecret) },
		authPost: func(form url.Values) []string {
			form.Set("client_id", "web")
			form.Set("client_secret", webSecret)
			return nil
		},
	}
	for path, name := range map[string]string{"/token": "token_endpoint_auth_methods_supported", "/introspect": "introspection_endpoint_auth_methods_supported", "/revoke": "revocation_endpoint_auth_methods_supported"} {
		for method, credentials := range auth {
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "token": {"x"}}
			works := f.post(path, form, credentials(form)...).status != 401
			if works != slices.Contains(list(name), method) {
				t.Errorf("%s by %s: works %t, %s is %v", path, method, works, name, list(name))
			}
		}
		if len(list(name)) > len(auth) {
			t.Errorf("%s lists what this test does not know: %v", name, list(name))
		}
	}
	for _, alg := range list("id_token_signing_alg_values_supported") {
		f.editClient("web", func(c *client) { c.IDTokenAlg = alg })
		f.verifyIDToken("web", alg, f.login(ada))
	}
	if got := f.login(ada, "scope", strings.Join(list("scopes_supported"), " ")).Scope; len(strings.Fields(got)) != len(list("scopes_supported")) {
		t.Errorf("of scopes %v granted %s", list("scopes_supported"), got)
	}
	for name, v := range m {
		uri, ok := v.(string)
		if !ok || !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		path, ok := strings.CutPrefix(uri, testIssuer)
		if r := f.do(ada, "GET", path, "", ""); !ok || r.status == 404 {
			t.Errorf("%s %s answers %d", name, uri, r.status)
		}
	}
}

// TestFirstStartTogether: several processes may start on an empty store at
// once; they end up with the same keys.
func TestFirstStartTogether(t *testing.T) {
	s := memory.New()
	start := make(chan struct{})
	providers := make([]*Provider, 2)
	for i := range providers {
		var err error
		if providers[i], err = New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, p := range providers {
		wg.Go(func() {
			<-start
			if err := p.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	close(start)
	for _, p := range providers {
		<-p.Ready()
	}
	if a, b := providers[0].keys.Load(), providers[1].keys.Load(); a.version != b.version || string(a.jwks.body) != string(b.jwks.body) {
		t.Errorf("keys of version %d and %d differ:\n%s\n%s", a.version, b.version, a.jwks.body, b.jwks.body)
	}
	cancel()
	wg.Wait()
}

// TestIssuerAsResource: a login without resources has tokens for the issuer,
// so naming it changes nothing.
func TestIssuerAsResource(t *testing.T) {
	f := newFixture(t)
	res := f.redeem(f.code(ada), "resource", testIssuer).tokens()
	if aud := claimsOf(t, res.AccessToken)["aud"]; aud != testIssuer {
		t.Errorf("aud %v", aud)
	}
}
