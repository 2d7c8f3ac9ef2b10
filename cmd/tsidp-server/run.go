// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/tailscale/tsidp"
	"golang.org/x/sync/errgroup"
)

// Exit codes of the process.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // the command line or the environment is at fault
)

// drainTimeout bounds how long open requests may take after the process has
// been asked to end. Container runtimes send SIGKILL after 10 s by default, so
// more would be a promise nobody keeps.
const drainTimeout = 10 * time.Second

// run is the whole process: it returns the exit code once everything has
// ended. What programs read goes to stdout, everything else to stderr.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	// The engine below the provider logs to the default.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if len(args) > 0 {
		if cmd, ok := commandNamed(args[0]); ok {
			return runCommand(ctx, cmd, args[1:], getenv, stdout, stderr)
		}
	}
	c, err := parseConfig(args, getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(stdout)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "tsidp-server: %v\nRun tsidp-server -help for the options.\n", err)
		return exitUsage
	case c.version:
		fmt.Fprintln(stdout, version())
		return exitOK
	}
	log := newLogger(c, stderr)
	slog.SetDefault(log)
	// From here on, and not only once there is something to read again: the
	// signal's default is to end the process.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	c.hangups, c.notify = hangups, newNotifier(getenv, os.Getpid())
	start := runTsnet
	switch {
	case c.dev:
		start = runDev
	case c.useLocalTailscaled:
		start = runTailscaled
	}
	if err := start(ctx, c, log, stdout); err != nil {
		log.Error("tsidp-server ends", "error", err)
		return exitFailure
	}
	return exitOK
}

// newLogger returns the log that c asks for.
func newLogger(c config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.logLevel}
	if c.logJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("tsidp-server %s %s", v, runtime.Version())
}

// A provider is the part of [tsidp.Provider] that serve needs.
type provider interface {
	Run(context.Context) error
	Ready() <-chan struct{}
	Close() error
}

var _ provider = (*tsidp.Provider)(nil)

// An endpoint is one listener and what it exposes.
type endpoint struct {
	listener    net.Listener
	handler     http.Handler
	connContext func(context.Context, net.Conn) context.Context // may be nil
}

// A drainer is a listener that can refuse connections before it is closed, so
// that those under way are accepted.
type drainer interface{ drain(context.Context) }

// serve runs p behind the endpoints until ctx ends, which is a clean end, or
// until the first of them fails. It calls ready once p answers requests. It
// closes the listeners and p in every case.
func serve(ctx context.Context, log *slog.Logger, p provider, endpoints []endpoint, ready func(context.Context) error) error {
	// The provider outlives ctx: open requests need it until they are done.
	providerCtx, stopProvider := context.WithCancel(context.WithoutCancel(ctx))
	defer stopProvider()
	servers := newServers(endpoints, log)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return runProvider(providerCtx, p) })
	for _, s := range servers {
		g.Go(func() error {
			if err := s.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving %v: %w", s.listener.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		select {
		case <-p.Ready():
		case <-ctx.Done():
			return nil
		}
		if err := ready(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		drain(servers, log)
		stopProvider()
		return nil
	})
	return errors.Join(g.Wait(), p.Close())
}

// runProvider runs p until ctx ends. To end before is a failure.
func runProvider(ctx context.Context, p provider) error {
	err := p.Run(ctx)
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		return nil
	case err == nil:
		return errors.New("the provider ended by itself")
	}
	return fmt.Errorf("running provider: %w", err)
}

// A server serves one endpoint.
type server struct {
	http.Server
	listener net.Listener
	busy     busyConns
}

func newServers(endpoints []endpoint, log *slog.Logger) []*server {
	var servers []*server
	for _, e := range endpoints {
		s := &server{listener: e.listener}
		s.Server = http.Server{
			Handler:           e.handler,
			ConnContext:       e.connContext,
			ConnState:         s.busy.note,
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       30 * time.Second,
			WriteTimeout:      60 * time.Second,
			IdleTimeout:       120 * time.Second,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		}
		servers = append(servers, s)
	}
	return servers
}

// drain stops accepting and waits for open requests; those that take longer
// than drainTimeout are cut off.
func drain(servers []*server, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var g errgroup.Group
	for _, s := range servers {
		g.Go(func() error {
			if l, ok := s.listener.(drainer); ok {
				l.drain(ctx)
			}
			s.SetKeepAlivesEnabled(false) // which closes idle connections
			s.busy.wait(ctx)
			if err := s.Shutdown(ctx); err != nil {
				log.Warn("cutting off open requests", "error", err)
				return s.Close()
			}
			return nil
		})
	}
	// An error here is that of closing a listener that is given up anyway.
	_ = g.Wait()
}
