// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"tailscale.com/client/local"
	"tailscale.com/ipn/ipnlocal"
	"tailscale.com/ipn/store/mem"
	"tailscale.com/tsnet"
)

// A Node is a tsnet node of this process. Its [tsnet.Server] may be configured
// until Up, and is used directly for listening: n.Listen, n.ListenTLS,
// n.ListenFunnel, n.Dial.
type Node struct {
	*tsnet.Server

	tn        *Tailnet
	transport *http.Transport
}

// store is a [mem.Store] that tsnet does not know for one: it allows those to
// ephemeral nodes only, which take the time to log out when they are closed.
type store struct{ mem.Store }

// Node makes the node with the given host name and calls [Tailnet.Expect]. The
// node is not started. When t ends it is closed and leaves the tailnet, and
// the host name is free for another.
func (tn *Tailnet) Node(t testing.TB, host string, id Identity) *Node {
	t.Helper()
	tn.Expect(host, id)
	n := &Node{tn: tn, Server: &tsnet.Server{
		Hostname:   host,
		Dir:        filepath.Join(t.TempDir(), host),
		Store:      new(store),
		ControlURL: tn.URL,
		AuthKey:    tn.authKey,
		Logf:       tn.out.nodeLogf(host),
		UserLogf:   tn.out.nodeLogf(host),
	}}
	n.transport = &http.Transport{
		DialContext:     n.Dial,
		TLSClientConfig: &tls.Config{RootCAs: tn.CA()},
	}
	t.Cleanup(n.leave)
	return n
}

// Up starts the node, and waits until it and every other connected node can
// reach each other. It returns n. A node that does not get there fails the test.
func (n *Node) Up(t testing.TB) *Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Start(); err != nil {
		t.Fatalf("starting node %s: %v", n.Hostname, err)
	}
	tsnet.TestHooks.LocalBackend(n.Server).ForTest().ConfigureCerts(n.certificate)
	if _, err := n.Server.Up(ctx); err != nil {
		t.Fatalf("waiting for node %s to run: %v", n.Hostname, err)
	}
	n.tn.AwaitReady(t, n.Hostname)
	return n
}

// certificate takes the place of Let's Encrypt.
func (n *Node) certificate(name string) (*ipnlocal.TLSCertKeyPair, error) {
	if !slices.Contains(n.CertDomains(), name) {
		return nil, fmt.Errorf("node %s may not have a certificate for %q", n.Hostname, name)
	}
	return n.tn.ca.issue(name)
}

// leave closes the node and takes it out of the tailnet.
func (n *Node) leave() {
	n.transport.CloseIdleConnections()
	backend := tsnet.TestHooks.LocalBackend(n.Server)
	if backend == nil {
		return // never started; closing it would panic
	}
	self := backend.NodeKey()
	n.Close() // an error says that the test closed it already
	n.tn.edit(func(*State) { n.tn.departed[self] = true })
}

// LocalClient returns the client of the node's LocalAPI: WhoIs, Status, and so on.
// The node must have been started.
func (n *Node) LocalClient() *local.Client {
	lc, err := n.Server.LocalClient()
	if err != nil {
		panic(fmt.Sprintf("tailnettest: LocalClient of node %s, which did not start: %v", n.Hostname, err))
	}
	return lc
}

// IP returns the node's IPv4 address. The node must be up.
func (n *Node) IP() netip.Addr {
	ip4, _ := n.TailscaleIPs()
	return ip4
}

// FQDN returns the node's MagicDNS name, without the trailing dot.
func (n *Node) FQDN() string { return n.tn.FQDN(n.Hostname) }

// HTTPClient returns a client whose requests come from this node. It resolves
// MagicDNS names and trusts [Tailnet.CA] only. Clients of a node share their
// connections and nothing else: set CheckRedirect, Jar and Timeout at will.
func (n *Node) HTTPClient() *http.Client {
	return &http.Client{Transport: n.transport}
}
