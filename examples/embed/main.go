// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Embed is a service on its own tsnet node that is also the identity
// provider of its tailnet.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/tsnet"
)

func main() {
	node := &tsnet.Server{Hostname: "embed"}
	defer node.Close()
	status, err := node.Up(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	tailnet, err := node.LocalClient()
	if err != nil {
		log.Fatal(err)
	}

	provider, err := tsidp.New(tsidp.Config{
		Issuer:  "https://" + strings.TrimSuffix(status.Self.DNSName, "."),
		Tailnet: tailnet,
		Store:   memory.New(),
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(provider.Run(context.Background())) }()

	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from beside the provider") })
	mux.Handle("/", provider.Handler())

	listener, err := node.Listen("tcp", ":443")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler:     mux,
		ConnContext: provider.ConnContext, // how the provider knows its peers
		TLSConfig:   &tls.Config{GetCertificate: tailnet.GetCertificate},
	}
	log.Fatal(server.ServeTLS(listener, "", ""))
}
