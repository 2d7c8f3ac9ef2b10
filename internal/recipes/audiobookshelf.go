// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var audiobookshelf = Recipe{
	ID:     "audiobookshelf",
	Name:   "Audiobookshelf",
	About:  "The web interface and the telephone application.",
	Fields: []Field{addressField("Address of Audiobookshelf", "https://books.example.com")},
	client: admin.ClientMetadata{
		// Newer versions serve everything below /audiobookshelf.
		RedirectURIs: []string{
			"{{.url}}/audiobookshelf/auth/openid/callback", "{{.url}}/audiobookshelf/auth/openid/mobile-redirect",
			"{{.url}}/auth/openid/callback", "{{.url}}/auth/openid/mobile-redirect", "audiobookshelf://oauth",
		},
		ClientURI: "{{.url}}",
		PKCE:      "required",
	},
	settings: []Section{{
		Title: "Settings, Authentication, OpenID Connect",
		Text:  "Auto-populate fills in the addresses.",
		Rows: []Row{
			{"Issuer URL", "{{.issuer}}"},
			{"Authorize URL", "{{.issuer}}/authorize"},
			{"Token URL", "{{.issuer}}/token"},
			{"Userinfo URL", "{{.issuer}}/userinfo"},
			{"JWKS URL", "{{.issuer}}/.well-known/jwks.json"},
			{"Logout URL", "{{.issuer}}/logout"},
			{"Client ID", "{{.client_id}}"},
			{"Client Secret", "{{.client_secret}}"},
			{"Signing Algorithm", "RS256"},
			{"Allowed Mobile Redirect URIs", "audiobookshelf://oauth"},
			{"Match existing users by", "username"},
			{"Auto Register", "yes"},
			{"Group Claim", "absgroups"},
		},
	}},
	grants: []grant{
		{"group:audiobookshelf-users", `{"clients": [{{q .client_id}}], "extraClaims": {"absgroups": ["user"]}, "includeInUserInfo": true}`},
		{"group:audiobookshelf-admins", `{"clients": [{{q .client_id}}], "extraClaims": {"absgroups": ["admin"]}, "includeInUserInfo": true}`},
	},
	Roles: "absgroups is admin, user or guest, always in a list. Who has none of them does not get in. Leave Group Claim empty to do without: then everybody becomes a user.",
	Sees:  "A button on the login page, and in the application after the server's address was entered.",
	Faults: []Fault{
		{"Unauthorized, and the log says that the group claim was not found", "No rule of the person grants absgroups for this client, or it lacks includeInUserInfo: Audiobookshelf reads userinfo only."},
		{"tsidp's page about the redirect URI", "The path depends on the version and on Subfolder for Redirect URLs: add what the page shows to the client."},
		{"The telephone application says that the redirect URI is invalid", "Allowed Mobile Redirect URIs lacks audiobookshelf://oauth."},
	},
}
