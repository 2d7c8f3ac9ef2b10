// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// TestOwnName runs the real program under a name of its own, in a tailnet
// that has no certificates, with the public routes on a unix socket.
func TestOwnName(t *testing.T) {
	t.Parallel()
	const host = "id.example.com"
	tn := tailnettest.Start(t)
	tn.SetGrants(tailnettest.Allow("root@example.com", "idp", `{"allow_admin_ui": true}`))
	tagged := tailnettest.Tagged("tag:tsidp")
	tagged.CapMap = tailcfg.NodeCapMap{}
	tn.Expect("idp", tagged)
	dir := socketDir(t)
	tn.CertFiles(t, dir, host)
	base, socket := filepath.Join(dir, "certs", host), filepath.Join(dir, "public.sock")
	p := &twoProcesses{issuer: "https://" + host}
	inside := &instance{t: t, tn: tn, host: "idp", args: []string{
		"-dir", dir, "-issuer", p.issuer, "-tls-cert", base + ".crt", "-tls-key", base + ".key", "-listen", "unix:" + socket,
	}}
	inside.start()
	inside.await(p.issuer)
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	transport := desk.HTTPClient().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return desk.Dial(ctx, network, tn.FQDN("idp")+":443")
	}
	inside.client = &http.Client{Transport: transport, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// A reverse proxy ends TLS and talks to the socket.
	proxy := &instance{t: t, host: "the proxy", client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	p.servers = [2]*instance{inside, proxy}
	p.register(t)
	tokens := must(p.redeem(t, proxy, p.authorize(t, inside)))(t)
	if !p.userinfo(t, proxy, tokens.AccessToken) || !p.active(t, proxy, tokens.AccessToken) {
		t.Error("userinfo or introspection does not work over the socket")
	}
	if res, body := read(t, proxy.client, p.app.AuthCodeURL("state")); res.StatusCode != http.StatusForbidden || !strings.Contains(body, "You are not on the tailnet") {
		t.Errorf("authorize over the socket: %s: %s", res.Status, body)
	}
	// The socket is none for administrators, although they have one.
	if res, body := read(t, proxy.client, p.issuer+"/api/v1/clients"); res.StatusCode != http.StatusForbidden {
		t.Errorf("the administration over the socket: %s: %s", res.Status, body)
	}
	if code := inside.process.end(syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d\n%s", code, inside.process.stderr)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is there after the end: %v", err)
	}
	// A certificate for another name is refused at the start.
	inside.args[3] = "https://login.example.com"
	inside.args[1] = socketDir(t)
	inside.start()
	if log := inside.process.fail(); !strings.Contains(log, "login.example.com") || !strings.Contains(log, "the name is that of -issuer") {
		t.Errorf("with a certificate for %s:\n%s", host, log)
	}
}

// TestCertificateDelay: without a certificate the server is up, and says what
// it is waiting for.
func TestCertificateDelay(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.Expect("idp", tailnettest.Tagged("tag:tsidp"))
	dir := socketDir(t)
	s := &instance{t: t, tn: tn, host: "idp", args: []string{"-dir", dir, "-listen", "unix:" + filepath.Join(dir, "public.sock")}}
	s.start()
	s.await("https://" + tn.FQDN("idp"))
	local := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "public.sock"))
	}}}
	health := func() string {
		var h struct {
			Status string `json:"status"`
		}
		if res := getJSON(t, local, "http://localhost/healthz", &h); res.StatusCode != http.StatusOK {
			t.Errorf("healthz answers %s: what is alive must not be killed for being alone", res.Status)
		}
		return h.Status
	}
	if got := health(); got != "waiting for TLS certificate" {
		t.Errorf("without a certificate the health is %q", got)
	}
	tn.CertFiles(t, dir, tn.FQDN("idp"))
	desk := tn.Node(t, "desk", tailnettest.User("alice@example.com")).Up(t)
	getJSON(t, desk.HTTPClient(), "https://"+tn.FQDN("idp")+"/.well-known/jwks.json", nil)
	if got := health(); got != "ok" {
		t.Errorf("with a certificate the health is %q", got)
	}
	if code := s.process.end(syscall.SIGTERM); code != exitOK || !strings.Contains(s.process.stderr.String(), "waiting for TLS certificate") {
		t.Errorf("exit code %d\n%s", code, s.process.stderr)
	}
}

func TestAwaitCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		log := slog.New(slog.NewTextHandler(&buf, nil))
		c := new(certificates)
		c.waiting.Store(true)
		var asked []time.Duration
		start := time.Now()
		c.await(t.Context(), log, "idp.tail1234.ts.net", func(context.Context, string) error {
			asked = append(asked, time.Since(start))
			<-time.After(2 * time.Second)
			if len(asked) < 4 {
				if c.condition() != "waiting for TLS certificate" {
					t.Errorf("condition %q", c.condition())
				}
				return errors.New("acme: try later")
			}
			return nil
		})
		want := []time.Duration{0, 32 * time.Second, 94 * time.Second, 216 * time.Second}
		for i := range want {
			if i >= len(asked) || asked[i] != want[i] {
				t.Fatalf("asked after %v, want %v", asked, want)
			}
		}
		if c.condition() != "" {
			t.Errorf("condition %q with a certificate", c.condition())
		}
		for _, text := range []string{`msg="waiting for TLS certificate" name=idp.tail1234.ts.net`, "acme: try later", "retry=30s", `msg="TLS certificate is there"`} {
			if !strings.Contains(buf.String(), text) {
				t.Errorf("the log does not say %q:\n%s", text, &buf)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		c := new(certificates)
		c.await(t.Context(), slog.New(slog.NewTextHandler(&buf, nil)), "x", func(context.Context, string) error { return nil })
		if buf.Len() > 0 {
			t.Errorf("a certificate that is there is worth no word: %s", &buf)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		c.await(ctx, silent, "x", func(context.Context, string) error { return errors.New("no") })
		if ctx.Err() == nil {
			t.Error("the waiting has ended without a certificate")
		}
	})
}

// certificateFiles writes a certificate for host that tn's authority signs.
func certificateFiles(t *testing.T, tn *tailnettest.Tailnet, host string) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	tn.CertFiles(t, dir, host)
	base := filepath.Join(dir, "certs", host)
	return base + ".crt", base + ".key"
}

func TestFileCertificate(t *testing.T) {
	tn := tailnettest.Start(t)
	const host = "id.example.com"
	firstCert, firstKey := certificateFiles(t, tn, host)
	nextCert, nextKey := certificateFiles(t, tn, host)
	otherCert, otherKey := certificateFiles(t, tn, "other.example.com")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	turn := 0
	replace := func(path, with string) {
		t.Helper()
		data, err := os.ReadFile(with)
		if err != nil {
			t.Fatal(err)
		}
		writeAt(t, path, data)
		// Clocks of file systems may be coarse.
		turn++
		at := time.Now().Add(time.Duration(turn) * time.Second)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openCertificate(cert, key, host, silent); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("missing files: error %v", err)
	}
	replace(cert, otherCert)
	replace(key, otherKey)
	if _, err := openCertificate(cert, key, host, silent); err == nil || !strings.Contains(err.Error(), "other.example.com") {
		t.Errorf("a certificate for another name: error %v", err)
	}
	replace(key, firstKey)
	if _, err := openCertificate(cert, key, host, silent); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("a key of another certificate: error %v", err)
	}
	replace(cert, firstCert)

	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		c, err := openCertificate(cert, key, host, slog.New(slog.NewTextHandler(&buf, nil)))
		if err != nil {
			t.Fatal(err)
		}
		first := c.get()
		stays := func(why string) {
			t.Helper()
			<-time.After(lookEvery)
			if got := c.get(); got != first {
				t.Errorf("%s: the certificate has changed", why)
			}
		}
		stays("nothing has happened")
		replace(cert, nextCert)
		if c.get() != first {
			t.Error("the files are read at every connection")
		}
		stays("the certificate is new and the key is not")
		if err := os.Rename(key, key+".old"); err != nil {
			t.Fatal(err)
		}
		stays("the key is gone")
		replace(key, nextKey)
		<-time.After(lookEvery)
		next := c.get()
		if next == first || bytes.Equal(next.Certificate[0], first.Certificate[0]) {
			t.Error("the new certificate is not used")
		}
		first = next
		replace(cert, otherCert)
		replace(key, otherKey)
		stays("the new certificate is for another name")
		for _, text := range []string{"cannot be read again", "has changed but cannot be used", "was read again", "other.example.com"} {
			if !strings.Contains(buf.String(), text) {
				t.Errorf("the log does not say %q:\n%s", text, &buf)
			}
		}
	})
}

func writeAt(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCertificateOf: the name that is asked for decides which certificate is
// shown.
func TestCertificateOf(t *testing.T) {
	tn := tailnettest.Start(t)
	cert, key := certificateFiles(t, tn, "id.example.com")
	own, err := openCertificate(cert, key, "id.example.com", silent)
	if err != nil {
		t.Fatal(err)
	}
	tailscales := &tls.Certificate{Leaf: &x509.Certificate{}}
	c := &certificates{own: own, tailnet: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return tailscales, nil }}
	for name, want := range map[string]*tls.Certificate{
		"id.example.com": own.cert, "ID.Example.com": own.cert, "": own.cert,
		"idp.tail1234.ts.net": tailscales, "evil.example": tailscales,
	} {
		if got, err := c.get(&tls.ClientHelloInfo{ServerName: name}); err != nil || got != want {
			t.Errorf("%q gets the wrong certificate (%v)", name, err)
		}
	}
}

func TestListenPublic(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "public.sock")
	log, said := warnings()
	ln, err := listenPublic(address{"unix", path}, log)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("socket %v, %v: want mode 0666, a proxy is another user", info, err)
	}
	if _, err := listenPublic(address{"unix", path}, log); err == nil || !strings.Contains(err.Error(), "another server answers") {
		t.Errorf("a second server: error %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if ln, err = listenPublic(address{"unix", path}, log); err != nil {
		t.Fatalf("over the socket of a dead process: %v", err)
	}
	ln.Close()
	writeTo(t, path, "precious")
	if _, err := listenPublic(address{"unix", path}, log); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("over a file: error %v", err)
	}
	for at, warns := range map[string]bool{"127.0.0.1:0": false, "0.0.0.0:0": true} {
		ln, err := listenPublic(address{"tcp", at}, log)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		if got := strings.Contains(said.String(), "plain HTTP to other machines"); got != warns {
			t.Errorf("tcp:%s: warning %v, want %v: %s", at, got, warns, said)
		}
		said.Reset()
	}
	if _, err := listenPublic(address{"tcp", "192.0.2.1:1"}, log); err == nil || !strings.Contains(err.Error(), "listening at tcp:192.0.2.1:1") {
		t.Errorf("at an address of somebody else: error %v", err)
	}
}

// A lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestNameWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf lockedBuffer
		var mu sync.Mutex // guards name and fault
		name, fault := "idp.tail1234.ts.net.", error(nil)
		set := func(n string, err error) {
			mu.Lock()
			defer mu.Unlock()
			name, fault = n, err
		}
		w := &nameWatch{
			issuer: "https://idp.tail1234.ts.net", name: "idp.tail1234.ts.net", log: slog.New(slog.NewTextHandler(&buf, nil)),
			status: func(context.Context) (*ipnstate.Status, error) {
				mu.Lock()
				defer mu.Unlock()
				return &ipnstate.Status{Self: &ipnstate.PeerStatus{DNSName: name}}, fault
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		go w.run(ctx)
		after := func(d time.Duration, condition string, lines int) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if got := w.condition(); got != condition {
				t.Errorf("condition %q, want %q", got, condition)
			}
			if got := strings.Count(buf.String(), "level=ERROR"); got != lines {
				t.Errorf("%d errors in the log, want %d:\n%s", got, lines, &buf)
			}
		}
		after(time.Hour, "", 0)
		set("", nil)
		after(time.Minute, "", 0)
		set("idp-1.tail1234.ts.net.", nil)
		after(watchEvery, "the node is called idp-1.tail1234.ts.net now, and the issuer is https://idp.tail1234.ts.net", 1)
		for _, text := range []string{"no new logins", "another provider to every application", "was=idp.tail1234.ts.net", "is=idp-1.tail1234.ts.net", "-issuer"} {
			if !strings.Contains(buf.String(), text) {
				t.Errorf("the log does not say %q:\n%s", text, &buf)
			}
		}
		after(remindEvery-2*watchEvery, w.condition(), 1)
		after(2*watchEvery, w.condition(), 2) // not to be overlooked
		set("idp-1.tail1234.ts.net.", errors.New("not now"))
		after(time.Minute, w.condition(), 2)
		set("idp.other-tailnet.ts.net.", nil)
		after(watchEvery, "the node is called idp.other-tailnet.ts.net now, and the issuer is https://idp.tail1234.ts.net", 3)
		set("idp.tail1234.ts.net.", nil)
		after(watchEvery, "", 3)
		if !strings.Contains(buf.String(), "has its old name back") {
			t.Errorf("the log does not say that all is well:\n%s", &buf)
		}
		cancel()
		synctest.Wait()
	})
}

// TestNameWatchTailnet: a real node learns of its new name while it runs.
func TestNameWatchTailnet(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	node := tn.Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
	status, err := node.LocalClient().StatusWithoutPeers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &nameWatch{issuer: "https://" + nodeName(status), name: nodeName(status), status: node.LocalClient().StatusWithoutPeers, log: silent}
	if w.look(t.Context()); w.condition() != "" {
		t.Errorf("condition %q at the start", w.condition())
	}
	tn.Update(func(s *tailnettest.State) { s.Nodes["idp"].FQDN = "sso." + tn.Domain })
	if w.look(t.Context()); !strings.Contains(w.condition(), "sso."+tn.Domain) {
		t.Errorf("condition %q of a renamed node", w.condition())
	}
}
