// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// IssuerMetadataPath is where the document of [Server.IssuerMetadata] is.
const IssuerMetadataPath = "/.well-known/oauth-authorization-server"

// IssuerMetadata serves clients of the first revision of MCP authorization
// (2025-03-26), which look for the issuer's metadata at the server itself and
// do not say what they want a token for. It is the issuer's document, with an
// authorization endpoint that says it for them. Mount it, if you have such
// clients, at both:
//
//	mux.Handle(rs.IssuerMetadataPath, server.IssuerMetadata())
//	mux.Handle(rs.IssuerMetadataPath+"/", server.IssuerMetadata())
//
// Newer clients find the issuer through [Server.Metadata] and never ask.
func (s *Server) IssuerMetadata() http.Handler { return http.HandlerFunc(s.serveIssuerMetadata) }

func (s *Server) serveIssuerMetadata(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	below, ok := strings.CutPrefix(r.URL.EscapedPath(), IssuerMetadataPath)
	if below = strings.TrimSuffix(below, "/"); !ok || below != "" && below != s.document.path {
		writeError(w, http.StatusNotFound, "not_found", "this is the server of "+s.cfg.Resource)
		return
	}
	switch {
	case isPreflight(r):
		servePreflight(w, r, "GET, HEAD")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", "the metadata can be read only")
		return
	}
	body, err := s.older.get(r.Context(), func(*[]byte) bool { return true })
	if err != nil {
		h.Set("Retry-After", "5")
		writeError(w, http.StatusServiceUnavailable, "temporarily_unavailable", "the issuer cannot be asked now")
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	w.Write(*body)
}

// renderIssuerMetadata fetches the issuer's document and names the resource
// in it: "The endpoint URI MAY include [...] query component ([...]), which
// MUST be retained when adding additional query parameters" (RFC 6749 section
// 3.1).
func (s *Server) renderIssuerMetadata(ctx context.Context, _ *[]byte) (*[]byte, error) {
	_, body, err := s.issuer.metadata(ctx)
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, fmt.Errorf("reading metadata of issuer: %w", err)
	}
	endpoint, _ := members["authorization_endpoint"].(string)
	if err := s.issuer.checkEndpoint(endpoint); err != nil {
		return nil, fmt.Errorf("authorization endpoint %w", err)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("authorization endpoint: %w", err)
	}
	q := u.Query()
	q.Set("resource", s.cfg.Resource)
	u.RawQuery = q.Encode()
	members["authorization_endpoint"] = u.String()
	if body, err = json.MarshalIndent(members, "", "  "); err != nil {
		return nil, fmt.Errorf("rendering metadata of issuer: %w", err)
	}
	return &body, nil
}
