// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var kubernetes = Recipe{
	ID:   "kubernetes",
	Name: "Kubernetes",
	About: "kubectl with the plugin oidc-login (kubelogin), and the API server. The API server fetches the issuer's keys: it must be on the tailnet, " +
		"or reach tsidp by Funnel or inside the cluster (docs/running.md).",
	client: admin.ClientMetadata{
		TokenEndpointAuthMethod: "none",
		ApplicationType:         "native",
		RedirectURIs:            []string{"http://localhost:8000", "http://localhost:18000"},
		GrantTypes:              []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
	},
	settings: []Section{{
		Title: "kube-apiserver",
		Text:  "On each control plane node; the API server restarts. It takes RS256, which tsidp signs with.",
		Lang:  "sh",
		Code: `--oidc-issuer-url={{.issuer}}
--oidc-client-id={{.client_id}}
--oidc-username-claim=email
--oidc-username-prefix=tailnet:
--oidc-groups-claim=groups
--oidc-groups-prefix=tailnet:
`,
	}, {
		Title: "On people's devices",
		Text:  "After kubectl krew install oidc-login. On a machine without a browser add --exec-arg=--grant-type=device-code.",
		Lang:  "sh",
		Code: `kubectl config set-credentials tailnet \
  --exec-api-version=client.authentication.k8s.io/v1 \
  --exec-interactive-mode=Never \
  --exec-command=kubectl \
  --exec-arg=oidc-login --exec-arg=get-token \
  --exec-arg=--oidc-issuer-url={{.issuer}} \
  --exec-arg=--oidc-client-id={{sh .client_id}} \
  --exec-arg=--oidc-extra-scope=email \
  --exec-arg=--oidc-extra-scope=groups
`,
	}, {
		Title: "A role for the administrators",
		Lang:  "sh",
		Code:  "kubectl create clusterrolebinding tailnet-admins --clusterrole=cluster-admin --group=tailnet:k8s-admins\n",
	}},
	grants: []grant{{"group:k8s-admins", `{"groups": ["k8s-admins"]}`}},
	Roles:  "Without a role binding a person may do nothing. The names of users and groups begin with tailnet:, so that nobody can be called system:masters.",
	Sees:   "kubectl opens the browser, which says that it may be closed. The token is kept for an hour and then refreshed.",
	Faults: []Fault{
		{"Unauthorized, with a good token", "The API server could not fetch the keys (its log says oidc), or its --oidc-issuer-url differs, by a slash for example."},
		{"Unauthorized for some people only", "They have no e-mail address: use --oidc-username-claim=sub."},
		{"tsidp's page about the redirect URI", "kubelogin was given --oidc-redirect-url, or another listen address: only the port may differ."},
		{"Forbidden", "The login is good; a role binding is missing. kubectl auth whoami shows name and groups."},
	},
}
