// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestRFC8414: metadata of the authorization server.
func TestRFC8414(t *testing.T) {
	check(t, "issuer_https_without_query_and_fragment", func(r *run) {
		u, err := url.Parse(member(r.metadata(), "issuer"))
		if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.String() != r.w.issuer {
			r.errorf("issuer %v", r.metadata()["issuer"])
		}
	})
	t.Run("document_at_path_inserted_URL", func(t *testing.T) {
		w := quiet(t, "/idp", nil)
		r := begin(t, w)
		var first []byte
		for _, path := range []string{
			"/.well-known/oauth-authorization-server/idp", "/.well-known/openid-configuration/idp",
			"/idp/.well-known/openid-configuration", "/idp/.well-known/oauth-authorization-server",
		} {
			a := r.call("GET", path, "")
			if a.status != 200 || !isJSON(a) || a.json()["issuer"] != w.issuer {
				r.errorf("%s: %d %s", path, a.status, a.json()["issuer"])
			}
			if first == nil {
				first = a.body
			}
			if !bytes.Equal(first, a.body) {
				r.errorf("%s differs", path)
			}
		}
		// And what it names works.
		r.pkce = true
		r.login()
	})
	check(t, "application_json", func(r *run) {
		if a := r.call("GET", "/.well-known/oauth-authorization-server", ""); a.header.Get("Content-Type") != "application/json" {
			r.errorf("Content-Type %q", a.header.Get("Content-Type"))
		}
	})
	check(t, "grant_types_and_authentication_methods_always_sent", func(r *run) {
		m := r.metadata()
		for member, want := range map[string][]string{
			"grant_types_supported":                 {"authorization_code", "refresh_token"},
			"token_endpoint_auth_methods_supported": {"client_secret_basic", "client_secret_post", "none", "private_key_jwt"},
		} {
			for _, v := range want {
				if !slices.Contains(texts(m[member]), v) {
					r.errorf("%s %v lacks %s", member, m[member], v)
				}
			}
		}
	})
	check(t, "port_is_part_of_the_issuer", func(r *run) {
		u, err := url.Parse(r.w.issuer)
		if err != nil || u.Port() == "" {
			r.fatalf("issuer %s has no port", r.w.issuer)
		}
		l, a := r.authorize()
		r.finish(l, a)
		if l.id.Issuer != r.w.issuer {
			r.errorf("iss %s, want %s", l.id.Issuer, r.w.issuer)
		}
	})
	check(t, "host_header_never_builds_the_issuer", func(r *run) {
		want := r.call("GET", discoveryPath, "").body
		for _, header := range [][]string{{"Host", "evil.example"}, {"X-Forwarded-Host", "evil.example"}, {"Forwarded", "host=evil.example"}} {
			if a := r.call("GET", discoveryPath, "", header...); !bytes.Equal(a.body, want) {
				r.errorf("%s: %d %s", header[0], a.status, a.body)
			}
		}
	})
	check(t, "unknown_host_misdirected", func(r *run) {
		l := r.request(r.app)
		u, err := url.Parse(l.app.Endpoint.AuthURL)
		r.noError(err, "parsing")
		for _, path := range []string{u.Path + "?" + l.query.Encode(), "/logout", "/api/v1/clients"} {
			if a := r.call("GET", path, "", "Host", "evil.example", peerHeader, admin); a.status != 421 {
				r.errorf("%s under another name: %d", path, a.status)
			}
		}
	})
	check(t, "metadata_published", func(r *run) {
		m := r.metadata()
		for _, name := range strings.Fields(`issuer authorization_endpoint token_endpoint jwks_uri userinfo_endpoint revocation_endpoint
			introspection_endpoint device_authorization_endpoint end_session_endpoint registration_endpoint response_types_supported response_modes_supported
			grant_types_supported subject_types_supported id_token_signing_alg_values_supported token_endpoint_auth_methods_supported
			code_challenge_methods_supported scopes_supported claims_supported claims_parameter_supported request_parameter_supported
			request_uri_parameter_supported authorization_response_iss_parameter_supported prompt_values_supported acr_values_supported
			introspection_endpoint_auth_methods_supported revocation_endpoint_auth_methods_supported
			token_endpoint_auth_signing_alg_values_supported`) {
			if _, ok := m[name]; !ok {
				r.errorf("%s is missing", name)
			}
		}
		for _, name := range []string{"request_parameter_supported", "request_uri_parameter_supported"} {
			if m[name] != false {
				r.errorf("%s %v", name, m[name])
			}
		}
		// What is not there is not advertised.
		for name := range m {
			if strings.HasSuffix(name, "_endpoint") {
				u, err := url.Parse(r.endpoint(name))
				r.noError(err, "parsing "+name)
				if a := r.call("GET", u.Path, "", peerHeader, alice); a.status == 404 {
					r.errorf("%s leads nowhere", name)
				}
			}
		}
	})
}
