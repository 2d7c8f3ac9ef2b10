// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest_test

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

// startChild starts a node in a process of its own, and waits until it can be
// reached. The process ends when the returned function is called or the test ends.
func startChild(t *testing.T, tn *tailnettest.Tailnet, dir string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(tn.Env(), childDir+"="+dir)...)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait() // its error is that it was killed
	})
	t.Cleanup(kill)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("waiting for the other process to listen: read %q: %v", line, err)
	}
	tn.AwaitReady(t, childHost)
	return kill
}

// TestOtherProcess runs a node outside of this process, as tests of the real binary
// do, and kills it, as they do too.
func TestOtherProcess(t *testing.T) {
	t.Parallel()
	rec := &logRecorder{TB: t}
	tn := tailnettest.Start(rec, tailnettest.WithAuthKey("tskey-auth-good"), tailnettest.WithLog())
	tn.Expect(childHost, tailnettest.Tagged("tag:tsidp"))
	laptop := tn.Node(t, "laptop", tailnettest.User("alice@example.com")).Up(t)
	dir := t.TempDir()
	tn.CertFiles(t, dir, tn.FQDN(childHost))

	for _, tt := range []struct{ run, src, want string }{
		{"first", "alice@example.com", "alice@example.com\n{\"users\":[\"*\"]}\n"},
		{"second", "bob@example.com", "alice@example.com\n"},
	} {
		kill := startChild(t, tn, dir)
		tn.SetGrants(tailnettest.Allow(tt.src, childHost, `{"users":["*"]}`))
		if got := get(t, laptop.HTTPClient(), "https://"+tn.FQDN(childHost)+"/"); got != tt.want {
			t.Errorf("%s run, granted to %s: got %q, want %q", tt.run, tt.src, got, tt.want)
		}
		status, err := laptop.LocalClient().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(status.Peer) != 1 {
			t.Errorf("%s run: laptop has %d peers, want the same one always", tt.run, len(status.Peer))
		}
		kill()
	}
	rec.checkHandshakes(t)
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
