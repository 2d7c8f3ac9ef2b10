// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var immich = Recipe{
	ID:     "immich",
	Name:   "Immich",
	About:  "The web interface and the telephone application.",
	Fields: []Field{addressField("Address of Immich", "https://photos.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{
			"{{.url}}/auth/login", "{{.url}}/user-settings",
			"app.immich:///oauth-callback", "{{.url}}/api/oauth/mobile-redirect",
		},
		ClientURI:               "{{.url}}",
		TokenEndpointAuthMethod: "client_secret_post",
		PKCE:                    "required",
	},
	settings: []Section{{
		Title: "Administration, Settings, OAuth",
		Rows: []Row{
			{"Issuer URL", "{{.issuer}}"},
			{"Client ID", "{{.client_id}}"},
			{"Client Secret", "{{.client_secret}}"},
			{"Token Endpoint Auth Method", "client_secret_post"},
			{"Scope", "openid email profile"},
			{"Signing Algorithm", "RS256"},
			{"Profile Signing Algorithm", "none"},
			{"Storage Label Claim", "preferred_username"},
			{"Role Claim", "immich_role"},
			{"Storage Quota Claim", "immich_quota"},
			{"Auto Register", "yes"},
			{"Mobile Redirect URI Override", "{{.url}}/api/oauth/mobile-redirect"},
		},
	}},
	grants: []grant{{"group:immich-admins", `{"clients": [{{q .client_id}}], "extraClaims": {"immich_role": "admin"}}`}},
	Roles:  "immich_role makes an account an administrator's when it is made; later changes are made in Immich. immich_quota, in gigabytes, can be granted in the same way.",
	Sees:   "A button “Login with OAuth” in the browser and in the application.",
	Faults: []Fault{
		{"The telephone comes back to an error", "The override is missing, or app.immich:///oauth-callback was registered with two slashes."},
		{"The login fails after an update from before 1.132", "Token Endpoint Auth Method has a new default; tsidp takes both."},
		{"The log says that a claim email is missing", noEmail},
	},
}
