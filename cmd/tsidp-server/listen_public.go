// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// An address is where -listen listens; zero: nowhere.
type address struct {
	network string // "tcp" or "unix"
	at      string // host:port, or a path
}

func (a address) String() string { return a.network + ":" + a.at }

// listenAddress takes unix:PATH or tcp:HOST:PORT; an empty host means all
// addresses of the machine.
func listenAddress(dst *address) func(string) error {
	return func(s string) error {
		*dst = address{}
		if s == "" {
			return nil
		}
		network, at, _ := strings.Cut(s, ":")
		switch {
		case network == "unix" && at != "":
			if len(at) > maxSocketPath {
				return fmt.Errorf("the path has %d bytes, and systems take %d", len(at), maxSocketPath)
			}
		case network == "tcp":
			_, port, err := net.SplitHostPort(at)
			if n, nerr := strconv.ParseUint(port, 10, 16); err != nil || nerr != nil || n == 0 {
				return errors.New("want a port, as in tcp:127.0.0.1:8080 or tcp::8080")
			}
		default:
			return errors.New("want unix:PATH or tcp:HOST:PORT")
		}
		*dst = address{network, at}
		return nil
	}
}

// listenPublic listens at a for whoever can connect, so what is served there
// must need no identity.
func listenPublic(a address, log *slog.Logger) (net.Listener, error) {
	if a.network == "unix" {
		if err := removeStale(a.at); err != nil {
			return nil, fmt.Errorf("listening at %v: %w", a, err)
		}
	}
	ln, err := net.Listen(a.network, a.at)
	if err != nil {
		return nil, fmt.Errorf("listening at %v: %w", a, err)
	}
	if a.network == "unix" {
		// A proxy runs as a user of its own. Who may connect is what the
		// modes of the directory say.
		if err := os.Chmod(a.at, 0o666); err != nil {
			ln.Close()
			return nil, fmt.Errorf("listening at %v: %w", a, err)
		}
	} else if !isLoopback(ln.Addr()) {
		log.Warn("plain HTTP to other machines: secrets and tokens are in the clear on the way, so put a proxy with TLS before it, on a network that is yours alone", "address", ln.Addr().String())
	}
	log.Info("serving public endpoints by plain HTTP", "address", ln.Addr().String())
	return ln, nil
}

func isLoopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
