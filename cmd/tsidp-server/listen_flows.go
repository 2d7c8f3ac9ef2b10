// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"tailscale.com/tsnet"
)

// arriveTimeout is how long drain waits for handshakes: one that takes longer
// belongs to nobody.
const arriveTimeout = time.Second

// A flowListener listens on a port of the tailnet node, and can stop taking
// connections without losing one.
//
// That of tsnet cannot: it answers the first packet of a connection, and if it
// is closed before the last one of the handshake, which is a round trip later,
// the client has a connection on which nobody ever says anything. At a restart
// under load that is a login that fails.
type flowListener struct {
	port       uint16
	ips        func() (ip4, ip6 netip.Addr)
	conns      chan net.Conn
	closed     chan struct{}
	close      func() // once
	unregister func()

	mu       sync.Mutex
	draining bool
	arriving int           // connections that the server does not know yet
	arrived  chan struct{} // closed when draining and none is arriving
	accepted bool          // one was accepted, which the server knows when it wants the next
}

// listenFlows listens on port of node's own addresses.
func listenFlows(node *tsnet.Server, port int) *flowListener {
	l := &flowListener{
		port:    uint16(port),
		ips:     node.TailscaleIPs,
		conns:   make(chan net.Conn),
		closed:  make(chan struct{}),
		arrived: make(chan struct{}),
	}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	l.unregister = node.RegisterFallbackTCPHandler(l.flow)
	return l
}

// flow is a [tsnet.FallbackTCPHandler]. No handler means that the connection is
// refused.
func (l *flowListener) flow(_, dst netip.AddrPort) (handler func(net.Conn), intercept bool) {
	if ip4, ip6 := l.ips(); dst.Port() != l.port || dst.Addr() != ip4 && dst.Addr() != ip6 {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining {
		return nil, true
	}
	l.arriving++
	return l.arrive, true
}

func (l *flowListener) arrive(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		c.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.hasArrivedLocked()
	}
}

func (l *flowListener) hasArrivedLocked() {
	if l.arriving--; l.draining && l.arriving == 0 {
		close(l.arrived)
	}
}

// drain refuses connections from now on, and returns when the server knows those
// before.
func (l *flowListener) drain(ctx context.Context) {
	l.mu.Lock()
	l.draining = true
	waiting := l.arriving > 0
	l.mu.Unlock()
	if !waiting {
		return
	}
	select {
	case <-l.arrived:
	case <-time.After(arriveTimeout):
	case <-ctx.Done():
	}
}

// Accept is for one caller at a time.
func (l *flowListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	if l.accepted {
		l.accepted = false
		l.hasArrivedLocked()
	}
	l.mu.Unlock()
	select {
	case c := <-l.conns:
		l.mu.Lock()
		l.accepted = true
		l.mu.Unlock()
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *flowListener) Close() error {
	l.unregister()
	l.close()
	return nil
}

func (l *flowListener) Addr() net.Addr {
	ip4, _ := l.ips()
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip4, l.port))
}

// withTLS returns a listener whose connections have TLS.
func (l *flowListener) withTLS(c *tls.Config) net.Listener {
	return drainingTLS{tls.NewListener(l, c), l}
}

type drainingTLS struct {
	net.Listener
	flows *flowListener
}

func (l drainingTLS) drain(ctx context.Context) { l.flows.drain(ctx) }
