// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"net/url"
	"strings"
	"testing"
)

func TestCanonicalResource(t *testing.T) {
	tests := []struct{ in, want string }{
		{"https://mcp.tail1234.ts.net/mcp", "https://mcp.tail1234.ts.net/mcp"},
		{"https://mcp.tail1234.ts.net/mcp/", "https://mcp.tail1234.ts.net/mcp"},
		{"HTTPS://MCP.tail1234.TS.net/Mcp", "https://mcp.tail1234.ts.net/Mcp"},
		{"https://mcp.tail1234.ts.net:443/mcp", "https://mcp.tail1234.ts.net/mcp"},
		{"https://mcp.tail1234.ts.net", "https://mcp.tail1234.ts.net"},
		{"https://mcp.tail1234.ts.net/", "https://mcp.tail1234.ts.net"},
		{"https://mcp.tail1234.ts.net:443/", "https://mcp.tail1234.ts.net"},
		{"https://h:80/", "https://h:80"},
		{"http://h:80/", "http://h"},
		{"http://h:443/", "http://h:443"},
		{"https://h:8443/a/", "https://h:8443/a"},
		{"https://[FD7A::1]:443/", "https://[fd7a::1]"},
		{"https://h/a//", "https://h/a//"},
		{"https://h//", "https://h//"},
		{"https://h/a/?x=1/", "https://h/a?x=1/"},
		{"https://h/?", "https://h?"},
		{"https://h/a%2Fb%2f", "https://h/a%2Fb%2f"},
		{"https://h/a/../b/./", "https://h/a/../b/."},
		{"urn:Example:API/", "urn:Example:API/"},
		{"api://X/", "api://X/"},
		{"api://x:80", "api://x:80"},
		{"spiffe:///x/", "spiffe:///x/"},
		{"x:?q", "x:?q"},
	}
	for _, test := range tests {
		got, err := CanonicalResource(test.in)
		if err != nil || got != test.want {
			t.Errorf("CanonicalResource(%q) = %q, %v, want %q", test.in, got, err, test.want)
		}
	}
}

func TestCanonicalResourceErrors(t *testing.T) {
	long := "https://h/" + strings.Repeat("a", maxURI)
	tests := []struct{ in, want string }{
		{"", "the resource is empty"},
		{"mcp", "not an absolute URI"},
		{"/mcp", "not an absolute URI"},
		{"//h/mcp", "not an absolute URI"},
		{"*", "not an absolute URI"},
		{"urn:", "not an absolute URI"},
		{"https://h/mcp#x", "fragment"},
		{"https://h/mcp#", "fragment"},
		{"urn:x#y", "fragment"},
		{"https://u:p@h/mcp", "user information"},
		{"api://u@h", "user information"},
		{"https:h/mcp", "host"},
		{"https:///mcp", "host"},
		{"https://*.h/mcp", "host"},
		{"https://h%2Fx/mcp", "host"},
		{"https://h:99999/mcp", "port"},
		{"https://h:/mcp", "port"},
		{"api://h:x/mcp", "port"},
		{"https://h/m cp", "blank"},
		{"https://h/m\ncp", "control character"},
		{"https://h\\mcp", "backslash"},
		{"https://h/é", "outside ASCII"},
		{"https://h/%", "hexadecimal"},
		{"https://h/\"", "percent-encoded form only"},
		{"https://h/{id}", "percent-encoded form only"},
		{long, "longer than 2048 bytes"},
	}
	for _, test := range tests {
		got, err := CanonicalResource(test.in)
		checkError(t, "CanonicalResource", test.in, err, test.want)
		if got != "" {
			t.Errorf("CanonicalResource(%q) = %q beside an error", test.in, got)
		}
	}
}

// TestSameResource holds the rows of case C59 that are about comparison.
func TestSameResource(t *testing.T) {
	const mcp = "https://mcp.tail1234.ts.net/mcp"
	tests := []struct {
		name, a, b string
		want       bool
	}{
		{"C59 a", mcp, mcp, true},
		{"C59 b", mcp, mcp + "/", true},
		{"C59 c", mcp, "https://MCP.TAIL1234.TS.NET/mcp", true},
		{"C59 d", mcp, "https://mcp.tail1234.ts.net:443/mcp", true},
		{"C59 b, c and d", mcp, "HTTPS://mcp.Tail1234.ts.net:443/mcp/", true},
		{"C59 e", mcp, "https://mcp.tail1234.ts.net", false},
		{"C59 e with slash", mcp, "https://mcp.tail1234.ts.net/", false},
		{"C59 e granted", "https://mcp.tail1234.ts.net", "https://mcp.tail1234.ts.net/", true},
		{"C59 f", mcp, mcp + "/x", false},
		{"C59 g", mcp, mcp + "?x=1", false},
		{"C59 h", mcp, mcp + "#x", false},
		{"C59 m", mcp, "https://mcp.tail1234.ts.net%2Fmcp", false},
		{"C59 m at the end", mcp, mcp + "%2F", false},
		{"C59 m identical", mcp + "/a%2Fb", mcp + "/a%2Fb", true},
		{"C59 m decoded", mcp + "/a%2Fb", mcp + "/a/b", false},
		{"two slashes", mcp, mcp + "//", false},
		{"empty query", mcp, mcp + "?", false},
		{"letter case of the path", mcp, "https://mcp.tail1234.ts.net/MCP", false},
		{"scheme", mcp, "http://mcp.tail1234.ts.net/mcp", false},
		{"port", mcp, "https://mcp.tail1234.ts.net:8443/mcp", false},
		{"final dot", mcp, "https://mcp.tail1234.ts.net./mcp", false},
		{"dot segment", mcp, "https://mcp.tail1234.ts.net/./mcp", false},
		{"malformed, identical", "mcp", "mcp", false},
		{"first malformed", "mcp", mcp, false},
		{"URN", "urn:x:y", "urn:x:y", true},
		{"other URN", "urn:x:y", "urn:x:y/", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := SameResource(test.a, test.b); got != test.want {
				t.Errorf("SameResource(%q, %q) = %v", test.a, test.b, got)
			}
			if got := SameResource(test.b, test.a); got != test.want {
				t.Errorf("SameResource(%q, %q) = %v", test.b, test.a, got)
			}
		})
	}
}

func TestResourcePatternMatches(t *testing.T) {
	tests := []struct {
		name, pattern string
		yes, no       []string
	}{
		{
			name:    "everything",
			pattern: "*",
			yes:     []string{"https://h/mcp", "urn:x:y", "api://x", "https://h"},
			no:      []string{"", "mcp", "https://h/#x", "https://u@h/", "https://h/\n", "*"},
		},
		{
			name:    "C41 l",
			pattern: "https://mcp.tail1234.ts.net/mcp/",
			yes:     []string{"https://mcp.tail1234.ts.net/mcp", "https://mcp.tail1234.ts.net/mcp/", "https://MCP.tail1234.ts.net:443/mcp"},
			no:      []string{"https://mcp.tail1234.ts.net/mcp/x", "https://mcp.tail1234.ts.net/mcp?x", "https://mcp.tail1234.ts.net"},
		},
		{
			name:    "below a path",
			pattern: "https://h/p/*",
			yes: []string{"https://h/p/x", "https://h/p/x?q", "https://h/p/x/y/", "HTTPS://H:443/p/x", "https://h/p/*", "https://h/p/.well-known",
				"https://h/p/%20", "https://h/p/a;b", "https://h/p/x?../..%2f"},
			no: []string{"https://h/px", "https://h/p", "https://h/p/", "https://h/p/?q", "https://h/p?q=/p/x", "https://h/", "https://h/q/p/x", "https://h/P/x",
				"http://h/p/x", "https://h:8443/p/x", "https://h.evil.example/p/x", "https://evil.example/p/x", "https://h@evil.example/p/x",
				"https://h/p/../x", "https://h/p/x/..", "https://h/p/./x", "https://h/p/.", "https://h/p/..", "https://h/p/..;a/x", "https://h/p/..?q",
				"https://h/p/%2e%2e/x", "https://h/p/.%2E/x", "https://h/p/..%2fx", "https://h/p/a%2Fb", "https://h/p/a%5cb", "https://h/p%2Fx",
				"https://h/p/a%2eb", "https://h/p//x", "https://h/p//", "https://h//p/x", "https://h/p/x#f", "https://h/p/x\\y"},
		},
		{
			name:    "below an origin",
			pattern: "https://H:443/*",
			yes:     []string{"https://h/x", "https://h/x/y"},
			no:      []string{"https://h", "https://h/", "https://h?x", "https://hx/y", "https://h:80/x", "https://h/%2f", "https://h//x"},
		},
		{
			name:    "below another scheme's path",
			pattern: "api://X/v1/*",
			yes:     []string{"api://X/v1/a", "api://X/v1/a?q"},
			no:      []string{"api://x/v1/a", "api://X/v1", "api://X/v2/a", "api://X/v1/../a", "api:/X/v1/a"},
		},
		{"empty segment in the pattern", "https://h/p//*", nil, []string{"https://h/p/x", "https://h/p//x", "https://h/x"}},
		{"dot segment in the pattern", "https://h/p/../*", nil, []string{"https://h/x", "https://h/p/../x"}},
		{"star in the query", "https://h/p?/*", []string{"https://h/p?/*"}, []string{"https://h/p?/x", "https://h/p/x", "https://h/p"}},
		{"star before a query", "https://h/p/*?q", []string{"https://h/p/*?q"}, []string{"https://h/p/x", "https://h/p/x?q"}},
		{"star within a segment", "https://h/p*", []string{"https://h/p*"}, []string{"https://h/px", "https://h/p/x", "https://h/p"}},
		{"star in the middle", "https://h/*/x", []string{"https://h/*/x"}, []string{"https://h/p/x"}},
		{"star as the host", "https://*/p", nil, []string{"https://h/p", "https://*/p"}},
		{"nothing but star behind the slashes", "https://*", nil, []string{"https://h", "https://h/p", "https://*"}},
		{"star as another scheme's host", "api://*", []string{"api://*"}, []string{"api://x", "api://*/x"}},
		{"without authority", "urn:x/*", []string{"urn:x/*"}, []string{"urn:x/y", "urn:x"}},
		{"empty authority", "spiffe:///x/*", []string{"spiffe:///x/*"}, []string{"spiffe:///x/y"}},
		{"pattern with a fragment", "https://h/p#/*", nil, []string{"https://h/p", "https://h/p#/*"}},
		{"pattern with a user", "https://u@h/*", nil, []string{"https://h/x", "https://u@h/x"}},
		{"empty pattern", "", nil, []string{"", "https://h/"}},
		{"slash and star", "/*", nil, []string{"https://h/x", "/x"}},
		{"two stars", "**", nil, []string{"https://h/x"}},
		{"blank and star", " *", nil, []string{"https://h/x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, uri := range test.yes {
				if !ResourcePatternMatches(test.pattern, uri) {
					t.Errorf("%q does not cover %q", test.pattern, uri)
				}
			}
			for _, uri := range test.no {
				if ResourcePatternMatches(test.pattern, uri) {
					t.Errorf("%q covers %q", test.pattern, uri)
				}
			}
		})
	}
}

func FuzzCanonicalResource(f *testing.F) {
	for _, uri := range []string{"https://mcp.tail1234.ts.net/mcp/", "HTTPS://H:443//", "http://[::1]:80/a//?x#y", "urn:x:y", "api://u@x/", "https://h:0443/%2f"} {
		f.Add(uri, uri)
	}
	f.Add("https://h", "https://H/")
	f.Fuzz(func(t *testing.T, a, b string) {
		canonical, err := CanonicalResource(a)
		if (err == nil) != SameResource(a, a) {
			t.Fatalf("SameResource(%q, itself) = %v, canonical form: %v", a, SameResource(a, a), err)
		}
		if SameResource(a, b) != SameResource(b, a) {
			t.Fatalf("SameResource(%q, %q) depends on their order", a, b)
		}
		if err != nil {
			return
		}
		if again, err := CanonicalResource(canonical); err != nil || again != canonical {
			t.Fatalf("canonical form of %q is %q, and of that %q, %v", a, canonical, again, err)
		}
		if !SameResource(a, canonical) {
			t.Fatalf("%q is not the same as its canonical form %q", a, canonical)
		}
		if scheme, _, _ := strings.Cut(canonical, ":"); scheme != "http" && scheme != "https" {
			if canonical != a {
				t.Fatalf("%q changed to %q", a, canonical)
			}
			return
		}
		checkSameURL(t, a, canonical)
	})
}

// checkSameURL checks, in terms of net/url, that the canonical form names the host of uri and nearly its path.
func checkSameURL(t *testing.T, uri, canonical string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	c, err := url.Parse(canonical)
	if err != nil {
		t.Fatal(err)
	}
	if c.Scheme != u.Scheme || c.Hostname() != strings.ToLower(u.Hostname()) || c.RawQuery != u.RawQuery || c.User != nil {
		t.Fatalf("%q changed to %q", uri, canonical)
	}
	if c.EscapedPath() != u.EscapedPath() && c.EscapedPath()+"/" != u.EscapedPath() {
		t.Fatalf("the path of %q changed in %q", uri, canonical)
	}
}

func FuzzResourcePatternMatches(f *testing.F) {
	f.Add("*", "https://h/x")
	f.Add("https://h/p/*", "https://H:443/p/x?q")
	f.Add("https://h/*", "https://h/%2e%2e/")
	f.Add("https://h/p//*", "https://h/p//x//")
	f.Add("https://h/p?/*", "https://h/p?/*")
	f.Add("api://x/*", "api://x/y")
	f.Fuzz(func(t *testing.T, pattern, uri string) {
		matches := ResourcePatternMatches(pattern, uri)
		if SameResource(pattern, uri) && !matches {
			t.Fatalf("%q does not cover itself as %q", pattern, uri)
		}
		canonical, err := CanonicalResource(uri)
		if err != nil {
			if matches {
				t.Fatalf("%q covers the malformed %q", pattern, uri)
			}
			return
		}
		if ResourcePatternMatches(pattern, canonical) != matches {
			t.Fatalf("%q tells %q from its canonical form %q", pattern, uri, canonical)
		}
		if !matches || pattern == "*" || SameResource(pattern, uri) {
			return
		}
		checkBelow(t, pattern, uri)
	})
}

// checkBelow checks, in terms of net/url, that pattern ends in a star and that uri is below it however servers clean its path.
func checkBelow(t *testing.T, pattern, uri string) {
	t.Helper()
	stem, found := strings.CutSuffix(pattern, "/*")
	if !found {
		t.Fatalf("%q covers %q", pattern, uri)
	}
	p, err := url.Parse(stem)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	if p.Scheme != u.Scheme || !strings.EqualFold(p.Hostname(), u.Hostname()) {
		t.Fatalf("%q covers %q, another host", pattern, uri)
	}
	if cleaned := u.JoinPath(); !strings.HasPrefix(cleaned.Path, p.Path+"/") || len(cleaned.Path) < len(p.Path)+2 {
		t.Fatalf("%q covers %q, whose path %q is not below", pattern, uri, cleaned.Path)
	}
}
