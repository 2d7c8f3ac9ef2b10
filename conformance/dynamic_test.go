// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// dynamicModules are those of 2.5. The application registers itself, and
// authenticates by private_key_jwt.
func dynamicModules() []module {
	notIssued := refused("no client assertion is good", "/token", func(_ *http.Request, form url.Values) bool { return form.Has("client_assertion") },
		http.StatusUnauthorized, `{"error":"invalid_client"}`)
	return []module{
		{name: "oidcc-discovery-endpoint-verification", skip: "the plan demands the implicit flow, which OAuth 2.1 section 10.1 removes and RFC 9700 section 2.1.2 advises against"},
		{name: "oidcc-server", test: dynamicServer, faults: []fault{
			notIssued, foreignSignature(), claim("nonce", "another"),
			onAnswer("status 200", "/register", func(a *answer) { a.status = http.StatusOK }),
			onJSON("no client_id", "/register", map[string]any{"client_id": nil}),
			onJSON("redirect URIs are not echoed", "/register", map[string]any{"redirect_uris": nil}),
			onJSON("keys are not echoed", "/register", map[string]any{"jwks": nil}),
			onJSON("a token without an address", "/register", map[string]any{"registration_client_uri": nil}),
			onJSON("empty members", "/register", map[string]any{"policy_uri": ""}),
			onJSON("secret", "/register", map[string]any{"client_secret": "s"}),
			onHeader("/register", "Cache-Control", "max-age=60"),
			{"another client at registration_client_uri", anotherRegistration},
		}},
		{name: "oidcc-idtoken-rs256", test: idTokenRS256, faults: []fault{
			foreignSignature(),
			onRegistration("ES256 instead", func(m map[string]any) { m["id_token_signed_response_alg"] = "ES256" }),
			onJSON("algorithm is not echoed", "/register", map[string]any{"id_token_signed_response_alg": nil}),
			onJSON("unsigned", "/token", map[string]any{"id_token": unsigned(map[string]any{"sub": "userid:1001"})}),
		}},
		{name: "oidcc-idtoken-unsigned", skip: noUnsignedTokens},
		{name: "oidcc-userinfo-rs256", skip: "userinfo is not signed, and no userinfo_signing_alg_values_supported says so: OpenID Connect Core section 5.3.2 makes it optional"},
		{name: "oidcc-ensure-redirect-uri-in-authorization-request", test: redirectURIMissing, faults: []fault{
			onParameters("redirect URI assumed", "/authorize", func(v url.Values) { v.Set("redirect_uri", appRedirect) }),
		}},
		{name: "oidcc-redirect-uri-query-OK", test: redirectQueryOK, faults: []fault{
			onResponseURI("query dropped", func(uri string) string { return strings.Replace(uri, "foo=bar&", "", 1) }),
		}},
		{name: "oidcc-redirect-uri-query-mismatch", test: redirectQuery("?foo=bar", "?bar=foo"), faults: []fault{redirected("/authorize", "redirect_uri")}},
		{name: "oidcc-redirect-uri-query-added", test: redirectQuery("", "?foo=bar"), faults: []fault{redirected("/authorize", "redirect_uri")}},
		{name: "oidcc-redirect-uri-regfrag", test: redirectFragment, faults: []fault{
			onRegistration("fragment dropped", func(m map[string]any) { m["redirect_uris"] = []string{appRedirect} }),
			onAnswer("another error", "/register", func(a *answer) { a.body = []byte(`{"error":"invalid_request"}`) }),
			onHeader("/register", "Content-Type", "text/html"),
		}},
		{name: "oidcc-registration-logo-uri", test: shownAtConsent("logo_uri"), faults: notShown("logo_uri")},
		{name: "oidcc-registration-policy-uri", test: shownAtConsent("policy_uri"), faults: notShown("policy_uri")},
		{name: "oidcc-registration-tos-uri", test: shownAtConsent("tos_uri"), faults: notShown("tos_uri")},
		{name: "oidcc-registration-jwks-uri", test: registrationJWKSURI, faults: []fault{
			notIssued,
			onRegistration("jwks_uri ignored", func(m map[string]any) { delete(m, "jwks_uri") }),
			onAnswer("any signature is good", "/token", func(a *answer) {
				if a.status == http.StatusUnauthorized {
					a.status, a.body = http.StatusBadRequest, []byte(`{"error":"invalid_grant"}`)
				}
			}),
		}},
		{name: "oidcc-registration-sector-uri", skip: "subjects are public, as subject_types_supported says: OpenID Connect Core section 8 leaves the choice to the provider"},
		{name: "oidcc-registration-sector-bad", skip: "sector identifiers tell pairwise subjects apart (OpenID Connect Core section 8.1), and subjects are public, as subject_types_supported says; RFC 7591 section 2 has servers ignore metadata that they do not use, and so the address is not fetched"},
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
		{name: "oidcc-refresh-token-rp-key-rotation", test: clientKeyRotation, faults: []fault{
			notIssued,
			refused("keys are fetched once", "/token", func(_ *http.Request, form url.Values) bool { return form.Get("grant_type") == "refresh_token" },
				http.StatusUnauthorized, `{"error":"invalid_client","error_description":"unknown kid"}`),
			onAnswer("the old key stays good", "/token", func(a *answer) {
				if a.status == http.StatusUnauthorized {
					a.status, a.body = http.StatusOK, []byte(`{"access_token":"x","token_type":"Bearer"}`)
				}
			}),
		}},
		{name: "oidcc-request-uri-unsigned", skip: noRequestObjects},
		{name: "oidcc-request-uri-signed-rs256", skip: noRequestObjects + "; fetching them by reference makes the provider send requests for others (RFC 9101 section 10.4)"},
		{name: "oidcc-ensure-request-object-with-redirect-uri", skip: noRequestObjects},
		{name: "oidcc-refresh-token", test: dynamicRefreshToken, faults: []fault{
			notIssued, onJSON("no refresh token", "/token", map[string]any{"refresh_token": nil}),
			{"the client that asks does not matter", func(next exchange) exchange {
				return func(req *http.Request, body []byte) *answer {
					a := next(req, body)
					if a.json()["error"] == "invalid_grant" {
						a.status, a.body = http.StatusOK, []byte(`{"access_token":"x","token_type":"Bearer"}`)
					}
					return a
				}
			}},
		}},
		{name: "oidcc-ensure-client-assertion-with-iss-aud-succeeds", test: assertionForIssuer, faults: []fault{
			notIssued,
			onJSON("private_key_jwt is not offered", "/openid-configuration", map[string]any{"token_endpoint_auth_methods_supported": []string{"none"}}),
			onJSON("algorithms are not offered", "/openid-configuration", map[string]any{"token_endpoint_auth_signing_alg_values_supported": nil}),
		}},
	}
}

// onRegistration changes what is registered.
func onRegistration(name string, change func(m map[string]any)) fault {
	return fault{name, func(next exchange) exchange {
		return func(req *http.Request, body []byte) *answer {
			var m map[string]any
			if strings.HasSuffix(req.URL.Path, "/register") && json.Unmarshal(body, &m) == nil {
				change(m)
				body, _ = json.Marshal(m)
			}
			return next(req, body)
		}
	}}
}

// onResponseURI changes where authorization responses go.
func onResponseURI(name string, change func(uri string) string) fault {
	return onAnswer(name, "", func(a *answer) {
		if strings.HasPrefix(a.location(), appOrigin) {
			a.header.Set("Location", change(a.location()))
		}
	})
}

// anotherRegistration is a provider that mixes its registrations up.
func anotherRegistration(next exchange) exchange {
	return func(req *http.Request, body []byte) *answer {
		a := next(req, body)
		if m := a.json(); strings.Contains(req.URL.Path, "/register/") && m["client_id"] != nil {
			m["client_id"] = "another"
			a.body, _ = json.Marshal(m)
		}
		return a
	}
}

func dynamicServer(r *run) {
	reg := r.registerSelf(nil)
	r.checkKeys()
	r.loginSelf(reg.key)
}

// idTokenRS256: "The algorithm ... REQUIRED for signing the ID Token issued to
// this Client" (OpenID Connect Registration section 2).
func idTokenRS256(r *run) {
	reg := r.registerSelf(map[string]any{"id_token_signed_response_alg": "RS256"})
	l := r.loginSelf(reg.key)
	if header := r.decode(l.raw, 0); header["alg"] != "RS256" || header["kid"] == nil {
		r.errorf("ID token with the header %v", header)
	}
}

func redirectURIMissing(r *run) {
	r.registerSelf(map[string]any{"redirect_uris": []string{appRedirect, appOrigin + "/other"}})
	r.wantErrorPage(r.send(r.request(r.app, "redirect_uri", "")))
}

// redirectQueryOK: "The endpoint URI MAY include an ... query component, which
// MUST be retained when adding additional query parameters" (RFC 6749 section
// 3.1.2).
func redirectQueryOK(r *run) {
	reg := r.registerSelf(map[string]any{"redirect_uris": []string{appRedirect + "?foo=bar"}})
	r.loginSelf(reg.key)
}

func redirectQuery(registered, asked string) func(*run) {
	return func(r *run) {
		r.registerSelf(map[string]any{"redirect_uris": []string{appRedirect + registered}})
		r.wantErrorPage(r.send(r.request(r.app, "redirect_uri", appRedirect+asked)))
	}
}

// redirectFragment: "The endpoint URI MUST NOT include a fragment component"
// (RFC 6749 section 3.1.2).
func redirectFragment(r *run) {
	r.discover()
	a := r.askToRegister(map[string]any{"redirect_uris": []string{appRedirect + "#foobar"}, "token_endpoint_auth_method": "none"})
	code, _ := a.json()["error"].(string)
	if code != "invalid_client_metadata" {
		code = "invalid_redirect_uri"
	}
	r.wantError(a, http.StatusBadRequest, code)
}

// shownAtConsent: "The OpenID Provider SHOULD display this URL to the
// End-User" (OpenID Connect Registration section 2).
func shownAtConsent(member string) func(*run) {
	return func(r *run) {
		uri := appOrigin + "/" + member
		r.registerSelf(map[string]any{member: uri})
		_, a := r.consentPage()
		if !strings.Contains(string(a.body), `<a href="`+uri+`"`) {
			r.errorf("no link to %s on the page: %s", uri, text(a.body))
		}
		// What a stranger has named is not loaded beside the question whether
		// to trust them (RFC 7591 section 5).
		if strings.Contains(string(a.body), "<img") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			r.errorf("the page loads from elsewhere: Content-Security-Policy %q", a.header.Get("Content-Security-Policy"))
		}
	}
}

func notShown(member string) []fault {
	return []fault{
		onAnswer("no link", "/authorize", func(a *answer) {
			a.body = []byte(strings.ReplaceAll(string(a.body), appOrigin+"/"+member, ""))
		}),
		onRegistration(member+" ignored", func(m map[string]any) { delete(m, member) }),
		onHeader("/authorize", "Content-Security-Policy", "default-src *"),
	}
}

// registrationJWKSURI: the application's keys are where it says, and nothing
// else is its signature.
func registrationJWKSURI(r *run) {
	key, foreign := r.newKey("k1"), r.newKey("k1")
	uri := keyHost().publish("/"+rand.Text(), key)
	r.registerSelf(map[string]any{"jwks": nil, "jwks_uri": uri})
	l := r.loginSelf(key, "scope", "openid offline_access")
	r.wantError(r.refreshSelf(foreign, l.token.RefreshToken), http.StatusUnauthorized, "invalid_client")
}

// refreshSelf refreshes the tokens of l as r.app, with k.
func (r *run) refreshSelf(k *appKey, token string) *answer {
	v := r.authentication(k)
	v.Set("grant_type", "refresh_token")
	v.Set("refresh_token", token)
	return r.postForm(r.app.Endpoint.TokenURL, v)
}

// clientKeyRotation: "The verifier knows to go back to the jwks_uri location
// to re-retrieve the keys when it sees an unfamiliar kid" (OpenID Connect Core
// section 10.1.1).
func clientKeyRotation(r *run) {
	first, second := r.newKey("k1"), r.newKey("k2")
	path := "/" + rand.Text()
	r.registerSelf(map[string]any{"jwks": nil, "jwks_uri": keyHost().publish(path, first)})
	l := r.loginSelf(first, "scope", "openid offline_access")
	keyHost().publish(path, second)
	r.w.clock.advance(10 * time.Second)
	a := r.refreshSelf(second, l.token.RefreshToken)
	r.checkTokenAnswer(a)
	next, _ := a.json()["refresh_token"].(string)
	r.wantError(r.refreshSelf(first, next), http.StatusUnauthorized, "invalid_client")
}

// dynamicRefreshToken: OpenID Connect Core section 12; "the refresh token ...
// MUST be bound to the client" (RFC 6749 section 10.4).
func dynamicRefreshToken(r *run) {
	reg := r.registerSelf(nil)
	l := r.loginSelf(reg.key, "scope", "openid offline_access")
	if !printable(l.token.RefreshToken) {
		r.fatalf("refresh_token %q", l.token.RefreshToken)
	}
	r.w.clock.advance(2 * time.Second)
	a := r.refreshSelf(reg.key, l.token.RefreshToken)
	r.checkTokenAnswer(a)
	m := a.json()
	access, _ := m["access_token"].(string)
	if access == l.token.AccessToken {
		r.errorf("the access token is the old one")
	}
	second := &login{app: l.app, token: (&oauth2.Token{AccessToken: access}).WithExtra(m)}
	if r.checkIDToken(second); second.id.Subject != l.id.Subject {
		r.errorf("sub %s, at first %s", second.id.Subject, l.id.Subject)
	}
	r.userinfo(second, "get")
	next, _ := m["refresh_token"].(string)
	other := r.registerSelf(nil)
	r.wantError(r.refreshSelf(other.key, next), http.StatusBadRequest, "invalid_grant")
}

// assertionForIssuer: the audience may be the issuer (RFC 7523 as updated
// after CVE-2025-27370), and the metadata offer what is used.
func assertionForIssuer(r *run) {
	reg := r.registerSelf(map[string]any{"token_endpoint_auth_signing_alg": "ES256"})
	for member, want := range map[string]string{
		"token_endpoint_auth_methods_supported": "private_key_jwt", "token_endpoint_auth_signing_alg_values_supported": "ES256",
	} {
		if offered, _ := r.metadata()[member].([]any); !slices.Contains(offered, any(want)) {
			r.errorf("%s %v, want %s among them", member, offered, want)
		}
	}
	r.loginSelf(reg.key)
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
