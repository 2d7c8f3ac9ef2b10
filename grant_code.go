// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// codeGrant is the grant type authorization_code (RFC 6749 section 4.1.3,
// RFC 7636 section 4.5).
type codeGrant struct {
	plainGrant
	code, redirectURI, verifier string

	request *codeRequest // set by bind
}

func (g *codeGrant) action() action { return actRedeem }

// shape: "If present in the Authentication Request, Authorization Servers MUST
// include a nonce Claim in the ID Token" (OpenID Connect Core section 2).
func (g *codeGrant) shape(_ *Provider, m *mintRequest, _ decision) error {
	m.nonce = g.request.nonce
	return nil
}

// bind checks in the order client, redirect URI, verifier. Nothing is spent
// by a failure: a wrong verifier from somebody who has only seen the code
// must not end an honest login.
func (g *codeGrant) bind(ctx context.Context, p *Provider, req *tokenRequest) (*authorization, error) {
	if g.code == "" {
		return nil, fail(codeInvalidRequest, "code is missing")
	}
	r, err := p.storage.AuthRequestByCode(ctx, g.code)
	if err != nil {
		return nil, err
	}
	g.request = r.(*codeRequest)
	if g.request.clientID != req.client.ID {
		return nil, fail(codeInvalidGrant, "the authorization code was issued to another client")
	}
	if err := g.checkRedirectURI(); err != nil {
		return nil, err
	}
	if !g.stillRegistered(req.client) {
		return nil, fail(codeInvalidGrant, "the redirect URI of the authorization code has been removed from the client")
	}
	if err := g.checkVerifier(); err != nil {
		return nil, err
	}
	return &g.request.authorization, g.checkDowngrade(ctx, p, req.client)
}

// checkRedirectURI: "if the redirect_uri parameter was included in the
// authorization request ... their values MUST be identical" (RFC 6749
// section 4.1.3). OAuth 2.1 has dropped it from the token request: with
// PKCE, which binds the code as well, it may be missing.
func (g *codeGrant) checkRedirectURI() error {
	if g.redirectURI == "" {
		if g.request.hasPKCE {
			return nil
		}
		return fail(codeInvalidGrant, "redirect_uri is missing; it may be left out only with PKCE")
	}
	h := sha256.Sum256([]byte(g.redirectURI))
	if subtle.ConstantTimeCompare(h[:], g.request.redirectHash[:]) != 1 {
		return fail(codeInvalidGrant, "redirect_uri is not the one of the authorization request")
	}
	return nil
}

// stillRegistered reports whether the code went to an address that the client
// still has: an administrator may have removed it just now. A code has only
// the hash of its address; without redirect_uri, what the hash of no
// registered one explains is let through if it can be a loopback one with
// another port, or one with a fragment.
func (g *codeGrant) stillRegistered(c *client) bool {
	if g.redirectURI != "" {
		_, ok := oauth.MatchRedirectURI(c.RedirectURIs, g.redirectURI, c.redirectRules())
		return ok
	}
	return slices.ContainsFunc(c.RedirectURIs, func(uri string) bool {
		return c.IgnoreFragment || sha256.Sum256([]byte(uri)) == g.request.redirectHash ||
			strings.HasPrefix(uri, "http://") && !oauth.InsecureRedirect(uri)
	})
}

// checkVerifier: a challenge once sent is enforced; a verifier without
// challenge is a sign of a downgrade (RFC 9700 section 4.8.2).
func (g *codeGrant) checkVerifier() error {
	switch {
	case g.request.hasPKCE && g.verifier == "":
		return fail(codeInvalidGrant, "code_verifier is missing, though a code_challenge was sent")
	case !g.request.hasPKCE && g.verifier != "":
		return fail(codeInvalidGrant, "code_verifier was sent, though no code_challenge had been")
	case g.request.hasPKCE && !oauth.VerifyS256(g.request.GetCodeChallenge().Challenge, g.verifier):
		return fail(codeInvalidGrant, "code_verifier does not belong to the code_challenge")
	}
	return nil
}

// checkDowngrade looks again at whether the client may do without PKCE: the
// answer may have changed since the authorization request.
func (g *codeGrant) checkDowngrade(ctx context.Context, p *Provider, c *client) error {
	if g.request.hasPKCE {
		return nil
	}
	required, err := p.requiresPKCE(ctx, c)
	if err != nil {
		return err
	}
	if required {
		return fail(codeInvalidGrant, "this client must use PKCE")
	}
	return nil
}

func (g *codeGrant) consume(ctx context.Context, p *Provider, req *tokenRequest) (string, string, time.Time, error) {
	return p.openGrant(ctx, req.client, g.request)
}

// requiresPKCE: public clients always; others when their setting says so, or
// once they have redeemed a code with it.
func (p *Provider) requiresPKCE(ctx context.Context, c *client) (bool, error) {
	if c.public() || c.PKCE == pkceRequired || !c.trusted() && !c.Imported {
		return true, nil
	}
	_, err := p.store.Get(ctx, kindPKCESeen, c.ID, p.now())
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	return true, nil
}
