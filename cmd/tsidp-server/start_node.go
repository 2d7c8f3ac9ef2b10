// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tailscale.com/ipn"
	"tailscale.com/tsnet"
)

// nodeStateName is where tsnet keeps a node's login, in the state directory.
const nodeStateName = "tailscaled.state"

// startNode returns the node that c describes, started.
//
// An OAuth client secret or an identity token is exchanged for an auth key at
// every start. Where that fails, as it does once the token has expired, a node that has joined before needs none: its login is in the
// state.
func startNode(c config, log *slog.Logger) (*tsnet.Server, error) {
	node, err := newNode(c, log)
	if err != nil {
		return nil, err
	}
	if err = node.Start(); err == nil {
		return node, nil
	}
	err = fmt.Errorf("starting tailnet node: %w", err)
	force, _ := strconv.ParseBool(os.Getenv("TSNET_FORCE_LOGIN"))
	if force || !strings.Contains(err.Error(), "resolving auth key") || !hasJoined(c.dir) {
		return nil, err
	}
	log.Warn("no auth key to be had; going on without, as the state holds a login", "error", err)
	c.authKeyFile = ""
	for _, name := range []string{"TS_AUTHKEY", "TS_AUTH_KEY", "TS_CLIENT_SECRET", "TS_CLIENT_ID", "TS_ID_TOKEN", "TS_AUDIENCE"} {
		if err := os.Unsetenv(name); err != nil { // tsnet would read it
			return nil, fmt.Errorf("starting tailnet node: %w", err)
		}
	}
	if node, err = newNode(c, log); err != nil {
		return nil, err
	}
	if err := node.Start(); err != nil {
		return nil, fmt.Errorf("starting tailnet node: %w", err)
	}
	return node, nil
}

// hasJoined reports whether the state in dir holds the login of a node.
func hasJoined(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, nodeStateName))
	if err != nil {
		return false
	}
	var state map[ipn.StateKey][]byte
	return json.Unmarshal(data, &state) == nil && len(state[ipn.CurrentProfileStateKey]) > 0
}
