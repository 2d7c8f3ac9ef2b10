// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		in, field, problem string // problem is empty for a good document
		at                 string // the offset is that of this text
	}{
		{in: `{}`},
		{in: ` {"client_name":"x","redirect_uris":["a","b"],"disabled":true,"access_token_lifetime":60} `},
		{in: `{"redirect_uris":null,"client_name":null,"secrets":[null],"owner":null}`},
		{in: `{"client_secret_expires_at":0,"secrets":[{"id":"x","created_at":"2026-11-01T12:00:00Z"}]}`},
		{``, "", "not valid JSON", ""},
		{`null`, "", "must be a JSON object", "null"},
		{`[]`, "", "must be a JSON object", "["},
		{`{} {}`, "", "not valid JSON", "{}"},
		{`{"client_name":"x",}`, "", "not valid JSON", "}"},
		{"{\n\t\"client_name\": 7}", "client_name", "number such as 7", "7"},
		{`{"redirect_uris":"x"}`, "redirect_uris", "string", `"x"`},
		{`{"redirect_uris":["x", {"a":1}]}`, "redirect_uris[1]", "object", `{"a"`},
		{`{"disabled":"true"}`, "disabled", "string", `"true"`},
		{`{"access_token_lifetime":1.5}`, "access_token_lifetime", "1.5", "1.5"},
		{`{"access_token_lifetime":1e999}`, "access_token_lifetime", "1e999", "1e999"},
		{`{"access_token_lifetime":9223372036854775808}`, "access_token_lifetime", "92233", "92233"},
		{`{"client_name":"x","client_name":"x"}`, "client_name", "twice", `"client_name":"x"}`},
		{`{"client_name":"x","client\u005fname":"x"}`, "client_name", "twice", `"client\u005f`},
		{`{"Client_name":"x"}`, "Client_name", "no member", `"x"`},
		{`{"ClientMetadata":{}}`, "ClientMetadata", "no member", "{}"},
		{`{"ETag":"x"}`, "ETag", "no member", `"x"`},
		{`{"x":{"a":[1,{"b":1,"b":2}]}}`, "x.a[1].b", "twice", `"b":2`},
		{`{"owner":{"sub":[]}}`, "owner.sub", "array", "[]"},
		{`{"secrets":[{"id":"x"},{"id":true}]}`, "secrets[1].id", "boolean", "true"},
		{`{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "", "deeper than 16", ""},
		{`{"` + strings.Repeat("x", 5000) + `":1}`, strings.Repeat("x", 64) + "…", "no member", ""},
	} {
		name := tt.in
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			var c Client
			err := Decode([]byte(tt.in), &c)
			if tt.problem == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := errors.AsType[*FieldError](err)
			if !ok || e.Field != tt.field || !strings.Contains(e.Problem, tt.problem) {
				t.Fatalf("error %v, want %s: … %s", err, tt.field, tt.problem)
			}
			if tt.at != "" && !strings.HasPrefix(tt.in[e.Offset:], tt.at) {
				t.Errorf("offset %d, %q, want that of %q", e.Offset, tt.in[e.Offset:], tt.at)
			}
		})
	}
}

// FuzzDecode: what is accepted is what encoding/json reads, and what is
// written is read again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"client_id":"x","redirect_uris":["https://x.example/"],"access_token_lifetime":60,"secrets":[{"id":"a","created_at":"2026-11-01T12:00:00Z"}]}`,
		`{"a":1,"a":2}`, `{"owner":{"sub":"x"}}`, `[[[[`, `{"client_name":"\ud800"}`, "{\"client_name\":\"\xff\"}", `{"x":[{}]}`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, plain Client
		if err := Decode(data, &c); err != nil {
			e, ok := errors.AsType[*FieldError](err)
			if !ok || e.Problem == "" || e.Offset < 0 || e.Offset > int64(len(data)) {
				t.Fatalf("error %#v", err)
			}
			return
		}
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&plain); err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		if diff := cmp.Diff(plain, c); diff != "" {
			t.Fatalf("decoded (-encoding/json +Decode):\n%s", diff)
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Client
		if err := Decode(again, &back); err != nil {
			t.Fatalf("what was written is refused: %v in %s", err, again)
		}
	})
}

// TestLocate finds the nearest place to a path.
func TestLocate(t *testing.T) {
	const doc = `{"clients": [{"client_id":"a"}, {"redirect_uris":["x", "y"], "redirect":1}]}`
	for path, want := range map[string]string{
		"clients[1].redirect_uris[1]": `"y"`,
		"clients[1].redirect_uris[7]": `["x"`,
		"clients[1].pkce":             `{"redirect_uris"`,
		"clients[10]":                 `[{`,
		"other":                       `{"clients"`,
	} {
		if at := Locate([]byte(doc), path); !strings.HasPrefix(doc[at:], want) {
			t.Errorf("%s is at %q, want %q", path, doc[at:], want)
		}
	}
}

// TestClientJSONNames: no two members have one name, so that Decode and
// encoding/json mean the same.
func TestClientJSONNames(t *testing.T) {
	var c Client
	fields := make(map[string]reflect.Value)
	collect(reflect.ValueOf(&c).Elem(), fields)
	n := reflect.TypeFor[Client]().NumField() - 2 + reflect.TypeFor[ClientMetadata]().NumField() // without the embedded struct and ETag
	if len(fields) != n {
		t.Errorf("%d names of %d fields", len(fields), n)
	}
}
