// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package libraries

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/internal/recipes/recipetest"
)

// What an application has learned about Alice.
type learned struct {
	Sub, Account, Email, Name, Role string
	Refreshable                     bool
	Logout                          string // where it sends people who log out
}

// A program is an application with a library of another language.
type program struct {
	recipe   string
	redirect func(a *application) string
	command  []string
	account  string // as it calls Alice, "alice" by default
	role     string
}

// TestNode: the applications that use openid-client 5 and 6 and passport.
func TestNode(t *testing.T) {
	node := find(t, "node")
	dir := nodeModules(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, p := range []program{
		{recipe: "immich", redirect: func(a *application) string { return a.address + "/auth/login" }, command: []string{node, path("immich.mjs")}, role: "admin"},
		{recipe: "immich", redirect: func(*application) string { return "app.immich:///oauth-callback" }, command: []string{node, path("immich.mjs")}, role: "admin"},
		{
			recipe: "immich", redirect: func(a *application) string { return a.Get("Mobile Redirect URI Override") },
			command: []string{node, path("immich.mjs")}, role: "admin",
		},
		{
			recipe: "audiobookshelf", redirect: func(a *application) string { return a.address + "/audiobookshelf/auth/openid/callback" },
			command: []string{node, path("audiobookshelf.mjs")}, role: "admin",
		},
		{recipe: "outline", redirect: func(a *application) string { return a.Get("URL") + "/auth/oidc.callback" }, command: []string{node, path("outline.mjs")}},
	} {
		t.Run(p.recipe, p.test)
	}
}

// TestAuthlib: those that use Authlib, which on Debian is python3-authlib.
func TestAuthlib(t *testing.T) {
	python := "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import authlib, requests").CombinedOutput(); err != nil {
		t.Skipf("no python3-authlib and python3-requests: %v %s", err, out)
	}
	for _, p := range []program{
		{recipe: "open-webui", redirect: func(a *application) string { return a.Get("WEBUI_URL") + "/oauth/oidc/callback" }, account: "A Person", role: "admin"},
		{recipe: "mealie", redirect: func(a *application) string { return a.Get("BASE_URL") + "/login" }, role: "admin"},
	} {
		p.command = []string{python, "programs/authlib_apps.py", p.recipe}
		t.Run(p.recipe, p.test)
	}
}

func (p program) test(t *testing.T) {
	a := setUp(t, p.recipe)
	got := p.run(t, a)
	account := p.account
	if account == "" {
		account = "alice"
	}
	if got.Sub != "userid:1001" || got.Account != account || got.Email != "alice@example.com" || got.Name != "A Person" || got.Role != p.role {
		t.Errorf("learned %+v", got)
	}
	if p.recipe == "outline" && !got.Refreshable {
		t.Error("no refresh token")
	}
	b := world.NewBrowser(recipetest.Alice)
	page, err := b.Open(got.Logout)
	if err != nil {
		t.Fatal(err)
	}
	if page.Location == "" {
		if page, err = b.Press(page, "answer", "yes"); err != nil {
			t.Fatal(err)
		}
	}
	if back := strings.Contains(got.Logout, "post_logout_redirect_uri"); back != strings.HasSuffix(page.Location, "/login") {
		t.Errorf("after the logout sent to %q: %d %s", page.Location, page.Status, page.Text)
	}
}

// run runs the program, and is its browser.
func (p program) run(t *testing.T, a *application) learned {
	t.Helper()
	settings, err := json.Marshal(a.Values())
	if err != nil {
		t.Fatal(err)
	}
	redirect := p.redirect(a)
	cmd := exec.CommandContext(t.Context(), p.command[0], p.command[1:]...)
	cmd.Env = append(os.Environ(), "SETTINGS="+string(settings), "ADDRESS="+a.address, "REDIRECT="+redirect)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last struct {
		Browse string
		Done   *learned
	}
	for d := json.NewDecoder(out); ; {
		if err := d.Decode(&last); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if last.Done != nil {
			break
		}
		page, err := world.NewBrowser(recipetest.Alice).Open(last.Browse)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(page.Location, redirect+"?") {
			t.Errorf("sent to %q, want %s: %d %s", page.Location, redirect, page.Status, page.Text)
		}
		fmt.Fprintln(in, page.Location)
	}
	if err := cmd.Wait(); err != nil || last.Done == nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return *last.Done
}

func find(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s", name)
	}
	return path
}

// nodeModules returns a directory with the programs beside their packages,
// which npm fetches once for each list of them.
func nodeModules(t *testing.T) string {
	t.Helper()
	npm := find(t, "npm")
	cache := os.Getenv("TSIDP_NPM_CACHE")
	if cache == "" {
		cache = filepath.Join(os.TempDir(), fmt.Sprint("tsidp-npm-", os.Getuid()))
	}
	dir := filepath.Join(cache, "recipes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("programs/*")
	if err != nil {
		t.Fatal(err)
	}
	var lock []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "package-lock.json" {
			lock = data
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	marker := filepath.Join(dir, "installed")
	if installed, err := os.ReadFile(marker); err == nil && string(installed) == string(lock) {
		return dir
	}
	cmd := exec.CommandContext(t.Context(), npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm: %v %s", err, out)
	}
	if err := os.WriteFile(marker, lock, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
