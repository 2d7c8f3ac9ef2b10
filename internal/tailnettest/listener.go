// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"net"
	"sync"
)

// A cuttableListener can close every connection that it ever accepted. An
// [http.Server] cannot: it gives up connections that are upgraded, and all
// that nodes say to control travels in an upgraded one.
type cuttableListener struct {
	net.Listener

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool // those not yet closed
}

// Accept drops connections while the listener is cut.
func (l *cuttableListener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := (&cuttableConn{Conn: inner, l: l}); l.admit(c) {
			return c, nil
		}
		inner.Close()
	}
}

func (l *cuttableListener) admit(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	l.conns[c] = true
	return true
}

func (l *cuttableListener) cut() {
	l.mu.Lock()
	l.down = true
	conns := l.conns
	l.conns = map[net.Conn]bool{}
	l.mu.Unlock()
	for c := range conns {
		c.Close()
	}
}

func (l *cuttableListener) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// A cuttableConn tells its listener when it is closed.
type cuttableConn struct {
	net.Conn
	l *cuttableListener
}

func (c *cuttableConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
