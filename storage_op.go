// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// This file is the rest of what the engine's interfaces want: the methods of
// op.Storage that no route reaches, and the view of our types as its own.

func (s *storage) CreateAuthRequest(context.Context, *oidc.AuthRequest, string) (op.AuthRequest, error) {
	return nil, unreachable("CreateAuthRequest")
}

func (s *storage) AuthRequestByID(context.Context, string) (op.AuthRequest, error) {
	return nil, unreachable("AuthRequestByID")
}

func (s *storage) SaveAuthCode(context.Context, string, string) error {
	return unreachable("SaveAuthCode")
}

func (s *storage) DeleteAuthRequest(context.Context, string) error {
	return unreachable("DeleteAuthRequest")
}

func (s *storage) TerminateSession(context.Context, string, string) error {
	return unreachable("TerminateSession")
}

func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", unreachable("GetRefreshTokenInfo")
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return unreachable("SetUserinfoFromScopes")
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, unreachable("GetPrivateClaimsFromScopes")
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, unreachable("GetKeyByIDAndClientID")
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, unreachable("ValidateJWTProfileScopes")
}

// unreachable is the error of what no route reaches.
func unreachable(format string, args ...any) error {
	return fail(codeServerError, "not supported").because(fmt.Errorf("unreachable: "+format, args...))
}

// What follows shows authorizations to the engine.

func (a *authorization) GetSubject() string     { return a.subject }
func (a *authorization) GetClientID() string    { return a.clientID }
func (a *authorization) GetScopes() []string    { return a.scopes }
func (a *authorization) GetAudience() []string  { return a.resources }
func (a *authorization) GetAuthTime() time.Time { return a.authTime }
func (a *authorization) GetAMR() []string       { return nil }

func (c *codeRequest) GetID() string                      { return c.grantID }
func (c *codeRequest) GetACR() string                     { return "" }
func (c *codeRequest) GetNonce() string                   { return c.nonce }
func (c *codeRequest) GetRedirectURI() string             { return "" } // only its hash is kept
func (c *codeRequest) GetResponseType() oidc.ResponseType { return oidc.ResponseTypeCode }
func (c *codeRequest) GetResponseMode() oidc.ResponseMode { return "" }
func (c *codeRequest) GetState() string                   { return "" }
func (c *codeRequest) Done() bool                         { return true } // the tailnet has authenticated already

func (c *codeRequest) GetCodeChallenge() *oidc.CodeChallenge {
	if !c.hasPKCE {
		return nil
	}
	return &oidc.CodeChallenge{
		Challenge: base64.RawURLEncoding.EncodeToString(c.challenge[:]),
		Method:    oidc.CodeChallengeMethodS256,
	}
}

// SetCurrentScopes narrows the scopes of the tokens to come.
func (r *refreshRequest) SetCurrentScopes(scopes []string) { r.scopes = scopes }
