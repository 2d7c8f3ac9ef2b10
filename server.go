// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// opServer is the provider as the engine sees it. It embeds
// op.UnimplementedServer, so that a method that nobody wrote refuses. Each
// method calls the file of its grant or endpoint and decides nothing.
//
// Token requests do not go through the engine's own route: see
// docs/design/001-token-dispatch.md.
type opServer struct {
	op.UnimplementedServer
	p *Provider
}

var _ op.Server = (*opServer)(nil)

// CodeExchange redeems an authorization code.
func (s *opServer) CodeExchange(ctx context.Context, r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	req, err := s.p.newTokenRequest(r.Client, r.PostForm)
	if err != nil {
		return nil, err
	}
	return s.p.issue(ctx, req, &codeGrant{code: r.Data.Code, redirectURI: r.Data.RedirectURI, verifier: r.Data.CodeVerifier})
}

// RefreshToken rotates a refresh token.
func (s *opServer) RefreshToken(ctx context.Context, r *op.ClientRequest[oidc.RefreshTokenRequest]) (*op.Response, error) {
	req, err := s.p.newTokenRequest(r.Client, r.PostForm)
	if err != nil {
		return nil, err
	}
	return s.p.issue(ctx, req, &refreshGrant{token: r.Data.RefreshToken})
}

// DeviceToken answers a device that asks for its tokens.
func (s *opServer) DeviceToken(ctx context.Context, r *op.ClientRequest[oidc.DeviceAccessTokenRequest]) (*op.Response, error) {
	req, err := s.p.newTokenRequest(r.Client, r.PostForm)
	if err != nil {
		return nil, err
	}
	return s.p.issue(ctx, req, &deviceGrant{code: r.Data.DeviceCode})
}

// ClientCredentialsExchange gives a machine a token for itself.
func (s *opServer) ClientCredentialsExchange(ctx context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	req, err := s.p.newTokenRequest(r.Client, r.PostForm)
	if err != nil {
		return nil, err
	}
	return s.p.issue(ctx, req, &clientGrant{})
}

// TokenExchange exchanges a token for another.
func (s *opServer) TokenExchange(ctx context.Context, r *op.ClientRequest[oidc.TokenExchangeRequest]) (*op.Response, error) {
	req, err := s.p.newTokenRequest(r.Client, r.PostForm)
	if err != nil {
		return nil, err
	}
	return s.p.issue(ctx, req, &exchangeGrant{form: r.PostForm})
}

// UserInfo answers for the verified token that serveUserinfo has put into
// ctx.
func (s *opServer) UserInfo(ctx context.Context, _ *op.Request[oidc.UserInfoRequest]) (*op.Response, error) {
	t, ok := ctx.Value(tokenKey{}).(*verifiedToken)
	if !ok {
		return nil, unreachable("userinfo without a verified token")
	}
	info := new(oidc.UserInfo)
	if err := s.p.storage.SetUserinfoFromToken(ctx, info, t.claims.ID, t.claims.Subject, ""); err != nil {
		return nil, err
	}
	return op.NewResponse(info), nil
}
