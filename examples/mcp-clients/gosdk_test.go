// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package clients

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/tailscale/tsidp/examples/internal/world"
	"golang.org/x/oauth2"
)

// TestGoSDK is the official SDK for Go.
func TestGoSDK(t *testing.T) {
	secret := func(c world.Client) *oauthex.ClientCredentials {
		return &oauthex.ClientCredentials{ClientID: c.ID, ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: c.Secret}}
	}
	for _, tt := range []struct {
		name     string
		consents int // to the login and to the step up
		register func(s *stage, c *auth.AuthorizationCodeHandlerConfig) (id string)
	}{
		{"pre-registered public client", 0, func(s *stage, c *auth.AuthorizationCodeHandlerConfig) string {
			client := s.preregistered("none")
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: client.ID}
			return client.ID
		}},
		{"pre-registered client with a secret", 0, func(s *stage, c *auth.AuthorizationCodeHandlerConfig) string {
			client := s.preregistered("client_secret_post")
			c.PreregisteredClient = secret(client)
			return client.ID
		}},
		{"client metadata document", 2, func(s *stage, c *auth.AuthorizationCodeHandlerConfig) string {
			c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: s.documentID()}
			return s.documentID()
		}},
		{"dynamic registration", 2, func(s *stage, c *auth.AuthorizationCodeHandlerConfig) string {
			c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName: "agent", RedirectURIs: []string{redirectURI}, TokenEndpointAuthMethod: "none",
				GrantTypes: []string{"authorization_code", "refresh_token"},
			}}
			return ""
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			config := &auth.AuthorizationCodeHandlerConfig{
				RedirectURL: redirectURI, RequestRefreshToken: true, Client: s.record.client(), AuthorizationCodeFetcher: s.fetchCode,
				// The token ends while nobody looks.
				NewTokenSource: func(ctx context.Context, c *oauth2.Config, token *oauth2.Token) (oauth2.TokenSource, error) {
					ended := *token
					ended.Expiry = time.Now().Add(-time.Minute)
					return c.TokenSource(ctx, &ended), nil
				},
			}
			id := tt.register(s, config)
			handler, err := auth.NewAuthorizationCodeHandler(config)
			if err != nil {
				t.Fatal(err)
			}
			session := s.connect(handler)
			s.call(session, "whoami")
			s.server.wantCaller(id)
			if s.record.count("authorization_code") != 1 || s.record.count("refresh_token") == 0 {
				t.Errorf("grants %q", s.record.grants)
			}
			if n := s.browser.Consents(); n != min(tt.consents, 1) {
				t.Errorf("%d consents to the login", n)
			}
			s.call(session, "write")
			s.server.wantCaller(id, writeScope)
			if n := s.browser.Consents(); n != tt.consents {
				t.Errorf("%d consents, want %d", n, tt.consents)
			}
		})
	}
}

// fetchCode is the browser, as the SDK wants it.
func (s *stage) fetchCode(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	back, err := s.browser.Open(ctx, args.URL)
	if err != nil {
		return nil, err
	}
	q := back.Query()
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

func (s *stage) connect(handler auth.OAuthHandler) *mcp.ClientSession {
	s.t.Helper()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil).
		Connect(s.t.Context(), &mcp.StreamableClientTransport{Endpoint: s.server.url, OAuthHandler: handler}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { session.Close() })
	return session
}

func (s *stage) call(session *mcp.ClientSession, tool string) {
	s.t.Helper()
	res, err := session.CallTool(s.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
	if err != nil || res.IsError {
		s.t.Fatalf("%s: %v, error %v", tool, res, err)
	}
}

// TestGoSDKMachine is its client without a person. It sends no resource, so
// the administrator says which server the client is for.
func TestGoSDKMachine(t *testing.T) {
	s := newStage(t)
	machine := func(metadata map[string]any) (*mcp.ClientSession, error) {
		metadata["client_name"], metadata["grant_types"] = "nightly report", []string{"client_credentials"}
		c := world.Register(t, s.issuer, metadata)
		handler, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{
			Credentials: &oauthex.ClientCredentials{ClientID: c.ID, ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: c.Secret}},
			HTTPClient:  s.record.client(),
		})
		if err != nil {
			t.Fatal(err)
		}
		session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil).
			Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: s.server.url, OAuthHandler: handler}, nil)
		if err == nil {
			t.Cleanup(func() { session.Close() })
		}
		return session, err
	}
	if _, err := machine(map[string]any{}); err == nil {
		t.Error("a token for nothing in particular is good at the server")
	}
	session, err := machine(map[string]any{"default_resources": []string{s.server.url}})
	if err != nil {
		t.Fatal(err)
	}
	s.call(session, "whoami")
	s.call(session, "write")
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if got := s.server.last; got.Subject != got.ClientID || got.Subject == alice {
		t.Errorf("the call is by %s, client %s", got.Subject, got.ClientID)
	}
	for _, body := range s.record.bodies {
		if form, err := url.ParseQuery(body); err != nil || form.Has("resource") || !strings.Contains(body, "client_credentials") {
			t.Errorf("the SDK sends %q now, error %v: tell docs/machines.md", body, err)
		}
	}
}
