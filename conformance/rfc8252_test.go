// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"testing"
)

// TestRFC8252: native applications.
func TestRFC8252(t *testing.T) {
	match := func(name, registered string, good, bad []string) {
		t.Helper()
		check(t, name, func(r *run) {
			app := r.native(registered)
			for _, uri := range good {
				l := r.request(app, "redirect_uri", uri)
				r.wantResponse(l, r.send(l))
				r.tokens(l)
			}
			for _, uri := range bad {
				r.wantErrorPage(r.send(r.request(app, "redirect_uri", uri)))
			}
		})
	}
	match("loopback_IPv4_any_port", "http://127.0.0.1/callback",
		[]string{"http://127.0.0.1/callback", "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback"},
		[]string{"http://127.0.0.1:65536/callback", "http://127.0.0.1:x/callback", "http://127.0.0.2:1/callback", "http://[::1]:1/callback"})
	match("loopback_IPv6_any_port", "http://[::1]:4000/callback",
		[]string{"http://[::1]:4000/callback", "http://[::1]:61234/callback"},
		[]string{"http://127.0.0.1:4000/callback", "http://localhost:4000/callback"})
	// Command lines register the one and ask for the other: for public clients
	// both are the asking machine, and PKCE binds the code.
	match("localhost_any_port", "http://localhost:8000",
		[]string{"http://localhost:8000", "http://localhost:18000", "http://127.0.0.1:8000"},
		[]string{"http://localhost:8000/", "http://[::1]:8000", "http://localhost.evil.example:8000"})
	match("path_and_query_exact", "http://127.0.0.1/callback?a=b", // CVE-2020-15233
		[]string{"http://127.0.0.1:99/callback?a=b"},
		[]string{"http://127.0.0.1:99/callback", "http://127.0.0.1:99/callback?a=c", "http://127.0.0.1:99/callback/x?a=b", "http://127.0.0.1:99/callback?a=b&c=d",
			"http://127.0.0.1:99/callback?a=b#f", "http://user@127.0.0.1:99/callback?a=b", "http://127.0.0.1@evil.example/callback?a=b"})
	match("http_only_has_the_exception", "https://127.0.0.1:8443/cb",
		[]string{"https://127.0.0.1:8443/cb"}, []string{"https://127.0.0.1:9443/cb", "http://127.0.0.1:8443/cb"})
	match("private_use_scheme", "com.example.app:/cb",
		[]string{"com.example.app:/cb"}, []string{"com.example.app:/cb2", "com.example.app://cb", "com.example.other:/cb"})
	match("editor_scheme_exact", "cursor://anysphere.cursor-mcp/oauth/callback",
		[]string{"cursor://anysphere.cursor-mcp/oauth/callback"}, []string{"cursor://anysphere.cursor-mcp/oauth/callback/", "cursor://other/oauth/callback"})
	match("claimed_https", "https://app.example/callback",
		[]string{"https://app.example/callback"}, []string{"https://app.example:8443/callback"})
	check(t, "localhost_and_IP_differ_for_confidential_clients", func(r *run) {
		app := r.register(map[string]any{"redirect_uris": []string{"http://localhost/cb"}})
		r.wantErrorPage(r.send(r.request(app, "redirect_uri", "http://127.0.0.1:1/cb")))
		l := r.request(app, "redirect_uri", "http://localhost:1/cb")
		r.wantResponse(l, r.send(l))
	})
	// Section 7.1: "apps MUST use a URI scheme based on a domain name under their
	// control, expressed in reverse order". Editors have schemes of their own,
	// which are known; an administrator may vouch for others.
	check(t, "private_use_scheme_has_a_dot", func(r *run) {
		for uri, good := range map[string]bool{
			"com.example.app:/cb": true, "cursor://anysphere.cursor-mcp/oauth/callback": true, "http://127.0.0.1/cb": true, "http://[::1]/cb": true,
			"myapp:/cb": false, "http://rp.example/cb": false, "com.example.app:": false,
		} {
			a := r.askToRegister(map[string]any{"redirect_uris": []string{uri}, "token_endpoint_auth_method": "none", "application_type": "native"})
			if good && a.status != 201 {
				r.errorf("%s: %d %s", uri, a.status, a.body)
			}
			if !good {
				r.wantError(a, 400, "invalid_redirect_uri")
			}
		}
	})
	check(t, "blocked_schemes", func(r *run) {
		for _, uri := range []string{
			"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "blob:https://rp.example/x", "about:blank",
		} {
			a := r.api("POST", "/api/v1/clients", map[string]any{"redirect_uris": []string{uri}})
			r.wantError(a, 400, "invalid_redirect_uri")
			a = r.askToRegister(map[string]any{"redirect_uris": []string{uri}, "token_endpoint_auth_method": "none"})
			r.wantError(a, 400, "invalid_redirect_uri")
		}
	})
}
