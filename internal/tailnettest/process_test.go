// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

// TestOtherProcess runs a node outside of this process, as tests of the real binary do.
func TestOtherProcess(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t, tailnettest.WithAuthKey("tskey-auth-good"))
	tn.Expect(childHost, tailnettest.Tagged("tag:tsidp"))
	laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)

	dir := t.TempDir()
	tn.CertFiles(t, dir, tn.FQDN(childHost))
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), append(tn.Env(), childDir+"="+dir)...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("waiting for the other process to listen: read %q: %v", line, err)
	}
	tn.AwaitReady(t, childHost)

	url := "https://" + tn.FQDN(childHost) + "/"
	tests := []struct{ src, want string }{
		{"alice@example.com", "alice@example.com\n{\"users\":[\"*\"]}\n"},
		{"bob@example.com", "alice@example.com\n"},
	}
	for _, tt := range tests {
		tn.SetGrants(tailnettest.Allow(tt.src, childHost, `{"users":["*"]}`))
		if got := get(t, laptop.HTTPClient(), url); got != tt.want {
			t.Errorf("granted to %s: got %q, want %q", tt.src, got, tt.want)
		}
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("other process: %v", err)
	}
}

// TestNoLeak must not run in parallel: it counts the goroutines of the process.
func TestNoLeak(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("tailnet", func(t *testing.T) {
		tn := tailnettest.Start(t)
		idp := tn.Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
		laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)
		ln, err := idp.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		serve(t, ln, whoami(idp.LocalClient()))
		get(t, laptop.HTTPClient(), "http://idp/")
		tn.Node(t, "never-started", tailnettest.Tagged("tag:tsidp"))
	})

	timeout := time.After(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > before {
		select {
		case <-tick.C:
		case <-timeout:
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines after a tailnet, %d before it:\n%s",
				runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// A recorder is a test that hands out what is reported to it.
type recorder struct {
	testing.TB
	errors chan string

	mu  sync.Mutex
	log bytes.Buffer
}

func (r *recorder) Errorf(format string, args ...any) { r.errors <- fmt.Sprintf(format, args...) }

func (r *recorder) Output() io.Writer { return r }

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *recorder) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func TestUnexpectedNode(t *testing.T) {
	t.Parallel()
	r := &recorder{TB: t, errors: make(chan string, 10)}
	tn := tailnettest.Start(r)
	node := tn.Node(t, "laptop", tailnettest.User("alice@example.com"))
	node.Hostname = "lapdog"
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-r.errors:
		if want := `node "lapdog" joined the tailnet unexpected: call Expect`; got != want {
			t.Errorf("error = %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Error("no error")
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts []tailnettest.Option
		want bool
	}{
		{"default", nil, false},
		{"WithLog", []tailnettest.Option{tailnettest.WithLog()}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{TB: t, errors: make(chan string, 10)}
			tailnettest.Start(r, tt.opts...).Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
			if got := r.logged(); strings.Contains(got, "idp: ") != tt.want || !tt.want && got != "" {
				t.Errorf("log of idp present must be %v:\n%s", tt.want, got)
			}
		})
	}
}
