// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRootFS builds the root filesystem of the container image by the script
// that the Dockerfile runs, and runs the server in it as some user that no
// file knows of: there is nothing else, not even /tmp or /proc.
func TestRootFS(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who alone may change the root directory of a process")
	}
	t.Parallel()
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("../../scripts/rootfs", root).CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		files = append(files, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".", "bin", "bin/tsidp-server", "data", "etc", "etc/ssl", "etc/ssl/certs", "etc/ssl/certs/ca-certificates.crt"}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	checkStatic(t, filepath.Join(root, "bin/tsidp-server"))

	// The test's own directories are private; in them, every user gets to the root.
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid := 20000 + rand.Uint32N(40000)
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/bin/tsidp-server", args...)
		cmd.Env, cmd.Dir = []string{"TS_STATE_DIR=/data"}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd
	}
	server := inside("-dev", "-dir", "/data", "-local-port", "0")
	var stderr bytes.Buffer
	server.Stderr = &stderr
	pipe, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatalf("starting the server: %v", err)
	}
	defer server.Process.Kill()
	out := bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("first line %q: %v\n%s", line, err, &stderr)
	}
	issuer, err := url.Parse(strings.TrimSpace(strings.TrimPrefix(line, "issuer: ")))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"healthcheck", "-dev", "-local-port", issuer.Port()},
		{"healthcheck"}, // as the image does: TS_STATE_DIR leads to the socket
		{"healthcheck", "-ready"},
	} {
		if out, err := inside(args...).CombinedOutput(); err != nil || string(out) != "ok\n" {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	info, err := os.Stat(filepath.Join(root, "data", databaseName))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
		t.Errorf("the database does not belong to user %d: %v, %v", uid, info, err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, out)
	if err := server.Wait(); err != nil {
		t.Errorf("at the end: %v\n%s", err, &stderr)
	}
	if out, err := inside("healthcheck").CombinedOutput(); err == nil {
		t.Errorf("without a server the health check says %s", out)
	}
}

// checkStatic: no interpreter and no library means no file beside it.
func checkStatic(t *testing.T, bin string) {
	t.Helper()
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s has a segment %v: it is not static", bin, p.Type)
		}
	}
	if info, err := os.Stat(bin); err == nil {
		t.Logf("the program has %.1f MB", float64(info.Size())/1e6)
	}
}
