// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var paperless = Recipe{
	ID:    "paperless-ngx",
	Name:  "Paperless-ngx",
	About: "The social account login of Paperless-ngx.",
	Fields: []Field{
		addressField("Address of Paperless-ngx", "https://paperless.example.com"),
		nameField("provider", "Provider id", "in Paperless; it is part of the redirect URI", "tailscale"),
	},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/accounts/oidc/{{.provider}}/login/callback/"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "Environment",
		Text:  "The second one is a single line.",
		Lang:  "sh",
		Code: `PAPERLESS_APPS=allauth.socialaccount.providers.openid_connect
PAPERLESS_SOCIALACCOUNT_PROVIDERS={"openid_connect": {"SCOPE": ["openid", "profile", "email"], "OAUTH_PKCE_ENABLED": true, "APPS": [{"provider_id": {{q .provider}}, "name": "Tailscale", "client_id": {{q .client_id}}, "secret": {{q .client_secret}}, "settings": {"server_url": "{{.issuer}}/.well-known/openid-configuration"}}]}}
`,
	}},
	Sees: "A button “Tailscale” on the login page. The first time Paperless may ask for a name.",
	Faults: []Fault{
		{"tsidp's page about the redirect URI, with http in place of https", "Paperless does not know that a proxy serves it by https: PAPERLESS_URL and the proxy's X-Forwarded-Proto."},
		{"“Third-Party Login Failure”", "Paperless does not reach the issuer, or does not trust its certificate. Its log has the reason."},
	},
}
