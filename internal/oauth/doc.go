// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package oauth holds the parts of OAuth 2.0 that decide about strings: whether a redirect URI is the registered one, whether
// two resources are the same, what a scope parameter asks for, whose credentials an Authorization header carries, and whether
// a PKCE verifier belongs to a challenge.
//
// The authorization server and resource servers use it alike, so that both sides of a comparison follow one rule.
//
// # Trust model
//
// Every argument may come from an attacker. The functions do no I/O, read no clock, keep no state, never panic, and bound
// their work by limits on the length of their input. What is malformed is refused or does not match, never repaired.
// Error texts quote no secret.
//
// URIs are handled as the strings that they are. A URL type loses what matters here: it drops the third slash of
// app.immich:///oauth-callback, folds letter case, decodes escapes, and disagrees with browsers about backslashes and blanks.
//
// All functions are safe for concurrent use.
package oauth
