// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/views"
)

// update makes golden tests write what they get to testdata.
var update = flag.Bool("update", false, "write the golden files of testdata")

// The names that the tests of this package share.
const (
	testIssuer   = "https://idp.tail1234.ts.net"
	testResource = "https://mcp.tail1234.ts.net/mcp"
	testVerifier = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv" // 43
	webRedirect  = "https://app.example/cb"
	webSecret    = "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww-web-secret"
	pubRedirect  = "http://127.0.0.1/callback"
)

// People and machines of the simulated tailnet, by address.
var (
	ada = netip.MustParseAddr("100.64.0.1") // a user; holds no capability
	gus = netip.MustParseAddr("100.64.0.2") // gus@github
	ci  = netip.MustParseAddr("100.64.0.3") // tag:ci
	eve = netip.MustParseAddr("100.64.0.4") // of another tailnet
	adm = netip.MustParseAddr("100.64.0.5") // administrator, may use every resource
)

// A fakeTailnet answers WhoIs from a map that tests edit.
type fakeTailnet struct {
	mu    sync.Mutex
	peers map[netip.Addr]*apitype.WhoIsResponse
	err   error // of WhoIs
	state string
	asked int
}

func newFakeTailnet() *fakeTailnet {
	f := &fakeTailnet{peers: make(map[netip.Addr]*apitype.WhoIsResponse), state: "Running"}
	f.peers[ada] = userPeer(1001, "ada@example.com", "Ada Ó Briain", "lap", ada)
	f.peers[gus] = userPeer(1002, "gus@github", "", "gusbook", gus)
	f.peers[adm] = userPeer(1003, "root@example.com", "Root", "desk", adm,
		`{"users":["*"],"resources":["*"],"allow_admin_ui":true,"allow_dcr":true,"allow_metrics":true}`)
	tagged := userPeer(999, "tagged-devices", "Tagged Devices", "ci1", ci)
	tagged.Node.Tags = []string{"tag:ci"}
	f.peers[ci] = tagged
	external := userPeer(9009, "eve@other.example", "Eve", "", eve)
	external.Node.Name, external.Node.Sharer, external.CapMap = "", 77, nil
	f.peers[eve] = external
	return f
}

// userPeer makes an answer of WhoIs with the given rules of the capability.
func userPeer(id tailcfg.UserID, login, name, host string, addr netip.Addr, rules ...string) *apitype.WhoIsResponse {
	res := &apitype.WhoIsResponse{
		Node: &tailcfg.Node{
			ID: tailcfg.NodeID(id) + 40000, StableID: tailcfg.StableNodeID(fmt.Sprintf("n%dCNTRL", id)),
			Name: host + ".tail1234.ts.net.", User: id,
			Addresses: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())},
		},
		UserProfile: &tailcfg.UserProfile{ID: id, LoginName: login, DisplayName: name, ProfilePicURL: "https://pics.example/" + host},
		CapMap:      tailcfg.PeerCapMap{},
	}
	setRules(res, rules...)
	return res
}

func setRules(res *apitype.WhoIsResponse, rules ...string) {
	var values []tailcfg.RawMessage
	for _, r := range rules {
		values = append(values, tailcfg.RawMessage(r))
	}
	res.CapMap = tailcfg.PeerCapMap{capability: values}
}

func (f *fakeTailnet) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.err != nil {
		return nil, f.err
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	if res, ok := f.peers[a]; ok {
		return res, nil
	}
	return nil, local.ErrPeerNotFound
}

func (f *fakeTailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &ipnstate.Status{
		BackendState:   f.state,
		CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net", MagicDNSEnabled: true},
	}, nil
}

// Status lists the peers.
func (f *fakeTailnet) Status(ctx context.Context) (*ipnstate.Status, error) {
	st, err := f.StatusWithoutPeers(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	st.Peer, st.User = make(map[key.NodePublic]*ipnstate.PeerStatus), make(map[tailcfg.UserID]tailcfg.UserProfile)
	for addr, res := range f.peers {
		ps := &ipnstate.PeerStatus{ID: res.Node.StableID, DNSName: res.Node.Name, UserID: res.Node.User, TailscaleIPs: []netip.Addr{addr}}
		if tags := views.SliceOf(res.Node.Tags); tags.Len() > 0 {
			ps.Tags = &tags
		}
		st.Peer[key.NewNode().Public()] = ps
		st.User[res.Node.User] = *res.UserProfile
	}
	return st, cmp.Or(err, f.err)
}

// edit changes the tailnet. What WhoIs has returned before stays as it was.
func (f *fakeTailnet) edit(addr netip.Addr, change func(res *apitype.WhoIsResponse)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.peers[addr]
	res := &apitype.WhoIsResponse{Node: old.Node.Clone(), UserProfile: old.UserProfile.Clone(), CapMap: maps.Clone(old.CapMap)}
	change(res)
	f.peers[addr] = res
}

func (f *fakeTailnet) set(change func(*fakeTailnet)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// A fakeClock is the clock of a fixture.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A fixture is a provider behind a real HTTP server, with the clients "web"
// (confidential), "pub" (public) and "rs" (a resource server).
type fixture struct {
	t       testing.TB
	p       *Provider
	tailnet *fakeTailnet
	clock   *fakeClock
	store   store.Store
	log     *syncBuffer
	client  *http.Client
}

// sharedKeys is a key set of testIssuer. Making an RSA key takes longer than
// most tests, so fixtures begin with these keys; a test for which keys matter
// brings a store of its own.
var sharedKeys = sync.OnceValue(func() []byte {
	doc := keyDocument{Issuer: testIssuer}
	if _, err := doc.add(initialAlgs, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)); err != nil {
		panic(err)
	}
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return data
})

// newFixture starts a provider. configure may change its configuration.
func newFixture(t testing.TB, configure ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, tailnet: newFakeTailnet(), log: new(syncBuffer),
		clock: &fakeClock{t: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)},
		store: memory.New(),
	}
	cfg := Config{
		Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, Now: f.clock.now,
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(f.log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range configure {
		c(&cfg)
	}
	var err error
	if cfg.Store == f.store && cfg.Issuer == testIssuer && !cfg.Development && cfg.ImportDir == "" {
		if _, err := cfg.Store.SwapKeys(context.Background(), 0, sharedKeys()); err != nil {
			t.Fatal(err)
		}
	}
	f.store = cfg.Store
	if f.p, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	f.store = f.p.store // what a test changes in it counts at once
	f.run()
	f.client = serve(t, withTestPeer(f.p.Handler()))
	f.addClient("web", webSecret, admin.ClientMetadata{Name: "Web App", RedirectURIs: []string{webRedirect}})
	f.addClient("pub", "", admin.ClientMetadata{Name: "Command Line", RedirectURIs: []string{pubRedirect}, TokenEndpointAuthMethod: authNone, ApplicationType: "native"})
	f.addClient("rs", webSecret, admin.ClientMetadata{Name: "Resource Server", RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{testResource}})
	return f
}

// run starts the provider and waits until it is ready.
func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.p.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-f.p.Ready():
	case err := <-done:
		done <- nil
		f.t.Fatalf("Run: %v", err)
	}
}

// testPeer is the header that tells the fixture's server who sends.
const testPeer = "Test-Peer"

// withTestPeer stands in for a tailnet's listener.
func withTestPeer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, err := netip.ParseAddr(r.Header.Get(testPeer)); err == nil {
			r = r.WithContext(WithPeer(r.Context(), a))
		}
		next.ServeHTTP(w, r)
	})
}

// serve starts h on loopback and returns a client that reaches it under
// every name and follows no redirect.
func serve(t testing.TB, h http.Handler) *http.Client {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// addClient stores a client as an administrator would.
func (f *fixture) addClient(id, secret string, m admin.ClientMetadata) {
	f.t.Helper()
	m.ID = id
	c := &client{ClientMetadata: m, Origin: originAdministrator, CreatedAt: f.clock.now()}
	if secret != "" {
		c.Secrets = []clientSecret{hashSecret(secret, f.clock.now())}
	}
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		f.t.Fatal(err)
	}
	if err := f.p.createClient(context.Background(), c); err != nil {
		f.t.Fatal(err)
	}
}

// editClient changes a stored client.
func (f *fixture) editClient(id string, change func(*client)) {
	f.t.Helper()
	rec, err := f.store.Get(context.Background(), kindClient, id, f.clock.now())
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := decodeClient(rec)
	if err != nil {
		f.t.Fatal(err)
	}
	change(c)
	if rec, err = c.record(); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.store.Put(context.Background(), rec, f.clock.now()); err != nil {
		f.t.Fatal(err)
	}
}

// A reply is an answer that has been read.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   string
}

// do sends a request as the peer at addr. URLs may be paths. header is a list
// of names and values.
func (f *fixture) do(as netip.Addr, method, target, contentType, body string, header ...string) *reply {
	f.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = strings.Replace(testIssuer, "https", "http", 1) + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if as.IsValid() {
		req.Header.Set(testPeer, as.String())
	}
	for pair := range slices.Chunk(header, 2) {
		if strings.EqualFold(pair[0], "Host") {
			req.Host = pair[1]
			continue
		}
		req.Header.Add(pair[0], pair[1])
	}
	res, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return &reply{f.t, res.StatusCode, res.Header, string(b)}
}

// authorizeQuery is a good authorization request of client web, with
// changes: pairs of name and value, where "" removes the parameter.
func authorizeQuery(change ...string) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {"web"}, "redirect_uri": {webRedirect}, "scope": {"openid"}, "state": {"S1"},
		"code_challenge": {oauth.ChallengeS256(testVerifier)}, "code_challenge_method": {"S256"},
	}
	return edited(q, change)
}

// forPub turns a request into one of client pub.
func forPub(change ...string) []string {
	return append([]string{"client_id", "pub", "redirect_uri", pubRedirect}, change...)
}

func edited(q url.Values, change []string) url.Values {
	for pair := range slices.Chunk(change, 2) {
		q.Del(pair[0])
	}
	for pair := range slices.Chunk(change, 2) {
		if pair[1] != "" {
			q.Add(pair[0], pair[1])
		}
	}
	return q
}

// authorize sends an authorization request as a browser at addr.
func (f *fixture) authorize(as netip.Addr, change ...string) *reply {
	f.t.Helper()
	return f.do(as, "GET", "/authorize?"+authorizeQuery(change...).Encode(), "", "", "Accept", "text/html,*/*")
}

// code runs an authorization request that must succeed.
func (f *fixture) code(as netip.Addr, change ...string) string {
	f.t.Helper()
	code := f.authorize(as, change...).redirect().Get("code")
	if code == "" {
		f.t.Fatal("no code")
	}
	return code
}

// post sends a form.
func (f *fixture) post(path string, form url.Values, header ...string) *reply {
	f.t.Helper()
	return f.do(netip.Addr{}, "POST", path, "application/x-www-form-urlencoded", form.Encode(), header...)
}

// basicAuth is the Authorization header of a client, form-urlencoded as RFC
// 6749 wants it.
func basicAuth(id, secret string) []string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return []string{"Authorization", req.Header.Get("Authorization")}
}

// redeem exchanges a code of client web.
func (f *fixture) redeem(code string, change ...string) *reply {
	f.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}
	return f.post("/token", edited(form, change), basicAuth("web", webSecret)...)
}

// redeemPub exchanges a code of client pub.
func (f *fixture) redeemPub(code string, change ...string) *reply {
	f.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {"pub"}, "code": {code}, "redirect_uri": {pubRedirect}, "code_verifier": {testVerifier}}
	return f.post("/token", edited(form, change))
}

// refresh rotates a refresh token of client web.
func (f *fixture) refresh(token string, change ...string) *reply {
	f.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	return f.post("/token", edited(form, change), basicAuth("web", webSecret)...)
}

// login runs a whole login of client web.
func (f *fixture) login(as netip.Addr, change ...string) tokenResponse {
	f.t.Helper()
	return f.redeem(f.code(as, change...)).tokens()
}

// userinfo calls userinfo with a bearer token.
func (f *fixture) userinfo(token string) *reply {
	f.t.Helper()
	return f.do(netip.Addr{}, "GET", "/userinfo", "", "", "Authorization", "Bearer "+token)
}

// introspect asks about a token as the client id.
func (f *fixture) introspect(id, token string) map[string]any {
	f.t.Helper()
	return f.post("/introspect", url.Values{"token": {token}}, basicAuth(id, webSecret)...).json(200)
}

// json reads a JSON answer with the given status.
func (r *reply) json(status int) map[string]any {
	r.t.Helper()
	if r.status != status || r.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("answer %d %s %s, want %d application/json", r.status, r.header.Get("Content-Type"), r.body, status)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		r.t.Fatalf("%v in %s", err, r.body)
	}
	return m
}

// wantError checks for a protocol error in JSON.
func (r *reply) wantError(status int, code string) {
	r.t.Helper()
	if got := r.json(status)["error"]; got != code {
		r.t.Fatalf("error %v in %s, want %s", got, r.body, code)
	}
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		r.t.Errorf("Cache-Control %q, want no-store", cc)
	}
}

// tokens reads a token response.
func (r *reply) tokens() tokenResponse {
	r.t.Helper()
	r.json(200)
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		r.t.Errorf("Cache-Control %q, want no-store", cc)
	}
	var res tokenResponse
	if err := json.Unmarshal([]byte(r.body), &res); err != nil {
		r.t.Fatal(err)
	}
	return res
}

// redirect checks for a redirect and returns its query.
func (r *reply) redirect() url.Values {
	r.t.Helper()
	if r.status != http.StatusFound && r.status != http.StatusSeeOther {
		r.t.Fatalf("answer %d %s, want a redirect", r.status, withoutStyle(r.body))
	}
	u, err := url.Parse(r.header.Get("Location"))
	if err != nil {
		r.t.Fatal(err)
	}
	return u.Query()
}

// redirectError checks for a redirect with an error, state and iss.
func (r *reply) redirectError(code string) {
	r.t.Helper()
	q := r.redirect()
	if q.Get("error") != code || q.Has("code") {
		r.t.Fatalf("redirected with %v, want error %s", q, code)
	}
	if q.Get("iss") != testIssuer || len(q["iss"]) != 1 {
		r.t.Errorf("iss %q, want the issuer once", q["iss"])
	}
}

// withoutStyle is what of a page is worth reading in a test's output.
func withoutStyle(page string) string {
	before, rest, _ := strings.Cut(page, "<style>")
	_, after, _ := strings.Cut(rest, "</style>")
	return before + after
}

// page checks for an HTML page without redirect.
func (r *reply) page(status int) string {
	r.t.Helper()
	if r.status != status || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || r.header.Get("Location") != "" {
		r.t.Fatalf("answer %d %s %s to %q, want a page with %d", r.status, r.header.Get("Content-Type"), withoutStyle(r.body), r.header.Get("Location"), status)
	}
	if !strings.Contains(r.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		r.t.Error("page may be framed")
	}
	return r.body
}

// claimsOf decodes the payload of a JWT without verifying it.
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	return decodeSegment(t, token, 1)
}

func headerOf(t testing.TB, token string) map[string]any {
	t.Helper()
	return decodeSegment(t, token, 0)
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// errTest is what broken fakes return.
var errTest = errors.New("test: out of order")
