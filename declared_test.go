// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

const declaredSecret = "dddddddddddddddddddddddddddddddd-one"

func declareOne(members string) string {
	return `{"clients":[{"client_id":"git","client_secret":"` + declaredSecret + `","redirect_uris":["` + webRedirect + `"]` + members + `}]}`
}

func (f *fixture) declare(document string) error {
	return f.p.DeclareClients(f.t.Context(), "/etc/clients.hujson", []byte(document))
}

func TestDeclareClients(t *testing.T) {
	f := newFixture(t)
	if err := f.declare(declareOne(`,"client_name":"Git"`)); err != nil {
		t.Fatal(err)
	}
	before := f.show("git")
	if m := before.json(200); m["origin"] != "declared" || m["client_name"] != "Git" {
		t.Errorf("client %v", m)
	}
	f.clock.advance(time.Second)
	res := f.post("/token", codeForm(f.code(ada, "client_id", "git")), basicAuth("git", declaredSecret)...).tokens()
	f.clock.advance(time.Second)
	// The same document again changes nothing.
	if err := f.declare(declareOne(`,"client_name":"Git"`)); err != nil {
		t.Fatal(err)
	}
	used := f.show("git").json(200)["used_at"].(string)
	if now := f.show("git"); now.body != strings.Replace(before.body, `"origin":"declared"`, `"origin":"declared","used_at":"`+used+`"`, 1) || now.header.Get("ETag") != before.header.Get("ETag") {
		t.Errorf("the same again: %s, was %s", now.body, before.body)
	}
	// A change changes, and logs nobody out.
	if err := f.declare(declareOne(`,"access":"tailnet","pkce":"required"`)); err != nil {
		t.Fatal(err)
	}
	now := f.show("git").json(200)
	if was := before.json(200); now["pkce"] != "required" || now["client_name"] != nil || now["client_id_issued_at"] != was["client_id_issued_at"] ||
		f.wantSecrets(now, 1)[0] != f.wantSecrets(was, 1)[0] {
		t.Errorf("changed: %v, was %v", now, was)
	}
	res = f.post("/token", refreshForm(res.RefreshToken), basicAuth("git", declaredSecret)...).tokens()
	// Another secret ends the one before.
	if err := f.declare(strings.Replace(declareOne(""), declaredSecret, declaredSecret+"2", 1)); err != nil {
		t.Fatal(err)
	}
	f.post("/token", refreshForm(res.RefreshToken), basicAuth("git", declaredSecret)...).wantError(401, "invalid_client")
	res = f.post("/token", refreshForm(res.RefreshToken), basicAuth("git", declaredSecret+"2")...).tokens()
	// Elsewhere it is read-only, with the name of the document.
	if r := f.put("git", `{"redirect_uris":["https://x.example/"]}`); r.status != 409 || !strings.Contains(r.body, "/etc/clients.hujson") {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	// What leaves the document goes, with everything granted to it.
	if err := f.declare(`{"clients":[]}`); err != nil {
		t.Fatal(err)
	}
	f.userinfo(res.AccessToken).wantError(401, "invalid_token")
	f.do(adm, "GET", "/api/v1/clients/git", "", "").wantError(404, "not_found")
	f.show("web") // those of others stay
	f.post("/introspect", url.Values{"token": {"x"}}, basicAuth("web", webSecret)...).json(200)
	f.wantSilentLog(declaredSecret)
}

// TestDeclareClientsRefused: a fault says where, and changes nothing.
func TestDeclareClientsRefused(t *testing.T) {
	f := newFixture(t)
	if err := f.declare(declareOne("")); err != nil {
		t.Fatal(err)
	}
	before := f.do(adm, "GET", "/api/v1/clients", "", "").body
	list := func(second string) string {
		return `{"clients":[{"client_id":"new","token_endpoint_auth_method":"none","redirect_uris":["` + pubRedirect + `"]},` + second + `]}`
	}
	for _, tt := range []struct{ document, field string }{
		{`{}`, "clients"},
		{`[]`, ""},
		{``, ""},
		{`{"clients":[],"clients":[]}`, "clients"},
		{`{"client":[]}`, "client"},
		{list(`1`), "clients[1]"},
		{list(`{}`), "clients[1].client_id"},
		{list(`{"client_id":"a b","redirect_uris":["https://x.example/"]}`), "clients[1].client_id"},
		{list(`{"client_id":"new","token_endpoint_auth_method":"none","redirect_uris":["` + pubRedirect + `"]}`), "clients[1].client_id"},
		{list(`{"client_id":"web","client_secret":"` + declaredSecret + `","redirect_uris":["https://x.example/"]}`), "clients[1].client_id"},
		{list(`{"client_id":"x","redirect_uris":["https://x.example/"]}`), "clients[1].client_secret"},
		{list(`{"client_id":"x","client_secret":"short","redirect_uris":["https://x.example/"]}`), "clients[1].client_secret"},
		{list(`{"client_id":"x","client_secret":"` + declaredSecret + `","redirect_uris":["https://x.example/","data:x"]}`), "clients[1].redirect_uris[1]"},
		{list(`{"client_id":"x","client_secret":"` + declaredSecret + `","redirect_uris":["https://x.example/"],"Pkce":"auto"}`), "clients[1].Pkce"},
	} {
		err := f.declare(tt.document)
		e, ok := errors.AsType[*admin.FieldError](err)
		if !ok || e.Field != tt.field || e.Problem == "" {
			t.Errorf("%s: error %v, want one at %s", tt.document, err, tt.field)
		}
	}
	if now := f.do(adm, "GET", "/api/v1/clients", "", "").body; now != before {
		t.Errorf("clients %s, were %s", now, before)
	}
	p, err := New(Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.DeclareClients(t.Context(), "x", []byte(`{"clients":[]}`)); err == nil || !strings.Contains(err.Error(), "ready") {
		t.Errorf("before Run: %v", err)
	}
}

// TestDeclareClientsFaults: a store that fails is an error, and the call can
// be repeated.
func TestDeclareClientsFaults(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	if err := f.declare(declareOne("")); err != nil {
		t.Fatal(err)
	}
	const next = `{"clients":[{"client_id":"other","token_endpoint_auth_method":"none","redirect_uris":["` + pubRedirect + `"]}]}`
	for _, verb := range []string{"List", "Put", "Revoke"} {
		s.setBroken(verb, false)
		if err := f.declare(next); !errors.Is(err, errTest) {
			t.Errorf("%s: error %v", verb, err)
		}
	}
	s.setBroken("", false)
	if err := f.declare(next); err != nil {
		t.Fatal(err)
	}
	f.show("other")
	f.do(adm, "GET", "/api/v1/clients/git", "", "").wantError(404, "not_found")
}
