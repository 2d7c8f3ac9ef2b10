// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

// TestPublicTricks: no spelling of a path, no form of a request and no header
// leads from Funnel or -listen to what needs the tailnet. The tailnet's
// listener shows that the same requests would.
func TestPublicTricks(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.SetGrants(tailnettest.Allow("root@example.com", "idp", adminCapability))
	fqdn := tn.FQDN("idp")
	p := &twoProcesses{issuer: "https://" + fqdn}
	public := filepath.Join(socketDir(t), "public.sock")
	inside := newInstance(t, tn, "idp", "-funnel", "-listen", "unix:"+public)
	tn.Update(func(s *tailnettest.State) { s.Nodes["idp"].CapMap = tailnettest.FunnelCaps() })
	inside.start()
	inside.await(p.issuer)
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	relay := tn.Node(t, "relay", tailnettest.FunnelRelay()).Up(t)
	inside.client = clientOf(desk, fqdn, p.issuer)
	p.servers = [2]*instance{inside, inside}
	p.register(t)

	// As if by the administrator's device.
	funnel := relay.FunnelClient(netip.AddrPortFrom(desk.IP(), 4444))
	throughTLS := func(dial func(context.Context, string, string) (net.Conn, error)) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			c, err := dial(t.Context(), "tcp", fqdn+":443")
			if err != nil {
				return nil, err
			}
			return tls.Client(c, &tls.Config{ServerName: fqdn, RootCAs: tn.CA()}), nil
		}
	}
	forged := "X-Forwarded-For: " + desk.IP().String() + "\r\nX-Forwarded-Host: " + fqdn + "\r\nX-Forwarded-Proto: https\r\n" +
		"X-Real-Ip: " + desk.IP().String() + "\r\nForwarded: for=" + desk.IP().String() + ";host=" + fqdn + "\r\nX-Original-URL: /api/v1/clients\r\n" +
		"X-Rewrite-URL: /api/v1/clients\r\nX-HTTP-Method-Override: GET\r\nTailscale-User-Login: root@example.com\r\n"
	authorize := strings.TrimPrefix(p.app.AuthCodeURL("state"), p.issuer)

	on := &rawClient{t: t, dial: throughTLS(desk.Dial)}
	for _, target := range []string{authorize, "/api/v1/clients", p.issuer + "/api/v1/clients", "/%61pi/v1/clients", "/", "/me", "/admin/clients"} {
		if reached(on.send("GET", target, fqdn, "")) == "" {
			t.Errorf("the tailnet does not get at %s either", target)
		}
	}
	tricks := []func(path string) string{
		func(path string) string { return path },
		func(path string) string { return "/" + path },
		func(path string) string { return "/." + path },
		func(path string) string { return "/healthz/.." + path },
		func(path string) string { return "/.well-known/jwks.json/%2e%2e/%2e%2e" + path },
		func(path string) string { return "/token%2f.." + path },
		func(path string) string { return "/%2f" + path[1:] },
		func(path string) string { return fmt.Sprintf("/%%%02x%s", path[1], path[2:]) },
		func(path string) string { return fmt.Sprintf("/%%25%02x%s", path[1], path[2:]) },
		func(path string) string { return strings.ToUpper(path) },
		func(path string) string { return path + "/" },
		func(path string) string { return path + "%2f" },
		func(path string) string { return path + "." },
		func(path string) string { return path + ";a=b" },
		func(path string) string { return path + "%00" },
		func(path string) string { return path + "%20" },
		func(path string) string { return `/\` + path[1:] },
		func(path string) string { return "http://" + fqdn + path },
		func(path string) string { return "https://" + fqdn + path },
		func(path string) string { return "https://root@" + fqdn + "/" + path },
		func(path string) string { return "unix://" + fqdn + path },
	}
	for name, c := range map[string]*rawClient{
		"Funnel":  {t: t, dial: throughTLS(funnel.Transport.(*http.Transport).DialContext)},
		"-listen": {t: t, dial: func() (net.Conn, error) { return net.Dial("unix", public) }},
	} {
		_, query, _ := strings.Cut(authorize, "?")
		for _, path := range []string{
			"/authorize", "/authorize/continue", "/logout", "/device", "/device_authorization", "/register", "/metrics",
			"/api/v1/clients", "/api/v1/keys", "/api/v1/sessions", "/clients/", "/edit/wiki", "/me", "/admin/clients", "/admin/keys",
		} {
			for _, trick := range tricks {
				for _, method := range []string{"GET", "POST", "CONNECT"} {
					if got := reached(c.send(method, trick(path)+"?"+query, fqdn, forged)); got != "" {
						t.Errorf("%s: %s %s: %s", name, method, trick(path), got)
					}
				}
			}
		}
		for _, host := range []string{
			fqdn + ".", strings.ToUpper(fqdn), fqdn + ":443", "idp", "localhost", "127.0.0.1", "[::1]", desk.IP().String(), "root@" + fqdn, fqdn + "\tx", "",
		} {
			for _, path := range []string{authorize, "/api/v1/clients", "/", "/me"} {
				if got := reached(c.send("GET", path, host, forged)); got != "" {
					t.Errorf("%s: %s of the host %q: %s", name, path, host, got)
				}
			}
		}
	}

	funnel.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	for _, authority := range []string{fqdn, fqdn + ".", strings.ToUpper(fqdn), "idp", "localhost", desk.IP().String()} {
		for _, path := range []string{authorize, "/api/v1/clients", "//api/v1/clients"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", p.issuer+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = authority
			res, err := funnel.Transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if got := reached(res); got != "" || res.ProtoMajor != 2 {
				t.Errorf("HTTP/%d with the authority %q: %s: %s %s", res.ProtoMajor, authority, path, res.Status, got)
			}
		}
	}
}

// reached says what shows that somebody is known behind a request; empty if
// nothing does. A redirect to the clean form of a path shows nothing.
func reached(res *http.Response) string {
	to := res.Header.Get("Location")
	switch {
	case res.StatusCode/100 == 4:
		return ""
	case res.StatusCode/100 == 3 && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//"):
		return ""
	}
	return res.Status + " " + to
}

// A rawClient writes requests as no library would.
type rawClient struct {
	t    *testing.T
	dial func() (net.Conn, error)
	conn net.Conn // nil: none
	in   *bufio.Reader
}

// send returns the answer, without its body.
func (c *rawClient) send(method, target, host, headers string) *http.Response {
	c.t.Helper()
	if c.conn == nil {
		var err error
		if c.conn, err = c.dial(); err != nil {
			c.t.Fatal(err)
		}
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c.conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n%s\r\n", method, target, host, headers); err != nil {
		c.t.Fatal(err)
	}
	res, err := http.ReadResponse(c.in, &http.Request{Method: "GET"})
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, target, err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		c.t.Fatal(err)
	}
	// Who has not understood a request does not read another.
	if res.Close || res.StatusCode == http.StatusBadRequest {
		c.conn.Close()
		c.conn = nil
	}
	return res
}
