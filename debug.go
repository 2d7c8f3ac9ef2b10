// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Config.DebugRequests. What is logged is a list of what may be: anything
// new, and anything that is not understood, is left out rather than in.

// plainParameters may be logged with their values.
var plainParameters = map[string]bool{
	"client_id": true, "grant_type": true, "response_type": true, "response_mode": true, "redirect_uri": true,
	"scope": true, "resource": true, "audience": true, "code_challenge_method": true, "prompt": true, "max_age": true,
	"display": true, "ui_locales": true, "acr_values": true, "token_type_hint": true, "error": true, "error_description": true,
	"iss": true, "after": true, "limit": true, "origin": true,
}

// plainHeaders may be logged with their values.
var plainHeaders = []string{
	"Accept", "Content-Type", "Content-Length", "Origin", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
	"User-Agent", "Www-Authenticate", "Allow", "Cache-Control", "Retry-After",
}

const redacted = "[redacted]"

// logExchange serves r and logs it with its answer.
func (p *Provider) logExchange(next http.Handler, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), errorReader{err}))
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	next.ServeHTTP(rec, r)
	p.log.Debug("exchange",
		"request", requestID(r.Context()), "method", r.Method, "host", r.Host, "path", r.URL.Path,
		"query", plainForm(r.URL.RawQuery), "headers", plainHeader(r.Header), "body", plainBody(r.Header, body),
		"status", rec.status, "answer_headers", plainHeader(rec.Header()), "location", plainURL(rec.Header().Get("Location")),
		"answer", plainBody(rec.Header(), rec.body.Bytes()))
}

// errorReader repeats the error that ended the body, if any.
type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// A recorder keeps a copy of the answer.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (rec *recorder) WriteHeader(status int) {
	rec.status = status
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(b []byte) (int, error) {
	rec.body.Write(b)
	return rec.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

func plainHeader(h http.Header) string {
	var parts []string
	for _, name := range plainHeaders {
		if v := h.Get(name); v != "" {
			parts = append(parts, name+": "+v)
		}
	}
	if v := h.Get("Authorization"); v != "" {
		scheme, _, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Basic") && !strings.EqualFold(scheme, "Bearer") {
			scheme = ""
		}
		parts = append(parts, "Authorization: "+scheme+" "+redacted)
	}
	return strings.Join(parts, "; ")
}

// plainForm shows an encoded form with the values that may be shown.
func plainForm(encoded string) string {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return redacted
	}
	var parts []string
	for name, list := range values {
		for _, v := range list {
			if !plainParameters[name] {
				v = redacted
			}
			parts = append(parts, plainName(name)+"="+v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

// plainName shows what looks like the name of a parameter. A body that is not
// the form it says to be is one long name.
func plainName(name string) string {
	if len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return redacted
	}
	return name
}

func plainURL(u string) string {
	base, query, ok := strings.Cut(u, "?")
	if !ok {
		return base
	}
	return base + "?" + plainForm(query)
}

// plainBody shows forms like queries, errors as they are, and of any other
// JSON object the names of its members.
func plainBody(h http.Header, body []byte) string {
	switch t, _, _ := strings.Cut(h.Get("Content-Type"), ";"); t {
	case "application/x-www-form-urlencoded":
		return plainForm(string(body))
	case "application/json":
		var m map[string]json.RawMessage
		if json.Unmarshal(body, &m) != nil {
			return redacted
		}
		var names []string
		for name, v := range m {
			shown := plainName(name)
			if name == "error" || name == "error_description" || name == "active" {
				shown += "=" + string(v)
			}
			names = append(names, shown)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	return ""
}
