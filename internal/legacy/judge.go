// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/tailscale/tsidp/internal/oauth"
)

const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"

	grantCode     = "authorization_code"
	grantRefresh  = "refresh_token"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// Bounds for what describes a client. Earlier versions had none.
const (
	maxText   = 2048 // bytes
	maxList   = 50   // entries
	minSecret = 32   // characters of a secret that is not worth a note
	maxQuoted = 200  // bytes of a text that a note or an error quotes
)

// client judges the record.
func (r *record) client() Client {
	c := Client{
		ID:                    r.key,
		Secret:                newSecret(r.secret),
		ResponseTypes:         []string{"code"},
		DynamicallyRegistered: r.dynamicallyRegistered,
	}
	c.judgeID()
	c.judgeSecret()
	c.judgeRedirectURIs(r)
	c.judgeMethods(r)
	c.judgeTexts(r)
	// Clients that were made in the pages have the year 1.
	if t := r.createdAt.UTC(); t.Year() >= 1970 && t.Year() <= 9999 {
		c.CreatedAt = t
	}
	if len(r.unknown) > 0 {
		c.note("It has unknown members, which are not imported: %s.", quoteAll(r.unknown))
	}
	return c
}

func (c *Client) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

func (c *Client) disable(format string, args ...any) {
	c.Disabled = true
	c.note(format, args...)
}

// judgeID disables clients whose id means something else today. Earlier
// versions made ids of 32 hexadecimal digits; all others are made by hand.
func (c *Client) judgeID() {
	lower := strings.ToLower(c.ID)
	// RFC 9700 §4.15: an authorization server must not let a client id be
	// mistaken for a subject. Ids that are URLs are those of metadata documents.
	for _, prefix := range []string{"userid:", "node:", "http://", "https://"} {
		if strings.HasPrefix(lower, prefix) {
			c.disable("It is disabled: its id begins with %s, which means something else; make a new client for the application.", prefix)
			return
		}
	}
	if strings.ContainsFunc(c.ID, unprintable) || c.ID == "." || c.ID == ".." {
		c.disable("It is disabled: its id cannot be shown or be part of a URL; make a new client for the application.")
	}
}

func (c *Client) judgeSecret() {
	switch secret := c.Secret.Reveal(); {
	case secret == "":
		c.note("It has no secret, without which it could not log anybody in; make one for it.")
	case len(secret) < minSecret:
		c.note("Its secret has fewer than %d characters and stays valid; make a new one.", minSecret)
	}
}

func (c *Client) judgeRedirectURIs(r *record) {
	uris := without(r.redirectURIs, "")
	if len(uris) == 0 {
		// Once there is a list, this member is a copy of its first entry that
		// later changes of the list did not reach.
		uris = without([]string{r.redirectURI}, "")
	}
	if len(uris) == 0 {
		c.note("It has no redirect URI, without which it could not log anybody in; add one.")
		return
	}
	policy := oauth.AdministratorRedirects
	if c.DynamicallyRegistered {
		policy = oauth.SelfRegisteredRedirects
	}
	for _, uri := range uris {
		c.judgeRedirectURI(uri, policy)
	}
	if len(c.RedirectURIs) == 0 {
		c.disable("It is disabled: no redirect URI is left.")
	}
}

func (c *Client) judgeRedirectURI(uri string, policy oauth.RedirectPolicy) {
	rules := oauth.RedirectRules{IgnoreFragment: true}
	if _, ok := oauth.MatchRedirectURI([]string{uri}, uri, rules); !ok {
		c.note("The redirect URI %s is left out: %v.", quote(uri), oauth.CheckRedirectURI(uri, policy))
		return
	}
	c.RedirectURIs = append(c.RedirectURIs, uri)
	base, _, fragment := strings.Cut(uri, "#")
	err := oauth.CheckRedirectURI(base, policy)
	if fragment {
		c.IgnoreFragment = true
		c.note("The redirect URI %s has a fragment, so ignore_fragment is set: what follows a # is not compared, and not sent.", quote(uri))
	}
	if fragment || err != nil {
		c.LegacyRedirectURIs = append(c.LegacyRedirectURIs, uri)
	}
	switch {
	case err != nil:
		c.note("The redirect URI %s stays valid for this client, but not for new ones: %v.", quote(uri), err)
	case oauth.InsecureRedirect(uri):
		c.note("The redirect URI %s sends authorization codes in clear text; use https where the application can.", quote(uri))
	}
}

// judgeMethods keeps what clients were given, which was not what they had
// registered.
func (c *Client) judgeMethods(r *record) {
	switch c.TokenEndpointAuthMethod = r.tokenEndpointAuthMethod; c.TokenEndpointAuthMethod {
	case authBasic, authPost:
	case "":
		c.TokenEndpointAuthMethod = authBasic
	default:
		// Also "none": to take it at its word now would open the client to
		// everybody who knows its id.
		c.note("It registered the authentication method %s, but had to send its secret all the same, and still has to.",
			quote(c.TokenEndpointAuthMethod))
		c.TokenEndpointAuthMethod = authBasic
	}
	c.GrantTypes = []string{grantCode, grantRefresh}
	var others []string
	for _, t := range without(r.grantTypes, "") {
		switch t {
		case grantCode, grantRefresh:
		case grantExchange:
			c.GrantTypes = append(c.GrantTypes, t)
		default:
			others = append(others, t)
		}
	}
	if len(others) > 0 {
		c.note("It registered grant types that it could not use, which are not imported: %s.", quoteAll(others))
	}
}

// judgeTexts leaves out of descriptions what would corrupt a page or a log
// line. People log in without them.
func (c *Client) judgeTexts(r *record) {
	name := r.clientName
	if name == "" {
		name = r.name
	}
	if c.Name = clean(name); c.Name != name {
		c.note("Its name is imported without what cannot be shown, and up to %d bytes.", maxText)
	}
	c.ClientURI = c.link("client_uri", r.clientURI)
	c.LogoURI = c.link("logo_uri", r.logoURI)
	if _, err := oauth.ParseScope(r.scope, nil); err != nil {
		c.note("Its scope is not imported: %v.", err)
	} else {
		c.Scope = r.scope
	}
	contacts := without(r.contacts, "")
	for _, contact := range contacts {
		if len(c.Contacts) < maxList && clean(contact) == contact {
			c.Contacts = append(c.Contacts, contact)
		}
	}
	if n := len(contacts) - len(c.Contacts); n > 0 {
		c.note("%d of its contacts are not imported: they cannot be shown, or are too many.", n)
	}
	c.ApplicationType = "web"
	if r.applicationType == "native" {
		c.ApplicationType = "native"
	}
}

// link returns uri if a page may link to it.
func (c *Client) link(name, uri string) string {
	if uri == "" {
		return ""
	}
	if !strings.HasPrefix(uri, "https://") && !strings.HasPrefix(uri, "http://") || clean(uri) != uri {
		c.note("Its %s is not imported: it is not an http or https URL.", name)
		return ""
	}
	return uri
}

// clean returns s without unprintable characters, and at most maxText bytes of
// it.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, s)
	return cut(s, maxText)
}

// unprintable: control characters, and those that hide or reorder text.
func unprintable(r rune) bool {
	return r == unicode.ReplacementChar || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// cut returns at most n bytes of s, in whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// quote returns s for a line of text, shortened.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(cut(s, maxQuoted)) + "…"
	}
	return strconv.Quote(s)
}

// quoteAll quotes a list, shortened.
func quoteAll(list []string) string {
	const most = 10
	var quoted []string
	for _, s := range list[:min(len(list), most)] {
		quoted = append(quoted, quote(s))
	}
	if len(list) > most {
		quoted = append(quoted, fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(quoted, ", ")
}

// without returns list without duplicates and without s.
func without(list []string, s string) []string {
	var kept []string
	seen := map[string]bool{s: true}
	for _, e := range list {
		if !seen[e] {
			seen[e] = true
			kept = append(kept, e)
		}
	}
	return kept
}
