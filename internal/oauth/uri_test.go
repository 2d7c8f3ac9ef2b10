// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	tests := []struct {
		in   string
		want parts
	}{
		{"https://h.example:8006", parts{scheme: "https", slashes: "//", host: "h.example", port: ":8006"}},
		{"https://h.example/#/signin?x", parts{scheme: "https", slashes: "//", host: "h.example", path: "/", fragment: "#/signin?x"}},
		{"app.immich:///oauth-callback", parts{scheme: "app.immich", slashes: "//", path: "/oauth-callback"}},
		{"app.immich:/oauth-callback", parts{scheme: "app.immich", path: "/oauth-callback"}},
		{"app.immich://oauth-callback", parts{scheme: "app.immich", slashes: "//", host: "oauth-callback"}},
		{"urn:ietf:wg:oauth:2.0:oob", parts{scheme: "urn", path: "ietf:wg:oauth:2.0:oob"}},
		{"http://[::1]:80/?a=//b", parts{scheme: "http", slashes: "//", host: "[::1]", port: ":80", path: "/", query: "?a=//b"}},
		{"http://[::1]80", parts{scheme: "http", slashes: "//", host: "[::1]", port: "80"}},
		{"http://[::1", parts{scheme: "http", slashes: "//", host: "[::1"}},
		{"http://a@b@c:1/d@e", parts{scheme: "http", slashes: "//", userinfo: "a@b@", host: "c", port: ":1", path: "/d@e"}},
		{"http://h?@evil/", parts{scheme: "http", slashes: "//", host: "h", query: "?@evil/"}},
		{"http://h#@evil/", parts{scheme: "http", slashes: "//", host: "h", fragment: "#@evil/"}},
		{"x:", parts{scheme: "x"}},
		{"a+b-c.1:d", parts{scheme: "a+b-c.1", path: "d"}},
	}
	for _, test := range tests {
		got, ok := split(test.in)
		if !ok {
			t.Errorf("split(%q) found no scheme", test.in)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(parts{})); diff != "" {
			t.Errorf("split(%q) (-want +got):\n%s", test.in, diff)
		}
		if s := got.String(); s != test.in {
			t.Errorf("split(%q).String() = %q", test.in, s)
		}
	}
	for _, in := range []string{"", "/cb", "//h/cb", ":x", "1a:x", "-a:x", "a b:x", " https://h", "java\tscript:x", "ä:x", "h.example/cb", "a_b:c"} {
		if got, ok := split(in); ok {
			t.Errorf("split(%q) = %v, want no URI", in, got)
		}
	}
}

func TestCheckText(t *testing.T) {
	tests := []struct{ in, want string }{
		{"https://h/%2Fa~!$&'()*+,;=:@?/|^`{}<>\"", ""},
		{strings.Repeat("a", maxURI), ""},
		{"", "empty"},
		{strings.Repeat("a", maxURI+1), "longer than 2048 bytes"},
		{"a b", "blank"},
		{"a\tb", "control character"},
		{"a\x00b", "control character"},
		{"a\x7fb", "control character"},
		{"a\u00e9b", "outside ASCII"},
		{"a\xffb", "outside ASCII"},
		{`a\b`, "backslash"},
		{"a%zz", "hexadecimal"},
		{"a%a", "hexadecimal"},
		{"a%aG", "hexadecimal"},
		{"a%", "hexadecimal"},
	}
	for _, test := range tests {
		checkError(t, "checkText", test.in, checkText(test.in), test.want)
	}
}

// checkError reports an error that does not have the wanted text in it; an empty text stands for no error.
func checkError(t *testing.T, function, input string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s(%q): %v", function, input, err)
	case want != "" && err == nil:
		t.Errorf("%s(%q) succeeded, want an error with %q", function, input, want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("%s(%q): %v, want an error with %q", function, input, err, want)
	}
}

func TestValidHost(t *testing.T) {
	for _, host := range []string{"h", "a-b.example", "under_score.example", "127.0.0.1", "[::1]", "[2001:DB8::1]", "[::ffff:127.0.0.1]", "EXAMPLE"} {
		if !validHost(host) {
			t.Errorf("validHost(%q) = false", host)
		}
	}
	for _, host := range []string{"", "*", "*.example", "a%2eb", "a:b", "[", "[]", "[::1", "[127.0.0.1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1]x", "a@b", "a b", "\u00e4", "a<b"} {
		if validHost(host) {
			t.Errorf("validHost(%q) = true", host)
		}
	}
}

func TestValidPort(t *testing.T) {
	for _, port := range []string{"", ":0", ":1", ":80", ":65535"} {
		if !validPort(port) {
			t.Errorf("validPort(%q) = false", port)
		}
	}
	for _, port := range []string{":", "80", ":65536", ":99999", ":080", ":+80", ":-1", ":8 0", ":0x50", ":1_0", ":99999999999999999999", "x:80", "::80"} {
		if validPort(port) {
			t.Errorf("validPort(%q) = true", port)
		}
	}
}
