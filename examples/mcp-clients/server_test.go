// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/tailscale/tsidp/rs"
)

// writeScope is what the tool "write" needs; "whoami" needs none.
const writeScope = "mcp:write"

// An mcpServer is an MCP server behind a tsidp.
type mcpServer struct {
	t           *testing.T
	url         string
	guard       *rs.Server
	read, write http.Handler

	mu      sync.Mutex
	refused map[string]bool
	last    *rs.Token // of the latest call of a tool
	raw     string    // the same as it was sent
}

func newMCPServer(t *testing.T, issuer string) *mcpServer {
	s := &mcpServer{t: t, refused: map[string]bool{}}
	srv := httptest.NewUnstartedServer(nil)
	s.url = "http://" + srv.Listener.Addr().String() + "/mcp"
	var err error
	if s.guard, err = rs.New(rs.Config{Issuer: issuer, Resource: s.url, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}); err != nil {
		t.Fatal(err)
	}
	tools := mcp.NewServer(&mcp.Implementation{Name: "tools", Version: "1.0.0"}, nil)
	for _, name := range []string{"whoami", "write"} {
		mcp.AddTool(tools, &mcp.Tool{Name: name, Description: name}, whoami)
	}
	withInfo := auth.RequireBearerToken(s.verify, nil)
	serve := withInfo(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, nil))
	s.read, s.write = s.guard.Protect(serve), s.guard.Protect(serve, writeScope)

	mux := http.NewServeMux()
	mux.Handle(rs.MetadataPath+"/", s.guard.Metadata())
	mux.Handle(rs.IssuerMetadataPath, s.guard.IssuerMetadata())
	mux.Handle("/mcp", s)
	srv.Config.Handler = mux
	srv.Start()
	t.Cleanup(srv.Close)
	return s
}

func whoami(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
	if req.Extra == nil || req.Extra.TokenInfo == nil {
		return nil, nil, errors.New("the call has no token")
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "you are " + req.Extra.TokenInfo.UserID}}}, nil, nil
}

func (s *mcpServer) verify(ctx context.Context, raw string, _ *http.Request) (*auth.TokenInfo, error) {
	t, err := s.guard.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	return &auth.TokenInfo{UserID: t.Subject, Expiration: t.Expires}, nil
}

// ServeHTTP looks which tool is called before anything is answered: what a
// token lacks is said by the status.
func (s *mcpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var call struct {
		Method string
		Params struct{ Name string }
	}
	_ = json.Unmarshal(body, &call) // other messages have other forms
	raw := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.isRefused(raw) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q, resource_metadata=%q", "invalid_token", s.guard.MetadataURL()))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if call.Method == "tools/call" {
		if t, err := s.guard.Verify(r.Context(), raw); err == nil {
			s.mu.Lock()
			s.last, s.raw = t, raw
			s.mu.Unlock()
		}
		if call.Params.Name == "write" {
			s.write.ServeHTTP(w, r)
			return
		}
	}
	s.read.ServeHTTP(w, r)
}

func (s *mcpServer) isRefused(raw string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[raw]
}

// expire has the server refuse the token that it saw last, as if it had ended.
func (s *mcpServer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[s.raw] = true
}

// wantCaller checks who called a tool last, and with what scopes among others.
func (s *mcpServer) wantCaller(client string, scopes ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.t.Fatal("nobody has called a tool")
	}
	if s.last.Subject != alice || client != "" && s.last.ClientID != client || !slices.Equal(s.last.Audience, []string{s.url}) {
		s.t.Errorf("the call is by %s, client %s, for %q; want %s, %s, %s", s.last.Subject, s.last.ClientID, s.last.Audience, alice, client, s.url)
	}
	for _, scope := range scopes {
		if !slices.Contains(s.last.Scopes, scope) {
			s.t.Errorf("scopes %q lack %s", s.last.Scopes, scope)
		}
	}
}

// A recorder notes which grants a client asks for.
type recorder struct {
	mu     sync.Mutex
	grants []string
	bodies []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == "POST" && strings.HasSuffix(req.URL.Path, "/token") {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
		_, grant, _ := strings.Cut(string(body), "grant_type=")
		grant, _, _ = strings.Cut(grant, "&")
		r.mu.Lock()
		r.grants, r.bodies = append(r.grants, grant), append(r.bodies, string(body))
		r.mu.Unlock()
	}
	return http.DefaultTransport.RoundTrip(req)
}

func (r *recorder) client() *http.Client { return &http.Client{Transport: r} }

// count is how often a grant has been asked for.
func (r *recorder) count(grant string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.grants {
		if g == grant {
			n++
		}
	}
	return n
}
