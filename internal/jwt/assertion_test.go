// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

// clientKeys parses the keys of the tests as those of a client.
func clientKeys(t testing.TB, rsaAlg string, changed func(members map[string]any)) []PublicKey {
	t.Helper()
	var set struct {
		Keys []any `json:"keys"`
	}
	for _, alg := range algorithms {
		members := jwkMembers(t, alg)
		if changed != nil {
			changed(members)
		}
		set.Keys = append(set.Keys, members)
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	keys, faults, err := ParseClientKeys(data, rsaAlg)
	if err != nil || len(faults) != 0 {
		t.Fatalf("parsing %s: %v, %v", data, faults, err)
	}
	return keys
}

// assertion has go-jose sign with a key of the tests. An empty kid leaves it
// out.
func assertion(t testing.TB, alg, kid, typ string) string {
	t.Helper()
	keyOf := alg
	if alg == PS256 {
		keyOf = RS256
	}
	options := new(jose.SignerOptions)
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: joseKey(t, keyOf), KeyID: kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(testClaims))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestVerifyAssertion(t *testing.T) {
	withoutAlg := func(members map[string]any) { delete(members, "alg") }
	withoutKid := func(members map[string]any) { delete(members, "kid") }
	named := clientKeys(t, RS256, nil)
	for _, tt := range []struct {
		name          string
		keys          []PublicKey
		alg, kid, typ string
		reason        string // empty: verifies
	}{
		{"RS256", named, RS256, RS256, "", ""},
		{"ES256", named, ES256, ES256, "JWT", ""},
		{"EdDSA", named, EdDSA, EdDSA, "client-authentication+jwt", ""},
		{"no kid", named, ES256, "", "", ""},
		{"keys without kid", clientKeys(t, RS256, withoutKid), ES256, "", "", ""},
		{"keys without alg", clientKeys(t, RS256, withoutAlg), RS256, RS256, "", ""},
		{"PS256", clientKeys(t, PS256, withoutAlg), PS256, RS256, "", ""},
		{"PS256, no kid", clientKeys(t, PS256, withoutAlg), PS256, "", "", ""},

		{"PS256 by a key for RS256", named, PS256, RS256, "", "alg is not the one of the key"},
		{"RS256 by a key for PS256", clientKeys(t, PS256, withoutAlg), RS256, RS256, "", "alg is not the one of the key"},
		{"PS256, no kid, by a key for RS256", named, PS256, "", "", "no kid, and not exactly one key for this alg"},
		{"kid of another key", named, ES256, EdDSA, "", "alg is not the one of the key"},
		{"unknown kid", named, ES256, "x", "", "unknown kid"},
		{"kid, but keys without", clientKeys(t, RS256, withoutKid), ES256, ES256, "", "unknown kid"},
		{"no kid, two keys", append(named, PublicKey{"2", ES256, named[1].Key}), ES256, "", "", "no kid, and not exactly one key for this alg"},
		{"RS512", named, "RS512", RS256, "", "alg is none of RS256, PS256, ES256, EdDSA"},
		{"access token", named, ES256, ES256, "at+jwt", "typ is not the expected one"},
		{"a key that cannot be", []PublicKey{{RS256, ES256, named[0].Key}}, ES256, RS256, "", "key cannot verify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			signed := tt.alg
			if signed == "RS512" {
				signed = RS256
			}
			token := assertion(t, signed, tt.kid, tt.typ)
			if signed != tt.alg {
				part := strings.Split(token, ".")
				token = encode(fmt.Sprintf(`{"alg":%q,"kid":%q}`, tt.alg, tt.kid)) + "." + part[1] + "." + part[2]
			}
			asked := 0
			payload, err := VerifyAssertion(token, func(kid, alg string) (PublicKey, bool) {
				asked++
				return FindKey(tt.keys, kid, alg)
			})
			if tt.reason != "" {
				wantInvalid(t, err, tt.reason, token)
				if got := Reason(err); got != tt.reason {
					t.Errorf("reason %q, want %q", got, tt.reason)
				}
				return
			}
			if err != nil || string(payload) != testClaims || asked != 1 {
				t.Errorf("%s, %v, asked %d times", payload, err, asked)
			}
		})
	}
	if got := Reason(errors.New("x")); got != "" {
		t.Errorf("reason of a foreign error %q", got)
	}
}

// TestClaimedSubject: whoever signed it.
func TestClaimedSubject(t *testing.T) {
	for payload, want := range map[string]string{
		`{"sub":"a","x":1}`:       "a",
		`{}`:                      "",
		`{"SUB":"a"}`:             "",
		`{"sub":"a","sub":"b"}`:   "error",
		`{"sub":1}`:               "error",
		`[]`:                      "error",
		"{\"sub\":\"\xff\"}":      "error",
		`{"sub":"a"} {"sub":"b"}`: "error",
	} {
		got, err := ClaimedSubject(encode(`{"alg":"none"}`) + "." + encode(payload) + "." + encode("x"))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %q, %v, want %q", payload, got, err, want)
		}
	}
	for _, token := range []string{"", "a", "a.b.c", strings.Repeat("x", MaxTokenLen+1)} {
		if got, err := ClaimedSubject(token); err == nil {
			t.Errorf("%.10q: %q", token, got)
		}
	}
}

// TestParseClientKeys changes one of two keys.
func TestParseClientKeys(t *testing.T) {
	type members map[string]any
	const private = "keys[0] is a private or symmetric key"
	for _, tt := range []struct {
		name   string
		alg    string
		change members // nil deletes
		used   bool
		says   string // of the fault, or of the error
		fails  bool
	}{
		{"sound", ES256, nil, true, "", false},
		{"no kid", ES256, members{"kid": nil}, true, "", false},
		{"no alg", RS256, members{"alg": nil}, true, "", false},
		{"PS256", RS256, members{"alg": "PS256"}, true, "", false},
		{"for encryption", RS256, members{"use": "enc"}, false, "", false},
		{"for encryption, by alg", RS256, members{"alg": "RSA-OAEP"}, false, "", false},
		{"key_ops", ES256, members{"key_ops": []string{"deriveKey"}}, false, "", false},
		{"another curve", ES256, members{"crv": "P-384"}, false, "", false},
		{"unknown kty", ES256, members{"kty": "AKP"}, false, "", false},

		{"alg of another type", RS256, members{"alg": "ES256"}, false, `keys[0]: key is for RS256, not for "ES256"`, false},
		{"PS256 on a curve", ES256, members{"alg": "PS256"}, false, `keys[0]: key is for ES256, not for "PS256"`, false},
		{"short RSA", RS256, members{"n": encode(strings.Repeat("\x81", 128))}, false, "keys[0]: RSA modulus of 1024 bits", false},
		{"off the curve", ES256, members{"x": encode(strings.Repeat("\x01", 32))}, false, "keys[0]: its numbers are malformed, or not on the curve", false},
		{"long kid", ES256, members{"kid": strings.Repeat("x", 257)}, false, "keys[0]: key id", false},
		{"kid a number", ES256, members{"kid": 1}, false, "keys[0]: a member is of the wrong type", false},

		{"private", ES256, members{"d": "AAAA"}, false, private, true},
		{"private for encryption", RS256, members{"use": "enc", "d": "AAAA"}, false, private, true},
		{"private of unknown kty", ES256, members{"kty": "X", "d": nil, "k": "AAAA"}, false, private, true},
		{"a prime", RS256, members{"p": "AAAA"}, false, private, true},
		{"symmetric", ES256, members{"kty": "oct"}, false, private, true},
		{"kid of the other", ES256, members{"kid": "sound"}, false, "keys[1] has the kid of an earlier one", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := jwkMembers(t, tt.alg)
			for name, value := range tt.change {
				if key[name] = value; value == nil {
					delete(key, name)
				}
			}
			sound := jwkMembers(t, EdDSA)
			sound["kid"] = "sound"
			data, err := json.Marshal(map[string]any{"keys": []any{key, sound}})
			if err != nil {
				t.Fatal(err)
			}
			keys, faults, err := ParseClientKeys(data, RS256)
			text := fmt.Sprint(errors.Join(append(faults, err)...))
			if tt.says == "" {
				text = ""
			}
			if (err != nil) != tt.fails || !strings.HasPrefix(text, tt.says) || tt.says == "" && len(faults) != 0 {
				t.Fatalf("faults %v, error %v, want %q", faults, err, tt.says)
			}
			want := 1
			if tt.used {
				want = 2
			}
			if !tt.fails && len(keys) != want {
				t.Errorf("%d keys, want %d", len(keys), want)
			}
		})
	}
	for _, tt := range []struct{ in, want string }{
		{``, "not a JSON object"},
		{`[]`, "not a JSON object"},
		{`{}`, "not a JSON object"},
		{`{"keys":null}`, "not a JSON object"},
		{`{"keys":{}}`, "not a JSON object"},
		{`{"Keys":[]}`, "not a JSON object"},
		{`{"keys":[],"keys":[]}`, "not a JSON object"},
		{`{"keys":[]}`, "no key for signatures"},
		{`{"keys":[{"kty":"EC","crv":"P-384"}]}`, "no key for signatures"},
		{`{"keys":[{"kty":"EC","crv":"P-256"}]}`, "keys[0]: its numbers"},
		{`{"keys":[null]}`, "keys[0]: not a JSON object"},
		{`{"keys":[1]}`, "keys[0]: not a JSON object"},
		{`{"keys":[{"kty":"EC","kty":"RSA"}]}`, "not a JSON object"},
		{`{"keys":[` + strings.Repeat(`{},`, maxClientKeys) + `{}]}`, "more than 100 keys"},
	} {
		if _, _, err := ParseClientKeys([]byte(tt.in), RS256); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60s: %v, want %q", tt.in, err, tt.want)
		}
	}
}

func FuzzParseClientKeys(f *testing.F) {
	all := jwks(f, publicKeys(f)...)
	f.Add([]byte(all))
	f.Add([]byte(strings.ReplaceAll(all, `"kid":`, `"kit":`)))
	f.Add([]byte(strings.ReplaceAll(all, `"alg":`, `"alq":`)))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AQ","e":"AQ","d":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := ParseClientKeys(data, PS256)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys and error %v", len(keys), err)
		}
		for _, key := range keys {
			if err := key.checkClientKey(); err != nil {
				t.Errorf("unusable key: %v", err)
			}
			if got, ok := FindKey(keys, key.ID, key.Alg); key.ID != "" && (!ok || !cmp.Equal(got.Key, key.Key)) {
				t.Errorf("key %q is not found by its name", key.ID)
			}
		}
		if strings.Contains(string(data), `"d":`) && err == nil {
			var set struct {
				Keys []map[string]json.RawMessage `json:"keys"`
			}
			json.Unmarshal(data, &set)
			for _, key := range set.Keys {
				if _, ok := key["d"]; ok {
					t.Errorf("a private key is taken: %s", data)
				}
			}
		}
	})
}
