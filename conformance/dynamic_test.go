// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const needsRegistration = "needs registration, which this provider does not offer yet: OpenID Connect Discovery section 3 recommends registration_endpoint and requires it of nobody"

// dynamicModules are those of 2.5. What is about redirect URIs and keys runs
// with a client that an administrator registered.
func dynamicModules() []module {
	return []module{
		{name: "oidcc-discovery-endpoint-verification", skip: "the plan demands the implicit flow, which OAuth 2.1 section 10.1 removes and RFC 9700 section 2.1.2 advises against"},
		{name: "oidcc-server", skip: needsRegistration},
		{name: "oidcc-idtoken-rs256", skip: needsRegistration},
		{name: "oidcc-idtoken-unsigned", skip: noUnsignedTokens},
		{name: "oidcc-userinfo-rs256", skip: "userinfo is not signed, and no userinfo_signing_alg_values_supported says so: OpenID Connect Core section 5.3.2 makes it optional"},
		{name: "oidcc-ensure-redirect-uri-in-authorization-request", test: redirectURIMissing, faults: []fault{
			onParameters("redirect URI assumed", "/authorize", func(v url.Values) { v.Set("redirect_uri", appRedirect) }),
		}},
		{name: "oidcc-redirect-uri-query-OK", test: redirectQueryOK, faults: []fault{
			onAnswer("query dropped", "/authorize", func(a *answer) {
				a.header.Set("Location", strings.Replace(a.location(), "foo=bar&", "", 1))
			}),
		}},
		{name: "oidcc-redirect-uri-query-mismatch", test: redirectQuery("?foo=bar", "?bar=foo"), faults: []fault{redirected("/authorize", "redirect_uri")}},
		{name: "oidcc-redirect-uri-query-added", test: redirectQuery("", "?foo=bar"), faults: []fault{redirected("/authorize", "redirect_uri")}},
		{name: "oidcc-redirect-uri-regfrag", skip: needsRegistration},
		{name: "oidcc-registration-logo-uri", skip: needsRegistration},
		{name: "oidcc-registration-policy-uri", skip: needsRegistration},
		{name: "oidcc-registration-tos-uri", skip: needsRegistration},
		{name: "oidcc-registration-jwks-uri", skip: needsRegistration},
		{name: "oidcc-registration-sector-uri", skip: "subjects are public, as subject_types_supported says: OpenID Connect Core section 8 leaves the choice to the provider"},
		{name: "oidcc-registration-sector-bad", skip: needsRegistration},
		{name: "oidcc-server-rotate-keys", test: rotateKeys, faults: []fault{
			{"keys as they were", func(next exchange) exchange {
				var first *answer
				return func(req *http.Request, body []byte) *answer {
					a := next(req, body)
					if strings.HasSuffix(req.URL.Path, "/jwks.json") {
						if first == nil {
							first = a
						}
						same := *first
						return &same
					}
					return a
				}
			}},
		}},
		{name: "oidcc-refresh-token-rp-key-rotation", skip: needsRegistration},
		{name: "oidcc-request-uri-unsigned", skip: noRequestObjects},
		{name: "oidcc-request-uri-signed-rs256", skip: noRequestObjects + "; fetching them by reference makes the provider send requests for others (RFC 9101 section 10.4)"},
		{name: "oidcc-ensure-request-object-with-redirect-uri", skip: noRequestObjects},
		{name: "oidcc-refresh-token", test: refreshToken, faults: []fault{anyClient}},
		{name: "oidcc-ensure-client-assertion-with-iss-aud-succeeds", skip: needsRegistration + ", and private_key_jwt with it"},
	}
}

func redirectURIMissing(r *run) {
	r.discover()
	r.app = r.register(map[string]any{"redirect_uris": []string{appRedirect, appOrigin + "/other"}})
	_, a := r.authorize("redirect_uri", "")
	r.wantErrorPage(a)
}

// redirectQueryOK: "The endpoint URI MAY include an ... query component, which
// MUST be retained when adding additional query parameters" (RFC 6749 section
// 3.1.2).
func redirectQueryOK(r *run) {
	r.discover()
	r.app = r.register(map[string]any{"redirect_uris": []string{appRedirect + "?foo=bar"}, "lean_id_token": true})
	r.login()
}

func redirectQuery(registered, asked string) func(*run) {
	return func(r *run) {
		r.discover()
		r.app = r.register(map[string]any{"redirect_uris": []string{appRedirect + registered}})
		_, a := r.authorize("redirect_uri", appRedirect+asked)
		r.wantErrorPage(a)
	}
}

// rotateKeys: the new key is published, takes over when caches have it, and
// what the old one signed stays good.
func rotateKeys(r *run) {
	before := r.checkKeys()
	first := r.login()
	if a := r.api("POST", "/api/v1/keys/rotate", nil); a.status != http.StatusOK {
		r.fatalf("rotating: %d %s", a.status, a.body)
	}
	after := r.checkKeys()
	if len(after) <= len(before) {
		r.errorf("keys %v, then %v: want a new one", before, after)
	}
	kid, _ := r.decode(first.raw, 0)["kid"].(string)
	if !slices.Contains(after, kid) {
		r.warnf("the old key is gone")
	}
	r.w.clock.advance(3 * 24 * time.Hour)
	// A provider looks at its keys every minute of real time; a
	// change makes it look at once.
	r.api("POST", "/api/v1/keys/rotate", nil)
	second := r.login()
	if next := r.decode(second.raw, 0)["kid"]; next == kid {
		r.warnf("the new key does not sign after three days")
	}
	r.userinfo(second, "get")
}
