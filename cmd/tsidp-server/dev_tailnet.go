// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"strings"

	"github.com/tailscale/tsidp/internal/simtailnet"
	"tailscale.com/tailcfg"
)

const devAlice = "alice@example.com"

// newDevTailnet returns the simulated tailnet: somebody who may do everything,
// somebody to whom the policy grants nothing, and a machine. They are the same
// at every start, so that what scripts and applications have stored about them
// stays true.
func newDevTailnet() *simtailnet.Tailnet {
	t := new(simtailnet.Tailnet)
	t.Put(simtailnet.Peer{
		ID: 11, Host: "alice-laptop",
		User: tailcfg.UserProfile{
			ID:            1001,
			LoginName:     devAlice,
			DisplayName:   "Alice Example",
			ProfilePicURL: "https://www.example.com/people/alice.png",
			Groups:        []string{"group:eng", "group:ops"},
		},
		Rules: []string{`{
  "users": ["*"],
  "resources": ["*"],
  "allow_admin_ui": true,
  "allow_dcr": true,
  "allow_metrics": true,
  "exchange": ["*"],
  "scopes": ["mcp:*"]
}`},
	})
	t.Put(simtailnet.Peer{
		ID: 12, Host: "bob-phone",
		User: tailcfg.UserProfile{
			ID:            1002,
			LoginName:     "bob@example.com",
			DisplayName:   "Bob Example",
			ProfilePicURL: "https://www.example.com/people/bob.png",
			Groups:        []string{"group:eng"},
		},
	})
	t.Put(simtailnet.Peer{
		ID: 13, Host: "ci", User: simtailnet.TaggedUser, Tags: []string{"tag:ci"},
		Rules: []string{`{
  "users": ["*"],
  "resources": ["*"],
  "machine": true
}`},
	})
	return t
}

// devNames lists the names of all peers, for people.
func devNames(t *simtailnet.Tailnet) string {
	var names []string
	for _, p := range t.Peers() {
		names = append(names, p.Name())
	}
	return strings.Join(names, ", ")
}
