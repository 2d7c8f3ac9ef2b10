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
	a := &authorizeRequest{form: f}
	if a.who, err = p.identify(r.Context()); err != nil {
		return identityError(err)
	}
	if err := p.findClient(r.Context(), a); err != nil {
		return err
	}
	if err := a.matchRedirectURI(); err != nil {
		return err
	}
	code, err := p.authorize(r.Context(), a)
	if err != nil {
		return p.answerAuthorizeError(w, r, a, err)
	}
	p.log.Info("authorized", "request", requestID(r.Context()), "client", a.client.ID, "user", a.who.subject(), "node", string(a.who.node))
	a.redirect(w, r, p.responseURL(a, url.Values{"code": {code}}))
	return nil
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
	c, err := p.clientByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		e := fail(codeInvalidClient, "No application with this client_id is registered here. If it was registered once, its registration has been removed: remove the connection in the application and add it again, or ask an administrator of this identity provider to register it.")
		e.answer = http.StatusBadRequest // with 401 a browser would ask for a password, which nobody has
		return e
	}
	if err != nil {
		return storeError(err)
	}
	a.client = c
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

// authorize checks what the client asks for, asks for a decision, and seals
// the code.
func (p *Provider) authorize(ctx context.Context, a *authorizeRequest) (string, error) {
	c := &codeRequest{issuedAt: p.now().UTC(), nonce: a.form.get("nonce"), redirectHash: sha256.Sum256([]byte(a.redirectURI))}
	for _, check := range []func() error{
		a.checkParameters,
		func() error { return p.checkPKCE(ctx, a, c) },
		func() error { return a.checkScope(c) },
	} {
		if err := check(); err != nil {
			return "", err
		}
	}
	resources := a.form.values["resource"]
	if err := checkResources(resources); err != nil {
		return "", err
	}
	d, no := decide(question{action: actAuthorize, who: a.who, client: a.client, resources: resources, issuer: p.issuer})
	if no != nil {
		return "", no.err()
	}
	c.grantID, c.clientID = newID(), a.client.ID
	c.subject, c.node, c.addr = a.who.subject(), a.who.node, a.who.addr
	c.resources = d.resources
	c.authTime = c.issuedAt // WhoIs is a live proof
	return p.storage.sealCode(c)
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
	if m := a.form.get("response_mode"); m != "" && m != "query" {
		return fail(codeInvalidRequest, "response_mode must be query")
	}
	return a.checkPrompt()
}

// checkPrompt: "If this parameter contains none with any other value, an
// error is returned" (OpenID Connect Core section 3.1.2.1).
func (a *authorizeRequest) checkPrompt() error {
	prompts := strings.Fields(a.form.get("prompt"))
	if slices.Contains(prompts, "none") && len(prompts) > 1 {
		return fail(codeInvalidRequest, "prompt none must stand alone")
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

// checkScope narrows unknown scopes away: applications send group names and
// whatever else (RFC 6749 section 3.3 allows to "fully or partially ignore
// the scope requested"). Only if nothing is left is it an error.
func (a *authorizeRequest) checkScope(c *codeRequest) error {
	asked, err := oauth.ParseScope(a.form.get("scope"), knownScope)
	if err != nil {
		return fail(codeInvalidScope, "%v", err)
	}
	if len(asked) == 0 {
		c.scopes = a.client.defaultScope()
		return nil
	}
	for _, s := range asked {
		if knownScope(s) {
			c.scopes = append(c.scopes, s)
		}
	}
	if len(c.scopes) == 0 {
		return fail(codeInvalidScope, "none of the scopes is known; there are %s", strings.Join(supportedScopes, ", "))
	}
	return nil
}

// answerAuthorizeError tells the client, or the person, that err happened.
// The redirect URI has been validated.
func (p *Provider) answerAuthorizeError(w http.ResponseWriter, r *http.Request, a *authorizeRequest, err error) error {
	e := asProtocolError(err)
	description := e.description
	if e.refusal != nil {
		// The message is for the person, and may name them: a client learns
		// nothing about somebody who may not use it.
		description = "the policy of the tailnet does not allow it: " + e.refusal.reason
	}
	back := p.responseURL(a, url.Values{"error": {string(e.code)}, "error_description": {descriptionText(description)}})
	if e.refusal != nil && a.isPerson(r) {
		return &pageError{protocolError: e, client: a.client, back: back}
	}
	p.logError(r, e)
	a.redirect(w, r, back)
	return nil
}

// isPerson reports whether somebody is looking: a browser that navigates,
// and did not say that it wants no page.
func (a *authorizeRequest) isPerson(r *http.Request) bool {
	return acceptsHTML(r) && !slices.Contains(strings.Fields(a.form.get("prompt")), "none")
}

// responseURL is the redirect URI with the response's parameters, state and
// iss (RFC 9207) among them. The URI is never parsed and put together again:
// clients compare it as text.
func (p *Provider) responseURL(a *authorizeRequest, v url.Values) string {
	if state := a.form.get("state"); state != "" && !a.form.isRepeated("state") {
		v.Set("state", state)
	}
	if !p.cfg.OmitResponseIssuer {
		v.Set("iss", p.issuer)
	}
	sep := "?"
	switch {
	case strings.HasSuffix(a.replyTo, "?"), strings.HasSuffix(a.replyTo, "&"):
		sep = ""
	case strings.Contains(a.replyTo, "?"):
		sep = "&"
	}
	return a.replyTo + sep + strings.ReplaceAll(v.Encode(), "+", "%20")
}

// redirect sends the answer. "The authorization server MUST NOT use the HTTP
// 307 status code" and SHOULD use 303 (RFC 9700 section 4.12): a form that
// was posted here must not be posted on.
func (a *authorizeRequest) redirect(w http.ResponseWriter, r *http.Request, to string) {
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}
