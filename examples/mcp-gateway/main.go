// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Mcp-gateway is one door to several MCP servers behind tsidp. It never passes
// a caller's token on: it exchanges it (RFC 8693) for one that is good at the
// one server that is being called, and says that the gateway acts for the
// caller. README.md walks through it.
//
//	go run ./mcp-gateway -tsidp https://idp.example.ts.net -resource https://gw.example.ts.net \
//		-upstream notes=https://notes.example.ts.net/mcp
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/tailscale/tsidp/rs"
)

// secretVariable keeps the secret out of the command line, which all users of
// the machine can read.
const secretVariable = "GATEWAY_CLIENT_SECRET"

func main() {
	var (
		issuer    = flag.String("tsidp", "http://localhost:9411", "URL of the tsidp, its issuer")
		addr      = flag.String("http", "localhost:9934", "address to listen on")
		resource  = flag.String("resource", "", "URL by which clients reach this gateway; default http://ADDRESS")
		clientID  = flag.String("client-id", "", "id at the tsidp; its secret is in "+secretVariable+". Without, the gateway is the tagged node that it runs on")
		debug     = flag.Bool("enable-debug", false, "log why tokens are refused")
		upstreams = map[string]*url.URL{}
	)
	flag.Func("upstream", "`NAME=URL` of an MCP server, which clients reach at RESOURCE/NAME/mcp; may be repeated", func(s string) error {
		return addUpstream(upstreams, s)
	})
	flag.Parse()
	if *resource == "" {
		*resource = "http://" + *addr
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	tokens := &exchanger{issuer: *issuer, clientID: *clientID, secret: os.Getenv(secretVariable)}
	handler, err := newHandler(*resource, upstreams, tokens, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	for name, u := range upstreams {
		log.Printf("%s leads to %s", resourceOf(*resource, name), u)
	}
	log.Fatal(http.Serve(ln, handler))
}

// addUpstream reads NAME=URL.
func addUpstream(upstreams map[string]*url.URL, s string) error {
	name, address, _ := strings.Cut(s, "=")
	u, err := url.Parse(address)
	if err != nil || name == "" || strings.ContainsAny(name, "/{} %?#") || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("want NAME=URL, such as notes=https://notes.example.ts.net/mcp")
	}
	if upstreams[name] != nil {
		return fmt.Errorf("%s is there twice", name)
	}
	upstreams[name] = u
	return nil
}

// newHandler serves each upstream at a path of its own. Each is a resource of
// its own too, so that the policy says of each who may use it.
func newHandler(resource string, upstreams map[string]*url.URL, tokens *exchanger, logger *slog.Logger) (http.Handler, error) {
	if len(upstreams) == 0 {
		return nil, errors.New("there is no -upstream NAME=URL")
	}
	mux := http.NewServeMux()
	for name, target := range upstreams {
		guard, err := rs.New(rs.Config{Issuer: tokens.issuer, Resource: resourceOf(resource, name), Name: name, Logger: logger})
		if err != nil {
			return nil, err
		}
		door := &door{guard: guard, target: target, tokens: tokens, log: logger.With("upstream", name)}
		mux.Handle(rs.MetadataPath+path(name), guard.Metadata())
		mux.Handle(path(name), guard.Protect(door))
	}
	return mux, nil
}

// path ends in what some clients know MCP servers by.
func path(name string) string { return "/" + name + "/mcp" }

func resourceOf(gateway, name string) string { return strings.TrimSuffix(gateway, "/") + path(name) }
