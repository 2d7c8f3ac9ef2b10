// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/tailscale/tsidp"
)

// A certificateCheck tells whether there is a certificate for the listener on
// the tailnet. The first takes up to a minute, so it asks in the background:
// a probe that gives up must not end the question, and probes that come every
// few seconds must not each order a certificate.
type certificateCheck struct {
	get func(context.Context) (certPEM []byte, err error)
	now func() time.Time

	mu    sync.Mutex
	busy  chan struct{} // closed when the question that runs has ended; nil: none runs
	asked time.Time     // when the last answer came
	until time.Time     // how long the certificate is good; zero: there is none
	err   error         // of the last answer
}

const (
	certificateTimeout = 2 * time.Minute
	certificateWait    = 2 * time.Second  // for an answer, by a probe
	certificateFresh   = 10 * time.Minute // how long a good answer counts
	certificateRetry   = time.Minute      // how soon after a failure to ask again
)

// newCertificateCheck returns the check for the certificate of name.
func newCertificateCheck(name string, pair func(ctx context.Context, domain string) (certPEM, keyPEM []byte, err error)) tsidp.Check {
	c := &certificateCheck{now: time.Now, get: func(ctx context.Context) ([]byte, error) {
		cert, _, err := pair(ctx, name)
		return cert, err
	}}
	return tsidp.Check{Name: "certificate", Run: c.run}
}

// run implements [tsidp.Check].
func (c *certificateCheck) run(ctx context.Context) (string, error) {
	if busy := c.ask(ctx); busy != nil {
		wait := time.NewTimer(certificateWait)
		defer wait.Stop()
		select {
		case <-busy:
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch left := c.until.Sub(c.now()); {
	case left >= 48*time.Hour:
		return fmt.Sprintf("valid for %d days", left/(24*time.Hour)), nil
	case left > 0:
		return "valid for " + left.Round(time.Second).String(), nil
	case c.err != nil:
		return "waiting for a certificate", c.err
	}
	return "waiting for a certificate", errors.New("it has been ordered; the first takes up to a minute")
}

// ask begins a question if one is due, and returns what closes at its end; nil
// if none runs.
func (c *certificateCheck) ask(ctx context.Context) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := certificateFresh
	if c.err != nil {
		age = certificateRetry
	}
	if c.busy != nil || !c.asked.IsZero() && c.now().Sub(c.asked) < age {
		return c.busy
	}
	busy := make(chan struct{})
	c.busy = busy
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), certificateTimeout)
		defer cancel()
		until, err := notAfter(c.get(ctx))
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err = err; err == nil {
			c.until = until
		}
		c.asked, c.busy = c.now(), nil
		close(busy)
	}()
	return busy
}

// notAfter returns the end of the first certificate in certPEM.
func notAfter(certPEM []byte, err error) (time.Time, error) {
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return time.Time{}, errors.New("the node's certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the node's certificate: %w", err)
	}
	return cert.NotAfter, nil
}

// metricsEndpoints opens the port of -metrics-port, if any.
//
// Everybody on this machine can read it without further proof. That is why it
// is off by default and never on another address; what they learn is how much
// is going on, and neither who nor where.
func metricsEndpoints(c config, log *slog.Logger, p *tsidp.Provider, issuer string) ([]endpoint, error) {
	if c.metricsPort < 0 {
		return nil, nil
	}
	listeners, err := listenLoopback(c.metricsPort)
	if err != nil {
		return nil, fmt.Errorf("opening the port for metrics: %w", err)
	}
	var endpoints []endpoint
	for _, ln := range listeners {
		endpoints = append(endpoints, endpoint{ln, loopbackHosts(below(issuer, p.MetricsHandler())), nil})
		log.Info("serving metrics by plain HTTP", "address", ln.Addr().String())
	}
	return endpoints, nil
}

// loopbackHosts refuses requests under other names than those of loopback: a
// web page that has such a name point here is not to read the answer (DNS
// rebinding).
func loopbackHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if addr, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !addr.IsLoopback()) {
			http.Error(w, "this server is not "+strconv.Quote(r.Host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
