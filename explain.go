// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/tailcfg"
)

// Explain answers questions of administrators about the policy: by decide,
// which decides everything, with what the tailnet says at this moment, not with
// an answer of a second ago.

// maxExplained is how many nodes one question is answered for.
const maxExplained = 50

// An explainAction is an action that can be asked about.
type explainAction struct {
	action action
	// grantTypes are those of which the client needs one; nil: there is no
	// client.
	grantTypes []string
}

var explainActions = map[string]explainAction{
	admin.ActionLogin:      {actAuthorize, []string{grantAuthorizationCode, grantDeviceCode}},
	admin.ActionRefresh:    {actRefresh, []string{grantRefreshToken}},
	admin.ActionMachine:    {actMachine, []string{grantClientCredentials}},
	admin.ActionExchange:   {actExchange, []string{grantTokenExchange}},
	admin.ActionRegister:   {actRegister, nil},
	admin.ActionAdminister: {actAdminister, nil},
	admin.ActionMetrics:    {actMetrics, nil},
}

// An explainer answers one query, node by node.
type explainer struct {
	p      *Provider
	query  admin.ExplainQuery
	act    explainAction
	client *client // nil: none is named
	scopes []string
	// Of an exchange.
	exchanger     *client
	exchangerNode *peerRules // nil: none is named
}

// peerRules are an identity with the texts of its rules.
type peerRules struct {
	identity
	texts []tailcfg.RawMessage
}

// Explain implements [admin.Backend].
func (b *backend) Explain(ctx context.Context, q admin.ExplainQuery) (admin.Explanation, error) {
	x := &explainer{p: b.p, query: q}
	x.query.Action = cmp.Or(q.Action, admin.ActionLogin)
	if err := x.check(); err != nil {
		return admin.Explanation{}, err
	}
	if err := x.load(ctx); err != nil {
		return admin.Explanation{}, err
	}
	addrs, err := b.p.findNodes(ctx, q.User, q.Node)
	if err != nil {
		return admin.Explanation{}, err
	}
	e := admin.Explanation{Action: x.query.Action, Verdicts: []admin.Verdict{}, LeftOut: max(len(addrs)-maxExplained, 0)}
	for _, addr := range addrs[:len(addrs)-e.LeftOut] {
		v, err := x.explain(ctx, addr)
		if err != nil {
			return admin.Explanation{}, err
		}
		e.Verdicts = append(e.Verdicts, v)
	}
	return e, nil
}

// check refuses what makes no sense together.
func (x *explainer) check() error {
	q := &x.query
	var ok bool
	if x.act, ok = explainActions[q.Action]; !ok {
		return failAt(codeInvalidRequest, "action", "must be one of %s", strings.Join(admin.Actions, ", "))
	}
	if q.User == "" && q.Node == "" {
		return fail(codeInvalidRequest, "who? Give user (a login name), node (a name, an address, a stable id, a tag), or both")
	}
	exchange := x.act.action == actExchange
	for name, given := range map[string]bool{"exchanger": q.Exchanger != "", "exchanger_node": q.ExchangerNode != "", "audience": len(q.Audience) > 0} {
		if given && !exchange {
			return failAt(codeInvalidRequest, name, "is for the action exchange")
		}
	}
	switch {
	case x.act.grantTypes == nil && (q.Client != "" || len(q.Resources) > 0 || len(q.Scopes) > 0):
		return fail(codeInvalidRequest, "the action %s has no client, resource or scope", q.Action)
	case q.Client != "" && isNodeID(q.Client):
		return failAt(codeInvalidRequest, "client", "a node that is its own client is asked about as node, without a client")
	case exchange && x.p.cfg.TokenExchange == nil:
		return failAt(codeInvalidRequest, "action", "token exchange is off (-enable-sts, Config.TokenExchange)")
	case exchange && q.Exchanger == "" && q.ExchangerNode == "":
		return failAt(codeInvalidRequest, "exchanger", "is missing: which client exchanges the token? A tagged node without a registration is exchanger_node")
	}
	if err := checkResources(slices.Concat(q.Resources, q.Audience)); err != nil {
		return err
	}
	scopes, err := oauth.ParseScope(strings.Join(q.Scopes, " "), knownScope)
	if err != nil {
		return failAt(codeInvalidRequest, "scope", "%v", err)
	}
	x.scopes = scopes
	return nil
}

// load loads the clients, and the node that exchanges.
func (x *explainer) load(ctx context.Context) (err error) {
	q := &x.query
	if q.ExchangerNode != "" {
		addrs, err := x.p.findNodes(ctx, "", q.ExchangerNode)
		if err != nil {
			return err
		}
		if len(addrs) > 1 {
			return failAt(codeInvalidRequest, "exchanger_node", "%d nodes are meant; name one", len(addrs))
		}
		if x.exchangerNode, err = x.p.peerRules(ctx, addrs[0]); err != nil {
			if isAnswer(err) {
				return failAt(codeNotFound, "exchanger_node", "%s", goneNode(addrs[0], err))
			}
			return identityError(err)
		}
	}
	if x.client, err = x.clientNamed(ctx, "client", q.Client); err != nil {
		return err
	}
	if x.exchanger, err = x.clientNamed(ctx, "exchanger", q.Exchanger); err != nil {
		return err
	}
	if x.exchanger == nil && x.exchangerNode != nil {
		x.exchanger = clientOfNode(&x.exchangerNode.identity)
	}
	return nil
}

func (x *explainer) clientNamed(ctx context.Context, field, id string) (*client, error) {
	if id == "" {
		return nil, nil
	}
	c, err := x.p.clientByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, failAt(codeNotFound, field, "%s", errNoClient)
	}
	if err != nil {
		return nil, storeError(err)
	}
	return c, nil
}

// peerRules asks the tailnet about addr now.
func (p *Provider) peerRules(ctx context.Context, addr netip.Addr) (*peerRules, error) {
	res, info, err := p.directory.whoIs(ctx, addr)
	if err != nil {
		return nil, err
	}
	who, _ := newIdentity(addr, res, info)
	return &peerRules{who, res.CapMap[capability]}, nil
}

// goneNode says why nobody is at a listed address.
func goneNode(addr netip.Addr, err error) string {
	if errors.Is(err, errExpiredPeer) {
		return fmt.Sprintf("The key of the node %v has expired: its user has to log in to Tailscale again.", addr)
	}
	return fmt.Sprintf("The tailnet knows no node %v now.", addr)
}

// explain answers for one node.
func (x *explainer) explain(ctx context.Context, addr netip.Addr) (admin.Verdict, error) {
	who, err := x.p.peerRules(ctx, addr)
	if isAnswer(err) {
		return admin.Verdict{Peer: admin.Peer{Name: addr.String()}, Reason: reasonUnknownPeer, Message: goneNode(addr, err)}, nil
	}
	if err != nil {
		return admin.Verdict{}, identityError(err)
	}
	return x.verdict(who), nil
}
