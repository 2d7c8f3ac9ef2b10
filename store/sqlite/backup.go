// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes a snapshot of the database to a new file at dst, with mode
// 0600, in a directory that exists. The snapshot holds all that was
// acknowledged before the call, and is a database that [Open] opens. The
// store goes on working meanwhile. A file that exists is not overwritten, and
// nothing is at dst unless Backup returns nil.
func (s *Store) Backup(ctx context.Context, dst string) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.backups.Add(1)
	s.mu.Unlock()
	defer s.backups.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := s.backup(ctx, dst); err != nil {
		return fmt.Errorf("backing up to %s: %w", dst, err)
	}
	return nil
}

func (s *Store) backup(ctx context.Context, dst string) error {
	dst, err := filepath.Abs(dst)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dst); err == nil {
		return fs.ErrExist
	}
	tmp, err := os.CreateTemp(filepath.Dir(dst), filepath.Base(dst)+".tmp-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = s.vacuumInto(ctx, tmp.Name())
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := publish(tmp.Name(), dst); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dst))
}

// vacuumInto copies the database into an empty file.
func (s *Store) vacuumInto(ctx context.Context, file string) error {
	db, err := sql.Open("sqlite", dsn(s.path))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO $1", file)
	return errors.Join(err, db.Close())
}

// publish gives a file its name, if there is none of that name.
func publish(tmp, dst string) error {
	err := os.Link(tmp, dst)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// Some file systems have no links.
	if _, err := os.Lstat(dst); err == nil {
		return fs.ErrExist
	}
	return os.Rename(tmp, dst)
}
