// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"time"
)

// refreshGrant is the grant type refresh_token (RFC 6749 section 6), with
// rotation (RFC 9700 section 4.14.2).
type refreshGrant struct {
	plainGrant // a refreshed ID token "SHOULD NOT have a nonce Claim" (OpenID Connect Core section 12.2)

	token string

	request *refreshRequest // set by bind
}

func (g *refreshGrant) action() action { return actRefresh }

func (g *refreshGrant) bind(ctx context.Context, p *Provider, req *tokenRequest) (*authorization, error) {
	if g.token == "" {
		return nil, fail(codeInvalidRequest, "refresh_token is missing")
	}
	r, err := p.storage.refreshToken(ctx, g.token)
	if err != nil {
		return nil, err
	}
	if r.clientID != req.client.ID {
		return nil, fail(codeInvalidGrant, "the refresh token was issued to another client")
	}
	if r.dead {
		return nil, fail(codeInvalidGrant, "the login of this refresh token has been revoked")
	}
	g.request = r
	return &r.authorization, nil
}

func (g *refreshGrant) consume(ctx context.Context, p *Provider, req *tokenRequest) (string, string, time.Time, error) {
	return p.storage.CreateAccessAndRefreshTokens(ctx, g.request, g.token)
}
