// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tailscale/tsidp/store"
)

// wantFiles reports it unless these are the files of a directory.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("files in %s: %q, want %q", dir, got, want)
	}
}

// A backup that is taken while others write holds all that was acknowledged
// before it began, and no half of what was written meanwhile.
func TestBackupWhileWriting(t *testing.T) {
	s := openNew(t)
	fill(t, s, 0, 500)
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var written atomic.Int64
	enough := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := s.Redeem(ctx, redemption(fmt.Sprint("w", w, ".", i)))
				if err != nil && ctx.Err() == nil {
					t.Errorf("writing during a backup: %v", err)
					return
				}
				if written.Add(1) == 20 {
					close(enough)
				}
			}
		})
	}
	<-enough
	dir := t.TempDir()
	path := filepath.Join(dir, "backup.db")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	cancel()
	writers.Wait()
	wantMode(t, path, 0o600)
	wantFiles(t, dir, "backup.db")

	b := openAt(t, path)
	for i := range 500 {
		if _, err := b.Get(t.Context(), store.KindGrant, fmt.Sprint(0, ".", i), start); err != nil {
			t.Fatalf("grant %d in the backup: %v", i, err)
		}
	}
	n, err := b.Count(t.Context(), store.Query{Kind: store.KindGrant, Now: start})
	if err != nil || n < 520 {
		t.Errorf("%d grants in the backup, %v, want at least 520", n, err)
	}
	rows := b.pragma(t, "foreign_key_check")
	for after := ""; ; {
		page, err := b.List(t.Context(), store.Query{Kind: store.KindGrant, Now: start, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page.Records {
			if _, _, err := b.Refresh(t.Context(), hash(g.ID+".0"), start); err != nil {
				t.Errorf("token of grant %q in the backup: %v", g.ID, err)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if rows != 0 {
		t.Error("the backup has orphans")
	}
	if err := b.Redeem(t.Context(), redemption("after")); err != nil {
		t.Errorf("writing to the backup: %v", err)
	}
}

func TestBackupRefuses(t *testing.T) {
	s := openNew(t)
	dir := t.TempDir()
	present := filepath.Join(dir, "present")
	if err := os.WriteFile(present, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{present, filepath.Join(dir, "symlink"), dir, s.path} {
		if err := s.Backup(t.Context(), dst); !errors.Is(err, fs.ErrExist) {
			t.Errorf("backup to %s: error %v, want %v", dst, err, fs.ErrExist)
		}
	}
	if b, err := os.ReadFile(present); string(b) != "precious" {
		t.Errorf("%s has been overwritten: %q, %v", present, b, err)
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "absent", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("backup into a directory that is not there: error %v, want %v", err, fs.ErrNotExist)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, filepath.Join(dir, "canceled")); !errors.Is(err, context.Canceled) {
		t.Errorf("backup with an ended context: error %v, want %v", err, context.Canceled)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "closed")); !errors.Is(err, errClosed) {
		t.Errorf("backup after Close: error %v, want %v", err, errClosed)
	}
	wantFiles(t, dir, "present", "symlink")
}

// Two backups to one name: one is there, whole, and the other is refused.
func TestBackupsAtOnce(t *testing.T) {
	s := openNew(t)
	fill(t, s, 0, 50)
	dir := t.TempDir()
	path := filepath.Join(dir, "backup.db")
	var errs [4]error
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = s.Backup(t.Context(), path) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, fs.ErrExist):
			t.Errorf("error %v, want nil or %v", err, fs.ErrExist)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d backups to one name succeed, want 1", won, len(errs))
	}
	wantFiles(t, dir, "backup.db")
	if n, err := openAt(t, path).Count(t.Context(), store.Query{Kind: store.KindGrant, Now: start}); n != 50 || err != nil {
		t.Errorf("%d grants in the backup, %v, want 50", n, err)
	}
}
