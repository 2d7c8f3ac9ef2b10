// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package libraries

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/recipes/recipetest"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/oauth2"
)

// TestIncus runs zitadel/oidc as Incus does: its server logs in by the
// browser, its command by the device grant, and both show their access token
// to the server, which verifies it by the issuer's keys.
func TestIncus(t *testing.T) {
	a := setUp(t, "incus")
	ctx := t.Context()
	issuer, id, redirect := a.Get("oidc.issuer"), a.Get("oidc.client.id"), a.address+"/oidc/callback"
	// It splits by the comma; its default has a blank behind it.
	scopes := strings.Split(a.Get("oidc.scopes"), ",")
	party, err := rp.NewRelyingPartyOIDC(ctx, issuer, id, "", redirect, scopes, rp.WithVerifierOpts(rp.WithIssuedAtOffset(5*time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	checkAccess := func(t *testing.T, token string) {
		t.Helper()
		verifier := op.NewAccessTokenVerifier(issuer, rp.NewRemoteKeySet(http.DefaultClient, party.GetEndSessionEndpoint()[:len(issuer)]+"/.well-known/jwks.json"))
		claims, err := op.VerifyAccessToken[*oidc.AccessTokenClaims](ctx, token, verifier)
		if err != nil {
			t.Fatal(err)
		}
		if claims.Subject != "userid:1001" {
			t.Errorf("sub %q", claims.Subject)
		}
	}
	t.Run("server", func(t *testing.T) {
		verifier := oauth2.GenerateVerifier()
		link := rp.AuthURL("state", party, rp.WithCodeChallenge(oauth2.S256ChallengeFromVerifier(verifier)))
		back := a.browse(link, redirect).Query()
		tokens, err := rp.CodeExchange[*oidc.IDTokenClaims](ctx, back.Get("code"), party, rp.WithCodeVerifier(verifier))
		if err != nil {
			t.Fatal(err)
		}
		checkAccess(t, tokens.AccessToken)
		later, err := rp.RefreshTokens[*oidc.IDTokenClaims](ctx, party, tokens.RefreshToken, "", "")
		if err != nil {
			t.Fatal(err)
		}
		checkAccess(t, later.AccessToken)
	})
	t.Run("command", func(t *testing.T) {
		program, err := rp.NewRelyingPartyOIDC(ctx, issuer, id, "", "", scopes, rp.WithHTTPClient(world.Device(recipetest.Alice)))
		if err != nil {
			t.Fatal(err)
		}
		asked, err := rp.DeviceAuthorization(ctx, append(scopes, ""), program, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := world.NewBrowser(recipetest.Alice)
		page, err := b.Open(asked.VerificationURIComplete)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Press(page, "decision", "approve"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		// The first poll comes when nobody waits for it any more.
		answer, err := rp.DeviceAccessToken(ctx, asked.DeviceCode, 10*time.Millisecond, program)
		if err != nil {
			t.Fatal(err)
		}
		checkAccess(t, answer.AccessToken)
	})
}
