// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build bench && linux

package tsidp

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/sqlite"
	"tailscale.com/client/tailscale/apitype"
)

// What calls cost with all that a server has: a policy, an audit log and a
// database. A login and a refresh write once each, so they are measured beside
// their signatures and one commit.

// newDurableCaller is newCaller with SQLite, an audit log, and a policy of 40
// rules of which the last decides.
func newDurableCaller(tb testing.TB, alg string) (*caller, store.Store) {
	tb.Helper()
	st, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), "tsidp.db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	c := newCaller(tb, alg, func(c *Config) {
		c.Store, c.AuditRequired = st, true
		c.Audit = func(context.Context, AuditEvent) error { return nil }
	})
	var rules []string
	for i := range 39 {
		rules = append(rules, fmt.Sprintf(`{"users":["user%d@example.com"],"resources":["https://r%d.example/*"],"groups":["g%d"]}`, i, i, i))
	}
	rules = append(rules, `{"clients":["bench"],"extraClaims":{"tier":"gold"}}`)
	c.f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, rules...) })
	c.f.editClient("bench", func(c *client) { c.Access = accessGranted })
	return c, st
}

// refresher returns a function that rotates a refresh token of a new login.
func (c *caller) refresher() func() {
	token := func(w *plainResponse) string {
		_, rest, _ := strings.Cut(w.body.String(), `"refresh_token":"`)
		token, _, _ := strings.Cut(rest, `"`)
		return token
	}
	now := token(c.post("/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {c.authorize()}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier},
	}))
	return func() {
		if now = token(c.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {now}})); now == "" {
			c.tb.Fatal("no refresh token")
		}
	}
}

// bareCommit returns a function that makes the signatures of a login and
// commits one record of a grant's size.
func bareCommit(tb testing.TB, alg string, st store.Store, now time.Time) func() {
	tb.Helper()
	sign, data, n := bareSignatures(tb, alg), bytes.Repeat([]byte("x"), 400), 0
	return func() {
		sign()
		n++
		rec := store.Record{Kind: "bench", ID: fmt.Sprint(n), Data: data, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
		if _, err := st.Put(context.Background(), rec, now); err != nil {
			tb.Fatal(err)
		}
	}
}

// durableGoals are how many times as long as signatures and a commit a call
// may take. The goal of RS256 is 1.15; what is held is what a busy machine
// reaches, where all that is not the signature takes longer than it should.
var durableGoals = []struct {
	alg  string
	most float64
}{{jwt.ES256, 3}, {jwt.RS256, 1.6}}

// BenchmarkDurable measures logins and refreshes with policy, audit and SQLite,
// beside signatures and one commit. Goals: durableGoals.
func BenchmarkDurable(b *testing.B) {
	for _, g := range durableGoals {
		c, st := newDurableCaller(b, g.alg)
		b.Run(g.alg+"/login", func(b *testing.B) { benchmark(b, c.login) })
		b.Run(g.alg+"/refresh", func(b *testing.B) { benchmark(b, c.refresher()) })
		b.Run(g.alg+"/bare", func(b *testing.B) { benchmark(b, bareCommit(b, g.alg, st, c.f.clock.now())) })
	}
}

// TestDurableSpeed holds the goals of the benchmark. Commits wait for the disk,
// so it is the clock that counts, of single calls in turns: a neighbour on the
// machine disturbs few of them.
func TestDurableSpeed(t *testing.T) {
	for _, g := range durableGoals {
		c, st := newDurableCaller(t, g.alg)
		bare := bareCommit(t, g.alg, st, c.f.clock.now())
		for name, call := range map[string]func(){"login": c.login, "refresh": c.refresher()} {
			took, base := undisturbed(call, bare)
			ratio := float64(took) / float64(base)
			t.Logf("%s, %s: %v, signatures and commit %v: %.2f times", name, g.alg, took, base, ratio)
			if ratio > g.most {
				t.Errorf("%s, %s: %.2f times as long as signatures and a commit, want at most %.2f", name, g.alg, ratio, g.most)
			}
		}
	}
}

// undisturbed is how long calls of a and b take: the tenth part of all takes no
// longer.
func undisturbed(a, b func()) (ofA, ofB time.Duration) {
	const calls = 2000
	var times [2][]time.Duration
	for range calls {
		for i, f := range []func(){a, b} {
			start := time.Now()
			f()
			times[i] = append(times[i], time.Since(start))
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	return times[0][calls/10], times[1][calls/10]
}

// TestDurablePolicyDecides: what is measured is not allowed without its rule.
func TestDurablePolicyDecides(t *testing.T) {
	c, _ := newDurableCaller(t, jwt.ES256)
	c.login()
	c.refresher()()
	c.f.allow(ada)
	c.call(c.browser, http.StatusForbidden, "GET", "/authorize?"+c.query, "", "Accept", "text/html")
}
