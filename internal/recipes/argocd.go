// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var argoCD = Recipe{
	ID:     "argo-cd",
	Name:   "Argo CD",
	About:  "The web interface, without Dex. argocd-server must reach tsidp.",
	Fields: []Field{addressField("Address of Argo CD (url in argocd-cm)", "https://argocd.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/auth/callback"},
		ClientURI:    "{{.url}}",
		// The ID token is the session.
		IDTokenSeconds: 8 * 60 * 60,
	},
	settings: []Section{{
		Title: "argocd-cm",
		Lang:  "yaml",
		Code: `data:
  url: {{q .url}}
  oidc.config: |
    name: Tailscale
    issuer: {{q .issuer}}
    clientID: {{q .client_id}}
    clientSecret: $oidc.tailscale.clientSecret
    requestedScopes: ["openid", "profile", "email", "groups"]
    requestedIDTokenClaims: {"groups": {"essential": true}}
    logoutURL: "{{.issuer}}/logout?id_token_hint={{"{{token}}"}}&post_logout_redirect_uri={{"{{logoutRedirectURL}}"}}"
`,
	}, {
		Title: "argocd-secret",
		Lang:  "yaml",
		Code: `stringData:
  oidc.tailscale.clientSecret: {{q .client_secret}}
`,
	}, {
		Title: "argocd-rbac-cm",
		Lang:  "yaml",
		Code: `data:
  policy.csv: |
    g, argocd-admins, role:admin
`,
	}, {
		Title: "The command line",
		Text: "`argocd login --sso` cannot keep the secret: register another client with `\"token_endpoint_auth_method\": \"none\"` and the redirect URI " +
			"http://localhost:8085/auth/callback, and add its id to oidc.config as cliClientID.",
	}},
	grants: []grant{{"group:argocd-admins", `{"groups": ["argocd-admins"]}`}},
	Roles: "Members of argocd-admins are administrators; policy.default says what others may do. A session lasts 8 hours (id_token_lifetime of the client), and so " +
		"does what the groups were at the login.",
	Sees: "A button “Log in via Tailscale”.",
	Faults: []Fault{
		{"An error that the provider cannot be queried", "argocd-server does not reach the issuer, or does not trust its certificate (rootCA in oidc.config)."},
		{"Logged in, but nothing may be done", "The groups are missing: look at User Info in Argo CD, and at scopes in argocd-rbac-cm if that is set."},
		{"tsidp's page about the redirect URI", "url in argocd-cm is not the address that people open."},
	},
}
