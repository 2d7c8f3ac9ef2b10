// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/tailscale/tsidp/internal/simtailnet"
)

//go:embed pages
var pageFiles embed.FS

// A devPages renders the pages of the development mode.
type devPages struct{ templates *template.Template }

func newDevPages() *devPages {
	// The files are part of the program: a fault in them shows in every test.
	return &devPages{template.Must(template.New("").Funcs(template.FuncMap{"summary": summary}).ParseFS(pageFiles, "pages/*.html"))}
}

// homePage is the data of home.html.
type homePage struct {
	Issuer string
	You    simtailnet.Peer
	Peers  []simtailnet.Peer // all that one can be
}

// claimsPage is the data of claims.html.
type claimsPage struct {
	Caller  string
	Issuer  string
	Results *demoResult
}

// messagePage is the data of message.html.
type messagePage struct {
	Caller  string // empty: nobody
	Title   string
	Message string
}

// summary tells in a few words what the peer is good for.
func summary(p simtailnet.Peer) string {
	switch {
	case len(p.Tags) > 0:
		return "a machine without a user; may get tokens in its own name"
	case len(p.Rules) > 0:
		return "a user to whom the policy grants everything"
	}
	return "a user to whom the policy grants nothing"
}

func (d *devServer) home(w http.ResponseWriter, r *http.Request) {
	p := peerOf(r)
	d.pages.render(w, http.StatusOK, "home.html", homePage{Issuer: d.issuer, You: p, Peers: d.tailnet.Peers()})
}

// message answers with a page that tells one thing.
func (p *devPages) message(w http.ResponseWriter, r *http.Request, status int, title, message string) {
	p.render(w, status, "message.html", messagePage{Caller: peerOf(r).Name(), Title: title, Message: message})
}

// render answers with a page, or with 500 if the page cannot be made.
func (p *devPages) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		slog.Error("rendering page", "page", name, "error", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // the browser is gone if it fails
}

func (p *devPages) style(w http.ResponseWriter, r *http.Request) {
	data, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.ServeContent(w, r, "style.css", time.Time{}, bytes.NewReader(data))
}

// pageHeaders sets what every page needs. There is no form-action in the
// policy: browsers apply it to the redirects after a form as well, and would
// stop a login on its way back to an application.
func pageHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
