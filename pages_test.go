// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
)

var (
	hrefAttribute = regexp.MustCompile(`<a href="([^"]*)">`)
	styleElement  = regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	grantElement  = regexp.MustCompile(`(?s)<pre tabindex="0">(.*?)</pre>`)
	// ownTags are all that pages/error.html has.
	ownTags = regexp.MustCompile(`<(!doctype html|html lang="en"|/?(head|title|style|body|main|article|h1|h2|p|footer)|meta charset="utf-8"|meta name="viewport" content="width=device-width, initial-scale=1"|/html|pre tabindex="0"|/pre|a href="[^"<>]*"|/a)>`)
)

// noMarkup checks that a page has no markup but its own, whatever it echoes.
func noMarkup(t testing.TB, body string) {
	t.Helper()
	rest := ownTags.ReplaceAllString(styleElement.ReplaceAllString(body, ""), "")
	if strings.ContainsAny(rest, "<>") {
		t.Errorf("the page has markup that is not its own: %s", rest)
	}
	if strings.Contains(body, "no value") || strings.Contains(body, "ZgotmplZ") {
		t.Errorf("the page has holes: %s", content(body))
	}
	if strings.ContainsRune(body, 0) {
		t.Error("the page has a NUL")
	}
}

// content returns what a person reads of a page.
func content(body string) string {
	_, after, _ := strings.Cut(body, "<main>")
	return strings.TrimSpace(after)
}

// linkBack returns where the one link of a page leads.
func linkBack(t testing.TB, body string) string {
	t.Helper()
	links := hrefAttribute.FindAllStringSubmatch(body, -1)
	if len(links) != 1 {
		t.Fatalf("%d links, want one: %s", len(links), content(body))
	}
	return html.UnescapeString(links[0][1])
}

// TestPageHeaders: what a page says about itself, on every way to one.
func TestPageHeaders(t *testing.T) {
	t.Parallel() // a refused body delays the end of its server
	f := newFixture(t)
	for name, r := range map[string]*reply{
		"bad request":   f.authorize(ada, "client_id", ""),
		"client":        f.authorize(ada, "client_id", "nobody"),
		"redirect":      f.authorize(ada, "redirect_uri", "https://evil.example/"),
		"refusal":       f.authorize(ci),
		"grant":         f.authorize(ada, "resource", testResource),
		"nobody":        f.authorize(netip.MustParseAddr("100.64.9.9")),
		"no peer":       f.authorize(netip.Addr{}),
		"misdirected":   f.do(ada, "GET", "/authorize", "", "", "Host", "evil.example", "Accept", "text/html"),
		"method":        f.do(ada, "PUT", "/authorize", "", "", "Accept", "text/html"),
		"too large":     f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", strings.Repeat("x", 70000), "Accept", "text/html"),
		"no preference": f.do(ada, "GET", "/authorize", "", ""),
	} {
		body := r.page(r.status)
		if r.status < 400 {
			t.Errorf("%s: status %d", name, r.status)
		}
		style := styleElement.FindAllStringSubmatch(body, -1)
		if len(style) != 1 {
			t.Fatalf("%s: %d styles", name, len(style))
		}
		sum := sha256.Sum256([]byte(style[0][1]))
		want := map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "WWW-Authenticate": "", "Set-Cookie": "",
			// The style is the only thing that a page may have, by its hash.
			"Content-Security-Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'",
		}
		got := make(map[string]string)
		for header := range want {
			got[header] = strings.Join(r.header.Values(header), ", ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		noMarkup(t, body)
		for _, want := range []string{`<html lang="en">`, "<title>", "<h1>", r.header.Get("X-Request-Id")} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page lacks %s", name, want)
			}
		}
	}
}

// TestPageXSS: everything that a page repeats is text in it: of the request,
// of the client, of the tailnet.
func TestPageXSS(t *testing.T) {
	for _, payload := range []string{
		`<script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `</title><script>alert(1)</script>`, `</pre></style><script>`,
		`<!--`, `]]>`, `javascript:alert(1)`, `&lt;b&gt;&#60;b&#62;`, `{{.Client}}`, "\u003cb\u003e", `<a href="https://evil.example/">here</a>`, "`${alert(1)}`",
	} {
		t.Run(payload, func(t *testing.T) {
			f := newFixture(t)
			f.addClient("evil", webSecret, admin.ClientMetadata{Name: payload, RedirectURIs: []string{webRedirect, "https://app.example/'()*!"}, Access: accessGranted})
			var pages []string
			page := func(r *reply) { // errors of the protocol go to the client
				if r.status/100 != 3 {
					pages = append(pages, r.page(r.status))
				}
			}
			for _, name := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "resource", "prompt", "code_challenge", "request"} {
				for _, client := range []string{"web", "evil"} {
					page(f.authorize(ada, "client_id", client, name, payload))
					page(f.authorize(ci, "client_id", client, name, payload)) // a refusal, with a link back
				}
			}
			page(f.do(ada, "GET", "/authorize?"+authorizeQuery("client_id", "evil", "redirect_uri", "https://app.example/'()*!").Encode(), "", "", "Accept", "text/html"))
			page(f.authorize(ada, "resource", "https://r.example/"+strings.Trim(payload, "<>\"`{}")))
			// Profiles and tags are written by others.
			f.tailnet.edit(eve, func(res *apitype.WhoIsResponse) {
				res.UserProfile.LoginName, res.UserProfile.DisplayName = payload, payload
			})
			page(f.authorize(eve))
			f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) { res.Node.Tags = []string{"tag:" + payload, payload} })
			page(f.authorize(ci))
			f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) { res.UserProfile.LoginName = payload })
			body := f.authorize(gus, "resource", testResource).page(403)
			page(f.authorize(gus, "client_id", "evil"))
			for _, p := range append(pages, body) {
				noMarkup(t, p)
			}
			// The grant is still JSON, to be pasted.
			var grant map[string]any
			text := html.UnescapeString(grantElement.FindStringSubmatch(body)[1])
			if err := json.Unmarshal([]byte(text), &grant); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if diff := cmp.Diff([]any{payload}, grant["src"]); diff != "" {
				t.Errorf("src (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPageLinkBack: the link of a refusal leads to the redirect URI as it was
// asked for, also of a custom scheme, and to nothing that runs.
func TestPageLinkBack(t *testing.T) {
	uris := []string{webRedirect, "https://app.example/a%2fb?x=1&y=<>&z=%22", "app.immich:///oauth-callback", "com.example.app:cb", "http://127.0.0.1:80/x"}
	f := newFixture(t)
	f.addClient("many", webSecret, admin.ClientMetadata{Name: "Many", RedirectURIs: uris})
	for _, uri := range uris {
		body := f.authorize(ci, "client_id", "many", "redirect_uri", uri).page(403)
		noMarkup(t, body)
		back := linkBack(t, body)
		if strings.ContainsAny(uri, "<>") { // html/template escapes them once more
			uri = strings.NewReplacer("<", "%3c", ">", "%3e").Replace(uri)
		}
		if !strings.HasPrefix(back, uri) || !strings.Contains(back, "error=access_denied") {
			t.Errorf("the link leads to %s, want %s…", back, uri)
		}
		if !strings.Contains(body, "Return to Many") {
			t.Errorf("the link does not say where it leads: %s", content(body))
		}
	}
}

// TestPageRendering: a page that cannot be rendered is an error, whole.
func TestPageRendering(t *testing.T) {
	f := newFixture(t)
	if err := f.p.pages.render(nil, 200, "missing.html", nil); err == nil {
		t.Error("no error for a page that is not there")
	}
}
