// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// opClient shows a client to the engine.
type opClient struct {
	c    *client
	life Lifetimes
}

var _ op.Client = opClient{}

func (o opClient) GetID() string                    { return o.c.ID }
func (o opClient) RedirectURIs() []string           { return o.c.RedirectURIs }
func (o opClient) PostLogoutRedirectURIs() []string { return o.c.PostLogoutRedirectURIs }
func (o opClient) AuthMethod() oidc.AuthMethod      { return oidc.AuthMethod(o.c.TokenEndpointAuthMethod) }
func (o opClient) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (o opClient) LoginURL(string) string { return "" } // there is no login page
func (o opClient) AccessTokenType() op.AccessTokenType {
	return op.AccessTokenTypeJWT
}
func (o opClient) IDTokenLifetime() time.Duration       { return o.life.IDToken }
func (o opClient) DevMode() bool                        { return false }
func (o opClient) IsScopeAllowed(string) bool           { return false } // beyond the known ones
func (o opClient) IDTokenUserinfoClaimsAssertion() bool { return !o.c.LeanIDToken }
func (o opClient) ClockSkew() time.Duration             { return 0 }

func (o opClient) ApplicationType() op.ApplicationType {
	if o.c.ApplicationType == "native" {
		return op.ApplicationTypeNative
	}
	return op.ApplicationTypeWeb
}

func (o opClient) GrantTypes() []oidc.GrantType {
	var types []oidc.GrantType
	for _, t := range o.c.GrantTypes {
		types = append(types, oidc.GrantType(t))
	}
	return types
}

func (o opClient) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}

func (o opClient) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
