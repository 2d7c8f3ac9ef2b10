// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/jwt"
)

const where = `resource_metadata="https://mcp.tail1234.ts.net/.well-known/oauth-protected-resource/mcp"`

// TestChallenges: the exact answers, which MCP clients act upon.
func TestChallenges(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	s := f.newServer(func(c *Config) { c.Scopes = []string{"mcp:read", "mcp:write"} })
	read, write, any := s.Protect(whoever, "mcp:read"), s.Protect(whoever, "mcp:read", "mcp:write"), s.Protect(whoever)
	token := f.sign(key)
	for _, tt := range []struct {
		name      string
		handler   http.Handler
		target    string
		header    []string
		status    int
		challenge string
		code      string
	}{
		{"no token", read, "/mcp", nil, 401, `Bearer ` + where + `, scope="mcp:read"`, ""},
		{"no token, two scopes", write, "/mcp", nil, 401, `Bearer ` + where + `, scope="mcp:read mcp:write"`, ""},
		{"no token, any scope", any, "/mcp", nil, 401, `Bearer ` + where + `, scope="mcp:read mcp:write"`, ""},
		{"other scheme", read, "/mcp", []string{"Authorization", "Basic YTpi"}, 401, `Bearer ` + where + `, scope="mcp:read"`, ""},
		{"empty header", read, "/mcp", []string{"Authorization", ""}, 401, `Bearer ` + where + `, scope="mcp:read"`, ""},
		{"bad token", read, "/mcp", withBearer("a.b.c"), 401,
			`Bearer error="invalid_token", error_description="the token is refused: payload or signature is empty or not base64url", ` + where + `, scope="mcp:read"`, "invalid_token"},
		{"another resource's", read, "/mcp", withBearer(f.sign(key, "aud", "https://other.example")), 401,
			`Bearer error="invalid_token", error_description="the token is refused: not for this resource, which is https://mcp.tail1234.ts.net/mcp", ` + where + `, scope="mcp:read"`, "invalid_token"},
		{"too few scopes", write, "/mcp", withBearer(token), 403,
			`Bearer error="insufficient_scope", error_description="the token lacks a scope of: mcp:read mcp:write", ` + where + `, scope="mcp:read mcp:write"`, "insufficient_scope"},
		{"in the query", read, "/mcp?access_token=" + token, nil, 400,
			`Bearer error="invalid_request", error_description="the token must be in the header Authorization, not in the query", ` + where + `, scope="mcp:read"`, "invalid_request"},
		{"in the query too", read, "/mcp?access%5Ftoken=" + token, withBearer(token), 400,
			`Bearer error="invalid_request", error_description="the token must be in the header Authorization, not in the query", ` + where + `, scope="mcp:read"`, "invalid_request"},
		{"twice", read, "/mcp", append(withBearer(token), withBearer(token)...), 400,
			`Bearer error="invalid_request", error_description="there is more than one header Authorization", ` + where + `, scope="mcp:read"`, "invalid_request"},
		{"no token after Bearer", read, "/mcp", []string{"Authorization", "Bearer "}, 400,
			`Bearer error="invalid_request", error_description="the header Authorization has no token after Bearer", ` + where + `, scope="mcp:read"`, "invalid_request"},
		{"two words", read, "/mcp", withBearer(token + " x"), 400,
			`Bearer error="invalid_request", error_description="the header Authorization has no token after Bearer", ` + where + `, scope="mcp:read"`, "invalid_request"},
		{"good", read, "/mcp", withBearer(token), 200, "", ""},
		{"good, any scope", any, "/mcp", withBearer(f.sign(key, "scope", nil)), 200, "", ""},
		{"good, letter case", read, "/mcp", []string{"Authorization", "bEARER   " + token}, 200, "", ""},
		{"good, other query", read, "/mcp?x=1", withBearer(token), 200, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := call(tt.handler, "POST", tt.target, tt.header...)
			if w.Code != tt.status {
				t.Fatalf("answer %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if d := cmp.Diff(tt.challenge, w.Header().Get("WWW-Authenticate")); d != "" {
				t.Errorf("challenge (-want +got):\n%s", d)
			}
			if got := w.Header().Get("Access-Control-Expose-Headers"); !strings.Contains(got, "WWW-Authenticate") || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("scripts cannot read the challenge: %v", w.Header())
			}
			if tt.status == 200 {
				if w.Body.String() != testSubject {
					t.Errorf("handler says %s", w.Body)
				}
				return
			}
			var body struct{ Error, Error_description string }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error != tt.code || body.Error_description == "" {
				t.Errorf("body %s, error %v", w.Body, err)
			}
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

// TestUnavailable: 503 without a challenge, which would start a login.
func TestUnavailable(t *testing.T) {
	f := newFakeIssuer(t)
	f.down = true
	w := call(f.newServer().Protect(whoever), "POST", "/mcp", withBearer(f.sign(f.newKey("k1")))...)
	if w.Code != 503 || w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "temporarily_unavailable") {
		t.Errorf("answer %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// TestScripts: browsers may call from every origin, and an application that
// has its own mind about that is left alone.
func TestScripts(t *testing.T) {
	f := newFakeIssuer(t)
	s := f.newServer()
	reached := false
	h := s.Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	w := call(h, "OPTIONS", "/mcp", "Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, mcp-protocol-version")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Headers") != "authorization, mcp-protocol-version" || !strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if w := call(h, "OPTIONS", "/mcp"); w.Code != 401 {
		t.Errorf("OPTIONS that is no preflight: %d", w.Code)
	}
	if reached {
		t.Error("the handler was reached without a token")
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://app.example")
		h.ServeHTTP(w, r)
	})
	if got := call(own, "POST", "/mcp").Header().Get("Access-Control-Allow-Origin"); got != "https://app.example" {
		t.Errorf("the application's origin became %q", got)
	}
}

// TestQuote: what Protect is given does not break out of the challenge.
func TestQuote(t *testing.T) {
	f := newFakeIssuer(t)
	w := call(f.newServer().Protect(whoever, "a\", error=\"x\r\nSet-Cookie: a", `b\`, "ü"), "GET", "/mcp")
	if got, want := w.Header().Get("WWW-Authenticate"), `Bearer `+where+`, scope="a?, error=?x??Set-Cookie: a b? ?"`; got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
}

// TestLogs: reasons, no tokens.
func TestLogs(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	var log bytes.Buffer
	s := f.newServer(func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	token := f.sign(key, "exp", 1)
	call(s.Protect(whoever), "GET", "/mcp", withBearer(token)...)
	if !strings.Contains(log.String(), "reason=expired") || strings.Contains(log.String(), token[:20]) {
		t.Errorf("log: %s", &log)
	}
}

// FuzzBearer: whatever the header and the query, nothing panics, and only the
// good token gets in.
func FuzzBearer(f *testing.F) {
	i := newFakeIssuer(f)
	key := i.newKey("k1")
	i.publish(key)
	h := i.newServer().Protect(whoever)
	good := i.sign(key)
	input := good[:strings.LastIndexByte(good, '.')]
	for _, header := range []string{"Bearer " + good, "bearer  " + good + " ", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer =", "\x00", "Bearer ü"} {
		f.Add(header, "")
	}
	f.Add("", "access_token="+good)
	f.Add("Bearer "+good, "a=b;c=%zz")
	f.Fuzz(func(t *testing.T, header, query string) {
		r := httptest.NewRequest("GET", "/mcp", nil)
		r.Header["Authorization"] = []string{header}
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case 200:
			if !strings.Contains(header, input) {
				t.Errorf("header %q got in", header)
			}
		case 400, 401:
			if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("header %q: %d without challenge", header, w.Code)
			}
		default:
			t.Errorf("header %q: %d", header, w.Code)
		}
	})
}

// TestMetadata: RFC 9728 section 3.
func TestMetadata(t *testing.T) {
	f := newFakeIssuer(t)
	for _, tt := range []struct {
		resource, url string
		good, bad     []string
	}{
		{testResource, "https://mcp.tail1234.ts.net/.well-known/oauth-protected-resource/mcp", []string{MetadataPath + "/mcp", MetadataPath + "/mcp/", MetadataPath, MetadataPath + "/"},
			[]string{MetadataPath + "/other", MetadataPath + "/mcp/x", "/x" + MetadataPath, MetadataPath + "mcp"}},
		{testResource + "/", "https://mcp.tail1234.ts.net/.well-known/oauth-protected-resource/mcp/", []string{MetadataPath + "/mcp/", MetadataPath + "/mcp", MetadataPath}, nil},
		{"https://h.example", "https://h.example/.well-known/oauth-protected-resource", []string{MetadataPath, MetadataPath + "/"}, []string{MetadataPath + "/mcp"}},
		{"https://h.example/", "https://h.example/.well-known/oauth-protected-resource", []string{MetadataPath}, nil},
		{"https://h.example:8443/a%2Fb?x=1", "https://h.example:8443/.well-known/oauth-protected-resource/a%2Fb?x=1", []string{MetadataPath + "/a%2Fb?x=1", MetadataPath}, []string{MetadataPath + "/a/b"}},
		{"http://localhost:9933/mcp", "http://localhost:9933/.well-known/oauth-protected-resource/mcp", []string{MetadataPath + "/mcp"}, nil},
	} {
		s := f.newServer(func(c *Config) {
			c.Resource, c.Scopes, c.Name, c.Documentation = tt.resource, []string{"mcp:read"}, "Tools", "https://docs.example"
		})
		if s.MetadataURL() != tt.url {
			t.Errorf("%s: URL %s, want %s", tt.resource, s.MetadataURL(), tt.url)
		}
		for _, path := range tt.good {
			w := call(s.Metadata(), "GET", path)
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			if d := cmp.Diff(map[string]any{
				"resource": tt.resource, "authorization_servers": []any{f.URL}, "scopes_supported": []any{"mcp:read"},
				"bearer_methods_supported": []any{"header"}, "resource_name": "Tools", "resource_documentation": "https://docs.example",
			}, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", path, d)
			}
		}
		for _, path := range tt.bad {
			if w := call(s.Metadata(), "GET", path); w.Code != 404 {
				t.Errorf("%s at %s: %d, want 404", tt.resource, path, w.Code)
			}
		}
	}
}

func TestMetadataHTTP(t *testing.T) {
	f := newFakeIssuer(t)
	s := f.newServer()
	h := s.Metadata()
	w := call(h, "GET", MetadataPath+"/mcp")
	etag := w.Header().Get("ETag")
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" || etag == "" {
		t.Errorf("header %v", w.Header())
	}
	if strings.Contains(w.Body.String(), "scopes_supported") {
		t.Errorf("scopes though none are configured: %s", w.Body)
	}
	if w := call(h, "GET", MetadataPath, "If-None-Match", etag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("unchanged: %d %s", w.Code, w.Body)
	}
	if w := call(h, "HEAD", MetadataPath); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("ETag") != etag {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if w := call(h, "POST", MetadataPath); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
	if w := call(h, "OPTIONS", MetadataPath, "Origin", "https://app.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version"); w.Code != 204 || w.Header().Get("Access-Control-Allow-Headers") != "mcp-protocol-version" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if etag == call(f.newServer(func(c *Config) { c.Name = "Other" }).Metadata(), "GET", MetadataPath).Header().Get("ETag") {
		t.Error("another document has the same ETag")
	}
}

func TestConfig(t *testing.T) {
	good := func() Config { return Config{Issuer: "https://idp.example", Resource: testResource} }
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no issuer":            func(c *Config) { c.Issuer = "" },
		"issuer by http":       func(c *Config) { c.Issuer = "http://idp.example" },
		"issuer with query":    func(c *Config) { c.Issuer += "?a" },
		"issuer relative":      func(c *Config) { c.Issuer = "idp.example" },
		"issuer with user":     func(c *Config) { c.Issuer = "https://a@idp.example" },
		"no resource":          func(c *Config) { c.Resource = "" },
		"resource by http":     func(c *Config) { c.Resource = "http://mcp.example/mcp" },
		"resource urn":         func(c *Config) { c.Resource = "urn:example:mcp" },
		"resource fragment":    func(c *Config) { c.Resource += "#a" },
		"resource like a host": func(c *Config) { c.Resource = "http://localhost.evil.example/mcp" },
		"documentation":        func(c *Config) { c.Documentation = "javascript:alert(1)" },
		"scope empty":          func(c *Config) { c.Scopes = []string{""} },
		"scope with blank":     func(c *Config) { c.Scopes = []string{"a b"} },
		"scope with quote":     func(c *Config) { c.Scopes = []string{`a"`} },
		"scope offline":        func(c *Config) { c.Scopes = []string{"offline_access"} },
		"leeway negative":      func(c *Config) { c.Leeway = -time.Second },
		"leeway long":          func(c *Config) { c.Leeway = time.Hour },
		"introspection":        func(c *Config) { c.Introspection = &Introspection{ClientID: "a"} },
		"introspection cache":  func(c *Config) { c.Introspection = &Introspection{ClientID: "a", ClientSecret: "b", Cache: time.Hour} },
	} {
		c := good()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		} else if !strings.HasPrefix(err.Error(), "configuring resource server: ") {
			t.Errorf("%s: error %q", name, err)
		}
	}
	for _, resource := range []string{"http://localhost:9933/mcp", "http://127.0.0.1/mcp", "http://[::1]:9933"} {
		c := good()
		c.Resource = resource
		if _, err := New(c); err != nil {
			t.Error(err)
		}
	}
}

// introspected sets the issuer's answer.
func introspected(body string) func(*fakeIssuer) {
	return func(f *fakeIssuer) {
		f.answer = func(w http.ResponseWriter, r *http.Request) {
			id, secret, ok := r.BasicAuth()
			if !ok || id != "rs%3A1" || secret != "se%2Bcret%25" || r.PostFormValue("token") == "" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Write([]byte(body))
		}
	}
}

// TestIntrospection: the issuer is asked, and its answer is compared with who
// we are.
func TestIntrospection(t *testing.T) {
	f := newFakeIssuer(t)
	s := f.newServer(func(c *Config) { c.Introspection = &Introspection{ClientID: "rs:1", ClientSecret: testSecret} })
	answer := func(change ...any) string {
		m := f.claims(change...)
		if _, ok := m["active"]; !ok {
			m["active"] = true
		}
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for _, tt := range []struct {
		name, body string
		want       error
	}{
		{"good", answer(), nil},
		{"good, only what is needed", `{"active":true,"aud":["` + testResource + `"]}`, nil},
		{"not active", `{"active":false}`, ErrInvalidToken},
		{"not active though all else is good", answer("active", false), ErrInvalidToken},
		{"active is text", answer("active", "true"), ErrUnavailable},
		{"no active", `{}`, ErrInvalidToken},
		{"no audience", answer("aud", nil), ErrInvalidToken},
		{"other audience", answer("aud", "https://other.example"), ErrInvalidToken},
		{"other issuer", answer("iss", "https://evil.example"), ErrInvalidToken},
		{"expired", answer("exp", 1), ErrInvalidToken},
		{"not yet", answer("nbf", f.clock().Add(time.Hour).Unix()), ErrInvalidToken},
		{"no JSON", `<html>`, ErrUnavailable},
		{"empty", ``, ErrUnavailable},
		{"too long", `{"active":true,"x":"` + strings.Repeat("a", maxAnswer) + `"}`, ErrUnavailable},
	} {
		f.set(introspected(tt.body))
		got, err := s.Verify(t.Context(), "opaque")
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
		if tt.name == "good" && (got.Subject != testSubject || got.ClientID != testClient || len(got.Scopes) != 2) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	for _, status := range []int{302, 400, 401, 404, 500, 503} {
		f.set(func(f *fakeIssuer) {
			f.answer = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); w.Write([]byte(answer())) }
		})
		if _, err := s.Verify(t.Context(), "opaque"); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalidToken) {
			t.Errorf("answer %d: error %v", status, err)
		}
		if w := call(s.Protect(whoever), "GET", "/mcp", withBearer("opaque")...); w.Code != 503 {
			t.Errorf("answer %d: %d, want 503", status, w.Code)
		}
	}
}

// TestIntrospectionCache: good answers serve for as long as configured, bad
// ones never.
func TestIntrospectionCache(t *testing.T) {
	f := newFakeIssuer(t)
	f.publish(f.newKey("k1"))
	for _, tt := range []struct {
		name  string
		cache time.Duration
		exp   time.Duration
		want  []int // questions after 0, 0, 10 s, 19 s and 20 s
	}{
		{"none", 0, time.Hour, []int{1, 2, 3, 4, 5}},
		{"20 s", 20 * time.Second, time.Hour, []int{1, 1, 1, 1, 2}},
		{"expiry", 20 * time.Second, 0, []int{1, 1, 2, 3, 4}}, // ends with the leeway, after 10 s
	} {
		s := f.newServer(func(c *Config) {
			c.Introspection = &Introspection{ClientID: "rs:1", ClientSecret: testSecret, Cache: tt.cache}
		})
		body, err := json.Marshal(map[string]any{"active": true, "aud": testResource, "exp": f.clock().Add(tt.exp).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		f.set(introspected(string(body)))
		before := f.count("/introspect")
		for i, advance := range []time.Duration{0, 0, 10 * time.Second, 9 * time.Second, time.Second} {
			f.advance(advance)
			_, err := s.Verify(t.Context(), "opaque")
			if good := tt.exp > 0 || i < 2; (err == nil) != good {
				t.Errorf("%s, use %d: error %v", tt.name, i, err)
			}
			if n := f.count("/introspect") - before; n != tt.want[i] {
				t.Errorf("%s: %d questions after use %d, want %d", tt.name, n, i, tt.want[i])
			}
		}
	}
	if n := f.count("/jwks"); n != 0 {
		t.Errorf("keys were fetched %d times, want never", n)
	}
}

// TestNoPanicOnZeroClock: a clock that begins at zero is a clock.
func TestNoPanicOnZeroClock(t *testing.T) {
	f := newFakeIssuer(t)
	key := f.newKey("k1")
	f.publish(key)
	f.now = time.Time{}
	s := f.newServer()
	token := signAs(t, key, jwt.TypeAccessToken, f.claims("exp", f.now.Add(time.Hour).Unix()))
	if _, err := s.Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
}
