// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const discoveryPath = "/.well-known/openid-configuration"

func configModules() []module {
	changed := func(member string, v any) fault {
		name := member + " changed"
		if v == nil {
			name = member + " missing"
		}
		return onJSON(name, "/openid-configuration", map[string]any{member: v})
	}
	return []module{{name: "oidcc-discovery-endpoint-verification", test: discovery, faults: []fault{
		onHeader("/openid-configuration", "Content-Type", "text/html"),
		onAnswer("status 201", "/openid-configuration", func(a *answer) { a.status = http.StatusCreated }),
		changed("issuer", "https://idp.example/"),
		changed("response_types_supported", []string{"token"}),
		changed("response_types_supported", nil),
		changed("subject_types_supported", []string{"secret"}),
		changed("id_token_signing_alg_values_supported", []string{"ES256"}),
		changed("authorization_endpoint", "http://idp.example/authorize"),
		changed("token_endpoint", nil),
		changed("end_session_endpoint", "http://idp.example/logout"),
		changed("jwks_uri", "https://127.0.0.1:1/jwks.json"),
		changed("scopes_supported", []string{"profile"}),
		changed("scopes_supported", []string{"openid", "two words"}),
		changed("grant_types_supported", []string{}),
		changed("claims_parameter_supported", "false"),
		changed("code_challenge_methods_supported", "S256"),
		changed("ui_locales_supported", []string{"EN_us"}),
		onAnswer("private key", "/jwks.json", func(a *answer) {
			a.body = []byte(strings.Replace(string(a.body), `"kid"`, `"d":"AQAB","kid"`, 1))
		}),
	}}}
}

// knownMembers are those of OpenID Connect Discovery, RFC 8414, RFC 8628, RFC
// 9207, RFC 9449, RFC 9126, the logout specifications and the registry of IANA.
var knownMembers = strings.Fields(`issuer authorization_endpoint token_endpoint userinfo_endpoint jwks_uri registration_endpoint
	revocation_endpoint introspection_endpoint device_authorization_endpoint end_session_endpoint pushed_authorization_request_endpoint
	scopes_supported response_types_supported response_modes_supported grant_types_supported acr_values_supported subject_types_supported
	id_token_signing_alg_values_supported userinfo_signing_alg_values_supported request_object_signing_alg_values_supported
	token_endpoint_auth_methods_supported token_endpoint_auth_signing_alg_values_supported revocation_endpoint_auth_methods_supported
	introspection_endpoint_auth_methods_supported revocation_endpoint_auth_signing_alg_values_supported
	introspection_endpoint_auth_signing_alg_values_supported display_values_supported claim_types_supported claims_supported
	service_documentation claims_locales_supported ui_locales_supported claims_parameter_supported request_parameter_supported
	request_uri_parameter_supported require_request_uri_registration op_policy_uri op_tos_uri code_challenge_methods_supported
	authorization_response_iss_parameter_supported prompt_values_supported client_id_metadata_document_supported
	dpop_signing_alg_values_supported backchannel_logout_supported backchannel_logout_session_supported protected_resources`)

// discovery: OpenID Connect Discovery sections 3 and 4.
func discovery(r *run) {
	a := r.call("GET", r.w.issuer+discoveryPath, "")
	m := a.json()
	if a.status != http.StatusOK || !isJSON(a) || m == nil {
		r.fatalf("metadata: %d %s", a.status, a.header.Get("Content-Type"))
	}
	if m["issuer"] != r.w.issuer {
		r.errorf("issuer %v, want %s", m["issuer"], r.w.issuer)
	}
	for name, v := range m {
		r.checkMember(name, v)
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported"} {
		if m[name] == nil {
			r.errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"userinfo_endpoint", "claims_supported", "scopes_supported"} {
		if m[name] == nil {
			r.warnf("%s is missing", name)
		}
	}
	for member, value := range map[string]string{
		"response_types_supported": "code", "id_token_signing_alg_values_supported": "RS256", "scopes_supported": "openid", "subject_types_supported": "public",
	} {
		if !slices.Contains(texts(m[member]), value) {
			r.errorf("%s is %v, want %s in it", member, m[member], value)
		}
	}
	if slices.ContainsFunc(texts(m["subject_types_supported"]), func(s string) bool { return s != "public" && s != "pairwise" }) {
		r.errorf("subject_types_supported %v", m["subject_types_supported"])
	}
	r.checkKeys()
}

// texts are the elements of a JSON array of strings; nil if it is none.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	res := []string{}
	for _, e := range list {
		s, ok := e.(string)
		if !ok || s == "" {
			return nil
		}
		res = append(res, s)
	}
	return res
}

// checkMember checks the type of a member by its name.
func (r *run) checkMember(name string, v any) {
	if !slices.Contains(knownMembers, name) {
		r.warnf("unknown member %s", name)
	}
	switch {
	case strings.HasSuffix(name, "_endpoint"), strings.HasSuffix(name, "_uri"), name == "issuer":
		s, _ := v.(string)
		if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
			r.errorf("%s is %v, want an https URL", name, v)
		}
	case strings.HasSuffix(name, "locales_supported"):
		for _, tag := range texts(v) {
			if lang, _, _ := strings.Cut(tag, "-"); lang != strings.ToLower(lang) || strings.Contains(tag, "_") {
				r.errorf("%s has %s, want the casing of BCP 47", name, tag)
			}
		}
	case strings.HasSuffix(name, "parameter_supported"), strings.HasSuffix(name, "document_supported"), strings.HasPrefix(name, "backchannel_"):
		if _, ok := v.(bool); !ok {
			r.errorf("%s is %v, want a boolean", name, v)
		}
	case strings.HasSuffix(name, "_supported"):
		if len(texts(v)) == 0 {
			r.errorf("%s is %v, want texts", name, v)
		}
	}
	if name == "scopes_supported" && slices.ContainsFunc(texts(v), func(s string) bool { return strings.ContainsAny(s, " \"\\") }) {
		r.errorf("scopes_supported %v", v)
	}
}
