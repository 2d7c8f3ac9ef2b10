// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// isolate takes the settings of whoever runs the tests out of the way.
func isolate(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGAPPNAME",
		"PGCONNECT_TIMEOUT", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
}

func TestPasswordIsNotTold(t *testing.T) {
	isolate(t)
	const secret = "hunter2secret"
	dsns := []string{
		"postgres://user:" + secret + "@127.0.0.1:1/db",
		"postgres://user:" + secret + "@127.0.0.1:port/db",
		"postgres://user:" + secret + "@127.0.0.1:99999/db",
		"postgres://user:" + secret + "@host:1/db?sslmode=nonsense",
		"postgres://user:" + secret + "@host:1/db?pool_max_conns=many",
		"postgres://user:" + secret + "@host:1/db?pool_max_conns=0",
		"postgres://user:" + secret + "@host:1/db?connect_timeout=soon",
		"postgres://user:" + secret + "@host:1/db?target_session_attrs=any-" + secret,
		"postgres://user:" + secret + "@[::1/db",
		"postgres://user:" + secret + "/x@127.0.0.1:1/db",
		"postgres://user:" + secret + "?x@127.0.0.1:1/db",
		"postgres://user:" + secret + "#x@127.0.0.1:1/db",
		"postgres://user:x/" + secret + "@127.0.0.1:1/db",
		"postgres://user:1/" + secret + "@127.0.0.1:1/db",
		"postgres://user:%zz" + secret + "@127.0.0.1:1/db",
		"postgres://user:" + secret + "@" + secret + "@127.0.0.1:1/db",
		"postgres://127.0.0.1:1/db?password=" + secret,
		"postgres://127.0.0.1:1/db?password=" + secret + "&sslmode=nonsense",
		"host=127.0.0.1 port=1 password=" + secret,
		"host=127.0.0.1 port=1 password='" + secret,
		"host=127.0.0.1 port=1 password = " + secret + " sslmode=nonsense",
		"host=127.0.0.1 port=x password=\\'" + secret,
		"host=127.0.0.1 port=1 sslpassword=" + secret + " sslmode=nonsense",
		"user:" + secret + "@127.0.0.1/db",
		"mysql://user:" + secret + "@127.0.0.1/db",
		secret,
		"=" + secret,
	}
	for _, dsn := range dsns {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		s, err := Open(ctx, dsn)
		cancel()
		if err == nil {
			s.Close()
			t.Errorf("opening %q succeeds", dsn)
			continue
		}
		for e := err; e != nil; e = unwrap(e) {
			if strings.Contains(e.Error(), secret) {
				t.Errorf("opening %q: error %q tells the password", dsn, e)
				break
			}
		}
	}
}

func unwrap(err error) error {
	u, ok := err.(interface{ Unwrap() error })
	if !ok {
		return nil
	}
	return u.Unwrap()
}

// A password from the environment is in no error either. The server is one
// that hangs up.
func TestPasswordOfEnvironmentIsNotTold(t *testing.T) {
	isolate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Setenv("PGPASSWORD", "hunter2secret")
	s, err := Open(t.Context(), "postgres://user@"+l.Addr().String()+"/db")
	if err == nil {
		s.Close()
		t.Fatal("opening succeeds")
	}
	if strings.Contains(err.Error(), "hunter2secret") || !strings.Contains(err.Error(), "opening PostgreSQL database") {
		t.Errorf("error %q", err)
	}
}

func TestParseConfig(t *testing.T) {
	isolate(t)
	t.Setenv("PGPASSWORD", "from the environment")
	for _, tt := range []struct {
		dsn      string
		conns    int32
		timeout  time.Duration
		app      string
		password string
	}{
		{"postgres://u@h/d", maxConns, connectTimeout, "tsidp", "from the environment"},
		{"postgres://u:p%2F@h/d", maxConns, connectTimeout, "tsidp", "p/"},
		{"host=h user=u password='p w'", maxConns, connectTimeout, "tsidp", "p w"},
		{"postgres://u@h/d?pool_max_conns=3&connect_timeout=7&application_name=x", 3, 7 * time.Second, "x", "from the environment"},
		{"postgres://u:p@h/d?application_name=a@b", maxConns, connectTimeout, "a@b", "p"},
	} {
		c, err := parseConfig(tt.dsn)
		if err != nil {
			t.Errorf("%s: %v", tt.dsn, err)
			continue
		}
		got := c.ConnConfig
		if c.MaxConns != tt.conns || got.ConnectTimeout != tt.timeout || got.RuntimeParams["application_name"] != tt.app || got.Password != tt.password {
			t.Errorf("%s: %d connections, timeout %v, application %q, password %q; want %d, %v, %q, %q", tt.dsn,
				c.MaxConns, got.ConnectTimeout, got.RuntimeParams["application_name"], got.Password, tt.conns, tt.timeout, tt.app, tt.password)
		}
	}
}

func TestMistakes(t *testing.T) {
	isolate(t)
	for dsn, want := range map[string]string{
		"postgres://h:port/d":                 "invalid port",
		"postgres://h/d?sslmode=nonsense":     "failed to configure TLS",
		"postgres://h/d?pool_max_conns=x":     "pool_max_conns",
		"postgres://h/d?connect_timeout=soon": "invalid connect_timeout",
		"postgres://u:a/b@h/d":                "%2F",
		"nonsense":                            "failed to parse as keyword/value",
	} {
		_, err := parseConfig(dsn)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", dsn, err, want)
		}
	}
}
