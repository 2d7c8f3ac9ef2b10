// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var incus = Recipe{
	ID:    "incus",
	Name:  "Incus",
	About: "The server's web interface and the command incus, which uses the device grant.",
	Fields: []Field{{
		Name: "url", Label: "Address of the Incus server", Hint: "with its port", Example: "https://incus.example.com:8443", Required: true, check: httpsAddress,
	}},
	client: admin.ClientMetadata{
		RedirectURIs:            []string{"{{.url}}/oidc/callback"},
		ClientURI:               "{{.url}}",
		TokenEndpointAuthMethod: "none",
		// Whoever logs in may do everything.
		Access:     "granted",
		GrantTypes: []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
	},
	settings: []Section{{
		Title: "On the server",
		Text:  "Leave oidc.audience unset. Incus knows people by the sub of the access token, such as userid:1234.",
		Lang:  "sh",
		Code: `incus config set oidc.issuer={{.issuer}}
incus config set oidc.client.id={{.client_id}}
incus config set oidc.scopes=openid,offline_access
`,
	}, {
		Title: "On people's devices",
		Lang:  "sh",
		Code:  "incus remote add my-incus {{.url}} --auth-type oidc\n",
	}},
	Roles: "Incus lets everybody who logs in do everything, unless it has an authorization of its own (OpenFGA). So the client is registered with " +
		"access granted, and this rule says who logs in.",
	Sees: "In the browser a button “Login with SSO”. The command opens a page on which they compare a code and approve.",
	Faults: []Fault{
		{"tsidp's page that the application is not granted", "No rule of the person has the client under clients. The page shows the grant."},
		{"invalid_target or access_denied with an audience", "oidc.audience is set. Unset it."},
		{"A login is refused because the token is from the future", "The clock of the server is more than a few seconds slow."},
	},
}
