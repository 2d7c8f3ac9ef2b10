// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/url"
	"strings"
	"testing"
)

// corsPaths are open to scripts of other origins.
var corsPaths = map[string]bool{
	"/.well-known/openid-configuration": true, "/.well-known/oauth-authorization-server": true, "/.well-known/jwks.json": true,
	"/token": true, "/userinfo": true, "/revoke": true, "/register": true, "/register/web": true,
}

// TestC36Preflight: a browser that asks gets leave for the open endpoints and
// for no other.
func TestC36Preflight(t *testing.T) {
	f := newFixture(t)
	for path, method := range map[string]string{
		"/.well-known/openid-configuration": "GET", "/.well-known/oauth-authorization-server": "GET", "/.well-known/jwks.json": "GET",
		"/token": "POST", "/userinfo": "GET", "/revoke": "POST",
		"/introspect": "POST", "/authorize": "GET", "/register": "POST", "/register/web": "PUT", "/device": "POST", "/device_authorization": "POST", "/api/v1/clients": "POST", "/api/v1/keys": "GET", "/healthz": "GET", "/readyz": "GET", "/metrics": "GET", "/": "GET",
	} {
		for _, origin := range []string{"http://localhost:6274", "https://spa.example", "null"} {
			r := f.do(adm, "OPTIONS", path, "", "", "Origin", origin, "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", "authorization, content-type, mcp-protocol-version", "Sec-Fetch-Site", "cross-site")
			h := r.header
			if !corsPaths[path] {
				if r.status < 400 || h.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s from %s: %d, open to %q", path, origin, r.status, h.Get("Access-Control-Allow-Origin"))
				}
				continue
			}
			if r.status != 204 || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" ||
				h.Get("Access-Control-Allow-Headers") != "authorization, content-type, mcp-protocol-version" || h.Get("Access-Control-Max-Age") == "" {
				t.Errorf("%s from %s: %d %v", path, origin, r.status, h)
			}
		}
	}
	// What is no list of header names is not repeated.
	r := f.do(ada, "OPTIONS", "/token", "", "", "Origin", "https://spa.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "a<script>")
	if got := r.header.Get("Access-Control-Allow-Headers"); got != "" {
		t.Errorf("headers %q", got)
	}
	// OPTIONS without a preflight's headers is a method like any other.
	f.do(ada, "OPTIONS", "/token", "", "").wantError(405, "method_not_allowed")
}

// TestC36Answers: a script of another origin logs in and reads answers, errors
// among them.
func TestC36Answers(t *testing.T) {
	f := newFixture(t)
	browser := []string{"Origin", "https://spa.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"pub"}, "code": {f.code(ada, forPub()...)}, "redirect_uri": {pubRedirect}, "code_verifier": {testVerifier}}
	login := f.post("/token", form, browser...)
	token := login.tokens().AccessToken
	for name, r := range map[string]*reply{
		"token":           login,
		"token, error":    f.post("/token", form, browser...),
		"userinfo":        f.do(ada, "GET", "/userinfo", "", "", append(browser, "Authorization", "Bearer "+token)...),
		"userinfo, error": f.do(ada, "GET", "/userinfo", "", "", append(browser, "Authorization", "Bearer x")...),
		"metadata":        f.do(ada, "GET", "/.well-known/openid-configuration", "", "", browser...),
		"revoke":          f.post("/revoke", url.Values{"token": {"x"}, "client_id": {"pub"}}, browser...),
	} {
		if h := r.header; h.Get("Access-Control-Allow-Origin") != "*" || len(h.Values("Access-Control-Allow-Origin")) != 1 || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", name, h)
		}
	}
	// Refusals of every sort, with what a script needs to understand them.
	for range maxFailures {
		f.failAt(gus, "/token")
	}
	for name, tt := range map[string]struct {
		r      *reply
		status int
	}{
		"wrong client":       {f.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"nobody"}}, browser...), 401},
		"too many":           {f.do(gus, "POST", "/token", "application/x-www-form-urlencoded", "grant_type=refresh_token", append(browser, basicAuth("web", "wrong")...)...), 429},
		"method":             {f.do(ada, "DELETE", "/token", "", "", browser...), 405},
		"body":               {f.post("/token", url.Values{"pad": {strings.Repeat("x", maxBody)}}, browser...), 413},
		"registration":       {f.do(ada, "POST", "/register", "application/json", "{}", browser...), 403},
		"registration token": {f.do(ada, "GET", "/register/web", "", "", append(browser, "Authorization", "Bearer x")...), 401},
	} {
		h := tt.r.header
		if tt.r.status != tt.status || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v, want %d", name, tt.r.status, h, tt.status)
		}
		for _, exposed := range []string{"WWW-Authenticate", "Retry-After"} {
			if !strings.Contains(h.Get("Access-Control-Expose-Headers"), exposed) {
				t.Errorf("%s: a script cannot read %s", name, exposed)
			}
		}
	}
	for path, r := range map[string]*reply{
		"/introspect": f.post("/introspect", url.Values{"token": {token}}, append(browser, basicAuth("web", webSecret)...)...),
		"/authorize":  f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", browser...),
		"/logout":     f.do(ada, "GET", "/logout", "", "", browser...),
		pathClients:   f.do(adm, "GET", pathClients, "", "", browser...),
	} {
		if got := r.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s is open to %q", path, got)
		}
	}
	f.clock.advance(5e9)
	f.tailnet.set(func(n *fakeTailnet) { n.err = errTest })
	f.clock.advance(5e9)
	if r := f.do(ada, "GET", "/userinfo", "", "", append(browser, "Authorization", "Bearer "+token)...); r.status != 503 || r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("during an outage: %d %v", r.status, r.header)
	}
}
