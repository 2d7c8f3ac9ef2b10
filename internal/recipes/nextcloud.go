// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var nextcloud = Recipe{
	ID:    "nextcloud",
	Name:  "Nextcloud",
	About: "The application user_oidc, which has to be installed first.",
	Fields: []Field{
		addressField("Address of Nextcloud", "https://cloud.example.com"),
		nameField("provider", "Identifier", "of the provider in Nextcloud", "tailscale"),
	},
	client: admin.ClientMetadata{
		RedirectURIs:            []string{"{{.url}}/apps/user_oidc/code", "{{.url}}/index.php/apps/user_oidc/code"},
		ClientURI:               "{{.url}}",
		TokenEndpointAuthMethod: "client_secret_post",
		PKCE:                    "required",
	},
	settings: []Section{{
		Title: "On the server",
		Text:  "As the web server's user, in Nextcloud's directory. Or under Administration settings, OpenID Connect.",
		Lang:  "sh",
		Code: `php occ user_oidc:provider {{.provider}} \
  --clientid={{sh .client_id}} --clientsecret={{sh .client_secret}} \
  --discoveryuri={{.issuer}}/.well-known/openid-configuration \
  --scope="openid email profile groups" \
  --unique-uid=0 --mapping-uid=preferred_username \
  --mapping-groups=groups --group-provisioning=1
`,
	}},
	grants: []grant{{"group:family", `{"groups": ["family"]}`}},
	Roles:  "With group-provisioning Nextcloud has the same groups, and their members.",
	Sees:   "A button “Login with tailscale”.",
	Faults: []Fault{
		{"A group is missing in Nextcloud", "The scope groups is missing, or a whitelist of groups is set in the provider's settings."},
		{"“Could not reach the OpenID Connect provider”", "The server is not on the tailnet and does not reach tsidp. If it does, Nextcloud may refuse local addresses: allow_local_remote_servers."},
		{"People are new users after a change of their login name", "mapping-uid makes the name the account. Choose sub for accounts that survive it, which look like userid:1234."},
	},
}
