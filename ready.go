// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
)

// Whether the provider can work, part by part. /healthz says that the process
// does its own work, so that a supervisor need not restart it; /readyz says
// that logins succeed now, so that it should be sent requests.

// A Check is one thing that the provider needs and does not know itself, such
// as the certificate of its listener. See [Config.Checks].
type Check struct {
	// Name of the thing, in lower case: "certificate". Not "store", "keys",
	// "tailnet" or "node_key", which are the provider's own.
	Name string
	// Run looks. The state is a short text that everybody may read; an error
	// says that the provider is not ready, and is shown to the log and to
	// the administration's unix socket only. It may be called concurrently
	// and must honour the context, which ends after 5 s.
	Run func(ctx context.Context) (state string, err error)
}

// ownChecks are those of the provider, in the order of the answer.
func (p *Provider) ownChecks() []Check {
	return []Check{{"store", p.checkStore}, {"keys", p.checkKeys}, {"tailnet", p.checkTailnet}, {"node_key", p.checkNodeKey}}
}

func validateChecks(checks []Check) error {
	names := []string{"store", "keys", "tailnet", "node_key"}
	for i, c := range checks {
		switch {
		case c.Name == "" || c.Run == nil:
			return fmt.Errorf("Config.Checks[%d] has no name or does nothing", i)
		case slices.Contains(names, c.Name):
			return fmt.Errorf("Config.Checks[%d]: there is a check %q already", i, c.Name)
		}
		names = append(names, c.Name)
	}
	return nil
}

func (p *Provider) checkStore(ctx context.Context) (string, error) {
	if err := p.storage.Health(ctx); err != nil {
		return "does not answer", err
	}
	return "answers", nil
}

func (p *Provider) checkKeys(context.Context) (string, error) {
	ring := p.keys.Load()
	if ring == nil {
		return "starting", errors.New("Run has not opened the store yet")
	}
	var newest time.Duration = -1
	for _, since := range ring.since {
		if age := p.now().Sub(since); newest < 0 || age < newest {
			newest = age
		}
	}
	return "newest in use for " + days(newest), nil
}

func (p *Provider) checkTailnet(ctx context.Context) (string, error) {
	if _, err := p.directory.status(ctx); err != nil {
		return "cannot be asked, or the node is not running", err
	}
	switch seen := p.tailnet.seen(p.now()); {
	case !seen.mapKnown:
		return "running", nil
	case seen.mapAge < maxAnswerAge:
		return "running, its map is current", nil
	default:
		// Logins go on with the map that there is. To take the provider away
		// would turn a failure of the control plane into one of every
		// application.
		return "running, but the control plane cannot be reached: its map may be " + seen.mapAge.Round(time.Second).String() + " old", nil
	}
}

func (p *Provider) checkNodeKey(ctx context.Context) (string, error) {
	if _, err := p.directory.status(ctx); err != nil {
		return "unknown", err
	}
	switch left, expires := p.tailnet.seen(p.now()).keyLeft(p.now()); {
	case !expires:
		return "does not expire", nil
	case left <= 0:
		return "has expired", errors.New("the node's key has expired: log the node in again, or switch key expiry off for it in the admin console")
	default:
		return "expires in " + days(left), nil
	}
}

// days shows d to people.
func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.Round(time.Second).String()
}

// A checkResult is what came of one check.
type checkResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"` // only for administrators
}

// A readiness is what came of all.
type readiness struct {
	Status string        `json:"status"` // ok or "not ready"
	Checks []checkResult `json:"checks"`
}

// readyMaxAge is how long an answer serves those who ask: anybody may, and each
// question costs the store and the tailnet one.
const readyMaxAge = time.Second

// readiness runs the checks, or returns what they said lately.
func (p *Provider) readiness(ctx context.Context) (readiness, error) {
	return p.readyAnswer.get(ctx, p.now, func(ctx context.Context) (readiness, error) { return p.runChecks(ctx), nil })
}

// runChecks runs all checks at once, so that one that hangs takes no time
// from the others, and tells the log what has changed.
func (p *Provider) runChecks(ctx context.Context) readiness {
	checks := append(p.ownChecks(), p.cfg.Checks...)
	res := readiness{Status: "ok", Checks: make([]checkResult, len(checks))}
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			state, err := c.Run(ctx)
			res.Checks[i] = checkResult{Name: c.Name, OK: err == nil, State: state}
			if err != nil {
				res.Checks[i].Detail = err.Error()
			}
		})
	}
	wg.Wait()
	var failing []string
	for _, c := range res.Checks {
		if !c.OK {
			failing = append(failing, c.Name)
		}
	}
	if len(failing) > 0 {
		res.Status = "not ready"
	}
	p.logReadiness(res, strings.Join(failing, ","))
	return res
}

func (p *Provider) logReadiness(res readiness, failing string) {
	if old := p.readyLogged.Swap(&failing); old != nil && *old == failing || old == nil && failing == "" {
		return
	}
	if failing == "" {
		p.log.Info("ready again")
		return
	}
	for _, c := range res.Checks {
		if !c.OK {
			p.log.Warn("not ready", "check", c.Name, "state", c.State, "error", c.Detail)
		}
	}
}

// serveReady answers 200 or 503, with the state of each part. The causes go
// to the unix socket alone: other listeners may be open to the internet.
func (p *Provider) serveReady(w http.ResponseWriter, r *http.Request) error {
	res, err := p.readiness(r.Context())
	if err != nil {
		return fail(codeUnavailable, "the checks have not ended").because(err)
	}
	if from, ok := peerFrom(r.Context()); !ok || !from.unix {
		res.Checks = slices.Clone(res.Checks)
		for i := range res.Checks {
			res.Checks[i].Detail = ""
		}
	}
	status := http.StatusOK
	if res.Status != "ok" {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, res)
	return nil
}

// A watchedTailnet is the configured tailnet, with a clock at WhoIs, and a
// memory for what the node says about itself.
type watchedTailnet struct {
	Tailnet
	now     func() time.Time
	metrics *metrics

	mu    sync.Mutex
	self  *ipnstate.PeerStatus // of the last status; nil: unknown
	mapAt time.Time            // when the node was last connected to the control plane
}

// WhoIs implements [Tailnet].
func (t *watchedTailnet) WhoIs(ctx context.Context, addr string) (*apitype.WhoIsResponse, error) {
	begun := t.now()
	res, err := t.Tailnet.WhoIs(ctx, addr)
	t.metrics.whoIs.observe(t.now().Sub(begun))
	if err != nil && !errors.Is(err, local.ErrPeerNotFound) {
		t.metrics.whoIsErrors.Add(1)
	}
	return res, err
}

// StatusWithoutPeers implements [Tailnet].
func (t *watchedTailnet) StatusWithoutPeers(ctx context.Context) (*ipnstate.Status, error) {
	at := t.now()
	st, err := t.Tailnet.StatusWithoutPeers(ctx)
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		// A node that follows the control plane has its map as it is now;
		// this is all that a status says of the map's age.
		if t.self = st.Self; st.Self != nil && st.Self.Online {
			t.mapAt = at
		}
	}
	return st, err
}

// A nodeState is what the provider's own node last said about itself.
type nodeState struct {
	mapKnown  bool
	mapAge    time.Duration // at most; 0 while it follows the control plane
	keyExpiry time.Time     // zero: never, or unknown
}

func (t *watchedTailnet) seen(now time.Time) nodeState {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s nodeState
	if t.self == nil {
		return s
	}
	if t.self.KeyExpiry != nil {
		s.keyExpiry = *t.self.KeyExpiry
	}
	s.mapKnown = !t.mapAt.IsZero()
	if s.mapKnown && !t.self.Online {
		s.mapAge = max(now.Sub(t.mapAt), 0)
	}
	return s
}

// keyLeft is how long the node's key is still good; ok is false if it is for
// ever.
func (s nodeState) keyLeft(now time.Time) (left time.Duration, ok bool) {
	return s.keyExpiry.Sub(now), !s.keyExpiry.IsZero()
}
