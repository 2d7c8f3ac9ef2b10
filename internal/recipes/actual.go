// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var actual = Recipe{
	ID:   "actual-budget",
	Name: "Actual Budget",
	About: "The sync server. The first person who logs in becomes its administrator: be that. The others are made by them in Actual, unless " +
		"ACTUAL_USER_CREATION_MODE is login.",
	Fields: []Field{addressField("Address of the server", "https://budget.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{origin .url}}/openid/callback"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "Environment",
		Text:  "Or in the settings of a budget, under Authentication method, Start using OpenID, with the provider Other.",
		Lang:  "sh",
		Code: `ACTUAL_LOGIN_METHOD=openid
ACTUAL_OPENID_DISCOVERY_URL={{.issuer}}/.well-known/openid-configuration
ACTUAL_OPENID_CLIENT_ID={{.client_id}}
ACTUAL_OPENID_CLIENT_SECRET={{.client_secret}}
ACTUAL_OPENID_SERVER_HOSTNAME={{.url}}
ACTUAL_OPENID_AUTH_METHOD=openid
`,
	}},
	Sees: "A button for OpenID. Actual calls them by preferred_username, which is the account.",
	Faults: []Fault{
		{"“openid-grant-failed” after the login, with versions before 25.4", "They lose the parameter iss of the response. Update, or start tsidp with -no-response-iss."},
		{"The server says that OpenID is not set up, or the login page does not lead to tsidp", "The server does not reach the issuer, or does not trust its certificate (NODE_EXTRA_CA_CERTS)."},
		{"The login ends at once, again and again", "token_expiration is openid-provider: the access token of five minutes ends it. Leave it out, or set a number."},
		{"“openid-grant-failed” for everybody but the first", "An administrator of Actual has to make the user first, by the name that preferred_username has."},
	},
}
