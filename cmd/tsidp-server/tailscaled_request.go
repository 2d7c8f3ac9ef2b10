// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/tailscale/tsidp"
)

// Who a request of tailscaled's proxy comes from. The proxy removes what a
// client has sent of these headers and writes its own, so they are as good as
// the connection: a tailscaledListener lets nobody but tailscaled in.

// Headers of tailscaled's proxy.
const (
	headerFunnel = "Tailscale-Funnel-Request"
	headerFor    = "X-Forwarded-For"
	headerHost   = "X-Forwarded-Host"
)

// fromTailscaled serves requests of tailscaled's proxy: those of peers by
// tailnet, those of the internet by public. The Tailscale-User headers are
// nobody's business: the provider asks WhoIs about the address, as everywhere.
func fromTailscaled(tailnet, public http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// First, whatever its value: for a Funnel connection X-Forwarded-For
		// holds what the relay says, which might be the address of a peer.
		if _, ok := r.Header[headerFunnel]; ok {
			public.ServeHTTP(w, r)
			return
		}
		addr, host, err := forwarded(r.Header)
		if err != nil {
			log.Warn("request refused that tailscaled's proxy would not send", "error", err)
			writeFailure(w, http.StatusForbidden, "access_denied", err.Error())
			return
		}
		r = r.WithContext(tsidp.WithPeer(r.Context(), addr))
		r.Host = host // the proxy says "localhost" to a unix socket
		tailnet.ServeHTTP(w, r)
	})
}

// forwarded returns the peer and the name it has asked for. Each header must
// be there once, and hold one value: a list means that somebody else had a
// hand in it.
func forwarded(h http.Header) (netip.Addr, string, error) {
	source, err := single(h, headerFor)
	if err != nil {
		return netip.Addr{}, "", err
	}
	addr, err := netip.ParseAddr(source)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, "", errors.New(headerFor + " is not one IP address")
	}
	host, err := single(h, headerHost)
	if err != nil {
		return netip.Addr{}, "", err
	}
	return addr.Unmap(), host, nil
}

// single returns the value of a header that must be there once.
func single(h http.Header, name string) (string, error) {
	values := h[name]
	if len(values) != 1 {
		return "", fmt.Errorf("the request has %d headers %s, want 1", len(values), name)
	}
	return values[0], nil
}

// A tailscaledListener accepts connections of the user that tailscaled runs
// as, and of nobody else: not of the user of this process, who might be able
// to open the socket but has no say about who a peer is.
type tailscaledListener struct {
	*net.UnixListener
	uid     int // noUID: this system cannot tell
	peerUID func(*net.UnixConn) (int, error)
	log     *slog.Logger
}

// noUID stands for the user of a peer on systems that do not tell.
const noUID = -1

// Accept implements [net.Listener].
func (l *tailscaledListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil || l.uid == noUID {
			return c, err
		}
		uid, err := l.peerUID(c)
		if err == nil && uid == l.uid {
			return c, nil
		}
		l.log.Warn("connection to the socket for tailscaled refused: it is not tailscaled's", "uid", uid, "want", l.uid, "error", err)
		c.Close()
	}
}
