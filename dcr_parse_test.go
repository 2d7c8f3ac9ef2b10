// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRegistrationMembers: what is read is what is kept, echoed and compared:
// a member in one place only would be lost, or would be an administrator's.
func TestRegistrationMembers(t *testing.T) {
	reg := new(registration)
	for _, m := range reg.members() {
		value := `["x"]`
		if m.read([]byte(value)) != nil {
			value = `"x"`
			if err := m.read([]byte(value)); err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
		}
	}
	if diff := cmp.Diff(reg.ClientMetadata, selfDeclared(reg.ClientMetadata)); diff != "" {
		t.Errorf("read, but not kept (-read +kept):\n%s", diff)
	}
	b, err := json.Marshal(reg.ClientMetadata)
	if err != nil {
		t.Fatal(err)
	}
	var named map[string]any
	if err := json.Unmarshal(b, &named); err != nil {
		t.Fatal(err)
	}
	for _, m := range reg.members() {
		if _, ok := named[m.name]; !ok && m.name != "client_secret" {
			t.Errorf("%s is read into a field of another name", m.name)
		}
		delete(named, m.name)
	}
	if len(named) > 0 {
		t.Errorf("set by no member: %v", named)
	}
}

// FuzzParseRegistration: whatever comes, there is an answer, an error is one
// of the protocol, and a client that passes is bounded, has no null in its
// answer, and passes again as it is shown.
func FuzzParseRegistration(f *testing.F) {
	for _, seed := range []string{
		registrationOf(), registrationOf("scope", "openid made:up", "contacts", []string{"a", ""}), `{}`, `null`, `[]`, `{"redirect_uris":["https://a.example/"]}`,
		`{"redirect_uris":["https://a.example/"],"redirect_uris":[]}`, `{"client_name":"\ud800"}`, "{\"a\":\"\xff\"}", `{"grant_types":["x"],"client_id":""}`,
		`{"redirect_uris":[[[[1e999]]]]}`, strings.Repeat(`{"a":`, 50), `{"token_endpoint_auth_method":"client_secret_post","redirect_uris":["cursor://x"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		reg, err := parseRegistration(body)
		if err != nil {
			if e := asProtocolError(err); e.code != codeInvalidClientMetadata {
				t.Errorf("error %v", e)
			}
			return
		}
		c := &client{Origin: originRegistered, Owner: &clientOwner{}}
		if err := c.describe(reg, ""); err != nil {
			if e := asProtocolError(err); e.status() != 400 {
				t.Errorf("error %v", e)
			}
			return
		}
		if c.IgnoreFragment || len(c.ResourceIdentifiers) > 0 || c.Access != accessTailnet || c.Disabled || c.Scope == "" {
			t.Errorf("client %+v", c)
		}
		shown := selfDeclared(c.ClientMetadata)
		b, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRegistration(b)
		if err != nil {
			t.Fatalf("%v for %s", err, b)
		}
		c2 := &client{Origin: originRegistered, Owner: &clientOwner{}}
		if err := c2.describe(again, ""); err != nil {
			t.Fatalf("%v for %s", err, b)
		}
		if len(shown.RedirectURIs) == 0 { // omitempty has no say in it
			shown.RedirectURIs, c2.RedirectURIs = nil, nil
		}
		if !reflect.DeepEqual(shown, selfDeclared(c2.ClientMetadata)) {
			t.Errorf("registered again as shown (-shown +again):\n%s", cmp.Diff(shown, selfDeclared(c2.ClientMetadata)))
		}
	})
}
