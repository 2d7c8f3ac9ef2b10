// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// maxIDLen is the length in bytes of the longest id that a store takes.
const maxIDLen = 2048

func clientFormat() format[[]Client] {
	return format[[]Client]{
		limit:    16 << 20,
		parse:    parseClients,
		describe: func(clients []Client) string { return plural(len(clients), "client") },
		without:  "without the clients in it",
	}
}

// parseClients parses a file of clients, in the order of the file.
func parseClients(data []byte) ([]Client, error) {
	root, err := parseObject(data)
	if err != nil {
		return nil, err
	}
	clients := []Client{}
	for _, m := range root.members {
		r, err := parseRecord(m)
		if err != nil {
			return nil, err
		}
		clients = append(clients, r.client())
	}
	return clients, nil
}

// A record is one member of a file of clients, as it stands there.
type record struct {
	key                     string // the name of the member, by which clients were found
	id                      string
	secret                  string
	clientName              string
	name                    string // what tailscale.com/cmd/tsidp wrote
	redirectURIs            []string
	redirectURI             string
	tokenEndpointAuthMethod string
	grantTypes              []string
	responseTypes           []string
	scope                   string
	clientURI               string
	logoURI                 string
	contacts                []string
	applicationType         string
	dynamicallyRegistered   bool
	createdAt               time.Time

	unknown []string // names of other members
}

// A field is a member that records have.
type field struct {
	name   string
	target any // *string, *[]string, *bool or *time.Time
	seen   bool
}

func (r *record) fields() []field {
	return []field{
		{name: "client_id", target: &r.id},
		{name: "client_secret", target: &r.secret},
		{name: "client_name", target: &r.clientName},
		{name: "name", target: &r.name},
		{name: "redirect_uris", target: &r.redirectURIs},
		{name: "redirect_uri", target: &r.redirectURI},
		{name: "token_endpoint_auth_method", target: &r.tokenEndpointAuthMethod},
		{name: "grant_types", target: &r.grantTypes},
		{name: "response_types", target: &r.responseTypes},
		{name: "scope", target: &r.scope},
		{name: "client_uri", target: &r.clientURI},
		{name: "logo_uri", target: &r.logoURI},
		{name: "contacts", target: &r.contacts},
		{name: "application_type", target: &r.applicationType},
		{name: "dynamically_registered", target: &r.dynamicallyRegistered},
		{name: "created_at", target: &r.createdAt},
	}
}

func parseRecord(m member) (*record, error) {
	r := &record{key: m.name}
	if r.key == "" || len(r.key) > maxIDLen {
		return nil, flawAt(m.offset, "a client has an id of %d bytes, want 1 to %d", len(r.key), maxIDLen)
	}
	if !m.value.isObject() {
		return nil, flawAt(m.value.offset, "client %s is %s, want an object", quote(r.key), m.value.kind())
	}
	fields := r.fields()
	for _, part := range m.value.members {
		f := findField(fields, part.name)
		if f == nil {
			r.unknown = append(r.unknown, part.name)
			continue
		}
		if f.seen {
			return nil, flawAt(part.offset, "client %s: %s is there a second time, in other letters; remove one of the two",
				quote(r.key), f.name)
		}
		f.seen = true
		if err := assign(f.name, f.target, part.value); err != nil {
			return nil, flawAt(err.offset, "client %s: %s", quote(r.key), err.text)
		}
	}
	// Clients were found by the name of the member, and authenticated by
	// client_id: where they differed, nobody could log in.
	if r.id != "" && r.id != r.key {
		return nil, flawAt(m.offset, "client %s has the client_id %s; make both alike, or remove the client", quote(r.key), quote(r.id))
	}
	return r, nil
}

// findField returns the field of that name, or nil. Letter case is ignored, as
// the writers of these files do when they read them.
func findField(fields []field, name string) *field {
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}

// assign sets the target of a field from v. null is as good as an absent
// member.
func assign(name string, target any, v value) *flaw {
	if v.token == nil {
		return nil
	}
	var ok bool
	var want string
	switch target := target.(type) {
	case *string:
		*target, ok = v.token.(string)
		want = "a string"
	case *bool:
		*target, ok = v.token.(bool)
		want = "true or false"
	case *time.Time:
		text, _ := v.token.(string)
		ok = target.UnmarshalText([]byte(text)) == nil
		want = "a time such as 2026-01-02T15:04:05Z"
	case *[]string:
		if ok = v.token == json.Delim('['); ok {
			return assignList(name, target, v.elements)
		}
		want = "a list of strings"
	}
	if ok {
		return nil
	}
	return &flaw{v.offset, fmt.Sprintf("%s is %s, want %s", name, v.kind(), want)}
}

func assignList(name string, target *[]string, elements []value) *flaw {
	for i, e := range elements {
		var s string
		if err := assign(fmt.Sprintf("%s[%d]", name, i), &s, e); err != nil {
			return err
		}
		*target = append(*target, s)
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
