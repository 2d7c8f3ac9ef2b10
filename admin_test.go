// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/tailscale/apitype"
)

// create sends a client's registration as adm.
func (f *fixture) create(body string, header ...string) *reply {
	f.t.Helper()
	return f.do(adm, "POST", "/api/v1/clients", "application/json", body, header...)
}

// TestCreateClient: the answer has the names of RFC 7591 section 3.2.1, all
// registered values, and the secret this once.
func TestCreateClient(t *testing.T) {
	f := newFixture(t)
	secret := regexp.MustCompile(`^[A-Za-z0-9_-]{43,}$`)
	r := f.create(`{"client_name":"New App","redirect_uris":["https://new.example/cb"],"origin":"administrator","client_id_issued_at":1,"warnings":["x"],"secrets":[{"id":"x"}],"owner":{"sub":"x"}}`)
	got := r.json(201)
	id, _ := got["client_id"].(string)
	plain, _ := got["client_secret"].(string)
	if len(id) < 22 || !secret.MatchString(plain) || plain == id {
		t.Errorf("client_id %q, client_secret %q", id, plain)
	}
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("Cache-Control %q", cc)
	}
	want := map[string]any{
		"client_id": id, "client_secret": plain, "client_secret_expires_at": 0.0, "client_id_issued_at": float64(f.clock.now().Unix()),
		"client_name": "New App", "redirect_uris": []any{"https://new.example/cb"}, "grant_types": []any{"authorization_code", "refresh_token"},
		"response_types": []any{"code"}, "token_endpoint_auth_method": "client_secret_basic", "application_type": "web", "id_token_signed_response_alg": "RS256",
		"access": "tailnet", "pkce": "auto", "access_token_format": "jwt", "origin": "administrator", "secrets": got["secrets"],
	}
	f.wantSecrets(got, 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	// Later it is shown without the secret, one by one and in the list.
	delete(want, "client_secret")
	delete(want, "client_secret_expires_at")
	if diff := cmp.Diff(want, f.do(adm, "GET", "/api/v1/clients/"+id, "", "").json(200)); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	list := f.do(adm, "GET", "/api/v1/clients", "", "")
	if strings.Contains(list.body, plain) || strings.Contains(list.body, "secret\"") || strings.Contains(list.body, "hash") || !strings.Contains(list.body, id) {
		t.Errorf("list %s", list.body)
	}
	// It works at once, and another gets another secret.
	f.clock.advance(time.Second)
	code := f.authorize(ada, "client_id", id, "redirect_uri", "https://new.example/cb").redirect().Get("code")
	f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"https://new.example/cb"}, "code_verifier": {testVerifier}}, basicAuth(id, plain)...).tokens()
	if other := f.create(`{"redirect_uris":["https://new.example/cb"]}`).json(201); other["client_secret"] == plain || other["client_id"] == id {
		t.Error("two clients share an id or a secret")
	}
}

// TestCreateClientAll: every member comes back as it was stored.
func TestCreateClientAll(t *testing.T) {
	f := newFixture(t)
	const body = `{"client_id":"all-1","client_name":"Ünï ✓","redirect_uris":["https://a.example/cb","http://127.0.0.1/cb","app.x:///cb"],"grant_types":["authorization_code"],
		"response_types":["code"],"token_endpoint_auth_method":"client_secret_post","scope":"openid email","application_type":"native","client_uri":"https://a.example/",
		"contacts":["root@example.com"],"id_token_signed_response_alg":"ES256","token_endpoint_auth_method_strict":true,"access":"granted","pkce":"required","ignore_fragment":true,
		"lean_id_token":true,"resource_identifiers":["https://mcp.tail1234.ts.net/mcp"],"default_resources":["https://mcp.tail1234.ts.net/mcp"],"access_token_lifetime":60,"id_token_lifetime":120,"refresh_token_idle_lifetime":3600,
		"refresh_token_total_lifetime":7200,"access_token_format":"opaque","disabled":true}`
	f.create(body).json(201)
	got := f.do(adm, "GET", "/api/v1/clients/all-1", "", "").json(200)
	f.wantSecrets(got, 1)
	delete(got, "secrets")
	want := map[string]any{
		"client_id": "all-1", "client_name": "Ünï ✓", "redirect_uris": []any{"https://a.example/cb", "http://127.0.0.1/cb", "app.x:///cb"}, "grant_types": []any{"authorization_code"},
		"response_types": []any{"code"}, "token_endpoint_auth_method": "client_secret_post", "scope": "openid email", "application_type": "native", "client_uri": "https://a.example/",
		"contacts": []any{"root@example.com"}, "id_token_signed_response_alg": "ES256", "token_endpoint_auth_method_strict": true, "access": "granted", "pkce": "required", "access_token_format": "opaque", "ignore_fragment": true,
		"lean_id_token": true, "resource_identifiers": []any{testResource}, "default_resources": []any{testResource}, "access_token_lifetime": 60.0, "id_token_lifetime": 120.0, "refresh_token_idle_lifetime": 3600.0,
		"refresh_token_total_lifetime": 7200.0, "disabled": true, "origin": "administrator", "client_id_issued_at": float64(f.clock.now().Unix()),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	// A public one has no secret, and a warning says what is risky.
	public := f.create(`{"token_endpoint_auth_method":"none","redirect_uris":["http://nas.example/cb"]}`).json(201)
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if v, ok := public[name]; ok {
			t.Errorf("a public client has %s %v", name, v)
		}
	}
	if w, ok := public["warnings"].([]any); !ok || len(w) != 1 || !strings.Contains(w[0].(string), "http://nas.example/cb") {
		t.Errorf("warnings %v", public["warnings"])
	}
}

// TestCreateClientRefused: what is wrong is named, and stores nothing.
func TestCreateClientRefused(t *testing.T) {
	t.Parallel() // a refused body delays the end of its server
	f := newFixture(t)
	long := strings.Repeat("x", 3000)
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprintf(`"https://x%d.example/"`, i))
	}
	member := func(s string) string { return `{"redirect_uris":["https://x.example/cb"],` + s + `}` }
	for _, test := range []struct {
		body, code, names string
	}{
		{`{}`, "invalid_redirect_uri", "redirect_uris"},
		{`{"redirect_uris":[]}`, "invalid_redirect_uri", "redirect_uris"},
		{`{"redirect_uris":null}`, "invalid_redirect_uri", "redirect_uris"},
		{`{"redirect_uris":[""]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["https://a.example/","javascript:alert(1)"]}`, "invalid_redirect_uri", "redirect_uris[1]"},
		{`{"redirect_uris":["data:text/html,x"]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["https://a.example/#x"]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["https://*.example/"]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["https://u@a.example/"]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["/cb"]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["https://a.example/` + long + `"]}`, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":[` + strings.Join(many, ",") + `]}`, "invalid_redirect_uri", "redirect_uris"},
		{member(`"token_endpoint_auth_method":"tls_client_auth"`), "invalid_client_metadata", "token_endpoint_auth_method"},
		{member(`"token_endpoint_auth_method":"private_key_jwt"`), "invalid_client_metadata", "jwks"},
		{member(`"jwks_uri":"https://192.0.2.1/jwks"`), "invalid_client_metadata", "jwks_uri: its host is an IP address"},
		{member(`"jwks_uri":"https://idp.tail1234.ts.net/.well-known/jwks.json"`), "invalid_client_metadata", "jwks_uri: its host is this server itself"},
		{member(`"jwks_uri":"http://app.example/jwks"`), "invalid_client_metadata", "jwks_uri"},
		{member(`"jwks":"x"`), "invalid_client_metadata", "jwks"},
		{member(`"token_endpoint_auth_method":"None"`), "invalid_client_metadata", "token_endpoint_auth_method"},
		{member(`"grant_types":["implicit"]`), "invalid_client_metadata", "grant_types"},
		{member(`"response_types":["token"]`), "invalid_client_metadata", "response_types"},
		{member(`"id_token_signed_response_alg":"none"`), "invalid_client_metadata", "id_token_signed_response_alg"},
		{member(`"id_token_signed_response_alg":"HS256"`), "invalid_client_metadata", "id_token_signed_response_alg"},
		{member(`"application_type":"x"`), "invalid_client_metadata", "application_type"},
		{member(`"access":"everybody"`), "invalid_client_metadata", "access"},
		{member(`"pkce":"off"`), "invalid_client_metadata", "pkce"},
		{member(`"scope":"a\"b"`), "invalid_client_metadata", "scope"},
		{member(`"scope":"` + long + `"`), "invalid_client_metadata", "scope"},
		{member(`"client_name":"` + long + `"`), "invalid_client_metadata", "client_name"},
		{member(`"client_name":"a\u0000b"`), "invalid_client_metadata", "client_name"},
		{member(`"client_name":"a\nb"`), "invalid_client_metadata", "client_name"},
		{member(`"client_name":"\u202eppA"`), "invalid_client_metadata", "client_name"},
		{member(`"client_name":"a\u200bb"`), "invalid_client_metadata", "client_name"},
		{member("\"client_name\":\"\xff\""), "invalid_client_metadata", "client_name"},
		{member(`"client_uri":"javascript:alert(1)"`), "invalid_client_metadata", "client_uri"},
		{member(`"client_uri":"//x.example/"`), "invalid_client_metadata", "client_uri"},
		{member(`"contacts":["a\tb"]`), "invalid_client_metadata", "contacts"},
		{member(`"resource_identifiers":["mcp"]`), "invalid_client_metadata", "resource_identifiers[0]"},
		{member(`"resource_identifiers":["https://a.example/","https://a.example/#x"]`), "invalid_client_metadata", "resource_identifiers[1]"},
		{member(`"resource_identifiers":["https://a.example/"],"token_endpoint_auth_method":"none"`), "invalid_client_metadata", "resource_identifiers"},
		{member(`"access_token_lifetime":-1`), "invalid_client_metadata", "access_token_lifetime"},
		{member(`"access_token_lifetime":3601`), "invalid_client_metadata", "access_token_lifetime"},
		{member(`"id_token_lifetime":9000000000000000000`), "invalid_client_metadata", "id_token_lifetime"},
		{member(`"refresh_token_idle_lifetime":-9223372036854775808`), "invalid_client_metadata", "refresh_token_idle_lifetime"},
		{member(`"refresh_token_total_lifetime":99999999999`), "invalid_client_metadata", "refresh_token_total_lifetime"},

		{member(`"client_id":"userid:1001"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"USERID:1001"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"node:n1CNTRL"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"https://cl.example/c.json"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"http"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"a b"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"a/b"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"a%2fb"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"é"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"a\u0000"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"` + strings.Repeat("x", 129) + `"`), "invalid_client_metadata", "client_id"},
		{member(`"client_id":"."`), "invalid_client_metadata", "client_id"}, // no path leads to them
		{member(`"client_id":".."`), "invalid_client_metadata", "client_id"},

		{member(`"client_secret":"` + strings.Repeat("s", 31) + `"`), "invalid_client_metadata", "client_secret"},
		{member(`"client_secret":"` + strings.Repeat("s", 513) + `"`), "invalid_client_metadata", "client_secret"},
		{member(`"client_secret":"` + strings.Repeat("s ", 20) + `"`), "invalid_client_metadata", "client_secret"},
		{member(`"client_secret":"` + strings.Repeat("é", 20) + `"`), "invalid_client_metadata", "client_secret"},
		{member(`"client_secret":"` + strings.Repeat("s", 40) + `\n"`), "invalid_client_metadata", "client_secret"},
		{member(`"client_secret":"` + strings.Repeat("s", 40) + `","token_endpoint_auth_method":"none"`), "invalid_client_metadata", "client_secret"},

		// What is no such JSON at all.
		{``, "invalid_request", "JSON"},
		{`   `, "invalid_request", "JSON"},
		{`[]`, "invalid_request", "JSON object"},
		{`"x"`, "invalid_request", "JSON object"},
		{`1`, "invalid_request", "JSON object"},
		{`{`, "invalid_request", "JSON"},
		{`{"redirect_uris":["https://x.example/cb"]`, "invalid_request", "JSON"},
		{`{"redirect_uris":["https://x.example/cb"]} x`, "invalid_request", "JSON"},
		{`{"redirect_uris":["https://x.example/cb"]}{}`, "invalid_request", "JSON"},
		{`{"redirect_uris":["https://x.example/cb"]}]`, "invalid_request", "JSON"},
		{`{"redirect_uris":["https://x.example/cb"],}`, "invalid_request", "JSON"},
		{`{'redirect_uris':["https://x.example/cb"]}`, "invalid_request", "JSON"},
		{`{"redirect_uris":"https://x.example/cb"}`, "invalid_request", "redirect_uris: "},
		{`{"redirect_uris":[1]}`, "invalid_request", "redirect_uris[0]: "},
		{`{"redirect_uris":{"a":1}}`, "invalid_request", "redirect_uris: "},
		{member(`"client_name":1`), "invalid_request", "client_name: "},
		{member(`"client_secret":1`), "invalid_request", "client_secret: "},
		{member(`"disabled":"true"`), "invalid_request", "disabled: "},
		{member(`"access_token_lifetime":"60"`), "invalid_request", "access_token_lifetime: "},
		{member(`"access_token_lifetime":1.5`), "invalid_request", "access_token_lifetime: "},
		{member(`"x":` + strings.Repeat("[", 20000)), "invalid_request", "JSON"},
	} {
		name := test.body
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			r := f.in(t).create(test.body)
			r.wantError(400, test.code)
			description := r.json(400)["error_description"].(string)
			if !strings.Contains(description, test.names) || strings.Contains(description, "ClientMetadata") {
				t.Errorf("%q does not name %s", description, test.names)
			}
			if strings.Contains(r.body, strings.Repeat("s", 31)) {
				t.Errorf("the answer repeats the secret: %s", r.body)
			}
		})
	}
	f.create(`{"redirect_uris":["https://x.example/`+strings.Repeat("x", 70000)+`"]}`).wantError(413, "request_too_large")
	for _, contentType := range []string{"text/plain", "", "application/x-www-form-urlencoded", "text/plain; application/json", "application/jsonp", "multipart/form-data"} {
		f.do(adm, "POST", "/api/v1/clients", contentType, `{"redirect_uris":["https://x.example/cb"]}`).wantError(400, "invalid_request")
	}
	if list := f.do(adm, "GET", "/api/v1/clients", "", "").json(200); len(list["clients"].([]any)) != 3 {
		t.Errorf("clients %v, want the three of the fixture", list)
	}
	f.do(adm, "POST", "/api/v1/clients", "Application/JSON; charset=utf-8", `{"redirect_uris":["https://x.example/cb"]}`+"\n \n").json(201)
}

// TestCreateClientBrought: an administrator may bring id and secret along.
func TestCreateClientBrought(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"a", "c0ffee", "A.b_c~d:e@f-9", strings.Repeat("x", 128), "user", "htt", "...", "nodes"} {
		secret := strings.Repeat("S!", 16) + id
		got := f.create(`{"client_id":"` + id + `","client_secret":"` + secret + `","redirect_uris":["` + webRedirect + `"]}`).json(201)
		if got["client_id"] != id || got["client_secret"] != secret {
			t.Errorf("created %v", got)
		}
		f.clock.advance(time.Second)
		code := f.authorize(ada, "client_id", id).redirect().Get("code")
		f.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}, basicAuth(id, secret)...).tokens()
		f.do(adm, "GET", "/api/v1/clients/"+url.PathEscape(id), "", "").json(200)
		if r := f.do(adm, "DELETE", "/api/v1/clients/"+url.PathEscape(id), "", ""); r.status != 204 {
			t.Errorf("deleting %s: answer %d %s", id, r.status, r.body)
		}
	}
}

// TestCreateClientTwice: an id that is taken is a conflict, and changes
// nothing of the client that has it; least of all its logins.
func TestCreateClientTwice(t *testing.T) {
	f := newFixture(t)
	res, code := f.login(ada), f.code(ada)
	f.clock.advance(time.Second)
	for range 2 {
		r := f.create(`{"client_id":"web","redirect_uris":["https://evil.example/cb"],"client_secret":"` + strings.Repeat("x", 40) + `"}`)
		r.wantError(409, "conflict")
		if strings.Contains(r.body, "client_secret") {
			t.Errorf("answer %s", r.body)
		}
	}
	f.authorize(ada, "redirect_uri", "https://evil.example/cb").page(400)
	f.userinfo(res.AccessToken).json(200)
	f.refresh(res.RefreshToken).tokens()
	f.redeem(code).tokens()
}

// TestCreateClientRace: of any number of registrations with one id one wins,
// and only its secret is one.
func TestCreateClientRace(t *testing.T) {
	f := newFixture(t)
	statuses := make(chan int, 16)
	for i := range cap(statuses) {
		go func() {
			body := fmt.Sprintf(`{"client_id":"one","client_secret":"%032d","redirect_uris":["https://x%d.example/cb"]}`, i, i)
			r := f.do(adm, "POST", "/api/v1/clients", "application/json", body)
			statuses <- r.status
		}()
	}
	counts := make(map[int]int)
	for range cap(statuses) {
		counts[<-statuses]++
	}
	if diff := cmp.Diff(map[int]int{201: 1, 409: 15}, counts); diff != "" {
		t.Errorf("answers by status (-want +got):\n%s", diff)
	}
	c, err := f.p.clientByID(t.Context(), "one")
	if err != nil || len(c.Secrets) != 1 {
		t.Errorf("client %+v, error %v, want one secret", c, err)
	}
}

// A faultyStore does not answer to administrators.
type faultyStore struct {
	store.Store
	down atomic.Bool
}

func (s *faultyStore) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	if s.down.Load() {
		return 0, errTest
	}
	return s.Store.Put(ctx, r, now)
}

func (s *faultyStore) Revoke(ctx context.Context, r store.Revocation) (int, error) {
	if s.down.Load() {
		return 0, errTest
	}
	return s.Store.Revoke(ctx, r)
}

func (s *faultyStore) List(ctx context.Context, q store.Query) (store.Page, error) {
	if s.down.Load() {
		return store.Page{}, errTest
	}
	return s.Store.List(ctx, q)
}

// TestAPIStoreDown: a change that the store did not make is not said to be
// made.
func TestAPIStoreDown(t *testing.T) {
	var s *faultyStore
	f := newFixture(t, seedKeys, func(c *Config) { s = &faultyStore{Store: c.Store}; c.Store = s })
	res := f.login(ada)
	s.down.Store(true)
	for name, r := range map[string]*reply{
		"create": f.create(`{"client_id":"x","redirect_uris":["https://x.example/cb"]}`),
		"delete": f.do(adm, "DELETE", "/api/v1/clients/web", "", ""),
		"list":   f.do(adm, "GET", "/api/v1/clients", "", ""),
		"page":   f.do(adm, "GET", "/api/v1/clients?after=AAAA.", "", ""),
	} {
		r.wantError(503, "temporarily_unavailable")
		if r.header.Get("Retry-After") == "" || strings.Contains(r.body, errTest.Error()) || strings.Contains(r.body, "client_secret") {
			t.Errorf("%s: answer %s with Retry-After %q", name, r.body, r.header.Get("Retry-After"))
		}
	}
	s.down.Store(false)
	f.do(adm, "GET", "/api/v1/clients/x", "", "").wantError(404, "not_found")
	f.do(adm, "GET", "/api/v1/clients/web", "", "").json(200)
	f.refresh(res.RefreshToken).tokens()
}

// TestListClients: pages in the order of the ids, without secrets.
func TestListClients(t *testing.T) {
	f := newFixture(t)
	want := []string{"pub", "rs", "web"}
	for i := range 7 {
		id := fmt.Sprintf("c%d", i)
		f.addClient(id, webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
		want = append(want[:i], append([]string{id}, want[i:]...)...)
	}
	for _, limit := range []string{"1", "3", "10", "1000", ""} {
		var got []string
		for after := ""; ; {
			r := f.do(adm, "GET", "/api/v1/clients?"+url.Values{"limit": {limit}, "after": {after}}.Encode(), "", "")
			page := r.json(200)
			clients := page["clients"].([]any)
			if limit != "" && fmt.Sprint(len(clients)) > limit && len(clients) > 3 && limit != "1000" && limit != "10" {
				t.Errorf("limit %s: %d clients", limit, len(clients))
			}
			for _, c := range clients {
				got = append(got, c.(map[string]any)["client_id"].(string))
			}
			if strings.Contains(r.body, "secret\":") || strings.Contains(r.body, "hash") {
				t.Errorf("the list has secrets: %s", r.body)
			}
			next, ok := page["next"].(string)
			if !ok {
				break
			}
			if after = next; len(got) > len(want) {
				t.Fatalf("limit %s: the list has no end", limit)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %s (-want +got):\n%s", limit, diff)
		}
	}
	for _, q := range []string{"limit=0", "limit=-1", "limit=1001", "limit=x", "limit=1e3", "limit=99999999999999999999", "after=garbage", "after=%00", "after=%ff", "after=" + strings.Repeat("x", 5000)} {
		r := f.do(adm, "GET", "/api/v1/clients?"+q, "", "")
		r.wantError(400, "invalid_request")
		if name, _, _ := strings.Cut(q, "="); !strings.Contains(r.body, name) {
			t.Errorf("%s: the answer does not name it: %s", q, r.body)
		}
	}
	// Without any client it is an empty list, not null.
	for _, id := range want {
		f.do(adm, "DELETE", "/api/v1/clients/"+id, "", "")
	}
	if r := f.do(adm, "GET", "/api/v1/clients", "", ""); strings.TrimSpace(r.body) != `{"clients":[]}` {
		t.Errorf("list %s", r.body)
	}
}

// TestGetClient of what is not there.
func TestGetClient(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"nobody", "WEB", "web%20", "%00", "%ff", "web%2fsecret", strings.Repeat("x", 3000), "..%2fweb"} {
		f.do(adm, "GET", "/api/v1/clients/"+id, "", "").wantError(404, "not_found")
		f.do(adm, "DELETE", "/api/v1/clients/"+id, "", "").wantError(404, "not_found")
	}
	f.do(adm, "GET", "/api/v1/clients/%77eb", "", "").json(200)
}

// TestDeleteClient: with the client goes everything granted to it, at once:
// tokens, refresh tokens, codes in flight (C12). Who comes again with its id
// starts from nothing.
func TestDeleteClient(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, mcpRule) })
	res := f.login(ada, "resource", testResource)
	own := f.login(ada)
	code := f.code(ada)
	pub := f.redeemPub(f.code(ada, forPub()...)).tokens()
	if f.introspect("rs", res.AccessToken)["active"] != true {
		t.Fatal("the token is not active before")
	}
	r := f.do(adm, "DELETE", "/api/v1/clients/web", "", "")
	if r.status != 204 || r.body != "" || r.header.Get("Content-Type") != "" {
		t.Errorf("answer %d %s %q, want 204 and nothing", r.status, r.header.Get("Content-Type"), r.body)
	}

	gone := func() {
		t.Helper()
		f.userinfo(own.AccessToken).wantError(401, "invalid_token")
		if in := f.introspect("rs", res.AccessToken); len(in) != 1 || in["active"] != false {
			t.Errorf("introspection %v, want inactive", in)
		}
	}
	gone()
	for _, r := range []*reply{
		f.refresh(res.RefreshToken), f.redeem(code),
		f.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {own.RefreshToken}, "client_id": {"web"}, "client_secret": {webSecret}}),
		f.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {own.RefreshToken}, "client_id": {"web"}}),
		f.post("/introspect", url.Values{"token": {own.AccessToken}}, basicAuth("web", webSecret)...),
	} {
		// 401 and this code: agents register again when they read it.
		r.wantError(401, "invalid_client")
		if r.header.Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
	}
	f.do(adm, "GET", "/api/v1/clients/web", "", "").wantError(404, "not_found")
	f.do(adm, "DELETE", "/api/v1/clients/web", "", "").wantError(404, "not_found")
	// Others live on.
	f.redeemPub("", "grant_type", "refresh_token", "refresh_token", pub.RefreshToken).tokens()

	f.clock.advance(time.Second)
	f.create(`{"client_id":"web","client_secret":"` + webSecret + `","redirect_uris":["` + webRedirect + `"]}`).json(201)
	f.clock.advance(time.Second)
	gone()
	f.redeem(code).wantError(400, "invalid_grant")
	f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
	f.refresh(own.RefreshToken).wantError(400, "invalid_grant")
	// Also what the old one had done with PKCE is forgotten.
	f.authorize(ada, "code_challenge", "", "code_challenge_method", "").response(webRedirect, "", "S1")
	f.refresh(f.login(ada).RefreshToken).tokens()
}

// TestAPICallers: who may use the administration.
func TestAPICallers(t *testing.T) {
	f := newFixture(t)
	tagged, boss := netip.MustParseAddr("100.64.0.20"), netip.MustParseAddr("100.64.0.21")
	f.tailnet.set(func(fake *fakeTailnet) {
		fake.peers[tagged] = userPeer(999, "tagged-devices", "", "deploy", tagged, `{"allow_admin_ui":true}`)
		fake.peers[tagged].Node.Tags = []string{"tag:deploy", "tag:prod"}
		fake.peers[boss] = userPeer(1010, "boss@example.com", "", "bossbook", boss, `{"allow_admin_ui":"true"}`, `{"allow_dcr":true,"users":["*"],"resources":["*"],"clients":["*"]}`, `{"Allow_Admin_UI":true}`)
	})
	f.tailnet.edit(eve, func(res *apitype.WhoIsResponse) {
		setRules(res, `{"allow_admin_ui":true,"users":["eve@other.example"]}`)
	})
	for _, test := range []struct {
		name   string
		as     netip.Addr
		status int
		grant  any // src of the grant that would help; nil for none
	}{
		{"administrator", adm, 200, nil},
		{"user", ada, 403, []any{"ada@example.com"}},
		{"all but this", boss, 403, []any{"boss@example.com"}},
		{"github", gus, 403, []any{"gus@github"}},
		{"tagged", ci, 403, []any{"tag:ci"}},
		{"tagged with the rule", tagged, 200, nil},
		{"of another tailnet, with the rule", eve, 403, nil},
		{"unknown", netip.MustParseAddr("100.64.9.9"), 403, nil},
		{"loopback", netip.MustParseAddr("127.0.0.1"), 403, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := f.in(t)
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
				path := "/api/v1/clients"
				if method == "DELETE" {
					path += "/nobody"
				}
				r := f.do(test.as, method, path, "application/json", `{"redirect_uris":["https://x.example/cb"]}`)
				if test.status == 200 {
					if r.status/100 != 2 && r.status != 404 {
						t.Errorf("%s answers %d %s", method, r.status, r.body)
					}
					continue
				}
				if r.status != 403 {
					t.Errorf("%s answers %d %s, want 403", method, r.status, r.body)
				}
				if method == "HEAD" {
					continue
				}
				r.wantError(403, "access_denied")
				grant, _ := r.json(403)["grant"].(map[string]any)
				if test.grant == nil {
					if grant != nil {
						t.Errorf("a grant that would not help: %v", grant)
					}
					continue
				}
				want := map[string]any{
					"src": test.grant, "dst": []any{"tag:tsidp"}, "ip": []any{"tcp:443"},
					"app": map[string]any{"tailscale.com/cap/tsidp": []any{map[string]any{"allow_admin_ui": true}}},
				}
				if diff := cmp.Diff(want, grant); diff != "" {
					t.Errorf("grant (-want +got):\n%s", diff)
				}
			}
		})
	}
	// The grant is asked for each time.
	f.tailnet.edit(adm, func(res *apitype.WhoIsResponse) { res.CapMap = nil })
	f.clock.advance(time.Second)
	f.do(adm, "GET", "/api/v1/clients", "", "").wantError(403, "access_denied")
	f.tailnet.set(func(fake *fakeTailnet) { fake.err = errTest })
	f.clock.advance(time.Second)
	r := f.do(adm, "GET", "/api/v1/clients", "", "")
	r.wantError(503, "temporarily_unavailable")
	if r.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}
