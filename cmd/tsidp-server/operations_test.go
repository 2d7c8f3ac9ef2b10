// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
)

// TestNotifySocket: the manager at the other end of NOTIFY_SOCKET reads what
// sd_notify(3) says, be the socket a file or abstract.
func TestNotifySocket(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@tsidp-" + rand.Text()} {
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer manager.Close()
		n := newNotifier(environment("NOTIFY_SOCKET="+name), 7)
		ctx, cancel := context.WithCancel(t.Context())
		if err := n.after(nothing, silent)(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		for _, want := range []string{"READY=1", "STOPPING=1"} {
			b := make([]byte, 100)
			size, err := manager.Read(b)
			if err != nil || string(b[:size]) != want {
				t.Errorf("the manager reads %q, %v; want %s", b[:size], err, want)
			}
		}
	}
	if err := (notifier{}).send("READY=1"); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	if err := (notifier{socket: filepath.Join(t.TempDir(), "none")}).send("READY=1"); err == nil {
		t.Error("nobody listens, and nothing is said")
	}
	if err := (notifier{}).after(func(context.Context) error { return errors.New("not ready") }, silent)(t.Context()); err == nil {
		t.Error("the error of ready is lost")
	}
}

func TestNewNotifier(t *testing.T) {
	for env, want := range map[string]notifier{
		"": {},
		"NOTIFY_SOCKET=/s WATCHDOG_USEC=30000000":                 {"/s", 30 * time.Second},
		"NOTIFY_SOCKET=/s WATCHDOG_USEC=30000000 WATCHDOG_PID=7":  {"/s", 30 * time.Second},
		"NOTIFY_SOCKET=/s WATCHDOG_USEC=30000000 WATCHDOG_PID=70": {"/s", 0},
		"NOTIFY_SOCKET=/s WATCHDOG_USEC=-1":                       {"/s", 0},
		"NOTIFY_SOCKET=/s WATCHDOG_USEC=soon":                     {"/s", 0},
	} {
		if got := newNotifier(environment(strings.Fields(env)...), 7); got != want {
			t.Errorf("%q: %+v, want %+v", env, got, want)
		}
	}
}

// TestWatchdog: signs of life come twice as often as they must, and a manager
// that does not listen is no reason to stop.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		ctx, cancel := context.WithCancel(t.Context())
		keepInformed(ctx, func(state string) error { said = append(said, state); return errors.New("deaf") }, 30*time.Second, silent)
		<-time.After(61 * time.Second)
		cancel()
		synctest.Wait()
		want := []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"}
		if diff := cmp.Diff(want, said); diff != "" {
			t.Errorf("said (-want +got):\n%s", diff)
		}
	})
}

// certificateUntil returns a certificate that ends then.
func certificateUntil(t *testing.T, end time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestCertificateCheck: many probes are one order, a failed one is not
// repeated at once, and a good certificate outlives failures to renew it.
func TestCertificateCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			pem []byte
			err error
		}
		answers := make(chan answer)
		var asked atomic.Int64
		check := newCertificateCheck("idp.example.ts.net", func(ctx context.Context, name string) ([]byte, []byte, error) {
			if name != "idp.example.ts.net" {
				t.Errorf("asks for %s", name)
			}
			asked.Add(1)
			select {
			case a := <-answers:
				return a.pem, nil, a.err
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		})
		probe := func(wantAsked int64, wantState, wantErr string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			state, err := check.Run(ctx)
			asked := asked.Load()
			if state != wantState || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) || asked != wantAsked {
				t.Errorf("%q, %v after %d orders; want %q, %q, %d", state, err, asked, wantState, wantErr, wantAsked)
			}
		}
		begun := time.Now()
		probe(1, "waiting for a certificate", "ordered")
		probe(1, "waiting for a certificate", "ordered")
		if took := time.Since(begun); took != 2*certificateWait {
			t.Errorf("two probes took %v", took)
		}
		answers <- answer{err: errors.New("acme: no")}
		synctest.Wait()
		probe(1, "waiting for a certificate", "acme: no")
		<-time.After(certificateRetry)
		go func() { answers <- answer{pem: certificateUntil(t, time.Now().Add(72*time.Hour))} }()
		probe(2, "valid for 3 days", "")
		probe(2, "valid for 3 days", "")
		<-time.After(certificateFresh)
		go func() { answers <- answer{err: errors.New("acme: no")} }()
		probe(3, "valid for 2 days", "")
		<-time.After(70 * time.Hour)
		go func() { answers <- answer{pem: []byte("x")} }()
		probe(4, "valid for 1h50m0s", "")
		<-time.After(2 * time.Hour)
		probe(5, "waiting for a certificate", "not PEM")
		<-time.After(certificateTimeout)
		probe(5, "waiting for a certificate", "deadline")
	})
	if _, err := notAfter(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), nil); err == nil {
		t.Error("a malformed certificate is one")
	}
}

// TestLoopbackHosts: no web page reads the metrics by a name of its own.
func TestLoopbackHosts(t *testing.T) {
	h := loopbackHosts(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	for host, want := range map[string]int{
		"localhost": 200, "localhost:9100": 200, "127.0.0.1:9100": 200, "127.9.9.9": 200, "[::1]:9100": 200, "::1": 200,
		"evil.example": 421, "evil.example:9100": 421, "100.64.0.1:9100": 421, "localhost.evil.example": 421, "": 421,
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestLogFormat(t *testing.T) {
	var b bytes.Buffer
	newLogger(config{logJSON: true}, &b).Info("hello", "a", 1)
	newLogger(config{logJSON: true, logLevel: slog.LevelWarn}, &b).Info("unheard")
	var m map[string]any
	if err := json.Unmarshal(b.Bytes(), &m); err != nil || m["msg"] != "hello" || m["a"] != 1.0 {
		t.Errorf("log %s: %v", &b, err)
	}
	b.Reset()
	if newLogger(config{}, &b).Info("hello"); !strings.Contains(b.String(), "level=INFO msg=hello") {
		t.Errorf("log %s", &b)
	}
}

// TestReload: a signal has the list read again; a broken one changes nothing.
func TestReload(t *testing.T) {
	const id = "https://agent.example/client.json"
	file := filepath.Join(t.TempDir(), "list")
	write := func(s string) { writeTo(t, file, s) }
	write(`{"allow": []}`)
	c, err := parseConfig([]string{"-dev", "-client-metadata=allowlist", "-client-metadata-list", file}, environment())
	if err != nil {
		t.Fatal(err)
	}
	p, err := tsidp.New(tsidp.Config{Issuer: "https://idp.example", Tailnet: nobody{}, Store: memory.New(), ClientDocuments: c.clientDocuments()})
	if err != nil {
		t.Fatal(err)
	}
	signals, said := make(chan os.Signal), make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.reloadOn(ctx, signals, p, slog.New(slog.NewTextHandler(lines(said), nil)))
	}()
	for _, tt := range []struct {
		content, says string
		pinned        int
	}{
		{`{"pinned": [{"client_id": "` + id + `", "client_name": "Agent", "redirect_uris": ["https://agent.example/cb"]}]}`, "files were read again", 1},
		{`{`, "level=ERROR", 1},
		{`{"pinned": [{"client_id": "` + id + `"}]}`, "level=ERROR", 1},
		{`{}`, "files were read again", 0},
	} {
		write(tt.content)
		signals <- syscall.SIGHUP
		if line := <-said; !strings.Contains(line, tt.says) {
			t.Errorf("after %s the log says %s", tt.content, line)
		}
	}
	cancel()
	<-done
	if n := len(c.clientMetadataList.Pinned); n != 0 {
		t.Errorf("%d pinned documents at the end", n)
	}
	if err := (&config{}).reload(nil); err != nil {
		t.Errorf("without a list: %v", err)
	}
}

// lines is a writer that passes on what is written.
type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

// TestHealthcheckByPort: with -dev, the port answers for the server.
func TestHealthcheckByPort(t *testing.T) {
	var mu sync.Mutex
	status, body := 200, `{"status":"ok"}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/readyz" {
			w.WriteHeader(503)
			io.WriteString(w, `{"status":"not ready","checks":[{"name":"store","ok":true,"state":"fine"},{"name":"certificate","ok":false,"state":"waiting"}]}`)
			return
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	check := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"healthcheck", "-dev", "-local-port", port}, args...), environment(), &out, &errs)
		return code, out.String() + errs.String()
	}
	if code, out := check(); code != 0 || out != "ok\n" {
		t.Errorf("a healthy server: %d %s", code, out)
	}
	if code, out := check("-ready"); code != 1 || !strings.Contains(out, "certificate: waiting\n") || strings.Contains(out, "fine") {
		t.Errorf("a server that is not ready: %d %s", code, out)
	}
	mu.Lock()
	status = 503
	mu.Unlock()
	if code, out := check(); code != 1 || !strings.Contains(out, "the server says: ok") {
		t.Errorf("a server that is not well: %d %s", code, out)
	}
	mu.Lock()
	status, body = 200, "<html>"
	mu.Unlock()
	if code, out := check(); code != 1 || !strings.Contains(out, "not as tsidp-server does") {
		t.Errorf("another server: %d %s", code, out)
	}
	srv.Close()
	if code, out := check(); code != 1 || !strings.Contains(out, "asking the server") {
		t.Errorf("no server: %d %s", code, out)
	}
}

// TestCheckOffline: what is wrong without a server is told with what helps,
// and nothing is made.
func TestCheckOffline(t *testing.T) {
	base := t.TempDir()
	fresh := filepath.Join(base, "fresh")
	empty := writeTo(t, filepath.Join(base, "key"), "")
	for _, tt := range []struct {
		args string
		code int
		says []string
	}{
		{"check -dir " + fresh, 0, []string{"ok    directory", "the first start makes it", "ok    login"}},
		{"check -dir " + fresh + " -authkey-file " + filepath.Join(base, "none"), 1, []string{"FAIL  login", "mend: write a new auth key"}},
		{"check -dir " + fresh + " -authkey-file " + empty, 1, []string{"FAIL  login", "is empty"}},
		{"check -dir " + fresh + " -key-file " + empty, 1, []string{"FAIL  key file", "0 bytes"}},
		{"check -dir " + empty, 1, []string{"FAIL  directory"}},
		{"check -dev", 0, []string{"memory: everything is lost"}},
		{"check -port many", 2, []string{`invalid value "many" for -port`}},
		{"check something", 2, []string{"unexpected argument"}},
		{"healthcheck -dir " + fresh, 1, []string{"no server answers at " + fresh}},
		{"healthcheck -dev -local-port 0", 2, []string{"which port?"}},
	} {
		var out bytes.Buffer
		code := run(t.Context(), strings.Fields(tt.args), environment(), &out, &out)
		if code != tt.code || slices.ContainsFunc(tt.says, func(s string) bool { return !strings.Contains(out.String(), s) }) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", tt.args, code, tt.code, tt.says, &out)
		}
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("check has made the directory")
	}
}
