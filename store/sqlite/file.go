// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// prepareDir makes sure that the directory of the database is there.
func prepareDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("opening %s: it is a directory: name a file, such as %s", path, filepath.Join(path, "tsidp.db"))
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explain("creating directory "+dir, dir, err)
	}
	return nil
}

// prepareFile makes sure that the database is a file that nobody else can
// read, and that this process can write. SQLite gives the files that it puts
// beside it the same mode.
func prepareFile(path string) error {
	doing := "opening " + path
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return explain(doing, path, err)
	}
	err = restrict(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return explain(doing, path, err)
	}
	return syncDir(filepath.Dir(path))
}

// restrict takes away what group and others may do with f.
func restrict(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return f.Chmod(0o600)
}

// explain returns err with what can be done about it.
func explain(doing, path string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	uid := os.Geteuid()
	if uid < 0 { // Windows has none
		return fmt.Errorf("%s: %w: give this user access to %s", doing, err, path)
	}
	return fmt.Errorf("%s: %w for user id %d: run as the owner, or make that user the owner of %s and of its directory", doing, err, uid, path)
}
