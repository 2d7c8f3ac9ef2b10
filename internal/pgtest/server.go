// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build unix

package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A Server is a PostgreSQL of one test. Its methods must not be called
// concurrently.
type Server struct {
	bin, dir string
	user     *syscall.Credential // nil: that of this process

	// Of the running server; nil while it is stopped.
	cmd    *exec.Cmd
	stdin  io.Closer     // the server stops when it is closed
	exited chan struct{} // closed when it has
}

// New starts a server for one test, which the test may stop and start. It is
// stopped when the test ends. Where there are no binaries the test is skipped.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := newServer(t)
	if err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("stopping PostgreSQL: %v", err)
		}
	})
	return s
}

// newServer starts a server that holds nothing. It skips the test where there
// are no binaries.
func newServer(t testing.TB) (*Server, error) {
	t.Helper()
	bin, ok := find()
	if !ok {
		t.Skipf("found neither initdb and postgres on PATH or under %s, nor %s", debian, Environment)
	}
	// The path of a unix socket has a length of about 100 bytes at most,
	// which t.TempDir may pass.
	dir, err := os.MkdirTemp("/tmp", "tsidp-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	if err := s.initialize(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// debian is where Debian's packages have their binaries, which are not on
// PATH.
const debian = "/usr/lib/postgresql/*/bin"

// find returns the directory with the binaries.
func find() (dir string, ok bool) {
	dirs, _ := filepath.Glob(debian) // the pattern is a good one
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), dirs...) {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir, true
		}
	}
	return "", false
}

func executable(file string) bool {
	_, err := exec.LookPath(file)
	return err == nil
}

// initialize makes the directory of the server.
func (s *Server) initialize() error {
	if os.Getuid() == 0 {
		if err := s.drop(); err != nil {
			return err
		}
	}
	// Only what initdb writes is not synced; the server syncs.
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	s.prepare(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, out)
	}
	return nil
}

// drop gives the directory to a user without privileges.
func (s *Server) drop() error {
	var u *user.User
	for _, name := range []string{"postgres", "nobody"} {
		var err error
		if u, err = user.Lookup(name); err == nil {
			break
		}
	}
	if u == nil {
		return errors.New("there is no user postgres or nobody to run it")
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

// prepare makes cmd run as the server's user.
func (s *Server) prepare(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user, Setpgid: true}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// DSN returns the connection string of the server's first database, whether
// the server runs or not.
func (s *Server) DSN() string {
	return "postgres://postgres@/postgres?port=5432&host=" + s.dir
}

// Start starts the server after Stop or Kill, and returns when it accepts
// connections.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
}

// Stop stops the server as an administrator would, without waiting for its
// clients.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Fatalf("stopping PostgreSQL: %v", err)
	}
}

// Kill kills the server and its processes with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		t.Fatal("killing PostgreSQL: it does not run")
	}
	if err := s.kill(); err != nil {
		t.Fatalf("killing PostgreSQL: %v", err)
	}
}

// supervise runs the server until its own standard input ends, as it does
// when the test process has ended in whatever way. $1 and what follows is
// the command.
const supervise = `"$@" & server=$!
(cat >/dev/null; kill -INT $server) 2>/dev/null <&3 & watch=$!
wait $server; code=$?
kill $watch 2>/dev/null
exit $code`

func (s *Server) start() error {
	if s.cmd != nil {
		return errors.New("it runs already")
	}
	// After Kill these say the id of a process that may be another now.
	for _, name := range []string{"data/postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"} {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	cmd := exec.Command("/bin/sh", "-c", supervise, "sh", filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "port=5432", "-c", "max_connections=200", "-c", "logging_collector=off", "-c", "log_destination=stderr")
	s.prepare(cmd)
	// A shell gives what it runs in the background no standard input, hence
	// descriptor 3.
	watched, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{watched}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err := errors.Join(err, watched.Close()); err != nil {
		return errors.Join(err, stdin.Close())
	}
	s.cmd, s.stdin, s.exited = cmd, stdin, make(chan struct{})
	ready := make(chan error, 1)
	go s.follow(log, ready)
	if err := <-ready; err != nil {
		s.stop()
		return err
	}
	return nil
}

// follow reads the log until the server has exited. It tells ready whether
// the server got to accept connections.
func (s *Server) follow(log io.Reader, ready chan<- error) {
	defer close(s.exited)
	var seen strings.Builder
	lines := bufio.NewScanner(log)
	up := false
	for lines.Scan() {
		if up {
			continue
		}
		seen.WriteString(lines.Text() + "\n")
		if up = strings.Contains(lines.Text(), "ready to accept connections"); up {
			ready <- nil
		}
	}
	s.cmd.Wait() // how it ended is in the log
	if !up {
		ready <- fmt.Errorf("it ended: %s", seen.String())
	}
}

func (s *Server) stop() error {
	if s.cmd == nil {
		return nil
	}
	err := s.stdin.Close()
	<-s.exited
	s.cmd = nil
	return err
}

func (s *Server) kill() error {
	err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.exited
	s.cmd = nil
	return errors.Join(err, s.stdin.Close())
}

// close stops the server and removes all that it has.
func (s *Server) close() error {
	return errors.Join(s.stop(), os.RemoveAll(s.dir))
}
