// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"context"
	"database/sql"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/tailscale/tsidp/internal/storecheck"
	"github.com/tailscale/tsidp/store"
)

// plain is a DB without the backends' ways to be fast.
type plain struct{ db *sql.DB }

type executor interface {
	ExecContext(ctx context.Context, sql string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, sql string, args ...any) (*sql.Rows, error)
}

type plainTx struct{ on executor }

var plainDialect = Dialect{
	Bytes:       "BLOB",
	Integer:     "INTEGER",
	Identity:    "INTEGER PRIMARY KEY",
	Keyed:       " WITHOUT ROWID",
	CountSchema: "SELECT count(*) FROM sqlite_schema WHERE name = 'tsidp_schema'",
}

func openPlain(t *testing.T) *plain {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "plain.db")+"?_pragma=foreign_keys(1)&_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &plain{db}
}

func (p *plain) Read(_ context.Context, f func(Tx) error) error { return f(plainTx{p.db}) }

func (p *plain) Write(ctx context.Context, f func(Tx) error) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(plainTx{tx}); err != nil {
		return err
	}
	return tx.Commit()
}

func (p *plain) Exec(ctx context.Context, statement string, args ...any) (int64, error) {
	return plainTx{p.db}.Exec(ctx, statement, args...)
}

func (t plainTx) Exec(ctx context.Context, statement string, args ...any) (int64, error) {
	r, err := t.on.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t plainTx) ExecEach(ctx context.Context, statement string, args [][]any) error {
	for _, a := range args {
		if _, err := t.Exec(ctx, statement, a...); err != nil {
			return err
		}
	}
	return nil
}

func (t plainTx) Query(ctx context.Context, statement string, args []any, row func(Scan) error) error {
	rows, err := t.on.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t plainTx) Script(ctx context.Context, script string) error {
	_, err := t.on.ExecContext(ctx, script)
	return err
}

// schema returns the version and the tables.
func (p *plain) schema(t *testing.T) (version int64, tables []string) {
	t.Helper()
	tx := plainTx{p.db}
	version, err := schemaVersion(t.Context(), tx, plainDialect)
	if err != nil {
		t.Fatal(err)
	}
	err = tx.Query(t.Context(), "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", nil, func(scan Scan) error {
		var name []byte
		err := scan(&name)
		tables = append(tables, string(name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return version, tables
}

// wantSchema reports it unless a database has that version and tables.
func (p *plain) wantSchema(t *testing.T, wantVersion int64, want ...string) {
	t.Helper()
	version, tables := p.schema(t)
	if diff := cmp.Diff(want, tables); version != wantVersion || diff != "" {
		t.Errorf("schema version %d, want %d; tables (-want +got):\n%s", version, wantVersion, diff)
	}
}

func file(sql string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(sql)} }

func TestMigrate(t *testing.T) {
	p := openPlain(t)
	files := fstest.MapFS{"migrations/0001_a.sql": file("CREATE TABLE a (n {{.Integer}}); INSERT INTO a VALUES (7)")}
	for range 2 {
		if err := migrate(t.Context(), p, plainDialect, "x.db", files); err != nil {
			t.Fatal(err)
		}
		p.wantSchema(t, 1, "a", "tsidp_schema")
	}
	// Of two steps the first stays when the second fails, of which nothing does.
	files["migrations/0002_b.sql"] = file("CREATE TABLE b (n {{.Integer}}); UPDATE a SET n = 8")
	files["migrations/0003_c.sql"] = file("CREATE TABLE c (n {{.Integer}}); UPDATE a SET n = 9; INSERT INTO nowhere VALUES (1)")
	err := migrate(t.Context(), p, plainDialect, "x.db", files)
	if err == nil || !strings.Contains(err.Error(), "migrating x.db from schema version 2") {
		t.Errorf("migrating with a bad step: error %v", err)
	}
	p.wantSchema(t, 2, "a", "b", "tsidp_schema")
	var n int64
	if err := p.db.QueryRow("SELECT n FROM a").Scan(&n); err != nil || n != 8 {
		t.Errorf("the row that both steps change is %d, %v, want 8", n, err)
	}
	files["migrations/0003_c.sql"] = file("CREATE TABLE c (n {{.Integer}})")
	if err := migrate(t.Context(), p, plainDialect, "x.db", files); err != nil {
		t.Fatal(err)
	}
	p.wantSchema(t, 3, "a", "b", "c", "tsidp_schema")
}

func TestMigrateRefusesNewer(t *testing.T) {
	p := openPlain(t)
	if err := Migrate(t.Context(), p, plainDialect, "/var/lib/tsidp/tsidp.db"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.db.Exec("INSERT INTO tsidp_schema (version) VALUES (7)"); err != nil {
		t.Fatal(err)
	}
	err := Migrate(t.Context(), p, plainDialect, "/var/lib/tsidp/tsidp.db")
	const want = "/var/lib/tsidp/tsidp.db has schema version 7, this program knows 1 to 1: use a newer program"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v\nwant    %s", err, want)
	}
}

func TestMigrationsAreInOrder(t *testing.T) {
	for _, names := range [][]string{{"0002_a"}, {"0001_a", "0003_b"}, {"0001_a", "0001_b"}, {"1_a"}} {
		files := make(fstest.MapFS)
		for _, name := range names {
			files["migrations/"+name+".sql"] = file("")
		}
		if _, err := scripts(files, plainDialect); err == nil {
			t.Errorf("scripts of %q: no error", names)
		}
	}
}

// Every column is explained in the line above it.
func TestMigrationsAreCommented(t *testing.T) {
	text, err := migrations.ReadFile("migrations/0001_state.sql")
	if err != nil {
		t.Fatal(err)
	}
	column := regexp.MustCompile(`^    [a-z_]+ +\{\{`)
	lines := strings.Split(string(text), "\n")
	columns := 0
	for i, line := range lines {
		if !column.MatchString(line) {
			continue
		}
		columns++
		if !strings.HasPrefix(lines[i-1], "    -- ") {
			t.Errorf("line %d has no comment: %s", i+1, line)
		}
	}
	if columns != 32 {
		t.Errorf("%d columns found, want 32", columns)
	}
}

// A spy notes each statement, with how SQLite would run it.
type spy struct {
	t *testing.T
	DB
	plans map[string]string
}

type spyTx struct {
	Tx
	spy *spy
}

func (s *spy) Read(ctx context.Context, f func(Tx) error) error {
	return s.DB.Read(ctx, func(tx Tx) error { return f(spyTx{tx, s}) })
}

func (s *spy) Write(ctx context.Context, f func(Tx) error) error {
	return s.DB.Write(ctx, func(tx Tx) error { return f(spyTx{tx, s}) })
}

func (s *spy) Exec(ctx context.Context, statement string, args ...any) (n int64, err error) {
	err = s.Write(ctx, func(tx Tx) error {
		n, err = tx.Exec(ctx, statement, args...)
		return err
	})
	return n, err
}

func (x spyTx) explain(ctx context.Context, statement string, args []any) {
	x.spy.t.Helper()
	var plan strings.Builder
	err := x.Tx.Query(ctx, "EXPLAIN QUERY PLAN "+statement, args, func(scan Scan) error {
		var a, b, c int64
		var detail []byte
		err := scan(&a, &b, &c, &detail)
		plan.WriteString(string(detail) + "\n")
		return err
	})
	if err != nil {
		x.spy.t.Fatalf("explaining %s: %v", statement, err)
	}
	x.spy.plans[statement] = plan.String()
}

func (x spyTx) Exec(ctx context.Context, statement string, args ...any) (int64, error) {
	x.explain(ctx, statement, args)
	return x.Tx.Exec(ctx, statement, args...)
}

func (x spyTx) ExecEach(ctx context.Context, statement string, args [][]any) error {
	if len(args) > 0 {
		x.explain(ctx, statement, args[0])
	}
	return x.Tx.ExecEach(ctx, statement, args)
}

func (x spyTx) Query(ctx context.Context, statement string, args []any, row func(Scan) error) error {
	x.explain(ctx, statement, args)
	return x.Tx.Query(ctx, statement, args, row)
}

// No statement reads a table from one end to the other, or all records of a
// kind, and none sorts what it lists.
func TestStatementsUseIndexes(t *testing.T) {
	p := openPlain(t)
	if err := Migrate(t.Context(), p, plainDialect, "x.db"); err != nil {
		t.Fatal(err)
	}
	spy := &spy{t: t, DB: p, plans: make(map[string]string)}
	everyVerb(t, New(spy, plainDialect))
	// The second page begins in the middle.
	for statement, plan := range spy.plans {
		if strings.Contains(statement, "(i.value, i.id) >") && !strings.Contains(plan, "(value,id)>(?,?)") {
			t.Errorf("%s\nhas the plan\n%s", statement, plan)
		}
	}
	if len(spy.plans) < 30 {
		t.Errorf("%d statements seen, want all, which are at least 30", len(spy.plans))
	}
	// What a statement has found itself it may read and sort; the key set is
	// one row.
	allowed := regexp.MustCompile(`SCAN (doomed|gone|few|\(subquery-\d+\)|tsidp_key_set|CONSTANT ROW)`)
	for statement, plan := range spy.plans {
		for line := range strings.Lines(plan) {
			if strings.Contains(line, "SCAN") && !allowed.MatchString(line) || strings.Contains(line, "TEMP B-TREE") || strings.Contains(line, "(kind=?)") {
				t.Errorf("%s\nhas the plan\n%s", statement, plan)
				break
			}
		}
	}
}

var testTime = time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC)

// everyVerb calls every method of s in every way that makes another statement.
func everyVerb(t *testing.T, s *Store) {
	t.Helper()
	ctx, now := t.Context(), testTime
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	grant := func(id string) store.Redemption {
		return store.Redemption{
			Grant:    store.Record{Kind: store.KindGrant, ID: id, Index: map[string]string{"client": "c", "user": "u"}},
			IssuedAt: now,
			Now:      now,
			Refresh:  &store.Refresh{Hash: store.Hash{id[0]}, Grant: id, ExpiresAt: now.Add(1e12)},
			Marks:    []store.Record{{Kind: "mark", ID: "m", Index: map[string]string{"a": "b"}}},
		}
	}
	must(s.Redeem(ctx, grant("g")))
	must(s.Redeem(ctx, grant("h")))
	rotation := store.Rotation{Old: store.Hash{'g'}, Next: store.Hash{'n'}, NextExpiresAt: now.Add(1e12), Now: now, Grace: 1}
	for range 2 {
		_, err := s.Rotate(ctx, rotation)
		must(err)
	}
	rotation.Grace = 0
	if _, err := s.Rotate(ctx, rotation); err == nil {
		t.Fatal("reuse is no error")
	}
	_, _, err := s.Refresh(ctx, store.Hash{'g'}, now)
	must(err)
	for _, sel := range []store.Selector{{ID: "g"}, {Index: map[string]string{"user": "u"}}, {Index: map[string]string{"client": "c", "user": "u"}}} {
		_, err := s.Revoke(ctx, store.Revocation{Select: sel, Now: now, KeepFor: 1, Delete: []store.Key{{Kind: "mark", ID: "m"}}})
		must(err)
	}
	must(s.UseOnce(ctx, "space", "id", now, now.Add(1)))
	for version := range int64(2) {
		_, err = s.SwapKeys(ctx, version, nil)
		must(err)
	}
	_, err = s.Keys(ctx)
	must(err)
	for _, index := range []map[string]string{{"a": "1"}, {"a": "2"}} {
		r := store.Record{Kind: "thing", ID: "t", Index: index}
		if index["a"] == "2" {
			r.Version = 1
		}
		_, err := s.Put(ctx, r, now)
		must(err)
	}
	_, err = s.Get(ctx, "thing", "t", now)
	must(err)
	for _, q := range []store.Query{
		{}, {Prefix: true, Value: "t"}, {Prefix: true, Value: "\xff"},
		{Index: "a", Value: "1"}, {Index: "a", Prefix: true}, {Index: "a", Prefix: true, Value: "1"},
	} {
		after := storecheck.Cursor{Value: q.Value, ID: "t"}
		if q.Index == "" {
			after = storecheck.Cursor{ID: q.Value}
		}
		for _, q.After = range []string{"", after.String()} {
			q.Kind, q.Now, q.Limit = "thing", now, 5
			_, err := s.List(ctx, q)
			must(err)
		}
		_, err := s.Count(ctx, q)
		must(err)
	}
	must(s.Delete(ctx, "thing", "t", 2, now))
	_, err = s.Expire(ctx, now.Add(1e15), 1000)
	must(err)
}
