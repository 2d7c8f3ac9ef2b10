// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tailscale.com/tailcfg"
)

// taggedDevices is the owner that control reports for every tagged node.
var taggedDevices = tailcfg.UserProfile{
	ID:          999,
	LoginName:   "tagged-devices",
	DisplayName: "Tagged Devices",
}

// State is the policy of a tailnet. Edit it in [Tailnet.Update] only.
type State struct {
	// Name is the tailnet's name, often a domain. The default is "example.com".
	Name string

	// Nodes says who the node with a given host name is. A host name has one
	// node: when a second one joins under it, the first is gone.
	Nodes map[string]*Identity

	// Grants are the application capabilities. They do not restrict the
	// network: every node may connect to every port of every other one.
	Grants []Grant
}

// Identity is what control says about one node. The zero value of a field is
// the usual case.
type Identity struct {
	// User is the owner, unless Tags is set. Identities with the same ID
	// should hold the same profile.
	User tailcfg.UserProfile
	Tags []string

	// CapMap holds the node attributes. Nil means that the tailnet has HTTPS
	// certificates and nothing else; otherwise it is exactly what the node has.
	CapMap tailcfg.NodeCapMap

	// StableID replaces the id that control made up. Changing it shows what a
	// node sees when a peer's address was given to another machine.
	StableID tailcfg.StableNodeID

	// FQDN replaces the node's MagicDNS name, without a trailing dot.
	FQDN string

	// KeyExpiry is when the node key expires; zero means never. Expired says that
	// it has expired already, whatever KeyExpiry says. Peers of an expired node
	// still resolve it, see the package's documentation.
	KeyExpiry time.Time
	Expired   bool

	// Deleted removes the node from every netmap. The node itself is told nothing.
	Deleted bool

	// ShareeNode marks the node of a user of another tailnet to whom a
	// machine of this one was shared. Its default FQDN is in another tailnet.
	ShareeNode bool

	// Sharer marks a node of another tailnet, owned by User there, that the
	// sharer shared into this one.
	Sharer *tailcfg.UserProfile

	// Ingress marks a Funnel relay.
	Ingress bool

	// ExtraIPs are further addresses that lead to the node.
	ExtraIPs []netip.Prefix
}

// User returns the identity of a device of the user with the given login name, with
// a made-up picture, a display name and an ID that follow from the login name,
// so all devices of a user agree.
func User(login string, groups ...string) Identity {
	local, _, _ := strings.Cut(login, "@")
	hash := fnv.New32a()
	hash.Write([]byte(login))
	return Identity{User: tailcfg.UserProfile{
		ID:            1000 + tailcfg.UserID(hash.Sum32()),
		LoginName:     login,
		DisplayName:   strings.ToUpper(local[:min(1, len(local))]) + local[min(1, len(local)):],
		ProfilePicURL: "https://pictures.example.com/" + local + ".png",
		Groups:        groups,
	}}
}

// Tagged returns the identity of a node with the given tags, such as "tag:ci".
func Tagged(tags ...string) Identity {
	return Identity{Tags: tags}
}

// FunnelRelay returns the identity of a node that can be used with
// [Node.FunnelClient].
func FunnelRelay() Identity {
	return Identity{Tags: []string{"tag:funnel-relay"}, Ingress: true}
}

// FunnelCaps returns the node attributes of a node that may use HTTPS and Funnel.
func FunnelCaps() tailcfg.NodeCapMap {
	return tailcfg.NodeCapMap{
		tailcfg.CapabilityHTTPS:                                 nil,
		tailcfg.NodeAttrFunnel:                                  nil,
		tailcfg.CapabilityFunnelPorts + "?ports=443,8443,10000": nil,
	}
}

// A Grant gives capabilities on nodes to others.
type Grant struct {
	// Src names who gets the capabilities: login names, tags, names of
	// groups, or "*" for every node but Funnel relays.
	Src []string

	// Dst is the host name of the node that sees the capabilities; empty means every node.
	Dst string

	Caps tailcfg.PeerCapMap
}

// Allow returns a grant of "tailscale.com/cap/tsidp" from one source, as in
// [Grant.Src], to the node with the host name dst. Each rule is a JSON object. It
// is passed on as it is, so a test may grant broken rules as well.
func Allow(src, dst string, rules ...string) Grant {
	values := make([]tailcfg.RawMessage, len(rules))
	for i, rule := range rules {
		values[i] = tailcfg.RawMessage(rule)
	}
	return Grant{
		Src:  []string{src},
		Dst:  dst,
		Caps: tailcfg.PeerCapMap{tailcfg.PeerCapabilityTsIDP: values},
	}
}

// Update edits the policy. When it returns, every node that is connected to control
// acts by the result, nodes of other processes included: the next WhoIs tells it.
// A node that does not answer within a minute fails the test.
//
// The function f must not keep the State, nor call methods of tn.
func (tn *Tailnet) Update(f func(*State)) {
	tn.awaitApplied(tn.edit(f))
}

// edit applies f and returns the generation that shows the result.
func (tn *Tailnet) edit(f func(*State)) (generation uint64) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	f(&tn.state)
	tn.bumpLocked()
	return tn.generation
}

// SetGrants replaces all grants, like [Tailnet.Update].
func (tn *Tailnet) SetGrants(grants ...Grant) {
	tn.Update(func(s *State) { s.Grants = grants })
}

// Expect says who the node with the given host name is, like [Tailnet.Update].
// A node that joins unexpected fails the test.
func (tn *Tailnet) Expect(host string, id Identity) {
	tn.Update(func(s *State) { s.Nodes[host] = &id })
}

func (id *Identity) fqdn(host, domain string) string {
	switch {
	case id.FQDN != "":
		return id.FQDN
	case id.ShareeNode:
		return host + ".other-tailnet.ts.net"
	}
	return host + "." + domain
}

// owner returns the profile that control reports for the node's owner.
func (id *Identity) owner() tailcfg.UserProfile {
	if len(id.Tags) > 0 {
		return taggedDevices
	}
	return id.User
}

// matches reports whether one of the sources of a grant means id.
func (id *Identity) matches(sources []string) bool {
	owner := id.owner()
	names := slices.Concat([]string{"*", owner.LoginName}, id.Tags, owner.Groups)
	return slices.ContainsFunc(sources, func(src string) bool {
		return slices.Contains(names, src)
	})
}
