// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
	"tailscale.com/tailcfg"
)

// Consent. A client that an administrator made has the tailnet's; one that
// registered itself, or came by the address of its metadata, has nobody's: it
// may call itself what it likes, and with the login goes whatever the person
// may use. So the person is asked, once for each host that codes would be
// sent to, and again when the client says something else of itself.

// kindConsent is the kind of consent records: one for each person, client and
// host.
const kindConsent store.Kind = "consent"

// consentLifetime is how long an answer holds.
const consentLifetime = 365 * 24 * time.Hour

// A consentRecord is what a person agreed to.
type consentRecord struct {
	Scopes    []string `json:"scopes"`
	Resources []string `json:"resources,omitempty"`
	// Client is the fingerprint of the client as it was shown.
	Client string `json:"client"`

	// For people, who look through what they agreed to.
	Login      string               `json:"login"`
	Node       tailcfg.StableNodeID `json:"node"`
	ClientName string               `json:"client_name"`
	Host       string               `json:"redirect_host"`
}

// covers reports whether it holds for this request.
func (r *consentRecord) covers(c *codeRequest, fingerprint string) bool {
	return r.Client == fingerprint && includes(r.Scopes, c.scopes) && includes(r.Resources, c.resources)
}

func includes(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// fingerprint stands for all that the client says of itself, and for this
// registration of it.
func (c *client) fingerprint() string {
	b, err := json.Marshal(struct {
		Metadata  any
		CreatedAt int64
	}{c.ClientMetadata, c.CreatedAt.Unix()})
	if err != nil { // our own types always marshal
		panic(fmt.Sprintf("marshalling client metadata: %v", err))
	}
	return digest(string(b))
}

// consentKey is the ID of the record.
func consentKey(a *authorizeRequest) string {
	return digest(a.who.subject(), a.client.ID, redirectHost(a.replyTo))
}

// redirectHost is where a code goes: scheme, host and port; of a loopback
// address without the port, which is another at each start of the application;
// of an application's own scheme the scheme.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil, !isWeb(uri):
		scheme, _, _ := strings.Cut(uri, ":")
		return scheme + ":"
	case isLoopbackHost(u.Hostname()):
		return u.Scheme + "://" + strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return u.Scheme + "://" + u.Host
}

// needsConsent reports whether the person must be asked.
func (p *Provider) needsConsent(ctx context.Context, a *authorizeRequest, c *codeRequest) (bool, error) {
	if a.client.trusted() {
		return false, nil
	}
	if a.prompts("consent") {
		return true, nil
	}
	r, _, err := p.consent(ctx, a)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	return !r.covers(c, a.client.fingerprint()), nil
}

// consent loads what the person has agreed to.
func (p *Provider) consent(ctx context.Context, a *authorizeRequest) (*consentRecord, int64, error) {
	rec, err := p.store.Get(ctx, kindConsent, consentKey(a), p.now())
	if err != nil {
		return nil, 0, err
	}
	r, err := decodeConsent(rec)
	return r, rec.Version, err
}

func decodeConsent(rec store.Record) (*consentRecord, error) {
	var r consentRecord
	if err := json.Unmarshal(rec.Data, &r); err != nil {
		return nil, fmt.Errorf("reading consent: %w", err)
	}
	return &r, nil
}

// rememberConsent adds this request to what the person has agreed to.
func (p *Provider) rememberConsent(ctx context.Context, a *authorizeRequest, c *codeRequest) error {
	e := AuditEvent{Event: eventConsent, Scopes: c.scopes, Resources: c.resources}
	if err := p.auditFirst(ctx, e, "redirect", redirectHost(a.replyTo)); err != nil {
		return err
	}
	for {
		r, version, err := p.consent(ctx, a)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return storeError(err)
		}
		fresh := consentRecord{
			Scopes: c.scopes, Resources: c.resources, Client: a.client.fingerprint(),
			Login: a.who.principal(), Node: a.who.node, ClientName: a.client.displayName(), Host: redirectHost(a.replyTo),
		}
		if r != nil && r.Client == fresh.Client {
			fresh.Scopes, fresh.Resources = union(r.Scopes, c.scopes), union(r.Resources, c.resources)
		}
		data, err := json.Marshal(fresh)
		if err != nil {
			return fmt.Errorf("writing consent: %w", err)
		}
		now := p.now()
		_, err = p.store.Put(ctx, store.Record{
			Kind: kindConsent, ID: consentKey(a), Version: version, Data: data,
			Index:     map[string]string{indexClient: a.client.ID, indexUser: a.who.subject()},
			CreatedAt: now, ExpiresAt: now.Add(consentLifetime),
		}, now)
		switch {
		case errors.Is(err, store.ErrConflict):
			continue // another window of theirs; what it wrote counts too
		case err != nil:
			return storeError(err)
		}
		p.keepConsentedDocument(ctx, a.client)
		p.noteAudit(ctx, "consent given", e, "redirect", fresh.Host)
		return nil
	}
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// askConsent shows the page. What it shows is what the answer is for.
func (p *Provider) askConsent(w http.ResponseWriter, a *authorizeRequest, c *codeRequest) error {
	page := interactionPage{
		Title: "Let " + a.client.displayName() + " act for you?",
		Facts: []fact{
			{"The application calls itself", a.client.displayName()},
			{"It comes from", a.client.provenance()},
			{"You will be sent to", redirectHost(a.replyTo)},
		},
		Links: a.client.links(),
		Yes:   "Allow", No: "Deny", Switch: true,
	}
	for _, s := range c.scopes {
		page.Wants = append(page.Wants, scopeInWords(s))
	}
	for _, r := range c.resources {
		page.Wants = append(page.Wants, "use "+r+" as you")
	}
	if u, err := url.Parse(a.replyTo); err != nil || !isWeb(a.replyTo) || isLoopbackHost(u.Hostname()) {
		page.Warning = "It runs on this device, where any program could call itself that. Go on only if you have just started it yourself."
	}
	page.Shown = shown(a, c)
	return p.ask(w, pathAuthorize, a.form, &a.who, page)
}

// links are the pages that the client names: the server "SHOULD display this
// URL to the End-User" (OpenID Connect Registration section 2). Its logo is a
// link as well: an image may be anybody's, and to load it would tell its host
// who looks (RFC 7591 section 5).
func (c *client) links() []fact {
	return slices.DeleteFunc([]fact{
		{"Its website", c.ClientURI}, {"Its logo", c.LogoURI}, {"Its privacy policy", c.PolicyURI}, {"Its terms of service", c.TOSURI},
	}, func(f fact) bool { return f.Value == "" })
}

// shown names all that a consent page is about: the answer counts only for
// that.
func shown(a *authorizeRequest, c *codeRequest) string {
	return digest(a.client.fingerprint(), a.replyTo, strings.Join(c.scopes, " "), strings.Join(c.resources, " "))
}

// digest stands for texts that hold no NUL.
func digest(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// provenance says, for people, who vouches for the client.
func (c *client) provenance() string {
	switch {
	case c.Origin == originDocument:
		u, err := url.Parse(c.ID)
		if err != nil {
			return c.ID
		}
		return u.Host + " (" + c.ID + ")"
	case c.Owner == nil:
		return "a registration of its own, by nobody known"
	}
	who := c.Owner.Login
	if who == "" {
		who = c.Owner.Subject
	}
	if c.Owner.Name != "" {
		who += " on " + c.Owner.Name
	}
	if c.Owner.Page != "" {
		who += ", through the web page " + c.Owner.Page
	}
	return fmt.Sprintf("a registration by %s, %s", who, c.CreatedAt.Format("2 January 2006"))
}

// scopeInWords says what a scope gives.
func scopeInWords(scope string) string {
	switch scope {
	case scopeOpenID:
		return "know who you are"
	case scopeProfile:
		return "see your name, user name and picture"
	case scopeEmail:
		return "see your email address"
	case scopeGroups:
		return "see your groups"
	case scopeTailscale:
		return "see this device: its name, addresses and tailnet"
	case scopeOfflineAccess:
		return "stay logged in while you are away"
	}
	return "use the scope " + scope
}
