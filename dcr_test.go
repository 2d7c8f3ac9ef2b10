// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// mayRegisterRule lets its holder register.
const mayRegisterRule = `{"allow_dcr":true}`

// registrationOf is the body that an MCP client sends, with changes: pairs of
// name and value, where nil removes the member.
func registrationOf(change ...any) string {
	m := map[string]any{
		"client_name": "Agent", "redirect_uris": []string{"http://127.0.0.1/cb", "https://agent.example/cb"}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "application_type": "native",
	}
	for pair := range slices.Chunk(change, 2) {
		m[pair[0].(string)] = pair[1]
		if pair[1] == nil {
			delete(m, pair[0].(string))
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// register sends a registration request from the node at addr.
func (f *fixture) register(as netip.Addr, body string, header ...string) *reply {
	f.t.Helper()
	return f.do(as, "POST", "/register", "application/json", body, header...)
}

// registered is a client that the node at addr registers, with changes.
func (f *fixture) registered(as netip.Addr, change ...any) registrationResponse {
	f.t.Helper()
	return f.register(as, registrationOf(change...)).registration(201)
}

// registration reads a client information response.
func (r *reply) registration(status int) registrationResponse {
	r.t.Helper()
	m := r.json(status)
	if r.header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("Cache-Control %q, want no-store", r.header.Get("Cache-Control"))
	}
	for name, v := range m {
		if v == nil || v == "" {
			r.t.Errorf("%s is %v in %s", name, v, r.body)
		}
	}
	var res registrationResponse
	if err := json.Unmarshal([]byte(r.body), &res); err != nil {
		r.t.Fatal(err)
	}
	if b, err := base64.RawURLEncoding.DecodeString(res.Token); err != nil || len(b) != 32 {
		r.t.Errorf("registration token %q, want 256 bits", res.Token)
	}
	if res.URI != testIssuer+"/register/"+res.ID || res.ID == "" {
		r.t.Errorf("client %q is managed at %q", res.ID, res.URI)
	}
	if hasSecret := res.Secret != ""; hasSecret != (res.SecretExpiresAt != nil) {
		r.t.Errorf("client_secret_expires_at does not go with the secret in %s", r.body)
	}
	return res
}

// manage sends a request to the client's registration_client_uri, with the
// registration of registrationOf for PUT. It comes from no node that matters.
func (f *fixture) manage(method string, c registrationResponse, change ...any) *reply {
	f.t.Helper()
	return f.manageBy(method, c.ID, c.Token, change...)
}

func (f *fixture) manageBy(method, id, token string, change ...any) *reply {
	f.t.Helper()
	var contentType, body string
	if method == "PUT" {
		contentType, body = "application/json", registrationOf(change...)
	}
	return f.do(netip.Addr{}, method, "/register/"+id, contentType, body, "Authorization", "Bearer "+token)
}

// wantUnmanaged checks for the answer to a token that is none.
func (r *reply) wantUnmanaged() {
	r.t.Helper()
	r.wantError(401, "invalid_token")
	r.wantChallenge(401, `error="invalid_token"`)
}

// forClient turns an authorization request into one of a registered client.
func forClient(c registrationResponse, change ...string) []string {
	return append([]string{"client_id", c.ID, "redirect_uri", c.RedirectURIs[0]}, change...)
}

// redeemFor exchanges a code of a registered public client.
func (f *fixture) redeemFor(c registrationResponse, code string) *reply {
	f.t.Helper()
	return f.post("/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {c.ID}, "code": {code}, "redirect_uri": {c.RedirectURIs[0]}, "code_verifier": {testVerifier}})
}

func (f *fixture) refreshFor(c registrationResponse, token string) *reply {
	f.t.Helper()
	return f.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {c.ID}, "refresh_token": {token}})
}

// loginTo runs a login of ada to a registered client, with her consent.
func (f *fixture) loginTo(c registrationResponse) tokenResponse {
	f.t.Helper()
	return f.redeemFor(c, f.browser(ada).agree(forClient(c, "prompt", "consent")...)).tokens()
}

// clientCount is how many clients are registered.
func (f *fixture) clientCount() int {
	f.t.Helper()
	n, err := f.store.Count(f.t.Context(), store.Query{Kind: kindClient, Index: indexOwner, Prefix: true, Now: f.clock.now()})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// TestRegister: what an MCP client sends, what it gets, and a login with it.
func TestRegister(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, mayRegisterRule)
	r := f.register(ada, registrationOf())
	got := r.registration(201)
	want := map[string]any{
		"client_id": got.ID, "client_name": "Agent", "redirect_uris": []any{"http://127.0.0.1/cb", "https://agent.example/cb"},
		"token_endpoint_auth_method": "none", "grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"},
		"application_type": "native", "scope": "openid profile email", "id_token_signed_response_alg": "RS256",
		"client_id_issued_at": float64(f.clock.now().Unix()), "registration_access_token": got.Token, "registration_client_uri": got.URI,
	}
	if diff := cmp.Diff(want, r.json(201)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	c, err := f.p.clientByID(t.Context(), got.ID)
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != originRegistered || c.Access != accessTailnet || len(c.Secrets) > 0 {
		t.Errorf("stored %+v", c)
	}
	if diff := cmp.Diff(&clientOwner{Subject: "userid:1001", Login: "ada@example.com", Node: "n1001CNTRL", Name: "lap.tail1234.ts.net"}, c.Owner); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	// Others use it too, once they have agreed.
	b := f.browser(gus)
	page := b.login(forClient(got, "scope", "")...).page(http.StatusOK)
	if !strings.Contains(page, "a registration by ada@example.com on lap") {
		t.Errorf("the page does not say whose it is:\n%s", withoutStyle(page))
	}
	tokens := f.redeemFor(got, b.press(page, "yes").redirect().Get("code")).tokens()
	if tokens.RefreshToken == "" || tokens.Scope != "openid profile email" {
		t.Errorf("tokens %+v", tokens)
	}
	f.refreshFor(got, tokens.RefreshToken).tokens()
	// No PKCE, no code.
	b.login(forClient(got, noPKCE...)...).redirectError("invalid_request")
}

// TestRegisterWho: the capability decides, and a refusal says what is missing.
func TestRegisterWho(t *testing.T) {
	for _, tt := range []struct {
		name    string
		as      netip.Addr
		rules   []string
		allowed bool
		grant   bool // shown in the refusal
	}{
		{"no rule", ada, nil, false, true},
		{"false", ada, []string{`{"allow_dcr":false}`}, false, true},
		{"broken", ada, []string{`{"allow_dcr":"true"}`}, false, true},
		{"administrator only", ada, []string{`{"allow_admin_ui":true,"users":["*"],"resources":["*"],"clients":["*"]}`}, false, true},
		{"allowed", ada, []string{`{}`, mayRegisterRule}, true, false},
		{"tagged", ci, []string{mayRegisterRule}, true, false},
		{"tagged, no rule", ci, nil, false, true},
		{"other tailnet", eve, []string{`{"allow_dcr":true,"users":["eve@other.example"],"clients":["x"]}`}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.allow(tt.as, tt.rules...)
			r := f.register(tt.as, registrationOf())
			if tt.allowed {
				res := r.registration(201)
				c, err := f.p.clientByID(t.Context(), res.ID)
				if err != nil {
					t.Fatal(err)
				}
				if tt.as == ci && (c.Owner.Subject != "node:n999CNTRL" || c.Owner.Login != "") {
					t.Errorf("owner %+v", c.Owner)
				}
				return
			}
			r.wantError(403, "access_denied")
			if strings.Contains(r.body, `"allow_dcr":true`) != tt.grant {
				t.Errorf("grant in %s, want %t", r.body, tt.grant)
			}
			// Nothing is read before.
			f.register(tt.as, `{`).wantError(403, "access_denied")
			if n := f.clientCount(); n != 0 {
				t.Errorf("%d clients", n)
			}
		})
	}
	f := newFixture(t)
	f.register(netip.MustParseAddr("100.64.9.9"), registrationOf()).wantError(403, "access_denied")
	f.do(adm, "POST", "/register", "application/json", registrationOf(), "Host", "evil.example").wantError(421, "misdirected_request")
	f.clock.advance(time.Second)
	f.tailnet.set(func(n *fakeTailnet) { n.err = errTest })
	f.register(adm, registrationOf()).wantUnavailable()
}

// TestRegisterNotPublic: registration is on the tailnet only.
func TestRegisterNotPublic(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	f.client = serve(t, withTestPeer(f.p.PublicHandler()))
	f.register(adm, registrationOf()).shortJSONError(404)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		f.manage(method, c, "client_id", c.ID).shortJSONError(404)
	}
}

// TestRegisterMetadata: what is sent, and what comes of it.
func TestRegisterMetadata(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change []any
		want   map[string]any // members of the answer; nil: it is absent
	}{
		{"C38 a: no scope", nil, map[string]any{"scope": "openid profile email"}},
		{"C38 b: scope", []any{"scope", "openid"}, map[string]any{"scope": "openid"}},
		{"C38 c: unknown scope", []any{"scope", "openid made:up"}, map[string]any{"scope": "openid"}},
		{"only unknown scopes", []any{"scope", "mcp:tools"}, map[string]any{"scope": "openid profile email"}},
		{"no grant types", []any{"grant_types", nil}, map[string]any{"grant_types": []any{"authorization_code", "refresh_token"}}},
		{"other grant types", []any{"grant_types", []string{"authorization_code", "implicit", "client_credentials"}}, map[string]any{"grant_types": []any{"authorization_code"}}},
		{"other response types", []any{"response_types", []string{"code", "token", "id_token"}}, map[string]any{"response_types": []any{"code"}}},
		{"device only", []any{"grant_types", []string{grantDeviceCode}, "redirect_uris", nil}, map[string]any{"redirect_uris": []any{}}},
		{"editor", []any{"redirect_uris", []string{"cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/cb", "http://[::1]:1234/cb"}}, nil},
		{"empty texts", []any{"client_uri", "", "logo_uri", "", "policy_uri", "", "tos_uri", "", "client_name", "", "scope", "", "software_id", "", "application_type", "", "id_token_signed_response_alg", ""},
			map[string]any{"client_uri": nil, "logo_uri": nil, "client_name": nil, "software_id": nil, "application_type": "web"}},
		{"null", []any{"client_uri", json.RawMessage("null"), "contacts", json.RawMessage("null"), "scope", json.RawMessage("null")}, map[string]any{"client_uri": nil, "contacts": nil, "scope": "openid profile email"}},
		{"empty lists", []any{"contacts", []string{}, "grant_types", []string{}, "response_types", []string{""}}, map[string]any{"contacts": nil, "response_types": []any{"code"}}},
		{"everything", []any{"contacts", []string{"a@example.com", ""}, "software_id", "s", "software_version", "1.2", "logo_uri", "https://a.example/l.png", "post_logout_redirect_uris", []string{"https://a.example/bye"}},
			map[string]any{"contacts": []any{"a@example.com"}, "software_id": "s", "software_version": "1.2", "logo_uri": "https://a.example/l.png", "post_logout_redirect_uris": []any{"https://a.example/bye"}}},
		{"what administrators decide", []any{"access", "granted", "pkce", "auto", "ignore_fragment", true, "resource_identifiers", []string{testResource}, "default_resources", []string{testResource}, "disabled", 7, "access_token_lifetime", "x", "origin", "administrator", "owner", 1,
			"client_id", "web", "client_secret", webSecret, "Client_Name", 7, "client_name#ja", "x", "software_statement", "a.b.c"},
			map[string]any{"access": nil, "pkce": nil, "ignore_fragment": nil, "resource_identifiers": nil, "default_resources": nil, "client_secret": nil, "disabled": nil, "origin": nil, "owner": nil, "software_statement": nil}},
		{"unknown, deep", []any{"x", json.RawMessage(strings.Repeat("[", 3000) + strings.Repeat("]", 3000))}, map[string]any{"x": nil}},
		{"ES256", []any{"id_token_signed_response_alg", "ES256"}, map[string]any{"id_token_signed_response_alg": "ES256"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			r := f.register(adm, registrationOf(tt.change...))
			res, m := r.registration(201), r.json(201)
			for name, want := range tt.want {
				if diff := cmp.Diff(want, m[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if res.ID == "web" {
				t.Error("the client has chosen its id")
			}
			// What is shown is what is stored.
			if again := f.manage("GET", res).json(200); !cmp.Equal(again, m) {
				t.Errorf("read again:\n%s", cmp.Diff(m, again))
			}
		})
	}
}

// TestC38AsksForMore: the scope of a registration is no bound.
func TestC38AsksForMore(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm, "scope", "openid")
	tokens := f.redeemFor(c, f.browser(ada).agree(forClient(c, "scope", "openid profile email offline_access")...)).tokens()
	if tokens.Scope != "openid profile email offline_access" || tokens.RefreshToken == "" {
		t.Errorf("tokens with scope %q", tokens.Scope)
	}
	f.refreshFor(c, tokens.RefreshToken).tokens()
}

// TestRegisterFaults: what is refused, by the name of the member.
func TestRegisterFaults(t *testing.T) {
	f := newFixture(t)
	const metadata, redirect = "invalid_client_metadata", "invalid_redirect_uri"
	many := func(n int) []string { return slices.Repeat([]string{"https://a.example/cb"}, n) }
	for _, tt := range []struct {
		name, code, says string
		body             string
	}{
		{"empty", metadata, "JSON object", ``},
		{"null", metadata, "JSON object", `null`},
		{"array", metadata, "JSON object", `[]`},
		{"text", metadata, "JSON object", `"x"`},
		{"cut off", metadata, "JSON object", registrationOf()[:50]},
		{"something behind", metadata, "JSON object", registrationOf() + `{}`},
		{"duplicate", metadata, "twice", `{"redirect_uris":["https://a.example/"],"redirect_uris":["https://b.example/"]}`},
		{"duplicate by escape", metadata, "twice", `{"redirect_uris":["https://a.example/"],"redirect\u005furis":["https://b.example/"]}`},
		{"duplicate unknown", metadata, "twice", `{"redirect_uris":["https://a.example/"],"x":1,"x":2}`},
		{"not UTF-8", metadata, "UTF-8", "{\"client_name\":\"\xff\"}"},
		{"surrogate", metadata, "client_name", `{"client_name":"\ud800","redirect_uris":["https://a.example/"]}`},
		{"deep", metadata, "", `{"redirect_uris":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`},
		{"deep, known", metadata, "redirect_uris", `{"redirect_uris":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`},
		{"no redirect URIs", redirect, "redirect_uris", registrationOf("redirect_uris", nil)},
		{"empty redirect URI", redirect, "redirect_uris", registrationOf("redirect_uris", []string{""})},
		{"many redirect URIs", redirect, "redirect_uris", registrationOf("redirect_uris", many(maxRedirectURIs+1))},
		{"many contacts", metadata, "contacts", registrationOf("contacts", many(maxClientStrings+1))},
		{"redirect URIs: text", metadata, "redirect_uris", registrationOf("redirect_uris", "https://a.example/")},
		{"redirect URIs: number", metadata, "redirect_uris", registrationOf("redirect_uris", 7)},
		{"redirect URIs: of numbers", metadata, "redirect_uris", registrationOf("redirect_uris", []any{"https://a.example/", 7})},
		{"redirect URIs: of null", metadata, "redirect_uris", registrationOf("redirect_uris", []any{nil})},
		{"redirect URIs: object", metadata, "redirect_uris", registrationOf("redirect_uris", map[string]any{"0": "https://a.example/"})},
		{"name: list", metadata, "client_name", registrationOf("client_name", []string{"x"})},
		{"name: true", metadata, "client_name", registrationOf("client_name", true)},
		{"scope: list", metadata, "scope", registrationOf("scope", []string{"openid"})},
		{"version: number", metadata, "software_version", registrationOf("software_version", 1.5)},
		{"method: number", metadata, "token_endpoint_auth_method", registrationOf("token_endpoint_auth_method", 1e300)},
		{"http", redirect, "redirect_uris[0]", registrationOf("redirect_uris", []string{"http://a.example/cb"})},
		{"javascript", redirect, "redirect_uris[1]", registrationOf("redirect_uris", []string{"https://a.example/", "javascript:alert(1)"})},
		{"fragment", redirect, "fragment", registrationOf("redirect_uris", []string{"https://a.example/#x"})},
		{"wildcard", redirect, "wildcard", registrationOf("redirect_uris", []string{"https://*.example/"})},
		{"scheme without dot", redirect, "redirect_uris[0]", registrationOf("redirect_uris", []string{"myapp://cb"})},
		{"logout", metadata, "post_logout_redirect_uris[0]", registrationOf("post_logout_redirect_uris", []string{"http://a.example/"})},
		{"method", metadata, "token_endpoint_auth_method", registrationOf("token_endpoint_auth_method", "client_secret_jwt")},
		{"method: letter case", metadata, "token_endpoint_auth_method", registrationOf("token_endpoint_auth_method", "None")},
		{"grant types", metadata, "grant_types", registrationOf("grant_types", []string{"client_credentials"})},
		{"response types", metadata, "response_types", registrationOf("response_types", []string{"token"})},
		{"alg none", metadata, "id_token_signed_response_alg", registrationOf("id_token_signed_response_alg", "none")},
		{"application type", metadata, "application_type", registrationOf("application_type", "spa")},
		{"logo script", metadata, "logo_uri", registrationOf("logo_uri", "javascript:alert(1)")},
		{"logo data", metadata, "logo_uri", registrationOf("logo_uri", "data:image/png;base64,AA")},
		{"name right to left", metadata, "client_name", registrationOf("client_name", "evil\u202egoog")},
		{"name with NUL", metadata, "client_name", registrationOf("client_name", "a\x00b")},
		{"long name", metadata, "client_name", registrationOf("client_name", strings.Repeat("x", maxClientText+1))},
	} {
		r := f.register(adm, tt.body)
		r.t = named{t, tt.name}
		r.wantError(400, tt.code)
		if d := r.json(400)["error_description"].(string); !strings.Contains(d, tt.says) {
			t.Errorf("%s: %q does not say %q", tt.name, d, tt.says)
		}
	}
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"} {
		f.do(adm, "POST", "/register", contentType, registrationOf()).wantError(400, metadata)
	}
	f.register(adm, registrationOf("x", strings.Repeat("x", maxBody))).wantError(413, "request_too_large")
	if n := f.clientCount(); n != 0 {
		t.Errorf("%d clients", n)
	}
	f.do(adm, "POST", "/register", "application/json; charset=utf-8", registrationOf()).registration(201)
}

// TestRegisterConfidential: a secret is made where a method needs one, is
// shown once, and works; the method that the client names is the only one.
func TestRegisterConfidential(t *testing.T) {
	for _, tt := range []struct {
		method            any
		stored            string
		basicOK, inBodyOK bool
	}{
		{nil, "client_secret_basic", true, true}, // RFC 7591 section 2
		{"client_secret_basic", "client_secret_basic", true, false},
		{"client_secret_post", "client_secret_post", false, true},
	} {
		t.Run(fmt.Sprint(tt.method), func(t *testing.T) {
			f := newFixture(t)
			c := f.registered(adm, "token_endpoint_auth_method", tt.method, "redirect_uris", []string{webRedirect})
			if len(c.Secret) != 64 || c.SecretExpiresAt == nil || *c.SecretExpiresAt != 0 || c.TokenEndpointAuthMethod != tt.stored {
				t.Fatalf("registered %+v", c)
			}
			login := func(inBody bool) *reply {
				code := f.browser(ada).agree(forClient(c, "prompt", "consent")...)
				if inBody {
					return f.post("/token", codeForm(code, "client_id", c.ID, "client_secret", c.Secret))
				}
				return f.post("/token", codeForm(code), basicAuth(c.ID, c.Secret)...)
			}
			for inBody, ok := range map[bool]bool{false: tt.basicOK, true: tt.inBodyOK} {
				if r := login(inBody); ok {
					r.tokens()
				} else {
					r.wantError(401, "invalid_client")
				}
			}
			f.browser(ada).login(forClient(c, noPKCE...)...).redirectError("invalid_request")
			if again := f.manage("GET", c).registration(200); again.Secret != "" {
				t.Error("the secret is shown again")
			}
			// Each registration is another client.
			if other := f.registered(adm, "token_endpoint_auth_method", tt.method, "redirect_uris", []string{webRedirect}); other.ID == c.ID || other.Secret == c.Secret {
				t.Error("registered the same client")
			}
		})
	}
}

// TestRegisterSecretsAtRest: neither secrets nor registration tokens are in
// the store or in the log.
func TestRegisterSecretsAtRest(t *testing.T) {
	s := &spyStore{faultStore: newFaultStore(t)}
	f := newFixture(t, func(c *Config) { c.Store, c.DebugRequests = s, true })
	c := f.registered(adm, "token_endpoint_auth_method", nil)
	f.manage("GET", c).registration(200)
	next := f.manage("PUT", c, "client_id", c.ID, "token_endpoint_auth_method", nil, "client_secret", c.Secret).registration(200)
	for _, secret := range []string{c.Secret, c.Token, next.Token} {
		if strings.Contains(s.seen.String(), secret) {
			t.Errorf("the store has seen %q", secret)
		}
	}
	f.wantSilentLog(c.Secret, c.Token, next.Token)
}

// TestRegisterForeignPage: a web page of another origin registers public
// clients only, on the quota of its reader, learns nothing of who that is, and
// has no power over what the reader's programs registered.
func TestRegisterForeignPage(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, mayRegisterRule)
	page := func(origin string) []string {
		return []string{"Origin", origin, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "MCP-Protocol-Version", "2025-11-25"}
	}
	own := f.registered(ada)
	r := f.register(ada, registrationOf(), page("https://inspector.example")...)
	other := r.registration(201)
	if h := r.header.Get("Access-Control-Allow-Origin"); h != "*" {
		t.Errorf("Access-Control-Allow-Origin %q", h)
	}
	if other.ID == own.ID {
		t.Fatal("the page got the client of a program, and the token that manages it")
	}
	if again := f.register(ada, registrationOf(), page("https://inspector.example")...).registration(201); again.ID != other.ID {
		t.Error("the same page registers the same client twice")
	}
	if third := f.register(ada, registrationOf(), page("https://evil.example")...).registration(201); third.ID == own.ID || third.ID == other.ID {
		t.Error("another page got the client")
	}
	opaque := f.register(ada, registrationOf(), page("null")...).registration(201)
	if again := f.register(ada, registrationOf(), page("null")...).registration(201); again.ID == opaque.ID {
		t.Error("another opaque origin got the client")
	}
	if consent := f.browser(gus).login(forClient(other)...).page(http.StatusOK); !strings.Contains(consent, "ada@example.com on lap.tail1234.ts.net, through the web page https://inspector.example") {
		t.Errorf("the consent page does not say where it comes from:\n%s", withoutStyle(consent))
	}
	for _, method := range []any{nil, "client_secret_basic", "client_secret_post"} {
		f.register(ada, registrationOf("token_endpoint_auth_method", method), page("https://inspector.example")...).wantError(400, "invalid_client_metadata")
	}
	put := f.do(ada, "PUT", "/register/"+other.ID, "application/json", registrationOf("client_id", other.ID, "token_endpoint_auth_method", nil),
		append(page("https://inspector.example"), "Authorization", "Bearer "+other.Token)...)
	put.wantError(400, "invalid_client_metadata")
	// Its own pages are no foreign ones.
	f.register(ada, registrationOf("token_endpoint_auth_method", nil), "Origin", testIssuer, "Sec-Fetch-Site", "same-origin").registration(201)

	f.clock.advance(time.Second)
	f.allow(ada)
	refused := f.register(ada, registrationOf(), page("https://evil.example")...)
	refused.wantError(403, "access_denied")
	for _, secret := range []string{"ada", "grant", "tag:"} {
		if strings.Contains(refused.body, secret) {
			t.Errorf("the page reads %q in %s", secret, refused.body)
		}
	}
}

// TestRegisterAgain: an agent that registers at each start has one client; a
// new token comes with it, and what differs in anything is another client.
func TestRegisterAgain(t *testing.T) {
	f := newFixture(t)
	for _, as := range []netip.Addr{ada, gus} {
		f.allow(as, mayRegisterRule)
	}
	first := f.registered(ada)
	f.clock.advance(time.Hour)
	again := f.registered(ada)
	if again.ID != first.ID || again.Token == first.Token || again.IssuedAt != first.IssuedAt {
		t.Errorf("registered %+v after %+v", again, first)
	}
	f.manage("GET", first).registration(200) // until the new one is used
	f.manage("GET", again).registration(200)
	f.manage("GET", first).wantUnmanaged()
	seen := map[string]string{first.ID: "the first"}
	for name, c := range map[string]registrationResponse{
		"another person":       f.registered(gus),
		"another name":         f.registered(ada, "client_name", "Agent 2"),
		"other redirect URIs":  f.registered(ada, "redirect_uris", []string{"https://agent.example/cb"}),
		"another scope":        f.registered(ada, "scope", "openid"),
		"another grant type":   f.registered(ada, "grant_types", []string{"authorization_code"}),
		"with a secret":        f.registered(ada, "token_endpoint_auth_method", nil),
		"again with a secret":  f.registered(ada, "token_endpoint_auth_method", nil),
		"with contacts":        f.registered(ada, "contacts", []string{"a@example.com"}),
		"with another version": f.registered(ada, "software_version", "2"),
	} {
		if other, ok := seen[c.ID]; ok {
			t.Errorf("%s is the client of %s", name, other)
		}
		seen[c.ID] = name
	}
	// Defaults that are spelled out make no other client.
	if c := f.registered(ada, "scope", "openid profile email", "x", "y"); c.ID != first.ID {
		t.Error("spelled out, it is another client")
	}
	// The same person on another node.
	f.tailnet.set(func(n *fakeTailnet) {
		n.peers[netip.MustParseAddr("100.64.0.11")] = userPeer(1001, "ada@example.com", "Ada", "phone", netip.MustParseAddr("100.64.0.11"), mayRegisterRule)
		n.peers[netip.MustParseAddr("100.64.0.11")].Node.StableID = "nPHONE"
	})
	if c := f.registered(netip.MustParseAddr("100.64.0.11")); c.ID == first.ID {
		t.Error("another node has the same client")
	}
	// Another person on the same node.
	f.clock.advance(time.Second)
	f.tailnet.set(func(n *fakeTailnet) {
		n.peers[ada] = userPeer(1005, "new@example.com", "New", "lap", ada, mayRegisterRule)
		n.peers[ada].Node.StableID = "n1001CNTRL"
	})
	if c := f.registered(ada); c.ID == first.ID {
		t.Error("another person on the node has the same client")
	}
}

// TestRegisterAgainChanged: a client that was changed is not the one that a
// registration as before asks for, unless an administrator changed only what
// the client has no say in.
func TestRegisterAgainChanged(t *testing.T) {
	f := newFixture(t)
	first := f.registered(adm)
	f.editClient(first.ID, func(c *client) { c.Disabled, c.Access, c.AccessTokenSeconds = true, accessGranted, 60 })
	second := f.registered(adm)
	if second.ID != first.ID {
		t.Error("registering again evades an administrator")
	}
	if c, err := f.p.clientByID(t.Context(), first.ID); err != nil || !c.Disabled || c.Access != accessGranted || c.AccessTokenSeconds != 60 {
		t.Errorf("client %+v, %v", c, err)
	}
	f.manage("PUT", second, "client_id", second.ID, "client_name", "Other").registration(200)
	if c, err := f.p.clientByID(t.Context(), first.ID); err != nil || !c.Disabled || c.Access != accessGranted || c.AccessTokenSeconds != 60 || c.Name != "Other" {
		t.Errorf("client %+v, %v", c, err)
	}
	third := f.registered(adm)
	if third.ID == first.ID || third.Name != "Agent" {
		t.Errorf("registered %+v", third)
	}
	if again := f.registered(adm); again.ID != third.ID {
		t.Error("the third registration is not found again")
	}
	// The id of a client that an administrator has made is not taken over.
	c := &client{Origin: originRegistered, Owner: &clientOwner{Subject: "userid:1003", Node: "n1003CNTRL"}}
	reg, err := parseRegistration([]byte(registrationOf("client_name", "Squatter")))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.describe(reg, ""); err != nil {
		t.Fatal(err)
	}
	f.addClient(c.registrationID(0), webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	if got := f.registered(adm, "client_name", "Squatter"); got.ID != c.registrationID(1) {
		t.Errorf("registered as %s, want %s", got.ID, c.registrationID(1))
	}
}

// atOnce calls send n times in parallel.
func atOnce(n int, send func(i int) *reply) []*reply {
	replies := make([]*reply, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			replies[i] = send(i)
		})
	}
	close(start)
	wg.Wait()
	return replies
}

// instance is another provider on the same store and tailnet.
func (f *fixture) instance() *fixture {
	f.t.Helper()
	g := &fixture{t: f.t, tailnet: f.tailnet, clock: f.clock, store: f.store, log: f.log}
	var err error
	if g.p, err = New(Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, Now: f.clock.now}); err != nil {
		f.t.Fatal(err)
	}
	g.run()
	g.client = serve(f.t, withTestPeer(g.p.Handler()))
	return g
}

// TestRegisterAtOnce: of many identical registrations at one time, at two
// instances, one client comes.
func TestRegisterAtOnce(t *testing.T) {
	f := newFixture(t)
	g := f.instance()
	ids := map[string]bool{}
	var last []registrationResponse
	for _, r := range atOnce(20, func(i int) *reply {
		if i%2 == 0 {
			return f.register(adm, registrationOf())
		}
		return g.register(adm, registrationOf())
	}) {
		c := r.registration(201)
		ids[c.ID] = true
		last = append(last, c)
	}
	if len(ids) != 1 || f.clientCount() != 1 {
		t.Errorf("%d ids and %d clients, want one", len(ids), f.clientCount())
	}
	good := 0
	c, err := f.p.clientByID(t.Context(), last[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range last {
		if ok, _ := (&client{RegistrationTokens: c.RegistrationTokens}).useRegistrationToken(res.Token); ok {
			good++
		}
	}
	if good != maxRegistrationTokens {
		t.Errorf("%d tokens are good, want %d", good, maxRegistrationTokens)
	}
}

// TestRegistrationQuotas: a node has so many clients, all together have so
// many, and what has ended counts no more.
func TestRegistrationQuotas(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, mayRegisterRule)
	var own []registrationResponse
	for i := range maxRegisteredByNode {
		own = append(own, f.registered(adm, "client_name", fmt.Sprint(i)))
	}
	r := f.register(adm, registrationOf("client_name", "more"))
	r.wantError(429, "too_many_requests")
	if !strings.Contains(r.body, "DELETE") || !strings.Contains(r.body, "20") {
		t.Errorf("answer %s", r.body)
	}
	f.register(adm, registrationOf("client_name", "more"), "Origin", "https://page.example", "Sec-Fetch-Site", "cross-site").wantError(429, "too_many_requests")
	f.registered(adm, "client_name", "0") // is there already
	f.registered(ada)                     // another node
	f.manage("DELETE", own[3])
	f.registered(adm, "client_name", "more")
	f.register(adm, registrationOf("client_name", "yet more")).wantError(429, "too_many_requests")
	f.clock.advance(newRegistration)
	f.registered(adm, "client_name", "yet more")

	for i := f.clientCount(); i < maxRegistered; i++ {
		c := &client{
			ClientMetadata: admin.ClientMetadata{ID: fmt.Sprintf("c%d", i), RedirectURIs: []string{webRedirect}},
			Origin:         originRegistered, Owner: &clientOwner{Node: "nOTHER"}, CreatedAt: f.clock.now(),
		}
		if err := f.p.createClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	r = f.register(ada, registrationOf("client_name", "too much"))
	r.wantError(429, "too_many_requests")
	if !strings.Contains(r.body, "administrator") {
		t.Errorf("answer %s", r.body)
	}
	// Administrators are not bound by it.
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["https://a.example/"]}`).json(201)
}

// TestRegistrationQuotaAtOnce: many at one time get no more.
func TestRegistrationQuotaAtOnce(t *testing.T) {
	f := newFixture(t)
	made := 0
	for _, r := range atOnce(maxRegisteredByNode+10, func(i int) *reply { return f.register(adm, registrationOf("client_name", fmt.Sprint(i))) }) {
		switch r.status {
		case 201:
			made++
		case 429:
		default:
			t.Errorf("answer %d %s", r.status, r.body)
		}
	}
	if n := f.clientCount(); made != maxRegisteredByNode || n != made {
		t.Errorf("%d made, %d there, want %d", made, n, maxRegisteredByNode)
	}
}

// TestRegistrationPace: registering the same thing over and over costs a write
// each time, and is bounded.
func TestRegistrationPace(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, mayRegisterRule)
	for range maxRegistrations {
		f.registered(adm)
	}
	r := f.register(adm, registrationOf())
	r.wantError(429, "too_many_requests")
	if r.header.Get("Retry-After") != fmt.Sprint(int(registrationWindow/time.Second)) {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	f.registered(ada)
	f.clock.advance(registrationWindow)
	f.registered(adm)
}

// TestRegistrationEnds: a client that nobody uses ends, and with it all that
// it was granted; uses prolong it.
func TestRegistrationEnds(t *testing.T) {
	gone := func(f *fixture, c registrationResponse, tokens ...tokenResponse) {
		f.t.Helper()
		f.manage("GET", c).wantUnmanaged()
		f.authorize(ada, forClient(c)...).page(400)
		f.refreshFor(c, "x").wantError(401, "invalid_client")
		for _, res := range tokens {
			f.refreshFor(c, res.RefreshToken).wantError(401, "invalid_client")
			f.userinfo(res.AccessToken).wantChallenge(401, "invalid_token")
			f.wantInactive("web", res.AccessToken)
		}
	}
	t.Run("never used", func(t *testing.T) {
		f := newFixture(t)
		c := f.registered(adm)
		f.clock.advance(newRegistration - time.Second)
		f.manage("GET", c).registration(200)
		f.clock.advance(time.Second)
		gone(f, c)
		f.p.expire(t.Context())
		if c2 := f.registered(adm); c2.ID != c.ID || c2.IssuedAt == c.IssuedAt {
			t.Errorf("registered anew: %+v", c2)
		}
	})
	t.Run("registered again", func(t *testing.T) {
		f := newFixture(t)
		f.registered(adm)
		f.clock.advance(newRegistration - time.Second)
		c := f.registered(adm)
		f.clock.advance(newRegistration - time.Second)
		f.manage("GET", c).registration(200)
	})
	t.Run("used once", func(t *testing.T) {
		f := newFixture(t)
		c := f.registered(adm)
		tokens := f.loginTo(c)
		f.clock.advance(unusedRegistration - time.Second)
		last := f.refreshFor(c, tokens.RefreshToken).tokens() // a refresh token is good as long
		f.clock.advance(unusedRegistration + noteUseEvery)
		gone(f, c, tokens, last)
	})
	t.Run("used until the end", func(t *testing.T) {
		// The last use of the day is not noted. It has as long all the same.
		f := newFixture(t)
		c := f.registered(adm)
		f.loginTo(c)
		f.clock.advance(noteUseEvery - time.Second)
		tokens := f.loginTo(c)
		f.clock.advance(unusedRegistration - time.Second)
		f.refreshFor(c, tokens.RefreshToken).tokens()
	})
	t.Run("long refresh tokens", func(t *testing.T) {
		f := newFixture(t, func(c *Config) { c.Lifetimes = &Lifetimes{RefreshIdle: 90 * 24 * time.Hour} })
		c := f.registered(adm)
		tokens := f.loginTo(c)
		f.clock.advance(90*24*time.Hour - time.Second)
		f.refreshFor(c, tokens.RefreshToken).tokens()
	})
	t.Run("no second life", func(t *testing.T) {
		// Tokens of a client that has ended stay dead when the same client
		// registers again.
		f := newFixture(t)
		c := f.registered(adm)
		tokens := f.loginTo(c)
		f.editClient(c.ID, func(*client) {})
		rec, err := f.store.Get(t.Context(), kindClient, c.ID, f.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		rec.ExpiresAt = f.clock.now().Add(time.Second)
		if _, err := f.store.Put(t.Context(), rec, f.clock.now()); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(time.Second)
		gone(f, c, tokens)
		again := f.registered(adm)
		if again.ID == c.ID {
			t.Fatal("the client has its old id, and with it the old tokens")
		}
		gone(f, c, tokens)
		f.refreshFor(again, tokens.RefreshToken).wantError(400, "invalid_grant")
	})
	t.Run("imported", func(t *testing.T) {
		// What was registered with an earlier version has no end.
		f := newFixture(t)
		f.addRegistered("agent", admin.ClientMetadata{RedirectURIs: []string{agentRedirect}})
		f.clock.advance(365 * 24 * time.Hour)
		f.browser(ada).login(forAgent()...).page(200)
	})
}

// TestNoteUse: a use is noted once a day, after the tokens have been made, and
// nobody waits for it.
func TestNoteUse(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	c := f.registered(adm)
	b := f.browser(ada)
	code, second := b.agree(forClient(c)...), b.login(forClient(c)...).redirect().Get("code")
	s.setBroken("Put", false)
	tokens := f.redeemFor(c, code).tokens()
	s.setBroken("", false)
	f.redeemFor(c, second).tokens() // notes it
	before := s.called("Put")
	for range 5 {
		f.clock.advance(time.Hour)
		tokens = f.refreshFor(c, tokens.RefreshToken).tokens()
	}
	if n := s.called("Put") - before; n != 0 {
		t.Errorf("%d writes within a day, want none", n)
	}
	f.clock.advance(noteUseEvery)
	f.refreshFor(c, tokens.RefreshToken).tokens()
	if n := s.called("Put") - before; n != 1 {
		t.Errorf("%d writes after a day, want one", n)
	}
	// One that does not expire is noted as often.
	before = s.called("Put")
	f.login(ada)
	f.login(ada)
	if n := s.called("Put") - before; n != 1 {
		t.Errorf("%d writes for a client that does not expire, want one", n)
	}
	// At the same time as a change of the client.
	f.clock.advance(noteUseEvery)
	stale, err := f.p.clientByID(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.manage("PUT", c, "client_id", c.ID, "client_name", "Changed").registration(200)
	f.p.noteUse(t.Context(), stale, f.p.life)
	got, err := f.p.clientByID(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "Changed" || !got.UsedAt.Equal(f.clock.now()) || !got.ExpiresAt.Equal(f.clock.now().Add(unusedRegistration+noteUseEvery)) {
		t.Errorf("client %q, used at %v, expires at %v", got.Name, got.UsedAt, got.ExpiresAt)
	}
}

// TestUsedClientIsAnother: a note of use never brings back a client that was
// deleted and made anew under its id, with another secret.
func TestUsedClientIsAnother(t *testing.T) {
	f := newFixture(t)
	used, err := f.p.clientToUse(t.Context(), "rs")
	if err != nil {
		t.Fatal(err)
	}
	f.do(adm, "DELETE", "/api/v1/clients/rs", "", "").wantEmpty(204)
	f.p.noteUse(t.Context(), used, f.p.life)
	f.do(adm, "GET", "/api/v1/clients/rs", "", "").wantError(404, "not_found")
	f.clock.advance(time.Second)
	f.create(`{"client_id":"rs","client_secret":"` + webSecret + `2","redirect_uris":["` + webRedirect + `"]}`).json(201)
	f.p.noteUse(t.Context(), used, f.p.life)
	if v := f.show("rs").json(200); v["used_at"] != nil {
		t.Errorf("the new client was used at %v", v["used_at"])
	}
	form := url.Values{"token": {"x"}}
	f.post("/introspect", form, basicAuth("rs", webSecret+"2")...).json(200)
	f.post("/introspect", form, basicAuth("rs", webSecret)...).wantError(401, "invalid_client")
}

// TestDeclaredOver: a client replaces all that it may say of itself, and
// nothing else: what a new member is, is decided here.
func TestDeclaredOver(t *testing.T) {
	own := []string{
		"client_name", "redirect_uris", "post_logout_redirect_uris", "grant_types", "response_types", "token_endpoint_auth_method", "scope",
		"application_type", "client_uri", "initiate_login_uri", "contacts", "logo_uri", "policy_uri", "tos_uri", "software_id", "software_version",
		"id_token_signed_response_alg", "jwks", "jwks_uri", "token_endpoint_auth_signing_alg",
	}
	var before, says admin.ClientMetadata
	fill := func(m *admin.ClientMetadata, text string, number int64) {
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.String:
				f.SetString(text)
			case reflect.Int64:
				f.SetInt(number)
			case reflect.Bool:
				f.SetBool(number == 1)
			case reflect.Map:
				f.Set(reflect.ValueOf(map[string]string{text: text}))
			case reflect.Slice:
				if f.Type().Elem().Kind() == reflect.String {
					f.Set(reflect.ValueOf([]string{text}))
				} else {
					f.SetBytes([]byte(text))
				}
			default:
				t.Fatalf("a member of kind %v", f.Kind())
			}
		}
	}
	fill(&before, "before", 1)
	fill(&says, "says", 2)
	got := reflect.ValueOf(declaredOver(before, says))
	for i := range got.NumField() {
		name, _, _ := strings.Cut(got.Type().Field(i).Tag.Get("json"), ",")
		want := reflect.ValueOf(before)
		if slices.Contains(own, name) {
			want = reflect.ValueOf(says)
		}
		if !reflect.DeepEqual(got.Field(i).Interface(), want.Field(i).Interface()) {
			t.Errorf("%s is %v", name, got.Field(i))
		}
	}
}
