// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/tailscale/apitype"
)

// mcpRule is the grant of the case C59.
const mcpRule = `{"users":["*"],"resources":["https://mcp.tail1234.ts.net/mcp"]}`

// get sends the authorization request with the query as it stands.
func (f *fixture) get(as netip.Addr, query string, header ...string) *reply {
	f.t.Helper()
	if len(header) == 0 {
		header = []string{"Accept", "text/html,*/*"}
	}
	return f.do(as, "GET", "/authorize?"+query, "", "", header...)
}

// errorDescription is what RFC 6749 section 4.1.2.1 allows.
var errorDescription = regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`)

// response checks an authorization response that went to replyTo: its form,
// state and iss. want is the error, or "" for a code. It returns the query.
func (r *reply) response(replyTo, want, state string) url.Values {
	r.t.Helper()
	if r.status != http.StatusFound && r.status != http.StatusSeeOther {
		r.t.Fatalf("answer %d %s, want a redirect", r.status, r.body)
	}
	location := r.header.Get("Location")
	sep := "?"
	if strings.Contains(replyTo, "?") {
		sep = "&"
	}
	rest, ok := strings.CutPrefix(location, replyTo+sep)
	if !ok {
		r.t.Fatalf("redirected to %s, want %s%s…", location, replyTo, sep)
	}
	q, err := url.ParseQuery(rest)
	if err != nil {
		r.t.Fatalf("redirected to %s: %v", location, err)
	}
	if strings.ContainsAny(rest, "+#?\r\n ") || rest != strings.Trim(rest, "&") {
		r.t.Errorf("response %q has characters that need not be understood", rest)
	}
	for name, list := range q {
		if len(list) != 1 {
			r.t.Errorf("%s came %d times", name, len(list))
		}
	}
	if got := q.Get("state"); got != state || q.Has("state") != (state != "") {
		r.t.Errorf("state %q, want %q", got, state)
	}
	if q.Get("iss") != testIssuer {
		r.t.Errorf("iss %q, want the issuer", q["iss"])
	}
	if want == "" {
		if !q.Has("code") || q.Has("error") || q.Has("error_description") || len(q) != 2+len(q["state"]) {
			r.t.Fatalf("response %v, want a code alone", q)
		}
		return q
	}
	if q.Get("error") != want || q.Has("code") {
		r.t.Fatalf("response %v, want the error %s", q, want)
	}
	if !errorDescription.MatchString(q.Get("error_description")) {
		r.t.Errorf("error_description %q", q.Get("error_description"))
	}
	return q
}

// TestC01CustomScheme: a custom scheme with empty authority is text, not a
// URL to be put together again.
func TestC01CustomScheme(t *testing.T) {
	f := newFixture(t)
	const registered = "app.immich:///oauth-callback"
	f.addClient("immich", "", admin.ClientMetadata{RedirectURIs: []string{registered}, TokenEndpointAuthMethod: authNone})
	ask := func(uri string) *reply {
		return f.authorize(ada, "client_id", "immich", "redirect_uri", uri)
	}
	code := ask(registered).response(registered, "", "S1").Get("code")
	for _, uri := range []string{"app.immich:/oauth-callback", "app.immich://oauth-callback", "app.immich:////oauth-callback", "APP.immich:///oauth-callback", registered + "/", registered + "?"} {
		ask(uri).page(400)
		f.redeemPub(code, "client_id", "immich", "redirect_uri", uri).wantError(400, "invalid_grant")
	}
	f.redeemPub(code, "client_id", "immich", "redirect_uri", registered).json(200)
	stored := f.do(adm, "GET", "/api/v1/clients/immich", "", "").json(200)
	if diff := cmp.Diff([]any{registered}, stored["redirect_uris"]); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestCustomSchemeLocation: Location begins with what was registered, byte
// for byte, on success and on error.
func TestCustomSchemeLocation(t *testing.T) {
	uris := []string{
		"com.example.app:/cb", "com.example.app://cb", "com.example.app:cb", "com.example.app://HOST/%7Euser/./a/../b//c", "app.x://cb?b=2&a=1&a=%41",
		"app.x:/cb;v=1,2", "cursor://anysphere.cursor-retrieval/oauth/cb", "https://App.Example/CB", "https://app.example:443/cb", "https://app.example",
		"https://app.example?", "https://app.example/cb?x=1&", "https://app.example/cb?", "http://[::1]/cb", "https://app.example/a%2fb%20c", "https://app.example/(cb)'*",
	}
	f := newFixture(t)
	f.addClient("many", webSecret, admin.ClientMetadata{RedirectURIs: uris})
	for _, uri := range uris {
		for _, want := range []string{"", "invalid_scope"} {
			scope := "openid"
			if want != "" {
				scope = "nonsense"
			}
			r := f.authorize(ada, "client_id", "many", "redirect_uri", uri, "scope", scope)
			location := r.header.Get("Location")
			rest, ok := strings.CutPrefix(location, uri)
			if !ok {
				t.Errorf("Location %s does not begin with %s", location, uri)
				continue
			}
			sep := "?"
			switch {
			case strings.HasSuffix(uri, "?"), strings.HasSuffix(uri, "&"):
				sep = ""
			case strings.Contains(uri, "?"):
				sep = "&"
			}
			rest, ok = strings.CutPrefix(rest, sep)
			q, err := url.ParseQuery(rest)
			if !ok || err != nil || q.Get("state") != "S1" || q.Get("error") != want || q.Has("code") != (want == "") {
				t.Errorf("Location %s after %s: %v", location, uri, err)
			}
		}
	}
}

// TestC02Fragment: an application that cannot be changed sends a fragment.
func TestC02Fragment(t *testing.T) {
	f := newFixture(t)
	f.addClient("nas", webSecret, admin.ClientMetadata{Name: "Strict NAS", RedirectURIs: []string{"https://nas.example/"}})
	f.addClient("old-nas", webSecret, admin.ClientMetadata{Name: "Old NAS", RedirectURIs: []string{"https://nas.example/"}, IgnoreFragment: true})
	const asked = "https://nas.example/#/signin"

	body := f.authorize(ada, "client_id", "nas", "redirect_uri", asked).page(400)
	for _, want := range []string{asked, "Strict NAS", "fragment", "ignore_fragment"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q: %s", want, content(body))
		}
	}
	code := f.authorize(ada, "client_id", "old-nas", "redirect_uri", asked).response("https://nas.example/", "", "S1").Get("code")
	f.authorize(ada, "client_id", "old-nas", "redirect_uri", asked, "response_type", "token").response("https://nas.example/", "unsupported_response_type", "S1")
	for _, uri := range []string{"https://nas.example/x#/signin", "https://evil.example/#/signin", "https://nas.example/?x#/signin", "https://nas.example#/signin", "#", "https://nas.example/%23/signin"} {
		f.authorize(ada, "client_id", "old-nas", "redirect_uri", uri).page(400)
	}

	redeem := func(uri string) *reply {
		return f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {uri}, "code_verifier": {testVerifier}}, basicAuth("old-nas", webSecret)...)
	}
	// "their values MUST be identical": the string that was sent counts.
	redeem("https://nas.example/").wantError(400, "invalid_grant")
	redeem("https://nas.example/#/other").wantError(400, "invalid_grant")
	redeem(asked).json(200)

	r := f.do(adm, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["`+asked+`"]}`)
	r.wantError(400, "invalid_redirect_uri")
	if !strings.Contains(r.body, "redirect_uris[0]") || !strings.Contains(r.body, "ignore_fragment") {
		t.Errorf("the answer names neither the member nor the fix: %s", r.body)
	}
}

// TestC04Loopback: loopback redirects with the port of the day, for public
// and confidential clients (op-engine §2.1 and §8 item 9).
func TestC04Loopback(t *testing.T) {
	f := newFixture(t)
	m := admin.ClientMetadata{RedirectURIs: []string{"http://127.0.0.1/", "http://127.0.0.1:33418/", "http://localhost/callback", "http://127.0.0.1/q?x=1"}}
	f.addClient("confidential", webSecret, m)
	m.TokenEndpointAuthMethod = authNone
	f.addClient("public", "", m)
	m.RedirectURIs = append(m.RedirectURIs, "http://[::1]/", "https://app.example/")
	f.addClient("six", "", m)

	for _, test := range []struct {
		name, uri string
		ok        []string // clients that are answered
	}{
		{"(a)", "http://127.0.0.1:51999/", []string{"confidential", "public", "six"}},
		{"(b)", "http://[::1]:51999/", []string{"six"}},
		{"(c)", "http://localhost:51999/callback", []string{"confidential", "public", "six"}},
		{"(d)", "http://127.0.0.1:51999/callback", []string{"public", "six"}},
		{"(d) the other way", "http://localhost:51999/", []string{"public", "six"}},
		{"(e)", "https://127.0.0.1:51999/", nil},
		{"(f)", "http://127.0.0.1.evil.example:51999/", nil},
		{"(g)", "http://127.0.0.1@evil.example/", nil},
		{"(h)", "http://127.0.0.1:99999/", nil},
		{"no port", "http://127.0.0.1/", []string{"confidential", "public", "six"}},
		{"port 65535", "http://127.0.0.1:65535/", []string{"confidential", "public", "six"}},
		{"query", "http://127.0.0.1:51999/q?x=1", []string{"confidential", "public", "six"}},
		{"other query", "http://127.0.0.1:51999/q?x=2", nil},
		{"added query", "http://127.0.0.1:51999/?x=1", nil},
		{"query gone", "http://127.0.0.1:51999/q", nil},
		{"other path", "http://127.0.0.1:51999/x", nil},
		{"path gone", "http://127.0.0.1:51999", nil},
		{"dots", "http://127.0.0.1:51999/x/..", nil},
		{"escaped", "http://127.0.0.1:51999/%63allback", nil},
		{"fragment", "http://127.0.0.1:51999/#x", nil},
		{"user", "http://user@127.0.0.1:51999/", nil},
		{"password", "http://u:51999@127.0.0.1/", nil},
		{"user is the address", "http://127.0.0.1:80@evil.example:51999/", nil},
		{"127.0.0.2", "http://127.0.0.2:51999/", nil},
		{"decimal", "http://2130706433:51999/", nil},
		{"short", "http://127.1:51999/", nil},
		{"hexadecimal", "http://0x7f.0.0.1:51999/", nil},
		{"mapped", "http://[::ffff:127.0.0.1]:51999/", nil},
		{"long", "http://[0:0:0:0:0:0:0:1]:51999/", nil},
		{"zone", "http://[::1%25lo]:51999/", nil},
		{"any", "http://0.0.0.0:51999/", nil},
		{"trailing dot", "http://localhost.:51999/callback", nil},
		{"capitals", "http://LOCALHOST:51999/callback", nil},
		{"scheme in capitals", "HTTP://127.0.0.1:51999/", nil},
		{"empty port", "http://127.0.0.1:/", nil},
		{"signed port", "http://127.0.0.1:+80/", nil},
		{"zero before port", "http://127.0.0.1:080/", nil},
		{"tab in port", "http://127.0.0.1:5\t1999/", nil},
		{"backslash", `http://127.0.0.1\@evil.example/`, nil},
	} {
		for _, id := range []string{"confidential", "public", "six"} {
			t.Run(test.name+" "+id, func(t *testing.T) {
				f := f.in(t)
				r := f.authorize(ada, "client_id", id, "redirect_uri", test.uri)
				if !slices.Contains(test.ok, id) {
					r.page(400)
					return
				}
				code := r.response(test.uri, "", "S1").Get("code")
				redeem := func(uri string) *reply {
					if id == "confidential" {
						return f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {uri}, "code_verifier": {testVerifier}}, basicAuth(id, webSecret)...)
					}
					return f.redeemPub(code, "client_id", id, "redirect_uri", uri)
				}
				// At the token endpoint the very same port.
				redeem(strings.Replace(test.uri, ":51999", ":52000", 1)+"?").wantError(400, "invalid_grant")
				if strings.Contains(test.uri, ":51999") {
					redeem(strings.Replace(test.uri, ":51999", ":52000", 1)).wantError(400, "invalid_grant")
				}
				redeem(test.uri).json(200)
			})
		}
	}
}

// TestC06Mismatch: an application that does not know its own address. The
// page says to a person of the tailnet what to change, and to others less.
func TestC06Mismatch(t *testing.T) {
	f := newFixture(t)
	const registered = "https://media.example/sso/OID/redirect/tsidp"
	f.addClient("media", webSecret, admin.ClientMetadata{Name: "Media Server", RedirectURIs: []string{registered, "https://second.example/cb"}})
	for asked, hint := range map[string]string{
		"http://media.example/sso/OID/redirect/tsidp": "does not know that it is behind TLS",
		registered + "/": "slash",
		"https://media.example:8443/sso/OID/redirect/tsidp": "port",
		"https://media.example/sso/oid/redirect/tsidp":      "capital",
		registered + "?x=1": "query",
		`https://media.example/"><script>alert(1)</script>`:      "",
		"https://media.example/\"'><img src=x onerror=alert(1)>": "",
		"javascript:alert(document.domain)":                      "",
		"https://media.example/{{.Message}}<!--":                 "",
		"https://media.example/\x00\xff\u202eevil":               "",
		"https://elsewhere.example/" + strings.Repeat("x", 4000): "longer",
	} {
		body := f.authorize(ada, "client_id", "media", "redirect_uri", asked).page(400)
		for _, want := range []string{"Media Server", registered, "https://second.example/cb", hint} {
			if !strings.Contains(body, want) {
				t.Errorf("%q: the page lacks %q: %s", asked, want, content(body))
			}
		}
		if !strings.ContainsAny(asked, "\"'<>\x00") && !strings.Contains(body, asked) {
			t.Errorf("%q: the page does not show the URI: %s", asked, content(body))
		}
		noMarkup(t, body)

		// Not of this tailnet: no list. Not known: nothing at all.
		if body := f.authorize(eve, "client_id", "media", "redirect_uri", asked).page(400); strings.Contains(body, "second.example") {
			t.Errorf("%q: the page shows what is registered to a stranger: %s", asked, content(body))
		}
		if body := f.authorize(netip.MustParseAddr("100.64.9.9"), "client_id", "media", "redirect_uri", asked).page(403); strings.Contains(content(body), "edia") {
			t.Errorf("%q: the page shows something to nobody: %s", asked, content(body))
		}
	}
}

// TestRedirectDifferentials is standards §7: spellings that a browser or
// another parser reads as something else than we do. None is redirected to.
func TestRedirectDifferentials(t *testing.T) {
	f := newFixture(t)
	f.addClient("app", webSecret, admin.ClientMetadata{RedirectURIs: []string{
		"https://app.example/cb", "https://app.example/", "https://xn--bcher-kva.example/cb", "http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb",
	}})
	for _, uri := range []string{
		"https://app.example@evil.example/cb", "https://app.example:443@evil.example/cb", "https://app.example%40evil.example/cb", "https://user@app.example/cb",
		"https://user:pass@app.example/cb", "https://@app.example/cb", "https://app.example%2F@evil.example/cb",
		`https://app.example\@evil.example/cb`, `https://evil.example\.app.example/cb`, `https:\\app.example\cb`, `https:/\app.example/cb`, `https://app.example\cb`, `https://app.example/cb\`,
		"https://app.exam\tple/cb", "https://app.example/c\nb", "https://app.example/cb\r\nSet-Cookie:x=1", "\thttps://app.example/cb", " https://app.example/cb", "https://app.example/cb ",
		"https://app.example/cb\x00", "https://app.example/cb\x00.evil.example", "java\nscript:alert(1)", "https://app.example/cb\u2028",
		"https:evil.example", "https:/evil.example/cb", "https:app.example/cb", "https:/app.example/cb", "https:///app.example/cb", "https:////app.example/cb",
		"//app.example/cb", "///app.example/cb", "/cb", "cb", "", "?", "app.example/cb", "://app.example/cb",
		"https://bücher.example/cb", "https://b\u00fccher.example/cb", "https://bu\u0308cher.example/cb", "https://app\u3002example/cb", "https://app.example\uff0fcb", "https://\uff41pp.example/cb", "https://app.ex\u00e4mple/cb", "https://app.example\u2044.evil.example/cb",
		"https://app.example/%2e/cb", "https://app.example/%2e%2e/cb", "https://app.example/x/../cb", "https://app.example/./cb", "https://app.example/.//cb", "https://app.example/cb/..", "https://app.example/cb/.", "https://app.example/c%62", "https://app.example/cb%00", "https://app%2eexample/cb", "https://app.example%2fcb", "https://app.example/cb%0d%0aX:y",
		"https://APP.example/cb", "https://app.Example/cb", "https://app.example/CB", "HTTPS://app.example/cb", "Https://app.example/cb", "COM.example.app:/cb",
		"https://app.example//cb", "https://app.example/cb/", "https://app.example/cb//", "https://app.example//", "https://app.example",
		"https://app.example./cb", "https://app.example:443/cb", "https://app.example:/cb", "https://app.example:0443/cb", "https://app.example:80/cb", "http://app.example/cb", "https://sub.app.example/cb", "https://app.example.evil.example/cb", "https://evilapp.example/cb",
		"http://[::1%25eth0]/cb", "http://[::1%eth0]/cb", "http://[fe80::1%25eth0]/cb", "http://[::1]:x/cb", "http://[::1]evil.example/cb", "http://[::1/cb", "http://::1/cb", "http://[::ffff:127.0.0.1]/cb", "http://[127.0.0.1]/cb",
		"javascript:alert(1)", "javascript://app.example/%0aalert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "data:text/html;base64,PHNjcmlwdD4=", "vbscript:msgbox(1)", "file:///etc/passwd", "blob:https://app.example/x", "about:blank", "view-source:https://app.example/cb", "filesystem:https://app.example/cb", "ws://app.example/cb", "intent://app.example/cb#Intent;end",
		"https://app.example/cb#", "https://app.example/cb#x", "https://app.example/cb%23x", "https://app.example/cb?", "https://app.example/cb?x", "https://app.example/cb&x=1", "https://app.example/cb;x", "https://evil.example/?https://app.example/cb", "https://evil.example/#https://app.example/cb", "https://evil.example/https://app.example/cb",
		"https://app.example/cb,https://evil.example/", "https://app.example/cb https://evil.example/", "https://*.example/cb", "https://app.example/*", "*", "urn:ietf:wg:oauth:2.0:oob", "com.example.app:/cb/x", "com.example.app://cb", "com.example.app:cb",
		"https://app.example/" + strings.Repeat("a", 3000),
	} {
		for _, change := range [][]string{nil, {"prompt", "none"}, {"response_type", "token"}, {"scope", "\"bad\""}} {
			f.t = t
			q := authorizeQuery(append([]string{"client_id", "app"}, change...)...)
			q.Set("redirect_uri", uri)
			if r := f.get(ada, q.Encode()); r.status != 400 || r.header.Get("Location") != "" || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
				t.Errorf("redirect_uri %q %v: answer %d %s to %q, want a page with 400", uri, change, r.status, r.header.Get("Content-Type"), r.header.Get("Location"))
			}
		}
		q := authorizeQuery("client_id", "app")
		q.Set("redirect_uri", uri)
		if r := f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode(), "Accept", "application/json"); r.status != 400 || r.header.Get("Location") != "" {
			t.Errorf("redirect_uri %q in a POST: answer %d to %q, want 400", uri, r.status, r.header.Get("Location"))
		}
	}
}

// TestErrorsBeforeRedirect: whatever else is wrong, nothing is sent to a
// redirect URI that is not registered, or of a client that is not (RFC 6749
// section 4.1.2.1; op-engine §8 item 10).
func TestErrorsBeforeRedirect(t *testing.T) {
	f := newFixture(t)
	for name, client := range map[string][]string{
		"unregistered URI": {"redirect_uri", "https://evil.example/cb"},
		"no URI":           {"redirect_uri", ""},
		"unknown client":   {"client_id", "nobody"},
		"no client":        {"client_id", ""},
		"other's URI":      {"redirect_uri", pubRedirect},
		"long client":      {"client_id", strings.Repeat("x", 5000)},
		"client in UTF-8":  {"client_id", "\xff\x00"},
		"client of a kind": {"client_id", "../client/web"},
	} {
		for wrong, change := range map[string][]string{
			"nothing": nil, "response_type": {"response_type", "token"}, "no response_type": {"response_type", ""}, "scope": {"scope", "\x7f"}, "prompt none": {"prompt", "none"},
			"prompt": {"prompt", "none login"}, "resource": {"resource", "#"}, "request": {"request", "x"}, "request_uri": {"request_uri", "https://evil.example/"},
			"PKCE": {"code_challenge_method", "plain"}, "response_mode": {"response_mode", "form_post"}, "nonce": {"nonce", "\x00"}, "id_token_hint": {"id_token_hint", "x"},
		} {
			t.Run(name+", "+wrong, func(t *testing.T) {
				f := f.in(t)
				change := append(slices.Clone(client), change...)
				r := f.authorize(ada, change...)
				if body := r.page(400); r.header.Get("WWW-Authenticate") != "" || strings.Contains(body, "href") {
					t.Errorf("WWW-Authenticate %q, page %s", r.header.Get("WWW-Authenticate"), content(body))
				}
				r = f.get(ada, authorizeQuery(change...).Encode(), "Accept", "application/json")
				r.shortJSONError(400)
				if r.header.Get("WWW-Authenticate") != "" || r.header.Get("Location") != "" {
					t.Errorf("WWW-Authenticate %q, Location %q", r.header.Get("WWW-Authenticate"), r.header.Get("Location"))
				}
			})
		}
	}
}

// TestC12Deleted (c): who comes with a client that was removed reads what to
// do about it.
func TestC12Deleted(t *testing.T) {
	f := newFixture(t)
	if r := f.do(adm, "DELETE", "/api/v1/clients/web", "", ""); r.status != 204 {
		t.Fatalf("answer %d %s", r.status, r.body)
	}
	for _, accept := range []string{"text/html", "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"} {
		r := f.get(ada, authorizeQuery().Encode(), "Accept", accept)
		body := r.page(400)
		if !strings.Contains(body, "registration has been removed") || !strings.Contains(body, "add it again") || strings.Contains(body, "{") && strings.Contains(body, `"error"`) {
			t.Errorf("page %s", content(body))
		}
		if r.header.Get("WWW-Authenticate") != "" {
			t.Errorf("WWW-Authenticate %q", r.header.Get("WWW-Authenticate"))
		}
	}
}

// TestC13Authorize is the part of the case at the authorization endpoint (op-engine
// §8 items 2 and 3). "code" is what a refused client gets not.
func TestC13Authorize(t *testing.T) {
	challenge := oauth.ChallengeS256(testVerifier)
	for _, test := range []struct {
		name                 string
		challenge, method    string
		confidential, public string // error, or "" for a code
		must                 string // for a confidential client that must use PKCE
	}{
		{"S256", challenge, "S256", "", "", ""},
		{"(a) neither", "", "", "", "invalid_request", "invalid_request"},
		{"(c) challenge without method", challenge, "", "invalid_request", "invalid_request", "invalid_request"},
		{"(d) method without challenge", "", "S256", "", "invalid_request", "invalid_request"},
		{"plain without challenge", "", "plain", "", "invalid_request", "invalid_request"},
		{"(f) plain", testVerifier, "plain", "invalid_request", "invalid_request", "invalid_request"},
		{"plain with a challenge of S256", challenge, "plain", "invalid_request", "invalid_request", "invalid_request"},
		{"s256", challenge, "s256", "invalid_request", "invalid_request", "invalid_request"},
		{"S512", challenge, "S512", "invalid_request", "invalid_request", "invalid_request"},
		{"short", challenge[:42], "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"long", challenge + "A", "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"padded", challenge + "=", "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"standard base64", challenge[:40] + "+/A", "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"not canonical", challenge[:42] + "B", "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"blank", " ", "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"line break", challenge[:42] + "\n", "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"letters", strings.Repeat("é", 22)[:43], "S256", "invalid_request", "invalid_request", "invalid_request"},
		{"hexadecimal", strings.Repeat("ab", 32), "S256", "invalid_request", "invalid_request", "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.addClient("must", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, PKCE: pkceRequired})
			pkce := []string{"code_challenge", test.challenge, "code_challenge_method", test.method}
			code := f.authorize(ada, pkce...).response(webRedirect, test.confidential, "S1").Get("code")
			f.authorize(ada, forPub(pkce...)...).response(pubRedirect, test.public, "S1")
			f.authorize(ada, append([]string{"client_id", "must"}, pkce...)...).response(webRedirect, test.must, "S1")
			switch {
			case code == "":
			case test.challenge == "": // (a): a verifier without challenge
				f.redeem(code).wantError(400, "invalid_grant")
				f.redeem(code, "code_verifier", "").json(200)
			default: // (b): a challenge without verifier
				f.redeem(code, "code_verifier", "").wantError(400, "invalid_grant")
				f.redeem(code).json(200)
				// From the first login with PKCE on, without is a downgrade.
				f.authorize(ada, "code_challenge", "", "code_challenge_method", "").redirectError("invalid_request")
			}
		})
	}
	// (e) The parameter is there, and empty.
	f := newFixture(t)
	f.get(ada, authorizeQuery("code_challenge", "", "code_challenge_method", "").Encode()+"&code_challenge=&code_challenge_method=").response(webRedirect, "", "S1")
	f.get(ada, authorizeQuery("code_challenge", "").Encode()+"&code_challenge=").response(webRedirect, "", "S1")
	f.get(ada, authorizeQuery(forPub("code_challenge", "")...).Encode()+"&code_challenge=").response(pubRedirect, "invalid_request", "S1")
}

// TestC15ResponseIssuer: iss is promised and sent, or neither; on success and
// on every error, once (op-engine §8 item 11). response checks the rest.
func TestC15ResponseIssuer(t *testing.T) {
	requests := map[string][]string{
		"": nil, "unsupported_response_type": {"response_type", "token"}, "invalid_scope": {"scope", "nonsense"}, "request_not_supported": {"request", "a.b.c"},
		"request_uri_not_supported": {"request_uri", "https://x.example/"}, "registration_not_supported": {"registration", "{}"},
		"invalid_request": {"prompt", "none login"}, "invalid_target": {"resource", testResource, "prompt", "none"},
	}
	f := newFixture(t)
	silent := newFixture(t, func(c *Config) { c.OmitResponseIssuer = true })
	for want, change := range requests {
		f.authorize(ada, change...).response(webRedirect, want, "S1")
		if q := silent.authorize(ada, change...).redirect(); q.Has("iss") || q.Get("error") != want || q.Get("state") != "S1" {
			t.Errorf("with OmitResponseIssuer: response %v, want %q without iss", q, want)
		}
	}
	f.authorize(ci, "prompt", "none").response(webRedirect, "access_denied", "S1")
	if body := silent.authorize(ada, "resource", testResource).page(403); strings.Contains(body, "iss=") {
		t.Errorf("the link of a refusal has iss: %s", content(body))
	}
	for _, path := range []string{wellKnownOAuth, wellKnownOpenID} {
		if m := f.do(netip.Addr{}, "GET", path, "", "").json(200); m["authorization_response_iss_parameter_supported"] != true {
			t.Errorf("%s does not promise iss: %v", path, m)
		}
		if m := silent.do(netip.Addr{}, "GET", path, "", "").json(200); m["authorization_response_iss_parameter_supported"] != nil {
			t.Errorf("%s promises iss: %v", path, m)
		}
	}
}

// TestC28Scope: all that is advertised, in odd spelling.
func TestC28Scope(t *testing.T) {
	f := newFixture(t)
	f.addClient("plain", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, Scope: "groups email"})
	var many []string
	for i := range 299 {
		many = append(many, fmt.Sprintf("s%d", i))
	}
	all := strings.Join(supportedScopes, " ")
	for _, test := range []struct {
		name, client, scope, granted string // granted is "" for invalid_scope
	}{
		{"(a) all", "web", all, all},
		{"(b) two blanks", "web", "openid  email", "openid email"},
		{"(c) trailing blank", "web", "openid profile ", "openid profile"},
		{"leading blanks", "web", "  openid profile", "openid profile"},
		{"(d) twice", "web", "openid openid email", "openid email"},
		{"(e) commas", "web", "openid,email", "openid email"},
		{"(e) commas and blanks", "web", "openid, email,profile", "openid email profile"},
		{"(e) commas with an unknown one", "web", "openid,nonsense email", "email"},
		{"(f) unknown", "web", "openid unknown:thing", "openid"},
		{"(g) absent", "web", "-", "openid profile email"},
		{"(g) absent, of its own", "plain", "-", "groups email"},
		{"(h) empty", "web", "", "openid profile email"},
		{"(h) blank", "web", "  ", "openid profile email"},
		{"(h) empty, of its own", "plain", "", "groups email"},
		{"(i) capitals", "web", "OPENID", ""},
		{"(i) capitals and others", "web", "OPENID email", "email"},
		{"(j) 300", "web", "openid " + strings.Join(many, " "), "openid"},
		{"(j) more than 2 KiB", "web", "openid " + strings.Repeat("x", 2048), ""},
		{"(j) 302", "web", "openid " + strings.Join(many, " ") + " a b", ""},
		{"(k) tab", "web", "openid\temail", "openid email"},
		{"other order", "web", "email openid", "email openid"},
		{"no openid", "web", "email profile", "email profile"},
		{"offline_access alone", "web", "offline_access", "offline_access"},
		{"address and phone", "web", "openid address phone", "openid"},
		{"unknown alone", "web", "nonsense", ""},
		{"line break", "web", "openid\nemail", ""},
		{"quotation mark", "web", `openid "email"`, ""},
		{"backslash", "web", `openid e\mail`, ""},
		{"letters", "web", "openid émail", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := f.in(t)
			q := authorizeQuery("client_id", test.client)
			q.Del("scope")
			if test.scope != "-" {
				q.Set("scope", test.scope)
			}
			r := f.get(ada, q.Encode())
			if test.granted == "" {
				r.response(webRedirect, "invalid_scope", "S1")
				return
			}
			code := r.response(webRedirect, "", "S1").Get("code")
			res := f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}},
				basicAuth(test.client, webSecret)...).tokens()
			// The order is of no meaning.
			got, want := strings.Fields(res.Scope), strings.Fields(test.granted)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("granted (-want +got):\n%s", diff)
			}
			if hasID := res.IDToken != ""; hasID != slices.Contains(want, "openid") {
				t.Errorf("ID token: %v, with the scopes %s", hasID, res.Scope)
			}
		})
	}
}

// TestC46State: state is bytes.
func TestC46State(t *testing.T) {
	f := newFixture(t)
	states := map[string]string{
		"plus, blank, equals": "a+b c==",
		"JSON":                `{"csrf_token":"x","realm":"ts"}`,
		"one":                 "1",
		"4 KiB":               strings.Repeat("s%+é", 820),
		"NUL":                 "\x00",
		"invalid UTF-8":       "\xe4",
		"all bytes":           allBytes(),
		"CR LF":               "a\r\nSet-Cookie:x",
		"ampersand":           "a&iss=https://evil.example&code=x",
		"hash":                "#/x?y",
		"semicolon":           "a;b",
		"percent":             "%41%zz%",
		"blank":               " ",
		"markup":              `"><script>alert(1)</script>`,
		"non-characters":      "\ufffe\u2028\u202e",
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			escaped := "&state=" + url.QueryEscape(state)
			query := authorizeQuery("state", "").Encode()
			for _, q := range []string{query + escaped, query + strings.ReplaceAll(escaped, "+", "%20")} {
				r := f.get(ada, q)
				r.response(webRedirect, "", state)
				if c := r.header.Values("Set-Cookie"); len(c) != 1 || !strings.HasPrefix(c[0], "__Host-tsidp=") {
					t.Errorf("state became a header: %q", c)
				}
				f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", q).response(webRedirect, "", state)
				f.get(ada, q+"&response_mode=fragment").response(webRedirect, "invalid_request", state)
			}
			// In the link of a refusal, too.
			body := f.get(ci, query+escaped).page(403)
			noMarkup(t, body)
			back, err := url.Parse(linkBack(t, body))
			if err != nil || back.Query().Get("state") != state {
				t.Errorf("the link back is %v (%v), want state %q", back, err, state)
			}
		})
	}

	query := authorizeQuery("state", "").Encode()
	f.get(ada, query).response(webRedirect, "", "")
	f.get(ada, query+"&state=").response(webRedirect, "", "")
	f.get(ada, query+"&state").response(webRedirect, "", "")
	f.get(ada, query+"&state=").response(webRedirect, "", "")
	f.get(ada, query+"&state=&scope=nonsense&x").response(webRedirect, "invalid_request", "") // scope twice
	f.get(ada, "state=S1&"+query+"&response_mode=fragment").response(webRedirect, "invalid_request", "S1")
	// Given twice there is none to echo.
	f.get(ada, query+"&state=S1&state=S2").response(webRedirect, "invalid_request", "")
	f.get(ada, query+"&state=S1&state=S1").response(webRedirect, "invalid_request", "")
	f.get(ada, query+"&state=&state=S1").response(webRedirect, "invalid_request", "")
}

func allBytes() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

// TestC46Encoding: what is no form is refused, and no parameter of it is
// silently dropped.
func TestC46Encoding(t *testing.T) {
	f := newFixture(t)
	query := authorizeQuery().Encode()
	for _, q := range []string{
		query + "&x=%zz", query + "&x=%", query + "&x=%4", query + "&%zz=1", query + ";x=1", strings.ReplaceAll(query, "&", ";"), query + "&x=a;b", "%zz", ";", query + "&state%3d=%GG",
	} {
		f.get(ada, q).page(400)
		f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", q, "Accept", "text/html").page(400)
		f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", q, basicAuth("web", webSecret)...).wantError(400, "invalid_request")
	}
	// Odd, but a form.
	f.get(ada, "&&"+query+"&").response(webRedirect, "", "S1")
	f.get(ada, strings.ReplaceAll(query, "state", "%73tate")).response(webRedirect, "", "S1")
	f.get(ada, query+"&extra=foobar&=x&display=page&ui_locales=se&claims_locales=se&login_hint=x&acr_values=1+2&max_age=10000&id_token_hint=x").response(webRedirect, "", "S1")
}

// TestC59Resource: the rows of the case at the authorization endpoint.
func TestC59Resource(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, mcpRule) })
	for _, test := range []struct {
		name  string
		asked []string
		ok    bool
		code  string // of the error, if it is one
	}{
		{"(a) same", []string{testResource}, true, ""},
		{"(b) slash", []string{testResource + "/"}, true, ""},
		{"(b) two slashes", []string{testResource + "//"}, false, ""},
		{"(c) capitals in the host", []string{"https://MCP.tail1234.TS.net/mcp"}, true, ""},
		{"(c) capitals in the path", []string{"https://mcp.tail1234.ts.net/MCP"}, false, ""},
		{"(d) port", []string{"https://mcp.tail1234.ts.net:443/mcp"}, true, ""},
		{"(d) other port", []string{"https://mcp.tail1234.ts.net:8443/mcp"}, false, ""},
		{"(e) origin", []string{"https://mcp.tail1234.ts.net"}, false, ""},
		{"(e) origin with slash", []string{"https://mcp.tail1234.ts.net/"}, false, ""},
		{"(f) deeper", []string{testResource + "/x"}, false, ""},
		{"(g) query", []string{testResource + "?x=1"}, false, ""},
		{"(h) fragment", []string{testResource + "#x"}, false, "malformed"},
		{"(h) empty fragment", []string{testResource + "#"}, false, "malformed"},
		{"(k) two, one allowed", []string{testResource, "https://other.tail1234.ts.net/"}, false, ""},
		{"two, both allowed", []string{testResource, testIssuer}, true, ""},
		{"the issuer", []string{testIssuer}, true, ""},
		{"the issuer with slash", []string{testIssuer + "/"}, true, ""},
		{"(l) empty", []string{""}, true, ""},
		{"(l) empty and one", []string{"", testResource}, true, ""},
		{"(m) escaped slash", []string{"https://mcp.tail1234.ts.net%2Fmcp"}, false, "malformed"},
		{"(m) escaped slash at the end", []string{testResource + "%2F"}, false, ""},
		{"(m) escaped letter", []string{"https://mcp.tail1234.ts.net/%6Dcp"}, false, ""},
		{"http", []string{"http://mcp.tail1234.ts.net/mcp"}, false, ""},
		{"relative", []string{"/mcp"}, false, "malformed"},
		{"no URI", []string{"mcp"}, false, "malformed"},
		{"user", []string{"https://user@mcp.tail1234.ts.net/mcp"}, false, "malformed"},
		{"dots", []string{"https://mcp.tail1234.ts.net/x/../mcp"}, false, ""},
		{"blank", []string{testResource + " "}, false, "malformed"},
		{"NUL", []string{testResource + "\x00"}, false, "NUL"},
		{"sub-domain", []string{"https://x.mcp.tail1234.ts.net/mcp"}, false, ""},
		{"suffix", []string{"https://mcp.tail1234.ts.net.evil.example/mcp"}, false, ""},
		{"star", []string{"*"}, false, "malformed"},
		{"21", manyResources(21), false, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := f.in(t)
			q := authorizeQuery()
			q["resource"] = test.asked
			r := f.get(ada, q.Encode())
			if test.ok {
				res := f.redeem(r.response(webRedirect, "", "S1").Get("code")).tokens()
				// The audience has the spelling that was asked for.
				var want []string
				for _, s := range test.asked {
					if s != "" {
						want = append(want, s)
					}
				}
				if len(want) == 0 {
					want = []string{testIssuer}
				}
				var got []string
				switch aud := claimsOf(t, res.AccessToken)["aud"].(type) {
				case string:
					got = []string{aud}
				case []any:
					for _, a := range aud {
						got = append(got, a.(string))
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("aud (-want +got):\n%s", diff)
				}
				if aud := claimsOf(t, res.IDToken)["aud"]; aud != "web" {
					t.Errorf("aud of the ID token is %v, want the client alone", aud)
				}
				return
			}
			program := f.get(ada, q.Encode(), "Accept", "*/*")
			switch test.code {
			case "malformed": // an error of the protocol: to the client always
				r.response(webRedirect, "invalid_target", "S1")
				program.response(webRedirect, "invalid_target", "S1")
			case "NUL":
				r.response(webRedirect, "invalid_request", "S1")
			default: // a refusal: to the person
				body := r.page(403)
				if !strings.Contains(body, "https://") || !strings.Contains(linkBack(t, body), "error=invalid_target") {
					t.Errorf("page %s", content(body))
				}
				program.response(webRedirect, "invalid_target", "S1")
			}
		})
	}
	// One resource, however often it is named, is one.
	q := authorizeQuery()
	q["resource"] = []string{testResource, testResource}
	res := f.redeem(f.get(ada, q.Encode()).response(webRedirect, "", "S1").Get("code")).tokens()
	if aud := claimsOf(t, res.AccessToken)["aud"]; aud != testResource {
		t.Errorf("aud is %v, want the one resource", aud)
	}
	// gus has no rule at all, adm one for everything.
	f.authorize(gus, "resource", testResource, "prompt", "none").response(webRedirect, "invalid_target", "S1")
	f.authorize(adm, "resource", "https://anything.example/x").response(webRedirect, "", "S1")
}

func manyResources(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%s/%d", testIssuer, i))
	}
	return list
}

// TestDuplicates: "Request and response parameters MUST NOT be included more
// than once" (RFC 6749 section 3.1; op-engine §8 item 8). resource may.
func TestDuplicates(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"client_id", "redirect_uri"} { // ambiguous themselves
		for _, second := range []string{authorizeQuery().Get(name), "other", ""} {
			q := authorizeQuery().Encode() + "&" + name + "=" + url.QueryEscape(second)
			f.get(ada, q).page(400)
			f.get(ada, name+"="+url.QueryEscape(second)+"&"+authorizeQuery().Encode()).page(400)
			f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", q, "Accept", "text/html").page(400)
		}
	}
	for name, value := range map[string]string{
		"scope": "openid", "nonce": "N", "response_type": "code", "code_challenge": oauth.ChallengeS256(testVerifier), "code_challenge_method": "S256",
		"prompt": "none", "response_mode": "query", "max_age": "1", "display": "page",
	} {
		q := authorizeQuery(name, "")
		q[name] = []string{value, value}
		f.get(ada, q.Encode()).response(webRedirect, "invalid_request", "S1")
		f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode()).response(webRedirect, "invalid_request", "S1")
		q[name] = []string{value, ""}
		f.get(ada, q.Encode()).response(webRedirect, "invalid_request", "S1")
	}
	q := authorizeQuery()
	q["resource"] = []string{testIssuer, testIssuer + "/"}
	f.get(ada, q.Encode()).response(webRedirect, "", "S1")
}

// TestText: parameters are text, except those that are echoed.
func TestText(t *testing.T) {
	f := newFixture(t)
	for _, bad := range []string{"\x00", "a\x00b", "\xff", "a\xc3", "\xed\xa0\x80"} {
		for _, name := range []string{"nonce", "scope", "resource", "response_type", "response_mode", "prompt", "code_challenge", "code_challenge_method", "login_hint", "unknown"} {
			r := f.get(ada, authorizeQuery(name, bad).Encode())
			r.response(webRedirect, "invalid_request", "S1")
		}
		for _, name := range []string{"client_id", "redirect_uri"} {
			noMarkup(t, f.get(ada, authorizeQuery(name, bad).Encode()).page(400))
			noMarkup(t, f.get(ada, authorizeQuery(name, authorizeQuery().Get(name)+bad).Encode()).page(400))
		}
	}
}

// TestPostIsGet: POST with a form works like GET (OpenID Connect Core section
// 3.1.2.1), and is answered by 303, never 307 (RFC 9700 section 4.12).
func TestPostIsGet(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string][]string{
		"good": nil, "public": forPub(), "nonce": {"nonce", "N"}, "no state": {"state", ""}, "client": {"client_id", "nobody"}, "redirect": {"redirect_uri", "https://evil.example/"},
		"response_type": {"response_type", "token"}, "scope": {"scope", "nonsense"}, "resource": {"resource", testResource}, "resource, none": {"resource", testResource, "prompt", "none"},
		"request": {"request", "x"}, "plain": {"code_challenge_method", "plain"}, "empty": {"client_id", "", "redirect_uri", ""},
	} {
		for who, as := range map[string]netip.Addr{"ada": ada, "ci": ci, "eve": eve, "nobody": netip.MustParseAddr("100.64.9.9")} {
			for _, accept := range []string{"text/html", "application/json", "*/*"} {
				t.Run(name+" "+who+" "+accept, func(t *testing.T) {
					f := f.in(t)
					q := authorizeQuery(change...)
					get := f.get(as, q.Encode(), "Accept", accept)
					post := f.do(as, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode(), "Accept", accept)
					if get.status == 302 || post.status/100 == 3 {
						if get.status != 302 || post.status != 303 {
							t.Fatalf("GET answers %d, POST %d, want 302 and 303", get.status, post.status)
						}
						a, b := get.redirect(), post.redirect()
						if a.Has("code") && b.Has("code") {
							a.Set("code", "")
							b.Set("code", "")
						}
						if diff := cmp.Diff(a, b); diff != "" {
							t.Errorf("responses differ (-GET +POST):\n%s", diff)
						}
						return
					}
					if get.status != post.status || get.header.Get("Content-Type") != post.header.Get("Content-Type") || post.header.Get("Location") != "" {
						t.Errorf("GET answers %d %s, POST %d %s to %q", get.status, get.header.Get("Content-Type"), post.status, post.header.Get("Content-Type"), post.header.Get("Location"))
					}
				})
			}
		}
	}
	// One place for parameters, not two.
	f.do(ada, "POST", "/authorize?state=S2", "application/x-www-form-urlencoded", authorizeQuery().Encode(), "Accept", "text/html").page(400)
	f.do(ada, "POST", "/authorize?"+authorizeQuery().Encode(), "application/x-www-form-urlencoded", "", "Accept", "text/html").page(400)
	// The body of a GET is none of a request.
	if r := f.do(ada, "GET", "/authorize?"+authorizeQuery("state", "").Encode(), "application/x-www-form-urlencoded", "state=S2"); r.redirect().Has("state") {
		t.Error("the body of a GET was read")
	}
}

// TestAuthorizeCrossSite: logins begin on pages of other sites, which send
// people here by links and forms. They read nothing of the answer.
func TestAuthorizeCrossSite(t *testing.T) {
	f := newFixture(t)
	header := []string{"Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	link := f.get(ada, authorizeQuery().Encode(), header...)
	posted := f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", authorizeQuery().Encode(), append(header, "Origin", "https://app.example")...)
	form := f.get(ada, strings.TrimPrefix(posted.header.Get("Location"), testIssuer+"/authorize?"), header...)
	page := f.get(ci, authorizeQuery().Encode(), header...)
	script := f.get(ada, authorizeQuery().Encode(), "Accept", "*/*", "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors")
	preflight := f.do(ada, "OPTIONS", "/authorize", "", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	link.response(webRedirect, "", "S1")
	form.response(webRedirect, "", "S1")
	page.page(403)
	if preflight.status != 405 {
		t.Errorf("a preflight is answered by %d", preflight.status)
	}
	for _, r := range []*reply{link, form, page, script, preflight} {
		for name := range r.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("answer %d has %s: %s", r.status, name, r.header.Get(name))
			}
		}
	}
}

// TestCodeLength: codes travel in URLs.
func TestCodeLength(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"users":["*"],"resources":["*"]}`) })
	id := newID() // what a client has that did not choose its own
	f.addClient(id, webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect, "https://app.example/" + strings.Repeat("long", 400)}})
	plain := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	seen := make(map[string]bool)
	for _, test := range []struct {
		nonce    string
		resource string
		redirect string
		most     int
	}{
		{"", "", webRedirect, 400},
		{strings.Repeat("n", 200), testResource, webRedirect, 700},
		{strings.Repeat("n", 200), testResource, "https://app.example/" + strings.Repeat("long", 400), 700},
		{strings.Repeat("é", 100), testResource, webRedirect, 700},
		{strings.Repeat("n", 500), testResource, webRedirect, 1500},
	} {
		r := f.authorize(ada, "client_id", id, "nonce", test.nonce, "resource", test.resource, "redirect_uri", test.redirect, "state", strings.Repeat("s", 3000),
			"scope", strings.Join(supportedScopes, " "))
		code := r.redirect().Get("code")
		if len(code) > test.most || !plain.MatchString(code) || seen[code] {
			t.Errorf("code of %d characters, %q, want a new one of at most %d", len(code), code, test.most)
		}
		seen[code] = true
		res := f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {test.redirect}, "code_verifier": {testVerifier}}, basicAuth(id, webSecret)...).tokens()
		if nonce, _ := claimsOf(t, res.IDToken)["nonce"].(string); nonce != test.nonce {
			t.Errorf("nonce %q, want %q", nonce, test.nonce)
		}
	}
	// Equal requests have different codes.
	if a, b := f.code(ada), f.code(ada); a == b {
		t.Error("the same code twice")
	}
	f.authorize(ada, "nonce", strings.Repeat("n", 2000)).response(webRedirect, "invalid_request", "S1")
	f.authorize(ada, "nonce", strings.Repeat("n", 50000)).response(webRedirect, "invalid_request", "S1")
	f.authorize(ada, "resource", "https://r.example/"+strings.Repeat("r", 1900)).response(webRedirect, "invalid_request", "S1")
}

// TestPrompt: OpenID Connect Core section 3.1.2.1.
func TestPrompt(t *testing.T) {
	f := newFixture(t)
	for prompt, want := range map[string]string{
		"none": "", "consent": "", "": "", " none ": "",
		"none login": "invalid_request", "login none": "invalid_request", "none consent": "invalid_request", "none none": "invalid_request", "none unheard-of": "invalid_request",
	} {
		f.authorize(ada, "prompt", prompt).response(webRedirect, want, "S1")
		f.get(ada, authorizeQuery("prompt", prompt).Encode(), "Accept", "application/json").response(webRedirect, want, "S1")
	}
	f.authorize(ada, "prompt", "none", "id_token_hint", "x", "max_age", "0").redirect()
}

// TestRequestObjects: an OP that does not take them says so (OpenID Connect
// Core sections 6.1, 6.2 and 7.2.1).
func TestRequestObjects(t *testing.T) {
	f := newFixture(t)
	for name, want := range map[string]string{
		"request": "request_not_supported", "request_uri": "request_uri_not_supported", "registration": "registration_not_supported",
	} {
		for _, value := range []string{"x", "eyJhbGciOiJub25lIn0.eyJyZWRpcmVjdF91cmkiOiJodHRwczovL2V2aWwuZXhhbXBsZS8ifQ.", "https://evil.example/r.jwt", "urn:ietf:params:oauth:request_uri:x", "{}"} {
			f.authorize(ada, name, value).response(webRedirect, want, "S1")
			f.authorize(ada, name, value, "redirect_uri", "").page(400)
		}
		f.get(ada, authorizeQuery().Encode()+"&"+name+"=").response(webRedirect, "", "S1")
	}
}

// TestResponseTypes: the code flow and nothing else.
func TestResponseTypes(t *testing.T) {
	f := newFixture(t)
	for _, responseType := range []string{"token", "id_token", "code token", "code id_token", "id_token token", "none", "CODE", " code", "code ", "code,token", "<script>"} {
		r := f.authorize(ada, "response_type", responseType)
		if q := r.response(webRedirect, "unsupported_response_type", "S1"); strings.Contains(q.Get("error_description"), "<") {
			t.Errorf("echoed: %v", q)
		}
	}
	f.authorize(ada, "response_type", "").response(webRedirect, "invalid_request", "S1")
	f.authorize(ada, "response_mode", "query").response(webRedirect, "", "S1")
	for _, mode := range []string{"fragment", "Form_post", "web_message", "query.jwt", "jwt", "Query"} {
		f.authorize(ada, "response_mode", mode).response(webRedirect, "invalid_request", "S1")
	}
}

// TestRefusalForm: a person who navigates reads why, and finds the way back;
// a program gets an authorization response (DESIGN §4, refusals; C24).
func TestRefusalForm(t *testing.T) {
	f := newFixture(t)
	f.addClient("granted", webSecret, admin.ClientMetadata{Name: "For Some", RedirectURIs: []string{webRedirect}, Access: accessGranted})
	f.addClient("off", webSecret, admin.ClientMetadata{Name: "Switched Off", RedirectURIs: []string{webRedirect}, Disabled: true})
	for _, test := range []struct {
		name   string
		as     netip.Addr
		change []string
		code   string
		says   string // on the page
	}{
		{"tagged", ci, nil, "access_denied", "tag:ci"},
		{"other tailnet", eve, nil, "access_denied", "another tailnet"},
		{"client not granted", ada, []string{"client_id", "granted"}, "access_denied", "For Some"},
		{"client disabled", ada, []string{"client_id", "off"}, "access_denied", "Switched Off"},
		{"resource", ada, []string{"resource", testResource}, "invalid_target", testResource},
		{"no state", ci, []string{"state", ""}, "access_denied", "tag:ci"},
		{"public", ci, forPub(), "access_denied", "tag:ci"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := f.in(t)
			q := authorizeQuery(test.change...)
			replyTo, state := q.Get("redirect_uri"), q.Get("state")
			for _, accept := range []string{"text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json, text/html"} {
				body := f.get(test.as, q.Encode(), "Accept", accept).page(403)
				if !strings.Contains(body, test.says) {
					t.Errorf("the page lacks %q: %s", test.says, content(body))
				}
				if n := strings.Count(body, "href="); n != 1 {
					t.Errorf("%d links, want the one back: %s", n, content(body))
				}
				back := &reply{t: t, status: 302, header: http.Header{"Location": {linkBack(t, body)}}}
				// A client learns nothing about who may not use it.
				q := back.response(replyTo, test.code, state)
				for _, private := range []string{"ada", "eve", "example.com", "tag:ci", "n1001"} {
					if strings.Contains(q.Get("error_description"), private) {
						t.Errorf("error_description %q tells the client who it was", q.Get("error_description"))
					}
				}
			}
			for _, accept := range []string{"*/*", "application/json", "", "image/png", "application/json, */*"} {
				f.get(test.as, q.Encode(), "Accept", accept).response(replyTo, test.code, state)
			}
			q.Set("prompt", "none")
			f.get(test.as, q.Encode(), "Accept", "text/html").response(replyTo, test.code, state)
			// An error of the protocol is the client's, whoever looks.
			q.Set("prompt", "none consent")
			f.get(test.as, q.Encode(), "Accept", "text/html").response(replyTo, "invalid_request", state)
			// Nobody is redirected anywhere before the URI is known.
			f.get(test.as, authorizeQuery(append(slices.Clone(test.change), "redirect_uri", "https://evil.example/", "prompt", "none")...).Encode()).page(400)
		})
	}
}

// TestRefusalShowsGrant: the page shows the grant that would allow it, as an
// administrator can paste it.
func TestRefusalShowsGrant(t *testing.T) {
	f := newFixture(t)
	body := f.authorize(ada, "resource", testResource).page(403)
	for _, want := range []string{"src", "ada@example.com", "tailscale.com/cap/tsidp", "resources", testResource, "tcp:443"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q: %s", want, content(body))
		}
	}
	// With that rule it is allowed.
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, mcpRule) })
	f.clock.advance(2 * time.Second)
	f.authorize(ada, "resource", testResource).response(webRedirect, "", "S1")
	// For a machine there is none.
	if body := f.authorize(ci).page(403); strings.Contains(body, "tailscale.com/cap") {
		t.Errorf("the page shows a grant that would change nothing: %s", content(body))
	}
}

// TestNobody: a peer that the tailnet does not know, whose key has expired,
// or about whom it cannot be asked, gets a page and never a code.
func TestNobody(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		says   string
		change func(*fakeTailnet)
	}{
		"unknown":      {403, "not on the tailnet", func(f *fakeTailnet) { delete(f.peers, ada) }},
		"expired":      {403, "expired", func(f *fakeTailnet) { f.peers[ada].Node.Expired = true }},
		"no user":      {403, "not on the tailnet", func(f *fakeTailnet) { f.peers[ada].UserProfile = nil }},
		"relay":        {403, "not on the tailnet", func(f *fakeTailnet) { f.peers[ada].Node.UnsignedPeerAPIOnly = true }},
		"cannot ask":   {503, "try again", func(f *fakeTailnet) { f.err = errors.New("dial unix /run/secret.sock: refused") }},
		"not running":  {503, "try again", func(f *fakeTailnet) { f.state = "NeedsLogin" }},
		"own key gone": {503, "try again", func(f *fakeTailnet) { f.state = "Stopped" }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.tailnet.set(test.change)
			for _, change := range [][]string{nil, {"prompt", "none"}, {"client_id", "nobody"}, {"redirect_uri", "https://evil.example/"}, {"response_type", "token"}} {
				r := f.authorize(ada, change...)
				body := r.page(test.status)
				if !strings.Contains(body, test.says) || strings.Contains(body, "secret.sock") || strings.Contains(body, "href") || strings.Contains(body, "Web App") {
					t.Errorf("page %s", content(body))
				}
				if (test.status == 503) != (r.header.Get("Retry-After") != "") {
					t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
				}
				r = f.get(ada, authorizeQuery(change...).Encode(), "Accept", "application/json")
				r.shortJSONError(test.status)
			}
			if test.status == 503 && !strings.Contains(f.log.String(), "level=ERROR") {
				t.Errorf("not logged as an error: %s", f.log.String())
			}
		})
	}
}

// A writeCounter counts what changes a store.
type writeCounter struct {
	store.Store
	writes atomic.Int64
}

func (s *writeCounter) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	s.writes.Add(1)
	return s.Store.Put(ctx, r, now)
}

func (s *writeCounter) Redeem(ctx context.Context, r store.Redemption) error {
	s.writes.Add(1)
	return s.Store.Redeem(ctx, r)
}

func (s *writeCounter) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	s.writes.Add(1)
	return s.Store.UseOnce(ctx, space, id, now, exp)
}

func (s *writeCounter) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	s.writes.Add(1)
	return s.Store.Revoke(ctx, r)
}

// TestAuthorizeWritesNothing: a request that has proved nothing but where it
// comes from costs no write.
func TestAuthorizeWritesNothing(t *testing.T) {
	var s *writeCounter
	f := newFixture(t, seedKeys, func(c *Config) { s = &writeCounter{Store: c.Store}; c.Store = s })
	before := s.writes.Load()
	f.authorize(ada).response(webRedirect, "", "S1")
	f.authorize(ci).page(403)
	f.authorize(ada, "client_id", "nobody").page(400)
	f.authorize(ada, "scope", "nonsense").response(webRedirect, "invalid_scope", "S1")
	if n := s.writes.Load() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
	if f.login(ada); s.writes.Load() == before {
		t.Error("the counter does not count")
	}
}
