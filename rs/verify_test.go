// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tailscale/tsidp/internal/jwt"
)

// TestVerify: what a handler learns about a good token.
func TestVerify(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	s := f.newServer()
	token := f.sign(key, "aud", []string{"https://other.example", testResource + "/"}, "groups", []string{"eng"},
		"act", map[string]any{"sub": "gateway", "client_id": "gw", "act": map[string]any{"sub": "node:n1", "iss": f.URL}})
	want := &Token{
		Subject: testSubject, ClientID: testClient, Scopes: []string{"openid", "mcp:read"},
		Audience: []string{"https://other.example", testResource + "/"}, Expires: f.clock().Add(5 * time.Minute),
		Actors: []Actor{{Subject: "gateway", ClientID: "gw"}, {Subject: "node:n1", Issuer: f.URL}},
	}
	for _, when := range []string{"new", "seen"} {
		got, err := s.Verify(t.Context(), token)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Token{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
		var c struct {
			Groups []string `json:"groups"`
		}
		if err := got.Claims(&c); err != nil || !slices.Equal(c.Groups, []string{"eng"}) {
			t.Errorf("%s: claims %v, error %v", when, c, err)
		}
		if err := got.Claims(&struct {
			Groups int `json:"groups"`
		}{}); err == nil {
			t.Errorf("%s: a list was decoded as a number", when)
		}
		// What a caller does to its token is its own business.
		got.Subject, got.Scopes[0], got.Audience[0], got.Actors[0].Subject = "x", "x", "x", "x"
	}
	if n := f.count("/jwks"); n != 1 {
		t.Errorf("keys were fetched %d times, want once", n)
	}
}

// TestC59Audience is the resource server's half of case C59: which spellings
// of a resource in aud are this one.
func TestC59Audience(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	const origin = "https://mcp.tail1234.ts.net"
	for _, server := range []struct {
		resource  string
		good, bad []string
	}{
		{testResource,
			[]string{
				testResource,                          // (a)
				testResource + "/",                    // (b)
				"https://MCP.Tail1234.TS.net/mcp",     // (c)
				"HTTPS://mcp.tail1234.ts.net/mcp",     // (c)
				"https://mcp.tail1234.ts.net:443/mcp", // (d)
			},
			[]string{
				origin, origin + "/", // (e)
				testResource + "/x", testResource + "x", // (f)
				testResource + "?x=1", testResource + "/?x=1", // (g)
				testResource + "#f", testResource + "#", // (h)
				origin + "%2Fmcp", origin + "/%6Dcp", testResource + "%2F", // (m)
				testResource + "//", origin + "//mcp", origin + "/x/../mcp", origin + "/MCP",
				"http://mcp.tail1234.ts.net/mcp", origin + ":8443/mcp", origin + ".evil.example/mcp",
				"https://mcp.tail1234.ts.net@evil.example/mcp", "https://user@mcp.tail1234.ts.net/mcp",
				"mcp", "/mcp", "*", "", testResource + " ", testResource + "\x00", testClient, f.URL,
			}},
		{testResource + "/", []string{testResource, testResource + "/"}, []string{origin, testResource + "//"}},
		{origin, []string{origin, origin + "/", origin + ":443", origin + ":443/"}, []string{testResource, origin + "//", origin + "?"}},
		{origin + "/", []string{origin, origin + "/"}, []string{testResource}},
	} {
		s := f.newServer(func(c *Config) { c.Resource = server.resource })
		for _, aud := range server.good {
			for _, value := range []any{aud, []string{aud}, []string{"https://other.example", aud}} { // (k)
				if _, err := s.Verify(t.Context(), f.sign(key, "aud", value)); err != nil {
					t.Errorf("resource %s, aud %q: %v", server.resource, value, err)
				}
			}
		}
		for _, aud := range server.bad {
			for _, value := range []any{aud, []string{aud, "https://other.example"}} {
				if _, err := s.Verify(t.Context(), f.sign(key, "aud", value)); !errors.Is(err, ErrInvalidToken) {
					t.Errorf("resource %s, aud %q: error %v, want an invalid token", server.resource, value, err)
				}
			}
		}
		for _, value := range []any{nil, []string{}, 1, []any{nil}, map[string]any{"a": testResource}} { // (l)
			if _, err := s.Verify(t.Context(), f.sign(key, "aud", value)); !errors.Is(err, ErrInvalidToken) {
				t.Errorf("resource %s, aud %v: error %v, want an invalid token", server.resource, value, err)
			}
		}
	}
}

// withHeader puts a header before a payload and signs by alg "none", "HS256"
// with the given secret, or as the key does.
func withHeader(t *testing.T, header map[string]any, payload map[string]any, sign func(input string) []byte) string {
	t.Helper()
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	input := encode(header) + "." + encode(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

// TestBadTokens: each is refused with a reason that tells nothing of it.
func TestBadTokens(t *testing.T) {
	f := newFakeIssuer(t)
	key, stranger := f.newKey("k1"), f.newKey("k1")
	f.publish(key)
	s := f.newServer()
	now := f.clock()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	good := f.sign(key)
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	hmacWith := func(secret []byte) func(string) []byte {
		return func(input string) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			return mac.Sum(nil)
		}
	}
	set, err := jwt.JWKS([]jwt.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	none := func(string) []byte { return []byte("x") }
	for _, tt := range []struct{ name, token, reason string }{
		{"ID token", signAs(t, key, jwt.TypeJWT, f.claims()), "typ is not the expected one"},
		{"no typ", withHeader(t, map[string]any{"alg": "ES256", "kid": "k1"}, f.claims(), none), "typ is not the expected one"},
		{"ID-JAG", signAs(t, key, "oauth-id-jag+jwt", f.claims()), "typ is not the expected one"},
		{"alg none", withHeader(t, map[string]any{"alg": "none", "kid": "k1", "typ": "at+jwt"}, f.claims(), none), "alg is not the one of the key"},
		{"alg none without signature", header + "." + payload + ".", "payload or signature is empty or not base64url"},
		{"HS256 with the public key", withHeader(t, map[string]any{"alg": "HS256", "kid": "k1", "typ": "at+jwt"}, f.claims(), hmacWith(set)), "alg is not the one of the key"},
		{"HS256 with an empty key", withHeader(t, map[string]any{"alg": "HS256", "kid": "k1", "typ": "at+jwt"}, f.claims(), hmacWith(nil)), "alg is not the one of the key"},
		{"jku", withHeader(t, map[string]any{"alg": "ES256", "kid": "k9", "typ": "at+jwt", "jku": "https://evil.example/jwks"}, f.claims(), none), "header has jku"},
		{"jwk", withHeader(t, map[string]any{"alg": "ES256", "kid": "k9", "typ": "at+jwt", "jwk": map[string]any{}}, f.claims(), none), "header has jwk"},
		{"crit", withHeader(t, map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt", "crit": []string{"exp"}}, f.claims(), none), "header has crit"},
		{"no kid", withHeader(t, map[string]any{"alg": "ES256", "typ": "at+jwt"}, f.claims(), none), "kid is missing or malformed"},
		{"unknown kid", f.sign(f.newKey("k2")), "unknown kid"},
		{"key of another", f.sign(stranger), "signature does not verify"},
		{"changed payload", header + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"userid:1"}`)) + "." + signature, "signature does not verify"},
		{"expired", f.sign(key, "exp", at(-10*time.Second)), "expired"},
		{"no exp", f.sign(key, "exp", nil), "no exp"},
		{"exp is text", f.sign(key, "exp", "tomorrow"), "claims are malformed, repeated or of the wrong type"},
		{"not yet", f.sign(key, "nbf", at(11*time.Second)), "not valid yet"},
		{"of the future", f.sign(key, "iat", at(11*time.Second)), "issued in the future"},
		{"another issuer", f.sign(key, "iss", "https://evil.example"), "of another issuer"},
		{"issuer with a slash", f.sign(key, "iss", f.URL+"/"), "of another issuer"},
		{"no issuer", f.sign(key, "iss", nil), "no iss"},
		{"no subject", f.sign(key, "sub", nil), "no sub or client_id"},
		{"no client", f.sign(key, "client_id", nil), "no sub or client_id"},
		{"another resource", f.sign(key, "aud", "https://other.example"), "not for this resource, which is " + testResource},
		{"bound to a key", f.sign(key, "cnf", map[string]any{"jkt": "x"}), "bound to a key of its client, not a bearer token"},
		{"act is text", f.sign(key, "act", "somebody"), "claims are malformed, repeated or of the wrong type"},
		{"repeated claim", signAs(t, key, jwt.TypeAccessToken, []byte(`{"iss":"a","iss":"b"}`)), "claims are malformed, repeated or of the wrong type"},
		{"opaque", "abcdefghijklmnop", "not three parts"},
		{"empty", "", "not three parts"},
		{"too long", strings.Repeat("a", jwt.MaxTokenLen+1), "too long"},
		{"encrypted", "a.b.c.d.e", "not three parts"},
	} {
		for range 2 {
			_, err := s.Verify(t.Context(), tt.token)
			if !errors.Is(err, ErrInvalidToken) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: error %v, want an invalid token", tt.name, err)
				continue
			}
			if want := "invalid token: " + tt.reason; err.Error() != want {
				t.Errorf("%s: error %q, want %q", tt.name, err, want)
			}
		}
	}
	if _, err := s.Verify(t.Context(), good); err != nil {
		t.Errorf("the good token: %v", err)
	}
	if n := s.seen.Len(); n != 1 {
		t.Errorf("%d tokens are remembered, want the good one", n)
	}
}

// TestLeeway: what clocks that differ a little may do.
func TestLeeway(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	now := f.clock()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for _, tt := range []struct {
		leeway time.Duration
		claim  string
		at     time.Duration
		good   bool
	}{
		{0, "exp", -9 * time.Second, true}, {0, "exp", -10 * time.Second, false},
		{0, "iat", 10 * time.Second, true}, {0, "iat", 11 * time.Second, false},
		{0, "nbf", 10 * time.Second, true}, {0, "nbf", 11 * time.Second, false},
		{time.Minute, "exp", -59 * time.Second, true}, {time.Minute, "exp", -time.Minute, false},
	} {
		s := f.newServer(func(c *Config) { c.Leeway = tt.leeway })
		if _, err := s.Verify(t.Context(), f.sign(key, tt.claim, at(tt.at))); (err == nil) != tt.good {
			t.Errorf("leeway %v, %s in %v: error %v", tt.leeway, tt.claim, tt.at, err)
		}
	}
}

// TestSeenTokenExpires: a token that is remembered ends when it would have
// ended otherwise.
func TestSeenTokenExpires(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	s := f.newServer()
	token := f.sign(key)
	for _, step := range []struct {
		advance time.Duration
		good    bool
	}{{0, true}, {5*time.Minute + 9*time.Second, true}, {time.Second, false}, {0, false}} {
		f.advance(step.advance)
		if _, err := s.Verify(t.Context(), token); (err == nil) != step.good {
			t.Errorf("after %v: error %v", step.advance, err)
		}
		settle(s)
	}
	if n := s.seen.Len(); n != 0 {
		t.Errorf("%d tokens are remembered, want none", n)
	}
}

// TestKeyRotation: a new key is found by its id, a key that is withdrawn ends
// the tokens that are remembered, and one that stays does not.
func TestKeyRotation(t *testing.T) {
	f := newFakeIssuer(t)
	k1, k2 := f.newKey("k1"), f.newKey("k2")
	f.publish(k1)
	s := f.newServer()
	long := []any{"exp", f.clock().Add(time.Hour).Unix()}
	old := f.sign(k1, long...)
	verify := func(name, token string, good bool) {
		t.Helper()
		_, err := s.Verify(t.Context(), token)
		if good && err != nil || !good && !errors.Is(err, ErrInvalidToken) {
			t.Errorf("%s: error %v", name, err)
		}
		settle(s)
	}
	verify("first key", old, true)
	f.publish(k1, k2)
	young := f.sign(k2, long...)
	verify("new key, at once", young, false)
	f.advance(pauseAfterAnswer)
	verify("new key, later", young, true)
	verify("first key, after a fetch", old, true)
	if n := f.count("/jwks"); n != 2 {
		t.Errorf("keys were fetched %d times, want twice", n)
	}
	f.publish(k2)
	verify("withdrawn key, not heard of", old, true)
	f.advance(freshFor)
	verify("withdrawn key, while its set is renewed", old, true)
	verify("withdrawn key", old, false)
	verify("key that stays", young, true)
	// Another key by the same id is another key.
	f.publish(f.newKey("k2"))
	f.advance(freshFor)
	verify("replaced key, while its set is renewed", young, true)
	verify("replaced key", young, false)
	if n := f.count("/.well-known/oauth-authorization-server"); n != 1 {
		t.Errorf("metadata was fetched %d times, want once", n)
	}
}

// TestUnknownKeysAreAskedForSlowly: who sends nonsense does not make us flood
// the issuer.
func TestUnknownKeysAreAskedForSlowly(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	s := f.newServer()
	for i := range 200 {
		if _, err := s.Verify(t.Context(), f.sign(f.newKey("x"), "jti", fmt.Sprint(i))); !errors.Is(err, ErrInvalidToken) {
			t.Fatalf("unknown key: error %v", err)
		}
		f.advance(100 * time.Millisecond) // 20 s in all
	}
	if n := f.count("/jwks"); n != 2 {
		t.Errorf("keys were fetched %d times in 20 s, want twice", n)
	}
}

// TestIssuerDownAtStart: no start order, no login for nothing.
func TestIssuerDownAtStart(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	f.set(func(f *fakeIssuer) { f.down = true })
	s := f.newServer()
	token := f.sign(key)
	for range 5 {
		if _, err := s.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalidToken) {
			t.Errorf("issuer down: error %v", err)
		}
	}
	if n := f.count("/.well-known/oauth-authorization-server"); n != 1 {
		t.Errorf("the issuer was asked %d times at once, want once", n)
	}
	f.set(func(f *fakeIssuer) { f.down = false })
	f.advance(pauseAfterFailure)
	if _, err := s.Verify(t.Context(), token); err != nil {
		t.Errorf("issuer up: %v", err)
	}
}

// TestIssuerDownLater: known keys serve on for a day.
func TestIssuerDownLater(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	s := f.newServer()
	if _, err := s.Verify(t.Context(), f.sign(key)); err != nil {
		t.Fatal(err)
	}
	f.set(func(f *fakeIssuer) { f.down = true })
	for range 23 {
		f.advance(time.Hour)
		if _, err := s.Verify(t.Context(), f.sign(key)); err != nil {
			t.Errorf("issuer down: %v", err)
		}
		settle(s)
	}
	if _, err := s.Verify(t.Context(), f.sign(f.newKey("k2"))); !errors.Is(err, ErrUnavailable) {
		t.Errorf("issuer down, unknown key: error %v", err)
	}
	f.advance(time.Hour)
	token := f.sign(key)
	if _, err := s.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("issuer down for a day: error %v", err)
	}
	f.set(func(f *fakeIssuer) { f.down = false })
	f.advance(pauseAfterFailure)
	if _, err := s.Verify(t.Context(), token); err != nil {
		t.Errorf("issuer up again: %v", err)
	}
}

// TestDiscovery: what an issuer must say of itself.
func TestDiscovery(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m map[string]any)
		good   bool
	}{
		{"as it is", func(map[string]any) {}, true},
		{"about another", func(m map[string]any) { m["issuer"] = "https://evil.example" }, false},
		{"with a slash", func(m map[string]any) { m["issuer"] = m["issuer"].(string) + "/" }, false},
		{"no keys", func(m map[string]any) { delete(m, "jwks_uri") }, false},
		{"keys by http", func(m map[string]any) { m["jwks_uri"] = "http://keys.example/jwks" }, false},
		{"keys in a file", func(m map[string]any) { m["jwks_uri"] = "file:///etc/jwks" }, false},
		{"keys elsewhere", func(m map[string]any) { m["jwks_uri"] = m["issuer"].(string) + "/nothing" }, false},
		{"wrong type", func(m map[string]any) { m["issuer"] = 1 }, false},
		{"too long", func(m map[string]any) { m["x"] = strings.Repeat("a", maxAnswer) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeIssuer(t)
			key := f.newKey("k1")
			f.publish(key)
			f.change = tt.change
			_, err := f.newServer().Verify(t.Context(), f.sign(key))
			if tt.good && err != nil || !tt.good && !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("redirect", func(t *testing.T) {
		f := newFakeIssuer(t)
		key := f.newKey("k1")
		f.publish(key)
		away := newFakeIssuer(t)
		away.publish(key)
		away.change = func(m map[string]any) { m["issuer"], m["jwks_uri"] = f.URL, away.URL+"/jwks" }
		f.Config.Handler = http.RedirectHandler(away.URL+"/.well-known/oauth-authorization-server", http.StatusFound)
		if _, err := f.newServer().Verify(t.Context(), f.sign(key)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a redirect was followed: error %v", err)
		}
	})
}

func TestWellKnown(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://idp.example":     {"https://idp.example/.well-known/oauth-authorization-server", "https://idp.example/.well-known/openid-configuration"},
		"https://idp.example/":    {"https://idp.example/.well-known/oauth-authorization-server", "https://idp.example/.well-known/openid-configuration"},
		"https://idp.example/a/b": {"https://idp.example/.well-known/oauth-authorization-server/a/b", "https://idp.example/a/b/.well-known/openid-configuration"},
	} {
		if d := cmp.Diff(want, newIssuer(issuer, nil).wellKnown()); d != "" {
			t.Errorf("%s (-want +got):\n%s", issuer, d)
		}
	}
}

// TestConcurrentFirstUse: everybody waits for one fetch, and who gives up
// fails nobody else.
func TestConcurrentFirstUse(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	hold := make(chan struct{})
	f.hold = hold
	s := f.newServer()
	token := f.sign(key)

	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := s.Verify(ctx, token)
		first <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.Verify(t.Context(), token); err != nil {
				t.Errorf("waiting: %v", err)
			}
		})
	}
	close(hold)
	wg.Wait()
	if n := f.count("/jwks"); n != 1 {
		t.Errorf("keys were fetched %d times, want once", n)
	}
}

// TestConcurrentUse is for the race detector: many tokens, keys that change.
func TestConcurrentUse(t *testing.T) {
	f := newFakeIssuer(t)
	k1, k2 := f.newKey("k1"), f.newKey("k2")
	f.publish(k1)
	s := f.newServer()
	s.seen = jwt.NewSeen[*verified](8)
	var tokens []string
	for i := range 20 {
		tokens = append(tokens, f.sign(k1, "jti", fmt.Sprint(i), "exp", f.clock().Add(24*time.Hour).Unix()))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := s.Verify(t.Context(), tokens[i*7%len(tokens)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		f.publish(k1, k2)
		f.advance(freshFor)
	}
	wg.Wait()
	if n := s.seen.Len(); n > 8 {
		t.Errorf("%d tokens are remembered, want at most 8", n)
	}
}

// FuzzVerify: no text makes it panic, and none but what the issuer signed is
// good.
func FuzzVerify(f *testing.F) {
	i := newFakeIssuer(f)
	key := i.newKey("k1")
	i.publish(key)
	s := i.newServer()
	good := i.sign(key)
	f.Add(good)
	f.Add(signAs(f, key, jwt.TypeJWT, i.claims()))
	f.Add(good[:len(good)-1])
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	input := good[:strings.LastIndexByte(good, '.')]
	f.Fuzz(func(t *testing.T, token string) {
		got, err := s.Verify(t.Context(), token)
		switch {
		case err == nil && (!strings.HasPrefix(token, input+".") || got.Subject != testSubject):
			t.Errorf("%q is good", token)
		case err != nil && !errors.Is(err, ErrInvalidToken):
			t.Errorf("%q: error %v", token, err)
		}
	})
}
