// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// A verifiedToken is an access token that is good now: signed by us, not
// expired, its grant alive, and its user, node and resources still allowed.
type verifiedToken struct {
	claims jwt.Claims
	scopes []string
	// authorization is that of the grant.
	authorization *authorization
	client        *client
	who           identity
	// resources are those of the token that the rules still allow; empty for
	// a token for the issuer.
	resources  []string
	userClaims userClaims
}

type tokenKey struct{}

// withToken passes t to opServer and storage.
func withToken(ctx context.Context, t *verifiedToken) context.Context {
	return context.WithValue(ctx, tokenKey{}, t)
}

// errInactive says that a token is not good, for whatever reason. Resource
// servers and clients learn no more; the cause is for the log.
var errInactive = errors.New("token is not active")

func inactive(cause error) error { return errors.Join(errInactive, cause) }

// A signedToken is what an access token says that a key has signed.
type signedToken struct {
	claims jwt.Claims // shared, never modified
	key    jwt.PublicKey
}

// maxSignedTokens is how many are remembered: some megabytes.
const maxSignedTokens = 8192

// How a signature came to be good, for the metrics.
const (
	signatureKnown    = "known"
	signatureVerified = "verified"
	signatureInvalid  = "invalid"
)

// signedClaims returns what an access token says if one of our keys has signed
// it. Of one that this process has minted, or verified before, it knows:
// everything else about the token is asked again at each use.
func (p *Provider) signedClaims(ctx context.Context, token string) (jwt.Claims, error) {
	if known, ok := p.signed.Get(token); ok {
		if key, ok := p.keys.Load().lookup(known.key.ID); ok && key.Equal(known.key) {
			p.metrics.signatures.inc(signatureKnown)
			return known.claims, nil
		}
		p.signed.Remove(token) // the key has been retired
	}
	var t signedToken
	lookup := p.lookupKey(ctx)
	payload, err := jwt.Verify(token, jwt.TypeAccessToken, func(kid string) (key jwt.PublicKey, ok bool) {
		t.key, ok = lookup(kid)
		return t.key, ok
	})
	if err == nil {
		err = jwt.Unmarshal(payload, &t.claims)
	}
	if err != nil {
		p.metrics.signatures.inc(signatureInvalid)
		return jwt.Claims{}, err
	}
	p.metrics.signatures.inc(signatureVerified)
	p.signed.Put(token, &t)
	return t.claims, nil
}

// parseAccessToken checks what an access token says by itself: that it is
// one, that it is ours, and that it has not expired.
func (p *Provider) parseAccessToken(ctx context.Context, token string) (*verifiedToken, error) {
	claims, err := p.openAccessToken(ctx, token)
	if err != nil {
		return nil, inactive(err)
	}
	t := &verifiedToken{claims: claims}
	if t.claims.Issuer != p.issuer {
		return nil, inactive(errors.New("token of another issuer"))
	}
	if len(t.claims.Audience) == 0 {
		return nil, inactive(errors.New("token for nobody"))
	}
	if err := t.claims.CheckTime(p.now(), clockSkew); err != nil {
		p.signed.Remove(token)
		return nil, inactive(err)
	}
	t.scopes = strings.Fields(t.claims.Scope)
	return t, nil
}

// purposeAccessToken is the purpose of sealed access tokens.
const purposeAccessToken = "access token"

// openAccessToken returns what a token says that is signed, or sealed for a
// client with opaque tokens.
func (p *Provider) openAccessToken(ctx context.Context, token string) (claims jwt.Claims, err error) {
	if strings.Contains(token, ".") {
		return p.signedClaims(ctx, token)
	}
	payload, err := p.unseal(ctx, purposeAccessToken, token)
	if err == nil {
		err = jwt.Unmarshal(payload, &claims)
	}
	return claims, err
}

// lookupKey finds a verification key, also one that another instance made.
func (p *Provider) lookupKey(ctx context.Context) func(kid string) (jwt.PublicKey, bool) {
	return func(kid string) (jwt.PublicKey, bool) {
		ring := p.keys.Load()
		key, ok := ring.lookup(kid)
		if !ok && p.missedKeys(ctx, ring) {
			return p.keys.Load().lookup(kid)
		}
		return key, ok
	}
}

// verifyAccessToken does the rest: the grant must be alive, the client must
// exist, and today's tailnet must still allow it. Errors other than
// errInactive mean that this could not be found out.
func (p *Provider) verifyAccessToken(ctx context.Context, act action, t *verifiedToken) error {
	a, err := p.grantBehind(ctx, &t.claims)
	if err != nil {
		return err
	}
	if t.client, err = p.clientToUse(ctx, t.claims.ClientID); err != nil {
		return inactiveOr(err)
	}
	// A token that was exchanged belongs to the client that did it, and rests
	// on what the person may do with the client that they logged in to.
	base := t.client
	if a.clientID != base.ID {
		if t.client.Disabled || !strings.HasSuffix(t.claims.ID, exchangedMark) {
			return inactive(errors.New("token of a disabled client, or of another than its grant"))
		}
		if base, err = p.clientToUse(ctx, a.clientID); err != nil {
			return inactiveOr(err)
		}
	}
	t.authorization = a
	asked := t.claims.Audience
	if slices.Equal(asked, jwt.Audience{p.issuer}) {
		asked = nil
	}
	who, d, err := p.decideGrant(ctx, &question{action: act, client: base, grant: a, resources: asked, scopes: t.scopes})
	if err != nil {
		if e := asProtocolError(err); e.status() < 500 {
			return inactive(err)
		}
		return err
	}
	t.who, t.resources, t.scopes = who, d.resources, d.scopes
	t.userClaims = p.claimsFor(t.client, &t.who, t.scopes)
	if !a.machine { // it is about nobody, wherever its client runs
		t.addRuleClaims()
	}
	return nil
}

// grantBehind finds the grant that a token of ours hangs from, which must be
// alive.
func (p *Provider) grantBehind(ctx context.Context, c *jwt.Claims) (*authorization, error) {
	grantID, ok := grantOf(c.ID)
	if !ok {
		return nil, inactive(errors.New("token without a grant"))
	}
	a, err := p.storage.liveGrant(ctx, grantID)
	if err != nil {
		return nil, inactiveOr(err)
	}
	if a.subject != c.Subject {
		return nil, inactive(errors.New("token and grant differ"))
	}
	if strings.HasSuffix(c.ID, exchangedMark) { // it may have been revoked alone
		switch _, err := p.store.Get(ctx, kindRevokedToken, c.ID, p.now()); {
		case err == nil:
			return nil, inactive(errors.New("token was revoked"))
		case !errors.Is(err, store.ErrNotFound):
			return nil, storeError(err)
		}
	}
	return a, nil
}

func isInactive(err error) bool { return errors.Is(err, errInactive) }

func inactiveOr(err error) error {
	if e := storeError(err); !errors.Is(err, store.ErrNotFound) && e.status() >= 500 {
		return e
	}
	return inactive(err)
}

// isFor reports whether the token is meant for resource.
func (t *verifiedToken) isFor(resource string) bool {
	return slices.ContainsFunc(t.claims.Audience, func(aud string) bool { return oauth.SameResource(aud, resource) })
}

// audience is what is left of the token's.
func (t *verifiedToken) audience(issuer string) []string {
	if len(t.resources) == 0 {
		return []string{issuer}
	}
	return t.resources
}

// claimsFor applies the provider's naming policy.
func (p *Provider) claimsFor(c *client, id *identity, scopes []string) userClaims {
	n := newNaming(p.cfg.EmailVerified, id.tailnet.name)
	uc := claimsFor(id, scopes, n)
	if c.Imported {
		uc = importedClaims(id, scopes, n, p.hostname)
	}
	if slices.ContainsFunc(scopes, knownScope) { // a machine has none
		uc.with(mappedClaims(c.Claims, id, n))
	}
	return uc
}

// addRuleClaims adds what rules add to userinfo. Introspection says the same.
func (t *verifiedToken) addRuleClaims() {
	t.userClaims.with(t.who.rules.extraClaims(t.client.ID, t.client.trustedName(), true))
}

// extra returns the claims that the engine's types have no field for.
func (c *userClaims) extra() map[string]any {
	m := make(map[string]any)
	set := func(name string, v any, present bool) {
		if present {
			m[name] = v
		}
	}
	set("username", c.Username, c.Username != "")
	set("groups", c.Groups, c.Groups != nil)
	set("node", c.Node, c.Node != "")
	set("nid", c.NodeID, c.NodeID != 0)
	set("key", c.NodeKey, c.NodeKey != "")
	set("addresses", c.Addresses, len(c.Addresses) > 0)
	set("tags", c.Tags, len(c.Tags) > 0)
	set("tailnet", c.Tailnet, c.Tailnet != "")
	set("uid", c.UserID, c.UserID != 0)
	maps.Copy(m, c.added)
	return m
}

// introspection fills in an answer of RFC 7662 section 2.2.
func (t *verifiedToken) introspection(res *oidc.IntrospectionResponse, issuer string) {
	c := &t.userClaims
	res.Active = true
	res.Issuer, res.Subject, res.ClientID = issuer, t.claims.Subject, t.claims.ClientID
	res.TokenType = "Bearer"
	res.Scope = t.scopes
	res.Expiration, res.IssuedAt, res.AuthTime = oidcTime(t.claims.Expiry), oidcTime(t.claims.IssuedAt), oidcTime(t.claims.AuthTime)
	res.JWTID = t.claims.ID
	res.Username = t.who.login
	res.Audience = oidc.Audience(t.audience(issuer))
	res.Name, res.PreferredUsername, res.Picture, res.Email = c.Name, c.PreferredUsername, c.Picture, c.Email
	res.EmailVerified = oidc.Bool(c.EmailVerified != nil && *c.EmailVerified)
	res.Claims = c.extra()
	if len(t.claims.Tags) > 0 {
		res.Claims["tags"] = t.who.tags
	}
	if t.claims.Act != nil {
		res.Claims["act"] = t.claims.Act
	}
}

func oidcTime(n *jwt.NumericDate) oidc.Time {
	if n == nil {
		return 0
	}
	return oidc.Time(*n)
}
