// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestIssuerMetadata: the issuer's document, whose authorization endpoint
// names the resource.
func TestIssuerMetadata(t *testing.T) {
	f := newFakeIssuer(t)
	endpoint := func(s string) func(*fakeIssuer) {
		return func(f *fakeIssuer) {
			f.change = func(m map[string]any) { m["authorization_endpoint"], m["scopes_supported"] = s, []string{"openid"} }
		}
	}
	for in, want := range map[string]string{
		f.URL + "/authorize":           f.URL + "/authorize?resource=https%3A%2F%2Fmcp.tail1234.ts.net%2Fmcp",
		f.URL + "/authorize?x=1&y=%26": f.URL + "/authorize?resource=https%3A%2F%2Fmcp.tail1234.ts.net%2Fmcp&x=1&y=%26",
	} {
		f.set(endpoint(in))
		h := f.newServer().IssuerMetadata()
		for _, path := range []string{IssuerMetadataPath, IssuerMetadataPath + "/mcp", IssuerMetadataPath + "/mcp/"} {
			w := call(h, "GET", path)
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
			}
			if d := cmp.Diff(map[string]any{
				"issuer": f.URL, "jwks_uri": f.URL + "/jwks", "introspection_endpoint": f.URL + "/introspect",
				"authorization_endpoint": want, "scopes_supported": []any{"openid"},
			}, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", path, d)
			}
		}
		if n := f.count("/.well-known/oauth-authorization-server"); n == 0 || n > 2 {
			t.Errorf("the issuer was asked %d times", n)
		}
	}
	h := f.newServer().IssuerMetadata()
	for _, path := range []string{IssuerMetadataPath + "/other", "/x" + IssuerMetadataPath, IssuerMetadataPath + "mcp"} {
		if w := call(h, "GET", path); w.Code != 404 {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
	if w := call(h, "POST", IssuerMetadataPath); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
	if w := call(h, "OPTIONS", IssuerMetadataPath, "Origin", "https://app.example", "Access-Control-Request-Method", "GET"); w.Code != 204 {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

// TestIssuerMetadataUnavailable: nothing is made up, and what was fetched
// serves on.
func TestIssuerMetadataUnavailable(t *testing.T) {
	f := newFakeIssuer(t)
	unavailable := func(h string, change func(map[string]any)) {
		t.Helper()
		f.set(func(f *fakeIssuer) { f.change = change })
		w := call(f.newServer().IssuerMetadata(), "GET", IssuerMetadataPath)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "authorization_endpoint") {
			t.Errorf("%s: %d %s, want 503", h, w.Code, w.Body)
		}
	}
	unavailable("no endpoint", nil)
	unavailable("not a text", func(m map[string]any) { m["authorization_endpoint"] = 7 })
	unavailable("not https", func(m map[string]any) { m["authorization_endpoint"] = "http://evil.example/authorize" })
	unavailable("another issuer", func(m map[string]any) {
		m["issuer"], m["authorization_endpoint"] = "https://evil.example", f.URL+"/authorize"
	})

	f.set(func(f *fakeIssuer) {
		f.change = func(m map[string]any) { m["authorization_endpoint"] = f.URL + "/authorize" }
	})
	h := f.newServer().IssuerMetadata()
	first := call(h, "GET", IssuerMetadataPath)
	f.set(func(f *fakeIssuer) { f.down = true })
	f.advance(time.Hour)
	if again := call(h, "GET", IssuerMetadataPath); first.Code != 200 || again.Body.String() != first.Body.String() {
		t.Errorf("the issuer is down: %d %s", again.Code, again.Body)
	}
}
