// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var salesforce = Recipe{
	ID:   "salesforce",
	Name: "Salesforce",
	About: "An authentication provider of the type OpenID Connect. The servers of Salesforce call tsidp themselves: it must be reachable from the internet, " +
		"by Funnel or under a name of your own. People still log in from the tailnet.",
	Fields: []Field{
		{
			Name: "url", Label: "My Domain address", Hint: "of the Salesforce organisation", Example: "https://example.my.salesforce.com",
			Required: true, check: httpsAddress,
		},
		nameField("suffix", "URL Suffix", "of the authentication provider", "Tailscale"),
	},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/services/authcallback/{{.suffix}}"},
		ClientURI:    "{{.url}}",
	},
	settings: []Section{{
		Title: "Setup, Auth. Providers, New",
		Text:  "After saving, Salesforce shows its Callback URL: it must be the redirect URI of the client.",
		Rows: []Row{
			{"Provider Type", "OpenID Connect"},
			{"Name", "{{.suffix}}"},
			{"URL Suffix", "{{.suffix}}"},
			{"Consumer Key", "{{.client_id}}"},
			{"Consumer Secret", "{{.client_secret}}"},
			{"Authorize Endpoint URL", "{{.issuer}}/authorize"},
			{"Token Endpoint URL", "{{.issuer}}/token"},
			{"User Info Endpoint URL", "{{.issuer}}/userinfo"},
			{"Token Issuer", "{{.issuer}}"},
			{"Default Scopes", "openid email profile"},
			{"Send access token in header", "yes"},
			{"Send client credentials in header", "yes"},
			{"Registration Handler", "a class of yours that finds the user by email or sub"},
		},
	}, {
		Title: "My Domain, Authentication Configuration",
		Text:  "Add the provider to the login page there.",
	}},
	Sees: "A button with the provider's name on the login page of My Domain.",
	Faults: []Fault{
		{"The login comes back to an error page of Salesforce, though tsidp's log shows a login", "Salesforce cannot reach the token endpoint: -funnel is not on, or the node may not use Funnel. See docs/running.md."},
		{"tsidp's page about the redirect URI", "The Callback URL that Salesforce shows is another one: register it as it stands there."},
		{"An error of the registration handler", "The handler gets sub, email and name; there are no given_name and family_name."},
	},
}
