// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build bench && linux

package tsidp

import (
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"golang.org/x/sys/unix"
)

// TestSpeed holds the goals of the benchmarks.
func TestSpeed(t *testing.T) {
	type goal struct {
		name       string
		call, bare func()
		calls      int // in a round
		most       float64
	}
	c := newCaller(t, jwt.ES256)
	goals := []goal{
		{"login, ES256", c.login, bareSignatures(t, jwt.ES256), 200, 5},
		{"login, RS256", newCaller(t, jwt.RS256).login, bareSignatures(t, jwt.RS256), 50, 1.25},
	}
	for _, path := range documentPaths {
		goals = append(goals, goal{path, overHTTP(t, c.handler, path), overHTTP(t, c.bareDocument(path), path), 500, 1.3})
	}
	access := c.redeem(c.authorize())
	verify := func() {
		if _, err := jwt.Verify(access, jwt.TypeAccessToken, c.f.p.keys.Load().lookup); err != nil {
			t.Fatal(err)
		}
	}
	goals = append(goals,
		goal{"userinfo of an own token, beside a verification", func() { c.userinfo(access) }, verify, 500, 1},
		goal{"introspection of an own token, beside a verification", func() { c.introspect(access) }, verify, 500, 1},
	)
	for _, g := range goals {
		call, bare := cheapest(t, g.calls, g.call, g.bare)
		ratio := float64(call) / float64(bare)
		t.Logf("%s: %v, bare %v: %.2f times", g.name, call, bare, ratio)
		if ratio > g.most {
			t.Errorf("%s: %.2f times as long as bare, want at most %.2f", g.name, ratio, g.most)
		}
	}
}

// cheapest measures a and b in turns, so that a noisy neighbour meets both, and
// returns what a call of each took of the processor in its best round. That
// others run meanwhile does not count.
func cheapest(t *testing.T, calls int, a, b func()) (bestA, bestB time.Duration) {
	t.Helper()
	measure := func(f func()) time.Duration {
		start := cpuTime(t)
		for range calls {
			f()
		}
		return (cpuTime(t) - start) / time.Duration(calls)
	}
	bestA, bestB = measure(a), measure(b)
	for range 30 {
		bestA, bestB = min(bestA, measure(a)), min(bestB, measure(b))
	}
	return bestA, bestB
}

// cpuTime is how long this process has had a processor.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
