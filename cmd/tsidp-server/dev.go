// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/simtailnet"
)

// This file is the development mode: the real provider on a simulated
// tailnet. What a socket's address is elsewhere is here the choice of the
// caller, so nothing but loopback must reach it.

const (
	devPort   = 9411
	devHeader = "Tsidp-Dev-User" // chooses the caller of one request
	devCookie = "tsidp-dev-user" // chooses the caller for a browser
)

// runDev serves a simulated tailnet on loopback until ctx ends.
func runDev(ctx context.Context, c config, log *slog.Logger, stdout io.Writer) error {
	warnDev(c, log)
	st, err := openState(ctx, c, log)
	if err != nil {
		return err
	}
	defer st.close(log)
	d, p, endpoints, err := listenDev(ctx, c, st, log)
	if err != nil {
		return err
	}
	go c.reloadOn(ctx, c.hangups, p, log)
	return serve(ctx, log, p, endpoints, c.notify.after(func(ctx context.Context) error {
		if err := keepDeclared(ctx, c.clientsFile, p, log); err != nil {
			return err
		}
		if err := d.demo.register(ctx, d.as(devAlice, d.provider)); err != nil {
			return fmt.Errorf("registering demo application: %w", err)
		}
		_, err := fmt.Fprintf(stdout, "issuer: %s\nOpen %s/dev in a browser to log in to the demo application.\n", d.issuer, d.issuer)
		return err
	}, log))
}

// listenDev opens all listeners of the development mode.
func listenDev(ctx context.Context, c config, st *state, log *slog.Logger) (_ *devServer, _ *tsidp.Provider, endpoints []endpoint, err error) {
	defer func() {
		if err != nil {
			closeListeners(endpoints)
		}
	}()
	port := c.localPort
	if port < 0 {
		port = devPort
	}
	listeners, err := listenLoopback(port)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, ln := range listeners {
		endpoints = append(endpoints, endpoint{listener: ln})
	}
	d, p, err := newDev(c, st, log, portOf(listeners[0]))
	if err != nil {
		return nil, nil, endpoints, err
	}
	for i := range endpoints {
		endpoints[i].handler = d // it sets the peer of each request
	}
	if err := st.checkIssuer(ctx, d.issuer, true); err != nil {
		return nil, nil, endpoints, err
	}
	metrics, err := metricsEndpoints(c, log, p, d.issuer)
	if err != nil {
		return nil, nil, endpoints, err
	}
	endpoints = append(endpoints, metrics...)
	if st.dir != "" {
		e, err := st.adminEndpoint(p, d.issuer, log)
		if err != nil {
			return nil, nil, endpoints, err
		}
		endpoints = append(endpoints, e)
	}
	return d, p, endpoints, nil
}

func warnDev(c config, log *slog.Logger) {
	log.Warn("this is for development only: anybody on this machine can be anybody")
	if len(c.ignored) > 0 {
		log.Warn("ignored with -dev", "variables", strings.Join(c.ignored, ", "))
	}
	if c.dir == "" && c.store == "" {
		log.Warn("clients, logins and keys are lost when the process ends: -dir DIR keeps them")
	}
}

// A devServer is the handler of the development listeners.
type devServer struct {
	issuer   string
	hosts    []string // own names, as in a Host header
	tailnet  *simtailnet.Tailnet
	provider http.Handler
	demo     *demoApp
	pages    *devPages
	routes   http.Handler
}

// newDev returns the handler for listeners at port, and the provider behind
// it.
func newDev(c config, st *state, log *slog.Logger, port int) (*devServer, *tsidp.Provider, error) {
	hosts := devHosts(port)
	issuer := "http://" + hosts[0]
	tailnet := newDevTailnet()
	cfg := st.providerConfig(c, log)
	cfg.Issuer, cfg.Tailnet, cfg.Hosts = issuer, tailnet, hosts
	p, err := tsidp.New(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("configuring provider: %w", err)
	}
	return newDevServer(issuer, hosts, tailnet, p.Handler(), newDemoApp(issuer, hosts, port)), p, nil
}

func newDevServer(issuer string, hosts []string, tailnet *simtailnet.Tailnet, provider http.Handler, demo *demoApp) *devServer {
	d := &devServer{
		issuer:   issuer,
		hosts:    hosts,
		tailnet:  tailnet,
		provider: provider,
		demo:     demo,
		pages:    newDevPages(),
	}
	own := http.NewServeMux()
	own.HandleFunc("GET /dev", d.home)
	own.HandleFunc("GET /dev/style.css", d.pages.style)
	own.HandleFunc("POST /dev/user", d.switchUser)
	own.HandleFunc("POST /dev/login", d.login)
	own.HandleFunc("GET /dev/callback", d.callback)

	protected := http.NewCrossOriginProtection()
	protected.SetDenyHandler(http.HandlerFunc(d.crossOrigin))
	pages := d.ownHosts(pageHeaders(protected.Handler(own)))

	mux := http.NewServeMux()
	mux.Handle("/dev", pages)
	mux.Handle("/dev/", pages)
	mux.Handle("/", provider)
	d.routes = mux
	return d
}

// devHosts returns the names under which browsers reach port on loopback, the
// issuer's first, as they stand in a Host header.
func devHosts(port int) []string {
	names := []string{"localhost", "127.0.0.1", "[::1]"}
	if port == 80 {
		return names // browsers leave the default port out
	}
	for i, n := range names {
		names[i] = n + ":" + strconv.Itoa(port)
	}
	return names
}

// ServeHTTP finds out who is calling and routes.
func (d *devServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, err := d.callerName(r)
	if err != nil {
		d.unknownCaller(w, r, err)
		return
	}
	d.as(name, d.routes).ServeHTTP(w, r)
}

// callerName returns the name of the peer that r comes from: the one that the
// header tells, else the cookie of the switcher, else alice.
func (d *devServer) callerName(r *http.Request) (string, error) {
	if values := r.Header.Values(devHeader); len(values) > 0 {
		if len(values) > 1 {
			return "", fmt.Errorf("the header %s is there %d times; the known callers are %s", devHeader, len(values), devNames(d.tailnet))
		}
		if _, ok := d.tailnet.Named(values[0]); !ok {
			return "", fmt.Errorf("%s: %q is unknown; the known callers are %s", devHeader, values[0], devNames(d.tailnet))
		}
		return values[0], nil
	}
	// A cookie of an earlier version must not lock its browser out.
	if c, err := r.Cookie(devCookie); err == nil {
		if _, ok := d.tailnet.Named(c.Value); ok {
			return c.Value, nil
		}
	}
	return devAlice, nil
}

type devPeerKey struct{}

// as returns h with the peer called name as the caller of every request.
func (d *devServer) as(name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := d.tailnet.Named(name)
		if !ok {
			d.unknownCaller(w, r, fmt.Errorf("unknown caller %q", name))
			return
		}
		ctx := context.WithValue(r.Context(), devPeerKey{}, p)
		h.ServeHTTP(w, r.WithContext(tsidp.WithPeer(ctx, p.Addrs()[0])))
	})
}

// peerOf returns the caller that as has set.
func peerOf(r *http.Request) simtailnet.Peer {
	p, _ := r.Context().Value(devPeerKey{}).(simtailnet.Peer)
	return p
}

// unknownCaller answers a request that says it comes from nobody we know.
func (d *devServer) unknownCaller(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		pageHeaders(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d.pages.message(w, r, http.StatusBadRequest, "Unknown caller", err.Error())
		})).ServeHTTP(w, r)
		return
	}
	var known []string
	for _, p := range d.tailnet.Peers() {
		known = append(known, p.Name())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	// Headers are out: a failed write has no one left to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"error":             "invalid_request",
		"error_description": err.Error(),
		"known":             known,
	})
}

// ownHosts refuses requests under other names than ours, so that no web page
// can reach the pages by a name that it controls (DNS rebinding).
func (d *devServer) ownHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(d.hosts, strings.ToLower(r.Host)) {
			http.Error(w, "this server is not "+strconv.Quote(r.Host)+": open "+d.issuer+"/dev", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (d *devServer) crossOrigin(w http.ResponseWriter, r *http.Request) {
	d.pages.message(w, r, http.StatusForbidden, "Refused", "Another web site sent this request. Use the buttons of this page.")
}

// switchUser makes the chosen peer the caller of the browser's requests.
func (d *devServer) switchUser(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	name := r.PostFormValue("user")
	if _, ok := d.tailnet.Named(name); !ok {
		d.unknownCaller(w, r, fmt.Errorf("%q is unknown; the known callers are %s", name, devNames(d.tailnet)))
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name:     devCookie,
		Value:    name,
		Path:     "/",
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
	http.Redirect(w, r, "/dev", http.StatusSeeOther)
}

// login sends the browser on its way through the demo application's login.
func (d *devServer) login(w http.ResponseWriter, r *http.Request) {
	to, cookie, err := d.demo.start(r.Context(), r.Host)
	if err != nil {
		d.pages.message(w, r, http.StatusBadGateway, "The demo application could not start a login", err.Error())
		return
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback is where the provider sends the browser back to.
func (d *devServer) callback(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: demoCookie, Path: demoCallback, MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	res, err := d.demo.finish(r)
	var refused *authorizationError
	switch {
	case errors.As(err, &refused):
		d.pages.message(w, r, http.StatusForbidden, "The provider refused the login", refused.Error())
	case err != nil:
		d.pages.message(w, r, http.StatusBadRequest, "The demo application did not accept the login", err.Error())
	default:
		d.pages.render(w, http.StatusOK, "claims.html", claimsPage{Caller: peerOf(r).Name(), Issuer: d.issuer, Results: res})
	}
}
