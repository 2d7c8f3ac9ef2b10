// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestMatchRedirectURI(t *testing.T) {
	var (
		confidential = RedirectRules{}
		public       = RedirectRules{Public: true}
		synology     = RedirectRules{IgnoreFragment: true}
	)
	agents := []string{"http://127.0.0.1/", "http://127.0.0.1:33418/", "http://localhost/callback"}
	nas := []string{"https://nas.example/"}
	long := "https://h.example/" + strings.Repeat("a", maxURI-len("https://h.example/"))
	tests := []struct {
		name       string
		registered []string
		asked      string
		rules      RedirectRules
		want       string // empty: refused
	}{
		{"equal", []string{"https://a.example/x", "https://app.example/cb"}, "https://app.example/cb", confidential, "https://app.example/cb"},
		{"no path", []string{"https://pve.example:8006"}, "https://pve.example:8006", confidential, "https://pve.example:8006"},
		{"nothing registered", nil, "https://app.example/cb", confidential, ""},
		{"empty", []string{""}, "", confidential, ""},
		{"out of band", []string{"urn:ietf:wg:oauth:2.0:oob"}, "urn:ietf:wg:oauth:2.0:oob", confidential, "urn:ietf:wg:oauth:2.0:oob"},
		{"registered before there were checks", []string{"https://h.example/ü b\\"}, "https://h.example/ü b\\", confidential, "https://h.example/ü b\\"},

		{"C01 three slashes", []string{"app.immich:///oauth-callback"}, "app.immich:///oauth-callback", public, "app.immich:///oauth-callback"},
		{"C01 one slash", []string{"app.immich:///oauth-callback"}, "app.immich:/oauth-callback", public, ""},
		{"C01 two slashes", []string{"app.immich:///oauth-callback"}, "app.immich://oauth-callback", public, ""},

		{"C02 fragment", nas, "https://nas.example/#/signin", confidential, ""},
		{"C02 fragment ignored", nas, "https://nas.example/#/signin", synology, "https://nas.example/"},
		{"C02 no fragment under the rule", nas, "https://nas.example/", synology, "https://nas.example/"},
		{"C02 registered with it", []string{"https://nas.example/#/signin"}, "https://nas.example/#/signin", confidential, ""},
		{"C02 registered with it, ignored", []string{"https://nas.example/#/signin"}, "https://nas.example/#/other", synology, "https://nas.example/"},
		{"C02 empty fragment", nas, "https://nas.example/#", confidential, ""},
		{"C02 other host", nas, "https://evil.example/#https://nas.example/", synology, ""},
		{"C02 slash", nas, "https://nas.example#/", synology, ""},
		{"fragment only", []string{"#x"}, "#x", synology, ""},
		{"fragment on loopback", []string{"http://127.0.0.1/cb"}, "http://127.0.0.1:1/cb#f", public, ""},
		{"fragment on loopback, ignored", []string{"http://127.0.0.1/cb#r"}, "http://127.0.0.1:1/cb#f", synology, "http://127.0.0.1:1/cb"},
		{"registered fragment on loopback", []string{"http://127.0.0.1/cb#f"}, "http://127.0.0.1:1/cb", public, ""},
		{"control character in the ignored fragment", nas, "https://nas.example/#\r\n", synology, ""},

		{"C04 a", agents, "http://127.0.0.1:51999/", public, "http://127.0.0.1:51999/"},
		{"C04 b", agents, "http://[::1]:51999/", public, ""},
		{"C04 b registered", []string{"http://[::1]/"}, "http://[::1]:51999/", public, "http://[::1]:51999/"},
		{"C04 c", agents, "http://localhost:51999/callback", public, "http://localhost:51999/callback"},
		{"C04 d", agents, "http://127.0.0.1:51999/callback", public, "http://127.0.0.1:51999/callback"},
		{"C04 d confidential", agents, "http://127.0.0.1:51999/callback", confidential, ""},
		{"C04 d other way round", agents, "http://localhost:51999/", public, "http://localhost:51999/"},
		{"C04 d other way round, confidential", agents, "http://localhost:51999/", confidential, ""},
		{"C04 e", agents, "https://127.0.0.1:51999/", public, ""},
		{"C04 f", agents, "http://127.0.0.1.evil.example:51999/", public, ""},
		{"C04 g", agents, "http://127.0.0.1@evil.example/", public, ""},
		{"C04 h", agents, "http://127.0.0.1:99999/", public, ""},

		{"port for confidential", []string{"http://localhost:8000"}, "http://localhost:18000", confidential, "http://localhost:18000"},
		{"no port asked", []string{"http://localhost:8000/cb"}, "http://localhost/cb", confidential, "http://localhost/cb"},
		{"port zero", []string{"http://localhost/cb"}, "http://localhost:0/cb", confidential, "http://localhost:0/cb"},
		{"equal query", []string{"http://localhost/cb?a=b%2F"}, "http://localhost:1/cb?a=b%2F", confidential, "http://localhost:1/cb?a=b%2F"},
		{"query without path", []string{"http://localhost?@x/"}, "http://localhost:1?@x/", confidential, "http://localhost:1?@x/"},
		{"::1 for localhost", []string{"http://[::1]/cb"}, "http://localhost/cb", public, ""},
		{"localhost for ::1", []string{"http://localhost/cb"}, "http://[::1]/cb", public, ""},
		{"registered port out of range", []string{"http://localhost:99999/cb"}, "http://localhost:1/cb", public, ""},
		{"registered with user", []string{"http://u@localhost/cb"}, "http://localhost:1/cb", public, ""},
		{"registered with a backslash", []string{"http://localhost/a\\b"}, "http://localhost:1/a\\b", public, ""},
		{"registered with a blank", []string{"http://localhost/a b"}, "http://localhost:1/a b", public, ""},
		{"registered with invalid UTF-8", []string{"http://localhost/\xff"}, "http://localhost:1/\xff", public, ""},
		{"registered with a broken escape", []string{"http://localhost/%zz"}, "http://localhost:1/%zz", public, ""},
		{"registered in capitals", []string{"http://LOCALHOST/cb"}, "http://localhost:1/cb", public, ""},

		{"C06 scheme", []string{"https://media.example/cb"}, "http://media.example/cb", confidential, ""},
		{"C06 slash", []string{"https://media.example/cb"}, "https://media.example/cb/", confidential, ""},
		{"port of another host", []string{"http://app.example/cb"}, "http://app.example:81/cb", public, ""},
		{"port over https", []string{"https://localhost/cb"}, "https://localhost:81/cb", public, ""},

		{"javascript", []string{"javascript:alert(1)"}, "javascript:alert(1)", confidential, ""},
		{"JavaScript", []string{"JavaScript:alert(1)"}, "JavaScript:alert(1)", confidential, ""},
		{"data", []string{"data:text/html,x"}, "data:text/html,x", confidential, ""},
		{"blank and javascript", []string{" javascript:alert(1)"}, " javascript:alert(1)", confidential, ""},
		{"tab in javascript", []string{"java\tscript:alert(1)"}, "java\tscript:alert(1)", confidential, ""},
		{"relative", []string{"/cb"}, "/cb", confidential, ""},
		{"without scheme", []string{"//evil.example/cb"}, "//evil.example/cb", confidential, ""},
		{"line break", []string{"https://h/\r\nX: y"}, "https://h/\r\nX: y", confidential, ""},
		{"C1 control character", []string{"https://h/\u0085"}, "https://h/\u0085", confidential, ""},
		{"invalid UTF-8", []string{"https://h/\xff"}, "https://h/\xff", confidential, ""},
		{"2048 bytes", []string{long}, long, confidential, long},
		{"2049 bytes", []string{long + "a"}, long + "a", confidential, ""},
		{"2049 bytes with the fragment", []string{long}, long + "#", synology, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			to, ok := MatchRedirectURI(test.registered, test.asked, test.rules)
			if to != test.want || ok != (test.want != "") {
				t.Errorf("MatchRedirectURI(%q, %q, %+v) = %q, %v, want %q", test.registered, test.asked, test.rules, to, ok, test.want)
			}
		})
	}
}

// TestLoopbackTricks asks for URIs that some parser takes for the registered http://127.0.0.1/cb at another port.
func TestLoopbackTricks(t *testing.T) {
	registered := []string{"http://127.0.0.1/cb", "http://localhost/cb", "http://[::1]/cb"}
	for _, asked := range []string{
		"HTTP://127.0.0.1:1/cb", "http://LOCALHOST:1/cb", "Http://localhost:1/cb", "http:127.0.0.1:1/cb", "http:/127.0.0.1:1/cb",
		"http:///127.0.0.1:1/cb", "http:\\\\127.0.0.1:1\\cb", "http://127.0.0.1:1\\cb", "http://127.0.0.1\\@evil.example/cb",
		"http://evil.example\\@127.0.0.1:1/cb", "http://evil.example/@127.0.0.1:1/cb", "http://evil.example?@127.0.0.1:1/cb",
		"http://evil.example#@127.0.0.1:1/cb", "http://evil.example@127.0.0.1:1/cb", "http://a:b@127.0.0.1:1/cb", "http://@127.0.0.1:1/cb",
		"http://127.0.0.1:1@evil.example/cb", "http://127.0.0.1:1%40evil.example/cb", "http://127.0.0.1:1/cb/", "http://127.0.0.1:1//cb",
		"http://127.0.0.1:1/./cb", "http://127.0.0.1:1/x/../cb", "http://127.0.0.1:1/%63b", "http://127.0.0.1:1/CB", "http://127.0.0.1:1/cb?",
		"http://127.0.0.1:1/cb?x=y", "http://127.0.0.1:1/cb;x", "http://127.0.0.1:1/cb#", "http://127.0.0.1:1/cb ", " http://127.0.0.1:1/cb",
		"http://127.0.0.1:1/cb\t", "http://127.0.0.1:1/cb\n", "http://127.0.0.1:1/cb\x00", "ht\ntp://127.0.0.1:1/cb", "http://127.0.0.1:\t1/cb",
		"http://127.0.0.1 :1/cb", "http://127.0.0.1.:1/cb", "http://localhost.:1/cb", "http://127.0.0.2:1/cb", "http://127.1:1/cb",
		"http://2130706433:1/cb", "http://0x7f000001:1/cb", "http://0177.0.0.1:1/cb", "http://0.0.0.0:1/cb", "http://[::]:1/cb",
		"http://127.0.0.1%00.evil.example:1/cb", "http://%31%32%37.0.0.1:1/cb", "http://[::ffff:127.0.0.1]:1/cb", "http://[0:0:0:0:0:0:0:1]:1/cb",
		"http://[::1%25lo]:1/cb", "http://[::1%lo]:1/cb", "http://[::1]evil.example:1/cb", "http://::1:1/cb", "http://１２７.0.0.1:1/cb",
		"http://127。0。0。1:1/cb", "http://localhost\u200b:1/cb", "http://localhost\xff:1/cb", "http://127.0.0.1:1:2/cb", "http://127.0.0.1:/cb",
		"http://127.0.0.1:+1/cb", "http://127.0.0.1:-1/cb", "http://127.0.0.1:65536/cb", "http://127.0.0.1:00000000001/cb", "http://127.0.0.1:1e3/cb",
		"http://evil.example:1/cb", "http://localhost.evil.example:1/cb", "http://127.0.0.1,evil.example:1/cb", "ftp://127.0.0.1:1/cb", "ws://localhost:1/cb",
	} {
		for _, public := range []bool{false, true} {
			if to, ok := MatchRedirectURI(registered, asked, RedirectRules{Public: public}); ok || to != "" {
				t.Errorf("MatchRedirectURI(%q) with Public %v = %q, %v, want a refusal", asked, public, to, ok)
			}
		}
	}
}

func FuzzMatchRedirectURI(f *testing.F) {
	f.Add("http://127.0.0.1/", "http://127.0.0.1:51999/", true, false)
	f.Add("http://localhost:8000", "http://localhost:18000", false, false)
	f.Add("http://localhost/cb?a=b", "http://127.0.0.1:1/cb?a=b", true, false)
	f.Add("http://[::1]/%2e", "http://[::1]:0/%2e", true, true)
	f.Add("https://nas.example/", "https://nas.example/#/signin", false, true)
	f.Add("app.immich:///oauth-callback", "app.immich:///oauth-callback", true, false)
	f.Add("http://localhost?@x", "http://localhost:1?@x", false, false)
	f.Add("javascript:alert(1)", "javascript:alert(1)", false, false)
	f.Fuzz(func(t *testing.T, registered, asked string, public, ignoreFragment bool) {
		rules := RedirectRules{Public: public, IgnoreFragment: ignoreFragment}
		to, ok := MatchRedirectURI([]string{"https://decoy.example/cb", registered}, asked, rules)
		if !ok {
			if to != "" {
				t.Fatalf("refused, yet to = %q", to)
			}
			return
		}
		if before, _, _ := strings.Cut(asked, "#"); to != before {
			t.Fatalf("to = %q is not what was asked", to)
		}
		if !ignoreFragment && to != asked {
			t.Fatalf("to = %q lost the fragment", to)
		}
		if strings.ContainsAny(to, "\r\n\x00#") {
			t.Fatalf("to = %q cannot be a Location", to)
		}
		want := registered
		if ignoreFragment {
			want, _, _ = strings.Cut(registered, "#")
		}
		if to == want || to == "https://decoy.example/cb" {
			return
		}
		checkLoopbackPair(t, want, to, public)
	})
}

// checkLoopbackPair is the loopback exception once more, in terms of net/url.
func checkLoopbackPair(t *testing.T, registered, to string, public bool) {
	t.Helper()
	a, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r, err := url.Parse(registered)
	if err != nil {
		t.Fatal(err)
	}
	loopbacks := []string{"127.0.0.1", "::1", "localhost"}
	for _, u := range []*url.URL{a, r} {
		if u.Scheme != "http" || u.User != nil || u.Opaque != "" || !slices.Contains(loopbacks, u.Hostname()) {
			t.Fatalf("%q was taken for a loopback URI", u)
		}
	}
	if a.EscapedPath() != r.EscapedPath() || a.RawQuery != r.RawQuery || a.ForceQuery != r.ForceQuery {
		t.Fatalf("%q and %q differ in more than the port", registered, to)
	}
	if a.Hostname() != r.Hostname() && (!public || a.Hostname() == "::1" || r.Hostname() == "::1") {
		t.Fatalf("%q was taken for %q", to, registered)
	}
}
