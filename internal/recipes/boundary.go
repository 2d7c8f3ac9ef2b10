// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var boundary = Recipe{
	ID:     "boundary",
	Name:   "Boundary",
	About:  "An OIDC auth method. The controller must reach tsidp.",
	Fields: []Field{addressField("Address of the controller (api_url_prefix)", "https://boundary.example.com:9200")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/v1/auth-methods/oidc:authenticate:callback"},
		ClientURI:    "{{.url}}",
	},
	settings: []Section{{
		Title: "boundary",
		Text:  "The first command prints the id of the method, which the second one needs in place of AUTH_METHOD_ID.",
		Lang:  "sh",
		Code: `boundary auth-methods create oidc -scope-id global -name tailscale \
  -issuer {{.issuer}} \
  -client-id {{sh .client_id}} -client-secret {{sh .client_secret}} \
  -signing-algorithm RS256 \
  -claims-scopes profile -claims-scopes email -claims-scopes groups \
  -api-url-prefix {{.url}}
boundary auth-methods change-state oidc -id AUTH_METHOD_ID -state active-public
`,
	}},
	grants: []grant{{"group:boundary-admins", `{"groups": ["boundary-admins"]}`}},
	Roles:  "A managed group with the filter `\"boundary-admins\" in \"/token/groups\"` has them as members.",
	Sees:   "boundary authenticate oidc opens the browser, which says that it may be closed.",
	Faults: []Fault{
		{"The method cannot be made active", "The controller does not reach the issuer, or does not trust its certificate (-idp-ca-cert)."},
		{"tsidp's page about the redirect URI", "-api-url-prefix is not the registered address."},
	},
}
