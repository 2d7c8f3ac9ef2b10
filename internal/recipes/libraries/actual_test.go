// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package libraries

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/recipes"
)

// TestActual runs the real Actual Budget, where there is one: building its
// database takes minutes. TSIDP_ACTUAL_SERVER is the directory in which
// npm install @actual-app/sync-server was run.
func TestActual(t *testing.T) {
	dir := os.Getenv("TSIDP_ACTUAL_SERVER")
	if dir == "" {
		t.Skip("TSIDP_ACTUAL_SERVER names no directory with @actual-app/sync-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()

	r, _ := recipes.Find("actual-budget")
	setup, err := world.SetUp(r, map[string]string{"url": "http://" + address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := read(t, r, setup)
	cmd := exec.CommandContext(t.Context(), find(t, "node"), filepath.Join(dir, "node_modules/@actual-app/sync-server/build/app.js"))
	cmd.Env = append(os.Environ(), "ACTUAL_DATA_DIR="+t.TempDir(), "ACTUAL_HOSTNAME=127.0.0.1", "ACTUAL_PORT="+address[strings.LastIndexByte(address, ':')+1:])
	for name, values := range a.Values() {
		cmd.Env = append(cmd.Env, name+"="+values[0])
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	started := false
	for !started && lines.Scan() {
		t.Log(lines.Text())
		started = strings.HasPrefix(lines.Text(), "Listening on")
	}
	if !started {
		t.Fatal("Actual does not start")
	}
	go func() {
		for lines.Scan() { // so that it can go on writing
		}
	}()
	// It says so a moment before it does.
	for range time.Tick(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}

	var asked struct{ Data struct{ ReturnURL string } }
	actual(t, "POST", a.address+"/account/login", `{"loginMethod": "openid", "returnUrl": "`+a.address+`"}`, "", &asked)
	back := a.browse(asked.Data.ReturnURL, a.address+"/openid/callback")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(back.String())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	in, err := url.Parse(res.Header.Get("Location"))
	if err != nil || in.Query().Get("token") == "" {
		t.Fatalf("%d, sent to %q", res.StatusCode, res.Header.Get("Location"))
	}
	var session struct {
		Data struct{ UserName, DisplayName, Permission string }
	}
	actual(t, "GET", a.address+"/account/validate", "", in.Query().Get("token"), &session)
	if session.Data.UserName != "alice" || session.Data.DisplayName != "A Person" || session.Data.Permission != "ADMIN" {
		t.Errorf("session %+v", session)
	}
}

// actual calls Actual.
func actual(t *testing.T, method, address, body, token string, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Actual-Token", token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", address, res.StatusCode, b.String())
	}
}
