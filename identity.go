// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// This file is the only one that knows how a peer is found. Everything else
// receives an identity, a plain value, as an argument.
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
	faults  []ruleFault // of the policy's rules that are not among rules
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

// A directory asks the tailnet who peers are, and reuses an answer for up to
// maxAnswerAge, so that a burst of requests costs one question.
type directory struct {
	tailnet Tailnet
	now     func() time.Time
	// report is told about faults in a peer's rules; it may be called
	// concurrently.
	report func(id *identity, faults []ruleFault)

	flight singleflight.Group

	mu      sync.Mutex // guards what follows
	answers map[netip.Addr]answer
	info    tailnetInfo
	infoAt  time.Time // zero: never asked
}

type answer struct {
	at  time.Time
	id  identity
	err error
}

const (
	// maxAnswerAge bounds how long a withdrawn grant may go on working.
	maxAnswerAge = time.Second
	// maxAnswers bounds the memory: about as many peers as may ask within
	// maxAnswerAge.
	maxAnswers = 4096
	// askTimeout bounds one question to the tailnet.
	askTimeout = 5 * time.Second
)

// identify returns who is behind addr now. Errors: errUnknownPeer and
// errExpiredPeer are answers; anything else means that the tailnet could not
// be asked.
func (d *directory) identify(ctx context.Context, addr netip.Addr) (identity, error) {
	if !addr.IsValid() {
		return identity{}, errUnknownPeer
	}
	start := d.now()
	a, err := d.share(ctx, addr)
	if err == nil && start.Sub(a.at) >= maxAnswerAge {
		// A question that had been asked long before this call came. The next
		// one has not: there is one at a time.
		a, err = d.share(ctx, addr)
	}
	if err != nil {
		return identity{}, err
	}
	return a.id, a.err
}

// share returns an answer that is there or on its way, or asks. The error is
// that of ctx.
func (d *directory) share(ctx context.Context, addr netip.Addr) (answer, error) {
	if a, ok := d.cached(addr); ok {
		return a, nil
	}
	ch := d.flight.DoChan(addr.String(), func() (any, error) {
		if a, ok := d.cached(addr); ok { // asked while this call was waiting
			return a, nil
		}
		// Others may be waiting for this answer: it must not end with the
		// request that happened to come first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		at := d.now()
		id, err := d.ask(ctx, addr)
		if t := d.askedStatus(); !t.IsZero() && t.Before(at) {
			at = t // an answer is as old as the older of its two questions
		}
		a := answer{at, id, err}
		if err == nil || isAnswer(err) {
			d.remember(addr, a)
		}
		return a, nil
	})
	select {
	case res := <-ch:
		return res.Val.(answer), nil
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// isAnswer reports whether err says something about the peer, rather than
// that the tailnet could not be asked.
func isAnswer(err error) bool {
	return errors.Is(err, errUnknownPeer) || errors.Is(err, errExpiredPeer)
}

func (d *directory) cached(addr netip.Addr) (answer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.answers[addr]
	return a, ok && fresh(a.at, d.now())
}

// fresh also refuses answers from the future: the clock was set back.
func fresh(at, now time.Time) bool {
	age := now.Sub(at)
	return age >= 0 && age < maxAnswerAge
}

func (d *directory) remember(addr netip.Addr, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers) >= maxAnswers {
		for k, old := range d.answers {
			if !fresh(old.at, a.at) {
				delete(d.answers, k)
			}
		}
		if len(d.answers) >= maxAnswers {
			clear(d.answers)
		}
	}
	d.answers[addr] = a
}

// ask asks the tailnet, first whether it can answer at all: with an expired
// key of its own, or before it has a map, the node would still answer WhoIs
// from what it remembers.
func (d *directory) ask(ctx context.Context, addr netip.Addr) (identity, error) {
	info, err := d.status(ctx)
	if err != nil {
		return identity{}, err
	}
	res, err := d.tailnet.WhoIs(ctx, addr.String())
	switch {
	case errors.Is(err, local.ErrPeerNotFound):
		return identity{}, errUnknownPeer
	case err != nil:
		return identity{}, fmt.Errorf("asking the tailnet about %v: %w", addr, err)
	case res == nil || res.Node == nil || res.UserProfile == nil:
		return identity{}, errUnknownPeer
	case res.Node.UnsignedPeerAPIOnly:
		// A Funnel relay. ConnContext recognises what comes through it; this
		// holds if somebody wrapped the connection.
		return identity{}, errUnknownPeer
	case res.Node.Expired, !res.Node.KeyExpiry.IsZero() && res.Node.KeyExpiry.Before(d.now()):
		return identity{}, errExpiredPeer
	}
	id, faults := newIdentity(addr, res, info)
	if len(faults) > 0 {
		d.report(&id, faults)
	}
	return id, nil
}

// status returns what the local node knows about its tailnet, or an error if
// it is not running.
func (d *directory) status(ctx context.Context) (tailnetInfo, error) {
	d.mu.Lock()
	info, at := d.info, d.infoAt
	d.mu.Unlock()
	now := d.now()
	if !at.IsZero() && fresh(at, now) {
		return info, nil
	}
	st, err := d.tailnet.StatusWithoutPeers(ctx)
	if err != nil {
		return tailnetInfo{}, fmt.Errorf("asking for the tailnet's status: %w", err)
	}
	if st.BackendState != ipn.Running.String() {
		return tailnetInfo{}, fmt.Errorf("the local Tailscale node is not running: its state is %s", st.BackendState)
	}
	info = newTailnetInfo(st)
	d.mu.Lock()
	d.info, d.infoAt = info, now
	d.mu.Unlock()
	return info, nil
}

// askedStatus is when the status in use was asked for.
func (d *directory) askedStatus() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.infoAt
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
