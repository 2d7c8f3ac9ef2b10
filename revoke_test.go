// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/url"
	"testing"
)

// revoke asks for the end of a token as a confidential client.
func (f *fixture) revoke(id, token string, change ...string) *reply {
	f.t.Helper()
	return f.post("/revoke", edited(url.Values{"token": {token}}, change), basicAuth(id, webSecret)...)
}

// TestRevoke: whichever token of a login is revoked, all of it ends at once.
func TestRevoke(t *testing.T) {
	for name, pick := range map[string]func(tokenResponse) string{
		"access token":  func(r tokenResponse) string { return r.AccessToken },
		"refresh token": func(r tokenResponse) string { return r.RefreshToken },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			mine, other := f.login(ada), f.login(ada)
			if r := f.revoke("web", pick(mine), "token_type_hint", "wrong"); r.status != 200 || r.body != "" {
				t.Fatalf("answer %d %q", r.status, r.body)
			}
			if r := f.userinfo(mine.AccessToken); r.status != 401 {
				t.Errorf("userinfo still answers %d", r.status)
			}
			f.refresh(mine.RefreshToken).wantError(400, "invalid_grant")
			f.refresh(other.RefreshToken).tokens() // another login is another's

			// Once more, and rubbish: it is gone, which is what was wanted.
			for _, token := range []string{pick(mine), "rubbish", "a.b.c", mine.IDToken} {
				if r := f.revoke("web", token); r.status != 200 {
					t.Errorf("revoking %.10s…: %d %s", token, r.status, r.body)
				}
			}
			f.refresh(f.login(ada).RefreshToken).tokens()
		})
	}
}

// TestRevokeRefused: nobody ends the logins of others.
func TestRevokeRefused(t *testing.T) {
	f := newFixture(t)
	mine := f.login(ada)
	for _, token := range []string{mine.AccessToken, mine.RefreshToken} {
		f.revoke("rs", token).wantError(400, "invalid_grant")
		f.post("/revoke", url.Values{"token": {token}}, basicAuth("web", "wrong")...).wantError(401, "invalid_client")
		f.post("/revoke", url.Values{"token": {token}, "client_id": {"web"}}).wantError(401, "invalid_client")
	}
	f.post("/revoke", url.Values{}, basicAuth("web", webSecret)...).wantError(400, "invalid_request")
	f.refresh(mine.RefreshToken).tokens()
}

// TestRevokePublic: a public client revokes by its id alone.
func TestRevokePublic(t *testing.T) {
	f := newFixture(t)
	mine := f.redeemPub(f.code(ada, forPub()...)).tokens()
	if r := f.post("/revoke", url.Values{"token": {mine.RefreshToken}, "client_id": {"pub"}}); r.status != 200 {
		t.Fatalf("answer %d %s", r.status, r.body)
	}
	if r := f.userinfo(mine.AccessToken); r.status != 401 {
		t.Errorf("userinfo still answers %d", r.status)
	}
}
