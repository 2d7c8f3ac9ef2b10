// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/recipes"
)

// newClientPage is the data of new.html: the choice of a recipe, or the form of
// the chosen one.
type newClientPage struct {
	page
	Recipes []recipes.Recipe
	Recipe  *recipes.Recipe // nil: none is chosen yet
	Fields  []recipeField
	Blank   []formGroup // the form without a recipe
	// ID is the new client's. A form that is sent twice makes it once.
	ID      string
	IDError string
	Access  string
}

// A recipeField is a field of a recipe as it is shown.
type recipeField struct {
	recipes.Field
	Value, Error string
}

// settings are what to enter in the application.
type settings struct {
	Recipe   recipes.Recipe
	Sections []recipes.Section
	Grant    string
	// OpenToAll: the first entry of Grant is for another access than this
	// client has.
	OpenToAll bool
}

// blank is the name of the form without a recipe.
const blank = "blank"

// NewClient answers GET /admin/new.
func (u *UI) NewClient(w http.ResponseWriter, r *http.Request) error {
	p := &newClientPage{ID: newID()}
	id := r.URL.Query().Get("recipe")
	if recipe, ok := recipes.Find(id); ok {
		p.Recipe, p.Access = &recipe, recipe.Access()
		for _, f := range recipe.Fields {
			p.Fields = append(p.Fields, recipeField{f, f.Default, ""})
		}
	}
	if id == blank {
		p.Blank = shownFields(&admin.ClientMetadata{
			GrantTypes: []string{"authorization_code", "refresh_token"}, TokenEndpointAuthMethod: "client_secret_basic",
			Access: "tailnet", PKCE: "auto", ApplicationType: "web", IDTokenAlg: "RS256", AccessTokenFormat: "jwt",
		})
	}
	return u.showNew(w, r, http.StatusOK, p)
}

func (u *UI) showNew(w http.ResponseWriter, r *http.Request, status int, p *newClientPage) error {
	title := "Connect an application"
	switch {
	case p.Recipe != nil:
		title = "Connect " + p.Recipe.Name
	case p.Blank != nil:
		title = "Make a client"
	default:
		p.Recipes = recipes.All()
	}
	var err error
	if p.page, err = u.keepProblem(r, p.page, "/admin/clients", title); err != nil {
		return err
	}
	return u.render(w, status, "new.html", p)
}

// CreateClient answers POST /admin/new. The answer is the page of the client,
// with its secret, and with a recipe what to enter in the application.
func (u *UI) CreateClient(w http.ResponseWriter, r *http.Request) error {
	if err := u.parseForm(r); err != nil {
		return err
	}
	form := r.PostForm
	p := &newClientPage{ID: form.Get("client_id"), Access: form.Get("access")}
	recipe, withRecipe := recipes.Find(form.Get("recipe"))
	var m admin.ClientMetadata
	var err error
	values := make(map[string]string)
	if withRecipe {
		p.Recipe = &recipe
		for _, f := range recipe.Fields {
			values[f.Name] = form.Get("v-" + f.Name)
			p.Fields = append(p.Fields, recipeField{f, values[f.Name], ""})
		}
		m, err = recipe.Client(values)
		if p.Access != "" {
			m.Access = p.Access
		} else {
			p.Access = recipe.Access()
		}
	} else {
		p.Blank, _ = sentFields(form, "", "")
		err = readFields(&m, form)
	}
	if err == nil {
		m.ID = p.ID
		var c admin.Client
		if c, err = u.cfg.Backend.CreateClient(r.Context(), admin.Client{ClientMetadata: m}, u.cfg.Now()); err == nil {
			done := &clientPage{Created: true, NewSecret: c.Secret}
			if withRecipe {
				done.Settings, err = u.settings(r, recipe, values, c)
				if err != nil {
					return err
				}
			}
			return u.showClient(w, r, http.StatusCreated, done, c)
		}
	}
	return u.notCreated(w, r, p, err)
}

// notCreated shows the form again.
func (u *UI) notCreated(w http.ResponseWriter, r *http.Request, p *newClientPage, err error) error {
	if e, ok := errors.AsType[*admin.FieldError](err); ok { // of a recipe
		for i := range p.Fields {
			if p.Fields[i].Name == e.Field {
				p.Fields[i].Error = e.Problem
			}
		}
		p.Problem = "Nothing is made yet: see below."
		return u.showNew(w, r, http.StatusBadRequest, p)
	}
	code, at, message, ok := problem(err)
	if !ok {
		return err
	}
	status := http.StatusBadRequest
	if code == "conflict" {
		status = http.StatusConflict
	}
	p.Problem = message
	switch {
	case at == "client_id" || code == "conflict":
		p.IDError, p.Problem = message, "Nothing is made yet: see below."
	case p.Blank != nil:
		var found bool
		if p.Blank, found = sentFields(r.PostForm, at, message); found {
			p.Problem = "Nothing is made yet: see below."
		}
	case at != "":
		p.Problem = at + ": " + message
	}
	return u.showNew(w, r, status, p)
}

// settings fills in a recipe.
func (u *UI) settings(r *http.Request, recipe recipes.Recipe, values map[string]string, c admin.Client) (*settings, error) {
	status, err := u.cfg.Backend.Status(r.Context())
	if err != nil {
		return nil, err
	}
	s := recipes.Setup{Issuer: status.Issuer, ClientID: c.ID, ClientSecret: c.Secret, Values: values}
	res := &settings{Recipe: recipe, Sections: recipe.Settings(s)}
	if recipe.Roles != "" || c.Access == "granted" {
		res.Grant, res.OpenToAll = recipe.Grant(s), c.Access != "granted"
	}
	return res, nil
}

// newID returns 128 random bits as text.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Chosen is the access that the form has.
func (p *newClientPage) Chosen() string { return cmp.Or(p.Access, "tailnet") }
