// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
)

// Token exchange (RFC 8693): a service that received a token for itself gets
// one with which it can call the next service for the same person. The new
// token hangs from the grant of the old one, which it neither outlives nor
// outgrows: when the grant ends, so does all that was exchanged from it.

// TokenExchange turns on the grant type token-exchange.
type TokenExchange struct {
	// MaxActors is how long the chain of actors in a token may be: 5 by
	// default.
	MaxActors int
}

const defaultMaxActors = 5

func (x *TokenExchange) maxActors() int { return cmp.Or(x.MaxActors, defaultMaxActors) }

// Token type identifiers (section 3).
const (
	tokenTypePrefix  = "urn:ietf:params:oauth:token-type:"
	tokenTypeAccess  = tokenTypePrefix + "access_token"
	tokenTypeRefresh = tokenTypePrefix + "refresh_token"
	tokenTypeID      = tokenTypePrefix + "id_token"
	tokenTypeJWT     = tokenTypePrefix + "jwt"
)

// badExchange is the answer to a token that cannot be used: "If ... either
// the subject_token or actor_token are invalid for any reason, or are
// unacceptable based on policy, ... the value of the error parameter MUST be
// the invalid_request error code" (section 2.2.2).
func badExchange(format string, args ...any) *protocolError {
	return fail(codeInvalidRequest, format, args...)
}

// An exchangeGrant is the grant type token-exchange.
type exchangeGrant struct {
	form url.Values

	// Set by bind.
	subject    *subjectToken
	actor      *jwt.Actor // of the actor token; nil for none
	issuedType string
	question   exchangeQuestion
}

// A subjectToken is what the client wants to exchange.
type subjectToken struct {
	*authorization // that of its grant
	client         *client
	scopes         []string
	audience       []string
	issuedTo       string // client id
	expires        time.Time
	act, mayAct    *jwt.Actor
	// bearer: whoever it was sent to may have it, other than ID and refresh
	// tokens, which are the client's own.
	bearer bool
}

func (g *exchangeGrant) action() action { return actExchange }

// bind opens the tokens. What comes back is the grant of the subject token,
// reduced to what that token is good for, and aimed at the new targets.
func (g *exchangeGrant) bind(ctx context.Context, p *Provider, req *tokenRequest) (*authorization, error) {
	if req.client.public() {
		return nil, fail(codeUnauthorizedClient, "token exchange needs a client that authenticates")
	}
	if err := g.checkTypes(); err != nil {
		return nil, err
	}
	var err error
	if g.subject, err = p.openSubject(ctx, req.client, g.form.Get("subject_token"), g.form.Get("subject_token_type")); err != nil {
		return nil, err
	}
	if g.actor, err = p.openActor(ctx, req.client, g.form.Get("actor_token")); err != nil {
		return nil, err
	}
	if err := g.checkMayAct(req.client, p.issuer); err != nil {
		return nil, err
	}
	targets, err := g.targets(p.issuer)
	if err != nil {
		return nil, err
	}
	caller, err := p.caller(ctx)
	if err != nil {
		return nil, err
	}
	g.question = exchangeQuestion{
		by: req.client, caller: caller, subject: g.subject.audience, bearer: g.subject.bearer,
		own: g.subject.issuedTo == req.client.ID || g.subject.bearer && slices.ContainsFunc(req.client.ResourceIdentifiers, g.subject.isFor),
	}
	a := *g.subject.authorization
	a.scopes, a.resources = g.subject.scopes, targets
	req.resources = nil // they are the targets
	return &a, nil
}

func (g *exchangeGrant) checkTypes() error {
	if g.form.Get("subject_token") == "" || g.form.Get("subject_token_type") == "" {
		return badExchange("subject_token and subject_token_type are needed")
	}
	// "This parameter is REQUIRED when the actor_token parameter is present
	// in the request but MUST NOT be included otherwise" (section 2.1).
	// Earlier versions took an actor token without.
	switch actor, t := g.form.Get("actor_token"), g.form.Get("actor_token_type"); {
	case actor == "" && t != "":
		return badExchange("actor_token_type without actor_token")
	case t != "" && t != tokenTypeAccess:
		return badExchange("actor_token_type must be %s", tokenTypeAccess)
	}
	switch t := g.form.Get("requested_token_type"); t {
	case "", tokenTypeAccess:
		g.issuedType = tokenTypeAccess
	case tokenTypeJWT:
		g.issuedType = tokenTypeJWT
	default:
		return badExchange("requested_token_type must be %s or %s", tokenTypeAccess, tokenTypeJWT)
	}
	return nil
}

// targets are what the new token is for: all resources and audiences that
// were asked for, in their spelling, or what the old one is for.
func (g *exchangeGrant) targets(issuer string) ([]string, error) {
	asked := slices.Concat(g.form["resource"], g.form["audience"])
	if err := checkResources(asked); err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		asked = g.subject.audience
	}
	var targets []string
	for _, t := range asked {
		same := func(o string) bool { return oauth.SameResource(o, t) }
		// The issuer as a target opens userinfo. No rule speaks of it, so the
		// old token must have had it.
		if same(issuer) && !g.subject.isFor(issuer) {
			return nil, fail(codeInvalidTarget, "the subject token is not for %s", t)
		}
		if !slices.ContainsFunc(targets, same) {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// ask completes the question about the exchange.
func (g *exchangeGrant) ask(q *question) {
	q.client, q.exchange = g.subject.client, &g.question
}

// consume consumes nothing: an exchange may be repeated as long as its
// subject token lives.
func (g *exchangeGrant) consume(_ context.Context, p *Provider, req *tokenRequest) (string, string, time.Time, error) {
	expires := p.now().Add(req.life.AccessToken)
	if g.subject.expires.Before(expires) {
		expires = g.subject.expires
	}
	return newTokenID(g.subject.grantID) + exchangedMark, "", expires, nil
}

// exchangedMark ends the jti of exchanged tokens: no other token may name a
// client that its grant does not.
const exchangedMark = ".x"

// shape names the actors of the new token.
func (g *exchangeGrant) shape(p *Provider, m *mintRequest, d decision) error {
	m.issuedType = g.issuedType
	m.act = g.subject.act
	switch {
	case g.actor != nil:
		m.act = g.actor.Before(m.act)
	case !d.impersonate:
		m.act = (&jwt.Actor{Subject: m.client.ID, ClientID: m.client.ID}).Before(m.act)
	}
	if m.act.Depth() > p.cfg.TokenExchange.maxActors() {
		return badExchange("the chain of actors is longer than %d", p.cfg.TokenExchange.maxActors())
	}
	return nil
}

// checkMayAct: "may_act ... makes a statement that one party is authorized to
// become the actor and act on behalf of another party" (section 4.4). It names
// the party by any of its members.
func (g *exchangeGrant) checkMayAct(c *client, issuer string) error {
	may := g.subject.mayAct
	if may == nil {
		return nil
	}
	actor := g.actor
	if actor == nil {
		actor = &jwt.Actor{Subject: c.ID, ClientID: c.ID}
	}
	for _, m := range []struct{ want, got string }{
		{may.Issuer, issuer}, {may.Subject, actor.Subject}, {may.ClientID, actor.ClientID},
	} {
		if m.want != "" && m.want != m.got {
			return badExchange("the subject token's may_act names another actor")
		}
	}
	return nil
}

// isFor reports whether the token is meant for resource.
func (t *subjectToken) isFor(resource string) bool {
	return slices.ContainsFunc(t.audience, func(aud string) bool { return oauth.SameResource(aud, resource) })
}

// openSubject verifies the subject token, by its type.
func (p *Provider) openSubject(ctx context.Context, c *client, token, tokenType string) (*subjectToken, error) {
	var t *subjectToken
	var err error
	switch tokenType {
	case tokenTypeAccess, tokenTypeJWT:
		t, err = p.subjectAccessToken(ctx, token)
	case tokenTypeID:
		t, err = p.subjectIDToken(ctx, token)
	case tokenTypeRefresh:
		t, err = p.subjectRefreshToken(ctx, c, token)
	default:
		return nil, badExchange("subject_token_type must be one of %s, %s, %s and %s", tokenTypeAccess, tokenTypeJWT, tokenTypeID, tokenTypeRefresh)
	}
	if err == nil && !p.now().Before(t.expires) {
		err = inactive(errors.New("it has expired: no leeway for what would live on"))
	}
	if err != nil {
		return nil, unusable(err, "subject_token is not valid, has expired or has been revoked")
	}
	if t.client, err = p.clientByID(ctx, t.clientID); err != nil {
		return nil, unusable(err, "subject_token is that of a client which no longer exists")
	}
	if len(t.audience) == 0 {
		t.audience = []string{p.issuer}
	}
	return t, nil
}

// unusable passes on that something could not be found out; whatever else is
// wrong with a token, its sender learns that it is.
func unusable(err error, description string) error {
	if e := storeError(err); !isInactive(err) && e.status() >= 500 {
		return e
	}
	return badExchange("%s", description).because(err)
}

func (p *Provider) subjectAccessToken(ctx context.Context, token string) (*subjectToken, error) {
	t, err := p.parseAccessToken(ctx, token)
	if err != nil {
		return nil, err
	}
	a, err := p.grantBehind(ctx, &t.claims)
	if err != nil {
		return nil, err
	}
	return &subjectToken{
		authorization: a, scopes: t.scopes, audience: t.claims.Audience, issuedTo: t.claims.ClientID,
		expires: t.claims.Expiry.Time(), act: t.claims.Act, mayAct: t.claims.MayAct, bearer: true,
	}, nil
}

// subjectIDToken: an ID token stands for the login that it came from.
func (p *Provider) subjectIDToken(ctx context.Context, token string) (*subjectToken, error) {
	c, err := p.openHint(ctx, token)
	if err != nil {
		return nil, inactive(err)
	}
	if err := c.CheckTime(p.now(), clockSkew); err != nil {
		return nil, inactive(err)
	}
	a, err := p.grantBehind(ctx, c)
	if err != nil {
		return nil, err
	}
	return &subjectToken{
		authorization: a, scopes: a.scopes, audience: a.resources, issuedTo: a.clientID, expires: c.Expiry.Time(), mayAct: c.MayAct,
	}, nil
}

// subjectRefreshToken: it is not spent, and nobody but its client may use it.
func (p *Provider) subjectRefreshToken(ctx context.Context, c *client, token string) (*subjectToken, error) {
	rt, err := p.storage.refreshToken(ctx, token)
	if err != nil {
		if e := storeError(err); e.status() < 500 {
			return nil, inactive(err)
		}
		return nil, err
	}
	if rt.clientID != c.ID || rt.spent || rt.dead {
		return nil, inactive(fail(codeInvalidGrant, "refresh token of another client, spent or revoked"))
	}
	return &subjectToken{
		authorization: &rt.authorization, scopes: rt.scopes, audience: rt.resources, issuedTo: rt.clientID, expires: rt.expiresAt,
	}, nil
}

// openActor verifies the actor token: an access token of the client itself,
// or for a resource that it is. Nobody else's can be waved about.
func (p *Provider) openActor(ctx context.Context, c *client, token string) (*jwt.Actor, error) {
	if token == "" {
		return nil, nil
	}
	const description = "actor_token is not valid, has expired or has been revoked"
	t, err := p.parseAccessToken(ctx, token)
	if err != nil {
		return nil, unusable(err, description)
	}
	if t.claims.ClientID != c.ID && !slices.ContainsFunc(c.ResourceIdentifiers, t.isFor) {
		return nil, badExchange("actor_token was issued to another client, for another resource")
	}
	if err := p.verifyAccessToken(ctx, actIntrospect, t); err != nil {
		return nil, unusable(err, description)
	}
	return &jwt.Actor{Subject: t.claims.Subject, ClientID: t.claims.ClientID, Act: t.claims.Act}, nil
}
