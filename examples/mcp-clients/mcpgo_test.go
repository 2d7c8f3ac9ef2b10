// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package clients

import (
	"errors"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
)

// TestMCPGo is the client of mark3labs/mcp-go. It leaves the steps to the
// program around it, as its example does, and has no step up of its own: the
// program logs in again with more scopes.
func TestMCPGo(t *testing.T) {
	for _, tt := range []struct {
		name     string
		consents int
		clientID func(s *stage) string // empty: it registers itself
	}{
		{"pre-registered public client", 0, func(s *stage) string { return s.preregistered("none").ID }},
		{"client metadata document", 2, (*stage).documentID},
		{"dynamic registration", 2, func(*stage) string { return "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			tokens := client.NewMemoryTokenStore()
			config := client.OAuthConfig{
				ClientID: tt.clientID(s), RedirectURI: redirectURI, TokenStore: tokens, PKCEEnabled: true, HTTPClient: s.record.client(),
			}
			c := s.connectMCPGo(config)
			s.callMCPGo(c, "whoami")
			s.server.wantCaller(config.ClientID)
			if n := s.browser.Consents(); n != min(tt.consents, 1) {
				t.Errorf("%d consents to the login", n)
			}

			// The token ends while nobody looks.
			token, err := tokens.GetToken(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			token.ExpiresAt = time.Now().Add(-time.Minute)
			s.server.expire()
			s.callMCPGo(c, "whoami")
			if s.record.count("refresh_token") != 1 {
				t.Errorf("grants %q", s.record.grants)
			}

			if _, err := c.CallTool(t.Context(), mcp.CallToolRequest{Params: mcp.CallToolParams{Name: "write"}}); err == nil {
				t.Fatal("the tool did without the scope that it needs")
			}
			config.Scopes, config.TokenStore = []string{"openid", writeScope}, client.NewMemoryTokenStore()
			s.callMCPGo(s.connectMCPGo(config), "write")
			s.server.wantCaller(config.ClientID, "openid", writeScope)
			if n := s.browser.Consents(); n != tt.consents {
				t.Errorf("%d consents, want %d", n, tt.consents)
			}
		})
	}
}

// connectMCPGo logs in when the client says that it has to.
func (s *stage) connectMCPGo(config client.OAuthConfig) *client.Client {
	s.t.Helper()
	c, err := client.NewOAuthStreamableHttpClient(s.server.url, config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	err = s.initialize(c)
	if !client.IsOAuthAuthorizationRequiredError(err) {
		s.t.Fatalf("the client needs no login: %v", err)
	}
	if err := s.login(err); err != nil {
		s.t.Fatal(err)
	}
	if err := s.initialize(c); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *stage) initialize(c *client.Client) error {
	if err := c.Start(s.t.Context()); err != nil {
		return err
	}
	_, err := c.Initialize(s.t.Context(), mcp.InitializeRequest{Params: mcp.InitializeParams{
		// The latest that our server has too.
		ProtocolVersion: "2025-11-25", ClientInfo: mcp.Implementation{Name: "test", Version: "1.0.0"},
	}})
	return err
}

// login is what its documentation has programs do with the error.
func (s *stage) login(required error) error {
	ctx, handler := s.t.Context(), client.GetOAuthHandler(required)
	verifier, err := client.GenerateCodeVerifier()
	if err != nil {
		return err
	}
	state, err := client.GenerateState()
	if err != nil {
		return err
	}
	if handler.GetClientID() == "" {
		if err := handler.RegisterClient(ctx, "agent"); err != nil {
			return err
		}
	}
	address, err := handler.GetAuthorizationURL(ctx, state, client.GenerateCodeChallenge(verifier))
	if err != nil {
		return err
	}
	back, err := s.browser.Open(ctx, address)
	if err != nil {
		return err
	}
	q := back.Query()
	if q.Get("code") == "" {
		return errors.New(back.String())
	}
	return handler.ProcessAuthorizationResponse(ctx, q.Get("code"), q.Get("state"), verifier)
}

func (s *stage) callMCPGo(c *client.Client, tool string) {
	s.t.Helper()
	res, err := c.CallTool(s.t.Context(), mcp.CallToolRequest{Params: mcp.CallToolParams{Name: tool}})
	if err != nil || res.IsError {
		s.t.Fatalf("%s: %v, error %v", tool, res, err)
	}
}
