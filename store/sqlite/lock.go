// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// errLocked is what tryLock returns if another descriptor has the lock.
var errLocked = errors.New("locked")

// A fileLock is the lock that makes a process the only one with a database
// open. It is on a file of its own, which says the process's id. The system
// releases it when the process ends, however it ends; the file stays, because
// who deletes it might delete the lock of another.
type fileLock struct{ f *os.File }

// lockFile takes the lock of the database at path.
func lockFile(path string) (*fileLock, error) {
	doing := "locking " + path
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(doing, path+".lock", err)
	}
	switch err := tryLock(f); {
	case errors.Is(err, errLocked):
		err = fmt.Errorf("opening %s: %s has it open: stop that first, or use another directory", path, owner(f))
		return nil, errors.Join(err, f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("%s: %w: put the file on a local disk", doing, err), f.Close())
	}
	l := &fileLock{f}
	if err := l.write(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", doing, err), f.Close())
	}
	return l, nil
}

// write replaces what the file says.
func (l *fileLock) write(s string) error {
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(s), 0)
	return err
}

// release gives the lock back.
func (l *fileLock) release() error {
	return errors.Join(l.write(""), l.f.Close())
}

// owner returns who has locked f, in words.
func owner(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	pid, parseErr := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil || parseErr != nil:
		return "another process"
	case pid == os.Getpid():
		return "this process"
	}
	return fmt.Sprintf("process %d", pid)
}
