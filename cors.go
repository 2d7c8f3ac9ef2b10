// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/http"
	"strings"
)

// Cross-origin requests (WHATWG Fetch section 3.2). Applications that run in
// a browser call metadata, keys, token, userinfo and revocation from their own
// origin. All origins may, without credentials: nothing there rests on a
// cookie or on who is on the tailnet, only on what the request itself carries.
// Registration does rest on who is there; what it gives to a page of another
// origin, dcr.go bounds. Pages, introspection and the administration are open
// to no other origin.

// corsMaxAge is how long browsers may remember a preflight, in seconds.
const corsMaxAge = "7200"

// openHeaders are those of an answer, also of an error, that scripts of any
// origin may read.
var openHeaders = http.Header{
	"Access-Control-Allow-Origin":   {"*"},
	"Access-Control-Expose-Headers": {"WWW-Authenticate, Retry-After, X-Request-Id"},
}

// isPreflight reports whether a browser asks before it sends.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// servePreflight allows the methods of a route, and whatever headers the
// script wants to send: there is none that we would obey by surprise. (The
// wildcard would not cover Authorization.)
func servePreflight(w http.ResponseWriter, r *http.Request, methods map[string]handlerFunc) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", allowed(methods))
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) <= 1024 && !strings.ContainsFunc(asked, notInHeaderList) {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", corsMaxAge)
	h.Set("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}

// notInHeaderList reports whether c is in no list of header names.
func notInHeaderList(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_, ", c))
}
