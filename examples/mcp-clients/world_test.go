// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package clients has unmodified MCP clients go the whole way against the real
// tsidp: they find it, are registered, log in with the person's consent, call
// a tool, refresh their tokens, and ask for more when a tool needs more.
package clients

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/examples/internal/world"
)

func TestMain(m *testing.M) { world.Main(m, "tsidp-server") }

const redirectURI = "http://127.0.0.1:6276/oauth/callback"

// alice is who is at the browser.
const alice = "userid:1001"

// A stage is a tsidp, an MCP server behind it, and a person at a browser.
type stage struct {
	t        *testing.T
	issuer   string
	server   *mcpServer
	browser  *world.Browser
	document *httptest.Server // where a client describes itself
	record   *recorder
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, record: &recorder{}}
	s.document = httptest.NewTLSServer(http.HandlerFunc(s.describe))
	t.Cleanup(s.document.Close)
	certificate := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.document.Certificate().Raw})
	if err := os.WriteFile(certificate, block, 0o600); err != nil {
		t.Fatal(err)
	}
	s.issuer = world.Provider(t, []string{"SSL_CERT_FILE=" + certificate},
		"-client-metadata-allow", strings.TrimPrefix(s.document.URL, "https://"))
	s.server = newMCPServer(t, s.issuer)
	s.browser = world.NewBrowser(s.issuer)
	return s
}

// documentID is the id of the client that describes itself.
func (s *stage) documentID() string { return s.document.URL + "/client.json" }

func (s *stage) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"client_id": s.documentID(), "client_name": "Remote Agent", "redirect_uris": []string{redirectURI, "http://127.0.0.1/cb"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none",
	})
}

// preregistered has an administrator make a client.
func (s *stage) preregistered(method string) world.Client {
	return world.Register(s.t, s.issuer, map[string]any{
		"client_name": "agent", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": method,
	})
}
