// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

const sessionsLimit = 50

// sessionsPage is the data of sessions.html.
type sessionsPage struct {
	page
	// User is the subject that is looked for; Typed is what was typed for it.
	User, Typed, Node, Client string
	Sessions                  []admin.Session
	First, Next               string
}

// Selected reports whether the list is of somebody or something.
func (p *sessionsPage) Selected() bool { return p.User != "" || p.Node != "" || p.Client != "" }

// Whose names what the list is of, for people.
func (p *sessionsPage) Whose() string {
	var all []string
	if p.User != "" {
		all = append(all, "of "+p.Typed)
	}
	if p.Node != "" {
		all = append(all, "on "+p.Node)
	}
	if p.Client != "" {
		all = append(all, "in "+p.Client)
	}
	return strings.Join(all, " ")
}

// Sessions answers GET /admin/sessions.
func (u *UI) Sessions(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p := sessionsPage{Typed: strings.TrimSpace(v.Get("user")), Node: strings.TrimSpace(v.Get("node")), Client: strings.TrimSpace(v.Get("client"))}
	var err error
	if p.page, err = u.newPage(r, "/admin/sessions", "Sessions"); err != nil {
		return err
	}
	if p.User, err = u.subject(r.Context(), p.Typed); err != nil {
		return err
	}
	q := admin.SessionQuery{Subject: p.User, Node: p.Node, Client: p.Client, After: v.Get("after"), Limit: sessionsLimit}
	res, err := u.cfg.Backend.Sessions(r.Context(), q)
	status := http.StatusOK
	if err != nil {
		_, _, message, ok := problem(err)
		if !ok {
			return err
		}
		p.Problem, status = message, http.StatusBadRequest
	}
	p.Sessions = res.Sessions
	query := []string{"user", p.Typed, "node", p.Node, "client", p.Client}
	if res.Next != "" {
		p.Next = u.path("/admin/sessions", append(query, "after", res.Next)...)
	}
	if q.After != "" {
		p.First = u.path("/admin/sessions", query...)
	}
	return u.render(w, status, "sessions.html", &p)
}

// subject returns the subject of somebody who is called by their login name:
// the audit log knows whoever has been here. Anything else is a subject
// already, or nobody.
func (u *UI) subject(ctx context.Context, name string) (string, error) {
	if !strings.Contains(name, "@") && !strings.HasPrefix(name, "tag:") {
		return name, nil
	}
	res, err := u.cfg.Backend.Audit(ctx, admin.AuditQuery{User: name, Limit: 1})
	if err != nil {
		return "", err
	}
	var e event
	if len(res.Events) > 0 {
		err = json.Unmarshal(res.Events[0], &e)
	}
	if err != nil || e.User == "" {
		return name, err
	}
	return e.User, nil
}

// ChangeSessions answers POST /admin/sessions: the action end with the id of
// one, or end-all with user, node and client.
func (u *UI) ChangeSessions(w http.ResponseWriter, r *http.Request) error {
	if err := u.parseForm(r); err != nil {
		return err
	}
	form := r.PostForm
	done := "session"
	var err error
	switch form.Get("action") {
	case "end":
		err = u.cfg.Backend.RevokeSession(r.Context(), form.Get("id"), "")
	case "end-all":
		done = "sessions"
		_, err = u.cfg.Backend.RevokeSessions(r.Context(), admin.SessionQuery{Subject: form.Get("user"), Node: form.Get("node"), Client: form.Get("client")})
	default:
		err = u.unknownAction()
	}
	if err != nil && !gone(err) { // somebody else was first
		return err
	}
	return goOn(w, r, u.path("/admin/sessions", "done", done, "user", form.Get("show-user"), "node", form.Get("show-node"), "client", form.Get("show-client")))
}

// gone reports whether what was to be ended has ended.
func gone(err error) bool {
	code, _, _, _ := problem(err)
	return code == "not_found"
}

// consentsPage is the data of consents.html.
type consentsPage struct {
	page
	User, Typed, Client string
	Consents            []admin.Consent
	First, Next         string
}

// Consents answers GET /admin/consents.
func (u *UI) Consents(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p := consentsPage{Typed: strings.TrimSpace(v.Get("user")), Client: strings.TrimSpace(v.Get("client"))}
	var err error
	if p.page, err = u.newPage(r, "/admin/consents", "Consents"); err != nil {
		return err
	}
	if p.User, err = u.subject(r.Context(), p.Typed); err != nil {
		return err
	}
	q := admin.ConsentQuery{Subject: p.User, Client: p.Client, After: v.Get("after"), Limit: sessionsLimit}
	res, err := u.cfg.Backend.Consents(r.Context(), q)
	status := http.StatusOK
	if err != nil {
		_, _, message, ok := problem(err)
		if !ok {
			return err
		}
		p.Problem, status = message, http.StatusBadRequest
	}
	p.Consents = res.Consents
	query := []string{"user", p.Typed, "client", p.Client}
	if res.Next != "" {
		p.Next = u.path("/admin/consents", append(query, "after", res.Next)...)
	}
	if q.After != "" {
		p.First = u.path("/admin/consents", query...)
	}
	return u.render(w, status, "consents.html", p)
}

// ChangeConsents answers POST /admin/consents: it withdraws the one with an id.
func (u *UI) ChangeConsents(w http.ResponseWriter, r *http.Request) error {
	if err := u.parseForm(r); err != nil {
		return err
	}
	if err := u.cfg.Backend.RevokeConsent(r.Context(), r.PostForm.Get("id"), ""); err != nil && !gone(err) {
		return err
	}
	return goOn(w, r, u.path("/admin/consents", "done", "consent", "user", r.PostForm.Get("show-user"), "client", r.PostForm.Get("show-client")))
}

// registrationsPage is the data of registrations.html.
type registrationsPage struct {
	page
	Clients     []clientRow
	First, Next string
}

// Registrations answers GET /admin/registrations.
func (u *UI) Registrations(w http.ResponseWriter, r *http.Request) error {
	p := registrationsPage{}
	var err error
	if p.page, err = u.newPage(r, "/admin/registrations", "Registrations"); err != nil {
		return err
	}
	if p.Clients, p.Next, err = u.findClients(r, "", "registered"); err != nil {
		return err
	}
	if p.Next != "" {
		p.Next = u.path("/admin/registrations", "after", p.Next)
	}
	if r.URL.Query().Get("after") != "" {
		p.First = u.path("/admin/registrations")
	}
	return u.render(w, http.StatusOK, "registrations.html", p)
}
