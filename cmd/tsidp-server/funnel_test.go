// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/views"
)

// without returns env without the variable name.
func without(env []string, name string) []string {
	var rest []string
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			rest = append(rest, e)
		}
	}
	return rest
}

// read returns the body of an answer to a GET that a browser sends.
func read(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestFunnel runs the real program with Funnel: people log in on the tailnet,
// and an application on the internet does the rest.
func TestFunnel(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.SetGrants(tailnettest.Allow("root@example.com", "idp", `{"allow_admin_ui": true}`))
	p := &twoProcesses{issuer: "https://" + tn.FQDN("idp")}
	inside := newInstance(t, tn, "idp", "-funnel", "-control-url", tn.URL)
	tn.Update(func(s *tailnettest.State) { s.Nodes["idp"].CapMap = tailnettest.FunnelCaps() })
	inside.process = startServer(t, without(tn.Env(), "TS_CONTROL_URL"), inside.args...)
	inside.await(p.issuer)
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	relay := tn.Node(t, "relay", tailnettest.FunnelRelay()).Up(t)
	inside.client = clientOf(desk, tn.FQDN("idp"), p.issuer)

	outside := &instance{t: t, host: "the internet", client: relay.FunnelClient(netip.MustParseAddrPort("203.0.113.9:4444"))}
	outside.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	outside.client.Timeout = 30 * time.Second
	p.servers = [2]*instance{inside, outside}
	p.register(t)

	code := p.authorize(t, inside)
	tokens := must(p.redeem(t, outside, code))(t)
	if !p.userinfo(t, outside, tokens.AccessToken) {
		t.Error("userinfo does not work from the internet")
	}
	if !p.active(t, outside, tokens.AccessToken) {
		t.Error("introspection from the internet: the token is not active")
	}
	tokens = must(p.rotate(t, outside, tokens.RefreshToken))(t)
	p.post(t, outside, "/revoke", tokens.RefreshToken)
	if p.active(t, inside, tokens.AccessToken) {
		t.Error("a revocation from the internet has revoked nothing")
	}
	if p.jwks(t, outside) != p.jwks(t, inside) {
		t.Error("the keys differ")
	}
	var meta struct {
		Issuer string `json:"issuer"`
	}
	res := getJSON(t, outside.client, p.issuer+"/.well-known/oauth-authorization-server", &meta)
	if meta.Issuer != p.issuer || res.ProtoMajor != 2 {
		t.Errorf("issuer %q over HTTP/%d, want %s over HTTP/2", meta.Issuer, res.ProtoMajor, p.issuer)
	}

	res, body := read(t, outside.client, p.app.AuthCodeURL("state"))
	if res.StatusCode != http.StatusForbidden || !strings.Contains(body, "You are not on the tailnet") || !strings.Contains(body, "Connect this device to Tailscale") {
		t.Errorf("authorize from the internet: %s: %s", res.Status, body)
	}
	if res, body := read(t, outside.client, p.issuer+"/api/v1/clients"); res.StatusCode != http.StatusForbidden {
		t.Errorf("the administration from the internet: %s: %s", res.Status, body)
	}
	if res, body := read(t, inside.client, p.issuer+"/api/v1/clients"); res.StatusCode != http.StatusOK {
		t.Errorf("the administration from the tailnet: %s: %s", res.Status, body)
	}
	if code := inside.process.end(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d\n%s", code, inside.process.stderr)
	}
}

// TestFunnelRefused: the start fails and says what grants the permission.
func TestFunnelRefused(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	s := newInstance(t, tn, "idp")
	s.process = startServer(t, append(tn.Env(), "TSIDP_USE_FUNNEL=1"), s.args...)
	log := strings.ReplaceAll(s.process.fail(), `\"`, `"`)
	if want := `"nodeAttrs": [{"target":["tag:tsidp"],"attr":["funnel"]}]`; !strings.Contains(log, "this node may not use Funnel") || !strings.Contains(log, want) {
		t.Errorf("the log does not say %s:\n%s", want, log)
	}
}

func TestFunnelAllowed(t *testing.T) {
	status := func(change func(*ipnstate.Status)) *ipnstate.Status {
		tags := views.SliceOf([]string{"tag:idp", "tag:a"})
		s := &ipnstate.Status{
			CertDomains: []string{"idp.tail1234.ts.net"},
			Self:        &ipnstate.PeerStatus{UserID: 7, Tags: &tags, CapMap: tailnettest.FunnelCaps()},
			User:        map[tailcfg.UserID]tailcfg.UserProfile{7: {LoginName: "alice@example.com"}},
		}
		if change != nil {
			change(s)
		}
		return s
	}
	noAttribute := func(s *ipnstate.Status) { delete(s.Self.CapMap, tailcfg.NodeAttrFunnel) }
	tests := []struct {
		name   string
		change func(*ipnstate.Status)
		port   int
		want   []string // nil: allowed
	}{
		{name: "allowed", port: 443},
		{name: "allowed on another port", port: 10000},
		{name: "no HTTPS", change: func(s *ipnstate.Status) { s.CertDomains = nil }, port: 443, want: []string{"HTTPS", "https://login.tailscale.com/admin/dns", "-funnel"}},
		{name: "tagged", change: noAttribute, port: 443, want: []string{`"nodeAttrs": [{"target":["tag:a"],"attr":["funnel"]}]`, "https://login.tailscale.com/admin/acls/file", "leave out -funnel"}},
		{name: "somebody's", change: func(s *ipnstate.Status) { noAttribute(s); s.Self.Tags = nil }, port: 443, want: []string{`{"target":["alice@example.com"],"attr":["funnel"]}`}},
		{name: "nobody's", change: func(s *ipnstate.Status) { noAttribute(s); s.Self.Tags, s.User = nil, nil }, port: 443, want: []string{`{"target":["autogroup:member"],"attr":["funnel"]}`}},
		{
			name: "port", port: 443, want: []string{"port 443", "8443", "-port"},
			change: func(s *ipnstate.Status) {
				s.Self.CapMap = tailcfg.NodeCapMap{
					tailcfg.CapabilityHTTPS: nil, tailcfg.NodeAttrFunnel: nil, tailcfg.CapabilityFunnelPorts + "?ports=8443": nil,
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := funnelAllowed(status(tt.change), tt.port)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v, want one: %v", err, tt.want != nil)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if _, policy, ok := strings.Cut(funnelPolicy(status(tt.change)), ": "); !ok || !json.Valid([]byte(policy)) {
				t.Errorf("the policy is no JSON: %s", policy)
			}
		})
	}
}
