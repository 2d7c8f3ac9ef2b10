// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// This file is the only one that knows how a peer is found; directory.go asks
// the tailnet about it. Everything else receives an identity, a plain value, as
// an argument.
//
// A peer comes from the connection (ConnContext) or from whoever terminates
// it (WithPeer); never from http.Request.RemoteAddr, which middlewares
// rewrite from headers, and never from a header.

// A peer is the far end of a connection.
type peer struct {
	addr netip.Addr
	// public: the connection came through Funnel, or over a local socket, so
	// that nobody is behind it, whatever WhoIs would say of its address: for a
	// Funnel connection that would be the relay.
	public bool
	unix   bool
	// source is the address on the internet that a Funnel relay names. It is
	// for rate limits only: a relay may name any, one of the tailnet too, so it
	// is nobody's identity and WhoIs is never asked about it.
	source netip.Addr
}

type peerKey struct{}

// ConnContext notes the peer of a connection. Every http.Server that serves
// a handler of the provider needs it:
//
//	srv := &http.Server{Handler: p.Handler(), ConnContext: p.ConnContext}
//
// It recognises Funnel connections, also below TLS.
func (p *Provider) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

// WithPeer returns a context whose requests come from the tailnet address
// addr, for those who terminate connections themselves and know the peer for
// certain: a proxy's unix socket, a development server. It replaces what
// ConnContext has noted. Never pass on an address that a peer could have
// written.
func WithPeer(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, peerKey{}, peer{addr: addr.Unmap()})
}

// peerFrom returns the peer of a request.
func peerFrom(ctx context.Context) (peer, bool) {
	p, ok := ctx.Value(peerKey{}).(peer)
	return p, ok
}

func peerOf(c net.Conn) peer {
	for {
		if f, ok := c.(*ipn.FunnelConn); ok {
			return peer{public: true, source: f.Src.Addr().Unmap().WithZone("")}
		}
		inner, ok := c.(interface{ NetConn() net.Conn }) // tls.Conn
		if !ok {
			break
		}
		c = inner.NetConn()
	}
	switch a := c.RemoteAddr().(type) {
	case nil: // a closed or foreign sort of connection
		return peer{public: true}
	case *net.TCPAddr:
		return peer{addr: a.AddrPort().Addr().Unmap()}
	case *net.UnixAddr:
		return peer{public: true, unix: true}
	}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		return peer{addr: ap.Addr().Unmap()}
	}
	return peer{public: true}
}

// An identity is what the tailnet says about a peer now. It is a value; its
// slices must not be modified.
type identity struct {
	addr netip.Addr // the address that was asked about

	userID      tailcfg.UserID
	login       string // of the user; empty for tagged nodes
	displayName string
	pictureURL  string
	groups      []string // as the control plane reports them

	node      tailcfg.StableNodeID
	nodeID    tailcfg.NodeID
	nodeKey   string
	nodeName  string // fully qualified, without trailing dot; empty if unknown
	addresses []netip.Prefix
	tags      []string // not empty: a tagged node, which has no user
	external  bool     // user or node of another tailnet

	tailnet tailnetInfo // ours, not that of an external node
	rules   rules
	faults  []ruleFault // what of the policy's rules does not count
}

func (id *identity) tagged() bool { return len(id.tags) > 0 }

// subject is the sub of tokens: stable, never reassigned, no address.
func (id *identity) subject() string {
	if id.tagged() {
		return "node:" + string(id.node)
	}
	return id.userID.String() // "userid:123"
}

// names are those by which the key "users" of a rule means the peer: the login,
// or the tags.
func (id *identity) names() []string {
	if id.tagged() {
		return id.tags
	}
	return []string{id.login}
}

// principal names the peer for people: in pages and logs.
func (id *identity) principal() string {
	switch {
	case id.tagged():
		return strings.Join(id.tags, ", ")
	case id.login == "":
		return id.subject()
	}
	return id.login
}

// label names the device for people.
func (id *identity) label() string {
	if id.nodeName == "" {
		return id.addr.String()
	}
	return id.nodeName
}

// source names the peer as the src of a grant does.
func (id *identity) source() string {
	switch {
	case id.tagged():
		return id.tags[0]
	case id.login == "":
		return id.addr.String()
	}
	return id.login
}

// Errors of identify.
var (
	errNoPeer      = errors.New("the request's context has no peer: set ConnContext of the http.Server to Provider.ConnContext, as in &http.Server{Handler: p.Handler(), ConnContext: p.ConnContext}")
	errPublicPeer  = errors.New("the connection did not come over the tailnet")
	errUnknownPeer = errors.New("the tailnet knows no such peer")
	errExpiredPeer = errors.New("the node's key has expired")
)

// tailnetInfo is what the local node knows about its tailnet.
type tailnetInfo struct {
	name   string // such as "example.com" or "alice@gmail.com"
	suffix string // MagicDNS suffix, such as "tail1234.ts.net"
	tags   []string
}

// owns reports whether name, without trailing dot, is under our suffix.
func (t tailnetInfo) owns(name string) bool {
	return t.suffix != "" && strings.HasSuffix(name, "."+t.suffix)
}

func newTailnetInfo(st *ipnstate.Status) tailnetInfo {
	var info tailnetInfo
	if st.CurrentTailnet != nil {
		info.name, info.suffix = st.CurrentTailnet.Name, st.CurrentTailnet.MagicDNSSuffix
	}
	if st.Self != nil && st.Self.Tags != nil {
		info.tags = st.Self.Tags.AsSlice()
	}
	return info
}

// newIdentity maps an answer of WhoIs onto an identity. It is pure.
func newIdentity(addr netip.Addr, res *apitype.WhoIsResponse, info tailnetInfo) (identity, []ruleFault) {
	n, u := res.Node, res.UserProfile
	id := identity{
		addr:      addr,
		userID:    u.ID,
		node:      n.StableID,
		nodeID:    n.ID,
		nodeKey:   n.Key.String(),
		addresses: slices.Clone(n.Addresses),
		tags:      slices.Clone(n.Tags),
		external:  isExternal(n, info),
		tailnet:   info,
	}
	// Names of other tailnets' nodes may be placeholders under our suffix.
	if name := strings.TrimSuffix(n.Name, "."); strings.Contains(name, ".") && !(id.external && info.owns(name)) {
		id.nodeName = name
	}
	if !id.tagged() {
		// The profile of a tagged node is a stand-in that all tagged nodes
		// share; it must not become anybody's name.
		id.login, id.displayName, id.pictureURL = u.LoginName, u.DisplayName, u.ProfilePicURL
		id.groups = slices.Clone(u.Groups)
	}
	id.rules, id.faults = parseRules(res.CapMap[capability])
	return id, id.faults
}

// isExternal reports whether the node belongs to another tailnet: it was
// shared in, its user had one of ours shared to them, or its name is not
// under our suffix (WhoIs gives such nodes no name, or a placeholder).
func isExternal(n *tailcfg.Node, info tailnetInfo) bool {
	if n.Sharer != 0 || n.Hostinfo.Valid() && n.Hostinfo.ShareeNode() {
		return true
	}
	if info.suffix == "" {
		return n.Name == ""
	}
	return !info.owns(strings.TrimSuffix(n.Name, "."))
}

// identify returns who sent the request whose context is ctx, and acts in it.
func (p *Provider) identify(ctx context.Context) (identity, error) {
	who, err := p.identifyPeer(ctx)
	if err == nil {
		notes(ctx).noteUser(&who)
	}
	return who, err
}

func (p *Provider) identifyPeer(ctx context.Context) (identity, error) {
	peer, ok := peerFrom(ctx)
	if !ok {
		return identity{}, errNoPeer
	}
	who, err := identity{}, errPublicPeer
	if !peer.public {
		who, err = p.directory.identify(ctx, peer.addr)
	}
	p.countUnknown(err)
	return who, err
}

// foreignKey is where withCaller notes whether a web page sent the request.
type foreignKey struct{}

// caller returns the peer that sends a request which needs none; nil if nobody
// knows it, or if a web page of another origin makes it speak.
func (p *Provider) caller(ctx context.Context) (*identity, error) {
	if foreign, noted := ctx.Value(foreignKey{}).(bool); foreign || !noted {
		return nil, nil
	}
	who, err := p.identifyPeer(ctx)
	switch {
	case err == nil:
		return &who, nil
	case isAnswer(err), errors.Is(err, errPublicPeer), errors.Is(err, errNoPeer):
		return nil, nil
	}
	return nil, identityError(err)
}

// identityError turns an error of identify into what the peer is told.
func identityError(err error) *protocolError {
	switch {
	case errors.Is(err, errNoPeer):
		return fail(codeServerError, "the server is not set up: set ConnContext of its http.Server to Provider.ConnContext").because(err)
	case errors.Is(err, errPublicPeer), errors.Is(err, errUnknownPeer), errors.Is(err, errExpiredPeer):
		e := fail(codeAccessDenied, "%v", err)
		e.refusal = &refusal{code: codeAccessDenied, reason: reasonUnknownPeer, message: unknownPeerMessage(err)}
		return e
	}
	return fail(codeUnavailable, "the tailnet cannot be asked who you are; try again").because(err)
}

func unknownPeerMessage(err error) string {
	if errors.Is(err, errExpiredPeer) {
		return "The key of this device has expired, so the tailnet no longer vouches for it. Log in to Tailscale again on this device, then return."
	}
	if errors.Is(err, errPublicPeer) {
		// A browser that asks a name server of its own for our name lands on
		// Funnel, although its device is on the tailnet.
		return "This connection did not come over the tailnet, so nobody can say who you are. Connect this device to Tailscale, then load this page again. If it is connected already, your browser has not asked Tailscale for the way here: turn on “Use Tailscale DNS” in Tailscale’s settings, turn off “secure DNS” (DNS over HTTPS) in those of the browser, and disconnect other VPNs and proxies."
	}
	return "This request did not come from a device that the tailnet knows, so nobody can say who you are. Connect this device to Tailscale, then return."
}
