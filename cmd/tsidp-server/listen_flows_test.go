// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newFlows returns a listener on port 443 of no node.
func newFlows() *flowListener {
	l := &flowListener{
		port:    443,
		ips:     func() (ip4, ip6 netip.Addr) { return netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("fd7a::1") },
		conns:   make(chan net.Conn),
		closed:  make(chan struct{}),
		arrived: make(chan struct{}),
	}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	l.unregister = func() {}
	return l
}

func TestFlowListener(t *testing.T) {
	src := netip.MustParseAddrPort("100.64.0.2:1234")
	ours := netip.MustParseAddrPort("100.64.0.1:443")
	synctest.Test(t, func(t *testing.T) {
		l := newFlows()
		for _, other := range []string{"100.64.0.1:80", "100.64.0.3:443", "[fd7a::2]:443"} {
			if _, intercept := l.flow(src, netip.MustParseAddrPort(other)); intercept {
				t.Errorf("takes what is for %s", other)
			}
		}
		handler, _ := l.flow(src, netip.MustParseAddrPort("[fd7a::1]:443"))
		early, _ := l.flow(src, ours)
		if handler == nil || early == nil {
			t.Fatal("takes no connections")
		}
		drained := make(chan struct{})
		go func() { l.drain(t.Context()); close(drained) }()
		synctest.Wait()
		if h, intercept := l.flow(src, ours); h != nil || !intercept {
			t.Error("takes connections while it drains")
		}
		for _, h := range []func(net.Conn){handler, early} {
			client, server := net.Pipe()
			defer client.Close()
			go h(server)
			if c, err := l.Accept(); err != nil || c != server {
				t.Fatalf("accepted %v, %v", c, err)
			}
			synctest.Wait()
			select {
			case <-drained:
				t.Fatal("drained before the server has said by the next Accept that it knows the connection")
			default:
			}
		}
		end := make(chan error, 1)
		go func() { _, err := l.Accept(); end <- err }()
		<-drained
		l.Close()
		l.Close() // http.Server does
		if err := <-end; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept at the end: %v", err)
		}
	})

	// A handshake that never ends, and a connection that nobody takes.
	synctest.Test(t, func(t *testing.T) {
		l := newFlows()
		handler, _ := l.flow(src, ours)
		since := time.Now()
		l.drain(t.Context())
		if took := time.Since(since); took != arriveTimeout {
			t.Errorf("draining took %v, want %v", took, arriveTimeout)
		}
		client, server := net.Pipe()
		go handler(server)
		l.Close()
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("a connection that nobody takes stays open")
		}
		<-l.arrived
	})
}
