// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/legacy"
	"github.com/tailscale/tsidp/store"
)

// The import of the files in which versions before the store kept clients and
// the signing key: what worked with them keeps working.
//
// It happens once, when a store is opened that has no keys yet. Clients are
// written first, then the keys, in one atomic step that is also the mark that
// the import is done: a crash in between leaves a store without keys, whose
// next start begins again and finds what it wrote. The files are only read.

// importState reads Config.ImportDir into doc and the store. It does nothing
// without one.
func (p *Provider) importState(ctx context.Context, doc *keyDocument, now time.Time) error {
	if p.cfg.ImportDir == "" {
		return nil
	}
	state, err := legacy.Read(p.cfg.ImportDir)
	if err != nil {
		return fmt.Errorf("importing the state of an earlier version: %w", err)
	}
	for _, c := range state.Clients {
		if err := p.importClient(ctx, &c, now); err != nil {
			return fmt.Errorf("importing client %q: %w", c.ID, err)
		}
	}
	if state.Key != nil {
		der, err := jwt.MarshalPrivateKey(state.Key.Private)
		if err != nil {
			return fmt.Errorf("importing signing key: %w", err)
		}
		doc.Keys = append(doc.Keys, storedKey{ID: state.Key.ID, Alg: jwt.RS256, Key: der, CreatedAt: now, UsableAt: now})
	}
	p.logImport(state)
	return nil
}

// importClient writes one client. One that an import before this one wrote is
// left as it is.
func (p *Provider) importClient(ctx context.Context, l *legacy.Client, now time.Time) error {
	err := p.putClient(ctx, newImportedClient(l, now))
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// newImportedClient maps a record of an earlier version onto a client. It
// does not go through validate: what is not acceptable for new clients stays
// valid for these.
func newImportedClient(l *legacy.Client, now time.Time) *client {
	c := &client{
		ClientMetadata: admin.ClientMetadata{
			ID: l.ID, Name: l.Name, RedirectURIs: l.RedirectURIs, IgnoreFragment: l.IgnoreFragment,
			TokenEndpointAuthMethod: l.TokenEndpointAuthMethod, Scope: l.Scope, ClientURI: l.ClientURI,
			Contacts: l.Contacts, ApplicationType: l.ApplicationType, Disabled: l.Disabled,
		},
		Origin: originAdministrator, Imported: true, Notes: l.Notes, LegacyRedirectURIs: l.LegacyRedirectURIs, CreatedAt: l.CreatedAt,
	}
	if c.CreatedAt.IsZero() {
		c.CreatedAt = now.UTC()
	}
	if l.DynamicallyRegistered {
		c.Origin = originRegistered
	}
	c.fillDefaults()
	if !l.Secret.IsZero() {
		c.Secrets = []clientSecret{{ID: newID()[:8], Hash: sha256.Sum256([]byte(l.Secret.Reveal())), CreatedAt: c.CreatedAt}}
	}
	return c
}

func (p *Provider) logImport(state *legacy.State) {
	if len(state.Files) == 0 {
		return
	}
	p.log.Info("imported the state of an earlier version", "files", state.Files, "clients", len(state.Clients), "key", state.Key != nil)
	for _, note := range state.Notes {
		p.log.Warn("import: " + note)
	}
	for _, c := range state.Clients {
		for _, note := range c.Notes {
			p.log.Warn("import: "+note, "client", c.ID)
		}
	}
}

// DescribeImport writes what an import of dir (see [Config].ImportDir) would
// take over, for people to read first. It changes nothing, and shows no secret.
func DescribeImport(w io.Writer, dir string) error {
	state, err := legacy.Read(dir)
	if err != nil {
		return err
	}
	return state.Summary(w)
}

// What imported clients rely on, beyond what all clients get.

// importedClaims are the claims of an imported client: those of its scopes
// with the values that earlier versions gave, and the Tailscale ones always.
func importedClaims(id *identity, scopes []string, n naming, host string) userClaims {
	c := claimsFor(id, append([]string{scopeTailscale}, scopes...), n)
	if c.Node != "" {
		c.Node += "."
	}
	if c.Tailnet != "" {
		c.Tailnet += "."
	}
	if slices.Contains(scopes, scopeEmail) {
		if c.Email == "" {
			c.Email = legacyEmail(id, host)
		}
	}
	if slices.Contains(scopes, scopeProfile) {
		c.PreferredUsername, _, _ = strings.Cut(id.login, "@")
	}
	return c
}

// importedUserinfo is the userinfo answer of an imported client, which does
// not depend on scopes.
func importedUserinfo(id *identity, n naming, host string) userClaims {
	c := importedClaims(id, []string{scopeEmail, scopeProfile}, n, host)
	c.Username = c.PreferredUsername
	return c
}

// legacyEmail is the address that earlier versions made of logins that are
// none: alice@github.idp.example.ts.net. It is never verified.
func legacyEmail(id *identity, host string) string {
	if id.login == "" {
		return ""
	}
	return id.login + "." + host
}
