// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/tailscale/tsidp"
)

// localEndpoints opens the listeners of -metrics-port, -local-port and -listen,
// which every mode has.
func localEndpoints(c config, log *slog.Logger, p *tsidp.Provider, issuer string) (_ []endpoint, err error) {
	var endpoints []endpoint
	defer func() {
		if err != nil {
			closeListeners(endpoints)
		}
	}()
	metrics, err := metricsEndpoints(c, log, p, issuer)
	if err != nil {
		return nil, err
	}
	endpoints = append(endpoints, metrics...)
	loopback, err := loopbackEndpoints(c, log, p)
	if err != nil {
		return nil, err
	}
	endpoints = append(endpoints, loopback...)
	if c.listen != (address{}) {
		ln, err := listenPublic(c.listen, log)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, endpoint{ln, p.PublicHandler(), nil})
	}
	return endpoints, nil
}

// loopbackEndpoints opens the listeners of -local-port, if there are to be
// any.
func loopbackEndpoints(c config, log *slog.Logger, p *tsidp.Provider) ([]endpoint, error) {
	if c.localPort < 0 {
		return nil, nil
	}
	lns, err := listenLoopback(c.localPort)
	if err != nil {
		return nil, err
	}
	var endpoints []endpoint
	for _, ln := range lns {
		// Everybody on this machine reaches it, so nobody is known.
		endpoints = append(endpoints, endpoint{ln, p.PublicHandler(), nil})
		log.Info("serving public endpoints by plain HTTP", "address", ln.Addr().String())
	}
	return endpoints, nil
}

// listenLoopback listens on 127.0.0.1 and, where the machine has it, on [::1],
// and on no other address. Both get the same port; port 0 picks one that is
// free on both. The port is that of the listeners' addresses.
//
// Both, because "localhost" means either: a client that tries [::1] first must
// not end up at another program.
func listenLoopback(port int) ([]net.Listener, error) {
	const tries = 20
	for try := 1; ; try++ {
		v4, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("listening on loopback: %w", err)
		}
		if !hasIPv6Loopback() {
			return []net.Listener{v4}, nil
		}
		v6, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(portOf(v4))))
		if err == nil {
			return []net.Listener{v4, v6}, nil
		}
		v4.Close()
		// A port that was picked for IPv4 may be taken on IPv6.
		if port != 0 || try == tries {
			return nil, fmt.Errorf("listening on loopback: %w", err)
		}
	}
}

// hasIPv6Loopback reports whether [::1] can be listened on at all. Trying is
// the one question that all systems answer alike.
func hasIPv6Loopback() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// portOf returns the port of a TCP listener.
func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }
