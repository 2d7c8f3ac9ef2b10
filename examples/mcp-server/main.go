// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Mcp-server is an MCP server behind tsidp: the official MCP SDK for Go serves
// the tools, package rs sees to it that only those with a token of the tailnet's
// tsidp reach them. README.md walks through it.
//
//	go run ./mcp-server -tsidp https://idp.example.ts.net -resource https://mcp.example.ts.net/mcp
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/tailscale/tsidp/rs"
)

var (
	issuer   = flag.String("tsidp", "http://localhost:9411", "URL of the tsidp, its issuer")
	addr     = flag.String("http", "localhost:9933", "address to listen on")
	resource = flag.String("resource", "", "URL by which clients reach this server; default http://ADDRESS/mcp")
	debug    = flag.Bool("enable-debug", false, "log why tokens are refused")
)

func main() {
	flag.Parse()
	if *resource == "" {
		*resource = "http://" + *addr + "/mcp"
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	handler, err := newHandler(*issuer, *resource, logger)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("MCP server at %s, tokens from %s", *resource, *issuer)
	log.Fatal(http.Serve(ln, handler))
}

// newHandler serves the tools and the document that says where tokens are.
func newHandler(issuer, resource string, logger *slog.Logger) (http.Handler, error) {
	guard, err := rs.New(rs.Config{Issuer: issuer, Resource: resource, Name: "tsidp example", Logger: logger})
	if err != nil {
		return nil, err
	}
	tools := mcp.NewServer(&mcp.Implementation{Name: "tsidp-example", Version: "1.0.0"}, nil)
	mcp.AddTool(tools, &mcp.Tool{Name: "whoami", Description: "Tells who is calling."}, whoami)
	mcp.AddTool(tools, &mcp.Tool{Name: "sum", Description: "Adds numbers."}, sum)
	serve := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, &mcp.StreamableHTTPOptions{
		// It would refuse the name of the node that "tailscale serve" passes on.
		// A page that rebinds a name to loopback has no token.
		DisableLocalhostProtection: true,
	})

	// Protect answers whoever has no good token; the SDK's middleware then tells
	// the tools, and keeps the sessions of different users apart.
	withInfo := auth.RequireBearerToken(verifier(guard), nil)
	mux := http.NewServeMux()
	mux.Handle(rs.MetadataPath, guard.Metadata())
	mux.Handle(rs.MetadataPath+"/", guard.Metadata())
	// Clients from before these documents look for another.
	mux.Handle(rs.IssuerMetadataPath, guard.IssuerMetadata())
	mux.Handle(rs.IssuerMetadataPath+"/", guard.IssuerMetadata())
	mux.Handle("/", guard.Protect(withInfo(serve)))
	return mux, nil
}

// verifier is package rs as the SDK wants it.
func verifier(guard *rs.Server) auth.TokenVerifier {
	return func(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
		t, err := guard.Verify(ctx, token)
		if errors.Is(err, rs.ErrInvalidToken) {
			return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
		}
		if err != nil {
			return nil, err
		}
		return &auth.TokenInfo{UserID: t.Subject, Scopes: t.Scopes, Expiration: t.Expires, Extra: map[string]any{"token": t}}, nil
	}
}

// An identity is what whoami answers.
type identity struct {
	Subject string   `json:"subject" jsonschema:"who is calling: userid:N for a user, node:ID for a tagged device"`
	Client  string   `json:"client" jsonschema:"the application that the token was issued to"`
	Scopes  []string `json:"scopes" jsonschema:"what the token allows"`
	Actors  []string `json:"actors,omitempty" jsonschema:"who acts for the subject, the current one first"`
}

func whoami(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, identity, error) {
	var token *rs.Token
	if info := req.Extra.TokenInfo; info != nil {
		token, _ = info.Extra["token"].(*rs.Token)
	}
	if token == nil {
		return nil, identity{}, errors.New("the call has no token")
	}
	id := identity{Subject: token.Subject, Client: token.ClientID, Scopes: token.Scopes}
	for _, actor := range token.Actors {
		id.Actors = append(id.Actors, actor.Subject)
	}
	answer := fmt.Sprintf("You are %s, calling by the client %s with the scopes %s.", id.Subject, id.Client, strings.Join(id.Scopes, " "))
	if len(id.Actors) > 0 {
		answer += fmt.Sprintf(" For you acts %s.", strings.Join(id.Actors, ", for which acts "))
	}
	return text("%s", answer), id, nil
}

type numbers struct {
	Numbers []float64 `json:"numbers" jsonschema:"the numbers to add"`
}

type total struct {
	Total float64 `json:"total"`
}

func sum(_ context.Context, _ *mcp.CallToolRequest, in numbers) (*mcp.CallToolResult, total, error) {
	var out total
	for _, n := range in.Numbers {
		out.Total += n
	}
	return text("%v", out.Total), out, nil
}

func text(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}
