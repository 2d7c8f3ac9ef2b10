// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/store/memory"
)

func goodConfig(change ...func(*Config)) Config {
	cfg := Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: memory.New()}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

// TestNewReportsEverything: one call of New is enough to learn all faults.
func TestNewReportsEverything(t *testing.T) {
	p, err := New(Config{
		Issuer: "ftp://x/", Hosts: []string{"", "UPPER", "a/b", "user@x"}, EmailVerified: EmailVerified{All: true, None: true, Domains: []string{"Example.com", "gmail"}},
		Lifetimes: &Lifetimes{AccessToken: 2 * time.Hour},
	})
	if err == nil || p != nil {
		t.Fatalf("New returned %v, %v", p, err)
	}
	text := err.Error()
	for _, want := range []string{
		"tsidp: ", "Config.Issuer \"ftp://x/\"", "Config.Tailnet is nil", "LocalClient", "Config.Store is nil", "memory.New()",
		`Config.Hosts: ""`, `Config.Hosts: "UPPER"`, `Config.Hosts: "a/b"`, `Config.Hosts: "user@x"`,
		"Config.EmailVerified: All, None and Domains exclude each other", `Config.EmailVerified: "Example.com"`, `Config.EmailVerified: "gmail"`,
		"Config.Lifetimes: lifetime AccessToken is 2h0m0s, want between 1s and 1h0m0s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the error does not say %q:\n%s", want, text)
		}
	}
	if lines := strings.Count(text, "\n") + 1; lines != 11 {
		t.Errorf("%d faults, want 11, one per line:\n%s", lines, text)
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Config.Issuer is empty") {
		t.Errorf("the zero Config: %v", err)
	}
	if _, err := New(goodConfig()); err != nil {
		t.Errorf("a good Config: %v", err)
	}
}

// TestIssuer: "using the https scheme ... no query or fragment components"
// (RFC 8414 section 2), and compared byte by byte.
func TestIssuer(t *testing.T) {
	for _, tt := range []struct {
		issuer string
		dev    bool
		bad    string // part of the error; empty: none
	}{
		{"https://idp.tail1234.ts.net", false, ""},
		{"https://idp.tail1234.ts.net:8443", false, ""},
		{"https://idp.tail1234.ts.net:443", false, ""},
		{"https://example.com/idp", false, ""},
		{"https://example.com/a/b-c_d.e~f/1", false, ""},
		{"https://192.0.2.1", false, ""},
		{"https://100.64.0.1:8443/x", false, ""},
		{"https://[2001:db8::1]", false, ""},
		{"https://[2001:db8::1]:8443", false, ""},
		{"https://localhost:9411", false, ""},
		{"https://localhost:9411", true, ""},

		{"", false, "is empty"},
		{"idp.tail1234.ts.net", false, "absolute URL"},
		{"//idp.tail1234.ts.net", false, "https"},
		{"/idp", false, "absolute URL"},
		{"https:", false, "absolute URL"},
		{"https://", false, "absolute URL"},
		{"https:idp.example", false, "absolute URL"},
		{"https:///idp", false, "absolute URL"},
		{"https://exa mple.com", false, "absolute URL"},
		{"https://idp\x00.example", false, "absolute URL"},
		{"https://idp.example:http", false, "absolute URL"},
		{"https://[::1", false, "absolute URL"},
		{" https://idp.example", false, "absolute URL"},

		{"https://idp.example/", false, "slash"},
		{"https://idp.example/idp/", false, "slash"},
		{"https://idp.example?", false, "query"},
		{"https://idp.example?x=1", false, "query"},
		{"https://idp.example/?x=1", false, "query"},
		{"https://idp.example#", false, "fragment"},
		{"https://idp.example/idp#x", false, "fragment"},
		{"https://user@idp.example", false, "user name"},
		{"https://:pass@idp.example", false, "user name"},
		{"https://@idp.example", false, "user name"},

		{"https://IDP.example", false, "lower case"},
		{"HTTPS://idp.example", false, "normal form"},
		{"https://idp.example/a b", false, "normal form"},
		{"https://ídp.example", false, "normal form"},
		{"https://idp.example:", false, "port"},
		{"https://idp.example:0", false, "port"},
		{"https://idp.example:08443", false, "port"},
		{"https://idp.example:65536", false, "port"},
		{"https://[2001:DB8::1]", false, "lower case"},

		// Paths that routes cannot have.
		{"https://idp.example/a%20b", false, "path"},
		{"https://idp.example/a%2Fb", false, "path"},
		{"https://idp.example/%7Bx%7D", false, "path"},
		{"https://idp.example//a", false, "path"},
		{"https://idp.example/a//b", false, "path"},
		{"https://idp.example/a/../b", false, "path"},
		{"https://idp.example/a/.", false, "path"},
		{"https://idp.example/{x}", false, "normal form"},
		{"https://idp.example/.well-known/oauth-authorization-server", false, "path"},
		{"https://idp.example/x/.well-known", false, "path"},

		{"http://idp.tail1234.ts.net", false, "https"},
		{"http://idp.tail1234.ts.net", true, "https"},
		{"http://100.64.0.1", true, "https"},
		{"http://localhost:9411", false, "https"},
		{"http://localhost:9411", true, ""},
		{"http://localhost", true, ""},
		{"http://localhost:80", true, ""},
		{"http://127.0.0.1:9411", true, ""},
		{"http://127.9.9.9", true, ""},
		{"http://[::1]:9411/idp", true, ""},
		{"http://localhost.evil.example", true, "https"},
		{"http://127.0.0.1.evil.example", true, "https"},
		{"http://0.0.0.0", true, "https"},
		{"ftp://idp.example", true, "https"},
		{"mailto:idp@example.com", false, "absolute URL"},
	} {
		p, err := New(goodConfig(func(c *Config) { c.Issuer, c.Development = tt.issuer, tt.dev }))
		switch {
		case tt.bad == "" && err != nil:
			t.Errorf("%q dev=%t: %v", tt.issuer, tt.dev, err)
		case tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad)):
			t.Errorf("%q dev=%t: error %v, want one about %q", tt.issuer, tt.dev, err, tt.bad)
		case err == nil:
			checkMetadataPath(t, p)
		}
	}
}

// checkMetadataPath: whatever issuer New takes, all handlers can be built
// and its metadata are where clients look, by the names that browsers send.
func checkMetadataPath(t *testing.T, p *Provider) {
	t.Helper()
	p.AdminHandler()
	p.keys.Store(&keyring{}) // as Run would
	for name, h := range map[string]http.Handler{"Handler": p.Handler(), "PublicHandler": p.PublicHandler()} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", p.issuer+"/.well-known/openid-configuration", nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"issuer": "`+p.issuer+`"`) {
			t.Errorf("%s of %s: metadata with status %d: %s", name, p.issuer, w.Code, w.Body)
		}
	}
	scheme, rest, _ := strings.Cut(p.issuer, "://")
	host, _, _ := strings.Cut(rest, "/")
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	for _, h := range []string{host, strings.TrimSuffix(host, port), strings.ToUpper(host)} {
		if !p.ownHost(h) {
			t.Errorf("%s: the host %s is not its own", p.issuer, h)
		}
	}
	for _, h := range []string{"", "evil.example", host + ".evil.example", "x" + host, host + ":1"} {
		if p.ownHost(h) {
			t.Errorf("%s: the host %q counts as its own", p.issuer, h)
		}
	}
}

func TestParseEmailVerified(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want EmailVerified
		ok   bool
	}{
		{"", EmailVerified{}, true},
		{"all", EmailVerified{All: true}, true},
		{"none", EmailVerified{None: true}, true},
		{"own:example.com", EmailVerified{Domains: []string{"example.com"}}, true},
		{"own:example.com,example.org", EmailVerified{Domains: []string{"example.com", "example.org"}}, true},
		{"own: Example.COM , example.org ", EmailVerified{Domains: []string{"example.com", "example.org"}}, true},
		{"own:xn--bcher-kva.example", EmailVerified{Domains: []string{"xn--bcher-kva.example"}}, true},
		{"own", EmailVerified{}, false},
		{"own:", EmailVerified{}, false},
		{"own:,", EmailVerified{}, false},
		{"own:example.com,", EmailVerified{}, false},
		{"own:github", EmailVerified{}, false},
		{"own:@example.com", EmailVerified{}, false},
		{"own:*.example.com", EmailVerified{}, false},
		{"own:bücher.example", EmailVerified{}, false},
		{"own:example.com.", EmailVerified{}, false},
		{"All", EmailVerified{}, false},
		{" all", EmailVerified{}, false},
		{"all,none", EmailVerified{}, false},
		{"true", EmailVerified{}, false},
		{"example.com", EmailVerified{}, false},
	} {
		got, err := ParseEmailVerified(tt.in)
		if (err == nil) != tt.ok || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseEmailVerified(%q) is %+v, %v; want %+v, ok %t", tt.in, got, err, tt.want, tt.ok)
		}
		if tt.ok {
			if _, err := New(goodConfig(func(c *Config) { c.EmailVerified = got })); err != nil {
				t.Errorf("New does not take ParseEmailVerified(%q): %v", tt.in, err)
			}
		}
	}
}

func TestIsDomain(t *testing.T) {
	label := strings.Repeat("a", 63)
	for s, want := range map[string]bool{
		"example.com": true, "a.b": true, "1.2": true, "a-b.c-d.e": true, label + ".com": true,
		"": false, "example": false, ".com": false, "example.": false, "a..b": false, "-a.b": false, "a-.b": false, "A.b": false,
		"a_b.c": false, "a b.c": false, "ä.b": false, "a@b.c": false, label + "a.com": false, strings.Repeat("aa.", 84) + "aaaa": false,
	} {
		if got := isDomain(s); got != want {
			t.Errorf("isDomain(%q) is %t, want %t", s, got, want)
		}
	}
}

// TestLifetimes: DESIGN's defaults, and bounds on both sides.
func TestLifetimes(t *testing.T) {
	day := 24 * time.Hour
	defaults := Lifetimes{Code: time.Minute, AccessToken: 5 * time.Minute, IDToken: time.Hour, RefreshIdle: 30 * day, RefreshTotal: 365 * day}
	most := map[string]time.Duration{"Code": time.Minute, "AccessToken": time.Hour, "IDToken": 30 * day, "RefreshIdle": 3650 * day, "RefreshTotal": 3650 * day}
	for _, l := range []*Lifetimes{nil, {}} {
		p, err := New(goodConfig(func(c *Config) { c.Lifetimes = l }))
		if err != nil {
			t.Fatal(err)
		}
		if p.life != defaults {
			t.Errorf("Lifetimes %v: %+v, want %+v", l, p.life, defaults)
		}
	}
	typ := reflect.TypeFor[Lifetimes]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		for _, tt := range []struct {
			d  time.Duration
			ok bool
		}{
			{time.Second, true}, {most[name], true}, {time.Second - 1, false}, {-time.Second, false}, {most[name] + 1, false}, {1<<63 - 1, false}, {-1 << 63, false},
		} {
			var l Lifetimes
			reflect.ValueOf(&l).Elem().Field(i).SetInt(int64(tt.d))
			_, err := New(goodConfig(func(c *Config) { c.Lifetimes = &l }))
			if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "lifetime "+name) {
				t.Errorf("%s %v: %v, want accepted: %t", name, tt.d, err, tt.ok)
			}
		}
	}
}

// TestConfigIsNotShared: New keeps nothing that the caller may change.
func TestConfigIsNotShared(t *testing.T) {
	l := &Lifetimes{AccessToken: time.Minute}
	hosts, domains := []string{"localhost:9411"}, []string{"example.com"}
	p, err := New(goodConfig(func(c *Config) { c.Lifetimes, c.Hosts, c.EmailVerified.Domains = l, hosts, domains }))
	if err != nil {
		t.Fatal(err)
	}
	l.AccessToken, hosts[0], domains[0] = time.Hour, "evil.example", "evil.example"
	if c := p.claimsFor(&client{}, &identity{login: "eve@evil.example"}, []string{scopeEmail}); c.EmailVerified != nil {
		t.Error("the verified domains follow the caller's")
	}
	if p.life.AccessToken != time.Minute || p.ownHost("evil.example") || !p.ownHost("localhost:9411") {
		t.Errorf("lifetimes %+v and hosts %q follow the caller's", p.life, p.hosts)
	}
	if !slices.Contains(p.hosts, "idp.tail1234.ts.net") {
		t.Errorf("hosts %q", p.hosts)
	}
}

// TestDefaultsOfNew: a nil Logger and Now are sound.
func TestDefaultsOfNew(t *testing.T) {
	p, err := New(goodConfig())
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(p.now()); d < 0 || d > time.Minute {
		t.Errorf("the clock is off by %v", d)
	}
	p.log.Error("discarded")
	p.reportRules(&identity{addr: netip.Addr{}}, []ruleFault{{Err: errTest}})
}
