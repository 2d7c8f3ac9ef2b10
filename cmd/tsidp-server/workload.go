// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"fmt"

	_ "tailscale.com/feature/identityfederation" // without it tsnet ignores the variables
)

// checkWorkload judges the variables by which a workload joins with a token of
// the platform that it runs on. tsnet would find the faults too, but only at
// its first start: later the state holds a login, and nobody would notice.
func (c *config) checkWorkload(from map[string]string, getenv func(string) string) error {
	token, audience := getenv("TS_ID_TOKEN") != "", getenv("TS_AUDIENCE") != ""
	name := "TS_ID_TOKEN"
	if !token {
		name = "TS_AUDIENCE"
	}
	key := from["authkey-file"]
	for _, v := range []string{"TS_AUTHKEY", "TS_AUTH_KEY", "TS_CLIENT_SECRET"} {
		if key == "" && getenv(v) != "" {
			key = v
		}
	}
	switch id := getenv("TS_CLIENT_ID") != ""; {
	case token && audience:
		return errors.New("TS_ID_TOKEN and TS_AUDIENCE are both set: keep the token, or the audience for which the platform is to be asked for one")
	case key != "" && (token || audience):
		return fmt.Errorf("%s and %s are both set: keep the one that lets the node join", key, name)
	case key != "":
		return nil // the id of an OAuth client may stand beside its secret
	case (token || audience) && !id:
		return fmt.Errorf("%s is set without TS_CLIENT_ID, the id of the federated credential in the admin console (Settings, Trust credentials)", name)
	case id && !token && !audience:
		return errors.New("TS_CLIENT_ID is set alone: it needs TS_ID_TOKEN or TS_AUDIENCE for workload identity, or TS_CLIENT_SECRET")
	case id && len(c.advertiseTags) == 0:
		return errors.New("TS_CLIENT_ID is set without -advertise-tags: a node that joins by workload identity has tags, such as tag:idp")
	}
	return nil
}
