// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// maxDepth bounds how deep documents may nest.
const maxDepth = 16

// A FieldError says what is wrong with a JSON document, and where.
type FieldError struct {
	Field   string // path of the member, such as "redirect_uris[1]"; may be empty
	Problem string
	Offset  int64 // in the document, in bytes
}

// Error implements [error].
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Decode reads a document that is one JSON object into the struct that v
// points to. It is strict, so that what somebody wrote is never something
// else than what is stored: names count letter by letter, none may be unknown
// or appear twice, and nothing may follow the object. A null is the same as
// leaving the member out. Errors are of type [*FieldError].
func Decode(data []byte, v any) error {
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		e := &FieldError{Problem: "the document is not valid JSON: " + err.Error(), Offset: int64(len(data))}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			e.Offset = max(syntax.Offset-1, 0)
		}
		return e
	}
	if err := walk(data, func(string, int64) {}); err != nil {
		return err
	}
	err := decodeValue(data, reflect.ValueOf(v).Elem(), "")
	if e, ok := errors.AsType[*FieldError](err); ok {
		e.Offset = Locate(data, e.Field)
	}
	return err
}

// Locate returns where in a valid document the member with that path is, or
// what is left of the path if it is not there.
func Locate(data []byte, path string) int64 {
	found, length := int64(0), -1
	// An error ends the walk early: what it has found counts.
	_ = walk(data, func(at string, offset int64) {
		if rest, ok := strings.CutPrefix(path, at); ok && len(at) > length && (rest == "" || at == "" || rest[0] == '.' || rest[0] == '[') {
			found, length = offset, len(at)
		}
	})
	return found
}

// walk visits the values of a valid document with their paths and offsets. It
// returns a *FieldError for a name that appears twice in an object, and for a
// document that nests too deep.
func walk(data []byte, visit func(path string, offset int64)) error {
	w := &walker{data: data, dec: json.NewDecoder(bytes.NewReader(data)), visit: visit}
	w.dec.UseNumber() // 1e999 is no float64
	return w.value("", 0)
}

type walker struct {
	data  []byte
	dec   *json.Decoder
	visit func(string, int64)
}

func (w *walker) value(path string, depth int) error {
	offset := w.next()
	if depth > maxDepth {
		return &FieldError{Problem: fmt.Sprintf("the JSON nests deeper than %d levels", maxDepth), Offset: offset}
	}
	w.visit(path, offset)
	token, err := w.dec.Token()
	if err != nil {
		return &FieldError{Problem: "the document is not valid JSON: " + err.Error(), Offset: offset}
	}
	switch token {
	case json.Delim('{'):
		return w.object(path, depth)
	case json.Delim('['):
		for i := 0; w.dec.More(); i++ {
			if err := w.value(fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
		_, err = w.dec.Token()
	}
	return err
}

func (w *walker) object(path string, depth int) error {
	seen := make(map[string]bool)
	for w.dec.More() {
		offset := w.next()
		token, err := w.dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		at := join(path, name)
		if seen[name] {
			return &FieldError{Field: at, Problem: "appears twice", Offset: offset}
		}
		seen[name] = true
		if err := w.value(at, depth+1); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// next returns where the next token begins.
func (w *walker) next() int64 {
	offset := w.dec.InputOffset()
	for offset < int64(len(w.data)) && strings.IndexByte(" \t\r\n,:", w.data[offset]) >= 0 {
		offset++
	}
	return offset
}

// join appends the name of a member to a path. Names that people do not use
// are cut.
func join(path, name string) string {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// decodeValue sets v, which is addressable, to the value raw.
func decodeValue(raw json.RawMessage, v reflect.Value, path string) error {
	raw = bytes.TrimSpace(raw)
	if _, own := v.Addr().Interface().(json.Unmarshaler); !own && string(raw) != "null" {
		switch v.Kind() {
		case reflect.Struct:
			return decodeObject(raw, v, path)
		case reflect.Slice:
			return decodeArray(raw, v, path)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			return decodeValue(raw, v.Elem(), path)
		}
	}
	if string(raw) == "null" && path == "" {
		return misfit(raw, path)
	}
	err := json.Unmarshal(raw, v.Addr().Interface())
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return misfit(raw, path)
	}
	if err != nil {
		return &FieldError{Field: path, Problem: err.Error()}
	}
	return nil
}

func decodeObject(raw json.RawMessage, v reflect.Value, path string) error {
	if raw[0] != '{' {
		return misfit(raw, path)
	}
	fields := make(map[string]reflect.Value)
	collect(v, fields)
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		var member json.RawMessage
		if err := dec.Decode(&member); err != nil {
			return err
		}
		field, ok := fields[name]
		if !ok {
			return &FieldError{Field: join(path, name), Problem: "there is no member with this name"}
		}
		if err := decodeValue(member, field, join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

// collect notes the fields of a struct by their names in JSON, those of
// embedded structs among them.
func collect(v reflect.Value, fields map[string]reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			collect(v.Field(i), fields)
		case name != "" && name != "-":
			fields[name] = v.Field(i)
		}
	}
}

func decodeArray(raw json.RawMessage, v reflect.Value, path string) error {
	if raw[0] != '[' {
		return misfit(raw, path)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), len(entries), len(entries)))
	for i, entry := range entries {
		if err := decodeValue(entry, v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// misfit is the error for a value of the wrong type.
func misfit(raw json.RawMessage, path string) error {
	if path == "" {
		return &FieldError{Problem: "the document must be a JSON object"}
	}
	kind := "number"
	switch raw[0] {
	case '{':
		kind = "object"
	case '[':
		kind = "array"
	case '"':
		kind = "string"
	case 't', 'f':
		kind = "boolean"
	case 'n':
		kind = "null"
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		kind = "number such as " + string(raw[:min(len(raw), 24)])
	}
	return &FieldError{Field: path, Problem: "a JSON " + kind + " does not fit here"}
}
