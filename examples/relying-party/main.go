// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Relying-party is an application that logs people in with tsidp. Nothing in
// it is particular to tsidp: it uses golang.org/x/oauth2 and go-oidc as any
// application would.
//
//	go run ./relying-party -issuer http://localhost:9411
//
// With a development server it makes its own client. For any other issuer,
// pass -client-id and -client-secret of a client with the redirect URI
// http://localhost:8080/callback.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

var (
	issuer   = flag.String("issuer", "http://localhost:9411", "URL of the identity provider")
	addr     = flag.String("addr", "localhost:8080", "address to listen on")
	clientID = flag.String("client-id", "", "client id; empty: make a client through the admin API")
)

func main() {
	flag.Parse()
	app, err := newApp(context.Background(), *issuer, "http://"+*addr, *clientID, os.Getenv("CLIENT_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("open http://%s", *addr)
	log.Fatal(http.ListenAndServe(*addr, app))
}

// An app logs people in and shows what it learned.
type app struct {
	*http.ServeMux
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	provider *oidc.Provider
}

func newApp(ctx context.Context, issuer, self, id, secret string) (*app, error) {
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, err
	}
	if id == "" {
		if id, secret, err = register(ctx, issuer, self+"/callback"); err != nil {
			return nil, fmt.Errorf("making a client: %w", err)
		}
	}
	a := &app{
		ServeMux: http.NewServeMux(),
		oauth: oauth2.Config{
			ClientID: id, ClientSecret: secret, RedirectURL: self + "/callback",
			Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: id}),
		provider: provider,
	}
	a.HandleFunc("GET /{$}", a.home)
	a.HandleFunc("GET /login", a.login)
	a.HandleFunc("GET /callback", a.callback)
	return a, nil
}

// register makes a confidential client through the admin API, which this
// machine's user must be allowed to use.
func register(ctx context.Context, issuer, redirectURI string) (id, secret string, err error) {
	body, err := json.Marshal(map[string]any{"client_name": "relying-party", "redirect_uris": []string{redirectURI}})
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", issuer+"/api/v1/clients", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	var c struct {
		ID          string `json:"client_id"`
		Secret      string `json:"client_secret"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil {
		return "", "", err
	}
	if res.StatusCode != http.StatusCreated {
		return "", "", fmt.Errorf("%s: %s", res.Status, cmp.Or(c.Description, "no description"))
	}
	return c.ID, c.Secret, nil
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, `<!doctype html><title>relying party</title><p><a href="/login">Log in</a>`)
}

// login sends the browser away with fresh state, nonce and PKCE verifier,
// kept in a cookie until it returns.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	http.SetCookie(w, &http.Cookie{Name: "login", Value: state + "." + nonce + "." + verifier, Path: "/callback", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 600})
	http.Redirect(w, r, a.oauth.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	claims, err := a.finish(r)
	if err != nil {
		http.Error(w, "login failed: "+err.Error(), http.StatusBadRequest)
		return
	}
	page.Execute(w, claims)
}

// finish redeems the code, verifies the ID token and reads its claims.
func (a *app) finish(r *http.Request) (map[string]any, error) {
	cookie, err := r.Cookie("login")
	if err != nil {
		return nil, err
	}
	parts := strings.Split(cookie.Value, ".")
	if len(parts) != 3 || r.FormValue("state") != parts[0] {
		return nil, fmt.Errorf("state does not match")
	}
	if e := r.FormValue("error"); e != "" {
		return nil, fmt.Errorf("%s: %s", e, r.FormValue("error_description"))
	}
	token, err := a.oauth.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(parts[2]))
	if err != nil {
		return nil, err
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := a.verifier.Verify(r.Context(), raw)
	if err != nil {
		return nil, err
	}
	if id.Nonce != parts[1] {
		return nil, fmt.Errorf("nonce does not match")
	}
	claims := map[string]any{}
	return claims, id.Claims(&claims)
}

var page = template.Must(template.New("").Parse(`<!doctype html><title>logged in</title>
<h1>Hello {{.name}}</h1><table>{{range $k, $v := .}}<tr><th>{{$k}}<td>{{$v}}{{end}}</table>`))
