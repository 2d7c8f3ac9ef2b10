// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build !unix

package pgtest

import "testing"

// A Server is a PostgreSQL of one test; there is none on this system.
type Server struct{}

// New skips the test.
func New(t testing.TB) *Server {
	t.Helper()
	t.Skip("starting PostgreSQL needs a unix system")
	return nil
}

func newServer(t testing.TB) (*Server, error) { return New(t), nil }

// DSN returns nothing.
func (s *Server) DSN() string { return "" }

// Start does nothing.
func (s *Server) Start(testing.TB) {}

// Stop does nothing.
func (s *Server) Stop(testing.TB) {}

// Kill does nothing.
func (s *Server) Kill(testing.TB) {}

func (s *Server) close() error { return nil }
