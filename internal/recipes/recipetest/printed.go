// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/recipes"
)

// Printed are settings as an application reads them: nothing but what stands
// in the text, by the names that the application has for them.
type Printed struct {
	values map[string][]string
	// used has the names that were asked for.
	used map[string]bool
}

// Read reads sections.
func Read(sections []recipes.Section) (*Printed, error) {
	p := &Printed{values: make(map[string][]string), used: make(map[string]bool)}
	for _, s := range sections {
		for _, row := range s.Rows {
			p.add(row.Label, row.Value)
		}
		read := map[string]func(string) error{
			"": p.nothing, "html": p.nothing, "ini": p.readINI, "toml": p.readINI, "yaml": p.readYAML, "json": p.readJSON, "sh": p.readShell,
		}[s.Lang]
		if read == nil {
			return nil, fmt.Errorf("%s: no reader for %q", s.Title, s.Lang)
		}
		if err := read(s.Code); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Title, err)
		}
	}
	return p, nil
}

func (p *Printed) add(name, value string) { p.values[name] = append(p.values[name], value) }

// Get returns the value of a setting, "" if there is none. One that stands in
// several places must be the same in all.
func (p *Printed) Get(name string) string {
	p.used[name] = true
	v := slices.Compact(slices.Clone(p.values[name]))
	switch len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		panic(fmt.Sprintf("%s is set to different values: %q", name, v))
	}
}

// All returns the values of a setting that may be repeated.
func (p *Printed) All(name string) []string {
	p.used[name] = true
	return p.values[name]
}

// Values returns all settings by their names, for programs that are no Go.
func (p *Printed) Values() map[string][]string { return maps.Clone(p.values) }

// Used returns the names of the settings that were there and asked for.
func (p *Printed) Used() []string {
	var names []string
	for name := range p.used {
		if len(p.values[name]) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// With returns the settings with another value in one place.
func (p *Printed) With(name string, value ...string) *Printed {
	changed := &Printed{values: p.Values(), used: make(map[string]bool)}
	changed.values[name] = value
	return changed
}

func (p *Printed) nothing(string) error { return nil }

// readINI reads lines such as name = value, with quotes or without.
func (p *Printed) readINI(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '[' || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("no assignment: %q", line)
		}
		if err := p.addQuoted(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	return nil
}

// readYAML reads the YAML that recipes have: nested names, and values on
// their line. The name of a value is that of its line.
func (p *Printed) readYAML(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, ":")
		if line == "" || strings.HasPrefix(line, "#") || value == "" || value == " |" {
			continue
		}
		if !ok || value[0] != ' ' {
			p.add("", line) // of a block of text
			continue
		}
		if err := p.addQuoted(name, strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	return nil
}

// addQuoted adds a value that is JSON if it begins like that.
func (p *Printed) addQuoted(name, value string) error {
	if value == "" || !strings.ContainsAny(value[:1], `"[{`) {
		p.add(name, value)
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.addJSON(name, v)
	return nil
}

// addJSON adds the texts in v. An object in text is one by itself too.
func (p *Printed) addJSON(name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, v := range v {
			p.addJSON(name, v)
		}
	case []any:
		for _, e := range v {
			p.addJSON(name, e)
		}
	default:
		p.add(name, fmt.Sprint(v))
	}
}

func (p *Printed) readJSON(text string) error { return p.addQuoted("", strings.TrimSpace(text)) }

// readShell reads commands and assignments. Flags have their values behind a
// blank or an equals sign, and may be values of flags themselves.
func (p *Printed) readShell(text string) error {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		// A file for Docker or systemd has no quotes: the value is the rest.
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name == strings.ToUpper(name) && !strings.ContainsAny(name, " -") {
			if err := p.addQuoted(name, value); err != nil {
				return err
			}
			continue
		}
		words, err := splitWords(line)
		if err != nil {
			return err
		}
		for i, word := range words {
			if strings.HasPrefix(word, "-") && !strings.Contains(word, "=") && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				p.add(word, words[i+1])
			}
			p.addWord(word)
		}
	}
	return nil
}

func (p *Printed) addWord(word string) {
	name, value, ok := strings.Cut(word, "=")
	if !ok {
		return
	}
	if strings.HasPrefix(name, "-") && strings.HasPrefix(value, "-") {
		p.addWord(value)
		return
	}
	p.add(name, value)
}

// splitWords splits a line as a shell does.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case strings.ContainsRune(" \t\n", c):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote is left open: %q", line)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
