// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest

import (
	"testing"

	"github.com/tailscale/tsidp/store"
)

// A Check is a check of the suite, for the tests of the suite.
type Check struct {
	Name string // Group/check
	Run  func(testing.TB, store.Store)
}

// Checks returns the suite.
func Checks() []Check {
	var all []Check
	for _, g := range groups() {
		for _, c := range g.checks {
			all = append(all, Check{
				Name: g.name + "/" + c.name,
				Run:  func(tb testing.TB, s store.Store) { c.run(newHarness(tb, s)) },
			})
		}
	}
	return all
}
