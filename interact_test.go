// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"html"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
)

// A browser is somebody's on one device: it keeps the cookie, and fills in
// the forms that it is shown.
type browser struct {
	*fixture
	as     netip.Addr
	cookie string
	header []string
}

// TestFormPolicy: with the policy no-referrer browsers would send our own forms
// with Origin: null, which is refused.
func TestFormPolicy(t *testing.T) {
	r := newFixture(t).browser(ada).login("prompt", "login")
	if !formAction.MatchString(r.page(200)) || r.header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("Referrer-Policy %q of %s", r.header.Get("Referrer-Policy"), content(r.body))
	}
}

func (f *fixture) browser(as netip.Addr, header ...string) *browser {
	return &browser{fixture: f, as: as, header: header}
}

func (b *browser) send(method, target, contentType, body string) *reply {
	b.t.Helper()
	header := append([]string{"Accept", "text/html,*/*"}, b.header...)
	if b.cookie != "" {
		header = append(header, "Cookie", b.cookie)
	}
	r := b.do(b.as, method, target, contentType, body, header...)
	if set := r.header.Get("Set-Cookie"); set != "" {
		b.cookie, _, _ = strings.Cut(set, ";")
	}
	return r
}

func (b *browser) open(path string, q url.Values) *reply {
	b.t.Helper()
	return b.send("GET", path+"?"+q.Encode(), "", "")
}

func (b *browser) login(change ...string) *reply {
	b.t.Helper()
	return b.open("/authorize", authorizeQuery(change...))
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	formInput  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// htmlForm reads the form of a page.
func htmlForm(t testing.TB, page string) (action string, fields url.Values) {
	t.Helper()
	m := formAction.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no form in %s", page)
	}
	fields = url.Values{}
	for _, in := range formInput.FindAllStringSubmatch(page, -1) {
		fields.Add(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
	}
	return html.UnescapeString(m[1]), fields
}

// press submits the form of a page with one of its buttons.
func (b *browser) press(page, answer string) *reply {
	b.t.Helper()
	action, fields := htmlForm(b.t, page)
	fields.Set("answer", answer)
	return b.send("POST", action, "application/x-www-form-urlencoded", fields.Encode())
}

// idToken redeems the code of a redirect.
func (b *browser) idToken(r *reply) map[string]any {
	b.t.Helper()
	return claimsOf(b.t, b.redeem(r.redirect().Get("code")).tokens().IDToken)
}

// TestPromptLogin: a page asks, the button stamps auth_time, and without it
// there is no code (OpenID Connect Core section 3.1.2.1).
func TestPromptLogin(t *testing.T) {
	for _, prompt := range []string{"login", "select_account", "login consent", "select_account login"} {
		t.Run(prompt, func(t *testing.T) {
			f := newFixture(t)
			b := f.browser(ada)
			first := b.idToken(b.login())["auth_time"].(float64)
			f.clock.advance(time.Minute)
			page := b.login("prompt", prompt).page(http.StatusOK)
			for _, want := range []string{"Web App", "ada@example.com", "lap", "tailscale switch"} {
				if !strings.Contains(page, want) {
					t.Errorf("the page does not say %q:\n%s", want, page)
				}
			}
			f.clock.advance(time.Second)
			r := b.press(page, "yes")
			if r.status != http.StatusSeeOther || r.redirect().Get("state") != "S1" || r.redirect().Get("iss") != testIssuer {
				t.Fatalf("answer %d to %q", r.status, r.header.Get("Location"))
			}
			if got := b.idToken(r)["auth_time"].(float64); got != first+61 {
				t.Errorf("auth_time %v, want %v", got, first+61)
			}
		})
	}
}

// TestDeclineLogin: a person's own no is an authorization response.
func TestDeclineLogin(t *testing.T) {
	f := newFixture(t)
	b := f.browser(ada)
	r := b.press(b.login("prompt", "login").page(http.StatusOK), "no")
	r.redirectError("access_denied")
	if r.redirect().Get("state") != "S1" {
		t.Error("no state")
	}
}

// TestMaxAge: what is younger needs no page, what is older does.
func TestMaxAge(t *testing.T) {
	f := newFixture(t)
	b := f.browser(ada)
	first := b.idToken(b.login("max_age", "1"))["auth_time"]
	f.clock.advance(2 * time.Second)
	if again := b.idToken(b.login("max_age", "10000"))["auth_time"]; again != first {
		t.Errorf("auth_time went from %v to %v without a page", first, again)
	}
	if again := b.idToken(b.login("max_age", "2"))["auth_time"]; again != first {
		t.Error("exactly max_age is not too old")
	}
	b.login("max_age", "1", "prompt", "none").redirectError("login_required")
	page := b.login("max_age", "1").page(http.StatusOK)
	if got := b.idToken(b.press(page, "yes"))["auth_time"].(float64); got != first.(float64)+2 {
		t.Errorf("auth_time %v after the page, want %v", got, first.(float64)+2)
	}
	b.login("max_age", "1").redirect()
	b.login("max_age", "0").page(http.StatusOK)
	b.login("max_age", "0", "prompt", "none").redirectError("login_required")
	for _, bad := range []string{"x", "-1", "1.5", "99999999999", " 1", "1e3"} {
		b.login("max_age", bad).redirectError("invalid_request")
	}
}

// TestNoCookie: without the cookie being there is the login, and its time is
// now; it can only make us ask more.
func TestNoCookie(t *testing.T) {
	f := newFixture(t)
	f.browser(ada).login("max_age", "1").redirect()
	f.clock.advance(time.Hour)
	if got := claimsOf(t, f.login(ada, "max_age", "1").IDToken)["auth_time"].(float64); int64(got) != f.clock.now().Unix() {
		t.Errorf("auth_time %v, want now", got)
	}
}

// TestForeignCookie: one of another user, another node, another purpose or of
// our own making says nothing.
func TestForeignCookie(t *testing.T) {
	f := newFixture(t)
	b := f.browser(ada)
	b.login()
	name, value, _ := strings.Cut(b.cookie, "=")
	if name != "__Host-tsidp" {
		t.Fatalf("cookie %q", b.cookie)
	}
	f.clock.advance(time.Hour)
	other := f.browser(gus)
	for _, cookie := range []string{value, "", "x", value[1:], strings.Repeat("A", 9000), f.code(ada)} {
		other.cookie = name + "=" + cookie
		other.login("max_age", "10", "prompt", "none").redirect()
	}
	moved := f.browser(ada)
	moved.cookie = b.cookie
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOtherCNTRL" })
	moved.login("max_age", "10", "prompt", "none").redirect()
}

// TestSessionCookie looks at its attributes.
func TestSessionCookie(t *testing.T) {
	f := newFixture(t)
	r := f.browser(ada).login()
	c, err := http.ParseSetCookie(r.header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "__Host-tsidp" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %+v", c)
	}
	if r := f.browser(ada).login("scope", "nonsense"); r.header.Get("Set-Cookie") != "" {
		t.Error("an error sets the cookie")
	}
	b := f.browser(ada)
	b.login()
	if r := b.login(); r.header.Get("Set-Cookie") != "" {
		t.Error("the cookie is set again though nothing changed")
	}
}

// TestContinueForged: the button works for the person who was shown the page,
// for that request, in time, and from our page only.
func TestContinueForged(t *testing.T) {
	f := newFixture(t)
	b := f.browser(ada)
	page := b.login("prompt", "login").page(http.StatusOK)
	action, fields := htmlForm(t, page)
	fields.Set("answer", "yes")
	change := func(pairs ...string) string { return edited(mustQuery(fields.Encode()), pairs).Encode() }
	const form = "application/x-www-form-urlencoded"

	for name, body := range map[string]string{
		"no proof":            change("proof", ""),
		"proof of our making": change("proof", "AAAA"),
		"another request":     change("query", strings.Replace(fields.Get("query"), "S1", "S2", 1)),
		"a code for a proof":  change("proof", f.code(ada)),
		"nothing":             "",
	} {
		t.Run(name, func(t *testing.T) {
			f.in(t).do(ada, "POST", action, form, body, "Accept", "text/html").page(http.StatusBadRequest)
		})
	}
	for name, header := range map[string][]string{
		"another origin": {"Origin", "https://evil.example"},
		"null origin":    {"Origin", "null"},
		"cross-site":     {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
		"same site":      {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"},
	} {
		t.Run(name, func(t *testing.T) {
			f.in(t).do(ada, "POST", action, form, change(), append(header, "Accept", "text/html")...).page(http.StatusForbidden)
		})
	}
	f.do(ada, "POST", action, form, change(), "Host", "evil.example").page(http.StatusMisdirectedRequest)
	f.do(ada, "GET", action+"?"+change(), "", "", "Accept", "text/html").page(http.StatusMethodNotAllowed)

	// Somebody else, or the same person too late, is asked in turn.
	r := f.browser(gus)
	if again := r.press(page, "yes").page(http.StatusOK); !strings.Contains(again, "gus@github") || strings.Contains(again, "ada@") {
		t.Error("the page is not for who is there now")
	}
	f.clock.advance(interactionLifetime)
	b.press(page, "yes").page(http.StatusOK)
}

func mustQuery(s string) url.Values {
	v, err := url.ParseQuery(s)
	if err != nil {
		panic(err)
	}
	return v
}

// TestContinueAfterChange: between page and button everything may change, and
// all checks are made again.
func TestContinueAfterChange(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*fixture)
		want   int
	}{
		"client deleted":  {func(f *fixture) { (&backend{p: f.p}).DeleteClient(t.Context(), "web", nil) }, http.StatusBadRequest},
		"client disabled": {func(f *fixture) { f.editClient("web", func(c *client) { c.Disabled = true }) }, http.StatusForbidden},
		"node tagged": {func(f *fixture) {
			f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.Tags = []string{"tag:ci"} })
		}, http.StatusForbidden},
		"redirect URI": {func(f *fixture) {
			f.editClient("web", func(c *client) { c.RedirectURIs = []string{"https://other.example/cb"} })
		}, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			b := f.browser(ada)
			page := b.login("prompt", "login").page(http.StatusOK)
			tt.change(f)
			f.clock.advance(2 * time.Second)
			b.press(page, "yes").page(tt.want)
		})
	}
}

// TestInteractionEscapes: the page is made of texts that others chose.
func TestInteractionEscapes(t *testing.T) {
	f := newFixture(t)
	const evil = `"><script>alert(1)</script>`
	f.addClient("evil", webSecret, admin.ClientMetadata{Name: evil, RedirectURIs: []string{webRedirect}})
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) {
		res.UserProfile.LoginName = evil + "@example.com"
		res.Node.Name = evil + ".tail1234.ts.net."
	})
	b := f.browser(ada)
	page := b.login("prompt", "login", "client_id", "evil", "state", evil).page(http.StatusOK)
	if strings.Contains(page, "<script") {
		t.Errorf("script in %s", page)
	}
	if got := b.press(page, "yes").redirect().Get("state"); got != evil {
		t.Errorf("state %q", got)
	}
}

// TestIDTokenHint: OpenID Connect Core section 3.1.2.1.
func TestIDTokenHint(t *testing.T) {
	f := newFixture(t)
	own, other := f.login(ada).IDToken, f.login(gus).IDToken
	f.clock.advance(3 * 24 * time.Hour) // a hint may have expired
	b := f.browser(ada)
	b.login("prompt", "none", "id_token_hint", own).response(webRedirect, "", "S1")
	b.login("prompt", "none", "id_token_hint", other).redirectError("login_required")
	b.login("id_token_hint", other).redirectError("login_required")
	b.login("prompt", "none", "id_token_hint", "rubbish").redirectError("login_required")
	b.login("id_token_hint", "rubbish").response(webRedirect, "", "S1")
	b.login("prompt", "none", "id_token_hint", f.login(ada).AccessToken).redirectError("login_required")
}

// TestHarmlessParameters: what has no meaning here changes nothing.
func TestHarmlessParameters(t *testing.T) {
	f := newFixture(t)
	for _, p := range [][]string{
		{"display", "page"}, {"display", "popup"}, {"ui_locales", "se fr"}, {"claims_locales", "se"}, {"login_hint", "somebody@else.example"},
		{"acr_values", "urn:mace:incommon:iap:silver phr"}, {"extra", "foobar"}, {"access_type", "offline"}, {"audience", "api"}, {"domain_hint", "x"},
		{"claims", `{"id_token":{"groups":{"essential":true}},"userinfo":{"name":{"essential":true}}}`}, {"claims", "{"}, {"prompt", "unheard-of"},
	} {
		t.Run(p[0], func(t *testing.T) { f.in(t).authorize(ada, p...).response(webRedirect, "", "S1") })
	}
	id := claimsOf(t, f.login(ada, "acr_values", "other "+acrNode).IDToken)
	if id["acr"] != acrNode || fmt.Sprint(id["amr"]) != "[pop]" {
		t.Errorf("acr %v, amr %v", id["acr"], id["amr"])
	}
}

// TestAuthTimeSurvivesRefresh: it is that of the login, not of the refresh.
func TestAuthTimeSurvivesRefresh(t *testing.T) {
	f := newFixture(t)
	first := f.login(ada)
	f.clock.advance(time.Hour)
	again := f.refresh(first.RefreshToken).tokens()
	for _, pair := range [][2]string{{first.IDToken, again.IDToken}, {first.AccessToken, again.AccessToken}} {
		a, b := claimsOf(t, pair[0]), claimsOf(t, pair[1])
		if a["auth_time"] != b["auth_time"] || a["acr"] != b["acr"] || a["auth_time"] == nil {
			t.Errorf("auth_time %v, acr %v became %v, %v", a["auth_time"], a["acr"], b["auth_time"], b["acr"])
		}
	}
}

// TestForeignPost: a form that an application's page posts comes without the
// cookie, so it comes again as a navigation, with nothing lost.
func TestForeignPost(t *testing.T) {
	f := newFixture(t)
	q := authorizeQuery("resource", testResource, "resource", testIssuer, "state", "a b&c=%41+\xff")
	for name, header := range map[string][]string{
		"over https": {"Origin", "https://app.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
		"opaque":     {"Origin", "null"},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			r := f.do(adm, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode(), header...)
			target, ok := strings.CutPrefix(r.header.Get("Location"), testIssuer+"/authorize?")
			if r.status != http.StatusSeeOther || !ok || len(r.header.Values("Set-Cookie")) != 0 {
				t.Fatalf("answer %d to %q", r.status, r.header.Get("Location"))
			}
			f.get(adm, target).response(webRedirect, "", q.Get("state"))
		})
	}
	f.do(adm, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode()+"&pad="+strings.Repeat("x", maxOwnQuery), "Origin", "null").
		page(http.StatusRequestEntityTooLarge)
	f.do(adm, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode()+"&state=2", "Origin", "null").page(http.StatusBadRequest)
}

// TestFormPost: the response is a form that submits itself, or is submitted
// by its button, to the redirect URI (OAuth 2.0 Form Post Response Mode).
func TestFormPost(t *testing.T) {
	f := newFixture(t)
	const state = `<"&'> +%` + "é"
	read := func(r *reply, want ...string) url.Values {
		t.Helper()
		page := r.page(http.StatusOK)
		action, fields := htmlForm(t, page)
		if action != webRedirect {
			t.Errorf("action %q", action)
		}
		csp := r.header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "script-src 'sha256-") || strings.Contains(csp, "form-action") || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %q", csp)
		}
		if !strings.Contains(page, "<button>") {
			t.Error("no button for browsers without scripts")
		}
		var names []string
		for name, v := range fields {
			names = append(names, name)
			if len(v) != 1 {
				t.Errorf("%s comes %d times", name, len(v))
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("fields %q, want %q", names, want)
		}
		if fields.Get("state") != state || fields.Get("iss") != testIssuer {
			t.Errorf("state %q, iss %q", fields.Get("state"), fields.Get("iss"))
		}
		return fields
	}
	fields := read(f.authorize(ada, "response_mode", "form_post", "state", state), "code", "iss", "state")
	f.redeem(fields.Get("code")).tokens()

	fields = read(f.authorize(ada, "response_mode", "form_post", "state", state, "response_type", "token"), "error", "error_description", "iss", "state")
	if fields.Get("error") != "unsupported_response_type" {
		t.Errorf("error %q", fields.Get("error"))
	}
	read(f.authorize(ada, "response_mode", "form_post", "state", state, "prompt", "none", "max_age", "0"), "error", "error_description", "iss", "state")

	// The page that a refused person sees leads back in the same way.
	refused := f.authorize(ci, "response_mode", "form_post", "state", state).page(http.StatusForbidden)
	if action, fields := htmlForm(t, refused); action != webRedirect || fields.Get("error") != "access_denied" || fields.Get("state") != state {
		t.Errorf("the refusal leads to %q with %v", action, fields)
	}
	// The page that interrupts keeps the mode.
	b := f.browser(ada)
	read(b.press(b.login("response_mode", "form_post", "state", state, "prompt", "login").page(http.StatusOK), "yes"), "code", "iss", "state")
}

// TestFormPostNeedsWeb: nothing can be posted to an application's own scheme.
func TestFormPostNeedsWeb(t *testing.T) {
	f := newFixture(t)
	f.addClient("app", "", admin.ClientMetadata{RedirectURIs: []string{"com.example.app:/cb"}, TokenEndpointAuthMethod: authNone})
	r := f.authorize(ada, "client_id", "app", "redirect_uri", "com.example.app:/cb", "response_mode", "form_post")
	r.response("com.example.app:/cb", "invalid_request", "S1")
	f.authorize(ada, "response_mode", "fragment").redirectError("invalid_request")
}
