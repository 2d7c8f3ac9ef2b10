// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Tsidp-server is an identity provider for a tailnet. It joins the tailnet as
// a node of its own and speaks OpenID Connect there; with -dev it runs on a
// simulated tailnet on this machine. Run it with -help for its options.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a clean end. From then on signals do what
	// they do by default, so that a second one kills at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
