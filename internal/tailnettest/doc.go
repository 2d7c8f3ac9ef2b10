// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package tailnettest runs a real tailnet on 127.0.0.1 for tests: a control
// server, a DERP relay, a STUN server, and tsnet nodes. Nothing leaves the
// machine.
//
//	tn := tailnettest.Start(t)
//	idp := tn.Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
//	laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)
//	ln, err := idp.ListenTLS("tcp", ":443") // serve on it
//	resp, err := laptop.HTTPClient().Get("https://" + idp.FQDN() + "/")
//
// Change who is who, and who may do what, with [Tailnet.Update] and
// [Tailnet.SetGrants]. They return when all connected nodes act by the change, so
// the next line of the test may check it; nothing has to be polled. A peer that is
// only to be looked up by WhoIs needs no node: [Tailnet.AddFake].
//
// A node in another process, such as the server's real binary, is announced by
// [Tailnet.Expect], finds the tailnet through [Tailnet.Env] and its certificate
// through [Tailnet.CertFiles], and can be reached after [Tailnet.AwaitReady] with
// its host name. That says nothing about whether it listens yet.
//
// # What a test must know
//
// A node runs before it can be reached. The first handshake through a relay that
// is not yet connected is lost, and the next one is 5 seconds away. [Node.Up]
// waits for that, [tsnet.Server.Up] does not.
//
// A peer whose key has expired still resolves: WhoIs names its user and its
// capabilities and sets Node.Expired. With a KeyExpiry in the near future, and no
// Update, that shows about 10 seconds late.
//
// A node whose own key has expired is in the state NeedsLogin, and yet its WhoIs
// goes on to answer. So does the WhoIs of a node that is cut off from control.
//
// A change of grants alone sends nothing on the IPN bus. Who wants to know of a
// revocation has to ask WhoIs again.
//
// An owner changes under open connections, and a deleted peer's connections hang
// rather than break. Ask WhoIs per request; give clients a timeout.
//
// On a connection through Funnel, WhoIs(RemoteAddr) succeeds: it names the relay.
// Look for an [tailscale.com/ipn.FunnelConn] below the TLS connection first.
//
// WhoIs returns the capabilities with their JSON indented. Compare values or compact
// text.
//
// The grant source "*" includes guests from other tailnets, as in a real policy.
// Users, unlike tags, need the same profile on all their nodes.
//
// Tagged nodes all belong to the user "tagged-devices", without a picture or groups.
//
// Addresses are given out in the order in which nodes join. Do not write them down.
//
// The short name of a node resolves, but no certificate has it: https needs
// [Node.FQDN].
//
// A restarted node with a new state directory is a new machine under the same host
// name, with another address and stable id; the old one is gone from then on.
//
// The control server panics, ending the process, on a request that it does
// not know, ID tokens and audit logs among them.
//
// Each running node costs some 35 MB and 50 goroutines, and 0.1 seconds to start;
// with the race detector, several times that.
//
// A node finds the attribute "tailnettest/generation" in its own CapMap: by it
// [Tailnet.Update] sees which netmap the node has.
//
// All traffic goes through the relay, never on a direct path, so that a node can
// be killed and started again without a pause.
package tailnettest
