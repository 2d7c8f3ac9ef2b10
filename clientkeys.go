// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/safefetch"
)

const (
	// maxJWKS is the length of a key set within a client's metadata: 20 RSA
	// keys, or 100 of the others.
	maxJWKS = 16 << 10
	// maxFetchedJWKS is that of one at a jwks_uri. Those of large platforms
	// have certificate chains in them.
	maxFetchedJWKS = 64 << 10
	// keysRefetch is how old a fetched key set must be to be fetched anew for
	// an unknown kid: anybody can name one.
	keysRefetch = 5 * time.Second
)

// validateKeys checks what assertions are verified by.
func (c *client) validateKeys() error {
	bad := func(format string, args ...any) error { return fail(codeInvalidClientMetadata, format, args...) }
	if alg := c.TokenEndpointAuthSigningAlg; alg != "" && !slices.Contains(jwt.AssertionAlgs, alg) {
		return bad("token_endpoint_auth_signing_alg: %.20q is none of %s", alg, strings.Join(jwt.AssertionAlgs, ", "))
	}
	if string(c.JWKS) == "null" {
		c.JWKS = nil
	}
	switch {
	// "The "jwks_uri" and "jwks" parameters MUST NOT both be present in the
	// same request or response" (RFC 7591 section 2).
	case len(c.JWKS) > 0 && c.JWKSURI != "":
		return bad("jwks: excludes jwks_uri; leave one out")
	case len(c.JWKS) > 0:
		return c.validateJWKS()
	case c.JWKSURI != "" && (!strings.HasPrefix(c.JWKSURI, "https://") || webOrigin(c.JWKSURI) == "" || len(c.JWKSURI) > maxClientText || strings.ContainsFunc(c.JWKSURI, unprintable)):
		return bad("jwks_uri: must be an https URL of at most %d bytes", maxClientText)
	case c.JWKSURI == "" && c.TokenEndpointAuthMethod == authPrivateKeyJWT:
		return bad("jwks: private_key_jwt needs the client's public keys, in jwks or at jwks_uri")
	}
	return nil
}

// validateJWKS checks the key set of the metadata. Somebody is there to mend
// it, so no fault is passed over.
func (c *client) validateJWKS() error {
	bad := func(format string, args ...any) error { return fail(codeInvalidClientMetadata, format, args...) }
	if len(c.JWKS) > maxJWKS {
		return bad("jwks: longer than %d bytes; use jwks_uri", maxJWKS)
	}
	keys, faults, err := jwt.ParseClientKeys(c.JWKS, c.rsaAlg())
	if err != nil {
		return bad("jwks: %v", err)
	}
	if len(faults) > 0 {
		return bad("jwks: %v", faults[0])
	}
	alg := c.TokenEndpointAuthSigningAlg
	if alg != "" && !slices.ContainsFunc(keys, func(k jwt.PublicKey) bool { return k.Alg == alg }) {
		return bad("jwks: no key for token_endpoint_auth_signing_alg %s", alg)
	}
	return nil
}

// rsaAlg is the algorithm of the client's RSA keys that name none: a key has
// one only.
func (c *client) rsaAlg() string {
	if c.TokenEndpointAuthSigningAlg == jwt.PS256 {
		return jwt.PS256
	}
	return jwt.RS256
}

// fetchKeys returns the keys at the client's jwks_uri, as they were after a
// time.
func (p *Provider) fetchKeys(ctx context.Context, c *client, after time.Time) ([]jwt.PublicKey, error) {
	read := func(body []byte) ([]jwt.PublicKey, error) {
		keys, _, err := jwt.ParseClientKeys(body, c.rsaAlg())
		if err != nil {
			return nil, documentFault{err.Error()}
		}
		return keys, nil
	}
	d, err := p.fetchDocument(ctx, c.JWKSURI, safefetch.Want{
		MaxBytes:     maxFetchedJWKS,
		ContentTypes: []string{"application/json", "application/jwk-set+json"}, // RFC 7517 section 8.5
		Valid:        func(body []byte) error { _, err := read(body); return err },
		FetchedAfter: after,
	})
	if err != nil {
		return nil, fetchError(err, codeInvalidClient, "jwks_uri")
	}
	return read(d.Body)
}
