// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var vault = Recipe{
	ID:    "vault",
	Name:  "Vault and OpenBao",
	About: "The auth method oidc, for the web interface and the command line. The server must reach tsidp.",
	Fields: []Field{
		addressField("Address of Vault", "https://vault.example.com:8200"),
		nameField("path", "Path of the auth method", "under which it is enabled", "oidc"),
	},
	client: admin.ClientMetadata{
		RedirectURIs: []string{
			"{{.url}}/ui/vault/auth/{{.path}}/oidc/callback", "http://localhost:8250/oidc/callback",
			"{{.url}}/v1/auth/{{.path}}/oidc/callback", // OpenBao, direct
		},
		ClientURI: "{{.url}}",
		PKCE:      "required",
	},
	settings: []Section{{
		Title: "vault",
		Text:  "For OpenBao the command is bao. A person is known by sub, which never becomes somebody else's.",
		Lang:  "sh",
		Code: `vault auth enable -path={{.path}} oidc
vault write auth/{{.path}}/config \
  oidc_discovery_url={{.issuer}} \
  oidc_client_id={{sh .client_id}} oidc_client_secret={{sh .client_secret}} \
  default_role=tailnet
vault write auth/{{.path}}/role/tailnet \
  user_claim=sub groups_claim=groups \
  oidc_scopes=email,profile,groups \
  allowed_redirect_uris={{.url}}/ui/vault/auth/{{.path}}/oidc/callback \
  allowed_redirect_uris=http://localhost:8250/oidc/callback \
  token_policies=default
`,
	}},
	grants: []grant{{"group:vault-admins", `{"groups": ["vault-admins"]}`}},
	Roles:  "An external group of Vault with the alias vault-admins gives them policies.",
	Sees:   "In the web interface the method OIDC and one button. vault login -method=oidc opens the browser.",
	Faults: []Fault{
		{"“error checking oidc discovery URL”", "The server does not reach the issuer, or does not trust its certificate (oidc_discovery_ca_pem); or the address has a slash at its end."},
		{"Vault refuses the redirect URI", "The address of the web interface is not in allowed_redirect_uris of the role."},
		{"“\"groups\" claim not found in token”", "The scope groups is not in oidc_scopes."},
	},
}
