// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// What the pages tell about the provider and about who looks at them.

// Status says how the provider is.
func (b *backend) Status(ctx context.Context) (admin.Status, error) {
	p := b.p
	res, err := p.readiness(ctx)
	if err != nil {
		return admin.Status{}, fail(codeUnavailable, "the checks have not ended").because(err)
	}
	s := admin.Status{
		Issuer: p.issuer, Version: moduleVersion(), Development: p.cfg.Development, Ready: res.Status == "ok",
		Endpoints: []admin.Endpoint{
			{Name: "Issuer", URL: p.issuer},
			{Name: "Discovery", URL: p.issuer + wellKnownOpenID},
			{Name: "Authorization", URL: p.issuer + pathAuthorize},
			{Name: "Token", URL: p.tokenEndpoint()},
			{Name: "Userinfo", URL: p.issuer + pathUserinfo},
			{Name: "Keys (JWKS)", URL: p.issuer + pathJWKS},
			{Name: "Introspection", URL: p.issuer + pathIntrospect},
			{Name: "Revocation", URL: p.issuer + pathRevoke},
			{Name: "Device authorization", URL: p.issuer + pathDeviceAuthorization},
			{Name: "Logout", URL: p.issuer + pathLogout},
			{Name: "Registration", URL: p.issuer + pathRegister},
		},
	}
	for _, c := range res.Checks {
		s.Checks = append(s.Checks, admin.Check{Name: c.Name, OK: c.OK, State: c.State, Detail: c.Detail})
	}
	count := func(kind store.Kind) *int {
		n, err := p.store.Count(ctx, store.Query{Kind: kind, Now: p.now()})
		if err != nil {
			return nil // the checks say why
		}
		return &n
	}
	s.Clients, s.Grants = count(kindClient), count(store.KindGrant)
	return s, nil
}

// Caller says who sends the request of ctx.
func (b *backend) Caller(ctx context.Context) (admin.Caller, error) {
	who, err := b.p.identify(ctx)
	if err != nil {
		return admin.Caller{}, identityError(err)
	}
	c := admin.Caller{
		Subject: who.subject(), Name: who.principal(), Display: who.displayName, Node: string(who.node), NodeName: who.label(),
		Tags: who.tags, Tailnet: who.tailnet.name, External: who.external,
	}
	_, no := decide(question{action: actAdminister, who: who})
	if c.Administrator = no == nil; no != nil {
		c.Grant = json.RawMessage(no.grantJSON())
	}
	return c, nil
}

// OwnPolicy tells the rules of the sender of the request of ctx.
func (b *backend) OwnPolicy(ctx context.Context) (admin.OwnPolicy, error) {
	who, err := b.p.identify(ctx)
	if err != nil {
		return admin.OwnPolicy{}, identityError(err)
	}
	peer, err := b.p.peerRules(ctx, who.addr)
	if err != nil {
		return admin.OwnPolicy{}, identityError(err)
	}
	own := admin.OwnPolicy{Problems: peer.problems(), Destinations: grantDestinations(who.tailnet.tags)}
	for i, text := range peer.texts[:min(len(peer.texts), maxRules)] {
		own.Rules = append(own.Rules, admin.RuleRef{Index: i, Rule: ruleText(string(text))})
	}
	return own, nil
}

// indexLauncher is the name, in lower case, of clients with an address to open
// them by. Only those that an administrator vouches for have it: with a
// name and an address of their own choice, others could send everybody anywhere.
const indexLauncher = "launcher"

// maxApps bounds how many applications one page shows.
const maxApps = 200

// recordIndex is what the store finds the client by.
func (c *client) recordIndex() map[string]string {
	index := map[string]string{indexOrigin: c.Origin}
	if c.Owner != nil && c.Origin == originRegistered { // what the quotas are about
		index[indexOwner] = string(c.Owner.Node)
	}
	if c.launchURI() != "" && c.trusted() && !c.Disabled {
		name := strings.ToLower(c.displayName())
		index[indexLauncher] = name[:min(len(name), store.MaxIndexLen)]
	}
	return index
}

// launchURI is where people open the client; empty if nobody knows.
func (c *client) launchURI() string { return cmp.Or(c.InitiateLoginURI, c.ClientURI) }

// Apps are the applications that the sender of the request of ctx may log in
// to, by their names.
func (b *backend) Apps(ctx context.Context) ([]admin.App, error) {
	who, err := b.p.identify(ctx)
	if err != nil {
		return nil, identityError(err)
	}
	clients, err := b.p.launchers.get(ctx, b.p.now, b.launchable)
	if err != nil {
		return nil, err
	}
	var apps []admin.App
	for _, c := range clients {
		if _, no := decide(question{action: actAuthorize, who: who, client: c, issuer: b.p.issuer}); no == nil {
			apps = append(apps, admin.App{Client: c.ID, Name: c.displayName(), URL: b.p.launch(c)})
		}
	}
	return apps, nil
}

// launchable are the clients that have an address to open them by: the same
// for everybody.
func (b *backend) launchable(ctx context.Context) ([]*client, error) {
	page, err := b.p.store.List(ctx, store.Query{Kind: kindClient, Index: indexLauncher, Prefix: true, Limit: maxApps, Now: b.p.now()})
	if err != nil {
		return nil, storeError(err)
	}
	var clients []*client
	for _, rec := range page.Records {
		c, err := decodeClient(rec)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// launch is the address by which who reads a page of ours opens c. "The
// iss parameter ... REQUIRED" (OpenID Connect Core section 4).
func (p *Provider) launch(c *client) string {
	if c.InitiateLoginURI == "" {
		return c.ClientURI
	}
	return withQuery(c.InitiateLoginURI, map[string][]string{"iss": {p.issuer}})
}

// AdoptClient makes a client that registered itself one of the
// administrator's. Its registration tokens end: who holds one could else
// change what the administrator has vouched for. For the same reason the
// administrator has to say which version that was.
//
// The addresses that our pages lead people to are the administrator's to give.
// PKCE stops whoever still holds the secret from redeeming codes of others.
func (b *backend) AdoptClient(ctx context.Context, id string, may admin.Match) (admin.Client, error) {
	if may == nil {
		return admin.Client{}, fail(codeNoPrecondition, "read the client, look at its addresses and keys, and send If-Match with the ETag of that answer")
	}
	c, err := b.changeClient(ctx, id, may, func(c *client) error {
		if c.Origin != originRegistered {
			return fail(codeConflict, "this client did not register itself; its origin is %s", c.Origin)
		}
		c.Origin, c.RegistrationTokens, c.ExpiresAt = originAdministrator, nil, time.Time{}
		c.InitiateLoginURI, c.ClientURI, c.PKCE = "", "", pkceRequired
		return nil
	})
	if err != nil {
		return admin.Client{}, err
	}
	b.p.audit(ctx, "registered client taken over by an administrator", AuditEvent{Event: eventClient, Client: id}, "change", "taken over", "name", fmt.Sprintf("%q", c.Name))
	return c.view(), nil
}
