// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// maxConns is the number of connections unless the string says another:
	// as many calls can share a write to the server's disk.
	maxConns = 16
	// connectTimeout is how long a connection may take to be made unless the
	// string says another.
	connectTimeout = 10 * time.Second
	// cancelTimeout is how long the server may take to answer the request to
	// give up a statement. Then the connection is closed.
	cancelTimeout = time.Second
)

// parseConfig returns what a connection string says. Its errors do not repeat
// the string, which may hold a password where none should be.
func parseConfig(dsn string) (*pgxpool.Config, error) {
	const doing = "reading PostgreSQL connection string"
	if splitPassword(dsn) {
		return nil, fmt.Errorf("%s: the password has characters that must be written as %%2F for /, %%3F for ?, %%23 for #", doing)
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %s (it is not repeated here, since it may hold a password)", doing, mistake(err))
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = maxConns
	}
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tsidp"
	}
	// When a context ends, the server is told to give up the statement, which
	// would wait for locks and hold its own otherwise.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelTimeout}
	}
	config.AfterConnect = afterConnect
	return config, nil
}

// splitPassword reports whether dsn is a URL whose password was meant to go
// on where, by the rules of URLs, the name of the host has ended.
func splitPassword(dsn string) bool {
	_, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		return false
	}
	end := strings.IndexAny(rest, "/?#")
	return end >= 0 && !strings.Contains(rest[:end], "@") && strings.Contains(rest[:end], ":") && strings.Contains(rest[end:], "@")
}

// mistake returns what is wrong with a connection string, in words that are
// the same for all strings.
func mistake(err error) string {
	for _, m := range []string{
		"failed to parse as URL",
		"failed to parse as keyword/value",
		"failed to read service",
		"failed to configure TLS",
		"invalid sslcertmode",
		"invalid connect_timeout",
		"invalid port",
		"invalid require_auth",
		"unknown target_session_attrs",
		"unknown channel_binding",
		"pool_max_conns",
		"pool_",
	} {
		if strings.Contains(err.Error(), "`: "+m) || strings.Contains(err.Error(), "`: cannot parse "+m) {
			return m
		}
	}
	return "it is neither a URL such as postgres://user@host/database nor a list of name=value"
}

// redact returns err, without the password where its text contains it.
func redact(config *pgxpool.Config, err error) error {
	password := config.ConnConfig.Password
	if password == "" || !strings.Contains(err.Error(), password) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, "xxxxx"))
}
