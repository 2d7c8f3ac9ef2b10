// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tailscale/tsidp/internal/jwt"
)

// An introspection is an answer of RFC 7662 section 2.2.
type introspection struct {
	Active bool `json:"active"`
	claims
}

// introspect asks the issuer about a token.
func (s *Server) introspect(ctx context.Context, token string) (*verified, error) {
	endpoint, err := s.endpoint.get(ctx, func(*string) bool { return true })
	if err != nil {
		return nil, err
	}
	asked := s.cfg.Now()
	body, err := s.ask(ctx, *endpoint, token)
	if err != nil {
		// Also when the issuer does not take our credentials: the client can do
		// nothing about it.
		s.log.Warn("cannot ask the issuer", "what", "introspection", "error", err)
		return nil, fmt.Errorf("%w: introspection: %w", ErrUnavailable, err)
	}
	var answer introspection
	if err := jwt.Unmarshal(body, &answer); err != nil {
		s.log.Warn("cannot ask the issuer", "what", "introspection", "error", "the answer is malformed")
		return nil, fmt.Errorf("%w: introspection: malformed answer", ErrUnavailable)
	}
	if err := s.checkAnswer(&answer); err != nil {
		return nil, err
	}
	v := &verified{token: answer.token(body), times: answer.Claims, until: asked.Add(s.cfg.Introspection.Cache)}
	if v.times.Expiry == nil {
		v.times.Expiry = jwt.NewNumericDate(v.until)
	}
	return v, nil
}

func (s *Server) ask(ctx context.Context, endpoint, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// RFC 6749 §2.3.1: "The client identifier is encoded using the
	// "application/x-www-form-urlencoded" encoding algorithm", the secret too.
	req.SetBasicAuth(url.QueryEscape(s.cfg.Introspection.ClientID), url.QueryEscape(s.cfg.Introspection.ClientSecret))
	return s.issuer.do(req)
}

// checkAnswer trusts the issuer in what it says, and checks what it cannot
// know: who we are. The members are optional there, all but active.
func (s *Server) checkAnswer(a *introspection) error {
	if !a.Active {
		return invalid("not active")
	}
	if err := s.checkMeant(&a.claims); err != nil {
		return err
	}
	times := a.Claims
	if times.Expiry == nil {
		times.Expiry = jwt.NewNumericDate(s.cfg.Now().Add(askTimeout))
	}
	if err := times.CheckTime(s.cfg.Now(), s.cfg.Leeway); err != nil {
		return invalidJWT(err)
	}
	return nil
}
