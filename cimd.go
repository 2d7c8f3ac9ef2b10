// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	strictjson "github.com/go-jose/go-jose/v4/json"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/internal/safefetch"
	"github.com/tailscale/tsidp/store"
)

// Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document):
// a client id may be the https address of a document in which the client
// describes itself. Nobody registers anything; the person's consent is what
// lets such a client in.

// ClientDocuments turns on client ids that are the address of a metadata
// document.
type ClientDocuments struct {
	// Allow, unless nil, are the only such ids: addresses in full, or with a
	// "*" at the end for all that begin so. Nil means any.
	Allow []string
	// Pinned are documents by client id. They are used as they are and never
	// fetched, for tailnets without a way to the internet. They need not be
	// in Allow.
	Pinned map[string][]byte
}

// allows reports whether id may be fetched.
func (d *ClientDocuments) allows(id string) bool {
	return d.Allow == nil || slices.ContainsFunc(d.Allow, func(entry string) bool {
		prefix, ok := strings.CutSuffix(entry, "*")
		return entry == id || ok && strings.HasPrefix(id, prefix)
	})
}

// isDocumentID reports whether id is meant as an address. No other client's
// id begins so; see validateID.
func isDocumentID(id string) bool { return strings.HasPrefix(id, "https://") }

// checkDocumentID: "Client identifier URLs MUST have an "https" scheme, MUST
// contain a path component, MUST NOT contain single-dot or double-dot path
// segments, MUST NOT contain a fragment component and MUST NOT contain a
// username or password" (section 3).
func checkDocumentID(id string) error {
	u, err := url.Parse(id)
	switch {
	case err != nil || len(id) > store.MaxIndexLen || !isDocumentID(id) || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		return fail(codeInvalidClientMetadata, "client_id: not the https address of a metadata document")
	case u.Path == "" || u.User != nil || strings.Contains(id, "#"):
		return fail(codeInvalidClientMetadata, "client_id: the address of a metadata document has a path, and neither a user name nor a fragment")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return fail(codeInvalidClientMetadata, "client_id: the address of a metadata document has no segment %q", segment)
		}
	}
	return nil
}

// parseClientDocument reads the document at id and validates it like every
// client.
func parseClientDocument(id string, body []byte) (*client, error) {
	if err := checkDocumentID(id); err != nil {
		return nil, err
	}
	d, err := parseRegistration(body)
	if err != nil {
		return nil, err
	}
	var secret struct {
		Secret    any `json:"client_secret"`
		ExpiresAt any `json:"client_secret_expires_at"`
	}
	if err := strictjson.Unmarshal(body, &secret); err != nil {
		return nil, fail(codeInvalidClientMetadata, "the document is not a JSON object").because(err)
	}
	switch {
	// "The client_id property MUST match the URL of the document using simple
	// string comparison" (section 4.1).
	case d.ID != id:
		return nil, fail(codeInvalidClientMetadata, "client_id: must be the address of the document, letter by letter")
	case d.Name == "": // MCP authorization
		return nil, fail(codeInvalidClientMetadata, "client_name: is missing")
	// "The token_endpoint_auth_method property MUST NOT include
	// client_secret_post, client_secret_basic, client_secret_jwt, or any other
	// method based around a shared symmetric secret. The client_secret and
	// client_secret_expires_at properties MUST NOT be used" (section 4.1).
	case secret.Secret != nil || secret.ExpiresAt != nil || strings.HasPrefix(d.TokenEndpointAuthMethod, "client_secret_"):
		return nil, fail(codeInvalidClientMetadata, "a client that publishes its metadata has no secret; use token_endpoint_auth_method none or private_key_jwt")
	}
	if d.TokenEndpointAuthMethod == "" {
		d.TokenEndpointAuthMethod = authNone
	}
	c := &client{Origin: originDocument, ClientMetadata: selfDeclared(d.ClientMetadata)}
	return c, c.validate(oauth.SelfRegisteredRedirects)
}

// parsePinned reads the pinned documents when the provider is made.
func (d *ClientDocuments) parsePinned() (map[string]*client, error) {
	pinned := make(map[string]*client)
	if d == nil {
		return pinned, nil
	}
	for id, body := range d.Pinned {
		c, err := parseClientDocument(id, body)
		if err != nil {
			return nil, fmt.Errorf("Config.ClientDocuments.Pinned[%q]: %w", id, err)
		}
		pinned[id] = c
	}
	return pinned, nil
}

// A documentPolicy is what is in force of ClientDocuments.
type documentPolicy struct {
	*ClientDocuments                    // nil: no such clients
	pinned           map[string]*client // by id
}

// SetClientDocuments replaces the lists of [Config.ClientDocuments] while the
// provider runs. To turn such clients on or off takes a new provider: the
// metadata say so. After an error everything is as before.
func (p *Provider) SetClientDocuments(d *ClientDocuments) error {
	if (d == nil) != (p.cfg.ClientDocuments == nil) {
		return errors.New("tsidp: client metadata documents cannot be turned on or off in a running provider")
	}
	pinned, err := d.parsePinned()
	if err != nil {
		return fmt.Errorf("tsidp: %w", err)
	}
	p.documents.Store(&documentPolicy{d, pinned})
	return nil
}

// kindDocument is the kind of records that hold the documents of clients with
// consent: so that all instances see the same, and a restart, or an hour in
// which the client's host is down, logs nobody out.
const kindDocument store.Kind = "client-document"

// documentStale is how long a kept document serves while its host is down.
const documentStale = 24 * time.Hour

type documentRecord struct {
	Body      []byte    `json:"body"`
	FetchedAt time.Time `json:"fetched_at"`
	Expires   time.Time `json:"expires"`
}

// documentClient returns the client whose metadata is at id.
func (p *Provider) documentClient(ctx context.Context, id string) (*client, error) {
	policy := p.documents.Load()
	if c, ok := policy.pinned[id]; ok {
		return c, nil
	}
	if policy.ClientDocuments == nil {
		return nil, store.ErrNotFound
	}
	if err := checkDocumentID(id); err != nil {
		return nil, fail(codeInvalidClient, "%s", asProtocolError(err).description)
	}
	if !policy.allows(id) {
		return nil, fail(codeInvalidClient, "clients from %s are not allowed here; an administrator can add the address to the list of client metadata documents", id)
	}
	kept, version, err := p.keptDocument(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case kept != nil && p.now().Before(kept.Expires):
		return parseClientDocument(id, kept.Body)
	}
	doc, err := p.fetchClientDocument(ctx, id)
	switch {
	case err == nil:
		fresh := documentRecord{doc.Body, doc.FetchedAt, doc.Expires}
		if kept != nil {
			p.keepDocument(ctx, id, version, fresh)
		}
		return parseClientDocument(id, doc.Body)
	case kept != nil && p.now().Sub(kept.FetchedAt) < documentStale && (errors.Is(err, safefetch.ErrUnavailable) || errors.Is(err, safefetch.ErrBusy)):
		return parseClientDocument(id, kept.Body)
	}
	return nil, documentError(id, err)
}

// fetchClientDocument gets a valid document, perhaps from the cache.
func (p *Provider) fetchClientDocument(ctx context.Context, id string) (safefetch.Document, error) {
	return p.fetchDocument(ctx, id, safefetch.Want{
		ContentTypes: []string{"application/json", "application/*+json"},
		Valid:        func(body []byte) error { _, err := parseClientDocument(id, body); return err },
	})
}

// documentError says what is wrong with the document itself, where that is
// the reason.
func documentError(id string, err error) *protocolError {
	if e, ok := errors.AsType[*protocolError](err); ok {
		return fail(codeInvalidClient, "the client metadata document %s cannot be used: %s", id, e.description).because(err)
	}
	return fetchError(err, codeInvalidClient, "the client metadata document "+id)
}

// keptDocument reads the record; nil if there is none.
func (p *Provider) keptDocument(ctx context.Context, id string) (*documentRecord, int64, error) {
	rec, err := p.store.Get(ctx, kindDocument, id, p.now())
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, storeError(err)
	}
	var d documentRecord
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return nil, 0, fmt.Errorf("reading client document %q: %w", id, err)
	}
	return &d, rec.Version, nil
}

// keepDocument writes the record. It is a help and no more: a failure is
// noted, and another instance that was first is as good.
func (p *Provider) keepDocument(ctx context.Context, id string, version int64, d documentRecord) {
	data, err := json.Marshal(d)
	if err == nil {
		now := p.now()
		rec := store.Record{Kind: kindDocument, ID: id, Version: version, Data: data, CreatedAt: now, ExpiresAt: d.FetchedAt.Add(documentStale)}
		_, err = p.store.Put(ctx, rec, now)
	}
	if err != nil && !errors.Is(err, store.ErrConflict) {
		p.log.Warn("keeping client document", "client", id, "error", err.Error())
	}
}

// keepConsentedDocument keeps the document of a client to which somebody has
// just agreed.
func (p *Provider) keepConsentedDocument(ctx context.Context, c *client) {
	if _, pinned := p.documents.Load().pinned[c.ID]; pinned || c.Origin != originDocument {
		return
	}
	kept, _, err := p.keptDocument(ctx, c.ID)
	if err != nil || kept != nil {
		return
	}
	// In the cache, since it has just been used.
	doc, err := p.fetchClientDocument(ctx, c.ID)
	if err != nil {
		return
	}
	p.keepDocument(ctx, c.ID, 0, documentRecord{doc.Body, doc.FetchedAt, doc.Expires})
}
