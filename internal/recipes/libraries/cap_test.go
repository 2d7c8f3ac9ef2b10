// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package libraries

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/cap/oidc"
)

// TestCap runs HashiCorp's library: Vault and OpenBao with PKCE and max_age,
// Boundary without.
func TestCap(t *testing.T) {
	for _, tt := range []struct {
		recipe             string
		issuer, id, secret string
		scopes             func(a *application) []string
		redirects          func(a *application) []string
		pkce               bool
		group              string
	}{
		{
			recipe: "vault", issuer: "oidc_discovery_url", id: "oidc_client_id", secret: "oidc_client_secret",
			scopes:    func(a *application) []string { return strings.Split(a.Get("oidc_scopes"), ",") },
			redirects: func(a *application) []string { return a.All("allowed_redirect_uris") },
			pkce:      true, group: "vault-admins",
		},
		{
			recipe: "boundary", issuer: "-issuer", id: "-client-id", secret: "-client-secret",
			scopes: func(a *application) []string { return a.All("-claims-scopes") },
			redirects: func(a *application) []string {
				return []string{a.Get("-api-url-prefix") + "/v1/auth-methods/oidc:authenticate:callback"}
			},
			group: "boundary-admins",
		},
	} {
		t.Run(tt.recipe, func(t *testing.T) {
			a := setUp(t, tt.recipe)
			ctx := t.Context()
			redirects := tt.redirects(a)
			config, err := oidc.NewConfig(a.Get(tt.issuer), a.Get(tt.id), oidc.ClientSecret(a.Get(tt.secret)), []oidc.Alg{oidc.RS256}, redirects)
			if err != nil {
				t.Fatal(err)
			}
			provider, err := oidc.NewProvider(config)
			if err != nil {
				t.Fatal(err)
			}
			defer provider.Done()
			for _, redirect := range redirects {
				options := []oidc.Option{oidc.WithScopes(tt.scopes(a)...)}
				if tt.pkce {
					verifier, err := oidc.NewCodeVerifier()
					if err != nil {
						t.Fatal(err)
					}
					options = append(options, oidc.WithPKCE(verifier), oidc.WithMaxAge(3600))
				}
				request, err := oidc.NewRequest(time.Minute, redirect, options...)
				if err != nil {
					t.Fatal(err)
				}
				link, err := provider.AuthURL(ctx, request)
				if err != nil {
					t.Fatal(err)
				}
				back := a.browse(link, redirect).Query()
				token, err := provider.Exchange(ctx, request, back.Get("state"), back.Get("code"))
				if err != nil {
					t.Fatal(err)
				}
				claims, err := provider.VerifyIDToken(ctx, token.IDToken(), request)
				if err != nil {
					t.Fatal(err)
				}
				var info map[string]any
				if err := provider.UserInfo(ctx, token.StaticTokenSource(), fmt.Sprint(claims["sub"]), &info); err != nil {
					t.Fatal(err)
				}
				groups, _ := info["groups"].([]any)
				if info["email"] != "alice@example.com" || claims["email"] != info["email"] || !slices.Contains(groups, any(tt.group)) {
					t.Errorf("ID token %v, userinfo %v", claims, info)
				}
			}
		})
	}
}
