// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidptest_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/tsidptest"
)

// visit returns what a browser sees.
func visit(t *testing.T, c *http.Client, url string) (status int, page string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

// newWorld is a provider and an application that knows it.
func newWorld(t *testing.T, more ...string) (*tsidptest.Server, *app) {
	t.Helper()
	idp, a := tsidptest.New(t, nil), newApp(t)
	id, secret := idp.AddClient(a.URL+"/callback", more...)
	a.configure(idp.Issuer, id, secret)
	return idp, a
}

func want(t *testing.T, a *app, status int) {
	t.Helper()
	if got, _, err := a.userinfo(); got != status {
		t.Errorf("userinfo answers %d, %v, want %d", got, err, status)
	}
}

// TestPeople: everybody is who they are, and nobody is nobody.
func TestPeople(t *testing.T) {
	idp, a := newWorld(t)
	idp.AddUser("carol@example.com")
	idp.AddMachine("tag:ci")
	idp.AddMachine("tag:kiosk", `{"machine_login": true}`)
	for name, says := range map[string]string{
		tsidptest.Alice: "hello alice@example.com", tsidptest.Bob: "hello bob@example.com", "carol@example.com": "hello carol@example.com",
		"tag:ci": "This device is tagged tag:ci", "tag:kiosk": "hello ",
	} {
		if status, page := visit(t, idp.Client(name), a.URL+"/login"); !strings.Contains(page, says) {
			t.Errorf("%s: %d %s, want %q", name, status, page, says)
		}
	}
	if status, page := visit(t, http.DefaultClient, a.URL+"/login"); status != http.StatusForbidden {
		t.Errorf("nobody: %d %s", status, page)
	}
}

// TestGrant: what the policy says counts at once, for logins that exist too.
func TestGrant(t *testing.T) {
	idp, a := newWorld(t, `{"access": "granted", "client_id": "wiki"}`)
	bob := idp.Client(tsidptest.Bob)
	if status, page := visit(t, bob, a.URL+"/login"); status != http.StatusForbidden || !strings.Contains(page, "wiki") {
		t.Errorf("without a grant: %d %s", status, page)
	}
	idp.Grant(tsidptest.Bob, `{"clients": ["wiki"]}`)
	if _, page := visit(t, bob, a.URL+"/login"); page != "hello bob@example.com" {
		t.Errorf("with a grant: %s", page)
	}
	want(t, a, 200)
	idp.Grant(tsidptest.Bob)
	want(t, a, 401)
	idp.Grant(tsidptest.Bob, `{"clients": ["wiki"]}`)
	want(t, a, 200)
	idp.Remove(tsidptest.Bob)
	want(t, a, 401)
}

// TestKnobs: the provider misbehaves as an application must be able to bear.
func TestKnobs(t *testing.T) {
	idp, a := newWorld(t)
	if _, page := visit(t, idp.Client(tsidptest.Alice), a.URL+"/login"); page != "hello alice@example.com" {
		t.Fatal(page)
	}
	broken := errors.New("broken by the test")
	idp.FailTailnet(broken)
	want(t, a, 503)
	idp.FailTailnet(nil)
	want(t, a, 200)
	idp.FailStore(broken)
	want(t, a, 503)
	idp.FailStore(nil)
	want(t, a, 200)

	const delay = 50 * time.Millisecond
	idp.SlowStore(delay)
	begun := time.Now()
	want(t, a, 200)
	if took := time.Since(begun); took < delay {
		t.Errorf("a slow store answers after %v", took)
	}
	idp.SlowStore(0)

	_, before := visit(t, http.DefaultClient, idp.Issuer+"/.well-known/jwks.json")
	idp.ReplaceKeys()
	want(t, a, 401)
	if _, after := visit(t, http.DefaultClient, idp.Issuer+"/.well-known/jwks.json"); after == before {
		t.Errorf("the keys are the same: %s", after)
	}
	if _, page := visit(t, idp.Client(tsidptest.Alice), a.URL+"/login"); page != "hello alice@example.com" {
		t.Errorf("with new keys: %s", page)
	}
	want(t, a, 200)
	idp.Advance(10 * time.Minute)
	want(t, a, 401)
}

// TestConfigure: the configuration is the test's where it may be.
func TestConfigure(t *testing.T) {
	idp := tsidptest.New(t, func(c *tsidp.Config) {
		c.Issuer = "https://ignored.example"
		c.Lifetimes = &tsidp.Lifetimes{AccessToken: time.Minute}
	})
	a := newApp(t)
	id, secret := idp.AddClient(a.URL + "/callback")
	a.configure(idp.Issuer, id, secret)
	visit(t, idp.Client(tsidptest.Alice), a.URL+"/login")
	if left := time.Until(a.token.Expiry); left > time.Minute {
		t.Errorf("the token lives %v", left)
	}
}

// TestDocumentation: docs/embedding.md shows the example as it is here.
func TestDocumentation(t *testing.T) {
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	_, test, _ := strings.Cut(string(code), "func TestLogin")
	if test = "func TestLogin" + test; !strings.Contains(string(page), test) {
		t.Errorf("docs/embedding.md does not have\n%s", test)
	}
	if n := strings.Count(test, "\n"); n >= 20 {
		t.Errorf("the example has %d lines, want fewer than 20", n)
	}
}
