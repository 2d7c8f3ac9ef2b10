// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/client/local"
	"tailscale.com/tailcfg"
)

// echo answers with the name of the caller in place of the provider.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "provider for %s", peerOf(r).Name())
})

func newTestDevServer() *devServer {
	hosts := devHosts(9411)
	issuer := "http://" + hosts[0]
	return newDevServer(issuer, hosts, newDevTailnet(), echo, newDemoApp(issuer, hosts, 9411))
}

func TestDevCaller(t *testing.T) {
	tests := []struct {
		name    string
		headers []string
		cookie  string
		want    string // body; empty: 400
	}{
		{name: "nobody said", want: "provider for alice@example.com"},
		{name: "header", headers: []string{"bob@example.com"}, want: "provider for bob@example.com"},
		{name: "header of a machine", headers: []string{"tag:ci"}, want: "provider for tag:ci"},
		{name: "cookie", cookie: "bob@example.com", want: "provider for bob@example.com"},
		{name: "header wins", headers: []string{"alice@example.com"}, cookie: "tag:ci", want: "provider for alice@example.com"},
		{name: "unknown cookie", cookie: "eve@example.com", want: "provider for alice@example.com"},
		{name: "unknown header", headers: []string{"eve@example.com"}, cookie: "bob@example.com"},
		{name: "empty header", headers: []string{""}},
		{name: "capitals", headers: []string{"Bob@example.com"}},
		{name: "two headers", headers: []string{"bob@example.com", "bob@example.com"}},
	}
	d := newTestDevServer()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://localhost:9411/userinfo", nil)
			r.Header["Tsidp-Dev-User"] = tt.headers
			if tt.cookie != "" {
				r.AddCookie(&http.Cookie{Name: devCookie, Value: tt.cookie})
			}
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			if tt.want != "" {
				if w.Code != 200 || w.Body.String() != tt.want {
					t.Errorf("status %d, body %q, want %q", w.Code, w.Body, tt.want)
				}
				return
			}
			var answer struct {
				Error       string
				Description string `json:"error_description"`
				Known       []string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 400 {
				t.Fatalf("status %d, body %q (%v), want 400 and JSON", w.Code, w.Body, err)
			}
			if diff := cmp.Diff([]string{"alice@example.com", "bob@example.com", "tag:ci"}, answer.Known); diff != "" {
				t.Errorf("known callers (-want +got):\n%s", diff)
			}
			if answer.Error != "invalid_request" || !strings.Contains(answer.Description, devHeader) {
				t.Errorf("answer %+v", answer)
			}
		})
	}
}

func TestDevRoutes(t *testing.T) {
	tests := []struct {
		method, url string
		header      http.Header
		want        int
		body        string // text in the answer
		location    string
	}{
		{method: "GET", url: "http://localhost:9411/", want: 200, body: "provider for"},
		{method: "GET", url: "http://localhost:9411/dev", want: 200, body: "You are Alice Example"},
		{method: "GET", url: "http://127.0.0.1:9411/dev", want: 200, body: "You are Alice Example"},
		{method: "GET", url: "http://[::1]:9411/dev", want: 200, body: "You are Alice Example"},
		{method: "GET", url: "http://LOCALHOST:9411/dev", want: 200, body: "You are Alice Example"},
		{method: "GET", url: "http://localhost:9411/dev/style.css", want: 200, body: "color-scheme"},
		{method: "GET", url: "http://localhost:9411/dev/none", want: 404},
		{method: "GET", url: "http://localhost:9411/dev/login", want: 405},
		{method: "GET", url: "http://localhost:9411/development", want: 200, body: "provider for"},
		{method: "POST", url: "http://localhost:9411/", want: 200, body: "provider for"},
		{method: "GET", url: "http://localhost:9411/authorize", want: 200, body: "provider for"},

		{method: "GET", url: "http://localhost/dev", want: 421},
		{method: "GET", url: "http://localhost:9412/dev", want: 421},
		{method: "GET", url: "http://evil.example:9411/dev", want: 421},
		{method: "POST", url: "http://evil.example:9411/dev/user", want: 421},
		{method: "GET", url: "http://evil.example:9411/jwks", want: 200, body: "provider for"}, // its host rule is its own

		{
			method: "GET", url: "http://localhost:9411/dev",
			header: http.Header{"Accept": {"text/html"}, "Tsidp-Dev-User": {"<eve>"}},
			want:   400, body: "&lt;eve&gt;",
		},
	}
	d := newTestDevServer()
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.url, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.url, nil)
			for name, values := range tt.header {
				r.Header[name] = values
			}
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.body) || w.Header().Get("Location") != tt.location {
				t.Errorf("status %d, location %q, body %q, want %d, %q, %q", w.Code, w.Header().Get("Location"), w.Body, tt.want, tt.location, tt.body)
			}
		})
	}
}

func TestDevSwitch(t *testing.T) {
	tests := []struct {
		name   string
		user   string
		header http.Header
		want   int
	}{
		{name: "own page", user: "bob@example.com", header: http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://localhost:9411"}}, want: 303},
		{name: "script", user: "tag:ci", want: 303},
		{name: "unknown", user: "eve@example.com", want: 400},
		{name: "nobody", want: 400},
		{name: "other site", user: "bob@example.com", header: http.Header{"Sec-Fetch-Site": {"cross-site"}}, want: 403},
		{name: "other port", user: "bob@example.com", header: http.Header{"Sec-Fetch-Site": {"same-site"}}, want: 403},
		{name: "other site, old browser", user: "bob@example.com", header: http.Header{"Origin": {"https://evil.example"}}, want: 403},
		{name: "hidden origin", user: "bob@example.com", header: http.Header{"Origin": {"null"}}, want: 403},
	}
	d := newTestDevServer()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://localhost:9411/dev/user", strings.NewReader(url.Values{"user": {tt.user}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for name, values := range tt.header {
				r.Header[name] = values
			}
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Fatalf("status %d, want %d", w.Code, tt.want)
			}
			cookies := w.Result().Cookies()
			if tt.want != 303 {
				if len(cookies) > 0 {
					t.Errorf("refused, but with cookies %v", cookies)
				}
				return
			}
			if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
				t.Fatalf("cookies %v", cookies)
			}
			next := httptest.NewRequest("GET", "http://localhost:9411/authorize", nil)
			next.AddCookie(cookies[0])
			w = httptest.NewRecorder()
			d.ServeHTTP(w, next)
			if want := "provider for " + tt.user; w.Body.String() != want {
				t.Errorf("then %q, want %q", w.Body, want)
			}
		})
	}
}

func TestDevHosts(t *testing.T) {
	if diff := cmp.Diff([]string{"localhost:9411", "127.0.0.1:9411", "[::1]:9411"}, devHosts(9411)); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"localhost", "127.0.0.1", "[::1]"}, devHosts(80)); diff != "" {
		t.Errorf("hosts of the default port (-want +got):\n%s", diff)
	}
}

func TestDevTailnet(t *testing.T) {
	tailnet := newDevTailnet()
	tests := []struct {
		addr, login, node string
		user              tailcfg.UserID
		tags              []string
		rules             int
	}{
		{addr: "100.64.0.11", login: "alice@example.com", node: "alice-laptop.tail-dev.ts.net.", user: 1001, rules: 1},
		{addr: "100.64.0.11:4711", login: "alice@example.com", node: "alice-laptop.tail-dev.ts.net.", user: 1001, rules: 1},
		{addr: "fd7a:115c:a1e0::b", login: "alice@example.com", node: "alice-laptop.tail-dev.ts.net.", user: 1001, rules: 1},
		{addr: "[fd7a:115c:a1e0::b]:1", login: "alice@example.com", node: "alice-laptop.tail-dev.ts.net.", user: 1001, rules: 1},
		{addr: "::ffff:100.64.0.12", login: "bob@example.com", node: "bob-phone.tail-dev.ts.net.", user: 1002},
		{addr: "100.64.0.13", login: "tagged-devices", node: "ci.tail-dev.ts.net.", user: 1003, tags: []string{"tag:ci"}, rules: 1},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			got, err := tailnet.WhoIs(t.Context(), tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			u, n := got.UserProfile, got.Node
			if u.LoginName != tt.login || u.ID != tt.user || n.User != tt.user || n.Name != tt.node || len(got.CapMap[tailcfg.PeerCapabilityTsIDP]) != tt.rules {
				t.Errorf("user %+v, node %+v, rules %v", u, n, got.CapMap)
			}
			if diff := cmp.Diff(tt.tags, n.Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if n.StableID == "" || n.Key.IsZero() || len(n.Addresses) != 2 {
				t.Errorf("node %+v lacks something", n)
			}
			for _, rule := range got.CapMap[tailcfg.PeerCapabilityTsIDP] {
				if !json.Valid([]byte(rule)) {
					t.Errorf("rule %s is not JSON", rule)
				}
			}
		})
	}
	for _, addr := range []string{"100.64.0.99", "127.0.0.1:1234", "::1"} {
		if _, err := tailnet.WhoIs(t.Context(), addr); !errors.Is(err, local.ErrPeerNotFound) {
			t.Errorf("WhoIs(%q): error %v, want %v", addr, err, local.ErrPeerNotFound)
		}
	}
	for _, addr := range []string{"", "alice", "100.64.0.11:x", "@"} {
		if _, err := tailnet.WhoIs(t.Context(), addr); err == nil || errors.Is(err, local.ErrPeerNotFound) {
			t.Errorf("WhoIs(%q): error %v, want one that says the question is no good", addr, err)
		}
	}
}

func FuzzDevWhoIs(f *testing.F) {
	for _, s := range []string{"100.64.0.11", "100.64.0.12:80", "[fd7a:115c:a1e0::d]:1", "fe80::1%eth0", "", ":80"} {
		f.Add(s)
	}
	tailnet := newDevTailnet()
	f.Fuzz(func(t *testing.T, addr string) {
		got, err := tailnet.WhoIs(t.Context(), addr)
		if (got == nil) == (err == nil) {
			t.Errorf("answer %v with error %v", got, err)
		}
		if _, bad := netip.ParseAddr(addr); bad != nil {
			if _, bad := netip.ParseAddrPort(addr); bad != nil && err == nil {
				t.Errorf("%q is no address, but found %v", addr, got.Node.Name)
			}
		}
	})
}

// The answers belong to the caller: to change one changes no other.
func TestDevTailnetAnswersAreFresh(t *testing.T) {
	tailnet := newDevTailnet()
	first, err := tailnet.WhoIs(t.Context(), "100.64.0.11")
	if err != nil {
		t.Fatal(err)
	}
	first.UserProfile.Groups[0] = "group:changed"
	first.Node.Addresses[0] = netip.Prefix{}
	if want := "nodekey:" + strings.Repeat("0", 63) + "b"; first.Node.Key.String() != want {
		t.Errorf("node key %v, want %s: it must be the same at every start", first.Node.Key, want)
	}
	second, err := tailnet.WhoIs(t.Context(), "100.64.0.11")
	if err != nil {
		t.Fatal(err)
	}
	if second.UserProfile.Groups[0] != "group:eng" || !second.Node.Addresses[0].IsValid() {
		t.Errorf("changing one answer has changed another: %+v", second)
	}
}

func TestDemoResponse(t *testing.T) {
	m := &metadata{Issuer: "http://localhost:9411", ResponseIss: true}
	const iss = "&iss=http%3A%2F%2Flocalhost%3A9411"
	tests := []struct {
		name, query string
		silent      bool // the provider does not promise iss
		want        string
		wantErr     string
	}{
		{name: "code", query: "code=c&state=s" + iss, want: "c"},
		{name: "no iss promised", query: "code=c&state=s", silent: true, want: "c"},
		{name: "no iss", query: "code=c&state=s", wantErr: "issuer"},
		{name: "other iss", query: "code=c&state=s&iss=https%3A%2F%2Fevil.example", wantErr: "evil.example"},
		{name: "other iss, none promised", query: "code=c&state=s&iss=https%3A%2F%2Fevil.example", silent: true, wantErr: "evil.example"},
		{name: "other state", query: "code=c&state=t" + iss, wantErr: "state"},
		{name: "no state", query: "code=c" + iss, wantErr: "state"},
		{name: "refused", query: "error=access_denied&error_description=No+way.&state=s" + iss, wantErr: "access_denied: No way."},
		{name: "refused without words", query: "error=access_denied&state=s" + iss, wantErr: "access_denied"},
		{name: "nothing", query: "state=s" + iss, wantErr: "neither"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			m := *m
			m.ResponseIss = !tt.silent
			got, err := m.response(q, "s")
			if got != tt.want || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %q, %v, want %q, %q", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

func TestDemoCallbackWithoutLogin(t *testing.T) {
	d := newTestDevServer()
	r := httptest.NewRequest("GET", "http://localhost:9411/dev/callback?code=c&state=s", nil)
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "no login is under way") {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
}

func TestNewClaim(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	o, err := parseObject([]byte(`{
		"exp": 1795611600, "iat": 1795608000, "auth_time": 1795604400, "nbf": 1.5,
		"big": 12345678901234567890, "email_verified": true, "groups": ["a", "b"], "none": [], "nil": null, "name": "Alice <b>",
		"long": ["https://one.example/resource", "https://two.example/resource"]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []claim{
		{Name: "auth_time", Value: "1795604400", Note: "the person was authenticated at: 25 November 2026, 11:00:00 UTC, 1h0m0s ago"},
		{Name: "big", Value: "12345678901234567890"},
		{Name: "email_verified", Value: "true", Note: "the provider vouches for the address"},
		{Name: "exp", Value: "1795611600", Note: "ends: 25 November 2026, 13:00:00 UTC, in 1h0m0s"},
		{Name: "groups", Value: `["a","b"]`},
		{Name: "iat", Value: "1795608000", Note: "issued: 25 November 2026, 12:00:00 UTC, now"},
		{Name: "long", Value: "[\n  \"https://one.example/resource\",\n  \"https://two.example/resource\"\n]", Complex: true},
		{Name: "name", Value: "Alice <b>"},
		{Name: "nbf", Value: "1.5", Note: "begins: 1 January 1970, 00:00:01 UTC, " + now.Sub(time.Unix(1, 0)).String() + " ago"},
		{Name: "nil", Value: "null"},
		{Name: "none", Value: "[]"},
	}
	if diff := cmp.Diff(want, o.claims(now)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

// startDev runs the development mode as the program does and returns its
// issuer. It ends with the test.
func startDev(t *testing.T) string {
	t.Helper()
	c, err := parseConfig([]string{"-dev", "-local-port", "0"}, environment())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := runDev(ctx, c, silent, in)
		in.CloseWithError(fmt.Errorf("development mode has ended: %w", err))
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("development mode: %v", err)
		}
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		cancel()
		t.Fatalf("no issuer: %v", err)
	}
	go io.Copy(io.Discard, lines)
	return strings.TrimSpace(strings.TrimPrefix(line, "issuer: "))
}

// A browser keeps cookies, follows redirects and says what browsers say.
type browser struct {
	t      *testing.T
	client http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, client: http.Client{Jar: jar}}
}

// visit returns the status and text of the page that a request leads to.
func (b *browser) visit(method, target string, form url.Values) (int, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// section returns the claims in the table of the section with that id.
func section(t *testing.T, page, id string) map[string]string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `aria-labelledby="`+id+`"`)
	if !ok {
		t.Fatalf("the page has no section %s:\n%s", id, page)
	}
	rest, _, _ = strings.Cut(rest, "</section>")
	claims := make(map[string]string)
	row := regexp.MustCompile(`(?s)<th scope="row"><code>([^<]*)</code></th>\s*<td><(?:span class="value"|pre)>([^<]*)<`)
	for _, m := range row.FindAllStringSubmatch(rest, -1) {
		claims[m[1]] = html.UnescapeString(m[2])
	}
	return claims
}

func TestDemoLogin(t *testing.T) {
	issuer := startDev(t)
	port := issuer[strings.LastIndex(issuer, ":"):]
	tests := []struct{ base, user, sub, name, username string }{
		{issuer, "alice@example.com", "userid:1001", "Alice Example", "alice"},
		{issuer, "bob@example.com", "userid:1002", "Bob Example", "bob"},
		{"http://127.0.0.1" + port, "bob@example.com", "userid:1002", "Bob Example", "bob"},
	}
	if hasIPv6Loopback() {
		tests = append(tests, tests[1])
		tests[3].base = "http://[::1]" + port
	}
	for _, tt := range tests {
		t.Run(tt.base+" "+tt.user, func(t *testing.T) {
			b := newBrowser(t)
			if tt.user != devAlice {
				if status, page := b.visit("POST", tt.base+"/dev/user", url.Values{"user": {tt.user}}); status != 200 || !strings.Contains(page, "You are "+tt.name) {
					t.Fatalf("after the switch: status %d\n%s", status, page)
				}
			}
			status, page := b.visit("POST", tt.base+"/dev/login", nil)
			if status != 200 {
				t.Fatalf("status %d\n%s", status, page)
			}
			id := section(t, page, "id-token")
			want := map[string]string{
				"iss": issuer, "sub": tt.sub, "aud": "demo", "email": tt.user,
				"email_verified": "true", "name": tt.name, "preferred_username": tt.username,
			}
			for name, value := range want {
				if id[name] != value {
					t.Errorf("ID token: %s is %q, want %q", name, id[name], value)
				}
			}
			if !strings.Contains(id["groups"], "group:eng") {
				t.Errorf("ID token: groups are %q", id["groups"])
			}
			if got := section(t, page, "userinfo"); got["sub"] != tt.sub || got["email"] != tt.user {
				t.Errorf("userinfo is %v", got)
			}
			if got := section(t, page, "introspection"); got["active"] != "true" || got["sub"] != tt.sub || got["client_id"] != "demo" {
				t.Errorf("introspection is %v", got)
			}
			if got := section(t, page, "access-token"); got["sub"] != tt.sub || got["client_id"] != "demo" {
				t.Errorf("access token is %v", got)
			}
			if !strings.Contains(html.UnescapeString(page), `"refresh_token": "`) {
				t.Error("the token response shows no refresh token")
			}
		})
	}
}

func TestDemoLoginRefused(t *testing.T) {
	issuer := startDev(t)
	b := newBrowser(t)
	if status, page := b.visit("POST", issuer+"/dev/user", url.Values{"user": {"tag:ci"}}); status != 200 {
		t.Fatalf("after the switch: status %d\n%s", status, page)
	}
	status, page := b.visit("POST", issuer+"/dev/login", nil)
	if status != http.StatusForbidden || !strings.Contains(page, "tag:ci") || strings.Contains(page, "id-token") {
		t.Errorf("status %d, want 403 and a page that tells tag:ci why\n%s", status, page)
	}
}

func TestDemoCallbackOfAnotherBrowser(t *testing.T) {
	issuer := startDev(t)
	b := newBrowser(t)
	// The answer of a login that somebody else has begun.
	status, page := b.visit("GET", issuer+"/dev/callback?code=c&state=s", nil)
	if status != http.StatusBadRequest || !strings.Contains(page, "no login is under way") {
		t.Errorf("status %d\n%s", status, page)
	}
}
