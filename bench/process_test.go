// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build bench && linux

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programs is where TestMain has built them, as they are released: static and
// stripped.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "tsidp-bench"); err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(programs)
		for _, path := range []string{"../cmd/tsidp-server", "./bare"} {
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", programs+"/", path)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				log.Printf("building %s: %v\n%s", path, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// A process is one of the programs.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// start runs a program until it has printed a line.
func start(t testing.TB, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(filepath.Join(programs, name), args...), stderr: new(bytes.Buffer)}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%s printed %q: %v\n%s", name, line, err, p.stderr)
	}
	return p
}

func (p *process) end() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Wait()
}

// resident is the memory that the process holds, in bytes.
func (p *process) resident() int64 { return p.status("VmRSS:") }

// status reads a line of /proc/PID/status that is in kB, in bytes.
func (p *process) status(name string) int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.stderr)
	}
	_, rest, _ := strings.Cut(string(status), name)
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}

// files is how many file descriptors the process has open.
func (p *process) files() int {
	p.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

// idle waits until the process's memory has changed by less than a percent for
// ten seconds, and returns it.
func (p *process) idle() int64 {
	p.t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	base, same := p.resident(), 0
	for range 120 {
		<-tick.C
		now := p.resident()
		if diff := now - base; diff > base/100 || diff < -base/100 {
			base, same = now, 0
			continue
		}
		if same++; same == 10 {
			return now
		}
	}
	p.t.Fatalf("memory does not come to rest: %d bytes", base)
	return 0
}
