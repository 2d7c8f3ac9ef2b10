// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp_test

import (
	"context"
	"log"
	"net/http"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/local"
)

// A provider beside the host's tailscaled, on one address of the tailnet. A
// program with its own tsnet node looks the same: see examples/embed.
func Example() {
	provider, err := tsidp.New(tsidp.Config{
		Issuer:  "https://idp.example.ts.net",
		Tailnet: &local.Client{},
		Store:   memory.New(), // forgets everything when the program ends
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := provider.Run(context.Background()); err != nil {
			log.Fatal(err)
		}
	}()

	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("a route of your own\n"))
	})
	mux.Handle("/", provider.Handler())
	server := &http.Server{
		Addr:        "100.64.0.1:443",
		Handler:     mux,
		ConnContext: provider.ConnContext, // tells the provider who its peers are
	}
	log.Fatal(server.ListenAndServeTLS("cert.pem", "key.pem"))
}
