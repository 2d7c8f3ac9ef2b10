// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/oauth"
)

// An action is what somebody wants to do.
type action int

const (
	_             action = iota
	actAuthorize         // obtain a code, as the person at the browser
	actRedeem            // exchange a code for tokens
	actRefresh           // exchange a refresh token for tokens
	actUserinfo          // read claims with an access token
	actIntrospect        // be told that a token is active
	actExchange          // exchange a token for another (RFC 8693)
	actMachine           // obtain a token for a machine
	actAdminister        // use the administration
	actRegister          // register a client
	actMetrics           // read the metrics
)

// A question is all that decide looks at.
type question struct {
	action action
	who    identity
	client *client // nil for actAdminister, actRegister and actMetrics
	// grant is what was granted earlier; nil where nothing was.
	grant *authorization
	// resources asked for, in the client's spelling.
	resources []string
	// scopes asked for. Those of people need no rule, others do.
	scopes   []string
	issuer   string
	exchange *exchangeQuestion // for actExchange
}

// An exchangeQuestion is what else there is to an exchange. who and client of
// the question are those of the subject token.
type exchangeQuestion struct {
	by      *client   // who exchanges
	caller  *identity // the peer that sends the request; nil if nobody is known
	subject []string  // what the subject token is for
	own     bool      // it was issued to by, or is for a resource that by is
	bearer  bool      // it is of a kind that others may exchange at all
}

// A decision allows.
type decision struct {
	// resources are those that remain: all that were asked for, or, when an
	// earlier grant is used, those that the rules still allow.
	resources []string
	// scopes are those of the question that may be had; what may not is left
	// out (RFC 6749 section 3.3).
	scopes []string
	// impersonate: an exchange leaves no trace of who exchanged.
	impersonate bool
}

// A refusal says no, why, and what would change it.
type refusal struct {
	code    errorCode
	reason  string // fixed word for logs and metrics
	message string // for the person, in whole sentences
	// missing is a rule that would have allowed it; nil if no rule would.
	missing map[string]any
	src     string   // source of the grant that should hold missing
	dst     []string // its destination
	// kill says that the grant can never be right again: its address belongs
	// to somebody else now.
	kill bool
}

// Reasons of refusals.
const (
	reasonUnknownPeer = "unknown_peer"
	reasonTagged      = "tagged_node"
	reasonExternal    = "external_user"
	reasonClient      = "client_not_granted"
	reasonResource    = "resource_not_granted"
	reasonMoved       = "address_reassigned"
	reasonAdmin       = "not_an_administrator"
	reasonRegister    = "registration_not_granted"
	reasonDisabled    = "client_disabled"
	reasonMachine     = "machine_not_granted"
	reasonExchange    = "exchange_not_granted"
	reasonMetrics     = "metrics_not_granted"
)

// refusalReasons are all of them.
var refusalReasons = []string{
	reasonUnknownPeer, reasonTagged, reasonExternal, reasonClient, reasonResource, reasonMoved, reasonAdmin, reasonDisabled, reasonMetrics, reasonRegister, reasonMachine, reasonExchange,
}

func (r *refusal) err() *protocolError {
	e := fail(r.code, "%s", r.message)
	e.refusal = r
	return e
}

// withGrant notes the rule that would have allowed who.
func (r *refusal) withGrant(who *identity, missing map[string]any) *refusal {
	r.missing, r.src, r.dst = missing, who.source(), who.tailnet.tags
	return r
}

// grantJSON returns the grant for the tailnet's policy file that would
// allow what was refused; empty if there is none.
func (r *refusal) grantJSON() string {
	if r.missing == nil {
		return ""
	}
	b, err := json.MarshalIndent(map[string]any{
		"src": []string{r.src},
		"dst": grantDestinations(r.dst),
		"ip":  []string{"tcp:443"},
		"app": map[string]any{string(capability): []any{r.missing}},
	}, "", "  ")
	if err != nil { // maps of texts and lists always marshal
		return ""
	}
	return string(b)
}

// grantDestinations are those of a grant for a provider whose node has these
// tags.
func grantDestinations(tags []string) []string {
	if len(tags) == 0 {
		return []string{"tag:tsidp"}
	}
	return tags
}

// decide is the one policy function: every grant type and every endpoint
// asks it, each time, with what the tailnet says at that moment. It is pure.
//
// A refusal refuses; it does not kill, so that a typing error in the policy
// logs nobody out for good. Only a grant whose address now belongs to
// somebody else is dead.
func decide(q question) (decision, *refusal) {
	if q.grant != nil {
		if r := sameOwner(q); r != nil {
			return decision{}, r
		}
	}
	switch q.action {
	case actAdminister:
		return decision{}, administer(q)
	case actRegister:
		return decision{}, mayRegister(q)
	case actMetrics:
		return decision{}, readMetrics(q)
	}
	for _, check := range []func(question) *refusal{mayLogIn, mayUseClient, mayExchange} {
		if r := check(q); r != nil {
			return decision{}, r
		}
	}
	d, r := mayUseResources(q)
	d.scopes = allowedScopes(q)
	if r == nil && q.action == actExchange {
		d.impersonate = mayImpersonate(q)
	}
	return d, r
}

// sameOwner: a grant belongs to one user on one node.
func sameOwner(q question) *refusal {
	// The subject of a machine's grant may be its client, wherever that runs.
	sameSubject := q.who.subject() == q.grant.subject || q.grant.machine && q.grant.subject == q.grant.clientID
	if q.who.node == q.grant.node && sameSubject {
		return nil
	}
	return &refusal{
		code: refusalCode(q.action), reason: reasonMoved, kill: true,
		message: "The address of this login belongs to another device or user now. Log in again.",
	}
}

func administer(q question) *refusal {
	if q.who.rules.allowsAdmin() && !q.who.external {
		return nil
	}
	r := &refusal{
		code: codeAccessDenied, reason: reasonAdmin,
		message: fmt.Sprintf("%s may not administer this identity provider.", q.who.principal()),
	}
	if q.who.external { // no rule would change it
		return r
	}
	return r.withGrant(&q.who, map[string]any{"allow_admin_ui": true})
}

// mayRegister: whoever a rule allows it, machines too. Users of other tailnets
// never: what they registered would ask the people of this one for consent.
// The administration has doors of its own.
func mayRegister(q question) *refusal {
	if q.who.external {
		return &refusal{
			code: codeAccessDenied, reason: reasonExternal,
			message: fmt.Sprintf("%s belongs to another tailnet. Applications of other tailnets cannot register here.", q.who.principal()),
		}
	}
	if q.who.rules.allowsRegistration() {
		return nil
	}
	r := &refusal{
		code: codeAccessDenied, reason: reasonRegister,
		message: fmt.Sprintf("No rule allows %s to register applications.", q.who.principal()),
	}
	return r.withGrant(&q.who, map[string]any{"allow_dcr": true})
}

// readMetrics: those who collect metrics are machines, which need no more
// than that. The administration does not imply it: rules say what they mean.
func readMetrics(q question) *refusal {
	if q.who.rules.allowsMetrics() && !q.who.external {
		return nil
	}
	r := &refusal{
		code: codeAccessDenied, reason: reasonMetrics,
		message: fmt.Sprintf("%s may not read the metrics of this identity provider.", q.who.principal()),
	}
	if q.who.external { // no rule would change it
		return r
	}
	return r.withGrant(&q.who, map[string]any{"allow_metrics": true})
}

// mayLogIn: tagged nodes are machines, which have no person at the browser.
// A rule may make an exception; without one, telling people of it would be bad
// advice.
func mayLogIn(q question) *refusal {
	switch {
	case q.grant != nil && q.grant.machine:
		return mayBeMachine(q)
	case !q.who.tagged() || q.who.rules.allowsMachineLogin() && !q.who.external:
		return nil
	}
	return &refusal{
		code: refusalCode(q.action), reason: reasonTagged,
		message: fmt.Sprintf("This device is tagged %s. Tags are for machines, which are nobody in particular. Log in from a device of your own.", q.who.principal()),
	}
}

// mayBeMachine: a client with credentials needs no rule for a token; a node,
// which has none, does.
func mayBeMachine(q question) *refusal {
	if q.client.Origin != originNode || q.who.tagged() && q.who.rules.allowsMachine() && !q.who.external {
		return nil
	}
	r := &refusal{
		code: refusalCode(q.action), reason: reasonMachine,
		message: fmt.Sprintf("No rule lets the node %s obtain tokens for itself.", q.who.principal()),
	}
	if !q.who.tagged() || q.who.external { // no rule would change it
		r.message = fmt.Sprintf("The node of %s obtains no tokens for itself: only tagged nodes of this tailnet do.", q.who.principal())
		return r
	}
	return r.withGrant(&q.who, map[string]any{"machine": true})
}

// mayUseClient: everybody of this tailnet may, unless the client is opened
// one by one; users of other tailnets only if a rule means them.
func mayUseClient(q question) *refusal {
	c, who := q.client, q.who
	if c.Disabled {
		return &refusal{
			code: refusalCode(q.action), reason: reasonDisabled,
			message: fmt.Sprintf("The application %s is disabled. An administrator of the identity provider can enable it again.", c.displayName()),
		}
	}
	if q.grant != nil && q.grant.machine {
		return nil // access is about people
	}
	if who.external && !who.rules.namesStranger(who.login, c.ID, c.trustedName()) {
		r := &refusal{
			code: refusalCode(q.action), reason: reasonExternal,
			message: fmt.Sprintf("%s belongs to another tailnet. Users of other tailnets may use the application %s only if a rule names them or it.", who.principal(), c.displayName()),
		}
		return r.withGrant(&who, map[string]any{"clients": []string{c.ID}})
	}
	if c.Access == accessGranted && !who.rules.opensClient(c.ID, c.trustedName()) {
		r := &refusal{
			code: refusalCode(q.action), reason: reasonClient,
			message: fmt.Sprintf("The application %s is open only to those whose rules list it; those of %s do not.", c.displayName(), who.principal()),
		}
		return r.withGrant(&who, map[string]any{"clients": []string{c.ID}})
	}
	return nil
}

// mayUseResources: at the first asking all resources must be allowed, so
// that a client learns at once what it cannot have. Later, what the rules no
// longer allow is left out, and only if nothing is left is it a refusal. The
// issuer itself is a resource (of userinfo) that needs no rule.
func mayUseResources(q question) (decision, *refusal) {
	var d decision
	var refused []string
	for _, resource := range q.resources {
		switch {
		case slices.Contains(d.resources, resource): // named twice
		case oauth.SameResource(resource, q.issuer), q.who.rules.allowsResource(q.who.names(), resource):
			d.resources = append(d.resources, resource)
		default:
			refused = append(refused, resource)
		}
	}
	narrows := q.grant != nil && q.action != actRedeem && q.action != actExchange && q.action != actMachine
	if len(refused) == 0 || narrows && len(d.resources) > 0 {
		return d, nil
	}
	r := &refusal{
		code: codeInvalidTarget, reason: reasonResource,
		message: fmt.Sprintf("No rule allows %s to obtain tokens for %s.", q.who.principal(), strings.Join(refused, ", ")),
	}
	return decision{}, r.withGrant(&q.who, map[string]any{"users": []string{"*"}, "resources": refused})
}

// allowedScopes: ours are about the person, whom a machine has not; any other
// needs a rule.
func allowedScopes(q question) []string {
	var allowed []string
	for _, s := range q.scopes {
		person := q.grant == nil || !q.grant.machine
		if knownScope(s) && person || !knownScope(s) && q.who.rules.allowsScope(s) {
			allowed = append(allowed, s)
		}
	}
	return allowed
}

// mayExchange: a client may exchange what was issued to it or sent to it. For
// anything else the peer that it runs on needs a rule.
func mayExchange(q question) *refusal {
	x := q.exchange
	if q.action != actExchange {
		return nil
	}
	if x.by.Disabled {
		return &refusal{
			code: codeUnauthorizedClient, reason: reasonDisabled,
			message: fmt.Sprintf("The application %s is disabled. An administrator of the identity provider can enable it again.", x.by.displayName()),
		}
	}
	if x.own {
		return nil
	}
	r := &refusal{
		code: refusalCode(q.action), reason: reasonExchange,
		message: fmt.Sprintf("The subject token was neither issued to %s nor is it for a resource that %s is.", x.by.displayName(), x.by.displayName()),
	}
	if !x.bearer || x.caller == nil {
		return r
	}
	if ok, _ := x.caller.rules.allowsExchange(x.subject); ok && !x.caller.external {
		return nil
	}
	return r.withGrant(x.caller, map[string]any{"exchange": x.subject})
}

// mayImpersonate: only a rule of the peer makes who exchanges invisible.
func mayImpersonate(q question) bool {
	if q.exchange.caller == nil || q.exchange.caller.external {
		return false
	}
	_, ok := q.exchange.caller.rules.allowsExchange(q.exchange.subject)
	return ok
}

// refusalCode is access_denied where somebody asks for the first time,
// invalid_grant where an earlier grant is used, and what RFC 8693 wants for an
// exchange.
func refusalCode(a action) errorCode {
	switch a {
	case actAuthorize:
		return codeAccessDenied
	case actExchange:
		return codeInvalidRequest
	case actMachine:
		return codeUnauthorizedClient
	}
	return codeInvalidGrant
}
