// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// A flaw is what is wrong with the text of a file. It quotes names, never
// values.
type flaw struct {
	offset int // in bytes, without a byte order mark; negative if it has no one place
	text   string
}

func (f *flaw) Error() string { return f.text }

func flawAt(offset int, format string, args ...any) error {
	return &flaw{offset, fmt.Sprintf(format, args...)}
}

// position returns the line and the column of an offset. Both count from 1,
// the column in characters.
func position(text []byte, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}

// A value is a JSON value that knows where it stands.
type value struct {
	offset   int
	token    json.Token // a string, json.Number, bool or nil; '[' or '{' for those with parts
	elements []value    // of an array
	members  []member   // of an object, in the order of the text; no name twice
}

type member struct {
	name   string
	offset int // of the name
	value  value
}

// kind names what the value is, behind "is".
func (v value) kind() string {
	switch v.token {
	case nil:
		return "null"
	case json.Delim('['):
		return "a list"
	case json.Delim('{'):
		return "an object"
	}
	switch v.token.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	}
	return "a number"
}

func (v value) isObject() bool { return v.token == json.Delim('{') }

// trimBOM removes a byte order mark, as editors on Windows write it.
func trimBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// parseObject parses data, which must be one JSON object and nothing else.
// Errors are flaws.
//
// encoding/json alone would not do: it takes the last of several members of
// one name, ignores what follows the value, replaces what is not UTF-8, and
// does not say where a member of a wrong type is.
func parseObject(data []byte) (value, error) {
	text := trimBOM(data)
	if err := checkText(text); err != nil {
		return value{}, err
	}
	if err := checkSyntax(text); err != nil {
		return value{}, err
	}
	p := parser{text: text, decoder: json.NewDecoder(bytes.NewReader(text))}
	p.decoder.UseNumber()
	v, err := p.value()
	if err != nil {
		return value{}, err
	}
	if !v.isObject() {
		return value{}, flawAt(v.offset, "the file is %s, want an object", v.kind())
	}
	return v, nil
}

// checkText finds what a file system leaves behind after a power failure, and
// other encodings.
func checkText(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return flawAt(-1, "the file is empty")
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return flawAt(-1, "the file is in UTF-16, want UTF-8")
	}
	if len(bytes.Trim(text, "\x00")) == 0 {
		return flawAt(-1, "the file holds nothing but zero bytes, as a power failure leaves it")
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return flawAt(i, "a zero byte, as a power failure leaves it")
	}
	if utf8.Valid(text) {
		return nil
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return flawAt(i, "a byte that is not UTF-8")
		}
		i += size
	}
	return nil
}

// checkSyntax says in own words what encoding/json finds: its messages quote
// the text, which may be that of a secret.
func checkSyntax(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var v json.RawMessage
	err := decoder.Decode(&v)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return flawAt(len(text), "the file ends in the middle of a value")
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return flawAt(int(syntax.Offset)-1, "the file is not valid JSON from here on")
	}
	if err != nil {
		return flawAt(-1, "the file is not valid JSON")
	}
	end := int(decoder.InputOffset())
	if rest := bytes.TrimLeft(text[end:], " \t\r\n"); len(rest) > 0 {
		return flawAt(len(text)-len(rest), "the file goes on behind its end, as one does that was written over a longer one")
	}
	return nil
}

// A parser makes values of text that has passed checkSyntax.
type parser struct {
	text    []byte
	decoder *json.Decoder
}

// next returns the offset of the next token.
func (p *parser) next() int {
	end := int(p.decoder.InputOffset())
	return len(p.text) - len(bytes.TrimLeft(p.text[end:], " \t\r\n,:"))
}

func (p *parser) value() (value, error) {
	v := value{offset: p.next()}
	var err error
	if v.token, err = p.decoder.Token(); err != nil {
		return value{}, flawAt(v.offset, "the file is not valid JSON from here on")
	}
	switch v.token {
	case json.Delim('['):
		v.elements, err = p.elements()
	case json.Delim('{'):
		v.members, err = p.members()
	}
	return v, err
}

func (p *parser) elements() (list []value, err error) {
	for p.decoder.More() {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err = p.decoder.Token()
	return list, err
}

func (p *parser) members() (list []member, err error) {
	seen := make(map[string]bool)
	for p.decoder.More() {
		name, err := p.value()
		if err != nil {
			return nil, err
		}
		m := member{name: name.token.(string), offset: name.offset}
		// RFC 8259 §4: "The names within an object SHOULD be unique." Which of
		// two is meant cannot be known.
		if seen[m.name] {
			return nil, flawAt(m.offset, "the member %s is there a second time; remove one of the two", quote(m.name))
		}
		seen[m.name] = true
		if m.value, err = p.value(); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	_, err = p.decoder.Token()
	return list, err
}
