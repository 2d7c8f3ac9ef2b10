// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tailscale.com/tailcfg"
)

// Scopes that the provider knows. Anything else is narrowed away.
const (
	scopeOpenID        = "openid"
	scopeProfile       = "profile"
	scopeEmail         = "email"
	scopeGroups        = "groups"
	scopeTailscale     = "tailscale"
	scopeOfflineAccess = "offline_access"
)

var supportedScopes = []string{scopeOpenID, scopeProfile, scopeEmail, scopeGroups, scopeTailscale, scopeOfflineAccess}

// defaultScopes are granted to a client that asks for none and has none of
// its own.
var defaultScopes = []string{scopeOpenID, scopeProfile, scopeEmail}

func knownScope(s string) bool { return slices.Contains(supportedScopes, s) }

// userClaims are the claims about a person or machine, as they stand in ID
// tokens, userinfo and introspection answers alike (OpenID Connect Core
// section 5.1). What the scopes did not ask for is absent.
type userClaims struct {
	Email             string `json:"email,omitempty"`
	EmailVerified     *bool  `json:"email_verified,omitempty"`
	Name              string `json:"name,omitempty"`
	PreferredUsername string `json:"preferred_username,omitempty"`
	Picture           string `json:"picture,omitempty"`
	// Username is for imported clients only.
	Username string `json:"username,omitempty"`
	// Groups is always an array when its scope was asked for: applications
	// that mirror memberships must be able to remove the last one.
	Groups *[]string `json:"groups,omitempty"`

	Node      string         `json:"node,omitempty"`
	NodeID    tailcfg.NodeID `json:"nid,omitempty"`
	NodeKey   string         `json:"key,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Tags      []string       `json:"tags,omitempty"`
	Tailnet   string         `json:"tailnet,omitempty"`
	UserID    tailcfg.UserID `json:"uid,omitempty"`

	// added are those of claims_extra.go, which go over the ones above.
	added map[string]any
}

// acrNode is the acr of every login by a person: the request came over the
// tailnet from a device of theirs, as WhoIs says. There is no other way to log
// in, so there is no other value (OpenID Connect Core section 2 wants a URI).
const acrNode = "urn:tailscale:node"

// amrNode are its methods: proof of possession of a key, that of the node
// (RFC 8176 section 2).
var amrNode = []string{"pop"}

// claimNames is claims_supported of the metadata: those of userClaims and
// those that every ID token has.
var claimNames = []string{
	"iss", "sub", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "at_hash", "jti",
	"email", "email_verified", "name", "preferred_username", "picture", "groups",
	"node", "nid", "key", "addresses", "tags", "tailnet", "uid",
}

// naming decides which logins count as the tailnet's own.
type naming struct {
	// own are the mail domains of the tailnet's owner, lower case.
	own []string
	// plain is the domain whose local parts are user names as they are;
	// "" if there is none.
	plain     string
	all, none bool
}

// newNaming combines the configured policy with the tailnet's name: a bare
// domain such as example.com is the owner's; the name of a personal tailnet,
// alice@gmail.com, at least says which logins are short names within it.
func newNaming(cfg EmailVerified, tailnetName string) naming {
	n := naming{own: cfg.Domains, all: cfg.All, none: cfg.None}
	name := strings.ToLower(tailnetName)
	if len(n.own) == 0 && !n.all && !n.none && isDomain(name) {
		n.own = []string{name}
	}
	switch {
	case len(n.own) > 0:
		n.plain = n.own[0]
	case isDomain(name):
		n.plain = name
	default:
		_, n.plain, _ = strings.Cut(name, "@")
	}
	return n
}

// claimsFor maps an identity onto the claims that scopes ask for. It is pure.
func claimsFor(id *identity, scopes []string, n naming) userClaims {
	var c userClaims
	has := func(scope string) bool { return slices.Contains(scopes, scope) }
	if has(scopeEmail) {
		c.Email, c.EmailVerified = emailClaims(id, n)
	}
	if has(scopeProfile) {
		// Applications refuse people without a name.
		c.Name, c.Picture = cmp.Or(id.displayName, id.login), id.pictureURL
		c.PreferredUsername = preferredUsername(id, n)
	}
	if has(scopeGroups) {
		c.Groups = groupsClaim(id)
	}
	if has(scopeTailscale) {
		c.Node, c.NodeID, c.NodeKey, c.Addresses = id.nodeName, id.nodeID, id.nodeKey, id.addresses
		c.Tags = id.tags
		_, c.Tailnet, _ = strings.Cut(id.nodeName, ".")
		if !id.tagged() {
			c.UserID = id.userID
		}
	}
	return c
}

// emailClaims: a login such as alice@github is no address.
func emailClaims(id *identity, n naming) (string, *bool) {
	local, domain, _ := strings.Cut(id.login, "@")
	domain = strings.ToLower(domain)
	if local == "" || !isDomain(domain) {
		return "", nil
	}
	if !id.external && !n.none && (n.all || slices.Contains(n.own, domain)) {
		return id.login, new(true)
	}
	return id.login, nil
}

// preferredUsername is a name that applications may use as an account name:
// [a-z0-9._-], and nobody can take another's. The plain local part is for
// logins of one domain that need no cleaning; everybody else's carries the
// user id, which is why no plain one may look like that.
func preferredUsername(id *identity, n naming) string {
	local, domain, _ := strings.Cut(id.login, "@")
	if local == "" {
		return ""
	}
	clean := cleanUsername(local)
	if !id.external && clean == local && n.plain != "" && domain == n.plain && !endsInUserID(local) {
		return local
	}
	return fmt.Sprintf("%s-u%d", clean, int64(id.userID))
}

// cleanUsername replaces what account names may not have.
func cleanUsername(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, s)
}

// endsInUserID reports whether s ends in "-u" and digits.
func endsInUserID(s string) bool {
	rest := strings.TrimRight(s, "0123456789")
	return len(rest) < len(s) && strings.HasSuffix(rest, "-u")
}

// groupsClaim is the union of what the control plane and the rules say,
// sorted, never null.
func groupsClaim(id *identity) *[]string {
	all := append(slices.Clone(id.groups), id.rules.groups()...)
	slices.Sort(all)
	all = slices.Compact(all)
	if all == nil {
		all = []string{}
	}
	return &all
}
