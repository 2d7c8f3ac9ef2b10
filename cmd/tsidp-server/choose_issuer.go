// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"fmt"
	"log/slog"

	"tailscale.com/ipn/ipnstate"
)

// chooseIssuer returns the issuer, and whether its name is the node's own.
func chooseIssuer(c config, status *ipnstate.Status, log *slog.Logger) (issuer string, own bool, err error) {
	name, err := tsnetIssuer(status, c.port)
	if err != nil && c.tlsCert == "" {
		return "", false, err
	}
	issuer = cmp.Or(c.issuer, name) // with -tls-cert, -issuer is set
	switch {
	case issuer == name:
	case c.tlsCert != "":
		log.Info("the issuer has a name of its own: the name must lead to the addresses of this node", "issuer", issuer, "addresses", fmt.Sprint(status.TailscaleIPs), "node", nodeName(status))
	default:
		log.Warn("the issuer is not the node's own name: clients find the provider only if that name leads to this server with a certificate for it", "issuer", issuer, "own", name)
	}
	own = hostOf(issuer) == nodeName(status)
	if c.funnel && !own {
		log.Warn("Funnel serves the node's own name only: what asks for the issuer on the internet does not get there", "issuer", issuer, "own", nodeName(status))
	}
	return issuer, own, nil
}
