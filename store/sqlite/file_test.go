// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/store"
)

// childVariable names the database that a child process of a test opens.
const childVariable = "TSIDP_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		os.Exit(child(path))
	}
	os.Exit(m.Run())
}

// wantMode reports it unless a file has that mode.
func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
	} else if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func TestModes(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "a", "b", "tsidp.db")
	s := openAt(t, path)
	if err := s.Redeem(t.Context(), redemption("g")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a", "a/b"} {
		wantMode(t, filepath.Join(top, dir), 0o700)
	}
	for _, end := range []string{"", "-wal", "-shm", ".lock"} {
		wantMode(t, path+end, 0o600)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A file that others could read is closed to them, a directory is left as
	// its owner has it.
	for file, mode := range map[string]fs.FileMode{path: 0o644, filepath.Dir(path): 0o755} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	openAt(t, path)
	wantMode(t, path, 0o600)
	wantMode(t, filepath.Dir(path), 0o755)
}

func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a b", "q?mode=memory", "h#x", "p%20q", "%zz", "plus+", "amp&_pragma=x", "ü", "'", "semi;colon", "file:x"} {
		path := filepath.Join(dir, name, name+".db")
		s := openAt(t, path)
		if err := s.Redeem(t.Context(), redemption("g")); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if err := s.Backup(t.Context(), path+".backup"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if want := []string{name + ".db", name + ".db.backup", name + ".db.lock"}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("files %q, want %q", got, want)
		}
		if _, err := openAt(t, path+".backup").Get(t.Context(), store.KindGrant, "g", start); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s := openAt(t, "tsidp.db")
	if want, err := filepath.Abs("tsidp.db"); err != nil || s.path != want {
		t.Errorf("path = %q, want %q", s.path, want)
	}
}

// wantRefused reports it unless Open fails with an error that contains all of
// want.
func wantRefused(t *testing.T, path string, want ...string) {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err == nil {
		s.Close()
		t.Errorf("opening %s succeeds", path)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("opening %s: error %q does not say %q", path, err, w)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	wantRefused(t, dir, dir, "is a directory", filepath.Join(dir, "tsidp.db"))

	file := filepath.Join(dir, "text.db")
	text := []byte(strings.Repeat("This is not a database.\n", 100))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, file, file, "not a database")
	if got, err := os.ReadFile(file); err != nil || string(got) != string(text) {
		t.Errorf("%s has been changed (%v)", file, err)
	}
	wantRefused(t, filepath.Join(file, "tsidp.db"), file)

	// The lock of a refused file is free.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	openAt(t, file)
}

func TestOpenRefusesNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tsidp.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO tsidp_schema (version) VALUES (7)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, path, path+" has schema version 7, this program knows 1 to 1: use a newer program")
	wantRefused(t, path, "version 7") // and its lock is free
}

func TestLockInProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tsidp.db")
	s := openAt(t, path)
	wantRefused(t, path, path, "this process has it open")
	if err := s.Redeem(t.Context(), redemption("g")); err != nil {
		t.Errorf("after another has been refused: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path)
}

// child opens a database, says so, and keeps it until its input ends.
func child(path string) int {
	s, err := Open(context.Background(), path)
	if err == nil {
		err = s.Redeem(context.Background(), redemption("of the child"))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

func TestLockBetweenProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tsidp.db")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	wantRefused(t, path, path, fmt.Sprintf("process %d has it open", cmd.Process.Pid))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // it was killed
	s := openAt(t, path)
	if _, err := s.Get(t.Context(), store.KindGrant, "of the child", start); err != nil {
		t.Errorf("what the child has written before it was killed: %v", err)
	}
}
