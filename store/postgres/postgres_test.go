// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tailscale/tsidp/internal/pgtest"
	"github.com/tailscale/tsidp/internal/sqlstore"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/storetest"
)

var long = flag.Bool("long", false, "run the long forms of the tests that have one")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(pgtest.Main(m))
}

// start is the time at which tests begin.
var start = time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC)

// schemas is a database of which each schema is for one store.
type schemas struct {
	dsn  string
	conn *pgx.Conn
	n    int
}

func newSchemas(t *testing.T) *schemas {
	t.Helper()
	dsn := pgtest.Start(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return &schemas{dsn: dsn, conn: conn}
}

// next returns a connection string with an empty schema.
func (s *schemas) next(t testing.TB) string {
	t.Helper()
	s.n++
	name := fmt.Sprint("schema_", s.n)
	if _, err := s.conn.Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	return with(t, s.dsn, "search_path", name)
}

func with(t testing.TB, dsn, name, value string) string {
	t.Helper()
	dsn, err := pgtest.With(dsn, name, value)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// execute runs a statement.
func execute(t testing.TB, dsn, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func openAt(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // the test may have done so
	return s
}

func hash(name string) store.Hash { return sha256.Sum256([]byte(name)) }

// redemption returns what opens the grant with the refresh token id.0.
func redemption(id string) store.Redemption {
	return store.Redemption{
		Grant: store.Record{
			Kind:      store.KindGrant,
			ID:        id,
			Data:      []byte(strings.Repeat("d", 400)),
			Index:     map[string]string{"client": "c1", "user": "u1", "node": "n1"},
			CreatedAt: start,
			ExpiresAt: start.Add(24 * time.Hour),
		},
		IssuedAt: start,
		Refresh:  &store.Refresh{Hash: hash(id + ".0"), Grant: id, CreatedAt: start, ExpiresAt: start.Add(time.Hour)},
		Marks:    []store.Record{{Kind: "pkce-seen", ID: "c1"}},
		Now:      start,
	}
}

// rotation returns what rotates a token.
func rotation(old, next string) store.Rotation {
	return store.Rotation{
		Old: hash(old), Next: hash(next), Salt: hash("salt " + next),
		NextExpiresAt: start.Add(time.Hour), GrantExpiresAt: start.Add(24 * time.Hour), Now: start, Grace: 30 * time.Second,
	}
}

func TestStore(t *testing.T) {
	db := newSchemas(t)
	storetest.Run(t, func(t *testing.T) store.Store { return openAt(t, db.next(t)) })
}

// An instance is a store that leaves its connections to others.
type instance struct{ *Store }

func (instance) Close() error { return nil }

// To connect costs much more than to ask, so each call has a store of its own
// but not a connection, unless in the long form.
func TestReopening(t *testing.T) {
	db := newSchemas(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		dsn := db.next(t)
		if *long {
			return storetest.Reopening(func() (store.Store, error) { return Open(context.Background(), dsn) })
		}
		s := openAt(t, dsn)
		return storetest.Reopening(func() (store.Store, error) {
			return instance{&Store{Store: sqlstore.New(s.db, dialect), db: s.db}}, nil
		})
	})
}

// wantErr reports it unless err is want.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// Two stores are two instances of the program.
func TestTwoInstances(t *testing.T) {
	dsn := pgtest.Start(t)
	a, b := openAt(t, dsn), openAt(t, dsn)
	ctx := t.Context()

	wantErr(t, "redeeming at one", a.Redeem(ctx, redemption("g")), nil)
	wantErr(t, "redeeming at the other", b.Redeem(ctx, redemption("g")), store.ErrSpent)

	first, err := a.Rotate(ctx, rotation("g.0", "g.1"))
	wantErr(t, "rotating at one", err, nil)
	again, err := b.Rotate(ctx, rotation("g.0", "other"))
	wantErr(t, "rotating again at the other", err, nil)
	if first != again {
		t.Errorf("salt of the retry at the other instance = %x, want %x", again, first)
	}
	_, err = b.Rotate(ctx, rotation("g.1", "g.2"))
	wantErr(t, "rotating the successor at the other", err, nil)
	_, err = a.Rotate(ctx, rotation("g.0", "g.3"))
	wantErr(t, "reusing the first at one", err, store.ErrReuse)
	_, err = b.Rotate(ctx, rotation("g.2", "g.3"))
	wantErr(t, "rotating at the other after reuse", err, store.ErrDead)

	wantErr(t, "redeeming at the other", b.Redeem(ctx, redemption("h")), nil)
	user := store.Selector{Index: map[string]string{"user": "u1"}}
	n, err := a.Revoke(ctx, store.Revocation{Select: user, Reason: "test", Now: start, KeepFor: time.Hour})
	if err != nil || n != 1 {
		t.Errorf("revoking at one: %d grants, %v, want 1", n, err)
	}
	_, err = b.Rotate(ctx, rotation("h.0", "h.1"))
	wantErr(t, "rotating at the other after revocation", err, store.ErrDead)
	wantErr(t, "redeeming at the other under the watermark", b.Redeem(ctx, redemption("i")), store.ErrDead)

	if _, err := a.SwapKeys(ctx, 0, []byte("a")); err != nil {
		t.Errorf("first keys at one: %v", err)
	}
	_, err = b.SwapKeys(ctx, 0, []byte("b"))
	wantErr(t, "first keys at the other", err, store.ErrConflict)
	keys, err := b.Keys(ctx)
	if err != nil || keys.Version != 1 || string(keys.Data) != "a" {
		t.Errorf("keys at the other: %+v, %v", keys, err)
	}
	if _, err := b.SwapKeys(ctx, 1, []byte("b")); err != nil {
		t.Errorf("second keys at the other: %v", err)
	}
	_, err = a.SwapKeys(ctx, 1, []byte("a"))
	wantErr(t, "second keys at one", err, store.ErrConflict)
}

// Several instances start at once with an empty database.
func TestMigrateAtOnce(t *testing.T) {
	dsn := pgtest.Start(t)
	var errs [8]error
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			s, err := Open(t.Context(), dsn)
			if err == nil {
				err = errors.Join(s.Redeem(t.Context(), redemption(fmt.Sprint(i))), s.Close())
			}
			errs[i] = err
		})
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	n, err := openAt(t, dsn).Count(t.Context(), store.Query{Kind: store.KindGrant, Now: start})
	if err != nil || n != len(errs) {
		t.Errorf("%d grants, %v, want %d", n, err, len(errs))
	}
}

func TestOpenRefusesNewer(t *testing.T) {
	dsn := pgtest.Start(t)
	if err := openAt(t, dsn).Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, dsn, "INSERT INTO tsidp_schema (version) VALUES (7)")
	s, err := Open(t.Context(), dsn)
	if err == nil {
		s.Close()
		t.Fatal("opening succeeds")
	}
	if want := "has schema version 7, this program knows 1 to 1: use a newer program"; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
}

// A role that may not create tables can run the program once they are there.
func TestOpenWithFewRights(t *testing.T) {
	dsn := pgtest.Start(t)
	if err := openAt(t, dsn).Close(); err != nil {
		t.Fatal(err)
	}
	role := fmt.Sprint("tsidp_test_role_", os.Getpid())
	execute(t, dsn, "CREATE ROLE "+role+"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	s := openAt(t, with(t, dsn, "options", "-crole="+role))
	defer s.Close()
	wantErr(t, "redeeming", s.Redeem(t.Context(), redemption("g")), nil)
	_, err := s.Expire(t.Context(), start.Add(48*time.Hour), 10)
	wantErr(t, "expiring", err, nil)
}

func TestCheckVersion(t *testing.T) {
	for _, tt := range []struct {
		number, text, want string
	}{
		{"150000", "15.0", ""},
		{"150018", "15.18 (Debian 15.18-0+deb12u1)", ""},
		{"180001", "18.1", ""},
		{"140020", "14.20", "checking PostgreSQL version: the server is 14.20, tsidp needs 15 or newer"},
		{"90624", "9.6.24", "checking PostgreSQL version: the server is 9.6.24, tsidp needs 15 or newer"},
		{"", "", `checking PostgreSQL version: "" is no number`},
	} {
		got := ""
		if err := checkVersion(tt.number, tt.text); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("checkVersion(%q, %q) = %q, want %q", tt.number, tt.text, got, tt.want)
		}
	}
}

// A server may be told to acknowledge before it has written, or to isolate
// transactions in another way.
func TestSessionSettings(t *testing.T) {
	dsn := pgtest.Start(t)
	var name string
	show(t, openAt(t, dsn), "SELECT current_database()", &name)
	for _, setting := range []string{"synchronous_commit = off", "default_transaction_isolation = 'serializable'"} {
		execute(t, dsn, fmt.Sprintf("ALTER DATABASE %s SET %s", name, setting))
	}
	s := openAt(t, dsn)
	for setting, want := range map[string]string{
		"synchronous_commit":            "on",
		"default_transaction_isolation": "read committed",
		"application_name":              "tsidp",
	} {
		var got string
		if show(t, s, "SELECT current_setting('"+setting+"')", &got); got != want {
			t.Errorf("%s = %q, want %q", setting, got, want)
		}
	}
}

// show stores the answer to a query on a connection of the store.
func show(t *testing.T, s *Store, query string, dest any) {
	t.Helper()
	if err := s.db.pool.QueryRow(t.Context(), query).Scan(dest); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
