// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build unix

package conformance

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
)

//go:embed testdata/app.html
var appPage string

// chromium finds a browser of that family.
func chromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no Chromium on this machine: the test of an application in a real browser needs one")
	return ""
}

// TestBrowserApplication logs in to an application of another origin and
// site, which runs in a real browser and calls the provider by fetch. Then it
// has the response posted.
func TestBrowserApplication(t *testing.T) {
	path := chromium(t)
	issuer, client := devProvider(t)

	results, posted := make(chan map[string]any, 1), make(chan url.Values, 1)
	mux := http.NewServeMux()
	page := strings.NewReplacer("ISSUER", issuer, "CLIENT", client.id).Replace(appPage)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, page)
	})
	mux.HandleFunc("POST /{$}", func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		posted <- r.PostForm
	})
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]any
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		results <- m
	})
	app := &http.Server{Handler: mux}
	go app.Serve(client.listener.Listener)
	t.Cleanup(func() { app.Close() })

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	output := browse(t, ctx, path, client.redirect)
	select {
	case got := <-results:
		want := map[string]any{
			"state": true, "iss": issuer, "scope": "openid email", "email": "alice@example.com", "sub": "userid:1001",
			"refused": 401.0, "challenge": got["challenge"], "failed": "invalid_grant", "keys": got["keys"], "revoked": 200.0, "after": 401.0,
			"introspect": "blocked", "authorize": "blocked",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in the browser (-want +got):\n%s", diff)
		}
		if challenge, _ := got["challenge"].(string); !strings.Contains(challenge, "invalid_token") {
			t.Errorf("WWW-Authenticate as the script reads it: %q", challenge)
		}
	case <-ctx.Done():
		t.Fatalf("the application did not finish; the browser says:\n%s", output())
	}
	select {
	case got := <-posted:
		if got.Get("code") == "" || got.Get("state") == "" || got.Get("iss") != issuer {
			t.Errorf("posted response %v", got)
		}
	case <-ctx.Done():
		t.Fatalf("no response was posted; the browser says:\n%s", output())
	}
}

// A browserClient is a public client at an address of its own.
type browserClient struct {
	id, redirect string
	listener     *httptest.Server // never started: its listener serves
}

// devProvider starts a provider over plain http on loopback, as programs have
// it in development, with a client on another site.
func devProvider(t *testing.T) (issuer string, c browserClient) {
	t.Helper()
	var handler http.Handler
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := alice
		if r.Header.Get(peerHeader) != "" {
			who = r.Header.Get(peerHeader)
		}
		handler.ServeHTTP(w, r.WithContext(tsidp.WithPeer(r.Context(), netip.MustParseAddr(who))))
	}))
	issuer = "http://" + server.Listener.Addr().String()
	provider, err := tsidp.New(tsidp.Config{
		Issuer: issuer, Tailnet: &fakeTailnet{gone: make(map[string]bool)}, Store: memory.New(), Development: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler = provider.Handler()
	go provider.Run(t.Context())
	<-provider.Ready()
	server.Start()
	t.Cleanup(server.Close)

	c.listener = httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(c.listener.Listener.Addr().String(), ":")
	c.redirect = "http://localhost:" + port + "/"
	body := fmt.Sprintf(`{"redirect_uris": [%q], "token_endpoint_auth_method": "none"}`, c.redirect)
	req, err := http.NewRequest("POST", issuer+"/api/v1/clients", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(peerHeader, admin)
	req.Header.Set("Content-Type", "application/json")
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var m struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil || m.ID == "" {
		t.Fatalf("registering: %s, %v", res.Status, err)
	}
	c.id = m.ID
	return issuer, c
}

// browse opens a page in a headless browser, which lives until ctx ends.
func browse(t *testing.T, ctx context.Context, path, page string) (output func() string) {
	t.Helper()
	// Its processes may still write when it ends: t.TempDir would complain.
	profile, err := os.MkdirTemp("", "tsidp-browser")
	if err != nil {
		t.Fatal(err)
	}
	// A file, not a pipe: its processes may hold it open when it has ended.
	log, err := os.Create(filepath.Join(profile, "output"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-extensions", "--disable-sync", "--no-proxy-server", "--remote-debugging-port=0",
		"--user-data-dir="+profile, page)
	cmd.Stderr = log
	// All its processes, and nothing else: it has a group of its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		log.Close()
		os.RemoveAll(profile)
	})
	return func() string {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
}
