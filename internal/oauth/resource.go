// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"errors"
	"fmt"
	"strings"
)

// CanonicalResource returns the form by which resources (RFC 8707) are compared. Of an http or https URI, scheme and host are
// put in lower case, the scheme's default port is dropped, and so is a single slash at the end of the path, because clients add
// and lose it. Any other absolute URI (urn:example:api, api://x) is its own canonical form. Nothing is decoded: an escaped
// slash is not a slash.
//
// The result is for comparison only; a token's audience is the spelling that was asked for, which the resource server compares
// with its own. CanonicalResource of the result is the result.
//
// The error says, as a sentence, why uri cannot name a resource: it is relative or empty, has a fragment or user information,
// has an invalid host or port, has characters that no URI has, or is longer than 2048 bytes.
func CanonicalResource(uri string) (string, error) {
	p, err := splitResource(uri)
	if err != nil {
		return "", fmt.Errorf("the resource %w", err)
	}
	return p.canonical().String(), nil
}

// splitResource takes a resource apart. Its errors are predicates.
func splitResource(s string) (parts, error) {
	if err := checkText(s); err != nil {
		return parts{}, err
	}
	if strings.ContainsAny(s, "\"<>^`{|}") {
		return parts{}, errors.New("contains a character that a URI has in percent-encoded form only")
	}
	p, ok := split(s)
	switch {
	case !ok, p.slashes+p.path+p.query == "":
		// RFC 8707 §2: "Its value MUST be an absolute URI".
		return parts{}, errors.New("is not an absolute URI: it begins with a scheme such as https://")
	case p.fragment != "":
		// RFC 8707 §2: "The URI MUST NOT include a fragment component."
		return parts{}, errors.New("has a fragment")
	case p.userinfo != "":
		return parts{}, errors.New("has user information in front of its host")
	case p.isWeb() && !validHost(p.host):
		return parts{}, errors.New("has no host, or an invalid one")
	case !validPort(p.port):
		return parts{}, errors.New("has an invalid port")
	}
	return p, nil
}

func (p parts) canonical() parts {
	if !p.isWeb() {
		return p
	}
	p.scheme = strings.ToLower(p.scheme)
	p.host = strings.ToLower(p.host)
	if p.scheme == "https" && p.port == ":443" || p.scheme == "http" && p.port == ":80" {
		p.port = ""
	}
	// Two slashes at the end are an empty segment, not a matter of spelling.
	if !strings.HasSuffix(p.path, "//") {
		p.path = strings.TrimSuffix(p.path, "/")
	}
	return p
}

// SameResource reports whether a and b name one resource by [CanonicalResource]. It is false if either is malformed.
func SameResource(a, b string) bool {
	x, errX := CanonicalResource(a)
	y, errY := CanonicalResource(b)
	return errX == nil && errY == nil && x == y
}

// ResourcePatternMatches reports whether pattern, from a grant, covers the resource uri. A pattern is one of
//
//   - "*", which covers every well-formed resource,
//   - a resource, which covers what [SameResource] calls the same,
//   - a resource that ends in "/*", such as https://host/path/*, which covers the paths below on the same scheme, host and
//     port, with any query; neither /path itself nor paths with empty or dot segments, or with an escaped slash, backslash or
//     dot, since servers disagree about what those lie below.
//
// Whatever SameResource calls the same as uri gets the same answer. A malformed pattern or uri does not match.
func ResourcePatternMatches(pattern, uri string) bool {
	u, err := splitResource(uri)
	if err != nil {
		return false
	}
	if pattern == "*" {
		return true
	}
	p, err := splitResource(pattern)
	if err != nil {
		return false
	}
	p, u = p.canonical(), u.canonical()
	return p == u || coversBelow(p, u)
}

// coversBelow reports whether the pattern p ends in "/*" and u is below it. Both are in canonical form.
func coversBelow(p, u parts) bool {
	// The star, being the last segment, kept its slash through canonical: the prefix ends at a segment's border.
	prefix, found := strings.CutSuffix(p.path, "*")
	if !found || !strings.HasSuffix(prefix, "/") || p.host == "" {
		return false
	}
	if !strings.HasPrefix(u.path, prefix) || !plainPath(u.path) {
		return false
	}
	// The pattern's own query stays in the comparison, so that a pattern with one covers nothing below.
	p.path, u.path, u.query = "", "", ""
	return p == u
}

// plainPath reports whether every server takes path for what it says: no empty and no dot segments, and none that some
// server turns into one.
func plainPath(path string) bool {
	lower := strings.ToLower(path)
	for _, escaped := range []string{"%2e", "%2f", "%5c"} {
		if strings.Contains(lower, escaped) {
			return false
		}
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		// Some servers drop the parameters of a segment, and so read "..;x" as "..".
		switch name, _, _ := strings.Cut(segment, ";"); name {
		case "", ".", "..":
			return false
		}
	}
	return true
}
