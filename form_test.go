// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestForm(t *testing.T) {
	for _, test := range []struct {
		encoded  string
		values   url.Values // nil: an error
		repeated []string
	}{
		{"", url.Values{}, nil},
		{"&&", url.Values{}, nil},
		{"a=1&b=2", url.Values{"a": {"1"}, "b": {"2"}}, nil},
		// "Parameters sent without a value MUST be treated as if they were
		// omitted" (RFC 6749 section 3.1).
		{"a=&b&c=3", url.Values{"c": {"3"}}, nil},
		{"a=1&a=2", url.Values{"a": {"1", "2"}}, []string{"a"}},
		{"a=1&a=1", url.Values{"a": {"1", "1"}}, []string{"a"}},
		{"a=&a=2", url.Values{"a": {"2"}}, []string{"a"}},
		{"a&a", url.Values{}, []string{"a"}},
		{"resource=1&resource=2&audience=3&audience=4", url.Values{"resource": {"1", "2"}, "audience": {"3", "4"}}, nil},
		{"resource=&resource=2", url.Values{"resource": {"2"}}, nil},
		{"resource=&resource=", url.Values{}, nil},
		{"Resource=1&Resource=2", url.Values{"Resource": {"1", "2"}}, []string{"Resource"}},
		{"a=b+c%20d%2B", url.Values{"a": {"b c d+"}}, nil},
		{"%61=1", url.Values{"a": {"1"}}, nil},
		{"%61=1&a=2", url.Values{"a": {"1", "2"}}, []string{"a"}},
		{"a=b=c", url.Values{"a": {"b=c"}}, nil},
		{"=1", url.Values{"": {"1"}}, nil},
		{"a=%ff%00", url.Values{"a": {"\xff\x00"}}, nil},
		{"a=%zz", nil, nil},
		{"a=%", nil, nil},
		{"%zz=a", nil, nil},
		{"a=1;b=2", nil, nil},
		{"a=1&b=%zz&c=3", nil, nil},
	} {
		f, err := newForm(test.encoded)
		if test.values == nil {
			if e := asProtocolError(err); err == nil || e.code != codeInvalidRequest {
				t.Errorf("%q: error %v, want invalid_request", test.encoded, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.encoded, err)
			continue
		}
		if diff := cmp.Diff(test.values, f.values); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.encoded, diff)
		}
		if diff := cmp.Diff(test.repeated, f.repeated); diff != "" {
			t.Errorf("%q: repeated (-want +got):\n%s", test.encoded, diff)
		}
		for _, name := range test.repeated {
			if !f.isRepeated(name) {
				t.Errorf("%q: %s is not repeated", test.encoded, name)
			}
		}
	}
}

func TestParseForm(t *testing.T) {
	const formType = "application/x-www-form-urlencoded"
	for _, test := range []struct {
		name, target, contentType, body string
		ok                              bool
	}{
		{"good", "/token", formType, "a=1", true},
		{"charset", "/token", formType + "; charset=UTF-8", "a=1", true},
		{"empty", "/token", formType, "", true},
		{"query", "/token?b=2", formType, "a=1", false},
		{"query without body", "/token?a=1", formType, "", false},
		{"question mark", "/token?", formType, "a=1", false},
		{"no type", "/token", "", "a=1", false},
		{"other type", "/token", "application/json", "a=1", false},
		{"broken type", "/token", formType + "; =", "a=1", false},
		{"repeated", "/token", formType, "a=1&a=2", false},
		{"NUL", "/token", formType, "a=%00", false},
		{"invalid UTF-8", "/token", formType, "a=%ff", false},
		{"raw invalid UTF-8", "/token", formType, "a=\xff", false},
		{"multipart", "/token", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", test.target, strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.contentType)
			_, err := parseForm(r)
			if (err == nil) != test.ok {
				t.Fatalf("error %v", err)
			}
			if err != nil && asProtocolError(err).code != codeInvalidRequest {
				t.Errorf("error %v, want invalid_request", err)
			}
		})
	}
}

// TestParseFormReading: a body that ends early is the client's fault, a body
// that is too large is told as such, and what was read is not half a form.
func TestParseFormReading(t *testing.T) {
	for _, test := range []struct {
		name   string
		body   io.Reader
		status int
	}{
		{"ended early", io.MultiReader(strings.NewReader("a=1&"), iotest.ErrReader(io.ErrUnexpectedEOF)), 400},
		{"connection lost", iotest.ErrReader(errors.New("read tcp 100.64.0.1:1: reset")), 400},
		{"too large", http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(strings.NewReader("a=1")), 2), 413},
	} {
		r := httptest.NewRequest("POST", "/token", test.body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		f, err := parseForm(r)
		if err == nil || f != nil {
			t.Fatalf("%s: form %v, error %v", test.name, f, err)
		}
		if e := asProtocolError(err); e.status() != test.status || strings.Contains(e.description, "tcp") {
			t.Errorf("%s: %d %s, want %d", test.name, e.status(), e.description, test.status)
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "a=1&b=2", "a=&a=2", "resource=1&resource=2", "a=%zz", "a;b", "%00=%ff", "=&=", "a=b+c%2B", "&&&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		form, err := newForm(encoded)
		if err != nil {
			if asProtocolError(err).code != codeInvalidRequest {
				t.Errorf("error %v", err)
			}
			return
		}
		for name, list := range form.values {
			if len(list) == 0 || slices.Contains(list, "") {
				t.Errorf("%q holds the empty value of %q", encoded, name)
			}
			if len(list) > 1 && !mayRepeat[name] && !form.isRepeated(name) {
				t.Errorf("%q: %q is repeated", encoded, name)
			}
			if form.get(name) != list[0] {
				t.Errorf("%q: get(%q) is %q", encoded, name, form.get(name))
			}
		}
		again, err := newForm(form.values.Encode())
		if err != nil {
			t.Fatalf("%q as a form again: %v", encoded, err)
		}
		if diff := cmp.Diff(form.values, again.values); diff != "" {
			t.Errorf("%q as a form again (-first +second):\n%s", encoded, diff)
		}
		if form.checkText(nil) == nil && !isText(form.values) {
			t.Errorf("%q passes for text", encoded)
		}
	})
}

func isText(values url.Values) bool {
	for _, list := range values {
		for _, v := range list {
			if strings.ToValidUTF8(v, "") != v || strings.IndexByte(v, 0) >= 0 {
				return false
			}
		}
	}
	return true
}
