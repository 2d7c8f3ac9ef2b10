// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"
)

// This file is about habits of clients in the field, older ones and newer
// ones, each with a client that has that habit and does nothing beyond it.

// A habit is a client written down step by step.
type habit struct {
	*stage
	authorize, token, register string // endpoints
}

// issuerAnswer is what both ends of the search for endpoints return.
type issuerAnswer struct {
	Issuer    string `json:"issuer"`
	Authorize string `json:"authorization_endpoint"`
	Token     string `json:"token_endpoint"`
	Register  string `json:"registration_endpoint"`
}

// newHabit finds the endpoints in the metadata at base.
func newHabit(s *stage, base string) *habit {
	s.t.Helper()
	res, err := http.Get(base + "/.well-known/oauth-authorization-server")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var m issuerAnswer
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil || res.StatusCode != 200 || m.Authorize == "" {
		s.t.Fatalf("%s: %s, error %v", base, res.Status, err)
	}
	return &habit{s, m.Authorize, m.Token, m.Register}
}

// registered registers a client and returns its id.
func (h *habit) registered(body string) string {
	h.t.Helper()
	res, err := http.Post(h.register, "application/json", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	var c struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil || res.StatusCode != http.StatusCreated || c.ID == "" {
		h.t.Fatalf("registering: %s, error %v", res.Status, err)
	}
	return c.ID
}

// login is the authorization code flow with PKCE; more are parameters of both
// requests, in pairs.
func (h *habit) login(clientID string, more ...string) *tokens {
	h.t.Helper()
	verifier := oauth2.GenerateVerifier()
	u, err := url.Parse(h.authorize)
	if err != nil {
		h.t.Fatal(err)
	}
	q, form := u.Query(), url.Values{}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
		if more[i] == "resource" {
			form.Set(more[i], more[i+1])
		}
	}
	q.Set("response_type", "code")
	q.Set("client_id", clientID)
	q.Set("redirect_uri", redirectURI)
	q.Set("state", "s")
	q.Set("code_challenge", oauth2.S256ChallengeFromVerifier(verifier))
	q.Set("code_challenge_method", "S256")
	u.RawQuery = q.Encode()
	back, err := h.browser.Open(h.t.Context(), u.String())
	if err != nil {
		h.t.Fatal(err)
	}
	code := back.Query().Get("code")
	if code == "" {
		h.t.Fatalf("no code: %s", back)
	}
	for name, value := range map[string]string{
		"grant_type": "authorization_code", "client_id": clientID, "code": code, "redirect_uri": redirectURI, "code_verifier": verifier,
	} {
		form.Set(name, value)
	}
	got, err := h.post(form)
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
}

func (h *habit) refresh(clientID, token string, more ...string) (*tokens, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "refresh_token": {token}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return h.post(form)
}

func (h *habit) post(form url.Values) (*tokens, error) {
	res, err := http.PostForm(h.token, form)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", res.Status, body)
	}
	var got tokens
	return &got, json.Unmarshal(body, &got)
}

// works calls a tool with an access token, and checks who the server saw.
func (h *habit) works(access, clientID string) {
	h.t.Helper()
	client := oauth2.NewClient(h.t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: access}))
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil).
		Connect(h.t.Context(), &mcp.StreamableClientTransport{Endpoint: h.server.url, HTTPClient: client}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer session.Close()
	h.call(session, "whoami")
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	if h.server.last.Subject != alice || h.server.last.ClientID != clientID {
		h.t.Errorf("the server saw %+v", h.server.last)
	}
}

const registration = `{"client_name": "agent", "redirect_uris": ["` + redirectURI + `"], "token_endpoint_auth_method": "none"}`

// TestClientThatAsksTheServer: the first revision of MCP authorization, in
// which the server's origin has the metadata, and nobody knows resource.
func TestClientThatAsksTheServer(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, strings.TrimSuffix(s.server.url, "/mcp"))
	id := h.registered(registration)
	got := h.login(id)
	h.works(got.Access, id)
	again, err := h.refresh(id, got.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	h.works(again.Access, id)
}

// TestClientWithoutResource: the same at a server that has no such metadata.
// An administrator says what the client is for.
func TestClientWithoutResource(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	id := h.registered(registration)
	nowhere := h.login(id)
	req, err := http.NewRequest("POST", s.server.url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+nowhere.Access)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token for nothing in particular: %s", res.Status)
	}
	s.replace(id, map[string]any{"default_resources": []string{s.server.url}})
	h.works(h.login(id).Access, id)
}

// replace changes members of a client, as an administrator does.
func (s *stage) replace(id string, change map[string]any) {
	s.t.Helper()
	at := s.issuer + "/api/v1/clients/" + id
	res, err := http.Get(at)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var c map[string]any
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil {
		s.t.Fatal(err)
	}
	for name, value := range change {
		c[name] = value
	}
	body, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequest("PUT", at, strings.NewReader(string(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("If-Match", res.Header.Get("ETag"))
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		s.t.Fatalf("changing the client: %s, %s", answer.Status, text)
	}
}

// TestClientWithoutScope: neither at registration nor later, or an empty one.
func TestClientWithoutScope(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	for name, body := range map[string]string{
		"without": registration,
		"empty":   strings.Replace(registration, "{", `{"scope": "", `, 1),
		"null":    strings.Replace(registration, "{", `{"scope": null, `, 1),
	} {
		id := h.registered(body)
		for _, more := range [][]string{{}, {"scope", ""}} {
			got := h.login(id, append(more, "resource", s.server.url)...)
			if got.Scope == "" || got.Refresh == "" {
				t.Errorf("%s: scope %q, refresh token %q", name, got.Scope, got.Refresh)
			}
			h.works(got.Access, id)
		}
	}
}

// TestClientThatAsksForUnknownScopes: all that the metadata of both ends list,
// and more. What is unknown is left out.
func TestClientThatAsksForUnknownScopes(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	id := h.registered(registration)
	got := h.login(id, "resource", s.server.url, "scope", "openid email user:sessions files.read mcp:write")
	if got.Scope != "openid email mcp:write" {
		t.Errorf("scope %q", got.Scope)
	}
	h.works(got.Access, id)
}

// TestClientThatRegistersAtEveryStart has the same client back, and the person
// is not asked again.
func TestClientThatRegistersAtEveryStart(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	id := h.registered(registration)
	first := h.login(id, "resource", s.server.url)
	for range 3 {
		if again := h.registered(registration); again != id {
			t.Fatalf("another client: %s, first %s", again, id)
		}
		h.works(h.login(id, "resource", s.server.url).Access, id)
	}
	if n := s.browser.Consents(); n != 1 {
		t.Errorf("%d consents, want 1", n)
	}
	// What the earlier run had goes on.
	got, err := h.refresh(id, first.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	h.works(got.Access, id)
}

// TestClientThatAsksForOfflineAccess uninvited: it is no error, also where
// there is no refresh token for the client.
func TestClientThatAsksForOfflineAccess(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	for name, tt := range map[string]struct {
		body    string
		refresh bool
	}{
		"may refresh":     {registration, true},
		"may not refresh": {strings.Replace(registration, "{", `{"grant_types": ["authorization_code"], "client_id_hint": 1, `, 1), false},
		"registered less": {strings.Replace(registration, "{", `{"scope": "openid", "software_id": "x", `, 1), true},
	} {
		id := h.registered(tt.body)
		for _, more := range [][]string{{"scope", "offline_access"}, {"scope", "openid offline_access", "prompt", "consent"}} {
			got := h.login(id, append(more, "resource", s.server.url)...)
			if (got.Refresh != "") != tt.refresh {
				t.Errorf("%s: refresh token %q", name, got.Refresh)
			}
			h.works(got.Access, id)
		}
	}
}

// TestClientThatRefreshesAtOnce, since its windows share one token: all get
// the same successor, which goes on.
func TestClientThatRefreshesAtOnce(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	id := h.registered(registration)
	refresh := h.login(id, "resource", s.server.url).Refresh
	got := make([]*tokens, 20)
	errs := make([]error, len(got))
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i], errs[i] = h.refresh(id, refresh, "resource", s.server.url) })
	}
	wg.Wait()
	for i := range got {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if got[i].Refresh != got[0].Refresh {
			t.Fatal("different successors")
		}
		h.works(got[i].Access, id)
	}
	next, err := h.refresh(id, got[0].Refresh)
	if err != nil {
		t.Fatal(err)
	}
	h.works(next.Access, id)
}

// TestClientThatAddsASlash to the resource, at one or at all requests, or that
// writes it in another way.
func TestClientThatAddsASlash(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	id := h.registered(registration)
	for _, resource := range []string{s.server.url + "/", strings.Replace(s.server.url, "http://", "HTTP://", 1)} {
		got := h.login(id, "resource", resource)
		h.works(got.Access, id)
		for _, later := range []string{resource, s.server.url} {
			next, err := h.refresh(id, got.Refresh, "resource", later)
			if err != nil {
				t.Fatalf("%s, later %s: %v", resource, later, err)
			}
			h.works(next.Access, id)
			got = next
		}
	}
}

// TestClientThatIsGone hears so in the way that makes clients register again.
func TestClientThatIsGone(t *testing.T) {
	s := newStage(t)
	h := newHabit(s, s.issuer)
	id := h.registered(registration)
	refresh := h.login(id, "resource", s.server.url).Refresh
	req, err := http.NewRequest("DELETE", s.issuer+"/api/v1/clients/"+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if _, err := h.refresh(id, refresh); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || !strings.Contains(err.Error(), `"invalid_client"`) {
		t.Errorf("refresh: %v (deleting: %s)", err, res.Status)
	}
	next := h.registered(registration)
	if next == id {
		t.Error("the same client is back")
	}
	h.works(h.login(next, "resource", s.server.url).Access, next)
}
