// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// busyTimeout is how long a server that ends waits for requests that are on
// their way. Some connections never have one: browsers open them in advance.
const busyTimeout = 2 * time.Second

// busyConns are the connections of an [http.Server] that are new or have a
// request. Shutdown drops requests that it reads after it was called, even
// those of connections that it had accepted before; so it is called when there
// are none.
type busyConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	none  chan struct{} // of wait; closed when conns is empty
}

// note is an [http.Server.ConnState].
func (b *busyConns) note(c net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		if b.conns == nil {
			b.conns = make(map[net.Conn]struct{})
		}
		b.conns[c] = struct{}{}
	default:
		delete(b.conns, c)
	}
	if len(b.conns) == 0 && b.none != nil {
		close(b.none)
		b.none = nil
	}
}

// wait returns when no connection is busy, or when that takes too long.
func (b *busyConns) wait(ctx context.Context) {
	none := make(chan struct{})
	b.mu.Lock()
	if len(b.conns) == 0 {
		close(none)
	} else {
		b.none = none
	}
	b.mu.Unlock()
	select {
	case <-none:
	case <-time.After(busyTimeout):
	case <-ctx.Done():
	}
}
