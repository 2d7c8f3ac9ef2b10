// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import "encoding/json"

// A Status is how the provider is, at a glance.
type Status struct {
	Issuer      string `json:"issuer"`
	Version     string `json:"version"` // of the module; empty if the build does not tell
	Development bool   `json:"development,omitempty"`

	Ready     bool       `json:"ready"`
	Checks    []Check    `json:"checks"`
	Endpoints []Endpoint `json:"endpoints"`
	// Clients and Grants are how many there are; nil while the store does not
	// answer. Grants that ended within the last day are among them.
	Clients *int `json:"clients,omitempty"`
	Grants  *int `json:"grants,omitempty"`
}

// A Check is what came of one readiness check.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"` // why not
}

// An Endpoint is an address that applications want to know.
type Endpoint struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// A Caller is who sends a request, as the tailnet says.
type Caller struct {
	Subject  string
	Name     string // for people: the login, or the tags
	Display  string // the person's own name, if there is one
	Node     string
	NodeName string // for people
	Tags     []string
	Tailnet  string
	External bool // of another tailnet
	// Administrator: a rule opens the administration to them. If none does,
	// Grant is one that would, as JSON for the policy file; empty if none can.
	Administrator bool
	Grant         json.RawMessage
}

// OwnPolicy is what the policy says about who asks.
type OwnPolicy struct {
	Rules    []RuleRef
	Problems []RuleProblem
	// Destinations are those that a grant for this provider has.
	Destinations []string
}

// An App is an application to open from here.
type App struct {
	Client string
	Name   string
	URL    string
}

// A Problem is an error of a Backend in its parts, for those who show it.
type Problem interface {
	error
	// Problem returns the error code, the path of the member at fault or
	// nothing, and what to tell people.
	Problem() (code, field, message string)
}
