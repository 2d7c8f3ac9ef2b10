// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	noUnsignedTokens = "the algorithm none is not offered: OpenID Connect Core section 2 forbids it for ID tokens from the token endpoint " +
		"unless the client asks for it at registration, and RFC 8725 section 3.2 advises against it"
	noRequestObjects = "request objects are not offered, and request_parameter_supported says so: OpenID Connect Core section 6.1 makes them optional, " +
		"RFC 9101 section 10.2 wants their source verified"
)

// happyFaults are what every login notices.
func happyFaults() []fault {
	return []fault{
		onResponse("state dropped", func(v url.Values) { v.Del("state") }),
		onResponse("state changed", func(v url.Values) { v.Set("state", "x"+v.Get("state")) }),
		onResponse("iss of somebody else", func(v url.Values) { v.Set("iss", "https://evil.example") }),
		onResponse("iss advertised and dropped", func(v url.Values) { v.Del("iss") }),
		onResponse("weak code", func(v url.Values) { v.Set("code", strings.Repeat("ab", 40)) }),
		onResponse("code beside an error", func(v url.Values) { v.Set("error", "server_error") }),
		onHeader("/token", "Cache-Control", "private"),
		onHeader("/token", "Content-Type", "text/html"),
		onAnswer("token response 201", "/token", func(a *answer) { a.status = 201 }),
		onJSON("token_type mac", "/token", map[string]any{"token_type": "mac"}),
		onJSON("expires_in a text", "/token", map[string]any{"expires_in": "300"}),
		onJSON("no id_token", "/token", map[string]any{"id_token": nil}),
		onJSON("refresh_token empty", "/token", map[string]any{"refresh_token": ""}),
		onJSON("weak access token", "/token", map[string]any{"access_token": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}),
		claim("nonce", nil), claim("nonce", "other"), claim("iss", "https://evil.example"), claim("aud", "other"),
		claim("aud", []string{"other"}), claim("exp", 1), claim("iat", 1), claim("sub", nil), claim("sub", strings.Repeat("s", 256)),
		claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), claim("azp", "other"), claim("email_verified", "true"),
		foreignSignature(),
		onJSON("issuer of somebody else", "/openid-configuration", map[string]any{"issuer": "https://evil.example"}),
		onAnswer("two keys of one kid", "/jwks.json", func(a *answer) {
			s := strings.Split(string(a.body), `"kid":"`)
			for i := 1; i < len(s); i++ {
				_, rest, _ := strings.Cut(s[i], `"`)
				s[i] = `same"` + rest
			}
			a.body = []byte(strings.Join(s, `"kid":"`))
		}),
		onAnswer("private key published", "/jwks.json", func(a *answer) {
			a.body = []byte(strings.Replace(string(a.body), `"kid"`, `"d":"AQAB","kid"`, 1))
		}),
		onJSON("userinfo of somebody else", "/userinfo", map[string]any{"sub": "userid:1"}),
		onHeader("/userinfo", "Content-Type", "text/plain"),
	}
}

// basicModules are those of 2.3. Form Post Basic has the same.
func basicModules() []module {
	return []module{
		{name: "oidcc-server", test: happy(), faults: happyFaults()},
		{name: "oidcc-response-type-missing", test: responseTypeMissing, faults: []fault{
			onParameters("response_type assumed", "/authorize", func(v url.Values) { v.Set("response_type", "code") }),
			onResponse("description with quotes", func(v url.Values) { v.Set("error_description", `the "type"`) }),
		}},
		{name: "oidcc-idtoken-signature", test: idTokenSignature, faults: []fault{foreignSignature(), {"keys without kid", withoutKid}}},
		{name: "oidcc-idtoken-unsigned", skip: noUnsignedTokens},
		{name: "oidcc-userinfo-get", test: userinfoBy("get"), faults: []fault{
			onJSON("sub missing", "/userinfo", map[string]any{"sub": nil}),
		}},
		{name: "oidcc-userinfo-post-header", test: userinfoBy("post"), faults: []fault{
			refused("POST refused", "/userinfo", func(req *http.Request, _ url.Values) bool { return req.Method == "POST" }, 405, "{}"),
		}},
		{name: "oidcc-userinfo-post-body", test: userinfoBy("body"), faults: []fault{
			onJSON("sub changed", "/userinfo", map[string]any{"sub": "userid:1"}),
			refused("server error", "/userinfo", func(_ *http.Request, form url.Values) bool { return form.Has("access_token") }, 500, "{}"),
		}},
		{name: "oidcc-ensure-request-without-nonce-succeeds-for-code-flow", test: happy("nonce", ""), faults: []fault{
			claim("nonce", "invented"), claim("nonce", ""),
		}},
		{name: "oidcc-scope-profile", test: scope("profile", "name", "preferred_username", "picture"), faults: []fault{
			onJSON("name a number", "/userinfo", map[string]any{"name": 7}),
		}},
		{name: "oidcc-scope-email", test: scope("email", "email", "email_verified"), faults: []fault{
			onJSON("email_verified a text", "/userinfo", map[string]any{"email_verified": "true"}),
		}},
		{name: "oidcc-scope-address", test: scope("address", "address"), faults: []fault{failed("scope")}},
		{name: "oidcc-scope-phone", test: scope("phone", "phone_number"), faults: []fault{failed("scope")}},
		{name: "oidcc-scope-all", test: scope("profile email address phone", "name", "email"), faults: []fault{
			onJSON("picture null", "/userinfo", map[string]any{"picture": []string{}}),
		}},
		{name: "oidcc-alternate-happy-flow", test: alternateHappyFlow, faults: []fault{failed("scope")}},
		{name: "oidcc-display-page", test: happy("display", "page"), faults: []fault{failed("display")}},
		{name: "oidcc-display-popup", test: happy("display", "popup"), faults: []fault{failed("display")}},
		{name: "oidcc-prompt-login", test: promptLogin, faults: []fault{
			ignored("/authorize", "prompt"),
			onIDToken("auth_time as before", func(_ int, c map[string]any) { c["auth_time"] = 1_700_000_000 }),
		}},
		{name: "oidcc-prompt-none-not-logged-in", test: promptNoneNotLoggedIn, faults: []fault{
			ignored("/authorize", "prompt"),
			onResponse("wrong error", func(v url.Values) {
				if v.Has("error") {
					v.Set("error", "invalid_request")
				}
			}),
		}},
		{name: "oidcc-prompt-none-logged-in", test: promptNoneLoggedIn, faults: []fault{
			failed("prompt"),
			onIDToken("another person", func(n int, c map[string]any) { c["sub"] = "userid:" + strings.Repeat("1", n) }),
			onIDToken("auth_time moves", func(n int, c map[string]any) { c["auth_time"] = 1_700_000_000 + n }),
		}},
		{name: "oidcc-max-age-1", test: maxAge1, faults: []fault{ignored("/authorize", "max_age"), claim("auth_time", nil), claim("auth_time", 1)}},
		{name: "oidcc-max-age-10000", test: maxAge10000, faults: []fault{
			claim("auth_time", nil),
			onIDToken("auth_time moves", func(n int, c map[string]any) { c["auth_time"] = 1_700_000_000 + n }),
			onParameters("max_age 0", "/authorize", func(v url.Values) { v.Set("max_age", "0") }),
		}},
		{name: "oidcc-ensure-request-with-unknown-parameter-succeeds", test: happy("extra", "foobar"), faults: []fault{failed("extra")}},
		{name: "oidcc-id-token-hint", test: idTokenHint, faults: []fault{
			failed("id_token_hint"),
			onIDToken("another person", func(n int, c map[string]any) { c["sub"] = "userid:" + strings.Repeat("1", n) }),
		}},
		{name: "oidcc-login-hint", test: happy("login_hint", "buffy@example.com"), faults: []fault{failed("login_hint")}},
		{name: "oidcc-ui-locales", test: happy("ui_locales", "se"), faults: []fault{failed("ui_locales")}},
		{name: "oidcc-claims-locales", test: happy("claims_locales", "se"), faults: []fault{failed("claims_locales")}},
		{name: "oidcc-ensure-request-with-acr-values-succeeds", test: acrValues, faults: []fault{failed("acr_values"), claim("acr", 1)}},
		{name: "oidcc-codereuse", test: codeReuse, faults: []fault{
			cached("/token", "code"),
			onAnswer("error 401", "/token", func(a *answer) {
				if a.status == 400 {
					a.status = 401
				}
			}),
		}},
		{name: "oidcc-codereuse-30seconds", test: codeReuse30, faults: []fault{
			cached("/token", "code"),
			onAnswer("invalid_request", "/token", func(a *answer) {
				a.body = []byte(strings.ReplaceAll(string(a.body), "invalid_grant", "invalid_request"))
			}),
		}},
		{name: "oidcc-ensure-registered-redirect-uri", test: unregisteredRedirect, faults: []fault{redirected("/authorize", "redirect_uri")}},
		{name: "oidcc-ensure-post-request-succeeds", test: postRequest, faults: []fault{
			refused("POST refused", "/authorize", func(req *http.Request, _ url.Values) bool { return req.Method == "POST" }, 405, "{}"),
		}},
		{name: "oidcc-server-client-secret-post", test: secretPost, faults: []fault{
			refused("basic only", "/token", func(_ *http.Request, form url.Values) bool { return form.Has("client_secret") }, 401, `{"error":"invalid_client"}`),
		}},
		{name: "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported",
			test:   notSupported("request_uri", appOrigin+"/request.jwt", "request_uri_not_supported"),
			faults: []fault{ignored("/authorize", "request_uri")}},
		{name: "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported",
			test:   notSupported("request", unsigned(map[string]any{"response_type": "code", "scope": "openid", "nonce": "of the object"}), "request_not_supported"),
			faults: []fault{ignored("/authorize", "request")}},
		{name: "oidcc-claims-essential", test: claimsEssential, faults: []fault{failed("claims")}},
		{name: "oidcc-ensure-request-object-with-redirect-uri", skip: noRequestObjects},
		{name: "oidcc-refresh-token", test: refreshToken, faults: []fault{
			onIDToken("another person", func(n int, c map[string]any) { c["sub"] = "userid:" + strings.Repeat("1", n) }),
			onIDToken("auth_time moves", func(n int, c map[string]any) { c["auth_time"] = 1_700_000_000 + n }),
			onJSON("weak refresh token", "/token", map[string]any{"refresh_token": "abababab"}),
			onJSON("always one access token", "/token", map[string]any{"access_token": "0123456789abcdefghijklmnopqrstuvwxyz"}),
			anyClient,
		}},
		{name: "oidcc-ensure-request-with-valid-pkce-succeeds", test: validPKCE, faults: []fault{
			ignored("/token", "code_verifier"), failed("code_challenge"),
		}},
	}
}

// anyClient takes refresh tokens from whoever has them.
var anyClient = fault{"refresh token good for any client", func(next exchange) exchange {
	var owner string
	return func(req *http.Request, body []byte) *answer {
		if strings.HasSuffix(req.URL.Path, "/token") {
			if owner == "" {
				owner = req.Header.Get("Authorization")
			}
			req.Header.Set("Authorization", owner)
		}
		return next(req, body)
	}
}}

func withoutKid(next exchange) exchange {
	return onAnswer("", "/jwks.json", func(a *answer) {
		a.body = []byte(strings.ReplaceAll(string(a.body), `"kid"`, `"x"`))
	}).apply(next)
}

// happy is a login whose request has changes.
func happy(change ...string) func(*run) { return func(r *run) { r.login(change...) } }

func responseTypeMissing(r *run) {
	l, a := r.authorize("response_type", "")
	r.wantRedirectError(l, a, "invalid_request", "unsupported_response_type")
}

// idTokenSignature: RS256 is the default, and kid leads to the key.
func idTokenSignature(r *run) {
	ids := r.checkKeys()
	l := r.login()
	header := r.decode(l.raw, 0)
	kid, _ := header["kid"].(string)
	if header["alg"] != "RS256" || kid == "" || !strings.Contains(strings.Join(ids, " "), kid) {
		r.errorf("header %v, keys %v; want RS256 and a key that is there", header, ids)
	}
}

func userinfoBy(method string) func(*run) {
	return func(r *run) {
		l := r.login()
		r.userinfo(l, method)
	}
}

// scope asks for scopes beside openid. Claims that do not come deserve a
// warning.
func scope(scopes string, claims ...string) func(*run) {
	return func(r *run) {
		l := r.login("scope", "openid "+scopes)
		for _, name := range claims {
			if l.userdom[name] == nil {
				r.warnf("no %s in userinfo: a tailnet knows none, and OpenID Connect Core section 5.3.2 lets what is not known be left out", name)
			}
		}
	}
}

func alternateHappyFlow(r *run) {
	r.discover()
	l := r.request(r.app, "scope", "email openid profile")
	reversed := []string{}
	for _, name := range []string{"state", "scope", "response_type", "response_mode", "redirect_uri", "nonce", "client_id"} {
		if v := l.query.Get(name); v != "" {
			reversed = append(reversed, name+"="+url.QueryEscape(v))
		}
	}
	r.finish(l, r.browser.open(l.app.Endpoint.AuthURL+"?"+strings.Join(reversed, "&"), appOrigin))
}

// authTime is that of an ID token, which must have one.
func (r *run) authTime(l *login) int64 {
	n, ok := l.claims["auth_time"].(float64)
	if !ok {
		r.fatalf("auth_time %v", l.claims["auth_time"])
	}
	return int64(n)
}

func promptLogin(r *run) {
	first := r.login()
	r.w.clock.advance(2 * time.Second)
	l, a := r.authorize("prompt", "login")
	r.wantPage(a)
	r.finish(l, r.browser.press(a, "yes"))
	if r.authTime(l) <= r.authTime(first) {
		r.errorf("auth_time %d after a login, %d before", r.authTime(l), r.authTime(first))
	}
}

// promptNoneNotLoggedIn: on a tailnet nobody is logged out until they say so.
func promptNoneNotLoggedIn(r *run) {
	first := r.login()
	r.browser.open(r.endpoint("end_session_endpoint")+"?id_token_hint="+first.raw, appOrigin)
	l, a := r.authorize("prompt", "none")
	r.wantRedirectError(l, a, "login_required", "interaction_required", "account_selection_required", "consent_required")
}

func (r *run) endpoint(member string) string {
	s, _ := r.metadata()[member].(string)
	if s == "" {
		r.fatalf("metadata has no %s", member)
	}
	return s
}

func promptNoneLoggedIn(r *run) { r.again(r.login(), "prompt", "none") }

// again logs in a second time, without a page, as the same person.
func (r *run) again(first *login, change ...string) {
	r.w.clock.advance(2 * time.Second)
	l := r.login(change...)
	if l.id.Subject != first.id.Subject {
		r.errorf("sub %s, then %s", first.id.Subject, l.id.Subject)
	}
	if r.authTime(l) != r.authTime(first) {
		r.errorf("auth_time %d, then %d, and no page between", r.authTime(first), r.authTime(l))
	}
}

func maxAge1(r *run) {
	first := r.login()
	r.w.clock.advance(3 * time.Second)
	l, a := r.authorize("max_age", "1")
	r.wantPage(a)
	r.finish(l, r.browser.press(a, "yes"))
	if at := r.authTime(l); at <= r.authTime(first) || r.w.clock.now().Unix()-at > 2 {
		r.errorf("auth_time %d, at first %d, now %d", at, r.authTime(first), r.w.clock.now().Unix())
	}
}

func maxAge10000(r *run) { r.again(r.login("max_age", "10000"), "max_age", "10000") }

func idTokenHint(r *run) {
	first := r.login()
	r.again(first, "prompt", "none", "id_token_hint", first.raw)
}

func acrValues(r *run) {
	values, _ := r.metadata()["acr_values_supported"].([]any)
	if len(values) == 0 {
		r.warnf("metadata lists no acr_values_supported")
		values = []any{"1"}
	}
	want, _ := values[0].(string)
	if l := r.login("acr_values", want+" 1"); l.claims["acr"] != want {
		r.warnf("acr %v, asked for %s", l.claims["acr"], want)
	}
}

func codeReuse(r *run) {
	l := r.login()
	r.wantError(r.replay(l), http.StatusBadRequest, "invalid_grant")
}

// codeReuse30: "the authorization server ... SHOULD revoke (when possible) all
// tokens previously issued based on that authorization code" (RFC 6749
// section 4.1.2).
func codeReuse30(r *run) {
	l := r.login()
	r.w.clock.advance(30 * time.Second)
	r.wantError(r.replay(l), http.StatusBadRequest, "invalid_grant")
	if a := r.call("GET", r.op.UserInfoEndpoint(), "", "Authorization", "Bearer "+l.token.AccessToken); a.status/100 != 4 {
		r.warnf("the access token is good after the code was used twice: %d", a.status)
	}
}

func unregisteredRedirect(r *run) {
	_, a := r.authorize("redirect_uri", appRedirect+"/foobar")
	r.wantErrorPage(a)
}

func postRequest(r *run) {
	r.discover()
	l := r.request(r.app)
	r.finish(l, r.browser.post(l.app.Endpoint.AuthURL, appOrigin, l.query))
}

func secretPost(r *run) {
	r.discover()
	r.app.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	r.login()
}

func notSupported(parameter, value, code string) func(*run) {
	return func(r *run) {
		l, a := r.authorize(parameter, value)
		r.wantRedirectError(l, a, code)
	}
}

func claimsEssential(r *run) {
	l := r.login("claims", `{"userinfo":{"name":{"essential":true}}}`)
	if l.userdom["name"] == nil {
		r.warnf("no name in userinfo: OpenID Connect Core section 5.5 makes the parameter optional, and claims_parameter_supported is false; scope profile brings it")
	}
}

// refreshToken: OpenID Connect Core section 12.
func refreshToken(r *run) {
	l := r.login("scope", "openid offline_access")
	if !printable(l.token.RefreshToken) {
		r.fatalf("refresh_token %q", l.token.RefreshToken)
	}
	r.checkEntropy("refresh token", l.token.RefreshToken)
	r.w.clock.advance(2 * time.Second)
	a := r.refresh(l.app, l.token.RefreshToken)
	r.checkTokenAnswer(a)
	m := a.json()
	access, _ := m["access_token"].(string)
	if access == l.token.AccessToken {
		r.errorf("the access token is the old one")
	}
	second := &login{app: l.app, token: (&oauth2.Token{AccessToken: access}).WithExtra(m), nonce: l.nonce}
	if raw, _ := m["id_token"].(string); raw != "" && r.decode(raw, 1)["nonce"] == nil {
		second.nonce = ""
	}
	r.checkIDToken(second)
	if second.id.Subject != l.id.Subject || second.id.Issuer != l.id.Issuer || r.authTime(second) != r.authTime(l) {
		r.errorf("refreshed ID token %v, at first %v", second.claims, l.claims)
	}
	r.userinfo(second, "get")
	other := r.register(map[string]any{"redirect_uris": []string{appRedirect}})
	next, _ := m["refresh_token"].(string)
	r.wantError(r.refresh(other, next), http.StatusBadRequest, "invalid_grant")
}

func validPKCE(r *run) {
	r.pkce = true
	r.login()
}
