// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var synology = Recipe{
	ID:    "synology",
	Name:  "Synology DSM",
	About: "The OpenID Connect SSO service of DSM 7.2 or later. DSM makes no accounts: one with the person's name must be there.",
	Fields: []Field{{
		Name: "url", Label: "Address of DSM", Hint: "as people open it, with its port if it is not 443", Example: "https://nas.example.com:5001",
		Required: true, check: webAddress,
	}},
	client: admin.ClientMetadata{
		// DSM sends what is typed as its redirect URI, or the page's address,
		// which has a fragment.
		RedirectURIs:            []string{"{{.url}}", "{{.url}}/"},
		IgnoreFragment:          true,
		ClientURI:               "{{.url}}",
		TokenEndpointAuthMethod: "client_secret_post",
	},
	settings: []Section{{
		Title: "Control Panel, Domain/LDAP, SSO Client, OpenID Connect SSO service",
		Rows: []Row{
			{"Profile", "OIDC"},
			{"Account type", "Domain/LDAP/local"},
			{"Name", "Tailscale"},
			{"Well-known URL", "{{.issuer}}/.well-known/openid-configuration"},
			{"Application ID", "{{.client_id}}"},
			{"Application secret", "{{.client_secret}}"},
			{"Redirect URI", "{{.url}}"},
			{"Authorization scope", "openid profile email groups"},
			{"Username claim", "preferred_username"},
		},
	}},
	Sees: "A choice “Tailscale” in the login window of DSM, which opens another window for a moment.",
	Faults: []Fault{
		{"A message about missing privileges, or nothing happens", "There is no account with exactly the name that preferred_username has, or the browser blocks the other window."},
		{"The account has another name", "preferred_username is the part of the login name before the @, for logins of the tailnet's own domain. Give the DSM account that name, or grant the person the name of the account: see “User names” in docs/apps."},
		{"tsidp's page about the redirect URI", "DSM was opened under another name or port. It has only one redirect URI."},
	},
}
