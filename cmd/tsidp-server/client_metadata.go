// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/tailscale/hujson"
	"github.com/tailscale/tsidp"
)

// clientMetadata is -client-metadata: which clients may have the address of a
// metadata document as their id.
type clientMetadata string

const (
	metadataOn        clientMetadata = "on"
	metadataOff       clientMetadata = "off"
	metadataAllowList clientMetadata = "allowlist"
)

func metadataMode(dst *clientMetadata) func(string) error {
	return func(s string) error {
		switch m := clientMetadata(s); m {
		case metadataOn, metadataOff, metadataAllowList:
			*dst = m
			return nil
		}
		return errors.New("want on, off or allowlist")
	}
}

func hostList(dst *[]string) func(string) error {
	return func(s string) error {
		*dst = nil
		for h := range strings.SplitSeq(s, ",") {
			if h = strings.TrimSpace(h); h != "" {
				*dst = append(*dst, h)
			}
		}
		return nil
	}
}

// maxMetadataList bounds the file of -client-metadata-list, in bytes.
const maxMetadataList = 1 << 20

// metadataList reads the file that the option names.
func metadataList(dst *tsidp.ClientDocuments, file *string) func(string) error {
	return func(path string) (err error) {
		var list tsidp.ClientDocuments
		if path != "" {
			list.Allow, list.Pinned, err = readMetadataList(path)
		}
		if err == nil {
			*dst, *file = list, path
		}
		return err
	}
}

// clientDocuments returns what the provider is to be told; nil if the feature
// is off.
func (c *config) clientDocuments() *tsidp.ClientDocuments {
	switch c.clientMetadata {
	case metadataOn:
		return &tsidp.ClientDocuments{Pinned: c.clientMetadataList.Pinned}
	case metadataAllowList:
		// Not nil: that would be all.
		return &tsidp.ClientDocuments{Pinned: c.clientMetadataList.Pinned, Allow: append([]string{}, c.clientMetadataList.Allow...)}
	}
	return nil
}

// readMetadataList reads JSON with comments:
//
//	{
//	  // ids that -client-metadata=allowlist lets in; a * at the end matches what follows
//	  "allow": ["https://claude.ai/*"],
//	  // documents that are used as they are and never fetched
//	  "pinned": [{"client_id": "https://agent.example/client.json", …}]
//	}
func readMetadataList(path string) (allow []string, pinned map[string][]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMetadataList+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxMetadataList {
		return nil, nil, fmt.Errorf("%s: larger than %d bytes", path, maxMetadataList)
	}
	standard, err := hujson.Standardize(data)
	if err != nil { // it names line and column
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	var list struct {
		Allow  []string          `json:"allow"`
		Pinned []json.RawMessage `json:"pinned"`
	}
	dec := json.NewDecoder(bytes.NewReader(standard))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	pinned = make(map[string][]byte)
	for i, doc := range list.Pinned {
		var id struct {
			ID string `json:"client_id"`
		}
		if err := json.Unmarshal(doc, &id); err != nil || id.ID == "" {
			return nil, nil, fmt.Errorf("%s: pinned[%d] has no client_id", path, i)
		}
		if _, ok := pinned[id.ID]; ok {
			return nil, nil, fmt.Errorf("%s: pinned[%d]: %s is pinned twice", path, i, id.ID)
		}
		pinned[id.ID] = doc
	}
	return list.Allow, pinned, nil
}

// clientFetch returns how documents are fetched. dial is that of the tailnet
// node; nil for the machine's.
func (c *config) clientFetch(dial func(ctx context.Context, network, address string) (net.Conn, error)) *tsidp.ClientFetch {
	return &tsidp.ClientFetch{AllowHosts: c.clientMetadataAllow, DialTailnet: dial}
}
