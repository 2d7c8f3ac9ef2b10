// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package pgtest

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// query returns the one integer that a query gives.
func query(t *testing.T, dsn, sql string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func TestDatabasesAreApart(t *testing.T) {
	one, two := Start(t), Start(t)
	query(t, one, "SELECT 1 FROM (SELECT set_config('a.b', 'c', false)) x")
	conn, err := pgx.Connect(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE here (n int)"); err != nil {
		t.Fatal(err)
	}
	const tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'here'"
	if n := query(t, one, tables); n != 1 {
		t.Errorf("%d tables in the database in which one was created, want 1", n)
	}
	if n := query(t, two, tables); n != 0 {
		t.Errorf("%d tables in the other database, want 0", n)
	}
}

func TestStopAndStart(t *testing.T) {
	s := New(t)
	conn, err := pgx.Connect(t.Context(), s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)"); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(testing.TB){"Stop": s.Stop, "Kill": s.Kill} {
		end(t)
		if conn, err := pgx.Connect(t.Context(), s.DSN()); err == nil {
			conn.Close(t.Context())
			t.Errorf("connecting after %s succeeds", name)
		}
		s.Start(t)
		if n := query(t, s.DSN(), "SELECT n FROM kept"); n != 7 {
			t.Errorf("after %s and Start the row is %d, want 7", name, n)
		}
	}
}

func TestWith(t *testing.T) {
	for _, tt := range []struct{ dsn, name, value, want string }{
		{"postgres://u:p@h:1/d?sslmode=disable", "dbname", "x", "postgres://u:p@h:1/x?sslmode=disable"},
		{"postgres://u@/d?host=/tmp", "search_path", "a b", "postgres://u@/d?host=%2Ftmp&search_path=a+b"},
		{"host=/tmp dbname=d", "dbname", "x", "host=/tmp dbname=d dbname='x'"},
		{"host=/tmp", "search_path", `a'b\c`, `host=/tmp search_path='a\'b\\c'`},
	} {
		got, err := With(tt.dsn, tt.name, tt.value)
		if err != nil || got != tt.want {
			t.Errorf("With(%q, %q, %q) = %q, %v, want %q", tt.dsn, tt.name, tt.value, got, err, tt.want)
		}
	}
}
