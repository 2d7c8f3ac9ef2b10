// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// newTestClient is a client that is valid before any default.
func newTestClient(change ...func(*client)) *client {
	c := &client{ClientMetadata: admin.ClientMetadata{ID: "c0ffee", Name: "Grafana", RedirectURIs: []string{webRedirect}}}
	for _, f := range change {
		f(c)
	}
	return c
}

func TestClientDefaults(t *testing.T) {
	c := newTestClient()
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		t.Fatal(err)
	}
	want := admin.ClientMetadata{
		ID: "c0ffee", Name: "Grafana", RedirectURIs: []string{webRedirect},
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		TokenEndpointAuthMethod: "client_secret_basic", ApplicationType: "web", IDTokenAlg: "RS256", Access: "tailnet", PKCE: "auto", AccessTokenFormat: "jwt",
	}
	if diff := cmp.Diff(want, c.ClientMetadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	again := newTestClient(func(c *client) { c.ClientMetadata = want })
	if err := again.validate(oauth.AdministratorRedirects); err != nil || !cmp.Equal(again.ClientMetadata, want) {
		t.Errorf("validated again: %v, %+v", err, again.ClientMetadata)
	}
	// Nobody else's defaults have changed with it.
	c.GrantTypes[0], c.ResponseTypes[0] = "changed", "changed"
	if defaultGrantTypes[0] != "authorization_code" || supportedGrantTypes[0] != "authorization_code" {
		t.Errorf("the grant types are %q and %q now", defaultGrantTypes, supportedGrantTypes)
	}
}

// TestClientFaults: each fault is reported under the name of its member, with
// the code of RFC 7591 section 3.2.2.
func TestClientFaults(t *testing.T) {
	long := strings.Repeat("x", maxClientText+1)
	many := func(n int, s string) []string { return slices.Repeat([]string{s}, n) }
	for _, tt := range []struct {
		name   string
		change func(*client)
		member string // that is at fault; empty: none
	}{
		{"id at its limit", func(c *client) { c.ID = strings.Repeat("x", 128) }, ""},
		{"id with all characters", func(c *client) { c.ID = "aZ09._~:@-" }, ""},
		{"id with a prefix inside", func(c *client) { c.ID = "my-http-node:userid:1" }, ""},
		{"long id", func(c *client) { c.ID = strings.Repeat("x", 129) }, "client_id"},
		{"id like a subject of users", func(c *client) { c.ID = "userid:1001" }, "client_id"},
		{"id like a subject of nodes", func(c *client) { c.ID = "Node:n1" }, "client_id"},
		{"id like a URL", func(c *client) { c.ID = "HTTPS:" }, "client_id"},
		{"id that begins with http", func(c *client) { c.ID = "httpd" }, "client_id"},
		{"id with a slash", func(c *client) { c.ID = "a/b" }, "client_id"},
		{"id with a blank", func(c *client) { c.ID = "a b" }, "client_id"},
		{"id with a star", func(c *client) { c.ID = "a*" }, "client_id"},
		{"id with a letter that is not ASCII", func(c *client) { c.ID = "ä" }, "client_id"},
		{"id that is a step in a path", func(c *client) { c.ID = ".." }, "client_id"},
		{"id with NUL", func(c *client) { c.ID = "a\x00" }, "client_id"},
		{"id that is not UTF-8", func(c *client) { c.ID = "a\xff" }, "client_id"},

		{"no name", func(c *client) { c.Name = "" }, ""},
		{"name in other scripts", func(c *client) { c.Name = "Größe 日本語 🦊 العربية" }, ""},
		{"name at its limit", func(c *client) { c.Name = long[1:] }, ""},
		{"long name", func(c *client) { c.Name = long }, "client_name"},
		{"name with a line break", func(c *client) { c.Name = "a\nb" }, "client_name"},
		{"name with NUL", func(c *client) { c.Name = "a\x00b" }, "client_name"},
		{"name with DEL", func(c *client) { c.Name = "a\x7fb" }, "client_name"},
		{"name with a C1 control", func(c *client) { c.Name = "a\u0085b" }, "client_name"},
		{"name that is not UTF-8", func(c *client) { c.Name = "a\xffb" }, "client_name"},
		{"name with a right-to-left override", func(c *client) { c.Name = "Graf\u202eana" }, "client_name"},
		{"name with an isolate", func(c *client) { c.Name = "Graf\u2067ana" }, "client_name"},
		{"name with a zero-width space", func(c *client) { c.Name = "Graf\u200bana" }, "client_name"},
		{"name with a zero-width joiner", func(c *client) { c.Name = "Graf\u200dana" }, "client_name"},
		{"name with a byte order mark", func(c *client) { c.Name = "\ufeffGrafana" }, "client_name"},
		{"name with a soft hyphen", func(c *client) { c.Name = "Graf\u00adana" }, "client_name"},
		{"name with a line separator", func(c *client) { c.Name = "Graf\u2028ana" }, "client_name"},
		{"name with a paragraph separator", func(c *client) { c.Name = "Graf\u2029ana" }, "client_name"},
		{"name with a private character", func(c *client) { c.Name = "Graf\ue000ana" }, "client_name"},
		{"name with a tag character", func(c *client) { c.Name = "Graf\U000e0061ana" }, "client_name"},

		{"client_uri", func(c *client) { c.ClientURI = "https://app.example/" }, ""},
		{"client_uri with a script", func(c *client) { c.ClientURI = "javascript:alert(1)" }, "client_uri"},
		{"client_uri with data", func(c *client) { c.ClientURI = "data:text/html,x" }, "client_uri"},
		{"relative client_uri", func(c *client) { c.ClientURI = "/x" }, "client_uri"},
		{"long client_uri", func(c *client) { c.ClientURI = "https://" + long }, "client_uri"},
		{"client_uri with a tab", func(c *client) { c.ClientURI = "https://a\tb" }, "client_uri"},

		{"scope", func(c *client) { c.Scope = "openid email frob" }, ""},
		{"scope with a quotation mark", func(c *client) { c.Scope = `openid "` }, "scope"},
		{"long scope", func(c *client) { c.Scope = long }, "scope"},

		{"contacts", func(c *client) { c.Contacts = many(maxClientStrings, "ada@example.com") }, ""},
		{"many contacts", func(c *client) { c.Contacts = many(maxClientStrings+1, "a") }, "contacts"},
		{"long contact", func(c *client) { c.Contacts = []string{"a", long} }, "contacts"},
		{"contact with a control character", func(c *client) { c.Contacts = []string{"a\r"} }, "contacts"},

		{"many redirect URIs", func(c *client) { c.RedirectURIs = many(maxRedirectURIs, webRedirect) }, ""},
		{"more redirect URIs", func(c *client) { c.RedirectURIs = many(maxRedirectURIs+1, webRedirect) }, "redirect_uris"},
		{"no redirect URI", func(c *client) { c.RedirectURIs = nil }, "redirect_uris"},
		{"no redirect URI, only refresh", func(c *client) { c.RedirectURIs, c.GrantTypes = nil, []string{"refresh_token"} }, ""},
		{"empty redirect URI", func(c *client) { c.RedirectURIs = []string{webRedirect, ""} }, "redirect_uris[1]"},
		{"redirect URI with a fragment", func(c *client) { c.RedirectURIs = []string{webRedirect + "#x"} }, "redirect_uris[0]"},
		{"redirect URI with a script", func(c *client) { c.RedirectURIs = []string{"javascript:alert(1)"} }, "redirect_uris[0]"},
		{"relative redirect URI", func(c *client) { c.RedirectURIs = []string{"/cb"} }, "redirect_uris[0]"},
		{"http redirect URI of an administrator", func(c *client) { c.RedirectURIs = []string{"http://nas.example/cb"} }, ""},
		{"long redirect URI", func(c *client) { c.RedirectURIs = []string{"https://a.example/" + long} }, "redirect_uris[0]"},

		// RFC 7591 section 2 lets a server drop what it does not know.
		{"unknown grant types", func(c *client) { c.GrantTypes = []string{"implicit", "authorization_code"} }, ""},
		{"only unknown grant types", func(c *client) { c.GrantTypes = []string{"implicit", "password"} }, "grant_types"},
		{"many grant types", func(c *client) { c.GrantTypes = many(maxClientStrings+1, "authorization_code") }, "grant_types"},
		{"unknown response types", func(c *client) { c.ResponseTypes = []string{"code", "id_token"} }, ""},
		{"only unknown response types", func(c *client) { c.ResponseTypes = []string{"token", "code id_token"} }, "response_types"},

		{"auth method", func(c *client) { c.TokenEndpointAuthMethod = "client_secret_post" }, ""},
		{"unknown auth method", func(c *client) { c.TokenEndpointAuthMethod = "tls_client_auth" }, "token_endpoint_auth_method"},
		{"auth method in capitals", func(c *client) { c.TokenEndpointAuthMethod = "None" }, "token_endpoint_auth_method"},
		{"access", func(c *client) { c.Access = "granted" }, ""},
		{"unknown access", func(c *client) { c.Access = "everybody" }, "access"},
		{"pkce", func(c *client) { c.PKCE = "required" }, ""},
		{"unknown pkce", func(c *client) { c.PKCE = "never" }, "pkce"},
		{"access token format", func(c *client) { c.AccessTokenFormat = "opaque" }, ""},
		{"unknown access token format", func(c *client) { c.AccessTokenFormat = "JWT" }, "access_token_format"},
		{"application type", func(c *client) { c.ApplicationType = "native" }, ""},
		{"unknown application type", func(c *client) { c.ApplicationType = "desktop" }, "application_type"},
		{"EdDSA", func(c *client) { c.IDTokenAlg = "EdDSA" }, ""},
		{"ES256", func(c *client) { c.IDTokenAlg = "ES256" }, ""},
		{"no algorithm", func(c *client) { c.IDTokenAlg = "none" }, "id_token_signed_response_alg"},
		{"a symmetric algorithm", func(c *client) { c.IDTokenAlg = "HS256" }, "id_token_signed_response_alg"},

		{"resource", func(c *client) { c.ResourceIdentifiers = []string{testResource, "urn:example:api"} }, ""},
		{"relative resource", func(c *client) { c.ResourceIdentifiers = []string{testResource, "mcp"} }, "resource_identifiers[1]"},
		{"resource with a fragment", func(c *client) { c.ResourceIdentifiers = []string{testResource + "#x"} }, "resource_identifiers[0]"},
		{"many resources", func(c *client) { c.ResourceIdentifiers = many(maxClientStrings+1, testResource) }, "resource_identifiers"},
		{"default resource of a public client", func(c *client) { c.DefaultResources, c.TokenEndpointAuthMethod = []string{testResource}, "none" }, ""},
		{"relative default resource", func(c *client) { c.DefaultResources = []string{testResource, "mcp"} }, "default_resources[1]"},
		{"many default resources", func(c *client) { c.DefaultResources = many(maxResources+1, testResource) }, "default_resources"},
		{"resource of a public client", func(c *client) { c.ResourceIdentifiers, c.TokenEndpointAuthMethod = []string{testResource}, "none" }, "resource_identifiers"},

		{"lifetimes at their limits", func(c *client) {
			c.AccessTokenSeconds, c.IDTokenSeconds, c.RefreshIdleSeconds, c.RefreshTotalSeconds = 3600, 30*86400, 3650*86400, 3650*86400
		}, ""},
		{"shortest lifetimes", func(c *client) {
			c.AccessTokenSeconds, c.IDTokenSeconds, c.RefreshIdleSeconds, c.RefreshTotalSeconds = 1, 1, 1, 1
		}, ""},
		{"long access token", func(c *client) { c.AccessTokenSeconds = 3601 }, "access_token_lifetime"},
		{"negative access token", func(c *client) { c.AccessTokenSeconds = -1 }, "access_token_lifetime"},
		{"long ID token", func(c *client) { c.IDTokenSeconds = 30*86400 + 1 }, "id_token_lifetime"},
		{"overflowing ID token", func(c *client) { c.IDTokenSeconds = 1 << 62 }, "id_token_lifetime"},
		{"negative idle", func(c *client) { c.RefreshIdleSeconds = -1 << 63 }, "refresh_token_idle_lifetime"},
		{"long total", func(c *client) { c.RefreshTotalSeconds = 1<<63 - 1 }, "refresh_token_total_lifetime"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := newTestClient(tt.change).validate(oauth.AdministratorRedirects)
			if tt.member == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			e, ok := err.(*protocolError)
			if !ok || !strings.HasPrefix(e.description, tt.member+": ") {
				t.Fatalf("error %v, want one about %s", err, tt.member)
			}
			want := codeInvalidClientMetadata
			if strings.HasPrefix(tt.member, "redirect_uris") {
				want = codeInvalidRedirectURI
			}
			if e.code != want {
				t.Errorf("code %s, want %s", e.code, want)
			}
			if len(e.description) > 500 || strings.ContainsFunc(e.description, unprintable) {
				t.Errorf("description of %d bytes: %q", len(e.description), e.description)
			}
		})
	}
}

// TestClientDropsWhatIsUnknown: RFC 7591 section 3.2.1 wants the answer to
// have what was registered, not what was asked.
func TestClientDropsWhatIsUnknown(t *testing.T) {
	c := newTestClient(func(c *client) {
		c.GrantTypes, c.ResponseTypes = []string{"implicit", "refresh_token", "authorization_code", "password"}, []string{"id_token", "code"}
	})
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.GrantTypes, []string{"refresh_token", "authorization_code"}) || !slices.Equal(c.ResponseTypes, []string{"code"}) {
		t.Errorf("grant types %q, response types %q", c.GrantTypes, c.ResponseTypes)
	}
}

// TestClientTextsAreBounded: every text and list of the metadata has a bound,
// also those that somebody adds.
func TestClientTextsAreBounded(t *testing.T) {
	typ := reflect.TypeFor[admin.ClientMetadata]()
	for i := range typ.NumField() {
		field := typ.Field(i)
		c := newTestClient()
		v := reflect.ValueOf(&c.ClientMetadata).Elem().Field(i)
		switch v.Interface().(type) {
		case string:
			v.SetString(strings.Repeat("x", 1<<20))
		case []string:
			v.Set(reflect.ValueOf(slices.Repeat([]string{"https://a.example"}, 10_000)))
		case json.RawMessage:
			v.SetBytes([]byte(`{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`))
		case map[string]string:
			v.Set(reflect.ValueOf(map[string]string{strings.Repeat("x", 1<<20): "email"}))
		case bool, int64:
			continue
		default:
			t.Errorf("%s has type %v, which this test does not know", field.Name, field.Type)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if err := c.validate(oauth.AdministratorRedirects); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s may be of any size: %v", name, err)
		}
	}
}

// TestClientRecord: what is stored comes back.
func TestClientRecord(t *testing.T) {
	c := newTestClient(func(c *client) {
		c.Scope, c.ClientURI, c.Contacts, c.Access, c.PKCE = "openid", "https://app.example", []string{"ada@example.com"}, "granted", "required"
		c.InitiateLoginURI = "https://app.example/login"
		c.AuthMethodStrict, c.IgnoreFragment, c.LeanIDToken, c.Disabled = true, true, true, true
		c.ResourceIdentifiers, c.Claims = []string{testResource}, map[string]string{"username": "email"}
		c.DefaultResources = []string{testResource}
		c.PostLogoutRedirectURIs = []string{webRedirect}
		c.TokenEndpointAuthMethod, c.TokenEndpointAuthSigningAlg, c.AssertionAudienceStrict = authPrivateKeyJWT, "ES256", true
		c.JWKS = jwksOf(t, newClientKey(t, "ES256", "1"))
		c.LogoURI, c.PolicyURI, c.TOSURI, c.SoftwareID, c.SoftwareVersion = "https://a.example/l", "https://a.example/p", "https://a.example/t", "id", "1"
		c.AccessTokenSeconds, c.IDTokenSeconds, c.RefreshIdleSeconds, c.RefreshTotalSeconds = 1, 2, 3, 4
		c.Origin, c.CreatedAt = originAdministrator, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		c.Secrets = []clientSecret{hashSecret(webSecret, c.CreatedAt)}
	})
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		t.Fatal(err)
	}
	c.JWKSURI = "https://a.example/jwks" // excludes jwks in what is valid
	v := reflect.ValueOf(c.ClientMetadata)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the test does not set %s", v.Type().Field(i).Name)
		}
	}
	f := newFixture(t)
	if err := f.p.createClient(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	got, err := f.p.clientByID(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, cmp.AllowUnexported(client{})); diff != "" {
		t.Errorf("client (-stored +read):\n%s", diff)
	}
	err = f.p.createClient(t.Context(), c)
	if e, ok := err.(*protocolError); !ok || e.code != codeConflict || !strings.HasPrefix(e.description, "client_id: ") {
		t.Errorf("stored again: %v, want conflict", err)
	}
	if _, err := decodeClient(store.Record{ID: "x", Data: []byte(`{"client_id":1}`)}); err == nil || !strings.Contains(err.Error(), `reading client "x"`) {
		t.Errorf("a broken record: %v", err)
	}
	for _, id := range []string{"", "unknown", strings.Repeat("x", store.MaxIDLen+1), "\x00", "\xff"} {
		if _, err := f.p.clientByID(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("client %.20q: %v, want store.ErrNotFound", id, err)
		}
	}
}

// TestClientSecretsStay: neither the API's view nor the store has a secret in
// plaintext, and the view not even its hash.
func TestClientSecretsStay(t *testing.T) {
	c := newTestClient()
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, brought := range []string{"", webSecret} {
		secret, err := c.addSecret(brought, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	if secrets[1] != webSecret || !regexp.MustCompile(`^[A-Za-z0-9_-]{43,}$`).MatchString(secrets[0]) {
		t.Errorf("secrets %q", secrets)
	}
	record, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	view, err := json.Marshal(c.view())
	if err != nil {
		t.Fatal(err)
	}
	for i, secret := range secrets {
		if !c.checkSecret(secret) {
			t.Errorf("secret %d does not open the client", i)
		}
		hash, err := json.Marshal(c.Secrets[i].Hash)
		if err != nil {
			t.Fatal(err)
		}
		hash = bytes.Trim(hash, `"`)
		if bytes.Contains(record, []byte(secret)) || !bytes.Contains(record, hash) {
			t.Errorf("record %s, want the hash of secret %d alone", record, i)
		}
		if bytes.Contains(view, []byte(secret)) || bytes.Contains(view, hash) {
			t.Errorf("view %s shows secret %d or its hash", view, i)
		}
		if bytes.Contains([]byte(fmt.Sprintf("%v %+v %#v", c, c, c)), []byte(secret)) {
			t.Errorf("printing the client shows secret %d", i)
		}
	}
	if bytes.Contains(view, []byte("client_secret\"")) {
		t.Errorf("view %s shows a secret", view)
	}
	for _, wrong := range []string{"", "x", webSecret + "x", webSecret[1:], strings.ToUpper(webSecret)} {
		if c.checkSecret(wrong) {
			t.Errorf("secret %q opens the client", wrong)
		}
	}
	if newTestClient().checkSecret("") {
		t.Error("no secret opens a client that has none")
	}
}

// TestAddSecret: brought secrets have at least 32 characters (DESIGN §4).
func TestAddSecret(t *testing.T) {
	for _, tt := range []struct {
		name    string
		method  string
		brought string
		ok      bool
	}{
		{"generated", authBasic, "", true},
		{"shortest", authBasic, strings.Repeat("x", 32), true},
		{"longest", authPost, strings.Repeat("x", 512), true},
		{"all characters", authBasic, "!\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~", true},
		{"short", authBasic, strings.Repeat("x", 31), false},
		{"long", authBasic, strings.Repeat("x", 513), false},
		{"blank", authBasic, strings.Repeat("x", 32) + " ", false},
		{"control", authBasic, strings.Repeat("x", 32) + "\x7f", false},
		{"not ASCII", authBasic, strings.Repeat("ä", 32), false},
		{"public", authNone, "", true},
		{"public with a secret", authNone, webSecret, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(func(c *client) { c.TokenEndpointAuthMethod = tt.method })
			secret, err := c.addSecret(tt.brought, time.Now())
			if tt.ok {
				if want := tt.method != authNone; err != nil || (secret != "") != want || (len(c.Secrets) == 1) != want {
					t.Errorf("secret %q, %d kept, %v", secret, len(c.Secrets), err)
				}
				return
			}
			e, ok := err.(*protocolError)
			if !ok || e.code != codeInvalidClientMetadata || !strings.HasPrefix(e.description, "client_secret: ") || len(c.Secrets) != 0 {
				t.Fatalf("error %v with %d secrets kept", err, len(c.Secrets))
			}
			if tt.brought != "" && strings.Contains(e.description, tt.brought) {
				t.Errorf("the error shows the secret: %s", e.description)
			}
		})
	}
}

func TestClientLifetimes(t *testing.T) {
	base := Lifetimes{Code: 1, AccessToken: 2, IDToken: 3, RefreshIdle: 4, RefreshTotal: 5}
	if got := newTestClient().lifetimes(base); got != base {
		t.Errorf("a client without own lifetimes: %+v", got)
	}
	c := newTestClient(func(c *client) {
		c.AccessTokenSeconds, c.IDTokenSeconds, c.RefreshIdleSeconds, c.RefreshTotalSeconds = 20, 30, 40, 50
	})
	want := Lifetimes{Code: 1, AccessToken: 20 * time.Second, IDToken: 30 * time.Second, RefreshIdle: 40 * time.Second, RefreshTotal: 50 * time.Second}
	if got := c.lifetimes(base); got != want {
		t.Errorf("lifetimes %+v, want %+v", got, want)
	}
}

func TestClientWarnings(t *testing.T) {
	c := newTestClient(func(c *client) {
		c.RedirectURIs = []string{webRedirect, "http://nas.example/cb", pubRedirect, "com.example.app:/cb"}
	})
	got := c.view().Warnings
	if len(got) != 1 || !strings.HasPrefix(got[0], "redirect_uris: http://nas.example/cb ") {
		t.Errorf("warnings %q, want one about the http URI", got)
	}
}

// TestOpClient: what the engine is told of a client.
func TestOpClient(t *testing.T) {
	c := newTestClient(func(c *client) { c.ApplicationType, c.TokenEndpointAuthMethod, c.LeanIDToken = "native", "none", true })
	if err := c.validate(oauth.AdministratorRedirects); err != nil {
		t.Fatal(err)
	}
	o := opClient{c, Lifetimes{IDToken: time.Minute}}
	if o.GetID() != "c0ffee" || o.AuthMethod() != oidc.AuthMethodNone || o.ApplicationType() != op.ApplicationTypeNative ||
		o.IDTokenLifetime() != time.Minute || o.IDTokenUserinfoClaimsAssertion() || o.DevMode() || o.ClockSkew() != 0 || o.IsScopeAllowed("x") ||
		o.AccessTokenType() != op.AccessTokenTypeJWT || o.LoginURL("x") != "" || o.PostLogoutRedirectURIs() != nil {
		t.Errorf("%+v", o)
	}
	if !slices.Equal(o.GrantTypes(), []oidc.GrantType{"authorization_code", "refresh_token"}) || !slices.Equal(o.ResponseTypes(), []oidc.ResponseType{"code"}) {
		t.Errorf("grant types %q, response types %q", o.GrantTypes(), o.ResponseTypes())
	}
	c.ApplicationType = "web"
	if o.ApplicationType() != op.ApplicationTypeWeb {
		t.Errorf("application type %v", o.ApplicationType())
	}
	for _, restrict := range []func([]string) []string{o.RestrictAdditionalIdTokenScopes(), o.RestrictAdditionalAccessTokenScopes()} {
		if got := restrict([]string{"a"}); !slices.Equal(got, []string{"a"}) {
			t.Errorf("scopes %q", got)
		}
	}
}
