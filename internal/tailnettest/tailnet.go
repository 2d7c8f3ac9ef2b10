// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/envknob"
	"tailscale.com/net/netns"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// patience bounds every wait of this package. It is far above what a loaded
// machine with the race detector needs, so reaching it is always a bug.
const patience = time.Minute

// hostPrepared guards prepareHost. It is the only package-level state here,
// because what it guards is state of the whole process in tailscale.com: the
// second write would race with nodes that the first caller already runs.
var hostPrepared sync.Once

// prepareHost keeps the nodes of this process off the machine's real network.
func prepareHost() {
	// Sockets would otherwise be marked for, or bound to, the interface of the
	// default route. A sandbox has none.
	netns.SetEnabled(false)
	for _, setting := range nodeEnv() {
		name, value, _ := strings.Cut(setting, "=")
		envknob.Setenv(name, value)
	}
}

// nodeEnv returns what every node of a tailnet has in its environment.
func nodeEnv() []string {
	return []string{
		// Nodes would ask the router of the real network for ports.
		"TS_DISABLE_PORTMAPPER=true",
		// Nodes would soon go from the relay to a direct path. When a process
		// is then killed and started again, its peers go on sending to where
		// it was for up to 10 seconds.
		"TS_DEBUG_NEVER_DIRECT_UDP=true",
	}
}

// A Tailnet is a control server, a DERP relay and a STUN server on 127.0.0.1,
// and the policy that they serve. All methods may be called concurrently.
type Tailnet struct {
	// URL is the control server's URL: the value for [tsnet.Server.ControlURL].
	// Another process wants all of [Tailnet.Env].
	URL string

	// Domain is the MagicDNS suffix, without dots at its ends.
	Domain string

	t        testing.TB
	out      *output
	authKey  string
	control  *testcontrol.Server
	listener *cuttableListener
	derpMap  *tailcfg.DERPMap
	relay    *derpserver.Server
	ca       *authority

	mu         sync.Mutex
	changed    chan struct{}              // closed and replaced whenever what is below changes
	state      State                      // the policy
	generation uint64                     // counts everything that a netmap shows
	awaited    uint64                     // the newest generation somebody waits for
	streams    map[key.NodePublic]*stream // the nodes that are connected now
	departed   map[key.NodePublic]bool    // nodes of this process that were closed
	fakes      []*tailcfg.Node            // peers without a process
}

// An Option changes how [Start] builds a tailnet.
type Option func(*Tailnet)

// WithAuthKey makes control refuse every node that does not present authKey.
// Nodes made by [Tailnet.Node] and processes given [Tailnet.Env] present it; to
// see a refusal, change [tsnet.Server.AuthKey] and call [tsnet.Server.Up].
//
// Control asks for the key at every registration, even of a node that it
// knows already, so a restarted node has to present it again.
func WithAuthKey(authKey string) Option {
	return func(tn *Tailnet) { tn.authKey = authKey }
}

// WithLog copies the logs of control, DERP and all nodes of this process to
// the test's output. The default is silence.
func WithLog() Option {
	return func(tn *Tailnet) { tn.out.verbose = true }
}

// Start runs a tailnet until t ends. It shares nothing with other tailnets of
// the process, so parallel tests may each have their own.
func Start(t testing.TB, opts ...Option) *Tailnet {
	t.Helper()
	hostPrepared.Do(prepareHost)
	tn := &Tailnet{
		Domain:   "tail-scale.ts.net",
		t:        t,
		out:      &output{t: t},
		changed:  make(chan struct{}),
		state:    State{Name: "example.com", Nodes: map[string]*Identity{}},
		streams:  map[key.NodePublic]*stream{},
		departed: map[key.NodePublic]bool{},
	}
	for _, opt := range opts {
		opt(tn)
	}
	t.Cleanup(tn.out.close) // registered first, so it runs last
	ca, err := newAuthority()
	if err != nil {
		t.Fatalf("making the certificate authority: %v", err)
	}
	tn.ca = ca
	tn.startDERP()
	tn.startControl()
	return tn
}

func (tn *Tailnet) startControl() {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tn.t.Fatalf("listening for control: %v", err)
	}
	tn.listener = &cuttableListener{Listener: inner, conns: map[net.Conn]bool{}}
	tn.URL = "http://" + inner.Addr().String()
	tn.control = &testcontrol.Server{
		Logf:            tn.out.logf,
		ExplicitBaseURL: tn.URL,
		DERPMap:         tn.derpMap,
		MagicDNSDomain:  tn.Domain,
		RequireAuthKey:  tn.authKey,
		AltMapStream:    tn.serveMap,
		// It would give every node HTTPS and Funnel, in a form that clients
		// add to the attributes of the netmap.
		DefaultNodeCapabilities: &tailcfg.NodeCapMap{},
	}
	srv := &http.Server{Handler: tn.control, ErrorLog: tn.out.stdLogger()}
	var serving sync.WaitGroup
	serving.Go(func() { srv.Serve(tn.listener) })
	tn.t.Cleanup(func() {
		srv.Close()
		// The server forgets connections that were upgraded to Noise.
		tn.listener.cut()
		serving.Wait()
	})
}

// FQDN returns the MagicDNS name of the node with the given host name, without
// the trailing dot.
func (tn *Tailnet) FQDN(host string) string {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if id := tn.state.Nodes[host]; id != nil {
		return id.fqdn(host, tn.Domain)
	}
	return host + "." + tn.Domain
}

// Env returns the environment, to be appended to [os.Environ], in which another
// process's tailscale node joins this tailnet, keeps away from the internet, and
// accepts the certificates of [Tailnet.CertFiles]. Tell control who that node
// is with [Tailnet.Expect] first.
func (tn *Tailnet) Env() []string {
	env := append(nodeEnv(),
		"TS_CONTROL_URL="+tn.URL,
		"TS_NO_LOGS_NO_SUPPORT=true",
		"TS_PANIC_IF_HIT_MAIN_CONTROL=true",
		// Without an interface that looks like a way to the internet, a node
		// outside of a test binary never contacts control.
		"TS_ASSUME_NETWORK_UP_FOR_TEST=true",
		// A certificate that no system root vouches for is used only when ACME
		// is pointed away from Let's Encrypt. Nothing listens on port 1: asking
		// whether to renew fails at once, and the file is good for 2/3 of its life.
		"TS_DEBUG_ACME_DIRECTORY_URL=http://127.0.0.1:1/",
	)
	if tn.authKey != "" {
		env = append(env, "TS_AUTHKEY="+tn.authKey)
	}
	return env
}

// CutControl closes the nodes' connections to control and refuses new ones.
// Nodes stay connected to each other and keep the netmap they have.
func (tn *Tailnet) CutControl() { tn.listener.cut() }

// RestoreControl undoes [Tailnet.CutControl]. Nodes retry at growing intervals of up
// to 30 seconds. To wait for them, call [Tailnet.AwaitReady] with their host names.
func (tn *Tailnet) RestoreControl() { tn.listener.restore() }

// AwaitReady waits until every connected node can reach every other one, and
// until the nodes with the given host names are among them. It fails the test
// when that takes more than a minute. [Node.Up] calls it; call it for a node of
// another process, to which the first request could otherwise take 5 seconds.
func (tn *Tailnet) AwaitReady(t testing.TB, hosts ...string) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	// The relay does not announce its clients: it has to be asked.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := tn.unready(hosts)
		if missing == "" {
			tn.awaitApplied(tn.currentGeneration())
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("tailnet not ready at the end of the test: %s", missing)
		case <-timeout.C:
			t.Fatalf("tailnet not ready after %v: %s", patience, missing)
		}
	}
}

// unready returns what AwaitReady has to wait for, or "".
func (tn *Tailnet) unready(hosts []string) string {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	waiting := map[string]bool{}
	for _, host := range hosts {
		waiting[host] = true
	}
	for _, m := range tn.membersLocked() {
		if tn.streams[m.node.Key] == nil || m.expired() {
			continue
		}
		if m.node.HomeDERP == 0 {
			return m.host + " has not told control its DERP region"
		}
		if !tn.relay.IsClientConnectedForTest(m.node.Key) {
			return m.host + " is not connected to DERP"
		}
		delete(waiting, m.host)
	}
	if len(waiting) == 0 {
		return ""
	}
	return fmt.Sprintf("not connected to control, or expired or deleted: %v",
		slices.Sorted(maps.Keys(waiting)))
}
