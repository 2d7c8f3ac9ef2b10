// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// keepAlive is how long a stream may be silent. Clients give up after 120 s.
const keepAlive = 50 * time.Second

// A stream is the connection over which one node gets its netmaps.
type stream struct {
	node key.NodePublic
	host string
	// opened is the generation that began with this stream.
	opened uint64
	acked  uint64 // the generation the node is known to act by; guarded by Tailnet.mu
}

// serveMap answers one map request. It is a [testcontrol.AltMapStreamFunc].
func (tn *Tailnet) serveMap(ctx context.Context, w testcontrol.MapStreamWriter, req *tailcfg.MapRequest) {
	if req.Stream {
		tn.serveStream(ctx, w, req)
		return
	}
	if ctx.Err() == nil { // what a client gave up on may be out of date
		tn.noteNode(req)
	}
	w.SendMapMessage(&tailcfg.MapResponse{})
}

// noteNode stores what a node says about itself and shows it to the others.
func (tn *Tailnet) noteNode(req *tailcfg.MapRequest) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	old := tn.control.Node(req.NodeKey)
	if old == nil {
		return
	}
	n := old.Clone()
	n.DiscoKey = req.DiscoKey
	n.Endpoints = req.Endpoints
	n.Cap = req.Version
	if req.Hostinfo != nil {
		n.Hostinfo = req.Hostinfo.View()
		if info := req.Hostinfo.NetInfo; info != nil && info.PreferredDERP != 0 {
			n.HomeDERP = info.PreferredDERP
		}
	}
	if !n.Equal(old) {
		tn.control.UpdateNode(n)
		tn.bumpLocked()
	}
}

// serveStream sends a netmap at once and after every change, until the node
// disconnects or connects anew.
func (tn *Tailnet) serveStream(ctx context.Context, w testcontrol.MapStreamWriter, req *tailcfg.MapRequest) {
	st := tn.openStream(req)
	if st == nil {
		return
	}
	defer tn.closeStream(st)
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	sender := &netmapSender{w: w}
	for {
		todo, changed := tn.todo(st, sender.generation)
		var err error
		switch todo {
		case nothingAnyMore:
			return
		case sendNetmap:
			err = tn.sendNetmap(st, sender)
		case askNode:
			err = tn.askNode(ctx, st, w)
		case waitForChange:
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-ticker.C:
				err = w.SendMapMessage(&tailcfg.MapResponse{KeepAlive: true})
			}
		}
		if err != nil {
			return
		}
	}
}

type streamAction int

const (
	waitForChange  streamAction = iota
	sendNetmap                  // the node has an old netmap
	askNode                     // somebody waits for the node to act by its netmap
	nothingAnyMore              // the node has another stream
)

// todo says what a stream has to do whose node was sent the given generation,
// and returns the channel that is closed when the answer may change.
func (tn *Tailnet) todo(st *stream, sent uint64) (streamAction, <-chan struct{}) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	switch {
	case tn.streams[st.node] != st:
		return nothingAnyMore, nil
	case sent < tn.generation:
		return sendNetmap, tn.changed
	case st.acked < tn.awaited:
		return askNode, tn.changed
	}
	return waitForChange, tn.changed
}

// A netmapSender remembers what the node at the other end was sent.
type netmapSender struct {
	w          testcontrol.MapStreamWriter
	generation uint64
	peers      []tailcfg.NodeID
}

func (s *netmapSender) send(resp *tailcfg.MapResponse) error {
	var peers []tailcfg.NodeID
	for _, p := range resp.Peers {
		peers = append(peers, p.ID)
	}
	// "Peers, if non-empty, is the complete list of peers" (tailcfg.MapResponse):
	// that the last one went has to be said in another way.
	if len(peers) == 0 {
		resp.PeersRemoved = s.peers
	}
	s.peers = peers
	return s.w.SendMapMessage(resp)
}

func (tn *Tailnet) sendNetmap(st *stream, s *netmapSender) error {
	resp, generation := tn.netmap(st.node)
	s.generation = generation
	if resp == nil {
		// A deleted node is left alone; nobody needs to wait for it.
		tn.ack(st, generation)
		return nil
	}
	return s.send(resp)
}

// askNode asks a node by which generation it acts. There is no acknowledgement in
// the protocol, but control may send a node HTTP requests.
func (tn *Tailnet) askNode(ctx context.Context, st *stream, w testcontrol.MapStreamWriter) error {
	answer, err := tn.roundTrip(ctx, w, "/debug/netmap")
	if err != nil {
		return err
	}
	generation, err := netmapGeneration(answer)
	if err != nil {
		tn.out.errorf("asking a node for its netmap: %v", err)
		return err
	}
	// The node stores a netmap first and reconfigures itself second, both in
	// one critical section. This request has to wait for that section's end.
	if _, err := tn.roundTrip(ctx, w, "/debug/prefs"); err != nil {
		return err
	}
	tn.ack(st, generation)
	select {
	case <-ctx.Done():
	case <-time.After(time.Millisecond): // no hurry, should it have to be asked again
	}
	return ctx.Err()
}

// netmapGeneration extracts the generation from a C2NDebugNetmapResponse. It is 0
// for a node that has no netmap yet.
func netmapGeneration(answer []byte) (uint64, error) {
	var resp struct {
		Current *struct {
			SelfNode *struct{ CapMap tailcfg.NodeCapMap }
		}
	}
	if err := json.Unmarshal(answer, &resp); err != nil {
		return 0, fmt.Errorf("decoding %q: %w", answer, err)
	}
	if resp.Current == nil || resp.Current.SelfNode == nil {
		return 0, nil
	}
	values := resp.Current.SelfNode.CapMap[generationAttr]
	if len(values) != 1 {
		return 0, nil
	}
	return strconv.ParseUint(string(values[0]), 10, 64)
}

// roundTrip makes a GET request to the node at the other end of w and returns the
// body of its answer.
func (tn *Tailnet) roundTrip(ctx context.Context, w testcontrol.MapStreamWriter, path string) ([]byte, error) {
	req, err := http.NewRequest("GET", "http://node"+path, nil)
	if err != nil {
		return nil, err
	}
	var payload bytes.Buffer
	if err := req.Write(&payload); err != nil {
		return nil, err
	}
	// A lost answer ends the stream, and the node connects anew.
	ctx, cancel := context.WithTimeout(ctx, patience/3)
	defer cancel()
	answers := make(chan []byte, 1)
	token := rand.Text()
	tn.control.C2NResponses.Store(token, func(resp *http.Response) {
		if answer, err := io.ReadAll(resp.Body); err == nil {
			answers <- answer
		}
	})
	defer tn.control.C2NResponses.Delete(token)
	err = w.SendMapMessage(&tailcfg.MapResponse{
		KeepAlive: true, // there is nothing else in it
		PingRequest: &tailcfg.PingRequest{
			Types:   "c2n",
			URL:     "https://control/c2n/" + token, // sent over Noise, whatever the host
			Payload: payload.Bytes(),
		},
	})
	if err != nil {
		return nil, err
	}
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openStream replaces the node's earlier stream, if there is one. It returns nil
// for a node that has not registered.
func (tn *Tailnet) openStream(req *tailcfg.MapRequest) *stream {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	n := tn.control.Node(req.NodeKey)
	if n == nil {
		return nil
	}
	st := &stream{node: n.Key, host: n.Hostinfo.Hostname()}
	if tn.state.Nodes[st.host] == nil {
		tn.out.errorf("node %q joined the tailnet unexpected: call Expect", st.host)
	}
	// A new disco key means a new process. The others must begin new WireGuard
	// sessions with it, before anybody takes it for reachable.
	if !req.DiscoKey.IsZero() && n.DiscoKey != req.DiscoKey {
		n.DiscoKey, n.Endpoints = req.DiscoKey, nil
		tn.control.UpdateNode(n)
	}
	tn.streams[st.node] = st
	tn.bumpLocked()
	st.opened = tn.generation
	return st
}

func (tn *Tailnet) closeStream(st *stream) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.streams[st.node] == st {
		delete(tn.streams, st.node)
	}
	tn.wakeLocked()
}

func (tn *Tailnet) ack(st *stream, generation uint64) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	st.acked = max(st.acked, generation)
	tn.wakeLocked()
}

// bumpLocked starts a new generation: all nodes get a netmap.
func (tn *Tailnet) bumpLocked() {
	tn.generation++
	tn.wakeLocked()
}

// wakeLocked wakes everybody who waits for anything.
func (tn *Tailnet) wakeLocked() {
	close(tn.changed)
	tn.changed = make(chan struct{})
}

func (tn *Tailnet) currentGeneration() uint64 {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	return tn.generation
}

// awaitApplied waits until every connected node acts by the given generation or
// a newer one.
func (tn *Tailnet) awaitApplied(generation uint64) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		lagging, changed := tn.lagging(generation)
		if len(lagging) == 0 {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			tn.out.errorf("no answer from %s for %v after a change of the tailnet",
				strings.Join(lagging, ", "), patience)
			return
		}
	}
}

// lagging asks the streams to find out whether their nodes act by the given
// generation, and returns the host names of those not known to.
func (tn *Tailnet) lagging(generation uint64) (hosts []string, changed <-chan struct{}) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if tn.awaited < generation {
		tn.awaited = generation
		tn.wakeLocked()
	}
	for _, st := range tn.streams {
		if st.acked < generation {
			hosts = append(hosts, st.host)
		}
	}
	slices.Sort(hosts)
	return hosts, tn.changed
}
