// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tailscale/tsidp"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// Names of the simulated tailnet.
const (
	devDomain = "example.com"
	devSuffix = "tail-dev.ts.net"
	devAlice  = "alice@example.com"
)

// A devPeer is a node of the simulated tailnet, with its user or its tags.
// It is not modified after devPeers has made it.
type devPeer struct {
	name  string // as scripts and the switcher call it: the login, or the tag
	user  tailcfg.UserProfile
	host  string
	id    tailcfg.NodeID
	addrs []netip.Addr // IPv4 first
	tags  []string
	rules []string // JSON objects of the capability, as people should see them
}

// devPeers returns the peers of the simulated tailnet: somebody who may do
// everything, somebody to whom the policy grants nothing, and a machine. They
// are the same at every start, so that what scripts and applications have
// stored about them stays true.
func devPeers() []devPeer {
	return []devPeer{{
		name: devAlice,
		user: tailcfg.UserProfile{
			ID:            1001,
			LoginName:     devAlice,
			DisplayName:   "Alice Example",
			ProfilePicURL: "https://www.example.com/people/alice.png",
			Groups:        []string{"group:eng", "group:ops"},
		},
		host: "alice-laptop", id: 11, addrs: devAddrs(11),
		rules: []string{`{
  "users": ["*"],
  "resources": ["*"],
  "allow_admin_ui": true,
  "allow_dcr": true,
  "allow_metrics": true,
  "exchange": ["*"],
  "scopes": ["mcp:*"]
}`},
	}, {
		name: "bob@example.com",
		user: tailcfg.UserProfile{
			ID:            1002,
			LoginName:     "bob@example.com",
			DisplayName:   "Bob Example",
			ProfilePicURL: "https://www.example.com/people/bob.png",
			Groups:        []string{"group:eng"},
		},
		host: "bob-phone", id: 12, addrs: devAddrs(12),
	}, {
		name: "tag:ci",
		user: tailcfg.UserProfile{ID: 1003, LoginName: "tagged-devices", DisplayName: "Tagged Devices"},
		host: "ci", id: 13, addrs: devAddrs(13), tags: []string{"tag:ci"},
		rules: []string{`{
  "users": ["*"],
  "resources": ["*"],
  "machine": true
}`},
	}}
}

// devAddrs returns addresses from the ranges that Tailscale uses.
func devAddrs(n byte) []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{100, 64, 0, n}),
		netip.AddrFrom16([16]byte{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 15: n}),
	}
}

// stableID is the id that outlives a change of the node's key and name.
func (p devPeer) stableID() tailcfg.StableNodeID {
	return tailcfg.StableNodeID(fmt.Sprintf("nDEV%dCNTRL", p.id))
}

func (p devPeer) fqdn() string { return p.host + "." + devSuffix }

// whoIs returns what a tailscaled says about p. The answer is the caller's.
func (p devPeer) whoIs() *apitype.WhoIsResponse {
	node := &tailcfg.Node{
		ID:                p.id,
		StableID:          p.stableID(),
		Name:              p.fqdn() + ".",
		User:              p.user.ID,
		Tags:              slices.Clone(p.tags),
		ComputedName:      p.host,
		MachineAuthorized: true,
		Hostinfo:          (&tailcfg.Hostinfo{Hostname: p.host, OS: "linux"}).View(),
	}
	// Never fails for 64 hexadecimal digits.
	_ = node.Key.UnmarshalText(fmt.Appendf(nil, "nodekey:%064x", int64(p.id)))
	for _, a := range p.addrs {
		node.Addresses = append(node.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	node.AllowedIPs = slices.Clone(node.Addresses)
	user := p.user
	user.Groups = slices.Clone(p.user.Groups)
	answer := &apitype.WhoIsResponse{Node: node, UserProfile: &user, CapMap: tailcfg.PeerCapMap{}}
	for _, r := range p.rules {
		answer.CapMap[tailcfg.PeerCapabilityTsIDP] = append(answer.CapMap[tailcfg.PeerCapabilityTsIDP], tailcfg.RawMessage(r))
	}
	return answer
}

// devTailnet answers for the simulated tailnet as a tailscaled would.
type devTailnet []devPeer

var _ tsidp.Tailnet = devTailnet(nil)

// WhoIs returns the peer with the address addr, which may carry a port.
func (t devTailnet) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address with or without port", addr)
		}
		ip = ap.Addr()
	}
	ip = ip.Unmap()
	for _, p := range t {
		if slices.Contains(p.addrs, ip) {
			return p.whoIs(), nil
		}
	}
	return nil, local.ErrPeerNotFound
}

// StatusWithoutPeers returns the status of the provider's own node.
func (t devTailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	addrs := devAddrs(10)
	return &ipnstate.Status{
		BackendState: ipn.Running.String(),
		TailscaleIPs: addrs,
		Self: &ipnstate.PeerStatus{
			ID:           "nDEV10CNTRL",
			HostName:     "idp",
			DNSName:      "idp." + devSuffix + ".",
			TailscaleIPs: addrs,
			Online:       true,
		},
		CurrentTailnet: &ipnstate.TailnetStatus{
			Name:            devDomain,
			MagicDNSSuffix:  devSuffix,
			MagicDNSEnabled: true,
		},
	}, nil
}

// named returns the peer that is called name.
func (t devTailnet) named(name string) (devPeer, bool) {
	i := slices.IndexFunc(t, func(p devPeer) bool { return p.name == name })
	if i < 0 {
		return devPeer{}, false
	}
	return t[i], true
}

// names lists the names of all peers, for people.
func (t devTailnet) names() string {
	var names []string
	for _, p := range t {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}
