// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/views"
)

// ours is the tailnet of the tests.
var ours = tailnetInfo{name: "example.com", suffix: "tail1234.ts.net"}

func hostinfo(h tailcfg.Hostinfo) tailcfg.HostinfoView { return h.View() }

// TestNewIdentity maps answers of WhoIs, also those of C25 that have holes.
func TestNewIdentity(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*apitype.WhoIsResponse)
		want func(*identity)
	}{
		{"a user", func(*apitype.WhoIsResponse) {}, func(*identity) {}},
		{"groups of the control plane", func(r *apitype.WhoIsResponse) { r.UserProfile.Groups = []string{"b", "a"} }, func(id *identity) { id.groups = []string{"b", "a"} }},
		{"a name without trailing dot", func(r *apitype.WhoIsResponse) { r.Node.Name = "lap.tail1234.ts.net" }, func(*identity) {}},
		{"nil CapMap", func(r *apitype.WhoIsResponse) { r.CapMap = nil }, func(*identity) {}},
		{"other capabilities", func(r *apitype.WhoIsResponse) {
			r.CapMap = tailcfg.PeerCapMap{"tailscale.com/cap/tsidp2": {`{"allow_admin_ui":true}`}, "tailscale.com/cap/TSIDP": {`{"allow_admin_ui":true}`}}
		}, func(*identity) {}},
		{"valid Hostinfo", func(r *apitype.WhoIsResponse) { r.Node.Hostinfo = hostinfo(tailcfg.Hostinfo{Hostname: "x"}) }, func(*identity) {}},
		{"capability without values", func(r *apitype.WhoIsResponse) { r.CapMap = tailcfg.PeerCapMap{capability: nil} }, func(*identity) {}},
		{"rules", func(r *apitype.WhoIsResponse) { setRules(r, `{"allow_admin_ui":true}`) }, func(id *identity) { id.rules = rules{{adminUI: true}} }},
		{"empty profile", func(r *apitype.WhoIsResponse) { r.UserProfile = &tailcfg.UserProfile{ID: 1001} },
			func(id *identity) { id.login, id.displayName, id.pictureURL = "", "", "" }},
		{"tagged", func(r *apitype.WhoIsResponse) {
			r.Node.Tags, r.UserProfile.Groups = []string{"tag:a", "tag:b"}, []string{"tagged"}
		}, func(id *identity) {
			id.tags, id.login, id.displayName, id.pictureURL = []string{"tag:a", "tag:b"}, "", "", ""
		}},

		// Users and nodes of other tailnets.
		{"Sharer", func(r *apitype.WhoIsResponse) { r.Node.Sharer = 77 }, func(id *identity) { id.external, id.nodeName = true, "" }},
		{"ShareeNode", func(r *apitype.WhoIsResponse) { r.Node.Hostinfo = hostinfo(tailcfg.Hostinfo{ShareeNode: true}) },
			func(id *identity) { id.external, id.nodeName = true, "" }},
		{"foreign suffix", func(r *apitype.WhoIsResponse) { r.Node.Name = "lap.tail9999.ts.net." },
			func(id *identity) { id.external, id.nodeName = true, "lap.tail9999.ts.net" }},
		{"our suffix as a label", func(r *apitype.WhoIsResponse) { r.Node.Name = "lap.tail1234.ts.net.evil.example." },
			func(id *identity) { id.external, id.nodeName = true, "lap.tail1234.ts.net.evil.example" }},
		{"our suffix as an end of a label", func(r *apitype.WhoIsResponse) { r.Node.Name = "lap.xtail1234.ts.net." },
			func(id *identity) { id.external, id.nodeName = true, "lap.xtail1234.ts.net" }},
		{"the suffix itself", func(r *apitype.WhoIsResponse) { r.Node.Name = "tail1234.ts.net." },
			func(id *identity) { id.external, id.nodeName = true, "tail1234.ts.net" }},
		{"placeholder", func(r *apitype.WhoIsResponse) { r.Node.Name = "device-of-shared-to-user" },
			func(id *identity) { id.external, id.nodeName = true, "" }},
		{"no name", func(r *apitype.WhoIsResponse) { r.Node.Name = "" }, func(id *identity) { id.external, id.nodeName = true, "" }},
		{"a dot", func(r *apitype.WhoIsResponse) { r.Node.Name = "." }, func(id *identity) { id.external, id.nodeName = true, "" }},
		{"C25: everything missing", func(r *apitype.WhoIsResponse) {
			r.Node = &tailcfg.Node{StableID: "n1001CNTRL", ID: 41001, Sharer: 77}
			r.CapMap = nil
		}, func(id *identity) { id.external, id.nodeName, id.addresses = true, "", nil }},
		{"tagged node of another tailnet", func(r *apitype.WhoIsResponse) { r.Node.Sharer, r.Node.Tags = 77, []string{"tag:a"} }, func(id *identity) {
			id.external, id.tags, id.nodeName, id.login, id.displayName, id.pictureURL = true, []string{"tag:a"}, "", "", "", ""
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := userPeer(1001, "ada@example.com", "Ada", "lap", ada)
			tt.edit(res)
			want := identity{
				addr: ada, userID: 1001, login: "ada@example.com", displayName: "Ada", pictureURL: "https://pics.example/lap",
				node: "n1001CNTRL", nodeID: 41001, nodeKey: res.Node.Key.String(), nodeName: "lap.tail1234.ts.net",
				addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.1/32")}, tailnet: ours,
			}
			tt.want(&want)
			got, faults := newIdentity(ada, res, ours)
			opts := cmp.Options{cmp.AllowUnexported(identity{}, tailnetInfo{}, rule{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
			if diff := cmp.Diff(want, got, opts); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			if len(faults) > 0 {
				t.Errorf("faults %v", faults)
			}
		})
	}
}

// TestNewIdentityDoesNotShare: the answer of WhoIs may be somebody's cache.
func TestNewIdentityDoesNotShare(t *testing.T) {
	res := userPeer(1001, "ada@example.com", "Ada", "lap", ada)
	res.Node.Tags, res.UserProfile.Groups = nil, []string{"ops"}
	id, _ := newIdentity(ada, res, ours)
	res.UserProfile.Groups[0], res.Node.Addresses[0] = "root", netip.Prefix{}
	if id.groups[0] != "ops" || !id.addresses[0].IsValid() {
		t.Errorf("the identity changed with the answer it came from: %+v", id)
	}
}

// TestExternalWithoutSuffix: before the tailnet's suffix is known, only what
// WhoIs says for certain counts.
func TestExternalWithoutSuffix(t *testing.T) {
	for _, tt := range []struct {
		node tailcfg.Node
		want bool
	}{
		{tailcfg.Node{Name: "lap.tail1234.ts.net."}, false},
		{tailcfg.Node{Name: "lap"}, false},
		{tailcfg.Node{Name: ""}, true},
		{tailcfg.Node{Name: "lap.tail1234.ts.net.", Sharer: 77}, true},
		{tailcfg.Node{Name: "lap.tail1234.ts.net.", Hostinfo: hostinfo(tailcfg.Hostinfo{ShareeNode: true})}, true},
	} {
		if got := isExternal(&tt.node, tailnetInfo{}); got != tt.want {
			t.Errorf("%q, sharer %d: external %t, want %t", tt.node.Name, tt.node.Sharer, got, tt.want)
		}
	}
}

func TestNewTailnetInfo(t *testing.T) {
	tags := views.SliceOf([]string{"tag:idp"})
	for _, tt := range []struct {
		name   string
		status ipnstate.Status
		want   tailnetInfo
	}{
		{"nothing", ipnstate.Status{}, tailnetInfo{}},
		{"no tags", ipnstate.Status{Self: &ipnstate.PeerStatus{}, CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net"}}, ours},
		{"tags", ipnstate.Status{Self: &ipnstate.PeerStatus{Tags: &tags}}, tailnetInfo{tags: []string{"tag:idp"}}},
	} {
		if diff := cmp.Diff(tt.want, newTailnetInfo(&tt.status), cmp.AllowUnexported(tailnetInfo{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestSubject: stable, never reassigned, no address (DESIGN §4, sub).
func TestSubject(t *testing.T) {
	user := identity{userID: 12345, login: "ada@example.com", node: "nABC"}
	if got := user.subject(); got != "userid:12345" {
		t.Errorf("user: %s", got)
	}
	node := identity{userID: 12345, node: "nABC", tags: []string{"tag:ci", "tag:b"}}
	if got := node.subject(); got != "node:nABC" {
		t.Errorf("tagged node: %s", got)
	}
	if got := node.principal(); got != "tag:ci, tag:b" {
		t.Errorf("principal of a tagged node: %s", got)
	}
}

// A fakeConn is a connection of a sort that nobody has heard of.
type fakeConn struct {
	net.Conn
	remote net.Addr
}

func (c fakeConn) RemoteAddr() net.Addr { return c.remote }

// wrapped shows the connection below it, as tls.Conn does.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// hidden does not.
type hidden struct{ net.Conn }

type textAddr string

func (a textAddr) Network() string { return "test" }
func (a textAddr) String() string  { return string(a) }

func TestPeerOf(t *testing.T) {
	tcp := func(s string) net.Conn { return fakeConn{remote: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s))} }
	funnel := &ipn.FunnelConn{Conn: tcp("100.64.0.1:5"), Src: netip.MustParseAddrPort("203.0.113.9:80")}
	tlsOver := func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{}) }
	public := peer{public: true}
	internet := peer{public: true, source: netip.MustParseAddr("203.0.113.9")}
	mapped := &ipn.FunnelConn{Conn: tcp("100.64.0.1:5"), Src: netip.MustParseAddrPort("[::ffff:203.0.113.9]:80")}
	zoned := &ipn.FunnelConn{Conn: tcp("100.64.0.1:5"), Src: netip.MustParseAddrPort("[2001:db8::9%x]:80")}
	for _, tt := range []struct {
		name string
		conn net.Conn
		want peer
	}{
		{"tcp", tcp("100.64.0.1:1234"), peer{addr: ada}},
		{"tcp over IPv6", tcp("[fd7a:115c:a1e0::1]:1234"), peer{addr: netip.MustParseAddr("fd7a:115c:a1e0::1")}},
		{"IPv4-mapped", tcp("[::ffff:100.64.0.1]:1234"), peer{addr: ada}},
		{"tls over tcp", tlsOver(tcp("100.64.0.1:1234")), peer{addr: ada}},
		{"funnel", funnel, internet},
		{"funnel from a mapped address", mapped, internet},
		{"funnel from an address with a zone", zoned, peer{public: true, source: netip.MustParseAddr("2001:db8::9")}},
		{"funnel from nowhere", &ipn.FunnelConn{Conn: tcp("100.64.0.1:5")}, public},
		{"tls over funnel", tlsOver(funnel), internet},
		{"tls over a wrapped funnel", tlsOver(wrapped{funnel}), internet},
		{"wrapped twice", wrapped{wrapped{funnel}}, internet},
		// Here the relay's address remains; ask refuses relays.
		{"funnel behind what hides it", hidden{funnel}, peer{addr: ada}},
		{"unix", fakeConn{remote: &net.UnixAddr{Name: "/run/tsidp.sock", Net: "unix"}}, peer{public: true, unix: true}},
		{"unix without a name", fakeConn{remote: &net.UnixAddr{}}, peer{public: true, unix: true}},
		{"udp", fakeConn{remote: &net.UDPAddr{IP: net.IPv4(100, 64, 0, 1), Port: 5}}, peer{addr: ada}},
		{"address as text", fakeConn{remote: textAddr("100.64.0.1:5")}, peer{addr: ada}},
		{"mapped address as text", fakeConn{remote: textAddr("[::ffff:100.64.0.1]:5")}, peer{addr: ada}},
		{"address without port", fakeConn{remote: textAddr("100.64.0.1")}, public},
		{"pipe", fakeConn{remote: textAddr("pipe")}, public},
		{"no text", fakeConn{remote: textAddr("")}, public},
		{"no address", fakeConn{}, public},
		{"tcp without an address", fakeConn{remote: &net.TCPAddr{}}, peer{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := peerOf(tt.conn); got != tt.want {
				t.Errorf("peer %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestWithPeer: who terminates the connection knows better than we.
func TestWithPeer(t *testing.T) {
	f := newFixture(t)
	conn := fakeConn{remote: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("100.64.0.2:5"))}
	ctx := f.p.ConnContext(t.Context(), conn)
	if id, err := f.p.identify(ctx); err != nil || id.login != "gus@github" {
		t.Errorf("by connection: %q, %v", id.login, err)
	}
	for _, addr := range []netip.Addr{ada, netip.MustParseAddr("::ffff:100.64.0.1")} {
		if id, err := f.p.identify(WithPeer(ctx, addr)); err != nil || id.login != "ada@example.com" {
			t.Errorf("by WithPeer(%v): %q, %v", addr, id.login, err)
		}
	}
	unix := f.p.ConnContext(t.Context(), fakeConn{remote: &net.UnixAddr{}})
	if _, err := f.p.identify(unix); !errors.Is(err, errPublicPeer) {
		t.Errorf("unix socket: %v, want errPublicPeer", err)
	}
	if id, err := f.p.identify(WithPeer(unix, ada)); err != nil || id.login != "ada@example.com" {
		t.Errorf("WithPeer over a unix socket: %q, %v", id.login, err)
	}
	if _, err := f.p.identify(t.Context()); !errors.Is(err, errNoPeer) {
		t.Errorf("nothing: %v, want errNoPeer", err)
	}
	for _, addr := range []netip.Addr{{}, netip.MustParseAddr("100.64.9.9")} {
		if _, err := f.p.identify(WithPeer(t.Context(), addr)); !errors.Is(err, errUnknownPeer) {
			t.Errorf("WithPeer(%v): %v, want errUnknownPeer", addr, err)
		}
	}
}

// newDirectory returns a directory over a simulated tailnet.
func newDirectory() (*directory, *fakeTailnet, *fakeClock) {
	tn, clock := newFakeTailnet(), &fakeClock{t: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	return &directory{tailnet: tn, now: clock.now, report: func(*identity, []ruleFault) {}, answers: make(map[netip.Addr]answer)}, tn, clock
}

func (f *fakeTailnet) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// TestDirectoryAnswers: an answer is used for less than a second, also if it
// is no, and never after the clock was set back.
func TestDirectoryAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		addr netip.Addr
		edit func(*fakeTailnet)
		err  error
		kept bool
	}{
		{"a user", ada, func(*fakeTailnet) {}, nil, true},
		{"an unknown peer", netip.MustParseAddr("100.64.9.9"), func(*fakeTailnet) {}, errUnknownPeer, true},
		{"an expired node", ada, func(tn *fakeTailnet) { tn.peers[ada].Node.Expired = true }, errExpiredPeer, true},
		{"no answer", ada, func(tn *fakeTailnet) { tn.err = errTest }, errTest, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, tn, clock := newDirectory()
			tn.set(tt.edit)
			ask := func(wantQuestions int) {
				t.Helper()
				before := tn.questions()
				if _, err := d.identify(t.Context(), tt.addr); !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if !tt.kept {
					wantQuestions = 1
				}
				if got := tn.questions() - before; got != wantQuestions {
					t.Errorf("%d questions, want %d", got, wantQuestions)
				}
			}
			ask(1)
			ask(0)
			clock.advance(maxAnswerAge - 1)
			ask(0)
			clock.advance(1)
			ask(1)
			ask(0)
			clock.advance(-1) // set back
			ask(1)
			clock.advance(-time.Hour)
			ask(1)
		})
	}
	if maxAnswerAge > time.Second {
		t.Errorf("answers are used for %v, DESIGN §4 wants at most 1 s", maxAnswerAge)
	}
}

// TestDirectoryForgets: what the tailnet says changes what we say within a
// second.
func TestDirectoryForgets(t *testing.T) {
	d, tn, clock := newDirectory()
	if id, err := d.identify(t.Context(), ada); err != nil || id.rules.allowsAdmin() {
		t.Fatalf("%+v, %v", id, err)
	}
	tn.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"allow_admin_ui":true}`) })
	clock.advance(time.Second)
	if id, _ := d.identify(t.Context(), ada); !id.rules.allowsAdmin() {
		t.Error("a new rule is not seen after a second")
	}
	tn.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res) })
	clock.advance(time.Second)
	if id, _ := d.identify(t.Context(), ada); id.rules.allowsAdmin() {
		t.Error("a withdrawn rule is still seen after a second")
	}
	tn.set(func(tn *fakeTailnet) { delete(tn.peers, ada) })
	clock.advance(time.Second)
	if _, err := d.identify(t.Context(), ada); !errors.Is(err, errUnknownPeer) {
		t.Errorf("a removed node: %v", err)
	}
}

// TestDirectoryIsBounded: asking about many addresses does not fill the
// memory, and stale answers go first.
func TestDirectoryIsBounded(t *testing.T) {
	d, _, clock := newDirectory()
	addr := netip.MustParseAddr("fd7a:115c:a1e0::1")
	for range maxAnswers / 2 {
		d.identify(t.Context(), addr)
		addr = addr.Next()
	}
	clock.advance(time.Second)
	d.identify(t.Context(), ada)
	for range maxAnswers {
		d.identify(t.Context(), addr)
		addr = addr.Next()
		if n := len(d.answers); n > maxAnswers {
			t.Fatalf("%d answers are kept, want at most %d", n, maxAnswers)
		}
	}
	clock.advance(time.Second)
	d.identify(t.Context(), ada)
	for range maxAnswers / 2 {
		d.identify(t.Context(), addr)
		addr = addr.Next()
	}
	if _, ok := d.cached(ada); !ok {
		t.Error("a fresh answer was dropped while there were stale ones")
	}
}

// TestDirectoryClassifiesErrors: "not found" is a refusal, "could not ask" or
// "not running" is a 503 (DESIGN §4, WhoIs).
func TestDirectoryClassifiesErrors(t *testing.T) {
	node := func(change func(*tailcfg.Node)) func(*fakeTailnet) {
		return func(tn *fakeTailnet) { change(tn.peers[ada].Node) }
	}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		edit func(*fakeTailnet)
		is   error // nil: none of our own errors
		code errorCode
	}{
		{"not found", func(tn *fakeTailnet) { delete(tn.peers, ada) }, errUnknownPeer, codeAccessDenied},
		{"not found, wrapped", func(tn *fakeTailnet) { tn.err = fmt.Errorf("asking: %w", local.ErrPeerNotFound) }, errUnknownPeer, codeAccessDenied},
		{"nil answer", func(tn *fakeTailnet) { tn.peers[ada] = nil }, errUnknownPeer, codeAccessDenied},
		{"no node", func(tn *fakeTailnet) { tn.peers[ada].Node = nil }, errUnknownPeer, codeAccessDenied},
		{"no profile", func(tn *fakeTailnet) { tn.peers[ada].UserProfile = nil }, errUnknownPeer, codeAccessDenied},
		{"funnel relay", node(func(n *tailcfg.Node) { n.UnsignedPeerAPIOnly = true }), errUnknownPeer, codeAccessDenied},
		{"expired", node(func(n *tailcfg.Node) { n.Expired = true }), errExpiredPeer, codeAccessDenied},
		{"expired a moment ago", node(func(n *tailcfg.Node) { n.KeyExpiry = now.Add(-1) }), errExpiredPeer, codeAccessDenied},
		{"cannot ask", func(tn *fakeTailnet) { tn.err = errTest }, errTest, codeUnavailable},
		{"access denied by the local node", func(tn *fakeTailnet) { tn.err = &local.AccessDeniedError{} }, nil, codeUnavailable},
		{"stopped", func(tn *fakeTailnet) { tn.state = "Stopped" }, nil, codeUnavailable},
		{"starting", func(tn *fakeTailnet) { tn.state = "Starting" }, nil, codeUnavailable},
		{"own key expired", func(tn *fakeTailnet) { tn.state = "NeedsLogin" }, nil, codeUnavailable},
		{"no state", func(tn *fakeTailnet) { tn.state = "" }, nil, codeUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, tn, _ := newDirectory()
			tn.set(tt.edit)
			_, err := d.identify(t.Context(), ada)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("error %v, want %v", err, tt.is)
			}
			e := identityError(err)
			if e.code != tt.code {
				t.Errorf("code %s, want %s", e.code, tt.code)
			}
			if answer := tt.code == codeAccessDenied; isAnswer(err) != answer || (e.refusal != nil) != answer {
				t.Errorf("is an answer: %t, refusal %+v", isAnswer(err), e.refusal)
			}
			if tt.code == codeUnavailable && strings.Contains(e.description, errTest.Error()) {
				t.Errorf("the peer reads the cause: %s", e.description)
			}
		})
	}

	// What is no error.
	for _, expiry := range []time.Time{{}, now, now.Add(time.Second)} {
		d, tn, _ := newDirectory()
		tn.set(node(func(n *tailcfg.Node) { n.KeyExpiry = expiry }))
		if _, err := d.identify(t.Context(), ada); err != nil {
			t.Errorf("key that expires at %v: %v", expiry, err)
		}
	}
}

func TestIdentityErrorOfEmbedder(t *testing.T) {
	e := identityError(errNoPeer)
	if e.code != codeServerError || !strings.Contains(e.description, "ConnContext") || !errors.Is(e, errNoPeer) {
		t.Errorf("%v", e)
	}
	if e := identityError(errPublicPeer); e.code != codeAccessDenied || e.refusal == nil {
		t.Errorf("%v", e)
	}
	if e := identityError(context.Canceled); e.code != codeUnavailable {
		t.Errorf("%v", e)
	}
}

// A brokenTailnet cannot say its status.
type brokenTailnet struct{ *fakeTailnet }

func (brokenTailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return nil, errTest
}

func TestDirectoryStatusFails(t *testing.T) {
	d, tn, _ := newDirectory()
	d.tailnet = brokenTailnet{tn}
	if _, err := d.identify(t.Context(), ada); !errors.Is(err, errTest) || isAnswer(err) {
		t.Errorf("error %v, want one that says that the status is not known", err)
	}
	if tn.questions() != 0 {
		t.Error("WhoIs was asked though the node may not be running")
	}
}

// TestDirectoryReports: faults of rules are told with whose they are, and the
// identity has the rules that are good.
func TestDirectoryReports(t *testing.T) {
	d, tn, clock := newDirectory()
	type report struct {
		node   string
		faults int
	}
	var reports []report
	d.report = func(id *identity, faults []ruleFault) {
		reports = append(reports, report{string(id.node), len(faults)})
	}
	tn.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{`, `{"allow_dcr":true}`, `[]`) })
	for range 3 {
		id, err := d.identify(t.Context(), ada)
		if err != nil || !id.rules.allowsRegistration() {
			t.Fatalf("%+v, %v", id.rules, err)
		}
	}
	clock.advance(time.Second)
	d.identify(t.Context(), gus)
	if want := []report{{"n1001CNTRL", 2}}; !slices.Equal(reports, want) {
		t.Errorf("reports %v, want %v", reports, want)
	}

	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{}`, `{"users":1}`) })
	f.login(ada)
	if text := f.log.String(); !strings.Contains(text, `msg="policy rule ignored" node=n1001CNTRL user=userid:1001 rule=1`) {
		t.Errorf("log:\n%s", text)
	}
}

// TestRuleReports: each fault is logged once a day, and what is remembered of
// them does not grow.
func TestRuleReports(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) {
		setRules(res, `{"user":["*"],"resources":["*"]}`, `{"users":1}`, `{"extraClaims":{"sub":1}}`)
	})
	messages := []string{`msg="policy rule ignored"`, `msg="claim of policy rule ignored"`, `msg="key of policy rule ignored"`}
	counts := func() (n []int) {
		for _, m := range messages {
			n = append(n, strings.Count(f.log.String(), m))
		}
		return n
	}
	for range 3 {
		f.login(ada)
		f.clock.advance(maxAnswerAge)
	}
	if got := counts(); !slices.Equal(got, []int{1, 1, 1}) || !strings.Contains(f.log.String(), `did you mean \"users\"?`) {
		t.Errorf("after three logins: %v of %v", got, messages)
	}
	f.clock.advance(reportEvery)
	f.login(ada)
	if got := counts(); !slices.Equal(got, []int{2, 2, 2}) {
		t.Errorf("a day later: %v of %v", got, messages)
	}
	for i := range 3 * maxReports {
		f.p.ruleReports.due(strconv.Itoa(i), f.clock.now())
	}
	if n := len(f.p.ruleReports.at); n == 0 || n > maxReports {
		t.Errorf("%d faults are remembered", n)
	}
}

// A gatedTailnet answers when the test opens its gate.
type gatedTailnet struct {
	*fakeTailnet
	gate chan struct{}
}

func (g *gatedTailnet) WhoIs(ctx context.Context, addr string) (*apitype.WhoIsResponse, error) {
	g.fakeTailnet.WhoIs(ctx, addr) // counts
	select {
	case <-g.gate:
		return g.fakeTailnet.peers[netip.MustParseAddr(addr)], nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestDirectorySharesQuestions: a burst of requests of one peer costs one
// question, and none waits for another peer's.
func TestDirectorySharesQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, tn, _ := newDirectory()
		g := &gatedTailnet{tn, make(chan struct{})}
		d.tailnet = g
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				addr, login := ada, "ada@example.com"
				if i%2 == 1 {
					addr, login = gus, "gus@github"
				}
				if id, err := d.identify(t.Context(), addr); err != nil || id.login != login {
					t.Errorf("%v: %q, %v", addr, id.login, err)
				}
			})
		}
		synctest.Wait()
		if n := tn.questions(); n != 2 {
			t.Errorf("%d questions for two peers", n)
		}
		close(g.gate)
		wg.Wait()
		if n := tn.questions(); n != 2 {
			t.Errorf("%d questions for two peers after the answers", n)
		}
	})
}

// TestDirectoryWaiterLeaves: a request that ends while it waits gets an
// error at once; the question goes on for the others, also if the one that
// left had been first.
func TestDirectoryWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, tn, _ := newDirectory()
		g := &gatedTailnet{tn, make(chan struct{})}
		d.tailnet = g
		leaving, leave := context.WithCancel(t.Context())
		left, stayed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := d.identify(leaving, ada)
			left <- err
		}()
		synctest.Wait()
		go func() {
			_, err := d.identify(t.Context(), ada)
			stayed <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) || identityError(err).code != codeUnavailable {
			t.Errorf("the request that left: %v", err)
		}
		synctest.Wait()
		close(g.gate)
		if err := <-stayed; err != nil {
			t.Errorf("the request that stayed: %v", err)
		}
		if n := tn.questions(); n != 1 {
			t.Errorf("%d questions, want 1", n)
		}
	})
}

// TestDirectoryTimeout: a tailnet that does not answer cannot hold requests
// for good, and the failure is not remembered.
func TestDirectoryTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, tn, _ := newDirectory()
		g := &gatedTailnet{tn, make(chan struct{})}
		d.tailnet = g
		start := time.Now()
		_, err := d.identify(t.Context(), ada)
		if !errors.Is(err, context.DeadlineExceeded) || identityError(err).code != codeUnavailable {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(start); waited != askTimeout {
			t.Errorf("waited %v, want %v", waited, askTimeout)
		}
		close(g.gate)
		if _, err := d.identify(t.Context(), ada); err != nil {
			t.Errorf("once the tailnet answers: %v", err)
		}
	})
}

// TestDirectoryAgeCountsFromTheQuestion: an answer that took long is old when
// it comes.
func TestDirectoryAgeCountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, tn, clock := newDirectory()
		g := &gatedTailnet{tn, make(chan struct{})}
		d.tailnet = g
		done := make(chan error, 1)
		go func() {
			_, err := d.identify(t.Context(), ada)
			done <- err
		}()
		synctest.Wait()
		clock.advance(time.Second)
		close(g.gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if _, ok := d.cached(ada); ok {
			t.Error("an answer to a question of a second ago counts as fresh")
		}
	})
}

// TestDirectoryUnderLoad is for the race detector.
func TestDirectoryUnderLoad(t *testing.T) {
	d, tn, clock := newDirectory()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				addr := []netip.Addr{ada, gus, ci, eve}[(i+j)%4]
				if id, err := d.identify(t.Context(), addr); err != nil || id.addr != addr {
					t.Errorf("%v: %v, %v", addr, id.addr, err)
				}
				clock.advance(10 * time.Millisecond)
				tn.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, fmt.Sprintf(`{"groups":["g%d"]}`, j)) })
			}
		})
	}
	wg.Wait()
}

// TestUnknownPeerMessages: the page says what helps.
func TestUnknownPeerMessages(t *testing.T) {
	f := newFixture(t)
	if body := f.authorize(netip.MustParseAddr("100.64.9.9")).page(403); !strings.Contains(body, "Connect this device to Tailscale") {
		t.Errorf("page for an unknown peer:\n%s", body)
	}
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.Expired = true })
	if body := f.authorize(ada).page(403); !strings.Contains(body, "key of this device has expired") {
		t.Errorf("page for an expired node:\n%s", body)
	}
	f.tailnet.set(func(tn *fakeTailnet) { tn.state = "NeedsLogin" })
	f.clock.advance(time.Second)
	r := f.authorize(gus)
	if body := r.page(503); !strings.Contains(body, "cannot be asked") || r.header.Get("Retry-After") == "" || strings.Contains(body, "NeedsLogin") {
		t.Errorf("page while the node is not running:\n%s", body)
	}
}
