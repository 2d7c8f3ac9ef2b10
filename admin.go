// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// backend is the administration's way to the provider.
type backend struct{ p *Provider }

var _ admin.Backend = (*backend)(nil)

// Reject makes the error for a request that cannot be read.
func (b *backend) Reject(field, format string, args ...any) error {
	if field == "" {
		return fail(codeInvalidRequest, format, args...)
	}
	return failAt(codeInvalidRequest, field, format, args...)
}

// view shows c without its secrets.
func (c *client) view() admin.Client {
	v := admin.Client{ClientMetadata: c.ClientMetadata, IssuedAt: c.CreatedAt.Unix(), Origin: c.Origin, Warnings: c.warnings(), ETag: c.etag()}
	for _, s := range c.Secrets {
		v.Secrets = append(v.Secrets, s.view())
	}
	if !c.UsedAt.IsZero() {
		v.UsedAt = new(c.UsedAt)
	}
	if !c.ExpiresAt.IsZero() {
		v.ExpiresAt = new(c.ExpiresAt)
	}
	if o := c.Owner; o != nil {
		v.Owner = &admin.Owner{Subject: o.Subject, Login: o.Login, Node: string(o.Node), NodeName: o.Name}
	}
	return v
}

// viewNew is view with a secret that was just made; empty for none.
func (c *client) viewNew(secret string) admin.Client {
	v := c.view()
	if secret != "" {
		v.Secret, v.SecretExpiresAt = secret, new(int64)
	}
	return v
}

func (s *clientSecret) view() admin.Secret {
	return admin.Secret{ID: s.ID, CreatedAt: s.CreatedAt.UTC()}
}

// etag names what c is now. When it was used is no part of that: an
// administrator at work must not be told that somebody else has changed it. A
// client that is made anew under an old id has another one.
func (c *client) etag() string {
	is := *c
	is.UsedAt, is.ExpiresAt = time.Time{}, time.Time{}
	data, err := json.Marshal(is)
	if err != nil { // our own types always marshal
		panic(fmt.Sprintf("marshalling client: %v", err))
	}
	sum := sha256.Sum256(data)
	return fmt.Sprintf(`"%x"`, sum[:12])
}

// Client returns one client.
func (b *backend) Client(ctx context.Context, id string) (admin.Client, error) {
	c, err := b.p.clientByID(ctx, id)
	if err != nil {
		return admin.Client{}, notFoundOr(err, fail(codeNotFound, "%s", errNoClient))
	}
	return c.view(), nil
}

// CreateClient registers a client of an administrator.
func (b *backend) CreateClient(ctx context.Context, in admin.Client, now time.Time) (admin.Client, error) {
	c := &client{ClientMetadata: in.ClientMetadata, Origin: originAdministrator, CreatedAt: now.UTC()}
	if in.Origin != "" && in.Origin != c.Origin {
		return admin.Client{}, failAt(codeInvalidRequest, "origin", "is %s for clients that are made here", c.Origin)
	}
	if c.ID == "" {
		c.ID = newID()
	}
	if err := b.p.validateClient(c, oauth.AdministratorRedirects); err != nil {
		return admin.Client{}, err
	}
	secret, err := c.addSecret(in.Secret, now)
	if err != nil {
		return admin.Client{}, err
	}
	if err := b.p.createClient(ctx, c); err != nil {
		return admin.Client{}, err
	}
	b.p.audit(ctx, "client created", AuditEvent{Event: eventClient, Client: c.ID}, "change", "created", "origin", c.Origin)
	return c.viewNew(secret), nil
}

// addSecret gives a client that authenticates by a secret its own: brought,
// or a new one.
func (c *client) addSecret(brought string, now time.Time) (string, error) {
	if c.public() || c.TokenEndpointAuthMethod == authPrivateKeyJWT {
		if brought != "" {
			return "", failAt(codeInvalidClientMetadata, "client_secret", "a client with token_endpoint_auth_method %s has none", c.TokenEndpointAuthMethod)
		}
		return "", nil
	}
	var s clientSecret
	switch {
	case brought == "":
		brought, s = newSecret(now)
	case len(brought) < minOwnSecret || len(brought) > 512 || strings.ContainsFunc(brought, func(r rune) bool { return r < 0x21 || r > 0x7e }):
		return "", failAt(codeInvalidClientMetadata, "client_secret", "want %d to 512 printable ASCII characters without blanks", minOwnSecret)
	default:
		s = hashSecret(brought, now)
	}
	c.Secrets = append(c.Secrets, s)
	return brought, nil
}

// revokeClient kills the grants of a client and stops its codes in flight.
func (b *backend) revokeClient(ctx context.Context, id string, remove []store.Key) error {
	_, err := b.p.store.Revoke(ctx, store.Revocation{
		Select: store.Selector{Index: map[string]string{indexClient: id}},
		Reason: "client_deleted", Now: b.p.now(), KeepFor: deadFor, Delete: remove,
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return storeError(err)
	}
	return nil
}
