// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var proxmox = Recipe{
	ID:    "proxmox",
	Name:  "Proxmox VE",
	About: "A realm of Proxmox VE. Accounts are made at the first login and may do nothing until an administrator or a group gives them a role.",
	Fields: []Field{
		{
			Name: "url", Label: "Addresses of the web interface", Hint: "each one that people open, with its port, separated by blanks",
			Example: "https://pve1.example.com:8006 https://pve2.example.com:8006", Required: true, check: origins,
		},
		nameField("realm", "Realm", "the part of user names behind the @", "tailscale"),
	},
	client: admin.ClientMetadata{RedirectURIs: []string{"{{.url}}"}},
	settings: []Section{{
		Title: "On one node, as root",
		Text:  "Or under Datacenter, Permissions, Realms, Add, OpenID Connect Server. The username claim cannot be changed once the realm exists.",
		Lang:  "sh",
		Code: `pveum realm add {{.realm}} --type openid \
  --issuer-url {{.issuer}} \
  --client-id {{sh .client_id}} --client-key {{sh .client_secret}} \
  --username-claim username --autocreate 1 \
  --scopes "openid email profile groups" \
  --groups-claim groups --groups-autocreate 1
`,
	}, {
		Title: "A role for the administrators",
		Text:  "Proxmox appends the realm to the names of groups.",
		Lang:  "sh",
		Code:  "pveum acl modify / --groups pve-admins-{{.realm}} --roles Administrator\n",
	}},
	grants: []grant{{"group:pve-admins", `{"groups": ["pve-admins"]}`}},
	Roles:  "Members of the group pve-admins get the role of the last command. Proxmox skips groups whose names it could not have itself.",
	Sees:   "They choose the realm in the login window, press the button, and are in. Proxmox calls them alice@tailscale, by the realm.",
	Faults: []Fault{
		{"The login window only says 401", "The reason is in the log of tsidp, and in the journal of the node (pvedaemon). Often: the node does not trust the issuer's certificate, or the person sits at a tagged device."},
		{"tsidp's page about the redirect URI", "The web interface was opened under an address that is not registered. It is compared with its port, and without a slash at the end."},
		{"The user name is invalid", "The realm was made with the default username claim: `sub` has a colon, which Proxmox does not allow. Remove the realm and make it again."},
		{"Logged in, but nothing is shown", "The account has no role yet."},
	},
}
