// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
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

	"github.com/tailscale/tsidp/internal/safefetch"
)

// documentID is the address of the document that a documentHost serves: the
// name is one that the certificate of httptest has.
const documentID = "https://example.com/client.json"

// A documentHost is the web server of a client, somewhere in the internet.
type documentHost struct {
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
	addr   string // what its name resolves to
	srv    *httptest.Server
}

func newDocumentHost(t testing.TB) *documentHost {
	h := &documentHost{addr: "93.184.215.14"}
	h.srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked++
		answer := h.answer
		h.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(h.srv.Close)
	h.serve(cimd())
	return h
}

// cimd is a good document, with changes: pairs of name and JSON.
func cimd(change ...string) string {
	m := map[string]json.RawMessage{
		"client_id": json.RawMessage(`"` + documentID + `"`), "client_name": json.RawMessage(`"Remote Agent"`),
		"redirect_uris": json.RawMessage(`["https://example.com/cb","http://127.0.0.1/cb"]`),
	}
	for pair := range slices.Chunk(change, 2) {
		if pair[1] == "" {
			delete(m, pair[0])
			continue
		}
		m[pair[0]] = json.RawMessage(pair[1])
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (h *documentHost) set(answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func (h *documentHost) serve(body string) {
	h.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	})
}

func (h *documentHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// configure lets a provider fetch from h.
func (h *documentHost) configure(c *Config) {
	c.ClientDocuments = new(ClientDocuments)
	c.testFetch = func(cfg *safefetch.Config) {
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(h.srv.Certificate())
		cfg.Resolver = h
		cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.srv.Listener.Addr().String())
		}
		cfg.Now = time.Now // certificates
		if c.Now != nil {
			cfg.Now = c.Now
		}
	}
}

func (h *documentHost) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return []netip.Addr{netip.MustParseAddr(h.addr)}, nil
}

func withDocuments(t *testing.T, more ...func(*Config)) (*fixture, *documentHost) {
	h := newDocumentHost(t)
	return newFixture(t, append([]func(*Config){h.configure}, more...)...), h
}

func forDocument(change ...string) []string {
	for _, pair := range [][]string{{"client_id", documentID}, {"redirect_uri", "https://example.com/cb"}} {
		if !slices.Contains(change, pair[0]) {
			change = append(pair, change...)
		}
	}
	return change
}

func (f *fixture) redeemDocument(code string, change ...string) *reply {
	f.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {documentID}, "code": {code}, "redirect_uri": {"https://example.com/cb"}, "code_verifier": {testVerifier}}
	return f.post("/token", edited(form, change))
}

// agree opens the consent page and agrees.
func (b *browser) agree(change ...string) string {
	b.t.Helper()
	code := b.press(b.login(change...).page(http.StatusOK), "yes").redirect().Get("code")
	if code == "" {
		b.t.Fatal("no code")
	}
	return code
}

// TestDocumentLogin: a client that nobody registered logs in, after consent.
func TestDocumentLogin(t *testing.T) {
	f, h := withDocuments(t)
	b := f.browser(ada)
	page := b.login(forDocument()...).page(http.StatusOK)
	for _, want := range []string{"Remote Agent", "example.com (" + documentID + ")", "https://example.com", "ada@example.com"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	tokens := f.redeemDocument(b.agree(forDocument()...)).tokens()
	id, access := claimsOf(t, tokens.IDToken), claimsOf(t, tokens.AccessToken)
	if id["aud"] != documentID || access["client_id"] != documentID {
		t.Errorf("aud %v, client_id %v", id["aud"], access["client_id"])
	}
	f.userinfo(tokens.AccessToken).json(200)
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {documentID}, "refresh_token": {tokens.RefreshToken}}
	f.post("/token", form).tokens()
	if n := h.count(); n != 1 {
		t.Errorf("the document was fetched %d times", n)
	}
	if doc := f.do(ada, "GET", "/.well-known/oauth-authorization-server", "", "").json(200); doc["client_id_metadata_document_supported"] != true {
		t.Error("not advertised")
	}
	// An address with a slash more is another client.
	f.clock.advance(2 * time.Second)
	b.login(forDocument("client_id", documentID+"/")...).page(http.StatusBadRequest)
}

// TestDocumentsOff: then such an id is like any unknown one, and nothing is
// fetched.
func TestDocumentsOff(t *testing.T) {
	f, h := withDocuments(t, func(c *Config) { c.ClientDocuments = nil })
	f.authorize(ada, forDocument()...).page(http.StatusBadRequest)
	f.redeemDocument("x").wantError(401, "invalid_client")
	if h.count() != 0 {
		t.Error("fetched")
	}
	if doc := f.do(ada, "GET", "/.well-known/oauth-authorization-server", "", "").json(200); doc["client_id_metadata_document_supported"] != nil {
		t.Error("advertised")
	}
}

// TestDocumentAllowList: an administrator may name those that are let in.
func TestDocumentAllowList(t *testing.T) {
	for entry, ok := range map[string]bool{
		documentID: true, "https://example.com/*": true, "*": true,
		"https://example.com/": false, "https://example.com/other.json": false, "https://example.com.evil.example/*": false, "https://example.com/client.jso": false,
	} {
		f, h := withDocuments(t, func(c *Config) { c.ClientDocuments = &ClientDocuments{Allow: []string{entry}} })
		if want := map[bool]int{true: 200, false: 400}[ok]; f.authorize(ada, forDocument()...).status != want || h.count() != map[bool]int{true: 1}[ok] {
			t.Errorf("%s: not %d, or fetched %d times", entry, want, h.count())
		}
	}
	f, _ := withDocuments(t, func(c *Config) { c.ClientDocuments = &ClientDocuments{Allow: []string{}} })
	f.authorize(ada, forDocument()...).page(http.StatusBadRequest)
}

// TestPinnedDocument: a tailnet without a way out has its copy.
func TestPinnedDocument(t *testing.T) {
	f, h := withDocuments(t, func(c *Config) {
		c.ClientDocuments = &ClientDocuments{Allow: []string{}, Pinned: map[string][]byte{documentID: []byte(cimd())}}
	})
	b := f.browser(ada)
	f.redeemDocument(b.agree(forDocument()...)).tokens()
	if h.count() != 0 {
		t.Error("fetched")
	}
	cfg := f.p.cfg
	cfg.ClientDocuments = &ClientDocuments{Pinned: map[string][]byte{documentID: []byte(cimd("client_name", `""`))}}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "client_name") || !strings.Contains(err.Error(), documentID) {
		t.Errorf("error %v", err)
	}
}

// TestC39Documents: what is wrong with a document is said on a page, never by
// a redirect, and nothing is kept of it.
func TestC39Documents(t *testing.T) {
	answers := map[string]struct {
		answer http.HandlerFunc
		status int
		says   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/client.json/", http.StatusMovedPermanently)
		}, 400, ""},
		"to metadata": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, 400, ""},
		"page":    {contentType("text/html", cimd()), 400, ""},
		"text":    {contentType("text/plain", cimd()), 400, ""},
		"no type": {contentType("", cimd()), 400, ""},
		"large":   {contentType("application/json", cimd("x", `"`+strings.Repeat("x", 6000)+`"`)), 400, ""},
		"404":     {func(w http.ResponseWriter, r *http.Request) { http.Error(w, cimd(), 404) }, 400, ""},
		"201":     {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); fmt.Fprint(w, cimd()) }, 400, ""},
		"500":     {func(w http.ResponseWriter, r *http.Request) { http.Error(w, cimd(), 500) }, 503, ""},
		"cut off": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, cimd()[:20])
		}, 503, ""},
	}
	for name, doc := range map[string][2]string{
		"other id":        {cimd("client_id", `"`+documentID+`/"`), "client_id"},
		"no id":           {cimd("client_id", ""), "client_id"},
		"no name":         {cimd("client_name", ""), "client_name"},
		"no redirects":    {cimd("redirect_uris", ""), "redirect_uris"},
		"secret":          {cimd("client_secret", `"`+webSecret+`"`), "no secret"},
		"secret expiry":   {cimd("client_secret_expires_at", "0"), "no secret"},
		"basic":           {cimd("token_endpoint_auth_method", `"client_secret_basic"`), "no secret"},
		"script":          {cimd("redirect_uris", `["javascript:alert(1)"]`), "redirect_uris[0]"},
		"http":            {cimd("redirect_uris", `["http://app.example/cb"]`), "redirect_uris[0]"},
		"fragment":        {cimd("redirect_uris", `["https://app.example/cb#x"]`), "redirect_uris[0]"},
		"wildcard":        {cimd("redirect_uris", `["https://*.example/cb"]`), "redirect_uris[0]"},
		"hidden name":     {cimd("client_name", `"Bank\u202egnp"`), "client_name"},
		"wrong type":      {cimd("client_name", `7`), "client_name"},
		"array":           {`[` + cimd() + `]`, "JSON"},
		"twice":           {strings.Replace(cimd(), "{", `{"client_id":"x",`, 1), "JSON"},
		"deep":            {cimd("x", strings.Repeat("[", 2000)+strings.Repeat("]", 2000)), ""},
		"nothing":         {"", "JSON"},
		"trailing":        {cimd() + "x", "JSON"},
		"unknown grant":   {cimd("grant_types", `["implicit"]`), "grant_types"},
		"many redirects":  {cimd("redirect_uris", `["https://a.example/`+strings.Join(make([]string, 60), `","https://a.example/`)+`"]`), "redirect_uris"},
		"logo of scripts": {cimd("logo_uri", `"javascript:x"`), "logo_uri"},
	} {
		answers[name] = struct {
			answer http.HandlerFunc
			status int
			says   string
		}{contentType("application/json", doc[0]), 400, doc[1]}
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			f, h := withDocuments(t)
			h.set(tt.answer)
			r := f.authorize(ada, forDocument()...)
			if name == "deep" && r.status == 200 {
				return // it is valid JSON in a member that nobody reads
			}
			page := r.page(tt.status)
			if !strings.Contains(page, tt.says) || !strings.Contains(page, documentID) {
				t.Errorf("the page does not say %q about %s:\n%s", tt.says, documentID, withoutStyle(page))
			}
			want := map[int]string{400: "invalid_client", 503: "temporarily_unavailable"}[tt.status]
			f.clock.advance(2 * time.Second)
			f.redeemDocument("x").wantError(map[int]int{400: 401, 503: 503}[tt.status], want)
			// As soon as it is mended it works.
			h.serve(cimd())
			f.clock.advance(2 * time.Second)
			f.authorize(ada, forDocument()...).page(http.StatusOK)
		})
	}
}

func contentType(ct, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{ct}
		fmt.Fprint(w, body)
	}
}

// TestC39Addresses: what the name resolves to decides, and the id itself.
func TestC39Addresses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "100.64.0.9", "fd7a:115c:a1e0::9", "169.254.169.254", "10.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"} {
		f, h := withDocuments(t)
		h.addr = addr
		page := f.authorize(ada, forDocument()...).page(http.StatusBadRequest)
		if h.count() != 0 || !strings.Contains(page, "-client-metadata-allow") && addr != "169.254.169.254" && addr != "0.0.0.0" {
			t.Errorf("%s: fetched %d times; page %s", addr, h.count(), withoutStyle(page))
		}
	}
	f, h := withDocuments(t)
	for _, id := range []string{
		documentID + "#x", "https://user@example.com/client.json", "https://example.com", "https://example.com/a/../client.json", "https://example.com/./client.json",
		"https://127.0.0.1/client.json", "https://localhost/c", "https://example.com:8443/client.json", testIssuer + "/c.json", "https://", "https:///c", "https://example.com/\x00",
		"https://example.com/" + strings.Repeat("a", 2000), "https://exa mple.com/c", `https://example.com\@evil.example/c`,
	} {
		r := f.authorize(ada, forDocument("client_id", id)...)
		if r.status != http.StatusBadRequest || r.header.Get("Location") != "" {
			t.Errorf("%q: %d to %q", id, r.status, r.header.Get("Location"))
		}
	}
	if h.count() != 0 {
		t.Errorf("fetched %d times", h.count())
	}
}

// TestDocumentKept: once somebody agreed, a copy is kept: another instance,
// or this one after a restart, goes on while the host is down, for a day.
func TestDocumentKept(t *testing.T) {
	f, h := withDocuments(t)
	b := f.browser(ada)
	tokens := f.redeemDocument(b.agree(forDocument()...)).tokens()
	h.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })

	again := newFixtureOn(t, f, h.configure)
	refresh := func(want int) {
		t.Helper()
		r := again.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {documentID}, "refresh_token": {tokens.RefreshToken}})
		if r.status != want {
			t.Fatalf("answer %d %s, want %d", r.status, r.body, want)
		}
		if want == 200 {
			tokens = r.tokens()
		}
	}
	refresh(200)
	f.clock.advance(23 * time.Hour)
	refresh(200)
	f.clock.advance(2 * time.Hour)
	refresh(503) // nothing is consumed
	h.serve(cimd("client_name", `"Renamed"`))
	f.clock.advance(2 * time.Second)
	refresh(200)
	// It says something else of itself now, so people are asked again.
	b.login(forDocument("prompt", "none")...).redirectError("consent_required")
}

// newFixtureOn is another instance on the same store, tailnet and clock.
func newFixtureOn(t *testing.T, f *fixture, configure ...func(*Config)) *fixture {
	t.Helper()
	cfg := Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, Now: f.clock.now}
	for _, c := range configure {
		c(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	other := &fixture{t: t, p: p, tailnet: f.tailnet, clock: f.clock, store: f.store, log: f.log}
	other.run()
	other.client = serve(t, withTestPeer(p.Handler()))
	return other
}

// TestDocumentDecidesNothing: who may use the client, and how strict we are,
// is not for the client to say.
func TestDocumentDecidesNothing(t *testing.T) {
	c, err := parseClientDocument(documentID, []byte(cimd(
		"access", `"tailnet"`, "pkce", `"auto"`, "ignore_fragment", "true", "resource_identifiers", `["https://mcp.example"]`, "default_resources", `["https://mcp.example"]`, "origin", `"administrator"`,
		"imported", "true", "access_token_lifetime", "3600", "secrets", `[{"id":"x"}]`, "unheard_of", `{"a":[1]}`, "disabled", "false", "owner", `{"sub":"userid:1"}`,
		"client_uri", "null", "logo_uri", `""`)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseClientDocument(documentID, []byte(cimd()))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(c)
	b, _ := json.Marshal(want)
	if string(a) != string(b) || c.trusted() || !c.public() {
		t.Errorf("client %s, want %s", a, b)
	}
}

// TestDocumentWithKeys: such a client authenticates by the keys that it
// publishes, and must.
func TestDocumentWithKeys(t *testing.T) {
	f, h := withDocuments(t)
	key := newClientKey(t, "ES256", "k1")
	h.serve(cimd("token_endpoint_auth_method", `"private_key_jwt"`, "jwks", string(jwksOf(t, key))))
	code := f.browser(ada).agree(forDocument()...)
	f.redeemDocument(code).wantError(401, "invalid_client")
	f.post("/token", codeForm(code, "client_id", documentID, "redirect_uri", "https://example.com/cb",
		"client_assertion_type", assertionType, "client_assertion", f.assert(key, documentID))).tokens()
}

func FuzzClientDocument(f *testing.F) {
	f.Add(documentID, cimd())
	for name, change := range maps.All(map[string]string{"client_id": `1`, "redirect_uris": `["a"]`, "client_name": `"\ud800"`, "grant_types": `[null]`, "contacts": `[[]]`}) {
		f.Add(documentID, cimd(name, change))
	}
	f.Add("https://example.com/%zz", `{}`)
	f.Fuzz(func(t *testing.T, id, body string) {
		c, err := parseClientDocument(id, []byte(body))
		if err != nil {
			if e := asProtocolError(err); e.status() >= 500 {
				t.Errorf("%v is no error about the document", err)
			}
			return
		}
		if c.ID != id || !isDocumentID(id) || c.trusted() || len(c.Secrets) > 0 || c.Name == "" || len(c.RedirectURIs) == 0 {
			t.Errorf("accepted %+v", c)
		}
	})
}

// TestSetClientDocuments: the lists change at once, and a wrong one changes
// nothing.
func TestSetClientDocuments(t *testing.T) {
	const id = "https://agent.example/client.json"
	doc := []byte(`{"client_id":"` + id + `","client_name":"Agent","redirect_uris":["https://agent.example/cb"]}`)
	f := newFixture(t, func(c *Config) { c.ClientDocuments = &ClientDocuments{Allow: []string{}} })
	known := func() bool { _, err := f.p.clientByID(t.Context(), id); return err == nil }
	if known() {
		t.Fatal("known from the start")
	}
	if err := f.p.SetClientDocuments(&ClientDocuments{Pinned: map[string][]byte{id: doc}}); err != nil || !known() {
		t.Errorf("pinned: error %v, known %t", err, known())
	}
	if err := f.p.SetClientDocuments(&ClientDocuments{Pinned: map[string][]byte{id: []byte("{")}}); err == nil || !known() {
		t.Errorf("malformed: error %v, known %t", err, known())
	}
	if err := f.p.SetClientDocuments(nil); err == nil || !known() {
		t.Errorf("turned off: error %v, known %t", err, known())
	}
	if err := f.p.SetClientDocuments(&ClientDocuments{Allow: []string{}}); err != nil || known() {
		t.Errorf("removed: error %v, known %t", err, known())
	}
	if err := newFixture(t).p.SetClientDocuments(&ClientDocuments{}); err == nil {
		t.Error("turned on in a running provider")
	}
}
