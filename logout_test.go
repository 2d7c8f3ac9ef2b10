// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

const backURI = "https://app.example/goodbye?from=idp" // same origin as webRedirect

// logout sends a logout request by GET.
func (b *browser) logout(params ...string) *reply {
	b.t.Helper()
	return b.open("/logout", edited(url.Values{}, params))
}

// wantAsked checks that the next login of web shows a page, and would fail
// silently.
func (b *browser) wantAsked(change ...string) {
	b.t.Helper()
	b.login(append(change, "prompt", "none")...).redirectError("login_required")
	if page := b.login(change...).page(http.StatusOK); !strings.Contains(page, "You have signed out here.") {
		b.t.Errorf("page does not say why it asks: %s", page)
	}
}

// TestC52Logout: logout after the ID token has expired, in all its shapes.
func TestC52Logout(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) { testC52Logout(t, method) })
	}
}

func testC52Logout(t *testing.T, method string) {
	f := newFixture(t)
	hint := f.login(ada).IDToken
	f.clock.advance(3 * 24 * time.Hour)
	b := f.browser(ada)
	send := func(params ...string) *reply {
		t.Helper()
		q := edited(url.Values{}, params)
		if method == "GET" {
			return b.open("/logout", q)
		}
		return b.send("POST", "/logout", "application/x-www-form-urlencoded", q.Encode())
	}
	done := func(r *reply) {
		t.Helper()
		if page := r.page(http.StatusOK); !strings.Contains(page, "You are signed out of") || strings.Contains(page, "<form") {
			t.Errorf("page %s", page)
		}
	}
	sent := func(r *reply, want string) {
		t.Helper()
		if got := r.header.Get("Location"); got != want {
			t.Errorf("answer %d, sent to %q, want %q", r.status, got, want)
		}
	}
	asked := func(r *reply) string {
		t.Helper()
		page := r.page(http.StatusOK)
		if !strings.Contains(page, ">Sign out</button>") {
			t.Errorf("not asked: %s", page)
		}
		return page
	}

	done(send("id_token_hint", hint))                                                                                  // (a)
	sent(send("id_token_hint", hint, "post_logout_redirect_uri", backURI, "state", "S 1&"), backURI+"&state=S%201%26") // (b)
	sent(send("id_token_hint", hint, "client_id", "web", "post_logout_redirect_uri", backURI), backURI)
	page := asked(send("client_id", "web", "post_logout_redirect_uri", backURI, "state", "S1")) // (c)
	sent(b.press(page, "yes"), backURI+"&state=S1")
	done(b.press(asked(send()), "yes")) // (d)
	for _, astray := range []string{
		"https://evil.example/", backURI + "\r\nX: y", "//app.example/", "https://app.example.evil.example/", "https://app.example@evil.example/",
		"javascript:alert(1)", "http://app.example/goodbye", "https://app.example:444/", "https:/app.example/", `https://app.example\@evil.example/`, "data:text/html,x",
	} { // (e)
		done(send("id_token_hint", hint, "post_logout_redirect_uri", astray, "state", "S1"))
	}
	header, payload, _ := strings.Cut(hint, ".")
	payload, _, _ = strings.Cut(payload, ".")
	f.clock.advance(time.Second)
	none := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"alg":"none","typ":"JWT","kid":%q}`, headerOf(t, hint)["kid"])))
	for name, bad := range map[string]string{ // (f), (h)
		"rubbish": "rubbish", "none": none + "." + payload + ".", "none, signed": none + "." + payload + ".AAAA",
		"cut": hint[:len(hint)-5], "access token": f.login(ada).AccessToken, "dots": "..", "long": strings.Repeat("a", 20000), "no payload": header + "..x",
	} {
		page := asked(send("id_token_hint", bad, "client_id", "web", "post_logout_redirect_uri", backURI))
		t.Logf("%s asks", name)
		done(b.press(page, "yes"))
		f.clock.advance(time.Second)
	}
	send("id_token_hint", hint, "client_id", "pub").page(http.StatusBadRequest) // (g)
	send("client_id", "nobody").page(http.StatusBadRequest)
}

// TestLogoutEnds: what the client has on this device ends, and nothing else.
func TestLogoutEnds(t *testing.T) {
	f := newFixture(t)
	f.addClient("other", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	mine, gone := f.login(gus), f.login(ada)
	pub := f.redeemPub(f.code(ada, forPub()...)).tokens()
	code := f.code(ada) // in flight
	b := f.browser(ada)
	b.logout("id_token_hint", gone.IDToken)

	f.refresh(gone.RefreshToken).wantError(400, "invalid_grant")
	f.userinfo(gone.AccessToken).json(401)
	if f.introspect("web", gone.AccessToken)["active"] != false {
		t.Error("the access token is active")
	}
	f.redeem(code).wantError(400, "invalid_grant")
	f.refresh(mine.RefreshToken).tokens()
	f.userinfo(pub.AccessToken).json(200)

	b.wantAsked()
	// Another application is not affected.
	b.login("client_id", "other", "prompt", "none").response(webRedirect, "", "S1")
	// Continuing ends it, and gives a login that works.
	f.clock.advance(time.Second)
	b.idToken(b.press(b.login().page(http.StatusOK), "yes"))
	b.login("prompt", "none").response(webRedirect, "", "S1")
	// Declining does not.
	b.logout("id_token_hint", gone.IDToken)
	b.press(b.login().page(http.StatusOK), "no").redirectError("access_denied")
	b.wantAsked()
}

// TestLogoutOfAll: without a client it is all of them, until the person
// continues.
func TestLogoutOfAll(t *testing.T) {
	f := newFixture(t)
	web := f.login(ada)
	pub := f.redeemPub(f.code(ada, forPub()...)).tokens()
	b := f.browser(ada)
	page := b.logout().page(http.StatusOK)
	b.login("prompt", "none").response(webRedirect, "", "S1") // asking does nothing
	f.userinfo(web.AccessToken).json(200)
	b.press(page, "yes").page(http.StatusOK)
	f.userinfo(web.AccessToken).json(401)
	f.userinfo(pub.AccessToken).json(401)
	b.wantAsked()
	b.wantAsked(forPub()...)
	b.press(b.login().page(http.StatusOK), "yes").redirect()
	b.login(forPub("prompt", "none")...).redirect()
}

// TestLogoutOfMany: the cookie stays small.
func TestLogoutOfMany(t *testing.T) {
	var s session
	for i := range maxSignedOut {
		s.signOut(fmt.Sprint("client", i))
	}
	if !s.signedOut("client0") || s.signedOut("web") || len(s.SignedOut) != maxSignedOut {
		t.Fatalf("%d marks", len(s.SignedOut))
	}
	s.signOut("one more")
	if !s.signedOut("client0") || !s.signedOut("web") || len(s.SignedOut) != 1 {
		t.Errorf("marks %q", s.SignedOut)
	}
}

// TestLogoutOfSomebodyElse: their hint proves nothing about who is here.
func TestLogoutOfSomebodyElse(t *testing.T) {
	f := newFixture(t)
	hint, mine := f.login(gus).IDToken, f.login(ada)
	b := f.browser(ada)
	page := b.logout("id_token_hint", hint, "post_logout_redirect_uri", backURI).page(http.StatusOK)
	f.userinfo(mine.AccessToken).json(200)
	if got := b.press(page, "yes").header.Get("Location"); got != backURI {
		t.Errorf("sent to %q", got)
	}
	f.userinfo(mine.AccessToken).json(401)
}

// TestPostLogoutRedirectURIs: once some are registered, only they count, as
// text.
func TestPostLogoutRedirectURIs(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) { c.PostLogoutRedirectURIs = []string{"https://app.example/out", "app.example:/out"} })
	f.clock.advance(2 * time.Second)
	hint := f.login(ada).IDToken
	b := f.browser(ada)
	for uri, ok := range map[string]bool{
		"https://app.example/out": true, "app.example:/out": true,
		"https://app.example/out/": false, "https://app.example/out?x": false, "https://app.example/OUT": false, backURI: false, "https://app.example": false,
	} {
		if got := b.logout("id_token_hint", hint, "post_logout_redirect_uri", uri).header.Get("Location"); (got == uri) != ok {
			t.Errorf("%s: sent to %q", uri, got)
		}
	}
	for _, bad := range []string{"javascript:alert(1)", "https://app.example/#x", "nonsense"} {
		f.do(adm, "POST", "/api/v1/clients", "application/json", fmt.Sprintf(`{"redirect_uris":[%q],"post_logout_redirect_uris":[%q]}`, webRedirect, bad)).wantError(400, "invalid_client_metadata")
	}
}

// TestLogoutForged: nobody logs others out, and only people of the tailnet
// log out at all.
func TestLogoutForged(t *testing.T) {
	f := newFixture(t)
	mine := f.login(ada)
	b := f.browser(ada)
	page := b.logout("client_id", "web").page(http.StatusOK)
	action, fields := htmlForm(t, page)
	fields.Set("answer", "yes")
	const form = "application/x-www-form-urlencoded"
	f.do(ada, "POST", action, form, fields.Encode(), "Origin", "https://evil.example").page(http.StatusForbidden)
	f.do(ada, "POST", "/authorize/continue", form, fields.Encode()).page(http.StatusBadRequest)
	f.do(gus, "POST", action, form, fields.Encode()).page(http.StatusOK) // asked himself
	fields.Set("query", "client_id=pub")
	f.do(ada, "POST", action, form, fields.Encode()).page(http.StatusBadRequest)
	f.do(ada, "GET", "/logout", "", "", "Host", "evil.example").page(http.StatusMisdirectedRequest)
	f.do(netip.MustParseAddr("100.64.9.9"), "GET", "/logout", "", "").page(http.StatusForbidden)
	f.do(ada, "GET", "/logout?client_id=web&client_id=web", "", "").page(http.StatusBadRequest)
	f.do(ada, "GET", "/logout?client_id=%ff", "", "").page(http.StatusBadRequest)
	r := f.do(ada, "POST", "/logout", form, url.Values{"id_token_hint": {mine.IDToken}}.Encode(), "Origin", "https://app.example")
	if r.status != http.StatusSeeOther || !strings.HasPrefix(r.header.Get("Location"), testIssuer+"/logout?id_token_hint=") {
		t.Errorf("a foreign form: %d to %q", r.status, r.header.Get("Location"))
	}
	f.userinfo(mine.AccessToken).json(200)
}

// TestLogoutStoreFails: then nothing has happened, and the page says so.
func TestLogoutStoreFails(t *testing.T) {
	broken := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = broken })
	hint := f.login(ada).IDToken
	b := f.browser(ada)
	b.login()
	broken.setBroken("Revoke", false)
	r := b.logout("id_token_hint", hint, "post_logout_redirect_uri", backURI)
	r.page(http.StatusServiceUnavailable)
	if r.header.Get("Set-Cookie") != "" {
		t.Error("signed out by a cookie though nothing was revoked")
	}
}

// TestLogoutElsewhere: where nobody is known it is the static page.
func TestLogoutElsewhere(t *testing.T) {
	f := newFixture(t)
	hint := f.login(ada).IDToken
	f.client = serve(t, withTestPeer(f.p.PublicHandler()))
	for _, path := range []string{"/logout?id_token_hint=" + hint, "/authorize/continue", "/logout/continue"} {
		r := f.do(ada, "GET", path, "", "", "Accept", "text/html")
		if r.status != http.StatusForbidden && r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}
