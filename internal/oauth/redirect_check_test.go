// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestCheckRedirectURI(t *testing.T) {
	const ok = ""
	tests := []struct {
		uri                       string
		administrator, registered string // text of the error
	}{
		{"https://app.example/cb", ok, ok},
		{"https://pve.example:8006", ok, ok},
		{"https://nas.example", ok, ok},
		{"https://nas.example/?a=b&c=%2F", ok, ok},
		{"https://[2001:db8::1]:8443/cb", ok, ok},
		{"HTTPS://App.Example/cb", ok, ok},
		{"https://app.example/*", ok, ok},
		{"http://localhost:8000", ok, ok},
		{"http://127.0.0.1/callback", ok, ok},
		{"http://[::1]:6274/oauth/callback", ok, ok},
		{"app.immich:///oauth-callback", ok, ok},
		{"com.example.app:/cb", ok, ok},
		{"com.example.app:cb", ok, ok},
		{"cursor://anysphere.cursor-mcp/oauth/callback", ok, ok},
		{"vscode://vscode.github-authentication/did-authenticate", ok, ok},
		{"vscode-insiders://x", ok, ok},
		{"vscodium://x", ok, ok},
		{"windsurf://x", ok, ok},
		{"zed://x", ok, ok},

		{"http://app.example/cb", ok, "uses http to a host that is not"},
		{"http://127.0.0.1.evil.example/cb", ok, "uses http to a host that is not"},
		{"http://127.0.0.2/cb", ok, "uses http to a host that is not"},
		{"cursor.evil://x", ok, ok},
		{"audiobookshelf://oauth", ok, `uses the scheme "audiobookshelf"`},
		{"urn:ietf:wg:oauth:2.0:oob", ok, `uses the scheme "urn"`},
		{"myapp:/cb", ok, `uses the scheme "myapp"`},

		{"", "is empty", "is empty"},
		{"https://app.example/" + strings.Repeat("a", maxURI), "longer than 2048 bytes", "longer than 2048 bytes"},
		{"/cb", "no scheme", "no scheme"},
		{"app.example/cb", "no scheme", "no scheme"},
		{"//app.example/cb", "no scheme", "no scheme"},
		{"app.example:8443/cb", "write https:// ", "write https:// "},
		{"localhost:8080", "write https:// ", "write https:// "},
		{"https:app.example/cb", "names no host: write it as https://host/path", "names no host"},
		{"https:/app.example/cb", "names no host", "names no host"},
		{"https:///cb", "names no host", "names no host"},
		{"https:", "names no host", "names no host"},
		{"http://?x", "names no host", "names no host"},
		{"https://:443/", "names no host", "names no host"},
		{"https://app%2eexample/cb", "neither a name nor an address", "neither a name nor an address"},
		{"https://[fe80::1%25eth0]/cb", "neither a name nor an address", "neither a name nor an address"},
		{"https://a:b:80/cb", "neither a name nor an address", "neither a name nor an address"},
		{"https://app.example:99999/cb", `has ":99999" behind its host`, "a port from 0 to 65535"},
		{"https://app.example:/cb", "a port from 0 to 65535", "a port from 0 to 65535"},
		{"https://[::1]x/cb", "a port from 0 to 65535", "a port from 0 to 65535"},
		{"myapp://h:x/cb", "a port from 0 to 65535", "a port from 0 to 65535"},
		{"com.example.app:", "nothing behind its scheme", "nothing behind its scheme"},
		{"https://nas.example/#/signin", "set ignore_fragment", "set ignore_fragment"},
		{"https://nas.example/#", "has a fragment", "has a fragment"},
		{"https://good.example@evil.example/cb", "has a user name", "has a user name"},
		{"https://@evil.example/cb", "has a user name", "has a user name"},
		{"myapp://u@x", "has a user name", "has a user name"},
		{"https://*.example/cb", "wildcard", "wildcard"},
		{"https://*/cb", "wildcard", "wildcard"},
		{"myapp://*/cb", "wildcard", "wildcard"},
		{"https://app.example/a b", "blank", "blank"},
		{" https://app.example/cb", "blank", "blank"},
		{"https://app.example/cb\n", "control character", "control character"},
		{"java\tscript:alert(1)", "control character", "control character"},
		{"https://app.example\\@evil.example/cb", "backslash", "backslash"},
		{"https://b\u00fccher.example/cb", "xn--", "xn--"},
		{"https://app.example/%zz", "hexadecimal", "hexadecimal"},
	}
	for _, test := range tests {
		checkError(t, "CheckRedirectURI", test.uri, CheckRedirectURI(test.uri, AdministratorRedirects), test.administrator)
		checkError(t, "CheckRedirectURI", test.uri, CheckRedirectURI(test.uri, SelfRegisteredRedirects), test.registered)
	}
}

func TestCheckRedirectURIUnknownPolicy(t *testing.T) {
	checkError(t, "CheckRedirectURI", "myapp:/cb", CheckRedirectURI("myapp:/cb", RedirectPolicy(7)), "uses the scheme")
}

func TestBlockedSchemes(t *testing.T) {
	for _, scheme := range []string{"javascript", "data", "file", "vbscript", "blob", "about", "filesystem", "ftp", "mailto",
		"chrome", "chrome-extension", "view-source", "ws", "wss", "JavaScript", "DATA"} {
		for _, uri := range []string{scheme + ":x", scheme + "://localhost/x", scheme + ":///x", scheme + ":"} {
			for _, policy := range []RedirectPolicy{AdministratorRedirects, SelfRegisteredRedirects} {
				checkError(t, "CheckRedirectURI", uri, CheckRedirectURI(uri, policy), "to which no code may be sent")
			}
			if _, ok := MatchRedirectURI([]string{uri}, uri, RedirectRules{}); ok {
				t.Errorf("MatchRedirectURI accepts %q", uri)
			}
		}
	}
}

func TestInsecureRedirect(t *testing.T) {
	for _, uri := range []string{"http://app.example/cb", "HTTP://app.example", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/",
		"http://localhost@evil.example/", "http://evil.example\\@localhost/", "http://localhost\\.evil.example/", "http:app.example", "http:/localhost",
		"http:///localhost", "http://100.100.100.100/cb", "http://evil.example?@localhost/", "http://local\nhost/",
		"http://u@localhost/"} {
		if !InsecureRedirect(uri) {
			t.Errorf("InsecureRedirect(%q) = false", uri)
		}
	}
	for _, uri := range []string{"https://app.example/cb", "http://localhost", "http://127.0.0.1:1/cb", "http://[::1]:1/cb", "HTTP://LOCALHOST/",
		"app.immich:///cb", "httpx://app.example", "", "app.example"} {
		if InsecureRedirect(uri) {
			t.Errorf("InsecureRedirect(%q) = true", uri)
		}
	}
}

func FuzzCheckRedirectURI(f *testing.F) {
	for _, uri := range []string{"https://app.example/cb", "http://localhost:8000", "http://[::1]:1/cb", "app.immich:///oauth-callback", "com.example.app:/cb",
		"https://a@b/", "https://a\\b", "https://h:99999", "https://*.example", "https://h/%zz", "javascript:x", "localhost:80/cb", "https://h/#f"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		administrator := CheckRedirectURI(uri, AdministratorRedirects)
		registered := CheckRedirectURI(uri, SelfRegisteredRedirects)
		if administrator != nil && registered == nil {
			t.Fatalf("%q is for self-registered clients only: %v", uri, administrator)
		}
		if administrator != nil {
			return
		}
		if to, ok := MatchRedirectURI([]string{uri}, uri, RedirectRules{}); !ok || to != uri {
			t.Fatalf("%q may be registered and never matches", uri)
		}
		scheme, _, _ := strings.Cut(strings.ToLower(uri), ":")
		if scheme != "http" && scheme != "https" {
			return
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if u.Scheme != scheme || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%q may be registered, and is %#v", uri, u)
		}
		local := slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, strings.ToLower(u.Hostname()))
		if insecure := scheme == "http" && !local; InsecureRedirect(uri) != insecure || insecure == (registered == nil) {
			t.Fatalf("%q: InsecureRedirect = %v, self-registered: %v", uri, InsecureRedirect(uri), registered)
		}
	})
}
