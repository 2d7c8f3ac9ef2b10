// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var gitea = Recipe{
	ID:    "gitea",
	Name:  "Gitea and Forgejo",
	About: "An authentication source of the type OAuth2. The server fetches the issuer's document when the source is saved and at each start.",
	Fields: []Field{
		addressField("Address of Gitea (ROOT_URL)", "https://git.example.com"),
		nameField("source", "Authentication name", "of the source; it is part of the redirect URI", "tailscale"),
	},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/user/oauth2/{{.source}}/callback"},
		ClientURI:    "{{.url}}",
	},
	settings: []Section{{
		Title: "On the server, as its user",
		Text:  "For Forgejo the command is forgejo. Or under Site Administration, Authentication Sources.",
		Lang:  "sh",
		Code: `gitea admin auth add-oauth --name {{.source}} --provider openidConnect \
  --key {{sh .client_id}} --secret {{sh .client_secret}} \
  --auto-discover-url {{.issuer}}/.well-known/openid-configuration \
  --scopes "openid email profile groups" \
  --group-claim-name groups --admin-group git-admins
`,
	}},
	grants: []grant{{"group:git-admins", `{"groups": ["git-admins"]}`}},
	Roles:  "Members of git-admins are administrators of the site.",
	Sees:   "A button “Sign in with tailscale”. The first time Gitea asks whether to make an account or to link one.",
	Faults: []Fault{
		{"tsidp's page about the redirect URI", "ROOT_URL or the name of the source differs from what was registered, letter case included."},
		{"Error 500 after the login", "Gitea's log has the reason. Often it cannot reach the issuer or does not trust its certificate."},
		{"The account has no e-mail address", noEmail},
	},
}
