// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Bare is a tsnet program that does nothing: what a node costs before it has
// anything to do. It takes the flag -dir, and prints a line when it listens.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net/http"

	"tailscale.com/tsnet"
)

func main() {
	dir := flag.String("dir", "", "state directory")
	flag.Parse()
	node := &tsnet.Server{Hostname: "idp", Dir: *dir, UserLogf: func(string, ...any) {}}
	if _, err := node.Up(context.Background()); err != nil {
		log.Fatal(err)
	}
	tailnet, err := node.LocalClient()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := node.Listen("tcp", ":443")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	server := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: &tls.Config{GetCertificate: tailnet.GetCertificate}}
	log.Fatal(server.ServeTLS(listener, "", ""))
}
