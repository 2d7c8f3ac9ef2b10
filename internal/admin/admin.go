// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package admin is the administration as HTTP sees it: the types that the
// API shows and takes, and its handlers over one Backend, which the provider
// implements. It knows neither the store nor the engine.
//
// Who may use it is decided before its handlers run.
package admin

import (
	"context"
	"encoding/json"
	"time"
)

// ClientMetadata is what a client is registered with, under the names of
// RFC 7591 section 2, OpenID Connect Registration section 2, and, below
// them, our own.
type ClientMetadata struct {
	ID           string   `json:"client_id,omitempty"`
	Name         string   `json:"client_name,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`
	// PostLogoutRedirectURIs are where the logout endpoint may send people. If
	// there are none, an address of the same origin as a redirect URI is.
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// GrantTypes default to authorization_code and refresh_token.
	GrantTypes    []string `json:"grant_types,omitempty"`
	ResponseTypes []string `json:"response_types,omitempty"`
	// TokenEndpointAuthMethod is none for public clients, or private_key_jwt;
	// by default client_secret_basic, which accepts client_secret_post too
	// unless AuthMethodStrict is set.
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method,omitempty"`
	// Scope is granted when a request asks for none.
	Scope           string `json:"scope,omitempty"`
	ApplicationType string `json:"application_type,omitempty"`
	ClientURI       string `json:"client_uri,omitempty"`
	// InitiateLoginURI is where the application begins a login when people come
	// from elsewhere (OpenID Connect Core section 4).
	InitiateLoginURI string   `json:"initiate_login_uri,omitempty"`
	Contacts         []string `json:"contacts,omitempty"`
	LogoURI          string   `json:"logo_uri,omitempty"`
	PolicyURI        string   `json:"policy_uri,omitempty"`
	TOSURI           string   `json:"tos_uri,omitempty"`
	SoftwareID       string   `json:"software_id,omitempty"`
	SoftwareVersion  string   `json:"software_version,omitempty"`
	// IDTokenAlg is RS256 (default), ES256 or EdDSA.
	IDTokenAlg string `json:"id_token_signed_response_alg,omitempty"`

	// JWKS holds the public keys of a private_key_jwt client as a key set (RFC
	// 7517), JWKSURI is where it is. One excludes the other.
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`
	// TokenEndpointAuthSigningAlg is the only algorithm of its assertions:
	// RS256, PS256, ES256 or EdDSA. By default each key decides.
	TokenEndpointAuthSigningAlg string `json:"token_endpoint_auth_signing_alg,omitempty"`

	AuthMethodStrict bool `json:"token_endpoint_auth_method_strict,omitempty"`
	// AssertionAudienceStrict takes assertions whose audience is the issuer
	// alone, not those for the token endpoint.
	AssertionAudienceStrict bool `json:"client_assertion_audience_strict,omitempty"`
	// Access is "tailnet" (default: everybody of this tailnet) or "granted"
	// (those with a rule whose clients lists this one).
	Access string `json:"access,omitempty"`
	// PKCE is "auto" (default: optional for confidential clients until they
	// have used it once) or "required".
	PKCE string `json:"pkce,omitempty"`
	// IgnoreFragment compares redirect URIs without what follows a '#'.
	IgnoreFragment bool `json:"ignore_fragment,omitempty"`
	// AccessTokenFormat is "jwt" (default, RFC 9068), or "opaque": only the
	// provider can read what they say.
	AccessTokenFormat string `json:"access_token_format,omitempty"`
	// LeanIDToken leaves the claims of scopes to userinfo.
	LeanIDToken bool `json:"lean_id_token,omitempty"`
	// Claims sets claims of this client's tokens: name → where its value comes
	// from, such as "username": "email".
	Claims map[string]string `json:"claims,omitempty"`
	// ResourceIdentifiers are the resources that the client itself is: it may
	// introspect tokens for them.
	ResourceIdentifiers []string `json:"resource_identifiers,omitempty"`
	// DefaultResources are what tokens are for when the client names no
	// resource, as older MCP clients and some machines do.
	DefaultResources []string `json:"default_resources,omitempty"`
	// Lifetimes in seconds; 0 means the provider's.
	AccessTokenSeconds  int64 `json:"access_token_lifetime,omitempty"`
	IDTokenSeconds      int64 `json:"id_token_lifetime,omitempty"`
	RefreshIdleSeconds  int64 `json:"refresh_token_idle_lifetime,omitempty"`
	RefreshTotalSeconds int64 `json:"refresh_token_total_lifetime,omitempty"`
	Disabled            bool  `json:"disabled,omitempty"`
}

// A Client is a registered client.
type Client struct {
	ClientMetadata
	// Secret is the plaintext of a new secret. It is shown once, in the
	// answer to the call that made it, and may be brought with that call.
	Secret string `json:"client_secret,omitempty"`
	// SecretExpiresAt is 0, never, wherever Secret is set (RFC 7591 section
	// 3.2.1).
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	// Secrets are the live ones, the oldest first. The API only shows them.
	Secrets []Secret `json:"secrets,omitempty"`
	// IssuedAt in Unix seconds.
	IssuedAt int64  `json:"client_id_issued_at,omitempty"`
	Origin   string `json:"origin,omitempty"` // who made it: "administrator", …
	// UsedAt is when it last obtained tokens, give or take a day; nil: never.
	UsedAt *time.Time `json:"used_at,omitempty"`
	// ExpiresAt is when a registration ends unless it is used; nil: never.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// Owner is who registered it; nil for clients that nobody of the tailnet
	// did.
	Owner *Owner `json:"owner,omitempty"`
	// Warnings are for the administrator, such as a redirect URI that sends
	// codes in clear text.
	Warnings []string `json:"warnings,omitempty"`

	// ETag names the version of the client; it is a header of answers.
	ETag string `json:"-"`
}

// A Secret is a live secret of a client, without the secret itself.
type Secret struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
}

// A NewSecret is the answer to the call that made a secret.
type NewSecret struct {
	Secret
	// Plaintext is shown this once.
	Plaintext string `json:"client_secret"`
	// ExpiresAt is 0, never (RFC 7591 section 3.2.1).
	ExpiresAt int64 `json:"client_secret_expires_at"`

	ETag string `json:"-"` // of the client that has the secret now
}

// An Owner is somebody who registered a client, and from which node.
type Owner struct {
	Subject  string `json:"sub"`
	Login    string `json:"login,omitempty"`
	Node     string `json:"node"`
	NodeName string `json:"node_name,omitempty"`
}

// A ClientQuery selects clients.
type ClientQuery struct {
	// Text is in the id, the name or a redirect URI, in any letter case.
	Text   string
	Origin string // empty: any
	After  string // the Next of the page before
	Limit  int
}

// A Match says whether a change may be made to the client that has that ETag
// now. A nil Match always says so.
type Match func(etag string) bool

// A ClientPage is one page of the list of clients, in the order of their ids.
// A page of a search may have fewer clients than asked for, or none, and a
// Next all the same: a request looks at a bounded number of clients.
type ClientPage struct {
	Clients []Client `json:"clients"`
	// Next is the value of the parameter "after" for the next page.
	Next string `json:"next,omitempty"`
}

// A Key is a signing or sealing key, without the key itself.
type Key struct {
	ID        string    `json:"kid"`
	Alg       string    `json:"alg"`
	State     string    `json:"state"` // KeyNext, KeyCurrent or KeyReplaced
	CreatedAt time.Time `json:"created_at"`
	UsableAt  time.Time `json:"usable_at"`
	// Until is when a current key will be replaced, or a replaced one
	// removed.
	Until *time.Time `json:"until,omitempty"`
}

// States of a Key.
const (
	KeyNext     = "next"     // published, signs nothing yet
	KeyCurrent  = "current"  // signs
	KeyReplaced = "replaced" // published for what it has signed
)

// Backend is what the administration can do. The provider implements it. Its
// errors are protocol errors, ready to be shown.
type Backend interface {
	Clients(ctx context.Context, q ClientQuery) (ClientPage, error)
	Client(ctx context.Context, id string) (Client, error)
	// CreateClient registers c; the answer holds the secret in plaintext.
	CreateClient(ctx context.Context, c Client, now time.Time) (Client, error)
	// ReplaceClient replaces all metadata of the client. The answer holds a
	// secret if it has just become one that needs it.
	ReplaceClient(ctx context.Context, id string, may Match, c Client, now time.Time) (Client, error)
	// EditClient changes the metadata of the client by edit, which may be
	// called more than once.
	EditClient(ctx context.Context, id string, edit func(*ClientMetadata)) (Client, error)
	// DeleteClient removes the client; everything granted to it dies at once.
	DeleteClient(ctx context.Context, id string, may Match) error
	// AddSecret gives the client one more live secret: brought, or a new one
	// if that is empty.
	AddSecret(ctx context.Context, id string, may Match, brought string, now time.Time) (NewSecret, error)
	// ReplaceSecrets makes a new secret the only one that lives.
	ReplaceSecrets(ctx context.Context, id string, now time.Time) (Client, error)
	// EndSecret ends a secret of the client, which is left with at least one.
	EndSecret(ctx context.Context, id string, may Match, secret string) (Client, error)
	Keys(ctx context.Context) ([]Key, error)
	// RotateKeys publishes the next keys; they sign two days later.
	RotateKeys(ctx context.Context) ([]Key, error)
	// RetireKey removes a key at once, and what it signed with it.
	RetireKey(ctx context.Context, id string) ([]Key, error)
	// Subjects returns the subjects that a login, a tag or a subject means,
	// at least one.
	Subjects(ctx context.Context, name string) ([]string, error)
	Sessions(ctx context.Context, q SessionQuery) (SessionPage, error)
	// RevokeSession ends a session of subject, or, if that is empty, of
	// anybody. Everything that hangs from it dies at once.
	RevokeSession(ctx context.Context, id, subject string) error
	// RevokeSessions ends all that q names, which must not be empty, and returns how many
	// there were. What is still on its way to becoming one dies, too.
	RevokeSessions(ctx context.Context, q SessionQuery) (int, error)
	Consents(ctx context.Context, q ConsentQuery) (ConsentPage, error)
	// RevokeConsent forgets a consent of subject, or, if that is empty, of
	// anybody, and ends the sessions of that client and person.
	RevokeConsent(ctx context.Context, id, subject string) error
	// Audit returns events of the audit log.
	Audit(ctx context.Context, q AuditQuery) (AuditPage, error)
	// Status says how the provider is. Parts of it that cannot be told are
	// left out.
	Status(ctx context.Context) (Status, error)
	// Caller says who sends the request of ctx.
	Caller(ctx context.Context) (Caller, error)
	// OwnPolicy tells the rules of the sender of the request of ctx.
	OwnPolicy(ctx context.Context) (OwnPolicy, error)
	// Apps are the applications that the sender of the request of ctx may log
	// in to, and that an administrator has given an address, by their names.
	Apps(ctx context.Context) ([]App, error)
	// AdoptClient makes a client that registered itself one of the
	// administrator's: its name counts, nobody is asked for consent, and it can
	// no longer change or end by itself. It has to use PKCE, and loses the
	// addresses that people would be led to. Unlike elsewhere, may is needed.
	AdoptClient(ctx context.Context, id string, may Match) (Client, error)
	// Explain tells what the policy says of q now, and by which rules.
	Explain(ctx context.Context, q ExplainQuery) (Explanation, error)
	// PolicyCheck tells how the rules of all nodes are read.
	PolicyCheck(ctx context.Context) (PolicyReport, error)
	// Reject makes the error for a request that cannot be read. field is the
	// path of the member at fault, or empty.
	Reject(field, format string, args ...any) error
}
