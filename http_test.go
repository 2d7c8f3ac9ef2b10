// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
)

// seedKeys configures a store whose keys are those of all fixtures, for
// providers that newFixture does not seed. It comes after what changes the
// issuer.
func seedKeys(c *Config) {
	var doc keyDocument
	if err := json.Unmarshal(sharedKeys(), &doc); err != nil {
		panic(err)
	}
	doc.Issuer, doc.Development = c.Issuer, c.Development
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	if _, err := c.Store.SwapKeys(context.Background(), 0, data); err != nil {
		panic(err)
	}
}

// newConfig is the configuration of a provider without fixture.
func newConfig(t testing.TB, log io.Writer) Config {
	t.Helper()
	cfg := Config{
		Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: memory.New(),
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	seedKeys(&cfg)
	return cfg
}

// newProvider makes a provider that is not running.
func newProvider(t testing.TB, cfg Config) *Provider {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// startProvider runs p until the test ends.
func startProvider(t testing.TB, p *Provider) {
	t.Helper()
	(&fixture{t: t, p: p}).run()
}

// do sends one request through client.
func do(t testing.TB, client *http.Client, method, target, contentType, body string, header ...string) *reply {
	t.Helper()
	return (&fixture{t: t, client: client}).do(netip.Addr{}, method, target, contentType, body, header...)
}

// shortJSONError checks for an error that a program reads: no page.
func (r *reply) shortJSONError(status int) {
	r.t.Helper()
	m := r.json(status)
	if s, ok := m["error"].(string); !ok || s == "" {
		r.t.Errorf("no error code in %s", r.body)
	}
	if len(r.body) > 2000 || strings.Contains(strings.ToLower(r.body), "<html") {
		r.t.Errorf("not a short answer: %s", r.body)
	}
	if r.header.Get("Cache-Control") != "no-store" {
		r.t.Errorf("Cache-Control %q, want no-store", r.header.Get("Cache-Control"))
	}
}

// testRoutes are all routes of Handler with the methods that they take.
func testRoutes(path string) map[string][]string {
	return map[string][]string{
		path + "/.well-known/jwks.json":                  {"GET", "HEAD"},
		"/.well-known/openid-configuration" + path:       {"GET", "HEAD"},
		"/.well-known/oauth-authorization-server" + path: {"GET", "HEAD"},
		path + "/token":                {"POST"},
		path + "/introspect":           {"POST"},
		path + "/revoke":               {"POST"},
		path + "/userinfo":             {"GET", "HEAD", "POST"},
		path + "/authorize":            {"GET", "HEAD", "POST"},
		path + "/device":               {"GET", "HEAD", "POST"},
		path + pathDeviceAuthorization: {"POST"},
		path + "/register":             {"POST"},
		path + "/register/web":         {"DELETE", "GET", "HEAD", "PUT"},
		path + "/healthz":              {"GET", "HEAD"},
		path + "/readyz":               {"GET", "HEAD"},
		path + "/metrics":              {"GET", "HEAD"},
		path + "/api/v1/clients":       {"GET", "HEAD", "POST"},
		path + "/api/v1/clients/web":   {"DELETE", "GET", "HEAD", "PUT"},

		path + "/api/v1/clients/web/secrets":   {"POST"},
		path + "/api/v1/clients/web/secrets/x": {"DELETE"},
		path + "/api/v1/policy/check":          {"GET", "HEAD"},
		path + "/api/v1/policy/explain":        {"GET", "HEAD"},
		path + "/clients/":                     {"GET", "HEAD"},
		path + "/clients/new":                  {"POST"},
		path + "/clients/web":                  {"DELETE", "GET", "HEAD"},
		path + "/edit/web":                     {"POST"},
	}
}

// TestMethods: every route with every method that it does not take (op-engine
// §8 item 5). Neither a method override nor a query makes another of it.
func TestMethods(t *testing.T) {
	f := newFixture(t)
	for path, methods := range testRoutes("") {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "HEADGET"} {
			if slices.Contains(methods, method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				r := f.in(t).do(adm, method, path, "application/x-www-form-urlencoded", "", "Accept", "application/json", "X-HTTP-Method-Override", methods[0])
				if r.status != 405 || r.header.Get("Allow") != strings.Join(methods, ", ") {
					t.Fatalf("answer %d with Allow %q, want 405 with %q", r.status, r.header.Get("Allow"), strings.Join(methods, ", "))
				}
				if method != "HEAD" {
					r.shortJSONError(405)
				}
			})
		}
	}
	// A person at the authorization endpoint sees a page; a client of the
	// token endpoint JSON, whatever it accepts.
	if r := f.do(adm, "PUT", "/authorize", "", "", "Accept", "text/html"); r.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow %q", r.header.Get("Allow"))
	} else {
		r.page(405)
	}
	f.do(adm, "GET", "/token", "", "", "Accept", "text/html").shortJSONError(405)
}

// TestHead: HEAD is GET without the body.
func TestHead(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada).AccessToken
	for path, methods := range testRoutes("") {
		if !slices.Contains(methods, "HEAD") {
			continue
		}
		t.Run(path, func(t *testing.T) {
			f := f.in(t)
			as, header := ada, []string{"Accept", "text/html"}
			switch {
			case strings.HasSuffix(path, "/userinfo"):
				header = []string{"Authorization", "Bearer " + token}
			case strings.HasPrefix(path, "/api"):
				as = adm
			}
			get, head := f.do(as, "GET", path, "", "", header...), f.do(as, "HEAD", path, "", "", header...)
			if head.status != get.status || head.body != "" {
				t.Errorf("HEAD answers %d %q, GET %d", head.status, head.body, get.status)
			}
			for _, name := range []string{"Content-Type", "Cache-Control", "Etag", "Content-Security-Policy"} {
				if head.header.Get(name) != get.header.Get(name) {
					t.Errorf("HEAD has %s %q, GET %q", name, head.header.Get(name), get.header.Get(name))
				}
			}
		})
	}
}

// TestSecurityHeaders: every answer, whatever its kind.
func TestSecurityHeaders(t *testing.T) {
	f := newFixture(t)
	ids := make(map[string]bool)
	for _, target := range []string{
		"/authorize?" + authorizeQuery().Encode(), "/authorize", "/authorize?client_id=web", "/token", "/userinfo", "/healthz", "/nothing",
		"/.well-known/jwks.json", "/.well-known/openid-configuration", "/api/v1/clients",
	} {
		for _, accept := range []string{"text/html", "application/json"} {
			r := f.do(ada, "GET", target, "", "", "Accept", accept, "X-Request-Id", "chosen-by-the-peer")
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", target, name, got, want)
				}
			}
			want := "no-store"
			if strings.HasPrefix(target, "/.well-known/") {
				want = "public, max-age=300"
			}
			if got := r.header.Values("Cache-Control"); len(got) != 1 || got[0] != want {
				t.Errorf("%s: Cache-Control is %q, want %q", target, got, want)
			}
			id := r.header.Get("X-Request-Id")
			if id == "" || ids[id] || strings.Contains(id, "chosen") {
				t.Errorf("%s: request id %q, want a new one of ours", target, id)
			}
			ids[id] = true
			if strings.HasPrefix(r.header.Get("Content-Type"), "text/html") && (r.header.Get("Content-Security-Policy") == "" || r.header.Get("X-Frame-Options") != "DENY") {
				t.Errorf("%s: a page without policy", target)
			}
			if got, open := r.header.Get("Access-Control-Allow-Origin") == "*", corsPaths[strings.Split(target, "?")[0]]; got != open {
				t.Errorf("%s: open to other origins: %t, want %t", target, got, open)
			}
			if len(r.header.Values("Set-Cookie")) > 0 && !strings.HasPrefix(target, "/authorize?") {
				t.Errorf("%s: sets a cookie", target)
			}
		}
	}
}

// TestContentType: forms are forms, JSON is JSON.
func TestContentType(t *testing.T) {
	f := newFixture(t)
	code := f.code(ada)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}.Encode()
	auth := basicAuth("web", webSecret)
	for _, contentType := range []string{
		"", "application/json", "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencodedd",
		"application/x-www-form-urlencoded, text/plain", "application/x-www-form-urlencoded; charset", ";",
	} {
		for _, path := range []string{"/token", "/introspect", "/revoke"} {
			f.do(netip.Addr{}, "POST", path, contentType, form, auth...).wantError(400, "invalid_request")
		}
		f.do(ada, "POST", "/authorize", contentType, authorizeQuery().Encode(), "Accept", "text/html").page(400)
	}
	// Nothing was consumed, and parameters and letter case do not matter.
	f.do(netip.Addr{}, "POST", "/token", "Application/X-WWW-Form-Urlencoded;charset=UTF-8", form, auth...).json(200)
}

// TestBodyLimit: a body of 64 KiB is read, one byte more is not (op-engine §8
// item 15), and what the body presents is not consumed.
func TestBodyLimit(t *testing.T) {
	t.Parallel() // a refused body delays the end of its server
	f := newFixture(t)
	res := f.login(ada)
	code := f.code(ada)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}.Encode()
	padded := func(s string, size int) string { return s + "&pad=" + strings.Repeat("x", size-len(s)-len("&pad=")) }
	const formType = "application/x-www-form-urlencoded"
	auth := basicAuth("web", webSecret)

	f.do(netip.Addr{}, "POST", "/token", formType, padded(form, 64<<10+1), auth...).shortJSONError(413)
	f.do(netip.Addr{}, "POST", "/token", formType, padded(form, 900<<10), auth...).shortJSONError(413)
	f.do(netip.Addr{}, "POST", "/token", formType, padded(form, 64<<10), auth...).json(200)

	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {res.RefreshToken}}.Encode()
	f.do(netip.Addr{}, "POST", "/token", formType, padded(refresh, 64<<10+1), auth...).shortJSONError(413)
	f.do(netip.Addr{}, "POST", "/introspect", formType, padded("token="+res.AccessToken, 64<<10+1), auth...).shortJSONError(413)
	f.do(netip.Addr{}, "POST", "/userinfo", formType, padded("access_token="+res.AccessToken, 64<<10+1)).shortJSONError(413)
	f.do(ada, "POST", "/authorize", formType, padded(authorizeQuery().Encode(), 64<<10+1), "Accept", "text/html").page(413)
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["https://x.example/cb"]}`+strings.Repeat(" ", 64<<10)).shortJSONError(413)
	if f.refresh(res.RefreshToken).tokens().RefreshToken == "" {
		t.Error("no refresh token")
	}
}

// TestQueryRefused: what belongs in a body is not taken from a URL, which
// ends in logs (op-engine §8 item 12).
func TestQueryRefused(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada)
	code := f.code(ada)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}
	credentials := url.Values{"client_id": {"web"}, "client_secret": {webSecret}}
	full := edited(edited(url.Values{}, []string{"client_id", "web", "client_secret", webSecret}), nil)
	for k, v := range form {
		full[k] = v
	}
	for name, r := range map[string]*reply{
		"secret":        f.post("/token?"+credentials.Encode(), form),
		"everything":    f.post("/token?"+full.Encode(), url.Values{}),
		"code":          f.post("/token?code="+code, edited(url.Values{"grant_type": {"authorization_code"}}, nil), basicAuth("web", webSecret)...),
		"unknown":       f.post("/token?x=1", form, basicAuth("web", webSecret)...),
		"introspection": f.post("/introspect?token="+res.AccessToken, url.Values{}, basicAuth("web", webSecret)...),
		"credentials":   f.post("/introspect?"+credentials.Encode(), url.Values{"token": {res.AccessToken}}),
		"bearer":        f.do(netip.Addr{}, "GET", "/userinfo?access_token="+res.AccessToken, "", ""),
		"bearer post":   f.do(netip.Addr{}, "POST", "/userinfo?access_token="+res.AccessToken, "", ""),
		"get":           f.do(netip.Addr{}, "GET", "/token?"+full.Encode(), "", ""),
	} {
		if r.status != 400 && r.status != 401 && r.status != 405 {
			t.Errorf("%s: answer %d %s, want a refusal", name, r.status, r.body)
		}
		for _, secret := range []string{webSecret, code, res.AccessToken} {
			if strings.Contains(r.body, secret) {
				t.Errorf("%s: the answer repeats the secret", name)
			}
		}
	}
	f.post("/token", form, basicAuth("web", webSecret)...).json(200)
}

// TestHost: pages and the API answer to our own names only (DNS rebinding),
// what clients call to any.
func TestHost(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Hosts = []string{"localhost:9411"} })
	const own, foreign = true, false
	for host, is := range map[string]bool{
		"idp.tail1234.ts.net": own, "IDP.Tail1234.ts.net": own, "idp.tail1234.ts.net:443": own, "localhost:9411": own,
		"idp": foreign, "evil.example": foreign, "idp.tail1234.ts.net:8443": foreign, "idp.tail1234.ts.net.evil.example": foreign,
		"xidp.tail1234.ts.net": foreign, "localhost": foreign, "localhost:9412": foreign, "100.64.0.9": foreign, "idp.tail1234.ts.net.": foreign,
		"evil.example:443": foreign,
	} {
		t.Run(host, func(t *testing.T) {
			f := f.in(t)
			page := f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", "Host", host, "Accept", "text/html")
			program := f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", "Host", host, "Accept", "application/json")
			api := f.do(adm, "GET", "/api/v1/clients", "", "", "Host", host)
			del := f.do(adm, "DELETE", "/api/v1/clients/nobody", "", "", "Host", host)
			if is == own {
				if page.redirect().Get("code") == "" || program.redirect().Get("code") == "" {
					t.Error("no code")
				}
				api.json(200)
				del.shortJSONError(404)
			} else {
				if body := page.page(421); !strings.Contains(body, testIssuer) {
					t.Errorf("the page does not say where to go: %s", content(body))
				}
				program.shortJSONError(421)
				api.shortJSONError(421)
				del.shortJSONError(421)
			}
			token := f.login(ada).AccessToken
			for _, r := range []*reply{
				f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {f.code(ada)}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}},
					append(basicAuth("web", webSecret), "Host", host)...),
				f.post("/introspect", url.Values{"token": {token}}, append(basicAuth("web", webSecret), "Host", host)...),
				f.do(netip.Addr{}, "GET", "/userinfo", "", "", "Authorization", "Bearer "+token, "Host", host),
				f.do(netip.Addr{}, "GET", "/.well-known/openid-configuration", "", "", "Host", host),
				f.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", "", "Host", host),
				f.do(netip.Addr{}, "GET", "/healthz", "", "", "Host", host),
			} {
				r.json(200)
			}
		})
	}
}

// TestHostOnTheWire: what no library sends.
func TestHostOnTheWire(t *testing.T) {
	f := newFixture(t)
	srv := httptest.NewServer(withTestPeer(f.p.Handler()))
	t.Cleanup(srv.Close)
	for request, status := range map[string]int{
		"GET /authorize HTTP/1.1\r\nHost: idp.tail1234.ts.net\r\n":                                   400, // there is no client_id
		"GET /authorize HTTP/1.1\r\nHost:\r\n":                                                       421,
		"GET /authorize HTTP/1.0\r\n":                                                                421,
		"GET http://evil.example/authorize HTTP/1.1\r\nHost: idp.tail1234.ts.net\r\n":                421, // "the absolute-form ... MUST ignore the received Host" (RFC 9112 section 3.2.2)
		"GET /authorize HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: idp.tail1234.ts.net\r\n": 421,
		"GET /authorize HTTP/1.1\r\nHost: idp.tail1234.ts.net\r\nHost: evil.example\r\n":             400,
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s%s: %v\r\nAccept: text/html\r\nConnection: close\r\n\r\n", request, testPeer, ada)
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if line, _, _ := strings.Cut(string(answer), "\r\n"); !strings.Contains(line, fmt.Sprintf(" %d ", status)) {
			t.Errorf("%q: %s, want %d", request, line, status)
		}
	}
}

// TestOwnHosts: the issuer's own names, with the default port however it is
// written.
func TestOwnHosts(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://idp.example":         {"idp.example", "idp.example:443"},
		"https://idp.example:443":     {"idp.example", "idp.example:443"},
		"https://idp.example:8443/x":  {"idp.example:8443"},
		"http://localhost:9411":       {"localhost:9411"},
		"http://localhost":            {"localhost", "localhost:80"},
		"https://[fd7a:115c:a1e0::1]": {"[fd7a:115c:a1e0::1]", "[fd7a:115c:a1e0::1]:443"},
	} {
		u, err := url.Parse(issuer)
		if err != nil {
			t.Fatal(err)
		}
		got := ownHosts(u, []string{"more.example"})
		slices.Sort(got)
		want = append(want, "more.example")
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", issuer, diff)
		}
	}
}

// forged are headers by which a peer might claim to be somebody else, or the
// server.
var forged = []string{
	"X-Forwarded-For", "100.64.0.5", "X-Real-Ip", "100.64.0.5", "True-Client-Ip", "100.64.0.5", "CF-Connecting-IP", "100.64.0.5",
	"Forwarded", `for=100.64.0.5;host=evil.example;proto=http`, "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http",
	"X-Forwarded-Port", "8080", "X-Forwarded-Prefix", "/evil", "X-Zitadel-Forward-Host", "evil.example", "X-Original-Url", "/api/v1/clients",
	"X-Rewrite-Url", "/api/v1/clients", "Tailscale-User-Login", "root@example.com", "Tailscale-User-Name", "Root",
	"Remote-User", "root@example.com", "X-Forwarded-User", "root@example.com", "Tsidp-Dev-User", "alice@example.com",
}

// TestForgedHeaders: documents come from the configured issuer and identity
// from the connection, whatever headers say.
func TestForgedHeaders(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json"} {
		plain := f.do(netip.Addr{}, "GET", path, "", "")
		r := f.do(netip.Addr{}, "GET", path, "", "", append(forged, "Host", "evil.example")...)
		if r.body != plain.body || r.header.Get("Etag") != plain.header.Get("Etag") {
			t.Errorf("%s differs: %s", path, r.body)
		}
	}
	r := f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", append(forged, "Accept", "text/html")...)
	q := r.redirect()
	if q.Get("iss") != testIssuer || !strings.HasPrefix(r.header.Get("Location"), webRedirect+"?") {
		t.Errorf("redirected to %s", r.header.Get("Location"))
	}
	res := f.redeem(q.Get("code")).tokens()
	if c := claimsOf(t, res.AccessToken); c["sub"] != "userid:1001" || c["iss"] != testIssuer {
		t.Errorf("access token %v, want ada's", c)
	}
	f.do(ada, "GET", "/api/v1/clients", "", "", forged...).shortJSONError(403)
	f.do(netip.Addr{}, "GET", "/api/v1/clients", "", "", forged...).shortJSONError(500)
}

// realIP is a middleware as embedders have it: it believes a header and
// rewrites RemoteAddr from it.
func realIP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := r.Header.Get("X-Forwarded-For"); s != "" {
			r.RemoteAddr = s + ":443"
		}
		next.ServeHTTP(w, r)
	})
}

// A tailnetFunc is a tailnet of one function, asked for exactly what comes.
type tailnetFunc func(addr string) (*apitype.WhoIsResponse, error)

func (f tailnetFunc) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	return f(addr)
}

func (f tailnetFunc) StatusWithoutPeers(ctx context.Context) (*ipnstate.Status, error) {
	return newFakeTailnet().StatusWithoutPeers(ctx)
}

// askedTailnet notes who was asked about. The address loopback, if it is
// valid, is adm.
func askedTailnet(loopback netip.Addr) (tailnetFunc, func() []string) {
	var mu sync.Mutex
	var asked []string
	fake := newFakeTailnet()
	return func(addr string) (*apitype.WhoIsResponse, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, addr)
			if a, err := netip.ParseAddr(addr); err == nil && a == loopback {
				return fake.peers[adm], nil
			}
			return nil, local.ErrPeerNotFound
		}, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(asked)
		}
}

// listen serves h as an embedder does and returns a client.
func listen(t testing.TB, srv *http.Server, ln net.Listener) *http.Client {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	client := &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return client
}

func tcpListener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func unixListener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// TestConnContext: the peer of a real connection is who WhoIs is asked about,
// also under an embedder's real-IP middleware, and nobody else.
func TestConnContext(t *testing.T) {
	for name, test := range map[string]struct {
		loopback netip.Addr
		status   int
	}{
		"unknown": {netip.Addr{}, 403},
		"known":   {netip.MustParseAddr("127.0.0.1"), 400}, // the request has no client_id
	} {
		t.Run(name, func(t *testing.T) {
			tailnet, asked := askedTailnet(test.loopback)
			cfg := newConfig(t, t.Output())
			cfg.Tailnet = tailnet
			p := newProvider(t, cfg)
			startProvider(t, p)
			client := listen(t, &http.Server{Handler: realIP(p.Handler()), ConnContext: p.ConnContext}, tcpListener(t))
			do(t, client, "GET", "/authorize", "", "", append(forged, "Accept", "text/html")...).page(test.status)
			if diff := cmp.Diff([]string{"127.0.0.1"}, asked()); diff != "" {
				t.Errorf("asked about (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRealIPMiddleware: an embedder's middleware that rewrites RemoteAddr
// changes nothing, be it outside of the provider or inside of WithPeer.
func TestRealIPMiddleware(t *testing.T) {
	f := newFixture(t)
	f.client = serve(t, withTestPeer(realIP(f.p.Handler())))
	spoof := []string{"X-Forwarded-For", adm.String()}
	f.do(ada, "GET", "/api/v1/clients", "", "", spoof...).shortJSONError(403)
	f.do(ci, "GET", "/authorize?"+authorizeQuery("prompt", "none").Encode(), "", "", spoof...).redirectError("access_denied")
	code := f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", spoof...).redirect().Get("code")
	if c := claimsOf(t, f.redeem(code).tokens().IDToken); c["sub"] != "userid:1001" {
		t.Errorf("sub %v, want ada's", c["sub"])
	}
}

// TestMissingConnContext: the answer names the line that is missing.
func TestMissingConnContext(t *testing.T) {
	var log syncBuffer
	p := newProvider(t, newConfig(t, &log))
	startProvider(t, p)
	client := serve(t, p.Handler())
	if body := do(t, client, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", "Accept", "text/html").page(500); !strings.Contains(body, "ConnContext") {
		t.Errorf("the page does not name ConnContext: %s", content(body))
	}
	r := do(t, client, "GET", "/api/v1/clients", "", "")
	r.shortJSONError(500)
	if !strings.Contains(r.body, "Provider.ConnContext") {
		t.Errorf("the answer does not name ConnContext: %s", r.body)
	}
	if !strings.Contains(log.String(), "&http.Server{Handler: p.Handler(), ConnContext: p.ConnContext}") {
		t.Errorf("the log does not quote the line: %s", log.String())
	}
	// What needs no identity works without.
	do(t, client, "GET", "/.well-known/jwks.json", "", "").json(200)
	do(t, client, "POST", "/token", "application/x-www-form-urlencoded", "grant_type=refresh_token&client_id=x").wantError(401, "invalid_client")
	// So does the socket's handler, in its way.
	admin := serve(t, p.AdminHandler())
	do(t, admin, "GET", "/api/v1/clients", "", "").shortJSONError(500)
}

// A funnelListener wraps connections as tsnet's ListenFunnel does.
type funnelListener struct {
	net.Listener
	tls *tls.Config // nil: bare
}

func (l funnelListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c = &ipn.FunnelConn{Conn: c, Target: "idp.tail1234.ts.net:443", Src: netip.MustParseAddrPort("100.64.0.5:1")}
	if l.tls != nil {
		c = tls.Server(c, l.tls)
	}
	return c, nil
}

// testCertificate is one for nobody in particular.
func testCertificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"idp.tail1234.ts.net"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestFunnel: who comes through Funnel is nobody, even though WhoIs would
// name the relay, and even at the handler for the tailnet.
func TestFunnel(t *testing.T) {
	for _, name := range []string{"bare", "inside TLS"} {
		t.Run(name, func(t *testing.T) {
			tailnet, asked := askedTailnet(netip.MustParseAddr("127.0.0.1")) // the relay is an administrator
			cfg := newConfig(t, t.Output())
			cfg.Tailnet = tailnet
			p := newProvider(t, cfg)
			startProvider(t, p)
			ln := funnelListener{Listener: tcpListener(t)}
			if name != "bare" {
				ln.tls = testCertificate(t)
			}
			client := listen(t, &http.Server{Handler: p.Handler(), ConnContext: p.ConnContext}, ln)
			base := "http://idp.tail1234.ts.net"
			if ln.tls != nil {
				client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
				base = "https://idp.tail1234.ts.net"
			}
			body := do(t, client, "GET", base+"/authorize?"+authorizeQuery().Encode(), "", "", "Accept", "text/html").page(403)
			if !strings.Contains(body, "not on the tailnet") || strings.Contains(body, webRedirect) {
				t.Errorf("page %s", content(body))
			}
			do(t, client, "GET", base+"/api/v1/clients", "", "").shortJSONError(403)
			do(t, client, "GET", base+"/.well-known/jwks.json", "", "").json(200)
			if got := asked(); len(got) > 0 {
				t.Errorf("asked about %v", got)
			}
		})
	}
}

// TestPublicHandler: what clients call, a static page instead of authorize,
// and no administration, whoever asks.
func TestPublicHandler(t *testing.T) {
	f := newFixture(t)
	res, code := f.login(ada), f.code(ada)
	var before, after int
	f.tailnet.set(func(f *fakeTailnet) { before = f.asked })
	f.client = serve(t, withTestPeer(f.p.PublicHandler()))
	for _, as := range []netip.Addr{{}, ada, adm} {
		for _, target := range []string{"/authorize?" + authorizeQuery().Encode(), "/authorize"} {
			body := f.do(as, "GET", target, "", "", "Accept", "text/html", "Host", "funnel.example").page(403)
			if !strings.Contains(body, "You are not on the tailnet") || strings.Contains(body, "app.example") {
				t.Errorf("page %s", content(body))
			}
		}
		f.do(as, "POST", "/authorize", "application/x-www-form-urlencoded", authorizeQuery().Encode(), "Accept", "text/html").page(403)
		f.do(as, "GET", "/api/v1/clients", "", "").shortJSONError(403)
		f.do(as, "GET", "/api/v1/clients/web", "", "").shortJSONError(403)
		f.do(as, "DELETE", "/api/v1/clients/web", "", "").shortJSONError(403)
		f.do(as, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["https://x.example/"]}`).shortJSONError(403)
		f.do(as, "POST", "/clients/new", "application/x-www-form-urlencoded", "name=x&redirect_uri=https://x.example/").shortJSONError(403)
		f.do(as, "POST", "/edit/web", "application/x-www-form-urlencoded", "name=x").shortJSONError(403)
		r := f.do(as, "GET", "/clients/", "", "")
		if r.shortJSONError(403); !strings.Contains(r.body, "unix socket") || !strings.Contains(r.body, "tsidp-server client") {
			t.Errorf("the answer does not say what to do: %s", r.body)
		}
	}
	if f.tailnet.set(func(f *fakeTailnet) { after = f.asked }); after != before {
		t.Error("the tailnet was asked who is there")
	}
	f.redeem(code).json(200)
	f.refresh(res.RefreshToken).json(200)
	f.userinfo(res.AccessToken).json(200)
	if f.introspect("web", res.AccessToken)["active"] != true {
		t.Error("introspection does not work")
	}
	for _, path := range []string{"/healthz", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		f.do(netip.Addr{}, "GET", path, "", "").json(200)
	}
}

// TestAdminHandler: a unix socket needs no identity and no tailnet; anything
// else is refused.
func TestAdminHandler(t *testing.T) {
	cfg := newConfig(t, t.Output())
	tailnet := newFakeTailnet()
	tailnet.err, tailnet.state = errTest, "NeedsLogin"
	cfg.Tailnet = tailnet
	p := newProvider(t, cfg)
	startProvider(t, p)
	newServer := func() *http.Server { return &http.Server{Handler: p.AdminHandler(), ConnContext: p.ConnContext} }

	socket := listen(t, newServer(), unixListener(t))
	created := do(t, socket, "POST", "/api/v1/clients", "application/json", `{"client_id":"x","redirect_uris":["https://x.example/cb"]}`, "Host", "localhost").json(201)
	if created["client_id"] != "x" || created["client_secret"] == nil {
		t.Errorf("created %v", created)
	}
	do(t, socket, "GET", "/api/v1/clients/x", "", "").json(200)
	do(t, socket, "GET", "/api/v1/clients", "", "", "Host", "anything").json(200)
	do(t, socket, "GET", "/healthz", "", "").json(200)
	for _, path := range []string{"/authorize", "/token", "/userinfo", "/introspect", "/.well-known/jwks.json", "/.well-known/openid-configuration"} {
		do(t, socket, "GET", path, "", "").shortJSONError(404)
	}

	// TCP, also from a peer who would be an administrator.
	tcp := listen(t, newServer(), tcpListener(t))
	peer := serve(t, withTestPeer(p.AdminHandler()))
	for _, r := range []*reply{
		do(t, tcp, "GET", "/api/v1/clients", "", ""),
		do(t, tcp, "DELETE", "/api/v1/clients/x", "", ""),
		do(t, tcp, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["https://x.example/cb"]}`),
		do(t, peer, "GET", "/api/v1/clients", "", "", testPeer, adm.String()),
		do(t, peer, "DELETE", "/api/v1/clients/x", "", "", testPeer, adm.String()),
	} {
		r.shortJSONError(403)
	}
	// The tailnet's handler on a unix socket knows nobody.
	other := listen(t, &http.Server{Handler: p.Handler(), ConnContext: p.ConnContext}, unixListener(t))
	do(t, other, "GET", "/api/v1/clients", "", "").shortJSONError(403)
	do(t, other, "GET", "/authorize", "", "", "Accept", "text/html").page(403)

	do(t, socket, "DELETE", "/api/v1/clients/x", "", "")
	do(t, socket, "GET", "/api/v1/clients/x", "", "").shortJSONError(404)
}

// TestBeforeRun: until the store is open everything answers 503 and says when
// to come again (C17); after it, it answers.
func TestBeforeRun(t *testing.T) {
	p := newProvider(t, newConfig(t, t.Output()))
	handlers := map[string]*http.Client{
		"Handler": serve(t, withTestPeer(p.Handler())), "PublicHandler": serve(t, withTestPeer(p.PublicHandler())), "AdminHandler": serve(t, p.AdminHandler()),
	}
	for name, client := range handlers {
		for path, methods := range testRoutes("") {
			if name == "AdminHandler" && !strings.HasPrefix(path, "/api") {
				continue
			}
			if name == "PublicHandler" && (strings.HasPrefix(path, "/api") || path == pathDeviceAuthorization || strings.HasPrefix(path, "/register") || path == pathMetrics) {
				continue
			}
			for _, method := range methods {
				for _, accept := range []string{"application/json", "text/html"} {
					r := do(t, client, method, path, "application/x-www-form-urlencoded", "", testPeer, adm.String(), "Accept", accept)
					if r.status != 503 {
						t.Errorf("%s: %s %s answers %d, want 503", name, method, path, r.status)
					}
					if path != "/healthz" && path != "/readyz" && r.header.Get("Retry-After") == "" {
						t.Errorf("%s: %s %s does not say when to come again", name, method, path)
					}
					isPage := strings.HasPrefix(r.header.Get("Content-Type"), "text/html")
					if wantPage := (path == "/authorize" || path == "/device") && accept == "text/html"; isPage != wantPage {
						t.Errorf("%s: %s %s is %s", name, method, path, r.header.Get("Content-Type"))
					}
				}
			}
		}
		for _, path := range []string{"/.well-known/nonsense", "/nothing"} {
			if r := do(t, client, "GET", path, "", "", "Accept", "text/html"); r.status != 503 && r.status != 404 || strings.Contains(r.body, "<html") {
				t.Errorf("%s: GET %s answers %d %s", name, path, r.status, r.body)
			}
		}
	}
	startProvider(t, p)
	for _, client := range handlers {
		do(t, client, "GET", "/healthz", "", "").json(200)
	}
	do(t, handlers["Handler"], "GET", "/api/v1/clients", "", "", testPeer, adm.String()).json(200)
}

// A brokenStore fails, or panics, at Get of one kind while fail is set.
type brokenStore struct {
	store.Store
	mu   sync.Mutex
	kind store.Kind
	fail func() error
}

func (s *brokenStore) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	s.mu.Lock()
	broken, fail := s.kind, s.fail
	s.mu.Unlock()
	if fail != nil && kind == broken {
		return store.Record{}, fail()
	}
	return s.Store.Get(ctx, kind, id, now)
}

// set breaks the store, or mends it with a nil fail.
func (s *brokenStore) set(kind store.Kind, fail func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind, s.fail = kind, fail
}

// breakable configures a store that tests can break.
func breakable(s **brokenStore) func(*Config) {
	return func(c *Config) {
		seedKeys(c)
		*s = &brokenStore{Store: c.Store}
		c.Store = *s
	}
}

// TestPanic: a panic is answered, logged, and the server lives on.
func TestPanic(t *testing.T) {
	for _, debug := range []bool{false, true} {
		t.Run(fmt.Sprint("DebugRequests=", debug), func(t *testing.T) {
			var s *brokenStore
			f := newFixture(t, func(c *Config) { c.DebugRequests = debug }, breakable(&s))
			s.set(kindClient, func() error { panic("the roof is on fire") })
			for _, r := range []*reply{
				f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", "Accept", "text/html"),
				f.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, basicAuth("web", webSecret)...),
				f.do(adm, "GET", "/api/v1/clients/web", "", ""),
			} {
				if r.status != 500 || strings.Contains(r.body, "fire") || strings.Contains(r.body, ".go") {
					t.Errorf("answer %d %s, want 500 without the cause", r.status, r.body)
				}
				if m := r.json(500); m["error"] != "server_error" {
					t.Errorf("answer %v", m)
				}
				if id := r.header.Get("X-Request-Id"); !strings.Contains(f.log.String(), "request="+id) {
					t.Errorf("the log does not have the request %s", id)
				}
			}
			if n := strings.Count(f.log.String(), "the roof is on fire"); n < 3 {
				t.Errorf("the log has the cause %d times, want 3: %s", n, f.log.String())
			}
			s.set("", nil)
			f.login(ada)
		})
	}
}

// TestAbortHandler: the panic by which a handler gives a connection up goes
// on to net/http; answered as 200 it would pass for a whole answer.
func TestAbortHandler(t *testing.T) {
	f := newFixture(t)
	client := serve(t, f.p.surround(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))
	res, err := client.Get("http://idp.tail1234.ts.net/")
	if err == nil {
		res.Body.Close()
		t.Errorf("answer %d, want a broken connection", res.StatusCode)
	}
	if strings.Contains(f.log.String(), "panic") {
		t.Errorf("logged: %s", f.log.String())
	}
}

// TestStoreDown: a store that cannot answer is a 503 that consumes nothing,
// and the error goes to the application once its redirect URI is known.
func TestStoreDown(t *testing.T) {
	var s *brokenStore
	f := newFixture(t, breakable(&s))
	code := f.code(ada)
	f.clock.advance(maxClientAge)
	s.set(kindClient, func() error { return errors.New("dial tcp 10.0.0.9:5432: password authentication failed") })
	r := f.authorize(ada)
	if body := r.page(503); strings.Contains(body, "10.0.0.9") || r.header.Get("Retry-After") == "" {
		t.Errorf("page %s", content(body))
	}
	r = f.redeem(code)
	r.wantError(503, "temporarily_unavailable")
	if r.header.Get("Retry-After") == "" || strings.Contains(r.body, "10.0.0.9") {
		t.Errorf("answer %s with Retry-After %q", r.body, r.header.Get("Retry-After"))
	}
	f.do(adm, "GET", "/api/v1/clients/web", "", "").wantError(503, "temporarily_unavailable")
	s.set("", nil)
	f.redeem(code).json(200)

	s.set(kindPKCESeen, func() error { return errTest })
	f.authorize(ada, "code_challenge", "", "code_challenge_method", "").redirectError("temporarily_unavailable")
	s.set("", nil)
}

// TestNotFound: a path that is not there answers short and in JSON (C17), so
// that clients go on with the next form of a metadata URL.
func TestNotFound(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{
		"/.well-known/oauth-authorization-server/mcp", "/.well-known/openid-configuration/mcp", "/mcp/.well-known/openid-configuration",
		"/.well-known/oauth-protected-resource", "/.well-known/nonsense", "/.well-known/webfinger", "/.well-known/", "/.well-known",
		"/.well-known/openid-configuration/", "/.well-known/jwks.json/x", "/jwks", "/token/", "/authorize/x", "/api", "/api/v1", "/api/v1/clients/web/secret",
		"/register/", "/register/web/x", "/end_session", "/keys", "/oauth/token", "/ready", "/debug/pprof/",
	} {
		for _, accept := range []string{"text/html", "application/json", ""} {
			for _, method := range []string{"GET", "POST"} {
				t.Run(method+" "+path+" "+accept, func(t *testing.T) {
					f.in(t).do(adm, method, path, "", "", "Accept", accept).shortJSONError(404)
				})
			}
		}
	}
}

// TestUncleanPaths: other spellings of a path are not other ways around the
// rules: they are not found, or lead to the one spelling on this host.
func TestUncleanPaths(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{
		"//authorize", "/./authorize", "/x/../authorize", "//evil.example/../authorize", "/authorize//", "//.well-known/openid-configuration",
		"/api/v1//clients", "/api/v1/clients/../clients", "/%2e%2e/authorize", "//evil.example/%2e%2e/authorize", "/authorize%2f", "/%2fevil.example",
	} {
		for _, method := range []string{"GET", "POST"} {
			for _, as := range []netip.Addr{{}, ada} {
				r := f.do(as, method, "http://idp.tail1234.ts.net"+path+"?"+authorizeQuery().Encode(), "application/x-www-form-urlencoded", "grant_type=x", "Accept", "text/html")
				location := r.header.Get("Location")
				switch {
				case r.status == 404, r.status == 403, r.status == 500: // nothing there, or nobody allowed
				case r.status/100 == 3 && strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") && !strings.HasPrefix(location, `/\`):
				default:
					t.Errorf("%s %s answers %d to %q, want 404 or a path of this host", method, path, r.status, location)
				}
			}
		}
	}
}

// TestETag: clients that have a document are told so.
func TestETag(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json"} {
		first := f.do(netip.Addr{}, "GET", path, "", "")
		first.json(200)
		tag := first.header.Get("Etag")
		if !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) || len(tag) < 12 {
			t.Fatalf("ETag %s", tag)
		}
		// "A recipient MUST use the weak comparison function when comparing
		// entity tags for If-None-Match" (RFC 9110 section 13.1.2).
		for match, status := range map[string]int{
			tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, `"other",W/` + tag + ` , "more"`: 304, "*": 304,
			`"other"`: 200, strings.Trim(tag, `"`): 200, "": 200, tag[:len(tag)-1] + `x"`: 200, "W/": 200,
		} {
			r := f.do(netip.Addr{}, "GET", path, "", "", "If-None-Match", match)
			if r.status != status || (r.body == "") != (status == 304) {
				t.Errorf("%s with If-None-Match %s: answer %d with %d bytes, want %d", path, match, r.status, len(r.body), status)
			}
			if r.header.Get("Etag") != tag || r.header.Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("%s with If-None-Match %s: ETag %s, Cache-Control %s", path, match, r.header.Get("Etag"), r.header.Get("Cache-Control"))
			}
		}
		if r := f.do(netip.Addr{}, "HEAD", path, "", "", "If-None-Match", tag); r.status != 304 {
			t.Errorf("HEAD %s answers %d, want 304", path, r.status)
		}
	}
}

// TestIssuerWithPath: metadata in all forms that clients probe, endpoints
// below the path, and nothing outside of it.
func TestIssuerWithPath(t *testing.T) {
	const issuer = "https://idp.tail1234.ts.net/idp/v2"
	f := newFixture(t, func(c *Config) { c.Issuer = issuer }, seedKeys)
	var first string
	for _, path := range []string{
		"/.well-known/oauth-authorization-server/idp/v2", "/.well-known/openid-configuration/idp/v2",
		"/idp/v2/.well-known/oauth-authorization-server", "/idp/v2/.well-known/openid-configuration",
	} {
		r := f.do(netip.Addr{}, "GET", path, "", "")
		m := r.json(200)
		if first == "" {
			first = r.body
		}
		if r.body != first {
			t.Errorf("%s differs from the others", path)
		}
		for name, want := range map[string]string{
			"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/.well-known/jwks.json",
			"userinfo_endpoint": issuer + "/userinfo", "introspection_endpoint": issuer + "/introspect",
		} {
			if m[name] != want {
				t.Errorf("%s: %s is %v, want %s", path, name, m[name], want)
			}
		}
	}
	for path := range testRoutes("") {
		f.do(adm, "GET", path, "", "").shortJSONError(404)
		f.do(adm, "POST", path, "", "").shortJSONError(404)
		f.do(adm, "GET", "/idp"+path, "", "").shortJSONError(404)
		f.do(adm, "GET", "/idp/v2x"+path, "", "").shortJSONError(404)
	}
	// A whole login below the path.
	r := f.do(ada, "GET", "/idp/v2/authorize?"+authorizeQuery().Encode(), "", "", "Accept", "text/html")
	q := r.redirect()
	if diff := cmp.Diff([]string{issuer}, q["iss"]); diff != "" {
		t.Errorf("iss (-want +got):\n%s", diff)
	}
	res := f.post("/idp/v2/token", url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}},
		basicAuth("web", webSecret)...).tokens()
	if c := claimsOf(t, res.IDToken); c["iss"] != issuer {
		t.Errorf("ID token %v", c)
	}
	if c := claimsOf(t, res.AccessToken); c["iss"] != issuer || c["aud"] != issuer {
		t.Errorf("access token %v", c)
	}
	for _, method := range []string{"GET", "POST"} {
		if info := f.do(netip.Addr{}, method, "/idp/v2/userinfo", "", "", "Authorization", "Bearer "+res.AccessToken).json(200); info["sub"] != "userid:1001" {
			t.Errorf("userinfo %v", info)
		}
	}
	f.post("/idp/v2/introspect", url.Values{"token": {res.AccessToken}}, basicAuth("web", webSecret)...).json(200)
	f.do(adm, "GET", "/idp/v2/api/v1/clients/web", "", "").json(200)
	f.do(netip.Addr{}, "GET", "/idp/v2/healthz", "", "").json(200)
	f.do(ada, "GET", "/idp/v2/api/v1/clients", "", "").shortJSONError(403)
}

// TestIssuerPathSpelling: a path that no route can have, or that another
// spelling also names, is refused by New and does not panic in Handler.
func TestIssuerPathSpelling(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://idp.example/a":            true,
		"https://idp.example/a/b.c_d-e~1":  true,
		"https://idp.example/a%20b":        false,
		"https://idp.example/%7Bid%7D":     false,
		"https://idp.example/%7B$%7D":      false,
		"https://idp.example/a//b":         false,
		"https://idp.example//a":           false,
		"https://idp.example/a/../b":       false,
		"https://idp.example/./a":          false,
		"https://idp.example/a%2Fb":        false,
		"https://idp.example/caf%C3%A9":    false,
		"https://idp.example/%61uthorize2": false,
	} {
		t.Run(issuer, func(t *testing.T) {
			cfg := newConfig(t, t.Output())
			cfg.Issuer = issuer
			p, err := New(cfg)
			if (err == nil) != ok {
				t.Fatalf("New: %v, want accepted: %v", err, ok)
			}
			if err == nil {
				p.Handler()
				p.PublicHandler()
				p.AdminHandler()
			} else if !strings.Contains(err.Error(), "Config.Issuer") {
				t.Errorf("the error does not name Config.Issuer: %v", err)
			}
		})
	}
}

// TestAmbient: being on the tailnet is no authority for a web page that
// somebody of the tailnet reads (C50, DESIGN §4).
func TestAmbient(t *testing.T) {
	f := newFixture(t)
	const create = `{"redirect_uris":["https://x.example/cb"]}`
	for _, test := range []struct {
		name   string
		header []string
		read   bool // may GET
		write  bool // may POST and DELETE
	}{
		{"program", nil, true, true},
		{"own origin", []string{"Origin", testIssuer}, true, true},
		{"own origin with port", []string{"Origin", testIssuer + ":443"}, true, true},
		{"own origin, same-origin", []string{"Origin", testIssuer, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, true, true},
		{"same-origin", []string{"Sec-Fetch-Site", "same-origin"}, true, true},
		{"none", []string{"Sec-Fetch-Site", "none"}, true, true},
		{"foreign", []string{"Origin", "https://evil.example"}, false, false},
		{"null", []string{"Origin", "null"}, false, false},
		{"http", []string{"Origin", "http://idp.tail1234.ts.net"}, false, false},
		{"other port", []string{"Origin", testIssuer + ":8443"}, false, false},
		{"sibling", []string{"Origin", "https://other.tail1234.ts.net"}, false, false},
		{"prefix", []string{"Origin", testIssuer + ".evil.example"}, false, false},
		{"suffix", []string{"Origin", "https://evil-idp.tail1234.ts.net"}, false, false},
		{"user", []string{"Origin", "https://idp.tail1234.ts.net@evil.example"}, false, false},
		{"path", []string{"Origin", testIssuer + "/"}, false, false},
		{"rubbish", []string{"Origin", "::"}, false, false},
		{"extension", []string{"Origin", "chrome-extension://idp.tail1234.ts.net"}, false, false},
		{"foreign, said to be same-origin", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, false, false},
		{"own, said to be cross-site", []string{"Origin", testIssuer, "Sec-Fetch-Site", "cross-site"}, false, false},
		{"cross-site", []string{"Sec-Fetch-Site", "cross-site"}, false, false},
		{"cross-site, no-cors", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, false, false},
		{"same-site", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, false, false},
		{"unheard of", []string{"Sec-Fetch-Site", "new-site"}, false, false},
		{"navigation", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true, false},
		{"same-site navigation", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true, false},
		{"form post", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := f.in(t)
			want := func(r *reply, allowed bool, status int) {
				t.Helper()
				if allowed {
					if r.status != status {
						t.Errorf("answer %d %s, want %d", r.status, r.body, status)
					}
					return
				}
				r.wantError(403, "access_denied")
			}
			for _, method := range []string{"GET", "HEAD"} {
				if r := f.do(adm, method, "/api/v1/clients", "", "", test.header...); (r.status == 200) != test.read {
					t.Errorf("%s answers %d", method, r.status)
				}
			}
			want(f.do(adm, "GET", "/api/v1/clients/web", "", "", test.header...), test.read, 200)
			want(f.do(adm, "POST", "/api/v1/clients", "application/json", create, test.header...), test.write, 201)
			want(f.do(adm, "DELETE", "/api/v1/clients/nobody", "", "", test.header...), test.write, 404)
			if r := f.do(adm, "GET", "/api/v1/clients", "", "", test.header...); r.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("answers to other origins")
			}
			// A client's own credentials count wherever they come from.
			f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {f.code(ada)}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}},
				append(basicAuth("web", webSecret), test.header...)...).json(200)
		})
	}
}

// TestHostsOrigin: a page under a further own name is not foreign, under the
// issuer's scheme.
func TestHostsOrigin(t *testing.T) {
	const issuer = "http://localhost:9411"
	f := newFixture(t, func(c *Config) {
		c.Issuer, c.Development, c.Hosts = issuer, true, []string{"127.0.0.1:9411", "[::1]:9411"}
	}, seedKeys)
	for origin, status := range map[string]int{
		issuer: 200, "http://127.0.0.1:9411": 200, "http://[::1]:9411": 200,
		"http://localhost": 403, "http://localhost:9412": 403, "https://localhost:9411": 403, "http://127.0.0.1": 403,
	} {
		if r := f.do(adm, "GET", "/api/v1/clients", "", "", "Host", "127.0.0.1:9411", "Origin", origin); r.status != status {
			t.Errorf("Origin %s: answer %d, want %d", origin, r.status, status)
		}
	}
}

// TestUnsupportedGrantTypes: op-engine §8 item 13; and the text is not echoed.
func TestUnsupportedGrantTypes(t *testing.T) {
	f := newFixture(t)
	for _, grantType := range []string{
		"urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange", "Client_Credentials", "password", "implicit",
		"urn:ietf:params:oauth:grant-type:device-code", "Authorization_Code", "authorization_code ", "refresh_token,authorization_code", "<script>alert(1)</script>", "\x00",
	} {
		form := url.Values{"grant_type": {grantType}, "assertion": {"a.b.c"}, "username": {"ada"}, "password": {"x"}}
		r := f.post("/token", form, basicAuth("web", webSecret)...)
		if grantType == "\x00" {
			r.wantError(400, "invalid_request")
			continue
		}
		r.wantError(400, "unsupported_grant_type")
		if strings.Contains(r.body, "<script") || strings.Contains(r.body, "jwt-bearer") {
			t.Errorf("echoed: %s", r.body)
		}
	}
	f.post("/token", url.Values{}, basicAuth("web", webSecret)...).wantError(400, "invalid_request")
}

// TestNothingShared: providers in one process share nothing (op-engine §8 item
// 16).
func TestNothingShared(t *testing.T) {
	own := func(c *Config) { c.Store = memory.New() } // and so keys of its own
	one := newFixture(t, own)
	two := newFixture(t, own, func(c *Config) { c.OmitResponseIssuer = true })
	code, res := one.code(ada), one.login(ada)
	two.redeem(code).wantError(400, "invalid_grant")
	two.refresh(res.RefreshToken).wantError(400, "invalid_grant")
	two.userinfo(res.AccessToken).wantError(401, "invalid_token")
	if two.introspect("web", res.AccessToken)["active"] != false {
		t.Error("the token of one is active at the other")
	}
	one.redeem(code).json(200)

	one.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_id":"only-one","redirect_uris":["https://x.example/cb"]}`).json(201)
	two.do(adm, "GET", "/api/v1/clients/only-one", "", "").shortJSONError(404)
	if one.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", "").body == two.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", "").body {
		t.Error("both have the same keys")
	}
	if !one.authorize(ada).redirect().Has("iss") || two.authorize(ada).redirect().Has("iss") {
		t.Error("configurations are mixed")
	}
	// Who one has asked about is not known to two.
	one.tailnet.set(func(f *fakeTailnet) { f.err = errTest })
	one.clock.advance(2 * time.Second)
	one.authorize(ada).page(503)
	two.authorize(ada).redirect()
	two.p.Close()
	one.do(netip.Addr{}, "GET", "/healthz", "", "").json(200)
}

// TestConcurrentRequests runs everything at once, for the race detector.
func TestConcurrentRequests(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.DebugRequests = true })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if r := f.authorize(ada, "state", fmt.Sprint(i)); r.status != 302 {
				t.Errorf("authorize answers %d", r.status)
			} else if u, _ := url.Parse(r.header.Get("Location")); u.Query().Get("state") != fmt.Sprint(i) {
				t.Errorf("state %q of another request", u.Query().Get("state"))
			}
			if r := f.do(adm, "POST", "/api/v1/clients", "application/json", fmt.Sprintf(`{"client_id":"c%d","redirect_uris":["https://x.example/cb"]}`, i)); r.status != 201 {
				t.Errorf("creating answers %d %s", r.status, r.body)
			}
			if r := f.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", ""); r.status != 200 {
				t.Errorf("keys answer %d", r.status)
			}
			if r := f.do(adm, "DELETE", fmt.Sprintf("/api/v1/clients/c%d", i), "", ""); r.status != 204 {
				t.Errorf("deleting answers %d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
}

// TestHealthz says whether the store answers, and no more.
func TestHealthz(t *testing.T) {
	var down bool
	var mu sync.Mutex
	f := newFixture(t, seedKeys, func(c *Config) {
		c.Store = &keylessStore{Store: c.Store, down: func() bool { mu.Lock(); defer mu.Unlock(); return down }}
	})
	f.do(netip.Addr{}, "GET", "/healthz", "", "").json(200)
	mu.Lock()
	down = true
	mu.Unlock()
	if r := f.do(netip.Addr{}, "GET", "/healthz", "", ""); r.status != 503 || strings.Contains(r.body, "order") {
		t.Errorf("answer %d %s, want 503 without the cause", r.status, r.body)
	}
}

// A keylessStore loses its keys when it is down.
type keylessStore struct {
	store.Store
	down func() bool
}

func (s *keylessStore) Keys(ctx context.Context) (store.KeySet, error) {
	if s.down() {
		return store.KeySet{}, errTest
	}
	return s.Store.Keys(ctx)
}

// TestTimedOutRequest: who gives up waiting harms nobody.
func TestTimedOutRequest(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req := httptest.NewRequestWithContext(WithPeer(ctx, ada), "GET", testIssuer+"/authorize?"+authorizeQuery().Encode(), nil)
	rec := httptest.NewRecorder()
	f.p.Handler().ServeHTTP(rec, req)
	if rec.Code >= 500 && rec.Code != 503 {
		t.Errorf("answer %d %s", rec.Code, rec.Body)
	}
	f.login(ada)
}
