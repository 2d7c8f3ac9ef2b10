// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
)

// ErrInvalidToken is wrapped by the errors of [Server.Verify] that mean that
// the token is not good: the client needs another one.
var ErrInvalidToken = errors.New("invalid token")

// ErrUnavailable is wrapped by the errors of [Server.Verify] that mean that it
// could not be found out whether the token is good: the issuer did not answer,
// or the context ended.
var ErrUnavailable = errors.New("token cannot be verified now")

// Config is what [New] needs to build a [Server].
type Config struct {
	// Issuer is the URL of the identity provider, exactly as in its tokens:
	// https, or http on a loopback name. Required.
	Issuer string

	// Resource is the URL by which clients reach this server, such as
	// https://mcp.example.ts.net/mcp: https, or http on a loopback name,
	// without fragment. Required. Clients compare it with the URL that they
	// were given, so write the one that people type.
	Resource string

	// Scopes are those that clients should ask for. They are in the document,
	// and in the challenge of handlers that need none in particular. They are
	// no requirement: that is for [Server.Protect] to say. Never
	// offline_access, which is between client and issuer.
	Scopes []string

	// Name and Documentation, a URL, are for the people who read the document.
	// Optional.
	Name, Documentation string

	// Introspection makes the server ask the issuer about tokens. Nil means
	// that it verifies signatures itself.
	Introspection *Introspection

	// Leeway is how much the clocks of issuer and server may differ: 10 s by
	// default, at most 5 min.
	Leeway time.Duration

	// HTTPClient asks the issuer. Redirects are not followed and each request
	// is given 10 s, whatever the client says. Nil means one with the defaults
	// of package http.
	HTTPClient *http.Client

	// Logger receives what the server has to say, never a token. Nil discards
	// it.
	Logger *slog.Logger

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Introspection is how to ask the issuer about tokens (RFC 7662).
type Introspection struct {
	// ClientID and ClientSecret authenticate this server. At a tsidp it is a
	// client with [Config].Resource among its resource_identifiers. Required.
	ClientID, ClientSecret string
	// Cache is how long an answer that a token is good may be used again, at
	// most 5 min; a token's expiry ends it earlier. Zero: each request asks.
	Cache time.Duration
}

const (
	defaultLeeway = 10 * time.Second
	maxLeeway     = 5 * time.Minute
	maxAnswerAge  = 5 * time.Minute
)

// maxSeen is how many tokens are remembered: some megabytes.
const maxSeen = 4096

// A Server guards one resource. It is safe for concurrent use.
type Server struct {
	cfg      Config
	log      *slog.Logger
	issuer   *issuer
	keys     *keySource      // nil with introspection
	endpoint *source[string] // of introspection; nil without
	seen     *jwt.Seen[*verified]
	document document
	older    *source[[]byte] // for clients that know no document; see legacy.go
	// metadataURL is where the document is, by its path-inserted form.
	metadataURL string
}

// New checks the configuration. It asks nobody and starts nothing: see the
// package's documentation for when the issuer is asked.
func New(cfg Config) (*Server, error) {
	if cfg.Leeway == 0 {
		cfg.Leeway = defaultLeeway
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring resource server: %w", err)
	}
	// The caller keeps its slice.
	cfg.Scopes = slices.Clone(cfg.Scopes)
	s := &Server{cfg: cfg, log: cfg.Logger, issuer: newIssuer(cfg.Issuer, cfg.HTTPClient), seen: jwt.NewSeen[*verified](maxSeen)}
	if cfg.Introspection == nil {
		s.keys = newKeySource(s.issuer, cfg.Now, cfg.Logger)
	} else {
		s.cfg.Introspection = new(*cfg.Introspection)
		s.endpoint = newSource("introspection endpoint", s.issuer.introspectionEndpoint, cfg.Now, cfg.Logger)
	}
	s.older = newSource("metadata", s.renderIssuerMetadata, cfg.Now, cfg.Logger)
	return s, s.renderMetadata()
}

func (c *Config) validate() error {
	if err := checkURL(c.Issuer); err != nil {
		return fmt.Errorf("issuer %w", err)
	}
	// RFC 8414 §2: "a URL that uses the "https" scheme and has no query or
	// fragment components".
	if strings.ContainsAny(c.Issuer, "?#") {
		return errors.New("issuer has a query or a fragment")
	}
	if _, err := oauth.CanonicalResource(c.Resource); err != nil {
		return err
	}
	if err := checkURL(c.Resource); err != nil {
		return fmt.Errorf("resource %w", err)
	}
	if c.Documentation != "" {
		if err := checkURL(c.Documentation); err != nil {
			return fmt.Errorf("documentation %w", err)
		}
	}
	for _, scope := range c.Scopes {
		if scope == "offline_access" {
			return errors.New("scope offline_access is between client and issuer, no resource needs it")
		}
		if parsed, err := oauth.ParseScope(scope, nil); err != nil || !slices.Equal(parsed, []string{scope}) {
			return fmt.Errorf("%q is not a scope", scope)
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		return fmt.Errorf("leeway %v is not between 0 and %v", c.Leeway, maxLeeway)
	}
	return c.Introspection.validate()
}

func (i *Introspection) validate() error {
	switch {
	case i == nil:
		return nil
	case i.ClientID == "" || i.ClientSecret == "":
		return errors.New("introspection needs a client id and a client secret")
	case i.Cache < 0 || i.Cache > maxAnswerAge:
		return fmt.Errorf("introspection cache %v is not between 0 and %v", i.Cache, maxAnswerAge)
	}
	return nil
}

// checkURL says, as the predicate of a sentence, why s is no URL to send
// tokens to or to take keys from. Without TLS anybody on the way could answer.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" || u.User != nil {
		return fmt.Errorf("%q is not an absolute URL", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%q is neither https nor http on a loopback name", s)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

type tokenKey struct{}

// FromContext returns the token of the request that [Server.Protect] let
// through. It is the caller's own copy.
func FromContext(ctx context.Context) (*Token, bool) {
	t, ok := ctx.Value(tokenKey{}).(*Token)
	return t, ok
}
