// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// TestKnownClients: what is remembered is what the record says, of each
// version, and a request keeps its own notes.
func TestKnownClients(t *testing.T) {
	record := func(id, name string, version int64) store.Record {
		t.Helper()
		data, err := json.Marshal(&client{ClientMetadata: admin.ClientMetadata{ID: id, Name: name, RedirectURIs: []string{webRedirect}}, Origin: originAdministrator})
		if err != nil {
			t.Fatal(err)
		}
		return store.Record{Kind: kindClient, ID: id, Version: version, Data: data}
	}
	var k knownClients
	for i, rec := range []store.Record{
		record("web", "One", 1), record("web", "One", 1), record("web", "One", 2), record("web", "Two", 3),
		record("web", "Three", 3), // deleted, and made again
		record("other", "Three", 3), record("web", "One", 1),
	} {
		want, err := decodeClient(rec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(client{})); d != "" {
			t.Errorf("%d (-record +remembered):\n%s", i, d)
		}
		got.method, got.Disabled, got.kept = authBasic, true, []string{"x"}
	}
	if _, err := k.decode(store.Record{Kind: kindClient, ID: "web", Version: 4, Data: []byte("{")}); err == nil {
		t.Error("a broken record is a client")
	}
	for i := range 2*maxKnownClients + 7 {
		if _, err := k.decode(record(strconv.Itoa(i), "x", 1)); err != nil {
			t.Fatal(err)
		}
		if len(k.byID) > maxKnownClients {
			t.Fatalf("%d clients are remembered", len(k.byID))
		}
	}
}
