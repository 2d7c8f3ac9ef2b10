// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"net/http"

	"github.com/tailscale/tsidp/internal/admin"
)

// mePage is the data of me.html.
type mePage struct {
	page
	Apps     []admin.App
	Sessions []admin.Session
	Consents []admin.Consent
	More     bool // sessions or consents that do not fit
}

// mineLimit is how many sessions and consents of their own somebody sees. The
// oldest ids come first; who ends some sees the others.
const mineLimit = 200

// Me answers GET /me, and GET / for all who are no administrators: what
// concerns who asks, and nobody else.
func (u *UI) Me(w http.ResponseWriter, r *http.Request) error {
	p := mePage{}
	var err error
	if p.page, err = u.newPage(r, "/me", ""); err != nil {
		return err
	}
	p.Title = "Hello, " + p.You.Name
	if p.You.Display != "" {
		p.Title = "Hello, " + p.You.Display
	}
	if p.Apps, err = u.cfg.Backend.Apps(r.Context()); err != nil {
		return err
	}
	own := []string{p.You.Subject}
	s, err := u.cfg.Backend.Sessions(r.Context(), admin.SessionQuery{Subjects: own, Limit: mineLimit})
	if err != nil {
		return err
	}
	c, err := u.cfg.Backend.Consents(r.Context(), admin.ConsentQuery{Subjects: own, Limit: mineLimit})
	if err != nil {
		return err
	}
	p.Sessions, p.Consents, p.More = s.Sessions, c.Consents, s.Next != "" || c.Next != ""
	return u.render(w, http.StatusOK, "me.html", p)
}

// ChangeMe answers POST /me: the actions session and consent with the id of
// one, and sessions for all. Each is for what belongs to who asks.
func (u *UI) ChangeMe(w http.ResponseWriter, r *http.Request) error {
	if err := u.parseForm(r); err != nil {
		return err
	}
	you, err := u.cfg.Backend.Caller(r.Context())
	if err != nil {
		return err
	}
	if you.Subject == "" { // it would mean anybody
		return u.unknownAction()
	}
	action, id := r.PostForm.Get("action"), r.PostForm.Get("id")
	switch action {
	case "session":
		err = u.cfg.Backend.RevokeSession(r.Context(), id, you.Subject)
	case "sessions":
		_, err = u.cfg.Backend.RevokeSessions(r.Context(), admin.SessionQuery{Subjects: []string{you.Subject}, Own: true})
	case "consent":
		err = u.cfg.Backend.RevokeConsent(r.Context(), id, you.Subject)
	default:
		err = u.unknownAction()
	}
	if err != nil && !gone(err) {
		return err
	}
	return goOn(w, r, u.path("/me", "done", action))
}
