// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package adminui is the pages of the administration, and the page that
// everybody has. They are rendered here, load nothing, and need no JavaScript.
// Behind them is the one admin.Backend that the API has too.
//
// Who may see which page is decided before its handler runs.
package adminui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

//go:embed pages/*.html pages/style.css pages/copy.js
var files embed.FS

// Config is what New needs.
type Config struct {
	Backend admin.Backend
	Now     func() time.Time
	// Path is that of the issuer: "" or "/idp".
	Path string
	// OwnOrigin reports whether an origin is one of the provider's.
	OwnOrigin func(origin string) bool
	// Style is what all pages of the provider have; ours comes after it.
	Style       string
	Development bool
}

// A UI serves the pages. Its handlers return the errors that they do not
// show themselves.
type UI struct {
	cfg       Config
	templates *template.Template
	csp       string
	activity  activityCache
}

// New parses the pages.
func New(cfg Config) (*UI, error) {
	own, err := files.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	script, err := files.ReadFile("pages/copy.js")
	if err != nil {
		return nil, err
	}
	style := cfg.Style + string(own)
	u := &UI{cfg: cfg}
	u.templates, err = template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) },
		"script": func() template.JS { return template.JS(script) },
		"path":   u.path,
		"client": u.clientPath,
		"nav":    func() []navEntry { return navigation },
		"ago":    func(t time.Time) string { return ago(t, cfg.Now()) },
		"stamp":  stamp,
		"clock":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"rfc":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"join":   strings.Join,
		"pretty": pretty,
	}).ParseFS(files, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing pages: %w", err)
	}
	u.csp = "default-src 'none'; style-src " + cspHash(style) + "; script-src " + cspHash(string(script)) +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return u, nil
}

// cspHash is the source expression for an inline style or script.
func cspHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// path returns an address of ours: a path below that of the issuer, with a
// query of names and values, of which empty ones are left out.
func (u *UI) path(path string, query ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return u.cfg.Path + path
}

// clientPath is the address of a client's page.
func (u *UI) clientPath(id string) string { return u.path("/admin/clients/" + url.PathEscape(id)) }

// A navEntry is a section of the administration.
type navEntry struct{ Path, Name string }

var navigation = []navEntry{
	{"/", "Overview"}, {"/admin/clients", "Clients"}, {"/admin/sessions", "Sessions"}, {"/admin/consents", "Consents"},
	{"/admin/registrations", "Registrations"}, {"/admin/policy", "Policy"}, {"/admin/audit", "Audit"}, {"/admin/keys", "Keys"},
}

// A page is what all pages have.
type page struct {
	Title   string
	Section string // path of the navEntry
	You     admin.Caller
	Done    string // what has just been done
	// Problem is why what was asked for has not been done.
	Problem     string
	Development bool
}

// newPage begins the data of a page.
func (u *UI) newPage(r *http.Request, section, title string) (page, error) {
	you, err := u.cfg.Backend.Caller(r.Context())
	p := page{Title: title, Section: section, You: you, Development: u.cfg.Development}
	if u.fromOwnPage(r) {
		p.Done = done[r.URL.Query().Get("done")]
	}
	return p, err
}

// fromOwnPage reports whether a page of ours led to r. Over plain http browsers
// say that by the Referer alone.
func (u *UI) fromOwnPage(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	from, err := url.Parse(r.Referer())
	return err == nil && from.Host != "" && u.cfg.OwnOrigin(from.Scheme+"://"+from.Host)
}

// done are the texts of what a form has done. The query that follows it names
// one of them, so nobody can make a page say something else; and only a page
// of ours can make it say that.
var done = map[string]string{
	"saved":        "Saved.",
	"deleted":      "The client is deleted, and everything granted to it has ended.",
	"disabled":     "The client is disabled. Nobody can use it.",
	"enabled":      "The client is enabled again.",
	"secret-ended": "The secret has ended.",
	"adopted":      "The client is yours now. Nobody is asked for consent, it has to use PKCE, and it cannot change itself any more.",
	"session":      "The session has ended.",
	"sessions":     "The sessions have ended.",
	"consent":      "The consent is withdrawn, and the sessions that rested on it have ended.",
	"rotated":      "The next keys are published. They sign in two days.",
	"retired":      "The key is gone, and what it had signed is worth nothing.",
}

// render writes a page. It is complete before its first byte is sent.
func (u *UI) render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := u.templates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", u.csp)
	h.Set("X-Frame-Options", "DENY")
	// With no-referrer browsers would send our forms with "Origin: null".
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

// goOn sends the browser to an address of ours after a form has done its work.
func goOn(w http.ResponseWriter, r *http.Request, to string) error {
	w.Header().Set("Referrer-Policy", "same-origin") // see fromOwnPage
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// problem returns the parts of an error that the person at the form can do
// something about; ok is false for all others.
func problem(err error) (code, field, message string, ok bool) {
	p, ok := errors.AsType[admin.Problem](err)
	if !ok {
		return "", "", "", false
	}
	code, field, message = p.Problem()
	switch code {
	case "server_error", "temporarily_unavailable", "not_found", "access_denied":
		return code, field, message, false
	}
	return code, field, message, true
}

// stamp shows a time.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// ago shows how far t is from now.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	text := "%s ago"
	if d < 0 {
		d, text = -d, "in %s"
	}
	count := func(n int, unit string) string {
		if n != 1 {
			unit += "s"
		}
		return fmt.Sprintf(text, fmt.Sprintf("%d %s", n, unit))
	}
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return count(int(d/time.Hour), "hour")
	}
	return count(int(d/(24*time.Hour)), "day")
}
