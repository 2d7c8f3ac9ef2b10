// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"

	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tsnet"
)

// funnelPorts are the ports that Tailscale's relays listen on.
var funnelPorts = []int{443, 8443, 10000}

// listenFunnel opens a listener for the internet beside that of the tailnet
// on the same port. Its connections are [ipn.FunnelConn] below TLS, by which
// the provider knows that nobody is behind them.
func listenFunnel(node *tsnet.Server, status *ipnstate.Status, port int, cfg *tls.Config) (net.Listener, error) {
	if err := funnelAllowed(status, port); err != nil {
		return nil, err
	}
	ln, err := node.ListenFunnel("tcp", ":"+strconv.Itoa(port), tsnet.FunnelOnly(), tsnet.FunnelTLSConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("listening with Funnel: %w", err)
	}
	return ln, nil
}

// funnelAllowed explains what the tailnet's policy lacks for Funnel.
func funnelAllowed(status *ipnstate.Status, port int) error {
	if len(status.CertDomains) == 0 {
		return fmt.Errorf("HTTPS certificates, which Funnel needs, are off in this tailnet: switch them on at %s, or leave out -funnel", dnsPage)
	}
	if err := ipn.NodeCanFunnel(status.Self); err != nil {
		return fmt.Errorf("this node may not use Funnel: add %s to the tailnet's policy file (https://login.tailscale.com/admin/acls/file), or leave out -funnel", funnelPolicy(status))
	}
	if err := ipn.CheckFunnelPort(uint16(port), status.Self); err != nil {
		return fmt.Errorf("this node may not use Funnel on port %d: use a -port that is (%w)", port, err)
	}
	return nil
}

// funnelPolicy returns the part of a policy file that lets the node use
// Funnel.
func funnelPolicy(status *ipnstate.Status) string {
	type attribute struct {
		Target []string `json:"target"`
		Attr   []string `json:"attr"`
	}
	target := "autogroup:member"
	if tags := status.Self.Tags; tags != nil && tags.Len() > 0 {
		target = slices.Min(tags.AsSlice())
	} else if user, ok := status.User[status.Self.UserID]; ok && user.LoginName != "" {
		target = user.LoginName
	}
	data, err := json.Marshal([]attribute{{[]string{target}, []string{"funnel"}}})
	if err != nil {
		return "the node attribute funnel" // never: these are texts
	}
	return `"nodeAttrs": ` + string(data)
}
