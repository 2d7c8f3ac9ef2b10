// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var minio = Recipe{
	ID:     "minio",
	Name:   "MinIO",
	About:  "The console. What somebody may do is named by a claim of the ID token, which is granted in the policy file.",
	Fields: []Field{addressField("Address of the console", "https://minio.example.com:9001")},
	client: admin.ClientMetadata{
		RedirectURIs: []string{"{{.url}}/oauth_callback"},
		ClientURI:    "{{.url}}",
	},
	settings: []Section{{
		Title: "Environment",
		Lang:  "sh",
		Code: `MINIO_IDENTITY_OPENID_CONFIG_URL={{.issuer}}/.well-known/openid-configuration
MINIO_IDENTITY_OPENID_CLIENT_ID={{.client_id}}
MINIO_IDENTITY_OPENID_CLIENT_SECRET={{.client_secret}}
MINIO_IDENTITY_OPENID_CLAIM_NAME=policy
MINIO_IDENTITY_OPENID_SCOPES=openid,profile,email
MINIO_IDENTITY_OPENID_REDIRECT_URI={{.url}}/oauth_callback
MINIO_IDENTITY_OPENID_DISPLAY_NAME=Tailscale
`,
	}},
	grants: []grant{
		{"group:minio-users", `{"clients": [{{q .client_id}}], "extraClaims": {"policy": ["readonly"]}}`},
		{"group:minio-admins", `{"clients": [{{q .client_id}}], "extraClaims": {"policy": ["consoleAdmin"]}}`},
	},
	Roles: "Each value is the name of a policy of MinIO; those of all rules of a person add up.",
	Sees:  "Tailscale on the console's login page, in some versions under Other Authentication Methods.",
	Faults: []Fault{
		{"“policy claim missing from the JWT token, credentials will not be generated”", "No rule of the person grants the claim policy for this client."},
		{"An error about the policy, or an empty console", "The claim names a policy that MinIO does not have."},
		{"tsidp's page about the redirect URI", "MINIO_IDENTITY_OPENID_REDIRECT_URI is missing, and the console was opened under another address or port."},
	},
}
