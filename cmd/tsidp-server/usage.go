// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"io"
	"strings"
)

// usage writes the help.
func usage(w io.Writer) {
	fmt.Fprint(w, `Tsidp-server is an OpenID Connect and OAuth 2.1 identity provider for a tailnet.

	tsidp-server -dir DIR    join the tailnet as a node of its own and serve it
	tsidp-server -dev        try it out on a simulated tailnet on this machine

and, beside a running server or without one,

`)
	for _, c := range commands() {
		fmt.Fprintf(w, "\ttsidp-server %-28s%s\n", c.name+" "+c.args, c.summary)
	}
	fmt.Fprint(w, `
A flag beats the environment variables behind it; of these, the first that is
set counts.

`)
	for _, o := range options(new(config)) {
		o.usage(w)
	}
	fmt.Fprintf(w, "\nThe tailnet node also reads %s.\n", strings.Join(tsnetVars(), ", "))
}

func (o option) usage(w io.Writer) {
	fmt.Fprintf(w, "  %s\n\t%s\n", strings.TrimSpace("-"+o.flag+" "+o.arg), o.help)
	if origin := o.origin(); origin != "" {
		fmt.Fprintf(w, "\t[%s]\n", origin)
	}
}

// origin tells the variables and the default of o.
func (o option) origin() string {
	var facts []string
	if len(o.vars) > 0 {
		facts = append(facts, strings.Join(o.vars, " or "))
	}
	if o.def != "" && o.arg != "" {
		facts = append(facts, "default "+o.def)
	}
	return strings.Join(facts, ", ")
}
