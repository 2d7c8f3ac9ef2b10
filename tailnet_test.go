// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/tailnettest"
	"github.com/tailscale/tsidp/store/memory"
	"golang.org/x/oauth2"
)

// A realTailnet is a provider on a tsnet node of its own, with TLS, on a
// tailnet on loopback: control server, relay and nodes are the real ones.
type realTailnet struct {
	*tailnettest.Tailnet
	idp    *tailnettest.Node
	p      *tsidp.Provider
	issuer string
}

const administrator = "root@example.com"

func newRealTailnet(t *testing.T) *realTailnet {
	t.Helper()
	tn := &realTailnet{Tailnet: tailnettest.Start(t)}
	tn.SetGrants(tailnettest.Allow(administrator, "idp", `{"allow_admin_ui": true}`))
	tn.idp = tn.Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
	tn.issuer = "https://" + tn.idp.FQDN()

	p, err := tsidp.New(tsidp.Config{
		Issuer: tn.issuer, Tailnet: tn.idp.LocalClient(), Store: memory.New(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	tn.p = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-p.Ready()
	ln, err := tn.idp.Listen("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: p.Handler(), ConnContext: p.ConnContext, TLSConfig: &tls.Config{GetCertificate: tn.idp.LocalClient().GetCertificate}}
	go srv.ServeTLS(ln, "", "")
	t.Cleanup(func() {
		srv.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tn
}

// newClient registers a client from an administrator's node.
func (tn *realTailnet) newClient(t *testing.T, redirectURI string) (id, secret string) {
	t.Helper()
	desk := tn.Node(t, "desk", tailnettest.User(administrator)).Up(t)
	body := fmt.Sprintf(`{"client_name":"App","redirect_uris":[%q]}`, redirectURI)
	res, err := desk.HTTPClient().Post(tn.issuer+"/api/v1/clients", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var c struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("creating a client: %s, %v", res.Status, err)
	}
	return c.ID, c.Secret
}

// A relyingParty is an application as everybody writes them, on a node of its
// own: golang.org/x/oauth2 and go-oidc, unmodified.
type relyingParty struct {
	url      string
	oauth    oauth2.Config
	provider *oidc.Provider
	ctx      context.Context // carries the HTTP client of the node
}

func (tn *realTailnet) newRelyingParty(t *testing.T) *relyingParty {
	t.Helper()
	node := tn.Node(t, "app", tailnettest.Tagged("tag:app")).Up(t)
	rp := &relyingParty{url: "https://" + node.FQDN(), ctx: oidc.ClientContext(context.Background(), node.HTTPClient())}
	id, secret := tn.newClient(t, rp.url+"/callback")
	var err error
	if rp.provider, err = oidc.NewProvider(rp.ctx, tn.issuer); err != nil {
		t.Fatal(err)
	}
	rp.oauth = oauth2.Config{
		ClientID: id, ClientSecret: secret, RedirectURL: rp.url + "/callback", Endpoint: rp.provider.Endpoint(),
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", "groups"},
	}
	ln, err := node.ListenTLS("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", rp.login)
	mux.HandleFunc("/callback", rp.callback)
	srv := &http.Server{Handler: mux}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return rp
}

func (rp *relyingParty) login(w http.ResponseWriter, r *http.Request) {
	verifier := oauth2.GenerateVerifier()
	http.SetCookie(w, &http.Cookie{Name: "verifier", Value: verifier, Path: "/"})
	http.Redirect(w, r, rp.oauth.AuthCodeURL("a state", oidc.Nonce("a nonce"), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

// callback finishes the login and answers with the claims of the verified
// ID token and of userinfo.
func (rp *relyingParty) callback(w http.ResponseWriter, r *http.Request) {
	claims, err := rp.finish(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	json.NewEncoder(w).Encode(claims)
}

func (rp *relyingParty) finish(r *http.Request) (map[string]any, error) {
	verifier, err := r.Cookie("verifier")
	if err != nil {
		return nil, err
	}
	if r.FormValue("state") != "a state" {
		return nil, fmt.Errorf("state %q", r.FormValue("state"))
	}
	token, err := rp.oauth.Exchange(rp.ctx, r.FormValue("code"), oauth2.VerifierOption(verifier.Value))
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := rp.provider.Verifier(&oidc.Config{ClientID: rp.oauth.ClientID}).Verify(rp.ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		return nil, err
	}
	info, err := rp.provider.UserInfo(rp.ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, err
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return nil, err
	}
	claims["userinfo email"] = info.Email
	return claims, nil
}

// browse opens url on a node, as a browser would.
func browse(t *testing.T, node *tailnettest.Node, url string) (*http.Response, string) {
	t.Helper()
	c := node.HTTPClient()
	c.Timeout = 30 * time.Second
	var err error
	if c.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// TestRealTailnet is the main job: a person on a tailnet logs in to an
// unmodified application.
func TestRealTailnet(t *testing.T) {
	t.Parallel()
	tn := newRealTailnet(t)
	rp := tn.newRelyingParty(t)
	alice := tailnettest.User("alice@example.com", "group:eng")
	laptop := tn.Node(t, "laptop", alice).Up(t)

	t.Run("a user logs in", func(t *testing.T) {
		res, body := browse(t, laptop, rp.url+"/login")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", res.Status, body)
		}
		var claims map[string]any
		if err := json.Unmarshal([]byte(body), &claims); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{
			"iss": tn.issuer, "aud": rp.oauth.ClientID, "nonce": "a nonce",
			"sub":   alice.User.ID.String(),
			"email": "alice@example.com", "email_verified": true, "preferred_username": "alice",
			"name": alice.User.DisplayName, "picture": alice.User.ProfilePicURL,
			"userinfo email": "alice@example.com",
		} {
			if claims[name] != want {
				t.Errorf("%s is %v, want %v", name, claims[name], want)
			}
		}
		if fmt.Sprint(claims["groups"]) != "[group:eng]" {
			t.Errorf("groups %v", claims["groups"])
		}
	})

	t.Run("a tagged node is refused and told why", func(t *testing.T) {
		robot := tn.Node(t, "robot", tailnettest.Tagged("tag:ci")).Up(t)
		res, body := browse(t, robot, rp.url+"/login")
		if res.StatusCode != http.StatusForbidden || res.Request.URL.Host != tn.idp.FQDN() || !strings.Contains(body, "This device is tagged tag:ci") {
			t.Errorf("%s from %s: %s", res.Status, res.Request.URL.Host, body)
		}
		if !strings.Contains(body, "error=access_denied") {
			t.Error("the page has no link back to the application")
		}
	})

	t.Run("a peer that WhoIs does not know gets a page, never a code", func(t *testing.T) {
		// A connection from loopback, and the address of a node that is gone,
		// both asked about at the real WhoIs.
		gone := tn.AddFake("gone", alice)
		tn.Update(func(s *tailnettest.State) { s.Nodes["gone"].Deleted = true })
		for name, h := range map[string]http.Handler{
			"loopback": tn.p.Handler(),
			"gone": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				tn.p.Handler().ServeHTTP(w, r.WithContext(tsidp.WithPeer(r.Context(), gone)))
			}),
		} {
			srv := httptest.NewUnstartedServer(h)
			srv.Config.ConnContext = tn.p.ConnContext
			srv.Start()
			defer srv.Close()
			req, err := http.NewRequest("GET", srv.URL+"/authorize?"+url.Values{
				"response_type": {"code"}, "client_id": {rp.oauth.ClientID}, "redirect_uri": {rp.oauth.RedirectURL},
			}.Encode(), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tn.idp.FQDN()
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "You are not on the tailnet") {
				t.Errorf("%s: %s to %q: %s", name, res.Status, res.Header.Get("Location"), body)
			}
		}
	})
}

// TestRealTailnetPolicy changes the policy while a login lives.
func TestRealTailnetPolicy(t *testing.T) {
	t.Parallel()
	tn := newRealTailnet(t)
	const resource = "https://mcp.example/mcp"
	grant := tailnettest.Allow("alice@example.com", "idp", `{"users": ["*"], "resources": ["`+resource+`"]}`)
	admin := tailnettest.Allow(administrator, "idp", `{"allow_admin_ui": true}`)
	laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)
	id, secret := tn.newClient(t, "http://127.0.0.1/cb")

	c := laptop.HTTPClient()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	verifier := oauth2.GenerateVerifier()
	cfg := oauth2.Config{
		ClientID: id, ClientSecret: secret, RedirectURL: "http://127.0.0.1/cb", Scopes: []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: tn.issuer + "/authorize", TokenURL: tn.issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	authorize := func() url.Values {
		res, err := c.Get(cfg.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", resource)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		u, err := res.Location()
		if err != nil {
			t.Fatalf("%s: %v", res.Status, err)
		}
		return u.Query()
	}
	if got := authorize().Get("error"); got != "invalid_target" {
		t.Errorf("without a grant: error %q, want invalid_target", got)
	}
	tn.SetGrants(admin, grant)
	waitFor(t, "the grant to be noticed", func() bool { return authorize().Has("code") })
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, c)
	token, err := cfg.Exchange(ctx, authorize().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	refresh := func() error {
		next, err := cfg.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		if err == nil {
			token = next
		}
		return err
	}
	if err := refresh(); err != nil {
		t.Fatal(err)
	}
	tn.SetGrants(admin)
	waitFor(t, "the withdrawal to be noticed", func() bool { return refresh() != nil })
	tn.SetGrants(admin, grant)
	waitFor(t, "the same refresh token to work again", func() bool { return refresh() == nil })
}

// waitFor waits until cond holds, at most 1.5 s: what the provider promises.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(1500 * time.Millisecond)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited 1.5 s for %s", what)
		case <-tick.C:
		}
	}
}
