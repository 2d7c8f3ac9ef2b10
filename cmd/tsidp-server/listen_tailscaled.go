// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/tailscale/tsidp"
	"tailscale.com/client/local"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/paths"
)

// The server behind the tailscaled of this machine: tailscaled's Serve ends
// TLS and passes requests on over a unix socket. A port would not do: where
// tailscaled has no network interface, it forwards every port of the loopback
// address to peers, and any process of the machine can reach it anyway, so
// both could write into a header who they are.

// The socket that tailscaled connects to is alone in a directory of the state
// directory.
const (
	serveDirName    = "serve"
	serveSocketName = "s"
)

// runTailscaled serves the tailnet through the tailscaled of this machine
// until ctx ends, or until tailscaled ends the session.
func runTailscaled(ctx context.Context, c config, log *slog.Logger, stdout io.Writer) error {
	if runtime.GOOS == "windows" {
		return errors.New("-use-local-tailscaled does not work on Windows, where tailscaled serves no unix sockets: leave it out, and the server joins as a node of its own")
	}
	if len(c.ignored) > 0 {
		log.Warn("ignored with -use-local-tailscaled, whose node is not ours", "options", strings.Join(c.ignored, ", "))
	}
	st, err := openState(ctx, c, log) // first: nobody else may be at work on it
	if err != nil {
		return err
	}
	defer st.close(log)
	s, err := openSession(ctx, cmp.Or(c.socket, paths.DefaultTailscaledSocket()), log)
	if ctx.Err() != nil {
		return nil // asked to end while waiting for the login
	}
	if err != nil {
		return err
	}
	defer s.bus.Close() // which undoes the Serve configuration
	return s.serve(ctx, c, st, log, stdout)
}

// A session is that of this process with tailscaled. What it configures is
// gone when it ends, however the process does.
type session struct {
	tailscaled *local.Client
	uid        int // of tailscaled; noUID: unknown
	bus        *local.IPNBusWatcher
	id         string
	status     *ipnstate.Status
}

// openSession connects to tailscaled and waits until it is on its tailnet.
func openSession(ctx context.Context, socket string, log *slog.Logger) (*session, error) {
	uid, err := uidOfListener(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("connecting to tailscaled: %w: is it running? If its socket is elsewhere, name it by -socket", err)
	}
	if err := checkUID(uid, os.Geteuid()); err != nil {
		return nil, err
	}
	if uid == noUID {
		log.Warn("this system does not tell which user connects to a unix socket: this mode relies on the modes of the directory of the socket, and everybody who gets in there, as root does, can be anybody")
	}
	s := &session{tailscaled: &local.Client{Socket: socket, UseSocketOnly: true}, uid: uid}
	if s.bus, err = s.tailscaled.WatchIPNBus(ctx, ipn.NotifyInitialState); err != nil {
		return nil, fmt.Errorf("opening a session with tailscaled: %w", err)
	}
	if err := s.awaitRunning(log); err != nil {
		s.bus.Close()
		return nil, fmt.Errorf("waiting for tailscaled: %w", err)
	}
	if s.status, err = s.tailscaled.StatusWithoutPeers(ctx); err != nil {
		s.bus.Close()
		return nil, fmt.Errorf("asking tailscaled: %w", err)
	}
	return s, nil
}

// uidOfListener returns the user id of the process that listens on a unix
// socket: who vouches for peers there must be the one who connects to ours.
func uidOfListener(ctx context.Context, socket string) (int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	uid, err := peerUID(c.(*net.UnixConn))
	if errors.Is(err, errors.ErrUnsupported) {
		return noUID, nil
	}
	return uid, err
}

// checkUID refuses a tailscaled that could not get at a socket of ours, as it
// would if the mode of the directory were any wider.
func checkUID(tailscaled, own int) error {
	if tailscaled == own || tailscaled == 0 || tailscaled == noUID {
		return nil
	}
	return fmt.Errorf("tailscaled runs as user id %d, which cannot open a socket of user id %d: run this server as the same user", tailscaled, own)
}

// awaitRunning reads the bus until tailscaled is on its tailnet. The first
// message names the session.
func (s *session) awaitRunning(log *slog.Logger) error {
	for {
		n, err := s.bus.Next()
		if err != nil {
			return err
		}
		s.id = cmp.Or(s.id, n.SessionID)
		switch {
		case n.State == nil:
		case *n.State == ipn.Running:
			return nil
		case *n.State == ipn.NeedsLogin, *n.State == ipn.Stopped:
			log.Warn("waiting for tailscaled: connect it by tailscale up", "state", n.State.String())
		default:
			log.Info("waiting for tailscaled", "state", n.State.String())
		}
	}
}

// serve builds the provider and serves it.
func (s *session) serve(ctx context.Context, c config, st *state, log *slog.Logger, stdout io.Writer) error {
	name, err := tsnetIssuer(s.status, c.port)
	if err != nil {
		return err
	}
	issuer := cmp.Or(c.issuer, name)
	if issuer != name {
		log.Warn("the issuer is not the node's own name: clients find the provider only if that name leads to this server with a certificate for it", "issuer", issuer, "own", name)
	}
	if c.funnel {
		if err := ipn.CheckFunnelAccess(uint16(c.port), s.status.Self); err != nil {
			return fmt.Errorf("offering Funnel: %w", err)
		}
	}
	if err := s.checkPort(ctx, c.port); err != nil {
		return err
	}
	if err := st.checkIssuer(ctx, issuer, false); err != nil {
		return err
	}
	watch := &nameWatch{issuer: issuer, name: nodeName(s.status), status: s.tailscaled.StatusWithoutPeers, log: log}
	cfg := st.providerConfig(c, log)
	cfg.Issuer, cfg.Tailnet = issuer, s.tailscaled
	cfg.ClientFetch = c.clientFetch(dialThrough(s.tailscaled))
	cfg.Condition = watch.condition
	p, err := tsidp.New(cfg)
	if err != nil {
		return fmt.Errorf("configuring provider: %w", err)
	}
	endpoints, err := s.endpoints(c, st, log, p, issuer)
	if err != nil {
		return err
	}
	serving, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() { end(s.watch()) }()
	if hostOf(issuer) == watch.name {
		go watch.run(serving)
	}
	socket := endpoints[0].listener.Addr().String()
	go c.reloadOn(serving, c.hangups, p, log)
	err = serve(serving, log, p, endpoints, c.notify.after(func(ctx context.Context) error {
		if err := keepDeclared(ctx, c.clientsFile, p, log); err != nil {
			return err
		}
		if err := s.configure(ctx, c, socket); err != nil {
			return err
		}
		_, err := fmt.Fprintf(stdout, "issuer: %s\n", issuer)
		return err
	}, log))
	// The session ends with ctx, too.
	if cause := context.Cause(serving); ctx.Err() == nil && errors.Is(cause, errSessionEnded) {
		return errors.Join(cause, err)
	}
	return err
}

// dialThrough connects to hosts of the tailnet as tailscaled does, which may be
// the only one of this machine that reaches them.
func dialThrough(tailscaled *local.Client) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, err
		}
		return tailscaled.UserDial(ctx, network, host, uint16(n))
	}
}

// checkPort refuses a port that Serve uses for something else. tailscaled would
// do so later, when the port is in the issuer that the store was stamped with.
func (s *session) checkPort(ctx context.Context, port int) error {
	all, err := s.tailscaled.GetServeConfig(ctx)
	if err != nil {
		return fmt.Errorf("reading the Serve configuration of tailscaled: %w", err)
	}
	if _, taken := all.View().FindTCP(uint16(port)); taken {
		return fmt.Errorf("port %d is taken in the Serve configuration of tailscaled, see tailscale serve status: choose another by -port", port)
	}
	return nil
}

// errSessionEnded: nothing leads to this server any more.
var errSessionEnded = errors.New("tailscaled has ended the session with this server, so Serve does not lead here any more: it was stopped, or its Serve configuration was replaced")

// watch returns when the session has ended, and says why.
func (s *session) watch() error {
	for {
		if _, err := s.bus.Next(); err != nil {
			return fmt.Errorf("%w (%v)", errSessionEnded, err)
		}
	}
}

// endpoints opens all listeners: what each exposes is read here. The first is
// that for tailscaled.
func (s *session) endpoints(c config, st *state, log *slog.Logger, p *tsidp.Provider, issuer string) (_ []endpoint, err error) {
	var endpoints []endpoint
	defer func() {
		if err != nil {
			closeListeners(endpoints)
		}
	}()
	ln, err := listenTailscaled(st.dir, s.uid, log)
	if err != nil {
		return nil, err
	}
	// ConnContext sees a unix socket, so that nobody is behind it but those
	// whom fromTailscaled names.
	endpoints = append(endpoints, endpoint{ln, fromTailscaled(p.Handler(), p.PublicHandler(), log), p.ConnContext})
	admin, err := st.adminEndpoint(p, issuer, log)
	if err != nil {
		return nil, err
	}
	endpoints = append(endpoints, admin)
	others, err := localEndpoints(c, log, p, issuer)
	if err != nil {
		return nil, err
	}
	return append(endpoints, others...), nil
}

// listenTailscaled opens the socket for tailscaled in the state directory.
func listenTailscaled(stateDir string, uid int, log *slog.Logger) (net.Listener, error) {
	ln, err := listenPrivate(filepath.Join(stateDir, serveDirName))
	if err != nil {
		return nil, fmt.Errorf("opening the socket for tailscaled: %w", err)
	}
	return &tailscaledListener{UnixListener: ln, uid: uid, peerUID: peerUID, log: log}, nil
}

// listenPrivate opens a socket in dir, which is created or made private.
func listenPrivate(dir string) (*net.UnixListener, error) {
	path := filepath.Join(dir, serveSocketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %s has %d bytes, and systems take %d: use a -dir with a shorter path", path, len(path), maxSocketPath)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is there and is no directory: move it away", dir)
	case info.Mode().Perm() != 0o700:
		// It fails for who does not own it.
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// configure has tailscaled's Serve lead to socket for as long as the session
// lasts. What else Serve is configured for stays as it is.
func (s *session) configure(ctx context.Context, c config, socket string) error {
	host := strings.TrimSuffix(s.status.Self.DNSName, ".")
	const tries = 5
	for try := 1; ; try++ {
		all, err := s.tailscaled.GetServeConfig(ctx)
		if err != nil {
			return fmt.Errorf("reading the Serve configuration of tailscaled: %w", err)
		}
		if all.Foreground == nil {
			all.Foreground = make(map[string]*ipn.ServeConfig)
		}
		all.Foreground[s.id] = serveConfig(host, c.port, socket, c.funnel)
		err = s.tailscaled.SetServeConfig(ctx, all)
		switch {
		case err == nil:
			return nil
		case local.IsPreconditionsFailedError(err) && try < tries:
			continue // somebody else has changed it in between
		}
		return explainRefusal(err)
	}
}

// serveConfig is what tailscaled is to do for us.
func serveConfig(host string, port int, socket string, funnel bool) *ipn.ServeConfig {
	name := ipn.HostPort(net.JoinHostPort(host, strconv.Itoa(port)))
	sc := &ipn.ServeConfig{
		TCP: map[uint16]*ipn.TCPPortHandler{uint16(port): {HTTPS: true}},
		Web: map[ipn.HostPort]*ipn.WebServerConfig{
			name: {Handlers: map[string]*ipn.HTTPHandler{"/": {Proxy: "unix:" + socket}}},
		},
	}
	if funnel {
		sc.AllowFunnel = map[ipn.HostPort]bool{name: true}
	}
	return sc
}

// explainRefusal tells what to do about an error of SetServeConfig.
func explainRefusal(err error) error {
	const doing = "setting the Serve configuration of tailscaled"
	if local.IsAccessDeniedError(err) || strings.Contains(err.Error(), "must be root") {
		return fmt.Errorf("%s: %w: tailscaled leads to a unix socket only for root, or for its operator (tailscale set --operator=USER) who may also run tailscale by sudo: run this server as one of them", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
