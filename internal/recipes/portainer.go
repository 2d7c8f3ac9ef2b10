// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var portainer = Recipe{
	ID:     "portainer",
	Name:   "Portainer",
	About:  "OAuth with a custom provider. Accounts are made at the first login, without rights, unless a team is given.",
	Fields: []Field{addressField("Address of Portainer", "https://portainer.example.com:9443")},
	client: admin.ClientMetadata{
		RedirectURIs:            []string{"{{.url}}"},
		ClientURI:               "{{.url}}",
		TokenEndpointAuthMethod: "client_secret_post",
	},
	settings: []Section{{
		Title: "Settings, Authentication, OAuth, Custom",
		Rows: []Row{
			{"Automatic user provisioning", "yes"},
			{"Client ID", "{{.client_id}}"},
			{"Client secret", "{{.client_secret}}"},
			{"Authorization URL", "{{.issuer}}/authorize"},
			{"Access token URL", "{{.issuer}}/token"},
			{"Resource URL", "{{.issuer}}/userinfo"},
			{"Redirect URL", "{{.url}}"},
			{"Logout URL", "{{.issuer}}/logout"},
			{"User identifier", "preferred_username"},
			{"Scopes", "openid,email,profile"},
			{"Auth Style", "In Params"},
		},
	}},
	Sees: "A button “Login with OAuth”. One click, and they are in.",
	Faults: []Fault{
		{"Unauthorized, right after the login", "The secret, or Access token URL and Resource URL in each other's place. Portainer's log has more."},
		{"tsidp's page about the redirect URI", "Redirect URL has a slash at its end, or another host or port than the one registered."},
		{"Logged in, but there is no environment", "Give the account, or a default team, access to one."},
	},
}
