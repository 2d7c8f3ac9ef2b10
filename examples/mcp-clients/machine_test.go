// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package clients

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"
)

// TestTaggedNode: a tagged device has no credentials and needs none. The SDKs
// have no provider for that; a program asks for the token itself.
func TestTaggedNode(t *testing.T) {
	s := newStage(t)
	ask := func(node string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequest("POST", s.issuer+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Tsidp-Dev-User", node)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var got struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, got.Token
	}
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {s.server.url}}
	if status, token := ask("alice@example.com", form); status != http.StatusUnauthorized || token != "" {
		t.Errorf("somebody's own device: %d, token %q", status, token)
	}
	status, token := ask("tag:ci", form)
	if status != http.StatusOK {
		t.Fatalf("the tagged device: %d", status)
	}
	client := oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: s.server.url, HTTPClient: client}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	s.call(session, "whoami")
	if got := s.server.last; got.Subject != got.ClientID || !strings.HasPrefix(got.Subject, "node:") {
		t.Errorf("the call is by %+v", got)
	}
}
