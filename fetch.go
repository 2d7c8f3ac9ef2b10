// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/internal/safefetch"
)

// ClientFetch is how the provider fetches what clients publish about
// themselves: metadata documents and key sets. Whoever names the address may
// be anybody, so hosts on private addresses are refused unless they are listed.
type ClientFetch struct {
	// AllowHosts are the HOST[:PORT] (port 443 unless given) that documents
	// may be fetched from although they are not on the public internet. There
	// are no wildcards. The provider's own names are refused.
	AllowHosts []string
	// DialTailnet connects to those of AllowHosts that are in the tailnet, for
	// a provider whose process is not: the Dial method of a tsnet.Server. Nil
	// means a [net.Dialer].
	DialTailnet func(ctx context.Context, network, address string) (net.Conn, error)
	// RootCAs are whom to believe about the names of hosts: those of private
	// networks may have certificates of their own. Nil means the system's.
	RootCAs *x509.CertPool
}

// fetchConfig is that of Provider.fetch.
func (p *Provider) fetchConfig() safefetch.Config {
	config := safefetch.Config{OwnNames: p.hosts, Logger: p.log, Now: p.now}
	if f := p.cfg.ClientFetch; f != nil {
		config.AllowHosts, config.RootCAs = f.AllowHosts, f.RootCAs
		if f.DialTailnet != nil {
			config.DialTailnet = safefetch.DialFunc(f.DialTailnet)
		}
	}
	if p.cfg.testFetch != nil {
		p.cfg.testFetch(&config)
	}
	return config
}

// validateClient is validate, and judges the addresses of documents.
func (p *Provider) validateClient(c *client, policy oauth.RedirectPolicy) error {
	if err := c.validate(policy); err != nil {
		return err
	}
	return p.checkAddresses(c)
}

// checkAddresses judges what would be fetched for the client.
func (p *Provider) checkAddresses(c *client) error {
	if c.JWKSURI == "" {
		return nil
	}
	if e, ok := errors.AsType[*safefetch.Error](p.fetch.Check(c.JWKSURI)); ok {
		return fail(codeInvalidClientMetadata, "jwks_uri: %s", e.Reason)
	}
	return nil
}

// maxFetchWait is how long a request waits for its turn to fetch: a little
// more than the interval of safefetch.
const maxFetchWait = 1200 * time.Millisecond

// fetchDocument is safefetch's Get for a request that can wait for its turn
// once: somebody else may just have asked the host.
func (p *Provider) fetchDocument(ctx context.Context, url string, want safefetch.Want) (safefetch.Document, error) {
	d, err := p.fetch.Get(ctx, url, want)
	e, ok := errors.AsType[*safefetch.Error](err)
	if !ok || e.Kind != safefetch.ErrBusy || e.RetryAfter > maxFetchWait {
		return d, err
	}
	turn := time.NewTimer(e.RetryAfter)
	defer turn.Stop()
	select {
	case <-turn.C:
		return p.fetch.Get(ctx, url, want)
	case <-ctx.Done():
		return d, err
	}
}

// A documentFault is what is wrong with a document, for its author. The Valid
// of a safefetch.Want returns it.
type documentFault struct{ reason string }

func (f documentFault) Error() string { return f.reason }

// fetchError turns an error of fetchDocument into the answer: "try again" if
// the host could not be asked, or code, and why, for whoever can change it.
// name is that of the member that has the address.
func fetchError(err error, code errorCode, name string) *protocolError {
	e, ok := errors.AsType[*safefetch.Error](err)
	if !ok {
		return asProtocolError(err)
	}
	if e.Kind == safefetch.ErrBusy || e.Kind == safefetch.ErrUnavailable {
		return fail(codeUnavailable, "%s: %s; nothing was consumed, try again", name, e.Reason).because(err)
	}
	if fault, ok := errors.AsType[documentFault](err); ok {
		return fail(code, "%s: %s", name, fault.reason).because(err)
	}
	return fail(code, "%s: %s", name, e.Reason).because(err)
}
