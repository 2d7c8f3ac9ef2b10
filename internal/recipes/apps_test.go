// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes_test

import (
	"net/url"
	"strings"
)

// apps are the applications: what was found in their sources and manuals
// about how they behave.
var apps = []app{
	{
		id: "actual-budget", issuer: "ACTUAL_OPENID_DISCOVERY_URL", clientID: "ACTUAL_OPENID_CLIENT_ID", secret: "ACTUAL_OPENID_CLIENT_SECRET",
		scope: always("openid email profile"), redirects: below("ACTUAL_OPENID_SERVER_HOSTNAME", "/openid/callback"),
		pkce: pkceAlways, auth: basic, source: userinfo, account: always("preferred_username"),
	},
	{
		id: "argo-cd", issuer: "issuer", clientID: "clientID", secret: "oidc.tailscale.clientSecret",
		scope:     func(p printed) string { return strings.Join(append(p.All("requestedScopes"), "offline_access"), " ") },
		redirects: below("url", "/auth/callback"), pkce: pkceNever, auth: auto, check: codeFlow,
		send:   url.Values{"claims": {`{"id_token":{"groups":{"essential":true}}}`}},
		source: idToken, account: always("email"), needs: []string{"sub"},
		role: role(always("groups"), match(set(""), `^g, ([^,]+), role:admin$`)), roleFrom: "group:argocd-admins",
		refresh: true,
		logout: func(p printed, _ metadata, s *session) string {
			return strings.NewReplacer("{{token}}", s.idToken, "{{logoutRedirectURL}}", home(s)).Replace(p.Get("logoutURL"))
		},
	},
	{
		// openid-client 5, which takes the issuer's checks from the fields.
		id: "audiobookshelf", authorize: "Authorize URL", token: "Token URL", info: "Userinfo URL", keys: "JWKS URL", clientID: "Client ID", secret: "Client Secret",
		scope:     func(p printed) string { return "openid profile email " + p.Get("Group Claim") + " abspermissions" },
		redirects: at("/audiobookshelf/auth/openid/callback", "/audiobookshelf/auth/openid/mobile-redirect", "/auth/openid/callback"),
		pkce:      pkceAlways, auth: basic, source: userinfo, account: always("preferred_username"),
		role: role(set("Group Claim"), always("admin")), roleFrom: "group:audiobookshelf-admins",
		logout: logoutSetHint("Logout URL"),
	},
	{
		// cap, without PKCE; its states are encrypted blobs.
		id: "boundary", issuer: "-issuer", clientID: "-client-id", secret: "-client-secret", nonce: true, state: "st_" + strings.Repeat("aZ09-_", 100),
		scope:     func(p printed) string { return "openid openid " + strings.Join(p.All("-claims-scopes"), " ") },
		redirects: below("-api-url-prefix", "/v1/auth-methods/oidc:authenticate:callback"), pkce: pkceNever, auth: auto,
		source: idFirst, account: always("sub"), needs: []string{"email", "name"},
		role: role(always("groups"), always("boundary-admins")), roleFrom: "group:boundary-admins",
	},
	{
		id: "cloudflare-access", authorize: "Auth URL", token: "Token URL", keys: "Certificate URL", clientID: "App ID", secret: "Client secret",
		scope: always("openid email profile"), redirects: fixed("https://example.cloudflareaccess.com/cdn-cgi/access/callback"), nonce: true,
		pkce: pkceSet("Proof Key for Code Exchange (PKCE)", "yes"), auth: basic, source: idToken, account: set("Email claim"), needs: []string{"preferred_username"},
	},
	{
		id: "coder", issuer: "CODER_OIDC_ISSUER_URL", clientID: "CODER_OIDC_CLIENT_ID", secret: "CODER_OIDC_CLIENT_SECRET",
		scope: split("CODER_OIDC_SCOPES", ","), redirects: below("CODER_ACCESS_URL", "/api/v2/users/oidc/callback"), pkce: pkceNever, auth: auto,
		send: url.Values{"access_type": {"offline"}}, source: idFirst, account: always("preferred_username"), needs: []string{"email"}, verifiedEmail: true, refresh: true,
	},
	{
		// goth decodes the ID token, and wants userinfo.
		id: "gitea", issuer: "--auto-discover-url", clientID: "--key", secret: "--secret", unverified: true,
		scope: set("--scopes"), pkce: pkceNever, auth: auto, source: idFirst, account: always("preferred_username"), needs: []string{"email"},
		redirects: func(p printed, address string) []string {
			return []string{address + "/user/oauth2/" + p.Get("--name") + "/callback"}
		},
		role: role(set("--group-claim-name"), set("--admin-group")), roleFrom: "group:git-admins", logout: logoutHint,
	},
	{
		id: "grafana", authorize: "auth_url", token: "token_url", info: "api_url", clientID: "client_id", secret: "client_secret", unverified: true, state: "ab+/cd==",
		scope: set("scopes"), redirects: below("root_url", "/login/generic_oauth"), pkce: pkceSet("use_pkce", "true"), auth: auto,
		source: idFirst, account: set("login_attribute_path"), needs: []string{"email", "name"},
		role:     role(match(set("role_attribute_path"), `^contains\((\w+)\[\*\]`), match(set("role_attribute_path"), `'([^']+)'\) && 'Admin'`)),
		roleFrom: "group:grafana-admins", refresh: true, logout: logoutSet("signout_redirect_url"),
	},
	{
		id: "headscale", issuer: "issuer", clientID: "client_id", secret: "client_secret", nonce: true,
		scope:     func(p printed) string { return strings.Join(p.All("scope"), " ") },
		redirects: at("/oidc/callback"), pkce: pkceSet("method", "S256"), auth: auto, source: idFirst, account: always("preferred_username"), needs: []string{"email"}, verifiedEmail: true,
		role: role(always("groups"), set("allowed_groups")), roleFrom: "group:headscale-users",
	},
	{
		id: "home-assistant", issuer: "discovery_url", clientID: "client_id", secret: "client_secret", nonce: true, check: strictLists,
		scope:     func(p printed) string { return "openid profile " + p.Get("groups_scope") },
		redirects: at("/auth/oidc/callback"), pkce: pkceAlways, auth: post, source: idFirst, account: always("preferred_username"), needs: []string{"name"},
		role: role(always("groups"), set("admin")), roleFrom: "group:home-admins",
	},
	{
		// openid-client 6, which refuses a nonce that it has not sent.
		id: "immich", issuer: "Issuer URL", clientID: "Client ID", secret: "Client Secret",
		scope: set("Scope"), pkce: pkceListed, auth: post, source: infoIfPoor, account: set("Storage Label Claim"), needs: []string{"email", "name"},
		redirects: func(p printed, address string) []string {
			return []string{address + "/auth/login", address + "/user-settings", p.Get("Mobile Redirect URI Override"), "app.immich:///oauth-callback"}
		},
		role: role(set("Role Claim"), always("admin")), roleFrom: "group:immich-admins", logout: logoutHint,
	},
	{
		// zitadel/oidc; the server looks at the access token.
		id: "incus", issuer: "oidc.issuer", clientID: "oidc.client.id",
		scope:     func(p printed) string { return strings.ReplaceAll(p.Get("oidc.scopes"), ",", "  ") },
		redirects: at("/oidc/callback"), pkce: pkceAlways, auth: none, source: accessToken, account: always("sub"), base: []string{"group:incus-users"}, refresh: true, device: true, logout: logoutHint,
	},
	{
		id: "jellyfin", issuer: "OpenID Endpoint", clientID: "OpenID Client ID", secret: "OpenID Secret", unverified: true, check: sameHost,
		scope: func(p printed) string { return "openid profile " + p.Get("Request Additional Scopes") + " " },
		redirects: func(p printed, address string) []string {
			return []string{address + "/sso/OID/redirect/" + p.Get("Name of OpenID Provider"), address + "/sso/OID/r/" + p.Get("Name of OpenID Provider")}
		},
		pkce: pkceAlways, auth: post, source: idFirst, account: set("Default username claim"),
		role: role(set("Role Claim"), set("Admin Roles")), roleFrom: "group:jellyfin-admins",
	},
	{
		// kubelogin shows its ID token to the API server.
		id: "kubernetes", issuer: "--oidc-issuer-url", clientID: "--oidc-client-id", nonce: true,
		scope:     func(p printed) string { return strings.Join(append(p.All("--oidc-extra-scope"), "openid"), " ") },
		redirects: fixed("http://localhost:8000", "http://localhost:18000"), pkce: pkceListed, auth: none, send: url.Values{"access_type": {"offline"}},
		source: idToken, account: set("--oidc-username-claim"), refresh: true, device: true,
		role: func(p printed) (string, string) {
			return p.Get("--oidc-groups-claim"), strings.TrimPrefix(p.Get("--group"), p.Get("--oidc-groups-prefix"))
		},
		roleFrom: "group:k8s-admins",
	},
	{
		id: "mcp", issuer: "Issuer, where it is asked for", clientID: "Client ID",
		scope:     always("openid profile email offline_access"),
		redirects: fixed("http://localhost:3118/callback", "http://127.0.0.1:41234/oauth/callback", "http://127.0.0.1:19876/mcp/oauth/callback", "http://127.0.0.1:33418/"),
		pkce:      pkceAlways, auth: none, send: url.Values{"prompt": {"consent"}}, source: accessToken, account: always("sub"),
		role: role(always("aud"), set("MCP server")), base: []string{"group:mcp-users"}, roleFrom: "group:mcp-users", refresh: true,
	},
	{
		// Authlib; 2024's versions look into the ID token only.
		id: "mealie", issuer: "OIDC_CONFIGURATION_URL", clientID: "OIDC_CLIENT_ID", secret: "OIDC_CLIENT_SECRET", nonce: true,
		scope:     func(p printed) string { return "openid email profile " + p.Get("OIDC_GROUPS_CLAIM") },
		redirects: below("BASE_URL", "/login"), pkce: pkceAlways, auth: basic, source: idToken, account: always("preferred_username"), needs: []string{"email", "name"},
		role: role(set("OIDC_GROUPS_CLAIM"), set("OIDC_ADMIN_GROUP")), roleFrom: "group:mealie-admins",
	},
	{
		id: "minio", issuer: "MINIO_IDENTITY_OPENID_CONFIG_URL", clientID: "MINIO_IDENTITY_OPENID_CLIENT_ID", secret: "MINIO_IDENTITY_OPENID_CLIENT_SECRET",
		scope: split("MINIO_IDENTITY_OPENID_SCOPES", ","), redirects: below("MINIO_IDENTITY_OPENID_REDIRECT_URI", ""), pkce: pkceNever, auth: basic,
		source: idToken, account: always("preferred_username"),
		role: role(set("MINIO_IDENTITY_OPENID_CLAIM_NAME"), always("consoleAdmin")), roleFrom: "group:minio-admins",
	},
	{
		id: "nextcloud", issuer: "--discoveryuri", clientID: "--clientid", secret: "--clientsecret", nonce: true,
		scope: set("--scope"), redirects: at("/apps/user_oidc/code", "/index.php/apps/user_oidc/code"), pkce: pkceListed, auth: postIfListed,
		send:   url.Values{"claims": {`{"id_token":{"preferred_username":{"essential":true},"email":null,"groups":null},"userinfo":{"preferred_username":{"essential":true},"email":null}}`}},
		source: idToken, account: set("--mapping-uid"), needs: []string{"email", "name"},
		role: role(set("--mapping-groups"), always("family")), roleFrom: "group:family", logout: logoutClient,
	},
	{
		id: "oauth2-proxy", issuer: "oidc_issuer_url", clientID: "client_id", secret: "client_secret", nonce: true,
		scope: set("scope"), redirects: below("redirect_url", ""), pkce: pkceSet("code_challenge_method", "S256"), auth: auto,
		source: idFirst, account: always("email"), needs: []string{"preferred_username"},
		role: role(always("groups"), set("allowed_groups")), roleFrom: "group:oauth2-proxy-users", refresh: true,
	},
	{
		// Authlib; builds of 2025 look into the ID token only.
		id: "open-webui", issuer: "OPENID_PROVIDER_URL", clientID: "OAUTH_CLIENT_ID", secret: "OAUTH_CLIENT_SECRET", nonce: true,
		scope: set("OAUTH_SCOPES"), redirects: below("WEBUI_URL", "/oauth/oidc/callback"), pkce: pkceSet("OAUTH_CODE_CHALLENGE_METHOD", "S256"), auth: basic,
		source: idToken, account: set("OAUTH_USERNAME_CLAIM"), needs: []string{"email", "picture"},
		role: role(set("OAUTH_ROLES_CLAIM"), set("OAUTH_ADMIN_ROLES")), roleFrom: "group:chat-admins", logout: logoutHint,
	},
	{
		// The one without a recipe is a textbook's.
		id: "openid-connect", issuer: "Issuer", clientID: "Client ID", secret: "Client secret", nonce: true,
		scope: set("Scopes"), redirects: fixed("https://wiki.example.com/callback"), pkce: pkceSet("PKCE", "S256"), auth: basic,
		source: idFirst, account: set("User name claim"), needs: []string{"email"},
		role: role(set("Groups claim"), always("wiki-editors")), roleFrom: "group:wiki-editors", refresh: true, logout: logoutSetHint("Logout endpoint"),
	},
	{
		// passport-oauth2: an ID token is decoded at most.
		id: "outline", authorize: "OIDC_AUTH_URI", token: "OIDC_TOKEN_URI", info: "OIDC_USERINFO_URI", clientID: "OIDC_CLIENT_ID", secret: "OIDC_CLIENT_SECRET", unverified: true,
		scope: set("OIDC_SCOPES"), redirects: below("URL", "/auth/oidc.callback"), pkce: pkceNever, auth: post,
		source: userinfo, account: set("OIDC_USERNAME_CLAIM"), needs: []string{"email", "name"}, refresh: true, logout: logoutSetHint("OIDC_LOGOUT_URI"),
	},
	{
		// django-allauth.
		id: "paperless-ngx", issuer: "server_url", clientID: "client_id", secret: "secret", unverified: true,
		scope: func(p printed) string { return strings.Join(p.All("SCOPE"), " ") }, pkce: pkceSet("OAUTH_PKCE_ENABLED", "true"), auth: postIfListed,
		redirects: func(p printed, address string) []string {
			return []string{address + "/accounts/oidc/" + p.Get("provider_id") + "/login/callback/"}
		},
		source: infoFirst, account: always("preferred_username"), needs: []string{"email", "name"},
	},
	{
		id: "portainer", authorize: "Authorization URL", token: "Access token URL", info: "Resource URL", clientID: "Client ID", secret: "Client secret", unverified: true,
		scope: split("Scopes", ","), redirects: below("Redirect URL", ""), pkce: pkceNever, auth: post,
		source: infoFirst, account: set("User identifier"), logout: logoutSet("Logout URL"),
	},
	{
		id: "proxmox", issuer: "--issuer-url", clientID: "--client-id", secret: "--client-key", nonce: true, state: `{"csrf_token":"a b+c","realm":"tailscale"}`,
		scope: set("--scopes"), pkce: pkceAlways, auth: basic, send: url.Values{"display": {"page"}},
		redirects: func(_ printed, address string) []string { return strings.Fields(address) },
		source:    idFirst,
		account: func(p printed) string { // the words that realms of old have
			if claim := p.Get("--username-claim"); claim != "username" {
				return claim
			}
			return "preferred_username"
		},
		role: func(p printed) (string, string) {
			return p.Get("--groups-claim"), strings.TrimSuffix(p.Get("--groups"), "-tailscale")
		},
		roleFrom: "group:pve-admins",
	},
	{
		id: "salesforce", authorize: "Authorize Endpoint URL", token: "Token Endpoint URL", info: "User Info Endpoint URL", clientID: "Consumer Key", secret: "Consumer Secret", unverified: true,
		scope: set("Default Scopes"), pkce: pkceNever, auth: basic, source: userinfo, account: always("sub"), needs: []string{"email", "name"},
		redirects: func(p printed, address string) []string {
			return []string{address + "/services/authcallback/" + p.Get("URL Suffix")}
		},
	},
	{
		id: "synology", issuer: "Well-known URL", clientID: "Application ID", secret: "Application secret",
		scope: set("Authorization scope"), pkce: pkceNever, auth: post, source: userinfo, account: set("Username claim"),
		redirects: func(p printed, address string) []string {
			return []string{p.Get("Redirect URI"), address + "/", address + "/#/signin"}
		},
	},
	{
		id: "vault", issuer: "oidc_discovery_url", clientID: "oidc_client_id", secret: "oidc_client_secret", nonce: true, send: url.Values{"max_age": {"3600"}},
		scope:     func(p printed) string { return "openid " + strings.ReplaceAll(p.Get("oidc_scopes"), ",", " ") },
		redirects: func(p printed, _ string) []string { return p.All("allowed_redirect_uris") }, pkce: pkceAlways, auth: auto,
		source: idFirst, account: set("user_claim"), needs: []string{"email"},
		role: role(set("groups_claim"), always("vault-admins")), roleFrom: "group:vault-admins",
	},
}
