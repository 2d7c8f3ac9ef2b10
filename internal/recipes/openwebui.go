// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var openWebUI = Recipe{
	ID:    "open-webui",
	Name:  "Open WebUI",
	About: "Logs people in by Open WebUI's OIDC provider, and takes their role from groups.",
	Fields: []Field{
		addressField("Address of Open WebUI (WEBUI_URL)", "https://chat.example.com"),
	},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/oauth/oidc/callback"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "Environment",
		Text:  "Settings that were saved on the admin page win over the environment. OAUTH_MERGE_ACCOUNTS_BY_EMAIL=true gives people the accounts that they had before, by their e-mail address: turn it on only while all who can log in here have addresses of your own domain, since it asks nothing else.",
		Lang:  "sh",
		Code: `WEBUI_URL={{.url}}
ENABLE_OAUTH_SIGNUP=true
OAUTH_PROVIDER_NAME=Tailscale
OPENID_PROVIDER_URL={{.issuer}}/.well-known/openid-configuration
OAUTH_CLIENT_ID={{.client_id}}
OAUTH_CLIENT_SECRET={{.client_secret}}
OAUTH_SCOPES=openid email profile groups
OAUTH_CODE_CHALLENGE_METHOD=S256
OAUTH_USERNAME_CLAIM=name
OAUTH_ROLES_CLAIM=groups
ENABLE_OAUTH_ROLE_MANAGEMENT=true
OAUTH_ALLOWED_ROLES=chat-users,chat-admins
OAUTH_ADMIN_ROLES=chat-admins
`,
	}},
	grants: []grant{
		{"group:open-webui-users", `{"groups": ["chat-users"]}`},
		{"group:chat-admins", `{"groups": ["chat-admins"]}`},
	},
	Roles: "Who is in chat-admins becomes administrator, who is in chat-users a user; who is in neither does not get in. Without the last four lines every newcomer waits for an administrator.",
	Sees:  "A button “Continue with Tailscale” on the login page. One click, and they are in.",
	Faults: []Fault{
		{"The login comes back with an error about the e-mail address", noEmail},
		{"The login comes back to the login page, now and then", "The state cookie was lost, which is known of Safari and of an address other than WEBUI_URL."},
		{"Access prohibited", "The person is in none of the groups of OAUTH_ALLOWED_ROLES."},
	},
}
