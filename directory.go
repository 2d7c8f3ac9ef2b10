// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn"
)

// A directory asks the tailnet who peers are, and reuses an answer for up to
// maxAnswerAge, so that a burst of requests costs one question.
type directory struct {
	tailnet Tailnet
	now     func() time.Time
	// report is told about faults in a peer's rules; it may be called
	// concurrently.
	report func(id *identity, faults []ruleFault)

	flight singleflight.Group

	mu      sync.Mutex // guards what follows
	answers map[netip.Addr]answer
	info    tailnetInfo
	infoAt  time.Time // zero: never asked
}

type answer struct {
	at  time.Time
	id  identity
	err error
}

const (
	// maxAnswerAge bounds how long a withdrawn grant may go on working.
	maxAnswerAge = time.Second
	// maxAnswers bounds the memory: about as many peers as may ask within
	// maxAnswerAge.
	maxAnswers = 4096
	// askTimeout bounds one question to the tailnet.
	askTimeout = 5 * time.Second
)

// identify returns who is behind addr now. Errors: errUnknownPeer and
// errExpiredPeer are answers; anything else means that the tailnet could not
// be asked.
func (d *directory) identify(ctx context.Context, addr netip.Addr) (identity, error) {
	if !addr.IsValid() {
		return identity{}, errUnknownPeer
	}
	start := d.now()
	a, err := d.share(ctx, addr)
	if err == nil && start.Sub(a.at) >= maxAnswerAge {
		// A question that had been asked long before this call came. The next
		// one has not: there is one at a time.
		a, err = d.share(ctx, addr)
	}
	if err != nil {
		return identity{}, err
	}
	return a.id, a.err
}

// share returns an answer that is there or on its way, or asks. The error is
// that of ctx.
func (d *directory) share(ctx context.Context, addr netip.Addr) (answer, error) {
	if a, ok := d.cached(addr); ok {
		return a, nil
	}
	ch := d.flight.DoChan(addr.String(), func() (any, error) {
		if a, ok := d.cached(addr); ok { // asked while this call was waiting
			return a, nil
		}
		// Others may be waiting for this answer: it must not end with the
		// request that happened to come first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		at := d.now()
		id, err := d.ask(ctx, addr)
		if t := d.askedStatus(); !t.IsZero() && t.Before(at) {
			at = t // an answer is as old as the older of its two questions
		}
		a := answer{at, id, err}
		if err == nil || isAnswer(err) {
			d.remember(addr, a)
		}
		return a, nil
	})
	select {
	case res := <-ch:
		return res.Val.(answer), nil
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// isAnswer reports whether err says something about the peer, rather than
// that the tailnet could not be asked.
func isAnswer(err error) bool {
	return errors.Is(err, errUnknownPeer) || errors.Is(err, errExpiredPeer)
}

func (d *directory) cached(addr netip.Addr) (answer, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.answers[addr]
	return a, ok && fresh(a.at, d.now())
}

// fresh also refuses answers from the future: the clock was set back.
func fresh(at, now time.Time) bool {
	age := now.Sub(at)
	return age >= 0 && age < maxAnswerAge
}

func (d *directory) remember(addr netip.Addr, a answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers) >= maxAnswers {
		for k, old := range d.answers {
			if !fresh(old.at, a.at) {
				delete(d.answers, k)
			}
		}
		if len(d.answers) >= maxAnswers {
			clear(d.answers)
		}
	}
	d.answers[addr] = a
}

// ask asks the tailnet who is behind addr.
func (d *directory) ask(ctx context.Context, addr netip.Addr) (identity, error) {
	res, info, err := d.whoIs(ctx, addr)
	if err != nil {
		return identity{}, err
	}
	id, faults := newIdentity(addr, res, info)
	if len(faults) > 0 {
		d.report(&id, faults)
	}
	return id, nil
}

// whoIs asks the tailnet, first whether it can answer at all: with an expired
// key of its own, or before it has a map, the node would still answer WhoIs
// from what it remembers.
func (d *directory) whoIs(ctx context.Context, addr netip.Addr) (*apitype.WhoIsResponse, tailnetInfo, error) {
	info, err := d.status(ctx)
	if err != nil {
		return nil, info, err
	}
	res, err := d.tailnet.WhoIs(ctx, addr.String())
	switch {
	case errors.Is(err, local.ErrPeerNotFound):
		return nil, info, errUnknownPeer
	case err != nil:
		return nil, info, fmt.Errorf("asking the tailnet about %v: %w", addr, err)
	case res == nil || res.Node == nil || res.UserProfile == nil:
		return nil, info, errUnknownPeer
	case res.Node.UnsignedPeerAPIOnly:
		// A Funnel relay. ConnContext recognises what comes through it; this
		// holds if somebody wrapped the connection.
		return nil, info, errUnknownPeer
	case res.Node.Expired, !res.Node.KeyExpiry.IsZero() && res.Node.KeyExpiry.Before(d.now()):
		return nil, info, errExpiredPeer
	}
	return res, info, nil
}

// status returns what the local node knows about its tailnet, or an error if
// it is not running.
func (d *directory) status(ctx context.Context) (tailnetInfo, error) {
	d.mu.Lock()
	info, at := d.info, d.infoAt
	d.mu.Unlock()
	now := d.now()
	if !at.IsZero() && fresh(at, now) {
		return info, nil
	}
	st, err := d.tailnet.StatusWithoutPeers(ctx)
	if err != nil {
		return tailnetInfo{}, fmt.Errorf("asking for the tailnet's status: %w", err)
	}
	if st.BackendState != ipn.Running.String() {
		return tailnetInfo{}, fmt.Errorf("the local Tailscale node is not running: its state is %s", st.BackendState)
	}
	info = newTailnetInfo(st)
	d.mu.Lock()
	d.info, d.infoAt = info, now
	d.mu.Unlock()
	return info, nil
}

// askedStatus is when the status in use was asked for.
func (d *directory) askedStatus() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.infoAt
}
