// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/tailcfg"
)

// wantSecrets checks what the view of a client says of its secrets, and
// returns their ids.
func (f *fixture) wantSecrets(view map[string]any, n int) []string {
	f.t.Helper()
	list, _ := view["secrets"].([]any)
	var ids []string
	for _, s := range list {
		m := s.(map[string]any)
		id, _ := m["id"].(string)
		if created, err := time.Parse(time.RFC3339, m["created_at"].(string)); err != nil || created.IsZero() || len(m) != 2 || id == "" {
			f.t.Errorf("secret %v, want an id and a time only", m)
		}
		ids = append(ids, id)
	}
	if len(ids) != n {
		f.t.Fatalf("secrets %v, want %d", view["secrets"], n)
	}
	return ids
}

func (f *fixture) put(id, body string, header ...string) *reply {
	f.t.Helper()
	return f.do(adm, "PUT", "/api/v1/clients/"+id, "application/json", body, header...)
}

func (f *fixture) show(id string) *reply {
	f.t.Helper()
	r := f.do(adm, "GET", "/api/v1/clients/"+id, "", "")
	r.json(200)
	return r
}

// wantField checks for an error that names a member.
func (r *reply) wantField(status int, code, field string) {
	r.t.Helper()
	r.wantError(status, code)
	m := r.json(status)
	if m["field"] != field || !strings.HasPrefix(m["error_description"].(string), field+": ") {
		r.t.Errorf("answer %s, want the field %s", r.body, field)
	}
}

func TestSearchClients(t *testing.T) {
	f := newFixture(t)
	for i := range 30 {
		f.addClient(fmt.Sprintf("c%02d", i), webSecret, admin.ClientMetadata{Name: fmt.Sprintf("Grafana %d", i%3), RedirectURIs: []string{fmt.Sprintf("https://G%d.example/cb", i%2)}})
	}
	f.editClient("c07", func(c *client) { c.Origin = originRegistered })
	search := func(q, limit string) (ids []string) {
		t.Helper()
		for after := ""; ; {
			page := f.do(adm, "GET", "/api/v1/clients?"+q+"&limit="+limit+"&after="+url.QueryEscape(after), "", "").json(200)
			list := page["clients"].([]any)
			if fmt.Sprint(len(list)) != limit && page["next"] != nil || len(list) > 30 {
				t.Errorf("%s: %d clients of %s on a page that is not the last", q, len(list), limit)
			}
			for _, c := range list {
				ids = append(ids, c.(map[string]any)["client_id"].(string))
			}
			next, ok := page["next"].(string)
			if !ok {
				return ids
			}
			if after = next; len(ids) > 40 {
				t.Fatalf("%s: the list has no end", q)
			}
		}
	}
	for _, tt := range []struct {
		q     string
		count int
		first string
	}{
		{"q=grafana", 30, "c00"},
		{"q=GRAFANA%201", 10, "c01"},
		{"q=C01", 1, "c01"},
		{"q=%2F%2Fg1.EX", 15, "c01"},
		{"q=nothing", 0, ""},
		{"q=", 33, "c00"},
		{"origin=registered", 1, "c07"},
		{"origin=administrator&q=grafana", 29, "c00"},
		{"origin=administrator", 32, "c00"},
		{"origin=declared", 0, ""},
	} {
		for _, limit := range []string{"1", "7", "30"} {
			got := search(tt.q, limit)
			if len(got) != tt.count || tt.count > 0 && got[0] != tt.first || !slices.IsSorted(got) || len(slices.Compact(got)) != tt.count {
				t.Errorf("%s, limit %s: %v, want %d from %s on", tt.q, limit, got, tt.count, tt.first)
			}
		}
	}
	f.do(adm, "GET", "/api/v1/clients?q="+strings.Repeat("x", 300), "", "").wantField(400, "invalid_request", "q")
}

// TestSearchIsBounded: a search that finds nothing does not read all clients
// in one request.
func TestSearchIsBounded(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	for i := range searchMost + 10 {
		f.addClient(fmt.Sprintf("c%06d", i), "", admin.ClientMetadata{RedirectURIs: []string{pubRedirect}, TokenEndpointAuthMethod: authNone})
	}
	before := s.called("List")
	page := f.do(adm, "GET", "/api/v1/clients?q=web", "", "").json(200)
	if n := s.called("List") - before; n > searchMost/searchPage {
		t.Errorf("%d pages were read", n)
	}
	if len(page["clients"].([]any)) != 0 || page["next"] == nil {
		t.Fatalf("page %v, want an empty one with a next", page)
	}
	page = f.do(adm, "GET", "/api/v1/clients?q=web&after="+url.QueryEscape(page["next"].(string)), "", "").json(200)
	if len(page["clients"].([]any)) != 1 || page["next"] != nil {
		t.Errorf("page %v, want the last client", page)
	}
}

// TestReplaceClient: all metadata, and nothing else, is what was sent.
func TestReplaceClient(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) {
		c.Owner = &clientOwner{Subject: "userid:1", Login: "x@example.com", Node: tailcfg.StableNodeID("n1"), Name: "lap"}
	})
	before := f.show("web")
	f.clock.advance(time.Second)
	r := f.put("web", `{"client_name":"New","redirect_uris":["https://new.example/cb"],"access":"granted"}`, "If-Match", before.header.Get("ETag"))
	want := before.json(200)
	want["client_name"], want["redirect_uris"], want["access"] = "New", []any{"https://new.example/cb"}, "granted"
	if diff := cmp.Diff(want, r.json(200)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if want["owner"].(map[string]any)["node_name"] != "lap" {
		t.Errorf("owner %v", want["owner"])
	}
	after := f.show("web")
	if after.body != r.body || after.header.Get("ETag") != r.header.Get("ETag") || r.header.Get("ETag") == before.header.Get("ETag") || r.header.Get("ETag") == "" {
		t.Errorf("stored %s, ETag %s after %s", after.body, after.header.Get("ETag"), before.header.Get("ETag"))
	}
	// What was read can be sent back as it is, and what is left out ends.
	if r := f.put("web", after.body, "If-Match", after.header.Get("ETag")); r.body != after.body {
		t.Errorf("sent back: %s, was %s", r.body, after.body)
	}
	if m := f.put("web", `{"redirect_uris":["https://new.example/cb"]}`).json(200); m["client_name"] != nil || m["access"] != "tailnet" {
		t.Errorf("left out: %v", m)
	}
	f.put("nobody", `{"redirect_uris":["https://new.example/cb"]}`, "If-Match", "*").wantError(404, "not_found")
}

func TestReplaceClientRefused(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) {
		c.RedirectURIs = append(c.RedirectURIs, "https://u@old.example/#x")
		c.LegacyRedirectURIs = []string{"https://u@old.example/#x"}
	})
	before := f.show("web")
	tag := before.header.Get("ETag")
	with := func(member string) string { return `{"redirect_uris":["https://x.example/cb"],` + member + `}` }
	for _, tt := range []struct {
		body        string
		status      int
		code, field string
	}{
		{`{}`, 400, "invalid_redirect_uri", "redirect_uris"},
		{`{"redirect_uris":["https://x.example/","javascript:alert(1)"]}`, 400, "invalid_redirect_uri", "redirect_uris[1]"},
		{`{"redirect_uris":["https://u@other.example/#x"]}`, 400, "invalid_redirect_uri", "redirect_uris[0]"},
		{`{"redirect_uris":["https://x.example/",2]}`, 400, "invalid_request", "redirect_uris[1]"},
		{with(`"client_id":"other"`), 400, "invalid_request", "client_id"},
		{with(`"origin":"registered"`), 400, "invalid_request", "origin"},
		{with(`"client_secret":"` + strings.Repeat("x", 40) + `"`), 400, "invalid_request", "client_secret"},
		{with(`"Client_Name":"x"`), 400, "invalid_request", "Client_Name"},
		{with(`"client_name":"x","client_name":"y"`), 400, "invalid_request", "client_name"},
		{with(`"owner":{"sub":"x","sub":"y"}`), 400, "invalid_request", "owner.sub"},
		{with(`"owner":{"role":"x"}`), 400, "invalid_request", "owner.role"},
		{with(`"secrets":[{"id":"x"},{"hash":"x"}]`), 400, "invalid_request", "secrets[1].hash"},
		{with(`"pkce":"off"`), 400, "invalid_client_metadata", "pkce"},
		{with(`"access_token_lifetime":1e999`), 400, "invalid_request", "access_token_lifetime"},
		{with(`"resource_identifiers":["https://a.example/","x"]`), 400, "invalid_client_metadata", "resource_identifiers[1]"},
		{with(`"token_endpoint_auth_method":"none","client_secret":"` + strings.Repeat("x", 40) + `"`), 400, "invalid_client_metadata", "client_secret"},
	} {
		t.Run(tt.body, func(t *testing.T) { f.in(t).put("web", tt.body).wantField(tt.status, tt.code, tt.field) })
	}
	f.put("web", with(`"contacts":`+strings.Repeat("[", 100)+strings.Repeat("]", 100))).wantError(400, "invalid_request")
	f.put("web", with(`"client_name":"`+strings.Repeat("x", 70000)+`"`)).wantError(413, "request_too_large")
	f.do(adm, "PUT", "/api/v1/clients/web", "text/plain", `{"redirect_uris":["https://x.example/"]}`).wantError(400, "invalid_request")
	if now := f.show("web"); now.body != before.body || now.header.Get("ETag") != tag {
		t.Errorf("refused changes have changed it: %s", now.body)
	}
	// What an imported client has stays acceptable.
	f.put("web", `{"redirect_uris":["https://u@old.example/#x","`+webRedirect+`"]}`).json(200)
	f.put("web", `{"redirect_uris":["`+webRedirect+`"]}`).json(200)
	f.put("web", `{"redirect_uris":["https://u@old.example/#x"]}`).wantField(400, "invalid_redirect_uri", "redirect_uris[0]")
}

func TestIfMatch(t *testing.T) {
	f := newFixture(t)
	const body = `{"redirect_uris":["` + webRedirect + `"]}`
	stale := f.show("web").header.Get("ETag")
	tag := f.put("web", body).header.Get("ETag")
	for _, header := range []string{stale, "W/" + tag, strings.Trim(tag, `"`), `""`, `"x"`, "", "x, y"} {
		f.put("web", body, "If-Match", header).wantError(412, "precondition_failed")
		f.do(adm, "DELETE", "/api/v1/clients/web", "", "", "If-Match", header).wantError(412, "precondition_failed")
		f.do(adm, "POST", "/api/v1/clients/web/secrets", "", "", "If-Match", header).wantError(412, "precondition_failed")
	}
	for _, header := range []string{"*", stale + " , ", ""} {
		r := f.put("web", body, "If-Match", header+tag)
		if header == "*" {
			r = f.put("web", body, "If-Match", "*")
		}
		r.json(200)
		tag = r.header.Get("ETag")
	}
	if r := f.do(adm, "DELETE", "/api/v1/clients/web", "", "", "If-Match", tag); r.status != 204 {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	// A client that is made anew is another one, whatever its version.
	f.clock.advance(time.Second)
	made := f.create(`{"client_id":"web","redirect_uris":["` + webRedirect + `"]}`)
	if made.header.Get("ETag") != f.show("web").header.Get("ETag") {
		t.Error("the answer of creation has another ETag")
	}
	f.put("web", body, "If-Match", stale).wantError(412, "precondition_failed")
}

// TestConcurrentReplace: of changes to one version one wins; without a
// condition all are made, one after the other.
func TestConcurrentReplace(t *testing.T) {
	const n = 20
	run := func(f *fixture, header ...string) (counts map[int]int) {
		statuses := make(chan int, n)
		for i := range n {
			go func() {
				statuses <- f.put("web", fmt.Sprintf(`{"client_name":"%d","redirect_uris":["https://x%d.example/cb"]}`, i, i), header...).status
			}()
		}
		counts = make(map[int]int)
		for range n {
			counts[<-statuses]++
		}
		m := f.show("web").json(200)
		if diff := cmp.Diff([]any{fmt.Sprintf("https://x%s.example/cb", m["client_name"])}, m["redirect_uris"]); diff != "" {
			f.t.Errorf("two changes are mixed:\n%s", diff)
		}
		return counts
	}
	f := newFixture(t)
	tag := f.show("web").header.Get("ETag")
	if diff := cmp.Diff(map[int]int{200: 1, 412: n - 1}, run(f, "If-Match", tag)); diff != "" {
		t.Errorf("with If-Match, answers by status (-want +got):\n%s", diff)
	}
	before, err := f.p.clientByID(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]int{200: n}, run(f)); diff != "" {
		t.Errorf("without, answers by status (-want +got):\n%s", diff)
	}
	after, err := f.p.clientByID(t.Context(), "web")
	if err != nil || after.version != before.version+n {
		t.Errorf("version %d after %d, %v", after.version, before.version, err)
	}
	if last := f.put("web", `{"client_name":"last","redirect_uris":["https://l.example/"]}`).json(200); f.show("web").json(200)["client_name"] != last["client_name"] {
		t.Error("the last one does not win")
	}
}

// TestConcurrentDelete: a change and a deletion of one version exclude each
// other.
func TestConcurrentDelete(t *testing.T) {
	f := newFixture(t)
	for range 20 {
		f.create(`{"client_id":"x","redirect_uris":["https://x.example/"]}`).json(201)
		tag := f.show("x").header.Get("ETag")
		deleted, changed := make(chan int), make(chan int)
		go func() {
			deleted <- f.do(adm, "DELETE", "/api/v1/clients/x", "", "", "If-Match", tag).status
		}()
		go func() {
			changed <- f.put("x", `{"redirect_uris":["https://y.example/"]}`, "If-Match", tag).status
		}()
		d, c := <-deleted, <-changed
		if (d == 204) == (c == 200) || d != 204 && d != 412 || c != 200 && c != 412 && c != 404 {
			t.Errorf("deletion answers %d, change %d", d, c)
		}
		f.do(adm, "DELETE", "/api/v1/clients/x", "", "")
	}
}

func (f *fixture) addSecret(id, body string, header ...string) *reply {
	f.t.Helper()
	contentType := "application/json"
	if body == "" {
		contentType = ""
	}
	return f.do(adm, "POST", "/api/v1/clients/"+id+"/secrets", contentType, body, header...)
}

// TestSecrets: rotation without downtime.
func TestSecrets(t *testing.T) {
	f := newFixture(t)
	works := func(secret string) bool {
		t.Helper()
		r := f.post("/introspect", url.Values{"token": {"x"}}, basicAuth("web", secret)...)
		return r.status == 200
	}
	f.clock.advance(time.Second)
	r := f.addSecret("web", "")
	m := r.json(201)
	second, _ := m["client_secret"].(string)
	if len(second) < 43 || m["client_secret_expires_at"] != 0.0 || m["id"] == "" || m["created_at"] != "2026-11-01T12:00:01Z" || r.header.Get("ETag") != f.show("web").header.Get("ETag") {
		t.Errorf("answer %s", r.body)
	}
	ids := f.wantSecrets(f.show("web").json(200), 2)
	if ids[1] != m["id"] || !works(webSecret) || !works(second) {
		t.Errorf("secrets %v after %s", ids, r.body)
	}
	own := strings.Repeat("S!", 20)
	f.addSecret("web", `{"client_secret":"short"}`).wantField(400, "invalid_client_metadata", "client_secret")
	f.addSecret("web", `{"client_secret":"`+own+`"}`).json(201)
	f.addSecret("web", `{"secret":"`+own+`"}`).wantField(400, "invalid_request", "secret")
	f.addSecret("web", "{}").wantError(409, "conflict") // three are enough
	ids = f.wantSecrets(f.show("web").json(200), 3)
	for i, secret := range []string{webSecret, second} {
		if !works(secret) {
			t.Errorf("secret %d does not work", i)
		}
		r := f.do(adm, "DELETE", "/api/v1/clients/web/secrets/"+ids[i], "", "")
		if r.status != 204 || r.header.Get("ETag") != f.show("web").header.Get("ETag") {
			t.Errorf("answer %d %s", r.status, r.body)
		}
		if works(secret) {
			t.Errorf("secret %d works after its end", i)
		}
		f.do(adm, "DELETE", "/api/v1/clients/web/secrets/"+ids[i], "", "").wantError(404, "not_found")
	}
	f.addSecret("web", `{"client_secret":"`+own+`"}`).wantError(409, "conflict") // it has it
	f.do(adm, "DELETE", "/api/v1/clients/web/secrets/"+ids[2], "", "").wantError(409, "conflict")
	if !works(own) {
		t.Error("the last secret does not work")
	}
	f.addSecret("pub", "").wantField(400, "invalid_request", "client_secret")
	f.addSecret("nobody", "").wantError(404, "not_found")
	f.do(adm, "DELETE", "/api/v1/clients/nobody/secrets/x", "", "").wantError(404, "not_found")
	f.wantSilentLog(second, own)
	// Neither the list nor the client shows more than the ids.
	for _, path := range []string{"", "/web"} {
		if body := f.do(adm, "GET", "/api/v1/clients"+path, "", "").body; strings.Contains(body, "hash") || strings.Contains(body, own) {
			t.Errorf("%s shows %s", path, body)
		}
	}
}

// TestChangesCountAtOnce: what a client loses it has lost.
func TestChangesCountAtOnce(t *testing.T) {
	f := newFixture(t)
	t.Run("redirect URI", func(t *testing.T) {
		f := f.in(t)
		code, bare, res := f.code(ada), f.code(ada), f.login(ada)
		f.put("web", `{"redirect_uris":["https://new.example/cb"]}`).json(200)
		f.authorize(ada).page(400)
		f.redeem(code).wantError(400, "invalid_grant")
		f.redeem(bare, "redirect_uri", "").wantError(400, "invalid_grant")
		f.refresh(res.RefreshToken).tokens() // nobody is logged out
		f.put("web", `{"redirect_uris":["https://new.example/cb","`+webRedirect+`"]}`).json(200)
		f.redeem(code).tokens()
		f.redeem(bare, "redirect_uri", "").tokens()
		f.authorize(ada, "redirect_uri", "https://new.example/cb").redirect()
		// Loopback URIs are not known to the letter.
		const here = "http://127.0.0.1:45678/callback"
		loop := f.code(ada, "client_id", "pub", "redirect_uri", here)
		f.redeemPub(loop, "redirect_uri", "").tokens()
	})
	t.Run("public", func(t *testing.T) {
		f := f.in(t)
		res := f.login(ada)
		f.put("web", `{"redirect_uris":["`+webRedirect+`"],"token_endpoint_auth_method":"none"}`).json(200)
		f.refresh(res.RefreshToken).wantError(401, "invalid_client")
		res = f.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {res.RefreshToken}, "client_id": {"web"}}).tokens()
		m := f.put("web", `{"redirect_uris":["`+webRedirect+`"]}`).json(200)
		secret, _ := m["client_secret"].(string)
		f.wantSecrets(m, 1) // the old one has not come back
		f.refresh(res.RefreshToken).wantError(401, "invalid_client")
		f.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {res.RefreshToken}}, basicAuth("web", secret)...).tokens()
		if f.show("web").json(200)["client_secret"] != nil {
			t.Error("the secret is shown again")
		}
	})
	t.Run("disabled", func(t *testing.T) {
		f := f.in(t)
		f.put("rs", `{"redirect_uris":["`+webRedirect+`"],"disabled":true}`).json(200)
		if f.authorize(ada, "client_id", "rs").page(403); f.post("/introspect", url.Values{"token": {"x"}}, basicAuth("rs", webSecret)...).status == 200 && f.introspect("rs", "x")["active"] != false {
			t.Error("a disabled client learns something")
		}
	})
}

// TestStoredNamesAreText: names come back as what they are, and nothing can
// take an answer for a page.
func TestStoredNamesAreText(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `{{.}} ${7*7} ' or 1=1 --`, `</title>&lt;`, `=HYPERLINK("http://x")`} {
		b, err := json.Marshal(map[string]any{"client_name": name, "redirect_uris": []string{webRedirect}})
		if err != nil {
			t.Fatal(err)
		}
		r := f.create(string(b))
		id := r.json(201)["client_id"].(string)
		for _, r := range []*reply{r, f.show(id), f.do(adm, "GET", "/api/v1/clients", "", "", "Accept", "text/html"), f.do(adm, "GET", "/clients/"+id, "", "", "Accept", "text/html")} {
			if r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(r.body, "<") {
				t.Errorf("answer %s %s", r.header.Get("Content-Type"), r.body)
			}
		}
		if got := f.show(id).json(200)["client_name"]; got != name {
			t.Errorf("name %q, want %q", got, name)
		}
		page := f.do(ci, "GET", "/authorize?"+authorizeQuery("client_id", id, "redirect_uri", webRedirect).Encode(), "", "", "Accept", "text/html").body
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img src=x") {
			t.Errorf("the page holds %s", name)
		}
	}
}

// TestDeclaredIsReadOnly: only its file changes a declared client.
func TestDeclaredIsReadOnly(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) { c.Origin = originDeclared })
	before := f.show("web").body
	const form = "application/x-www-form-urlencoded"
	for _, r := range []*reply{
		f.put("web", `{"redirect_uris":["https://x.example/"]}`),
		f.do(adm, "DELETE", "/api/v1/clients/web", "", ""),
		f.addSecret("web", ""),
		f.do(adm, "DELETE", "/api/v1/clients/web/secrets/x", "", ""),
		f.do(adm, "DELETE", "/clients/web", "", ""),
		f.do(adm, "POST", "/edit/web", form, "name=x"),
		f.do(adm, "POST", "/edit/web", form, "action=delete"),
		f.do(adm, "POST", "/edit/web", form, "action=regenerate_secret"),
	} {
		if r.wantError(409, "conflict"); !strings.Contains(r.body, "-clients") {
			t.Errorf("the answer does not name the file: %s", r.body)
		}
	}
	if f.show("web").body != before {
		t.Error("it has changed")
	}
}

// TestCompatClients: what tools for earlier versions call (incumbent.md
// section 5.2).
func TestCompatClients(t *testing.T) {
	f := newFixture(t)
	const form = "application/x-www-form-urlencoded"
	send := func(path string, v url.Values) *reply { return f.do(adm, "POST", path, form, v.Encode()) }
	r := send("/clients/new", url.Values{"name": {"Grafana"}, "redirect_uri": {" https://g.example/cb\r\n\nhttp://g.example/cb "}})
	made := r.json(200)
	id, secret := made["client_id"].(string), made["client_secret"].(string)
	want := map[string]any{
		"client_id": id, "client_name": "Grafana", "redirect_uris": []any{"https://g.example/cb", "http://g.example/cb"},
		"created_at": "2026-11-01T12:00:00Z", "redirect_uri": "",
	}
	if diff := cmp.Diff(want, f.do(adm, "GET", "/clients/"+id, "", "").json(200)); diff != "" {
		t.Errorf("client (-want +got):\n%s", diff)
	}
	f.post("/introspect", url.Values{"token": {"x"}}, basicAuth(id, secret)...).json(200)
	var list []map[string]any
	if err := json.Unmarshal([]byte(f.do(adm, "GET", "/clients/", "", "").body), &list); err != nil || len(list) != 4 {
		t.Fatalf("list %v, %v", list, err)
	}
	if i := slices.IndexFunc(list, func(m map[string]any) bool { return m["client_id"] == id }); i < 0 || cmp.Diff(want, list[i]) != "" {
		t.Errorf("list %v, want it to have %v", list, want)
	}

	send("/clients/new", url.Values{"redirect_uri": {"https://g.example/cb"}}).wantField(400, "invalid_request", "name")
	send("/clients/new", url.Values{"name": {"x"}}).wantField(400, "invalid_request", "redirect_uri")
	send("/clients/new", url.Values{"name": {"x"}, "redirect_uri": {"javascript:alert(1)"}}).wantField(400, "invalid_redirect_uri", "redirect_uris[0]")
	f.do(adm, "POST", "/clients/new?name=x&redirect_uri=https://x.example/", form, "").wantError(400, "invalid_request")
	f.do(adm, "POST", "/clients/new", "application/json", `{"name":"x"}`).wantError(400, "invalid_request")
	f.do(adm, "POST", "/clients/new", form, "name=%zz").wantError(400, "invalid_request")

	edited := send("/edit/"+id, url.Values{"name": {"Graf"}, "redirect_uris": {"https://h.example/cb\n"}}).json(200)
	want["client_name"], want["redirect_uris"] = "Graf", []any{"https://h.example/cb"}
	if diff := cmp.Diff(want, edited); diff != "" {
		t.Errorf("edited (-want +got):\n%s", diff)
	}
	f.post("/introspect", url.Values{"token": {"x"}}, basicAuth(id, secret)...).json(200)
	if m := send("/edit/"+id, url.Values{"name": {""}}).json(200); m["client_name"] != nil || cmp.Diff(m["redirect_uris"], want["redirect_uris"]) != "" {
		t.Errorf("the name alone: %v", m)
	}
	send("/edit/"+id, url.Values{"redirect_uris": {"ok:/cb\ndata:x"}}).wantField(400, "invalid_redirect_uri", "redirect_uris[1]")
	send("/edit/"+id, url.Values{"redirect_uris": {" "}}).wantField(400, "invalid_redirect_uri", "redirect_uris")
	send("/edit/"+id, nil).wantError(400, "invalid_request")
	send("/edit/"+id, url.Values{"action": {"burn"}}).wantField(400, "invalid_request", "action")
	send("/edit/nobody", url.Values{"name": {"x"}}).wantError(404, "not_found")
	send("/edit/pub", url.Values{"action": {"regenerate_secret"}}).wantField(400, "invalid_request", "client_secret")

	fresh := send("/edit/"+id, url.Values{"action": {"regenerate_secret"}}).json(200)["client_secret"].(string)
	f.post("/introspect", url.Values{"token": {"x"}}, basicAuth(id, secret)...).wantError(401, "invalid_client")
	f.post("/introspect", url.Values{"token": {"x"}}, basicAuth(id, fresh)...).json(200)
	if r := send("/edit/"+id, url.Values{"action": {"delete"}}); r.status != 303 || r.header.Get("Location") != "/" {
		t.Errorf("answer %d to %q", r.status, r.header.Get("Location"))
	}
	f.do(adm, "GET", "/clients/"+id, "", "").wantError(404, "not_found")
	if r := f.do(adm, "DELETE", "/clients/web", "", ""); r.status != 204 || r.body != "" {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	f.do(adm, "DELETE", "/clients/web", "", "").wantError(404, "not_found")
}

// TestChangesNeedAuthority: C50, and everybody who is no administrator.
func TestChangesNeedAuthority(t *testing.T) {
	f := newFixture(t)
	const form = "application/x-www-form-urlencoded"
	type call struct{ method, path, contentType, body string }
	calls := []call{
		{"POST", "/edit/web", form, "name=Web"},
		{"POST", "/clients/new", form, "name=x&redirect_uri=https://x.example/"},
		{"PUT", "/api/v1/clients/web", "application/json", `{"redirect_uris":["` + webRedirect + `"]}`},
		{"POST", "/api/v1/clients/rs/secrets", "", ""},
	}
	for _, c := range append(calls, call{"GET", "/clients/", "", ""}, call{"GET", "/clients/web", "", ""}) {
		for _, as := range []netip.Addr{ada, ci, gus, eve} {
			f.do(as, c.method, c.path, c.contentType, c.body).wantError(403, "access_denied")
		}
	}
	for _, tt := range []struct {
		name   string
		header []string
		ok     bool
	}{
		{"(a)", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"(b)", []string{"Origin", testIssuer}, true},
		{"(c)", nil, true},
		{"(d)", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"(e)", []string{"Origin", "null"}, false},
		{"(f)", []string{"Sec-Fetch-Site", "same-site"}, false},
		{"(g)", []string{"Origin", testIssuer + ":443"}, true},
		{"foreign", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, false},
	} {
		for _, c := range calls {
			if c.path == "/api/v1/clients/rs/secrets" && tt.ok {
				continue // at most two more fit
			}
			r := f.do(adm, c.method, c.path, c.contentType, c.body, tt.header...)
			if ok := r.status == 200; ok != tt.ok || !ok && r.status != 403 {
				t.Errorf("%s %s: answer %d %s", tt.name, c.path, r.status, r.body)
			}
		}
	}
	f.do(adm, "POST", "/edit/web", form, "name=x", "Host", "evil.example").wantError(421, "misdirected_request")
}
