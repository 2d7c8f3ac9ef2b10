// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package apiserver shows ID tokens to the authenticator of Kubernetes' API
// server. It is a module of its own, for it builds some three hundred packages.
package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/tailscale/tsidp/internal/recipes"
	"github.com/tailscale/tsidp/internal/recipes/recipetest"
	"golang.org/x/oauth2"
	"k8s.io/apiserver/pkg/apis/apiserver"
	authenticator "k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// TestKubernetes: kubelogin gets a token, and the API server, set up by the
// printed flags, knows whose it is.
func TestKubernetes(t *testing.T) {
	w, err := recipetest.New()
	if err != nil {
		t.Fatal(err)
	}
	r, _ := recipes.Find("kubernetes")
	setup, err := w.SetUp(r, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(recipetest.Alice, r.Grant(setup)); err != nil {
		t.Fatal(err)
	}
	p, err := recipetest.Read(r.Settings(setup))
	if err != nil {
		t.Fatal(err)
	}
	prefix := p.Get("--oidc-username-prefix")
	groupPrefix := p.Get("--oidc-groups-prefix")
	client := &http.Client{Transport: w.Transport}
	api, err := authenticator.New(t.Context(), authenticator.Options{
		Client: client,
		JWTAuthenticator: apiserver.JWTAuthenticator{
			Issuer: apiserver.Issuer{URL: p.Get("--oidc-issuer-url"), Audiences: []string{p.Get("--oidc-client-id")}},
			ClaimMappings: apiserver.ClaimMappings{
				Username: apiserver.PrefixedClaimOrExpression{Claim: p.Get("--oidc-username-claim"), Prefix: &prefix},
				Groups:   apiserver.PrefixedClaimOrExpression{Claim: p.Get("--oidc-groups-claim"), Prefix: &groupPrefix},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	// It reads the issuer's document when it gets to it.
	for range time.Tick(10 * time.Millisecond) {
		if err := api.HealthCheck(); err == nil {
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}

	ctx := oidc.ClientContext(t.Context(), client)
	provider, err := oidc.NewProvider(ctx, p.Get("--oidc-issuer-url"))
	if err != nil {
		t.Fatal(err)
	}
	config := &oauth2.Config{
		ClientID: p.Get("--oidc-client-id"), RedirectURL: "http://localhost:8000", Endpoint: provider.Endpoint(), Scopes: append(p.All("--oidc-extra-scope"), "openid"),
	}
	verifier := oauth2.GenerateVerifier()
	page, err := w.NewBrowser(recipetest.Alice).Open(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(page.Location)
	if err != nil {
		t.Fatal(err)
	}
	token, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatalf("%v: %d %s", err, page.Status, page.Text)
	}
	check := func(token *oauth2.Token) {
		t.Helper()
		raw, _ := token.Extra("id_token").(string)
		answer, ok, err := api.AuthenticateToken(ctx, raw)
		if err != nil || !ok {
			t.Fatalf("the API server says %v, %v", ok, err)
		}
		if name := answer.User.GetName(); name != "tailnet:alice@example.com" {
			t.Errorf("name %q", name)
		}
		if groups := answer.User.GetGroups(); !slices.Contains(groups, p.Get("--group")) {
			t.Errorf("groups %q, want %s, to which the role is bound", groups, p.Get("--group"))
		}
		// One letter of the signature.
		i := len(raw) - 20
		broken := raw[:i] + strings.Map(func(c rune) rune { return map[bool]rune{true: 'B', false: 'A'}[c == 'A'] }, raw[i:i+1]) + raw[i+1:]
		if _, ok, err := api.AuthenticateToken(ctx, broken); ok {
			t.Errorf("a forged token is good: %v", err)
		}
	}
	check(token)
	token.Expiry = time.Now().Add(-time.Minute)
	later, err := config.TokenSource(ctx, token).Token()
	if err != nil {
		t.Fatal(err)
	}
	check(later)
}
