// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
)

// A keySet is immutable. A key that stays from one set to the next stays the
// same pointer, so that a token remembers its key by it.
type keySet map[string]*jwt.PublicKey

// A keySource knows the issuer's keys.
type keySource struct {
	*source[keySet]
	issuer *issuer
	// uri is the issuer's jwks_uri, "" before it is known. Only fetch uses it,
	// which runs once at a time.
	uri string
}

func newKeySource(i *issuer, now func() time.Time, log *slog.Logger) *keySource {
	k := &keySource{issuer: i}
	k.source = newSource("keys", k.fetch, now, log)
	return k
}

// lookup returns the key, or nil if the issuer has no such key. An error
// wraps ErrUnavailable.
func (k *keySource) lookup(ctx context.Context, id string) (*jwt.PublicKey, error) {
	set, err := k.get(ctx, func(set *keySet) bool { return (*set)[id] != nil })
	if err != nil {
		return nil, err
	}
	return (*set)[id], nil
}

func (k *keySource) fetch(ctx context.Context, old *keySet) (*keySet, error) {
	keys, err := k.download(ctx)
	if err != nil {
		k.uri = "" // it may have moved
		return nil, fmt.Errorf("fetching keys of issuer: %w", err)
	}
	set := make(keySet, len(keys))
	for _, key := range keys {
		set[key.ID] = &key
		if old == nil {
			continue
		}
		if known := (*old)[key.ID]; known != nil && known.Equal(key) {
			set[key.ID] = known
		}
	}
	return &set, nil
}

func (k *keySource) download(ctx context.Context) ([]jwt.PublicKey, error) {
	if k.uri == "" {
		m, err := k.issuer.discover(ctx)
		if err != nil {
			return nil, err
		}
		if err := k.issuer.checkEndpoint(m.JWKSURI); err != nil {
			return nil, fmt.Errorf("jwks_uri %w", err)
		}
		k.uri = m.JWKSURI
	}
	body, err := k.issuer.get(ctx, k.uri)
	if err != nil {
		return nil, err
	}
	return jwt.ParseJWKS(body)
}
