// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/recipes"
)

// clientPage is the data of client.html.
type clientPage struct {
	page
	clientRow
	Groups []formGroup
	Marks  string
	// Settings are what to enter in the application: after its creation, and
	// for who asks for them with a recipe, out of Recipes.
	Settings *settings
	Recipes  []recipes.Recipe
	// Created: the page answers its creation, and shows what that takes.
	Created bool
	// NewSecret is shown this once.
	NewSecret string
	Sessions  string // how many, for people
	// Conflict names what somebody else has changed meanwhile.
	Conflict []string
	Stale    bool // somebody else has changed it, and nothing of this was done
}

// Fixed says why it cannot be changed here; empty if it can.
func (p *clientPage) Fixed() string {
	switch p.Origin {
	case "declared":
		return "This client is declared in a file (-clients) and can be changed only there."
	case "document":
		return "This client is what the document at its address says, and can be changed only there."
	case "node":
		return "This client is a tagged node. The tailnet’s policy says what it may do."
	}
	return ""
}

// UsesSecret reports whether it authenticates by a secret.
func (p *clientPage) UsesSecret() bool { return usesSecret(p.Client) }

func usesSecret(c admin.Client) bool {
	return strings.HasPrefix(c.TokenEndpointAuthMethod, "client_secret_")
}

// sessionsCounted is how far the sessions of a client are counted.
const sessionsCounted = 100

// showClient completes and writes the page of a client.
func (u *UI) showClient(w http.ResponseWriter, r *http.Request, status int, p *clientPage, c admin.Client) error {
	p.clientRow = clientRow{c}
	var err error
	if p.page, err = u.keepProblem(r, p.page, "/admin/clients", p.Display()); err != nil {
		return err
	}
	if p.Groups == nil {
		p.Groups = shownFields(&c.ClientMetadata)
	}
	p.Marks, p.Recipes = marks(&c.ClientMetadata), recipes.All()
	res, err := u.cfg.Backend.Sessions(r.Context(), admin.SessionQuery{Client: c.ID, Limit: sessionsCounted})
	if err != nil {
		return err
	}
	switch n := len(res.Sessions); {
	case res.Next != "":
		p.Sessions = "more than " + plural(n, "live session")
	default:
		p.Sessions = plural(n, "live session")
	}
	return u.render(w, status, "client.html", p)
}

// keepProblem is newPage for a page that has a problem already.
func (u *UI) keepProblem(r *http.Request, old page, section, title string) (page, error) {
	p, err := u.newPage(r, section, title)
	p.Problem = old.Problem
	return p, err
}

// Client answers GET /admin/clients/{id}. With a recipe it shows again what to
// enter in the application, as far as that is known: not the secret.
func (u *UI) Client(w http.ResponseWriter, r *http.Request) error {
	c, err := u.cfg.Backend.Client(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p := &clientPage{}
	if recipe, ok := recipes.Find(r.URL.Query().Get("recipe")); ok {
		if usesSecret(c) {
			c.Secret = "the secret of this client"
		}
		p.Settings, err = u.settings(r, recipe, map[string]string{"url": c.ClientURI, "name": c.Name, "redirect_uris": strings.Join(c.RedirectURIs, " ")}, c)
		if err != nil {
			return err
		}
	}
	return u.showClient(w, r, http.StatusOK, p, c)
}

// ChangeClient answers POST /admin/clients/{id}: the form, by default, or an
// action. Each is for the client as it was when the page was made.
func (u *UI) ChangeClient(w http.ResponseWriter, r *http.Request) error {
	if err := u.parseForm(r); err != nil {
		return err
	}
	id, form := r.PathValue("id"), r.PostForm
	tag := form.Get("etag")
	may := func(etag string) bool { return etag == tag }
	back := func(done string) error { return goOn(w, r, u.clientPath(id)+"?done="+done) }
	b := u.cfg.Backend
	var err error
	switch form.Get("action") {
	case "save":
		return u.saveClient(w, r, id, may)
	case "delete":
		if err = b.DeleteClient(r.Context(), id, may); err == nil {
			return goOn(w, r, u.path("/admin/clients", "done", "deleted"))
		}
	case "disable", "enable":
		off := form.Get("action") == "disable"
		if err = u.setDisabled(r, id, may, off); err == nil && off {
			return back("disabled")
		} else if err == nil {
			return back("enabled")
		}
	case "adopt":
		if _, err = b.AdoptClient(r.Context(), id, may); err == nil {
			return back("adopted")
		}
	case "add-secret":
		var s admin.NewSecret
		if s, err = b.AddSecret(r.Context(), id, may, "", u.cfg.Now()); err == nil {
			return u.showSecret(w, r, id, s.Plaintext)
		}
	case "end-secret":
		if _, err = b.EndSecret(r.Context(), id, may, form.Get("secret")); err == nil {
			return back("secret-ended")
		}
	default:
		err = u.unknownAction()
	}
	return u.refused(w, r, id, err, &clientPage{})
}

// showSecret shows the client's page with a secret that was just made.
func (u *UI) showSecret(w http.ResponseWriter, r *http.Request, id, secret string) error {
	c, err := u.cfg.Backend.Client(r.Context(), id)
	if err != nil {
		return err
	}
	return u.showClient(w, r, http.StatusOK, &clientPage{NewSecret: secret}, c)
}

// refused shows the client as it is now, and why nothing was done to it.
func (u *UI) refused(w http.ResponseWriter, r *http.Request, id string, err error, p *clientPage) error {
	code, _, message, ok := problem(err)
	if !ok {
		return err
	}
	c, err := u.cfg.Backend.Client(r.Context(), id)
	if err != nil {
		return err
	}
	status := http.StatusBadRequest
	switch p.Problem = message; code {
	case "conflict":
		status = http.StatusConflict
	case "precondition_failed":
		status, p.Stale, p.Problem = http.StatusPreconditionFailed, true, ""
	}
	return u.showClient(w, r, status, p, c)
}

// setDisabled changes nothing else.
func (u *UI) setDisabled(r *http.Request, id string, may admin.Match, off bool) error {
	c, err := u.cfg.Backend.Client(r.Context(), id)
	if err != nil {
		return err
	}
	c.Disabled = off
	// The client may have changed since the page was made, or since just now.
	_, err = u.cfg.Backend.ReplaceClient(r.Context(), id, func(etag string) bool { return etag == c.ETag && may(etag) },
		admin.Client{ClientMetadata: c.ClientMetadata}, u.cfg.Now())
	return err
}

// saveClient takes the form. If somebody else was first, it comes back with
// what they have changed.
func (u *UI) saveClient(w http.ResponseWriter, r *http.Request, id string, may admin.Match) error {
	form := r.PostForm
	c, err := u.cfg.Backend.Client(r.Context(), id)
	if err != nil {
		return err
	}
	if !may(c.ETag) {
		return u.conflict(w, r, c, form)
	}
	m := c.ClientMetadata
	if err = readFields(&m, form); err == nil {
		var saved admin.Client
		saved, err = u.cfg.Backend.ReplaceClient(r.Context(), id, may, admin.Client{ClientMetadata: m}, u.cfg.Now())
		switch {
		case err == nil && saved.Secret != "": // it is one that needs a secret now
			return u.showSecret(w, r, id, saved.Secret)
		case err == nil:
			return goOn(w, r, u.clientPath(id)+"?done=saved")
		}
	}
	code, at, message, ok := problem(err)
	if !ok {
		return err
	}
	if code == "precondition_failed" {
		if c, err = u.cfg.Backend.Client(r.Context(), id); err != nil {
			return err
		}
		return u.conflict(w, r, c, form)
	}
	p := &clientPage{}
	var found bool
	if p.Groups, found = sentFields(form, at, message); found {
		message = "Nothing is saved yet: see below."
	}
	p.Problem = message
	return u.showClient(w, r, http.StatusBadRequest, p, c)
}

// conflict shows the form again, on top of what somebody else has saved.
func (u *UI) conflict(w http.ResponseWriter, r *http.Request, c admin.Client, form url.Values) error {
	p := &clientPage{Stale: true}
	p.Groups, p.Conflict = mergedFields(form, form.Get("marks"), &c.ClientMetadata)
	return u.showClient(w, r, http.StatusPreconditionFailed, p, c)
}
