// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
)

const (
	testResource = "https://mcp.tail1234.ts.net/mcp"
	testSubject  = "userid:1001"
	testClient   = "cli"
	testSecret   = "se+cret%" // must be form-urlencoded
)

// A fakeIssuer publishes metadata and keys, and answers introspection.
type fakeIssuer struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	now      time.Time
	keys     []jwt.PublicKey
	down     bool
	change   func(metadata map[string]any)
	answer   func(w http.ResponseWriter, r *http.Request) // of introspection
	requests map[string]int                               // by path
	hold     chan struct{}                                // delays answers until it is closed
}

func newFakeIssuer(t testing.TB) *fakeIssuer {
	f := &fakeIssuer{t: t, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), requests: make(map[string]int)}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests[r.URL.Path]++
	down, keys, change, answer, hold := f.down, f.keys, f.change, f.answer, f.hold
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	switch {
	case down:
		http.Error(w, "down", http.StatusBadGateway)
	case r.URL.Path == "/.well-known/oauth-authorization-server":
		m := map[string]any{"issuer": f.URL, "jwks_uri": f.URL + "/jwks", "introspection_endpoint": f.URL + "/introspect"}
		if change != nil {
			change(m)
		}
		json.NewEncoder(w).Encode(m)
	case r.URL.Path == "/jwks":
		body, err := jwt.JWKS(keys)
		if err != nil {
			f.t.Error(err)
		}
		w.Write(body)
	case r.URL.Path == "/introspect":
		answer(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (f *fakeIssuer) set(change func(*fakeIssuer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeIssuer) advance(d time.Duration) {
	f.set(func(f *fakeIssuer) { f.now = f.now.Add(d) })
}

func (f *fakeIssuer) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeIssuer) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[path]
}

// newKey makes a key that the issuer does not publish yet.
func (f *fakeIssuer) newKey(id string) *jwt.Signer {
	f.t.Helper()
	key, err := jwt.GenerateKey(jwt.ES256)
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := jwt.NewSigner(id, jwt.ES256, key)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// publish replaces the issuer's keys.
func (f *fakeIssuer) publish(signers ...*jwt.Signer) {
	f.set(func(f *fakeIssuer) {
		f.keys = nil
		for _, s := range signers {
			f.keys = append(f.keys, s.Public())
		}
	})
}

// claims are good ones, with changes: pairs of name and value, where nil
// removes the claim.
func (f *fakeIssuer) claims(change ...any) map[string]any {
	now := f.clock()
	m := map[string]any{
		"iss": f.URL, "sub": testSubject, "aud": testResource, "client_id": testClient, "jti": "J1",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "scope": "openid mcp:read",
	}
	for i := 0; i < len(change); i += 2 {
		name := change[i].(string)
		if m[name] = change[i+1]; m[name] == nil {
			delete(m, name)
		}
	}
	return m
}

// sign makes an access token.
func (f *fakeIssuer) sign(s *jwt.Signer, change ...any) string {
	f.t.Helper()
	return signAs(f.t, s, jwt.TypeAccessToken, f.claims(change...))
}

func signAs(t testing.TB, s *jwt.Signer, typ string, claims any) string {
	t.Helper()
	token, err := s.Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// newServer makes a resource server of the issuer.
func (f *fakeIssuer) newServer(configure ...func(*Config)) *Server {
	f.t.Helper()
	cfg := Config{
		Issuer: f.URL, Resource: testResource, Now: f.clock,
		Logger: slog.New(slog.NewTextHandler(f.t.Output(), nil)),
	}
	for _, c := range configure {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { settle(s) })
	return s
}

// settle waits for the fetch that runs in the background, if any.
func settle(s *Server) {
	if s.keys == nil {
		return
	}
	s.keys.mu.Lock()
	flight := s.keys.flight
	s.keys.mu.Unlock()
	if flight != nil {
		<-flight
	}
}

// whoever answers with the token's subject.
var whoever = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	t, ok := FromContext(r.Context())
	if !ok {
		http.Error(w, "no token in the context", http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, t.Subject)
})

// call sends a request with header fields, pairs of name and value.
func call(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, bytes.NewReader(nil))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func withBearer(token string) []string { return []string{"Authorization", "Bearer " + token} }
