// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/safefetch"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
)

// Tailnet answers who a peer is. A [*tailscale.com/client/local.Client]
// satisfies it, be it of a tsnet server or of the host's tailscaled.
//
// Both methods must be safe for concurrent use and honour the context. If there
// is also the method Status of a local.Client, which lists the nodes,
// administrators can ask what the policy says of a user, not only of an address.
type Tailnet interface {
	// WhoIs returns the node and user behind addr, an IP address with or
	// without port. It returns an error that wraps
	// [tailscale.com/client/local.ErrPeerNotFound] when the tailnet knows no
	// such peer; any other error means that it could not be asked.
	WhoIs(ctx context.Context, addr string) (*apitype.WhoIsResponse, error)
	// StatusWithoutPeers tells whether the local node is running, and the
	// names of the tailnet.
	StatusWithoutPeers(ctx context.Context) (*ipnstate.Status, error)
}

// Config is what [New] needs to build a [Provider]. The zero value of every
// field that is not marked as required is a sound choice.
type Config struct {
	// Issuer is the URL by which clients know the provider, and the base of
	// all its endpoints: https, without query, fragment or trailing slash;
	// a path is allowed. Required.
	//
	// It is the identity of the provider in every token. It must never be
	// derived from a request.
	Issuer string

	// Tailnet answers who peers are. Required.
	Tailnet Tailnet

	// Store keeps clients, grants and keys. Required: a provider that should
	// forget everything when the process ends says so by
	// [github.com/tailscale/tsidp/store/memory.New]. The provider uses it from
	// [Provider.Run] on and does not close it.
	Store store.Store

	// Hosts are further names by which browsers may reach the pages of the
	// provider, as in a Host header: "localhost:9411". The issuer's own is
	// always one. A request to a page under any other name is answered with
	// 421, so that no web page can reach the provider by a name of its own
	// (DNS rebinding).
	Hosts []string

	// Development marks the provider as one for development: the issuer may
	// be http on a loopback name, and the store belongs to development for
	// good. A store of the other sort is refused by Run.
	Development bool

	// EmailVerified says whose addresses are asserted as verified. Default:
	// those of the tailnet's own domain, if its name is a domain.
	EmailVerified EmailVerified

	// OmitResponseIssuer leaves the iss parameter (RFC 9207) out of
	// authorization responses and its promise out of the metadata, for
	// applications whose libraries stumble over it. It weakens the defence
	// against mix-up attacks: leave it false.
	OmitResponseIssuer bool

	// Lifetimes are those of clients that have no own. Nil means the
	// defaults.
	Lifetimes *Lifetimes

	// ImportDir is the state directory of a version before the store. When
	// the store is opened for the first time, its signing key and clients are
	// taken over; its files are left as they are. A file that cannot be read
	// stops Run. Empty: nothing is imported.
	ImportDir string

	// KeyRotation is how long a key signs before the next takes its place: 90
	// days by default, at least 7. Keys are published two days before.
	KeyRotation time.Duration

	// KeyEncryptionKey seals private and symmetric keys in the store. Nil
	// leaves them as they are, as private as the store. Keys that are not
	// sealed yet are when it is first given; from then on it is needed.
	KeyEncryptionKey *[32]byte

	// TokenExchange turns on token exchange (RFC 8693). Nil: it is off.
	TokenExchange *TokenExchange

	// ClientDocuments lets clients in whose id is the https address of their
	// metadata. Nil refuses them.
	ClientDocuments *ClientDocuments

	// ClientFetch is how their documents, and key sets of other clients, are
	// fetched. Nil means from public addresses only.
	ClientFetch *ClientFetch

	// Condition, if not nil, tells in a few words what keeps the program
	// around the provider from serving everybody, such as "waiting for TLS
	// certificate"; empty: nothing does. The health endpoint repeats it. It is
	// called concurrently and must return at once.
	Condition func() string
	// Checks are further things without which the provider is not ready, for
	// /readyz.
	Checks []Check

	// Audit, if not nil, takes every decision: of logins, consents and tokens
	// before it is carried out, of everything else after it. It is called
	// concurrently, and requests wait for it. Its error is logged.
	Audit func(context.Context, AuditEvent) error
	// AuditRequired refuses logins, consents and tokens that Audit has not
	// taken: 503, and nothing is consumed.
	AuditRequired bool

	// DebugRequests logs every request and response at level debug, with
	// secrets, codes, tokens and cookies replaced.
	DebugRequests bool

	// Logger receives what the provider has to say, with fixed keys (client,
	// user, node, grant, request, error) and never a secret. Nil discards it.
	// The engine below (zitadel/oidc) logs a few lines to [slog.Default].
	Logger *slog.Logger

	// Now is the clock. Nil means time.Now.
	Now func() time.Time

	testFetch func(*safefetch.Config) // lets tests serve documents
}

// EmailVerified is a policy for the claim email_verified (OpenID Connect
// Core section 5.1). The zero value is the default of [Config]: addresses of
// the tailnet's own domain are verified, all others carry no claim.
//
// Whatever the policy, logins that are no addresses (alice@github,
// bob@passkey) and users of other tailnets are never asserted as verified.
type EmailVerified struct {
	// Domains are the mail domains that belong to the owner of the tailnet,
	// lower case. Their first one is the own domain of preferred_username.
	Domains []string
	// All asserts every address; None asserts none.
	All, None bool
}

// ParseEmailVerified reads the form of the command line flag:
// "own:example.com,example.org", "all", "none", or "" for the default.
func ParseEmailVerified(s string) (EmailVerified, error) {
	switch {
	case s == "":
		return EmailVerified{}, nil
	case s == "all":
		return EmailVerified{All: true}, nil
	case s == "none":
		return EmailVerified{None: true}, nil
	}
	list, ok := strings.CutPrefix(s, "own:")
	if !ok {
		return EmailVerified{}, fmt.Errorf("email-verified %q is none of own:DOMAIN[,DOMAIN…], all, none", s)
	}
	var e EmailVerified
	for d := range strings.SplitSeq(list, ",") {
		d = strings.ToLower(strings.TrimSpace(d))
		if !isDomain(d) {
			return EmailVerified{}, fmt.Errorf("email-verified: %q is not a domain name", d)
		}
		e.Domains = append(e.Domains, d)
	}
	return e, nil
}

// Lifetimes bound what is handed to clients. A zero field means its default.
type Lifetimes struct {
	// Code is that of an authorization code: at most, and by default, 60 s.
	Code time.Duration
	// AccessToken, 5 min by default, at most 1 h. A resource server that
	// verifies tokens offline notices a withdrawn grant only when it ends.
	AccessToken time.Duration
	// IDToken, 1 h by default: applications use it as the length of their
	// own session.
	IDToken time.Duration
	// RefreshIdle is how long a refresh token may lie unused: 30 days.
	RefreshIdle time.Duration
	// RefreshTotal is how long a login can be refreshed at all: 365 days.
	RefreshTotal time.Duration
}

// refreshGrace is how long a rotated refresh token may be presented again:
// clients retry when an answer gets lost, and agents refresh from several
// windows at once.
const refreshGrace = 30 * time.Second

// maxCodeLifetime: "a maximum authorization code lifetime of 10 minutes is
// RECOMMENDED" (RFC 6749 section 4.1.2); RFC 9700 wants it much shorter.
const maxCodeLifetime = time.Minute

// The other lifetimes have bounds too, so that a slip in a unit is noticed.
const (
	maxAccessTokenLifetime = time.Hour
	maxIDTokenLifetime     = 30 * 24 * time.Hour
	maxRefreshLifetime     = 10 * 365 * 24 * time.Hour
)

// withDefaults returns l with its zero fields filled in.
func (l Lifetimes) withDefaults() Lifetimes {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&l.Code, maxCodeLifetime)
	def(&l.AccessToken, 5*time.Minute)
	def(&l.IDToken, time.Hour)
	def(&l.RefreshIdle, 30*24*time.Hour)
	def(&l.RefreshTotal, 365*24*time.Hour)
	return l
}

// validate checks lifetimes that went through withDefaults.
func (l Lifetimes) validate() error {
	for _, f := range []struct {
		name        string
		value, most time.Duration
	}{
		{"Code", l.Code, maxCodeLifetime},
		{"AccessToken", l.AccessToken, maxAccessTokenLifetime},
		{"IDToken", l.IDToken, maxIDTokenLifetime},
		{"RefreshIdle", l.RefreshIdle, maxRefreshLifetime},
		{"RefreshTotal", l.RefreshTotal, maxRefreshLifetime},
	} {
		if f.value < time.Second || f.value > f.most {
			return fmt.Errorf("lifetime %s is %v, want between 1s and %v", f.name, f.value, f.most)
		}
	}
	return nil
}

// validate reports everything that is wrong with c, joined.
func (c *Config) validate() error {
	var errs []error
	if err := c.validateIssuer(); err != nil {
		errs = append(errs, err)
	}
	if c.Tailnet == nil {
		errs = append(errs, errors.New("Config.Tailnet is nil: set it to a *local.Client, such as the LocalClient of a tsnet.Server"))
	}
	if c.Store == nil {
		errs = append(errs, errors.New("Config.Store is nil: pass memory.New() for a provider that forgets everything when it ends"))
	}
	for _, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, "/@ ") || strings.ToLower(h) != h {
			errs = append(errs, fmt.Errorf("Config.Hosts: %q is not a lower-case host name with optional port", h))
		}
	}
	if e := c.EmailVerified; e.All && e.None || len(e.Domains) > 0 && (e.All || e.None) {
		errs = append(errs, errors.New("Config.EmailVerified: All, None and Domains exclude each other"))
	}
	for _, d := range c.EmailVerified.Domains {
		if !isDomain(d) {
			errs = append(errs, fmt.Errorf("Config.EmailVerified: %q is not a domain name in lower case", d))
		}
	}
	if c.KeyRotation != 0 && c.KeyRotation < minKeyRotation {
		errs = append(errs, fmt.Errorf("Config.KeyRotation is %v, want at least %v", c.KeyRotation, minKeyRotation))
	}
	if c.AuditRequired && c.Audit == nil {
		errs = append(errs, errors.New("Config.AuditRequired is set without Config.Audit"))
	}
	if err := validateChecks(c.Checks); err != nil {
		errs = append(errs, err)
	}
	if c.Lifetimes != nil {
		if err := c.Lifetimes.withDefaults().validate(); err != nil {
			errs = append(errs, fmt.Errorf("Config.Lifetimes: %w", err))
		}
	}
	return errors.Join(errs...)
}

// validateIssuer: "using the https scheme ... no query or fragment
// components" (RFC 8414 section 2).
func (c *Config) validateIssuer() error {
	bad := func(why string) error { return fmt.Errorf("Config.Issuer %q %s", c.Issuer, why) }
	u, err := url.Parse(c.Issuer)
	switch {
	case c.Issuer == "":
		return errors.New("Config.Issuer is empty: set it to the https URL by which clients reach the provider")
	case err != nil || u.Host == "" || u.Opaque != "":
		return bad("is not an absolute URL")
	case strings.ContainsAny(c.Issuer, "?#") || u.User != nil:
		return bad("has a query, a fragment or a user name; an issuer has none")
	case strings.HasSuffix(c.Issuer, "/"):
		return bad("ends in a slash: leave it out, clients compare the issuer byte by byte")
	case u.String() != c.Issuer || strings.ToLower(u.Host) != u.Host || !validPort(u):
		return bad("is not in normal form: write the host in lower case and the port as a number, and escape nothing that need not be")
	case u.EscapedPath() != u.Path || u.Path != "" && path.Clean(u.Path) != u.Path || strings.Contains(u.Path+"/", "/.well-known/"):
		return bad("has a path that no route can have: use plain segments, without escapes, dots and .well-known")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && c.Development && isLoopbackHost(u.Hostname()):
		return nil
	}
	return bad("must use https (http is for development on a loopback name only)")
}

// validPort reports whether u has no port, or a number from 1 to 65535.
func validPort(u *url.URL) bool {
	if !strings.HasSuffix(u.Host, ":"+u.Port()) {
		return true // no colon behind the host
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n != 0 && u.Port()[0] != '0'
}

func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// isDomain reports whether s looks like a DNS domain with at least two
// labels, which tells an organisation's tailnet (example.com) from a
// personal one (alice@gmail.com, or a free name).
func isDomain(s string) bool {
	if len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}
