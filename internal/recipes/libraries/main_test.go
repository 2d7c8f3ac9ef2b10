// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package libraries runs the libraries that applications log in with, set up
// from nothing but what recipes print. It is a module of its own, so that
// none of them is a dependency of tsidp.
package libraries

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tailscale/tsidp/internal/recipes"
	"github.com/tailscale/tsidp/internal/recipes/recipetest"
)

var world *recipetest.World

// TestMain starts the provider. The libraries find its certificate among those
// of the system.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "libraries")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if world, err = recipetest.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	file := filepath.Join(dir, "ca.pem")
	if err := world.WriteCertificate(file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Go, Python's ssl, Python's requests, Node.
	for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		os.Setenv(name, file)
	}
	return m.Run()
}

// An application is one that was set up by its recipe. It sees Printed only.
type application struct {
	*recipetest.Printed
	t *testing.T
	// address is what people open.
	address string
}

// setUps are the recipes, set up with their examples. Alice has all rules that
// they print, from the start: an answer of the policy holds for a second.
var setUps = sync.OnceValues(func() (map[string]recipes.Setup, error) {
	all := make(map[string]recipes.Setup)
	var entries []string
	for _, r := range recipes.All() {
		setup, err := world.SetUp(r, r.Example().Values, nil)
		if err != nil {
			return nil, err
		}
		all[r.ID] = setup
		entries = append(entries, strings.TrimSuffix(strings.TrimPrefix(r.Grant(setup), `"grants": [`), "]\n"))
	}
	return all, world.Apply(recipetest.Alice, `"grants": [`+strings.Join(entries, ", ")+"]")
})

// setUp returns an application.
func setUp(t *testing.T, id string) *application {
	t.Helper()
	all, err := setUps()
	if err != nil {
		t.Fatal(err)
	}
	r, ok := recipes.Find(id)
	if !ok {
		t.Fatalf("no recipe %s", id)
	}
	return read(t, r, all[id])
}

// read reads what a recipe prints.
func read(t *testing.T, r recipes.Recipe, setup recipes.Setup) *application {
	t.Helper()
	p, err := recipetest.Read(r.Settings(setup))
	if err != nil {
		t.Fatal(err)
	}
	return &application{p, t, setup.Values["url"]}
}

// browse opens a link in Alice's browser, and returns the address that the
// application gets.
func (a *application) browse(link, redirect string) *url.URL {
	a.t.Helper()
	page, err := world.NewBrowser(recipetest.Alice).Open(link)
	if err != nil {
		a.t.Fatal(err)
	}
	if !strings.HasPrefix(page.Location, redirect+"?") {
		a.t.Fatalf("sent to %q, want %s: %d %s", page.Location, redirect, page.Status, page.Text)
	}
	u, err := url.Parse(page.Location)
	if err != nil {
		a.t.Fatal(err)
	}
	return u
}
