// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func mustNew(t testing.TB, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var ownNames = []string{"idp.tail1234.ts.net", "Idp.Example.COM", "localhost:9411"}

func TestCheck(t *testing.T) {
	c := mustNew(t, Config{
		OwnNames:   ownNames,
		AllowHosts: []string{"git.tail1234.ts.net", "Wiki.corp.example:8443", "10.1.2.3:8443", "[fd7a:115c:a1e0::5]", "intranet", "localhost:8443", "build.lan2"},
	})
	long := "https://a.example/" + strings.Repeat("x", 2048)
	label := strings.Repeat("x", 63)
	for _, tt := range []struct {
		url  string
		want string // in the reason; empty: fine
	}{
		{"https://cl.example/c.json", ""},
		{"https://cl.example", ""},
		{"https://cl.example/", ""},
		{"https://cl.example?x=1", ""},
		{"https://CL.Example/C.json", ""},
		{"https://cl.example:443/c.json", ""},
		{"https://cl.example/a//b;c=d,e/@x:y/%2F%c3%bc?q=a/../b&r=[", "percent-encoded"},
		{"https://cl.example/a//b;c=d,e/@x:y/%2F%c3%bc?q=a/../b&r=%5B", ""},
		{"https://cl.example/...", ""},
		{"https://a.b.c.d.co.uk/x", ""},
		{"https://xn--mnchen-3ya.example/x", ""},
		{"https://x.xn--p1ai/x", ""},
		{"https://_x.a-b.example/", ""},
		{"https://1.2.3.example/", ""},
		{"https://0x7f.example/", ""},
		{"https://ts.net.example/", ""},
		{"https://notlocalhost.example/", ""},
		{"https://" + label + ".example/", ""},

		{"", "https://"},
		{"http://cl.example/", "https://"},
		{"HTTPS://cl.example/", "https://"},
		{"https:cl.example/", "https://"},
		{"https:/cl.example/", "https://"},
		{"ftp://cl.example/", "https://"},
		{"file:///etc/passwd", "https://"},
		{"javascript:alert(1)", "https://"},
		{" https://cl.example/", "https://"},
		{long, "longer"},

		// Forms that parsers do not agree on.
		{"https://", "empty"},
		{"https:///c.json", "empty"},
		{"https://:443/", "empty"},
		{"https://user@cl.example/", "user name"},
		{"https://user:secret@cl.example/", "user name"},
		{"https://good.example@evil.example/", "user name"},
		{"https://@cl.example/", "user name"},
		{"https://cl.example#f", "fragment"},
		{"https://cl.example/#", "fragment"},
		{"https://cl.example/?#x", "fragment"},
		{`https://cl.example\@evil.example/`, "user name"},
		{`https://cl.example\evil.example/`, "character"},
		{`https://cl.example/\evil`, "percent-encoded"},
		{"https://cl.example/a b", "percent-encoded"},
		{"https://cl.example/a\tb", "percent-encoded"},
		{"https://cl.example/a\r\nHost: x", "percent-encoded"},
		{"https://cl.example/\x00", "percent-encoded"},
		{"https://cl.example/ü", "percent-encoded"},
		{"https://cl.exa\tmple/", "character"},
		{"https://cl.example\n/", "character"},
		{"https://cl.example%2eevil.example/", "character"},
		{"https://cl%00.example/", "character"},
		{"https://mün.example/", "character"},
		{"https://１２７.0.0.1/", "character"},
		{"https://127。0。0。1/", "character"},
		{"https://cl.example/%zz", "not a valid URL"},
		{"https://cl.example/%", "not a valid URL"},
		{"https://cl..example/", "not a valid name"},
		{"https://.example/", "not a valid name"},
		{"https://-a.example/", "not a valid name"},
		{"https://a-.example/", "not a valid name"},
		{"https://x" + label + ".example/", "not a valid name"},
		{"https://" + strings.Repeat(label+".", 4) + "example/", "too long"},
		{"https://cl.example./", "ends in a dot"},
		{"https://127.0.0.1./", "ends in a dot"},
		{"https://localhost./", "ends in a dot"},
		{"https://cl.example:/", "port"},
		{"https://cl.example:0/", "port"},
		{"https://cl.example:0443/", "port"},
		{"https://cl.example:+443/", "port"},
		{"https://cl.example:65536/", "port"},
		{"https://cl.example:443:443/", "port"},
		{"https://cl.example:https/", "port"},
		{"https://cl.example/./c.json", "dot segment"},
		{"https://cl.example/a/..", "dot segment"},
		{"https://cl.example/a/../c.json", "dot segment"},
		{"https://cl.example/a/%2e%2E/c.json", "dot segment"},
		{"https://cl.example/.%2e?x", "dot segment"},

		// Addresses, and their disguises.
		{"https://8.8.8.8/", "-client-metadata-allow 8.8.8.8"},
		{"https://127.0.0.1/", "IP address"},
		{"https://169.254.169.254/latest", "IP address"},
		{"https://0.0.0.0/", "IP address"},
		{"https://100.100.100.100/", "IP address"},
		{"https://10.1.2.3/", "IP address"},
		{"https://[::1]/", "-client-metadata-allow [::1]"},
		{"https://[::1]:8443/", "-client-metadata-allow [::1]:8443"},
		{"https://[0:0:0:0:0:0:0:1]/", "IP address"},
		{"https://[::ffff:127.0.0.1]/", "IP address"},
		{"https://[::ffff:7f00:1]/", "IP address"},
		{"https://[64:ff9b::7f00:1]/", "IP address"},
		{"https://[fd7a:115c:a1e0::53]/", "IP address"},
		{"https://[2606:4700::1111]/", "IP address"},
		{"https://[fe80::1%25eth0]/", "IPv6 address"},
		{"https://[fe80::1%eth0]/", "IPv6 address"},
		{"https://[127.0.0.1]/", "IPv6 address"},
		{"https://[::1/", "IPv6 address"},
		{"https://[]/", "IPv6 address"},
		{"https://[v1.x]/", "IPv6 address"},
		{"https://[::1]x/", "something else"},
		{"https://[::1].example/", "something else"},
		{"https://[::1]:/", "port"},
		{"https://::1/", "empty"},
		{"https://2130706433/", "disguise"},
		{"https://017700000001/", "disguise"},
		{"https://0x7f000001/", "disguise"},
		{"https://0X7F000001/", "disguise"},
		{"https://127.1/", "disguise"},
		{"https://127.0.1/", "disguise"},
		{"https://0177.0.0.1/", "disguise"},
		{"https://127.0.0.01/", "disguise"},
		{"https://0x7f.0.0.1/", "disguise"},
		{"https://0x7f.0x0.0x0.0x1/", "disguise"},
		{"https://127.0.0.0x1/", "disguise"},
		{"https://127.0.0.0x/", "disguise"},
		{"https://1.2.3.4.5/", "disguise"},
		{"https://256.256.256.256/", "disguise"},
		{"https://0/", "disguise"},
		{"https://0x/", "disguise"},
		{"https://a.example.1/", "disguise"},

		// Names that are not public.
		{"https://localhost/", "-client-metadata-allow localhost"},
		{"https://LOCALHOST/", "local machine"},
		{"https://a.localhost/", "local machine"},
		{"https://idp/", "without a domain"},
		{"https://metadata/", "without a domain"},
		{"https://example/", "without a domain"},
		{"https://other.tail1234.ts.net/", "-client-metadata-allow other.tail1234.ts.net"},
		{"https://OTHER.tail1234.TS.net/", "in a tailnet"},
		{"https://printer.local/", "private networks"},
		{"https://metadata.google.internal/", "private networks"},
		{"https://router.home.arpa/", "private networks"},
		{"https://abc.onion/", "private networks"},
		{"https://a.lan2/", "top-level"},
		{"https://a.0xg/", "top-level"},
		{"https://a.b_c/", "top-level"},
		{"https://cl.example:8443/", "-client-metadata-allow cl.example:8443"},
		{"https://cl.example:80/", "not 443"},
		{"https://cl.example:22/", "not 443"},

		// Our own.
		{"https://idp.tail1234.ts.net/", "this server itself"},
		{"https://IDP.tail1234.ts.net:8443/", "this server itself"},
		{"https://idp.example.com/c.json", "this server itself"},
		{"https://localhost:9411/", "this server itself"},

		// Listed, with their port.
		{"https://git.tail1234.ts.net/c.json", ""},
		{"https://git.tail1234.ts.net:443/c.json", ""},
		{"https://GIT.tail1234.ts.net/c.json", ""},
		{"https://git.tail1234.ts.net:8443/", "in a tailnet"},
		{"https://x.git.tail1234.ts.net/", "in a tailnet"},
		{"https://wiki.corp.example:8443/", ""},
		{"https://wiki.corp.example/", ""}, // if it is public
		{"https://wiki.corp.example:8444/", "not 443"},
		{"https://10.1.2.3:8443/", ""},
		{"https://10.1.2.3/", "IP address"},
		{"https://10.1.515:8443/", "disguise"},
		{"https://[fd7a:115c:a1e0::5]/", ""},
		{"https://[fd7a:115c:a1e0:0:0:0:0:5]/", ""},
		{"https://intranet/", ""},
		{"https://build.lan2/", ""},
		{"https://localhost:8443/", ""},
		{"https://localhost/", "local machine"},
		{"https://intranet./", "ends in a dot"},
		{"http://intranet/", "https://"},
		{"https://intranet/../", "dot segment"},
	} {
		err := c.Check(tt.url)
		if tt.want == "" {
			if err != nil {
				t.Errorf("Check(%q): %v", tt.url, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("Check(%q) does not refuse", tt.url)
			continue
		}
		if e := failure(t, err, ErrRefused); !strings.Contains(e.Reason, tt.want) {
			t.Errorf("Check(%q): reason %q, want %q in it", tt.url, e.Reason, tt.want)
		}
	}
}

func TestCheckMessage(t *testing.T) {
	const want = `checking "https://a.example:8443/": refused by policy: its port is not 443; an administrator can allow it with -client-metadata-allow a.example:8443`
	if err := mustNew(t, Config{}).Check("https://a.example:8443/"); err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}

// inetAton decodes an IPv4 address as the C function of that name does: one to
// four numbers, each decimal, octal or hexadecimal, the last one filling what
// is left.
func inetAton(s string) (netip.Addr, bool) {
	numbers := strings.Split(s, ".")
	if len(numbers) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, number := range numbers {
		base := 10
		switch {
		case strings.HasPrefix(number, "0x"), strings.HasPrefix(number, "0X"):
			number, base = number[2:], 16
			if number == "" {
				number = "0"
			}
		case strings.HasPrefix(number, "0"):
			base = 8
		}
		n, err := strconv.ParseUint(number, base, 32)
		last := i == len(numbers)-1
		if err != nil || !last && n > 255 || last && n >= 1<<(8*(4-i)) {
			return netip.Addr{}, false
		}
		if last {
			value |= n
		} else {
			value |= n << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

func TestInetAton(t *testing.T) {
	for s, want := range map[string]string{
		"127.0.0.1": "127.0.0.1", "2130706433": "127.0.0.1", "0x7f.1": "127.0.0.1", "0177.0.0.01": "127.0.0.1", "10.1.515": "10.1.2.3", "0x": "0.0.0.0",
	} {
		if got, ok := inetAton(s); !ok || got.String() != want {
			t.Errorf("inetAton(%s) = %v, %t, want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{"256.0.0.1", "1.2.3.4.5", "a.example", "", "1.2.3.256", "09"} {
		if got, ok := inetAton(s); ok {
			t.Errorf("inetAton(%s) = %v", s, got)
		}
	}
}

// FuzzTarget: what passes has one reading, and that is a public name: no
// address in any writing, nothing of ours, and what goes over the wire is what
// was written.
func FuzzTarget(f *testing.F) {
	for _, host := range []string{"cl.example", "127.0.0.1", "2130706433", "0x7f.1", "0177.1", "[::1]", "localhost", "a.ts.net", "idp.example.com", "a.example:443", "u@a.example", "a.example.", "1.2.3.example"} {
		f.Add("https://" + host + "/c.json?x=%2e")
	}
	f.Add("https://cl.example/a/%2e%2e/b")
	f.Add("https://cl.example\\@evil.example//x#y")
	c := mustNew(f, Config{OwnNames: ownNames})
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := c.target(raw)
		if err != nil {
			failure(t, err, ErrRefused)
			return
		}
		if a, ok := inetAton(got.host); ok {
			t.Errorf("%q passes, and is %v", raw, a)
		}
		if a, err := netip.ParseAddr(got.host); err == nil {
			t.Errorf("%q passes, and is %v", raw, a)
		}
		if got.listed || got.port != "443" || !strings.Contains(got.host, ".") || got.host != strings.ToLower(got.host) || strings.Trim(got.host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Errorf("%q passes as %+v", raw, got.hostPort)
		}
		for _, domain := range []string{"localhost", "ts.net", "local", "internal", "idp.example.com"} {
			if got.host == domain || domain != "idp.example.com" && strings.HasSuffix(got.host, "."+domain) {
				t.Errorf("%q passes as %s", raw, got.host)
			}
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Opaque != "" || !strings.EqualFold(u.Hostname(), got.host) {
			t.Errorf("%q passes as %s, but is %+v, %v by net/url", raw, got.host, u, err)
			return
		}
		_, rest, _ := splitURL(raw)
		if want := "/" + strings.TrimPrefix(rest, "/"); got.url.RequestURI() != want {
			t.Errorf("%q asks for %q, want %q", raw, got.url.RequestURI(), want)
		}
		for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
			if plain, _ := url.PathUnescape(segment); plain == "." || plain == ".." {
				t.Errorf("%q passes with a dot segment", raw)
			}
		}
	})
}
