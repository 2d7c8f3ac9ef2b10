// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"text/template"
)

// Migrations are named by their number, and never change once released.
//
//go:embed migrations/*.sql
var migrations embed.FS

// createSchema makes the table of which each row is a migration that has run.
const createSchema = "CREATE TABLE tsidp_schema (version {{.Integer}} NOT NULL PRIMARY KEY){{.Rows}}"

// Migrate brings the tables of db up to date, each step in a transaction of
// its own. It refuses a database that a newer program has written. In errors
// the database is called name.
func Migrate(ctx context.Context, db DB, d Dialect, name string) error {
	return migrate(ctx, db, d, name, migrations)
}

func migrate(ctx context.Context, db DB, d Dialect, name string, files fs.FS) error {
	steps, err := scripts(files, d)
	if err != nil {
		return err
	}
	for {
		var version int64
		err := db.Read(ctx, func(tx Tx) (err error) {
			version, err = schemaVersion(ctx, tx, d)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading schema version of %s: %w", name, err)
		}
		known := int64(len(steps)) - 1
		if version > known {
			return fmt.Errorf("%s has schema version %d, this program knows 1 to %d: use a newer program", name, version, known)
		}
		if version == known {
			return nil
		}
		err = db.Write(ctx, func(tx Tx) error { return step(ctx, tx, d, version, steps) })
		if err != nil {
			return fmt.Errorf("migrating %s from schema version %d: %w", name, version, err)
		}
	}
}

// step makes the next version of the one given, unless another process has
// done so already.
func step(ctx context.Context, tx Tx, d Dialect, version int64, steps []string) error {
	if err := lock(ctx, tx, d.LockSchema); err != nil {
		return err
	}
	switch now, err := schemaVersion(ctx, tx, d); {
	case err != nil:
		return err
	case now != version:
		return nil
	case now == 0:
		if err := tx.Script(ctx, steps[0]); err != nil {
			return err
		}
	}
	if err := tx.Script(ctx, steps[version+1]); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "INSERT INTO tsidp_schema (version) VALUES ($1)", version+1)
	return err
}

// schemaVersion returns the number of the last migration that has run.
func schemaVersion(ctx context.Context, tx Tx, d Dialect) (int64, error) {
	var tables, version int64
	if _, err := queryRow(ctx, tx, d.CountSchema, nil, &tables); err != nil || tables == 0 {
		return 0, err
	}
	_, err := queryRow(ctx, tx, "SELECT coalesce(max(version), 0) FROM tsidp_schema", nil, &version)
	return version, err
}

// scripts returns the migrations in the dialect; number 0 creates
// tsidp_schema.
func scripts(files fs.FS, d Dialect) ([]string, error) {
	texts := []string{createSchema}
	names, err := fs.Glob(files, "migrations/*.sql") // in order
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("migrations/%04d_", i+1)) {
			return nil, fmt.Errorf("listing migrations: %s is not number %d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading migration: %w", err)
		}
		texts = append(texts, string(text))
	}
	for i := range texts {
		var b strings.Builder
		t, err := template.New("").Parse(texts[i])
		if err == nil {
			err = t.Execute(&b, d)
		}
		if err != nil {
			return nil, fmt.Errorf("reading migration %d: %w", i, err)
		}
		texts[i] = b.String()
	}
	return texts, nil
}
