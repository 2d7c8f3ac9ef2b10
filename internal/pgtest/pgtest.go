// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package pgtest gives tests a PostgreSQL of their own.
//
// A server is started from installed binaries: initdb and postgres on PATH or
// under /usr/lib/postgresql/*/bin, the newest first. It lives in a temporary
// directory, listens on a unix socket there only, syncs to disk as servers do
// by default, and ends with the test process. Where TSIDP_TEST_POSTGRES holds
// a connection string, [Start] uses that server instead.
//
// The binaries refuse to run as root; then they run as the user postgres or
// nobody.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Environment is the variable that names a server to use.
const Environment = "TSIDP_TEST_POSTGRES"

// shared is the server of the test process.
var shared struct {
	sync.Mutex
	main   bool // Main is at work
	server *Server
	err    error
}

// Main runs the tests of a package, as its TestMain, and then stops the server
// that these have started. It returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m *testing.M) int {
	shared.Lock()
	shared.main = true
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	shared.main = false
	if shared.server == nil {
		return code
	}
	if err := shared.server.close(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
		return max(code, 1)
	}
	return code
}

// Start returns the connection string of an empty database, which is dropped
// when the test ends. The tests of a package, which must have [Main] as their
// TestMain, share one server. Where there are no binaries the test is skipped.
func Start(t testing.TB) (dsn string) {
	t.Helper()
	return newDatabase(t, sharedServer(t))
}

// sharedServer returns the connection string of the shared server.
func sharedServer(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(Environment); dsn != "" {
		return dsn
	}
	shared.Lock()
	defer shared.Unlock()
	if !shared.main {
		t.Fatal("pgtest.Start needs pgtest.Main as TestMain, to stop the server")
	}
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = newServer(t)
	}
	if shared.err != nil {
		t.Fatalf("starting PostgreSQL: %v", shared.err)
	}
	return shared.server.DSN()
}

// newDatabase creates a database on a server.
func newDatabase(t testing.TB, server string) (dsn string) {
	t.Helper()
	name := "tsidp_test_" + strings.ToLower(rand.Text()[:12])
	exec := func(ctx context.Context, statement string) {
		t.Helper()
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			t.Fatalf("connecting to PostgreSQL: %v", err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec(t.Context(), "CREATE DATABASE "+name)
	t.Cleanup(func() { exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)") })
	dsn, err := With(server, "dbname", name)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// With returns a connection string with another value of a parameter, such as
// dbname or search_path.
func With(dsn, name, value string) (string, error) {
	if !strings.Contains(dsn, "://") {
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)
		return fmt.Sprintf("%s %s='%s'", dsn, name, quoted), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("reading %s: not a URL", Environment)
	}
	if name == "dbname" {
		u.Path = "/" + value
		return u.String(), nil
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
