// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

const sessionsLimit = 50

// sessionsPage is the data of sessions.html.
type sessionsPage struct {
	page
	// Users are the subjects that are looked for; Typed is what was typed for
	// them.
	Users               []string
	Typed, Node, Client string
	Sessions            []admin.Session
	First, Next         string
}

// Selected reports whether the list is of somebody or something.
func (p *sessionsPage) Selected() bool { return p.Typed != "" || p.Node != "" || p.Client != "" }

// Whose names what the list is of, for people.
func (p *sessionsPage) Whose() string {
	var all []string
	if p.Typed != "" {
		all = append(all, "of "+p.Typed+meaning(p.Typed, p.Users))
	}
	if p.Node != "" {
		all = append(all, "on "+p.Node)
	}
	if p.Client != "" {
		all = append(all, "in "+p.Client)
	}
	return strings.Join(all, " ")
}

// shownSubjects is how many subjects of one name are named.
const shownSubjects = 5

// meaning tells which subjects a name means, if it is none itself.
func meaning(name string, subjects []string) string {
	if len(subjects) == 0 || len(subjects) == 1 && subjects[0] == name {
		return ""
	}
	more := ""
	if n := len(subjects) - shownSubjects; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return " (" + strings.Join(subjects[:min(len(subjects), shownSubjects)], ", ") + more + ")"
}

// Sessions answers GET /admin/sessions.
func (u *UI) Sessions(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p := sessionsPage{Typed: strings.TrimSpace(v.Get("user")), Node: strings.TrimSpace(v.Get("node")), Client: strings.TrimSpace(v.Get("client"))}
	var err error
	if p.page, err = u.newPage(r, "/admin/sessions", "Sessions"); err != nil {
		return err
	}
	var res admin.SessionPage
	q := admin.SessionQuery{Node: p.Node, Client: p.Client, After: v.Get("after"), Limit: sessionsLimit}
	if q.Subjects, err = u.subjects(r.Context(), p.Typed); err == nil {
		res, err = u.cfg.Backend.Sessions(r.Context(), q)
	}
	p.Users = q.Subjects
	status := http.StatusOK
	if err != nil {
		if p.Problem, status = unasked(err); status == 0 {
			return err
		}
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

// subjects are those that what was typed means; none, if nothing was.
func (u *UI) subjects(ctx context.Context, typed string) ([]string, error) {
	if typed == "" {
		return nil, nil
	}
	return u.cfg.Backend.Subjects(ctx, typed)
}

// unasked is what to say about a form that could not be answered, and with
// which status; 0 for errors that have nothing to do with it. Nothing found is
// another thing than nobody known by that name.
func unasked(err error) (message string, status int) {
	code, _, message, ok := problem(err)
	switch {
	case code == "not_found":
		return message, http.StatusNotFound
	case ok:
		return message, http.StatusBadRequest
	}
	return "", 0
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
		_, err = u.cfg.Backend.RevokeSessions(r.Context(), admin.SessionQuery{
			// Those whom the page has named, whatever the name means by now.
			Subjects: form["user"], Node: form.Get("node"), Client: form.Get("client"),
		})
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
	Typed, Client string
	Consents      []admin.Consent
	First, Next   string
}

// Consents answers GET /admin/consents.
func (u *UI) Consents(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p := consentsPage{Typed: strings.TrimSpace(v.Get("user")), Client: strings.TrimSpace(v.Get("client"))}
	var err error
	if p.page, err = u.newPage(r, "/admin/consents", "Consents"); err != nil {
		return err
	}
	var res admin.ConsentPage
	q := admin.ConsentQuery{Client: p.Client, After: v.Get("after"), Limit: sessionsLimit}
	if q.Subjects, err = u.subjects(r.Context(), p.Typed); err == nil {
		res, err = u.cfg.Backend.Consents(r.Context(), q)
	}
	status := http.StatusOK
	if err != nil {
		if p.Problem, status = unasked(err); status == 0 {
			return err
		}
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
