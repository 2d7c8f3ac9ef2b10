// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/tailscale/tsidp/internal/pgtest"
)

// passwordServer returns the URL, without a password, of a database that is
// opened with that password only.
func passwordServer(t *testing.T, password string) string {
	t.Helper()
	server := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var rules string
	if err := conn.QueryRow(t.Context(), "SHOW hba_file").Scan(&rules); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE ROLE tsidp LOGIN PASSWORD '" + password + "'",
		"CREATE DATABASE tsidp OWNER tsidp",
		"COPY (VALUES ('local all all scram-sha-256')) TO '" + rules + "'",
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop(t)
	server.Start(t)
	u, err := url.Parse(server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.User("tsidp"), "/tsidp"
	return u.String()
}

// TestPostgresPassword: a password of the environment, or of a file that it
// names, opens the database, and is told to nobody.
func TestPostgresPassword(t *testing.T) {
	t.Parallel()
	const password, wrong = "hunter2-right", "hunter2-wrong"
	dsn := passwordServer(t, password)
	dir := t.TempDir()
	file := writeTo(t, filepath.Join(dir, "pgpass"), "*:*:tsidp:tsidp:"+password+"\n")
	wrongFile := writeTo(t, filepath.Join(dir, "wrong"), "*:*:tsidp:tsidp:"+wrong+"\n")
	inURL := strings.Replace(dsn, "tsidp@", "tsidp:"+password+"@", 1)
	port := "0"
	for _, tt := range []struct {
		name, env, store string
		fails            bool
		inArgs           bool
	}{
		{name: "none", store: dsn, fails: true},
		{name: "wrong PGPASSWORD", env: "PGPASSWORD=" + wrong, store: dsn, fails: true},
		{name: "wrong PGPASSFILE", env: "PGPASSFILE=" + wrongFile, store: dsn, fails: true},
		{name: "PGPASSWORD", env: "PGPASSWORD=" + password, store: dsn},
		{name: "PGPASSFILE", env: "PGPASSFILE=" + file, store: dsn},
		{name: "URL", store: inURL, inArgs: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := launch(t, "tsidp-server", []string{tt.env}, "-dev", "-debug-all-requests", "-local-port", port, "-store", tt.store)
			if tt.fails {
				if log := p.fail(); strings.Contains(log, "hunter2") || !strings.Contains(log, "opening PostgreSQL database") {
					t.Errorf("the log is\n%s", log)
				}
				return
			}
			issuer := strings.TrimPrefix(p.line(), "issuer: ")
			port = portOfIssuer(issuer) // the state belongs to it from now on
			demoApplication(t, issuer).logIn()
			if runtime.GOOS == "linux" {
				args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
				if err != nil || !strings.Contains(string(args), "-store") || strings.Contains(string(args), password) != tt.inArgs {
					t.Errorf("the command line is %q (%v)", args, err)
				}
			}
			p.stop()
			log := p.stderr.String()
			if strings.Contains(log, "hunter2") || !strings.Contains(log, "the PostgreSQL database") {
				t.Errorf("the log is\n%s", log)
			}
			if strings.Contains(log, "all users of this machine can read the password") != tt.inArgs {
				t.Errorf("about the command line, the log says\n%s", log)
			}
		})
	}
}
