// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/recipes"
)

var secretElement = regexp.MustCompile(`<code data-copy="the secret">([^<]*)</code>`)

// shownSecret returns the secret that a page shows.
func shownSecret(t testing.TB, body string) string {
	t.Helper()
	m := secretElement.FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no secret: %s", readable(body))
	}
	return m[1]
}

// TestUICreate: a client from a recipe logs people in with what the page
// says; the secret is shown once, and a form that is sent twice makes one
// client.
func TestUICreate(t *testing.T) {
	f := newFixture(t)
	form := formOf(t, f.look(adm, "/admin/new?recipe=grafana").page(200), "Connect")
	says(t, f.submit(adm, "/admin/new", form).page(400), "Nothing is made yet")
	form.Set("v-url", "https://grafana.example")
	body := f.submit(adm, "/admin/new", form).page(201)
	secret, id := shownSecret(t, body), form.Get("client_id")
	says(t, body, "What to enter in Grafana", "client_id = "+id, "client_secret = "+secret, "auth_url = "+testIssuer+"/authorize", "0 live sessions")
	if again := f.look(adm, "/admin/clients/"+id).page(200); strings.Contains(again, secret) {
		t.Error("the secret is shown again")
	}
	code := f.code(ada, "client_id", id, "redirect_uri", "https://grafana.example/login/generic_oauth")
	redeemed := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"https://grafana.example/login/generic_oauth"}, "code_verifier": {testVerifier}}
	f.post("/token", redeemed, basicAuth(id, secret)...).tokens()
	says(t, f.look(adm, "/admin/clients/"+id).page(200), "1 live session")

	again := f.look(adm, "/admin/clients/"+id+"?recipe=grafana").page(200)
	says(t, again, "What to enter in Grafana", "root_url = https://grafana.example", "client_id = "+id, "client_secret = the secret of this client")

	twice := f.submit(adm, "/admin/new", form).page(409)
	says(t, twice, "Nothing is made yet", "there is a client")
	if secretElement.MatchString(twice) || !strings.Contains(twice, `href="/admin/clients/`+id+`"`) {
		t.Error("the second answer shows a secret, or does not lead to the client")
	}
}

// TestUICreateBlank: every setting, with errors beside the fields.
func TestUICreateBlank(t *testing.T) {
	f := newFixture(t)
	form := formOf(t, f.look(adm, "/admin/new?recipe=blank").page(200), "Make the client")
	body := f.submit(adm, "/admin/new", form).page(400)
	says(t, body, "Nothing is made yet: see below.", "at least one is needed for the grant type authorization_code")
	if !strings.Contains(body, `id="f-redirect_uris-error"`) || !strings.Contains(body, `aria-invalid="true"`) {
		t.Error("the error is not at its field")
	}
	withForm(form, "client_name", "Wiki", "redirect_uris", " https://wiki.example/cb \r\n\r\nhttp://wiki.lan/cb", "claims", "username = preferred_username\nname", "access_token_lifetime", "60")
	says(t, f.submit(adm, "/admin/new", form).page(400), `"name" is not of the form: claim = source`)
	withForm(form, "claims", "username = preferred_username", "access_token_lifetime", "x")
	says(t, f.submit(adm, "/admin/new", form).page(400), "want a number of seconds")
	withForm(form, "access_token_lifetime", "60", "client_id", "a/b")
	says(t, f.submit(adm, "/admin/new", form).page(400), "want at most 128 letters")
	form.Set("client_id", "wiki")
	body = f.submit(adm, "/admin/new", form).page(201)
	says(t, body, "Wiki", "http://wiki.lan/cb sends authorization codes in clear text")
	c := f.show("wiki").json(200)
	if fmt.Sprint(c["redirect_uris"], c["claims"], c["access_token_lifetime"]) != "[https://wiki.example/cb http://wiki.lan/cb] map[username:preferred_username] 60" {
		t.Errorf("client %v", c)
	}
}

// TestUIFields: the form has every member that an administrator may set, and
// saving it untouched changes none.
func TestUIFields(t *testing.T) {
	f := newFixture(t)
	f.addClient("full", webSecret, admin.ClientMetadata{
		Name: "Full", RedirectURIs: []string{webRedirect, "app.full:/cb"}, PostLogoutRedirectURIs: []string{"https://app.example/bye"},
		GrantTypes: []string{grantAuthorizationCode, grantClientCredentials, grantDeviceCode, grantTokenExchange}, TokenEndpointAuthMethod: authPost, Scope: "openid email",
		ApplicationType: "native", ClientURI: "https://a.example/", InitiateLoginURI: "https://a.example/login", Contacts: []string{"a@b.example"},
		LogoURI: "https://a.example/l", PolicyURI: "https://a.example/p", TOSURI: "https://a.example/t", SoftwareID: "soft", SoftwareVersion: "1",
		IDTokenAlg: "ES256", AuthMethodStrict: true, AssertionAudienceStrict: true, Access: accessGranted, PKCE: pkceRequired, IgnoreFragment: true, LeanIDToken: true,
		AccessTokenFormat: "opaque", Claims: map[string]string{"b": "email", "a": "login"}, ResourceIdentifiers: []string{testResource}, DefaultResources: []string{testResource},
		AccessTokenSeconds: 1, IDTokenSeconds: 2, RefreshIdleSeconds: 3, RefreshTotalSeconds: 4,
	})
	body := f.look(adm, "/admin/clients/full").page(200)
	aside := []string{"client_id", "response_types", "software_id", "software_version", "disabled"}
	typ := reflect.TypeFor[admin.ClientMetadata]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if has := strings.Contains(body, ` name="`+name+`"`); has == slices.Contains(aside, name) {
			t.Errorf("the form has %s: %t", name, has)
		}
	}
	before := f.show("full")
	says(t, f.seeOther(adm, f.submit(adm, "/admin/clients/full", withForm(formOf(t, body, `value="save"`), "action", "save"))), "Saved.")
	if after := f.show("full"); after.body != before.body {
		t.Errorf("saved untouched: %s, was %s", after.body, before.body)
	}
}

// TestUIEdit: what is saved, disabled, enabled and deleted.
func TestUIEdit(t *testing.T) {
	f := newFixture(t)
	edit := func(holds string, change ...string) *reply {
		t.Helper()
		return f.submit(adm, "/admin/clients/web", withForm(formOf(t, f.look(adm, "/admin/clients/web").page(200), holds), change...))
	}
	refresh := f.login(ada).RefreshToken
	says(t, f.seeOther(adm, edit(`value="save"`, "action", "save", "client_name", "Renamed")), "Saved.", "Renamed")
	says(t, edit(`value="save"`, "action", "save", "redirect_uris", "javascript:alert(1)").page(400), "Nothing is saved yet: see below.")
	says(t, f.seeOther(adm, edit(`value="disable"`, "action", "disable")), "Nobody can use it", "disabled")
	f.refresh(refresh).wantError(400, "invalid_grant")
	says(t, f.seeOther(adm, edit(`value="enable"`, "action", "enable")), "enabled again")
	refresh = f.refresh(refresh).tokens().RefreshToken

	// Two secrets while the application is switched over, then one.
	added := shownSecret(t, edit(`value="add-secret"`, "action", "add-secret").page(200))
	form := formOf(t, f.look(adm, "/admin/clients/web").page(200), `value="end-secret"`)
	says(t, f.seeOther(adm, f.submit(adm, "/admin/clients/web", withForm(form, "action", "end-secret"))), "The secret has ended.")
	if r := f.refresh(refresh); r.status != 401 {
		t.Errorf("the old secret: %d", r.status)
	}
	f.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}, basicAuth("web", added)...).tokens()

	// A public client that becomes one with a secret gets it.
	form = formOf(t, f.look(adm, "/admin/clients/pub").page(200), `value="save"`)
	shownSecret(t, f.submit(adm, "/admin/clients/pub", withForm(form, "action", "save", "token_endpoint_auth_method", authBasic)).page(200))

	says(t, f.look(adm, "/admin/clients/web").page(200), "With it 1 live session end at once")
	says(t, f.seeOther(adm, edit(`value="delete"`, "action", "delete")), "The client is deleted")
	f.look(adm, "/admin/clients/web").page(404)
	f.submit(adm, "/admin/clients/web", url.Values{"action": {"delete"}}).page(404)
}

// TestUIConflict: of two administrators at one client the second sees what
// the first has changed. What only the first changed stays; what both did, the
// second decides.
func TestUIConflict(t *testing.T) {
	f := newFixture(t)
	path := "/admin/clients/web"
	first, second := f.look(adm, path).page(200), f.look(adm, path).page(200)
	// Use is no change.
	f.login(ada)
	save := func(body string, change ...string) *reply {
		return f.submit(adm, path, withForm(formOf(t, body, `value="save"`), append(change, "action", "save")...))
	}
	f.seeOther(adm, save(first, "client_name", "First", "client_uri", "https://first.example/", "pkce", pkceRequired))
	body := save(second, "client_name", "Second", "scope", "openid").page(412)
	says(t, body, "Somebody else has changed this client meanwhile. Nothing of yours is saved yet.", "They changed: Name, Home page, PKCE.", "Somebody else has made this: First")
	form := formOf(t, body, `value="save"`)
	if form.Get("client_name") != "Second" || form.Get("scope") != "openid" || form.Get("client_uri") != "https://first.example/" || form.Get("pkce") != pkceRequired {
		t.Errorf("the form has %v", form)
	}
	if f.show("web").json(200)["client_name"] != "First" {
		t.Error("it is saved before it was decided")
	}
	f.seeOther(adm, f.submit(adm, path, withForm(form, "action", "save")))
	if c := f.show("web").json(200); c["client_name"] != "Second" || c["client_uri"] != "https://first.example/" || c["pkce"] != pkceRequired || c["scope"] != "openid" {
		t.Errorf("client %v", c)
	}
	// The same for what is no form.
	for _, action := range []string{"delete", "disable", "add-secret", "end-secret", "adopt"} {
		body := f.submit(adm, path, withForm(formOf(t, second, `value="save"`), "action", action)).page(412)
		says(t, body, "Somebody else has changed this client meanwhile", "The page below is the client as it is now")
		if secretElement.MatchString(body) {
			t.Errorf("%s: a secret was made", action)
		}
	}
	// A form without the marks, or the tag, is late as well.
	f.submit(adm, path, url.Values{"action": {"save"}, "client_name": {"X"}}).page(412)
}

// TestUIDeclared: what is declared in a file is shown, and changed there.
func TestUIDeclared(t *testing.T) {
	f := newFixture(t)
	if err := f.declare(declareOne(`,"client_name":"Git"`)); err != nil {
		t.Fatal(err)
	}
	body := f.look(adm, "/admin/clients/git").page(200)
	says(t, body, "declared in a file", "Git")
	if !strings.Contains(body, "<fieldset disabled>") || strings.Contains(body, `value="delete"`) || strings.Contains(body, `value="add-secret"`) {
		t.Error("the page offers changes")
	}
	says(t, f.look(adm, "/admin/clients/"+url.PathEscape("node:n999CNTRL")).page(200), "This client is a tagged node")
	tag := formOf(t, body, "Settings").Get("etag")
	for _, action := range []string{"save", "delete", "disable", "add-secret", "end-secret", "adopt"} {
		r := f.submit(adm, "/admin/clients/git", url.Values{"action": {action}, "etag": {tag}, "redirect_uris": {webRedirect}, "grant_types": {grantAuthorizationCode}})
		if r.status/100 != 4 {
			t.Errorf("%s: %d", action, r.status)
		}
	}
}

// TestUIRegistrations: who registered what, and what an administrator does
// about it. What is taken over is out of the hands of who registered it.
func TestUIRegistrations(t *testing.T) {
	f := newFixture(t)
	says(t, f.look(adm, "/admin/registrations").page(200), "No application has registered itself.")
	reg := f.register(adm, registrationOf("client_name", "Wily")).json(201)
	id := reg["client_id"].(string)
	says(t, f.look(adm, "/admin/registrations").page(200), "Wily", "root@example.com", "desk.tail1234.ts.net")
	path := "/admin/clients/" + id
	body := f.look(adm, path).page(200)
	says(t, body, "This client has registered itself", "nobody is asked for consent any more")
	says(t, f.seeOther(adm, f.submit(adm, path, withForm(formOf(t, body, `value="adopt"`), "action", "adopt"))), "The client is yours now", "administrator")
	c := f.show(id).json(200)
	if c["origin"] != originAdministrator || c["expires_at"] != nil || c["owner"] == nil {
		t.Errorf("client %v", c)
	}
	r := f.do(netip.Addr{}, "GET", strings.TrimPrefix(reg["registration_client_uri"].(string), testIssuer), "", "", "Authorization", "Bearer "+reg["registration_access_token"].(string))
	r.wantError(401, "invalid_token")
	// The same registration again is another client, with a consent page.
	if again := f.register(adm, registrationOf("client_name", "Wily")).json(201); again["client_id"] == id {
		t.Error("a registration returns the client that was taken over")
	}
	f.submit(adm, "/admin/clients/web", withForm(formOf(t, f.look(adm, "/admin/clients/web").page(200), `value="save"`), "action", "adopt")).page(409)

	// By a program.
	second := f.register(adm, registrationOf("client_name", "Second")).json(201)["client_id"].(string)
	if c := f.do(adm, "POST", pathClients+"/"+second+"/adopt", "", "", "If-Match", f.show(second).header.Get("ETag")).json(200); c["origin"] != originAdministrator {
		t.Errorf("client %v", c)
	}
	f.do(adm, "POST", pathClients+"/"+second+"/adopt", "", "", "If-Match", f.show(second).header.Get("ETag")).wantError(409, "conflict")
	f.do(adm, "POST", pathClients+"/nobody/adopt", "", "", "If-Match", "*").wantError(404, "not_found")
	// Not whatever it has become since somebody looked.
	third := f.register(adm, registrationOf("client_name", "Third")).json(201)["client_id"].(string)
	f.do(adm, "POST", pathClients+"/"+third+"/adopt", "", "").wantError(428, "precondition_required")
	f.do(adm, "POST", pathClients+"/"+third+"/adopt", "", "", "If-Match", `"x"`).wantError(412, "precondition_failed")
	if c := f.show(third).json(200); c["origin"] != originRegistered {
		t.Errorf("client %v", c)
	}
}

// TestUIAdopt: who takes a client over sees what it brings along, and people
// are led nowhere by what it has chosen itself.
func TestUIAdopt(t *testing.T) {
	f := newFixture(t)
	adopt := func(c registrationResponse, wants ...string) {
		t.Helper()
		path := "/admin/clients/" + c.ID
		body := f.look(adm, path).page(200)
		_, box, _ := strings.Cut(body, "Take it over…")
		box, _, _ = strings.Cut(box, "</details>")
		says(t, box, append(wants, c.RedirectURIs...)...)
		says(t, f.seeOther(adm, f.submit(adm, path, withForm(formOf(t, body, `value="adopt"`), "action", "adopt"))), "The client is yours now")
	}
	c := f.registered(adm, "client_name", "Grafana", "client_uri", "https://grafana.example/", "initiate_login_uri", "https://evil.example/login", "token_endpoint_auth_method", authBasic,
		"post_logout_redirect_uris", []string{"https://grafana.example/bye"})
	adopt(c, "still has its secret", "After a logout https://grafana.example/bye")
	got, err := f.p.clientByID(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.InitiateLoginURI != "" || got.ClientURI != "" || got.PKCE != pkceRequired {
		t.Errorf("taken over with login at %q, home page %q, PKCE %q", got.InitiateLoginURI, got.ClientURI, got.PKCE)
	}
	if me := f.look(ada, "/me").page(200); strings.Contains(me, "evil.example") || strings.Contains(me, "grafana.example") {
		t.Error("people are led to an address that no administrator gave")
	}

	key := newClientKey(t, "ES256", "k1")
	adopt(f.registered(adm, "token_endpoint_auth_method", "private_key_jwt", "jwks", jwksOf(t, key)), "still has its key", `"kid": "k1"`, "any address of the same origin")
	f.editClient("web", func(c *client) {
		c.Origin, c.TokenEndpointAuthMethod, c.JWKSURI = originRegistered, authPrivateKeyJWT, "https://keys.example/jwks.json"
	})
	says(t, f.look(adm, "/admin/clients/web").page(200), "Keys at https://keys.example/jwks.json")
}

// TestUIXSS: everything that a page repeats is text in it.
func TestUIXSS(t *testing.T) {
	for i, payload := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</textarea><script>alert(1)</script>`, `</title><script>`,
		`</style><script>alert(1)</script>`, `<!--`, `javascript:alert(1)`, `&lt;b&gt;&#60;b&#62;`, `{{.Client}}`, "`${alert(1)}`", `<svg onload=alert(1)>`, `%3Cscript%3E`,
	} {
		t.Run(payload, func(t *testing.T) {
			f := newFixture(t)
			// Past the validation, so that the pages rest on nothing but themselves.
			f.editClient("web", func(c *client) {
				v := reflect.ValueOf(&c.ClientMetadata).Elem()
				for i := range v.NumField() {
					switch field := v.Field(i); {
					case v.Type().Field(i).Name == "ID":
					case field.Kind() == reflect.String:
						field.SetString(payload)
					case field.Type() == reflect.TypeFor[[]string]():
						field.Set(reflect.ValueOf([]string{payload, "https://" + payload}))
					}
				}
				c.Claims = map[string]string{payload: payload}
				c.TokenEndpointAuthMethod, c.Disabled = authBasic, false
				c.Notes = []string{payload}
				c.Secrets[0].ID = payload
				c.Owner = &clientOwner{Subject: payload, Login: payload, Name: payload}
				c.Origin = originRegistered
			})
			f.editClient("rs", func(c *client) { c.Name, c.ClientURI = payload, "javascript:alert(1)" })
			f.addClient("evil", webSecret, admin.ClientMetadata{Name: payload, RedirectURIs: []string{webRedirect}})
			f.post("/token", codeForm(f.code(ada, "client_id", "evil")), basicAuth("evil", webSecret)...).tokens()
			f.writeEvents(AuditEvent{Event: payload, Result: resultRefused, Reason: payload, Login: payload, User: payload, Node: payload, Client: payload, Grant: payload, Detail: payload, Resources: []string{payload}, Scopes: []string{payload}})
			q := url.QueryEscape(payload)
			paths := append(slices.Clone(uiPages), "/admin/clients/rs",
				"/admin/clients?q="+q+"&origin="+q, "/admin/clients?q="+q, "/admin/sessions?user="+q+"&node="+q+"&client="+q, "/admin/sessions?client=evil", "/admin/consents?user="+q+"&client="+q,
				"/admin/audit?user="+q+"&client="+q+"&node="+q+"&event="+q+"&result="+q, "/admin/audit?since="+q, "/admin/audit?after="+q, "/?done="+q, "/admin/new?recipe="+q, "/admin/clients/"+q,
				"/admin/policy?ask=1&user="+q+"&node="+q+"&client="+q+"&action="+q+"&resources="+q+"&scopes="+q, "/admin/policy?ask=1&user=ada@example.com&client=evil&resources=https://x.example/"+q,
				"/admin/policy?build=1&src="+q+"&dst="+q+"&clients="+q+"&resources="+q, "/admin/policy?build=1&src=x&dst=y&extraClaims="+q)
			var bodies []string
			for _, path := range paths {
				bodies = append(bodies, f.look(adm, path).body)
			}
			bodies = append(bodies, f.look(ada, "/").body)
			form := url.Values{"recipe": {"blank"}}
			for _, name := range []string{"client_id", "client_name", "redirect_uris", "client_uri", "claims", "jwks", "access_token_lifetime", "grant_types", "access"} {
				form.Set(name, payload)
			}
			bodies = append(bodies, f.submit(adm, "/admin/new", form).body, f.submit(adm, "/admin/new", url.Values{"recipe": {"grafana"}, "v-url": {payload}, "client_id": {payload}, "access": {payload}}).body,
				f.submit(adm, "/admin/clients/web", withForm(form, "action", "save", "etag", payload, "marks", payload)).body)
			for n, body := range bodies {
				onlyOurs(t, body)
				if t.Failed() {
					t.Fatalf("payload %d, page %d of %d", i, n, len(bodies))
				}
			}
		})
	}
}

var (
	attribute = regexp.MustCompile(`^/?[a-z0-9]+(?:\s+[a-zA-Z][a-zA-Z0-9-]*(?:="[^"<>]*")?)*\s*/?$`)
	quoted    = regexp.MustCompile(`"[^"]*"`)
	forbidden = regexp.MustCompile(`\s(on[a-z]+|style|srcdoc)=|^(img|iframe|object|embed|base|link|b$)`)
	address   = regexp.MustCompile(`\b(href|src|action|formaction)="([^"]*)"`)
)

// onlyOurs checks that a page has no markup, script or address that somebody
// else has put there.
func onlyOurs(t *testing.T, body string) {
	t.Helper()
	if n := strings.Count(body, "<script"); n > 1 {
		t.Errorf("%d scripts", n)
	}
	body = scriptElement.ReplaceAllString(styleElement.ReplaceAllString(body, ""), "")
	for _, part := range strings.Split(body, "<")[1:] {
		tag, _, ok := strings.Cut(part, ">")
		if tag == "!doctype html" {
			continue
		}
		if !ok || !attribute.MatchString(tag) || forbidden.MatchString(quoted.ReplaceAllString(tag, "")) {
			t.Errorf("tag <%s>", tag)
		}
	}
	for _, m := range address.FindAllStringSubmatch(body, -1) {
		to := html.UnescapeString(m[2])
		if !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "https://") && !strings.HasPrefix(to, "#") || strings.HasPrefix(to, "//") {
			t.Errorf("%s leads to %s", m[1], to)
		}
	}
}

// TestUIRecipeDefaults: whoever takes the form of a recipe as it is gets the
// client that the recipe describes.
func TestUIRecipeDefaults(t *testing.T) {
	f := newFixture(t)
	b := &backend{f.p}
	for _, recipe := range recipes.All() {
		form := formOf(t, f.look(adm, "/admin/new?recipe="+recipe.ID).page(200), "Connect</button>")
		values := recipe.Example().Values
		for _, field := range recipe.Fields {
			form.Set("v-"+field.Name, values[field.Name])
		}
		m, err := recipe.Client(values)
		if err != nil {
			t.Fatalf("%s: %v", recipe.ID, err)
		}
		m.ID = recipe.ID + "-direct"
		want, err := b.CreateClient(t.Context(), admin.Client{ClientMetadata: m}, f.clock.now())
		if err != nil {
			t.Fatalf("%s: %v", recipe.ID, err)
		}
		// A form without the field, as a script might send it, says no other.
		bare := maps.Clone(form)
		bare.Del("access")
		bare.Set("client_id", recipe.ID+"-bare")
		for _, sent := range []url.Values{form, bare} {
			f.submit(adm, "/admin/new", sent).page(201)
			got, err := b.Client(t.Context(), sent.Get("client_id"))
			if err != nil {
				t.Fatal(err)
			}
			got.ID = want.ID
			got.Access, want.Access = cmp.Or(got.Access, accessTailnet), cmp.Or(want.Access, accessTailnet)
			if diff := gocmp.Diff(want.ClientMetadata, got.ClientMetadata); diff != "" {
				t.Errorf("%s (-recipe +form):\n%s", recipe.ID, diff)
			}
		}
	}
	// The administrator may decide otherwise.
	form := withForm(formOf(t, f.look(adm, "/admin/new?recipe=incus").page(200), "Connect</button>"), "v-url", "https://incus.example:8443")
	if form.Get("access") != accessGranted {
		t.Errorf("the form of Incus begins with access %q", form.Get("access"))
	}
	f.submit(adm, "/admin/new", withForm(form, "access", accessTailnet)).page(201)
	if c, err := b.Client(t.Context(), form.Get("client_id")); err != nil || c.Access == accessGranted {
		t.Errorf("access %q against what the form says: %v", c.Access, err)
	}
}
