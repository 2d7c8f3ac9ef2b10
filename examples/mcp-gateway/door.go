// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/tailscale/tsidp/rs"
)

// A door leads callers with a good token to one MCP server.
type door struct {
	guard  *rs.Server
	target *url.URL
	tokens *exchanger
	log    *slog.Logger
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The guard has seen that there is one.
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	exchanged, err := d.tokens.exchange(r.Context(), strings.Trim(token, " "), d.target.String())
	if err != nil {
		d.refuse(w, err)
		return
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			u := *d.target
			p.Out.URL, p.Out.Host = &u, ""
			p.Out.Header = forwarded(p.In.Header)
			p.Out.Header.Set("Authorization", "Bearer "+exchanged)
		},
		ModifyResponse: d.modify,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			d.log.Error("calling", "error", err)
			http.Error(w, "the server behind the gateway does not answer as it should", http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}

// forwarded is what MCP needs of a caller's headers. All others stay here: an
// upstream may take one for the word of a proxy that it trusts.
func forwarded(in http.Header) http.Header {
	out := make(http.Header)
	for name, values := range in {
		switch {
		case strings.HasPrefix(name, "Mcp-"):
		case slices.Contains([]string{"Accept", "Accept-Language", "Content-Type", "Last-Event-Id", "Traceparent", "Tracestate", "User-Agent"}, name):
		default:
			continue
		}
		out[name] = values
	}
	return out
}

// refuse answers who gets no token for the upstream.
func (d *door) refuse(w http.ResponseWriter, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.Code == "invalid_target":
		d.log.Info("policy refuses", "error", err)
		http.Error(w, "the policy of the tailnet does not let you use "+d.target.String(), http.StatusForbidden)
	case errors.As(err, &refused) && refused.Code == "invalid_request":
		// RFC 8693 section 2.2.2: the token is not good any more. A new login
		// helps.
		d.log.Info("token refused", "error", err)
		d.challenge(w, http.StatusUnauthorized, "invalid_token", "")
	default:
		d.log.Error("exchanging", "error", err)
		http.Error(w, "the gateway gets no token for the server behind it", http.StatusBadGateway)
	}
}

func (d *door) challenge(w http.ResponseWriter, status int, code, scope string) {
	w.Header().Set("WWW-Authenticate", d.challengeFor(code, scope))
	http.Error(w, code, status)
}

// challengeFor sends clients to the document of the gateway: that of the
// upstream is not for them.
func (d *door) challengeFor(code, scope string) string {
	c := fmt.Sprintf("Bearer error=%q, resource_metadata=%q", code, d.guard.MetadataURL())
	if scope != "" {
		c += fmt.Sprintf(", scope=%q", scope)
	}
	return c
}

// modify keeps the upstream's authorization between it and the gateway, and
// its cookies and addresses from the origin that all upstreams share.
func (d *door) modify(res *http.Response) error {
	if res.StatusCode/100 == 3 {
		return fmt.Errorf("it redirects: %s", res.Status)
	}
	res.Header.Del("Set-Cookie")
	// The guard has set them.
	res.Header.Del("Access-Control-Allow-Origin")
	res.Header.Del("Access-Control-Expose-Headers")
	challenges := res.Header.Values("WWW-Authenticate")
	res.Header.Del("WWW-Authenticate")
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("it refuses the exchanged token: %q", challenges)
	case http.StatusForbidden:
		// A scope that the caller's token lacks, the exchanged one lacks too.
		if scope := missingScope(challenges); scope != "" {
			res.Header.Set("WWW-Authenticate", d.challengeFor("insufficient_scope", scope))
		}
	}
	return nil
}

func missingScope(challenges []string) string {
	parsed, err := oauthex.ParseWWWAuthenticate(challenges)
	if err != nil {
		return ""
	}
	for _, c := range parsed {
		if strings.EqualFold(c.Scheme, "bearer") && c.Params["error"] == "insufficient_scope" {
			return c.Params["scope"]
		}
	}
	return ""
}
