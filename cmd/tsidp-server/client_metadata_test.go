// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp"
)

// TestClientMetadataOptions: what the flags say is what the provider is told.
func TestClientMetadataOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clients.json")
	const doc = `{"client_id": "https://agent.example/c.json", "client_name": "A"}`
	if err := os.WriteFile(file, []byte("{ // ours\n \"allow\": [\"https://claude.ai/*\"],\n \"pinned\": ["+doc+"],\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	pinned := map[string][]byte{"https://agent.example/c.json": []byte(doc)}
	for _, tt := range []struct {
		args []string
		want *tsidp.ClientDocuments
	}{
		{nil, &tsidp.ClientDocuments{}},
		{[]string{"-client-metadata=off", "-client-metadata-list", file}, nil},
		{[]string{"-client-metadata=allowlist"}, &tsidp.ClientDocuments{Allow: []string{}}},
		{[]string{"-client-metadata=allowlist", "-client-metadata-list", file}, &tsidp.ClientDocuments{Allow: []string{"https://claude.ai/*"}, Pinned: pinned}},
		{[]string{"-client-metadata-list", file}, &tsidp.ClientDocuments{Pinned: pinned}},
	} {
		c, err := parseConfig(tt.args, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, c.clientDocuments()); d != "" {
			t.Errorf("%q (-want +got):\n%s", tt.args, d)
		}
	}
	c, err := parseConfig([]string{"-client-metadata-allow", " a.tail1.ts.net, b:8443,"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a.tail1.ts.net", "b:8443"}, c.clientFetch(nil).AllowHosts); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
}

// TestClientMetadataListErrors: a bad file is named, with the place.
func TestClientMetadataListErrors(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, says string }{
		"syntax":    {"{\n \"allow\": [\n}", "line 3"},
		"unknown":   {`{"allows": []}`, "allows"},
		"no id":     {`{"pinned": [{"client_name": "x"}]}`, "pinned[0]"},
		"twice":     {`{"pinned": [{"client_id": "https://a/b"}, {"client_id": "https://a/b"}]}`, "pinned[1]"},
		"too large": {`{"allow": ["` + strings.Repeat("x", maxMetadataList) + `"]}`, "larger"},
		"type":      {`{"allow": "x"}`, "allow"},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := parseConfig([]string{"-client-metadata-list", file}, func(string) string { return "" })
		if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "-client-metadata-list") {
			t.Errorf("%s: error %v, want one with the file and %q", name, err, tt.says)
		}
	}
	if _, err := parseConfig([]string{"-client-metadata-list", filepath.Join(dir, "absent")}, func(string) string { return "" }); err == nil {
		t.Error("an absent file is no error")
	}
	if _, err := parseConfig([]string{"-client-metadata", "maybe"}, func(string) string { return "" }); err == nil {
		t.Error("an unknown mode is no error")
	}
}
