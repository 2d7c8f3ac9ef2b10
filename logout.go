// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// The logout endpoint (OpenID Connect RP-Initiated Logout 1.0). There is no
// session to end: WhoIs would log the person in again at once. So logging out
// revokes what the client was granted on this device, and the browser
// remembers (session.go) that the next login is to be confirmed.
//
// A hint of ours for this person shows that their client asks, and nobody
// else can have it. Without one the person is asked: "the OP ... MUST ask the
// End-User whether to log out of the OP as well" (section 6), and else any web
// page could log its readers out.

// A logoutRequest is one on its way.
type logoutRequest struct {
	form   *form
	who    identity
	client *client // nil: all of them
	// proven: the client itself asks, for this person.
	proven bool
	// replyTo is where to go afterwards; "" for nowhere. astray is an address
	// that was asked for and is none of the client's.
	replyTo, astray string
}

// serveLogout handles GET and POST alike (section 2).
func (p *Provider) serveLogout(w http.ResponseWriter, r *http.Request) error {
	f, err := parseAuthorize(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost && p.fromForeignPage(r) {
		return p.repeatAsGet(w, r, pathLogout, f)
	}
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	l, err := p.newLogout(r.Context(), f, who)
	if err != nil {
		return err
	}
	if !l.proven {
		return p.askLogout(w, l)
	}
	return p.logOut(w, r, l)
}

// serveLogoutContinue takes the answer to the page of askLogout.
func (p *Provider) serveLogoutContinue(w http.ResponseWriter, r *http.Request) error {
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	ans, err := p.readChoice(r, pathLogout, &who)
	if err != nil {
		return err
	}
	l, err := p.newLogout(r.Context(), ans.form, who)
	if err != nil {
		return err
	}
	if !ans.current {
		return p.askLogout(w, l)
	}
	return p.logOut(w, r, l)
}

// newLogout finds out which client asks, and where it wants to go.
func (p *Provider) newLogout(ctx context.Context, f *form, who identity) (*logoutRequest, error) {
	if len(f.repeated) > 0 {
		return nil, fail(codeInvalidRequest, "the parameter %s must not be repeated", f.repeated[0])
	}
	if err := f.checkText(echoed); err != nil {
		return nil, err
	}
	l := &logoutRequest{form: f, who: who}
	clientID := f.get("client_id")
	if token := f.get("id_token_hint"); token != "" {
		hint, err := p.openHint(ctx, token)
		if err != nil {
			// Whatever else the request says may be made up as well: the
			// person is asked, and stays here.
			return l, nil
		}
		// "when both ... are present, the OP MUST verify that the Client
		// Identifier matches the one used when issuing the ID Token"
		// (section 2).
		if clientID != "" && !slices.Contains(hint.Audience, clientID) {
			return nil, fail(codeInvalidRequest, "client_id and id_token_hint are of two different clients")
		}
		clientID = hint.Audience[0]
		l.proven = hint.Subject == who.subject()
	}
	if clientID == "" {
		return l, nil
	}
	var err error
	if l.client, err = p.clientByID(ctx, clientID); err != nil {
		return nil, notFoundOr(err, fail(codeInvalidRequest, "No application with this client_id is registered here."))
	}
	l.replyTo = f.get("post_logout_redirect_uri")
	if l.replyTo != "" && !l.client.allowsPostLogout(l.replyTo) {
		l.replyTo, l.astray = "", l.replyTo
	}
	return l, nil
}

// openHint verifies an ID token that comes back as a hint. It may have
// expired: "the OP SHOULD accept ID Tokens when the RP identified by the ID
// Token's aud claim ... recently had a session, even when the exp time has
// passed" (RP-Initiated Logout section 2).
func (p *Provider) openHint(ctx context.Context, token string) (*jwt.Claims, error) {
	payload, err := jwt.Verify(token, jwt.TypeJWT, p.lookupKey(ctx))
	if err != nil {
		return nil, err
	}
	var c jwt.Claims
	if err := jwt.Unmarshal(payload, &c); err != nil {
		return nil, err
	}
	if c.Issuer != p.issuer || len(c.Audience) == 0 {
		return nil, errors.New("hint of another issuer, or for nobody")
	}
	return &c, nil
}

// allowsPostLogout reports whether the client may send people to uri after a
// logout: one that is registered for it, as text; where none is, one of an
// origin that a redirect URI has.
func (c *client) allowsPostLogout(uri string) bool {
	if len(c.PostLogoutRedirectURIs) > 0 {
		return slices.Contains(c.PostLogoutRedirectURIs, uri)
	}
	if oauth.CheckRedirectURI(uri, oauth.AdministratorRedirects) != nil || !isWeb(uri) {
		return false
	}
	origin := webOrigin(uri)
	return origin != "" && slices.ContainsFunc(c.RedirectURIs, func(r string) bool { return webOrigin(r) == origin })
}

// webOrigin returns scheme, host and port of an http or https URI.
func webOrigin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || u.Host == "" || !isWeb(uri) {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// askLogout shows the page that asks.
func (p *Provider) askLogout(w http.ResponseWriter, l *logoutRequest) error {
	return p.ask(w, pathLogout, l.form, &l.who, interactionPage{
		Title:   "Sign out of " + l.what() + "?",
		Message: []string{"What was granted on this device ends, and the next login is to be confirmed. Other devices stay as they are."},
		Yes:     "Sign out",
	})
}

func (l *logoutRequest) what() string {
	if l.client == nil {
		return "all applications"
	}
	return l.client.displayName()
}

// logOut revokes what the client has on this device, and remembers it.
func (p *Provider) logOut(w http.ResponseWriter, r *http.Request, l *logoutRequest) error {
	index := map[string]string{indexUser: l.who.subject(), indexNode: string(l.who.node)}
	clientID := ""
	if l.client != nil {
		clientID = l.client.ID
		index[indexClient] = clientID
	}
	n, err := p.store.Revoke(r.Context(), store.Revocation{
		Select: store.Selector{Index: index}, Reason: "logout", Now: p.now(), KeepFor: deadFor,
	})
	if err != nil {
		return storeError(err)
	}
	p.audit(r.Context(), "signed out", AuditEvent{Event: eventLogout, Client: clientID}, "grants", n)
	s := p.readSession(r, &l.who)
	s.signOut(clientID)
	if err := p.writeSession(w, s); err != nil {
		return err
	}
	if l.replyTo != "" {
		v := url.Values{}
		if state := l.form.get("state"); state != "" {
			v.Set("state", state)
		}
		redirect(w, r, withQuery(l.replyTo, v))
		return nil
	}
	return p.pages.render(w, http.StatusOK, "notice.html", l.notice())
}

// A noticePage is the data of pages/notice.html.
type noticePage struct {
	Title   string
	Message []string
}

func (l *logoutRequest) notice() noticePage {
	page := noticePage{
		Title:   "You are signed out of " + l.what(),
		Message: []string{"You stay on the tailnet. The next login will ask you to continue."},
	}
	if l.astray != "" {
		page.Message = append(page.Message, fmt.Sprintf("%s wants to go on at %s, which is not one of its post_logout_redirect_uris; an administrator can add it.", l.what(), l.astray))
	}
	return page
}
