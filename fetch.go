// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/tailscale/tsidp/internal/safefetch"
)

// ClientFetch is how the provider fetches what clients publish about
// themselves: metadata documents and key sets. Whoever names the address may
// be anybody, so hosts on private addresses are refused unless they are listed.
type ClientFetch struct {
	// AllowHosts are the HOST[:PORT] (port 443 unless given) that may be on
	// private addresses, such as those of the tailnet. There are no wildcards.
	AllowHosts []string
	// DialTailnet connects to those of AllowHosts that are in the tailnet, by
	// name if it ends in .ts.net: the Dial of a tsnet.Server. Nil means the
	// dialer of the machine.
	DialTailnet func(ctx context.Context, network, address string) (net.Conn, error)
}

// newFetch makes the one client for such requests.
func (p *Provider) newFetch() (*safefetch.Client, error) {
	cfg := safefetch.Config{OwnNames: p.hosts, Logger: p.log, Now: p.now}
	if f := p.cfg.ClientFetch; f != nil {
		cfg.AllowHosts, cfg.DialTailnet = f.AllowHosts, f.DialTailnet
	}
	if p.cfg.testFetch != nil {
		p.cfg.testFetch(&cfg)
	}
	c, err := safefetch.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("Config.ClientFetch: %w", err)
	}
	return c, nil
}

// fetchError turns an error of safefetch into one for the peer: refused and
// unusable documents are the client's fault, the rest may pass.
func fetchError(err error, what string) *protocolError {
	reason := "the request was interrupted"
	if e, ok := errors.AsType[*safefetch.Error](err); ok {
		reason = e.Reason
	}
	if errors.Is(err, safefetch.ErrRefused) || errors.Is(err, safefetch.ErrUnusable) {
		return fail(codeInvalidClient, "%s cannot be used: %s", what, reason).because(err)
	}
	return fail(codeUnavailable, "%s cannot be read now: %s", what, reason).because(err)
}
