// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"net/http"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// serveIntrospect is the introspection endpoint (RFC 7662). Only an
// authenticated client may ask, and only about tokens that were issued to it
// or are meant for a resource that it is. About any other it learns what it
// would learn about a token that never was.
func (p *Provider) serveIntrospect(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r)
	if err != nil {
		return err
	}
	c, err := p.authenticateClient(r, f)
	if err != nil {
		return err
	}
	if c.public() {
		// "To prevent token scanning attacks, the endpoint MUST also require
		// some form of authorization" (section 2.1): an id alone proves
		// nothing.
		return errClient("introspection needs a client that authenticates")
	}
	token := f.get("token")
	if token == "" {
		return fail(codeInvalidRequest, "token is missing")
	}
	res, err := p.introspect(r, c, token)
	if errors.Is(err, errInactive) {
		p.log.Debug("token is not active", "request", requestID(r.Context()), "client", c.ID, "cause", err.Error())
		p.auditInactive(r.Context(), err)
		res, err = &oidc.IntrospectionResponse{}, nil
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, res)
	return nil
}

func (p *Provider) introspect(r *http.Request, c *client, token string) (*oidc.IntrospectionResponse, error) {
	if c.Disabled {
		return nil, inactive(errors.New("asked by a disabled client"))
	}
	if len(token) == refreshTokenLen {
		return p.introspectRefreshToken(r, c, token)
	}
	return p.introspectAccessToken(r, c, token)
}

func (p *Provider) introspectAccessToken(r *http.Request, c *client, token string) (*oidc.IntrospectionResponse, error) {
	t, err := p.parseAccessToken(r.Context(), token)
	if err != nil {
		return nil, err
	}
	mayAsk := func() bool { return t.claims.ClientID == c.ID || slices.ContainsFunc(c.ResourceIdentifiers, t.isFor) }
	if !mayAsk() {
		return nil, inactive(errors.New("token of another client, for another resource"))
	}
	if err := p.verifyAccessToken(r.Context(), actIntrospect, t); err != nil {
		return nil, err
	}
	// The rules may have withdrawn the resource that is asking.
	if t.claims.Audience = t.audience(p.issuer); !mayAsk() {
		return nil, inactive(errors.New("token for a resource that is not allowed now"))
	}
	res := new(oidc.IntrospectionResponse)
	err = p.storage.SetIntrospectionFromToken(withToken(r.Context(), t), res, t.claims.ID, t.claims.Subject, c.ID)
	return res, err
}

// introspectRefreshToken: a client may look at its own.
func (p *Provider) introspectRefreshToken(r *http.Request, c *client, token string) (*oidc.IntrospectionResponse, error) {
	rt, err := p.storage.refreshToken(r.Context(), token)
	if err != nil {
		if e := asProtocolError(err); e.status() >= 500 {
			return nil, err
		}
		return nil, inactive(err)
	}
	if rt.clientID != c.ID || rt.spent || rt.dead {
		return nil, inactive(errors.New("spent, revoked or of another client"))
	}
	who, d, err := p.decideGrant(r.Context(), &question{action: actIntrospect, client: c, grant: &rt.authorization, resources: rt.resources, scopes: rt.scopes})
	if err != nil {
		if e := asProtocolError(err); e.status() >= 500 {
			return nil, err
		}
		return nil, inactive(err)
	}
	return &oidc.IntrospectionResponse{
		Active: true, Issuer: p.issuer, Subject: rt.subject, ClientID: c.ID, Scope: d.scopes, Username: who.login,
		IssuedAt: oidc.FromTime(rt.createdAt), Expiration: oidc.FromTime(rt.expiresAt), AuthTime: oidc.FromTime(rt.authTime),
	}, nil
}
