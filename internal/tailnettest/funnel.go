// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"tailscale.com/ipn/ipnstate"
)

// FunnelClient returns a client of the public internet at the address src: its
// connections reach nodes through n, which must be a [FunnelRelay], and become
// [tailscale.com/ipn.FunnelConn] there. The node asked must listen with Funnel and have
// [FunnelCaps]. The client trusts [Tailnet.CA] only, and keeps no connections.
func (n *Node) FunnelClient(src netip.AddrPort) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, target string) (net.Conn, error) {
			return n.dialFunnel(ctx, src, target)
		},
		TLSClientConfig:   &tls.Config{RootCAs: n.tn.CA()},
		DisableKeepAlives: true,
	}}
}

// dialFunnel asks the node whose name is in target, "fqdn:port", to take a
// connection of src's, as Tailscale's relays do.
func (n *Node) dialFunnel(ctx context.Context, src netip.AddrPort, target string) (net.Conn, error) {
	api, err := n.peerAPI(ctx, target)
	if err != nil {
		return nil, err
	}
	conn, err := n.Dial(ctx, "tcp", api)
	if err != nil {
		return nil, err
	}
	upgraded, err := askIngress(conn, src, target)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return upgraded, nil
}

// askIngress turns a connection to a node's peer API into one from the internet.
func askIngress(conn net.Conn, src netip.AddrPort, target string) (net.Conn, error) {
	req, err := http.NewRequest("POST", "http://peer/v0/ingress", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Tailscale-Ingress-Src", src.String())
	req.Header.Set("Tailscale-Ingress-Target", target)
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("node refuses Funnel to %s: %s: %s", target, resp.Status, reason)
	}
	return &bufferedConn{Conn: conn, reader: reader}, nil
}

// peerAPI returns the host:port at which the node named in target talks to peers.
// A node tells control of it soon after it has joined, and maybe after [Node.Up].
func (n *Node) peerAPI(ctx context.Context, target string) (string, error) {
	fqdn, _, err := net.SplitHostPort(target)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		peer, err := n.peer(ctx, fqdn)
		if err != nil {
			return "", err
		}
		if len(peer.PeerAPIURL) > 0 {
			u, err := url.Parse(peer.PeerAPIURL[0])
			if err != nil {
				return "", err
			}
			return u.Host, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the peer API of %s: %w", fqdn, ctx.Err())
		}
	}
}

// peer returns what the node knows of the peer with the given name.
func (n *Node) peer(ctx context.Context, fqdn string) (*ipnstate.PeerStatus, error) {
	status, err := n.LocalClient().Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, peer := range status.Peer {
		if strings.TrimSuffix(peer.DNSName, ".") == fqdn {
			return peer, nil
		}
	}
	return nil, fmt.Errorf("node %s has no peer %s", n.Hostname, fqdn)
}

// A bufferedConn reads first what was read too far.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }
