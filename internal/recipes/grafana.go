// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var grafana = Recipe{
	ID:     "grafana",
	Name:   "Grafana",
	About:  "Logs people in by Grafana's Generic OAuth. Accounts are made at the first login; the role comes from groups.",
	Fields: []Field{addressField("Address of Grafana (root_url)", "https://grafana.example.com")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/login/generic_oauth"},
		ClientURI:    "{{.url}}",
		PKCE:         "required",
	},
	settings: []Section{{
		Title: "grafana.ini",
		Text:  "Grafana has no discovery: the addresses are typed. Restart it afterwards.",
		Lang:  "ini",
		Code: `[server]
root_url = {{.url}}

[auth.generic_oauth]
enabled = true
name = Tailscale
client_id = {{.client_id}}
client_secret = {{.client_secret}}
scopes = openid email profile groups offline_access
auth_url = {{.issuer}}/authorize
token_url = {{.issuer}}/token
api_url = {{.issuer}}/userinfo
use_pkce = true
use_refresh_token = true
login_attribute_path = preferred_username
name_attribute_path = name
groups_attribute_path = groups
role_attribute_path = contains(groups[*], 'grafana-admins') && 'Admin' || 'Viewer'
allow_sign_up = true
signout_redirect_url = {{.issuer}}/logout
`,
	}},
	grants: []grant{{"group:grafana-admins", `{"groups": ["grafana-admins"]}`}},
	Roles:  "Members of the group grafana-admins become Admin, everybody else Viewer: at every login anew, as role_attribute_path says.",
	Sees:   "A button “Sign in with Tailscale”. One click, and they are in.",
	Faults: []Fault{
		{"tsidp's page about the redirect URI", "root_url is not the address that people open. Grafana builds the redirect URI from it."},
		{"The login ends with an error about a missing e-mail address, and the log shows a request for /userinfo/emails", noEmail},
		{"Everybody is Viewer", "The scope groups is missing, or no rule of the person has the group."},
		{"People are logged out after minutes", "use_refresh_token or the scope offline_access is missing."},
	},
}
