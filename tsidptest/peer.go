// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidptest

import (
	"net/http"
	"net/netip"

	"github.com/tailscale/tsidp"
)

// peerHeader stands for the address of a connection's far end, which is
// loopback for all that a test sends. Only the simulation believes it.
const peerHeader = "Tsidptest-Peer"

// A device sends requests to the provider at host as a browser of the peer at
// addr.
type device struct{ host, addr string }

// RoundTrip implements [http.RoundTripper].
func (d device) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == d.host {
		r = r.Clone(r.Context())
		r.Header.Set(peerHeader, d.addr)
		if r.Header.Get("Accept") == "" {
			r.Header.Set("Accept", "text/html")
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// withPeer takes the header for the peer.
func (s *Server) withPeer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if addr, err := netip.ParseAddr(r.Header.Get(peerHeader)); err == nil {
			r = r.WithContext(tsidp.WithPeer(r.Context(), addr))
		}
		r.Header.Del(peerHeader)
		next.ServeHTTP(w, r)
	})
}
