// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Protect lets requests through that carry a good token with all of scopes in
// the header Authorization. next finds it by [FromContext]. Others get an
// answer of RFC 6750 section 3 with a JSON body:
//
//	401              no token; the challenge says where to get one, and the scopes
//	401 invalid_token       a bad one
//	403 insufficient_scope  a good one without all scopes; the challenge lists all
//	400 invalid_request     a malformed header, or a token in the query
//	503              the issuer could not be asked
//
// A tsidp grants scopes beyond its own only where a rule of the tailnet's
// policy has them ("scopes"): requiring one that no rule has sends clients for
// it again and again. Who may use a resource at all, "resources" says.
//
// The header stays in the request for those who exchange the token. It must
// not be sent to other servers: a token is for one audience.
func (s *Server) Protect(next http.Handler, scopes ...string) http.Handler {
	g := &guard{s: s, next: next, needed: slices.Clone(scopes)}
	g.where = `resource_metadata=` + quote(s.metadataURL)
	advertised := scopes
	if len(advertised) == 0 {
		advertised = s.cfg.Scopes
	}
	if len(advertised) > 0 {
		g.where += `, scope=` + quote(strings.Join(advertised, " "))
	}
	return g
}

// A guard is a handler that Protect made.
type guard struct {
	s      *Server
	next   http.Handler
	needed []string
	where  string // the parameters of every challenge
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	exposeToScripts(w.Header())
	if isPreflight(r) {
		servePreflight(w, r, "GET, HEAD, POST, PUT, PATCH, DELETE")
		return
	}
	raw, err := bearerToken(r)
	if err != nil {
		g.refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	if raw == "" {
		// RFC 6750 §3.1: "If the request lacks any authentication information
		// […], the resource server SHOULD NOT include an error code".
		g.refuse(w, http.StatusUnauthorized, "", "an access token for "+g.s.cfg.Resource+" is needed")
		return
	}
	t, err := g.s.Verify(r.Context(), raw)
	if err != nil {
		g.refuseToken(w, r, err)
		return
	}
	if !t.hasAll(g.needed) {
		g.refuse(w, http.StatusForbidden, "insufficient_scope", "the token lacks a scope of: "+strings.Join(g.needed, " "))
		return
	}
	g.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, t)))
}

func (g *guard) refuseToken(w http.ResponseWriter, r *http.Request, err error) {
	var bad *invalidError
	if !errors.As(err, &bad) {
		w.Header().Set("Retry-After", "5")
		writeError(w, http.StatusServiceUnavailable, "temporarily_unavailable", "the issuer of the token cannot be asked now")
		return
	}
	g.s.log.Debug("token refused", "reason", bad.reason, "method", r.Method, "path", r.URL.Path)
	g.refuse(w, http.StatusUnauthorized, "invalid_token", "the token is refused: "+bad.reason)
}

// refuse answers with a challenge. Without a code it has no error.
func (g *guard) refuse(w http.ResponseWriter, status int, code, description string) {
	challenge := "Bearer "
	if code != "" {
		challenge += "error=" + quote(code) + ", error_description=" + quote(description) + ", "
	}
	w.Header().Set("WWW-Authenticate", challenge+g.where)
	writeError(w, status, code, description)
}

// quote makes a quoted-string (RFC 9110 section 5.6.4), of the characters that
// RFC 6750 section 3 has for the values of a challenge.
func quote(s string) string {
	return `"` + strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, s) + `"`
}

// bearerToken returns the token of a request, "" if it has none, and an error
// for the client if it has none that could be meant.
func bearerToken(r *http.Request) (string, error) {
	// Query strings end up in logs. OAuth 2.1 §5.1 has no such method, and a
	// client that uses it should hear of it rather than of a missing token.
	if r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return "", errors.New("the token must be in the header Authorization, not in the query")
	}
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", errors.New("there is more than one header Authorization")
	}
	// RFC 9110 §11.1: "It uses a case-insensitive token to identify the
	// authentication scheme".
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	if token = strings.Trim(token, " "); !isB64Token(token) {
		return "", errors.New("the header Authorization has no token after Bearer")
	}
	return token, nil
}

// isB64Token is b64token of RFC 6750 section 2.1.
func isB64Token(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// exposeToScripts lets scripts of any origin read answers, unless somebody has
// decided about that before.
func exposeToScripts(h http.Header) {
	if h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, Mcp-Session-Id")
	}
}

// isPreflight reports whether a browser asks before it sends (WHATWG Fetch
// section 3.2.2).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// servePreflight allows the headers that the script wants to send; the
// wildcard would not cover Authorization.
func servePreflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) <= 1024 && !strings.ContainsFunc(asked, notInHeaderList) {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "7200")
	h.Set("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}

func notInHeaderList(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_, ", c))
}
