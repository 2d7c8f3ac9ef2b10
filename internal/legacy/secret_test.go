// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const secretClients = `{"a":{"client_id":"a","client_secret":"` + testSecret + `","client_name":"A","redirect_uris":["https://a.example/"]},` +
	`"b":{"client_id":"b","client_secret":"hunter2","redirect_uris":["https://b.example/#x"],"x":1}}`

// TestSecrets prints, logs and marshals everything in every way.
func TestSecrets(t *testing.T) {
	s, err := read(files{keyFile: keyJSON("1", rsa2048), clientFile: secretClients}.directory())
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Clients[0].Secret.Reveal(); got != testSecret {
		t.Fatalf("Reveal = %q", got)
	}
	parsed, err := parseKey([]byte(keyJSON("1", rsa2048)))
	if err != nil {
		t.Fatal(err)
	}
	type hidden struct {
		state  State
		key    *Key
		value  Key
		client Client
		secret Secret
	}
	values := []any{
		s, *s, s.Key, *s.Key, s.Clients, s.Clients[0], &s.Clients[1], s.Clients[1].Secret, &s.Clients[0].Secret, parsed,
		hidden{*s, s.Key, *s.Key, s.Clients[0], s.Clients[0].Secret},
		map[Secret]any{s.Clients[0].Secret: s.Clients}, []any{s.Clients[0].Secret, nil}, fmt.Errorf("importing %v %+v", s, s.Clients),
	}
	for i, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%o", "%t", "%50v"} {
			checkHidden(t, fmt.Sprintf("%s of value %d", verb, i), fmt.Sprintf(verb, v))
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Errorf("marshalling value %d: %v", i, err)
		}
		checkHidden(t, fmt.Sprintf("JSON of value %d", i), string(data))
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
		checkHidden(t, fmt.Sprintf("log of value %d", i), b.String())
	}
	var b bytes.Buffer
	if err := s.Summary(&b); err != nil {
		t.Fatal(err)
	}
	checkHidden(t, "the summary", b.String())
	checkHidden(t, "the notes", fmt.Sprintf("%q %q", s.Notes, s.Clients[1].Notes))
}

// checkHidden looks for the secrets, also as numbers and in hexadecimal.
func checkHidden(t *testing.T, what, text string) {
	t.Helper()
	checkNoSecret(t, what, text)
	private, err := decodePrivateKey([]byte(rsa2048))
	if err != nil {
		t.Fatal(err)
	}
	lower := strings.ToLower(text)
	for _, secret := range []string{
		private.D.Text(10)[:20], private.D.Text(16)[:20], private.Primes[0].Text(10)[:20], private.Primes[1].Text(16)[:20],
		fmt.Sprintf("%x", testSecret)[:20], fmt.Sprintf("% x", testSecret)[:20], fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%d", []byte("hunter2")),
		fmt.Sprintf("%d", []byte(testSecret[:8])),
	} {
		if strings.Contains(lower, secret) {
			t.Errorf("%s holds a secret: %.2000s", what, text)
		}
	}
}

func TestSecretText(t *testing.T) {
	tests := []struct {
		value      any
		text, json string
	}{
		{newSecret(testSecret), "(secret)", `"(secret)"`},
		{newSecret(""), "(none)", `"(none)"`},
		{Secret{}, "(none)", `"(none)"`},
		{Key{ID: "7"}, `RSA key "7"`, `"RSA key \"7\""`},
		{&Key{ID: "7"}, `RSA key "7"`, `"RSA key \"7\""`},
		{(*Key)(nil), "<nil>", "null"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(test.value); got != test.text {
			t.Errorf("Sprint = %s, want %s", got, test.text)
		}
		if got, err := json.Marshal(test.value); err != nil || string(got) != test.json {
			t.Errorf("Marshal = %s, %v, want %s", got, err, test.json)
		}
	}
	if a, b := newSecret("x"), newSecret("x"); !a.Equal(b) || a.Equal(Secret{}) || !(Secret{}).Equal(newSecret("")) {
		t.Error("Equal does not compare the texts")
	}
}

// TestInterruptedWrites reads what a crash or a slip of the hand makes of good
// files: every prefix, and bytes replaced. The errors quote no secret.
func TestInterruptedWrites(t *testing.T) {
	for name, content := range map[string]string{keyFile: keyJSON("1", rsa2048), clientFile: secretClients} {
		for i := range content {
			if s, err := read(files{name: content[:i]}.directory()); s != nil || err == nil {
				t.Fatalf("%s cut at %d bytes gives %v, %v", name, i, s, err)
			} else {
				checkNoSecret(t, "the error", err.Error())
			}
		}
		for i := 0; i < len(content); i += 1 + len(content)/500 {
			for _, c := range []string{"x", `"`, "\x00", ","} {
				s, err := read(files{name: content[:i] + c + content[i+1:]}.directory())
				if (s == nil) == (err == nil) {
					t.Fatalf("%s with %q at %d gives %v, %v", name, c, i, s, err)
				}
				if err != nil {
					checkNoSecret(t, "the error", err.Error())
				}
			}
		}
	}
}
