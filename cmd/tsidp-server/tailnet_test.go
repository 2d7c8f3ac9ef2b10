// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

// serverDir is where buildServer has put the program, for TestMain to remove.
var serverDir string

// buildServer compiles the program once, as a user would: nothing in it knows
// of tests.
var buildServer = sync.OnceValues(func() (string, error) {
	var err error
	if serverDir, err = os.MkdirTemp("", "tsidp-server"); err != nil {
		return "", err
	}
	bin := filepath.Join(serverDir, "tsidp-server")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	return bin, nil
})

// A process is a running tsidp-server.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

// startServer starts the program with the given environment.
func startServer(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	bin, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, bin, env, args...)
}

// launch starts bin, a tsidp-server.
func launch(t *testing.T, bin string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(bin, args...), stderr: new(bytes.Buffer)}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// line reads the next line of standard output.
func (p *process) line() string {
	p.t.Helper()
	s, err := p.stdout.ReadString('\n')
	if err != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.t.Fatalf("reading output: %v\n%s", err, p.stderr)
	}
	return strings.TrimSpace(s)
}

// end sends sig and returns the exit code.
func (p *process) end(sig os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	io.Copy(io.Discard, p.stdout)
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// TestTailnet runs the real program on a real tailnet: it joins through
// tsnet, listens with TLS on 443 and leaves cleanly.
func TestTailnet(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.Expect("idp", tailnettest.Tagged("tag:tsidp"))
	tn.SetGrants(tailnettest.Allow("root@example.com", "idp", `{"allow_admin_ui": true}`))
	dir := t.TempDir()
	fqdn := tn.FQDN("idp")
	tn.CertFiles(t, dir, fqdn)

	p := startServer(t, tn.Env(), "-dir", dir)
	if got, want := p.line(), "issuer: https://"+fqdn; got != want {
		t.Fatalf("printed %q, want %q", got, want)
	}
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	tn.AwaitReady(t, "idp")
	client := desk.HTTPClient()
	transport := client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true // a dialer of its own switches it off
	client.Transport = transport
	client.Timeout = 30 * time.Second
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	var meta struct {
		Issuer string `json:"issuer"`
	}
	res := getJSON(t, client, "https://"+fqdn+"/.well-known/openid-configuration", &meta)
	if meta.Issuer != "https://"+fqdn || res.ProtoMajor != 2 {
		t.Errorf("issuer %q over HTTP/%d, want https://%s over HTTP/2", meta.Issuer, res.ProtoMajor, fqdn)
	}
	if res := getJSON(t, client, "https://"+fqdn+"/api/v1/clients", nil); res.StatusCode != http.StatusOK {
		t.Errorf("an administrator gets %s from the API", res.Status)
	}
	res, err := client.Get("http://idp/authorize?a=b")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if loc := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || loc != "https://"+fqdn+"/authorize?a=b" {
		t.Errorf("plain HTTP: %s to %q", res.Status, loc)
	}

	if code, out, errs := runTool(t, "keys", "list", "-dir", dir); code != 0 || !strings.Contains(out, "RS256") {
		t.Errorf("keys list: exit code %d\n%s%s", code, out, errs)
	}
	var report bytes.Buffer
	if code := run(t.Context(), []string{"check", "-dir", dir}, environment(), &report, &report); code != 0 ||
		!strings.Contains(report.String(), "certificate  valid for ") || !strings.Contains(report.String(), "its map is current") {
		t.Errorf("check: exit code %d\n%s", code, &report)
	}
	// The status of a real node lists users and nodes.
	for _, tt := range []struct {
		who  []string
		code int
		want string
	}{
		{[]string{"-user", "root@example.com"}, exitOK, "allowed  desk." + tn.Domain + " (root@example.com)"},
		{[]string{"-node", "desk"}, exitOK, "rule 0: {\"allow_admin_ui\":true}"},
		{[]string{"-node", "tag:tsidp"}, exitFailure, "REFUSED  " + fqdn + " (tag:tsidp)"},
	} {
		code, out, errs := runTool(t, append([]string{"explain", "-dir", dir, "-action", "administer"}, tt.who...)...)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("explain %v: exit code %d, want %d with %q\n%s%s", tt.who, code, tt.code, tt.want, out, errs)
		}
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d after SIGTERM\n%s", code, p.stderr)
	}
	if strings.Contains(p.stderr.String(), "lost when the process ends") {
		t.Errorf("the start says that state is lost:\n%s", p.stderr)
	}
	// The state belongs to the issuer that it was made under.
	moved := startServer(t, tn.Env(), "-dir", dir, "-issuer", "https://login.example/idp")
	if log := moved.fail(); !strings.Contains(log, "start it with -issuer https://"+fqdn+" ") || !strings.Contains(log, "not the node's own name") {
		t.Errorf("under another issuer:\n%s", log)
	}
	for _, name := range []string{databaseName, "tailscaled.state"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v (%v), want mode 0600", name, info, err)
		}
	}
}

// freePort returns a port of the loopback addresses for a program to take over.
func freePort(t *testing.T) int {
	t.Helper()
	lns, err := listenLoopback(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, ln := range lns {
			ln.Close()
		}
	}()
	return portOf(lns[0])
}

// TestTailnetLoopback: the loopback port and that of -listen have the public
// routes and the issuer of the tailnet.
func TestTailnetLoopback(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.Expect("auth", tailnettest.Tagged("tag:tsidp"))
	dir := t.TempDir()
	tn.CertFiles(t, dir, tn.FQDN("auth"))
	port, listen := freePort(t), freePort(t)
	p := startServer(t, append(tn.Env(), "TS_HOSTNAME=auth", fmt.Sprintf("TSIDP_LOCAL_PORT=%d", port)), "-dir", dir, "-port", "8443", "-listen", fmt.Sprintf("tcp:127.0.0.1:%d", listen))
	issuer := fmt.Sprintf("https://%s:8443", tn.FQDN("auth"))
	if got := p.line(); got != "issuer: "+issuer {
		t.Fatalf("printed %q, want issuer %s", got, issuer)
	}
	for _, port := range []int{port, listen} {
		base := fmt.Sprintf("http://127.0.0.1:%d", port)
		var meta struct {
			Issuer string `json:"issuer"`
		}
		getJSON(t, http.DefaultClient, base+"/.well-known/openid-configuration", &meta)
		if meta.Issuer != issuer {
			t.Errorf("issuer %q, want %q", meta.Issuer, issuer)
		}
		for path, want := range map[string]int{"/.well-known/jwks.json": 200, "/healthz": 200, "/readyz": 200, "/metrics": 404, "/authorize": 403, "/api/v1/clients": 403, "/clients/": 403, "/": 404} {
			if res := getJSON(t, http.DefaultClient, base+path, nil); res.StatusCode != want {
				t.Errorf("%s: %s, want %d", path, res.Status, want)
			}
		}
	}
	if code := p.end(os.Interrupt); code != 0 {
		t.Fatalf("exit code %d after SIGINT\n%s", code, p.stderr)
	}
}

// TestTailnetRefused: a wrong auth key ends the program with an error that
// names it, and no key in it.
func TestTailnetRefused(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t, tailnettest.WithAuthKey("tskey-auth-right"))
	var env []string
	for _, e := range tn.Env() {
		if !strings.HasPrefix(e, "TS_AUTHKEY=") {
			env = append(env, e)
		}
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("tskey-auth-wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startServer(t, env, "-dir", t.TempDir(), "-authkey-file", file)
	io.Copy(io.Discard, p.stdout)
	p.cmd.Wait()
	log := p.stderr.String()
	if p.cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(log, "joining tailnet") || strings.Contains(log, "tskey-auth-wrong") {
		t.Errorf("exit code %d\n%s", p.cmd.ProcessState.ExitCode(), log)
	}
}

// getJSON sends a GET and, if v is not nil, decodes the answer.
func getJSON(t *testing.T, c *http.Client, url string, v any) *http.Response {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if v != nil {
		if err := json.Unmarshal(body, v); err != nil {
			t.Fatalf("%s: %v in %s", url, err, body)
		}
	}
	return res
}
