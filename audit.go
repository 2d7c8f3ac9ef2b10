// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The audit log: every decision is one event. It goes to the log always, to
// Config.Audit, and, if the client or the user has proved to be it, to the
// store: so nobody on the internet can make the store grow.

// An AuditEvent is one decision of the provider. It holds no secret, code or
// token.
type AuditEvent struct {
	Time time.Time `json:"time"` // of the decision
	// Event says what was to be done: login, consent, device, code, refresh,
	// exchange, machine, userinfo, introspection, logout, revocation,
	// registration, client, key, or administration.
	Event string `json:"event"`
	// Result is "allowed", or "refused".
	Result  string `json:"result"`
	Request string `json:"request,omitempty"` // names it in the log, too

	User   string `json:"user,omitempty"`   // the sub of tokens
	Login  string `json:"login,omitempty"`  // of the user, or tags
	Node   string `json:"node,omitempty"`   // its stable id
	Client string `json:"client,omitempty"` // client_id
	Grant  string `json:"grant,omitempty"`  // the login that tokens hang from

	// Resources and Scopes are those that were allowed.
	Resources []string `json:"resources,omitempty"`
	Scopes    []string `json:"scopes,omitempty"` // likewise
	// Rules are the places, from 0, of the rules of the peer's policy without
	// which it would have been refused. Empty: no rule was needed.
	Rules []int `json:"rules,omitempty"`
	// Reason is a fixed word for what refused: of the policy, or the error
	// code.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"` // for people
}

// Kinds of events.
const (
	eventLogin    = "login"
	eventConsent  = "consent"
	eventDevice   = "device"
	eventLogout   = "logout"
	eventRevoke   = "revocation"
	eventRegister = "registration"
	eventClient   = "client"
	eventKey      = "key"
	eventAdmin    = "administration"
	eventUserinfo = "userinfo"
	eventIntro    = "introspection"
	eventRequest  = "request" // anything else
)

// tokenEvents are those of the token endpoint.
var tokenEvents = map[string]string{
	grantAuthorizationCode: "code", grantRefreshToken: "refresh", grantDeviceCode: "code",
	grantTokenExchange: "exchange", grantClientCredentials: "machine",
}

const (
	resultAllowed = "allowed"
	resultRefused = "refused"
)

// requestNotes are what a request has shown of itself so far. They belong to
// its goroutine.
type requestNotes struct {
	id     string
	event  AuditEvent // who, what
	proved bool       // some client or user has
}

// notes returns those of the request whose context is ctx; empty ones, which
// nobody reads, if there is none.
func notes(ctx context.Context) *requestNotes {
	if n, ok := ctx.Value(requestIDKey{}).(*requestNotes); ok {
		return n
	}
	return new(requestNotes)
}

func (n *requestNotes) noteUser(who *identity) {
	n.event.User, n.event.Login, n.event.Node = who.subject(), who.principal(), string(who.node)
	n.proved = true
}

// noteClient: proved says that it has authenticated, for anybody can name one.
func (n *requestNotes) noteClient(c *client, proved bool) {
	n.event.Client = c.ID
	n.proved = n.proved || proved
}

// noteGrant notes what was presented, and belongs to the client.
func (n *requestNotes) noteGrant(a *authorization) {
	e := &n.event
	e.Client, e.User, e.Node, e.Grant, e.Resources = a.clientID, a.subject, string(a.node), a.grantID, a.resources
	n.proved = true
}

// noteEvent makes h's errors those of an event.
func noteEvent(event string, h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		notes(r.Context()).event.Event = event
		return h(w, r)
	}
}

// audited fills in what the request of ctx says.
func (p *Provider) audited(ctx context.Context, e AuditEvent) AuditEvent {
	n := notes(ctx)
	e.Time, e.Request = p.now().UTC(), n.id
	e.Event, e.User, e.Login = cmp.Or(e.Event, n.event.Event), cmp.Or(e.User, n.event.User), cmp.Or(e.Login, n.event.Login)
	e.Node, e.Client, e.Grant = cmp.Or(e.Node, n.event.Node), cmp.Or(e.Client, n.event.Client), cmp.Or(e.Grant, n.event.Grant)
	if e.Login != "" && e.User != n.event.User { // it is somebody else's
		e.Login = ""
	}
	if e.Result == "" {
		e.Result = resultAllowed
	}
	return e
}

// audit notes that something has been decided and done. message is for the
// log, as are the names and values of more, which hold no secret.
func (p *Provider) audit(ctx context.Context, message string, e AuditEvent, more ...any) {
	_ = p.tellAudit(ctx, e, more...) // too late to refuse; it is in the log
	p.noteAudit(ctx, message, e, more...)
}

// auditFirst tells Config.Audit what is about to be done. Its error is the
// refusal to do it: nothing has been consumed yet. noteAudit follows when it
// is done.
func (p *Provider) auditFirst(ctx context.Context, e AuditEvent, more ...any) error {
	if err := p.tellAudit(ctx, e, more...); err != nil && p.cfg.AuditRequired {
		return fail(codeUnavailable, "the audit log cannot take this now; nothing was consumed, try again").because(err)
	}
	return nil
}

func (p *Provider) tellAudit(ctx context.Context, e AuditEvent, more ...any) error {
	if p.cfg.Audit == nil {
		return nil
	}
	e = p.audited(ctx, e)
	e.Detail = detailOf(more)
	e.Resources, e.Scopes, e.Rules = slices.Clone(e.Resources), slices.Clone(e.Scopes), slices.Clone(e.Rules)
	err := p.cfg.Audit(ctx, e)
	if err != nil {
		p.log.Error("audit failed", "request", e.Request, "event", e.Event, "error", err.Error())
	}
	return err
}

// noteAudit is audit without Config.Audit.
func (p *Provider) noteAudit(ctx context.Context, message string, e AuditEvent, more ...any) {
	e = p.audited(ctx, e)
	level := slog.LevelInfo
	if e.Event == eventRevoke || e.Event == eventKey {
		level = slog.LevelWarn
	}
	if p.log.Enabled(ctx, level) {
		p.log.Log(ctx, level, message, append(e.attrs(), more...)...)
	}
	e.Detail = detailOf(more)
	p.auditLog.add(e)
}

// auditRefusal is audit for errors, which logError logs.
func (p *Provider) auditRefusal(ctx context.Context, err *protocolError) {
	if !err.decides() {
		return
	}
	n := notes(ctx)
	e := AuditEvent{Result: resultRefused, Reason: string(err.code), Resources: n.event.Resources}
	if n.event.Event == "" {
		e.Event = eventRequest
	}
	if err.refusal != nil {
		e.Reason = err.refusal.reason
	}
	_ = p.tellAudit(ctx, e)
	if n.proved {
		p.auditLog.add(p.audited(ctx, e))
	}
}

// decides reports whether e is a decision about somebody, rather than about a
// request that is malformed or comes too early.
func (e *protocolError) decides() bool {
	switch e.code {
	case codeAccessDenied, codeInvalidClient, codeInvalidGrant, codeInvalidTarget, codeInvalidScope, codeUnauthorizedClient,
		codeInvalidToken, codeInsufficientScope, codeLoginRequired, codeConsentRequired, codeTooManyRequests:
		return true
	}
	return e.refusal != nil
}

// attrs are the names and values of e for the log.
func (e *AuditEvent) attrs() []any {
	var attrs []any
	for _, a := range []struct{ name, value string }{
		{"event", e.Event}, {"request", e.Request}, {"client", e.Client}, {"user", e.User}, {"node", e.Node}, {"grant", e.Grant},
		{"resources", strings.Join(e.Resources, " ")}, {"reason", e.Reason},
	} {
		if a.value != "" {
			attrs = append(attrs, a.name, a.value)
		}
	}
	if len(e.Rules) > 0 {
		attrs = append(attrs, "rules", e.Rules)
	}
	return attrs
}

func detailOf(more []any) string {
	var pairs []string
	for pair := range slices.Chunk(more, 2) {
		if s := fmt.Sprint(pair[1:]...); s != "" {
			pairs = append(pairs, fmt.Sprint(pair[0])+"="+s)
		}
	}
	return strings.Join(pairs, " ")
}

// decided is the event of what q has been answered with.
func decided(event string, q question, d decision) AuditEvent {
	e := AuditEvent{
		Event: event, User: q.who.subject(), Login: q.who.principal(), Node: string(q.who.node), Client: q.client.ID,
		Resources: d.resources, Scopes: d.scopes, Rules: q.who.policyPlaces(rulesBehind(q)),
	}
	if q.grant != nil { // a machine outside of the tailnet is nobody there
		e.User, e.Node, e.Grant = q.grant.subject, string(q.grant.node), q.grant.grantID
	}
	return e
}

// rulesBehind returns the places of rules of q.who with which alone q is
// answered as it is with all. Rules only ever allow, so the shortest list
// that suffices can be halved its way to.
func rulesBehind(q question) []int {
	all := q.who.rules
	want, no := decide(q)
	if no != nil {
		return nil
	}
	// enough reports whether the rules before n and those that are needed do.
	var needed []int
	enough := func(n int) bool {
		q.who.rules = slices.Clone(all[:n])
		for _, i := range needed {
			q.who.rules = append(q.who.rules, all[i])
		}
		d, no := decide(q)
		return no == nil && len(d.resources) == len(want.resources) && len(d.scopes) == len(want.scopes) && d.impersonate == want.impersonate
	}
	for len(needed) < len(all) && !enough(0) {
		low, high := 0, len(all)
		for low+1 < high {
			if mid := (low + high) / 2; enough(mid) {
				high = mid
			} else {
				low = mid
			}
		}
		needed = append(needed, high-1)
	}
	slices.Sort(needed)
	return needed
}

// policyPlaces turns places among the rules into those in the policy, where
// faulty ones count.
func (id *identity) policyPlaces(places []int) []int {
	var in []int
	for _, i := range places {
		for _, f := range id.faults {
			if f.Kind == faultRule && f.Index <= i {
				i++
			}
		}
		in = append(in, i)
	}
	return in
}

// auditInactive is auditRefusal for a token that resource servers are told is
// not active, if it is the policy that says so.
func (p *Provider) auditInactive(ctx context.Context, err error) {
	if e, ok := errors.AsType[*protocolError](err); ok && e.refusal != nil {
		p.auditRefusal(ctx, e)
	}
}
