// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MetadataPath is where the document of [Server.Metadata] is: below it for a
// resource with a path, and at it.
const MetadataPath = "/.well-known/oauth-protected-resource"

// resourceMetadata is the document of RFC 9728 section 2.
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
}

// A document is rendered once.
type document struct {
	body []byte
	etag string
	path string // of the resource, escaped, without a slash at the end
}

func (s *Server) renderMetadata() error {
	body, err := json.MarshalIndent(resourceMetadata{
		Resource: s.cfg.Resource, AuthorizationServers: []string{s.cfg.Issuer},
		ScopesSupported: s.cfg.Scopes, BearerMethods: []string{"header"},
		Name: s.cfg.Name, Documentation: s.cfg.Documentation,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("rendering metadata: %w", err)
	}
	u, err := url.Parse(s.cfg.Resource)
	if err != nil {
		return fmt.Errorf("rendering metadata: %w", err)
	}
	sum := sha256.Sum256(body)
	s.document = document{
		body: append(body, '\n'),
		etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		path: strings.TrimSuffix(u.EscapedPath(), "/"),
	}
	// RFC 9728 §3.1: the well-known name is inserted "between the host
	// component and the path and/or query components, if any".
	path := u.EscapedPath()
	if path == "/" {
		path = ""
	}
	s.metadataURL = u.Scheme + "://" + u.Host + MetadataPath + path
	if u.RawQuery != "" {
		s.metadataURL += "?" + u.RawQuery
	}
	return nil
}

// MetadataURL is where clients find the document: what the challenges of
// [Server.Protect] name.
func (s *Server) MetadataURL() string { return s.metadataURL }

// Metadata serves the document about the resource (RFC 9728), by its name with
// the resource's path and by the one without, which some clients try. Everybody
// may read it. Mount it at both:
//
//	mux.Handle(rs.MetadataPath, server.Metadata())
//	mux.Handle(rs.MetadataPath+"/", server.Metadata())
func (s *Server) Metadata() http.Handler { return http.HandlerFunc(s.serveMetadata) }

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	below, ok := strings.CutPrefix(r.URL.EscapedPath(), MetadataPath)
	if below = strings.TrimSuffix(below, "/"); !ok || below != "" && below != s.document.path {
		writeError(w, http.StatusNotFound, "not_found", "the metadata of "+s.cfg.Resource+" are at "+s.metadataURL)
		return
	}
	switch {
	case isPreflight(r):
		servePreflight(w, r, "GET, HEAD")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("ETag", s.document.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.document.body))
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", "the metadata can be read only")
	}
}

// writeError answers with a JSON object, the form of errors in OAuth (RFC 6749
// section 5.2). code may be empty.
func writeError(w http.ResponseWriter, status int, code, description string) {
	body, err := json.Marshal(struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description"`
	}{code, description})
	if err != nil {
		body = []byte("{}") // two strings always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
