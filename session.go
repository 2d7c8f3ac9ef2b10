// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"tailscale.com/tailcfg"
)

// A session is what one browser remembers between two logins, in a sealed
// cookie. It is no credential: who somebody is comes from WhoIs, and without
// the cookie they are that person all the same. It can only make the provider
// ask more: whether too much time has passed since they last confirmed a
// login, or whether they have signed out.
type session struct {
	Subject  string               `json:"sub"`
	Node     tailcfg.StableNodeID `json:"node"`
	AuthTime int64                `json:"auth_time"` // Unix seconds
	// SignedOut are the clients whose next login needs a confirmation, as
	// clientMark makes them, or signedOutOfAll.
	SignedOut []string `json:"signed_out,omitempty"`

	changed bool
}

const (
	purposeSession = "session"
	// signedOutOfAll stands for every client.
	signedOutOfAll = "*"
	// maxSignedOut bounds the cookie; who signs out of more is signed out of
	// all.
	maxSignedOut = 100
	// sessionLifetime is the longest that browsers keep a cookie.
	sessionLifetime = 400 * 24 * time.Hour
)

// sessionCookie is the cookie's name. The prefix makes browsers refuse one
// that another host of the domain has set (RFC 6265bis section 4.1.3.2). A
// development server on plain http cannot have it.
func (p *Provider) sessionCookie() string {
	if p.secure() {
		return "__Host-tsidp"
	}
	return "tsidp"
}

func (p *Provider) secure() bool { return strings.HasPrefix(p.issuer, "https://") }

// readSession returns the session of who's browser, or a new one that begins
// now: a cookie of another user or node says nothing about this one, and one
// that cannot be read is none.
func (p *Provider) readSession(r *http.Request, who *identity) *session {
	now := p.now().Unix()
	begin := &session{Subject: who.subject(), Node: who.node, AuthTime: now, changed: true}
	cookie, err := r.Cookie(p.sessionCookie())
	if err != nil {
		return begin
	}
	b, err := p.unseal(r.Context(), purposeSession, cookie.Value)
	if err != nil {
		return begin
	}
	var s session
	if json.Unmarshal(b, &s) != nil || s.Subject != begin.Subject || s.Node != begin.Node {
		return begin
	}
	s.AuthTime = min(s.AuthTime, now) // the clock of another instance
	return &s
}

// writeSession sets the cookie if s has changed.
func (p *Provider) writeSession(w http.ResponseWriter, s *session) error {
	if !s.changed {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: p.sessionCookie(), Value: p.keys.Load().sealer.Seal(purposeSession, b),
		Path: "/", MaxAge: int(sessionLifetime / time.Second),
		Secure: p.secure(), HttpOnly: true,
		// A login begins on the application's site. Strict would hide the
		// cookie there.
		SameSite: http.SameSiteLaxMode,
	})
	return nil
}

// clientMark is a client in SignedOut: short, since its id may be a URL.
func clientMark(clientID string) string {
	sum := sha256.Sum256([]byte(clientID))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// signedOut reports whether the person has signed out of the client and not
// continued since.
func (s *session) signedOut(clientID string) bool {
	return slices.Contains(s.SignedOut, signedOutOfAll) || slices.Contains(s.SignedOut, clientMark(clientID))
}

// signOut notes that the person has signed out: of the client, or of all if
// clientID is empty.
func (s *session) signOut(clientID string) {
	mark := signedOutOfAll
	if clientID != "" {
		mark = clientMark(clientID)
	}
	switch {
	case slices.Contains(s.SignedOut, mark):
		return
	case mark == signedOutOfAll, len(s.SignedOut) >= maxSignedOut:
		s.SignedOut = []string{signedOutOfAll}
	default:
		s.SignedOut = append(s.SignedOut, mark)
	}
	s.changed = true
}

// confirm notes that the person has confirmed a login to the client now.
func (s *session) confirm(clientID string, now time.Time) {
	s.AuthTime, s.changed = now.Unix(), true
	mark := clientMark(clientID)
	s.SignedOut = slices.DeleteFunc(s.SignedOut, func(m string) bool { return m == mark || m == signedOutOfAll })
}
