// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidptest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/oauth2"
)

// An app is an application under test: it greets who logs in by their email
// address, and keeps what it got.
type app struct {
	*httptest.Server
	issuer string
	oauth  oauth2.Config
	token  *oauth2.Token
}

// newApp starts it. It can log in once idp has told it who it is.
func newApp(t *testing.T) *app {
	a := new(app)
	mux := http.NewServeMux()
	mux.HandleFunc("/login", a.login)
	mux.HandleFunc("/callback", a.callback)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *app) configure(issuer, id, secret string) {
	a.issuer = issuer
	a.oauth = oauth2.Config{
		ClientID: id, ClientSecret: secret, RedirectURL: a.URL + "/callback", Scopes: []string{"openid", "email"},
		Endpoint: oauth2.Endpoint{AuthURL: issuer + "/authorize", TokenURL: issuer + "/token"},
	}
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	verifier := oauth2.GenerateVerifier()
	http.SetCookie(w, &http.Cookie{Name: "verifier", Value: verifier, HttpOnly: true})
	http.Redirect(w, r, a.oauth.AuthCodeURL("", oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie("verifier")
	if err != nil || r.FormValue("error") != "" {
		http.Error(w, "not logged in: "+r.FormValue("error"), http.StatusForbidden)
		return
	}
	if a.token, err = a.oauth.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(cookie.Value)); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	status, info, err := a.userinfo()
	if err != nil || status != http.StatusOK {
		http.Error(w, fmt.Sprint(status, err), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "hello %s", info["email"])
}

// userinfo asks the provider about the token that the app has.
func (a *app) userinfo() (status int, info map[string]any, err error) {
	req, err := http.NewRequest("GET", a.issuer+"/userinfo", nil)
	if err != nil {
		return 0, nil, err
	}
	a.token.SetAuthHeader(req)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	return res.StatusCode, info, json.NewDecoder(res.Body).Decode(&info)
}
