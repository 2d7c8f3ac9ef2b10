// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"slices"

	"github.com/tailscale/tsidp/internal/oauth"
)

// askedResources returns the resources that a request for an authorization
// names (RFC 8707 section 2). Programs that know other providers send audience
// instead, with anything in it: what is no resource that who may use now is
// ignored, as any unknown parameter is (RFC 6749 section 3.1).
//
// What a client is for that names none, an administrator may have said. The
// policy judges it like what is named: it opens nothing.
func askedResources(f *form, who *identity, c *client, issuer string) []string {
	resources := slices.Clone(f.values["resource"])
	for _, a := range f.values["audience"] {
		if _, err := oauth.CanonicalResource(a); err != nil || slices.Contains(resources, a) {
			continue
		}
		if oauth.SameResource(a, issuer) || who.rules.allowsResource(who.names(), a) {
			resources = append(resources, a)
		}
	}
	if len(resources) == 0 {
		resources = slices.Clone(c.DefaultResources)
	}
	return resources
}
