// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/tailcfg"
)

// kindClient is the kind of client records; their ID is the client_id.
const kindClient store.Kind = "client"

// kindPKCESeen marks clients that have redeemed a code with PKCE, so that
// leaving it out later is refused (RFC 9700 section 2.1.1, downgrade).
const kindPKCESeen store.Kind = "pkce-seen"

// A client is a registered client: its metadata, which every door (API,
// pages, registration, files) speaks, and what only the provider knows.
type client struct {
	admin.ClientMetadata
	Secrets []clientSecret `json:"secrets,omitempty"`
	Origin  string         `json:"origin"`
	// Source names the document of a declared client.
	Source    string    `json:"source,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is when an unused registration ends; zero: never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Owner is who registered it; nil for clients that nobody of the tailnet
	// did.
	Owner *clientOwner `json:"owner,omitempty"`
	// UsedAt is when the client last obtained tokens, give or take a day.
	UsedAt time.Time `json:"used_at,omitzero"`
	// RegistrationTokens manage a registration: hashes, oldest first. See
	// addRegistrationToken.
	RegistrationTokens []store.Hash `json:"registration_tokens,omitempty"`

	// Ending marks a client that is being deleted. It makes another ETag: a
	// change of the version that was deleted must not count.
	Ending bool `json:"ending,omitempty"`

	// Imported marks clients of an earlier version, which keep what they rely
	// on: see import.go. Notes are what the import had to say about one;
	// LegacyRedirectURIs are those that nobody could register today.
	Imported           bool     `json:"imported,omitempty"`
	Notes              []string `json:"notes,omitempty"`
	LegacyRedirectURIs []string `json:"legacy_redirect_uris,omitempty"`

	version int64 // of the store's record; 0: there is none
	// kept are the URIs that a stored client has already: they stay acceptable
	// when it is changed.
	kept []string
	// method is by which it has authenticated this request; kept nowhere.
	method string
}

// A clientSecret is kept as its hash only.
type clientSecret struct {
	ID        string     `json:"id"`
	Hash      store.Hash `json:"hash"`
	CreatedAt time.Time  `json:"created_at"`
}

// A clientOwner is who registered a client, and from which node.
type clientOwner struct {
	Subject string               `json:"sub"`
	Login   string               `json:"login,omitempty"`
	Node    tailcfg.StableNodeID `json:"node"`
	Name    string               `json:"node_name,omitempty"`
	// Page is the origin of the web page that did it, in a browser on that
	// node; empty for a program. Owners that differ in it are two.
	Page string `json:"page,omitempty"`
}

// Origins: who vouches for what a client says of itself.
const (
	originAdministrator = "administrator" // made by an administrator
	originDeclared      = "declared"      // in the file that an administrator wrote
	originRegistered    = "registered"    // registered itself
	originDocument      = "document"      // its id is the address of its metadata
	originNode          = "node"          // a tagged node, which has no record
)

// trusted reports whether an administrator has vouched for the client. All
// others have chosen their names themselves, and need a person's consent.
func (c *client) trusted() bool {
	return c.Origin == originAdministrator || c.Origin == originDeclared || c.Origin == originNode
}

// Values of ClientMetadata.Access and .PKCE.
const (
	accessTailnet = "tailnet"
	accessGranted = "granted"
	pkceAuto      = "auto"
	formatJWT     = "jwt"
	formatOpaque  = "opaque"
	pkceRequired  = "required"
)

// Token endpoint authentication methods.
const (
	authNone          = "none"
	authBasic         = "client_secret_basic"
	authPost          = "client_secret_post"
	authPrivateKeyJWT = "private_key_jwt"
)

// authNode is the method of a tagged node, which WhoIs authenticates. Nobody
// registers it.
const authNode = "tailscale_node"

var supportedAuthMethods = []string{authNone, authBasic, authPost, authPrivateKeyJWT}

const (
	grantAuthorizationCode = "authorization_code"
	grantRefreshToken      = "refresh_token"
	grantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
	grantClientCredentials = "client_credentials"
	grantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
)

var supportedGrantTypes = []string{grantAuthorizationCode, grantClientCredentials, grantRefreshToken, grantDeviceCode, grantTokenExchange}

// personGrantTypes are those with a person in them. Clients that nobody vouches
// for have no others.
var personGrantTypes = []string{grantAuthorizationCode, grantRefreshToken, grantDeviceCode}

// defaultGrantTypes are those of a client that is registered without any.
var defaultGrantTypes = []string{grantAuthorizationCode, grantRefreshToken}

func (c *client) public() bool { return c.TokenEndpointAuthMethod == authNone }

// displayName names the client for people.
func (c *client) displayName() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// trustedName is the name by which rules may open the client. A client that
// registered itself has chosen its name, perhaps that of another.
func (c *client) trustedName() string {
	if !c.trusted() {
		return ""
	}
	return c.Name
}

// allowsGrantType reports whether the client may use the grant type. Those of
// earlier versions registered none and could exchange.
func (c *client) allowsGrantType(t string) bool {
	return slices.Contains(c.GrantTypes, t) || c.Imported && t == grantTokenExchange
}

// redirectRules are those of DESIGN: loopback names count as one host for
// public clients.
func (c *client) redirectRules() oauth.RedirectRules {
	return oauth.RedirectRules{Public: c.public(), IgnoreFragment: c.IgnoreFragment}
}

// checkSecret reports whether one of the readings of what a client presented is
// one of its secrets. It compares each with each, in constant time. No secret
// is empty.
func (c *client) checkSecret(readings ...string) bool {
	ok := 0
	for _, r := range readings {
		if r == "" {
			continue
		}
		h := sha256.Sum256([]byte(r))
		for _, s := range c.Secrets {
			ok |= subtle.ConstantTimeCompare(h[:], s.Hash[:])
		}
	}
	return ok == 1
}

// lifetimes returns the provider's, changed by what the client has own.
func (c *client) lifetimes(l Lifetimes) Lifetimes {
	set := func(d *time.Duration, seconds int64) {
		if seconds != 0 {
			*d = time.Duration(seconds) * time.Second
		}
	}
	set(&l.AccessToken, c.AccessTokenSeconds)
	set(&l.IDToken, c.IDTokenSeconds)
	set(&l.RefreshIdle, c.RefreshIdleSeconds)
	set(&l.RefreshTotal, c.RefreshTotalSeconds)
	return l
}

// defaultScope is what the client gets when it asks for no scope.
func (c *client) defaultScope() []string {
	if scopes, err := oauth.ParseScope(c.Scope, knownScope); err == nil && len(scopes) > 0 {
		return scopes
	}
	return defaultScopes
}

// checkScope returns the scopes that the client asks for, or its default. Which
// of them it gets, decide says.
func (c *client) checkScope(scope string) ([]string, error) {
	asked, err := oauth.ParseScope(scope, knownScope)
	if err != nil {
		return nil, fail(codeInvalidScope, "%v", err)
	}
	if len(asked) == 0 {
		return c.defaultScope(), nil
	}
	return asked, nil
}

// errNoScope is the answer if nothing is left of what was asked. Unknown
// scopes are narrowed away: applications send group names and whatever else,
// and RFC 6749 section 3.3 allows to "fully or partially ignore the scope
// requested".
func errNoScope() *protocolError {
	return fail(codeInvalidScope, "none of the scopes is known, or granted by a rule; there are %s", strings.Join(supportedScopes, ", "))
}

// warnings are shown to the administrator who made the client.
func (c *client) warnings() []string {
	w := slices.Clone(c.Notes)
	for _, uri := range c.RedirectURIs {
		if oauth.InsecureRedirect(uri) {
			w = append(w, fmt.Sprintf("redirect_uris: %s sends authorization codes in clear text; use https where the application can", uri))
		}
	}
	if slices.Contains(slices.Collect(maps.Values(c.Claims)), "local_part") {
		w = append(w, "claims: local_part is the same for alice@a.example and alice@b.example; use preferred_username, which tells them apart")
	}
	return w
}

// newSecret returns 256 random bits as text, and what the store keeps of it.
func newSecret(now time.Time) (string, clientSecret) {
	var b [32]byte
	rand.Read(b[:])
	secret := hex.EncodeToString(b[:])
	return secret, hashSecret(secret, now)
}

func hashSecret(secret string, now time.Time) clientSecret {
	return clientSecret{ID: rand.Text()[:8], Hash: sha256.Sum256([]byte(secret)), CreatedAt: now}
}

// newID returns 128 random bits as text.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// clientByID loads a client as the store has it now. It returns
// store.ErrNotFound if there is none, and a protocolError if the client's own
// document is at fault.
func (p *Provider) clientByID(ctx context.Context, id string) (*client, error) {
	return p.loadClient(ctx, id, func() (*client, error) {
		rec, err := p.store.Get(ctx, kindClient, id, p.now())
		if err != nil {
			return nil, err
		}
		return decodeClient(rec)
	})
}

// clientToUse is clientByID for requests that use a client and do not change
// it: see clientCache.
func (p *Provider) clientToUse(ctx context.Context, id string) (*client, error) {
	return p.loadClient(ctx, id, func() (*client, error) { return p.clients.get(ctx, id, p.now()) })
}

// loadClient loads a client by load if it has a record.
func (p *Provider) loadClient(ctx context.Context, id string, load func() (*client, error)) (*client, error) {
	if id == "" || len(id) > store.MaxIDLen {
		return nil, store.ErrNotFound
	}
	switch {
	case isDocumentID(id):
		return p.documentClient(ctx, id)
	case isNodeID(id):
		return newNodeClient(id), nil
	}
	return load()
}

func decodeClient(rec store.Record) (*client, error) {
	c := &client{version: rec.Version}
	if err := json.Unmarshal(rec.Data, c); err != nil {
		return nil, fmt.Errorf("reading client %q: %w", rec.ID, err)
	}
	return c, nil
}

const (
	// indexOwner is the node that a client has registered itself from. Only
	// registered clients have it.
	indexOwner = "owner"
	// indexOrigin is the origin of a client.
	indexOrigin = "origin"
)

// record is c as the store gets it.
func (c *client) record() (store.Record, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return store.Record{}, fmt.Errorf("writing client: %w", err)
	}
	return store.Record{
		Kind: kindClient, ID: c.ID, Version: c.version, Data: data, Index: c.recordIndex(),
		CreatedAt: c.CreatedAt, UsedAt: c.UsedAt, ExpiresAt: c.ExpiresAt,
	}, nil
}

// putClient writes c over the version that it has. It returns the store's
// errors.
func (p *Provider) putClient(ctx context.Context, c *client) error {
	rec, err := c.record()
	if err != nil {
		return err
	}
	version, err := p.store.Put(ctx, rec, p.now())
	if err == nil {
		c.version = version
	}
	return err
}

// createClient stores a new client.
func (p *Provider) createClient(ctx context.Context, c *client) error {
	c.version = 0
	switch err := p.putClient(ctx, c); {
	case errors.Is(err, store.ErrConflict):
		return fail(codeConflict, "client_id: there is a client %q already", c.ID)
	case err != nil:
		return storeError(err)
	}
	return nil
}
