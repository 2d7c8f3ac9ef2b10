// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import (
	"encoding/json"
	"strings"
	"text/template"
)

// funcs quote values: client ids and secrets may be an administrator's own.
var funcs = template.FuncMap{
	// q is for JSON, YAML, TOML and HCL.
	"q": func(s string) (string, error) {
		b, err := json.Marshal(s)
		return string(b), err
	},
	// sh is for a shell.
	"sh": func(s string) string {
		if s != "" && only(s, nameLetters+"/:") {
			return s
		}
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	},
	"host": func(s string) string {
		_, rest, _ := strings.Cut(s, "://")
		host, _, _ := strings.Cut(rest, "/")
		return host
	},
	"origin": func(s string) string {
		scheme, rest, _ := strings.Cut(s, "://")
		host, _, _ := strings.Cut(rest, "/")
		return scheme + "://" + host
	},
}

// expand executes a template of ours. The tests do so with each.
func expand(text string, data map[string]string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	t, err := template.New("").Option("missingkey=error").Funcs(funcs).Parse(text)
	if err != nil {
		panic("recipes: " + err.Error())
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		panic("recipes: " + err.Error())
	}
	return b.String()
}

// expandList expands each entry; one that becomes several words is as many.
func expandList(list []string, data map[string]string) []string {
	var res []string
	for _, text := range list {
		res = append(res, strings.Fields(expand(text, data))...)
	}
	return res
}

// grantText is one entry of grants.
const grantText = `{
  "src": ["{{.src}}"],
  "dst": ["tag:tsidp"],
  "ip":  ["tcp:443"],
  "app": {"tailscale.com/cap/tsidp": [{{.rules}}]}
}`
