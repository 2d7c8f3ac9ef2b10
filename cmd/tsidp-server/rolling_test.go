// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/pgtest"
	"github.com/tailscale/tsidp/internal/tailnettest"
	"golang.org/x/oauth2"
)

// TestRollingRestart: two servers of one provider end and start again one
// after the other while applications log people in. These go to the other
// server if one takes no connection, as any client does with two addresses,
// and try nothing else twice. No login fails, and no refresh token is lost.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.SetGrants(tailnettest.Allow("root@example.com", "", adminCapability))
	p := &twoProcesses{issuer: "https://" + tn.FQDN("login")}
	dsn := pgtest.Start(t)
	for i, host := range []string{"idp-a", "idp-b"} {
		p.servers[i] = newInstance(t, tn, host, "-hostname", host, "-issuer", p.issuer, "-store", dsn)
		p.servers[i].start()
	}
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	for _, s := range p.servers {
		s.await(p.issuer)
		s.client = clientOf(desk, tn.FQDN(s.host), p.issuer)
	}
	p.register(t)

	apps := &applications{p: p, desk: desk, tn: tn, logins: make(chan struct{}), failed: make(chan error, 1), stop: make(chan struct{})}
	var running sync.WaitGroup
	for range 4 {
		running.Go(apps.run)
	}
	const some = 20
	apps.await(t, some)
	for _, s := range p.servers {
		if code := s.process.end(syscall.SIGTERM); code != exitOK {
			t.Errorf("%s: exit code %d\n%s", s.host, code, s.process.stderr)
		}
		apps.await(t, some)
		s.start()
		s.await(p.issuer)
		apps.await(t, some)
	}
	close(apps.stop)
	running.Wait()
	select {
	case err := <-apps.failed:
		t.Error(err)
	default:
	}
}

// applications log in again and again.
type applications struct {
	p      *twoProcesses
	desk   *tailnettest.Node
	tn     *tailnettest.Tailnet
	at     atomic.Int64  // the server that took the last connection
	logins chan struct{} // one after the other
	failed chan error
	stop   chan struct{}
}

// await returns after n more logins.
func (a *applications) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-a.logins:
		case err := <-a.failed:
			t.Fatal(err)
		}
	}
}

// run is one application. It keeps a session throughout.
func (a *applications) run() {
	client := &http.Client{
		// A connection for each request: one that is kept may be closed
		// just when it is used again.
		Transport:     &http.Transport{DialTLSContext: a.dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, client)
	var kept *oauth2.Token
	for {
		tokens, err := a.logIn(ctx, client)
		if err == nil && kept == nil {
			kept = tokens
		}
		if err == nil {
			kept, err = a.p.app.TokenSource(ctx, &oauth2.Token{RefreshToken: kept.RefreshToken}).Token()
		}
		if err != nil {
			select {
			case a.failed <- err:
			default:
			}
			return
		}
		select {
		case a.logins <- struct{}{}:
		case <-a.stop:
			return
		}
	}
}

func (a *applications) logIn(ctx context.Context, client *http.Client) (*oauth2.Token, error) {
	verifier := oauth2.GenerateVerifier()
	res, err := client.Get(a.p.app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		return nil, err
	}
	res.Body.Close()
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		return nil, fmt.Errorf("%s with the location %q (%v), want a code", res.Status, to, err)
	}
	return a.p.app.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(verifier))
}

// dial connects to one of the servers, or to the other. What a server has
// accepted is its to answer.
func (a *applications) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var errs []error
	for i := a.at.Load(); ctx.Err() == nil && len(errs) < 10; i++ {
		name := a.tn.FQDN(a.p.servers[i%2].host)
		// A node that has ended answers nothing, not even that.
		once, cancel := context.WithTimeout(ctx, 3*time.Second)
		c, err := a.desk.Dial(once, network, name+":443")
		cancel()
		if err == nil {
			a.at.Store(i)
			return tls.Client(c, &tls.Config{ServerName: name, RootCAs: a.tn.CA()}), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, ctx.Err())...)
}
