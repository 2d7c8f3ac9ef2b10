// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// The authorization endpoint (RFC 6749 section 3.1, OpenID Connect Core
// section 3.1.2). A request goes down this list and leaves it once; nothing is
// written on the way.
//
//	         ┌──────────┐
//	         │  parse   │─ malformed ──────────────► page 400
//	         └────┬─────┘
//	         ┌────▼─────┐
//	         │ identify │─ nobody ─────────────────► page 403
//	         └────┬─────┘─ cannot ask ─────────────► page 503
//	         ┌────▼─────┐
//	         │  client  │─ unknown ────────────────► page 400
//	         └────┬─────┘
//	         ┌────▼─────┐
//	         │ redirect │─ not registered ─────────► page 400
//	         │   URI    │
//	         └────┬─────┘  from here on the client may be answered
//	         ┌────▼─────┐
//	         │  check   │─ protocol error ─────────► redirect with error
//	         └────┬─────┘
//	         ┌────▼─────┐                      ┌──► page 403 with a link back, to a person
//	         │  decide  │─ refused ────────────┤
//	         └────┬─────┘                      └──► redirect with error, to a program
//	         ┌────▼─────┐
//	         │ interact │─ consent, login ─────────► page, and back here by its button
//	         └────┬─────┘
//	         ┌────▼─────┐
//	         │   seal   │──────────────────────────► redirect with code, state, iss
//	         └──────────┘
//
// "If the request fails due to a missing, invalid, or mismatching redirection
// URI, or if the client identifier is missing or invalid, the authorization
// server ... MUST NOT automatically redirect the user-agent to the invalid
// redirection URI" (RFC 6749 section 4.1.2.1): hence the line in the middle.

// An authorizeRequest is a request on its way down.
type authorizeRequest struct {
	form   *form
	who    identity
	client *client
	// redirectURI is what the client sent; it is what /token compares with.
	// replyTo is where the answer goes, which differs only in a fragment.
	redirectURI string
	replyTo     string

	session *session
	// confirmed: the person has pressed the button of the page, now.
	confirmed bool
	denied    bool     // the person has pressed the other one
	asked     question // of the policy
	// agreedTo is what the page was about, if it asked for consent.
	agreedTo string
}

// echoed parameters are bytes to us (C46).
var echoed = map[string]bool{"state": true}

// serveAuthorize handles GET and POST alike (OpenID Connect Core section
// 3.1.2.1).
func (p *Provider) serveAuthorize(w http.ResponseWriter, r *http.Request) error {
	f, err := parseAuthorize(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost && p.fromForeignPage(r) {
		return p.repeatAsGet(w, r, pathAuthorize, f)
	}
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	return p.runAuthorize(w, r, &authorizeRequest{form: f, who: who})
}

// runAuthorize is the way down for a request that has been parsed, by a
// person who is known.
func (p *Provider) runAuthorize(w http.ResponseWriter, r *http.Request, a *authorizeRequest) error {
	if err := p.findClient(r.Context(), a); err != nil {
		return err
	}
	if err := a.matchRedirectURI(); err != nil {
		return err
	}
	a.session = p.readSession(r, &a.who)
	c, err := p.authorize(r.Context(), a)
	if err != nil {
		return p.respondError(w, r, a, err)
	}
	asked, err := p.interact(w, r, a, c)
	if err != nil {
		return p.respondError(w, r, a, err)
	}
	if asked {
		return nil
	}
	e := decided(eventLogin, a.asked, decision{resources: c.resources, scopes: c.scopes})
	e.Grant = c.grantID
	if err := p.auditFirst(r.Context(), e); err != nil {
		return p.respondError(w, r, a, err)
	}
	code, err := p.sealAuthorization(w, a, c)
	if err != nil {
		return p.respondError(w, r, a, err)
	}
	p.metrics.logins.inc(loginBrowser)
	p.noteAudit(r.Context(), "authorized", e)
	return p.respond(w, r, a, url.Values{"code": {code}})
}

// sealAuthorization makes the code, with the time of the login.
func (p *Provider) sealAuthorization(w http.ResponseWriter, a *authorizeRequest, c *codeRequest) (string, error) {
	if a.confirmed {
		a.session.confirm(a.client.ID, p.now())
	}
	c.authTime = time.Unix(a.session.AuthTime, 0).UTC()
	code, err := p.storage.sealCode(c)
	if err != nil {
		return "", err
	}
	return code, p.writeSession(w, a.session)
}

func parseAuthorize(r *http.Request) (*form, error) {
	if r.Method == http.MethodPost {
		if r.URL.RawQuery != "" {
			return nil, fail(codeInvalidRequest, "the parameters of a POST belong in its body, not in the URL")
		}
		return parseBody(r)
	}
	return newForm(r.URL.RawQuery)
}

// findClient loads the client. An unknown one gets a page that helps whoever
// set the application up.
func (p *Provider) findClient(ctx context.Context, a *authorizeRequest) error {
	if a.form.isRepeated("client_id") || a.form.isRepeated("redirect_uri") {
		return fail(codeInvalidRequest, "client_id and redirect_uri must not be repeated")
	}
	id := a.form.get("client_id")
	if id == "" {
		return fail(codeInvalidRequest, "client_id is missing")
	}
	c, err := p.clientToUse(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		e := fail(codeInvalidClient, "No application with this client_id is registered here. If it was registered once, its registration has been removed: remove the connection in the application and add it again, or ask an administrator of this identity provider to register it.")
		e.answer = http.StatusBadRequest // with 401 a browser would ask for a password, which nobody has
		return e
	}
	if err != nil {
		e := storeError(err)
		if e.code == codeInvalidClient {
			e.answer = http.StatusBadRequest
		}
		return e
	}
	a.client = c
	notes(ctx).noteClient(c, false)
	return nil
}

func (a *authorizeRequest) matchRedirectURI() error {
	a.redirectURI = a.form.get("redirect_uri")
	if a.redirectURI == "" {
		return fail(codeInvalidRequest, "redirect_uri is missing")
	}
	to, ok := oauth.MatchRedirectURI(a.client.RedirectURIs, a.redirectURI, a.client.redirectRules())
	if !ok {
		return a.redirectMismatch()
	}
	a.replyTo = to
	return nil
}

// redirectMismatch tells a person of the tailnet what to change: nobody else
// gets this far.
func (a *authorizeRequest) redirectMismatch() error {
	e := fail(codeInvalidRequest, "redirect_uri %q is not registered for %s.", a.redirectURI, a.client.displayName())
	if why := oauth.ExplainRedirectMismatch(a.client.RedirectURIs, a.redirectURI); why != "" {
		e.description += " Compared with a registered one, " + why + "."
	}
	if !a.who.external {
		e.description += " Registered: " + strings.Join(a.client.RedirectURIs, ", ")
	}
	return e
}

// authorize checks what the client asks for, and asks for a decision.
func (p *Provider) authorize(ctx context.Context, a *authorizeRequest) (*codeRequest, error) {
	if a.denied {
		return nil, fail(codeAccessDenied, "the person has declined")
	}
	c := &codeRequest{issuedAt: p.now().UTC(), nonce: a.form.get("nonce"), redirectHash: sha256.Sum256([]byte(a.redirectURI))}
	for _, check := range []func() error{
		a.checkParameters,
		func() error { return p.checkPKCE(ctx, a, c) },
		func() error { return a.checkScope(c) },
		func() error { return p.checkHint(ctx, a) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	resources := askedResources(a.form, &a.who, a.client, p.issuer)
	if err := checkResources(resources); err != nil {
		return nil, err
	}
	a.asked = question{action: actAuthorize, who: a.who, client: a.client, resources: resources, scopes: c.scopes, issuer: p.issuer}
	d, no := p.decide(a.asked)
	if no != nil {
		return nil, no.err()
	}
	c.grantID, c.clientID = newID(), a.client.ID
	c.subject, c.node, c.addr = a.who.subject(), a.who.node, a.who.addr
	c.resources = d.resources
	if c.scopes = d.scopes; len(c.scopes) == 0 {
		return nil, errNoScope()
	}
	return c, nil
}

// checkParameters refuses what is malformed or not offered.
func (a *authorizeRequest) checkParameters() error {
	if len(a.form.repeated) > 0 {
		return fail(codeInvalidRequest, "the parameter %s must not be repeated", a.form.repeated[0])
	}
	if err := a.form.checkText(echoed); err != nil {
		return err
	}
	switch t := a.form.get("response_type"); t {
	case "code":
	case "":
		return fail(codeInvalidRequest, "response_type is missing; it must be code")
	default:
		return fail(codeUnsupportedResponse, "response_type must be code")
	}
	for _, not := range []struct {
		name string
		code errorCode
	}{
		// An OP that does not support them must say so (OpenID Connect Core
		// sections 6.1, 6.2 and 7.2.1).
		{"request", codeRequestNotSupported},
		{"request_uri", codeRequestURINotSupported},
		{"registration", codeRegistrationNotSupport},
	} {
		if a.form.get(not.name) != "" {
			return fail(not.code, "the parameter %s is not supported", not.name)
		}
	}
	if err := a.checkResponseMode(); err != nil {
		return err
	}
	return a.checkPrompt()
}

// checkPrompt: "If this parameter contains none with any other value, an
// error is returned" (OpenID Connect Core section 3.1.2.1).
func (a *authorizeRequest) checkPrompt() error {
	if a.prompts("none") && len(strings.Fields(a.form.get("prompt"))) > 1 {
		return fail(codeInvalidRequest, "prompt none must stand alone")
	}
	return nil
}

var supportedPrompts = []string{"none", "login", "consent", "select_account"}

// prompts reports whether the client asks for this prompt. Unknown ones are
// ignored, and so is consent: the policy of the tailnet has given it.
func (a *authorizeRequest) prompts(prompt string) bool {
	return slices.Contains(strings.Fields(a.form.get("prompt")), prompt)
}

// checkHint: "If the End-User identified by the ID Token is already logged in
// ... the Authorization Server returns a positive response; otherwise, it MUST
// return an error, such as login_required" (OpenID Connect Core section
// 3.1.2.1). A hint that says nothing, such as one signed with a key of long
// ago, is no reason to turn a person away who is there to see the result.
func (p *Provider) checkHint(ctx context.Context, a *authorizeRequest) error {
	token := a.form.get("id_token_hint")
	if token == "" {
		return nil
	}
	hint, err := p.openHint(ctx, token)
	switch {
	case err != nil && a.prompts("none"):
		return fail(codeLoginRequired, "id_token_hint is not an ID token of this issuer").because(err)
	case err == nil && hint.Subject != a.who.subject():
		return fail(codeLoginRequired, "id_token_hint names somebody else")
	}
	return nil
}

// checkPKCE: S256 only, and required where requiresPKCE says so.
func (p *Provider) checkPKCE(ctx context.Context, a *authorizeRequest, c *codeRequest) error {
	challenge, method := a.form.get("code_challenge"), a.form.get("code_challenge_method")
	if challenge == "" {
		required, err := p.requiresPKCE(ctx, a.client)
		if err != nil {
			return err
		}
		if required {
			return fail(codeInvalidRequest, "code_challenge is missing: this client must use PKCE with the method S256")
		}
		return nil
	}
	// An absent method means plain (RFC 7636 section 4.3), which shows the
	// verifier to whoever sees the request.
	if method != "S256" {
		return fail(codeInvalidRequest, "code_challenge_method must be S256")
	}
	if !oauth.ValidChallenge(challenge) {
		return fail(codeInvalidRequest, "code_challenge must be the base64url form, without padding, of a SHA-256: 43 characters")
	}
	_, err := base64.RawURLEncoding.Decode(c.challenge[:], []byte(challenge))
	c.hasPKCE = true
	return err
}

func (a *authorizeRequest) checkScope(c *codeRequest) (err error) {
	c.scopes, err = a.client.checkScope(a.form.get("scope"))
	return err
}
