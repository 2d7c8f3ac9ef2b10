// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var mealie = Recipe{
	ID:     "mealie",
	Name:   "Mealie",
	About:  "Logs people in and takes their role from groups.",
	Fields: []Field{addressField("Address of Mealie (BASE_URL)", "https://mealie.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/login"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "Environment",
		Lang:  "sh",
		Code: `BASE_URL={{.url}}
OIDC_AUTH_ENABLED=true
OIDC_SIGNUP_ENABLED=true
OIDC_PROVIDER_NAME=Tailscale
OIDC_CONFIGURATION_URL={{.issuer}}/.well-known/openid-configuration
OIDC_CLIENT_ID={{.client_id}}
OIDC_CLIENT_SECRET={{.client_secret}}
OIDC_GROUPS_CLAIM=groups
OIDC_USER_GROUP=mealie-users
OIDC_ADMIN_GROUP=mealie-admins
`,
	}},
	grants: []grant{
		{"group:mealie-users", `{"groups": ["mealie-users"]}`},
		{"group:mealie-admins", `{"groups": ["mealie-admins"]}`},
	},
	Roles: "Who is in neither group does not get in; without OIDC_USER_GROUP everybody does.",
	Sees:  "A button “Login with Tailscale”.",
	Faults: []Fault{
		{"Back at the login page without a word", "Mealie's log says which claim or group is missing. It needs email, name and preferred_username."},
		{"tsidp's page about the redirect URI", "BASE_URL is not the address that people open."},
	},
}
