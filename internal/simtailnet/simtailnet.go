// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package simtailnet simulates a tailnet: what a tailscaled would say about
// nodes that do not exist.
package simtailnet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/views"
)

// Names of the tailnet.
const (
	Domain = "example.com"
	Suffix = "tail-dev.ts.net"
)

// TaggedUser is whom tagged nodes belong to.
var TaggedUser = tailcfg.UserProfile{ID: 1003, LoginName: "tagged-devices", DisplayName: "Tagged Devices"}

// A Peer is a node of the tailnet. The zero value of what is not needed will
// do.
type Peer struct {
	ID    tailcfg.NodeID // 11 to 65000: addresses and keys derive from it
	Host  string
	User  tailcfg.UserProfile
	Tags  []string // not empty: a tagged node
	Rules []string // JSON objects of the capability
}

// Name is the login of the peer's user, or its first tag.
func (p Peer) Name() string {
	if len(p.Tags) > 0 {
		return p.Tags[0]
	}
	return p.User.LoginName
}

// Addrs are the peer's addresses, from the ranges that Tailscale uses: IPv4
// first.
func (p Peer) Addrs() []netip.Addr { return addrs(p.ID) }

func addrs(id tailcfg.NodeID) []netip.Addr {
	hi, lo := byte(id>>8), byte(id)
	return []netip.Addr{
		netip.AddrFrom4([4]byte{100, 64, hi, lo}),
		netip.AddrFrom16([16]byte{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 14: hi, 15: lo}),
	}
}

// StableID is the id that outlives a change of the node's key and name.
func (p Peer) StableID() tailcfg.StableNodeID {
	return tailcfg.StableNodeID(fmt.Sprintf("nDEV%dCNTRL", p.ID))
}

// FQDN is the node's full name, without trailing dot.
func (p Peer) FQDN() string { return p.Host + "." + Suffix }

// whoIs is what a tailscaled says about p. The answer is the caller's.
func (p Peer) whoIs() *apitype.WhoIsResponse {
	node := &tailcfg.Node{
		ID: p.ID, StableID: p.StableID(), Name: p.FQDN() + ".", User: p.User.ID, Tags: slices.Clone(p.Tags),
		ComputedName: p.Host, MachineAuthorized: true,
		Hostinfo: (&tailcfg.Hostinfo{Hostname: p.Host, OS: "linux"}).View(),
	}
	// Never fails for 64 hexadecimal digits.
	_ = node.Key.UnmarshalText(fmt.Appendf(nil, "nodekey:%064x", int64(p.ID)))
	for _, a := range p.Addrs() {
		node.Addresses = append(node.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	node.AllowedIPs = slices.Clone(node.Addresses)
	user := p.User
	user.Groups = slices.Clone(p.User.Groups)
	answer := &apitype.WhoIsResponse{Node: node, UserProfile: &user, CapMap: tailcfg.PeerCapMap{}}
	for _, r := range p.Rules {
		answer.CapMap[tailcfg.PeerCapabilityTsIDP] = append(answer.CapMap[tailcfg.PeerCapabilityTsIDP], tailcfg.RawMessage(r))
	}
	return answer
}

// A Tailnet answers as the tailscaled of the provider's node would. It is safe
// for concurrent use; the zero value has no peers.
type Tailnet struct {
	mu    sync.Mutex
	peers []Peer // in the order in which they came
	err   error
}

// Put adds a peer, or changes the one with its ID.
func (t *Tailnet) Put(p Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.peers, func(q Peer) bool { return q.ID == p.ID }); i >= 0 {
		t.peers[i] = p
		return
	}
	t.peers = append(t.peers, p)
}

// Remove removes a peer.
func (t *Tailnet) Remove(id tailcfg.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = slices.DeleteFunc(t.peers, func(p Peer) bool { return p.ID == id })
}

// Fail makes every question fail with err, until it is nil.
func (t *Tailnet) Fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// Peers returns all peers.
func (t *Tailnet) Peers() []Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.peers)
}

// Named returns the first peer that is called name.
func (t *Tailnet) Named(name string) (Peer, bool) {
	for _, p := range t.Peers() {
		if p.Name() == name {
			return p, true
		}
	}
	return Peer{}, false
}

// WhoIs returns the peer with the address addr, which may carry a port.
func (t *Tailnet) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, fmt.Errorf("%q is not an IP address with or without port", addr)
		}
		ip = ap.Addr()
	}
	ip = ip.Unmap()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	for _, p := range t.peers {
		if slices.Contains(p.Addrs(), ip) {
			return p.whoIs(), nil
		}
	}
	return nil, local.ErrPeerNotFound
}

// StatusWithoutPeers returns the status of the provider's own node.
func (t *Tailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	own := addrs(10)
	return &ipnstate.Status{
		BackendState: ipn.Running.String(),
		TailscaleIPs: own,
		Self: &ipnstate.PeerStatus{
			ID: "nDEV10CNTRL", HostName: "idp", DNSName: "idp." + Suffix + ".", TailscaleIPs: own, Online: true,
		},
		CurrentTailnet: &ipnstate.TailnetStatus{Name: Domain, MagicDNSSuffix: Suffix, MagicDNSEnabled: true},
	}, nil
}

// Status is StatusWithoutPeers with the peers.
func (t *Tailnet) Status(ctx context.Context) (*ipnstate.Status, error) {
	st, err := t.StatusWithoutPeers(ctx)
	if err != nil {
		return nil, err
	}
	st.Peer, st.User = make(map[key.NodePublic]*ipnstate.PeerStatus), make(map[tailcfg.UserID]tailcfg.UserProfile)
	for _, p := range t.Peers() {
		who := p.whoIs()
		ps := &ipnstate.PeerStatus{ID: p.StableID(), HostName: p.Host, DNSName: who.Node.Name, UserID: p.User.ID, TailscaleIPs: p.Addrs(), Online: true}
		if len(p.Tags) > 0 {
			tags := views.SliceOf(who.Node.Tags)
			ps.Tags = &tags
		}
		st.Peer[who.Node.Key], st.User[p.User.ID] = ps, *who.UserProfile
	}
	return st, nil
}
