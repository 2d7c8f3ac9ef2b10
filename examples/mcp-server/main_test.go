// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

const redirectURI = "http://127.0.0.1:6276/oauth/callback"

// tailnet is one of a single administrator, whose grant names resource.
type tailnet struct{ resource string }

func (n tailnet) WhoIs(context.Context, string) (*apitype.WhoIsResponse, error) {
	return &apitype.WhoIsResponse{
		Node:        &tailcfg.Node{StableID: "n1", Name: "laptop.tail1234.ts.net."},
		UserProfile: &tailcfg.UserProfile{ID: 1, LoginName: "alice@example.com", DisplayName: "Alice"},
		CapMap: tailcfg.PeerCapMap{tailcfg.PeerCapabilityTsIDP: {
			`{"allow_admin_ui": true}`,
			tailcfg.RawMessage(fmt.Sprintf(`{"users": ["*"], "resources": [%q]}`, n.resource)),
		}},
	}, nil
}

func (tailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return &ipnstate.Status{BackendState: "Running", CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net"}}, nil
}

// newServer runs the example behind a provider whose grant names the resource
// that grant makes of the server's.
func newServer(t *testing.T, grant func(resource string) string) (issuer, resource string) {
	t.Helper()
	mcpServer := httptest.NewUnstartedServer(nil)
	resource = "http://" + mcpServer.Listener.Addr().String() + "/mcp"

	var provider http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		provider.ServeHTTP(w, r.WithContext(tsidp.WithPeer(r.Context(), netip.MustParseAddr("100.64.0.1"))))
	}))
	t.Cleanup(idp.Close)
	p, err := tsidp.New(tsidp.Config{Issuer: idp.URL, Tailnet: tailnet{grant(resource)}, Store: memory.New(), Development: true})
	if err != nil {
		t.Fatal(err)
	}
	provider = p.Handler()
	go p.Run(t.Context())
	<-p.Ready()

	if mcpServer.Config.Handler, err = newHandler(idp.URL, resource, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	mcpServer.Start()
	t.Cleanup(mcpServer.Close)
	return idp.URL, resource
}

func itself(resource string) string { return resource }

// register makes a public client as the README does.
func register(t *testing.T, issuer string) (id string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"client_name": "agent", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(issuer+"/api/v1/clients", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var c struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil || c.ID == "" {
		t.Fatalf("registering: %s, error %v", res.Status, err)
	}
	return c.ID
}

// browse stands in for the browser: being on the tailnet is the login, so the
// answer is a redirect with the code.
func browse(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", args.URL, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	u, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return nil, err
	}
	q := u.Query()
	if q.Get("code") == "" {
		return nil, fmt.Errorf("no code: %s, %s", q.Get("error"), q.Get("error_description"))
	}
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
}

// connect is an MCP client that gets its token by the book.
func connect(t *testing.T, resource, clientID string) (*mcp.ClientSession, auth.OAuthHandler, error) {
	t.Helper()
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: clientID}, RedirectURL: redirectURI,
		AuthorizationCodeFetcher: browse, RequestRefreshToken: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: resource, OAuthHandler: handler}, nil)
	return session, handler, err
}

// TestTools: the SDK's client meets the challenge, finds the provider, logs
// in, and calls the tools.
func TestTools(t *testing.T) {
	issuer, resource := newServer(t, itself)
	id := register(t, issuer)
	session, oauth, err := connect(t, resource, id)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	call := func(tool string, args, result any) {
		t.Helper()
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(res.StructuredContent)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, result); err != nil || res.IsError {
			t.Fatalf("%s: %v, error %v", tool, res, err)
		}
	}
	var who identity
	call("whoami", map[string]any{}, &who)
	if who.Subject != "userid:1" || who.Client != id || !slices.Equal(who.Scopes, []string{"offline_access"}) {
		t.Errorf("whoami: %+v", who)
	}
	var out total
	call("sum", numbers{[]float64{1, 2, 39}}, &out)
	if out.Total != 42 {
		t.Errorf("sum: %v", out)
	}

	// Behind "tailscale serve" requests come from loopback by another name.
	source, err := oauth.TokenSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", resource, bytes.NewReader([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "mcp.tail1234.ts.net"
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	token.SetAuthHeader(req)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusUnauthorized {
		t.Errorf("by another name: %s", res.Status)
	}
}

// TestChallenge: who has no token learns where to get one.
func TestChallenge(t *testing.T) {
	issuer, resource := newServer(t, itself)
	res, err := http.Post(resource, "application/json", bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	challenges, err := oauthex.ParseWWWAuthenticate(res.Header["Www-Authenticate"])
	if err != nil || res.StatusCode != http.StatusUnauthorized || len(challenges) != 1 {
		t.Fatalf("%s, challenges %v, error %v", res.Status, challenges, err)
	}
	metadata, err := oauthex.GetProtectedResourceMetadata(t.Context(), challenges[0].Params["resource_metadata"], resource, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(metadata.AuthorizationServers, []string{issuer}) {
		t.Errorf("authorization servers %v, want %s", metadata.AuthorizationServers, issuer)
	}
}

// TestPolicy: without a grant for the server there is no token for it.
func TestPolicy(t *testing.T) {
	issuer, resource := newServer(t, func(string) string { return "https://other.example/mcp" })
	session, _, err := connect(t, resource, register(t, issuer))
	if err == nil {
		session.Close()
		t.Fatal("connected without a grant")
	}
	t.Log(err)
}
