// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// A connectedApp is one that somebody connects: it knows what they have
// entered.
type connectedApp struct {
	server *httptest.Server
	config oauth2.Config
	token  *oauth2.Token
}

func startApp(t *testing.T) *connectedApp {
	a := new(connectedApp)
	mux := http.NewServeMux()
	verifier := oauth2.GenerateVerifier()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, a.config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		token, err := a.config.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		a.token = token
		fmt.Fprint(w, "Welcome")
	})
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

// refresh renews the login, as applications do in the background.
func (a *connectedApp) refresh(ctx context.Context) error {
	old := *a.token
	old.Expiry = time.Unix(1, 0)
	token, err := a.config.TokenSource(ctx, &old).Token()
	if err == nil {
		a.token = token
	}
	return err
}

// TestPagesJourney goes the way of an administrator, in a real browser:
// connect an application by a recipe, enter in it what the page says, log in,
// look at the session, end it, and the application is out. All of it works
// without JavaScript too.
func TestPagesJourney(t *testing.T) {
	for name, off := range map[string]bool{"with JavaScript": false, "without JavaScript": true} {
		t.Run(name, func(t *testing.T) {
			b := openTab(t)
			issuer := startDev(t)
			app := startApp(t)
			b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": off}, nil)

			b.open(issuer + "/")
			b.says("Overview", "Health", "development")
			if copies := b.eval(`document.querySelectorAll("button.copy").length > 0`); copies != fmt.Sprint(!off) {
				t.Errorf("buttons to copy: %s", copies)
			}
			b.press("main", "Connect an application")
			b.press("main", "Any OpenID Connect application")
			b.fill("Name", "Wiki")
			b.fill("Redirect URIs", app.server.URL+"/callback")
			b.press("main", "Connect")
			b.says("It is shown this once", "What to enter in")
			row := func(label string) string {
				return b.eval(fmt.Sprintf(`[...document.querySelectorAll("#settings ~ dl dt")].find(e => e.innerText === %q).nextElementSibling.querySelector("code").innerText`, label))
			}
			app.config = oauth2.Config{
				ClientID: row("Client ID"), ClientSecret: row("Client secret"), RedirectURL: app.server.URL + "/callback", Scopes: []string{"openid", "offline_access"},
				Endpoint: oauth2.Endpoint{AuthURL: issuer + "/authorize", TokenURL: issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader},
			}
			b.open(app.server.URL + "/login")
			b.says("Welcome")
			if err := app.refresh(t.Context()); err != nil {
				t.Fatalf("after the login: %v", err)
			}

			b.open(issuer + "/admin/sessions?client=" + app.config.ClientID)
			b.says("alice@example.com", "alice-laptop.tail-dev.ts.net", "openid offline_access")
			b.press("td.action", "End")
			b.says("The session has ended.", "There is no live session in "+app.config.ClientID)
			var refused *oauth2.RetrieveError
			if err := app.refresh(t.Context()); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
				t.Errorf("after the session has ended: %v, want invalid_grant", err)
			}
			// A click on what the page copies, and a mistake on the way.
			b.open(issuer + "/admin/clients/" + app.config.ClientID)
			b.fill("Redirect URIs", "javascript:alert(1)")
			b.press("form.card", "Save")
			b.says("Nothing is saved yet: see below.")
			b.fill("Redirect URIs", app.server.URL+"/callback")
			b.press("form.card", "Save")
			b.says("Saved.")
		})
	}
}

// TestPagesNarrow: no page is wider than a telephone, in light and in dark.
func TestPagesNarrow(t *testing.T) {
	b := openTab(t)
	issuer := startDev(t)
	for _, scheme := range []string{"light", "dark"} {
		b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": true}, nil)
		for _, path := range []string{"/", "/me", "/admin/clients", "/admin/clients/demo", "/admin/new", "/admin/new?recipe=grafana", "/admin/sessions", "/admin/consents", "/admin/registrations", "/admin/policy?check=1", "/admin/audit", "/admin/keys"} {
			b.open(issuer + path)
			b.eval(`document.querySelectorAll("details").forEach(d => d.open = true)`)
			if width := b.eval("document.documentElement.scrollWidth"); width != "360" {
				t.Errorf("%s is %s wide: %s", path, width, b.eval(`[...document.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > 361).map(e => e.tagName + "." + e.className).slice(0, 5).join(" ")`))
			}
			if dark := b.eval(`getComputedStyle(document.body).backgroundColor === "rgb(24, 23, 23)"`); dark != fmt.Sprint(scheme == "dark") {
				t.Errorf("%s in %s: dark is %s", path, scheme, dark)
			}
		}
	}
	// The first stop of the keyboard leads past the navigation.
	b.open(issuer + "/admin/clients")
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "rawKeyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}, nil)
	if at := b.eval("document.activeElement.innerText"); !strings.HasPrefix(at, "Skip to the content") {
		t.Errorf("the first stop is %q", at)
	}
}
