// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const resource = "https://mcp.example/mcp"

// TestRFC9068: access tokens that are JWTs.
func TestRFC9068(t *testing.T) {
	check(t, "header", func(r *run) {
		header := r.decode(member(r.tokens(r.code(r.app)), "access_token"), 0)
		// "SHOULD use the media type application/at+jwt"; section 2.1.
		if header["typ"] != "at+jwt" {
			r.errorf("typ %v", header["typ"])
		}
		if alg := header["alg"]; alg != "ES256" && alg != "RS256" && alg != "EdDSA" {
			r.errorf("alg %v is not asymmetric", alg)
		}
	})
	check(t, "signature", func(r *run) {
		token := member(r.tokens(r.code(r.app)), "access_token")
		var set jose.JSONWebKeySet
		r.noError(json.Unmarshal(r.call("GET", r.endpoint("jwks_uri"), "").body, &set), "reading keys")
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA})
		r.noError(err, "parsing the access token")
		_, err = jws.Verify(&set)
		r.noError(err, "verifying the access token")
	})
	check(t, "claims", func(r *run) {
		m := r.tokens(r.code(r.app, "scope", "openid email"))
		c := r.decode(member(m, "access_token"), 1)
		for name, want := range map[string]any{
			"iss": r.w.issuer, "sub": "userid:1001", "client_id": r.app.ClientID, "scope": "openid email", "acr": "urn:tailscale:node",
		} {
			if c[name] != want {
				r.errorf("%s %v, want %v", name, c[name], want)
			}
		}
		for _, name := range []string{"exp", "iat", "auth_time"} {
			if _, ok := c[name].(float64); !ok {
				r.errorf("%s %v", name, c[name])
			}
		}
		if life := time.Duration(c["exp"].(float64)-c["iat"].(float64)) * time.Second; life != 5*time.Minute {
			r.errorf("lives %v, want 5 minutes", life)
		}
		if member(c, "jti") == "" || len(texts(c["amr"])) == 0 {
			r.errorf("jti %v, amr %v", c["jti"], c["amr"])
		}
		second := r.decode(member(r.tokens(r.code(r.app)), "access_token"), 1)
		if second["jti"] == c["jti"] {
			r.errorf("two tokens have the jti %v", c["jti"])
		}
	})
	check(t, "audience", func(r *run) {
		for _, c := range []struct{ resource, want string }{{"", r.w.issuer}, {resource, resource}} {
			m := r.tokens(r.code(r.app, "resource", c.resource))
			if got := r.decode(member(m, "access_token"), 1)["aud"]; got != c.want {
				r.errorf("aud %v for the resource %q, want %s, and never the client", got, c.resource, c.want)
			}
		}
	})
	check(t, "ID_token_is_no_access_token", func(r *run) {
		m := r.tokens(r.code(r.app))
		if status := r.userinfoStatus(member(m, "id_token")); status != 401 {
			r.errorf("userinfo takes an ID token: %d", status)
		}
		if typ := r.decode(member(m, "id_token"), 0)["typ"]; typ == "at+jwt" {
			r.errorf("typ of the ID token is %v", typ)
		}
		a := r.postForm(r.endpoint("introspection_endpoint"), url.Values{"token": {member(m, "id_token")}}, basic(r.app)...)
		if a.json()["active"] != false {
			r.errorf("an ID token is introspected as %s", a.body)
		}
	})
	check(t, "introspection", func(r *run) {
		server := r.register(map[string]any{"redirect_uris": []string{appRedirect}, "resource_identifiers": []string{resource}})
		m := r.tokens(r.code(r.app, "resource", resource))
		a := r.postForm(r.endpoint("introspection_endpoint"), url.Values{"token": {member(m, "access_token")}}, basic(server)...)
		res := a.json()
		if res["active"] != true || res["sub"] != "userid:1001" || res["client_id"] != r.app.ClientID || res["token_type"] != "Bearer" {
			r.errorf("introspected as %s", a.body)
		}
		stranger := r.register(map[string]any{"redirect_uris": []string{appRedirect}})
		a = r.postForm(r.endpoint("introspection_endpoint"), url.Values{"token": {member(m, "access_token")}}, basic(stranger)...)
		if len(a.json()) != 1 || a.json()["active"] != false {
			r.errorf("a stranger is told %s", a.body)
		}
	})
	check(t, "forged", func(r *run) {
		c := r.decode(member(r.tokens(r.code(r.app)), "access_token"), 1)
		for _, token := range []string{unsigned(c), sign(c)} {
			if status := r.userinfoStatus(token); status != 401 {
				r.errorf("a forged token is answered with %d", status)
			}
		}
	})
}
