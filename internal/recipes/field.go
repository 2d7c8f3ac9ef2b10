// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

// A Field is something that an administrator fills in.
type Field struct {
	Name, Label, Hint, Example, Default string
	Required                            bool

	// check returns the value as it is used, or says what is wrong with it.
	check func(string) (string, error)
}

// check returns the values of all fields as they are used.
func (r Recipe) check(values map[string]string) (map[string]string, error) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.ContainsFunc(r.Fields, func(f Field) bool { return f.Name == name }) {
			return nil, &admin.FieldError{Field: name, Problem: "there is no field with this name"}
		}
	}
	checked := make(map[string]string)
	for _, f := range r.Fields {
		v, err := f.value(values[f.Name])
		if err != nil {
			return nil, &admin.FieldError{Field: f.Name, Problem: err.Error()}
		}
		checked[f.Name] = v
	}
	return checked, nil
}

// value returns the value of the field for what was filled in.
func (f Field) value(v string) (string, error) {
	if v = strings.TrimSpace(v); v == "" {
		v = f.Default
	}
	switch {
	case v == "" && f.Required:
		return "", errors.New("is needed")
	case v == "":
		return "", nil
	}
	return f.check(v)
}

// data returns what the templates are about.
func (r Recipe) data(s Setup) map[string]string {
	data := map[string]string{"issuer": s.Issuer, "client_id": s.ClientID, "client_secret": s.ClientSecret}
	for _, f := range r.Fields {
		v, err := f.value(s.Values[f.Name])
		if err != nil {
			v, _ = f.check(f.Example)
		}
		data[f.Name] = v
	}
	return data
}

// Example is a setup with the examples of the fields.
func (r Recipe) Example() Setup {
	s := Setup{Issuer: "https://idp.YOUR-TAILNET.ts.net", ClientID: "CLIENT_ID", Values: make(map[string]string)}
	if !r.Public() {
		s.ClientSecret = "CLIENT_SECRET"
	}
	for _, f := range r.Fields {
		s.Values[f.Name] = f.Example
	}
	return s
}
