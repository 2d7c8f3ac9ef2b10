// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tailscale/tsidp/store"
)

// serveRevoke is the revocation endpoint (RFC 7009). Revoking any token of a
// grant revokes the grant: what hangs from one login ends together. "If the
// particular token is ... invalid ... the authorization server responds with
// HTTP status code 200" (section 2.2): the client wants it gone, and it is.
func (p *Provider) serveRevoke(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r)
	if err != nil {
		return err
	}
	c, err := p.authenticateClient(r, f)
	if err != nil {
		return err
	}
	token := f.get("token")
	if token == "" {
		return fail(codeInvalidRequest, "token is missing")
	}
	t, err := p.revocableToken(r, token)
	switch {
	case errors.Is(err, errInactive):
		w.WriteHeader(http.StatusOK)
		return nil
	case err != nil:
		return err
	case t.clientID != c.ID:
		// "The authorization server ... verifies whether the token was issued
		// to the client making the revocation request. If this validation
		// fails, the request is refused" (section 2.1).
		return fail(codeInvalidGrant, "the token was issued to another client")
	}
	if err := p.revoke(r.Context(), t); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// A revocableToken is one that its client may end.
type revocableToken struct {
	grantID  string
	clientID string // which it was issued to
	// Of an access token.
	id      string
	expires time.Time
}

// revoke ends the login that the token belongs to, or, if that is another
// client's and the token was exchanged from it, the token alone.
func (p *Provider) revoke(ctx context.Context, t revocableToken) error {
	a, err := p.storage.liveGrant(ctx, t.grantID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return storeError(err)
	case a.clientID == t.clientID:
		return p.storage.killGrant(ctx, t.grantID, "revoked_by_client")
	}
	now := p.now()
	_, err = p.store.Put(ctx, store.Record{Kind: kindRevokedToken, ID: t.id, CreatedAt: now, ExpiresAt: t.expires.Add(clockSkew)}, now)
	if err != nil && !errors.Is(err, store.ErrConflict) { // it is revoked already
		return storeError(err)
	}
	return nil
}

// kindRevokedToken is the kind of records of exchanged tokens that were
// revoked by themselves. Their ID is the jti.
const kindRevokedToken store.Kind = "revoked-token"

// revocableToken finds what a token is. It returns errInactive for what is
// none of ours, or has expired.
func (p *Provider) revocableToken(r *http.Request, token string) (revocableToken, error) {
	if len(token) == refreshTokenLen {
		rt, err := p.storage.refreshToken(r.Context(), token)
		if err != nil {
			if asProtocolError(err).status() >= 500 {
				return revocableToken{}, err
			}
			return revocableToken{}, inactive(err)
		}
		return revocableToken{grantID: rt.grantID, clientID: rt.clientID}, nil
	}
	t, err := p.parseAccessToken(r.Context(), token)
	if err != nil {
		return revocableToken{}, err
	}
	id, ok := grantOf(t.claims.ID)
	if !ok {
		return revocableToken{}, inactive(errors.New("token without a grant"))
	}
	return revocableToken{id, t.claims.ClientID, t.claims.ID, t.claims.Expiry.Time()}, nil
}
