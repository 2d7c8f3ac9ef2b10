// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
)

// A Token is what a good access token says.
type Token struct {
	// Subject is who acts: "userid:1234" for a user of the tailnet,
	// "node:…" for a tagged node. Subjects are unique and never reused.
	Subject string
	// ClientID is the application that the token was issued to.
	ClientID string
	// Scopes are those that were granted.
	Scopes []string
	// Audience are the resources that the token is for, this one among them,
	// in the spelling of the token.
	Audience []string
	// Expires is when the token ends. It is zero only if introspection does
	// not tell.
	Expires time.Time
	// Actors are those who act for the subject (RFC 8693 section 4.1), the
	// current one first. It is empty when the subject's own client calls.
	Actors []Actor

	payload []byte // never modified
}

// An Actor is a party that acts for the subject of a token.
type Actor struct {
	Issuer, Subject, ClientID string // each may be empty
}

// Claims decodes all claims of the token, with introspection the issuer's
// answer, into the struct or map that v points to.
func (t *Token) Claims(v any) error {
	if err := jwt.Unmarshal(t.payload, v); err != nil {
		return fmt.Errorf("decoding claims: %w", err)
	}
	return nil
}

func (t *Token) clone() *Token {
	c := *t
	c.Scopes, c.Audience, c.Actors = slices.Clone(t.Scopes), slices.Clone(t.Audience), slices.Clone(t.Actors)
	return &c
}

// hasAll reports whether every one of scopes was granted.
func (t *Token) hasAll(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(t.Scopes, scope) })
}

// claims are those that are looked at.
type claims struct {
	jwt.Claims
	Act *actClaim `json:"act"`
	// Confirmation binds the token to a key of the sender (RFC 7800).
	Confirmation json.RawMessage `json:"cnf"`
}

type actClaim struct {
	Issuer   string    `json:"iss"`
	Subject  string    `json:"sub"`
	ClientID string    `json:"client_id"`
	Act      *actClaim `json:"act"`
}

func (c *claims) token(payload []byte) *Token {
	t := &Token{Subject: c.Subject, ClientID: c.ClientID, Scopes: strings.Fields(c.Scope), Audience: c.Audience, payload: payload}
	if c.Expiry != nil {
		t.Expires = c.Expiry.Time()
	}
	for a := c.Act; a != nil; a = a.Act {
		t.Actors = append(t.Actors, Actor{a.Issuer, a.Subject, a.ClientID})
	}
	return t
}
