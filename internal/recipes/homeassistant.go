// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var homeAssistant = Recipe{
	ID:     "home-assistant",
	Name:   "Home Assistant",
	About:  "The integration OpenID Connect (christiaangoossens/hass-oidc-auth, from HACS): Home Assistant itself has no such login.",
	Fields: []Field{addressField("Address of Home Assistant", "https://home.example.com:8123")},
	client: admin.ClientMetadata{
		RedirectURIs:            []string{"{{.url}}/auth/oidc/callback"},
		ClientURI:               "{{.url}}/auth/oidc/welcome",
		TokenEndpointAuthMethod: "client_secret_post",
		PKCE:                    "required",
	},
	settings: []Section{{
		Title: "configuration.yaml",
		Lang:  "yaml",
		Code: `auth_oidc:
  client_id: {{q .client_id}}
  client_secret: {{q .client_secret}}
  discovery_url: "{{.issuer}}/.well-known/openid-configuration"
  display_name: "Tailscale"
  id_token_signing_alg: "RS256"
  groups_scope: "groups"
  roles:
    admin: "home-admins"
`,
	}},
	grants: []grant{{"group:home-admins", `{"groups": ["home-admins"]}`}},
	Roles:  "Members of home-admins administrate Home Assistant, everybody else uses it.",
	Sees:   "A page of the integration with one button, then Home Assistant.",
	Faults: []Fault{
		{"The log says that the discovery document is invalid or cannot be read", "Home Assistant does not reach the issuer or does not trust its certificate."},
		{"tsidp's page about the redirect URI", "Home Assistant was opened under another address than the one registered."},
	},
}
