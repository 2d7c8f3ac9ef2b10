// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import "net/netip"

// A reach says who can be behind an address.
type reach int

const (
	// never: nobody to talk to, listed or not: placeholders, groups, examples,
	// and the link, where clouds hand out the credentials of their machines
	// (169.254.169.254).
	never reach = iota
	// private: somebody in a network that we are in and the public is not.
	private
	// public: somebody whom everybody can reach.
	public
)

// A block is a range of addresses with a special purpose.
type block struct {
	prefix netip.Prefix
	reach  reach
	name   string
}

func special(prefix string, reach reach, name string) block {
	return block{netip.MustParsePrefix(prefix), reach, name}
}

// Tailnets have their addresses here.
const (
	tailnet4 = "100.64.0.0/10" // carriers' NAT, too
	tailnet6 = "fd7a:115c:a1e0::/48"
)

// blocks are the special-purpose addresses: the IANA registries of RFC 6890,
// those of clouds and Tailscale, and address families that carry another
// address. The first that contains an address counts. It is never written.
var blocks = []block{
	special("0.0.0.0/8", never, "this network"),
	special("10.0.0.0/8", private, "private (RFC 1918)"),
	special(tailnet4, private, "shared, or of a tailnet (RFC 6598)"),
	special("127.0.0.0/8", private, "loopback"),
	special("168.63.129.16/32", never, "Azure's platform"),
	special("169.254.0.0/16", never, "link-local"),
	special("172.16.0.0/12", private, "private (RFC 1918)"),
	special("192.0.0.0/24", never, "protocol assignments"),
	special("192.0.2.0/24", never, "documentation"),
	special("192.31.196.0/24", never, "AS112"),
	special("192.52.193.0/24", never, "AMT"),
	special("192.88.99.0/24", never, "6to4 relays"),
	special("192.168.0.0/16", private, "private (RFC 1918)"),
	special("192.175.48.0/24", never, "AS112"),
	special("198.18.0.0/15", private, "benchmarking"),
	special("198.51.100.0/24", never, "documentation"),
	special("203.0.113.0/24", never, "documentation"),
	special("224.0.0.0/4", never, "multicast"),
	special("255.255.255.255/32", never, "broadcast"),
	special("240.0.0.0/4", never, "reserved"),

	special("::/128", never, "unspecified"),
	special("::1/128", private, "loopback"),
	special("::/96", never, "IPv4-compatible"),
	special("64:ff9b:1::/48", never, "local NAT64"),
	special("2001::/32", never, "Teredo"),
	special("2001::/23", never, "protocol assignments"),
	special("2001:db8::/32", never, "documentation"),
	special("2002::/16", never, "6to4"),
	special("2620:4f:8000::/48", never, "AS112"),
	special("3fff::/20", never, "documentation"),
	special(tailnet6, private, "of a tailnet"),
	special("fc00::/7", private, "unique local"),
	special("fe80::/10", never, "link-local"),
	special("fec0::/10", never, "site-local"),
	special("ff00::/8", never, "multicast"),
	// All that anybody has been given publicly (IANA, Internet Protocol Version
	// 6 Address Space).
	special("2000::/3", public, ""),
	special("::/0", never, "no global unicast address"),
}

// carriers are IPv6 prefixes whose last 32 bits are the IPv4 address that
// packets really go to.
var carriers = []netip.Prefix{
	netip.MustParsePrefix("::ffff:0:0/96"),   // IPv4-mapped; the resolver answers so, too
	netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated (RFC 2765)
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64 (RFC 6052): how an IPv6-only network sees the public IPv4
}

// judge says who can be behind a, and the name of the block it is from unless
// it is public. An address that carries another is judged by that one.
func judge(a netip.Addr) (reach, string) {
	if !a.IsValid() || a.Zone() != "" {
		return never, "no address, or one with a zone"
	}
	a = carried(a)
	for _, b := range blocks {
		if b.prefix.Contains(a) {
			return b.reach, b.name
		}
	}
	return public, "" // an IPv4 address; the blocks are all of IPv6
}

// carried returns the IPv4 address within a if a is of a carrier, else a.
func carried(a netip.Addr) netip.Addr {
	for _, carrier := range carriers {
		if carrier.Contains(a) {
			bytes := a.As16()
			return netip.AddrFrom4([4]byte(bytes[12:]))
		}
	}
	return a
}

// inTailnet reports whether a is an address that a tailnet gives its nodes.
func inTailnet(a netip.Addr) bool {
	a = a.Unmap()
	return netip.MustParsePrefix(tailnet4).Contains(a) || netip.MustParsePrefix(tailnet6).Contains(a)
}
