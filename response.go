// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Authorization responses: how the client learns what came of its request.
// The redirect URI has been validated before anything here runs.

// Response modes (OAuth 2.0 Multiple Response Type Encoding Practices section
// 2.1, OAuth 2.0 Form Post Response Mode).
const (
	modeQuery    = "query"
	modeFormPost = "form_post"
)

var supportedResponseModes = []string{modeQuery, modeFormPost}

// wantsFormPost reports whether the response is to be posted. Only a web
// server can take it.
func (a *authorizeRequest) wantsFormPost() bool {
	return a.form.get("response_mode") == modeFormPost && isWeb(a.replyTo)
}

func isWeb(uri string) bool {
	return strings.HasPrefix(uri, "https://") || strings.HasPrefix(uri, "http://")
}

// checkResponseMode refuses what is not offered. The refusal itself goes by
// query.
func (a *authorizeRequest) checkResponseMode() error {
	switch mode := a.form.get("response_mode"); {
	case mode == "", mode == modeQuery, a.wantsFormPost():
		return nil
	case mode == modeFormPost:
		return fail(codeInvalidRequest, "response_mode form_post needs an http or https redirect URI")
	}
	return fail(codeInvalidRequest, "response_mode must be one of %s", strings.Join(supportedResponseModes, ", "))
}

// respond sends the response v to the client.
func (p *Provider) respond(w http.ResponseWriter, r *http.Request, a *authorizeRequest, v url.Values) error {
	back := p.responseLink(a, v)
	if back.Fields != nil {
		return p.pages.render(w, http.StatusOK, pageFormPost, struct {
			Client string
			Back   link
		}{a.client.displayName(), back})
	}
	redirect(w, r, string(back.URL))
	return nil
}

// respondError tells the client, or the person, that err happened.
func (p *Provider) respondError(w http.ResponseWriter, r *http.Request, a *authorizeRequest, err error) error {
	e := asProtocolError(err)
	description := e.description
	if e.refusal != nil {
		// The message is for the person, and may name them: a client learns
		// nothing about somebody who may not use it.
		description = "the policy of the tailnet does not allow it: " + e.refusal.reason
	}
	v := url.Values{"error": {string(e.code)}, "error_description": {descriptionText(description)}}
	if e.refusal != nil && a.isPerson(r) {
		return &pageError{protocolError: e, client: a.client, back: p.responseLink(a, v)}
	}
	p.logError(r, e)
	return p.respond(w, r, a, v)
}

// isPerson reports whether somebody is looking: a browser that navigates,
// and did not say that it wants no page.
func (a *authorizeRequest) isPerson(r *http.Request) bool {
	return acceptsHTML(r) && !a.prompts("none")
}

// A link leads back to the client: a plain one, or a form that posts Fields.
type link struct {
	// URL is safe to follow: it was compared with what is registered, where
	// no scheme that runs scripts can be.
	URL    template.URL
	Fields []field
}

type field struct{ Name, Value string }

// responseLink is the redirect URI with the response's parameters, state and
// iss (RFC 9207) among them. The URI is never parsed and put together again:
// clients compare it as text.
func (p *Provider) responseLink(a *authorizeRequest, v url.Values) link {
	if state := a.form.get("state"); state != "" && !a.form.isRepeated("state") {
		v.Set("state", state)
	}
	if !p.cfg.OmitResponseIssuer {
		v.Set("iss", p.issuer)
	}
	if !a.wantsFormPost() {
		return link{URL: template.URL(withQuery(a.replyTo, v))}
	}
	back := link{URL: template.URL(a.replyTo)}
	for name := range v {
		back.Fields = append(back.Fields, field{name, v.Get(name)})
	}
	slices.SortFunc(back.Fields, func(a, b field) int { return strings.Compare(a.Name, b.Name) })
	return back
}

// withQuery adds parameters to a URI and leaves its text as it is.
func withQuery(uri string, v url.Values) string {
	sep := "?"
	switch {
	case len(v) == 0, strings.HasSuffix(uri, "?"), strings.HasSuffix(uri, "&"):
		sep = ""
	case strings.Contains(uri, "?"):
		sep = "&"
	}
	return uri + sep + strings.ReplaceAll(v.Encode(), "+", "%20")
}

// redirect sends a browser on. "The authorization server MUST NOT use the HTTP
// 307 status code" and SHOULD use 303 (RFC 9700 section 4.12): a form that
// was posted here must not be posted on.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}

// maxOwnQuery bounds the parameters that travel in a URL of ours, in bytes.
const maxOwnQuery = 8 << 10

// repeatAsGet answers a form that a page of another site has posted: browsers
// leave our cookie out of it (SameSite=Lax), and with it what the person has
// confirmed or signed out of. As a navigation of its own it has the cookie.
func (p *Provider) repeatAsGet(w http.ResponseWriter, r *http.Request, path string, f *form) error {
	q := f.values.Encode()
	if len(f.repeated) > 0 {
		return fail(codeInvalidRequest, "the parameter %s must not be repeated", f.repeated[0])
	}
	if len(q) > maxOwnQuery {
		return fail(codeTooLarge, "the parameters are longer than %d bytes", maxOwnQuery)
	}
	redirect(w, r, p.issuer+path+"?"+q)
	return nil
}
