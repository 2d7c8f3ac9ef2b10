// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// startDERP starts the relay through which nodes find each other, and the STUN
// server without which they never choose a relay.
func (tn *Tailnet) startDERP() {
	relay := derpserver.New(key.NewNode(), tn.out.logf)
	srv := httptest.NewUnstartedServer(derpserver.Handler(relay))
	srv.Config.ErrorLog = tn.out.stdLogger()
	// DERP is an HTTP/1.1 upgrade; a non-nil map keeps HTTP/2 from being offered.
	srv.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	srv.StartTLS()
	tn.t.Cleanup(func() {
		relay.Close()
		srv.CloseClientConnections()
		srv.Close()
	})

	tn.relay = relay
	tn.derpMap = &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		1: {
			RegionID:   1,
			RegionCode: "test",
			RegionName: "Test",
			Nodes: []*tailcfg.DERPNode{{
				Name:             "1a",
				RegionID:         1,
				HostName:         "127.0.0.1",
				IPv4:             "127.0.0.1",
				IPv6:             "none",
				DERPPort:         srv.Listener.Addr().(*net.TCPAddr).Port,
				STUNPort:         tn.startSTUN(),
				STUNTestIP:       "127.0.0.1",
				InsecureForTests: true,
			}},
		},
	}}
}

// startSTUN answers each binding request with the address it came from, and
// returns the UDP port.
func (tn *Tailnet) startSTUN() (port int) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tn.t.Fatalf("listening for STUN: %v", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		var packet [1500]byte
		for {
			n, from, err := conn.ReadFromUDPAddrPort(packet[:])
			if err != nil {
				return
			}
			if tx, err := stun.ParseBindingRequest(packet[:n]); err == nil {
				conn.WriteToUDPAddrPort(stun.Response(tx, from), from)
			}
		}
	})
	tn.t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return conn.LocalAddr().(*net.UDPAddr).Port
}
