// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/tailscale/tsidp/internal/tailnettest"
	"tailscale.com/ipn"
	"tailscale.com/tailcfg"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	idp := tn.Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
	laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)

	ln, err := idp.ListenTLS("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, whoami(idp.LocalClient()))
	// A server with a tls.Config of its own asks the LocalAPI.
	own, err := idp.Listen("tcp", ":8443")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, tls.NewListener(own, &tls.Config{GetCertificate: idp.LocalClient().GetCertificate}),
		whoami(idp.LocalClient()))

	for _, url := range []string{"https://" + idp.FQDN() + "/", "https://" + idp.FQDN() + ":8443/"} {
		if got, want := get(t, laptop.HTTPClient(), url), "alice@example.com\n"; got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}

	stranger := laptop.HTTPClient()
	stranger.Transport = &http.Transport{DialContext: laptop.Dial} // the system's roots
	_, err = stranger.Get("https://" + idp.FQDN() + "/")
	if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) {
		t.Errorf("without the tailnet's authority: %v, want an unknown authority", err)
	}
	if _, _, err := idp.LocalClient().CertPair(t.Context(), laptop.FQDN()); err == nil {
		t.Error("idp got a certificate in the name of laptop")
	}
}

func TestNoHTTPS(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	id := tailnettest.Tagged("tag:tsidp")
	id.CapMap = tailcfg.NodeCapMap{}
	idp := tn.Node(t, "idp", id).Up(t)
	if got := idp.CertDomains(); len(got) != 0 {
		t.Errorf("names for certificates = %q without the node attribute, want none", got)
	}
	if ln, err := idp.ListenTLS("tcp", ":443"); err == nil {
		ln.Close()
		t.Error("ListenTLS works without the node attribute")
	}
}

func TestFunnel(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	id := tailnettest.Tagged("tag:tsidp")
	id.CapMap = tailnettest.FunnelCaps()
	idp := tn.Node(t, "idp", id).Up(t)
	relay := tn.Node(t, "relay", tailnettest.FunnelRelay()).Up(t)
	laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)

	ln, err := idp.ListenFunnel("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "tailnet"
		if conn, ok := r.Context().Value(connKey{}).(*ipn.FunnelConn); ok {
			who = "internet " + conn.Src.String() + " to " + string(conn.Target)
		}
		w.Write([]byte(who))
	}))

	public := relay.FunnelClient(netip.MustParseAddrPort("203.0.113.9:4444"))
	url := "https://" + idp.FQDN() + "/"
	if got, want := get(t, public, url), "internet 203.0.113.9:4444 to "+idp.FQDN()+":443"; got != want {
		t.Errorf("through the relay: got %q, want %q", got, want)
	}
	if got, want := get(t, laptop.HTTPClient(), url), "tailnet"; got != want {
		t.Errorf("from the tailnet: got %q, want %q", got, want)
	}
	// A relay has no other way in: neither a port that is not for Funnel, nor
	// the node of somebody who does not use it.
	for _, url := range []string{"https://" + idp.FQDN() + ":8443/", "https://" + laptop.FQDN() + "/"} {
		if resp, err := public.Get(url); err == nil {
			resp.Body.Close()
			t.Errorf("GET %s through the relay: %s, want a refusal", url, resp.Status)
		}
	}
}
