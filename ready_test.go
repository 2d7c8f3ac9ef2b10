// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/ipn/ipnstate"
)

// readyz asks about the fixture, a second later than whatever was before.
func (f *fixture) readyz() (status int, body map[string]any, states map[string]string) {
	f.t.Helper()
	f.clock.advance(2 * time.Second)
	r := f.do(netip.Addr{}, "GET", "/readyz", "", "")
	body = r.json(r.status)
	states = make(map[string]string)
	for _, c := range body["checks"].([]any) {
		c := c.(map[string]any)
		states[c["name"].(string)] = fmt.Sprint(c["ok"], " ", c["state"])
		if c["detail"] != nil {
			f.t.Errorf("a peer reads the cause %v", c["detail"])
		}
	}
	return r.status, body, states
}

// TestReady: each part fails by itself, and says so.
func TestReady(t *testing.T) {
	var certificate error
	s := newFaultStore(t)
	node := &nodeTailnet{fakeTailnet: newFakeTailnet()}
	f := newFixture(t, func(c *Config) {
		c.Store, c.Tailnet = s, node
		c.Checks = []Check{{Name: "certificate", Run: func(context.Context) (string, error) {
			if certificate != nil {
				return "waiting for a certificate", certificate
			}
			return "valid for 89 days", nil
		}}}
	})
	well := map[string]string{
		"store": "true answers", "keys": "true newest in use for 2s", "tailnet": "true running",
		"node_key": "true does not expire", "certificate": "true valid for 89 days",
	}
	status, body, states := f.readyz()
	if diff := cmp.Diff(well, states); status != 200 || body["status"] != "ok" || diff != "" {
		t.Fatalf("answer %d %v (-want +got):\n%s", status, body, diff)
	}
	expires := f.clock.now().Add(100 * 24 * time.Hour)
	for _, tt := range []struct {
		name        string
		set, unset  func()
		status      int
		part, state string
	}{
		{"store", func() { s.setBroken("Keys", false) }, func() { s.setBroken("", false) }, 503, "store", "false does not answer"},
		{"tailnet", func() { node.set(func(f *fakeTailnet) { f.state = "NeedsLogin" }) }, func() { node.set(func(f *fakeTailnet) { f.state = "Running" }) }, 503, "tailnet", "false cannot be asked, or the node is not running"},
		{"key expires", func() { node.self = &ipnstate.PeerStatus{KeyExpiry: &expires} }, func() {}, 200, "node_key", "true expires in 99 days"},
		{"map current", func() { node.self = &ipnstate.PeerStatus{Online: true} }, func() {}, 200, "tailnet", "true running, its map is current"},
		{"map old", func() { node.self = new(ipnstate.PeerStatus); f.clock.advance(time.Minute) }, func() {}, 200, "tailnet", "true running, but the control plane cannot be reached: its map may be 1m2s old"},
		{"key expired", func() { expires = f.clock.now(); node.self = &ipnstate.PeerStatus{KeyExpiry: &expires, Online: true} }, func() { node.self = nil }, 503, "node_key", "false has expired"},
		{"certificate", func() { certificate = errTest }, func() { certificate = nil }, 503, "certificate", "false waiting for a certificate"},
	} {
		tt.set()
		status, body, states := f.readyz()
		if states[tt.part] != tt.state || status != tt.status || (body["status"] == "ok") != (status == 200) {
			t.Errorf("%s: answer %d %v, want %d with %s", tt.name, status, body, tt.status, tt.state)
		}
		if strings.Contains(fmt.Sprint(body), errTest.Error()) {
			t.Errorf("%s: the cause is in %v", tt.name, body)
		}
		tt.unset()
		if status, body, _ := f.readyz(); status != 200 {
			t.Errorf("after %s: answer %d %v", tt.name, status, body)
		}
	}
	if !strings.Contains(f.log.String(), "not ready") {
		t.Error("the log does not say it")
	}
	if !strings.Contains(f.log.String(), "ready again") {
		t.Error("the log does not say it")
	}

	socket := listen(t, &http.Server{Handler: f.p.AdminHandler(), ConnContext: f.p.ConnContext}, unixListener(t))
	s.setBroken("Keys", false)
	f.clock.advance(2 * time.Second)
	if r := do(t, socket, "GET", "/readyz", "", ""); r.status != 503 || !strings.Contains(r.body, errTest.Error()) {
		t.Errorf("on the unix socket: %d %s, want the cause", r.status, r.body)
	}
}

// TestReadyShares: a second's requests are one question.
func TestReadyShares(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	before := s.called("Keys")
	for range 5 {
		f.do(netip.Addr{}, "GET", "/readyz", "", "").json(200)
	}
	if n := s.called("Keys") - before; n != 1 {
		t.Errorf("the store was asked %d times, want once", n)
	}
}

// TestReadyHangs: a check that hangs does not hold a request that has ended.
func TestReadyHangs(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := newFixture(t, func(c *Config) {
		c.Checks = []Check{{"slow", func(context.Context) (string, error) { close(entered); <-leave; return "", nil }}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := f.p.readiness(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w := httptest.NewRecorder()
	f.p.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", testIssuer+"/readyz", nil))
	if w.Code != 503 {
		t.Errorf("answer %d", w.Code)
	}
	close(leave)
}

func TestReadyBeforeRun(t *testing.T) {
	p := newProvider(t, newConfig(t, t.Output()))
	r := do(t, serve(t, p.PublicHandler()), "GET", "/readyz", "", "").json(503)
	if !strings.Contains(fmt.Sprint(r), "name:keys ok:false state:starting") {
		t.Errorf("answer %v", r)
	}
}

func TestValidateChecks(t *testing.T) {
	run := func(context.Context) (string, error) { return "", nil }
	for want, checks := range map[string][]Check{
		"has no name":                           {{"", run}},
		"does nothing":                          {{"a", nil}},
		`[1]: there is a check "a" already`:     {{"a", run}, {"a", run}},
		`[0]: there is a check "store" already`: {{"store", run}},
	} {
		cfg := goodConfig()
		cfg.Checks = checks
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	own := newProvider(t, newConfig(t, t.Output())).ownChecks()
	for _, c := range own {
		if err := validateChecks([]Check{c}); err == nil {
			t.Errorf("the name %s of an own check is free", c.Name)
		}
	}
}

// A nodeTailnet says of its own node what a test wants.
type nodeTailnet struct {
	*fakeTailnet
	self *ipnstate.PeerStatus
}

func (n *nodeTailnet) StatusWithoutPeers(ctx context.Context) (*ipnstate.Status, error) {
	st, err := n.fakeTailnet.StatusWithoutPeers(ctx)
	if err == nil {
		st.Self = n.self
	}
	return st, err
}

// TestMapAge is the metric of it.
func TestMapAge(t *testing.T) {
	node := &nodeTailnet{fakeTailnet: newFakeTailnet(), self: &ipnstate.PeerStatus{Online: true}}
	f := newFixture(t, func(c *Config) { c.Tailnet = node })
	if age, ok := f.metrics()["tsidp_tailnet_map_age_seconds"]; !ok || age != 0 {
		t.Errorf("age %v %t, want 0", age, ok)
	}
	node.self = &ipnstate.PeerStatus{}
	f.clock.advance(time.Minute)
	if age := f.metrics()["tsidp_tailnet_map_age_seconds"]; age != 60 {
		t.Errorf("age %v, want 60", age)
	}
	if _, ok := newFixture(t).metrics()["tsidp_tailnet_map_age_seconds"]; ok {
		t.Error("an age, though the status tells none")
	}
}
