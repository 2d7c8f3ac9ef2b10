// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// How administrators search and change clients.

const (
	// maxSecrets is how many live secrets a client may have: the one in use,
	// the one it is rotated to, and room for a mistake.
	maxSecrets = 3
	// searchPage is how many clients a search reads at a time, searchMost how
	// many it looks at before it answers with what it has.
	searchPage = 500
	searchMost = 5000
	// maxUpdateTries bounds how often a change is made again because another
	// one came in between.
	maxUpdateTries = 64
)

const errNoClient = "there is no client with this id"

// Clients returns one page of clients.
//
// The Next of a page names the store's page it ended in and, if it ended
// within that, the last id that was looked at.
func (b *backend) Clients(ctx context.Context, q admin.ClientQuery) (admin.ClientPage, error) {
	after, last, err := parseClientsAfter(q.After)
	if err != nil {
		return admin.ClientPage{}, err
	}
	res := admin.ClientPage{Clients: []admin.Client{}}
	size := q.Limit
	if q.Text != "" || last != "" {
		size = searchPage
	}
	query := store.Query{Kind: kindClient, Limit: size}
	if q.Origin != "" {
		query.Index, query.Value = indexOrigin, q.Origin
	}
	for seen := 0; ; {
		query.After, query.Now = after, b.p.now()
		page, err := b.p.store.List(ctx, query)
		if errors.Is(err, store.ErrPage) {
			return admin.ClientPage{}, errClientsAfter()
		}
		if err != nil {
			return admin.ClientPage{}, storeError(err)
		}
		for i, rec := range page.Records {
			if rec.ID <= last {
				continue
			}
			c, err := decodeClient(rec)
			if err != nil {
				return admin.ClientPage{}, err
			}
			if c.matches(q) {
				res.Clients = append(res.Clients, c.view())
			}
			if len(res.Clients) == q.Limit && i < len(page.Records)-1 {
				res.Next = clientsAfter(after, rec.ID)
				return res, nil
			}
		}
		after, last, seen = page.Next, "", seen+len(page.Records)
		if after == "" {
			return res, nil
		}
		if len(res.Clients) == q.Limit || seen >= searchMost {
			res.Next = clientsAfter(after, "")
			return res, nil
		}
	}
}

// matches reports whether q looks for c.
func (c *client) matches(q admin.ClientQuery) bool {
	if q.Origin != "" && q.Origin != c.Origin {
		return false
	}
	text := strings.ToLower(q.Text)
	in := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	return in(c.ID) || in(c.Name) || slices.ContainsFunc(c.RedirectURIs, in)
}

func clientsAfter(after, last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(after)) + "." + last
}

func parseClientsAfter(s string) (after, last string, err error) {
	if s == "" {
		return "", "", nil
	}
	encoded, last, ok := strings.Cut(s, ".")
	b, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return "", "", errClientsAfter()
	}
	return string(b), last, nil
}

func errClientsAfter() error {
	return failAt(codeInvalidRequest, "after", "must be the next of an earlier page")
}

// changeClient changes a stored client. If others change it at the same time,
// change is called again with what they have left, if may agrees to that.
func (b *backend) changeClient(ctx context.Context, id string, may admin.Match, change func(*client) error) (*client, error) {
	for range maxUpdateTries {
		c, err := b.changeable(ctx, id, may)
		if err != nil {
			return nil, err
		}
		c.kept = slices.Concat(c.RedirectURIs, c.PostLogoutRedirectURIs)
		if err := change(c); err != nil {
			return nil, err
		}
		// After a conflict again, if may still says so.
		switch err := b.p.putClient(ctx, c); {
		case err == nil:
			return c, nil
		case !errors.Is(err, store.ErrConflict):
			return nil, storeError(err)
		}
	}
	return nil, storeError(fmt.Errorf("client %q changed %d times meanwhile", id, maxUpdateTries))
}

// changeable returns the client if it may be changed.
func (b *backend) changeable(ctx context.Context, id string, may admin.Match) (*client, error) {
	if id == "" || len(id) > store.MaxIDLen {
		return nil, fail(codeNotFound, "%s", errNoClient)
	}
	rec, err := b.p.store.Get(ctx, kindClient, id, b.p.now())
	if err != nil {
		return nil, notFoundOr(err, fail(codeNotFound, "%s", errNoClient))
	}
	c, err := decodeClient(rec)
	if err != nil {
		return nil, err
	}
	if c.Origin == originDeclared {
		return nil, fail(codeConflict, "this client is declared in %s (-clients) and can be changed only there", cmp.Or(c.Source, "a file"))
	}
	if may != nil && !may(c.etag()) {
		return nil, errStale()
	}
	return c, nil
}

func errStale() error {
	return fail(codePrecondition, "the client has been changed since; read it again, and decide anew")
}

// ReplaceClient replaces all metadata of the client. What makes a client the
// one it is stays: its id, its origin, and its secrets as long as its
// authentication method uses them.
func (b *backend) ReplaceClient(ctx context.Context, id string, may admin.Match, in admin.Client, now time.Time) (admin.Client, error) {
	var secret string
	c, err := b.changeClient(ctx, id, may, func(c *client) (err error) {
		switch {
		case in.ID != "" && in.ID != c.ID:
			return failAt(codeInvalidRequest, "client_id", "cannot be changed; make another client")
		case in.Origin != "" && in.Origin != c.Origin:
			return failAt(codeInvalidRequest, "origin", "cannot be changed")
		}
		m := in.ClientMetadata
		m.ID = c.ID
		secret, err = b.p.replaceMetadata(c, m, in.Secret, now)
		return err
	})
	if err != nil {
		return admin.Client{}, err
	}
	b.p.audit(ctx, "client changed", AuditEvent{Event: eventClient, Client: id}, "change", "replaced")
	return c.viewNew(secret), nil
}

// EditClient changes the metadata of the client by edit.
func (b *backend) EditClient(ctx context.Context, id string, edit func(*admin.ClientMetadata)) (admin.Client, error) {
	c, err := b.changeClient(ctx, id, nil, func(c *client) error {
		m := c.ClientMetadata
		edit(&m)
		m.ID = c.ID
		_, err := b.p.replaceMetadata(c, m, "", b.p.now())
		return err
	})
	if err != nil {
		return admin.Client{}, err
	}
	b.p.audit(ctx, "client changed", AuditEvent{Event: eventClient, Client: id}, "change", "replaced")
	return c.view(), nil
}

// replaceMetadata gives the stored client c other metadata. It returns the secret
// that a client gets which had none and needs one now.
func (p *Provider) replaceMetadata(c *client, m admin.ClientMetadata, brought string, now time.Time) (string, error) {
	// Validation edits them in place.
	m.GrantTypes, m.ResponseTypes = slices.Clone(m.GrantTypes), slices.Clone(m.ResponseTypes)
	c.ClientMetadata = m
	if err := p.validateClient(c, oauth.AdministratorRedirects); err != nil {
		return "", err
	}
	c.LegacyRedirectURIs = slices.DeleteFunc(c.LegacyRedirectURIs, func(uri string) bool { return !slices.Contains(c.RedirectURIs, uri) })
	if !c.usesSecret() {
		c.Secrets = nil // they must not come back with another method
	}
	if len(c.Secrets) > 0 {
		if brought != "" {
			return "", failAt(codeInvalidRequest, "client_secret", "cannot be changed so; add one under /secrets")
		}
		return "", nil
	}
	return c.addSecret(brought, now)
}

// usesSecret reports whether the client authenticates by a shared secret.
func (c *client) usesSecret() bool {
	return c.TokenEndpointAuthMethod == authBasic || c.TokenEndpointAuthMethod == authPost
}

// DeleteClient removes a client, and with it, in one step, what was granted
// to it.
func (b *backend) DeleteClient(ctx context.Context, id string, may admin.Match) error {
	// Revocation removes whatever version there is. This write makes sure that
	// it is one that may be: changes that are on their way against it fail from
	// here on.
	if _, err := b.changeClient(ctx, id, may, func(c *client) error { c.Ending = true; return nil }); err != nil {
		return err
	}
	if err := b.removeClient(ctx, id); err != nil {
		return err
	}
	b.p.audit(ctx, "client deleted", AuditEvent{Event: eventClient, Client: id}, "change", "deleted")
	return nil
}

func (b *backend) removeClient(ctx context.Context, id string) error {
	return b.revokeClient(ctx, id, []store.Key{{Kind: kindClient, ID: id}, {Kind: kindPKCESeen, ID: id}})
}

// AddSecret gives the client one more secret.
func (b *backend) AddSecret(ctx context.Context, id string, may admin.Match, brought string, now time.Time) (admin.NewSecret, error) {
	var plaintext string
	c, err := b.changeClient(ctx, id, may, func(c *client) (err error) {
		switch {
		case !c.usesSecret():
			return failAt(codeInvalidRequest, "client_secret", "a client with token_endpoint_auth_method %s has none", c.TokenEndpointAuthMethod)
		case len(c.Secrets) >= maxSecrets:
			return fail(codeConflict, "the client has %d secrets already: end one first", len(c.Secrets))
		case brought != "" && c.checkSecret(brought):
			return fail(codeConflict, "the client has this secret already")
		}
		plaintext, err = c.addSecret(brought, now)
		return err
	})
	if err != nil {
		return admin.NewSecret{}, err
	}
	s := c.Secrets[len(c.Secrets)-1]
	b.p.audit(ctx, "client secret added", AuditEvent{Event: eventClient, Client: id}, "change", "secret added", "secret", s.ID)
	return admin.NewSecret{Secret: s.view(), Plaintext: plaintext, ETag: c.etag()}, nil
}

// ReplaceSecrets makes a new secret the only one.
func (b *backend) ReplaceSecrets(ctx context.Context, id string, now time.Time) (admin.Client, error) {
	var plaintext string
	c, err := b.changeClient(ctx, id, nil, func(c *client) (err error) {
		if !c.usesSecret() {
			return failAt(codeInvalidRequest, "client_secret", "a client with token_endpoint_auth_method %s has none", c.TokenEndpointAuthMethod)
		}
		c.Secrets = nil
		plaintext, err = c.addSecret("", now)
		return err
	})
	if err != nil {
		return admin.Client{}, err
	}
	b.p.audit(ctx, "client secrets replaced", AuditEvent{Event: eventClient, Client: id}, "change", "secrets replaced")
	return c.viewNew(plaintext), nil
}

// EndSecret ends a secret. The last one stays: a client that nobody can be
// any more is disabled, or deleted.
func (b *backend) EndSecret(ctx context.Context, id string, may admin.Match, secret string) (admin.Client, error) {
	c, err := b.changeClient(ctx, id, may, func(c *client) error {
		i := slices.IndexFunc(c.Secrets, func(s clientSecret) bool { return s.ID == secret })
		switch {
		case i < 0:
			return fail(codeNotFound, "the client has no secret with this id")
		case len(c.Secrets) == 1:
			return fail(codeConflict, "this is the only secret of the client: add another first, or disable the client")
		}
		c.Secrets = slices.Delete(c.Secrets, i, i+1)
		return nil
	})
	if err != nil {
		return admin.Client{}, err
	}
	b.p.audit(ctx, "client secret ended", AuditEvent{Event: eventClient, Client: id}, "change", "secret ended", "secret", secret)
	return c.view(), nil
}
