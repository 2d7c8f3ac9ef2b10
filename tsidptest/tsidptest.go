// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package tsidptest runs a provider on a simulated tailnet inside a test, so
// that an application's login can be tested in a few lines, and what it does
// when the policy changes, tokens expire, keys are replaced, or the provider
// cannot answer:
//
//	idp := tsidptest.New(t, nil)
//	id, secret := idp.AddClient(app.URL + "/callback")
//	alice := idp.Client("alice@example.com")
//	res, err := alice.Get(app.URL + "/login") // follows every redirect
//
// The provider is the real one, over real HTTP on loopback; only the tailnet
// is made up. Its clock is the real one too, until [Server.Advance] moves it.
package tsidptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/simtailnet"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/tailcfg"
)

// Who is on the tailnet from the start.
const (
	Alice = "alice@example.com" // may have tokens for every resource
	Bob   = "bob@example.com"   // has no rule
)

// administrator makes the clients. It is nobody of a test's.
const administrator = "administrator@example.com"

// A Server is a provider that runs until its test ends. Its methods may be
// called concurrently; what one has changed counts for every request that
// begins after it has returned. They end the test if they fail, so call them
// from its goroutine.
type Server struct {
	// Issuer is an http URL on loopback, where discovery starts.
	Issuer   string
	Provider *tsidp.Provider

	t       testing.TB
	tailnet *simtailnet.Tailnet
	store   *gatedStore
	offset  atomic.Int64 // of the clock, in nanoseconds
	nodes   atomic.Int64 // so far
}

// New starts a provider. configure, if not nil, may change its configuration:
// all but Issuer, Tailnet and Now, which the simulation needs. Its state is in
// memory unless configure sets a Store. What the provider logs goes to the
// test's output unless configure sets a Logger.
func New(t testing.TB, configure func(*tsidp.Config)) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("tsidptest: %v", err)
	}
	s := &Server{t: t, Issuer: "http://" + listener.Addr().String(), tailnet: new(simtailnet.Tailnet)}
	cfg := tsidp.Config{Store: memory.New(), Development: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if configure != nil {
		configure(&cfg)
	}
	s.store = &gatedStore{Store: cfg.Store}
	cfg.Issuer, cfg.Tailnet, cfg.Now, cfg.Store = s.Issuer, s.tailnet, s.now, s.store
	if s.Provider, err = tsidp.New(cfg); err != nil {
		listener.Close()
		t.Fatalf("tsidptest: %v", err)
	}
	s.serve(listener)
	s.AddUser(administrator, `{"allow_admin_ui": true}`)
	s.AddUser(Alice, `{"users": ["*"], "resources": ["*"]}`)
	s.AddUser(Bob)
	return s
}

// serve runs the provider and its listener until the test ends.
func (s *Server) serve(listener net.Listener) {
	server := &http.Server{Handler: s.withPeer(s.Provider.Handler()), ConnContext: s.Provider.ConnContext}
	running, serving := make(chan error, 1), make(chan error, 1)
	go func() { running <- s.Provider.Run(context.Background()) }()
	go func() { serving <- server.Serve(listener) }()
	s.t.Cleanup(func() {
		s.store.slow(0) // it would hold up the end
		server.Close()
		<-serving
		s.Provider.Close()
		if err := <-running; err != nil {
			s.t.Errorf("tsidptest: %v", err)
		}
	})
	select {
	case <-s.Provider.Ready():
	case err := <-running:
		running <- nil
		s.t.Fatalf("tsidptest: %v", err)
	}
}

// now is the provider's clock.
func (s *Server) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// Advance lets time pass for the provider: codes, tokens and logins expire
// when theirs has come. It cannot run backwards, and the test's own clock
// stays as it is.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	if d < 0 {
		s.t.Fatal("tsidptest: time cannot run backwards")
	}
	s.offset.Add(int64(d))
}

// whoIsAge is how long the provider may reuse an answer of the tailnet.
const whoIsAge = time.Second

// AddUser puts a device of a user on the tailnet: another one if the user has
// any. The rules are JSON objects, as in the tailnet's policy file under
// "tailscale.com/cap/tsidp".
func (s *Server) AddUser(login string, rules ...string) {
	local, _, _ := strings.Cut(login, "@")
	id := s.nextID()
	user := tailcfg.UserProfile{ID: tailcfg.UserID(1000 + id), LoginName: login, DisplayName: strings.ToUpper(local[:min(1, len(local))]) + local[min(1, len(local)):] + " Example"}
	if p, ok := s.tailnet.Named(login); ok {
		user = p.User
	}
	s.tailnet.Put(simtailnet.Peer{ID: id, Host: fmt.Sprintf("%s-%d", local, id), User: user, Rules: rules})
	s.Advance(whoIsAge)
}

// AddMachine puts a tagged device on the tailnet, such as "tag:ci".
func (s *Server) AddMachine(tag string, rules ...string) {
	id := s.nextID()
	s.tailnet.Put(simtailnet.Peer{
		ID: id, Host: fmt.Sprintf("%s-%d", strings.TrimPrefix(tag, "tag:"), id), User: simtailnet.TaggedUser, Tags: []string{tag}, Rules: rules,
	})
	s.Advance(whoIsAge)
}

func (s *Server) nextID() tailcfg.NodeID { return tailcfg.NodeID(10 + s.nodes.Add(1)) }

// Grant replaces the rules of somebody, a login or a tag, on all of their
// devices.
func (s *Server) Grant(name string, rules ...string) {
	s.t.Helper()
	s.change(name, func(p simtailnet.Peer) {
		p.Rules = rules
		s.tailnet.Put(p)
	})
}

// Remove takes all devices of somebody off the tailnet.
func (s *Server) Remove(name string) {
	s.t.Helper()
	s.change(name, func(p simtailnet.Peer) { s.tailnet.Remove(p.ID) })
}

func (s *Server) change(name string, do func(simtailnet.Peer)) {
	s.t.Helper()
	found := false
	for _, p := range s.tailnet.Peers() {
		if p.Name() == name {
			found = true
			do(p)
		}
	}
	if !found {
		s.t.Fatalf("tsidptest: nobody on the tailnet is called %s", name)
	}
	s.Advance(whoIsAge)
}

// FailTailnet makes the tailnet unable to say who anybody is, with err, until
// it is nil. The provider answers such requests with 503.
func (s *Server) FailTailnet(err error) {
	s.tailnet.Fail(err)
	s.Advance(whoIsAge)
}

// FailStore makes every access to the provider's state fail with err, until it
// is nil. The provider answers such requests with 503 and consumes nothing.
func (s *Server) FailStore(err error) {
	s.store.fail(err)
	s.Advance(whoIsAge) // what it has read before is not reused
}

// SlowStore makes every access to the provider's state take d longer; 0 is
// as fast as before.
func (s *Server) SlowStore(d time.Duration) { s.store.slow(d) }

// ReplaceKeys replaces the signing keys at once, as an administrator would
// after a leak: what they signed is worth nothing any more, and applications
// that have cached them must fetch the new ones.
func (s *Server) ReplaceKeys() {
	s.t.Helper()
	var list struct {
		Keys []struct {
			ID    string `json:"kid"`
			Alg   string `json:"alg"`
			State string `json:"state"`
		} `json:"keys"`
	}
	s.administer("GET", "/api/v1/keys", nil, &list)
	for _, k := range list.Keys {
		if k.State == "current" && (k.Alg == "RS256" || k.Alg == "ES256" || k.Alg == "EdDSA") {
			s.administer("DELETE", "/api/v1/keys/"+url.PathEscape(k.ID), nil, nil)
		}
	}
}

// AddClient registers an application as an administrator would. Each of more
// is a JSON object with further members of docs/api.md, such as
// {"access": "granted"} or {"token_endpoint_auth_method": "none"}; a client
// without a secret has an empty one.
func (s *Server) AddClient(redirectURI string, more ...string) (id, secret string) {
	s.t.Helper()
	metadata := map[string]any{"redirect_uris": []string{redirectURI}}
	for _, m := range more {
		if err := json.Unmarshal([]byte(m), &metadata); err != nil {
			s.t.Fatalf("tsidptest: %s: %v", m, err)
		}
	}
	var c struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	s.administer("POST", "/api/v1/clients", metadata, &c)
	return c.ID, c.Secret
}

// administer calls the provider's API.
func (s *Server) administer(method, path string, body, answer any) {
	s.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		s.t.Fatalf("tsidptest: %v", err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.Issuer+path, bytes.NewReader(data))
	if err != nil {
		s.t.Fatalf("tsidptest: %v", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.Client(administrator).Do(req)
	if err != nil {
		s.t.Fatalf("tsidptest: %v", err)
	}
	defer res.Body.Close()
	if data, err = io.ReadAll(res.Body); err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: answer %s %s", method, path, res.Status, bytes.TrimSpace(data))
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(data, answer)
	}
	if err != nil {
		s.t.Fatalf("tsidptest: %v", err)
	}
}

// Client returns a browser at a device of somebody, a login or a tag: an HTTP
// client with cookies of its own that follows redirects. What it asks the
// provider comes from that device; other servers it reaches as any client
// does. An application's own requests to the provider, with [http.DefaultClient]
// say, come from nobody on the tailnet, as over Funnel.
func (s *Server) Client(name string) *http.Client {
	s.t.Helper()
	p, ok := s.tailnet.Named(name)
	if !ok {
		s.t.Fatalf("tsidptest: nobody on the tailnet is called %s", name)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatalf("tsidptest: %v", err)
	}
	return &http.Client{Jar: jar, Transport: device{strings.TrimPrefix(s.Issuer, "http://"), p.Addrs()[0].String()}}
}
