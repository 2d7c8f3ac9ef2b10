// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package tsidp is an identity provider for a tailnet: OpenID Connect, OAuth
// 2.1 and MCP authorization without a login page.
//
// # Overview
//
// Somebody whose request arrives over Tailscale is already authenticated: the
// network knows the user, the device and the policy. A [Provider] says so in
// the languages that applications and agents speak. Being on the tailnet is
// the login; the grants of the tailnet's policy file decide, at every use and
// not only at the login, who may use what.
//
// Make a Provider with [New], mount [Provider.Handler] on an http.Server
// whose ConnContext is [Provider.ConnContext], and keep [Provider.Run]
// running. The example of this package is a whole program. The command
// tsidp-server is the same with flags.
//
// # Trust model
//
//   - Who a peer is comes from WhoIs of its connection's address and from
//     nothing that a peer, a web page or a middleware can write: not from
//     headers, and not from [net/http.Request.RemoteAddr]. Those who
//     terminate connections themselves say who the peer is with [WithPeer].
//   - A Funnel connection is nobody, and so is whatever reaches
//     [Provider.PublicHandler]: there, clients prove themselves, and no page
//     and no administration exists.
//   - A web page that somebody on the tailnet reads must not act as that
//     person: pages answer only to the provider's own names, and what a page
//     of another origin sends has no authority from the network.
//   - Clients authenticate before anything that they present is looked at.
//     Codes and refresh tokens work once.
//   - The store holds secrets and refresh tokens as hashes only, but signing
//     keys as they are: keep it as private as they must be.
//
// # The engine
//
// The protocol types and the route of userinfo come from
// github.com/zitadel/oidc; none of its types is part of this package's API.
// It logs a few lines to [log/slog.Default], which is the one exception to
// [Config].Logger.
//
// # Compatibility
//
// Until version 1.0 the API may change between minor versions; CHANGELOG.md
// says how. What clients see (issuer, subjects, paths, claims) changes only
// with a line in docs/upgrading.md that says why.
package tsidp
