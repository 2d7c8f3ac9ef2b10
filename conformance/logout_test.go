// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"net/http"
	"net/url"
	"strings"
)

const afterLogout = appOrigin + "/bye"

// logoutModules are those of 2.6.
func logoutModules() []module {
	p := "oidcc-rp-initiated-logout"
	toPost := redirected("/logout", "post_logout_redirect_uri")
	// silent is a provider that asks nobody.
	silent := onAnswer("nothing asked, nothing said", "/logout", func(a *answer) { a.body = nil; a.status = http.StatusNoContent })
	return []module{
		{name: p + "-discovery-endpoint-verification", test: logoutDiscovery, faults: []fault{
			onJSON("end_session_endpoint missing", "/openid-configuration", map[string]any{"end_session_endpoint": nil}),
			onJSON("end_session_endpoint http", "/openid-configuration", map[string]any{"end_session_endpoint": "http://idp.example/logout"}),
		}},
		{name: p, test: rpLogout("state", "S 1"), faults: []fault{
			ignored("/logout", "state"), ignored("/logout", "post_logout_redirect_uri"),
			{"still logged in", stillLoggedIn}, ignored("/authorize", "prompt"),
		}},
		{name: p + "-no-state", test: rpLogout(), faults: []fault{
			onParameters("state invented", "/logout", func(v url.Values) { v.Set("state", "x") }), {"still logged in", stillLoggedIn},
		}},
		{name: p + "-bad-post-logout-redirect-uri", test: logoutStays("post_logout_redirect_uri", "https://evil.example/bye"), faults: []fault{toPost, silent}},
		{name: p + "-query-added-to-post-logout-redirect-uri", test: logoutStays("post_logout_redirect_uri", afterLogout+"?foo=bar"), faults: []fault{toPost, silent}},
		{name: p + "-no-id-token-hint", test: logoutStays("id_token_hint", ""), faults: []fault{toPost, silent}},
		{name: p + "-modified-id-token-hint", test: badHint(unsigned), faults: []fault{toPost, silent}},
		{name: p + "-bad-id-token-hint", test: badHint(sign), faults: []fault{toPost, silent}},
		{name: p + "-no-params", test: logoutStays("id_token_hint", "", "post_logout_redirect_uri", "", "state", ""), faults: []fault{silent}},
		{name: p + "-no-post-logout-redirect-uri", test: logoutStays("post_logout_redirect_uri", ""), faults: []fault{silent}},
		{name: p + "-only-state", test: logoutStays("id_token_hint", "", "post_logout_redirect_uri", ""), faults: []fault{silent}},
	}
}

// stillLoggedIn is a browser that forgets the logout.
func stillLoggedIn(next exchange) exchange {
	return onAnswer("", "/logout", func(a *answer) { a.header.Del("Set-Cookie") }).apply(next)
}

func logoutDiscovery(r *run) {
	discovery(r)
	r.endpoint("end_session_endpoint")
}

// logout sends the browser to the logout endpoint after a login.
func (r *run) logout(change ...string) (*login, *answer) {
	r.discover()
	r.app = r.register(map[string]any{"redirect_uris": []string{appRedirect}, "post_logout_redirect_uris": []string{afterLogout}, "lean_id_token": true})
	l := r.login()
	q := url.Values{"id_token_hint": {l.raw}, "post_logout_redirect_uri": {afterLogout}, "state": {"S1"}}
	for i := 0; i < len(change); i += 2 {
		if q.Set(change[i], change[i+1]); change[i+1] == "" {
			q.Del(change[i])
		}
	}
	return l, r.browser.open(r.endpoint("end_session_endpoint")+"?"+q.Encode(), appOrigin)
}

func rpLogout(state ...string) func(*run) {
	return func(r *run) {
		if len(state) == 0 {
			state = []string{"state", ""}
		}
		_, a := r.logout(state...)
		if f := a.form(); f != nil {
			a = r.browser.press(a, "yes")
		}
		want := afterLogout
		if state[1] != "" {
			want += "?state=" + url.PathEscape(state[1])
		}
		if a.location() != want {
			r.errorf("redirected to %q, want %q", a.location(), want)
		}
		l, a := r.authorize("prompt", "none")
		r.wantRedirectError(l, a, "login_required", "interaction_required", "account_selection_required", "consent_required")
	}
}

// logoutStays: a page, which asks or says what happened, and no redirect,
// whatever the person presses.
func logoutStays(change ...string) func(*run) {
	return func(r *run) {
		_, a := r.logout(change...)
		r.wantStay(a)
	}
}

func (r *run) wantStay(a *answer) {
	if !a.isPage() || a.status >= 500 || text(a.body) == "" {
		r.fatalf("answer %d %s %q, want a page", a.status, a.header.Get("Content-Type"), a.location())
	}
	if a.form() != nil {
		if a = r.browser.press(a, "yes"); !a.isPage() || strings.HasPrefix(a.location(), appOrigin) {
			r.errorf("redirected to %q", a.location())
		}
	}
}

func badHint(forge func(map[string]any) string) func(*run) {
	return func(r *run) {
		r.discover()
		l := r.login()
		_, a := r.logout("id_token_hint", forge(r.decode(l.raw, 1)))
		r.wantStay(a)
	}
}
