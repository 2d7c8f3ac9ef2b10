// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// The nodes that the tailnet's status lists. Only administrators' questions
// about the policy need them: who sends a request, WhoIs alone says.

// A listingTailnet is a [Tailnet] that lists its nodes.
type listingTailnet interface {
	Status(context.Context) (*ipnstate.Status, error)
}

// A listedNode is a node as the status shows it.
type listedNode struct {
	addr  netip.Addr // the first one
	addrs []netip.Addr
	id    tailcfg.StableNodeID
	name  string // fully qualified, without trailing dot
	tags  []string
	// user and login are empty for tagged nodes.
	user, login string
}

// listNodes returns all nodes that have an address, by their names.
func (p *Provider) listNodes(ctx context.Context) ([]listedNode, error) {
	t, ok := p.cfg.Tailnet.(listingTailnet)
	if !ok {
		return nil, fail(codeInvalidRequest, "the tailnet of this provider cannot list its nodes (Config.Tailnet has no method Status): name a node by its address")
	}
	st, err := t.Status(ctx)
	if err != nil {
		return nil, fail(codeUnavailable, "the tailnet cannot be asked for its nodes; try again").because(fmt.Errorf("asking for the tailnet's status: %w", err))
	}
	var nodes []listedNode
	add := func(ps *ipnstate.PeerStatus) {
		if ps == nil || len(ps.TailscaleIPs) == 0 {
			return
		}
		n := listedNode{addr: ps.TailscaleIPs[0], addrs: ps.TailscaleIPs, id: ps.ID, name: strings.TrimSuffix(ps.DNSName, ".")}
		if ps.Tags != nil {
			n.tags = ps.Tags.AsSlice()
		}
		if len(n.tags) == 0 {
			n.user, n.login = ps.UserID.String(), st.User[ps.UserID].LoginName
		}
		nodes = append(nodes, n)
	}
	// With a tailscaled of the host, people may sit at the node itself.
	add(st.Self)
	for _, ps := range st.Peer {
		add(ps)
	}
	slices.SortFunc(nodes, func(a, b listedNode) int { return cmp.Or(strings.Compare(a.name, b.name), a.addr.Compare(b.addr)) })
	return nodes, nil
}

// findNodes returns the addresses of the nodes that user and node mean; what
// is empty means all.
func (p *Provider) findNodes(ctx context.Context, user, node string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(node); err == nil && user == "" {
		return []netip.Addr{addr.Unmap()}, nil // which needs no list
	}
	nodes, err := p.listNodes(ctx)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, n := range nodes {
		if (user == "" || n.isOf(user)) && (node == "" || n.isCalled(node)) {
			addrs = append(addrs, n.addr)
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	switch {
	case user == "":
		return nil, fail(codeNotFound, "the tailnet lists no node %q: give its name, its address, its stable id, or a tag", node)
	case node == "":
		return nil, fail(codeNotFound, "the tailnet lists no node of %q: give a login name, or the sub of tokens (userid:N); tagged nodes have no user, but names", user)
	}
	return nil, fail(codeNotFound, "the tailnet lists no node %q of %q", node, user)
}

// isOf reports whether user, a login or a subject, is the node's.
func (n *listedNode) isOf(user string) bool {
	return len(n.tags) == 0 && (user == n.user || strings.EqualFold(user, n.login))
}

// isCalled reports whether name means the node: a name, an address, the stable
// id, the subject of a tagged node, or a tag.
func (n *listedNode) isCalled(name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return slices.Contains(n.addrs, addr.Unmap())
	}
	host, _, _ := strings.Cut(n.name, ".")
	for _, own := range []string{n.name, host} {
		if own != "" && strings.EqualFold(strings.TrimSuffix(name, "."), own) {
			return true
		}
	}
	id := strings.TrimPrefix(name, "node:")
	return id != "" && id == string(n.id) || slices.Contains(n.tags, name)
}
