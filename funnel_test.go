// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/internal/tailnettest"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tsnet"
)

// countedTailnet counts the questions about peers.
type countedTailnet struct {
	Tailnet
	asked atomic.Int64
}

func (c *countedTailnet) WhoIs(ctx context.Context, addr string) (*apitype.WhoIsResponse, error) {
	c.asked.Add(1)
	return c.Tailnet.WhoIs(ctx, addr)
}

// A funnelFixture is a provider whose node has Funnel, on a real tailnet, and
// the way to it from the internet.
type funnelFixture struct {
	p       *Provider
	tailnet *countedTailnet
	fqdn    string
	admin   string // address of an administrator's node
	client  *http.Client
}

// newFunnelFixture serves the handler that h makes on Funnel.
func newFunnelFixture(t *testing.T, h func(*Provider) http.Handler) *funnelFixture {
	t.Helper()
	tn := tailnettest.Start(t)
	id := tailnettest.Tagged("tag:tsidp")
	id.CapMap = tailnettest.FunnelCaps()
	// The relay, too, would be an administrator, if anybody asked.
	everything := `{"users":["*"],"resources":["*"],"allow_admin_ui":true,"allow_dcr":true}`
	tn.SetGrants(
		tailnettest.Allow("root@example.com", "idp", everything),
		tailnettest.Allow("tag:funnel-relay", "idp", everything),
	)
	idp := tn.Node(t, "idp", id).Up(t)
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	relay := tn.Node(t, "relay", tailnettest.FunnelRelay()).Up(t)

	f := &funnelFixture{fqdn: idp.FQDN(), admin: desk.IP().String(), tailnet: &countedTailnet{Tailnet: idp.LocalClient()}}
	var err error
	f.p, err = New(Config{
		Issuer: "https://" + f.fqdn, Tailnet: f.tailnet, Store: memory.New(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	startProvider(t, f.p)
	c := &client{
		ClientMetadata: admin.ClientMetadata{ID: "web", Name: "Web App", RedirectURIs: []string{webRedirect}},
		Origin:         originAdministrator, CreatedAt: time.Now(), Secrets: []clientSecret{hashSecret(webSecret, time.Now())},
	}
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		t.Fatal(err)
	}
	if err := f.p.createClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ln, err := idp.ListenFunnel("tcp", ":443", tsnet.FunnelOnly(), tsnet.FunnelTLSConfig(&tls.Config{
		GetCertificate: idp.LocalClient().GetCertificate, NextProtos: []string{"h2", "http/1.1"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h(f.p), ConnContext: f.p.ConnContext, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	// The relay may say anything of where a connection is from.
	f.client = relay.FunnelClient(netip.AddrPortFrom(desk.IP(), 4444))
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	transport := f.client.Transport.(*http.Transport)
	transport.DisableKeepAlives, transport.ForceAttemptHTTP2 = false, true
	t.Cleanup(transport.CloseIdleConnections)
	return f
}

// A funnelRequest is one that a stranger may send.
type funnelRequest struct {
	line   string // method and target as they stand in the request line
	host   string
	header []string // lines
	body   string
}

// A rawConn sends requests as they are written, over HTTP/1.1.
type rawConn struct {
	t      *testing.T
	f      *funnelFixture
	conn   net.Conn
	reader *bufio.Reader
}

func (c *rawConn) open() {
	c.t.Helper()
	transport := c.f.client.Transport.(*http.Transport)
	conn, err := transport.DialContext(c.t.Context(), "tcp", c.f.fqdn+":443")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	c.conn = tls.Client(conn, &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, ServerName: c.f.fqdn})
	c.reader = bufio.NewReader(c.conn)
}

// send sends r and returns the answer; the connection lives on if it may.
func (c *rawConn) send(r funnelRequest) (*http.Response, string) {
	c.t.Helper()
	if c.conn == nil {
		c.open()
	}
	fmt.Fprintf(c.conn, "%s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		r.line, r.host, strings.Join(append(r.header, ""), "\r\n"), len(r.body), r.body)
	method, _, _ := strings.Cut(r.line, " ")
	res, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("%s: %v", r.line, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s: %v", r.line, err)
	}
	if res.Close {
		c.conn.Close()
		c.conn = nil
	}
	return res, string(body)
}

// send2 sends r over HTTP/2.
func (f *funnelFixture) send2(t *testing.T, r funnelRequest) (*http.Response, string) {
	t.Helper()
	method, target, _ := strings.Cut(r.line, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+f.fqdn, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	// :path is sent as it is, :authority is the Host.
	req.URL.Opaque, req.Host = target, r.host
	for _, line := range r.header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", r.line, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", r.line, err)
	}
	if res.ProtoMajor != 2 {
		t.Fatalf("%s: HTTP/%d, want 2", r.line, res.ProtoMajor)
	}
	return res, string(body)
}

// funnelTricks are ways in which a stranger may try to be somebody, or to get
// elsewhere. Each changes a plain request.
func funnelTricks(f *funnelFixture) map[string]func(*funnelRequest) {
	header := func(lines ...string) func(*funnelRequest) {
		return func(r *funnelRequest) { r.header = append(r.header, lines...) }
	}
	host := func(h string) func(*funnelRequest) { return func(r *funnelRequest) { r.host = h } }
	target := func(change func(path string) string) func(*funnelRequest) {
		return func(r *funnelRequest) {
			method, path, _ := strings.Cut(r.line, " ")
			r.line = method + " " + change(path)
		}
	}
	before := func(prefix string) func(*funnelRequest) {
		return target(func(path string) string { return prefix + path })
	}
	escaped := func(path string) string { return fmt.Sprintf("/%%%02x%s", path[1], path[2:]) }
	behind := func(suffix string) func(*funnelRequest) {
		return target(func(path string) string {
			path, query, _ := strings.Cut(path, "?")
			return path + suffix + "?" + query
		})
	}
	return map[string]func(*funnelRequest){
		"plain": func(*funnelRequest) {},
		"forwarding headers": header("X-Forwarded-For: "+f.admin, "X-Real-IP: "+f.admin, "Forwarded: for="+f.admin, "True-Client-IP: "+f.admin,
			"X-Forwarded-Host: "+f.fqdn, "X-Forwarded-Proto: https"),
		"Serve's headers": header("Tailscale-User-Login: root@example.com", "Tailscale-User-Name: Root", "Tailscale-User-Profile-Pic: x",
			`Tailscale-App-Capabilities: {"tailscale.com/cap/tsidp":[{"allow_admin_ui":true}]}`, "Tailscale-Headers-Info: x"),
		"the relay's headers":  header("Tailscale-Ingress-Src: "+f.admin+":1", "Tailscale-Ingress-Target: "+f.fqdn+":443"),
		"development's header": header("Tsidp-Dev-User: alice@example.com", testPeer+": "+f.admin),
		"a program":            header("Accept: application/json"),
		"a page of ours":       header("Origin: https://"+f.fqdn, "Sec-Fetch-Site: same-origin"),
		"bearer":               header("Authorization: Bearer x"),
		"cookie":               header("Cookie: __Host-tsidp=x; tsidp-dev-user=alice@example.com"),

		"host with port":  host(f.fqdn + ":443"),
		"host localhost":  host("localhost"),
		"short host":      host("idp"),
		"address as host": host(f.admin),
		"foreign host":    host("evil.example"),
		"dot behind host": host(f.fqdn + "."),

		"dot":                  before("/."),
		"up":                   before("/token/.."),
		"escaped up":           before("/token/%2e%2e"),
		"escaped slash":        before("/.well-known/..%2f"),
		"slash behind":         behind("/"),
		"escaped slash behind": behind("%2f"),
		"NUL behind":           behind("%00"),
		"semicolon":            behind(";x"),
		"capitals":             target(strings.ToUpper),
		"escaped letter":       target(escaped),
	}
}

// funnelTricks1 are those that HTTP/1.1 has in addition.
func funnelTricks1(f *funnelFixture) map[string]func(*funnelRequest) {
	absolute := func(origin string) func(*funnelRequest) {
		return func(r *funnelRequest) {
			method, path, _ := strings.Cut(r.line, " ")
			r.line = method + " " + origin + path
		}
	}
	return map[string]func(*funnelRequest){
		"two slashes":             absolute("/"),
		"absolute form":           absolute("https://" + f.fqdn),
		"absolute form, http":     absolute("http://" + f.fqdn),
		"absolute form, loopback": absolute("http://127.0.0.1"),
		"absolute form, a user":   absolute("https://root@" + f.fqdn),
		"two hosts":               func(r *funnelRequest) { r.header = append(r.header, "Host: localhost") },
		"elsewhere in a header": func(r *funnelRequest) {
			method, path, _ := strings.Cut(r.line, " ")
			r.header = append(r.header, "X-Original-URL: "+path, "X-Rewrite-URL: "+path, "X-HTTP-Method-Override: "+method)
			r.line = "POST /.well-known/jwks.json"
		},
	}
}

// tailnetRequests returns a request for each method of each route that the
// tailnet has and the internet must not reach, with all that it would need.
func tailnetRequests(f *funnelFixture) []funnelRequest {
	public := make(map[string]bool)
	for _, rt := range f.p.publicRoutes() {
		public[rt.path] = true
	}
	query := url.Values{"response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {webRedirect}, "scope": {"openid"}, "state": {"s"}}.Encode()
	var requests []funnelRequest
	for _, rt := range f.p.tailnetRoutes() {
		if public[rt.path] {
			continue
		}
		path := strings.NewReplacer("{id}", "web", "{kid}", "any").Replace(rt.path)
		for _, method := range slices.Sorted(maps.Keys(rt.methods)) {
			r := funnelRequest{line: method + " " + path + "?" + query, host: f.fqdn, header: []string{"Accept: text/html"}}
			if method == "POST" {
				r.body, r.header = query, append(r.header, "Content-Type: application/x-www-form-urlencoded")
				if strings.Contains(path, "/api/") || strings.Contains(path, "register") {
					r.body, r.header[1] = `{"redirect_uris":["`+webRedirect+`"]}`, "Content-Type: application/json"
				}
			}
			requests = append(requests, r)
		}
	}
	return requests
}

// checkRefused checks that an answer gives nothing away.
func checkRefused(t *testing.T, f *funnelFixture, r funnelRequest, res *http.Response, body string) {
	t.Helper()
	switch res.StatusCode {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		// The same in its normal form: it is in the table, too.
		u, err := res.Location()
		if err == nil && (u.Host == "" || strings.TrimSuffix(u.Host, ":443") == f.fqdn || u.Host == r.host) && !u.Query().Has("code") {
			return
		}
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest:
		if res.Header.Get("Location") == "" && res.Header.Get("Set-Cookie") == "" && !strings.Contains(body, "app.example") && !strings.Contains(body, "Web App") {
			return
		}
	}
	t.Errorf("%s (Host %s, %q) gets %s to %q: %.200s", r.line, r.host, r.header, res.Status, res.Header.Get("Location"), body)
}

// TestFunnelReach: nothing of what the tailnet has beyond the public routes is
// reached through Funnel, by no path, header or name; nobody is even asked who
// is there. That holds for the handler of the tailnet as well, should somebody
// mount that one.
func TestFunnelReach(t *testing.T) {
	for name, h := range map[string]func(*Provider) http.Handler{"PublicHandler": (*Provider).PublicHandler, "Handler": (*Provider).Handler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFunnelFixture(t, h)
			requests := tailnetRequests(f)
			if len(requests) < 10 {
				t.Fatalf("%d requests only: this test tests nothing", len(requests))
			}
			both, only1 := funnelTricks(f), funnelTricks1(f)
			raw := &rawConn{t: t, f: f}
			for _, plain := range requests {
				for _, trick := range slices.Sorted(maps.Keys(both)) {
					r := plain
					r.header = slices.Clone(plain.header)
					both[trick](&r)
					res, body := raw.send(r)
					checkRefused(t, f, r, res, body)
					res, body = f.send2(t, r)
					checkRefused(t, f, r, res, body)
				}
				for _, trick := range slices.Sorted(maps.Keys(only1)) {
					r := plain
					r.header = slices.Clone(plain.header)
					only1[trick](&r)
					res, body := raw.send(r)
					checkRefused(t, f, r, res, body)
				}
			}
			if n := f.tailnet.asked.Load(); n != 0 {
				t.Errorf("the tailnet was asked %d times who is there", n)
			}
			clients, err := f.p.store.List(t.Context(), store.Query{Kind: kindClient, Now: time.Now()})
			if err != nil || len(clients.Records) != 1 || clients.Records[0].ID != "web" {
				t.Errorf("clients %+v, %v: want web, as before", clients.Records, err)
			}
		})
	}
}

// TestPublicRoutes: what is public is what this list says; a route that is to
// join it must be judged here.
func TestPublicRoutes(t *testing.T) {
	p := newProvider(t, newConfig(t, t.Output()))
	var got []string
	for _, rt := range p.publicRoutes() {
		got = append(got, rt.path)
		if rt.ambient || rt.page {
			t.Errorf("%s is public, and for a person of the tailnet", rt.path)
		}
	}
	slices.Sort(got)
	want := []string{
		"/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
		"/healthz", "/introspect", "/readyz", "/revoke", "/token", "/userinfo",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("public routes (-want +got):\n%s", diff)
	}
}

// TestFunnelPage: a browser that lands on Funnel reads where it is, and what
// to do.
func TestFunnelPage(t *testing.T) {
	f := newFixture(t)
	f.client = serve(t, f.p.PublicHandler())
	for _, path := range []string{"/authorize?" + authorizeQuery().Encode(), "/logout", "/device"} {
		body := f.do(netip.Addr{}, "GET", path, "", "", "Accept", "text/html").page(403)
		for _, want := range []string{"<h1>You are not on the tailnet</h1>", "Connect this device to Tailscale", "load this page again", "secure DNS", "Use Tailscale DNS"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page does not say %q: %s", path, want, content(body))
			}
		}
	}
}
