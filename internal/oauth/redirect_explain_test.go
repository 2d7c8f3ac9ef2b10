// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"strings"
	"testing"
)

func TestExplainRedirectMismatch(t *testing.T) {
	const media = "https://media.example/sso/OID/redirect/tsidp"
	tests := []struct {
		name       string
		registered []string
		asked      string
		want       string // a part of the sentence; empty: the whole
	}{
		{"C06 scheme", []string{media}, "http://media.example/sso/OID/redirect/tsidp",
			"it uses http where https is registered: the application does not know that it is behind TLS"},
		{"C06 added slash", []string{media}, media + "/", "it ends its path with a slash where none is registered"},
		{"C06 dropped slash", []string{media + "/"}, media, "it lacks the slash at the end"},
		{"slash of an origin", []string{"https://nas.example"}, "https://nas.example/", "it ends its path with a slash"},
		{"scheme and its port", []string{"https://media.example/cb"}, "http://media.example:8096/cb", "it uses http where https is registered"},
		{"https", []string{"http://media.example/cb"}, "https://media.example/cb", "it uses https where http is registered"},
		{"other scheme", []string{"com.example.app:/cb"}, "com.example.beta:/cb", "it uses com.example.beta where com.example.app is registered"},
		{"host", []string{"https://a.example/cb"}, "https://b.example/cb", `it has the host "b.example" where the host "a.example" is registered`},
		{"no host", []string{"app.immich://cb/x"}, "app.immich:///x", `it has no host where the host "cb" is registered`},
		{"loopback host", []string{"http://localhost:1/cb"}, "http://127.0.0.1:2/cb", `it has the host "127.0.0.1" where the host "localhost" is registered`},
		{"port", []string{"https://a.example:8443/cb"}, "https://a.example:9443/cb", `it has the port "9443" where the port "8443" is registered`},
		{"no port", []string{"https://a.example/cb"}, "https://a.example:8443/cb", `it has the port "8443" where no port is registered`},
		{"loopback port", []string{"http://127.0.0.1/"}, "http://127.0.0.1:99999/", `it has the port "99999" where no port is registered`},
		{"path", []string{"https://a.example/cb"}, "https://a.example/callback", `it has the path "/callback" where the path "/cb" is registered`},
		{"path on loopback", []string{"http://localhost:1/cb"}, "http://localhost:2/callback", `it has the path "/callback" where the path "/cb"`},
		{"query", []string{"https://a.example/cb"}, "https://a.example/cb?x=1", `it has the query "?x=1" where no query is registered`},
		{"letter case", []string{"https://a.example/CB"}, "https://A.example/cb", `it differs from the registered "https://a.example/CB" in capital and small letters only`},
		{"C02 fragment", []string{"https://nas.example/"}, "https://nas.example/#/signin", `it carries the fragment "#/signin", which OAuth forbids`},
		{"fragment and slash", []string{"https://nas.example"}, "https://nas.example/#/signin", "set ignore_fragment for this client"},
		{"fragment on both sides", []string{"https://nas.example/#/signin"}, "https://nas.example/#/signin", "it carries the fragment"},
		{"fragment registered", []string{"https://nas.example/#/signin"}, "https://nas.example/", "it lacks the fragment of the registered"},
		{"the nearest of several", []string{"/broken", "https://b.example/", "https://a.example/other", "https://a.example/cb"}, "https://a.example/cb/", "it ends its path with a slash"},
		{"the first of equals", []string{"https://a.example/1", "https://a.example/2"}, "https://a.example/3", `where the path "/1" is registered`},
		{"quoted", []string{"https://a.example/cb"}, "https://a.example/cb?\"><script>\n", `it has the query "?\"><script>\n" where`},
		{"too long", []string{"https://a.example/"}, "https://a.example/" + strings.Repeat("a", maxURI), "it is longer than 2048 bytes"},

		{"all different", []string{"https://a.example/cb"}, "http://b.example/x", ""},
		{"nothing registered", nil, "https://a.example/cb", ""},
		{"no URI", []string{"https://a.example/cb"}, "a.example/cb", ""},
		{"user name", []string{"https://a.example/cb"}, "https://a.example@b.example/cb", ""},
		{"no difference", []string{"javascript:x"}, "javascript:x", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ExplainRedirectMismatch(test.registered, test.asked)
			if !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("ExplainRedirectMismatch(%q, %q) = %q, want %q", test.registered, test.asked, got, test.want)
			}
		})
	}
}

func FuzzExplainRedirectMismatch(f *testing.F) {
	f.Add("https://media.example/cb", "http://media.example:8096/cb")
	f.Add("https://nas.example", "https://nas.example/#/signin")
	f.Add("http://localhost/cb", "http://localhost:99999/cb")
	f.Fuzz(func(t *testing.T, registered, asked string) {
		got := ExplainRedirectMismatch([]string{registered}, asked)
		if got != "" && !strings.HasPrefix(got, "it ") {
			t.Fatalf("not a sentence about it: %q", got)
		}
		if strings.ContainsAny(got, "\r\n\t\x00") {
			t.Fatalf("control characters in %q", got)
		}
	})
}
