// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/store"
)

// TestManageRegistration: read, replace, delete, with the token and nothing
// else.
func TestManageRegistration(t *testing.T) {
	f := newFixture(t)
	r := f.register(adm, registrationOf("contacts", []string{"a@example.com"}))
	c := r.registration(201)
	f.clock.advance(time.Second)
	f.allow(adm) // the capability is for registering
	if diff := cmp.Diff(r.json(201), f.manage("GET", c).json(200)); diff != "" {
		t.Errorf("read (-registered +read):\n%s", diff)
	}
	tokens := f.loginTo(c)
	r = f.manage("PUT", c, "client_id", c.ID, "client_name", "Agent 2", "redirect_uris", []string{"http://127.0.0.1/new"},
		"registration_access_token", c.Token, "registration_client_uri", c.URI, "client_id_issued_at", 1)
	next := r.registration(200)
	if next.ID != c.ID || next.Token == c.Token || next.IssuedAt != c.IssuedAt || next.Name != "Agent 2" || next.Contacts != nil {
		t.Errorf("answer %s", r.body)
	}
	if diff := cmp.Diff(r.json(200), f.manage("GET", next).json(200)); diff != "" {
		t.Errorf("read after the change (-answer +read):\n%s", diff)
	}
	f.authorize(ada, forClient(c)...).page(400) // the old address
	tokens = f.refreshFor(c, tokens.RefreshToken).tokens()
	if page := f.browser(ada).login(forClient(next)...).page(200); !strings.Contains(page, "Agent 2") {
		t.Error("nobody is asked about the new name and address")
	}

	r = f.manage("DELETE", next)
	if r.status != 204 || r.body != "" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("deleting answers %d %s", r.status, r.body)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		f.manage(method, next, "client_id", c.ID).wantUnmanaged()
	}
	// C12: all at once, and in words that agents and people understand.
	f.refreshFor(c, tokens.RefreshToken).wantError(401, "invalid_client")
	f.userinfo(tokens.AccessToken).wantChallenge(401, "invalid_token")
	f.wantInactive("web", tokens.AccessToken)
	if page := f.authorize(ada, forClient(next)...).page(400); !strings.Contains(page, "its registration has been removed") {
		t.Errorf("page %s", withoutStyle(page))
	}
}

// TestDeleteRegistrationInFlight: a code that is out dies with the client,
// also when the same agent registers again at once.
func TestDeleteRegistrationInFlight(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	b := f.browser(ada)
	tokens, code := f.loginTo(c), b.login(forClient(c)...).redirect().Get("code")
	f.manage("DELETE", c)
	f.redeemFor(c, code).wantError(401, "invalid_client")
	again := f.registered(adm)
	f.redeemFor(again, code).wantError(400, "invalid_grant")
	f.refreshFor(again, tokens.RefreshToken).wantError(400, "invalid_grant")
	f.userinfo(tokens.AccessToken).wantChallenge(401, "invalid_token")
	f.loginTo(again)
}

// TestRegistrationToken: who has no token, or that of another client, learns
// that it is none.
func TestRegistrationToken(t *testing.T) {
	f := newFixture(t)
	c, other := f.registered(adm), f.registered(adm, "client_name", "Other")
	for name, r := range map[string]*reply{
		"of another client":     f.manageBy("GET", c.ID, other.Token),
		"invented":              f.manageBy("GET", c.ID, strings.Repeat("A", 43)),
		"a client secret":       f.manageBy("GET", "web", webSecret),
		"an access token":       f.manageBy("GET", c.ID, f.loginTo(c).AccessToken),
		"of an unknown client":  f.manageBy("GET", "nobody", c.Token),
		"of a document":         f.manageBy("GET", "https:%2F%2Fa.example%2Fclient.json", c.Token),
		"of an overlong client": f.manageBy("GET", strings.Repeat("x", 2000), c.Token),
		"PUT":                   f.manageBy("PUT", c.ID, other.Token, "client_id", c.ID),
		"DELETE":                f.manageBy("DELETE", c.ID, other.Token),
	} {
		r.t = named{t, name}
		r.wantUnmanaged()
	}
	// Without one, a bare challenge (RFC 6750 section 3).
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		r := f.do(adm, method, "/register/"+c.ID, "", "")
		r.wantError(401, "invalid_token")
		if h := r.header.Get("WWW-Authenticate"); !strings.HasPrefix(h, "Bearer ") || strings.Contains(h, "error") {
			t.Errorf("%s without a token: WWW-Authenticate %q", method, h)
		}
	}
	f.do(adm, "GET", "/register/"+c.ID+"?access_token="+c.Token, "", "").wantError(400, "invalid_request")
	f.do(adm, "GET", "/register/"+c.ID, "", "", "Authorization", "Basic "+c.Token).wantError(400, "invalid_request")
	f.manage("GET", c).registration(200)
}

// TestRegistrationTokenRotation: a change brings a new token; the one before
// it is good until the new one is used, for its answer may have been lost.
func TestRegistrationTokenRotation(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	put := func(token string) registrationResponse {
		t.Helper()
		return f.manageBy("PUT", c.ID, token, "client_id", c.ID).registration(200)
	}
	lost := put(c.Token)
	second := put(c.Token)
	f.manageBy("GET", c.ID, c.Token).registration(200)
	f.manageBy("GET", c.ID, second.Token).registration(200)
	for _, old := range []string{c.Token, lost.Token} {
		f.manageBy("GET", c.ID, old).wantUnmanaged()
		f.manageBy("DELETE", c.ID, old).wantUnmanaged()
	}
	third := put(second.Token)
	fourth := put(third.Token)
	f.manageBy("GET", c.ID, second.Token).wantUnmanaged()
	f.manageBy("GET", c.ID, third.Token).registration(200)
	// However many answers are lost, the token in use stays good.
	for range 3 * maxRegistrationTokens {
		put(fourth.Token)
	}
	// A refused change changes no token.
	f.manageBy("PUT", c.ID, fourth.Token, "client_id", "other").wantError(400, "invalid_client_metadata")
	put(fourth.Token)
}

// TestUpdateRegistration: a change is a whole replacement by what a
// registration may say.
func TestUpdateRegistration(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	for name, tt := range map[string]struct {
		change []any
		code   string
	}{
		"no client_id":     {nil, "invalid_client_metadata"},
		"other client_id":  {[]any{"client_id", "web"}, "invalid_client_metadata"},
		"secret":           {[]any{"client_id", c.ID, "client_secret", webSecret}, "invalid_client_metadata"},
		"redirect URI":     {[]any{"client_id", c.ID, "redirect_uris", []string{"http://a.example/"}}, "invalid_redirect_uri"},
		"no redirect URIs": {[]any{"client_id", c.ID, "redirect_uris", nil}, "invalid_redirect_uri"},
		"wrong type":       {[]any{"client_id", 7}, "invalid_client_metadata"},
	} {
		r := f.manage("PUT", c, tt.change...)
		r.t = named{t, name}
		r.wantError(400, tt.code)
	}
	f.do(netip.Addr{}, "PUT", "/register/"+c.ID, "text/plain", registrationOf("client_id", c.ID), "Authorization", "Bearer "+c.Token).wantError(400, "invalid_client_metadata")
	if got := f.manage("GET", c).registration(200); got.Name != "Agent" {
		t.Errorf("a refused change has changed it: %+v", got)
	}

	// From public to confidential and back.
	withSecret := f.manage("PUT", c, "client_id", c.ID, "token_endpoint_auth_method", "client_secret_basic").registration(200)
	if len(withSecret.Secret) != 64 {
		t.Fatalf("secret %q", withSecret.Secret)
	}
	same := f.manage("PUT", withSecret, "client_id", c.ID, "token_endpoint_auth_method", "client_secret_post", "client_secret", withSecret.Secret).registration(200)
	if same.Secret != withSecret.Secret {
		t.Errorf("secret %q, want that of before", same.Secret)
	}
	f.manage("PUT", same, "client_id", c.ID, "token_endpoint_auth_method", "client_secret_post", "client_secret", webSecret).wantError(400, "invalid_client_metadata")
	silent := f.manage("PUT", same, "client_id", c.ID, "token_endpoint_auth_method", "client_secret_post").registration(200)
	if silent.Secret != "" {
		t.Errorf("secret %q", silent.Secret)
	}
	public := f.manage("PUT", silent, "client_id", c.ID).registration(200)
	if again := f.manage("PUT", public, "client_id", c.ID, "token_endpoint_auth_method", nil).registration(200); again.Secret == "" || again.Secret == withSecret.Secret {
		t.Errorf("secret %q after having been public, want a new one", again.Secret)
	}
}

// TestUpdateRegistrationAtOnce: of several changes at one time each is whole,
// none is refused, and the token that they came with stays good.
func TestUpdateRegistrationAtOnce(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	names := []string{"A", "B", "C"}
	answers := map[string]registrationResponse{}
	for i, r := range atOnce(len(names), func(i int) *reply {
		return f.manage("PUT", c, "client_id", c.ID, "client_name", names[i], "software_id", names[i])
	}) {
		res := r.registration(200)
		if res.Name != names[i] || res.SoftwareID != names[i] {
			t.Errorf("answer %s", r.body)
		}
		answers[res.Token] = res
	}
	got := f.manage("GET", c).registration(200)
	if got.Name != got.SoftwareID {
		t.Errorf("a mixture of changes: %+v", got)
	}
	stored, err := f.p.clientByID(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	for token := range answers {
		if ok, _ := (&client{RegistrationTokens: stored.RegistrationTokens}).useRegistrationToken(token); !ok {
			t.Error("a token that was handed out is not good")
		}
	}
	// A change and a deletion: whichever is first, the client is gone.
	atOnce(2, func(i int) *reply {
		if i == 0 {
			return f.manage("DELETE", c)
		}
		return f.manage("PUT", c, "client_id", c.ID)
	})
	f.manage("GET", c).wantUnmanaged()
	if n := f.clientCount(); n != 0 {
		t.Errorf("%d clients, want none", n)
	}
}

// TestRegistrationExpiresInStore: the record has the end of the client, so
// that it is removed by itself, and its owner as index.
func TestRegistrationExpiresInStore(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	rec, err := f.store.Get(t.Context(), kindClient, c.ID, f.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	if !rec.ExpiresAt.Equal(f.clock.now().Add(newRegistration)) || rec.Index[indexOwner] != "n1003CNTRL" {
		t.Errorf("record expires at %v, index %v", rec.ExpiresAt, rec.Index)
	}
	f.clock.advance(newRegistration)
	f.p.expire(t.Context())
	page, err := f.store.List(t.Context(), store.Query{Kind: kindClient, Now: rec.CreatedAt})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Records {
		if r.ID == c.ID {
			t.Error("the record is still there")
		}
	}
}
