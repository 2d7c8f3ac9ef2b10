// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Who is let through to a handler. Being on the tailnet is authority that every
// web page could borrow from its reader, so these look at where a request comes
// from before they look at who sends it.

// ownHost reports whether host, from a Host header, is one of ours.
func (p *Provider) ownHost(host string) bool {
	return slices.Contains(p.hosts, strings.ToLower(host))
}

// requireAdmin lets administrators of the tailnet through.
func (p *Provider) requireAdmin(h handlerFunc) handlerFunc {
	return noteEvent(eventAdmin, p.require(actAdminister, "use the administration", h))
}

// requirePerson lets everybody through whom the tailnet knows, but not the
// pages of others in their browsers.
func (p *Provider) requirePerson(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if p.borrowed(r) {
			return fail(codeAccessDenied, "a web page of another origin may not act for you")
		}
		if _, err := p.identify(r.Context()); err != nil {
			return identityError(err)
		}
		return h(w, r)
	}
}

// require lets those through who may do what act is, but not the pages of
// others in their browsers.
func (p *Provider) require(act action, what string, h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if p.borrowed(r) {
			return fail(codeAccessDenied, "a web page of another origin may not %s", what)
		}
		who, err := p.identify(r.Context())
		if err != nil {
			return identityError(err)
		}
		if _, no := p.decide(question{action: act, who: who}); no != nil {
			e := no.err()
			e.grant = no.grantJSON()
			return e
		}
		return h(w, r)
	}
}

// requireUnixSocket lets through what came over a unix socket.
func requireUnixSocket(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		peer, ok := peerFrom(r.Context())
		if !ok {
			return identityError(errNoPeer)
		}
		if !peer.unix {
			return fail(codeAccessDenied, "the administration is open on the unix socket only")
		}
		n := notes(r.Context())
		n.event.Event, n.event.Login, n.proved = eventAdmin, "unix socket", true
		return h(w, r)
	}
}

// sameOrigin is a second look at the form of a page: it does not rest on the
// names that we think are ours.
func (p *Provider) sameOrigin(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := p.crossOrigin.Check(r); err != nil {
			return fail(codeAccessDenied, "a web page of another origin may not act for you").because(err)
		}
		return h(w, r)
	}
}

// notFromElsewhere is for what costs much: not even a link of another site
// leads to it. With a parameter it is only requests with that which do.
func (p *Provider) notFromElsewhere(parameter string, h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if foreignSite(r) && (parameter == "" || r.URL.Query().Has(parameter)) {
			return fail(codeAccessDenied, "a web page of another origin may not lead here: open the page of the administration, and ask there")
		}
		return h(w, r)
	}
}

// fromForeignPage reports whether a web page of another origin sent r. Being
// on the tailnet would then be the authority of whoever reads that page, and
// lend it to whoever wrote it. Requests that a person starts by navigating
// count as theirs, but change nothing. A browser says one of the two headers
// over https; programs say neither.
func (p *Provider) fromForeignPage(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && !p.ownOrigin(origin) {
		return true
	}
	if !foreignSite(r) {
		return false
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	return !safe || r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// foreignSite reports whether a page of another origin is behind r, be it as
// one that has a link to us.
func foreignSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return true
}

// borrowed is fromForeignPage for what has no need to work in frames. A page of
// another origin can load an address as often as it likes into frames that
// nobody sees, but sends people away only once: then the answer is the document
// of the tab. Logins may have to work in frames.
func (p *Provider) borrowed(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return p.fromForeignPage(r) || foreignSite(r) && dest != "" && dest != "document"
}

// withCaller notes for [Provider.caller] whether a web page sent r. Public
// routes serve any Host, but one that is not ours may be a page's own name that
// it has pointed at us (DNS rebinding), and lends no authority.
func (p *Provider) withCaller(r *http.Request) context.Context {
	return context.WithValue(r.Context(), foreignKey{}, p.fromForeignPage(r) || !p.ownHost(r.Host))
}

// ownOrigin reports whether origin is that of one of our names.
func (p *Provider) ownOrigin(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return false
	}
	return strings.HasPrefix(p.issuer, u.Scheme+"://") && p.ownHost(u.Host)
}
