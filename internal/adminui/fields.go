// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

// A field is a member of the client metadata in the form: one table says how
// it is shown, read, and compared.
type field struct {
	name, label, hint string
	kind              string // text, lines, check, select, checks
	choices           []choice
	get               func(*admin.ClientMetadata) string
	set               func(*admin.ClientMetadata, string) error
}

// A choice is an option of a field.
type choice struct{ Value, Label string }

// A fieldGroup is a part of the form. The first one is open.
type fieldGroup struct {
	title  string
	fields []field
}

var fieldGroups = []fieldGroup{
	{"", []field{
		text("client_name", "Name", "as people see it", func(m *admin.ClientMetadata) *string { return &m.Name }),
		list("redirect_uris", "Redirect URIs", "one in a line; where the application takes its codes, letter by letter", func(m *admin.ClientMetadata) *[]string { return &m.RedirectURIs }),
		text("client_uri", "Home page", "opens from the list that people have on their own page", func(m *admin.ClientMetadata) *string { return &m.ClientURI }),
		options("access", "Who may log in", "", func(m *admin.ClientMetadata) *string { return &m.Access },
			choice{"tailnet", "everybody of this tailnet"}, choice{"granted", "those whose rules list this client"}),
	}},
	{"How it logs people in", []field{
		options("token_endpoint_auth_method", "How it proves itself", "", func(m *admin.ClientMetadata) *string { return &m.TokenEndpointAuthMethod },
			choice{"client_secret_basic", "client secret"}, choice{"client_secret_post", "client secret, registered as client_secret_post"},
			choice{"none", "not at all: a public client, with PKCE"}, choice{"private_key_jwt", "a key of its own (private_key_jwt)"}),
		check("token_endpoint_auth_method_strict", "Only exactly as registered", "else basic and post are both accepted", func(m *admin.ClientMetadata) *bool { return &m.AuthMethodStrict }),
		options("pkce", "PKCE", "", func(m *admin.ClientMetadata) *string { return &m.PKCE },
			choice{"auto", "required once it has been used"}, choice{"required", "required"}),
		checks("grant_types", "Grant types", func(m *admin.ClientMetadata) *[]string { return &m.GrantTypes },
			choice{"authorization_code", "logins in a browser"}, choice{"refresh_token", "staying logged in"},
			choice{"urn:ietf:params:oauth:grant-type:device_code", "logins of devices without a browser"},
			choice{"client_credentials", "tokens for the application itself"},
			choice{"urn:ietf:params:oauth:grant-type:token-exchange", "token exchange"}),
		options("application_type", "Sort of application", "", func(m *admin.ClientMetadata) *string { return &m.ApplicationType },
			choice{"web", "web"}, choice{"native", "native: on people's devices"}),
		text("scope", "Scopes without being asked", "what it gets when it asks for none, such as: openid email", func(m *admin.ClientMetadata) *string { return &m.Scope }),
		list("post_logout_redirect_uris", "Where a logout may end", "one in a line; without any, wherever a redirect URI is", func(m *admin.ClientMetadata) *[]string { return &m.PostLogoutRedirectURIs }),
		text("initiate_login_uri", "Where a login begins", "opens from people's own page in place of the home page", func(m *admin.ClientMetadata) *string { return &m.InitiateLoginURI }),
		check("ignore_fragment", "Ignore # in redirect URIs", "for applications such as Synology", func(m *admin.ClientMetadata) *bool { return &m.IgnoreFragment }),
	}},
	{"Claims and tokens", []field{
		claims("claims", "Claims of its own", "one in a line, such as: username = preferred_username"),
		check("lean_id_token", "Lean ID token", "claims of scopes in userinfo only", func(m *admin.ClientMetadata) *bool { return &m.LeanIDToken }),
		options("id_token_signed_response_alg", "ID token signed with", "", func(m *admin.ClientMetadata) *string { return &m.IDTokenAlg },
			choice{"RS256", "RS256"}, choice{"ES256", "ES256"}, choice{"EdDSA", "EdDSA"}),
		options("access_token_format", "Access tokens", "", func(m *admin.ClientMetadata) *string { return &m.AccessTokenFormat },
			choice{"jwt", "JWT"}, choice{"opaque", "opaque: only the provider can read them"}),
		list("default_resources", "Resources without being asked", "one in a line; what its tokens are for when it asks for no resource", func(m *admin.ClientMetadata) *[]string { return &m.DefaultResources }),
		list("resource_identifiers", "Resources that it is", "one in a line; it may introspect tokens for them", func(m *admin.ClientMetadata) *[]string { return &m.ResourceIdentifiers }),
		seconds("access_token_lifetime", "Access tokens last", func(m *admin.ClientMetadata) *int64 { return &m.AccessTokenSeconds }),
		seconds("id_token_lifetime", "ID tokens last", func(m *admin.ClientMetadata) *int64 { return &m.IDTokenSeconds }),
		seconds("refresh_token_idle_lifetime", "Refresh tokens last, unused", func(m *admin.ClientMetadata) *int64 { return &m.RefreshIdleSeconds }),
		seconds("refresh_token_total_lifetime", "Refresh tokens last, in all", func(m *admin.ClientMetadata) *int64 { return &m.RefreshTotalSeconds }),
	}},
	{"Keys of its own (private_key_jwt)", []field{
		jwks("jwks", "Public keys", "a key set as JSON"),
		text("jwks_uri", "or where they are", "", func(m *admin.ClientMetadata) *string { return &m.JWKSURI }),
		options("token_endpoint_auth_signing_alg", "Its assertions are signed with", "", func(m *admin.ClientMetadata) *string { return &m.TokenEndpointAuthSigningAlg },
			choice{"", "what its key says"}, choice{"RS256", "RS256"}, choice{"PS256", "PS256"}, choice{"ES256", "ES256"}, choice{"EdDSA", "EdDSA"}),
		check("client_assertion_audience_strict", "Only the issuer as audience", "", func(m *admin.ClientMetadata) *bool { return &m.AssertionAudienceStrict }),
	}},
	{"For people", []field{
		list("contacts", "Contacts", "one in a line", func(m *admin.ClientMetadata) *[]string { return &m.Contacts }),
		text("logo_uri", "Logo", "", func(m *admin.ClientMetadata) *string { return &m.LogoURI }),
		text("policy_uri", "Privacy policy", "", func(m *admin.ClientMetadata) *string { return &m.PolicyURI }),
		text("tos_uri", "Terms of service", "", func(m *admin.ClientMetadata) *string { return &m.TOSURI }),
	}},
}

func text(name, label, hint string, at func(*admin.ClientMetadata) *string) field {
	return field{name: name, label: label, hint: hint, kind: "text",
		get: func(m *admin.ClientMetadata) string { return *at(m) },
		set: func(m *admin.ClientMetadata, s string) error { *at(m) = strings.TrimSpace(s); return nil },
	}
}

func options(name, label, hint string, at func(*admin.ClientMetadata) *string, choices ...choice) field {
	f := text(name, label, hint, at)
	f.kind, f.choices = "select", choices
	return f
}

func list(name, label, hint string, at func(*admin.ClientMetadata) *[]string) field {
	return field{name: name, label: label, hint: hint, kind: "lines",
		get: func(m *admin.ClientMetadata) string { return strings.Join(*at(m), "\n") },
		set: func(m *admin.ClientMetadata, s string) error { *at(m) = lines(s); return nil },
	}
}

func checks(name, label string, at func(*admin.ClientMetadata) *[]string, choices ...choice) field {
	f := list(name, label, "", at)
	f.kind, f.choices = "checks", choices
	f.set = func(m *admin.ClientMetadata, s string) error {
		// Those that were there keep their order, which the form does not show.
		sent := lines(s)
		kept := slices.DeleteFunc(slices.Clone(*at(m)), func(v string) bool { return !slices.Contains(sent, v) })
		*at(m) = append(kept, slices.DeleteFunc(sent, func(v string) bool { return slices.Contains(kept, v) })...)
		return nil
	}
	return f
}

func check(name, label, hint string, at func(*admin.ClientMetadata) *bool) field {
	return field{name: name, label: label, hint: hint, kind: "check",
		get: func(m *admin.ClientMetadata) string {
			if *at(m) {
				return "true"
			}
			return ""
		},
		set: func(m *admin.ClientMetadata, s string) error { *at(m) = s == "true"; return nil },
	}
}

func seconds(name, label string, at func(*admin.ClientMetadata) *int64) field {
	return field{name: name, label: label, hint: "in seconds; empty for the provider's own", kind: "text",
		get: func(m *admin.ClientMetadata) string {
			if *at(m) == 0 {
				return ""
			}
			return strconv.FormatInt(*at(m), 10)
		},
		set: func(m *admin.ClientMetadata, s string) (err error) {
			if *at(m) = 0; strings.TrimSpace(s) == "" {
				return nil
			}
			if *at(m), err = strconv.ParseInt(strings.TrimSpace(s), 10, 64); err != nil {
				return errors.New("want a number of seconds")
			}
			return nil
		},
	}
}

func claims(name, label, hint string) field {
	return field{name: name, label: label, hint: hint, kind: "lines",
		get: func(m *admin.ClientMetadata) string {
			var all []string
			for _, k := range slices.Sorted(maps.Keys(m.Claims)) {
				all = append(all, k+" = "+m.Claims[k])
			}
			return strings.Join(all, "\n")
		},
		set: func(m *admin.ClientMetadata, s string) error {
			m.Claims = nil
			for _, line := range lines(s) {
				claim, source, ok := strings.Cut(line, "=")
				claim, source = strings.TrimSpace(claim), strings.TrimSpace(source)
				if !ok || claim == "" || source == "" {
					return fmt.Errorf("%q is not of the form: claim = source", line)
				}
				if m.Claims[claim] != "" {
					return fmt.Errorf("%q appears twice", claim)
				}
				if m.Claims == nil {
					m.Claims = make(map[string]string)
				}
				m.Claims[claim] = source
			}
			return nil
		},
	}
}

func jwks(name, label, hint string) field {
	return field{name: name, label: label, hint: hint, kind: "lines",
		get: func(m *admin.ClientMetadata) string { return string(m.JWKS) },
		set: func(m *admin.ClientMetadata, s string) error {
			if m.JWKS = nil; strings.TrimSpace(s) != "" {
				m.JWKS = []byte(strings.TrimSpace(s))
			}
			return nil
		},
	}
}

// allFields are those of all groups.
func allFields(yield func(*field) bool) {
	for g := range fieldGroups {
		for i := range fieldGroups[g].fields {
			if !yield(&fieldGroups[g].fields[i]) {
				return
			}
		}
	}
}

// sent returns what the form says about f.
func (f *field) sent(form url.Values) string {
	return strings.ReplaceAll(strings.Join(form[f.name], "\n"), "\r\n", "\n")
}

// A formError is about a field of the form.
type formError struct{ field, message string }

func (e *formError) Error() string { return e.field + ": " + e.message }

// Problem implements [admin.Problem].
func (e *formError) Problem() (code, field, message string) {
	return "invalid_request", e.field, e.message
}

// readFields sets the members of m as the form says. What the form does not
// have stays as it is.
func readFields(m *admin.ClientMetadata, form url.Values) error {
	for f := range allFields {
		if err := f.set(m, f.sent(form)); err != nil {
			return &formError{f.name, err.Error()}
		}
	}
	return nil
}

// marks are short digests of what fields are, by which a form that comes back
// tells what has changed meanwhile.
func marks(m *admin.ClientMetadata) string {
	var all []string
	for f := range allFields {
		all = append(all, mark(f.get(m)))
	}
	return strings.Join(all, ".")
}

func mark(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:4])
}
