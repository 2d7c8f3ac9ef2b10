// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"mime"
	"net/http"
	"strings"
	"time"
)

// The endpoints by which tools drive earlier versions, on today's clients:
// /clients/ and the form /edit/{id}. New tools use /api/v1.

// A compatClient is a client as earlier versions show it.
type compatClient struct {
	ID           string    `json:"client_id"`
	Secret       string    `json:"client_secret,omitempty"`
	Name         string    `json:"client_name,omitempty"`
	RedirectURIs []string  `json:"redirect_uris"`
	CreatedAt    time.Time `json:"created_at"`
	// RedirectURI is that of versions with one per client. It is empty.
	RedirectURI string `json:"redirect_uri"`
}

func compat(c Client) compatClient {
	v := compatClient{ID: c.ID, Secret: c.Secret, Name: c.Name, RedirectURIs: c.RedirectURIs, CreatedAt: time.Unix(c.IssuedAt, 0).UTC()}
	if v.RedirectURIs == nil {
		v.RedirectURIs = []string{}
	}
	return v
}

func answerCompat(w http.ResponseWriter, c Client, err error) error {
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, compat(c))
}

// ListCompat answers GET /clients/ with an array of all clients.
func (a *API) ListCompat(w http.ResponseWriter, r *http.Request) error {
	list := []compatClient{}
	for after := ""; ; {
		page, err := a.Backend.Clients(r.Context(), ClientQuery{After: after, Limit: maxLimit})
		if err != nil {
			return err
		}
		for _, c := range page.Clients {
			list = append(list, compat(c))
		}
		if after = page.Next; after == "" {
			return answer(w, http.StatusOK, list)
		}
	}
}

// GetCompat answers GET /clients/{id}.
func (a *API) GetCompat(w http.ResponseWriter, r *http.Request) error {
	c, err := a.Backend.Client(r.Context(), r.PathValue("id"))
	return answerCompat(w, c, err)
}

// CreateCompat answers POST /clients/new, a form with name and redirect_uri,
// one URI per line. The status is 200.
func (a *API) CreateCompat(w http.ResponseWriter, r *http.Request) error {
	if err := a.parseForm(r); err != nil {
		return err
	}
	c := Client{ClientMetadata: ClientMetadata{Name: strings.TrimSpace(r.PostForm.Get("name")), RedirectURIs: lines(r.PostForm.Get("redirect_uri"))}}
	switch {
	case c.Name == "":
		return a.Backend.Reject("name", "is missing")
	case len(c.RedirectURIs) == 0:
		return a.Backend.Reject("redirect_uri", "is missing: one or more, each on a line")
	}
	created, err := a.Backend.CreateClient(r.Context(), c, a.Now())
	return answerCompat(w, created, err)
}

// EditCompat answers POST /edit/{id}, a form: with the action delete or
// regenerate_secret; without one, name and redirect_uris (one per line)
// replace what is there.
func (a *API) EditCompat(w http.ResponseWriter, r *http.Request) error {
	if err := a.parseForm(r); err != nil {
		return err
	}
	id, form := r.PathValue("id"), r.PostForm
	switch action := form.Get("action"); {
	case action == "delete":
		if err := a.Backend.DeleteClient(r.Context(), id, nil); err != nil {
			return err
		}
		http.Redirect(w, r, "..", http.StatusSeeOther)
		return nil
	case action == "regenerate_secret":
		c, err := a.Backend.ReplaceSecrets(r.Context(), id, a.Now())
		return answerCompat(w, c, err)
	case action != "" && action != "save" && action != "update":
		return a.Backend.Reject("action", "is none of delete and regenerate_secret")
	case !form.Has("name") && !form.Has("redirect_uris"):
		return a.Backend.Reject("", "there is nothing to change: send name, redirect_uris or both")
	}
	c, err := a.Backend.EditClient(r.Context(), id, func(m *ClientMetadata) {
		if form.Has("name") {
			m.Name = strings.TrimSpace(form.Get("name"))
		}
		if form.Has("redirect_uris") {
			m.RedirectURIs = lines(form.Get("redirect_uris"))
		}
	})
	return answerCompat(w, c, err)
}

// parseForm reads a form in the body.
func (a *API) parseForm(r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return a.Backend.Reject("", "the Content-Type must be application/x-www-form-urlencoded")
	}
	if err := r.ParseForm(); err != nil {
		return a.unread(err)
	}
	return nil
}

// lines returns what is on the lines of s, without blanks around it.
func lines(s string) []string {
	var list []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}
