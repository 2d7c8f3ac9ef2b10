// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
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
func (b *backend) Reject(format string, args ...any) error {
	return fail(codeInvalidRequest, format, args...)
}

// view shows c without its secrets.
func (c *client) view() admin.Client {
	return admin.Client{ClientMetadata: c.ClientMetadata, IssuedAt: c.CreatedAt.Unix(), Origin: c.Origin, Warnings: c.warnings()}
}

// Clients returns one page of clients.
func (b *backend) Clients(ctx context.Context, after string, limit int) (admin.ClientPage, error) {
	page, err := b.p.store.List(ctx, store.Query{Kind: kindClient, After: after, Limit: limit, Now: b.p.now()})
	if errors.Is(err, store.ErrPage) {
		return admin.ClientPage{}, fail(codeInvalidRequest, "after: must be the next of an earlier page")
	}
	if err != nil {
		return admin.ClientPage{}, storeError(err)
	}
	res := admin.ClientPage{Clients: make([]admin.Client, 0, len(page.Records)), Next: page.Next}
	for _, rec := range page.Records {
		c, err := decodeClient(rec)
		if err != nil {
			return admin.ClientPage{}, err
		}
		res.Clients = append(res.Clients, c.view())
	}
	return res, nil
}

// Client returns one client.
func (b *backend) Client(ctx context.Context, id string) (admin.Client, error) {
	c, err := b.p.clientByID(ctx, id)
	if err != nil {
		return admin.Client{}, notFoundOr(err, fail(codeNotFound, "there is no client with this id"))
	}
	return c.view(), nil
}

// CreateClient registers a client of an administrator.
func (b *backend) CreateClient(ctx context.Context, in admin.Client, now time.Time) (admin.Client, error) {
	c := &client{ClientMetadata: in.ClientMetadata, Origin: originAdministrator, CreatedAt: now.UTC()}
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
	b.p.log.Info("client created", "client", c.ID, "origin", c.Origin)
	v := c.view()
	if secret != "" {
		v.Secret, v.SecretExpiresAt = secret, new(int64)
	}
	return v, nil
}

// addSecret gives a client that authenticates by a secret its own: brought,
// or a new one.
func (c *client) addSecret(brought string, now time.Time) (string, error) {
	if c.public() || c.TokenEndpointAuthMethod == authPrivateKeyJWT {
		if brought != "" {
			return "", fail(codeInvalidClientMetadata, "client_secret: a client with token_endpoint_auth_method %s has none", c.TokenEndpointAuthMethod)
		}
		return "", nil
	}
	var s clientSecret
	switch {
	case brought == "":
		brought, s = newSecret(now)
	case len(brought) < minOwnSecret || len(brought) > 512 || strings.ContainsFunc(brought, func(r rune) bool { return r < 0x21 || r > 0x7e }):
		return "", fail(codeInvalidClientMetadata, "client_secret: want %d to 512 printable ASCII characters without blanks", minOwnSecret)
	default:
		s = hashSecret(brought, now)
	}
	c.Secrets = append(c.Secrets, s)
	return brought, nil
}

// DeleteClient removes a client, and with it, in one step, what was granted
// to it.
func (b *backend) DeleteClient(ctx context.Context, id string) error {
	if _, err := b.p.clientByID(ctx, id); err != nil {
		return notFoundOr(err, fail(codeNotFound, "there is no client with this id"))
	}
	if err := b.revokeClient(ctx, id, []store.Key{{Kind: kindClient, ID: id}, {Kind: kindPKCESeen, ID: id}}); err != nil {
		return err
	}
	b.p.log.Info("client deleted", "client", id)
	return nil
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
