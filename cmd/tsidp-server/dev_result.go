// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

// A demoResult is what a login has brought the demo application.
type demoResult struct {
	IDToken       []claim
	Userinfo      []claim
	Introspection []claim
	AccessToken   []claim
	Response      string // of the token endpoint, indented
}

// A claim is one member of a JSON object, for people.
type claim struct {
	Name    string
	Value   string
	Note    string // what it means, or what a number stands for
	Complex bool   // Value is indented JSON
}

// result verifies the tokens and asks for everything that can be asked with
// them.
func (a *demoApp) result(ctx context.Context, m *metadata, token *oauth2.Token, nonce string, response []byte) (*demoResult, error) {
	keys, err := a.keys(ctx, m)
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := verify(keys, raw, jwt.Expected{Issuer: a.issuer, AnyAudience: jwt.Audience{demoID}, Time: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("verifying ID token: %w", err)
	}
	// "Clients MUST verify that the nonce Claim Value is equal to the value of
	// the nonce parameter sent" (OpenID Connect Core section 2).
	if got := id.text("nonce"); got != nonce {
		return nil, fmt.Errorf("verifying ID token: it belongs to another login, its nonce is %q", got)
	}
	access, err := verify(keys, token.AccessToken, jwt.Expected{Issuer: a.issuer, AnyAudience: jwt.Audience{a.issuer}, Time: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("verifying access token: %w", err)
	}
	userinfo, err := a.userinfo(ctx, m, token.AccessToken)
	if err != nil {
		return nil, fmt.Errorf("asking for userinfo: %w", err)
	}
	// "The sub Claim in the UserInfo Response MUST be verified to exactly match
	// the sub Claim in the ID Token" (OpenID Connect Core section 5.3.2).
	if userinfo.text("sub") != id.text("sub") {
		return nil, fmt.Errorf("the userinfo is about %q, the ID token about %q", userinfo.text("sub"), id.text("sub"))
	}
	introspection, err := a.introspect(ctx, m, token.AccessToken)
	if err != nil {
		return nil, fmt.Errorf("introspecting access token: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, response, "", "  "); err != nil {
		return nil, fmt.Errorf("reading token response: %w", err)
	}
	now := time.Now()
	return &demoResult{
		IDToken:       id.claims(now),
		Userinfo:      userinfo.claims(now),
		Introspection: introspection.claims(now),
		AccessToken:   access.claims(now),
		Response:      indented.String(),
	}, nil
}

func (a *demoApp) keys(ctx context.Context, m *metadata) (*jose.JSONWebKeySet, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.JWKSURI, nil)
	if err != nil {
		return nil, err
	}
	body, err := a.fetch(r)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	return &keys, nil
}

func (a *demoApp) userinfo(ctx context.Context, m *metadata, accessToken string) (object, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.UserinfoEndpoint, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+accessToken)
	return a.fetchObject(r)
}

func (a *demoApp) introspect(ctx context.Context, m *metadata, accessToken string) (object, error) {
	form := url.Values{"token": {accessToken}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.IntrospectionEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// "encoded using the application/x-www-form-urlencoded encoding algorithm"
	// (RFC 6749 section 2.3.1).
	r.SetBasicAuth(url.QueryEscape(demoID), url.QueryEscape(demoSecret))
	return a.fetchObject(r)
}

func (a *demoApp) fetchObject(r *http.Request) (object, error) {
	body, err := a.fetch(r)
	if err != nil {
		return nil, err
	}
	return parseObject(body)
}

// verify returns the claims of a token signed with one of keys.
func verify(keys *jose.JSONWebKeySet, raw string, want jwt.Expected) (object, error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return nil, err
	}
	var registered jwt.Claims
	var all json.RawMessage
	if err := token.Claims(keys, &registered, &all); err != nil {
		return nil, err
	}
	if err := registered.Validate(want); err != nil {
		return nil, err
	}
	return parseObject(all)
}

// An object is a JSON object; its numbers are as they were written.
type object map[string]any

func parseObject(data []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	return o, nil
}

func (o object) text(name string) string {
	s, _ := o[name].(string)
	return s
}

// claims lists the members of o by name, as they are at now.
func (o object) claims(now time.Time) []claim {
	var list []claim
	for _, name := range slices.Sorted(maps.Keys(o)) {
		list = append(list, newClaim(name, o[name], now))
	}
	return list
}

func newClaim(name string, value any, now time.Time) claim {
	c := claim{Name: name, Note: meaning(name)}
	switch v := value.(type) {
	case string:
		c.Value = v
	case json.Number:
		c.Value = v.String()
		if isTime(name) {
			c.Note = strings.TrimPrefix(c.Note+": "+when(v, now), ": ")
		}
	default:
		// Neither can fail: v has come out of JSON.
		text, _ := json.Marshal(v)
		if c.Complex = len(text) > 40; c.Complex {
			text, _ = json.MarshalIndent(v, "", "  ")
		}
		c.Value = string(text)
	}
	return c
}

func isTime(name string) bool {
	switch name {
	case "exp", "iat", "nbf", "auth_time", "updated_at":
		return true
	}
	return false
}

// when tells a NumericDate (RFC 7519 section 2) for people.
func when(n json.Number, now time.Time) string {
	f, err := n.Float64()
	if err != nil {
		return ""
	}
	t := time.Unix(int64(f), 0).UTC()
	text := t.Format("2 January 2006, 15:04:05 UTC")
	switch d := t.Sub(now.Truncate(time.Second)); {
	case d > 0:
		return text + ", in " + d.String()
	case d < 0:
		return text + ", " + (-d).String() + " ago"
	}
	return text + ", now"
}

// meaning explains the claims that most people meet here for the first time.
func meaning(name string) string {
	switch name {
	case "active":
		return "the token is valid at this moment"
	case "aud":
		return "for whom it was issued"
	case "at_hash":
		return "ties the ID token to the access token"
	case "auth_time":
		return "the person was authenticated at"
	case "client_id", "azp":
		return "the application that asked for it"
	case "email_verified":
		return "the provider vouches for the address"
	case "exp":
		return "ends"
	case "iat":
		return "issued"
	case "nbf":
		return "begins"
	case "iss":
		return "the provider"
	case "jti":
		return "names this token"
	case "nonce":
		return "ties the ID token to this login"
	case "scope":
		return "what was granted"
	case "sub":
		return "the stable id of the user: identify accounts by it, not by address"
	}
	return ""
}
