// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
)

// A grantForm is the form that makes a grant for the tailnet's policy file.
type grantForm struct {
	Src, Dst string
	Lists    []grantList
	Switches []grantSwitch
	Claims   string // JSON of extraClaims
	Userinfo bool
}

// A grantList is a key of a rule that holds texts.
type grantList struct{ Key, Label, Hint, Value string }

// A grantSwitch is one that is true or false.
type grantSwitch struct {
	Key, Label string
	On         bool
}

// ID is that of the field in the page.
func (l grantList) ID() string { return "g-" + l.Key }

// readGrantForm reads the form; dst is the destination unless it names one.
func readGrantForm(v url.Values, dst []string) grantForm {
	f := grantForm{
		Src: v.Get("src"), Dst: v.Get("dst"), Claims: strings.TrimSpace(v.Get("extraClaims")), Userinfo: v.Get("includeInUserInfo") == "true",
		Lists: []grantList{
			{Key: "clients", Label: "Applications", Hint: "ids or names, * for any text; for those that are open only to whom rules list them"},
			{Key: "resources", Label: "Resources", Hint: "addresses that tokens may be for, such as https://mcp.example.com/*"},
			{Key: "groups", Label: "Groups", Hint: "to be added to the claim groups"},
			{Key: "scopes", Label: "Scopes", Hint: "beyond the provider's own"},
			{Key: "exchange", Label: "Exchange", Hint: "resources whose tokens the node may exchange"},
			{Key: "introspect", Label: "Introspect", Hint: "resources that the node is"},
		},
		Switches: []grantSwitch{
			{Key: "allow_admin_ui", Label: "administer the provider"}, {Key: "allow_dcr", Label: "register applications"},
			{Key: "allow_metrics", Label: "read the metrics"}, {Key: "machine", Label: "get tokens as a machine (tagged nodes)"},
			{Key: "machine_login", Label: "log in although tagged"}, {Key: "impersonate", Label: "leave no trace in what is exchanged"},
		},
	}
	if !v.Has("build") { // it is another form that was sent
		f.Dst, f.Claims = strings.Join(dst, " "), ""
		return f
	}
	for i := range f.Lists {
		f.Lists[i].Value = v.Get(f.Lists[i].Key)
	}
	for i := range f.Switches {
		f.Switches[i].On = v.Get(f.Switches[i].Key) == "true"
	}
	return f
}

// grant returns the entry of grants, as JSON.
func (f grantForm) grant() (string, error) {
	src, dst := words(f.Src), words(f.Dst)
	switch {
	case len(src) == 0:
		return "", errors.New("say who the grant is for")
	case len(dst) == 0:
		return "", errors.New("say what the destination is: a tag of the provider's node, or its name")
	}
	var rule members
	for _, l := range f.Lists {
		if list := words(l.Value); len(list) > 0 {
			if l.Key == "resources" { // one rule names both
				rule.add("users", []string{"*"})
			}
			rule.add(l.Key, list)
		}
	}
	for _, s := range f.Switches {
		if s.On {
			rule.add(s.Key, true)
		}
	}
	if f.Claims != "" {
		var claims map[string]any
		if err := json.Unmarshal([]byte(f.Claims), &claims); err != nil || claims == nil {
			return "", errors.New(`extra claims: want a JSON object, such as {"department": "engineering"}`)
		}
		rule.add("extraClaims", json.RawMessage(f.Claims))
		if f.Userinfo {
			rule.add("includeInUserInfo", true)
		}
	}
	if len(rule.all) == 0 {
		return "", errors.New("say what the grant allows")
	}
	var app, grant members
	app.add("tailscale.com/cap/tsidp", []json.RawMessage{rule.json()})
	grant.add("src", src)
	grant.add("dst", dst)
	grant.add("ip", []string{"tcp:443"})
	grant.add("app", app.json())
	return pretty(grant.json()), nil
}

// words are what blanks, commas and lines part.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
}

// members are those of a JSON object, in an order of ours.
type members struct{ all [][]byte }

func (m *members) add(name string, value any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is to be read, and the page escapes it
	// Texts, lists of them and JSON that was read before always marshal.
	_ = enc.Encode(name)
	key := strings.TrimSpace(b.String())
	b.Reset()
	_ = enc.Encode(value)
	m.all = append(m.all, []byte(key+": "+strings.TrimSpace(b.String())))
}

func (m *members) json() json.RawMessage {
	return append(append([]byte("{"), bytes.Join(m.all, []byte(", "))...), '}')
}
