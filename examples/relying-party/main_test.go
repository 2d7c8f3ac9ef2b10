// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// tailnet is one of a single administrator.
type tailnet struct{}

func (tailnet) WhoIs(context.Context, string) (*apitype.WhoIsResponse, error) {
	return &apitype.WhoIsResponse{
		Node:        &tailcfg.Node{StableID: "n1", Name: "laptop.tail1234.ts.net."},
		UserProfile: &tailcfg.UserProfile{ID: 1, LoginName: "alice@example.com", DisplayName: "Alice"},
		CapMap:      tailcfg.PeerCapMap{tailcfg.PeerCapabilityTsIDP: {`{"allow_admin_ui": true}`}},
	}, nil
}

func (tailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return &ipnstate.Status{BackendState: "Running", CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net"}}, nil
}

// TestLogin runs the application against a provider, with a browser that has
// cookies and follows redirects.
func TestLogin(t *testing.T) {
	var handler http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(tsidp.WithPeer(r.Context(), netip.MustParseAddr("100.64.0.1"))))
	}))
	defer idp.Close()
	provider, err := tsidp.New(tsidp.Config{Issuer: idp.URL, Tailnet: tailnet{}, Store: memory.New(), Development: true})
	if err != nil {
		t.Fatal(err)
	}
	handler = provider.Handler()
	go provider.Run(t.Context())
	<-provider.Ready()

	rp := httptest.NewUnstartedServer(nil)
	self := "http://" + rp.Listener.Addr().String()
	if rp.Config.Handler, err = newApp(t.Context(), idp.URL, self, "", ""); err != nil {
		t.Fatal(err)
	}
	rp.Start()
	defer rp.Close()

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Jar: jar}).Get(self + "/login")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || !strings.Contains(string(body), "Hello Alice") {
		t.Errorf("%s: %s", res.Status, body)
	}
}
