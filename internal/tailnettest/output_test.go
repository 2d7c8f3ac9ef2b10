// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

// A logRecorder is a test whose log can be read.
type logRecorder struct {
	testing.TB

	mu  sync.Mutex
	log bytes.Buffer
}

func (r *logRecorder) Output() io.Writer { return r }

func (r *logRecorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *logRecorder) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// checkHandshakes fails the test if a node had to repeat a WireGuard handshake, be it
// that it tried too early or that it knew its peer by an old state.
func (r *logRecorder) checkHandshakes(t *testing.T) {
	t.Helper()
	log := r.logged()
	if !strings.Contains(log, "Received handshake response") {
		t.Error("no handshakes in the log")
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "Handshake did not complete") {
			t.Errorf("lost handshake: %s", line)
		}
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
			rec := &logRecorder{TB: t}
			tailnettest.Start(rec, tt.opts...).Node(t, "idp", tailnettest.Tagged("tag:tsidp")).Up(t)
			if got := rec.logged(); strings.Contains(got, "idp: ") != tt.want || !tt.want && got != "" {
				t.Errorf("log of idp present must be %v:\n%s", tt.want, got)
			}
		})
	}
}

// An errorRecorder is a test that hands out its errors and does not fail for them.
type errorRecorder struct {
	testing.TB
	errors chan string
}

func (r *errorRecorder) Errorf(format string, args ...any) {
	r.errors <- fmt.Sprintf(format, args...)
}

func TestUnexpectedNode(t *testing.T) {
	t.Parallel()
	rec := &errorRecorder{TB: t, errors: make(chan string, 10)}
	tn := tailnettest.Start(rec)
	node := tn.Node(t, "laptop", tailnettest.User("alice@example.com"))
	node.Hostname = "lapdog"
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-rec.errors:
		if want := `node "lapdog" joined the tailnet unexpected: call Expect`; got != want {
			t.Errorf("error = %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Error("no error")
	}
}
