// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"tailscale.com/ipn/ipnstate"
)

// A nameWatch notices that the node has lost the name that the issuer has: an
// administrator has renamed it, or the tailnet.
type nameWatch struct {
	issuer string
	name   string // at the start, without trailing dot
	status func(context.Context) (*ipnstate.Status, error)
	log    *slog.Logger

	now  atomic.Pointer[string] // another name; nil: still the same
	told time.Time              // when that was last logged
}

const (
	watchEvery = 10 * time.Second
	// remindEvery is how often the log says it again.
	remindEvery = time.Hour
)

// run looks until ctx ends.
func (w *nameWatch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (w *nameWatch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	status, err := w.status(ctx)
	if err != nil || status.Self == nil {
		return // the provider says so to whoever asks for something
	}
	name := strings.TrimSuffix(status.Self.DNSName, ".")
	before := w.now.Load()
	switch {
	case name == "":
	case name == w.name && before != nil:
		w.now.Store(nil)
		w.log.Info("the node has its old name back", "name", name)
	case name != w.name && (before == nil || *before != name || time.Since(w.told) >= remindEvery):
		w.now.Store(&name)
		w.told = time.Now()
		w.log.Error("the node or the tailnet has been renamed, so the issuer leads nowhere any more: no new logins, and applications cannot fetch metadata and keys, until the node has its old name back. "+
			"A new issuer would be another provider to every application: each must be set up anew, and may take its users for new ones",
			"issuer", w.issuer, "was", w.name, "is", name,
			"remedy", "rename it back at https://login.tailscale.com/admin/machines; to be independent of the name, use -issuer with a name of your own")
	}
}

// condition tells what is wrong, for the health endpoint; nothing if empty.
func (w *nameWatch) condition() string {
	if name := w.now.Load(); name != nil {
		return fmt.Sprintf("the node is called %s now, and the issuer is %s", *name, w.issuer)
	}
	return ""
}
