// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// RedirectRules adjusts [MatchRedirectURI] for one client. The zero value is the rule for confidential clients.
type RedirectRules struct {
	// Public is set for clients whose token_endpoint_auth_method is none. For them http://localhost and http://127.0.0.1 are
	// one host: command-line programs register the one and ask for the other, and both are the asking machine. PKCE, which
	// public clients must use, keeps the code useless to another program on it. [::1] is never another name for either.
	Public bool

	// IgnoreFragment compares URIs by what stands before "#", on both sides, and answers to that. It is for applications that
	// cannot be changed and send a fragment (Synology DSM).
	IgnoreFragment bool
}

// MatchRedirectURI reports whether asked, the redirect_uri of a request, is acceptable for a client that registered the URIs in
// registered, and returns the URI that the response must be sent to: asked, byte for byte, or the part of it before "#" under
// IgnoreFragment. When ok is false, to is empty and the response must go to no URI at all.
//
// Strings are compared, never re-serialised. The one exception is the port of an http loopback URI. Never acceptable, even if
// registered: a fragment without IgnoreFragment, more than 2048 bytes, control characters, invalid UTF-8, a relative URI, and a
// scheme that [CheckRedirectURI] refuses to everybody.
func MatchRedirectURI(registered []string, asked string, rules RedirectRules) (to string, ok bool) {
	// RFC 6749 §3.1.2: "The endpoint URI MUST NOT include a fragment component."
	to, fragment := cutBefore(asked, "#")
	if fragment != "" && !rules.IgnoreFragment {
		return "", false
	}
	if !deliverable(asked) {
		return "", false
	}
	for _, r := range registered {
		if rules.IgnoreFragment {
			r, _ = cutBefore(r, "#")
		}
		// RFC 9700 §2.1: "authorization servers MUST utilize exact string matching except for port numbers in
		// localhost redirection URIs of native apps".
		if r == to || sameLoopback(r, to, rules.Public) {
			return to, true
		}
	}
	return "", false
}

// deliverable reports whether a response may be sent to s at all, whoever registered it. It is laxer than [CheckRedirectURI]:
// what was registered before these checks existed keeps working unless it is dangerous.
func deliverable(s string) bool {
	if len(s) > maxURI || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return false
	}
	p, ok := split(s)
	return ok && !blockedScheme(strings.ToLower(p.scheme))
}

// sameLoopback reports whether registered and asked are http loopback URIs that differ in their ports at most, or, for public
// clients, in localhost against 127.0.0.1.
//
// RFC 8252 §7.3: "The authorization server MUST allow any port to be specified at the time of the request for loopback IP
// redirect URIs".
func sameLoopback(registered, asked string, public bool) bool {
	a, ok := loopback(asked)
	if !ok {
		return false
	}
	r, ok := loopback(registered)
	if !ok || a.path != r.path || a.query != r.query {
		return false
	}
	return a.host == r.host || public && a.host != "[::1]" && r.host != "[::1]"
}

// loopback takes an http loopback URI apart. It reports false for everything that a browser could read as another host.
func loopback(s string) (p parts, ok bool) {
	p, ok = split(s)
	ok = ok && p.scheme == "http" && p.userinfo == "" && loopbackHost(p.host) && validPort(p.port) && p.fragment == ""
	return p, ok && checkText(s) == nil
}
