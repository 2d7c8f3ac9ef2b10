// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tailscale/tsidp/rs"
)

// plainHTTP sends https requests by http: the fixture's server has no
// certificate for the names that it goes by.
type plainHTTP struct{ next http.RoundTripper }

func (p plainHTTP) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return p.next.RoundTrip(r)
}

// resourceServer makes a resource server that knows the provider by its
// published documents only.
func (f *fixture) resourceServer(resource string, introspection *rs.Introspection) *rs.Server {
	f.t.Helper()
	s, err := rs.New(rs.Config{
		Issuer: testIssuer, Resource: resource, Introspection: introspection,
		HTTPClient: &http.Client{Transport: plainHTTP{f.client.Transport}}, Now: f.clock.now,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// TestResourceServer: package rs takes the access tokens that the provider
// issues for its resource, however that was spelled, and none of its other
// tokens. It is the resource server's half of case C59 with the real issuer.
func TestResourceServer(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule("*"))
	s := f.resourceServer(testResource, nil)
	for _, tt := range []struct {
		name, resource string
		good           bool
	}{
		{"as configured", testResource, true},
		{"slash", testResource + "/", true},
		{"capitals and port", "https://MCP.tail1234.ts.net:443/mcp", true},
		{"origin", "https://mcp.tail1234.ts.net", false},
		{"deeper", testResource + "/x", false},
		{"query", testResource + "?x=1", false},
		{"other", otherResource, false},
		{"none", "", false},
	} {
		res := f.login(ada, "resource", tt.resource, "scope", "openid profile")
		got, err := s.Verify(t.Context(), res.AccessToken)
		if !tt.good {
			if !errors.Is(err, rs.ErrInvalidToken) {
				t.Errorf("%s: error %v, want an invalid token", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if d := cmp.Diff(&rs.Token{
			Subject: "userid:1001", ClientID: "web", Scopes: []string{"openid", "profile"}, Audience: []string{tt.resource},
			Expires: f.clock.now().Add(5 * time.Minute),
		}, got, cmpopts.IgnoreUnexported(rs.Token{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
		for name, token := range map[string]string{"ID": res.IDToken, "refresh": res.RefreshToken} {
			if _, err := s.Verify(t.Context(), token); !errors.Is(err, rs.ErrInvalidToken) {
				t.Errorf("%s: the %s token: error %v, want an invalid token", tt.name, name, err)
			}
		}
	}
}

// TestResourceServerRotation: a token signed with the next key is good as soon
// as that signs.
func TestResourceServerRotation(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule(testResource))
	s := f.resourceServer(testResource, nil)
	first := f.login(ada, "resource", testResource).AccessToken
	if _, err := s.Verify(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, days := range []time.Duration{88, 3} { // publishes the next key, lets it sign
		f.clock.advance(days * 24 * time.Hour)
		f.maintain()
	}
	second := f.login(ada, "resource", testResource).AccessToken
	if kidOf(t, first) == kidOf(t, second) {
		t.Fatal("the key did not rotate: this test tests nothing")
	}
	if _, err := s.Verify(t.Context(), second); err != nil {
		t.Errorf("token of the next key: %v", err)
	}
}

// TestResourceServerIntrospection: a resource server that asks learns at once
// what the policy takes away, and what it gives back.
func TestResourceServerIntrospection(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule(testResource))
	protected := f.resourceServer(testResource, &rs.Introspection{ClientID: "rs", ClientSecret: webSecret}).
		Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, _ := rs.FromContext(r.Context())
			var claims struct {
				Username string `json:"username"`
			}
			if err := token.Claims(&claims); err != nil {
				t.Error(err)
			}
			w.Write([]byte(token.Subject + " " + claims.Username))
		}))
	token := f.login(ada, "resource", testResource).AccessToken
	call := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		protected.ServeHTTP(w, r)
		return w
	}
	if w := call(); w.Code != 200 || w.Body.String() != "userid:1001 ada@example.com" {
		t.Errorf("allowed: %d %s", w.Code, w.Body)
	}
	f.allow(ada, resourceRule(otherResource))
	f.clock.advance(2 * time.Second)
	if w := call(); w.Code != 401 {
		t.Errorf("withdrawn: %d %s", w.Code, w.Body)
	}
	f.allow(ada, resourceRule(testResource))
	f.clock.advance(2 * time.Second)
	if w := call(); w.Code != 200 {
		t.Errorf("given back: %d %s", w.Code, w.Body)
	}
	wrong := f.resourceServer(testResource, &rs.Introspection{ClientID: "rs", ClientSecret: "wrong" + webSecret})
	if _, err := wrong.Verify(t.Context(), token); !errors.Is(err, rs.ErrUnavailable) {
		t.Errorf("wrong secret: error %v, want that it cannot be verified", err)
	}
}
