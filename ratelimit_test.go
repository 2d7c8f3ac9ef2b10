// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// fail sends a request of client web with a wrong secret.
func (f *fixture) failAt(as netip.Addr, path string) *reply {
	f.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "token": {"x"}}
	return f.do(as, "POST", path, "application/x-www-form-urlencoded", form.Encode(), basicAuth("web", "wrong"+webSecret)...)
}

// TestFailuresAreLimited: whoever guesses is slowed down, and nobody else.
func TestFailuresAreLimited(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada)
	paths := []string{"/token", "/introspect", "/revoke"}
	for i := range maxFailures {
		f.failAt(gus, paths[i%len(paths)]).wantError(401, "invalid_client")
	}
	for _, path := range paths {
		r := f.failAt(gus, path)
		r.wantError(429, "too_many_requests")
		if wait, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	// The client itself asks from elsewhere.
	ask := func(as netip.Addr) *reply {
		t.Helper()
		form := url.Values{"token": {token.AccessToken}}
		return f.do(as, "POST", "/introspect", "application/x-www-form-urlencoded", form.Encode(), basicAuth("web", webSecret)...)
	}
	for _, as := range []netip.Addr{ada, {}} {
		if ask(as).json(200)["active"] != true {
			t.Errorf("%v: not active", as)
		}
	}
	ask(gus).wantError(429, "too_many_requests")
	// Another client on the guesser's node is not affected.
	f.do(gus, "POST", "/introspect", "application/x-www-form-urlencoded", "token=x", basicAuth("rs", webSecret)...).json(200)
	f.clock.advance(failureWindow)
	ask(gus).json(200)
}

// TestInvalidGrantsAreLimited: codes and refresh tokens cannot be tried at
// will either.
func TestInvalidGrantsAreLimited(t *testing.T) {
	f := newFixture(t)
	code := f.code(ada)
	try := func(code string) *reply {
		form := codeForm(code)
		return f.do(gus, "POST", "/token", "application/x-www-form-urlencoded", form.Encode(), basicAuth("web", webSecret)...)
	}
	for range maxFailures {
		try("x").wantError(400, "invalid_grant")
	}
	try(code).wantError(429, "too_many_requests")
	f.redeem(code).tokens() // nothing was consumed
}

// TestNobodyInParticular: from a proxy or this machine everybody comes with
// one address; a limit would let one lock out all.
func TestNobodyInParticular(t *testing.T) {
	f := newFixture(t)
	for range maxFailures + 1 {
		f.failAt(netip.Addr{}, "/token").wantError(401, "invalid_client")
	}
	for _, tt := range []struct {
		p    peer
		want string
	}{
		{peer{addr: netip.MustParseAddr("100.64.0.1")}, "100.64.0.1 c"},
		{peer{addr: netip.MustParseAddr("fd7a:115c:a1e0::1")}, "fd7a:115c:a1e0::1 c"},
		{peer{addr: netip.MustParseAddr("127.0.0.1")}, ""},
		{peer{addr: netip.MustParseAddr("192.168.1.1")}, ""},
		{peer{public: true}, ""},
		{peer{public: true, unix: true}, ""},
		{peer{public: true, source: netip.MustParseAddr("203.0.113.9")}, "203.0.113.9 c"},
		{peer{public: true, source: netip.MustParseAddr("2001:db8:1:2:3:4:5:6")}, "2001:db8:1:2:: c"},
		{peer{public: true, addr: netip.MustParseAddr("100.64.0.1")}, ""}, // a relay's
	} {
		if tt.want != "" {
			tt.want = strings.TrimSuffix(tt.want, "c") + "2e7d2c03a9507ae2"
		}
		if got := failureKey(context.WithValue(t.Context(), peerKey{}, tt.p), "c"); got != tt.want {
			t.Errorf("%+v: key %q, want %q", tt.p, got, tt.want)
		}
	}
}
