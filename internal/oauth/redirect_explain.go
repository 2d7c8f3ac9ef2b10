// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"fmt"
	"strings"
)

// A difference is the one thing in which two URIs differ. The more alike two such URIs are, the smaller it is.
type difference int

const (
	differsInCase difference = iota
	differsInTrailingSlash
	differsInScheme
	differsInFragment
	differsInQuery
	differsInPort
	differsInHost
	differsInPath
	differsMore // in several components, or in none
)

// ExplainRedirectMismatch names the one difference between asked, which [MatchRedirectURI] refused, and the registered URI that
// is most similar to it, in a sentence about "it" that also says what to do. It returns an empty string if it has nothing
// useful to say, as for URIs that differ in several components.
//
// The sentence quotes registered URIs and parts of asked: it is for people of the tailnet, and must be escaped for HTML.
func ExplainRedirectMismatch(registered []string, asked string) string {
	if len(asked) > maxURI {
		return fmt.Sprintf("it is longer than %d bytes", maxURI)
	}
	a, ok := split(asked)
	if !ok {
		return ""
	}
	closest, nearest := differsMore, parts{}
	for _, s := range registered {
		r, ok := split(s)
		if !ok {
			continue
		}
		if d := soleDifference(a, r); d < closest {
			closest, nearest = d, r
		}
	}
	if closest == differsMore && a.fragment != "" {
		closest = differsInFragment
	}
	return explain(closest, a, nearest)
}

// soleDifference says in which component alone a and r differ.
func soleDifference(a, r parts) difference {
	if a.scheme == "http" && r.scheme == "http" && loopbackHost(a.host) && loopbackHost(r.host) && validPort(a.port) {
		a.port = r.port // any port would do
	}
	differsOnly := func(equalise func(p *parts)) bool {
		p := a
		equalise(&p)
		return p == r
	}
	switch {
	case a == r:
		return differsMore
	case strings.EqualFold(a.String(), r.String()):
		return differsInCase
	case differsOnly(func(p *parts) { p.path = r.path }):
		if strings.TrimSuffix(a.path, "/") == strings.TrimSuffix(r.path, "/") {
			return differsInTrailingSlash
		}
		return differsInPath
	case differsOnly(func(p *parts) { p.scheme = r.scheme }):
		return differsInScheme
	case a.isWeb() && r.isWeb() && a.scheme != r.scheme && differsOnly(func(p *parts) { p.scheme, p.port = r.scheme, r.port }):
		// An application behind TLS that does not know it names its own port as well.
		return differsInScheme
	case differsOnly(func(p *parts) { p.fragment = r.fragment }):
		return differsInFragment
	case differsOnly(func(p *parts) { p.query = r.query }):
		return differsInQuery
	case differsOnly(func(p *parts) { p.port = r.port }):
		return differsInPort
	case differsOnly(func(p *parts) { p.host = r.host }):
		return differsInHost
	}
	return differsMore
}

// explain puts into words that a differs from the registered r in d.
func explain(d difference, a, r parts) string {
	switch d {
	case differsInCase:
		return fmt.Sprintf("it differs from the registered %q in capital and small letters only: write both alike", r)
	case differsInTrailingSlash:
		if strings.HasSuffix(a.path, "/") {
			return "it ends its path with a slash where none is registered: remove it in the application, or register this URI too"
		}
		return "it lacks the slash at the end of the registered path: add it in the application, or register this URI too"
	case differsInScheme:
		return explainScheme(a.scheme, r.scheme)
	case differsInFragment:
		if a.fragment == "" {
			return fmt.Sprintf("it lacks the fragment of the registered %q: register the URI without it, since OAuth forbids one", r)
		}
		return fmt.Sprintf("it carries the fragment %q, which OAuth forbids: remove it in the application; if that cannot be done, "+
			"set ignore_fragment for this client", a.fragment)
	case differsInQuery:
		return fmt.Sprintf("it has %s where %s is registered: the query belongs to the URI, so write both alike",
			named("query", a.query), named("query", r.query))
	case differsInPort:
		return fmt.Sprintf("it has %s where %s is registered: open the application at the registered port, or register this URI too",
			named("port", strings.TrimPrefix(a.port, ":")), named("port", strings.TrimPrefix(r.port, ":")))
	case differsInHost:
		return fmt.Sprintf("it has %s where %s is registered: open the application under the registered name, or register this URI too",
			named("host", a.host), named("host", r.host))
	case differsInPath:
		return fmt.Sprintf("it has %s where %s is registered: correct the one that is wrong, or register this URI too",
			named("path", a.path), named("path", r.path))
	}
	return ""
}

func explainScheme(asked, registered string) string {
	if asked == "http" && registered == "https" {
		return "it uses http where https is registered: the application does not know that it is behind TLS; " +
			"look for its external URL, scheme override or forwarded proto setting"
	}
	return fmt.Sprintf("it uses %s where %s is registered: correct the one that is wrong, or register this URI too", asked, registered)
}

// named names a component, which may be absent.
func named(kind, value string) string {
	if value == "" {
		return "no " + kind
	}
	return fmt.Sprintf("the %s %q", kind, value)
}
