// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var jellyfin = Recipe{
	ID:    "jellyfin",
	Name:  "Jellyfin",
	About: "The plugin SSO-Auth (9p4/jellyfin-plugin-sso), which has to be installed first. It is for browsers: television and telephone applications keep the password, or Quick Connect.",
	Fields: []Field{
		addressField("Address of Jellyfin", "https://jellyfin.example.com"),
		nameField("provider", "Name of the provider", "in the plugin; it is part of the addresses", "tailscale"),
	},
	client: admin.ClientMetadata{
		// The second is that of older versions.
		RedirectURIs:            []string{"{{.url}}/sso/OID/redirect/{{.provider}}", "{{.url}}/sso/OID/r/{{.provider}}"},
		ClientURI:               "{{.url}}/sso/OID/start/{{.provider}}",
		TokenEndpointAuthMethod: "client_secret_post",
		PKCE:                    "required",
	},
	settings: []Section{{
		Title: "Dashboard, Plugins, SSO-Auth",
		Rows: []Row{
			{"Name of OpenID Provider", "{{.provider}}"},
			{"OpenID Endpoint", "{{.issuer}}"},
			{"OpenID Client ID", "{{.client_id}}"},
			{"OpenID Secret", "{{.client_secret}}"},
			{"Enabled", "yes"},
			{"Enable Authorization by Plugin", "yes"},
			{"Roles", "jellyfin-users, jellyfin-admins"},
			{"Admin Roles", "jellyfin-admins"},
			{"Role Claim", "groups"},
			{"Request Additional Scopes", "groups"},
			{"Default username claim", "preferred_username"},
			{"Scheme Override", "https"},
		},
	}, {
		Title: "Dashboard, General, Login disclaimer",
		Text:  "A button on the login page. People may also go there directly.",
		Lang:  "html",
		Code:  "<a href=\"{{.url}}/sso/OID/start/{{.provider}}\" class=\"raised block emby-button button-submit\">Sign in with Tailscale</a>\n",
	}},
	grants: []grant{
		{"group:jellyfin-users", `{"groups": ["jellyfin-users"]}`},
		{"group:jellyfin-admins", `{"groups": ["jellyfin-admins"]}`},
	},
	Roles: "Who is in none of the plugin's Roles does not get in; members of jellyfin-admins administrate. Leave Roles empty to let everybody in.",
	Sees:  "A button on the login page, and then Jellyfin.",
	Faults: []Fault{
		{"tsidp's page about the redirect URI, with http in place of https", "Jellyfin is behind a proxy and does not know its own scheme: set Scheme Override."},
		{"tsidp's page about the redirect URI, with another name at its end", "The name of the provider in the plugin is not the one that was registered."},
		{"Error 401 after the login", "The person is in none of the groups of Roles."},
		{"An error about the discovery document", "OpenID Endpoint must be the issuer as it is, with https and without a slash at the end."},
	},
}
