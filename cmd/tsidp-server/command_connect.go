// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
)

// An adminClient is a command's way to the administration: of a server that
// runs, or of a provider that runs for the command only.
type adminClient struct {
	client *http.Client
	close  func() error
}

// connect returns a client for the state that inv means. The caller closes it.
func connect(ctx context.Context, inv *invocation) (*adminClient, error) {
	c, err := dialServer(inv.config)
	if err != nil || c != nil {
		return c, err
	}
	st, err := openAlone(ctx, inv)
	if err != nil {
		return nil, err
	}
	c, err = runAlone(ctx, inv, st)
	if err != nil {
		return nil, errors.Join(err, st.store.Close())
	}
	return c, nil
}

// dialServer returns a client for the server of the state directory, or nil if
// none answers.
func dialServer(c config) (*adminClient, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, socketName)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("user id %d may not use %s: run as the user of the server, or as root", os.Geteuid(), path)
	default:
		return nil, nil
	}
	t := &http.Transport{DialContext: dial}
	return &adminClient{&http.Client{Transport: t}, func() error { t.CloseIdleConnections(); return nil }}, nil
}

// openAlone opens the state that no server answers for. It creates none.
func openAlone(ctx context.Context, inv *invocation) (*state, error) {
	dir, err := inv.config.stateDir()
	if err != nil {
		return nil, err
	}
	if inv.config.store == "" {
		_, err := os.Stat(filepath.Join(dir, databaseName))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("no server runs with the state directory %s, and it holds no %s: name the directory of the server by -dir", dir, databaseName)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("user id %d may not use %s: run as its owner, or as root", os.Geteuid(), dir)
		}
	}
	st, err := openState(ctx, inv.config, inv.log)
	if err != nil {
		return nil, fmt.Errorf("no server answers at %s: %w", filepath.Join(dir, socketName), err)
	}
	return st, nil
}

// runAlone runs a provider for the issuer that st belongs to; nobody can log
// in there. The client closes st.
func runAlone(ctx context.Context, inv *invocation, st *state) (*adminClient, error) {
	issuer, development, err := tsidp.StoredIssuer(ctx, st.store)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("there are no keys in %s: no server has been started with it yet", st.place)
	}
	if err != nil {
		return nil, err
	}
	p, err := tsidp.New(tsidp.Config{
		Issuer:           issuer,
		Tailnet:          nobody{},
		Store:            st.store,
		Development:      development,
		KeyRotation:      inv.config.keyRotation,
		KeyEncryptionKey: st.key,
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	select {
	case err := <-ended:
		if err == nil {
			err = ctx.Err()
		}
		return nil, err
	case <-p.Ready():
	}
	stop := func() error { return errors.Join(p.Close(), <-ended, st.store.Close()) }
	return &adminClient{&http.Client{Transport: inProcess{p, st.adminHandler(p, issuer)}}, stop}, nil
}

// nobody is a tailnet without peers.
type nobody struct{}

// WhoIs implements [tsidp.Tailnet].
func (nobody) WhoIs(context.Context, string) (*apitype.WhoIsResponse, error) {
	return nil, local.ErrPeerNotFound
}

// StatusWithoutPeers implements [tsidp.Tailnet].
func (nobody) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return nil, errors.New("there is no tailnet")
}

// inProcess carries requests to a handler of this process, as if they had come
// over a unix socket.
type inProcess struct {
	p *tsidp.Provider
	h http.Handler
}

// RoundTrip implements [http.RoundTripper].
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(t.p.ConnContext(r.Context(), unixConn{}))
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := &memoryResponse{header: make(http.Header)}
	t.h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

// unixConn is a connection of which only the sort is known.
type unixConn struct{ net.Conn }

// RemoteAddr implements [net.Conn].
func (unixConn) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// maxAdminAnswer bounds an answer of the administration, in bytes: a page of a
// list holds up to a hundred clients, each of which may be long.
const maxAdminAnswer = 64 << 20

// call sends a request, with JSON if body is not nil, and returns the body of
// a successful answer.
func (c *adminClient) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	answer, _, err := c.exchange(ctx, method, path, "", body)
	return answer, err
}

// exchange is call with an entity tag: that of the answer is returned, and the
// request is refused if ifMatch is given and another version is there.
func (c *adminClient) exchange(ctx context.Context, method, path, ifMatch string, body []byte) (answer []byte, etag string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://tsidp"+path, bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if ifMatch != "" {
		r.Header.Set("If-Match", ifMatch)
	}
	res, err := c.client.Do(r)
	if err != nil {
		return nil, "", fmt.Errorf("asking the server: %w (it answers its own user and root only, and not while it ends)", err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, maxAdminAnswer))
	if err != nil {
		return nil, "", fmt.Errorf("asking the server: %w", err)
	}
	if res.StatusCode/100 == 2 {
		return answer, res.Header.Get("ETag"), nil
	}
	var f failure
	if err := json.Unmarshal(answer, &f); err != nil || f.Description == "" {
		f.Description = fmt.Sprintf("the server answers %d", res.StatusCode)
	}
	return nil, "", &refusedError{res.StatusCode, f.Description}
}

// A refusedError is an answer that is no success.
type refusedError struct {
	status      int
	description string
}

// Error implements [error].
func (e *refusedError) Error() string { return e.description }
