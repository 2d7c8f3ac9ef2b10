// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
)

// Declared clients are those of a document that an administrator keeps
// elsewhere, in a repository for instance. The document is the truth: nothing
// else changes them.

// DeclareClients makes the declared clients those of document, and removes
// the declared ones that it does not name, with everything granted to them.
// Clients of any other origin are left alone.
//
// The document is a JSON object, {"clients": […]}, of clients as docs/api.md
// describes them. Each needs a client_id and, unless its authentication
// method does without, a client_secret. source names the document to
// administrators who want to change one of its clients elsewhere; it is a
// file, say.
//
// A document with a fault changes nothing; the error begins with the path of
// the member at fault. If the store fails in between, some changes may have
// been made, and the call may be repeated. It must not be made before the
// provider is ready (see [Provider.Ready]). If several providers share a
// store, give all of them the same document.
func (p *Provider) DeclareClients(ctx context.Context, source string, document []byte) error {
	if p.keys.Load() == nil {
		return errors.New("tsidp: DeclareClients was called before the provider was ready")
	}
	wanted, err := p.readDeclared(source, document)
	if err != nil {
		return err
	}
	existing, err := p.clientRecords(ctx)
	if err != nil {
		return fmt.Errorf("reading clients: %w", err)
	}
	for i, c := range wanted {
		if old, ok := existing[c.ID]; ok && old.client.Origin != originDeclared {
			return declaredError(i, "client_id", fmt.Sprintf("there is a client %q already, which is not declared here (origin %s): delete it first, or choose another id", c.ID, old.client.Origin))
		}
	}
	for _, c := range wanted {
		if err := p.putDeclared(ctx, c, existing[c.ID]); err != nil {
			return fmt.Errorf("declaring client %q: %w", c.ID, err)
		}
	}
	for id, old := range existing {
		gone := !slices.ContainsFunc(wanted, func(c *client) bool { return c.ID == id })
		if !gone || old.client.Origin != originDeclared {
			continue
		}
		if err := (&backend{p}).removeClient(ctx, id); err != nil {
			return fmt.Errorf("removing client %q: %w", id, err)
		}
		p.audit(ctx, "declared client removed", AuditEvent{Event: eventClient, Client: id}, "change", "deleted")
	}
	return nil
}

// readDeclared reads and validates a document.
func (p *Provider) readDeclared(source string, document []byte) ([]*client, error) {
	var doc struct {
		Clients []admin.Client `json:"clients"`
	}
	if err := admin.Decode(document, &doc); err != nil {
		return nil, err
	}
	if doc.Clients == nil {
		return nil, &admin.FieldError{Field: "clients", Problem: "is missing: want a list, which may be empty"}
	}
	now := p.now().UTC()
	var list []*client
	for i, in := range doc.Clients {
		c := &client{ClientMetadata: in.ClientMetadata, Origin: originDeclared, Source: source, CreatedAt: now}
		if c.ID == "" {
			return nil, declaredError(i, "client_id", "is missing: declared clients have ids of their own")
		}
		if slices.ContainsFunc(list, func(other *client) bool { return other.ID == c.ID }) {
			return nil, declaredError(i, "client_id", fmt.Sprintf("there are two clients %q", c.ID))
		}
		err := p.validateClient(c, oauth.AdministratorRedirects)
		if err == nil && c.usesSecret() && in.Secret == "" {
			return nil, declaredError(i, "client_secret", "is missing; a client without one has token_endpoint_auth_method none")
		}
		if err == nil {
			_, err = c.addSecret(in.Secret, now)
		}
		if e, ok := errors.AsType[*protocolError](err); ok {
			return nil, declaredError(i, e.field, strings.TrimPrefix(e.description, e.field+": "))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func declaredError(i int, field, problem string) error {
	return &admin.FieldError{Field: fmt.Sprintf("clients[%d].%s", i, field), Problem: problem}
}

// A clientRecord is a stored client; the zero value is none.
type clientRecord struct {
	client *client
	record store.Record
}

// clientRecords returns all clients, by their ids.
func (p *Provider) clientRecords(ctx context.Context) (map[string]clientRecord, error) {
	all := make(map[string]clientRecord)
	for after := ""; ; {
		page, err := p.store.List(ctx, store.Query{Kind: kindClient, After: after, Now: p.now()})
		if err != nil {
			return nil, err
		}
		for _, rec := range page.Records {
			c, err := decodeClient(rec)
			if err != nil {
				return nil, err
			}
			all[rec.ID] = clientRecord{c, rec}
		}
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// putDeclared writes c if it differs from what is there.
func (p *Provider) putDeclared(ctx context.Context, c *client, old clientRecord) error {
	if old.client != nil {
		c.version, c.CreatedAt, c.UsedAt = old.client.version, old.client.CreatedAt, old.client.UsedAt
		for i, s := range c.Secrets { // the same secret keeps its id
			for _, had := range old.client.Secrets {
				if had.Hash == s.Hash {
					c.Secrets[i] = had
				}
			}
		}
	}
	rec, err := c.record()
	if err != nil {
		return err
	}
	if string(rec.Data) == string(old.record.Data) {
		return nil
	}
	if _, err := p.store.Put(ctx, rec, p.now()); err != nil {
		return err
	}
	p.audit(ctx, "client declared", AuditEvent{Event: eventClient, Client: c.ID}, "change", "declared")
	return nil
}
