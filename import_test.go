// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
)

// legacyDir makes a state directory of an earlier version.
func legacyDir(t *testing.T, clients string) (dir string, key *rsa.PrivateKey) {
	t.Helper()
	dir = t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	quoted, err := json.Marshal(string(text))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "oidc-key.json"), `{"kid": 18446744073709551557, "key": `+string(quoted)+`}`)
	writeFile(t, filepath.Join(dir, "oidc-funnel-clients.json"), clients)
	return dir, key
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

const legacyClients = `{
  "old": {"client_id": "old", "client_secret": "short", "client_name": "Old App", "redirect_uris": ["https://old.example/cb"], "created_at": "0001-01-01T00:00:00Z", "redirect_uri": ""},
  "nas": {"client_id": "nas", "client_secret": "nassecret", "name": "NAS", "redirect_uri": "http://nas.example/#/signin", "redirect_uris": null},
  "dyn": {"client_id": "dyn", "client_secret": "dynsecret", "client_name": "Agent", "redirect_uris": ["http://127.0.0.1/cb"], "dynamically_registered": true, "grant_types": ["authorization_code"]},
  "bad": {"client_id": "bad", "client_secret": "badsecret", "client_name": "Bad", "redirect_uris": ["javascript:alert(1)"]}
}`

// loginImported logs in to an imported client as an earlier version's
// application does: without PKCE, with its short secret.
func (f *fixture) loginImported(as string, id, secret, redirectURI string, change ...string) tokenResponse {
	f.t.Helper()
	peer := ada
	if as == "gus" {
		peer = gus
	}
	change = append([]string{"client_id", id, "redirect_uri", redirectURI, "code_challenge", "", "code_challenge_method", ""}, change...)
	form := edited(authorizeQuery(), nil)
	clear(form)
	form.Set("grant_type", "authorization_code")
	form.Set("code", f.code(peer, change...))
	form.Set("redirect_uri", redirectURI)
	return f.post("/token", form, basicAuth(id, secret)...).tokens()
}

// TestImport: everybody who could log in before can log in after, with the
// same ids, secrets and key.
func TestImport(t *testing.T) {
	dir, key := legacyDir(t, legacyClients)
	before := files(t, dir)
	f := newFixture(t, func(c *Config) { c.ImportDir = dir })

	res := f.loginImported("ada", "old", "short", "https://old.example/cb", "scope", "openid email profile")
	if res.RefreshToken == "" {
		t.Error("no refresh token, which every client of an earlier version had")
	}
	if h := headerOf(t, res.IDToken); h["kid"] != "18446744073709551557" {
		t.Errorf("ID token by key %v, want the imported one", h["kid"])
	}
	if pub := f.p.keys.Load().public["18446744073709551557"]; !key.PublicKey.Equal(pub.Key) {
		t.Error("the imported key is another")
	}
	id := claimsOf(t, res.IDToken)
	for name, want := range map[string]any{
		"aud": "old", "sub": "userid:1001", "node": "lap.tail1234.ts.net.", "tailnet": "tail1234.ts.net.", "email": "ada@example.com", "preferred_username": "ada",
	} {
		if id[name] != want {
			t.Errorf("ID token: %s is %v, want %v", name, id[name], want)
		}
	}

	// userinfo does not depend on scopes.
	plain := f.loginImported("gus", "old", "short", "https://old.example/cb", "scope", "openid")
	info := f.userinfo(plain.AccessToken).json(200)
	if info["username"] != "gus" || info["email"] != "gus@github.idp.tail1234.ts.net" || info["email_verified"] != nil {
		t.Errorf("userinfo %v", info)
	}

	// A fragment is ignored, and the code goes to what is before it.
	if code := f.authorize(ada, "client_id", "nas", "redirect_uri", "http://nas.example/#/signin", "code_challenge", "", "code_challenge_method", ""); !strings.HasPrefix(code.header.Get("Location"), "http://nas.example/?") {
		t.Errorf("answer to %q", code.header.Get("Location"))
	}
	// Nothing is left of a client whose only redirect URI runs scripts.
	f.authorize(ada, "client_id", "bad", "redirect_uri", "javascript:alert(1)").page(400)

	for id, origin := range map[string]string{"old": originAdministrator, "dyn": originRegistered} {
		c, err := f.p.clientByID(t.Context(), id)
		if err != nil || c.Origin != origin || !c.Imported {
			t.Errorf("client %s: %+v, %v", id, c, err)
		}
	}
	if after := files(t, dir); !maps.Equal(before, after) {
		t.Error("the import changed the files")
	}
	if log := f.log.String(); strings.Contains(log, "nassecret") || strings.Contains(log, "dynsecret") || !strings.Contains(log, "imported the state of an earlier version") {
		t.Errorf("log: %s", log)
	}
}

// TestImportResources: the ID token of an imported client names resources,
// and azp.
func TestImportResources(t *testing.T) {
	dir, _ := legacyDir(t, legacyClients)
	f := newFixture(t, func(c *Config) { c.ImportDir = dir })
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"users":["*"],"resources":["`+testResource+`"]}`) })
	res := f.loginImported("ada", "old", "short", "https://old.example/cb", "resource", testResource)
	id := claimsOf(t, res.IDToken)
	if got, ok := id["aud"].([]any); !ok || !slices.Equal(got, []any{"old", testResource}) || id["azp"] != "old" {
		t.Errorf("aud %v, azp %v", id["aud"], id["azp"])
	}
	if f.userinfo(res.AccessToken).status != 200 {
		t.Error("userinfo refuses the token of an imported client")
	}
}

// TestImportOnce: the import happens when the store is new, and never again.
func TestImportOnce(t *testing.T) {
	dir, _ := legacyDir(t, legacyClients)
	f := newFixture(t, func(c *Config) { c.ImportDir = dir })
	f.do(adm, "DELETE", pathClients+"/old", "", "")
	writeFile(t, filepath.Join(dir, "oidc-funnel-clients.json"), `broken`)
	p, err := New(Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, ImportDir: dir, Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-p.Ready()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := p.clientByID(t.Context(), "old"); err == nil {
		t.Error("a deleted client is back")
	}
}

// TestImportBroken: a file that cannot be read stops the start and changes
// nothing.
func TestImportBroken(t *testing.T) {
	dir, _ := legacyDir(t, legacyClients[:len(legacyClients)-40])
	s := memory.New()
	p, err := New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s, ImportDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "oidc-funnel-clients.json")) {
		t.Fatalf("error %v, want one that names the file", err)
	}
	if set, err := s.Keys(t.Context()); err != nil || set.Version != 0 {
		t.Errorf("keys %d, %v: want none", set.Version, err)
	}
}

// TestDescribeImport: the dry run shows clients and no secret.
func TestDescribeImport(t *testing.T) {
	dir, _ := legacyDir(t, legacyClients)
	var b bytes.Buffer
	if err := DescribeImport(&b, dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"old", "nas", "18446744073709551557"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for _, secret := range []string{"nassecret", "PRIVATE KEY"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q in\n%s", secret, b.String())
		}
	}
}
