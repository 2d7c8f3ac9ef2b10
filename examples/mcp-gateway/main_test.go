// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/tailscale/tsidp/examples/internal/world"
	"github.com/tailscale/tsidp/rs"
)

const redirectURI = "http://127.0.0.1:6276/oauth/callback"

func TestMain(m *testing.M) { world.Main(m, "tsidp-server", "mcp-server", "mcp-gateway") }

// TestWalkthrough is the README: the real tsidp, the real server, the gateway,
// and an unmodified client.
func TestWalkthrough(t *testing.T) {
	issuer := world.Provider(t, nil, "-enable-sts")
	upstream := "http://" + world.FreeAddress(t) + "/mcp"
	address := strings.TrimSuffix(strings.TrimPrefix(upstream, "http://"), "/mcp")
	world.Start(t, "MCP server at ", nil, "mcp-server", "-tsidp", issuer, "-http", address)

	gatewayAddress := world.FreeAddress(t)
	tools := "http://" + gatewayAddress + "/tools/mcp"
	gateway := world.Register(t, issuer, map[string]any{
		"client_name": "gateway", "grant_types": []string{"urn:ietf:params:oauth:grant-type:token-exchange"}, "resource_identifiers": []string{tools},
	})
	world.Start(t, tools+" leads to ", []string{secretVariable + "=" + gateway.Secret}, "mcp-gateway",
		"-tsidp", issuer, "-http", gatewayAddress, "-client-id", gateway.ID, "-upstream", "tools="+upstream)

	agent := world.Register(t, issuer, map[string]any{"client_name": "agent", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none"})
	session := connect(t, issuer, tools, agent.ID)
	var who struct {
		Subject, Client string
		Actors          []string
	}
	if err := json.Unmarshal(call(t, session, "whoami"), &who); err != nil {
		t.Fatal(err)
	}
	// The upstream sees the person, and the gateway that acts for them.
	if who.Subject != "userid:1001" || len(who.Actors) != 1 || who.Actors[0] != gateway.ID {
		t.Errorf("whoami: %+v, gateway %s", who, gateway.ID)
	}
}

// connect is an MCP client that knows nothing of what is behind the gateway.
func connect(t *testing.T, issuer, resource, clientID string) *mcp.ClientSession {
	t.Helper()
	browser := world.NewBrowser(issuer)
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: clientID}, RedirectURL: redirectURI,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			back, err := browser.Open(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			q := back.Query()
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: resource, OAuthHandler: handler}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// call returns the structured result of a tool.
func call(t *testing.T, session *mcp.ClientSession, tool string) []byte {
	t.Helper()
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{}})
	if err != nil || res.IsError {
		t.Fatalf("%s: %v, error %v", tool, res, err)
	}
	data, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestAnswers: what clients hear when the token endpoint or the upstream does
// not want them.
func TestAnswers(t *testing.T) {
	var tokenAnswer func(w http.ResponseWriter, form url.Values)
	mux := http.NewServeMux()
	idp := httptest.NewServer(mux)
	defer idp.Close()
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": idp.URL, "token_endpoint": idp.URL + "/token", "authorization_endpoint": idp.URL + "/authorize",
			"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		tokenAnswer(w, r.PostForm)
	})
	refuse := func(status int, code string) func(http.ResponseWriter, url.Values) {
		return func(w http.ResponseWriter, _ url.Values) {
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"error": code})
		}
	}
	const callersToken, exchangedToken = "the-token-of-the-caller", "the-exchanged-token"
	grant := func(w http.ResponseWriter, form url.Values) {
		if form.Get("subject_token") != callersToken || form.Get("resource") == "" {
			t.Errorf("exchange asks %v", form)
		}
		json.NewEncoder(w).Encode(map[string]string{"access_token": exchangedToken})
	}
	upstreamSays := func(status int, challenge string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+exchangedToken {
				t.Errorf("the upstream gets %q", got)
			}
			if r.Header.Get("Cookie") != "" || r.Header.Get("Tailscale-User-Login") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Mcp-Session-Id") != "s" {
				t.Errorf("the upstream gets the headers %v", r.Header)
			}
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Set-Cookie", "upstream=1")
			w.Header().Set("Location", "https://elsewhere.example/")
			if challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
			}
			w.WriteHeader(status)
		}
	}
	good := upstreamSays(200, "")
	for _, tt := range []struct {
		name      string
		token     func(http.ResponseWriter, url.Values)
		upstream  http.HandlerFunc
		status    int
		challenge string
	}{
		{"good", grant, good, 200, ""},
		{"policy refuses", refuse(400, "invalid_target"), nil, 403, ""},
		{"the token is not good any more", refuse(400, "invalid_request"), nil, 401, `Bearer error="invalid_token", resource_metadata="METADATA"`},
		{"the gateway is unknown", refuse(401, "invalid_client"), nil, 502, ""},
		{"the tsidp is ill", func(w http.ResponseWriter, _ url.Values) { w.WriteHeader(500) }, nil, 502, ""},
		{"no token in the answer", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte("{}")) }, nil, 502, ""},
		{"the upstream refuses the token", grant, upstreamSays(401, `Bearer resource_metadata="https://elsewhere.example/"`), 502, ""},
		{"a scope is missing", grant, upstreamSays(403, `Bearer error="insufficient_scope", scope="mcp:write", resource_metadata="https://elsewhere.example/"`), 403,
			`Bearer error="insufficient_scope", resource_metadata="METADATA", scope="mcp:write"`},
		{"forbidden", grant, upstreamSays(403, `Basic realm="x"`), 403, ""},
		{"the upstream is in error", grant, upstreamSays(500, ""), 500, ""},
		{"the upstream redirects", grant, upstreamSays(307, ""), 502, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokenAnswer = tt.token
			up := httptest.NewServer(tt.upstream)
			defer up.Close()
			target, err := url.Parse(up.URL + "/mcp")
			if err != nil {
				t.Fatal(err)
			}
			log := slog.New(slog.NewTextHandler(t.Output(), nil))
			guard, err := rs.New(rs.Config{Issuer: idp.URL, Resource: "http://localhost:9934/tools/mcp"})
			if err != nil {
				t.Fatal(err)
			}
			d := &door{guard: guard, target: target, tokens: &exchanger{issuer: idp.URL, clientID: "gw", secret: "s"}, log: log}
			r := httptest.NewRequest("POST", "/tools/mcp", strings.NewReader("{}"))
			r.Header.Set("Authorization", "bearer  "+callersToken+" ")
			r.Header.Set("Cookie", "a=b")
			r.Header.Set("Tailscale-User-Login", "root@example.com")
			r.Header.Set("X-Forwarded-For", "100.64.0.1")
			r.Header.Set("Mcp-Session-Id", "s")
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r)
			want := strings.ReplaceAll(tt.challenge, "METADATA", guard.MetadataURL())
			if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != want {
				t.Errorf("status %d, challenge %q, want %d, %q", w.Code, w.Header().Get("WWW-Authenticate"), tt.status, want)
			}
			if strings.Contains(w.Body.String(), exchangedToken) || w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("headers %v, body %s", w.Header(), w.Body)
			}
		})
	}
}

// TestUpstreamOption: mistakes are told at the start.
func TestUpstreamOption(t *testing.T) {
	upstreams := map[string]*url.URL{}
	for _, s := range []string{"", "a", "=http://x/", "a=", "a=x", "a=ftp://x/", "a/b=http://x/", "{a}=http://x/"} {
		if addUpstream(upstreams, s) == nil {
			t.Errorf("%q is no error", s)
		}
	}
	if err := addUpstream(upstreams, "a=https://x.example/mcp?v=1"); err != nil {
		t.Error(err)
	}
	if addUpstream(upstreams, "a=https://y.example/") == nil {
		t.Error("a name twice is no error")
	}
	if _, err := newHandler("http://localhost:1", nil, &exchanger{issuer: "http://localhost:2"}, slog.Default()); err == nil {
		t.Error("no upstream is no error")
	}
	if _, err := newHandler("http://mcp.example", upstreams, &exchanger{issuer: "http://localhost:2"}, slog.Default()); err == nil {
		t.Error("a resource without TLS is no error")
	}
}
