// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
	"golang.org/x/oauth2"
	"tailscale.com/client/local"
	"tailscale.com/ipn"
)

// buildTailscaled compiles tailscaled from the module of this one and returns
// the path. The program stays in the cache of the user: to link it anew would
// take longer than the tests.
var buildTailscaled = sync.OnceValues(func() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	bin := filepath.Join(dir, "tsidp-test", "tailscaled")
	out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "tailscale.com/cmd/tailscaled").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building tailscaled: %w\n%s", err, out)
	}
	return bin, nil
})

// ordinaryUser returns a user who is not root: nobody if the tests run as root,
// or else who they run as.
func ordinaryUser() int {
	if os.Geteuid() == 0 {
		return 65534
	}
	return os.Geteuid()
}

// A host is a machine with a tailscaled in userspace mode.
type host struct {
	t          *testing.T
	tn         *tailnettest.Tailnet
	dir        string
	socket     string
	tailscaled *exec.Cmd
	client     *local.Client
	log        *bytes.Buffer
}

// newHost starts tailscaled as the user uid. It has not joined the tailnet yet.
//
// tailscaled asks sudo whether a user who is not root may have it serve a
// socket. Here sudo says what sudo says: true or false.
func newHost(t *testing.T, tn *tailnettest.Tailnet, uid int, sudo string) *host {
	t.Helper()
	bin, err := buildTailscaled()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, tn: tn, log: new(bytes.Buffer)}
	h.dir = h.mkdir(uid)
	// The cache may be closed to other users.
	copied := filepath.Join(h.dir, "tailscaled")
	copyTo(t, bin, copied)
	state := filepath.Join(h.dir, "tailscale")
	tn.CertFiles(t, state, tn.FQDN("host"))
	h.give(state, uid)
	if err := os.WriteFile(filepath.Join(h.dir, "sudo"), []byte("#!/bin/sh\n"+sudo+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.socket = filepath.Join(h.dir, "ts.sock")
	h.client = &local.Client{Socket: h.socket, UseSocketOnly: true}

	h.tailscaled = exec.Command(copied, "--tun=userspace-networking", "--statedir="+state, "--state=mem:", "--socket="+h.socket, "--port=0", "--no-logs-no-support")
	h.tailscaled.Env = append([]string{"PATH=" + h.dir, "HOME=" + h.dir}, tn.Env()...)
	h.tailscaled.Stderr = h.log
	h.tailscaled.SysProcAttr = as(uid)
	if err := h.tailscaled.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			t.Logf("tailscaled:\n%s", h.log)
		}
	})
	h.await("tailscaled listens", func() error {
		_, err := h.client.StatusWithoutPeers(t.Context())
		return err
	})
	return h
}

// mkdir makes a directory of uid's that others can look into, with a short
// path.
func (h *host) mkdir(uid int) string {
	h.t.Helper()
	dir, err := os.MkdirTemp("", "tsidp")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.give(dir, uid)
	return dir
}

// give makes uid the owner of dir and what is in it.
func (h *host) give(dir string, uid int) {
	h.t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, -1))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
}

// as runs a process as uid.
func as(uid int) *syscall.SysProcAttr {
	if uid == os.Geteuid() {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// await waits for what tells nobody that it is there.
func (h *host) await(what string, check func() error) {
	h.t.Helper()
	timeout := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			h.t.Fatalf("waiting until %s: %v", what, err)
		}
	}
}

// awaitNoSession waits until no foreground session configures Serve.
func (h *host) awaitNoSession(after string) {
	h.t.Helper()
	h.await("the Serve configuration is gone after "+after, func() error {
		if n := h.sessions(); n > 0 {
			return fmt.Errorf("%d sessions are left", n)
		}
		return nil
	})
}

// join lets tailscaled join the tailnet.
func (h *host) join() {
	h.t.Helper()
	prefs := ipn.NewPrefs()
	prefs.ControlURL, prefs.Hostname, prefs.WantRunning = h.tn.URL, "host", true
	if err := h.client.Start(h.t.Context(), ipn.Options{UpdatePrefs: prefs}); err != nil {
		h.t.Fatal(err)
	}
	if err := h.client.StartLoginInteractive(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.tn.AwaitReady(h.t, "host")
}

func (h *host) kill() {
	h.tailscaled.Process.Kill()
	h.tailscaled.Wait() // its error is that it was killed
}

// server starts a tsidp-server that uses this tailscaled, as the user uid.
func (h *host) server(uid int, dir string, args ...string) *process {
	h.t.Helper()
	bin, err := buildServer()
	if err != nil {
		h.t.Fatal(err)
	}
	copied := filepath.Join(h.dir, "tsidp-server")
	if _, err := os.Stat(copied); err != nil {
		copyTo(h.t, bin, copied)
	}
	p := &process{t: h.t, cmd: exec.Command(copied, append([]string{"-use-local-tailscaled", "-dir", dir}, args...)...), stderr: new(bytes.Buffer)}
	p.cmd.Env = []string{"HOME=" + dir, "TS_SOCKET=" + h.socket}
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = as(uid)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { p.cmd.Process.Kill() })
	return p
}

// sessions returns how many foreground sessions configure Serve.
func (h *host) sessions() int {
	h.t.Helper()
	sc, err := h.client.GetServeConfig(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return len(sc.Foreground)
}

// ask sends a GET as c, with headers given as name, value and so on. Redirects
// are not followed.
func ask(t *testing.T, c *http.Client, url string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	once := *c
	once.Timeout = 30 * time.Second
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := once.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// TestTailscaled runs the real program behind a real tailscaled, both as an
// ordinary user: who is who, and who nobody can become by writing a header.
func TestTailscaled(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	id := tailnettest.Tagged("tag:idp")
	id.CapMap = tailnettest.FunnelCaps()
	tn.Expect("host", id)
	tn.SetGrants(tailnettest.Allow("root@example.com", "host", adminCapability))
	uid := ordinaryUser()
	h := newHost(t, tn, uid, "true")
	dir := h.mkdir(uid)
	lns, err := listenLoopback(0) // a free port; the program takes it over
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(lns[0])
	for _, ln := range lns {
		ln.Close()
	}
	// It waits for tailscaled to join.
	p := h.server(uid, dir, "-funnel", "-local-port", fmt.Sprint(port))
	h.join()
	issuer := "https://" + tn.FQDN("host")
	if got := p.line(); got != "issuer: "+issuer {
		t.Fatalf("printed %q, want issuer %s", got, issuer)
	}
	if n := h.sessions(); n != 1 {
		t.Errorf("%d sessions configure Serve, want 1", n)
	}
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	phone := tn.Node(t, "phone", tailnettest.User("eve@example.com")).Up(t)
	relay := tn.Node(t, "relay", tailnettest.FunnelRelay()).Up(t)
	root := desk.IP().String()
	internet := relay.FunnelClient(netip.MustParseAddrPort("203.0.113.9:4444"))
	// A relay that claims the administrator's address.
	liar := relay.FunnelClient(netip.AddrPortFrom(desk.IP(), 4444))
	forged := []string{
		headerFor, root, headerHost, tn.FQDN("host"), "Forwarded", "for=" + root, "X-Real-Ip", root,
		"Tailscale-User-Login", "root@example.com", "Tailscale-User-Name", "Root",
	}
	const api, metadata = "/api/v1/clients", "/.well-known/openid-configuration"
	byHost := fmt.Sprintf("http://%s:%d", tn.FQDN("host"), port)
	byLoopback := fmt.Sprintf("http://127.0.0.1:%d", port)
	tests := []struct {
		name    string
		client  *http.Client
		url     string
		headers []string
		want    int
	}{
		{name: "administrator", client: desk.HTTPClient(), url: issuer + api, want: 200},
		{name: "administrator, Funnel header of his own", client: desk.HTTPClient(), url: issuer + api, headers: []string{headerFunnel, "?1"}, want: 200},
		{name: "administrator, another name forwarded", client: desk.HTTPClient(), url: issuer + api, headers: []string{headerHost, "evil.example"}, want: 200},
		{name: "another user", client: phone.HTTPClient(), url: issuer + api, want: 403},
		{name: "another user, forged", client: phone.HTTPClient(), url: issuer + api, headers: forged, want: 403},
		{name: "another user, forged, hop by hop", client: phone.HTTPClient(), url: issuer + api, headers: append([]string{"Connection", "X-Forwarded-For, X-Forwarded-Host, Tailscale-User-Login"}, forged...), want: 403},

		// tailscaled in this mode forwards unclaimed ports to loopback.
		{name: "port of loopback from the tailnet", client: phone.HTTPClient(), url: byHost + metadata, want: 200},
		{name: "port of loopback from the tailnet, forged", client: phone.HTTPClient(), url: byHost + api, headers: forged, want: 403},
		{name: "local process", client: http.DefaultClient, url: byLoopback + api, want: 403},
		{name: "local process, forged", client: http.DefaultClient, url: byLoopback + api, headers: forged, want: 403},
		{name: "local process, forged, authorize", client: http.DefaultClient, url: byLoopback + "/authorize", headers: forged, want: 403},

		{name: "internet, metadata", client: internet, url: issuer + metadata, want: 200},
		{name: "internet, API", client: internet, url: issuer + api, headers: forged, want: 403},
		{name: "internet, authorize", client: internet, url: issuer + "/authorize", headers: forged, want: 403},
		{name: "internet, register", client: internet, url: issuer + "/register", headers: forged, want: 404},
		{name: "internet, hop by hop", client: internet, url: issuer + api, headers: append([]string{"Connection", headerFunnel}, forged...), want: 403},
		{name: "relay with the administrator's address", client: liar, url: issuer + api, want: 403},
	}
	for _, tt := range tests {
		if res := ask(t, tt.client, tt.url, tt.headers...); res.StatusCode != tt.want {
			body, _ := io.ReadAll(res.Body)
			t.Errorf("%s: %s, want %d\n%s", tt.name, res.Status, tt.want, body)
		}
	}
	logInThroughServe(t, issuer, desk.HTTPClient(), phone.HTTPClient())
	if os.Geteuid() != uid {
		// Root is not whom tailscaled runs as here, so not even root gets in.
		checkRefused(t, filepath.Join(dir, serveDirName, serveSocketName), forged)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d after SIGTERM\n%s", code, p.stderr)
	}
	h.awaitNoSession("SIGTERM")
	if want := "refused: it is not tailscaled's"; os.Geteuid() != uid && !strings.Contains(p.stderr.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, p.stderr)
	}
}

// logInThroughServe has an administrator make a client, to which user logs in.
func logInThroughServe(t *testing.T, issuer string, administrator, user *http.Client) {
	t.Helper()
	const callback = "https://wiki.example/callback"
	res, err := administrator.Post(issuer+"/api/v1/clients", "application/json", strings.NewReader(`{"client_id": "wiki", "redirect_uris": ["`+callback+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("making a client: %s", res.Status)
	}
	q := url.Values{
		"response_type": {"code"}, "client_id": {"wiki"}, "redirect_uri": {callback}, "scope": {"openid"}, "state": {"s"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"},
	}
	res = ask(t, user, issuer+"/authorize?"+q.Encode())
	to, err := res.Location()
	if err != nil || to.Query().Get("code") == "" || to.Query().Get("iss") != issuer {
		t.Errorf("logging in: %s to %v (%v), want a code", res.Status, to, err)
	}
}

// checkRefused connects to the socket for tailscaled, and must get no answer.
func checkRefused(t *testing.T, socket string, headers []string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := http.NewRequest("GET", "http://localhost/api/v1/clients", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	_ = r.Write(c) // it may be closed already
	if answer, _ := io.ReadAll(c); len(answer) > 0 {
		t.Errorf("who is not tailscaled gets an answer from its socket:\n%s", answer)
	}
}

// TestTailscaledSession: the Serve configuration lasts as long as the process,
// however that ends, and leaves the rest of it alone; and the process as long
// as the configuration.
func TestTailscaledSession(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.Expect("host", tailnettest.Tagged("tag:idp"))
	uid := ordinaryUser()
	h := newHost(t, tn, uid, "true")
	h.join()
	dir := h.mkdir(uid)
	background := &ipn.ServeConfig{
		TCP: map[uint16]*ipn.TCPPortHandler{8443: {HTTPS: true}},
		Web: map[ipn.HostPort]*ipn.WebServerConfig{ipn.HostPort(tn.FQDN("host") + ":8443"): {Handlers: map[string]*ipn.HTTPHandler{"/": {Text: "other"}}}},
	}
	if err := h.client.SetServeConfig(t.Context(), background); err != nil {
		t.Fatal(err)
	}
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)

	if log := h.server(uid, dir, "-port", "8443").fail(); !strings.Contains(log, "port 8443 is taken in the Serve configuration") || !strings.Contains(log, "choose another by -port") {
		t.Errorf("on a port that is taken:\n%s", log)
	}
	if log := h.server(uid, dir, "-funnel").fail(); !strings.Contains(log, "offering Funnel") || !strings.Contains(log, "https://tailscale.com/s/no-funnel") {
		t.Errorf("without permission for Funnel:\n%s", log)
	}

	// Twice: what the killed process leaves must not be in the way.
	for range 2 {
		p := h.server(uid, dir)
		p.line()
		if res := ask(t, desk.HTTPClient(), "https://"+tn.FQDN("host")+"/healthz"); res.StatusCode != http.StatusOK {
			t.Errorf("health: %s", res.Status)
		}
		if n := h.sessions(); n != 1 {
			t.Errorf("%d sessions configure Serve, want 1", n)
		}
		p.end(syscall.SIGKILL)
		h.awaitNoSession("SIGKILL")
	}
	if sc, err := h.client.GetServeConfig(t.Context()); err != nil || len(sc.TCP) != 1 || len(sc.Web) != 1 {
		t.Errorf("the rest of the Serve configuration: %+v (%v), want it as it was", sc, err)
	}

	p := h.server(uid, dir)
	p.line()
	if err := h.client.SetServeConfig(t.Context(), background); err != nil { // tailscale serve reset
		t.Fatal(err)
	}
	if log := p.fail(); !strings.Contains(log, "tailscaled has ended the session") {
		t.Errorf("after its configuration was replaced:\n%s", log)
	}
	p = h.server(uid, dir)
	p.line()
	h.kill()
	if log := p.fail(); !strings.Contains(log, "tailscaled has ended the session") {
		t.Errorf("after the end of tailscaled:\n%s", log)
	}
}

// TestTailscaledNetwork: what -listen opens is there in this mode too, tailscaled
// leads to the hosts of -client-metadata-allow, and a new name of the machine
// does not go unnoticed.
func TestTailscaledNetwork(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.Expect("host", tailnettest.Tagged("tag:idp"))
	uid := ordinaryUser()
	h := newHost(t, tn, uid, "true")
	h.join()
	dir := h.mkdir(uid)
	public := filepath.Join(dir, "public.sock")
	p := h.server(uid, dir, "-listen", "unix:"+public)
	if got, want := p.line(), "issuer: https://"+tn.FQDN("host"); got != want {
		t.Fatalf("printed %q, want %q", got, want)
	}
	proxy := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", public)
	}}}
	for path, want := range map[string]int{"/.well-known/openid-configuration": 200, "/authorize": 403, "/register": 404, "/api/v1/clients": 403} {
		if res := ask(t, proxy, "http://"+tn.FQDN("host")+path); res.StatusCode != want {
			t.Errorf("-listen: %s: %s, want %d", path, res.Status, want)
		}
	}

	// tailscaled in this mode is the only one here that reaches the tailnet.
	agents := tn.Node(t, "agents", tailnettest.User("root@example.com")).Up(t)
	ln, err := agents.Server.Listen("tcp", ":8443")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	tn.AwaitReady(t, "agents")
	dial := dialThrough(h.client)
	c, err := dial(t.Context(), "tcp", tn.FQDN("agents")+":8443")
	if err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(c); string(said) != "hello" {
		t.Errorf("a host of the tailnet says %q (%v)", said, err)
	}
	c.Close()
	for _, bad := range []string{"agents", "agents:https", "agents:65536"} {
		if c, err := dial(t.Context(), "tcp", bad); err == nil {
			c.Close()
			t.Errorf("connected to %s", bad)
		}
	}

	tn.Update(func(s *tailnettest.State) { s.Nodes["host"].FQDN = "sso." + tn.Domain })
	h.await("the health endpoint tells the new name", func() error {
		body, err := io.ReadAll(ask(t, proxy, "http://"+tn.FQDN("host")+"/healthz").Body)
		if err == nil && !strings.Contains(string(body), "the node is called sso."+tn.Domain) {
			err = errors.New(string(body))
		}
		return err
	})
	if code := p.end(syscall.SIGTERM); code != exitOK || !strings.Contains(p.stderr.String(), "level=ERROR msg=\"the node or the tailnet has been renamed") {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

// TestTailscaledRoot: where tailscaled and the server are root's, which is
// the usual case, and sudo has no say.
func TestTailscaledRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root; TestTailscaled runs as an ordinary user")
	}
	tn := tailnettest.Start(t)
	tn.Expect("host", tailnettest.Tagged("tag:idp"))
	tn.SetGrants(tailnettest.Allow("root@example.com", "host", adminCapability))
	h := newHost(t, tn, 0, "false")
	h.join()
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	p := h.server(0, h.mkdir(0))
	p.line()
	if res := ask(t, desk.HTTPClient(), "https://"+tn.FQDN("host")+"/api/v1/clients"); res.StatusCode != http.StatusOK {
		t.Errorf("an administrator gets %s from the API", res.Status)
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM\n%s", code, p.stderr)
	}
}

// TestTailscaledRefused: tailscaled does not serve the sockets of ordinary
// users without sudo rights, and they read why.
func TestTailscaledRefused(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.Expect("host", tailnettest.Tagged("tag:idp"))
	h := newHost(t, tn, os.Geteuid(), "false")
	h.join()
	uid := ordinaryUser()
	log := h.server(uid, h.mkdir(uid)).fail()
	for _, want := range []string{"setting the Serve configuration of tailscaled", "only for root, or for its operator (tailscale set --operator=USER) who may also run tailscale by sudo"} {
		if !strings.Contains(log, want) {
			t.Errorf("an ordinary user does not read %q:\n%s", want, log)
		}
	}
}
