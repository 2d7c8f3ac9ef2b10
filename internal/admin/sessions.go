// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"net/http"
	"time"
)

// A Session is a live grant: the login of somebody in an application, or what
// a machine has obtained tokens by.
type Session struct {
	ID         string `json:"id"`
	Client     string `json:"client_id"`
	ClientName string `json:"client_name,omitempty"`
	Subject    string `json:"sub"`
	// Login and NodeName are what the tailnet says today; empty if the node
	// is gone.
	Login     string    `json:"login,omitempty"`
	Node      string    `json:"node,omitempty"` // stable id; empty: unknown
	NodeName  string    `json:"node_name,omitempty"`
	Machine   bool      `json:"machine,omitempty"` // no person is behind it
	Scopes    []string  `json:"scopes,omitempty"`
	Resources []string  `json:"resources,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at"`    // the last time tokens were made
	ExpiresAt time.Time `json:"expires_at"` // unless it is used before
}

// A SessionQuery selects sessions: those that are of all that it names, and of
// one of the subjects.
type SessionQuery struct {
	Subjects     []string
	Node, Client string
	// Own: a person ends their own, not an administrator somebody's.
	Own bool

	After string // the Next of the page before
	Limit int
}

// A SessionPage is one page of sessions, which may have fewer than asked for,
// or none, and a Next all the same.
type SessionPage struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"`
}

// A Consent is what a person has let a client do that no administrator made.
type Consent struct {
	ID         string    `json:"id"`
	Client     string    `json:"client_id"`
	ClientName string    `json:"client_name"` // as it was shown
	Subject    string    `json:"sub"`
	Login      string    `json:"login"`         // likewise
	Node       string    `json:"node"`          // where it was given
	Host       string    `json:"redirect_host"` // where codes may go
	Scopes     []string  `json:"scopes"`
	Resources  []string  `json:"resources,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// A ConsentQuery selects consents, as a SessionQuery does sessions.
type ConsentQuery struct {
	Subjects []string
	Client   string

	After string
	Limit int
}

// A ConsentPage is one page of consents, as a SessionPage is one of sessions.
type ConsentPage struct {
	Consents []Consent `json:"consents"`
	Next     string    `json:"next,omitempty"`
}

// ListSessions answers GET /api/v1/sessions. Query: user, node, client, after,
// limit.
func (a *API) ListSessions(w http.ResponseWriter, r *http.Request) error {
	q, err := a.sessionQuery(r)
	if err != nil {
		return err
	}
	if q.Limit, err = a.limit(r); err != nil {
		return err
	}
	page, err := a.Backend.Sessions(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

// RevokeSession answers DELETE /api/v1/sessions/{id}.
func (a *API) RevokeSession(w http.ResponseWriter, r *http.Request) error {
	if err := a.Backend.RevokeSession(r.Context(), r.PathValue("id"), ""); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// RevokeSessions answers DELETE /api/v1/sessions. Query: user, node, client; at
// least one.
func (a *API) RevokeSessions(w http.ResponseWriter, r *http.Request) error {
	q, err := a.sessionQuery(r)
	if err != nil {
		return err
	}
	n, err := a.Backend.RevokeSessions(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]int{"revoked": n})
}

func (a *API) sessionQuery(r *http.Request) (SessionQuery, error) {
	v := r.URL.Query()
	subjects, err := a.subjects(r)
	return SessionQuery{Subjects: subjects, Node: v.Get("node"), Client: v.Get("client"), After: v.Get("after")}, err
}

// subjects are those that the parameter user of r means; none if it is not
// there.
func (a *API) subjects(r *http.Request) ([]string, error) {
	name := r.URL.Query().Get("user")
	if name == "" {
		return nil, nil
	}
	return a.Backend.Subjects(r.Context(), name)
}

// ListConsents answers GET /api/v1/consents. Query: user, client, after, limit.
func (a *API) ListConsents(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	subjects, err := a.subjects(r)
	if err != nil {
		return err
	}
	q := ConsentQuery{Subjects: subjects, Client: v.Get("client"), After: v.Get("after")}
	if q.Limit, err = a.limit(r); err != nil {
		return err
	}
	page, err := a.Backend.Consents(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

// RevokeConsent answers DELETE /api/v1/consents/{id}.
func (a *API) RevokeConsent(w http.ResponseWriter, r *http.Request) error {
	if err := a.Backend.RevokeConsent(r.Context(), r.PathValue("id"), ""); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
