// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tailscale/tsidp/internal/pgtest"
	"golang.org/x/oauth2"
)

// These tests run the real program: what it has acknowledged before it ends
// is true when it starts again.

// startDurable starts the program for development and returns it with its
// issuer.
func startDurable(t *testing.T, args ...string) (p *process, issuer string) {
	t.Helper()
	p = launch(t, "tsidp-server", nil, append([]string{"-dev"}, args...)...)
	return p, strings.TrimPrefix(p.line(), "issuer: ")
}

func portOfIssuer(issuer string) string { return issuer[strings.LastIndex(issuer, ":")+1:] }

func (p *process) stop() {
	p.t.Helper()
	if code := p.end(syscall.SIGTERM); code != 0 {
		p.t.Fatalf("exit code %d\n%s", code, p.stderr)
	}
}

// fail waits for the program to end with exit code 1 and returns its log.
func (p *process) fail() string {
	p.t.Helper()
	out, _ := io.ReadAll(p.stdout)
	p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != exitFailure || len(out) > 0 {
		p.t.Fatalf("exit code %d, output %q\n%s", code, out, p.stderr)
	}
	return p.stderr.String()
}

// An application is a client of the provider, by nothing but HTTP.
type application struct {
	t                            *testing.T
	issuer, id, secret, redirect string
	refresh                      string // refresh token
}

// registerApplication makes an application that the provider does not know yet.
func registerApplication(t *testing.T, issuer string) *application {
	t.Helper()
	a := &application{t: t, issuer: issuer, id: "wiki", redirect: "https://wiki.example/callback"}
	res, err := http.Post(issuer+"/api/v1/clients", "application/json", strings.NewReader(`{"client_id": "wiki", "redirect_uris": ["`+a.redirect+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	var created struct {
		Secret string `json:"client_secret"`
	}
	a.decode(res, http.StatusCreated, &created)
	a.secret = created.Secret
	return a
}

func demoApplication(t *testing.T, issuer string) *application {
	return &application{t: t, issuer: issuer, id: demoID, secret: demoSecret, redirect: issuer + demoCallback}
}

func (a *application) decode(res *http.Response, want int, v any) {
	a.t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		a.t.Fatalf("status %s, want %d: %s (%v)", res.Status, want, body, err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		a.t.Fatal(err)
	}
}

// logIn gets a refresh token.
func (a *application) logIn() {
	a.t.Helper()
	verifier := oauth2.GenerateVerifier()
	q := url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "scope": {"openid offline_access"},
		"state": {"s"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	r, err := http.NewRequestWithContext(a.t.Context(), "GET", a.issuer+"/authorize?"+q.Encode(), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		a.t.Fatal(err)
	}
	res.Body.Close()
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		a.t.Fatalf("status %s, location %q (%v), want a code", res.Status, to, err)
	}
	a.token(url.Values{"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "redirect_uri": {a.redirect}, "code_verifier": {verifier}})
}

// rotate uses the refresh token.
func (a *application) rotate() {
	a.t.Helper()
	a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.refresh}})
}

func (a *application) token(form url.Values) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), "POST", a.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(a.id, a.secret)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	var tokens struct {
		Refresh string `json:"refresh_token"`
	}
	a.decode(res, http.StatusOK, &tokens)
	if tokens.Refresh == "" || tokens.Refresh == a.refresh {
		a.t.Fatalf("refresh token %q after %q", tokens.Refresh, a.refresh)
	}
	a.refresh = tokens.Refresh
}

// jwks returns the keys that the provider publishes.
func jwks(t *testing.T, issuer string) string {
	t.Helper()
	var keys json.RawMessage
	getJSON(t, http.DefaultClient, issuer+"/.well-known/jwks.json", &keys)
	return string(keys)
}

func TestRestart(t *testing.T) {
	dir := filepath.Join(socketDir(t), "state")
	first, issuer := startDurable(t, "-local-port", "0", "-dir", dir)
	wiki, demo := registerApplication(t, issuer), demoApplication(t, issuer)
	wiki.logIn()
	demo.logIn()
	for name, want := range map[string]os.FileMode{"": os.ModeDir | 0o700, databaseName: 0o600, socketName: os.ModeSocket | 0o600} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want mode %v", filepath.Join(dir, name), info, err, want)
		}
	}

	second := launch(t, "tsidp-server", nil, "-dev", "-local-port", "0", "-dir", dir)
	pid := first.cmd.Process.Pid
	if log := second.fail(); !strings.Contains(log, "process "+strconv.Itoa(pid)+" has it open") {
		t.Errorf("the second process does not name the first, %d:\n%s", pid, log)
	}
	wiki.rotate() // the first is not disturbed
	checkKeyCommands(t, dir)
	keys := jwks(t, issuer)
	first.stop()
	if strings.Contains(first.stderr.String(), "lost when") {
		t.Errorf("the start says that state is lost:\n%s", first.stderr)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); err == nil {
		t.Error("the socket is there after the end")
	}

	again, _ := startDurable(t, "-local-port", portOfIssuer(issuer), "-dir", dir)
	if got := jwks(t, issuer); got != keys {
		t.Errorf("keys after the restart: %s, before: %s", got, keys)
	}
	wiki.rotate()
	demo.rotate()
	wiki.logIn()
	// As after a power cut: the socket and the log of the database stay.
	again.end(syscall.SIGKILL)
	again, _ = startDurable(t, "-local-port", portOfIssuer(issuer), "-dir", dir)
	wiki.rotate()
	demo.logIn()
	again.stop()

	other := launch(t, "tsidp-server", nil, "-dev", "-local-port", "0", "-dir", dir)
	if log := other.fail(); !strings.Contains(log, issuer) || !strings.Contains(log, "-local-port") {
		t.Errorf("at another port:\n%s", log)
	}
}

func TestKeyFileAtStart(t *testing.T) {
	dir := socketDir(t)
	kek := writeTo(t, filepath.Join(dir, "kek"), strings.Repeat("0a", 32))
	p, issuer := startDurable(t, "-local-port", "0", "-dir", dir, "-key-file", kek)
	p.stop()
	again := []string{"-dev", "-local-port", portOfIssuer(issuer), "-dir", dir}
	bad := writeTo(t, filepath.Join(dir, "bad"), "short")
	wrong := writeTo(t, filepath.Join(dir, "wrong"), strings.Repeat("0b", 32))
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"none", nil, "TSIDP_KEY_FILE"},
		{"bad", []string{"-key-file", bad}, "head -c 32 /dev/urandom > " + bad},
		{"wrong", []string{"-key-file", wrong}, "is not the one that it was written with"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := launch(t, "tsidp-server", nil, append(again, tt.args...)...)
			if log := p.fail(); !strings.Contains(log, tt.want) {
				t.Errorf("the log does not say %q:\n%s", tt.want, log)
			}
		})
	}
	p, _ = startDurable(t, "-local-port", portOfIssuer(issuer), "-dir", dir, "-key-file", kek)
	p.stop()
}

func TestPostgres(t *testing.T) {
	dsn := pgtest.Start(t)
	if !strings.Contains(dsn, "://") {
		t.Fatalf("the connection string is no URL, which -store takes: %s", dsn)
	}
	dir := socketDir(t)
	p, issuer := startDurable(t, "-local-port", "0", "-store", dsn, "-dir", dir)
	wiki := registerApplication(t, issuer)
	wiki.logIn()
	checkKeyCommands(t, dir)
	if code, _, errs := runTool(t, "backup", filepath.Join(dir, "backup"), "-dir", dir); code != exitFailure || !strings.Contains(errs, "pg_dump") {
		t.Errorf("backup: exit code %d, %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, databaseName)); err == nil {
		t.Error("there is a database file beside PostgreSQL")
	}
	second := launch(t, "tsidp-server", nil, "-dev", "-local-port", portOfIssuer(issuer), "-store", dsn, "-dir", dir)
	if log := second.fail(); !strings.Contains(log, "level=ERROR") {
		t.Errorf("a second server with the same directory:\n%s", log)
	}
	p.stop()
	if code, out, errs := runTool(t, "keys", "list", "-store", dsn, "-dir", dir); code != exitOK || len(keyStates(t, out)) != 5 {
		t.Errorf("keys list without the server: exit code %d, %s", code, errs)
	}
	p, _ = startDurable(t, "-local-port", portOfIssuer(issuer), "-store", dsn)
	wiki.rotate()
	p.stop()
}

// docCommands returns the shell commands below a heading of a page.
func docCommands(t *testing.T, page, heading string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var list []string
	for _, part := range strings.Split(rest, "```sh\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		list = append(list, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	if len(list) == 0 {
		t.Fatalf("%q has no commands", heading)
	}
	return list
}

// TestStateDoc follows docs/state.md word by word, in other directories.
func TestStateDoc(t *testing.T) {
	data, err := os.ReadFile("../../docs/state.md")
	if err != nil {
		t.Fatal(err)
	}
	base := socketDir(t)
	page := strings.NewReplacer("/var/lib/tsidp", base+"/state", "/var/backups/", base+"/", "/etc/", base+"/").Replace(string(data))
	p, issuer := startDurable(t, "-local-port", "0", "-dir", base+"/state")
	follow := func(heading string) {
		t.Helper()
		for _, line := range docCommands(t, page, heading) {
			if args, ok := strings.CutPrefix(line, "tsidp-server -"); ok { // a server; this one for development
				p, _ = startDurable(t, append([]string{"-local-port", portOfIssuer(issuer)}, strings.Fields("-"+args)...)...)
				continue
			}
			if out, err := exec.Command("sh", "-euc", line).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
		}
	}
	wiki := registerApplication(t, issuer)
	wiki.logIn()
	old := *wiki
	follow("Backup")
	wiki.rotate()
	p.stop()
	writeTo(t, filepath.Join(base, "state", databaseName), "scrambled")
	follow("Restore")
	old.rotate() // what happened after the backup is forgotten
	p.stop()
	follow("Keys, and a key for the keys")
	old.rotate()
	p.stop()

	legacyFiles(t, filepath.Join(base, "state"))
	follow("From an earlier version")
}
