// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// onePeer is a tailnet where root@example.com, an administrator, has the
// address 100.64.0.7.
type onePeer struct{}

const adminCapability = `{"allow_admin_ui": true}`

func (onePeer) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	if addr != "100.64.0.7" {
		return nil, local.ErrPeerNotFound
	}
	return &apitype.WhoIsResponse{
		Node:        &tailcfg.Node{ID: 7, StableID: "n7", Name: "desk.tail1234.ts.net."},
		UserProfile: &tailcfg.UserProfile{ID: 70, LoginName: "root@example.com"},
		CapMap:      tailcfg.PeerCapMap{"tailscale.com/cap/tsidp": {adminCapability}},
	}, nil
}

func (onePeer) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return &ipnstate.Status{
		BackendState:   "Running",
		Self:           &ipnstate.PeerStatus{DNSName: "idp.tail1234.ts.net."},
		CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net"},
	}, nil
}

// localServer is a server behind tailscaled on that tailnet.
func localServer(t *testing.T) *http.Server {
	t.Helper()
	p, err := tsidp.New(tsidp.Config{Issuer: "https://idp.tail1234.ts.net", Tailnet: onePeer{}, Store: memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	<-p.Ready()
	t.Cleanup(func() { cancel(); <-ended; p.Close() })
	return &http.Server{Handler: fromTailscaled(p.Handler(), p.PublicHandler(), silent), ConnContext: p.ConnContext}
}

// TestFromTailscaled: who a request is from, by the headers of tailscaled's
// proxy and nothing else. What the administrator may do is what shows it.
func TestFromTailscaled(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	srv := localServer(t)
	go srv.Serve(ln)
	defer srv.Close()
	c := &http.Client{
		Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", sock) }},
	}

	const admin, stranger = "100.64.0.7", "100.64.0.8"
	own := []string{"idp.tail1234.ts.net"}
	login := []string{"root@example.com"}
	tests := []struct {
		name   string
		header http.Header
		path   string // default: /api/v1/clients
		want   int
	}{
		{name: "administrator", header: http.Header{headerFor: {admin}, headerHost: own}, want: 200},
		{name: "administrator, mapped address", header: http.Header{headerFor: {"::ffff:" + admin}, headerHost: own}, want: 200},
		{name: "name with a port", header: http.Header{headerFor: {admin}, headerHost: {"idp.tail1234.ts.net:443"}}, want: 200},
		{name: "stranger", header: http.Header{headerFor: {stranger}, headerHost: own}, want: 403},
		{name: "stranger who says who he is", header: http.Header{headerFor: {stranger}, headerHost: own, "Tailscale-User-Login": login, "Tailscale-User-Name": {"Root"}}, want: 403},
		{name: "loopback", header: http.Header{headerFor: {"127.0.0.1"}, headerHost: own, "Tailscale-User-Login": login}, want: 403},

		{name: "nobody", want: 403},
		{name: "nobody, public route", path: "/.well-known/openid-configuration", want: 403},
		{name: "login only", header: http.Header{headerHost: own, "Tailscale-User-Login": login}, want: 403},
		{name: "two headers", header: http.Header{headerFor: {admin, admin}, headerHost: own}, want: 403},
		{name: "list", header: http.Header{headerFor: {admin + ", " + admin}, headerHost: own}, want: 403},
		{name: "list of one", header: http.Header{headerFor: {admin + ","}, headerHost: own}, want: 403},
		{name: "space", header: http.Header{headerFor: {admin + " " + admin}, headerHost: own}, want: 403},
		{name: "port", header: http.Header{headerFor: {admin + ":443"}, headerHost: own}, want: 403},
		{name: "prefix", header: http.Header{headerFor: {admin + "/32"}, headerHost: own}, want: 403},
		{name: "zone", header: http.Header{headerFor: {"::ffff:" + admin + "%eth0"}, headerHost: own}, want: 403},
		{name: "empty", header: http.Header{headerFor: {""}, headerHost: own}, want: 403},
		{name: "other headers", header: http.Header{"Forwarded": {"for=" + admin}, "X-Real-Ip": {admin}, "X_forwarded_for": {admin}, headerHost: own}, want: 403},

		// A relay may claim the address of a peer.
		{name: "Funnel", header: http.Header{headerFunnel: {"?1"}, headerFor: {admin}, headerHost: own}, want: 403},
		{name: "Funnel, another value", header: http.Header{headerFunnel: {"?0"}, headerFor: {admin}, headerHost: own}, want: 403},
		{name: "Funnel, no value", header: http.Header{headerFunnel: {""}, headerFor: {admin}, headerHost: own}, want: 403},
		{name: "Funnel, authorize", header: http.Header{headerFunnel: {"?1"}, headerFor: {admin}, headerHost: own}, path: "/authorize", want: 403},
		{name: "Funnel, register", header: http.Header{headerFunnel: {"?1"}, headerFor: {admin}, headerHost: own}, path: "/register", want: 404},
		{name: "Funnel, metadata", header: http.Header{headerFunnel: {"?1"}, headerFor: {"203.0.113.1"}, headerHost: own}, path: "/.well-known/openid-configuration", want: 200},

		// DNS rebinding.
		{name: "foreign name", header: http.Header{headerFor: {admin}, headerHost: {"evil.example"}}, want: 421},
		{name: "foreign name, public route", header: http.Header{headerFor: {admin}, headerHost: {"evil.example"}}, path: "/.well-known/openid-configuration", want: 200},
		{name: "empty name", header: http.Header{headerFor: {admin}, headerHost: {""}}, want: 421},
		{name: "no name", header: http.Header{headerFor: {admin}}, want: 403},
		{name: "two names", header: http.Header{headerFor: {admin}, headerHost: {own[0], own[0]}}, want: 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path
			if path == "" {
				path = "/api/v1/clients"
			}
			// The proxy's Host is always this, so it can open nothing.
			r, err := http.NewRequest("GET", "http://localhost"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = tt.header
			res, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, _ := io.ReadAll(res.Body); res.StatusCode != tt.want {
				t.Errorf("%s, want %d\n%s", res.Status, tt.want, body)
			}
		})
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("100.64.0.7", "idp.tail1234.ts.net", false)
	f.Add("100.64.0.7, 100.64.0.8", "a", false)
	f.Add("fe80::1%eth0", "", true)
	f.Add("[fd7a:115c:a1e0::1]:443", "a", false)
	f.Fuzz(func(t *testing.T, source, host string, twice bool) {
		h := http.Header{headerFor: {source}, headerHost: {host}}
		if twice {
			h.Add(headerFor, source)
		}
		addr, name, err := forwarded(h)
		if err != nil {
			return
		}
		want, parseErr := netip.ParseAddr(source)
		if twice || parseErr != nil || addr != want.Unmap() || addr.Zone() != "" || name != host {
			t.Errorf("%q, %q, twice %v: %v, %q", source, host, twice, addr, name)
		}
	})
}

// TestTailscaledListener: only the user of tailscaled gets in; neither root
// nor the user of this process is enough.
func TestTailscaledListener(t *testing.T) {
	tests := []struct {
		name    string
		want    int // whose listener it is
		uid     int // who connects
		err     error
		refused bool
	}{
		{name: "tailscaled", want: 1000, uid: 1000},
		{name: "root", want: 1000, uid: 0, refused: true},
		{name: "another", want: 0, uid: 1000, refused: true},
		{name: "unknown", want: 0, err: errors.New("no"), refused: true},
		{name: "unsupported after all", want: 0, err: errors.ErrUnsupported, refused: true},
		{name: "no user ids here", want: noUID, err: errors.ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			dir := filepath.Join(t.TempDir(), "serve")
			u, err := listenPrivate(dir)
			if err != nil {
				t.Fatal(err)
			}
			ln := &tailscaledListener{
				UnixListener: u, uid: tt.want, log: slog.New(slog.NewTextHandler(&buf, nil)),
				peerUID: func(*net.UnixConn) (int, error) { return tt.uid, tt.err },
			}
			accepted := make(chan bool, 1)
			go func() {
				c, err := ln.Accept()
				if err == nil {
					c.Close()
				}
				accepted <- err == nil
			}()
			c, err := net.Dial("unix", u.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // closed by either
				t.Errorf("read: %v", err)
			}
			ln.Close()
			if got := <-accepted; got == tt.refused {
				t.Errorf("accepted %v", got)
			}
			if got := strings.Contains(buf.String(), "refused"); got != tt.refused {
				t.Errorf("log %q", buf.String())
			}
		})
	}
}

func TestListenPrivate(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "serve")
	// One that somebody has opened to others.
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ln, err := listenPrivate(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, serveSocketName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v (%v), want mode %v", path, info, err, want)
		}
	}
	// What a killed process leaves is replaced, a living one is not.
	if _, err := listenPrivate(dir); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("twice: error %v", err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if ln, err = listenPrivate(dir); err != nil {
		t.Fatal(err)
	}
	ln.Close()

	link := filepath.Join(base, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := listenPrivate(link); err == nil || !strings.Contains(err.Error(), "no directory") {
		t.Errorf("a link: error %v", err)
	}
	if _, err := listenPrivate(filepath.Join(base, strings.Repeat("d", 100))); err == nil || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("a long path: error %v", err)
	}
}

func TestCheckUID(t *testing.T) {
	tests := []struct {
		tailscaled, own int
		want            bool
	}{
		{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {noUID, 1000, true},
		{1000, 0, false}, {1000, 1001, false},
	}
	for _, tt := range tests {
		if err := checkUID(tt.tailscaled, tt.own); (err == nil) != tt.want {
			t.Errorf("tailscaled %d, we %d: error %v", tt.tailscaled, tt.own, err)
		}
	}
}

func TestExplainRefusal(t *testing.T) {
	tests := []struct{ err, want string }{
		{"401 Unauthorized: must be root, or be an operator and able to run 'sudo tailscale' to serve a path or Unix socket", "tailscale set --operator"},
		{"other", "other"},
	}
	for _, tt := range tests {
		if got := explainRefusal(errors.New(tt.err)).Error(); !strings.Contains(got, tt.err) || !strings.Contains(got, tt.want) {
			t.Errorf("%q becomes %q, want it with %q", tt.err, got, tt.want)
		}
	}
	if got := fmt.Sprint(explainRefusal(&local.AccessDeniedError{})); !strings.Contains(got, "tailscale set --operator") {
		t.Errorf("denied access becomes %q", got)
	}
}

// TestFromTailscaledTCP: were the handler on a TCP listener by mistake, the
// address of the connection would still not count.
func TestFromTailscaledTCP(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = localServer(t)
	srv.Start()
	defer srv.Close()
	if res := getJSON(t, srv.Client(), srv.URL+"/api/v1/clients", nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("%s, want 403", res.Status)
	}
}
