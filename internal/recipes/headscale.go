// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var headscale = Recipe{
	ID:     "headscale",
	Name:   "Headscale",
	About:  "People who add a device to a Headscale network log in with their device of this tailnet. Headscale must reach tsidp when it starts.",
	Fields: []Field{addressField("server_url of Headscale", "https://headscale.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/oidc/callback"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "config.yaml",
		Text:  "allowed_groups is checked at each login. With use_expiry_from_token, which is off by default, a device would have to log in again after the hour that an ID token lives.",
		Lang:  "yaml",
		Code: `oidc:
  only_start_if_oidc_is_available: true
  issuer: {{q .issuer}}
  client_id: {{q .client_id}}
  client_secret: {{q .client_secret}}
  scope: ["openid", "profile", "email", "groups"]
  pkce:
    enabled: true
    method: S256
  allowed_groups: ["headscale-users"]
`,
	}},
	grants: []grant{{"group:headscale-users", `{"groups": ["headscale-users"]}`}},
	Roles:  "Who is not in headscale-users cannot add a device.",
	Sees:   "tailscale up prints an address; on the page that it leads to they are logged in already, and the device is added.",
	Faults: []Fault{
		{"Headscale does not start", "It cannot reach the issuer, or does not trust its certificate: only_start_if_oidc_is_available makes it wait for that."},
		{"An account without an e-mail address", "Headscale keeps only verified ones. tsidp vouches for addresses of the tailnet's own domain: see -email-verified in docs/running.md."},
		{"unauthorized, though the person is in a group", "The scope groups is missing, or allowed_domains is set and the address is not verified."},
		{"tsidp's page about the redirect URI", "server_url has a port that is not in the registered address. A :443 counts."},
	},
}
