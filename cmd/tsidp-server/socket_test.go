// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// socketDir returns a directory whose path is short, as TMPDIR may not be.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "tsidp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestListenAdmin(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, socketName)
	ln, err := listenAdmin(dir, silent)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("socket %v, %v, want mode 0600", info, err)
	}
	if _, err := listenAdmin(dir, silent); err == nil || !strings.Contains(err.Error(), "another server answers") {
		t.Errorf("a second server: error %v", err)
	}
	// A process that is killed leaves its socket behind.
	ln.(*ownListener).SetUnlinkOnClose(false)
	ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	if ln, err = listenAdmin(dir, silent); err != nil {
		t.Fatalf("over the socket of a dead process: %v", err)
	}
	ln.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is there after the end")
	}
	writeTo(t, path, "precious")
	if _, err := listenAdmin(dir, silent); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("over a file: error %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file is now %q, %v", data, err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 90))
	if _, err := listenAdmin(long, silent); err == nil || !strings.Contains(err.Error(), long) || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("a long path: error %v", err)
	}
}

// A user of the machine who gets past the modes gets no further.
func TestOwnListener(t *testing.T) {
	tests := []struct {
		name string
		uid  int
		err  error
		want bool
		said string
	}{
		{name: "own", uid: 1000, want: true},
		{name: "root", uid: 0, want: true},
		{name: "other", uid: 1001, said: "uid=1001"},
		{name: "not told", err: errors.New("broken"), said: "broken"},
		{name: "not told by this system", err: errors.ErrUnsupported, want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log, said := warnings()
			path := filepath.Join(socketDir(t), socketName)
			u, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			ln := &ownListener{UnixListener: u, uid: 1000, log: log, peerUID: func(*net.UnixConn) (int, error) { return tt.uid, tt.err }}
			served := make(chan bool, 1)
			go func() {
				c, err := ln.Accept()
				if err == nil {
					c.Close()
				}
				served <- err == nil
			}()
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(c); err != nil { // until it is closed there
				t.Fatal(err)
			}
			ln.Close()
			if got := <-served; got != tt.want {
				t.Errorf("served %v, want %v", got, tt.want)
			}
			if (said.Len() == 0) != (tt.said == "") || !strings.Contains(said.String(), tt.said) {
				t.Errorf("said %q, want %q", said, tt.said)
			}
		})
	}
}

func TestPeerUID(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if uid, err := peerUID(c); !errors.Is(err, errors.ErrUnsupported) && (err != nil || uid != os.Geteuid()) {
		t.Errorf("the peer's user id is %d, %v, want %d", uid, err, os.Geteuid())
	}
}

func TestBelow(t *testing.T) {
	tests := []struct{ issuer, target, want string }{
		{"https://idp.example", "/api/v1/keys", "/api/v1/keys"},
		{"https://idp.example/a/b", "/api/v1/keys", "/a/b/api/v1/keys"},
		{"https://idp.example/a", "/api/v1/keys/x%2Fy?q=1", "/a/api/v1/keys/x%2Fy?q=1"},
	}
	for _, tt := range tests {
		t.Run(tt.issuer+tt.target, func(t *testing.T) {
			var got string
			h := below(tt.issuer, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.URL.String() }))
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", tt.target, nil))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestServeBackup(t *testing.T) {
	st := openAt(t, config{dir: socketDir(t)})
	dir := t.TempDir()
	const asJSON = "application/json"
	tests := []struct {
		name, contentType, body string
		want                    int
		says                    string
	}{
		{"works", asJSON, `{"path": "` + dir + `/a"}`, 200, dir + "/a"},
		{"exists", asJSON, `{"path": "` + dir + `/a"}`, 409, "exist"},
		{"relative", asJSON, `{"path": "a"}`, 400, "absolute"},
		{"no path", asJSON, `{}`, 400, "absolute"},
		{"no JSON", asJSON, `path`, 400, "absolute"},
		{"other type", "text/plain", `{"path": "` + dir + `/b"}`, 400, "absolute"},
		{"no directory", asJSON, `{"path": "` + dir + `/none/b"}`, 500, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(st.serveBackup))
			defer srv.Close()
			res, err := http.Post(srv.URL, tt.contentType, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tt.want || !strings.Contains(string(body), tt.says) {
				t.Errorf("status %d, body %s (%v), want %d, %q", res.StatusCode, body, err, tt.want, tt.says)
			}
		})
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/backup", strings.NewReader(`{"path": "/x"}`))
	r.Header.Set("Content-Type", asJSON)
	new(state).serveBackup(w, r)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "pg_dump") {
		t.Errorf("without a file: status %d, %s", w.Code, w.Body)
	}
}
