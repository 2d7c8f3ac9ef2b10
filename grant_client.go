// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tailscale/tsidp/store"
)

// The grant type client_credentials (RFC 6749 section 4.4): a machine obtains
// a token for itself. The machine is a tagged node, which needs no
// registration and no secret, since WhoIs says who it is; or any client that
// authenticates. What the token may be for, the rules of the calling node say.
//
// The tokens of a machine hang from one standing grant, so that an
// administrator sees it, and ends all of them, like a person's login. After
// that, the next request opens another.

// kindStanding is the kind of records that name the standing grant of a
// client on a node.
const kindStanding store.Kind = "standing-grant"

// standingLifetime is how long a standing grant lives without being used.
const standingLifetime = 24 * time.Hour

// A clientGrant is the grant type client_credentials.
type clientGrant struct {
	plainGrant
	authorization *authorization // set by bind
}

func (g *clientGrant) action() action { return actMachine }

// bind says who the machine is. The grant has no id yet: it is opened only
// after the policy has agreed.
func (g *clientGrant) bind(ctx context.Context, p *Provider, req *tokenRequest) (*authorization, error) {
	c := req.client
	if c.public() {
		return nil, fail(codeUnauthorizedClient, "client_credentials needs a client that authenticates")
	}
	caller, err := p.caller(ctx)
	if err != nil {
		return nil, err
	}
	a := &authorization{clientID: c.ID, subject: c.ID, machine: true, authTime: p.now().UTC(), resources: req.resources}
	if caller != nil {
		a.node, a.addr = caller.node, caller.addr
	}
	if len(a.resources) == 0 {
		a.resources = req.client.DefaultResources
	}
	req.resources = nil // they are all that it asks for
	// "scope" says what of a person's a client may have, and here is none;
	// those that rules name are left.
	a.scopes, req.scopes = req.scopes, nil
	g.authorization = a
	return a, nil
}

// consume finds or opens the standing grant.
func (g *clientGrant) consume(ctx context.Context, p *Provider, req *tokenRequest) (string, string, time.Time, error) {
	a := g.authorization
	var err error
	if a.grantID, err = p.storage.standingGrant(ctx, a); err != nil {
		return "", "", time.Time{}, err
	}
	return newTokenID(a.grantID), "", p.now().Add(req.life.AccessToken), nil
}

type standingRecord struct {
	Grant string `json:"grant"`
}

// standingGrant returns the id of the living grant of a's client on a's node.
func (s *storage) standingGrant(ctx context.Context, a *authorization) (string, error) {
	sum := sha256.Sum256([]byte(a.clientID + "\x00" + string(a.node) + "\x00" + a.addr.String()))
	id := hex.EncodeToString(sum[:])
	for {
		now := s.p.now()
		rec, err := s.p.store.Get(ctx, kindStanding, id, now)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", storeError(err)
		}
		if err == nil {
			var st standingRecord
			if err := json.Unmarshal(rec.Data, &st); err != nil {
				return "", fmt.Errorf("reading standing grant: %w", err)
			}
			// Its tokens must not outlive it.
			grant, err := s.p.store.Get(ctx, store.KindGrant, st.Grant, now)
			switch {
			case err == nil && grant.DeadAt.IsZero() && grant.ExpiresAt.Sub(now) > maxAccessTokenLifetime+clockSkew:
				return st.Grant, nil
			case err != nil && !errors.Is(err, store.ErrNotFound):
				return "", storeError(err)
			}
		}
		grant, err := s.openStanding(ctx, a, id, rec.Version, now)
		if errors.Is(err, store.ErrConflict) {
			continue // another request was first
		}
		return grant, err
	}
}

// openStanding opens a grant, and names it in the record. If another request
// names one first, this one is left to expire.
func (s *storage) openStanding(ctx context.Context, a *authorization, id string, version int64, now time.Time) (string, error) {
	// It outlives what clientToUse may not have seen yet.
	if _, err := s.p.clientByID(ctx, a.clientID); err != nil {
		return "", notFoundOr(err, errClient("the client has been removed"))
	}
	fresh := *a
	fresh.grantID, fresh.scopes, fresh.resources = newID(), nil, nil
	ends := now.Add(standingLifetime + maxAccessTokenLifetime)
	rec, err := fresh.record(now, ends, ends)
	if err != nil {
		return "", err
	}
	if err := s.p.store.Redeem(ctx, store.Redemption{Grant: rec, IssuedAt: now, Now: now}); err != nil {
		if errors.Is(err, store.ErrDead) { // revoked in this very moment
			return "", fail(codeUnavailable, "the tokens of this client have just been revoked; try again").because(err)
		}
		return "", storeError(err)
	}
	data, err := json.Marshal(standingRecord{fresh.grantID})
	if err != nil {
		return "", err
	}
	_, err = s.p.store.Put(ctx, store.Record{Kind: kindStanding, ID: id, Version: version, Data: data, CreatedAt: now, ExpiresAt: ends}, now)
	switch {
	case errors.Is(err, store.ErrConflict):
		return "", err
	case err != nil:
		return "", storeError(err)
	}
	return fresh.grantID, nil
}

// nodeClient is a tagged node as a client: it has no registration, and its
// rules say what it may do. It returns nil if the caller is none, and an error
// that names the missing rule if it could be.
func (p *Provider) nodeClient(ctx context.Context, id string) (*client, error) {
	who, err := p.caller(ctx)
	if err != nil {
		return nil, err
	}
	if who == nil || !who.tagged() || id != "" && id != who.subject() {
		return nil, nil
	}
	c := clientOfNode(who)
	if who.external || !who.rules.allowsMachine() && len(c.ResourceIdentifiers) == 0 {
		e := errClient("client_id is missing, and no rule lets this node be a client by itself")
		if !who.external { // no rule would change it
			e.grant = (&refusal{}).withGrant(who, map[string]any{"machine": true}).grantJSON()
		}
		return nil, e
	}
	return c, nil
}

// clientOfNode: what a tagged node is, its rules say.
func clientOfNode(who *identity) *client {
	c := newNodeClient(who.subject())
	c.Name, c.ResourceIdentifiers = who.label(), who.rules.introspects()
	return c
}

// newNodeClient is the client of a node of which no more is known than its
// id: somebody uses a token of it. Whether it is still there, decide finds
// out.
func newNodeClient(id string) *client {
	c := &client{Origin: originNode}
	c.ID, c.TokenEndpointAuthMethod = id, authNode
	c.GrantTypes = []string{grantClientCredentials, grantTokenExchange}
	c.fillDefaults()
	return c
}
