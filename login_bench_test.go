// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
)

// What calls cost, beside what no implementation can do without. The goals
// are ratios, which TestSpeed holds.

// A caller calls a handler without a connection: a browser of ada, and an
// application of hers.
type caller struct {
	tb      testing.TB
	f       *fixture
	handler http.Handler
	browser context.Context // of a request from ada's node
	query   string          // of the authorization request
	auth    string          // the application's Authorization header
}

// newCaller starts a provider without a log, with a client whose ID tokens are
// signed by alg. configure may bring another store.
func newCaller(tb testing.TB, alg string, configure ...func(*Config)) *caller {
	tb.Helper()
	f := newFixture(tb, append([]func(*Config){func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) }}, configure...)...)
	f.addClient("bench", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, ResourceIdentifiers: []string{testResource}, IDTokenAlg: alg})
	return &caller{
		tb: tb, f: f, handler: f.p.Handler(),
		browser: WithPeer(context.Background(), ada),
		query:   authorizeQuery("client_id", "bench", "scope", "openid profile email", "nonce", "n-0S6_WzA2Mj").Encode(),
		auth:    basicAuth("bench", webSecret)[1],
	}
}

// A plainResponse keeps what a handler writes, and does nothing else.
type plainResponse struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (w *plainResponse) Header() http.Header { return w.header }

func (w *plainResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *plainResponse) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// call sends a request that must be answered with status.
func (c *caller) call(ctx context.Context, status int, method, path, body string, header ...string) *plainResponse {
	req, err := http.NewRequestWithContext(ctx, method, testIssuer+path, strings.NewReader(body))
	if err != nil {
		c.tb.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header[pair[0]] = pair[1:]
	}
	w := &plainResponse{header: make(http.Header)}
	c.handler.ServeHTTP(w, req)
	if w.status != status {
		c.tb.Fatalf("%s %s: %d %s", method, path, w.status, w.body.Bytes())
	}
	return w
}

// post sends a form of the application.
func (c *caller) post(path string, form url.Values) *plainResponse {
	return c.call(context.Background(), http.StatusOK, "POST", path, form.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Authorization", c.auth)
}

// authorize returns a code.
func (c *caller) authorize() (code string) {
	w := c.call(c.browser, http.StatusFound, "GET", "/authorize?"+c.query, "", "Accept", "text/html")
	_, rest, _ := strings.Cut(w.header.Get("Location"), "code=")
	code, _, _ = strings.Cut(rest, "&")
	return code
}

// redeem returns the access token that a code is good for.
func (c *caller) redeem(code string) (access string) {
	w := c.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier},
	})
	_, rest, _ := strings.Cut(w.body.String(), `"access_token":"`)
	access, _, _ = strings.Cut(rest, `"`)
	return access
}

func (c *caller) userinfo(access string) {
	c.call(context.Background(), http.StatusOK, "GET", "/userinfo", "", "Authorization", "Bearer "+access)
}

func (c *caller) introspect(access string) {
	w := c.post("/introspect", url.Values{"token": {access}})
	if !bytes.Contains(w.body.Bytes(), []byte(`"active":true`)) {
		c.tb.Fatalf("introspection: %s", w.body.Bytes())
	}
}

// login is a whole one: authorize, token, userinfo.
func (c *caller) login() { c.userinfo(c.redeem(c.authorize())) }

// bareSignatures returns a function that makes the signatures of one login,
// and nothing else: one of an access token, ES256, and one of an ID token.
func bareSignatures(tb testing.TB, alg string) func() {
	tb.Helper()
	var sign []func()
	for _, alg := range []string{jwt.ES256, alg} {
		key, err := jwt.GenerateKey(alg)
		if err != nil {
			tb.Fatal(err)
		}
		input := bytes.Repeat([]byte("x"), 600)
		sign = append(sign, func() {
			digest := sha256.Sum256(input)
			if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
				tb.Fatal(err)
			}
		})
	}
	return func() {
		for _, s := range sign {
			s()
		}
	}
}

// BenchmarkLogin measures whole logins, handler to handler, with the store in
// memory, beside their two signatures. Goals: 5 times with ES256 throughout,
// 1.25 times with an ID token by RS256.
func BenchmarkLogin(b *testing.B) {
	for _, alg := range []string{jwt.ES256, jwt.RS256} {
		b.Run(alg+"/login", func(b *testing.B) { benchmark(b, newCaller(b, alg).login) })
		b.Run(alg+"/bare", func(b *testing.B) { benchmark(b, bareSignatures(b, alg)) })
	}
}

// BenchmarkOwnToken measures what is asked about a token that this process has
// minted, beside a verification of its signature, which it saves.
func BenchmarkOwnToken(b *testing.B) {
	c := newCaller(b, jwt.ES256)
	access := c.redeem(c.authorize())
	b.Run("introspection", func(b *testing.B) { benchmark(b, func() { c.introspect(access) }) })
	b.Run("userinfo", func(b *testing.B) { benchmark(b, func() { c.userinfo(access) }) })
	b.Run("verification", func(b *testing.B) {
		benchmark(b, func() {
			if _, err := jwt.Verify(access, jwt.TypeAccessToken, c.f.p.keys.Load().lookup); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func benchmark(b *testing.B, f func()) {
	b.Helper()
	f() // the first one fills caches
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
}

// documentPaths are those of the prepared documents.
var documentPaths = []string{wellKnownOpenID, pathJWKS}

// bareDocument is a handler that writes what is at path and nothing else.
func (c *caller) bareDocument(path string) http.Handler {
	w := c.call(context.Background(), http.StatusOK, "GET", path, "")
	body, contentType := bytes.Clone(w.body.Bytes()), w.header.Get("Content-Type")
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(body)
	})
}

// overHTTP returns a function that gets path from h over a connection that
// stays open.
func overHTTP(tb testing.TB, h http.Handler, path string) func() {
	tb.Helper()
	srv := httptest.NewServer(h)
	tb.Cleanup(srv.Close)
	req, err := http.NewRequest("GET", srv.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return func() {
		res, err := srv.Client().Do(req)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			tb.Fatalf("%s: %d, %v", path, res.StatusCode, err)
		}
		res.Body.Close()
	}
}

// BenchmarkDocument measures metadata and keys, over HTTP, beside a handler
// that writes the same bytes. Goal: 1.3 times.
func BenchmarkDocument(b *testing.B) {
	c := newCaller(b, jwt.ES256)
	for _, path := range documentPaths {
		b.Run(path+"/served", func(b *testing.B) { benchmark(b, overHTTP(b, c.handler, path)) })
		b.Run(path+"/bare", func(b *testing.B) { benchmark(b, overHTTP(b, c.bareDocument(path), path)) })
	}
}
