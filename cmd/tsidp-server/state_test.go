// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailscale/tsidp"
)

// warnings returns a log of warnings and what is in it.
func warnings() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn})), &b
}

func writeTo(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStateDir(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	base, err := os.UserConfigDir()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		c    config
		want string
	}{
		{"given", config{dir: "/d"}, "/d"},
		{"relative", config{dir: "d"}, filepath.Join(here, "d")},
		{"default", config{}, filepath.Join(base, "tsnet-"+strings.ToLower(filepath.Base(exe)))},
		{"dev", config{dev: true}, ""},
		{"dev, given", config{dev: true, dir: "/d"}, "/d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := tt.c.stateDir(); err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	t.Setenv("HOME", "")
	if _, err := new(config).stateDir(); err == nil || !strings.Contains(err.Error(), "-dir") {
		t.Errorf("without a home: error %v, want one that names -dir", err)
	}
}

func TestPrepareDir(t *testing.T) {
	base := t.TempDir()
	log, said := warnings()
	created := filepath.Join(base, "a", "b")
	if err := prepareDir(created, log); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(created); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("created %v, %v, want mode 0700", info, err)
	}
	if said.Len() > 0 {
		t.Errorf("said %s", said)
	}
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := prepareDir(open, log); err != nil || !strings.Contains(said.String(), "chmod 700") {
		t.Errorf("a directory that others can read: %v, said %q", err, said)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the mode of a directory that was there is now %v, %v", info.Mode(), err)
	}
	if err := prepareDir(writeTo(t, filepath.Join(base, "file"), ""), log); err == nil {
		t.Error("a file was taken as a directory")
	}
}

func TestReadKeyFile(t *testing.T) {
	dir := t.TempDir()
	key := [32]byte{0, 'k', 'e', 'y', '\n', 30: 0xff, 31: '\n'}
	raw := string(key[:])
	text := hex.EncodeToString(key[:])
	tests := []struct {
		name, content string
		wantErr       string
	}{
		{name: "raw", content: raw},
		{name: "hexadecimal", content: text},
		{name: "capitals and a newline", content: strings.ToUpper(text) + "\r\n"},
		{name: "base64", content: base64.StdEncoding.EncodeToString(key[:]) + "\n"},
		{name: "base64 without padding", content: base64.RawStdEncoding.EncodeToString(key[:])},
		{name: "base64 for URLs", content: base64.URLEncoding.EncodeToString(key[:])},
		{name: "empty", wantErr: "0 bytes"},
		{name: "short", content: raw[1:], wantErr: "31 bytes"},
		{name: "long", content: raw + "\n", wantErr: "33 bytes"},
		{name: "short in hexadecimal", content: text[2:], wantErr: "62 bytes"},
		{name: "half in hexadecimal", content: text[:32], wantErr: "16 bytes"},
		{name: "long in base64", content: base64.StdEncoding.EncodeToString([]byte(raw + "x")), wantErr: "44 bytes"},
		{name: "huge", content: strings.Repeat("0", 1<<20), wantErr: "no key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeTo(t, filepath.Join(dir, "key"), tt.content)
			log, said := warnings()
			got, err := readKeyFile(path, log)
			if tt.wantErr == "" {
				if err != nil || *got != key || said.Len() > 0 {
					t.Fatalf("got %x, %v, said %q", got, err, said)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{path, tt.wantErr, "head -c 32 /dev/urandom > " + path + "; chmod 600 " + path} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if len(tt.content) > 8 && strings.Contains(err.Error(), tt.content[:8]) {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		if got, err := readKeyFile("", silent); got != nil || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(dir, "missing")
		if _, err := readKeyFile(path, silent); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "head -c 32") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("readable by others", func(t *testing.T) {
		path := writeTo(t, filepath.Join(dir, "open"), raw)
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		log, said := warnings()
		if got, err := readKeyFile(path, log); err != nil || *got != key || !strings.Contains(said.String(), "chmod 600") {
			t.Errorf("got %x, %v, said %q", got, err, said)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(strings.Repeat("\xff", 32)))
	f.Add([]byte(strings.Repeat("0a", 32) + "\n"))
	f.Add([]byte(base64.StdEncoding.EncodeToString(make([]byte, 32))))
	f.Add([]byte(strings.Repeat("0a", 16)))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := parseKey(data)
		if (key == nil) == (err == nil) {
			t.Fatalf("key %v with error %v", key, err)
		}
		if err == nil && len(data) != 32 && len(strings.TrimSpace(string(data))) < 43 {
			t.Errorf("%d bytes are a key", len(data))
		}
	})
}

// openAt opens the state that c describes, until the test ends.
func openAt(t *testing.T, c config) *state {
	t.Helper()
	st, err := openState(t.Context(), c, silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.close(silent) })
	return st
}

// administer runs a provider with cfg and returns the answer to a GET on its
// admin handler.
func administer(t *testing.T, st *state, cfg tsidp.Config, path string) string {
	t.Helper()
	p, err := tsidp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-p.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	c := &adminClient{client: &http.Client{Transport: inProcess{p, st.adminHandler(p, cfg.Issuer)}}}
	body, err := c.call(t.Context(), "GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// legacyFiles makes dir the state directory of an earlier version.
func legacyFiles(t *testing.T, dir string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	quoted, err := json.Marshal(string(text))
	if err != nil {
		t.Fatal(err)
	}
	writeTo(t, filepath.Join(dir, "oidc-key.json"), fmt.Sprintf(`{"kid": 18446744073709551557, "key": %s}`, quoted))
	writeTo(t, filepath.Join(dir, "oidc-funnel-clients.json"), `{"grafana": {"client_id": "grafana", "client_secret": "hush", "client_name": "Grafana", "redirect_uris": ["https://grafana.example/login"]}}`)
}

func TestImportDir(t *testing.T) {
	dir := t.TempDir()
	legacyFiles(t, dir)
	tests := []struct {
		name string
		c    config
		want string
	}{
		{"state directory", config{dir: dir}, dir},
		{"PostgreSQL with a directory", config{dir: dir, store: "postgres:///d"}, dir},
		{"PostgreSQL alone", config{store: "postgres:///d"}, ""},
		{"dev", config{dir: dir, dev: true}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&state{dir: dir}).providerConfig(tt.c, silent).ImportDir; got != tt.want {
				t.Errorf("imports %q, want %q", got, tt.want)
			}
		})
	}

	c := config{dir: dir}
	st := openAt(t, c)
	cfg := st.providerConfig(c, silent)
	cfg.Issuer, cfg.Tailnet = "https://idp.example/idp", nobody{}
	if got := administer(t, st, cfg, "/api/v1/clients/grafana"); !strings.Contains(got, `"client_name":"Grafana"`) {
		t.Errorf("the client of the earlier version: %s", got)
	}
	cfg.ImportDir = "/nonexistent" // the import is done
	if got := administer(t, st, cfg, "/api/v1/keys"); !strings.Contains(got, `"kid":"18446744073709551557","alg":"RS256","state":"current"`) {
		t.Errorf("the keys: %s", got)
	}
}

func TestCheckIssuer(t *testing.T) {
	stamp := func(t *testing.T, issuer string, dev bool) *state {
		st := openAt(t, config{dir: t.TempDir()})
		cfg := tsidp.Config{Issuer: issuer, Development: dev, Tailnet: nobody{}, Store: st.store}
		administer(t, st, cfg, "/api/v1/keys")
		return st
	}
	production := stamp(t, "https://idp.example", false)
	development := stamp(t, "http://localhost:9411", true)
	tests := []struct {
		name   string
		st     *state
		issuer string
		dev    bool
		want   []string
	}{
		{name: "new", st: openAt(t, config{dir: t.TempDir()}), issuer: "https://idp.example"},
		{name: "own", st: production, issuer: "https://idp.example"},
		{name: "own, dev", st: development, issuer: "http://localhost:9411", dev: true},
		{name: "renamed", st: production, issuer: "https://login.example", want: []string{production.place, "-issuer https://idp.example ", "https://login.example"}},
		{name: "other port, dev", st: development, issuer: "http://localhost:9412", dev: true, want: []string{"http://localhost:9411", "-local-port"}},
		{name: "dev in production", st: development, issuer: "https://idp.example", want: []string{"-dev"}},
		{name: "production in dev", st: production, issuer: "http://localhost:9411", dev: true, want: []string{"https://idp.example", "-dev"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.st.checkIssuer(t.Context(), tt.issuer, tt.dev)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://idp.example":          "https://idp.example",
		"https://idp.example:8443/idp": "https://idp.example:8443",
	} {
		if got := origin(issuer); got != want {
			t.Errorf("origin(%q) = %q, want %q", issuer, got, want)
		}
	}
}
