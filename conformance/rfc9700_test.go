// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp"
	"golang.org/x/oauth2"
)

// check is a subtest with a run of its own, and PKCE in its requests.
func check(t *testing.T, name string, f func(*run)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		r := begin(t, shared())
		r.pkce = true
		r.discover()
		f(r)
	})
}

// native registers a public client.
func (r *run) native(redirects ...string) oauth2.Config {
	return r.register(map[string]any{"redirect_uris": redirects, "token_endpoint_auth_method": "none", "application_type": "native"})
}

// code sends a request for app that must succeed.
func (r *run) code(app oauth2.Config, change ...string) *login {
	l := r.request(app, change...)
	r.wantResponse(l, r.send(l))
	return l
}

// redeemForm is the token request for l, with changes.
func (r *run) redeemForm(l *login, change ...string) *answer {
	v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "redirect_uri": {l.query.Get("redirect_uri")}}
	if l.verifier != "" {
		v.Set("code_verifier", l.verifier)
	}
	if l.app.ClientSecret == "" {
		v.Set("client_id", l.app.ClientID)
	}
	for pair := range slices.Chunk(change, 2) {
		if v.Set(pair[0], pair[1]); pair[1] == "" {
			v.Del(pair[0])
		}
	}
	if l.app.ClientSecret == "" {
		return r.postForm(l.app.Endpoint.TokenURL, v)
	}
	return r.postForm(l.app.Endpoint.TokenURL, v, basic(l.app)...)
}

// tokens redeems l as it is, and returns what came.
func (r *run) tokens(l *login) map[string]any {
	a := r.redeemForm(l)
	r.checkTokenAnswer(a)
	return a.json()
}

func member(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

// userinfoStatus asks userinfo with a token.
func (r *run) userinfoStatus(token string) int {
	return r.call("GET", r.op.UserInfoEndpoint(), "", "Authorization", "Bearer "+token).status
}

// TestRFC9700 goes through the security best current practice of OAuth 2.0,
// as a checklist for an authorization server.
func TestRFC9700(t *testing.T) {
	check(t, "1_exact_redirect", func(r *run) {
		for _, uri := range []string{
			appRedirect + "/", appRedirect + "/../cb", appRedirect + "?x=y", appRedirect + "#f", "https://RP.example/cb", "https://rp.example:443/cb",
			"https://rp.example.evil.example/cb", "https://user@rp.example/cb", "http://rp.example/cb", "https://rp.example/%63b", "https://rp.example/c",
			appOrigin, "//rp.example/cb", appRedirect + "\x00", "",
		} {
			_, a := r.authorize("redirect_uri", uri)
			r.wantErrorPage(a)
		}
		// "no wildcard": registered as text, it matches itself alone.
		r.app = r.register(map[string]any{"redirect_uris": []string{appOrigin + "/*"}})
		_, a := r.authorize("redirect_uri", appOrigin+"/x")
		r.wantErrorPage(a)
	})

	check(t, "2_no_open_redirector", func(r *run) {
		for _, change := range [][]string{
			{"redirect_uri", "https://evil.example/cb"},
			{"redirect_uri", "https://evil.example/cb", "prompt", "none"},
			{"redirect_uri", "https://evil.example/cb", "response_type", "bad"},
			{"redirect_uri", "https://evil.example/cb", "response_mode", "form_post"},
			{"client_id", "nobody", "prompt", "none"},
			{"client_id", "nobody", "redirect_uri", "https://evil.example/cb"},
		} {
			_, a := r.authorize(change...)
			r.wantErrorPage(a)
			if strings.Contains(string(a.body), `href="https://evil.example`) {
				r.errorf("%v: the page links to %s", change, text(a.body))
			}
		}
	})

	check(t, "3_PKCE_binds_the_code", func(r *run) {
		pub := r.native(appRedirect)
		r.pkce = false
		l := r.request(pub)
		r.wantRedirectError(l, r.send(l), "invalid_request")
		r.pkce = true
		l = r.request(pub, "code_challenge_method", "plain")
		r.wantRedirectError(l, r.send(l), "invalid_request")
		l = r.request(pub, "code_challenge_method", "")
		r.wantRedirectError(l, r.send(l), "invalid_request")

		l = r.code(pub)
		r.wantError(r.redeemForm(l, "code_verifier", ""), 400, "invalid_grant")
		r.wantError(r.redeemForm(l, "code_verifier", oauth2.GenerateVerifier()), 400, "invalid_grant")
		r.wantError(r.redeemForm(l, "redirect_uri", appRedirect+"/x"), 400, "invalid_grant")
		other := *l
		other.app = r.native(appRedirect)
		r.wantError(r.redeemForm(&other), 400, "invalid_grant")
		r.tokens(l) // none of the failures has spent it

		// The downgrade: a verifier for a code without challenge.
		r.pkce = false
		l = r.code(r.register(map[string]any{"redirect_uris": []string{appRedirect}}))
		r.wantError(r.redeemForm(l, "code_verifier", oauth2.GenerateVerifier()), 400, "invalid_grant")
	})

	check(t, "4_mix_up", func(r *run) {
		_, a := r.authorize()
		if got := r.authorization(a, appRedirect)["iss"]; !slices.Equal(got, []string{r.w.issuer}) {
			r.errorf("iss %q of a success", got)
		}
		l, a := r.authorize("response_type", "token")
		r.wantRedirectError(l, a, "unsupported_response_type")
		if got := r.authorization(a, appRedirect)["iss"]; !slices.Equal(got, []string{r.w.issuer}) {
			r.errorf("iss %q of an error", got)
		}
		if !r.advertises("authorization_response_iss_parameter_supported") {
			r.errorf("iss is not advertised")
		}
	})

	check(t, "5_code_single_use", func(r *run) {
		l := r.code(r.app)
		m := r.tokens(l)
		r.w.clock.advance(3 * time.Second)
		r.wantError(r.redeemForm(l), 400, "invalid_grant")
		if status := r.userinfoStatus(member(m, "access_token")); status != 401 {
			r.errorf("access token answers %d after the code was used twice", status)
		}
		r.wantError(r.refresh(r.app, member(m, "refresh_token")), 400, "invalid_grant")
		l = r.code(r.app)
		r.w.clock.advance(61 * time.Second)
		r.wantError(r.redeemForm(l), 400, "invalid_grant")
	})

	check(t, "6_refresh_tokens", refreshTokensOfPublicClients)

	check(t, "7_access_tokens_restricted", func(r *run) {
		l := r.code(r.app)
		l.query.Set("resource", "https://mcp.example/mcp")
		r.wantResponse(l, r.send(l))
		access := member(r.tokens(l), "access_token")
		if got := r.decode(access, 1)["aud"]; got != "https://mcp.example/mcp" {
			r.errorf("aud %v, want the resource", got)
		}
		if status := r.userinfoStatus(access); status != 401 {
			r.errorf("userinfo takes a token of another resource: %d", status)
		}
		l = r.code(r.app)
		access = member(r.tokens(l), "access_token")
		if a := r.call("GET", r.op.UserInfoEndpoint()+"?access_token="+access, ""); a.status/100 != 4 {
			r.errorf("access token in the URL: %d", a.status)
		}
	})

	check(t, "8_no_implicit_no_password", func(r *run) {
		for _, typ := range []string{"token", "id_token", "id_token token", "code token", "code id_token", "none"} {
			l, a := r.authorize("response_type", typ)
			r.wantRedirectError(l, a, "unsupported_response_type")
		}
		v := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"x"}}
		r.wantError(r.postForm(r.app.Endpoint.TokenURL, v, basic(r.app)...), 400, "unsupported_grant_type")
	})

	check(t, "9_client_authentication", func(r *run) {
		l := r.code(r.app)
		wrong := r.app
		wrong.ClientSecret = strings.Repeat("0", len(r.app.ClientSecret))
		right := l.app
		l.app = wrong
		a := r.redeemForm(l)
		r.wantError(a, 401, "invalid_client")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			r.errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
		}
		l.app = right
		r.tokens(l) // the failure has not spent the code
		if b := r.api("GET", "/api/v1/clients/"+r.app.ClientID, nil); strings.Contains(string(b.body), r.app.ClientSecret) {
			r.errorf("the secret can be read back")
		}
		if len(r.app.ClientSecret) < 43 {
			r.errorf("secret %q is shorter than 256 bits", r.app.ClientSecret)
		}
	})

	// "recommended to use asymmetric cryptography": an assertion is for us alone,
	// for once, and by the client's own key.
	check(t, "9_client_assertions", func(r *run) {
		reg := r.registerSelf(nil)
		l := r.loginSelf(reg.key, "scope", "openid offline_access")
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {l.token.RefreshToken}, "client_assertion_type": {assertionType}}
		send := func(assertion string) *answer {
			refresh.Set("client_assertion", assertion)
			return r.postForm(r.app.Endpoint.TokenURL, refresh)
		}
		for name, assertion := range map[string]string{
			"another server":          r.assertion(reg.key, r.app.ClientID, "https://idp.example"),
			"the issuer with a slash": r.assertion(reg.key, r.app.ClientID, r.w.issuer+"/"),
			"several audiences":       r.assertion(reg.key, r.app.ClientID, []string{r.w.issuer, "https://idp.example"}),
			"another key":             r.assertion(r.newKey("k1"), r.app.ClientID, r.w.issuer),
			"another client":          r.assertion(reg.key, "somebody", r.w.issuer),
			"no signature":            unsigned(map[string]any{"iss": r.app.ClientID, "sub": r.app.ClientID, "aud": r.w.issuer, "jti": "1", "exp": r.w.clock.now().Unix() + 60}),
		} {
			if a := send(assertion); a.status != 401 || a.json()["error"] != "invalid_client" {
				r.errorf("%s: %d %s", name, a.status, a.body)
			}
		}
		good := r.assertion(reg.key, r.app.ClientID, r.w.issuer)
		a := send(good)
		r.checkTokenAnswer(a)
		refresh.Set("refresh_token", member(a.json(), "refresh_token"))
		r.wantError(send(good), 401, "invalid_client")
	})

	check(t, "10_metadata_and_keys", func(r *run) {
		discovery(r)
		if a := r.call("GET", r.endpoint("jwks_uri"), ""); !strings.Contains(a.header.Get("Cache-Control"), "max-age") {
			r.errorf("keys: Cache-Control %q", a.header.Get("Cache-Control"))
		}
	})

	check(t, "11_pages", func(r *run) {
		l, a := r.authorize("prompt", "login")
		r.checkPage(a)
		_, refusal := r.authorize("client_id", "nobody")
		r.checkPage(refusal)
		_, posted := r.authorize("response_mode", "form_post")
		r.checkPage(posted)
		done := r.browser.press(a, "yes")
		if done.status != http.StatusSeeOther {
			r.errorf("status %d after a POST, want 303", done.status)
		}
		r.wantResponse(l, done)
		for _, b := range []*answer{r.send(r.request(r.app)), done} {
			if !strings.Contains(b.header.Get("Cache-Control"), "no-store") || b.header.Get("Referrer-Policy") != "no-referrer" {
				r.errorf("redirect with Cache-Control %q, Referrer-Policy %q", b.header.Get("Cache-Control"), b.header.Get("Referrer-Policy"))
			}
		}
	})

	check(t, "12_CORS", func(r *run) {
		for _, member := range []string{"token_endpoint", "userinfo_endpoint", "jwks_uri", "revocation_endpoint", "registration_endpoint"} {
			r.checkCORS(r.endpoint(member), "*")
		}
		r.checkCORS(r.w.issuer+discoveryPath, "*")
		for _, member := range []string{"authorization_endpoint", "introspection_endpoint", "end_session_endpoint", "device_authorization_endpoint"} {
			r.checkCORS(r.endpoint(member), "")
		}
		r.checkCORS(r.w.issuer+"/api/v1/clients", "")
	})

	check(t, "13_forged_headers", func(r *run) {
		for _, header := range [][]string{
			{"Tailscale-User-Login", "alice@example.com"}, {"X-Forwarded-For", alice}, {"X-Real-IP", alice}, {"Forwarded", "for=" + alice},
			{"X-Forwarded-Host", "evil.example"}, {"Tailscale-User-Name", "Alice"},
		} {
			l := r.request(r.app)
			req, err := http.NewRequest("GET", l.app.Endpoint.AuthURL+"?"+l.query.Encode(), nil)
			r.noError(err, "asking")
			req.Header.Set(peerHeader, bob)
			req.Header.Set(header[0], header[1])
			v := r.authorization(r.do(r.back, req), appRedirect)
			if v.Get("iss") != r.w.issuer {
				r.errorf("%s: iss %q", header[0], v.Get("iss"))
			}
			l.response = v
			if sub := r.decode(member(r.tokens(l), "access_token"), 1)["sub"]; sub != "userid:1004" {
				r.errorf("%s makes bob %v", header[0], sub)
			}
		}
	})

	check(t, "14_client_ids_are_no_subjects", func(r *run) {
		for _, id := range []string{"userid:1001", "node:nlaptop", "USERID:1001", "https://rp.example/client"} {
			a := r.api("POST", "/api/v1/clients", map[string]any{"client_id": id, "redirect_uris": []string{appRedirect}})
			r.wantError(a, 400, "invalid_client_metadata")
		}
	})

	check(t, "15_no_web_message", func(r *run) {
		l, a := r.authorize("response_mode", "web_message")
		r.wantRedirectError(l, a, "invalid_request")
		if slices.Contains(texts(r.metadata()["response_modes_supported"]), "web_message") {
			r.errorf("web_message is advertised")
		}
		_, a = r.authorize("response_mode", "form_post")
		if strings.Contains(string(a.body), "postMessage") {
			r.errorf("the page of form_post posts messages")
		}
	})
}

func refreshTokensOfPublicClients(r *run) {
	pub := r.native(appRedirect)
	again := func(token string, change ...string) *answer { return r.refresh(pub, token, change...) }
	l := r.code(pub, "scope", "openid email")
	first := member(r.tokens(l), "refresh_token")

	// Bound to the client, its scope and its resources.
	other := r.native(appRedirect)
	r.wantError(r.refresh(other, first), 400, "invalid_grant")
	r.wantError(again(first, "scope", "openid email profile"), 400, "invalid_scope")
	r.wantError(again(first, "resource", "https://mcp.example/mcp"), 400, "invalid_target")

	// Rotated; used twice, the whole family ends.
	a := again(first)
	r.checkTokenAnswer(a)
	second := member(a.json(), "refresh_token")
	if second == "" || second == first {
		r.errorf("refresh token is not rotated")
	}
	r.w.clock.advance(31 * time.Second)
	r.wantError(again(first), 400, "invalid_grant")
	r.wantError(again(second), 400, "invalid_grant")

	// Idle.
	idle := member(r.tokens(r.code(pub)), "refresh_token")
	r.w.clock.advance(31 * 24 * time.Hour)
	r.wantError(again(idle), 400, "invalid_grant")

	// The device leaves the tailnet.
	gone := member(r.tokens(r.code(pub)), "refresh_token")
	r.w.tailnet.remove(alice, true)
	defer r.w.tailnet.remove(alice, false)
	r.w.clock.advance(2 * time.Second)
	r.wantError(again(gone), 400, "invalid_grant")
}

// checkPage checks the headers of a page (item 11).
func (r *run) checkPage(a *answer) {
	if !a.isPage() {
		r.fatalf("no page: %d %s", a.status, a.location())
	}
	policy := "no-referrer"
	if f := a.form(); f != nil && !strings.HasPrefix(f.action, appOrigin) {
		// Nothing to others; and with no-referrer browsers would post our own
		// forms without saying where they come from (Origin: null).
		policy = "same-origin"
	}
	csp := a.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(csp, want) {
			r.errorf("Content-Security-Policy %q lacks %s", csp, want)
		}
	}
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "Referrer-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := a.header.Get(name); !strings.Contains(got, want) {
			r.errorf("%s %q, want %s", name, got, want)
		}
	}
	for _, foreign := range []string{`src="http`, `<link`, `@import`, `url(http`} {
		if strings.Contains(string(a.body), foreign) {
			r.errorf("the page loads something: %s", foreign)
		}
	}
}

// checkCORS asks as a browser does before it sends, and then sends.
func (r *run) checkCORS(endpoint, want string) {
	pre := r.call("OPTIONS", endpoint, "", "Origin", appOrigin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,mcp-protocol-version")
	if got := pre.header.Get("Access-Control-Allow-Origin"); got != want {
		r.errorf("%s: preflight allows %q, want %q", endpoint, got, want)
	}
	if want != "" && !strings.Contains(strings.ToLower(pre.header.Get("Access-Control-Allow-Headers")), "mcp-protocol-version") {
		r.errorf("%s: preflight allows the headers %q", endpoint, pre.header.Get("Access-Control-Allow-Headers"))
	}
	a := r.call("GET", endpoint, "", "Origin", appOrigin)
	if got := a.header.Get("Access-Control-Allow-Origin"); got != want {
		r.errorf("%s: allows %q, want %q", endpoint, got, want)
	}
	if a.header.Get("Access-Control-Allow-Credentials") != "" {
		r.errorf("%s: allows credentials", endpoint)
	}
}

// quiet is a world of its own, whose path is part of the issuer.
func quiet(t *testing.T, path string, configure func(*tsidp.Config)) *world {
	t.Helper()
	w := newWorld(path, func(c *tsidp.Config) {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		if configure != nil {
			configure(c)
		}
	})
	t.Cleanup(w.server.Close)
	return w
}
