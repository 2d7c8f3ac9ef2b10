// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package recipes knows applications: what a client has to be registered
// with for each, what an administrator pastes into it, what the policy says
// for its roles, and what its errors mean. The admin pages and docs/apps are
// made from it.
//
// A recipe is data, in a file of its own. Its texts are templates over the
// values of its fields and over issuer, client_id and client_secret. What
// stands in backquotes is code, as in Markdown.
package recipes

import (
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

// A Recipe is how to set up one application.
type Recipe struct {
	ID   string // part of addresses and file names
	Name string
	// About says what logs in by it, and what has to be there before.
	About  string
	Fields []Field
	// Sees is what a person sees who logs in.
	Sees string
	// Roles says what the rules of Grant give beyond the login, if they do.
	Roles  string
	Faults []Fault

	client   admin.ClientMetadata
	settings []Section
	grants   []grant
}

// A Section is a part of the application's settings.
type Section struct {
	Title, Text string
	Code        string // to paste; may be empty
	Lang        string // of Code: "ini", "sh", …
	Rows        []Row  // of a form
}

// A Row is a line of a form.
type Row struct{ Label, Value string }

// A Fault is an error as somebody meets it, and what it means here.
type Fault struct{ Sign, Cause string }

// A grant is one entry of grants: a rule for those in src.
type grant struct{ src, rule string }

// Setup is what a recipe has led to: the registered client, and the values of
// the fields. ClientSecret is empty for public clients.
type Setup struct {
	Issuer, ClientID, ClientSecret string
	Values                         map[string]string
}

// All returns the recipes, sorted by name; the one for applications without a
// recipe comes last.
func All() []Recipe { return slices.Clone(all) }

// Find returns the recipe with that ID.
func Find(id string) (Recipe, bool) {
	i := slices.IndexFunc(all, func(r Recipe) bool { return r.ID == id })
	if i < 0 {
		return Recipe{}, false
	}
	return all[i], true
}

// Client returns the metadata of a client for the application. An error is a
// [*admin.FieldError] with the name of the field.
func (r Recipe) Client(values map[string]string) (admin.ClientMetadata, error) {
	checked, err := r.check(values)
	if err != nil {
		return admin.ClientMetadata{}, err
	}
	c := r.client
	if c.Name == "" {
		c.Name = r.Name
	}
	c.Name = expand(c.Name, checked)
	c.RedirectURIs = expandList(c.RedirectURIs, checked)
	c.PostLogoutRedirectURIs = expandList(c.PostLogoutRedirectURIs, checked)
	c.ClientURI = expand(c.ClientURI, checked)
	c.GrantTypes = slices.Clone(c.GrantTypes)
	return c, nil
}

// Public reports whether the client has no secret.
func (r Recipe) Public() bool { return r.client.TokenEndpointAuthMethod == "none" }

// Access is who may log in unless the administrator says otherwise; empty for
// the default of clients.
func (r Recipe) Access() string { return r.client.Access }

// Settings returns what to enter in the application. A value that is missing
// or wrong is shown as the example of its field.
func (r Recipe) Settings(s Setup) []Section {
	data := r.data(s)
	var sections []Section
	for _, in := range r.settings {
		out := Section{Title: in.Title, Text: expand(in.Text, data), Code: expand(in.Code, data), Lang: in.Lang}
		for _, row := range in.Rows {
			if v := expand(row.Value, data); v != "" {
				out.Rows = append(out.Rows, Row{row.Label, v})
			}
		}
		sections = append(sections, out)
	}
	return sections
}

// Grant returns the member grants of a policy file: first the rule that opens
// the application for some if its access is "granted", then those that give
// roles.
func (r Recipe) Grant(s Setup) string {
	data := r.data(s)
	all := []grant{{"group:" + r.ID + "-users", `{"clients": [{{q .client_id}}]}`}}
	for _, g := range r.grants {
		if last := &all[len(all)-1]; last.src == g.src {
			last.rule += ", " + g.rule
			continue
		}
		all = append(all, g)
	}
	var entries []string
	for _, g := range all {
		entries = append(entries, expand(grantText, map[string]string{"src": g.src, "rules": expand(g.rule, data)}))
	}
	return `"grants": [` + strings.Join(entries, ", ") + "]\n"
}
