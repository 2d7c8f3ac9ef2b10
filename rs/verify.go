// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
)

// An invalidError says why a token is not good. The reason is for the client
// too, and quotes nothing of the token.
type invalidError struct{ reason string }

func (e *invalidError) Error() string { return ErrInvalidToken.Error() + ": " + e.reason }

func (e *invalidError) Unwrap() error { return ErrInvalidToken }

func invalid(reason string) error { return &invalidError{reason} }

// invalidJWT translates an error of package jwt.
func invalidJWT(err error) error {
	return invalid(strings.TrimPrefix(err.Error(), jwt.ErrInvalid.Error()+": "))
}

// A verified is a token that was good when it was looked at.
type verified struct {
	token *Token
	times jwt.Claims     // what CheckTime needs
	key   *jwt.PublicKey // nil with introspection, which has
	until time.Time      // when to ask again
}

// Verify reports what an access token says if it is good: see the package's
// documentation. The error wraps [ErrInvalidToken] or [ErrUnavailable].
//
// Scopes are not compared with anything.
func (s *Server) Verify(ctx context.Context, token string) (*Token, error) {
	if len(token) > jwt.MaxTokenLen {
		return nil, invalid("too long")
	}
	if v, ok := s.seen.Get(token); ok && s.stillGood(ctx, v) {
		return v.token.clone(), nil
	}
	v, err := s.examine(ctx, token)
	if err != nil {
		s.seen.Remove(token)
		return nil, err
	}
	if v.key != nil || s.cfg.Introspection.Cache > 0 {
		s.seen.Put(token, v)
	}
	return v.token.clone(), nil
}

// stillGood reports whether a token that was good need not be looked at
// again. What is otherwise, examine finds out.
func (s *Server) stillGood(ctx context.Context, v *verified) bool {
	now := s.cfg.Now()
	if v.times.CheckTime(now, s.cfg.Leeway) != nil {
		return false
	}
	if v.key == nil {
		return now.Before(v.until)
	}
	key, err := s.keys.lookup(ctx, v.key.ID)
	return err == nil && key == v.key
}

func (s *Server) examine(ctx context.Context, token string) (*verified, error) {
	if s.keys == nil {
		return s.introspect(ctx, token)
	}
	var key *jwt.PublicKey
	var unavailable error
	payload, err := jwt.Verify(token, jwt.TypeAccessToken, func(kid string) (jwt.PublicKey, bool) {
		if key, unavailable = s.keys.lookup(ctx, kid); key == nil {
			return jwt.PublicKey{}, false
		}
		return *key, true
	})
	if unavailable != nil {
		return nil, unavailable
	}
	if err != nil {
		return nil, invalidJWT(err)
	}
	var c claims
	if err := jwt.Unmarshal(payload, &c); err != nil {
		return nil, invalidJWT(err)
	}
	if err := s.check(&c); err != nil {
		return nil, err
	}
	return &verified{token: c.token(payload), times: c.Claims, key: key}, nil
}

// check is RFC 9068 section 4, after the signature.
func (s *Server) check(c *claims) error {
	if c.Issuer == "" {
		return invalid("no iss")
	}
	if err := s.checkMeant(c); err != nil {
		return err
	}
	if c.Subject == "" || c.ClientID == "" {
		return invalid("no sub or client_id")
	}
	if err := c.CheckTime(s.cfg.Now(), s.cfg.Leeway); err != nil {
		return invalidJWT(err)
	}
	return nil
}

// checkMeant refuses tokens that are good elsewhere.
func (s *Server) checkMeant(c *claims) error {
	if c.Issuer != "" && c.Issuer != s.cfg.Issuer {
		return invalid("of another issuer")
	}
	// RFC 9449 §7.2: a protected resource "MUST reject a DPoP-bound access
	// token received as a bearer token". We know no other way to receive one.
	if c.Confirmation != nil {
		return invalid("bound to a key of its client, not a bearer token")
	}
	// A token for somebody else must not work here, or whoever gets one could
	// use it everywhere.
	us := func(aud string) bool { return aud == s.cfg.Resource || oauth.SameResource(aud, s.cfg.Resource) }
	if !slices.ContainsFunc(c.Audience, us) {
		return invalid("not for this resource, which is " + s.cfg.Resource)
	}
	return nil
}
