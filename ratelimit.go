// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"
)

// Failures of clients to authenticate, and grants that are not valid, are
// bounded for each client and each source: whoever guesses is slowed down, and
// a stranger cannot lock the client itself out, which asks from elsewhere.

const (
	maxFailures   = 300 // test suites and broken agents make many
	failureWindow = time.Minute
)

var (
	tailnet4 = netip.MustParsePrefix("100.64.0.0/10")
	tailnet6 = netip.MustParsePrefix("fd7a:115c:a1e0::/48")
)

// failureKey is the client as seen from where the request comes. It is empty
// if that is nobody in particular: behind a proxy or on this machine all
// clients would share one address, and lock each other out.
func failureKey(ctx context.Context, clientID string) string {
	p, _ := peerFrom(ctx)
	from := p.source
	if !p.public && (tailnet4.Contains(p.addr) || tailnet6.Contains(p.addr)) {
		from = p.addr
	}
	if !from.IsValid() {
		return ""
	}
	if from.Is6() && p.public {
		// Everybody on the internet has as many addresses as they like.
		if prefix, err := from.Prefix(64); err == nil {
			from = prefix.Addr()
		}
	}
	sum := sha256.Sum256([]byte(clientID)) // as it was sent: of any length
	return from.String() + " " + hex.EncodeToString(sum[:8])
}

// mayFail refuses a request of whoever has failed too often.
func (p *Provider) mayFail(key string) error {
	if key == "" {
		return nil
	}
	if wait, ok := p.failures.left(key, p.now()); !ok {
		return tooMany(wait, "more than %d failures of this client within %v; wait, and mend its credentials", maxFailures, failureWindow)
	}
	return nil
}

// noteFailure counts err if it is a failure of the client.
func (p *Provider) noteFailure(key string, err error) {
	if err == nil || key == "" {
		return
	}
	if code := asProtocolError(err).code; code == codeInvalidClient || code == codeInvalidGrant {
		p.failures.take(key, p.now())
	}
}
