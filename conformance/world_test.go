// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package conformance holds the provider to the standards from outside: over
// real connections, with a client that shares no code with it. It re-creates
// the modules of the OpenID Foundation's certification plans, shows that each
// notices a fault, and goes through the security checklists of OAuth.
package conformance

import (
	"context"
	"crypto/tls"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// update makes TestDocument write docs/conformance.md.
var update = flag.Bool("update", false, "write docs/conformance.md")

// The people and machines of the tailnet, by address.
const (
	alice = "100.64.0.1"
	admin = "100.64.0.2"
	ci    = "100.64.0.3" // a tagged device
	bob   = "100.64.0.4"

	// developers is what the addresses of devices begin with that may register
	// clients: a device of its own for each run, for they have quotas.
	developers = "100.64.9."
)

// A fakeTailnet answers WhoIs.
type fakeTailnet struct {
	mu   sync.Mutex
	gone map[string]bool
}

func (f *fakeTailnet) remove(addr string, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[addr] = gone
}

func (f *fakeTailnet) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone[addr] {
		return nil, local.ErrPeerNotFound
	}
	switch addr {
	case alice:
		return peer(1001, "alice@example.com", "Alice", "laptop", addr, `{"users":["*"],"resources":["*"]}`), nil
	case admin:
		return peer(1002, "admin@example.com", "Admin", "desk", addr, `{"allow_admin_ui":true}`), nil
	case ci:
		res := peer(999, "tagged-devices", "Tagged Devices", "ci", addr)
		res.Node.Tags = []string{"tag:ci"}
		return res, nil
	case bob:
		return peer(1004, "bob@github", "", "bobs", addr), nil
	}
	if strings.HasPrefix(addr, developers) {
		return peer(1005, "dev@example.com", "Developer", "dev-"+strings.TrimPrefix(addr, developers), addr, `{"allow_dcr":true}`), nil
	}
	return nil, local.ErrPeerNotFound
}

func peer(id tailcfg.UserID, login, name, host, addr string, rules ...tailcfg.RawMessage) *apitype.WhoIsResponse {
	a := netip.MustParseAddr(addr)
	return &apitype.WhoIsResponse{
		Node: &tailcfg.Node{
			ID: tailcfg.NodeID(id), StableID: tailcfg.StableNodeID("n" + host), Name: host + ".tail1234.ts.net.", User: id,
			Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())},
		},
		UserProfile: &tailcfg.UserProfile{ID: id, LoginName: login, DisplayName: name, ProfilePicURL: "https://pics.example/" + host},
		CapMap:      tailcfg.PeerCapMap{tailcfg.PeerCapabilityTsIDP: rules},
	}
}

func (f *fakeTailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return &ipnstate.Status{
		BackendState:   "Running",
		CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net"},
	}, nil
}

// A clock goes when it is told to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A world is a provider on a tailnet, behind a server with TLS.
type world struct {
	issuer  string
	clock   *clock
	tailnet *fakeTailnet
	base    *http.Transport
	server  *httptest.Server
}

// peerHeader stands in for the tailnet's listener: who sends.
const peerHeader = "Test-Peer"

// newWorld starts a provider whose issuer is the server's address and path.
// A request without peerHeader comes from nobody.
func newWorld(path string, configure func(*tsidp.Config)) *world {
	w := &world{
		clock:   &clock{t: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)},
		tailnet: &fakeTailnet{gone: make(map[string]bool)},
	}
	w.server = httptest.NewUnstartedServer(nil)
	w.issuer = "https://" + w.server.Listener.Addr().String() + path
	cfg := tsidp.Config{Issuer: w.issuer, Tailnet: w.tailnet, Store: memory.New(), Now: w.clock.now, ClientFetch: keyHost().fetch()}
	if configure != nil {
		configure(&cfg)
	}
	provider, err := tsidp.New(cfg)
	if err != nil {
		panic(err)
	}
	go provider.Run(context.Background())
	<-provider.Ready()
	handler := provider.Handler()
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if addr, err := netip.ParseAddr(r.Header.Get(peerHeader)); err == nil {
			r = r.WithContext(tsidp.WithPeer(r.Context(), addr))
		}
		handler.ServeHTTP(rw, r)
	})
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	w.base = w.server.Client().Transport.(*http.Transport)
	w.base.TLSClientConfig = &tls.Config{RootCAs: w.base.TLSClientConfig.RootCAs, ServerName: "example.com"}
	return w
}

// shared is the provider of most tests: making keys takes longer than they
// do. It lives as long as the process.
var shared = sync.OnceValue(func() *world { return newWorld("", nil) })

// begin returns a run for a test that is no module: what it notices is
// reported at once.
func begin(t *testing.T, w *world) *run {
	t.Helper()
	r := newRun(w, "query", nil)
	r.report = func(text string) { t.Helper(); t.Error(text) }
	r.stop = t.FailNow
	return r
}
