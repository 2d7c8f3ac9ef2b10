// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"net/http"
	"strings"
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
	c, err := p.authenticateClient(r.Context(), r.Header, f)
	if err != nil {
		return err
	}
	token := f.get("token")
	if token == "" {
		return fail(codeInvalidRequest, "token is missing")
	}
	grantID, owner, err := p.grantOfToken(r, token)
	switch {
	case errors.Is(err, errInactive):
		w.WriteHeader(http.StatusOK)
		return nil
	case err != nil:
		return err
	case owner != c.ID:
		// "The authorization server ... verifies whether the token was issued
		// to the client making the revocation request. If this validation
		// fails, the request is refused" (section 2.1).
		return fail(codeInvalidGrant, "the token was issued to another client")
	}
	if err := p.storage.killGrant(r.Context(), grantID, "revoked_by_client"); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// grantOfToken finds the grant that a token hangs from, and the client that
// it was issued to. It returns errInactive for what is no token of ours, or
// has expired.
func (p *Provider) grantOfToken(r *http.Request, token string) (grantID, clientID string, err error) {
	if strings.Count(token, ".") == 2 {
		t, err := p.parseAccessToken(r.Context(), token)
		if err != nil {
			return "", "", err
		}
		id, ok := grantOf(t.claims.ID)
		if !ok {
			return "", "", inactive(errors.New("token without a grant"))
		}
		return id, t.claims.ClientID, nil
	}
	rt, err := p.storage.refreshToken(r.Context(), token)
	if err != nil {
		if asProtocolError(err).status() >= 500 {
			return "", "", err
		}
		return "", "", inactive(err)
	}
	return rt.grantID, rt.clientID, nil
}
