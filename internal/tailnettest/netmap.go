// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tailscale.com/net/tsaddr"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// generationAttr is the node attribute by which a node shows how new its netmap is.
const generationAttr tailcfg.NodeCapability = "tailnettest/generation"

// A member is one node of the tailnet as control shows it.
type member struct {
	host string
	id   *Identity     // owned by the State: read it under Tailnet.mu
	node *tailcfg.Node // owned by the member
}

// expired reports whether the node's key can no longer be used.
func (m member) expired() bool {
	return m.id.Expired || !m.id.KeyExpiry.IsZero() && m.id.KeyExpiry.Before(time.Now())
}

// addresses returns the node's own addresses in the form of filter rules.
func (m member) addresses() []string {
	var addrs []string
	for _, prefix := range m.node.Addresses {
		addrs = append(addrs, prefix.Addr().String())
	}
	return addrs
}

// membersLocked returns the nodes that are in the tailnet now, by node ID.
func (tn *Tailnet) membersLocked() []member {
	nodes := tn.control.AllNodes()
	for _, fake := range tn.fakes {
		nodes = append(nodes, fake.Clone())
	}
	newest := map[string]*tailcfg.Node{}
	for _, n := range nodes {
		host := n.Hostinfo.Hostname()
		if old := newest[host]; !tn.departed[n.Key] && (old == nil || old.ID < n.ID || old.ID == n.ID && tn.openedLocked(old) < tn.openedLocked(n)) {
			newest[host] = n
		}
	}
	var members []member
	for host, n := range newest {
		if id := tn.state.Nodes[host]; id != nil && !id.Deleted {
			m := member{host: host, id: id, node: n}
			m.describe(tn.Domain)
			members = append(members, m)
		}
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.node.ID, b.node.ID) })
	return members
}

// openedLocked tells when a node has connected. One that logs in again has a
// new key for the same ID, and the old key is no longer heard of.
func (tn *Tailnet) openedLocked(n *tailcfg.Node) uint64 {
	if st := tn.streams[n.Key]; st != nil {
		return st.opened
	}
	return 0
}

// describe writes what the identity says into the node.
func (m member) describe(domain string) {
	n, id := m.node, m.id
	n.Name = id.fqdn(m.host, domain) + "."
	n.StableID = cmp.Or(id.StableID, n.StableID)
	n.User, n.Tags = id.owner().ID, slices.Clone(id.Tags)
	n.Sharer = 0
	if id.Sharer != nil {
		n.Sharer = id.Sharer.ID
	}
	n.KeyExpiry, n.Expired = id.KeyExpiry, id.Expired
	if now := time.Now(); id.Expired && (id.KeyExpiry.IsZero() || id.KeyExpiry.After(now)) {
		n.KeyExpiry = now.Add(-time.Minute)
	}
	n.Online = new(true)
	n.UnsignedPeerAPIOnly = id.Ingress
	n.AllowedIPs = slices.Concat(n.Addresses, id.ExtraIPs)
	n.PrimaryRoutes = slices.Clone(id.ExtraIPs)
	n.CapMap = maps.Clone(id.CapMap)
	if id.CapMap == nil {
		n.CapMap = tailcfg.NodeCapMap{tailcfg.CapabilityHTTPS: nil}
	}
	if id.ShareeNode {
		info := n.Hostinfo.AsStruct()
		info.ShareeNode = true
		n.Hostinfo = info.View()
	}
}

// netmap returns the whole netmap for one node and its generation. The netmap
// is nil when the node is not in the tailnet.
func (tn *Tailnet) netmap(self key.NodePublic) (*tailcfg.MapResponse, uint64) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	members := tn.membersLocked()
	i := slices.IndexFunc(members, func(m member) bool { return m.node.Key == self })
	if i < 0 {
		return nil, tn.generation
	}
	me := members[i]
	resp := &tailcfg.MapResponse{
		Domain:          tn.state.Name,
		DERPMap:         tn.derpMap,
		DNSConfig:       me.dnsConfig(),
		PacketFilter:    packetFilter(me, members, tn.state.Grants),
		UserProfiles:    userProfiles(members),
		CollectServices: "false",
		// Nodes believe control's clock rather than their own.
		ControlTime: new(time.Now()),
	}
	for _, m := range slices.Delete(members, i, i+1) {
		resp.Peers = append(resp.Peers, m.node)
	}
	resp.Node = me.selfNode(tn.generation)
	return resp, tn.generation
}

// selfNode returns what only the node itself is told. It changes the member.
func (m member) selfNode(generation uint64) *tailcfg.Node {
	m.node.UnsignedPeerAPIOnly = false // a relay is that in the eyes of others
	m.node.Online = nil
	m.node.CapMap[generationAttr] = []tailcfg.RawMessage{
		tailcfg.RawMessage(strconv.FormatUint(generation, 10)),
	}
	// What these would look for is outside of the tailnet.
	m.node.CapMap[tailcfg.NodeAttrDisableUPnP] = nil
	m.node.CapMap[tailcfg.NodeAttrDisableCaptivePortalDetection] = nil
	return m.node
}

func (m member) dnsConfig() *tailcfg.DNSConfig {
	conf := &tailcfg.DNSConfig{Proxied: true} // MagicDNS is on
	if m.node.CapMap.Contains(tailcfg.CapabilityHTTPS) {
		conf.CertDomains = []string{m.node.Name[:len(m.node.Name)-1]}
	}
	return conf
}

// userProfiles returns every profile that a node refers to, once.
func userProfiles(members []member) []tailcfg.UserProfile {
	byID := map[tailcfg.UserID]tailcfg.UserProfile{taggedDevices.ID: taggedDevices}
	for _, m := range members {
		if m.id.Sharer != nil {
			byID[m.id.Sharer.ID] = *m.id.Sharer.Clone()
		}
	}
	for _, m := range members {
		owner := m.id.owner()
		byID[owner.ID] = *owner.Clone()
	}
	return slices.Collect(maps.Values(byID))
}

// packetFilter lets every node connect to every port of me, except that Funnel
// relays may only hand in connections, and adds the grants.
func packetFilter(me member, members []member, grants []Grant) []tailcfg.FilterRule {
	var signed, relays []string
	for _, m := range members {
		if m.id.Ingress {
			relays = append(relays, m.addresses()...)
		} else {
			signed = append(signed, m.addresses()...)
		}
	}
	// A node drops a whole filter in which a relay may send traffic, be it by
	// "*". So the sources are listed.
	rules := []tailcfg.FilterRule{{
		SrcIPs:   signed,
		DstPorts: []tailcfg.NetPortRange{{IP: "*", Ports: tailcfg.PortRangeAny}},
	}}
	if len(relays) > 0 {
		rules = append(rules, tailcfg.FilterRule{SrcIPs: relays, CapGrant: []tailcfg.CapGrant{{
			Dsts: me.node.Addresses,
			Caps: []tailcfg.PeerCapability{tailcfg.PeerCapabilityIngress},
		}}})
	}
	for _, g := range grants {
		if g.Dst == "" || g.Dst == me.host {
			rules = append(rules, g.rules(me, members)...)
		}
	}
	return rules
}

// rules returns what me is told of the grant.
func (g Grant) rules(me member, members []member) []tailcfg.FilterRule {
	var sources []string
	for _, m := range members {
		if !m.id.Ingress && m.id.matches(g.Src) {
			sources = append(sources, m.addresses()...)
		}
	}
	if len(sources) == 0 {
		return nil // an empty list of sources is malformed
	}
	return []tailcfg.FilterRule{{SrcIPs: sources, CapGrant: []tailcfg.CapGrant{{
		Dsts:   me.node.Addresses,
		CapMap: maps.Clone(g.Caps),
	}}}}
}

// AddFake adds a peer that has no process behind it and returns its IPv4 address:
// enough for WhoIs, at no cost. Update its identity like that of any other node.
func (tn *Tailnet) AddFake(host string, id Identity) netip.Addr {
	var addr netip.Addr
	tn.Update(func(s *State) {
		s.Nodes[host] = &id
		// Far from the numbers that the control server counts up.
		number := len(tn.fakes) + 1
		addr = netip.AddrFrom4([4]byte{100, 80, byte(number >> 8), byte(number)})
		v6 := tsaddr.Tailscale4To6(addr)
		addrs := []netip.Prefix{netip.PrefixFrom(addr, 32), netip.PrefixFrom(v6, 128)}
		tn.fakes = append(tn.fakes, &tailcfg.Node{
			ID:                tailcfg.NodeID(1_000_000 + number),
			StableID:          tailcfg.StableNodeID(fmt.Sprintf("nFAKE%04dCNTRL", number)),
			Key:               key.NewNode().Public(),
			Machine:           key.NewMachine().Public(),
			DiscoKey:          key.NewDisco().Public(),
			Addresses:         addrs,
			AllowedIPs:        addrs,
			MachineAuthorized: true,
			HomeDERP:          1,
			Hostinfo:          (&tailcfg.Hostinfo{Hostname: host}).View(),
		})
	})
	return addr
}
