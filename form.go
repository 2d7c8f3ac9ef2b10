// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxBody bounds every request body, in bytes.
const maxBody = 64 << 10

// A form holds the parameters of a protocol request. "Parameters sent
// without a value MUST be treated as if they were omitted" (RFC 6749 section
// 3.1): they are not in it.
type form struct {
	values url.Values
	// repeated are the names that came more than once though they must not;
	// in values they have their first value.
	repeated []string
}

// mayRepeat are the parameters that may come several times (RFC 8707 section
// 2, RFC 8693 section 2.1).
var mayRepeat = map[string]bool{"resource": true, "audience": true}

func (f *form) get(name string) string { return f.values.Get(name) }

func (f *form) isRepeated(name string) bool {
	for _, n := range f.repeated {
		if n == name {
			return true
		}
	}
	return false
}

// parseForm reads the parameters of an endpoint that clients POST to. They
// are in the body and nowhere else: a secret in a URL ends up in logs.
func parseForm(r *http.Request) (*form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return nil, fail(codeInvalidRequest, "parameters belong in the request body, not in the URL")
	}
	f, err := parseBody(r)
	if err != nil {
		return nil, err
	}
	if len(f.repeated) > 0 {
		return nil, fail(codeInvalidRequest, "the parameter %s must not be repeated", f.repeated[0])
	}
	return f, f.checkText(nil)
}

// parseBody reads a form body: "application/x-www-form-urlencoded ... with a
// character encoding of UTF-8" (RFC 6749 section 4.1.3).
func parseBody(r *http.Request) (*form, error) {
	if !hasForm(r) {
		return nil, fail(codeInvalidRequest, "the Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, err
		}
		return nil, fail(codeInvalidRequest, "the request body ended early").because(err)
	}
	return newForm(string(body))
}

// hasForm reports whether the body of r says that it is a form.
func hasForm(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && t == "application/x-www-form-urlencoded"
}

// newForm parses the encoded parameters of a query or body.
func newForm(encoded string) (*form, error) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, fail(codeInvalidRequest, "the parameters are not form-urlencoded").because(err)
	}
	f := &form{values: values}
	for name, list := range values {
		kept := list[:0]
		for _, v := range list {
			if v != "" {
				kept = append(kept, v)
			}
		}
		if len(list) > 1 && !mayRepeat[name] {
			f.repeated = append(f.repeated, name)
		}
		if len(kept) == 0 {
			delete(values, name)
			continue
		}
		values[name] = kept
	}
	return f, nil
}

// checkText refuses values that are no text: invalid UTF-8 and NUL. opaque
// are the names whose values are echoed rather than understood.
func (f *form) checkText(opaque map[string]bool) error {
	for name, list := range f.values {
		if opaque[name] {
			continue
		}
		for _, v := range list {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return fail(codeInvalidRequest, "a parameter is not valid UTF-8 text")
			}
		}
	}
	return nil
}
