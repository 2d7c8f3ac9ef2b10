// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs_test

import (
	"fmt"
	"log"
	"net/http"

	"github.com/tailscale/tsidp/rs"
)

// A server that answers who has a token of the tailnet's tsidp for it.
func Example() {
	server, err := rs.New(rs.Config{
		Issuer:   "https://idp.example.ts.net",
		Resource: "https://notes.example.ts.net/notes",
	})
	if err != nil {
		log.Fatal(err)
	}
	notes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := rs.FromContext(r.Context())
		fmt.Fprintf(w, "notes of %s, asked for by %s\n", token.Subject, token.ClientID)
	})

	mux := http.NewServeMux()
	mux.Handle(rs.MetadataPath, server.Metadata())
	mux.Handle(rs.MetadataPath+"/", server.Metadata())
	mux.Handle("/notes", server.Protect(notes))
	log.Fatal(http.ListenAndServeTLS(":443", "cert.pem", "key.pem", mux))
}
