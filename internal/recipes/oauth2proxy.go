// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var oauth2Proxy = Recipe{
	ID:     "oauth2-proxy",
	Name:   "oauth2-proxy",
	About:  "In front of an application that has no login of its own.",
	Fields: []Field{addressField("Address of the application behind the proxy", "https://app.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/oauth2/callback"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "oauth2-proxy.cfg",
		Text:  "Make cookie_secret by openssl rand -base64 32 | tr -- '+/' '-_'. With cookie_refresh the policy is asked again that often.",
		Lang:  "toml",
		Code: `provider = "oidc"
provider_display_name = "Tailscale"
oidc_issuer_url = {{q .issuer}}
client_id = {{q .client_id}}
client_secret = {{q .client_secret}}
redirect_url = "{{.url}}/oauth2/callback"
scope = "openid email profile groups"
code_challenge_method = "S256"
insecure_oidc_skip_nonce = false
email_domains = ["*"]
allowed_groups = ["app-users"]
cookie_refresh = "15m"
`,
	}},
	grants: []grant{{"group:oauth2-proxy-users", `{"groups": ["app-users"]}`}},
	Roles:  "Who is not in app-users is refused by the proxy. Without allowed_groups everybody is let in who can log in.",
	Sees:   "The proxy's page with one button; skip_provider_button = true leaves it out.",
	Faults: []Fault{
		{"Error 500, “neither the id_token nor the profileURL set an email”", noEmail},
		{"403 after the login", "The person is not in allowed_groups."},
		{"It does not start: “error performing discovery”", "It does not reach the issuer, or does not trust its certificate."},
	},
}
