// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

// The pages that people see. They need no JavaScript and load nothing.

//go:embed pages/*.html pages/style.css pages/submit.js
var pageFiles embed.FS

// pageSet are the parsed pages with the policy that fits their style.
type pageSet struct {
	templates *template.Template
	style     string
	csp       string
	// submitCSP is that of the page that submits itself.
	submitCSP string
}

// newPageSet parses the embedded pages. The style is inline, and so is the one
// script, which submits a form that the person would else submit; the policy
// allows exactly these by their hashes.
func newPageSet() (*pageSet, error) {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	submit, err := pageFiles.ReadFile("pages/submit.js")
	if err != nil {
		return nil, err
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) },
		"submit": func() template.JS { return template.JS(submit) },
	}).ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing pages: %w", err)
	}
	policy := func(script string) string {
		// No form-action: browsers would block the redirect in which a form
		// of ours ends.
		return "default-src 'none'; style-src " + cspHash(style) + script + "; base-uri 'none'; frame-ancestors 'none'"
	}
	return &pageSet{templates: t, style: string(style), csp: policy(""), submitCSP: policy("; script-src " + cspHash(submit))}, nil
}

// cspHash is the source expression for an inline style or script.
func cspHash(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageFormPost is the page that submits itself.
const pageFormPost = "form_post.html"

// render writes a page. It is complete before its first byte is sent.
func (s *pageSet) render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", s.csp)
	if name == pageFormPost {
		h.Set("Content-Security-Policy", s.submitCSP)
	}
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// renderForm writes a page with a form that is posted to us. With the policy
// no-referrer, browsers would send it with "Origin: null" (Fetch, "append a
// request Origin header"), as one from a foreign page.
func (s *pageSet) renderForm(w http.ResponseWriter, status int, name string, data any) error {
	w.Header().Set("Referrer-Policy", "same-origin")
	return s.render(w, status, name, data)
}

// A pageError is a protocolError about a known client, whose redirect URI is
// valid: the page links back to it. Without a client it is about a page of
// ours, and links to the first of these.
type pageError struct {
	*protocolError
	client *client
	back   link
}

// errorPage is the data of pages/error.html.
type errorPage struct {
	Title     string
	Message   string
	Code      string
	Grant     string // JSON for the tailnet's policy file
	Client    string
	Back      link
	RequestID string
	Retry     bool
}

// writeErrorPage answers a person.
func (p *Provider) writeErrorPage(w http.ResponseWriter, r *http.Request, err error) {
	page, ok := err.(*pageError)
	if !ok {
		page = &pageError{protocolError: asProtocolError(err)}
	}
	e := page.protocolError
	p.logError(r, e)
	status := e.status()
	data := errorPage{
		Title: errorTitle(e), Message: e.description, Code: string(e.code),
		RequestID: requestID(r.Context()), Retry: status == http.StatusServiceUnavailable,
	}
	if e.refusal != nil {
		data.Message, data.Grant = e.refusal.message, e.refusal.grantJSON()
		status = http.StatusForbidden
	}
	if page.client != nil {
		data.Client = page.client.displayName()
		data.Back = page.back
	} else if page.back.URL != "" {
		data.Client, data.Back = "the start page", page.back
	}
	if e.code == codeUnavailable || e.wait > 0 {
		setChallenge(w.Header(), e)
	}
	if err := p.pages.render(w, status, "error.html", data); err != nil {
		p.log.Error("rendering page", "request", data.RequestID, "error", err.Error())
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

func errorTitle(e *protocolError) string {
	switch {
	case e.refusal != nil && e.refusal.reason == reasonUnknownPeer:
		return "You are not on the tailnet"
	case e.refusal != nil:
		return "You may not do this"
	case e.code == codeUnavailable:
		return "Not available right now"
	case e.code == codeServerError:
		return "Something is wrong here"
	case e.code == codeInvalidClient:
		return "This application is not registered"
	case e.code == codeNotFound:
		return "There is no such page"
	case e.code == codeTooManyRequests:
		return "Too many tries"
	}
	return "This request cannot be served"
}

// serveNotOnTailnet is what listeners without identity show instead of the
// pages that need one.
func (p *Provider) serveNotOnTailnet(http.ResponseWriter, *http.Request) error {
	return identityError(errPublicPeer)
}

// acceptsHTML reports whether a page is the right form of an answer.
func acceptsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
