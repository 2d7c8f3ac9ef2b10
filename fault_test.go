// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
)

// A faultStore is a store of which some verbs fail, before they do anything
// or, as when the answer to a commit gets lost, after.
type faultStore struct {
	store.Store

	mu     sync.Mutex
	broken string // the verb that fails; empty for none
	after  bool   // it fails after it has done its work
	calls  map[string]int
}

// newFaultStore returns a store with the keys of all fixtures.
func newFaultStore(t testing.TB) *faultStore {
	t.Helper()
	s := &faultStore{Store: memory.New(), calls: make(map[string]int)}
	if _, err := s.Store.SwapKeys(t.Context(), 0, sharedKeys()); err != nil {
		t.Fatal(err)
	}
	return s
}

// setBroken breaks verb, and heals all others.
func (s *faultStore) setBroken(verb string, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.after = verb, after
}

func (s *faultStore) called(verb string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[verb]
}

// run does the work of verb, or fails.
func (s *faultStore) run(verb string, work func() error) error {
	s.mu.Lock()
	s.calls[verb]++
	fails, after := s.broken == verb, s.after
	s.mu.Unlock()
	if fails && !after {
		return errTest
	}
	if err := work(); err != nil {
		return err
	}
	if fails {
		return errTest
	}
	return nil
}

func (s *faultStore) Redeem(ctx context.Context, r store.Redemption) error {
	return s.run("Redeem", func() error { return s.Store.Redeem(ctx, r) })
}

func (s *faultStore) Refresh(ctx context.Context, h store.Hash, now time.Time) (rt store.Refresh, rec store.Record, err error) {
	err = s.run("Refresh", func() (err error) { rt, rec, err = s.Store.Refresh(ctx, h, now); return err })
	return rt, rec, err
}

func (s *faultStore) Rotate(ctx context.Context, r store.Rotation) (salt [32]byte, err error) {
	err = s.run("Rotate", func() (err error) { salt, err = s.Store.Rotate(ctx, r); return err })
	return salt, err
}

func (s *faultStore) Revoke(ctx context.Context, r store.Revocation) (n int, err error) {
	err = s.run("Revoke", func() (err error) { n, err = s.Store.Revoke(ctx, r); return err })
	return n, err
}

func (s *faultStore) UseOnce(ctx context.Context, space, id string, now, exp time.Time) error {
	return s.run("UseOnce", func() error { return s.Store.UseOnce(ctx, space, id, now, exp) })
}

func (s *faultStore) Keys(ctx context.Context) (set store.KeySet, err error) {
	err = s.run("Keys", func() (err error) { set, err = s.Store.Keys(ctx); return err })
	return set, err
}

func (s *faultStore) SwapKeys(ctx context.Context, version int64, data []byte) (v int64, err error) {
	err = s.run("SwapKeys", func() (err error) { v, err = s.Store.SwapKeys(ctx, version, data); return err })
	return v, err
}

func (s *faultStore) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (rec store.Record, err error) {
	err = s.run("Get", func() (err error) { rec, err = s.Store.Get(ctx, kind, id, now); return err })
	return rec, err
}

func (s *faultStore) Put(ctx context.Context, r store.Record, now time.Time) (v int64, err error) {
	if r.Kind == kindAudit { // it comes when it likes: it breaks, and is not counted
		s.mu.Lock()
		s.calls["Put"]--
		s.mu.Unlock()
	}
	err = s.run("Put", func() (err error) { v, err = s.Store.Put(ctx, r, now); return err })
	return v, err
}

func (s *faultStore) Delete(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
	return s.run("Delete", func() error { return s.Store.Delete(ctx, kind, id, version, now) })
}

func (s *faultStore) List(ctx context.Context, q store.Query) (page store.Page, err error) {
	err = s.run("List", func() (err error) { page, err = s.Store.List(ctx, q); return err })
	return page, err
}

func (s *faultStore) Count(ctx context.Context, q store.Query) (n int, err error) {
	err = s.run("Count", func() (err error) { n, err = s.Store.Count(ctx, q); return err })
	return n, err
}

func (s *faultStore) Expire(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = s.run("Expire", func() (err error) { n, err = s.Store.Expire(ctx, now, limit); return err })
	return n, err
}

// storeVerbs are all methods of store.Store but Close, which the provider
// never calls.
var storeVerbs = []string{
	"Redeem", "Refresh", "Rotate", "Revoke", "UseOnce", "Keys", "SwapKeys", "Get", "Put", "Delete", "List", "Count", "Expire",
}

// A faultRequest is one request of every sort that touches the store.
type faultRequest struct {
	name  string
	verbs []string // that it needs
	send  func() *reply
	want  func(r *reply) // checks the answer of a store that works
}

// faultRequests prepares requests that are independent of each other: each
// has its own login, and can be sent again after a failure.
func faultRequests(f *fixture) []faultRequest {
	f.t.Helper()
	f.addClient("eddsa", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, IDTokenAlg: jwt.EdDSA})
	f.addClient("doomed", "", admin.ClientMetadata{RedirectURIs: []string{pubRedirect}, TokenEndpointAuthMethod: authNone})
	f.addClient("doomed2", "", admin.ClientMetadata{RedirectURIs: []string{pubRedirect}, TokenEndpointAuthMethod: authNone})
	f.addClient("changed", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	f.addClient("spare", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	f.editClient("spare", func(c *client) { c.Secrets = append(c.Secrets, clientSecret{ID: "old"}) })
	used, bare, replayed, refreshed := f.login(ada), f.code(ada, append([]string{"client_id", "rs"}, noPKCE...)...), f.code(ada), f.login(ada)
	replay := f.redeem(replayed).tokens()
	moved, asked, reused, unwanted := f.login(gus), f.login(ada), f.login(ada), f.login(ada)
	f.refresh(f.refresh(reused.RefreshToken).tokens().RefreshToken).tokens()
	f.addDeviceClients()
	pending, shown, undecided, approved := f.beginDevice(ci), f.beginDevice(ci), f.beginDevice(ci), f.beginDevice(ci)
	proof := f.proof(ada, undecided.UserCode)
	f.decide(ada, approved.UserCode, "approve")
	leaving := f.login(adm)
	f.allow(ci, machineRule)
	signer := newClientKey(f.t, jwt.ES256, "1")
	f.addKeyClient("signer", jwksOf(f.t, signer))
	read, changed, ended := f.registered(adm, "client_name", "read"), f.registered(adm, "client_name", "changed"), f.registered(adm, "client_name", "ended")
	f.clock.advance(3 * time.Second)
	codeWeb, codePub, codeEd := f.code(ada), f.code(ada, forPub()...), f.code(ada, "client_id", "eddsa")
	f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHERCNTRL" })
	f.clock.advance(time.Second)

	tokens := func(r *reply) { r.t.Helper(); r.tokens() }
	status := func(status int) func(*reply) {
		return func(r *reply) {
			r.t.Helper()
			if r.status != status {
				r.t.Errorf("answer %d %s, want %d", r.status, r.body, status)
			}
		}
	}
	invalidGrant := func(r *reply) { r.t.Helper(); r.wantError(400, "invalid_grant") }
	active := func(r *reply) {
		r.t.Helper()
		if r.json(200)["active"] != true {
			r.t.Errorf("answer %s, want an active token", r.body)
		}
	}
	introspect := func(token string) func() *reply {
		return func() *reply {
			return f.post("/introspect", url.Values{"token": {token}}, basicAuth("web", webSecret)...)
		}
	}
	return []faultRequest{
		{"authorize", []string{"Get"}, func() *reply { return f.authorize(ada) }, status(302)},
		{"authorize without PKCE", []string{"Get"}, func() *reply { return f.authorize(ada, append([]string{"client_id", "rs"}, noPKCE...)...) }, status(302)},
		{"code", []string{"Get", "Redeem"}, func() *reply { return f.redeem(codeWeb) }, tokens},
		{"code of a public client", []string{"Get", "Redeem"}, func() *reply { return f.redeemPub(codePub) }, tokens},
		{"code without PKCE", []string{"Get", "Redeem"}, func() *reply {
			return f.post("/token", codeForm(bare, "code_verifier", ""), basicAuth("rs", webSecret)...)
		}, tokens},
		{"code, first EdDSA", []string{"Get", "Redeem", "Keys", "SwapKeys"}, func() *reply {
			return f.post("/token", codeForm(codeEd), basicAuth("eddsa", webSecret)...)
		}, tokens},
		{"code again", []string{"Get", "Redeem", "Revoke"}, func() *reply { return f.redeem(replayed) }, func(r *reply) {
			r.t.Helper()
			invalidGrant(r)
			f.in(r.t).wantDead(replay)
		}},
		{"refresh", []string{"Get", "Refresh", "Rotate"}, func() *reply { return f.refresh(refreshed.RefreshToken) }, tokens},
		{"refresh, reuse", []string{"Get", "Refresh", "Rotate"}, func() *reply { return f.refresh(reused.RefreshToken) }, invalidGrant},
		{"refresh, moved", []string{"Get", "Refresh", "Revoke"}, func() *reply { return f.refresh(moved.RefreshToken) }, invalidGrant},
		{"logout", []string{"Get", "Revoke"}, func() *reply {
			return f.do(adm, "GET", "/logout?id_token_hint="+leaving.IDToken, "", "", "Accept", "text/html")
		}, status(200)},
		{"machine", []string{"Get", "Redeem", "Put"}, func() *reply { return f.machine(ci) }, status(200)},
		{"userinfo", []string{"Get"}, func() *reply { return f.userinfo(used.AccessToken) }, status(200)},
		{"introspect access token", []string{"Get"}, introspect(used.AccessToken), active},
		{"introspect refresh token", []string{"Get", "Refresh"}, introspect(asked.RefreshToken), active},
		{"revoke", []string{"Get", "Refresh", "Revoke"}, func() *reply { return f.revoke("web", unwanted.RefreshToken) }, func(r *reply) {
			r.t.Helper()
			status(200)(r)
			f.in(r.t).wantDead(unwanted)
		}},
		{"device authorization", []string{"Get", "Put"}, func() *reply { return f.deviceAuthorization(ci) }, status(200)},
		{"device page", []string{"Get", "List"}, func() *reply { return f.devicePage(ada, shown.UserCode) }, status(200)},
		{"device approval", []string{"Get", "Put"}, func() *reply { return f.decideBy(ada, proof, "approve") }, status(303)},
		{"device code, pending", []string{"Get", "Put"}, func() *reply { return f.poll(pending.DeviceCode) }, func(r *reply) {
			r.t.Helper()
			r.wantError(400, "authorization_pending")
		}},
		{"device code", []string{"Get", "Redeem"}, func() *reply { return f.poll(approved.DeviceCode) }, tokens},
		{"assertion", []string{"Get", "UseOnce"}, func() *reply { return f.ask(f.assert(signer, "signer")) }, status(200)},
		{"list clients", []string{"List"}, func() *reply { return f.do(adm, "GET", "/api/v1/clients", "", "") }, status(200)},
		{"show client", []string{"Get"}, func() *reply { return f.do(adm, "GET", "/api/v1/clients/web", "", "") }, status(200)},
		{"make client", []string{"Put"}, func() *reply {
			return f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_id":"made","redirect_uris":["https://made.example/cb"]}`)
		}, status(201)},
		{"remove client", []string{"Get", "Put", "Revoke"}, func() *reply { return f.do(adm, "DELETE", "/api/v1/clients/doomed", "", "") }, status(204)},
		{"search clients", []string{"List"}, func() *reply { return f.do(adm, "GET", "/api/v1/clients?q=e&limit=1", "", "") }, status(200)},
		{"replace client", []string{"Get", "Put"}, func() *reply {
			return f.do(adm, "PUT", "/api/v1/clients/changed", "application/json", `{"redirect_uris":["https://made.example/cb"]}`)
		}, status(200)},
		{"edit client", []string{"Get", "Put"}, func() *reply {
			return f.do(adm, "POST", "/edit/changed", "application/x-www-form-urlencoded", "name=x")
		}, status(200)},
		{"add secret", []string{"Get", "Put"}, func() *reply { return f.do(adm, "POST", "/api/v1/clients/changed/secrets", "", "") }, status(201)},
		{"end secret", []string{"Get", "Put"}, func() *reply { return f.do(adm, "DELETE", "/api/v1/clients/spare/secrets/old", "", "") }, status(204)},
		{"remove this version", []string{"Get", "Put", "Revoke"}, func() *reply {
			return f.do(adm, "DELETE", "/api/v1/clients/doomed2", "", "", "If-Match", "*")
		}, status(204)},
		{"sessions", []string{"List", "Get"}, func() *reply { return f.do(adm, "GET", pathSessions, "", "") }, status(200)},
		{"end sessions", []string{"Revoke"}, func() *reply { return f.do(adm, "DELETE", pathSessions+"?user=userid:77", "", "") }, status(200)},
		{"consents", []string{"List"}, func() *reply { return f.do(adm, "GET", pathConsents, "", "") }, status(200)},
		{"audit log", []string{"List"}, func() *reply { return f.do(adm, "GET", pathAudit, "", "") }, status(200)},
		{"register", []string{"Get", "Count", "Put"}, func() *reply { return f.register(adm, registrationOf()) }, status(201)},
		{"read registration", []string{"Get"}, func() *reply { return f.manage("GET", read) }, status(200)},
		{"change registration", []string{"Get", "Put"}, func() *reply { return f.manage("PUT", changed, "client_id", changed.ID, "client_name", "other") }, status(200)},
		{"end registration", []string{"Get", "Revoke"}, func() *reply { return f.manage("DELETE", ended) }, status(204)},
		{"metadata", nil, func() *reply { return f.do(netip.Addr{}, "GET", "/.well-known/openid-configuration", "", "") }, status(200)},
		// What cannot be counted is left out; a collector must not lose the rest.
		{"metrics", nil, func() *reply { return f.do(adm, "GET", "/metrics", "", "") }, status(200)},
		{"keys", nil, func() *reply { return f.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", "") }, status(200)},
	}
}

// TestStoreFaults: whatever verb fails, what needs it says "try again", what
// does not need it works, and nothing is lost (CVE-2020-15223: a revocation
// that ignores the store's error).
func TestStoreFaults(t *testing.T) {
	for _, verb := range storeVerbs {
		t.Run(verb, func(t *testing.T) {
			s := newFaultStore(t)
			f := newFixture(t, func(c *Config) { c.Store, c.DebugRequests = s, true })
			requests := faultRequests(f)
			s.setBroken(verb, false)
			for range 2 {
				for _, req := range requests {
					if slices.Contains(req.verbs, verb) {
						f := f.in(t)
						r := req.send()
						r.t = named{f.t, req.name}
						r.wantUnavailable()
					}
				}
			}
			var failed []faultRequest
			for _, req := range requests {
				if slices.Contains(req.verbs, verb) {
					failed = append(failed, req)
					continue
				}
				r := req.send()
				r.t = named{t, req.name + ", which does not need it"}
				if r.status >= 500 {
					r.t.Errorf("answer %d %s", r.status, r.body)
				}
				if req.name != "code again" && req.name != "revoke" { // their checks need all verbs
					req.want(r)
				}
			}
			s.setBroken("", false)
			for _, req := range failed {
				r := req.send()
				r.t = named{t, req.name + ", afterwards"}
				req.want(r)
			}
			f.wantSilentLog(webSecret, testVerifier)
		})
	}
}

// named puts the name of a request in front of what is reported.
type named struct {
	testing.TB
	name string
}

func (n named) Errorf(format string, args ...any) {
	n.TB.Helper()
	n.TB.Errorf(n.name+": "+format, args...)
}

func (n named) Fatalf(format string, args ...any) {
	n.TB.Helper()
	n.TB.Fatalf(n.name+": "+format, args...)
}

// TestLostCommit: the store has done its work, and its answer is lost (C32
// b). The contract allows it; a retry must be good, and nobody is logged out.
func TestLostCommit(t *testing.T) {
	broken := func(t *testing.T) (*fixture, *faultStore) {
		s := newFaultStore(t)
		return newFixture(t, func(c *Config) { c.Store = s }), s
	}
	t.Run("Rotate", func(t *testing.T) {
		f, s := broken(t)
		r0 := f.login(ada).RefreshToken
		s.setBroken("Rotate", true)
		f.refresh(r0).wantUnavailable()
		f.refresh(r0).wantUnavailable()
		s.setBroken("", false)
		f.clock.advance(20 * time.Second)
		r1 := f.refresh(r0).tokens()
		f.wantAlive(f.refresh(r1.RefreshToken).tokens())
	})
	t.Run("Redeem", func(t *testing.T) {
		// The code is spent and its tokens are lost: the application has to
		// begin anew, which costs the person nothing.
		f, s := broken(t)
		code := f.code(ada)
		s.setBroken("Redeem", true)
		f.redeem(code).wantUnavailable()
		s.setBroken("", false)
		f.redeem(code).wantError(400, "invalid_grant")
		f.wantAlive(f.login(ada))
	})
	t.Run("Put", func(t *testing.T) {
		f, s := broken(t)
		f.addDeviceClients()
		d := f.beginDevice(ci)
		proof := f.proof(ada, d.UserCode)
		s.setBroken("Put", true)
		f.decideBy(ada, proof, "approve").wantUnavailable()
		s.setBroken("", false)
		if r := f.decideBy(ada, proof, "approve"); r.status != http.StatusSeeOther {
			t.Errorf("deciding again: answer %d %s", r.status, r.body)
		}
		f.poll(d.DeviceCode).tokens()
	})
	t.Run("SwapKeys", func(t *testing.T) {
		f, s := broken(t)
		f.editClient("web", func(c *client) { c.IDTokenAlg = jwt.EdDSA })
		code := f.code(ada)
		s.setBroken("SwapKeys", true)
		f.redeem(code).wantUnavailable()
		s.setBroken("", false)
		f.verifyIDToken("web", jwt.EdDSA, f.redeem(code).tokens())
		if keys := f.keysOf().Keys; len(keys) != 3 {
			t.Errorf("%d keys, want 3", len(keys))
		}
	})
	t.Run("Revoke", func(t *testing.T) {
		f, s := broken(t)
		code := f.code(ada)
		res := f.redeem(code).tokens()
		f.clock.advance(3 * time.Second)
		s.setBroken("Revoke", true)
		f.redeem(code).wantUnavailable()
		s.setBroken("", false)
		f.redeem(code).wantError(400, "invalid_grant")
		f.wantDead(res)
	})
}

// TestRunFaults: a store that does not answer at the start is an error, not a
// provider with keys that nobody else has.
func TestRunFaults(t *testing.T) {
	for _, verb := range []string{"Keys", "SwapKeys"} {
		s := &faultStore{Store: memory.New(), calls: make(map[string]int)}
		s.setBroken(verb, false)
		p, err := New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.calls); n != 0 {
			t.Errorf("New has called %v", s.calls)
		}
		if err := p.Run(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("Run with broken %s: %v, want the store's error", verb, err)
		}
		select {
		case <-p.Ready():
			t.Error("the provider is ready")
		default:
		}
		if set, err := s.Store.Keys(t.Context()); err != nil || set.Version != 0 {
			t.Errorf("the store has keys of version %d, %v", set.Version, err)
		}
	}
}

// TestNotReady: until the store is open every route says "try again".
func TestNotReady(t *testing.T) {
	s := newFaultStore(t)
	p, err := New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, p: p, client: serve(t, withTestPeer(p.Handler()))}
	for _, send := range []func() *reply{
		func() *reply { return f.authorize(ada) },
		func() *reply { return f.redeem("x") },
		func() *reply { return f.refresh("x") },
		func() *reply { return f.userinfo("x") },
		func() *reply {
			return f.post("/introspect", url.Values{"token": {"x"}}, basicAuth("web", webSecret)...)
		},
		func() *reply { return f.do(ada, "GET", "/.well-known/jwks.json", "", "") },
		func() *reply { return f.do(ada, "GET", "/.well-known/openid-configuration", "", "") },
		func() *reply { return f.do(adm, "GET", "/api/v1/clients", "", "") },
		func() *reply { return f.deviceAuthorization(ci) },
		func() *reply { return f.devicePage(ada, "WDJB-MJHT") },
	} {
		send().wantUnavailable()
	}
	if r := f.do(ada, "GET", "/healthz", "", ""); r.status != http.StatusServiceUnavailable {
		t.Errorf("healthz answers %d", r.status)
	}
	if len(s.calls) != 0 {
		t.Errorf("the store was used: %v", s.calls)
	}
}

// TestHealth: healthz follows the store, and not the tailnet.
func TestHealth(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	health := func() (int, string) {
		r := f.do(netip.Addr{}, "GET", "/healthz", "", "")
		return r.status, r.body
	}
	if status, body := health(); status != 200 {
		t.Errorf("healthz answers %d %s", status, body)
	}
	s.setBroken("Keys", false)
	if status, body := health(); status != 503 || strings.Contains(body, errTest.Error()) {
		t.Errorf("with a broken store healthz answers %d %s", status, body)
	}
	s.setBroken("", false)
	if status, body := health(); status != 200 {
		t.Errorf("afterwards healthz answers %d %s", status, body)
	}
}

// TestNothingIsWritten: a request that has proved nothing makes the store
// write nothing (DESIGN.md §1).
func TestNothingIsWritten(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	f.addDeviceClients()
	res, code := f.login(ada), f.code(ada)
	writes := func() (n int) {
		for _, verb := range []string{"Redeem", "Rotate", "Revoke", "UseOnce", "SwapKeys", "Put", "Delete"} {
			n += s.called(verb)
		}
		return n
	}
	before := writes()
	f.authorize(ada)
	f.authorize(ada, "redirect_uri", "https://evil.example/")
	f.authorize(ada, "scope", "made:up")
	f.authorize(eve)
	f.redeem(code, "code_verifier", strings.Repeat("x", 43)).wantError(400, "invalid_grant")
	f.redeem(code, "redirect_uri", "https://evil.example/").wantError(400, "invalid_grant")
	f.redeem("x").wantError(400, "invalid_grant")
	f.deviceAuthorization(netip.MustParseAddr("100.64.9.9")).wantError(403, "access_denied")
	f.devicePage(ada, wrongCode(1)).page(400)
	f.poll(strings.Repeat("A", 43)).wantError(400, "invalid_grant")
	f.post("/token", codeForm(code), basicAuth("web", "wrong")...).wantError(401, "invalid_client")
	f.post("/token", codeForm(code), basicAuth("rs", webSecret)...).wantError(400, "invalid_grant")
	f.post("/token", refreshForm(res.RefreshToken), basicAuth("rs", webSecret)...).wantError(400, "invalid_grant")
	f.refresh(res.RefreshToken, "scope", "groups").wantError(400, "invalid_scope")
	f.refresh(res.RefreshToken, "resource", testResource).wantError(400, "invalid_target")
	f.refresh(strings.Repeat("A", 43)).wantError(400, "invalid_grant")
	f.userinfo(res.AccessToken).json(200)
	f.introspect("web", res.AccessToken)
	f.introspect("web", res.RefreshToken)
	f.ask(f.assert(newClientKey(t, jwt.ES256, "1"), "web")).wantError(401, "invalid_client")
	f.do(ada, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["https://a.example/"]}`).wantError(403, "access_denied")
	if n := writes() - before; n != 0 {
		t.Errorf("%d writes, want none", n)
	}
}

// TestSecretsAtRest: nothing in the store is a secret or a token.
func TestSecretsAtRest(t *testing.T) {
	s := &spyStore{faultStore: newFaultStore(t)}
	f := newFixture(t, func(c *Config) { c.Store = s })
	code := f.code(ada)
	res := f.redeem(code).tokens()
	next := f.refresh(res.RefreshToken).tokens()
	made := f.do(adm, "POST", "/api/v1/clients", "application/json", `{"redirect_uris":["https://a.example/"]}`).json(201)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.Len() == 0 {
		t.Fatal("the store has seen nothing")
	}
	for name, secret := range map[string]string{
		"secret": webSecret, "new secret": made["client_secret"].(string), "code": code, "verifier": testVerifier, "challenge": oauth.ChallengeS256(testVerifier),
		"access token": res.AccessToken, "refresh token": res.RefreshToken, "successor": next.RefreshToken, "ID token": res.IDToken,
	} {
		if strings.Contains(s.seen.String(), secret) {
			t.Errorf("the store has seen the %s", name)
		}
	}
}

// A spyStore notes what is written.
type spyStore struct {
	*faultStore
	seen strings.Builder
}

func (s *spyStore) note(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Write(b)
}

func (s *spyStore) noteRecord(r store.Record) {
	s.note(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Write(r.Data) // which JSON has as base64
}

func (s *spyStore) Redeem(ctx context.Context, r store.Redemption) error {
	s.noteRecord(r.Grant)
	s.note(r)
	return s.faultStore.Redeem(ctx, r)
}

func (s *spyStore) Rotate(ctx context.Context, r store.Rotation) ([32]byte, error) {
	s.note(r)
	return s.faultStore.Rotate(ctx, r)
}

func (s *spyStore) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	s.noteRecord(r)
	return s.faultStore.Put(ctx, r, now)
}

// TestAsksAgain: an answer of the tailnet is good for less than a second.
func TestAsksAgain(t *testing.T) {
	f := newFixture(t)
	asked := func() (n int) {
		f.tailnet.set(func(ft *fakeTailnet) { n = ft.asked })
		return n
	}
	res := f.login(ada)
	f.clock.advance(time.Second)
	before := asked()
	for range 10 {
		f.wantAlive(res)
		res = f.refresh(res.RefreshToken).tokens()
	}
	if n := asked() - before; n != 1 {
		t.Errorf("30 requests at one instant ask %d times, want once", n)
	}
	f.tailnet.set(func(ft *fakeTailnet) { delete(ft.peers, ada) })
	f.clock.advance(maxAnswerAge - time.Microsecond)
	f.wantAlive(res)
	f.clock.advance(time.Microsecond)
	f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
	if n := asked() - before; n != 2 {
		t.Errorf("a second later it has been asked %d times, want 2", n)
	}
	// "No such peer" is an answer too, and no better kept.
	f.tailnet.set(func(ft *fakeTailnet) { ft.peers[ada] = userPeer(1001, "ada@example.com", "Ada", "lap", ada) })
	f.clock.advance(time.Second)
	f.wantAlive(res)
	// A failure is no answer: it is asked again at once.
	f.clock.advance(time.Second)
	f.tailnet.set(func(ft *fakeTailnet) { ft.err = errTest })
	f.userinfo(res.AccessToken).wantUnavailable()
	f.tailnet.set(func(ft *fakeTailnet) { ft.err = nil })
	f.wantAlive(res)
}

// TestParallelRequestsAskOnce: a burst costs one question.
func TestParallelRequestsAskOnce(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada)
	f.clock.advance(time.Second)
	var before, after int
	f.tailnet.set(func(ft *fakeTailnet) { before = ft.asked })
	for _, r := range f.postAll(50, "/introspect", func(int) url.Values { return url.Values{"token": {res.AccessToken}} }, basicAuth("web", webSecret)...) {
		if r.json(200)["active"] != true {
			t.Errorf("answer %s", r.body)
		}
	}
	f.tailnet.set(func(ft *fakeTailnet) { after = ft.asked })
	if after-before != 1 {
		t.Errorf("50 requests ask %d times, want once", after-before)
	}
}

// A slowTailnet has its answer at once, and gives it when told.
type slowTailnet struct {
	*fakeTailnet
	gate chan struct{}
}

func (s *slowTailnet) WhoIs(ctx context.Context, addr string) (*apitype.WhoIsResponse, error) {
	res, err := s.fakeTailnet.WhoIs(ctx, addr)
	<-s.gate
	return res, err
}

// TestLateRequestAsksAgain: a request must not get the answer to a question
// that was asked long before it came.
func TestLateRequestAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tailnet, clock := newFakeTailnet(), &fakeClock{t: time.Now()}
		slow := &slowTailnet{tailnet, make(chan struct{})}
		d := &directory{tailnet: slow, now: clock.now, report: func(*identity, []ruleFault) {}, answers: make(map[netip.Addr]answer)}
		type result struct {
			id  identity
			err error
		}
		ask := func() chan result {
			ch := make(chan result, 1)
			go func() {
				id, err := d.identify(t.Context(), adm)
				ch <- result{id, err}
			}()
			synctest.Wait()
			return ch
		}
		first := ask()
		tailnet.edit(adm, func(res *apitype.WhoIsResponse) { setRules(res) })
		clock.advance(maxAnswerAge)
		second := ask()
		close(slow.gate)
		if r := <-first; r.err != nil || !r.id.rules.allowsAdmin() {
			t.Errorf("the first request: %v, administrator %t", r.err, r.id.rules.allowsAdmin())
		}
		if r := <-second; r.err != nil || r.id.rules.allowsAdmin() {
			t.Errorf("the second request: %v, administrator %t; want the rules of its own time", r.err, r.id.rules.allowsAdmin())
		}
	})
}
