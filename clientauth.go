// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// Client authentication (RFC 6749 section 2.3) comes before everything else
// at the token endpoint: nothing that a request presents is looked at, let
// alone consumed, before its sender has proved to be the client.

// credentials are what a request presents to authenticate a client.
type credentials struct {
	id     string
	secret string
	// raw is another reading of secret: many applications do not encode what
	// Basic wants encoded (C08).
	raw       string
	assertion string // not verified yet
	method    string // authBasic, authPost, authPrivateKeyJWT, or authNone
}

// errClient is the answer to a failed authentication. Ids are no secret, so it
// tells the developer of the client what is wrong.
func errClient(description string) *protocolError {
	return fail(codeInvalidClient, "%s", description)
}

// parseCredentials reads the credentials of a request, which may come in the
// Authorization header or in the body, and in both only if they are equal:
// many applications send both (C08).
func parseCredentials(header http.Header, f *form) (credentials, error) {
	if len(header.Values("Authorization")) > 1 {
		return credentials{}, fail(codeInvalidRequest, "more than one Authorization header")
	}
	if f.get("client_assertion") != "" || f.get("client_assertion_type") != "" {
		return parseAssertionCredentials(header, f)
	}
	bodyID, bodySecret := f.get("client_id"), f.get("client_secret")
	basic, present, err := oauth.ParseBasic(header.Get("Authorization"))
	switch {
	case err != nil:
		return credentials{}, errClient("the Basic credentials cannot be read: form-urlencode id and secret, join them by a colon, then base64").because(err)
	case !present && header.Get("Authorization") != "":
		return credentials{}, errClient("clients authenticate by the Basic scheme or in the body")
	case !present && bodyID == "" && bodySecret != "":
		return credentials{}, errClient("client_id is missing")
	case !present && bodySecret == "":
		return credentials{id: bodyID, method: authNone}, nil
	case !present:
		return credentials{id: bodyID, secret: bodySecret, method: authPost}, nil
	// "The client MUST NOT use more than one authentication method in each
	// request" (RFC 6749 section 2.3). Equal ones are one.
	case bodyID != "" && bodyID != basic.ID, bodySecret != "" && bodySecret != basic.Secret && bodySecret != basic.Raw:
		return credentials{}, fail(codeInvalidRequest, "the Authorization header and the body name different clients or secrets")
	case bodySecret != "": // which says how the header is to be read
		return credentials{id: basic.ID, secret: bodySecret, method: authBasic}, nil
	}
	return credentials{id: basic.ID, secret: basic.Secret, raw: basic.Raw, method: authBasic}, nil
}

// authenticateClient returns the client that sent the request.
func (p *Provider) authenticateClient(r *http.Request, f *form) (*client, error) {
	cred, err := parseCredentials(r.Header, f)
	if err != nil {
		return nil, err
	}
	key := failureKey(r.Context(), cred.id)
	if err := p.mayFail(key); err != nil {
		return nil, err
	}
	c, err := p.provenClient(p.withCaller(r), cred)
	p.noteFailure(key, err)
	if err == nil {
		notes(r.Context()).noteClient(c, !c.public())
	}
	return c, err
}

// provenClient returns the client that cred belong to.
func (p *Provider) provenClient(ctx context.Context, cred credentials) (*client, error) {
	if isNodeID(cred.id) {
		return p.authenticateNode(ctx, cred)
	}
	c, err := p.clientToUse(ctx, cred.id)
	if errors.Is(err, store.ErrNotFound) {
		// 401 also for public clients: agents register again when they read
		// it, and are stuck with anything else (C12).
		return nil, errClient("no client with this id and these credentials; if its registration was removed, register again")
	}
	if err != nil {
		return nil, storeError(err)
	}
	c.method = cred.method
	if err := c.authenticate(cred); err != nil {
		return nil, err
	}
	if cred.method == authPrivateKeyJWT {
		if err := p.checkAssertion(ctx, c, cred.assertion); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// isNodeID reports whether a client without a registration is meant: a node,
// which need not even name itself. No other client's id begins so; see
// validateID.
func isNodeID(id string) bool { return id == "" || strings.HasPrefix(id, "node:") }

// authenticateNode returns the tagged node that sends the request, as a
// client.
func (p *Provider) authenticateNode(ctx context.Context, cred credentials) (*client, error) {
	if cred.method != authNone {
		return nil, errClient("a node authenticates by being one, and has no secret")
	}
	c, err := p.nodeClient(ctx, cred.id)
	switch {
	case err != nil:
		return nil, err
	case c == nil && cred.id == "":
		return nil, errClient("client_id is missing (only a tagged node that asks over the tailnet needs none)")
	case c == nil:
		return nil, errClient("the request does not come from this node over the tailnet")
	}
	return c, nil
}

// authenticate checks cred against what the client registered, all but an
// assertion.
func (c *client) authenticate(cred credentials) error {
	byAssertion := c.TokenEndpointAuthMethod == authPrivateKeyJWT
	switch {
	case byAssertion && cred.method != authPrivateKeyJWT:
		return errClient("this client is registered for private_key_jwt; send client_assertion, and no secret")
	case !byAssertion && cred.method == authPrivateKeyJWT:
		return errClient("this client is not registered for private_key_jwt")
	case byAssertion:
		return nil
	case c.public() && cred.secret != "":
		return errClient("this client is registered without a secret; send client_id alone")
	case c.public():
		return nil
	case cred.secret == "":
		return errClient("this client must authenticate with its secret")
	case c.AuthMethodStrict && cred.method != c.TokenEndpointAuthMethod:
		return errClient("this client is registered for another authentication method")
	case !c.checkSecret(cred.secret, cred.raw):
		return errClient("no client with this id and these credentials; if its registration was removed, register again")
	}
	return nil
}
