// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var cloudflare = Recipe{
	ID:   "cloudflare-access",
	Name: "Cloudflare Access",
	About: "An identity provider of Cloudflare Zero Trust. Cloudflare's servers call tsidp themselves: it must be reachable from the internet, by Funnel or " +
		"under a name of your own. People log in from the tailnet.",
	Fields: []Field{nameField("team", "Team name", "the part before .cloudflareaccess.com", "example")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"https://{{.team}}.cloudflareaccess.com/cdn-cgi/access/callback"},
		ClientURI:    "https://{{.team}}.cloudflareaccess.com",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "Integrations, Identity providers, OpenID Connect",
		Text:  "Cloudflare reads the ID token only. Each claim under OIDC Claims can be used in policies.",
		Rows: []Row{
			{"Name", "Tailscale"},
			{"App ID", "{{.client_id}}"},
			{"Client secret", "{{.client_secret}}"},
			{"Auth URL", "{{.issuer}}/authorize"},
			{"Token URL", "{{.issuer}}/token"},
			{"Certificate URL", "{{.issuer}}/.well-known/jwks.json"},
			{"Proof Key for Code Exchange (PKCE)", "yes"},
			{"Email claim", "email"},
			{"OIDC Claims", "preferred_username"},
		},
	}},
	Sees: "Cloudflare's login page with a button “Tailscale”, or, if it is the only provider, nothing at all.",
	Faults: []Fault{
		{"“Failed to fetch user/group information from the identity provider”", "Cloudflare cannot reach Token URL or Certificate URL: -funnel is not on, or the node may not use Funnel."},
		{"The browser does not find tsidp", "The person is not on the tailnet: that is where the login is."},
		{"The e-mail address is missing", noEmail},
	},
}
