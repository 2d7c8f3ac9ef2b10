// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"testing"

	"tailscale.com/client/local"
	"tailscale.com/tsnet"
)

// childDir is the environment variable that makes the test binary a node with
// the state directory that it holds.
const childDir = "TAILNETTEST_CHILD_DIR"

// childHost is the host name of such a node.
const childHost = "child"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runChild serves whoami over TLS until it is killed. It writes a line when it listens.
// Where the tailnet is, it learns from the environment.
func runChild(dir string) error {
	s := &tsnet.Server{Hostname: childHost, Dir: dir, UserLogf: func(string, ...any) {}}
	defer s.Close()
	ln, err := s.ListenTLS("tcp", ":443")
	if err != nil {
		return err
	}
	lc, err := s.LocalClient()
	if err != nil {
		return err
	}
	fmt.Println("listening")
	return http.Serve(ln, whoami(lc))
}

// whoami answers with the caller's login name, and one line for each rule that it has.
func whoami(lc *local.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := lc.WhoIs(r.Context(), r.RemoteAddr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		fmt.Fprintln(w, who.UserProfile.LoginName)
		for _, rule := range who.CapMap[tsidpCap] {
			fmt.Fprintln(w, compact(string(rule)))
		}
	})
}

// connKey is the context key of the connection below TLS, if there is one.
type connKey struct{}

// serve runs a server on ln until the test ends.
func serve(t *testing.T, ln net.Listener, handler http.Handler) {
	t.Helper()
	srv := &http.Server{
		Handler:  handler,
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if conn, ok := c.(*tls.Conn); ok {
				c = conn.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("serving: %v", err)
		}
	})
}
