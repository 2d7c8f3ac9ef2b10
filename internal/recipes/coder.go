// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var coder = Recipe{
	ID:     "coder",
	Name:   "Coder",
	About:  "Logs people in by OpenID Connect. Coder wants verified e-mail addresses.",
	Fields: []Field{addressField("Address of Coder (CODER_ACCESS_URL)", "https://coder.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/api/v2/users/oidc/callback"},
		ClientURI:    "{{.url}}",
	},
	settings: []Section{{
		Title: "Environment",
		Text:  "Of coder server; /etc/coder.d/coder.env where it is a service.",
		Lang:  "sh",
		Code: `CODER_ACCESS_URL={{.url}}
CODER_OIDC_ISSUER_URL={{.issuer}}
CODER_OIDC_CLIENT_ID={{.client_id}}
CODER_OIDC_CLIENT_SECRET={{.client_secret}}
CODER_OIDC_SCOPES=openid,profile,email,offline_access
CODER_OIDC_SIGN_IN_TEXT=Sign in with Tailscale
`,
	}},
	Sees: "A button “Sign in with Tailscale”.",
	Faults: []Fault{
		{"“Verify the … email address on your OIDC provider”", "tsidp vouches for addresses of the tailnet's own domain only: see -email-verified in docs/running.md."},
		{"Logged out after minutes", "The scope offline_access is missing, so Coder has nothing to refresh with."},
		{"It does not start", "It does not reach the issuer, or does not trust its certificate."},
	},
}
