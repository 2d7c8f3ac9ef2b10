// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// discoveryConfigs are configurations whose metadata differ, by the name of
// their golden file.
var discoveryConfigs = map[string]func(*Config){
	"default": func(*Config) {},
	"no-iss":  func(c *Config) { c.OmitResponseIssuer = true },
	"path":    func(c *Config) { c.Issuer = "https://example.com/idp" },
	"dev":     func(c *Config) { c.Issuer, c.Development = "http://localhost:9411", true },
}

// TestDiscoveryGolden has the metadata of each configuration, byte for byte.
func TestDiscoveryGolden(t *testing.T) {
	for name, configure := range discoveryConfigs {
		t.Run(name, func(t *testing.T) {
			p, err := New(goodConfig(configure))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "discovery-"+name+".json")
			if *update {
				if err := os.WriteFile(file, p.metadata.body, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(p.metadata.body)); diff != "" {
				t.Errorf("metadata (-%s +got); rewrite it with -update if this is meant:\n%s", file, diff)
			}
		})
	}
	p, err := New(goodConfig(func(c *Config) {
		c.Hosts, c.EmailVerified, c.DebugRequests, c.Lifetimes = []string{"idp"}, EmailVerified{All: true}, true, &Lifetimes{IDToken: time.Minute}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if want, err := New(goodConfig()); err != nil || string(p.metadata.body) != string(want.metadata.body) {
		t.Errorf("settings that clients do not see have changed the metadata: %s", p.metadata.body)
	}
}

// TestDiscoveryListsWhatIsOn is op-engine §8 item 17: each endpoint that is
// listed answers, and none is listed that a later part brings.
func TestDiscoveryListsWhatIsOn(t *testing.T) {
	for name, configure := range discoveryConfigs {
		t.Run(name, func(t *testing.T) {
			p := mustStart(t, newSeededStore(t, configure), configure)
			var m map[string]any
			if err := json.Unmarshal(p.metadata.body, &m); err != nil {
				t.Fatal(err)
			}
			if m["issuer"] != p.issuer {
				t.Errorf("issuer %v", m["issuer"])
			}
			methods := map[string]string{
				"authorization_endpoint": "GET", "token_endpoint": "POST", "jwks_uri": "GET", "userinfo_endpoint": "GET", "introspection_endpoint": "POST", "revocation_endpoint": "POST", "end_session_endpoint": "GET",
				"device_authorization_endpoint": "POST", "registration_endpoint": "POST",
			}
			for key, v := range m {
				uri, ok := v.(string)
				if !ok || key == "issuer" {
					continue
				}
				method, known := methods[key]
				if !known {
					t.Errorf("%s is listed as %s, which nothing serves yet", key, uri)
					continue
				}
				delete(methods, key)
				if !strings.HasPrefix(uri, p.issuer+"/") {
					t.Errorf("%s is %s, which is not below the issuer", key, uri)
				}
				for other, want := range map[string]bool{method: true, "DELETE": false} {
					w := httptest.NewRecorder()
					p.Handler().ServeHTTP(w, httptest.NewRequest(other, uri, nil))
					if served := w.Code != 404 && w.Code != 405; served != want {
						t.Errorf("%s %s: status %d", other, uri, w.Code)
					}
				}
			}
			for key := range methods {
				t.Errorf("%s is missing", key)
			}
			checkListed(t, p, m)
		})
	}
}

// newSeededStore is a store whose keys exist, so that starting is cheap.
func newSeededStore(t *testing.T, configure func(*Config)) *keyStore {
	t.Helper()
	cfg := goodConfig(configure)
	doc := keyDocument{Issuer: cfg.Issuer, Development: cfg.Development}
	if _, err := doc.add(initialAlgs, time.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &keyStore{Store: withKeys(t, data)}
}

// checkListed compares lists with what the endpoints take.
func checkListed(t *testing.T, p *Provider, m map[string]any) {
	t.Helper()
	list := func(key string) (texts []string) {
		values, ok := m[key].([]any)
		if !ok || len(values) == 0 {
			t.Errorf("%s is %v", key, m[key])
		}
		for _, v := range values {
			texts = append(texts, v.(string))
		}
		return texts
	}
	var grants []string
	for g := range p.grantTypes() {
		grants = append(grants, g)
	}
	slices.Sort(grants)
	for key, want := range map[string][]string{
		"grant_types_supported":                         grants,
		"response_types_supported":                      {"code"},
		"response_modes_supported":                      {"query", "form_post"},
		"code_challenge_methods_supported":              {"S256"}, // never plain
		"subject_types_supported":                       {"public"},
		"id_token_signing_alg_values_supported":         {"RS256", "ES256", "EdDSA"}, // Discovery §3: RS256 MUST be included
		"token_endpoint_auth_methods_supported":         {"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		"introspection_endpoint_auth_methods_supported": {"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"revocation_endpoint_auth_methods_supported":    {"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},

		// RFC 8414 section 2: the value none MUST NOT be used.
		"token_endpoint_auth_signing_alg_values_supported":         {"RS256", "PS256", "ES256", "EdDSA"},
		"introspection_endpoint_auth_signing_alg_values_supported": {"RS256", "PS256", "ES256", "EdDSA"},
		"revocation_endpoint_auth_signing_alg_values_supported":    {"RS256", "PS256", "ES256", "EdDSA"},

		"scopes_supported": {"openid", "profile", "email", "groups", "tailscale", "offline_access"},
		"claims_supported": claimNames,
	} {
		if got := list(key); !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for key, want := range map[string]any{
		"claims_parameter_supported": false, "request_parameter_supported": false,
		// Left out, it would mean true (Discovery §3).
		"request_uri_parameter_supported": false,
	} {
		if got, ok := m[key]; !ok || got != want {
			t.Errorf("%s is %v", key, got)
		}
	}
	if got, want := m["authorization_response_iss_parameter_supported"], any(true); (got == want) == p.cfg.OmitResponseIssuer {
		t.Errorf("iss in responses: %v, though OmitResponseIssuer is %t", got, p.cfg.OmitResponseIssuer)
	}
}

// TestC14Issuer: however the metadata are asked for, the issuer is one and the
// same text without a slash at its end, in every place that has it.
func TestC14Issuer(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", wellKnownOpenID, 200}, {"GET", wellKnownOAuth, 200}, {"GET", wellKnownOpenID + "?x=1", 200}, {"HEAD", wellKnownOpenID, 200},
		{"HEAD", wellKnownOAuth + "?x=1", 200}, {"GET", wellKnownOpenID + "/", 404}, {"GET", wellKnownOAuth + "/", 404},
		{"GET", "/" + wellKnownOpenID, 307},
	} {
		r := f.do(ada, tt.method, "http://idp.tail1234.ts.net"+tt.path, "", "")
		switch {
		case r.status != tt.status:
			t.Errorf("%s %s answers %d, want %d", tt.method, tt.path, r.status, tt.status)
		case r.status == 307 && r.header.Get("Location") != wellKnownOpenID:
			t.Errorf("%s %s leads to %q", tt.method, tt.path, r.header.Get("Location"))
		case r.status == 404:
			r.wantError(404, "not_found")
		case r.status == 200 && tt.method == "GET" && r.json(200)["issuer"] != testIssuer:
			t.Errorf("%s: issuer %v", tt.path, r.json(200)["issuer"])
		case r.status == 200 && (r.header.Get("Content-Type") != "application/json" || (r.body == "") != (tt.method == "HEAD")):
			t.Errorf("%s %s: %s %q", tt.method, tt.path, r.header.Get("Content-Type"), r.body)
		}
	}
	response := f.authorize(ada).redirect()
	login := f.redeem(response.Get("code")).tokens()
	for where, got := range map[string]any{
		"response": response.Get("iss"), "ID token": claimsOf(t, login.IDToken)["iss"], "access token": claimsOf(t, login.AccessToken)["iss"],
		"aud": claimsOf(t, login.AccessToken)["aud"], "introspection": f.introspect("web", login.AccessToken)["iss"],
	} {
		if got != testIssuer {
			t.Errorf("%s: %v, want %s", where, got, testIssuer)
		}
	}
	if _, err := New(goodConfig(func(c *Config) { c.Issuer = testIssuer + "/" })); err == nil || !strings.Contains(err.Error(), "slash") {
		t.Errorf("an issuer with a slash: error %v", err)
	}
}

// TestC17WellKnown: what is not there is a 404 that no client takes for a
// document, and before the start a 503; never a page, whoever asks.
func TestC17WellKnown(t *testing.T) {
	f, starting := newFixture(t), newProvider(t, newConfig(t, t.Output()))
	before := &fixture{t: t, client: serve(t, withTestPeer(starting.Handler()))}
	for _, accept := range []string{"text/html", "application/json", "*/*", ""} {
		for _, path := range []string{
			wellKnownOAuth + "/mcp", wellKnownOpenID + "/mcp", "/mcp" + wellKnownOpenID, "/.well-known/oauth-protected-resource",
			"/.well-known/nonsense", "/.well-known/webfinger?resource=acct:ada@example.com", "/.well-known/", "/.well-known",
		} {
			f.do(ada, "GET", path, "", "", "Accept", accept).wantError(404, "not_found")
		}
		for _, path := range []string{wellKnownOpenID, wellKnownOAuth, pathJWKS} {
			if m := f.do(ada, "GET", path, "", "", "Accept", accept).json(200); len(m) == 0 {
				t.Errorf("%s is empty", path)
			}
			r := before.do(ada, "GET", path, "", "", "Accept", accept)
			r.wantError(503, "temporarily_unavailable")
			if r.header.Get("Retry-After") == "" {
				t.Errorf("%s before the start: no Retry-After", path)
			}
		}
	}
}

// TestDiscoveryPaths: one document under every name that clients try, with
// headers for caches, whatever the request says.
func TestDiscoveryPaths(t *testing.T) {
	f := newFixture(t)
	want := f.do(ada, "GET", "/.well-known/openid-configuration", "", "")
	if cc := want.header.Get("Cache-Control"); want.status != 200 || want.header.Get("Content-Type") != "application/json" || cc != "public, max-age=300" {
		t.Errorf("status %d, Content-Type %s, Cache-Control %s", want.status, want.header.Get("Content-Type"), cc)
	}
	etag := want.header.Get("Etag")
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		// Documents come from the configured issuer, never from a request.
		r := f.do(gus, "GET", path, "", "", "Host", "evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example")
		if r.body != want.body || r.status != 200 {
			t.Errorf("%s of another host: %d %s", path, r.status, r.body)
		}
		if r := f.do(gus, "HEAD", path, "", ""); r.status != 200 || r.body != "" || r.header.Get("Etag") != etag {
			t.Errorf("HEAD %s: %d %q", path, r.status, r.body)
		}
		if r := f.do(gus, "GET", path, "", "", "If-None-Match", etag); r.status != http.StatusNotModified || r.body != "" {
			t.Errorf("%s with If-None-Match: %d %q", path, r.status, r.body)
		}
		if r := f.do(gus, "GET", path, "", "", "If-None-Match", `"other"`); r.status != 200 {
			t.Errorf("%s with another If-None-Match: %d", path, r.status)
		}
		f.do(gus, "POST", path, "", "").wantError(405, "method_not_allowed")
		if r := f.do(gus, "GET", path+"/x", "", ""); r.status != 404 {
			t.Errorf("%s/x: status %d", path, r.status)
		}
	}
}

// TestDiscoveryWithPath: OpenID Connect appends to the issuer, RFC 8414
// section 3.1 inserts before its path.
func TestDiscoveryWithPath(t *testing.T) {
	configure := discoveryConfigs["path"]
	p := mustStart(t, newSeededStore(t, configure), configure)
	for path, want := range map[string]int{
		"/idp/.well-known/openid-configuration":            200,
		"/.well-known/oauth-authorization-server/idp":      200,
		"/idp/.well-known/oauth-authorization-server":      200,
		"/.well-known/openid-configuration/idp":            200,
		"/.well-known/openid-configuration":                404,
		"/.well-known/oauth-authorization-server":          404,
		"/.well-known/oauth-authorization-server/other":    404,
		"/.well-known/oauth-authorization-server/idp/more": 404,
		"/idp/.well-known/jwks.json":                       200,
		"/.well-known/jwks.json":                           404,
		"/idp/healthz":                                     200,
		"/idp/readyz":                                      200,
	} {
		for name, h := range map[string]http.Handler{"Handler": p.Handler(), "PublicHandler": p.PublicHandler()} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", (&url.URL{Scheme: "https", Host: "example.com", Path: path}).String(), nil))
			if w.Code != want {
				t.Errorf("%s: GET %s: status %d, want %d", name, path, w.Code, want)
			}
			if want == 200 && strings.Contains(path, "/.well-known/o") && w.Body.String() != string(p.metadata.body) {
				t.Errorf("%s: GET %s: %s", name, path, w.Body)
			}
		}
	}
}
