// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tailscale.com/ipn/ipnstate"
)

func TestListenLoopback(t *testing.T) {
	lns, err := listenLoopback(0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"127.0.0.1"}
	if hasIPv6Loopback() {
		want = append(want, "::1")
	}
	if len(lns) != len(want) {
		t.Fatalf("%d listeners, want those of %v", len(lns), want)
	}
	port := portOf(lns[0])
	for i, ln := range lns {
		got := netip.MustParseAddrPort(ln.Addr().String())
		if want := netip.AddrPortFrom(netip.MustParseAddr(want[i]), uint16(port)); got != want {
			t.Errorf("listening on %v, want %v", got, want)
		}
	}

	// As long as one family holds the port, the other must not be taken alone:
	// "localhost" would lead to two programs.
	for len(lns) > 0 {
		more, err := listenLoopback(port)
		if err == nil {
			t.Errorf("listening twice on port %d: %v", port, more[0].Addr())
		}
		lns[0].Close()
		lns = lns[1:]
	}
	again, err := listenLoopback(port)
	if err != nil {
		t.Fatalf("a refused attempt has kept the port: %v", err)
	}
	for _, ln := range again {
		ln.Close()
	}
}

func TestTsnetIssuer(t *testing.T) {
	status := func(change func(*ipnstate.Status)) *ipnstate.Status {
		s := &ipnstate.Status{
			Self:           &ipnstate.PeerStatus{DNSName: "idp.tail1234.ts.net."},
			CurrentTailnet: &ipnstate.TailnetStatus{MagicDNSEnabled: true},
			CertDomains:    []string{"idp.tail1234.ts.net"},
		}
		if change != nil {
			change(s)
		}
		return s
	}
	tests := []struct {
		name    string
		status  *ipnstate.Status
		port    int
		want    string
		wantErr []string
	}{
		{name: "default port", status: status(nil), port: 443, want: "https://idp.tail1234.ts.net"},
		{name: "other port", status: status(nil), port: 8443, want: "https://idp.tail1234.ts.net:8443"},
		{
			name:    "no MagicDNS",
			status:  status(func(s *ipnstate.Status) { s.CurrentTailnet.MagicDNSEnabled = false; s.CertDomains = nil }),
			wantErr: []string{"MagicDNS is off", "https://login.tailscale.com/admin/dns"},
		},
		{
			name:    "no HTTPS",
			status:  status(func(s *ipnstate.Status) { s.CertDomains = nil }),
			wantErr: []string{"HTTPS certificates are off", "https://login.tailscale.com/admin/dns"},
		},
		{name: "no tailnet", status: status(func(s *ipnstate.Status) { s.CurrentTailnet = nil }), wantErr: []string{"name"}},
		{name: "no self", status: status(func(s *ipnstate.Status) { s.Self = nil }), wantErr: []string{"name"}},
		{name: "no name", status: status(func(s *ipnstate.Status) { s.Self.DNSName = "" }), wantErr: []string{"name"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tsnetIssuer(tt.status, tt.port)
			if got != tt.want || (err == nil) != (tt.wantErr == nil) {
				t.Fatalf("got %q, %v, want %q and an error: %v", got, err, tt.want, tt.wantErr != nil)
			}
			for _, want := range tt.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestReadAuthKey(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, path    string
		want          string
		wantErr, warn string // texts in the error and in the log
	}{
		{name: "none"},
		{name: "key", path: file("key", "tskey-auth-1\n"), want: "tskey-auth-1"},
		{name: "spaces", path: file("spaces", " \ttskey-auth-1\r\n\n"), want: "tskey-auth-1"},
		{name: "missing", path: filepath.Join(dir, "missing"), warn: "does not exist"},
		{name: "empty", path: file("empty", ""), wantErr: "is empty"},
		{name: "blank", path: file("blank", " \n"), wantErr: "is empty"},
		{name: "directory", path: dir, wantErr: "reading auth key file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			got, err := readAuthKey(tt.path, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			if got != tt.want {
				t.Errorf("key %q, want %q", got, tt.want)
			}
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if (log.Len() == 0) != (tt.warn == "") || !strings.Contains(log.String(), tt.warn) {
				t.Errorf("log %q, want %q", log.String(), tt.warn)
			}
			if strings.Contains(log.String(), "tskey") {
				t.Errorf("the log shows the key: %s", log.String())
			}
		})
	}
}

func TestNewNode(t *testing.T) {
	c := defaults()
	c.dir, c.advertiseTags = "/d", []string{"tag:idp"}
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelWarn}))
	node, err := newNode(c, log)
	if err != nil {
		t.Fatal(err)
	}
	if node.Dir != "/d" || node.Hostname != "idp" || node.AuthKey != "" || len(node.AdvertiseTags) != 1 || node.ControlURL != "" {
		t.Errorf("node %+v", node)
	}
	if node.Logf != nil {
		t.Error("the node's log is on without -debug-tsnet")
	}
	node.UserLogf("state is %v", "Running")
	node.UserLogf("to start, go to: %s", "https://login.tailscale.com/a/1")
	if got := buf.String(); strings.Contains(got, "state is") || !strings.Contains(got, "https://login.tailscale.com/a/1") {
		t.Errorf("at level warn the log is %q: want the URL of the login, and nothing else", got)
	}
	c.debugTsnet = true
	if node, err = newNode(c, log); err != nil || node.Logf == nil {
		t.Errorf("the node's log is off with -debug-tsnet: %v", err)
	}
}

func TestRedirectTo(t *testing.T) {
	h := redirectTo("https://idp.tail1234.ts.net")
	tests := []struct {
		method, target string
		want           int
		location       string
	}{
		{"GET", "/", 308, "https://idp.tail1234.ts.net/"},
		{"GET", "/authorize?client_id=a&state=%2Fx%20y", 308, "https://idp.tail1234.ts.net/authorize?client_id=a&state=%2Fx%20y"},
		{"HEAD", "/a%2Fb/c?", 308, "https://idp.tail1234.ts.net/a%2Fb/c"},
		{"GET", "//other.example/x", 308, "https://idp.tail1234.ts.net//other.example/x"},
		{"GET", "http://other.example", 308, "https://idp.tail1234.ts.net/"},
		{"GET", "http://user@other.example/p?q", 308, "https://idp.tail1234.ts.net/p?q"},
		{"POST", "/token", 421, ""},
		{"OPTIONS", "*", 421, ""},
		{"CONNECT", "other.example:443", 421, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
			if w.Code != tt.want || w.Header().Get("Location") != tt.location {
				t.Errorf("status %d, location %q, want %d, %q", w.Code, w.Header().Get("Location"), tt.want, tt.location)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q: a redirect that browsers keep outlives a renamed tailnet", got)
			}
		})
	}
}

func FuzzRedirectTo(f *testing.F) {
	f.Add("/authorize?client_id=a")
	f.Add("//other.example")
	f.Add("http://user@other.example:1/%2e%2e/?q#f")
	f.Add("other.example:443")
	f.Add("*")
	const issuer = "https://idp.tail1234.ts.net"
	h := redirectTo(issuer)
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", URL: u})
		to, err := url.Parse(w.Header().Get("Location"))
		if err != nil {
			t.Fatalf("location of %q: %v", target, err)
		}
		if got := to.Scheme + "://" + to.Host; got != issuer || to.User != nil {
			t.Errorf("%q leads to %q", target, to)
		}
	})
}
