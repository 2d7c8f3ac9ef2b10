// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"github.com/tailscale/tsidp/store/postgres"
	"github.com/tailscale/tsidp/store/sqlite"
)

// Names in the state directory, beside those of the tailnet node.
const (
	databaseName = "tsidp.db"
	socketName   = "tsidp.sock"
)

// A state is what outlives the process, opened by this one.
type state struct {
	dir   string // absolute; empty: none
	place string // of the store, for people
	store store.Store
	key   *[32]byte // encrypts keys in the store; nil: none
	// backup writes a snapshot of the store to a new file. It is nil for a
	// store that is none of files.
	backup func(ctx context.Context, file string) error
}

// stateDir returns the state directory as an absolute path. Without -dir it is
// the one that tsnet would choose; -dev has none then.
func (c *config) stateDir() (string, error) {
	if c.dir != "" || c.dev {
		if c.dir == "" {
			return "", nil
		}
		return filepath.Abs(c.dir)
	}
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the state directory: %w: name one by -dir", err)
	}
	program := "tsnet"
	if exe, err := os.Executable(); err == nil {
		program = strings.TrimSuffix(strings.ToLower(filepath.Base(exe)), ".exe")
	}
	return filepath.Join(base, "tsnet-"+program), nil
}

// openState opens what c describes. A database file that another process has
// open is refused, with the name of that process.
func openState(ctx context.Context, c config, log *slog.Logger) (*state, error) {
	dir, err := c.stateDir()
	if err != nil {
		return nil, err
	}
	st := &state{dir: dir}
	if st.key, err = readKeyFile(c.keyFile, log); err != nil {
		return nil, err
	}
	if dir != "" {
		if err := prepareDir(dir, log); err != nil {
			return nil, err
		}
	}
	switch {
	case c.store != "":
		if c.passwordInArgs {
			log.Warn("all users of this machine can read the password of -store in the list of processes: set TSIDP_STORE, or PGPASSWORD or PGPASSFILE")
		}
		st.place = "the PostgreSQL database"
		st.store, err = asStore(postgres.Open(ctx, c.store))
	case dir != "":
		st.place = filepath.Join(dir, databaseName)
		var db *sqlite.Store
		if db, err = sqlite.Open(ctx, st.place); err == nil {
			st.store, st.backup = db, db.Backup
		}
	default:
		st.place = "memory"
		st.store = memory.New()
	}
	if err != nil {
		return nil, err
	}
	log.Info("state opened", "place", st.place)
	return st, nil
}

// asStore keeps a nil *S from becoming a store that is not nil.
func asStore[S store.Store](s S, err error) (store.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// prepareDir creates the state directory, or looks at the one that is there.
// It changes no modes: the directory may be one for other things too.
func prepareDir(dir string, log *slog.Logger) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		_, err = os.ReadDir(dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("opening the state directory: %w for user id %d: run as its owner, or give it to that user", err, os.Geteuid())
	}
	if err != nil {
		return fmt.Errorf("opening the state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("opening the state directory: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log.Warn("other users can get into the state directory: chmod 700 it", "dir", dir, "mode", info.Mode().Perm().String())
	}
	return nil
}

// close releases the store, when nothing uses it any more.
func (st *state) close(log *slog.Logger) {
	if err := st.store.Close(); err != nil {
		log.Error("closing the store", "error", err)
	}
}

// providerConfig returns the configuration of a provider on st; the issuer and
// the tailnet are missing.
//
// The files of an earlier version are those in the state directory: that of
// the tailnet node then, too. With another store, they count only if somebody
// has named the directory.
func (st *state) providerConfig(c config, log *slog.Logger) tsidp.Config {
	cfg := tsidp.Config{
		Store:              st.store,
		Development:        c.dev,
		EmailVerified:      c.emailVerified,
		OmitResponseIssuer: c.omitResponseIssuer,
		KeyRotation:        c.keyRotation,
		KeyEncryptionKey:   st.key,
		ClientDocuments:    c.clientDocuments(),
		ClientFetch:        c.clientFetch(nil),
		DebugRequests:      c.debugRequests,
		Logger:             log,
	}
	if c.sts {
		cfg.TokenExchange = new(tsidp.TokenExchange)
	}
	if !c.dev && (c.store == "" || c.dir != "") {
		cfg.ImportDir = st.dir
	}
	return cfg
}

// checkIssuer refuses a store that belongs to another issuer, and tells the
// ways out, which the provider does not know.
func (st *state) checkIssuer(ctx context.Context, issuer string, development bool) error {
	stored, storedDevelopment, err := tsidp.StoredIssuer(ctx, st.store)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil // nobody's yet
	case err != nil:
		return err
	case storedDevelopment && !development:
		return fmt.Errorf("the state in %s was made by -dev, where anybody is an administrator: use another directory or database", st.place)
	case development && !storedDevelopment:
		return fmt.Errorf("the state in %s belongs to the issuer %s, which is none for development: use another directory or database with -dev", st.place, stored)
	case stored == issuer:
		return nil
	case development:
		return fmt.Errorf("the state in %s belongs to the issuer %s, this server is %s: start it with the -local-port of that issuer, or use another directory or database", st.place, stored, issuer)
	}
	return fmt.Errorf("the state in %s belongs to the issuer %s, this server is %s: start it with -issuer %s to go on under the old name, or use another directory or database to begin anew", st.place, stored, issuer, stored)
}
