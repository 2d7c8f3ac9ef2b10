// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"net/url"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

// A formGroup is a group of fields as it is shown.
type formGroup struct {
	Title  string
	Open   bool
	Fields []formField
}

// A formField is a field as it is shown.
type formField struct {
	Name, Label, Hint, Kind string
	Value                   string
	Choices                 []option
	Error                   string
	// Theirs is what somebody else has made of it meanwhile, if Changed.
	Theirs  string
	Changed bool
}

// An option is a choice as it is shown.
type option struct {
	choice
	Selected bool
}

// ID is the field's in the page.
func (f formField) ID() string { return "f-" + f.Name }

// Described is the list of ids for aria-describedby.
func (f formField) Described() string {
	var ids []string
	if f.Hint != "" {
		ids = append(ids, f.ID()+"-hint")
	}
	if f.Error != "" || f.Changed {
		ids = append(ids, f.ID()+"-error")
	}
	return strings.Join(ids, " ")
}

// Rows is the height of a text area.
func (f formField) Rows() int { return min(max(strings.Count(f.Value, "\n")+2, 3), 12) }

func (f *field) show(value string) formField {
	shown := formField{Name: f.name, Label: f.label, Hint: f.hint, Kind: f.kind, Value: value}
	have := []string{value}
	if f.kind == "checks" {
		have = lines(value)
	}
	for _, c := range f.choices {
		shown.Choices = append(shown.Choices, option{c, slices.Contains(have, c.Value)})
	}
	return shown
}

// shownFields shows the client as it is.
func shownFields(m *admin.ClientMetadata) []formGroup {
	return groups(func(f *field) formField { return f.show(f.get(m)) })
}

// sentFields shows the form as it was sent, with an error at a field. It
// reports whether there is such a field.
func sentFields(form url.Values, at, message string) (_ []formGroup, found bool) {
	at, _, _ = strings.Cut(at, "[")
	at, _, _ = strings.Cut(at, ".")
	return groups(func(f *field) formField {
		shown := f.show(f.sent(form))
		if f.name == at {
			shown.Error, found = message, true
		}
		return shown
	}), found
}

// mergedFields shows a form that comes too late: somebody else has changed
// the client since it was made, which was is the marks of. What only they
// have changed is as they left it; what both have, as this form says, with
// theirs beside it. changed names the fields that they have changed.
func mergedFields(form url.Values, was string, now *admin.ClientMetadata) (_ []formGroup, changed []string) {
	before := strings.Split(was, ".")
	i := -1
	return groups(func(f *field) formField {
		i++
		sent, theirs := f.sent(form), f.get(now)
		if i >= len(before) || mark(theirs) == before[i] {
			return f.show(sent)
		}
		changed = append(changed, f.label)
		// As it is stored: what was sent is compared with what was.
		var m admin.ClientMetadata
		mine := sent
		if f.set(&m, sent) == nil {
			mine = f.get(&m)
		}
		if mark(mine) == before[i] || mine == theirs {
			return f.show(theirs)
		}
		shown := f.show(sent)
		shown.Theirs, shown.Changed = theirs, true
		return shown
	}), changed
}

func groups(show func(*field) formField) []formGroup {
	var all []formGroup
	for g := range fieldGroups {
		shown := formGroup{Title: fieldGroups[g].title, Open: g == 0}
		for i := range fieldGroups[g].fields {
			f := show(&fieldGroups[g].fields[i])
			shown.Open = shown.Open || f.Error != "" || f.Changed
			shown.Fields = append(shown.Fields, f)
		}
		all = append(all, shown)
	}
	return all
}
