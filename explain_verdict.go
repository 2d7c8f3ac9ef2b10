// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
)

// The pure part of explain.go: what decide is asked about a node, and its
// answer in the words of the administration.

// unnamedClient stands for any client that is open to everybody. Its id is for
// the grants that are shown.
func unnamedClient() *client {
	c := &client{Origin: originAdministrator}
	c.ID, c.GrantTypes = "CLIENT_ID", supportedGrantTypes
	c.fillDefaults()
	return c
}

// question is what decide is asked about who.
func (x *explainer) question(who *peerRules) question {
	q := question{action: x.act.action, who: who.identity, issuer: x.p.issuer, resources: x.query.Resources, scopes: x.scopes}
	if x.act.grantTypes == nil {
		return q
	}
	switch q.client = x.client; {
	case x.client == nil && q.action == actMachine:
		q.client = clientOfNode(&who.identity)
	case x.client == nil:
		q.client = unnamedClient()
	}
	if len(q.resources) == 0 && q.action != actExchange {
		q.resources = q.client.DefaultResources
	}
	if len(q.scopes) == 0 && q.action != actMachine {
		q.scopes = q.client.defaultScope()
	}
	if q.action != actAuthorize { // they use a grant, or one that is being made
		q.grant = &authorization{
			clientID: q.client.ID, subject: who.subject(), node: who.node, addr: who.addr,
			machine: q.action == actMachine, scopes: q.scopes, resources: q.resources,
		}
	}
	switch q.action {
	case actMachine:
		q.grant.subject = q.client.ID
	case actExchange:
		q.exchange = x.exchange(q.client)
		if len(q.resources) == 0 {
			q.resources = q.exchange.subject
		}
	}
	return q
}

// exchange is the question about an access token of c.
func (x *explainer) exchange(c *client) *exchangeQuestion {
	audience := x.query.Audience
	if len(audience) == 0 {
		audience = []string{x.p.issuer}
	}
	eq := &exchangeQuestion{by: x.exchanger, subject: audience, bearer: true}
	eq.own = x.exchanger.ID == c.ID || slices.ContainsFunc(audience, func(aud string) bool {
		return slices.ContainsFunc(x.exchanger.ResourceIdentifiers, func(own string) bool { return oauth.SameResource(own, aud) })
	})
	if x.exchangerNode != nil {
		eq.caller = &x.exchangerNode.identity
	}
	return eq
}

// registered refuses what the registration of a client does, whatever the
// policy says.
func (x *explainer) registered(c *client) *refusal {
	if x.act.action == actExchange {
		c = x.exchanger
	}
	if c == nil {
		return nil
	}
	r := &refusal{code: codeUnauthorizedClient, reason: string(codeUnauthorizedClient)}
	machine := x.act.action == actMachine || x.act.action == actExchange
	switch {
	case !slices.ContainsFunc(x.act.grantTypes, c.allowsGrantType):
		r.message = fmt.Sprintf("The application %s is not registered for the grant type %s.", c.displayName(), strings.Join(x.act.grantTypes, " or "))
	case machine && c.public():
		r.message = fmt.Sprintf("The application %s has no credentials, which it needs for %s.", c.displayName(), strings.Join(x.act.grantTypes, " or "))
	default:
		return nil
	}
	return r
}

// verdict answers for who.
func (x *explainer) verdict(who *peerRules) admin.Verdict {
	v := admin.Verdict{Peer: who.view(), Problems: who.problems()}
	q := x.question(who)
	no := x.registered(q.client)
	var d decision
	if no == nil {
		d, no = decide(q)
	}
	if no == nil && q.action != actMachine && len(q.scopes) > 0 && len(d.scopes) == 0 {
		no = (&refusal{reason: string(codeInvalidScope), message: errNoScope().description}).withGrant(&q.who, map[string]any{"scopes": q.scopes})
	}
	if no != nil {
		v.Reason, v.Message, v.Grant = no.reason, no.message, json.RawMessage(no.grantJSON())
		return v
	}
	v.Allowed = true
	v.Resources, v.Scopes = d.resources, d.scopes
	v.RefusedResources, v.RefusedScopes = without(q.resources, d.resources), without(q.scopes, d.scopes)
	v.Rules = who.refs(rulesBehind(q))
	v.Message = x.allowedMessage(&q, v)
	v.Grant = json.RawMessage(missingOf(&q, v).grantJSON())
	return v
}

// without returns what of all is not in some.
func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// allowedMessage says why q is allowed, in whole sentences.
func (x *explainer) allowedMessage(q *question, v admin.Verdict) string {
	var s []string
	switch len(v.Rules) {
	case 0:
		s = append(s, "No rule is needed.")
	case 1:
		s = append(s, fmt.Sprintf("Rule %d allows it.", v.Rules[0].Index))
	default:
		var places []string
		for _, r := range v.Rules {
			places = append(places, fmt.Sprint(r.Index))
		}
		s = append(s, fmt.Sprintf("The rules %s allow it together.", strings.Join(places, ", ")))
	}
	if q.exchange != nil && !q.exchange.own {
		s = append(s, fmt.Sprintf("A rule of %s lets it exchange the token.", q.exchange.caller.principal()))
	}
	if lost := slices.Concat(v.RefusedResources, v.RefusedScopes); len(lost) > 0 {
		s = append(s, fmt.Sprintf("No rule allows %s, which would be left out.", strings.Join(lost, ", ")))
	}
	if q.action == actAuthorize && !q.client.trusted() {
		s = append(s, "The person is asked to agree, unless they have done so already.")
	}
	return strings.Join(s, " ")
}

// missingOf is the rule for what q leaves out.
func missingOf(q *question, v admin.Verdict) *refusal {
	missing := make(map[string]any)
	if len(v.RefusedResources) > 0 {
		missing["users"], missing["resources"] = []string{"*"}, v.RefusedResources
	}
	// Ours are about people: no rule gives them to a machine.
	if scopes := slices.DeleteFunc(slices.Clone(v.RefusedScopes), knownScope); len(scopes) > 0 {
		missing["scopes"] = scopes
	}
	if len(missing) == 0 {
		return new(refusal)
	}
	return new(refusal).withGrant(&q.who, missing)
}

// view names the peer.
func (r *peerRules) view() admin.Peer {
	return admin.Peer{Node: string(r.node), Name: cmp.Or(r.nodeName, r.addr.String()), User: r.principal()}
}

// refs are the rules at these places among those that hold.
func (r *peerRules) refs(places []int) []admin.RuleRef {
	var refs []admin.RuleRef
	for _, i := range r.policyPlaces(places) {
		refs = append(refs, admin.RuleRef{Index: i, Rule: ruleText(string(r.texts[i]))})
	}
	return refs
}

// ruleText is the text of a rule as JSON: it may not be JSON itself.
func ruleText(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	b, _ := json.Marshal(text) // a text can always be written
	return b
}

var problemKinds = map[faultKind]string{faultRule: admin.ProblemRule, faultClaim: admin.ProblemClaim, faultKey: admin.ProblemKey}

// problems are what of the peer's rules does not count.
func (r *peerRules) problems() []admin.RuleProblem {
	var list []admin.RuleProblem
	for _, f := range r.faults {
		list = append(list, admin.RuleProblem{Index: f.Index, Kind: problemKinds[f.Kind], Text: f.Err.Error()})
	}
	return list
}
