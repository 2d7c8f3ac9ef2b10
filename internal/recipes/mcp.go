// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import "github.com/tailscale/tsidp/internal/admin"

var mcp = Recipe{
	ID:   "mcp",
	Name: "MCP client",
	About: "Agents and editors that use an MCP server behind tsidp. Most need no registration (docs/mcp.md); this is one for all " +
		"programs on people's own devices, and spares people the consent page.",
	Fields: []Field{{
		Name: "resource", Label: "Address of the MCP server", Hint: "as people give it to their clients",
		Example: "https://mcp.example.com/mcp", Required: true, check: webAddress,
	}},
	client: admin.ClientMetadata{
		TokenEndpointAuthMethod: "none",
		ApplicationType:         "native",
		// The port of loopback addresses does not matter, nor localhost for
		// 127.0.0.1.
		RedirectURIs: []string{
			"http://127.0.0.1/callback", "http://127.0.0.1/oauth/callback", "http://127.0.0.1/mcp/oauth/callback", "http://127.0.0.1/",
		},
	},
	settings: []Section{{
		Title: "Claude Code",
		Lang:  "sh",
		Code:  "claude mcp add --transport http --client-id {{sh .client_id}} my-server {{.resource}}\n",
	}, {
		Title: "mcp-remote",
		Lang:  "sh",
		Code:  "npx mcp-remote {{.resource}} --static-oauth-client-info '{\"client_id\": {{q .client_id}}}'\n",
	}, {
		Title: "opencode.json",
		Lang:  "json",
		Code: `{"mcp": {"my-server": {
  "type": "remote",
  "url": {{q .resource}},
  "oauth": {"clientId": {{q .client_id}}}
}}}
`,
	}, {
		Title: "Cursor: mcp.json",
		Lang:  "json",
		Code: `{"mcpServers": {"my-server": {
  "url": {{q .resource}},
  "auth": {"CLIENT_ID": {{q .client_id}}}
}}}
`,
	}, {
		Title: "Any other",
		Rows: []Row{
			{"MCP server", "{{.resource}}"}, {"Client ID", "{{.client_id}}"}, {"Client secret", "none: a public client, with PKCE"},
			{"Issuer, where it is asked for", "{{.issuer}}"},
		},
	}},
	grants: []grant{{"group:mcp-users", `{"users": ["*"], "resources": [{{q .resource}}]}`}},
	Roles:  "Without a rule for its address there is no token for the server.",
	Sees:   "The program opens the browser, and the browser says that it may be closed. Nothing is asked.",
	Faults: []Fault{
		{"`invalid_target`, or tsidp's page about it", "No rule of the person names the server's address. The page shows the grant."},
		{"tsidp's page about the redirect URI", "The program uses another path than those above: add it to the client. Codex has one for each server, so let it register itself or bring its address."},
		{"The program asks to log in again and again", "The server requires a scope that nobody was granted, or its document (RFC 9728) names another issuer or resource."},
	},
}
