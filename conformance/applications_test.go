// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"bytes"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp"
	"golang.org/x/oauth2"
)

// TestApplications holds what real applications and agents rely on, beyond
// what a standard says or in spite of it.
func TestApplications(t *testing.T) {
	t.Run("discovery", testAppDiscovery)
	t.Run("authorize", testAppAuthorize)
	t.Run("token", testAppToken)
	t.Run("claims", testAppClaims)
	t.Run("other", testAppOther)
}

func testAppDiscovery(t *testing.T) {
	check(t, "one_document_GET_and_HEAD", func(r *run) {
		openid, oauth := r.call("GET", discoveryPath, ""), r.call("GET", "/.well-known/oauth-authorization-server", "")
		if !bytes.Equal(openid.body, oauth.body) || !isJSON(openid) || openid.header.Get("Access-Control-Allow-Origin") != "*" {
			r.errorf("documents differ, or %v", openid.header)
		}
		head := r.call("HEAD", discoveryPath, "")
		if head.status != 200 || len(head.body) != 0 || head.header.Get("Content-Type") != "application/json" {
			r.errorf("HEAD: %d %v", head.status, head.header)
		}
	})
	check(t, "well_known_never_HTML", func(r *run) { // C17
		for _, path := range []string{
			"/.well-known/oauth-authorization-server/mcp", "/.well-known/openid-configuration/mcp", "/mcp/.well-known/openid-configuration",
			"/.well-known/oauth-protected-resource", "/.well-known/nonsense", "/.well-known/webfinger",
		} {
			for _, accept := range []string{"text/html", "application/json", ""} {
				if a := r.call("GET", path, "", "Accept", accept); a.status != 404 || !isJSON(a) || a.json()["error"] == nil {
					r.errorf("%s: %d %s %s", path, a.status, a.header.Get("Content-Type"), text(a.body))
				}
			}
		}
	})
	check(t, "issuer_byte_equal_everywhere", func(r *run) {
		l, a := r.authorize()
		r.finish(l, a)
		access := r.decode(l.token.AccessToken, 1)
		for where, got := range map[string]any{
			"metadata": r.metadata()["issuer"], "response": l.response.Get("iss"), "ID token": l.claims["iss"], "access token": access["iss"],
		} {
			if got != r.w.issuer || strings.HasSuffix(r.w.issuer, "/") {
				r.errorf("iss %v of the %s, want %s", got, where, r.w.issuer)
			}
		}
	})
	check(t, "metadata_values", func(r *run) {
		m := r.metadata()
		for name, want := range map[string]string{
			"response_types_supported": "code", "subject_types_supported": "public", "code_challenge_methods_supported": "S256",
		} {
			if got := texts(m[name]); !slices.Equal(got, []string{want}) {
				r.errorf("%s %v, want %s alone", name, got, want)
			}
		}
		if algs := texts(m["id_token_signing_alg_values_supported"]); len(algs) == 0 || algs[0] != "RS256" {
			r.errorf("algorithms %v, want RS256 first", algs)
		}
		if !slices.Contains(texts(m["response_modes_supported"]), "query") {
			r.errorf("response_modes_supported %v", m["response_modes_supported"])
		}
		for name, want := range map[string][]string{
			"grant_types_supported":                 {"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"},
			"token_endpoint_auth_methods_supported": {"client_secret_basic", "client_secret_post", "none", "private_key_jwt"},
		} {
			for _, v := range want {
				if !slices.Contains(texts(m[name]), v) {
					r.errorf("%s %v, want %s among them", name, m[name], v)
				}
			}
		}
		// What is advertised, somebody asks for: all of it must work for all.
		l := r.code(r.app, "scope", strings.Join(texts(m["scopes_supported"]), " "))
		r.tokens(l)
	})
	check(t, "claims_supported_is_truthful", func(r *run) {
		m := r.metadata()
		supported := texts(m["claims_supported"])
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}})
		l := r.request(app, "scope", strings.Join(texts(m["scopes_supported"]), " "))
		r.finish(l, r.send(l))
		for _, claims := range []map[string]any{l.claims, l.userdom} {
			for name := range claims {
				if !slices.Contains(supported, name) {
					r.errorf("%s is not in claims_supported", name)
				}
			}
		}
		for _, name := range supported {
			if name == "tags" || name == "key" {
				continue // of devices that are tagged; of real ones
			}
			if l.claims[name] == nil && l.userdom[name] == nil {
				r.errorf("%s is in claims_supported, and nowhere else", name)
			}
		}
	})
	check(t, "keys", func(r *run) {
		r.checkKeys()
		a := r.call("GET", r.endpoint("jwks_uri"), "")
		if cc := a.header.Get("Cache-Control"); !regexp.MustCompile(`max-age=[1-9]\d{1,2}\b`).MatchString(cc) {
			r.errorf("Cache-Control %q, want minutes", cc)
		}
	})
}

func testAppAuthorize(t *testing.T) {
	check(t, "unknown_parameters_ignored", func(r *run) {
		l := r.request(r.app, "display", "touch", "access_type", "offline", "audience", "https://somewhere.example", "domain_hint", "example.com",
			"ui_locales", "de fr", "connector_id", "x", "claims", `{"id_token":{"email":null}}`, "login_hint", "bob", "kc_idp_hint", "x")
		r.wantResponse(l, r.send(l))
		r.wantResponse(l, r.browser.post(l.app.Endpoint.AuthURL, appOrigin, l.query))
	})
	check(t, "audience_as_resource", func(r *run) {
		const known = "https://api.example/v1"
		r.register(map[string]any{"redirect_uris": []string{appRedirect}, "resource_identifiers": []string{known}})
		for audience, want := range map[string]string{known: known, "my-api": r.w.issuer} {
			access := member(r.tokens(r.code(r.app, "audience", audience)), "access_token")
			if got := r.decode(access, 1)["aud"]; got != want {
				r.errorf("aud %v for the audience %s, want %s", got, audience, want)
			}
		}
	})
	for _, uri := range []string{
		"https://pve.example:8006", "https://nas.example", "https://nas.example/", "app.immich:///oauth-callback", "audiobookshelf://oauth",
		"http://localhost:8000", "http://localhost:8085/auth/callback", "http://127.0.0.1:41234/callback/abc", "http://127.0.0.1:33418/",
		"urn:ietf:wg:oauth:2.0:oob", "https://app.example/cb?tenant=a%20b&x", "https://App.Example/CB", "https://app.example/cb?",
	} {
		check(t, "redirect_URI_as_text/"+uri, func(r *run) {
			app := r.register(map[string]any{"redirect_uris": []string{uri}})
			l := r.request(app)
			a := r.send(l)
			if !strings.HasPrefix(a.location(), uri) {
				r.errorf("redirected to %q", a.location())
			}
			r.wantResponseAnywhere(l, a)
			r.tokens(l)
		})
	}
	check(t, "redirect_URI_with_fragment", func(r *run) { // Synology DSM
		a := r.api("POST", "/api/v1/clients", map[string]any{"redirect_uris": []string{"https://nas.example/#/signin"}})
		r.wantError(a, 400, "invalid_redirect_uri")
		app := r.register(map[string]any{"redirect_uris": []string{"https://nas.example/"}, "ignore_fragment": true})
		l := r.request(app, "redirect_uri", "https://nas.example/#/signin")
		v := r.authorization(r.send(l), "https://nas.example/")
		if v.Get("code") == "" {
			r.errorf("response %v", v)
		}
	})
	for name, state := range map[string]string{
		"JSON": `{"csrf_token":"a b+c","realm":"tsidp"}`, "base64": "ab+/cd==", "one": "x", "bytes": "\xff\x00\xfe%2B&=#", "unicode": "ä→\u2028",
		"2KiB": strings.Repeat("s+/=", 512), "newline": "a\r\nb",
	} {
		check(t, "state_byte_exact/"+name, func(r *run) {
			l := r.request(r.app, "state", state)
			r.wantResponse(l, r.send(l))
			l = r.request(r.app, "state", state, "prompt", "none", "id_token_hint", "x")
			r.wantRedirectError(l, r.send(l), "login_required")
			if name == "bytes" || name == "newline" {
				return // no HTML form can carry them as they are
			}
			l = r.request(r.app, "state", state, "response_mode", "form_post")
			r.wantResponse(l, r.send(l))
		})
	}
	check(t, "codes_without_plus_and_percent", func(r *run) {
		for range 20 {
			l := r.code(r.app)
			if code := l.response.Get("code"); strings.ContainsAny(code, "+%/=") || len(code) > 700 {
				r.errorf("code %q", code) // Portainer unescapes it twice
			}
		}
	})
	check(t, "PKCE_optional_for_confidential_clients", func(r *run) {
		r.pkce = false
		l := r.code(r.app)
		r.tokens(l)
		r.pkce = true
		l = r.code(r.app)
		r.wantError(r.redeemForm(l, "code_verifier", ""), 400, "invalid_grant")
	})
	check(t, "error_page_names_client_reason_fix", func(r *run) {
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}, "client_name": "Grocy", "access": "granted"})
		r.browser = r.newBrowser(ci) // a tagged device
		l := r.request(app)
		a := r.send(l)
		if body := string(a.body); a.status != 403 || !a.isPage() || !strings.Contains(body, "Grocy") || !strings.Contains(body, "tag") {
			r.errorf("%d %s", a.status, text(a.body))
		}
		r.browser = r.newBrowser(bob) // nobody has granted it
		a = r.send(l)
		if body := html.UnescapeString(string(a.body)); a.status != 403 || !strings.Contains(body, "Grocy") || !strings.Contains(body, "tailscale.com/cap/tsidp") {
			r.errorf("%d %s", a.status, text(a.body))
		}
		r.browser = r.newBrowser(alice)
		a = r.send(r.request(app, "redirect_uri", appRedirect+"/"))
		if body := string(a.body); !strings.Contains(body, "Grocy") || !strings.Contains(body, appRedirect) {
			r.errorf("wrong redirect: %s", text(a.body))
		}
		a = r.call("GET", l.app.Endpoint.AuthURL+"?client_id=nobody", "", "Accept", "application/json", peerHeader, alice)
		if a.status != 400 || !isJSON(a) {
			r.errorf("a program gets %d %s", a.status, a.header.Get("Content-Type"))
		}
	})
}

// wantResponseAnywhere is wantResponse for URIs that no browser would take
// apart: the query is what stands behind.
func (r *run) wantResponseAnywhere(l *login, a *answer) {
	rest := strings.TrimLeft(strings.TrimPrefix(a.location(), l.query.Get("redirect_uri")), "?&")
	v, err := url.ParseQuery(rest)
	r.noError(err, "reading the response")
	r.checkEcho(v, l)
	if l.response = v; v.Get("code") == "" {
		r.fatalf("answer %d %q %s", a.status, a.location(), text(a.body))
	}
}

func testAppToken(t *testing.T) {
	check(t, "basic_and_post_for_one_secret", func(r *run) {
		body := []string{"client_id", r.app.ClientID, "client_secret", r.app.ClientSecret}
		r.checkTokenAnswer(r.redeemForm(r.code(r.app)))
		r.checkTokenAnswer(r.redeemForm(r.code(r.app), body...)) // both
		l := r.code(r.app)
		v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "redirect_uri": {appRedirect}, "code_verifier": {l.verifier},
			"client_id": {r.app.ClientID}, "client_secret": {r.app.ClientSecret}}
		r.checkTokenAnswer(r.postForm(l.app.Endpoint.TokenURL, v))
		l = r.code(r.app)
		r.wantError(r.redeemForm(l, "client_id", r.app.ClientID, "client_secret", strings.Repeat("x", 43)), 400, "invalid_request")
		r.tokens(l)
	})
	check(t, "basic_percent_decoded", func(r *run) {
		secret := "p%ss_word+and:more/than=32&letters"
		app := r.register(map[string]any{"client_id": "app:" + oauth2.GenerateVerifier()[:8], "client_secret": secret, "redirect_uris": []string{appRedirect}})
		app.ClientSecret = secret
		r.tokens(r.code(app))
	})
	check(t, "basic_as_it_is", func(r *run) { // Nextcloud; what decodes to something else, and what does not decode
		for _, secret := range []string{"a+secret%41of-32-letters-and-more", "50%-more-letters-than-32-of-them"} {
			app := r.register(map[string]any{"client_secret": secret, "redirect_uris": []string{appRedirect}})
			l := r.code(app)
			v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "redirect_uri": {appRedirect}, "code_verifier": {l.verifier}}
			send := func(secret string) *answer {
				req := &http.Request{Header: http.Header{}}
				req.SetBasicAuth(app.ClientID, secret)
				return r.postForm(app.Endpoint.TokenURL, v, "Authorization", req.Header.Get("Authorization"))
			}
			r.wantError(send(secret+"%"), 401, "invalid_client")
			r.checkTokenAnswer(send(secret))
		}
	})
	check(t, "authentication_style_probed", func(r *run) {
		// x/oauth2 tries Basic first, then the body: one failure is normal, and
		// must not spend the code.
		r.pkce = false
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}, "token_endpoint_auth_method": "client_secret_post", "token_endpoint_auth_method_strict": true})
		app.Endpoint.AuthStyle = oauth2.AuthStyleAutoDetect
		l := r.code(app)
		if _, err := app.Exchange(r.ctx, l.response.Get("code")); err != nil {
			r.errorf("%v", err)
		}
	})
	check(t, "answer", func(r *run) {
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}, "grant_types": []string{"authorization_code"}})
		m := r.tokens(r.code(app, "scope", "openid email"))
		if _, ok := m["refresh_token"]; ok || m["scope"] != "openid email" {
			r.errorf("refresh_token %v, scope %v", m["refresh_token"], m["scope"])
		}
	})
	check(t, "deleted_client", func(r *run) {
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}})
		m := r.tokens(r.code(app))
		if a := r.api("DELETE", "/api/v1/clients/"+app.ClientID, nil); a.status != http.StatusNoContent {
			r.fatalf("deleting: %d", a.status)
		}
		r.wantError(r.refresh(app, member(m, "refresh_token")), 401, "invalid_client")
	})
	for name, scope := range map[string]string{
		"blanks": " openid  profile ", "commas": "openid,profile", "twice": "openid openid profile", "tab": "openid\tprofile",
		"group_names": "openid profile abspermissions staff",
	} {
		check(t, "dirty_scope/"+name, func(r *run) {
			if m := r.tokens(r.code(r.app, "scope", scope)); m["scope"] != "openid profile" {
				r.errorf("scope %q gives %v", scope, m["scope"])
			}
		})
	}
	check(t, "refresh", func(r *run) {
		l := r.code(r.app)
		first := member(r.tokens(l), "refresh_token")
		a := r.refresh(r.app, first)
		r.checkTokenAnswer(a)
		m := a.json()
		// A retry within the grace window gets the same again.
		r.w.clock.advance(20 * time.Second)
		retry := r.refresh(r.app, first)
		r.checkTokenAnswer(retry)
		if member(retry.json(), "refresh_token") != member(m, "refresh_token") {
			r.errorf("a retry gets another refresh token")
		}
		if member(m, "id_token") == "" {
			r.errorf("no ID token on refresh")
		}
	})
	check(t, "lifetimes", func(r *run) {
		life := func(app oauth2.Config) time.Duration {
			c := r.decode(member(r.tokens(r.code(app)), "id_token"), 1)
			return time.Duration(c["exp"].(float64)-c["iat"].(float64)) * time.Second
		}
		if got := life(r.app); got != time.Hour {
			r.errorf("ID token lives %v, want an hour", got)
		}
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}, "id_token_lifetime": 28800})
		if got := life(app); got != 8*time.Hour {
			r.errorf("ID token of the client lives %v, want 8 hours", got)
		}
	})
}

func testAppClaims(t *testing.T) {
	full := func(r *run, peer, scope string) (idToken, userinfo map[string]any) {
		app := r.register(map[string]any{"redirect_uris": []string{appRedirect}})
		r.browser = r.newBrowser(peer)
		l := r.request(app, "scope", scope)
		r.finish(l, r.send(l))
		return l.claims, l.userdom
	}
	check(t, "in_both_places_by_scope", func(r *run) {
		id, info := full(r, alice, "openid profile email groups")
		for name, want := range map[string]any{
			"email": "alice@example.com", "email_verified": true, "name": "Alice", "preferred_username": "alice", "picture": "https://pics.example/laptop",
		} {
			if id[name] != want || info[name] != want {
				r.errorf("%s: %v in the ID token, %v in userinfo, want %v", name, id[name], info[name], want)
			}
		}
		id, info = full(r, alice, "openid")
		for _, name := range []string{"email", "name", "groups", "preferred_username"} {
			if id[name] != nil || info[name] != nil {
				r.errorf("%s without its scope", name)
			}
		}
	})
	check(t, "groups_always_an_array", func(r *run) {
		id, info := full(r, bob, "openid groups")
		for _, m := range []map[string]any{id, info} {
			if g, ok := m["groups"].([]any); !ok || len(g) != 0 {
				r.errorf("groups %#v, want []", m["groups"])
			}
		}
	})
	check(t, "email_verified_by_policy", func(r *run) {
		if id, _ := full(r, bob, "openid email"); id["email_verified"] != nil || id["email"] != nil {
			r.errorf("email %v, email_verified %v of a login that is no address", id["email"], id["email_verified"])
		}
	})
	check(t, "name_never_empty", func(r *run) {
		if id, info := full(r, bob, "openid profile"); id["name"] != "bob@github" || info["name"] != "bob@github" {
			r.errorf("name %v, %v, want the login", id["name"], info["name"])
		}
	})
	check(t, "preferred_username_is_an_account_name", func(r *run) {
		for _, peer := range []string{alice, bob} {
			if id, _ := full(r, peer, "openid profile"); !regexp.MustCompile(`^[a-z0-9._-]+$`).MatchString(member(id, "preferred_username")) {
				r.errorf("preferred_username %v", id["preferred_username"])
			}
		}
	})
	check(t, "sub_equal_everywhere", func(r *run) {
		l, a := r.authorize()
		r.finish(l, a)
		introspection := r.postForm(r.endpoint("introspection_endpoint"), url.Values{"token": {l.token.AccessToken}}, basic(l.app)...).json()
		for where, got := range map[string]any{
			"access token": r.decode(l.token.AccessToken, 1)["sub"], "userinfo": l.userdom["sub"], "introspection": introspection["sub"],
		} {
			if got != l.id.Subject {
				r.errorf("sub %v in the %s, %s in the ID token", got, where, l.id.Subject)
			}
		}
	})
	check(t, "one_aud_as_text_and_no_azp", func(r *run) {
		m := r.tokens(r.code(r.app, "resource", resource))
		c := r.decode(member(m, "id_token"), 1)
		if c["aud"] != r.app.ClientID || c["azp"] != nil {
			r.errorf("aud %#v, azp %v", c["aud"], c["azp"])
		}
	})
	check(t, "nonce_echoed_only", func(r *run) {
		for _, nonce := range []string{"", "n", strings.Repeat("n", 200)} {
			l := r.code(r.app, "nonce", nonce)
			c := r.decode(member(r.tokens(l), "id_token"), 1)
			if _, ok := c["nonce"]; ok != (nonce != "") || member(c, "nonce") != nonce {
				r.errorf("nonce %v, want %q", c["nonce"], nonce)
			}
		}
	})
	check(t, "auth_time", func(r *run) {
		c := r.decode(member(r.tokens(r.code(r.app, "max_age", "100")), "id_token"), 1)
		if _, ok := c["auth_time"].(float64); !ok {
			r.errorf("auth_time %v", c["auth_time"])
		}
	})
}

func testAppOther(t *testing.T) {
	t.Run("iss_switched_off_for_old_libraries", func(t *testing.T) {
		w := quiet(t, "", func(c *tsidp.Config) { c.OmitResponseIssuer = true })
		r := begin(t, w)
		l := r.login()
		if l.response.Has("iss") || r.advertises("authorization_response_iss_parameter_supported") {
			r.errorf("iss %q, advertised %v", l.response["iss"], r.metadata()["authorization_response_iss_parameter_supported"])
		}
	})
	logout := func(name string, want bool, query func(r *run, l *login) url.Values) {
		t.Helper()
		check(t, "logout_with_"+name, func(r *run) {
			l, a := r.authorize()
			r.finish(l, a)
			r.w.clock.advance(2 * time.Hour) // the ID token has expired
			a = r.browser.open(r.endpoint("end_session_endpoint")+"?"+query(r, l).Encode(), appOrigin)
			if a.form() != nil {
				a = r.browser.press(a, "yes")
			}
			if back := strings.HasPrefix(a.location(), appOrigin); back != want {
				r.errorf("redirected to %q: %d %s", a.location(), a.status, text(a.body))
			}
			r.wantError(r.refresh(r.app, l.token.RefreshToken), 400, "invalid_grant")
			r.w.clock.advance(time.Second)
			l, a = r.authorize("prompt", "none")
			r.wantRedirectError(l, a, "login_required")
		})
	}
	// None is registered: an address with the origin of a redirect URI is good.
	logout("expired_hint", true, func(_ *run, l *login) url.Values {
		return url.Values{"id_token_hint": {l.raw}, "post_logout_redirect_uri": {afterLogout}}
	})
	logout("client_id_only", true, func(r *run, _ *login) url.Values {
		return url.Values{"client_id": {r.app.ClientID}, "post_logout_redirect_uri": {afterLogout}}
	})
	logout("nothing", false, func(*run, *login) url.Values { return nil })
	logout("foreign_address", false, func(_ *run, l *login) url.Values {
		return url.Values{"id_token_hint": {l.raw}, "post_logout_redirect_uri": {"https://evil.example/"}}
	})

	check(t, "device_grant", func(r *run) {
		const deviceCode = "urn:ietf:params:oauth:grant-type:device_code"
		app := r.register(map[string]any{"token_endpoint_auth_method": "none", "grant_types": []string{deviceCode, "refresh_token"}})
		a := r.postForm(r.endpoint("device_authorization_endpoint"), url.Values{"client_id": {app.ClientID}, "scope": {"openid"}}, peerHeader, ci)
		m := a.json()
		if a.status != 200 || member(m, "user_code") == "" || member(m, "verification_uri") == "" {
			r.fatalf("%d %s", a.status, a.body)
		}
		poll := url.Values{"grant_type": {deviceCode}, "device_code": {member(m, "device_code")}, "client_id": {app.ClientID}}
		r.wantError(r.postForm(app.Endpoint.TokenURL, poll), 400, "authorization_pending")
		page := r.browser.open(member(m, "verification_uri")+"?user_code="+url.QueryEscape(member(m, "user_code")), "")
		f := page.form()
		if f == nil || f.method != "post" {
			r.fatalf("%d %s", page.status, text(page.body))
		}
		f.fields.Set("decision", "approve")
		action, err := page.at.Parse(f.action)
		r.noError(err, "reading the form")
		r.browser.post(action.String(), r.w.origin(), f.fields)
		r.w.clock.advance(6 * time.Second)
		a = r.postForm(app.Endpoint.TokenURL, poll)
		r.checkTokenAnswer(a)
		if sub := r.decode(member(a.json(), "id_token"), 1)["sub"]; sub != "userid:1001" {
			r.errorf("sub %v", sub)
		}
	})
	check(t, "CORS_with_MCP_header_and_on_errors", func(r *run) {
		for _, member := range []string{"token_endpoint", "userinfo_endpoint", "jwks_uri", "revocation_endpoint"} {
			r.checkCORS(r.endpoint(member), "*")
		}
		a := r.call("GET", r.op.UserInfoEndpoint(), "", "Origin", appOrigin, "Authorization", "Bearer nonsense")
		if a.status != 401 || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
			r.errorf("%d %v", a.status, a.header)
		}
	})
	check(t, "no_member_null_or_empty", func(r *run) {
		for _, body := range [][]byte{r.call("GET", discoveryPath, "").body, r.redeemForm(r.code(r.app)).body} {
			var m map[string]any
			r.noError(json.Unmarshal(body, &m), "reading")
			for name, v := range m {
				if v == nil || v == "" {
					r.errorf("%s is %#v", name, v)
				}
			}
		}
	})
}
