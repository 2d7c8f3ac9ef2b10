// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// serveUserinfo is the UserInfo endpoint (OpenID Connect Core section 5.3).
// It finds and verifies the access token; the engine's route then answers
// through opServer.UserInfo.
func (p *Provider) serveUserinfo(w http.ResponseWriter, r *http.Request) error {
	token, err := bearerToken(r)
	if err != nil {
		return err
	}
	t, err := p.userinfoToken(r, token)
	if errors.Is(err, errInactive) {
		const description = "the access token is not valid, has expired or has been revoked"
		e := fail(codeInvalidToken, description).because(err)
		e.challenge = bearerChallenge(codeInvalidToken, description, "")
		return e
	}
	if err != nil {
		return err
	}
	r = r.Clone(withToken(r.Context(), t))
	r.Header.Set("Authorization", "Bearer "+token) // it may have come in the body
	p.engine.ServeHTTP(w, r)
	return nil
}

func (p *Provider) userinfoToken(r *http.Request, token string) (*verifiedToken, error) {
	t, err := p.parseAccessToken(r.Context(), token)
	if err != nil {
		return nil, err
	}
	if err := p.verifyAccessToken(r.Context(), actUserinfo, t); err != nil {
		return nil, err
	}
	if t.client.Imported {
		n := newNaming(p.cfg.EmailVerified, t.who.tailnet.name)
		t.userClaims = importedUserinfo(&t.who, n, p.hostname)
		t.userClaims.with(mappedClaims(t.client.Claims, &t.who, n))
		t.addRuleClaims()
		return t, nil
	}
	// "The resource server MUST validate that the aud claim contains a
	// resource indicator value corresponding to an identifier the resource
	// server expects for itself" (RFC 9068 section 4): a server that a token
	// was meant for must not be able to read more with it here.
	if !t.isFor(p.issuer) {
		description := "this access token is for another resource; ask for the resource " + p.issuer + " beside it"
		e := fail(codeInvalidToken, "%s", description)
		e.challenge = bearerChallenge(codeInvalidToken, description, "")
		return nil, e
	}
	if !slices.Contains(t.scopes, scopeOpenID) {
		const description = "userinfo needs the scope openid"
		e := fail(codeInsufficientScope, description)
		e.challenge = bearerChallenge(codeInsufficientScope, description, scopeOpenID)
		return nil, e
	}
	return t, nil
}

// bearerToken finds the token of a request: in the header (RFC 6750 section
// 2.1) or in a form body (section 2.2), never in the URL, and "Clients MUST
// NOT use more than one method".
func bearerToken(r *http.Request) (string, error) {
	bad := func(description string) error {
		e := fail(codeInvalidRequest, "%s", description)
		e.challenge = bearerChallenge(codeInvalidRequest, description, "")
		return e
	}
	if r.URL.RawQuery != "" {
		return "", bad("parameters belong in the header or body, not in the URL")
	}
	header := r.Header.Values("Authorization")
	if len(header) > 1 {
		return "", bad("more than one Authorization header")
	}
	var fromHeader, fromBody string
	if len(header) == 1 {
		scheme, rest, _ := strings.Cut(header[0], " ")
		if !strings.EqualFold(scheme, "Bearer") || rest == "" {
			return "", bad("the Authorization header must be: Bearer TOKEN")
		}
		fromHeader = strings.TrimLeft(rest, " ")
	}
	// A body of any other type has no token in it; HTTP libraries send {}
	// beside the header.
	if r.Method == http.MethodPost && hasForm(r) {
		f, err := parseForm(r)
		if err != nil {
			return "", err
		}
		fromBody = f.get("access_token")
	}
	switch {
	case fromHeader != "" && fromBody != "":
		return "", bad("the access token came twice, in the header and in the body")
	case fromHeader == "" && fromBody == "":
		// "If the request lacks any authentication information ... SHOULD NOT
		// include an error code" in the challenge (RFC 6750 section 3.1).
		e := fail(codeInvalidToken, "an access token is needed")
		e.challenge = bearerChallenge("", "", "")
		return "", e
	}
	return fromHeader + fromBody, nil
}
