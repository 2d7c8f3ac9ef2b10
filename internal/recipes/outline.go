// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var outline = Recipe{
	ID:     "outline",
	Name:   "Outline",
	About:  "Logs people in by Outline's OIDC plugin. The first login makes the team, for the domain of that person's e-mail address.",
	Fields: []Field{addressField("Address of Outline (URL)", "https://wiki.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs:            []string{"{{.url}}/auth/oidc.callback"},
		ClientURI:               "{{.url}}",
		TokenEndpointAuthMethod: "client_secret_post",
	},
	settings: []Section{{
		Title: "Environment",
		Lang:  "sh",
		Code: `URL={{.url}}
OIDC_CLIENT_ID={{.client_id}}
OIDC_CLIENT_SECRET={{.client_secret}}
OIDC_AUTH_URI={{.issuer}}/authorize
OIDC_TOKEN_URI={{.issuer}}/token
OIDC_USERINFO_URI={{.issuer}}/userinfo
OIDC_LOGOUT_URI={{.issuer}}/logout
OIDC_USERNAME_CLAIM=preferred_username
OIDC_DISPLAY_NAME=Tailscale
OIDC_SCOPES=openid profile email offline_access
`,
	}},
	Sees: "A button “Continue with Tailscale”.",
	Faults: []Fault{
		{"An error that the domain is not allowed", "The e-mail address has another domain than the team. Outline's settings list the allowed ones."},
		{"An error about the e-mail address", noEmail},
		{"People are logged out again and again", "The scope offline_access is missing, so Outline has nothing to refresh with."},
	},
}
