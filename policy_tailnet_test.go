// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/tailnettest"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/ipn"
)

// A livePolicy is a provider on a real tailnet with a session of each kind. The
// people and machines are peers without a process: WhoIs of the provider's own
// node, which is real, is all that decides.
type livePolicy struct {
	*fixture
	tn            *tailnettest.Tailnet
	idp           *tailnettest.Node
	laptop, robot netip.Addr
	grants        []tailnettest.Grant
	// probes use one part of a session each, and return the status and error.
	probes map[string]func() (status int, problem string)
	email  string // as userinfo said last
}

const (
	liveUser    = "alice@example.com"
	liveRenamed = "alice.b@example.com"
	// liveWithin is how soon a change of the tailnet counts.
	liveWithin = 1500 * time.Millisecond
)

func newLivePolicy(t *testing.T) *livePolicy {
	tn := tailnettest.Start(t)
	person := `{"clients":["web","cli"],"users":["*"],"resources":["` + testResource + `","` + upstream + `"]}`
	l := &livePolicy{tn: tn, grants: []tailnettest.Grant{
		tailnettest.Allow(liveUser, "idp", person), tailnettest.Allow(liveRenamed, "idp", person), tailnettest.Allow("tag:ci", "idp", machineRule),
	}}
	tn.SetGrants(l.grants...)
	l.idp = tn.Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
	l.laptop = tn.AddFake("laptop", tailnettest.User(liveUser))
	l.robot = tn.AddFake("robot", tailnettest.Tagged("tag:ci"))
	l.fixture = newDeviceFixture(t, func(c *Config) {
		c.Tailnet, c.Store, c.Now = l.idp.LocalClient(), memory.New(), time.Now
		c.TokenExchange = new(TokenExchange)
	})
	l.addClient("gw", webSecret, admin.ClientMetadata{GrantTypes: []string{grantTokenExchange}, ResourceIdentifiers: []string{testResource}})
	l.addClient("up", webSecret, admin.ClientMetadata{GrantTypes: []string{grantClientCredentials}, ResourceIdentifiers: []string{upstream}})
	for _, id := range []string{"web", "cli"} {
		l.editClient(id, func(c *client) { c.Access = accessGranted })
	}
	l.openSessions()
	return l
}

// openSessions logs in in every way, and makes the probes of what came of it.
func (l *livePolicy) openSessions() {
	problem := func(r *reply) (int, string) {
		if r.status == 200 {
			return 200, ""
		}
		code, _ := r.json(r.status)["error"].(string)
		return r.status, code
	}
	refresh := func(client string, res tokenResponse) func() (int, string) {
		token := res.RefreshToken
		return func() (int, string) {
			form, header := refreshForm(token, "client_id", client), []string(nil)
			if client == "web" {
				header = basicAuth(client, webSecret)
			}
			r := l.post("/token", form, header...)
			if r.status == 200 {
				token = r.tokens().RefreshToken
			}
			return problem(r)
		}
	}
	userinfo := func(res tokenResponse) func() (int, string) {
		return func() (int, string) {
			r := l.userinfo(res.AccessToken)
			if r.status == 200 {
				if email, ok := r.json(200)["email"].(string); ok { // the device has not asked for it
					l.email = email
				}
			}
			return problem(r)
		}
	}
	introspect := func(by, token string) func() (int, string) {
		return func() (int, string) {
			r := l.post("/introspect", url.Values{"token": {token}}, basicAuth(by, webSecret)...)
			if r.status == 200 && r.json(200)["active"] != true {
				return 400, "inactive"
			}
			return problem(r)
		}
	}
	login := l.login(l.laptop, "scope", "openid email")
	d := l.beginDevice(l.robot)
	l.decide(l.laptop, d.UserCode, "approve")
	device := l.poll(d.DeviceCode).tokens()
	aimed := l.login(l.laptop, "resource", testResource)
	exchanged := l.exchange("gw", aimed.AccessToken).tokens()
	machine := l.machine(l.robot).tokens()
	l.probes = map[string]func() (int, string){
		"refresh": refresh("web", login), "userinfo": userinfo(login), "introspection": introspect("web", login.AccessToken),
		"refresh of a device": refresh("cli", device), "userinfo of a device": userinfo(device),
		"introspection of what was exchanged": introspect("up", exchanged.AccessToken),
		"introspection of a machine's token":  introspect("up", machine.AccessToken),
		"token of a machine":                  func() (int, string) { return problem(l.machine(l.robot)) },
	}
}

// await waits until every probe is answered with a status that is good, and
// says how long it took since the change was made.
func (l *livePolicy) await(what string, good func(status int) bool) {
	l.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		late := ""
		for name, probe := range l.probes {
			if status, problem := probe(); !good(status) {
				late += " " + name + " (" + problem + ")"
			}
		}
		took := time.Since(began)
		if late == "" {
			l.t.Logf("%s: after %v", what, took.Round(time.Millisecond))
			return
		}
		if took > liveWithin {
			l.t.Fatalf("%s: not after %v:%s", what, took, late)
		}
		<-tick.C
	}
}

func (l *livePolicy) awaitRefusal(what string) {
	l.t.Helper()
	l.await(what, func(status int) bool { return status == 400 || status == 401 })
}

func (l *livePolicy) awaitAcceptance(what string) {
	l.t.Helper()
	l.await(what, func(status int) bool { return status == 200 })
}

// both changes what is known of the person's node and of the machine.
func (l *livePolicy) both(change func(*tailnettest.Identity)) {
	l.tn.Update(func(s *tailnettest.State) { change(s.Nodes["laptop"]); change(s.Nodes["robot"]) })
}

// setRunning starts and stops the provider's own node, as tailscale up and down
// do, and returns when it has.
func (l *livePolicy) setRunning(on bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	lc := l.idp.LocalClient()
	bus, err := lc.WatchIPNBus(ctx, ipn.NotifyInitialState)
	if err != nil {
		l.t.Fatal(err)
	}
	defer bus.Close()
	if _, err := lc.EditPrefs(ctx, &ipn.MaskedPrefs{Prefs: ipn.Prefs{WantRunning: on}, WantRunningSet: true}); err != nil {
		l.t.Fatal(err)
	}
	want := map[bool]ipn.State{true: ipn.Running, false: ipn.Stopped}[on]
	for {
		n, err := bus.Next()
		if err != nil {
			l.t.Fatalf("waiting for %v: %v", want, err)
		}
		if n.State != nil && *n.State == want {
			return
		}
	}
}

// TestLivePolicy: what changes in the tailnet counts within 1.5 s for every
// kind of session, and a refusal kills none: when the tailnet is as it was, the
// same tokens work. Only an address that belongs to another node ends a grant.
func TestLivePolicy(t *testing.T) {
	t.Parallel()
	l := newLivePolicy(t)
	l.awaitAcceptance("at first")

	l.tn.SetGrants()
	l.awaitRefusal("grants withdrawn")
	l.tn.SetGrants(l.grants...)
	l.awaitAcceptance("grants back")

	l.both(func(id *tailnettest.Identity) { id.Deleted = true })
	l.awaitRefusal("nodes removed")
	l.both(func(id *tailnettest.Identity) { id.Deleted = false })
	l.awaitAcceptance("nodes back")

	l.both(func(id *tailnettest.Identity) { id.Expired = true })
	l.awaitRefusal("node keys expired")
	l.both(func(id *tailnettest.Identity) { id.Expired = false })
	l.awaitAcceptance("node keys renewed")

	l.tn.Update(func(s *tailnettest.State) { s.Nodes["laptop"].User.LoginName = liveRenamed })
	l.await("user renamed", func(status int) bool { return status == 200 && l.email == liveRenamed })

	l.setRunning(false)
	l.await("own node stopped", func(status int) bool { return status == 503 })
	l.setRunning(true)
	l.awaitAcceptance("own node started")

	l.tn.Update(func(s *tailnettest.State) {
		s.Nodes["laptop"].StableID, s.Nodes["robot"].StableID = "nOTHER1CNTRL", "nOTHER2CNTRL"
	})
	delete(l.probes, "token of a machine") // which the new one may have for itself
	l.awaitRefusal("addresses handed on")
	l.both(func(id *tailnettest.Identity) { id.StableID = "" })
	for _, addr := range []netip.Addr{l.laptop, l.robot} {
		waitForNode(t, l.p, addr, func(id *identity) bool { return strings.HasPrefix(string(id.node), "nFAKE") })
	}
	l.awaitRefusal("addresses handed back, which revives nothing")
}

// waitForNode waits until the provider knows of a change.
func waitForNode(t *testing.T, p *Provider, addr netip.Addr, changed func(*identity) bool) {
	t.Helper()
	deadline, tick := time.After(liveWithin), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		id, err := p.directory.identify(t.Context(), addr)
		if err == nil && changed(&id) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%v is still %s (%v)", addr, id.node, err)
		case <-tick.C:
		}
	}
}
