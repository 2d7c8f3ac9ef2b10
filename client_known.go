// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"sync"

	"github.com/tailscale/tsidp/store"
)

// Each request of a login reads the record of its client, whose JSON says the
// same as at the last one. knownClients remembers what it says. It is no cache
// of the store: a record counts as the store has it now.

// maxKnownClients bounds the memory: some megabytes.
const maxKnownClients = 2048

// knownClients are decoded records by client id.
type knownClients struct {
	mu   sync.Mutex
	byID map[string]knownClient
}

type knownClient struct {
	data   []byte
	client *client
}

// decode is decodeClient for a client that is not going to be changed: what
// its fields refer to, others have too.
func (k *knownClients) decode(rec store.Record) (*client, error) {
	k.mu.Lock()
	known, ok := k.byID[rec.ID]
	k.mu.Unlock()
	if !ok || !bytes.Equal(known.data, rec.Data) {
		c, err := decodeClient(rec)
		if err != nil {
			return nil, err
		}
		known = knownClient{rec.Data, c}
		k.put(rec.ID, known)
	}
	c := *known.client
	c.version = rec.Version
	return &c, nil
}

func (k *knownClients) put(id string, known knownClient) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil || len(k.byID) >= maxKnownClients {
		k.byID = make(map[string]knownClient)
	}
	k.byID[id] = known
}

// clientToUse is clientByID for requests that use a client and do not change
// it.
func (p *Provider) clientToUse(ctx context.Context, id string) (*client, error) {
	return p.loadClient(ctx, id, p.known.decode)
}
