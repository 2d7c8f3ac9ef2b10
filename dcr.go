// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// Dynamic client registration (RFC 7591): whoever holds the capability
// allow_dcr registers a client, from the node where it runs. Nobody has looked
// at such a client: people are asked for their consent, it must use PKCE, and
// it ends when nobody uses it.
//
// A request that a web page of another origin sent comes with the authority of
// whoever reads that page. It can make a public client only, which counts
// among those of the reader's node but has an owner of its own: the page gets
// no power over clients that the reader's programs have registered.

const (
	// newRegistration is how long a registration lives before its first use.
	newRegistration = 24 * time.Hour
	// unusedRegistration is how long after a use, at least.
	unusedRegistration = 30 * 24 * time.Hour
	// noteUseEvery is how often a use is noted.
	noteUseEvery = 24 * time.Hour

	// Quotas of living registrations. Several instances that register at the
	// same instant may each exceed them by one.
	maxRegisteredByNode = 20
	maxRegistered       = 1000

	// Registrations of one node, repeated ones too.
	maxRegistrations   = 60
	registrationWindow = 10 * time.Minute

	// maxRegistrationTries bounds how often a registration meets writes of
	// others, or ids that it cannot have.
	maxRegistrationTries = 64
)

// A registrationResponse is the client information response (RFC 7591 section
// 3.2.1, RFC 7592 section 3).
type registrationResponse struct {
	admin.ClientMetadata
	Secret string `json:"client_secret,omitempty"`
	// SecretExpiresAt is there if Secret is, and 0: "the time at which the
	// client secret will expire or 0 if it will not expire". It lives as long
	// as the client, which uses prolong.
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	Token           string `json:"registration_access_token"`
	URI             string `json:"registration_client_uri"`
}

// serveRegister is the client registration endpoint.
func (p *Provider) serveRegister(w http.ResponseWriter, r *http.Request) error {
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	page := p.foreignPage(r)
	if _, no := p.decide(question{action: actRegister, who: who}); no != nil {
		return refuseRegistration(no, page)
	}
	reg, err := readRegistration(r)
	if err != nil {
		return err
	}
	now := p.now().UTC()
	c := &client{
		Origin: originRegistered, CreatedAt: now, ExpiresAt: now.Add(newRegistration),
		Owner: &clientOwner{Subject: who.subject(), Login: who.login, Node: who.node, Name: who.label(), Page: page},
	}
	if err := c.describe(reg, page); err != nil {
		return err
	}
	if err := p.checkAddresses(c); err != nil {
		return err
	}
	secret, err := c.addSecret("", now)
	if err != nil {
		return err
	}
	if wait, ok := p.registrations.take(string(who.node), now); !ok {
		return tooMany(wait, "this node has registered %d clients within %v; register once, and keep the client_id", maxRegistrations, registrationWindow)
	}
	c, token, err := p.register(r.Context(), c)
	if err != nil {
		return err
	}
	p.audit(r.Context(), "client registered", AuditEvent{Client: c.ID}, "page", page)
	p.writeRegistration(w, http.StatusCreated, c, secret, token)
	return nil
}

// foreignPage returns the origin of the web page of another origin that sent
// r: "null" if the browser does not say; empty if none did.
func (p *Provider) foreignPage(r *http.Request) string {
	if !p.fromForeignPage(r) {
		return ""
	}
	origin := r.Header.Get("Origin")
	if len(origin) > 255 || origin == "" || webOrigin(origin) != origin {
		return "null"
	}
	return origin
}

// refuseRegistration says no. A web page may not read by that who is looking
// at it.
func refuseRegistration(no *refusal, page string) error {
	e := no.err()
	if page != "" {
		e.description = "the policy of the tailnet does not allow this device to register clients"
		return e
	}
	e.grant = no.grantJSON()
	return e
}

// describe gives c the metadata of reg, and leaves alone what only an
// administrator decides.
func (c *client) describe(reg *registration, page string) error {
	m := declaredOver(c.ClientMetadata, reg.ClientMetadata)
	m.AuthMethodStrict = m.TokenEndpointAuthMethod == authBasic || m.TokenEndpointAuthMethod == authPost // it has chosen
	c.ClientMetadata = m
	if err := c.validate(oauth.SelfRegisteredRedirects); err != nil {
		return err
	}
	if page != "" && !c.public() {
		return fail(codeInvalidClientMetadata, "token_endpoint_auth_method: must be none in a request that a web page of another origin sends")
	}
	return c.nameScope()
}

// nameScope states the scope that the client has: unknown ones are narrowed
// away, and none means the default. It is what requests without a scope get,
// and no bound on others: agents ask for more later than they registered (C38).
func (c *client) nameScope() error {
	asked, err := oauth.ParseScope(c.Scope, knownScope)
	if err != nil {
		return fail(codeInvalidClientMetadata, "scope: %v", err)
	}
	c.Scope = joinKnown(asked)
	if c.Scope == "" {
		c.Scope = joinKnown(defaultScopes)
	}
	return nil
}

// register stores c, or finds the same public client that the same owner has
// registered before: agents register anew at each start. It returns the client
// and a new registration token.
//
// The id of a public client derives from its owner and what it says of itself,
// so that of many that register at once, at any instance, one is made.
func (p *Provider) register(ctx context.Context, c *client) (*client, string, error) {
	select {
	case p.registering <- struct{}{}: // quotas are counted one after the other
		defer func() { <-p.registering }()
	case <-ctx.Done():
		return nil, "", storeError(ctx.Err())
	}
	token, hash := newRegistrationToken()
	n := 0 // number of the id to try
	for range maxRegistrationTries {
		c.ID = newID()
		if c.repeatable() {
			c.ID = c.registrationID(n)
		}
		kept, err := p.clientByID(ctx, c.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			burnt, err := p.hasGrants(ctx, c)
			if err != nil {
				return nil, "", err
			}
			if burnt {
				n++
				continue
			}
			if err := p.checkQuotas(ctx, c); err != nil {
				return nil, "", err
			}
			kept = c
		case err != nil:
			return nil, "", storeError(err)
		case kept.Origin != originRegistered || kept.Owner == nil || kept.registrationID(n) != c.ID:
			n++ // it describes itself differently by now
			continue
		}
		kept.addRegistrationToken(hash)
		kept.ExpiresAt = later(kept.ExpiresAt, p.now().UTC().Add(newRegistration))
		switch err := p.putClient(ctx, kept); {
		case err == nil:
			return kept, token, nil
		case !errors.Is(err, store.ErrConflict):
			return nil, "", storeError(err)
		}
		c.RegistrationTokens = nil // another instance was first
	}
	return nil, "", storeError(errors.New("registering client: ids are taken or change all the time"))
}

// repeatable: a secret is shown once, so clients with one are always new. What
// pages of opaque origins register cannot be told apart.
func (c *client) repeatable() bool { return c.public() && c.Owner.Page != "null" }

// registrationID derives the nth id of a client that its owner registers so.
func (c *client) registrationID(n int) string {
	m := selfDeclared(c.ClientMetadata)
	m.ID = ""
	b, err := json.Marshal(struct {
		Owner    [3]string
		Metadata admin.ClientMetadata
		N        int
	}{[3]string{c.Owner.Subject, string(c.Owner.Node), c.Owner.Page}, m, n})
	if err != nil { // our own types always marshal
		panic(fmt.Sprintf("marshalling client metadata: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// hasGrants reports whether grants are left of a client that had the id of c
// and has ended. They must not come alive with another one.
func (p *Provider) hasGrants(ctx context.Context, c *client) (bool, error) {
	n, err := p.store.Count(ctx, store.Query{Kind: store.KindGrant, Index: indexClient, Value: c.ID, Now: p.now()})
	if err != nil {
		return false, storeError(err)
	}
	return n > 0, nil
}

// checkQuotas bounds what one node, and all together, can fill the store with.
func (p *Provider) checkQuotas(ctx context.Context, c *client) error {
	all := store.Query{Kind: kindClient, Index: indexOwner, Prefix: true, Now: p.now()}
	own := all
	own.Value, own.Prefix = string(c.Owner.Node), false
	for _, quota := range []struct {
		query store.Query
		most  int
		text  string
	}{
		{own, maxRegisteredByNode, "this node has %d registered clients; delete one by DELETE at its registration_client_uri, let an administrator do so, or wait: unused ones end by themselves"},
		{all, maxRegistered, "there are %d registered clients; an administrator can delete some, and unused ones end by themselves"},
	} {
		n, err := p.store.Count(ctx, quota.query)
		if err != nil {
			return storeError(err)
		}
		if n >= quota.most {
			p.log.Warn("registration quota reached", "node", string(c.Owner.Node), "user", c.Owner.Subject, "clients", n)
			return tooMany(0, quota.text, n)
		}
	}
	return nil
}

// newRegistrationToken returns 256 random bits as text, and their hash.
func newRegistrationToken() (string, store.Hash) {
	var b [32]byte
	rand.Read(b[:])
	token := base64.RawURLEncoding.EncodeToString(b[:])
	return token, sha256.Sum256([]byte(token))
}

func (p *Provider) writeRegistration(w http.ResponseWriter, status int, c *client, secret, token string) {
	res := registrationResponse{
		ClientMetadata: selfDeclared(c.ClientMetadata), IssuedAt: c.CreatedAt.Unix(),
		Token: token, URI: p.issuer + pathRegister + "/" + c.ID,
	}
	if res.RedirectURIs == nil {
		res.RedirectURIs = []string{}
	}
	if secret != "" {
		res.Secret, res.SecretExpiresAt = secret, new(int64)
	}
	writeJSON(w, status, res)
}

// noteUse notes that a stored client has just obtained tokens, which keeps a
// registration alive. It writes once in noteUseEvery, after the tokens have
// been made, and its failure costs nobody a login: the next use will be noted.
func (p *Provider) noteUse(ctx context.Context, used *client, life Lifetimes) {
	now := p.now().UTC()
	if used.version == 0 || now.Sub(used.UsedAt) < noteUseEvery {
		return
	}
	for range maxRegistrationTries {
		// As the store has it: what the request has used may be a second old,
		// and of a client that is another one now.
		c, err := p.clientByID(ctx, used.ID)
		if err == nil {
			if !c.CreatedAt.Equal(used.CreatedAt) || now.Sub(c.UsedAt) < noteUseEvery {
				return
			}
			c.UsedAt = now
			if !c.ExpiresAt.IsZero() {
				// Who has a refresh token must find its client alive; uses up
				// to the next note are not seen.
				c.ExpiresAt = later(c.ExpiresAt, now.Add(max(unusedRegistration, life.RefreshIdle)+noteUseEvery))
			}
			err = p.putClient(ctx, c)
		}
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			p.log.Warn("noting use of client", "client", used.ID, "error", err.Error())
		}
		return
	}
}
