// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store/memory"
)

func TestReadDeclared(t *testing.T) {
	dir := t.TempDir()
	secret := strings.Repeat("s", 40)
	writeTo(t, filepath.Join(dir, "secret"), secret+"\n")
	writeTo(t, filepath.Join(dir, "empty"), "\n")
	getenv := environment("WIKI_SECRET=" + secret + "-env")
	for _, tt := range []struct {
		file, wantErr string
		secret        string // of the first client
	}{
		{file: `{"clients": []}`},
		{file: "// ours\n{\"clients\": [{\"client_id\": \"a\", /* beside */ \"secret_file\": \"secret\",},],}", secret: secret},
		{file: `{"clients": [{"client_id": "a", "secret_file": "` + filepath.Join(dir, "secret") + `"}]}`, secret: secret},
		{file: `{"clients": [{"client_id": "a", "secret_env": "WIKI_SECRET"}]}`, secret: secret + "-env"},
		{file: `{"clients": [{"client_id": "a", "secret_env": "NONE"}]}`, wantErr: "clients[0].secret_env: the variable NONE is not set"},
		{file: `{"clients": [{"secret_env": "WIKI_SECRET", "secret_file": "secret"}]}`, wantErr: "clients[0].secret_env: "},
		{file: `{"clients": [{}, {"secret_file": "nowhere"}]}`, wantErr: "clients[1].secret_file: "},
		{file: `{"clients": [{"secret_file": "empty"}]}`, wantErr: "clients[0].secret_file: "},
		{file: `{"clients": [{"client_secret": "` + secret + `"}]}`, wantErr: "clients[0].client_secret: does not belong"},
		{file: `{"clients": [{"secret": "x"}]}`, wantErr: "clients[0].secret: "},
		{file: "{\n  \"clients\": [\n}", wantErr: "line 3"},
		{file: ``, wantErr: "line 1"},
		{file: `[]`, wantErr: "must be a JSON object"},
	} {
		document, n, err := readDeclared([]byte(tt.file), dir, getenv)
		if tt.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: error %v, want %q", tt.file, err, tt.wantErr)
			}
			continue
		}
		var got struct{ Clients []admin.Client }
		if err != nil || json.Unmarshal(document, &got) != nil || len(got.Clients) != n {
			t.Errorf("%s: %s, %v", tt.file, document, err)
			continue
		}
		if tt.secret != "" && got.Clients[0].Secret != tt.secret {
			t.Errorf("%s: secret %q", tt.file, got.Clients[0].Secret)
		}
	}
}

func FuzzReadDeclared(f *testing.F) {
	f.Add([]byte("// x\n{\"clients\": [{\"client_id\": \"a\", \"redirect_uris\": [\"https://x.example/\"],},]}"))
	f.Add([]byte(`{"clients": [{"secret_env": "X"}], "clients": 1}`))
	f.Add([]byte(`[[[/*`))
	f.Fuzz(func(t *testing.T, data []byte) {
		document, n, err := readDeclared(data, "/nowhere", func(string) string { return "" })
		if err != nil {
			return
		}
		var out struct {
			Clients []admin.Client `json:"clients"`
		}
		if err := admin.Decode(document, &out); err != nil || len(out.Clients) != n {
			t.Fatalf("%s becomes %s: %v", data, document, err)
		}
	})
}

// logLines is a log that tests can wait for.
type logLines chan string

func (l logLines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestKeepDeclared: the file is read at the start and on SIGHUP.
func TestKeepDeclared(t *testing.T) {
	st := memory.New()
	p, err := tsidp.New(tsidp.Config{Issuer: "https://idp.example", Tailnet: nobody{}, Store: st})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-p.Ready()
	names := func() string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/api/v1/clients", nil)
		p.AdminHandler().ServeHTTP(w, r.WithContext(p.ConnContext(r.Context(), unixConn{})))
		var list struct {
			Clients []struct {
				Name string `json:"client_name"`
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		var names []string
		for _, c := range list.Clients {
			names = append(names, c.Name)
		}
		return strings.Join(names, " ")
	}
	file := filepath.Join(t.TempDir(), "clients.hujson")
	client := func(name string) string {
		return "// Ours.\n{\"clients\": [\n  {\"client_id\": \"a\", \"client_name\": \"" + name + "\", \"token_endpoint_auth_method\": \"none\",\n   \"redirect_uris\": [\"http://127.0.0.1/\"]},\n]}\n"
	}
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := keepDeclared(ctx, file, p, silent); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without the file: %v", err)
	}
	writeTo(t, file, strings.Replace(client("one"), "http:", "data:", 1))
	if err := keepDeclared(ctx, file, p, silent); err == nil || !strings.Contains(err.Error(), file+":4:22: clients[0].redirect_uris[0]: ") {
		t.Errorf("with a fault: %v", err)
	}
	writeTo(t, file, client("one"))
	lines := make(logLines, 10)
	if err := keepDeclared(ctx, file, p, slog.New(slog.NewTextHandler(lines, nil))); err != nil {
		t.Fatal(err)
	}
	if line := <-lines; !strings.Contains(line, "clients=1") || names() != "one" {
		t.Errorf("log %q, clients %s", line, names())
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ content, log, names string }{
		{client("two"), "clients declared", "two"},
		{"{\"clients\": [\n}", "level=ERROR", "two"},
		{client("three"), "clients declared", "three"},
		{`{"clients": []}`, "clients declared", ""},
	} {
		writeTo(t, file, tt.content)
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if line := <-lines; !strings.Contains(line, tt.log) || names() != tt.names {
			t.Errorf("%s: log %q, clients %q", tt.content, line, names())
		}
	}
	if err := keepDeclared(ctx, "", p, silent); err != nil {
		t.Errorf("without -clients: %v", err)
	}
}
