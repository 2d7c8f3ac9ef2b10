// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package libraries

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// TestGoOIDC runs go-oidc and x/oauth2 as programs in Go use them: by the
// issuer, with the authentication style that x/oauth2 finds out by itself.
func TestGoOIDC(t *testing.T) {
	for _, tt := range []struct {
		recipe               string
		issuer, id, secret   string // settings
		scopes               func(a *application) []string
		redirect             func(a *application) string
		nonce, pkce, refresh bool
		group                string
		style                oauth2.AuthStyle
	}{
		{
			recipe: "kubernetes", issuer: "--oidc-issuer-url", id: "--oidc-client-id",
			scopes:   func(a *application) []string { return append(a.All("--oidc-extra-scope"), "openid") },
			redirect: func(*application) string { return "http://localhost:8000" },
			nonce:    true, pkce: true, refresh: true, group: "k8s-admins", style: oauth2.AuthStyleInParams,
		},
		{
			recipe: "headscale", issuer: "issuer", id: "client_id", secret: "client_secret",
			scopes:   func(a *application) []string { return a.All("scope") },
			redirect: func(a *application) string { return a.address + "/oidc/callback" },
			nonce:    true, pkce: true, group: "headscale-users",
		},
		{
			recipe: "argo-cd", issuer: "issuer", id: "clientID", secret: "oidc.tailscale.clientSecret",
			scopes:   func(a *application) []string { return append(a.All("requestedScopes"), "offline_access") },
			redirect: func(a *application) string { return a.Get("url") + "/auth/callback" },
			refresh:  true, group: "argocd-admins",
		},
		{
			recipe: "coder", issuer: "CODER_OIDC_ISSUER_URL", id: "CODER_OIDC_CLIENT_ID", secret: "CODER_OIDC_CLIENT_SECRET",
			scopes:   func(a *application) []string { return strings.Split(a.Get("CODER_OIDC_SCOPES"), ",") },
			redirect: func(a *application) string { return a.Get("CODER_ACCESS_URL") + "/api/v2/users/oidc/callback" },
			refresh:  true,
		},
		{
			recipe: "oauth2-proxy", issuer: "oidc_issuer_url", id: "client_id", secret: "client_secret",
			scopes:   func(a *application) []string { return strings.Fields(a.Get("scope")) },
			redirect: func(a *application) string { return a.Get("redirect_url") },
			nonce:    true, pkce: true, refresh: true, group: "app-users",
		},
	} {
		t.Run(tt.recipe, func(t *testing.T) {
			a := setUp(t, tt.recipe)
			ctx := t.Context()
			provider, err := oidc.NewProvider(ctx, a.Get(tt.issuer))
			if err != nil {
				t.Fatal(err)
			}
			endpoint := provider.Endpoint()
			endpoint.AuthStyle = tt.style
			config := &oauth2.Config{ClientID: a.Get(tt.id), RedirectURL: tt.redirect(a), Endpoint: endpoint, Scopes: tt.scopes(a)}
			if tt.secret != "" {
				config.ClientSecret = a.Get(tt.secret)
			}
			state, nonce, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
			options, exchange := []oauth2.AuthCodeOption{oauth2.AccessTypeOffline}, []oauth2.AuthCodeOption(nil)
			if tt.nonce {
				options = append(options, oidc.Nonce(nonce))
			}
			if tt.pkce {
				options, exchange = append(options, oauth2.S256ChallengeOption(verifier)), append(exchange, oauth2.VerifierOption(verifier))
			}
			back := a.browse(config.AuthCodeURL(state, options...), config.RedirectURL)
			if back.Query().Get("state") != state {
				t.Errorf("response %s", back)
			}
			token, err := config.Exchange(ctx, back.Query().Get("code"), exchange...)
			if err != nil {
				t.Fatal(err)
			}
			id := verify(t, provider, config, token)
			if tt.nonce && id.Nonce != nonce {
				t.Errorf("nonce %q", id.Nonce)
			}
			checkPerson(t, ctx, provider, id, token, tt.group)
			if !tt.refresh {
				return
			}
			token.Expiry = time.Now().Add(-time.Minute)
			later, err := config.TokenSource(ctx, token).Token()
			if err != nil {
				t.Fatal(err)
			}
			if later.AccessToken == token.AccessToken {
				t.Error("the access token is the same as before")
			}
			checkPerson(t, ctx, provider, verify(t, provider, config, later), later, tt.group)
		})
	}
}

func verify(t *testing.T, provider *oidc.Provider, config *oauth2.Config, token *oauth2.Token) *oidc.IDToken {
	t.Helper()
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func checkPerson(t *testing.T, ctx context.Context, provider *oidc.Provider, id *oidc.IDToken, token *oauth2.Token, group string) {
	t.Helper()
	var claims struct {
		Email         string
		EmailVerified bool `json:"email_verified"`
		Groups        []string
	}
	if err := id.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	if info.Subject != id.Subject || info.Email != "alice@example.com" || claims.Email != info.Email || !claims.EmailVerified {
		t.Errorf("ID token %+v, userinfo %+v", claims, info)
	}
	if group != "" && !slices.Contains(claims.Groups, group) {
		t.Errorf("groups %q, want %s", claims.Groups, group)
	}
}
