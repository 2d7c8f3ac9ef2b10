// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package safefetch is an HTTP client that cannot be turned against the
// network.
//
// The provider fetches documents from URLs that strangers name: client id
// metadata documents, and the key sets that these point to. It stands where
// the strangers do not: in a tailnet, in a cloud, beside other services of its
// machine. Without care it would fetch for them what they cannot reach
// (server-side request forgery).
//
// "Authorization servers MUST NOT fetch a Client ID Metadata Document URL or
// any URLs contained within a Client ID Metadata Document that resolve to
// special-use IP addresses as defined in [RFC6890]."
// (draft-ietf-oauth-client-id-metadata-document-02 section 8.6)
//
// # What a fetch goes through
//
//  1. The text of the URL (target.go): https, a host name that can be public,
//     port 443, nothing that two parsers read differently. Never our own name.
//  2. The cache (cache.go), and one flight for all who want the same.
//  3. The pace (pace.go): one fetch per host and second.
//  4. The addresses (address.go): resolved once, every one of them judged, and
//     the connection made to one that was judged, by number. A second look-up,
//     which could answer otherwise (DNS rebinding), does not happen.
//  5. The answer (fetch.go): status 200, a type that was asked for, not
//     encoded, not longer than asked for, within the time. A redirect is an
//     answer that cannot be used.
//
// Hosts that an administrator lists (Config.AllowHosts) may be private; all
// other rules hold for them too.
package safefetch
