// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes_test

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/tailscale/tsidp/internal/recipes/recipetest"
)

type printed = *recipetest.Printed

// Small parts of the table below.

// set is the value of a setting.
func set(name string) func(printed) string {
	return func(p printed) string { return p.Get(name) }
}

// always is a value that the application has by itself.
func always(v string) func(printed) string {
	return func(printed) string { return v }
}

// split is a list of scopes that is written with another separator.
func split(name, separator string) func(printed) string {
	return func(p printed) string { return strings.Join(strings.Split(p.Get(name), separator), " ") }
}

// at is a redirect URI below the address that people have opened.
func at(paths ...string) func(printed, string) []string {
	return func(_ printed, address string) []string {
		var uris []string
		for _, path := range paths {
			uris = append(uris, address+path)
		}
		return uris
	}
}

// below is a redirect URI below an address in the settings.
func below(name, path string) func(printed, string) []string {
	return func(p printed, _ string) []string { return []string{p.Get(name) + path} }
}

// fixed are redirect URIs of programs on people's devices.
func fixed(uris ...string) func(printed, string) []string {
	return func(printed, string) []string { return uris }
}

func pkceAlways(printed, metadata) bool { return true }
func pkceNever(printed, metadata) bool  { return false }
func pkceListed(_ printed, m metadata) bool {
	return m.lists("code_challenge_methods_supported", "S256")
}
func pkceSet(name, on string) func(printed, metadata) bool {
	return func(p printed, _ metadata) bool { return p.Get(name) == on }
}

// role is a claim by the setting that names it, and the value in it that
// another setting looks for.
func role(claim, value func(printed) string) func(printed) (string, string) {
	return func(p printed) (string, string) { return claim(p), value(p) }
}

// match is what a regular expression finds in a setting.
func match(setting func(printed) string, expr string) func(printed) string {
	return func(p printed) string {
		m := regexp.MustCompile(expr).FindStringSubmatch(setting(p))
		if m == nil {
			return ""
		}
		return m[1]
	}
}

// Ways to log out, by what they send.

func logoutHint(_ printed, m metadata, s *session) string {
	return m.text("end_session_endpoint") + "?" + url.Values{"id_token_hint": {s.idToken}, "post_logout_redirect_uri": {home(s)}}.Encode()
}

func logoutClient(_ printed, m metadata, s *session) string {
	return m.text("end_session_endpoint") + "?" + url.Values{"client_id": {s.clientID()}, "post_logout_redirect_uri": {home(s)}}.Encode()
}

func logoutSet(name string) func(printed, metadata, *session) string {
	return func(p printed, _ metadata, _ *session) string { return p.Get(name) }
}

func logoutSetHint(name string) func(printed, metadata, *session) string {
	return func(p printed, _ metadata, s *session) string {
		return p.Get(name) + "?" + url.Values{"id_token_hint": {s.idToken}, "client_id": {s.clientID()}, "post_logout_redirect_uri": {home(s)}}.Encode()
	}
}

func (s *session) clientID() string { return s.settings.Get(s.app.clientID) }

// home is the start page of the application.
func home(s *session) string {
	u, err := url.Parse(s.redirect)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/login"
}

// Checks of the metadata that libraries make before anything else.

// sameHost: Duende's OidcClient wants all endpoints below the authority.
func sameHost(m metadata) error {
	for name, v := range m {
		if s, ok := v.(string); ok && (strings.HasSuffix(name, "_endpoint") || name == "jwks_uri") && !strings.HasPrefix(s, m.text("issuer")+"/") {
			return fmt.Errorf("%s is %s", name, s)
		}
	}
	return nil
}

func strictLists(m metadata) error {
	switch {
	case !m.lists("response_modes_supported", "query"), !m.lists("grant_types_supported", "authorization_code"),
		!m.lists("code_challenge_methods_supported", "S256"), !m.lists("id_token_signing_alg_values_supported", "RS256"):
		return errors.New("the metadata lack what hass-oidc-auth needs")
	}
	return nil
}

// codeFlow: Argo CD falls back to the implicit flow.
func codeFlow(m metadata) error {
	if !m.lists("response_types_supported", "code") {
		return errors.New("no response type code")
	}
	return nil
}
