// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package rs protects a resource server, such as an MCP server, with the
// access tokens of a tsidp. It has no identity provider in it and no
// dependency outside this module but go-jose.
//
// A [Server] is three things:
//
//   - [Server.Metadata] serves the document that tells clients where to get a
//     token (RFC 9728);
//   - [Server.Protect] lets requests with a good token through and answers
//     others with the challenges of RFC 6750 that MCP clients act upon;
//   - [FromContext] tells a handler who is calling.
//
// Programs with a bearer interface of their own, such as the official MCP SDK
// for Go, call [Server.Verify]; examples/mcp-server shows how.
//
// # What makes a token good
//
// By default tokens are verified here, without asking anybody: it is an access
// token (RFC 9068; ID tokens are refused), signed with a key that the issuer
// publishes, issued by exactly [Config].Issuer for [Config].Resource, and not
// expired. Spelling variants of the resource are the same resource: letter
// case of the host, the default port and one slash at the end.
//
// A verified token is remembered until it expires or its key is withdrawn.
// What the tailnet's policy takes away is noticed when the token ends, at most
// five minutes later unless the client's tokens live longer. A server that
// must know at once sets [Config].Introspection and asks the issuer about each
// token (RFC 7662), which is also the way to read opaque tokens.
//
// # When the issuer is down
//
// [New] asks nobody, so servers start in any order. Keys are fetched when the
// first token arrives, again in the background every five minutes, and when a
// token names an unknown key, at most every ten seconds. Known keys serve on
// for a day while the issuer is unreachable. Without keys the answer is 503,
// never 401, which would send clients through a login for nothing.
//
// # Web pages
//
// Scripts of any origin may call what Protect guards, and read its refusals:
// nothing there rests on a cookie or on an address, only on the token. Protect
// answers preflights itself and leaves an Access-Control-Allow-Origin alone
// that is set already.
package rs
