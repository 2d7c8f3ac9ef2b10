// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/tailscale/tsidp/internal/oauth"
)

// oracleClient is how the earlier versions read a record.
type oracleClient struct {
	ID           string   `json:"client_id"`
	Secret       string   `json:"client_secret"`
	Name         string   `json:"client_name"`
	RedirectURIs []string `json:"redirect_uris"`
	RedirectURI  string   `json:"redirect_uri"`
	Dynamic      bool     `json:"dynamically_registered"`
}

func FuzzReadClients(f *testing.F) {
	for content := range brokenClients() {
		f.Add([]byte(content))
	}
	f.Add([]byte(secretClients))
	f.Add([]byte(`{"a":{"client_\u017fecret":"x","redirect_uris":[null,"","http://localhost/","javascript:x","#","https:#"],"contacts":["\ud800"]}}`))
	f.Add([]byte(`{"a":{"redirect_uri":"\ufffd"}}`))
	f.Add([]byte("\ufeff{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := read(files{clientFile: string(data)}.directory())
		if (s == nil) == (err == nil) {
			t.Fatalf("read = %v, %v", s, err)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Fatalf("not one line: %q", err)
			}
			return
		}
		checkComplete(t, data, s)
		for i := range s.Clients {
			checkClient(t, &s.Clients[i])
		}
		checkSummaryText(t, s)
	})
}

// checkComplete compares s with what encoding/json makes of data.
func checkComplete(t *testing.T, data []byte, s *State) {
	var oracle map[string]*oracleClient
	decoder := json.NewDecoder(bytes.NewReader(trimBOM(data)))
	if err := decoder.Decode(&oracle); err != nil {
		t.Fatalf("earlier versions could not read it: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		t.Fatalf("something follows the clients: %v", err)
	}
	if len(s.Clients) != len(oracle) {
		t.Fatalf("%d clients of %d", len(s.Clients), len(oracle))
	}
	if !slices.IsSortedFunc(s.Clients, func(a, b Client) int { return strings.Compare(a.ID, b.ID) }) {
		t.Fatal("not in order")
	}
	for _, c := range s.Clients {
		want := oracle[c.ID]
		if want == nil {
			t.Fatalf("no client %q", c.ID)
		}
		if c.Secret.Reveal() != want.Secret || c.DynamicallyRegistered != want.Dynamic || want.ID != "" && want.ID != c.ID {
			t.Fatalf("client %q is %+v, want %+v", c.ID, c, want)
		}
		uris := want.RedirectURIs
		if !slices.ContainsFunc(uris, func(uri string) bool { return uri != "" }) {
			uris = []string{want.RedirectURI}
		}
		for _, uri := range uris {
			// What worked works, unless nothing may be sent there.
			works := oauth.CheckRedirectURI(uri, oauth.AdministratorRedirects) == nil
			if works && !slices.Contains(c.RedirectURIs, uri) {
				t.Fatalf("client %q lost %q", c.ID, uri)
			}
		}
		for _, uri := range c.RedirectURIs {
			if !slices.Contains(uris, uri) {
				t.Fatalf("client %q gained %q", c.ID, uri)
			}
		}
	}
}

// checkClient checks what holds of every client.
func checkClient(t *testing.T, c *Client) {
	policy := oauth.AdministratorRedirects
	if c.DynamicallyRegistered {
		policy = oauth.SelfRegisteredRedirects
	}
	for _, uri := range c.RedirectURIs {
		if _, ok := oauth.MatchRedirectURI(c.RedirectURIs, uri, oauth.RedirectRules{IgnoreFragment: c.IgnoreFragment}); !ok {
			t.Fatalf("%q is imported and never matches", uri)
		}
		legacy := slices.Contains(c.LegacyRedirectURIs, uri)
		if accepted := oauth.CheckRedirectURI(uri, policy) == nil; accepted == legacy {
			t.Fatalf("%q is accepted: %v, and legacy: %v", uri, accepted, legacy)
		}
	}
	if (c.Disabled || len(c.LegacyRedirectURIs) > 0 || c.IgnoreFragment || c.Secret.IsZero()) && len(c.Notes) == 0 {
		t.Fatalf("no note about %+v", c)
	}
	texts := slices.Concat(c.Notes, c.Contacts, c.GrantTypes, c.ResponseTypes,
		[]string{c.Name, c.ClientURI, c.LogoURI, c.ApplicationType, c.TokenEndpointAuthMethod})
	// In a quotation, U+FFFD shows as itself.
	hidden := func(r rune) bool { return unprintable(r) && r != unicode.ReplacementChar }
	for _, text := range texts {
		if strings.ContainsFunc(text, hidden) {
			t.Fatalf("unprintable text %q", text)
		}
	}
	if strings.Contains(strings.Join(c.Notes, ""), "%!") {
		t.Fatalf("broken notes %q", c.Notes)
	}
	if _, err := oauth.ParseScope(c.Scope, nil); err != nil {
		t.Fatalf("scope %q: %v", c.Scope, err)
	}
}

func checkSummaryText(t *testing.T, s *State) {
	var b bytes.Buffer
	if err := s.Summary(&b); err != nil {
		t.Fatal(err)
	}
	bad := func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) }
	if strings.ContainsFunc(b.String(), bad) {
		t.Fatalf("a terminal would not show this as it is: %q", b.String())
	}
}

func FuzzReadKey(f *testing.F) {
	for content := range brokenKeys() {
		if len(content) < 10_000 {
			f.Add([]byte(content))
		}
	}
	f.Add([]byte(keyJSON("18446744073709551557", rsa2048)))
	f.Add([]byte(inTreeKeyJSON("18446744073709551557", rsa2048)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := read(files{keyFile: string(data)}.directory())
		if (s == nil) == (err == nil) {
			t.Fatalf("read = %v, %v", s, err)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Fatalf("not one line: %q", err)
			}
			return
		}
		if id, err := strconv.ParseUint(s.Key.ID, 10, 64); err != nil || strconv.FormatUint(id, 10) != s.Key.ID {
			t.Fatalf("id %q", s.Key.ID)
		}
		if !bytes.Contains(data, []byte(s.Key.ID)) {
			t.Fatalf("id %q is not that of the file", s.Key.ID)
		}
		if bits := s.Key.Private.N.BitLen(); bits < 2048 || bits > 8192 {
			t.Fatalf("%d bits", bits)
		}
		if err := s.Key.Private.Validate(); err != nil {
			t.Fatal(err)
		}
		checkSummaryText(t, s)
	})
}
