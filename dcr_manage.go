// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"

	"github.com/tailscale/tsidp/store"
)

// Management of registrations (RFC 7592): a client reads, replaces and deletes
// itself at its registration_client_uri. The registration token alone says who
// asks, and is all that a request needs.

// maxRegistrationTokens bounds the tokens that are good at once.
const maxRegistrationTokens = 5

// addRegistrationToken makes the newest token. "If the authorization server
// includes a new registration access token ... the client MUST discard its
// previous" one (RFC 7592 section 2.1); but the answer with the new one may
// get lost, and then the previous one is all that the client has. So a token
// ends when a newer one is used, which shows that it has arrived.
func (c *client) addRegistrationToken(h store.Hash) {
	c.RegistrationTokens = append(slices.Clone(c.RegistrationTokens), h)
	if len(c.RegistrationTokens) > maxRegistrationTokens {
		// The first is the one that is known to have arrived, if any is.
		c.RegistrationTokens = slices.Delete(c.RegistrationTokens, 1, 2)
	}
}

// useRegistrationToken reports whether token is one of the client's, and ends
// older ones. Each is compared in constant time.
func (c *client) useRegistrationToken(token string) (ok, ended bool) {
	h := sha256.Sum256([]byte(token))
	at := -1
	for i, known := range c.RegistrationTokens {
		if subtle.ConstantTimeCompare(h[:], known[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return false, false
	}
	c.RegistrationTokens = slices.Clone(c.RegistrationTokens[at:])
	return true, at > 0
}

// registeredClient returns the client that token manages. ended says that
// older tokens have ended by that, which is to be written.
func (p *Provider) registeredClient(ctx context.Context, id, token string) (c *client, ended bool, err error) {
	const description = "the registration access token is not valid, or its client is gone: register again"
	invalid := fail(codeInvalidToken, description)
	invalid.challenge = bearerChallenge(codeInvalidToken, description, "")
	if isDocumentID(id) {
		return nil, false, invalid
	}
	c, err = p.clientByID(ctx, id)
	if err != nil {
		// "If the client does not exist on this server, the server MUST
		// respond with HTTP 401 Unauthorized" (RFC 7592 section 2.1).
		return nil, false, notFoundOr(err, invalid)
	}
	ok, ended := c.useRegistrationToken(token)
	if !ok {
		return nil, false, invalid
	}
	notes(ctx).noteClient(c, true)
	return c, ended, nil
}

// changeRegistration changes the client that token manages. If others change
// it at the same time, change is called again with what they have left: a
// change replaces everything, so the last one counts.
func (p *Provider) changeRegistration(ctx context.Context, id, token string, change func(*client) error) (*client, error) {
	for range maxRegistrationTries {
		c, _, err := p.registeredClient(ctx, id, token)
		if err != nil {
			return nil, err
		}
		if err := change(c); err != nil {
			return nil, err
		}
		switch err := p.putClient(ctx, c); {
		case err == nil:
			return c, nil
		case !errors.Is(err, store.ErrConflict):
			return nil, storeError(err)
		}
	}
	return nil, storeError(errors.New("changing registration: it changes all the time"))
}

// serveRegistration answers a read (RFC 7592 section 2.1). Secrets are kept as
// hashes, so none is in the answer.
func (p *Provider) serveRegistration(w http.ResponseWriter, r *http.Request) error {
	token, err := bearerToken(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	c, ended, err := p.registeredClient(r.Context(), id, token)
	if err == nil && ended {
		c, err = p.changeRegistration(r.Context(), id, token, func(*client) error { return nil })
	}
	if err != nil {
		return err
	}
	p.writeRegistration(w, http.StatusOK, c, "", token)
	return nil
}

// serveUpdateRegistration answers an update (RFC 7592 section 2.2), which
// replaces all that the client says of itself: "Omitted fields MUST be treated
// as null or empty values". The answer has a new registration token.
func (p *Provider) serveUpdateRegistration(w http.ResponseWriter, r *http.Request) error {
	token, err := bearerToken(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	// Before the body: an unknown caller learns nothing from it.
	if _, _, err := p.registeredClient(r.Context(), id, token); err != nil {
		return err
	}
	reg, err := readRegistration(r)
	if err != nil {
		return err
	}
	next, hash := newRegistrationToken()
	page := p.foreignPage(r)
	var secret string
	c, err := p.changeRegistration(r.Context(), id, token, func(c *client) (err error) {
		secret, err = p.updateRegistration(c, reg, page)
		c.addRegistrationToken(hash)
		return err
	})
	if err != nil {
		return err
	}
	p.audit(r.Context(), "client changed", AuditEvent{Event: eventClient, Client: c.ID}, "change", "replaced", "origin", c.Origin)
	p.writeRegistration(w, http.StatusOK, c, secret, next)
	return nil
}

// updateRegistration gives c other metadata. It returns the secret for the
// answer: a new one if the client had none and needs one now, or the one that
// it has shown.
func (p *Provider) updateRegistration(c *client, reg *registration, page string) (string, error) {
	if reg.ID != c.ID {
		return "", fail(codeInvalidClientMetadata, "client_id: must be that of the registration")
	}
	// "If the client includes the client_secret field in the request, the
	// value of this field MUST match the currently issued client secret".
	if reg.secret != "" && !c.checkSecret(reg.secret) {
		return "", fail(codeInvalidClientMetadata, "client_secret: is not that of the registration; leave it out")
	}
	if err := c.describe(reg, page); err != nil {
		return "", err
	}
	if err := p.checkAddresses(c); err != nil {
		return "", err
	}
	now := p.now().UTC()
	if !c.ExpiresAt.IsZero() {
		c.ExpiresAt = later(c.ExpiresAt, now.Add(newRegistration))
	}
	if m := c.TokenEndpointAuthMethod; m != authBasic && m != authPost {
		c.Secrets = nil // they must not come back with another method
		return "", nil
	}
	if len(c.Secrets) > 0 {
		return reg.secret, nil
	}
	return c.addSecret("", now)
}

// serveDeleteRegistration ends a client, and all that was granted to it (RFC
// 7592 section 2.3).
func (p *Provider) serveDeleteRegistration(w http.ResponseWriter, r *http.Request) error {
	token, err := bearerToken(r)
	if err != nil {
		return err
	}
	c, _, err := p.registeredClient(r.Context(), r.PathValue("id"), token)
	if err != nil {
		return err
	}
	remove := []store.Key{{Kind: kindClient, ID: c.ID}, {Kind: kindPKCESeen, ID: c.ID}}
	if err := (&backend{p}).revokeClient(r.Context(), c.ID, remove); err != nil {
		return err
	}
	p.audit(r.Context(), "client deleted", AuditEvent{Event: eventClient, Client: c.ID}, "change", "deleted", "origin", c.Origin)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
