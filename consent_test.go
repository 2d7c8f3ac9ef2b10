// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

// registered is a client that registered itself.
func (f *fixture) addRegistered(id string, m admin.ClientMetadata) {
	f.t.Helper()
	if m.TokenEndpointAuthMethod == "" {
		m.TokenEndpointAuthMethod = authNone
	}
	f.addClient(id, "", m)
	f.editClient(id, func(c *client) {
		c.Origin = originRegistered
		c.Owner = &clientOwner{Subject: "userid:1002", Login: "gus@github", Node: "n1002CNTRL", Name: "gusbook"}
	})
}

// agent is a client that needs consent, with its redirect URI.
const agentRedirect = "https://agent.example/cb"

func withAgent(t *testing.T) *fixture {
	f := newFixture(t)
	f.addRegistered("agent", admin.ClientMetadata{Name: "Agent", RedirectURIs: []string{agentRedirect, "http://127.0.0.1/cb", "https://other.example/cb", "com.example.app:/cb"}})
	return f
}

func forAgent(change ...string) []string {
	for _, pair := range [][]string{{"client_id", "agent"}, {"redirect_uri", agentRedirect}} {
		if !slices.Contains(change, pair[0]) {
			change = append(pair, change...)
		}
	}
	return change
}

// TestConsentOnce: the page says who wants what, the answer is remembered for
// the same and for less, and asked again for more.
func TestConsentOnce(t *testing.T) {
	f := withAgent(t)
	f.allow(ada, `{"users":["*"],"resources":["*"]}`)
	b := f.browser(ada)
	ask := func(change ...string) string {
		t.Helper()
		b.login(forAgent(append(change, "prompt", "none")...)...).redirectError("consent_required")
		page := b.login(forAgent(change...)...).page(http.StatusOK)
		if !strings.Contains(page, "Allow</button>") {
			t.Fatalf("not asked for consent: %s", page)
		}
		return page
	}
	silent := func(change ...string) {
		t.Helper()
		b.login(forAgent(append(change, "prompt", "none")...)...).redirect().Get("code")
		if r := b.login(forAgent(change...)...); r.redirect().Get("code") == "" {
			t.Errorf("%v: no code", change)
		}
	}
	page := ask("scope", "openid email", "resource", testResource)
	for _, want := range []string{
		"Agent", "gus@github on gusbook", "https://agent.example", "ada@example.com", "lap", testResource, "know who you are", "see your email address", "Deny</button>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if r := b.press(page, "yes"); r.status != http.StatusSeeOther || r.redirect().Get("code") == "" {
		t.Fatalf("answer %d to %q", r.status, r.header.Get("Location"))
	}
	silent("scope", "openid email", "resource", testResource)
	silent("scope", "openid")
	b.press(ask("scope", "openid profile"), "yes").redirect()
	silent("scope", "openid profile email", "resource", testResource)
	ask("resource", "https://other.example/mcp")
	ask("redirect_uri", "https://other.example/cb")
	// Everybody answers for themselves, on all of their devices.
	f.browser(gus).login(forAgent("prompt", "none")...).redirectError("consent_required")
	// And only for this client.
	f.addRegistered("agent2", admin.ClientMetadata{Name: "Agent", RedirectURIs: []string{agentRedirect}})
	b.login(forAgent("client_id", "agent2", "prompt", "none")...).redirectError("consent_required")
	// prompt=consent asks although it is known.
	if page := b.login(forAgent("prompt", "consent")...).page(http.StatusOK); !strings.Contains(page, "Allow</button>") {
		t.Error("prompt=consent does not ask")
	}
	f.clock.advance(consentLifetime)
	ask("scope", "openid")
}

// TestConsentTrusted: what an administrator made needs none, whatever the
// client wishes.
func TestConsentTrusted(t *testing.T) {
	f := newFixture(t)
	f.authorize(ada, "prompt", "consent").response(webRedirect, "", "S1")
}

// TestConsentDenied: a person's no is an authorization response, and is not
// remembered as anything.
func TestConsentDenied(t *testing.T) {
	f := withAgent(t)
	b := f.browser(ada)
	r := b.press(b.login(forAgent()...).page(http.StatusOK), "no")
	r.redirectError("access_denied")
	if !strings.HasPrefix(r.header.Get("Location"), agentRedirect+"?") {
		t.Errorf("sent to %q", r.header.Get("Location"))
	}
	b.login(forAgent("prompt", "none")...).redirectError("consent_required")
}

// TestConsentIsForWhatWasShown: whatever changes while the page is open is
// asked again.
func TestConsentIsForWhatWasShown(t *testing.T) {
	for name, change := range map[string]func(*client){
		"name":         func(c *client) { c.Name = "Bank" },
		"redirect URI": func(c *client) { c.RedirectURIs = append(c.RedirectURIs, "https://evil.example/cb") },
		"logo":         func(c *client) { c.LogoURI = "https://evil.example/logo" },
		"registration": func(c *client) { c.CreatedAt = c.CreatedAt.Add(time.Hour) },
		"scope":        func(c *client) { c.Scope = "openid groups" },
	} {
		t.Run(name, func(t *testing.T) {
			f := withAgent(t)
			b := f.browser(ada)
			page := b.login(forAgent("scope", "")...).page(http.StatusOK)
			f.editClient("agent", change)
			again := b.press(page, "yes").page(http.StatusOK)
			if !strings.Contains(again, "Allow</button>") {
				t.Fatal("not asked again")
			}
			b.press(again, "yes").redirect()
			b.login(forAgent("scope", "", "prompt", "none")...).redirect()
			f.editClient("agent", func(c *client) { c.TOSURI = "https://new.example/" })
			b.login(forAgent("scope", "", "prompt", "none")...).redirectError("consent_required")
		})
	}
}

// TestConsentCannotBeSkipped: not by the login's page, not by a proof for
// something else, not from another page, not by a missing answer.
func TestConsentCannotBeSkipped(t *testing.T) {
	f := withAgent(t)
	b := f.browser(ada)
	const form = "application/x-www-form-urlencoded"
	// A proof of a login page of a trusted client does not count.
	_, login := htmlForm(t, b.login("prompt", "login").page(http.StatusOK))
	page := b.login(forAgent()...).page(http.StatusOK)
	action, fields := htmlForm(t, page)
	fields.Set("answer", "yes")
	mixed := url.Values{"query": fields["query"], "proof": login["proof"], "answer": {"yes"}}
	f.do(ada, "POST", action, form, mixed.Encode()).page(http.StatusBadRequest)
	f.do(ada, "POST", action, form, fields.Encode(), "Sec-Fetch-Site", "cross-site").page(http.StatusForbidden)
	f.do(ada, "POST", action, form, fields.Encode(), "Sec-Fetch-Site", "same-site").page(http.StatusForbidden)
	f.do(ada, "POST", action, form, fields.Encode(), "Origin", "https://agent.example").page(http.StatusForbidden)
	f.do(gus, "POST", action, form, fields.Encode()).page(http.StatusOK)
	for _, answer := range []string{"", "YES", "maybe"} {
		fields.Set("answer", answer)
		f.do(ada, "POST", action, form, fields.Encode()).redirectError("access_denied")
	}
	b.login(forAgent("prompt", "none")...).redirectError("consent_required")
	// A forged POST straight to the endpoint is a request like any other.
	f.do(ada, "POST", "/authorize", form, authorizeQuery(forAgent("answer", "yes")...).Encode()).page(http.StatusOK)
}

// TestConsentWarnings: what runs on the device itself could be anything.
func TestConsentWarnings(t *testing.T) {
	f := withAgent(t)
	b := f.browser(ada)
	for redirect, want := range map[string]bool{
		agentRedirect: false, "http://127.0.0.1:4711/cb": true, "com.example.app:/cb": true,
	} {
		page := b.login(forAgent("redirect_uri", redirect)...).page(http.StatusOK)
		if strings.Contains(page, "any program could call itself that") != want {
			t.Errorf("%s: warned %t, want %t", redirect, !want, want)
		}
	}
	b.press(b.login(forAgent("redirect_uri", "http://127.0.0.1:4711/cb")...).page(http.StatusOK), "yes").redirect()
	b.login(forAgent("redirect_uri", "http://127.0.0.1:9/cb", "prompt", "none")...).redirect() // the port is another at each start
}

// TestConsentEscapes: names and addresses are chosen by strangers.
func TestConsentEscapes(t *testing.T) {
	f := newFixture(t)
	f.addRegistered("evil", admin.ClientMetadata{Name: `"><script>alert(1)</script><b>`, RedirectURIs: []string{"https://evil.example/cb?a='()"}})
	page := f.browser(ada).login("client_id", "evil", "redirect_uri", "https://evil.example/cb?a='()", "state", "</form><script>").page(http.StatusOK)
	if strings.Contains(page, "<script") || strings.Contains(page, "<b>") {
		t.Errorf("markup in %s", page)
	}
	for _, name := range []string{"Bank\u202egnp", "Ba\u200bnk", "a\nb", "\ufeffBank", "x\u2066y"} {
		c := newTestClient(func(c *client) { c.Name = name })
		if err := c.validate(0); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
}

// TestConsentLinks: what the client names is there to be read, and loads
// nothing from it: not its logo, and no address but http and https.
func TestConsentLinks(t *testing.T) {
	f := newFixture(t)
	f.addRegistered("agent", admin.ClientMetadata{
		RedirectURIs: []string{agentRedirect}, ClientURI: "https://agent.example/", LogoURI: "https://agent.example/logo.png",
		PolicyURI: `https://agent.example/privacy?a="><script>`, TOSURI: "https://agent.example/terms",
	})
	f.editClient("agent", func(c *client) { c.TOSURI = "javascript:alert(1)" })
	page := f.browser(ada).login(forAgent()...).page(http.StatusOK)
	for _, want := range []string{
		`<dt>Its website</dt><dd><a href="https://agent.example/" rel="noopener noreferrer" target="_blank">`,
		`<a href="https://agent.example/logo.png"`, `<a href="https://agent.example/privacy?a=%22%3e%3cscript%3e"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
	for _, bad := range []string{"<img", "<script", `href="javascript:`} {
		if strings.Contains(page, bad) {
			t.Errorf("%s in %s", bad, page)
		}
	}
	f.addRegistered("plain", admin.ClientMetadata{RedirectURIs: []string{agentRedirect}})
	if page := f.browser(ada).login(forAgent("client_id", "plain")...).page(http.StatusOK); strings.Contains(page, "<a href") {
		t.Errorf("links of a client that has none in %s", page)
	}
}

// TestConsentConcurrent: two windows with two requests; both count.
func TestConsentConcurrent(t *testing.T) {
	f := withAgent(t)
	b := f.browser(ada)
	scopes := []string{"openid", "profile", "email", "groups", "tailscale", "offline_access"}
	var wg sync.WaitGroup
	for _, scope := range scopes {
		action, fields := htmlForm(t, b.login(forAgent("scope", scope)...).page(http.StatusOK))
		fields.Set("answer", "yes")
		wg.Go(func() {
			f.do(ada, "POST", action, "application/x-www-form-urlencoded", fields.Encode()).redirect()
		})
	}
	wg.Wait()
	b.login(forAgent("scope", strings.Join(scopes, " "), "prompt", "none")...).redirect()
}

// TestConsentStoreFails: then there is no code, and the client may try again.
func TestConsentStoreFails(t *testing.T) {
	for _, verb := range []string{"Put", "Get"} {
		broken := newFaultStore(t)
		f := newFixture(t, func(c *Config) { c.Store = broken })
		f.addRegistered("agent", admin.ClientMetadata{RedirectURIs: []string{agentRedirect}})
		b := f.browser(ada)
		page := b.login(forAgent()...).page(http.StatusOK)
		broken.setBroken(verb, false)
		b.press(page, "yes").redirectError("temporarily_unavailable")
		broken.setBroken("", false)
		b.press(page, "yes").redirect()
	}
}

// TestConsentNeedsPKCE: nobody looked at what a client that registered itself
// does; all of them use PKCE.
func TestConsentNeedsPKCE(t *testing.T) {
	f := newFixture(t)
	f.addClient("agent", webSecret, admin.ClientMetadata{RedirectURIs: []string{agentRedirect}})
	f.editClient("agent", func(c *client) { c.Origin = originRegistered })
	f.authorize(ada, append(forAgent(), noPKCE...)...).redirectError("invalid_request")
}

func TestRedirectHost(t *testing.T) {
	for uri, want := range map[string]string{
		"https://a.example/cb": "https://a.example", "https://a.example:8443/cb": "https://a.example:8443", "http://127.0.0.1:99/x": "http://127.0.0.1",
		"http://localhost/": "http://localhost", "http://[::1]:1/": "http://[::1]", "com.example.app:/cb": "com.example.app:", "cursor://x/y": "cursor:",
	} {
		if got := redirectHost(uri); got != want {
			t.Errorf("redirectHost(%q) = %q, want %q", uri, got, want)
		}
	}
}
