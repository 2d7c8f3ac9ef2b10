// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/tailscale/tsidp"
)

// reloadOn reads again, at each signal, the files that may change while the
// server runs, until ctx ends. A file that cannot be used changes nothing.
//
// Of the files that flags name, that is -client-metadata-list. The key file
// and the auth key are read once: what they were for has happened.
func (c *config) reloadOn(ctx context.Context, signals <-chan os.Signal, p *tsidp.Provider, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			if err := c.reload(p); err != nil {
				log.Error("files were not read again; what was read before holds", "error", err)
				continue
			}
			log.Info("files were read again", "client-metadata-list", c.clientMetadataFile)
		}
	}
}

func (c *config) reload(p *tsidp.Provider) error {
	if c.clientMetadataFile == "" || c.clientMetadata == metadataOff {
		return nil
	}
	if err := metadataList(&c.clientMetadataList, &c.clientMetadataFile)(c.clientMetadataFile); err != nil {
		return fmt.Errorf("-client-metadata-list: %w", err)
	}
	return p.SetClientDocuments(c.clientDocuments())
}
