// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What every grant at the token endpoint shares, in this order:
//
//	parse → authenticate client → bind → narrow → decide → consume → mint → answer
//
// A grant supplies bind and consume only, so that none can forget a step. Up
// to consume nothing has changed: whatever fails before it can be tried
// again with the same code or token. consume is one atomic store verb, and
// what comes after it cannot fail for a reason of the client's.

// A grant is one grant type.
type grant interface {
	// bind finds the authorization behind what was presented, and proves
	// that it belongs to the client of req. It changes nothing.
	bind(ctx context.Context, p *Provider, req *tokenRequest) (*authorization, error)
	// consume spends what was presented. It returns the id of the access
	// token, when that expires, and a refresh token or "".
	consume(ctx context.Context, p *Provider, req *tokenRequest) (id, refresh string, expires time.Time, err error)
	action() action
	// ask completes what decide is asked, and shape what is signed.
	ask(q *question)
	shape(p *Provider, m *mintRequest, d decision) error
}

// A plainGrant asks and shapes nothing of its own.
type plainGrant struct{}

func (plainGrant) ask(*question)                                 {}
func (plainGrant) shape(*Provider, *mintRequest, decision) error { return nil }

// A tokenRequest is what a client asks of the token endpoint.
type tokenRequest struct {
	client *client
	life   Lifetimes
	// scopes and resources that the tokens shall be narrowed to; nil: as
	// granted.
	scopes    []string
	resources []string
}

// Bounds on the resources of one request, which its token has to hold.
const (
	maxResources     = 20
	maxResourceBytes = 4 << 10 // together
)

// serveToken is the token endpoint (RFC 6749 section 3.2).
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r)
	if err != nil {
		return err
	}
	grantType := f.get("grant_type")
	notes(r.Context()).event.Event = tokenEvents[grantType]
	if grantType == "" {
		return fail(codeInvalidRequest, "grant_type is missing")
	}
	dispatch, ok := p.grantTypes()[grantType]
	if !ok {
		// The text is not echoed: it may be anything.
		return fail(codeUnsupportedGrantType, "grant_type must be one of %s", strings.Join(p.grantTypeNames(), ", "))
	}
	c, err := p.authenticateClient(r, f)
	if err != nil {
		return err
	}
	if !c.allowsGrantType(grantType) {
		return fail(codeUnauthorizedClient, "this client is not registered for the grant type %s", grantType)
	}
	res, err := dispatch(p.withCaller(r), p.opClient(c), f.values)
	p.noteFailure(failureKey(r.Context(), c.ID), err)
	if err != nil {
		return err
	}
	p.metrics.tokens.inc(grantType)
	writeJSON(w, http.StatusOK, res.Data)
	return nil
}

// grantTypes maps grant types onto the methods of op.Server.
func (p *Provider) grantTypes() map[string]func(context.Context, op.Client, url.Values) (*op.Response, error) {
	types := map[string]func(context.Context, op.Client, url.Values) (*op.Response, error){
		grantAuthorizationCode: func(ctx context.Context, c op.Client, v url.Values) (*op.Response, error) {
			return p.opServer.CodeExchange(ctx, clientRequest(c, v, &oidc.AccessTokenRequest{
				Code: v.Get("code"), RedirectURI: v.Get("redirect_uri"), CodeVerifier: v.Get("code_verifier"),
			}))
		},
		grantRefreshToken: func(ctx context.Context, c op.Client, v url.Values) (*op.Response, error) {
			return p.opServer.RefreshToken(ctx, clientRequest(c, v, &oidc.RefreshTokenRequest{
				RefreshToken: v.Get("refresh_token"),
			}))
		},
		grantClientCredentials: func(ctx context.Context, c op.Client, v url.Values) (*op.Response, error) {
			return p.opServer.ClientCredentialsExchange(ctx, clientRequest(c, v, &oidc.ClientCredentialsRequest{}))
		},
		grantDeviceCode: func(ctx context.Context, c op.Client, v url.Values) (*op.Response, error) {
			return p.opServer.DeviceToken(ctx, clientRequest(c, v, &oidc.DeviceAccessTokenRequest{
				DeviceCode: v.Get("device_code"),
			}))
		},
	}
	if p.cfg.TokenExchange != nil {
		types[grantTokenExchange] = func(ctx context.Context, c op.Client, v url.Values) (*op.Response, error) {
			return p.opServer.TokenExchange(ctx, clientRequest(c, v, &oidc.TokenExchangeRequest{}))
		}
	}
	return types
}

// grantTypeNames are the grant types that are on, in a fixed order.
func (p *Provider) grantTypeNames() []string {
	return slices.DeleteFunc(slices.Clone(supportedGrantTypes), func(t string) bool {
		return t == grantTokenExchange && p.cfg.TokenExchange == nil
	})
}

func clientRequest[T any](c op.Client, v url.Values, data *T) *op.ClientRequest[T] {
	return &op.ClientRequest[T]{
		Request: &op.Request[T]{Method: http.MethodPost, Form: v, PostForm: v, Data: data},
		Client:  c,
	}
}

// newTokenRequest reads what the token requests of all grant types share.
func (p *Provider) newTokenRequest(c op.Client, v url.Values) (*tokenRequest, error) {
	oc, ok := c.(opClient)
	if !ok {
		return nil, unreachable("client of type %T", c)
	}
	req := &tokenRequest{client: oc.c, life: oc.life, resources: v["resource"]}
	scopes, err := oauth.ParseScope(v.Get("scope"), knownScope)
	if err != nil {
		return nil, fail(codeInvalidScope, "%v", err)
	}
	req.scopes = scopes
	return req, checkResources(req.resources)
}

// checkResources: "Its value MUST be an absolute URI ... MUST NOT include a
// fragment component" (RFC 8707 section 2).
func checkResources(resources []string) error {
	if len(resources) > maxResources {
		return fail(codeInvalidTarget, "more than %d resources", maxResources)
	}
	size := 0
	for _, r := range resources {
		if _, err := oauth.CanonicalResource(r); err != nil {
			return fail(codeInvalidTarget, "resource: %v", err)
		}
		size += len(r)
	}
	if size > maxResourceBytes {
		return fail(codeInvalidTarget, "resources of more than %d bytes", maxResourceBytes)
	}
	return nil
}

// issue runs one token request through the pipeline.
func (p *Provider) issue(ctx context.Context, req *tokenRequest, g grant) (*op.Response, error) {
	a, err := g.bind(ctx, p, req)
	if err != nil {
		return nil, err
	}
	a.life = req.life
	notes(ctx).noteGrant(a)
	scopes, resources, err := req.narrow(a, p.issuer)
	if err != nil {
		return nil, err
	}
	q := question{action: g.action(), client: req.client, grant: a, resources: resources, scopes: scopes}
	g.ask(&q)
	who, d, err := p.decideGrant(ctx, &q)
	if err != nil {
		return nil, err
	}
	m := &mintRequest{client: req.client, life: req.life, who: &who, authorization: a, scopes: d.scopes, resources: d.resources}
	if m.accessSigner, err = p.signer(ctx, jwt.ES256); err != nil {
		return nil, storeError(err)
	}
	if m.idSigner, err = p.signer(ctx, req.client.IDTokenAlg); err != nil {
		return nil, storeError(err)
	}
	if err := g.shape(p, m, d); err != nil {
		return nil, err
	}
	e := decided(notes(ctx).event.Event, q, d)
	if err := p.auditFirst(ctx, e); err != nil {
		return nil, err
	}
	if m.tokenID, m.refresh, m.expires, err = g.consume(ctx, p, req); err != nil {
		return nil, err
	}
	res, err := p.mint(m)
	if err != nil {
		return nil, err
	}
	p.noteUse(ctx, req.client, req.life)
	e.Grant, e.Client = a.grantID, req.client.ID
	p.noteAudit(ctx, "tokens issued", e)
	return op.NewResponse(res), nil
}

// openGrant opens the grant that request stands for, with a refresh token if
// the client may have one. It spends the code of request.
func (p *Provider) openGrant(ctx context.Context, c *client, request op.TokenRequest) (id, refresh string, expires time.Time, err error) {
	if c.allowsGrantType(grantRefreshToken) {
		return p.storage.CreateAccessAndRefreshTokens(ctx, request, "")
	}
	id, expires, err = p.storage.CreateAccessToken(ctx, request)
	return id, "", expires, err
}

// narrow applies what the request asks for to what was granted. It narrows
// and never widens (RFC 6749 section 6, RFC 8707 section 2.2).
func (req *tokenRequest) narrow(a *authorization, issuer string) (scopes, resources []string, err error) {
	scopes, resources = a.scopes, a.resources
	granted := a.resources
	if len(granted) == 0 {
		granted = []string{issuer} // what its tokens are for
	}
	if len(req.scopes) > 0 {
		scopes = nil
		for _, s := range req.scopes {
			switch {
			case slices.Contains(a.scopes, s):
				scopes = append(scopes, s)
			case knownScope(s):
				return nil, nil, fail(codeInvalidScope, "scope %s was not granted; ask for it at the authorization endpoint", s)
			}
		}
		if len(scopes) == 0 {
			return nil, nil, errNoScope()
		}
	}
	if len(req.resources) > 0 {
		for _, r := range req.resources {
			if !slices.ContainsFunc(granted, func(g string) bool { return oauth.SameResource(g, r) }) {
				return nil, nil, fail(codeInvalidTarget, "resource %s was not granted; ask for it at the authorization endpoint", r)
			}
		}
		resources = req.resources
	}
	return scopes, resources, nil
}

// decideGrant asks today's tailnet whether q.grant may be used as q says; who
// it is, it finds out and notes in q. A grant whose address belongs to
// somebody else now dies.
func (p *Provider) decideGrant(ctx context.Context, q *question) (identity, decision, error) {
	who, err := p.directory.identify(ctx, q.grant.addr)
	if q.grant.machine && !q.grant.addr.IsValid() {
		who, err = identity{}, nil // it asked from outside of the tailnet, and has no rules
	}
	if err != nil {
		p.countUnknown(err)
		e := identityError(err)
		if isAnswer(err) {
			e = fail(refusalCode(q.action), "the device of this login is not in the tailnet now").because(err)
			e.refusal = &refusal{code: e.code, reason: reasonUnknownPeer, message: e.description}
		}
		return identity{}, decision{}, e
	}
	q.who, q.issuer = who, p.issuer
	d, no := p.decide(*q)
	if no == nil {
		return who, d, nil
	}
	if no.kill {
		if err := p.storage.killGrant(ctx, q.grant.grantID, no.reason); err != nil {
			return identity{}, decision{}, err
		}
	}
	return identity{}, decision{}, no.err()
}
