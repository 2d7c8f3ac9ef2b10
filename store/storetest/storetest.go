// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package storetest is the suite that a backend of package store passes to be
// correct. A backend's test is
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store { return open(t) })
//	}
//
// and, if the backend outlives its process, once more with the answer of
// [Reopening], which shows that nothing is kept elsewhere than in the database.
package storetest

import (
	"testing"

	"github.com/tailscale/tsidp/store"
)

// A check tests one sentence or two of the contract with an empty store.
type check struct {
	name string
	run  func(*harness)
}

// A group is the checks of one method or topic.
type group struct {
	name   string
	checks []check
}

// groups returns the suite.
func groups() []group {
	return []group{
		{"Record", recordChecks()},
		{"Version", versionChecks()},
		{"Limit", limitChecks()},
		{"List", listChecks()},
		{"Page", pageChecks()},
		{"Redeem", redeemChecks()},
		{"Refresh", refreshChecks()},
		{"Rotate", rotateChecks()},
		{"Reuse", reuseChecks()},
		{"Revoke", revokeChecks()},
		{"Watermark", watermarkChecks()},
		{"UseOnce", onceChecks()},
		{"Keys", keysChecks()},
		{"Expire", expireChecks()},
		{"Owner", ownerChecks()},
		{"End", endChecks()},
		{"Race", raceChecks()},
	}
}

// Run runs the suite as subtests of t, named Group/check. Each check calls
// open, which returns a store that holds nothing yet, and closes that store.
//
// The suite passes its own times, which are in the past or the future of the
// machine's clock: a backend must use none but these. Run it under the race
// detector too.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) {
					s := open(t)
					// A check may have closed it: the error says nothing.
					t.Cleanup(func() { s.Close() })
					c.run(newHarness(t, s))
				})
			}
		})
	}
}
