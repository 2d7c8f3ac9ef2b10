// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

// rawBasic is an Authorization header whose credentials are not encoded as
// RFC 6749 section 2.3.1 wants it.
func rawBasic(credentials string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))}
}

// wantClientError checks for an error, and for the WWW-Authenticate that a
// 401 must have (RFC 9110 section 15.5.2).
func (r *reply) wantClientError(status int, code string) {
	r.t.Helper()
	r.wantError(status, code)
	if got := r.header.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(got, "Basic ") {
		r.t.Errorf("status %d with WWW-Authenticate %q", status, got)
	}
}

// TestC08Method: a client whose record says one method and which uses
// another, with a secret in which everything needs encoding.
func TestC08Method(t *testing.T) {
	const id, secret = "c0ffee", "s%2B+é:/="
	f := newFixture(t)
	f.addClient(id, secret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	for _, tt := range []struct {
		name   string
		header []string
		body   []string
		status int
		code   string
	}{
		{"(a) post", nil, []string{"client_id", id, "client_secret", secret}, 200, ""},
		{"(b) Basic", basicAuth(id, secret), nil, 200, ""},
		{"(c) both, equal", basicAuth(id, secret), []string{"client_id", id, "client_secret", secret}, 200, ""},
		{"(c) secret alone in the body", basicAuth(id, secret), []string{"client_secret", secret}, 200, ""},
		{"(d) Basic and id", basicAuth(id, secret), []string{"client_id", id}, 200, ""},
		{"Basic, empty secret in the body", basicAuth(id, secret), []string{"client_id", id, "client_secret", ""}, 200, ""},
		{"(e) another id", basicAuth(id, secret), []string{"client_id", "web"}, 400, "invalid_request"},
		{"(e) another id and its secret", basicAuth(id, secret), []string{"client_id", "web", "client_secret", webSecret}, 400, "invalid_request"},
		{"(f) another secret", basicAuth(id, secret), []string{"client_id", id, "client_secret", "x"}, 400, "invalid_request"},
		{"(f) right one in the body only", basicAuth(id, "x"), []string{"client_secret", secret}, 400, "invalid_request"},
		{"raw", rawBasic(id + ":" + secret), nil, 200, ""},
		{"raw, and equal in the body", rawBasic(id + ":" + secret), []string{"client_id", id, "client_secret", secret}, 200, ""},
		{"raw, and its decoded form in the body", rawBasic(id + ":" + secret), []string{"client_secret", "s+ é:/="}, 401, "invalid_client"},
		{"raw, of another secret", rawBasic(id + ":" + secret + "x"), nil, 401, "invalid_client"},
		{"decoded once too often", basicAuth(id, "s++é:/="), nil, 401, "invalid_client"},
		{"encoded twice", basicAuth(id, url.QueryEscape(secret)), nil, 401, "invalid_client"},
		{"post, encoded twice", nil, []string{"client_id", id, "client_secret", url.QueryEscape(secret)}, 401, "invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			code := f.code(ada, "client_id", id)
			r := f.post("/token", codeForm(code, tt.body...), tt.header...)
			if tt.status != 200 {
				r.wantClientError(tt.status, tt.code)
				r = f.post("/token", codeForm(code), basicAuth(id, secret)...)
			}
			refresh := r.tokens().RefreshToken
			r = f.post("/token", refreshForm(refresh, tt.body...), tt.header...)
			if tt.status != 200 {
				r.wantClientError(tt.status, tt.code)
				r = f.post("/token", refreshForm(refresh), basicAuth(id, secret)...)
			}
			r.tokens()
			f.wantSilentLog(secret, url.QueryEscape(secret), code, refresh)
		})
	}
}

// TestRawBasic: secrets that were brought along, and which encoding changes, in
// both readings; each failure counts once, whatever was read.
func TestRawBasic(t *testing.T) {
	f := newFixture(t)
	secrets := []string{"percent%41percent%41percent%41percent", "plus+plus+plus+plus+plus+plus+plus+plus", "broken%escape%broken%escape%broken%", "a%2Bb+c%20d%25a%2Bb+c%20d%25a%2Bb+c"}
	var ids []string
	for i, s := range secrets {
		ids = append(ids, fmt.Sprint("own", i))
		f.addClient(ids[i], s, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, GrantTypes: []string{grantClientCredentials}})
	}
	form := url.Values{"grant_type": {grantClientCredentials}}
	for i, s := range secrets {
		for name, header := range map[string][]string{"encoded": basicAuth(ids[i], s), "raw": rawBasic(ids[i] + ":" + s)} {
			if r := f.post("/token", form, header...); r.status != 200 {
				t.Errorf("%q %s: %d %s", s, name, r.status, r.body)
			}
		}
		decoded, err := url.QueryUnescape(s)
		if err != nil {
			continue
		}
		// What the raw secret means when it is decoded is not the secret.
		f.post("/token", url.Values{"grant_type": {grantClientCredentials}, "client_id": {ids[i]}, "client_secret": {decoded}}).wantClientError(401, "invalid_client")
	}
	send := func() *reply {
		return f.do(ci, "POST", "/token", "application/x-www-form-urlencoded", form.Encode(), rawBasic(ids[0]+":wrong%20+wrong")...)
	}
	for range maxFailures {
		send().wantClientError(401, "invalid_client")
	}
	send().wantError(429, "too_many_requests")
}

// TestC10Authentication: whoever fails to be the client touches nothing. One
// code and one refresh token go through all rows, and are good at the end.
func TestC10Authentication(t *testing.T) {
	f := newFixture(t)
	f.addClient("post", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, TokenEndpointAuthMethod: authPost, AuthMethodStrict: true})
	f.addClient("basic", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, AuthMethodStrict: true})
	type request struct{ code, refresh string }
	of := make(map[string]request)
	for _, id := range []string{"web", "post", "basic"} {
		auth, form := basicAuth(id, webSecret), []string(nil)
		if id == "post" {
			auth, form = nil, []string{"client_id", id, "client_secret", webSecret}
		}
		first := f.post("/token", codeForm(f.code(ada, "client_id", id), form...), auth...).tokens()
		of[id] = request{f.code(ada, "client_id", id), first.RefreshToken}
	}
	of["pub"] = request{f.code(ada, forPub()...), f.loginPub(ada).RefreshToken}
	inBody := func(id, secret string) []string { return []string{"client_id", id, "client_secret", secret} }
	for _, tt := range []struct {
		name   string
		of     string // whose code and refresh token
		header []string
		body   []string
		status int
		code   string
	}{
		{"nothing", "web", nil, nil, 401, "invalid_client"},
		{"id alone", "web", nil, []string{"client_id", "web"}, 401, "invalid_client"},
		{"wrong secret by Basic", "web", basicAuth("web", "wrong"), nil, 401, "invalid_client"},
		{"wrong secret in the body", "web", nil, inBody("web", "wrong"), 401, "invalid_client"},
		{"secret with a blank", "web", nil, inBody("web", webSecret+" "), 401, "invalid_client"},
		{"secret in capitals", "web", nil, inBody("web", strings.ToUpper(webSecret)), 401, "invalid_client"},
		{"part of the secret", "web", nil, inBody("web", webSecret[:len(webSecret)-1]), 401, "invalid_client"},
		{"secret alone", "web", nil, []string{"client_secret", webSecret}, 401, "invalid_client"},
		{"empty secret by Basic", "web", basicAuth("web", ""), nil, 401, "invalid_client"},
		{"long secret", "web", nil, inBody("web", strings.Repeat("x", 20000)), 401, "invalid_client"},
		{"unknown client by Basic", "web", basicAuth("nobody", webSecret), nil, 401, "invalid_client"},
		{"unknown client in the body", "web", nil, inBody("nobody", webSecret), 401, "invalid_client"},
		{"unknown client without secret", "web", nil, []string{"client_id", "nobody"}, 401, "invalid_client"},
		{"id in capitals", "web", basicAuth("WEB", webSecret), nil, 401, "invalid_client"},
		{"id with NUL by Basic", "web", basicAuth("web\x00", webSecret), nil, 401, "invalid_client"},
		{"id that is longer than ids", "web", nil, inBody(strings.Repeat("x", 5000), webSecret), 401, "invalid_client"},
		{"invalid UTF-8 in the secret", "web", basicAuth("web", "\xff\xfe"), nil, 401, "invalid_client"},

		{"Basic alone", "web", []string{"Authorization", "Basic"}, nil, 401, "invalid_client"},
		{"Basic alone, good body", "web", []string{"Authorization", "Basic"}, inBody("web", webSecret), 401, "invalid_client"},
		{"no base64", "web", []string{"Authorization", "Basic !!!"}, nil, 401, "invalid_client"},
		{"no colon", "web", rawBasic("web"), nil, 401, "invalid_client"},
		{"broken escape", "web", rawBasic("web:%zz"), nil, 401, "invalid_client"},
		{"empty id", "web", rawBasic(":" + webSecret), nil, 401, "invalid_client"},
		{"Bearer", "web", []string{"Authorization", "Bearer x"}, nil, 401, "invalid_client"},
		{"Bearer and a good body", "web", []string{"Authorization", "Bearer x"}, inBody("web", webSecret), 401, "invalid_client"},
		{"two headers", "web", append(basicAuth("web", webSecret), basicAuth("web", webSecret)...), nil, 400, "invalid_request"},
		{"a good and a bad header", "web", append(basicAuth("web", webSecret), "Authorization", "Bearer x"), nil, 400, "invalid_request"},
		{"assertion", "web", nil, []string{"client_id", "web", "client_assertion", "a.b.c", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, 401, "invalid_client"},

		{"strict basic by post", "basic", nil, inBody("basic", webSecret), 401, "invalid_client"},
		{"strict post by Basic", "post", basicAuth("post", webSecret), nil, 401, "invalid_client"},
		{"strict post by both", "post", basicAuth("post", webSecret), inBody("post", webSecret), 401, "invalid_client"},

		{"public with a secret", "pub", nil, inBody("pub", webSecret), 401, "invalid_client"},
		{"public with a secret by Basic", "pub", basicAuth("pub", "x"), nil, 401, "invalid_client"},

		{"another client", "web", basicAuth("rs", webSecret), nil, 400, "invalid_grant"},
		{"a public client", "web", nil, []string{"client_id", "pub"}, 400, "invalid_grant"},
		{"another client for a public one's", "pub", basicAuth("web", webSecret), nil, 400, "invalid_grant"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			req, redirect := of[tt.of], webRedirect
			if tt.of == "pub" {
				redirect = pubRedirect
			}
			f.post("/token", codeForm(req.code, append([]string{"redirect_uri", redirect}, tt.body...)...), tt.header...).wantClientError(tt.status, tt.code)
			f.post("/token", refreshForm(req.refresh, tt.body...), tt.header...).wantClientError(tt.status, tt.code)
		})
	}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		var code, refresh *reply
		switch id {
		case "pub":
			code, refresh = f.redeemPub(of[id].code), f.refreshPub(of[id].refresh)
		case "post":
			body := inBody("post", webSecret)
			code, refresh = f.post("/token", codeForm(of[id].code, body...)), f.post("/token", refreshForm(of[id].refresh, body...))
		default:
			auth := basicAuth(id, webSecret)
			code, refresh = f.post("/token", codeForm(of[id].code), auth...), f.post("/token", refreshForm(of[id].refresh), auth...)
		}
		code.tokens()
		refresh.tokens()
	}
	f.wantSilentLog(webSecret, of["web"].code, of["web"].refresh)
}

// TestPublicClientByBasic: a public client may say its id by Basic, with an
// empty secret.
func TestPublicClientByBasic(t *testing.T) {
	f := newFixture(t)
	code := f.code(ada, forPub()...)
	f.post("/token", codeForm(code, "redirect_uri", pubRedirect), basicAuth("pub", "")...).tokens()
}

// TestSeveralSecrets: a client may have several, as in the days of a change.
func TestSeveralSecrets(t *testing.T) {
	f := newFixture(t)
	second := strings.Repeat("2", 40)
	f.editClient("web", func(c *client) { c.Secrets = append(c.Secrets, hashSecret(second, f.clock.now())) })
	for _, s := range []string{webSecret, second} {
		f.post("/token", codeForm(f.code(ada)), basicAuth("web", s)...).tokens()
	}
	f.editClient("web", func(c *client) { c.Secrets = c.Secrets[1:] })
	f.post("/token", codeForm(f.code(ada)), basicAuth("web", webSecret)...).wantClientError(401, "invalid_client")
	f.editClient("web", func(c *client) { c.Secrets = nil })
	for _, s := range []string{"", second} {
		f.post("/token", codeForm(f.code(ada)), basicAuth("web", s)...).wantClientError(401, "invalid_client")
	}
}

// TestC12ClientGone: (a) refresh, (b) code; and what comes after.
func TestC12ClientGone(t *testing.T) {
	f := newFixture(t)
	pub, web, other := f.loginPub(ada), f.login(ada), f.loginPub(gus)
	f.allow(adm, resourceRule(testResource), `{"allow_admin_ui":true}`)
	resource := f.login(adm, "resource", testResource)
	if in := f.introspect("rs", resource.AccessToken); in["active"] != true {
		t.Errorf("introspection by the resource server: %v", in)
	}
	codePub, codeWeb := f.code(ada, forPub()...), f.code(ada)
	f.clock.advance(time.Second)
	f.deleteClient("web")
	f.wantPubWorks(other)

	f.deleteClient("pub")
	f.refreshPub(pub.RefreshToken).wantClientError(401, "invalid_client")
	f.redeemPub(codePub).wantClientError(401, "invalid_client")
	f.refresh(web.RefreshToken).wantClientError(401, "invalid_client")
	f.redeem(codeWeb).wantClientError(401, "invalid_client")
	f.post("/introspect", url.Values{"token": {web.AccessToken}}, basicAuth("web", webSecret)...).wantClientError(401, "invalid_client")
	for _, token := range []string{pub.AccessToken, web.AccessToken} {
		f.userinfo(token).wantChallenge(401, `error="invalid_token"`)
	}

	f.wantInactive("rs", resource.AccessToken)

	// A new client with the old name inherits nothing.
	f.clock.advance(time.Second)
	body, err := json.Marshal(map[string]any{"client_id": "web", "client_secret": webSecret, "redirect_uris": []string{webRedirect}})
	if err != nil {
		t.Fatal(err)
	}
	f.do(adm, "POST", "/api/v1/clients", "application/json", string(body)).json(201)
	f.redeem(codeWeb).wantError(400, "invalid_grant")
	f.wantDead(web)
	f.clock.advance(time.Second)
	f.wantAlive(f.login(ada))
}

// wantPubWorks checks that a login of client pub works.
func (f *fixture) wantPubWorks(res tokenResponse) {
	f.t.Helper()
	if r := f.userinfo(res.AccessToken); r.status != 200 {
		f.t.Errorf("userinfo answers %d %s", r.status, r.body)
	}
	f.refreshPub(res.RefreshToken).tokens()
}

// TestAuthenticationAtIntrospection: the same rules hold there.
func TestAuthenticationAtIntrospection(t *testing.T) {
	f := newFixture(t)
	f.addClient("post", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, TokenEndpointAuthMethod: authPost, AuthMethodStrict: true})
	res := f.login(ada)
	for _, tt := range []struct {
		name   string
		header []string
		body   url.Values
		status int
		code   string
	}{
		{"nothing", nil, nil, 401, "invalid_client"},
		{"public client", nil, url.Values{"client_id": {"pub"}}, 401, "invalid_client"},
		{"public client by Basic", basicAuth("pub", ""), nil, 401, "invalid_client"},
		{"id alone", nil, url.Values{"client_id": {"web"}}, 401, "invalid_client"},
		{"wrong secret", basicAuth("web", "wrong"), nil, 401, "invalid_client"},
		{"wrong secret in the body", nil, url.Values{"client_id": {"web"}, "client_secret": {"wrong"}}, 401, "invalid_client"},
		{"unknown client", basicAuth("nobody", webSecret), nil, 401, "invalid_client"},
		{"the token itself", []string{"Authorization", "Bearer " + res.AccessToken}, nil, 401, "invalid_client"},
		{"strict", basicAuth("post", webSecret), nil, 401, "invalid_client"},
		{"two headers", append(basicAuth("web", webSecret), basicAuth("web", webSecret)...), nil, 400, "invalid_request"},
		{"another id", basicAuth("web", webSecret), url.Values{"client_id": {"rs"}}, 400, "invalid_request"},
		{"Basic", basicAuth("web", webSecret), nil, 200, ""},
		{"post", nil, url.Values{"client_id": {"web"}, "client_secret": {webSecret}}, 200, ""},
		{"both", basicAuth("web", webSecret), url.Values{"client_id": {"web"}, "client_secret": {webSecret}}, 200, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			form := url.Values{"token": {res.AccessToken}}
			maps.Copy(form, tt.body)
			// Being on the tailnet is no client: an administrator asks.
			r := f.do(adm, "POST", "/introspect", "application/x-www-form-urlencoded", form.Encode(), tt.header...)
			if tt.status != 200 {
				r.wantClientError(tt.status, tt.code)
				if strings.Contains(r.body, "active") {
					t.Errorf("the answer says something about the token: %s", r.body)
				}
				return
			}
			if r.json(200)["active"] != true {
				t.Errorf("answer %s", r.body)
			}
		})
	}
	f.do(netip.Addr{}, "GET", "/introspect?token="+res.AccessToken, "", "", basicAuth("web", webSecret)...).wantError(405, "method_not_allowed")
	f.post("/introspect", nil, basicAuth("web", webSecret)...).wantError(400, "invalid_request")
}
