// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// TestOAuth21 goes through what OAuth 2.1 (draft-ietf-oauth-v2-1) changes.
func TestOAuth21(t *testing.T) {
	check(t, "PKCE_for_all", func(r *run) {
		// Confidential clients of an administrator may begin without it; once
		// they use it, they must.
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}, "pkce": "required"})
		r.pkce = false
		l := r.request(app)
		r.wantRedirectError(l, r.send(l), "invalid_request")
		r.pkce = true
		r.tokens(r.code(r.app))
		r.pkce = false
		l = r.request(r.app)
		r.wantRedirectError(l, r.send(l), "invalid_request")
	})
	check(t, "exact_redirect", func(r *run) {
		_, a := r.authorize("redirect_uri", appRedirect+"/")
		r.wantErrorPage(a)
	})
	check(t, "no_implicit_no_password", func(r *run) {
		m := r.metadata()
		if got := strings.Join(texts(m["response_types_supported"]), ","); got != "code" {
			r.errorf("response_types_supported %s", got)
		}
		for _, grant := range texts(m["grant_types_supported"]) {
			if grant == "implicit" || grant == "password" {
				r.errorf("grant type %s is advertised", grant)
			}
		}
	})
	check(t, "no_bearer_in_query", func(r *run) {
		access := member(r.tokens(r.code(r.app)), "access_token")
		for _, header := range [][]string{nil, {"Authorization", "Bearer " + access}} {
			if a := r.call("GET", r.op.UserInfoEndpoint()+"?access_token="+access, "", header...); a.status != 400 && a.status != 401 {
				r.errorf("answer %d", a.status)
			}
		}
	})
	check(t, "refresh_tokens_rotated", func(r *run) {
		pub := r.native(appRedirect)
		first := member(r.tokens(r.code(pub)), "refresh_token")
		if second := member(r.refresh(pub, first).json(), "refresh_token"); second == "" || second == first {
			r.errorf("refresh token %q after %q", second, first)
		}
	})
	check(t, "redirect_uri_optional_in_token_request", func(r *run) {
		r.checkTokenAnswer(r.redeemForm(r.code(r.app), "redirect_uri", ""))
		r.wantError(r.redeemForm(r.code(r.app), "redirect_uri", appRedirect+"?"), 400, "invalid_grant")
	})
	check(t, "scope_returned_if_different", func(r *run) {
		m := r.tokens(r.code(r.app, "scope", "openid email things.of.no.meaning"))
		if m["scope"] != "openid email" {
			r.errorf("scope %v", m["scope"])
		}
	})
	check(t, "secrets_in_the_body", func(r *run) {
		l := r.code(r.app)
		v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "code_verifier": {l.verifier},
			"client_id": {l.app.ClientID}, "client_secret": {l.app.ClientSecret}}
		r.checkTokenAnswer(r.postForm(l.app.Endpoint.TokenURL, v))
	})
	check(t, "unknown_grant_type", func(r *run) {
		for _, grant := range []string{"nonsense", "password", "urn:ietf:params:oauth:grant-type:saml2-bearer", "implicit"} {
			r.wantError(r.postForm(r.app.Endpoint.TokenURL, url.Values{"grant_type": {grant}}, basic(r.app)...), 400, "unsupported_grant_type")
		}
		r.wantError(r.postForm(r.app.Endpoint.TokenURL, url.Values{"x": {"y"}}, basic(r.app)...), 400, "invalid_request")
	})
	check(t, "duplicate_parameters", func(r *run) {
		l := r.request(r.app)
		for _, name := range []string{"scope", "nonce", "response_type", "code_challenge"} {
			a := r.browser.open(l.app.Endpoint.AuthURL+"?"+l.query.Encode()+"&"+name+"="+url.QueryEscape(l.query.Get(name)), appOrigin)
			r.wantRedirectError(l, a, "invalid_request")
		}
		for _, name := range []string{"client_id", "redirect_uri"} {
			r.wantErrorPage(r.browser.open(l.app.Endpoint.AuthURL+"?"+l.query.Encode()+"&"+name+"=x", appOrigin))
		}
		for _, name := range []string{"grant_type", "code", "code_verifier"} {
			l := r.code(r.app)
			v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "code_verifier": {l.verifier}}
			v.Add(name, v.Get(name))
			r.wantError(r.postForm(l.app.Endpoint.TokenURL, v, basic(l.app)...), 400, "invalid_request")
		}
		// "except resource".
		l = r.request(r.app)
		a := r.browser.open(l.app.Endpoint.AuthURL+"?"+l.query.Encode()+"&resource=https://a.example/&resource=https://b.example/", appOrigin)
		r.wantResponse(l, a)
	})
	check(t, "empty_parameters_are_absent", func(r *run) {
		l := r.request(r.app)
		empty := "&prompt=&max_age=&response_mode=&request=&request_uri=&resource=&id_token_hint="
		r.wantResponse(l, r.browser.open(l.app.Endpoint.AuthURL+"?"+l.query.Encode()+empty, appOrigin))
		v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "code_verifier": {l.verifier},
			"redirect_uri": {""}, "client_secret": {""}, "resource": {""}, "scope": {""}}
		r.checkTokenAnswer(r.postForm(l.app.Endpoint.TokenURL, v, basic(l.app)...))
	})
	check(t, "POST_to_authorize", func(r *run) {
		l := r.request(r.app)
		r.wantResponse(l, r.browser.post(l.app.Endpoint.AuthURL, appOrigin, l.query))
	})
	check(t, "form_urlencoded_only", func(r *run) {
		l := r.code(r.app)
		body := `{"grant_type":"authorization_code","code":"` + l.response.Get("code") + `","code_verifier":"` + l.verifier + `"}`
		for _, typ := range []string{"application/json", "text/plain", "multipart/form-data; boundary=x", ""} {
			header := basic(l.app)
			if typ != "" {
				header = append(header, "Content-Type", typ)
			}
			r.wantError(r.call("POST", l.app.Endpoint.TokenURL, body, header...), 400, "invalid_request")
		}
		v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "code_verifier": {"\xff\xfe"}}
		if a := r.postForm(l.app.Endpoint.TokenURL, v, basic(l.app)...); a.status != 400 {
			r.errorf("what is not UTF-8 is answered with %d", a.status)
		}
		r.checkTokenAnswer(r.redeemForm(l))
	})
	check(t, "invalid_client", func(r *run) {
		v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}
		wrong := r.app
		wrong.ClientSecret = strings.Repeat("x", 40)
		nobody := oauth2.Config{ClientID: "nobody", ClientSecret: wrong.ClientSecret}
		for _, app := range []oauth2.Config{wrong, nobody} {
			a := r.postForm(r.app.Endpoint.TokenURL, v, basic(app)...)
			r.wantError(a, 401, "invalid_client")
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
				r.errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
			}
		}
		v.Set("client_id", "nobody")
		r.wantError(r.postForm(r.app.Endpoint.TokenURL, v), 401, "invalid_client")
	})
}
