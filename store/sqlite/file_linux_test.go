// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// unprivileged calls f without root's right to open everything.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	// Of this thread alone, which ends with its goroutine if it stays locked.
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		const nobody = 65534
		_, err := unix.SetfsuidRetUid(nobody)
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tsidp.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprintf("user id %d", os.Geteuid())
	set := func(file string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{filepath.Dir(dir), dir} {
		set(d, 0o755)
	}
	set(path+".lock", 0o666)
	set(path, 0)
	unprivileged(t, func() { wantRefused(t, path, "opening "+path, "permission denied", uid, "owner") })
	set(path+".lock", 0)
	unprivileged(t, func() { wantRefused(t, path, "locking "+path, "permission denied", uid, "owner") })
	set(dir, 0o500)
	unprivileged(t, func() {
		wantRefused(t, filepath.Join(dir, "new", "tsidp.db"), "creating directory", filepath.Join(dir, "new"), "permission denied", uid)
	})
	set(dir, 0o700)
}
