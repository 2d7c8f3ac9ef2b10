// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

// generic is for applications without a recipe.
var generic = Recipe{
	ID:    "openid-connect",
	Name:  "Any OpenID Connect application",
	About: "For an application without a page of its own here. Its documentation says what its redirect URI (callback URL) is.",
	Fields: []Field{
		{Name: "name", Label: "Name", Hint: "for people", Example: "Wiki", Required: true, check: title},
		{
			Name: "redirect_uris", Label: "Redirect URIs", Hint: "letter by letter as the application sends them, separated by blanks",
			Example: "https://wiki.example.com/callback", Required: true, check: redirectURIs,
		},
	},
	client: admin.ClientMetadata{Name: "{{.name}}", RedirectURIs: []string{"{{.redirect_uris}}"}},
	settings: []Section{{
		Title: "Settings",
		Text:  "Most need the issuer or the discovery address, and find the rest by themselves.",
		Rows: []Row{
			{"Issuer", "{{.issuer}}"},
			{"Discovery address", "{{.issuer}}/.well-known/openid-configuration"},
			{"Client ID", "{{.client_id}}"},
			{"Client secret", "{{.client_secret}}"},
			{"Scopes", "openid profile email groups"},
			{"Authorization endpoint", "{{.issuer}}/authorize"},
			{"Token endpoint", "{{.issuer}}/token"},
			{"Userinfo endpoint", "{{.issuer}}/userinfo"},
			{"Key set (JWKS)", "{{.issuer}}/.well-known/jwks.json"},
			{"Logout endpoint", "{{.issuer}}/logout"},
			{"Client authentication", "client_secret_basic or client_secret_post"},
			{"PKCE", "S256"},
			{"Signature algorithm", "RS256"},
			{"User name claim", "preferred_username"},
			{"Groups claim", "groups"},
		},
	}},
	grants: []grant{{"group:wiki-editors", `{"groups": ["wiki-editors"]}`}},
	Roles:  "An application that reads groups finds there what the rules of a person say.",
	Sees:   "Whatever the application shows for its login, and nothing of tsidp.",
	Faults: []Fault{
		{"tsidp's page about the redirect URI", "It shows the address that the application sent: register that, if it is yours."},
		{"The application cannot reach the issuer", "It has to be on the tailnet, or to reach tsidp in another way."},
		{"The application misses an e-mail address or a name", "The scopes email and profile are missing, or the login name of the person is no address."},
	},
}
