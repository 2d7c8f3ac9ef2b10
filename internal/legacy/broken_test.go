// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	_ "embed"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

//go:embed testdata/rsa512.pem
var rsa512 string

//go:embed testdata/rsa1024.pem
var rsa1024 string

//go:embed testdata/rsa8224.pem
var rsa8224 string

//go:embed testdata/pkcs8.pem
var pkcs8 string

//go:embed testdata/encrypted.pem
var encrypted string

const (
	keyRemedy = "; put back a copy of the file, or start with a new signing key, by which nothing that was signed so far verifies: " +
		"mv /state/oidc-key.json /state/oidc-key.json.broken"
	clientRemedy = "; put back a copy of the file, or start without the clients in it: " +
		"mv /state/oidc-funnel-clients.json /state/oidc-funnel-clients.json.broken"
)

// damaged returns a PEM text whose key does not add up.
func damaged(text string) string {
	block, _ := pem.Decode([]byte(text))
	block.Bytes[len(block.Bytes)/2] ^= 1
	return string(pem.EncodeToMemory(block))
}

// brokenKeys are key files and what is wrong with them.
func brokenKeys() map[string]string {
	return map[string]string{
		"":                           "the file is empty",
		" \r\n":                      "the file is empty",
		strings.Repeat("\x00", 1700): "the file holds nothing but zero bytes, as a power failure leaves it",
		keyJSON("1", rsa2048)[:20] + "\x00\x00\x00": "line 1, column 21: a zero byte, as a power failure leaves it",
		"\xff\xfe{\x00}\x00":                        "the file is in UTF-16, want UTF-8",
		"null":                                      "line 1, column 1: the file is null, want an object",
		"{}":                                        `the file lacks "kid" or "key"`,
		`{"kid":1}`:                                 `the file lacks "kid" or "key"`,
		`{"key":"x"}`:                               `the file lacks "kid" or "key"`,
		"[]":                                        "line 1, column 1: the file is a list, want an object",
		`"x"`:                                       "line 1, column 1: the file is a string, want an object",
		"\ufeff\n 12":                               "line 2, column 2: the file is a number, want an object",
		"true":                                      "line 1, column 1: the file is true or false, want an object",

		keyJSON("1", rsa2048)[:900]:                              "line 1, column 901: the file ends in the middle of a value",
		keyJSON("1", rsa2048) + "\n" + keyJSON("1", rsa2048)[9:]: "line 2, column 1: the file goes on behind its end, as one does that was written over a longer one",

		keyJSON(`"1"`, rsa2048):                  "line 1, column 8: the id of the key is a string, want a number",
		keyJSON("null", rsa2048):                 "line 1, column 8: the id of the key is null, want a number",
		keyJSON("-1", rsa2048):                   "line 1, column 8: the id of the key is not a whole number from 0 to 18446744073709551615",
		keyJSON("1.0", rsa2048):                  "line 1, column 8: the id of the key is not a whole number from 0 to 18446744073709551615",
		keyJSON("1e3", rsa2048):                  "line 1, column 8: the id of the key is not a whole number from 0 to 18446744073709551615",
		keyJSON("18446744073709551616", rsa2048): "line 1, column 8: the id of the key is not a whole number from 0 to 18446744073709551615",
		keyJSON("01", rsa2048):                   "line 1, column 9: the file is not valid JSON from here on",
		`{"kid":1,"kid":1,"key":"x"}`:            `line 1, column 10: the member "kid" is there a second time; remove one of the two`,
		`{"kid":1,"ID":1,"key":"x"}`:             `line 1, column 10: "kid" and "ID" say the same; remove one of the two`,
		`{"kid":1,"key":"x","Key":"x"}`:          `line 1, column 20: "key" and "Key" say the same; remove one of the two`,
		`{"kid":1,"key":["x"]}`:                  "line 1, column 16: the key is a list, want a string",

		keyJSON("1", ""):                         "line 1, column 16: the key holds no complete PEM block",
		keyJSON("1", "hunter2!"):                 "line 1, column 16: the key is neither PEM nor base64url of PEM",
		inTreeKeyJSON("1", rsa2048[:500]):        "line 1, column 8: the key holds no complete PEM block",
		inTreeKeyJSON("1", rsa2048)[:600] + `"}`: `the file lacks "kid" or "key"`,
		keyJSON("1", rsa2048[:500]):              "line 1, column 16: the key holds no complete PEM block",
		keyJSON("1", rsa2048+rsa2048):            "line 1, column 16: the key goes on behind the end of its PEM block",
		keyJSON("1", pkcs8):                      `line 1, column 16: the key is PEM of the type "PRIVATE KEY", want RSA PRIVATE KEY (PKCS#1)`,
		keyJSON("1", strings.ReplaceAll(pkcs8, "PRIVATE", "RSA PRIVATE")): "line 1, column 16: the key is damaged: it is no valid RSA private key in PKCS#1 form",
		keyJSON("1", encrypted):        "line 1, column 16: the key is encrypted with a passphrase; decrypt it",
		keyJSON("1", rsa512):           "line 1, column 16: the key has 512 bits, want 2048 to 8192",
		keyJSON("1", rsa1024):          "line 1, column 16: the key has 1024 bits, want 2048 to 8192",
		keyJSON("1", rsa8224):          "line 1, column 16: the key has 8224 bits, want 2048 to 8192",
		keyJSON("1", damaged(rsa2048)): "line 1, column 16: the key is damaged: it is no valid RSA private key in PKCS#1 form",
		keyJSON("1", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: make([]byte, maxKeyDER+1)}))): "line 1, column 16: the key is too large, want at most 8192 bits",
	}
}

// brokenClients are files of clients, each with testSecret, and what is wrong
// with them.
func brokenClients() map[string]string {
	const secret = `"client_secret":"` + testSecret + `"`
	return map[string]string{
		"":                         "the file is empty",
		strings.Repeat("\x00", 64): "the file holds nothing but zero bytes, as a power failure leaves it",
		"null":                     "line 1, column 1: the file is null, want an object",
		"[]":                       "line 1, column 1: the file is a list, want an object",
		"[{" + secret + "}]":       "line 1, column 1: the file is a list, want an object",

		`{"a":{` + secret + `}}` + "\x00\x00":               "line 1, column 91: a zero byte, as a power failure leaves it",
		`{"a":{` + secret + `}}}`:                           "line 1, column 91: the file goes on behind its end, as one does that was written over a longer one",
		`{"a":{` + secret + `}}` + "\n" + testSecret:        "line 2, column 1: the file goes on behind its end, as one does that was written over a longer one",
		`{"a":{` + secret:                                   "line 1, column 89: the file ends in the middle of a value",
		`{"a":{` + secret[:40]:                              "line 1, column 47: the file ends in the middle of a value",
		`{"a":{"client_secret":` + testSecret + `}}`:        "line 1, column 25: the file is not valid JSON from here on",
		"{\r\n\"é\":{\r\n " + secret + ",\r\n}}":            "line 4, column 1: the file is not valid JSON from here on",
		`{"a":{"client_secret":"` + testSecret + "\xff\"}}": "line 1, column 88: a byte that is not UTF-8",
		`{'a':{}}`:                 "line 1, column 2: the file is not valid JSON from here on",
		strings.Repeat("[", 20000): "line 1, column 10001: the file is not valid JSON from here on",

		`{"a":{` + secret + `},"b":{},"a":{}}`:       `line 1, column 98: the member "a" is there a second time; remove one of the two`,
		`{"a":{` + secret + `,` + secret + `}}`:      `line 1, column 90: the member "client_secret" is there a second time; remove one of the two`,
		`{"a":{` + secret + `,"CLIENT_SECRET":"x"}}`: `line 1, column 90: client "a": client_secret is there a second time, in other letters; remove one of the two`,
		`{"a":{"x":[{"y":1,"y":2}]}}`:                `line 1, column 19: the member "y" is there a second time; remove one of the two`,

		`{"":{` + secret + `}}`:                            "line 1, column 2: a client has an id of 0 bytes, want 1 to 2048",
		`{"` + strings.Repeat("a", 2049) + `":{}}`:         "line 1, column 2: a client has an id of 2049 bytes, want 1 to 2048",
		`{"a":{"client_id":"b",` + secret + `}}`:           `line 1, column 2: client "a" has the client_id "b"; make both alike, or remove the client`,
		`{"a":null}`:                                       `line 1, column 6: client "a" is null, want an object`,
		`{"a":"` + testSecret + `"}`:                       `line 1, column 6: client "a" is a string, want an object`,
		`{"a":{` + secret + `,"client_id":5}}`:             `line 1, column 102: client "a": client_id is a number, want a string`,
		`{"a":{"client_secret":["` + testSecret + `"]}}`:   `line 1, column 23: client "a": client_secret is a list, want a string`,
		`{"a":{` + secret + `,"redirect_uris":"x"}}`:       `line 1, column 106: client "a": redirect_uris is a string, want a list of strings`,
		`{"a":{` + secret + `,"contacts":["x",{}]}}`:       `line 1, column 106: client "a": contacts[1] is an object, want a string`,
		`{"a":{"dynamically_registered":"yes"}}`:           `line 1, column 32: client "a": dynamically_registered is a string, want true or false`,
		`{"a":{"created_at":"yesterday"}}`:                 `line 1, column 20: client "a": created_at is a string, want a time such as 2026-01-02T15:04:05Z`,
		`{"a":{"created_at":0}}`:                           `line 1, column 20: client "a": created_at is a number, want a time such as 2026-01-02T15:04:05Z`,
		`{"` + strings.Repeat("é", 200) + `":{"name":{}}}`: `line 1, column 213: client "` + strings.Repeat("é", 100) + `"…: name is an object, want a string`,
	}
}

func TestReadBroken(t *testing.T) {
	check := func(t *testing.T, f files, want string) {
		t.Helper()
		s, err := read(f.directory())
		if s != nil || err == nil {
			t.Fatalf("read = %v, %v", s, err)
		}
		if err.Error() != want {
			t.Errorf("\n got %s\nwant %s", err, want)
		}
		checkNoSecret(t, "the error", err.Error())
	}
	for content, want := range brokenKeys() {
		check(t, files{keyFile: content}, "reading /state/oidc-key.json: "+want+keyRemedy)
	}
	for content, want := range brokenClients() {
		check(t, files{clientFile: content}, "reading /state/oidc-funnel-clients.json: "+want+clientRemedy)
		// A good key does not make a broken file better, nor do good clients a
		// broken key.
		check(t, files{clientFile: content, keyFile: keyJSON("1", rsa2048), strictFile: "{}"}, "reading /state/oidc-funnel-clients.json: "+want+clientRemedy)
	}
	check(t, files{clientFile: "{}", keyFile: "{}"}, `reading /state/oidc-key.json: the file lacks "kid" or "key"`+keyRemedy)
}

func TestKey(t *testing.T) {
	tests := []struct {
		name, file, id string
		notes          int
	}{
		{"above 2⁵³", keyJSON("18446744073709551557", rsa2048), "18446744073709551557", 0},
		{"largest", keyJSON("18446744073709551615", rsa2048), "18446744073709551615", 0},
		{"zero", keyJSON("0", rsa2048), "0", 0},
		{"2⁵³+1", keyJSON("9007199254740993", rsa2048), "9007199254740993", 0},
		{"tailscale.com/cmd/tsidp", inTreeKeyJSON("18446744073709551557", rsa2048), "18446744073709551557", 0},
		{"without a last line feed", keyJSON("1", strings.TrimSpace(rsa2048)), "1", 0},
		{"CRLF in the key", keyJSON("1", strings.ReplaceAll(rsa2048, "\n", "\r\n")), "1", 0},
		{"CRLF and a byte order mark", "\ufeff" + strings.ReplaceAll(keyJSON("1", rsa2048), ",", ",\r\n") + "\r\n", "1", 0},
		{"unknown member", strings.Replace(keyJSON("1", rsa2048), "{", `{"alg":"RS256",`, 1), "1", 1},
	}
	block, _ := pem.Decode([]byte(rsa2048))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := read(files{keyFile: test.file}.directory())
			if err != nil {
				t.Fatal(err)
			}
			if s.Key.ID != test.id {
				t.Errorf("id = %s, want %s", s.Key.ID, test.id)
			}
			if want, err := decodePrivateKey(pem.EncodeToMemory(block)); err != nil || !s.Key.Private.Equal(want) {
				t.Errorf("another key than that of the file, %v", err)
			}
			if len(s.Notes) != test.notes {
				t.Errorf("notes = %q", s.Notes)
			}
		})
	}
}

// TestCopies covers C43: a broken file with a good one beside it.
func TestCopies(t *testing.T) {
	good := keyJSON("7", rsa2048)
	tests := []struct {
		name   string
		copies map[string]*fstest.MapFile // of oidc-key.json, by their suffixes
		want   string
	}{
		{"none", nil, strings.TrimPrefix(keyRemedy, "; ")},
		{"temporary file", map[string]*fstest.MapFile{".tmp": {Data: []byte(good)}},
			"/state/oidc-key.json.tmp is complete and holds key 7, restore it with: mv /state/oidc-key.json /state/oidc-key.json.broken && " +
				"cp -p /state/oidc-key.json.tmp /state/oidc-key.json"},
		{"the newest that parses", map[string]*fstest.MapFile{
			".bak-0.0.1": {Data: []byte(keyJSON("1", rsa2048)), ModTime: time.Unix(100, 0)},
			"~":          {Data: []byte(keyJSON("2", rsa2048)), ModTime: time.Unix(300, 0)},
			".bak":       {Data: []byte(keyJSON("3", rsa2048)), ModTime: time.Unix(200, 0)},
			".tmp":       {Data: []byte(good[:100]), ModTime: time.Unix(400, 0)},
			".old":       {Mode: fs.ModeDir, ModTime: time.Unix(500, 0)},
			".gone":      {Data: []byte("nowhere"), Mode: fs.ModeSymlink},
		}, "/state/oidc-key.json~ is complete and holds key 2, restore it with: mv /state/oidc-key.json /state/oidc-key.json.broken && " +
			"cp -p '/state/oidc-key.json~' /state/oidc-key.json"},
		{"nothing is overwritten", map[string]*fstest.MapFile{".broken": {}, ".broken-2": {}, ".bak": {Data: []byte(good)}},
			"/state/oidc-key.json.bak is complete and holds key 7, restore it with: mv /state/oidc-key.json /state/oidc-key.json.broken-3 && " +
				"cp -p /state/oidc-key.json.bak /state/oidc-key.json"},
		{"no copy of another file", map[string]*fstest.MapFile{"2": {Data: []byte(good)}, "/../x.tmp": {}}, strings.TrimPrefix(keyRemedy, "; ")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := fstest.MapFS{keyFile: {}}
			for suffix, file := range test.copies {
				m[keyFile+suffix] = file
			}
			_, err := read(directory{files: m, path: "/state"})
			want := "reading /state/oidc-key.json: the file is empty; " + test.want
			if err == nil || err.Error() != want {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		})
	}
	f := files{clientFile: "{", clientFile + ".tmp": `{"a":{}}`}.directory()
	f.path = "/it's here"
	_, err := read(f)
	want := `reading /it's here/oidc-funnel-clients.json: line 1, column 2: the file ends in the middle of a value; ` +
		`/it's here/oidc-funnel-clients.json.tmp is complete and holds 1 client, restore it with: ` +
		`mv '/it'\''s here/oidc-funnel-clients.json' '/it'\''s here/oidc-funnel-clients.json.broken' && ` +
		`cp -p '/it'\''s here/oidc-funnel-clients.json.tmp' '/it'\''s here/oidc-funnel-clients.json'`
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

func TestTooLarge(t *testing.T) {
	const text = "reading /state/%s: it is larger than %d MiB, which no state file is; put back a copy of it, or move it away"
	for name, limit := range map[string]int{keyFile: 1, clientFile: 16, strictFile: 16} {
		d := files{name: "{}" + strings.Repeat(" ", limit<<20-1)}.directory()
		_, err := read(d)
		if want := fmt.Sprintf(text, name, limit); err == nil || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
		if data, err := d.load(name, int64(limit<<20+1)); err != nil || len(data) != limit<<20+1 {
			t.Errorf("%s of the largest size: %d bytes, %v", name, len(data), err)
		}
	}
}

// TestUnreadable covers what is no file, or must not be read.
func TestUnreadable(t *testing.T) {
	for _, name := range []string{keyFile, clientFile, strictFile} {
		tests := []struct {
			name  string
			files fs.FS
			want  string
		}{
			{"directory", fstest.MapFS{name: {Mode: fs.ModeDir}}, "it is a directory; move it away and put the file in its place"},
			{"directory with files", fstest.MapFS{name + "/x": {}}, "it is a directory; move it away and put the file in its place"},
			{"pipe", fstest.MapFS{name: {Mode: fs.ModeNamedPipe}}, "it is not a regular file; move it away and put the file in its place"},
			{"link into nothing", fstest.MapFS{name: {Mode: fs.ModeSymlink, Data: []byte("mnt/a b")}},
				"it is a symbolic link to 'mnt/a b', which does not exist; mount or create what it points to, or remove the link"},
			{"not permitted", failing{fstest.MapFS{name: {}}, name, fs.ErrPermission},
				fmt.Sprintf("user id %d may not read it: permission denied; make the file, and the directories above it, readable for that user: chown %[1]d /state/%s",
					os.Geteuid(), name)},
			{"input/output error while reading", failing{fstest.MapFS{name: {}}, name, nil}, "input/output error"},
			{"input/output error", failing{fstest.MapFS{name: {}}, name, errors.New("input/output error")}, "open " + name + ": input/output error"},
		}
		for _, test := range tests {
			t.Run(name+" "+test.name, func(t *testing.T) {
				s, err := read(directory{files: test.files, path: "/state"})
				want := fmt.Sprintf("reading /state/%s: %s", name, test.want)
				if s != nil || err == nil || err.Error() != want {
					t.Errorf("read = %v\n got %v\nwant %s", s, err, want)
				}
				if errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%v says that there is no state", err)
				}
				if denied := test.name == "not permitted"; errors.Is(err, fs.ErrPermission) != denied {
					t.Errorf("%v is fs.ErrPermission: %v", err, !denied)
				}
			})
		}
	}
}

// A failing file system does not open one file, or, without an error, opens it
// and cannot read it.
type failing struct {
	fstest.MapFS
	name string
	err  error
}

func (f failing) Open(name string) (fs.File, error) {
	file, err := f.MapFS.Open(name)
	switch {
	case err != nil || name != f.name:
		return file, err
	case f.err == nil:
		return failingFile{file}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: f.err}
}

type failingFile struct{ fs.File }

func (failingFile) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func checkNoSecret(t *testing.T, what, text string) {
	t.Helper()
	block, _ := pem.Decode([]byte(rsa2048))
	der := block.Bytes
	for _, secret := range []string{
		testSecret[:8], "hunter2",
		base64.StdEncoding.EncodeToString(der[300:330]), base64.StdEncoding.EncodeToString(der[900:930]),
		strings.Split(rsa2048, "\n")[5], strings.Split(rsa2048, "\n")[20],
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds a secret: %s", what, text)
		}
	}
}
