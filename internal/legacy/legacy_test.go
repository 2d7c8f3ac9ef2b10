// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	goparser "go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

//go:embed testdata/rsa2048.pem
var rsa2048 string

// testSecret is as long as those that earlier versions made.
const testSecret = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4"

// files is a directory by the names and contents of its files.
type files map[string]string

func (f files) directory() directory {
	m := make(fstest.MapFS)
	for name, content := range f {
		m[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o600}
	}
	return directory{files: m, path: "/state"}
}

// keyJSON is a key file as the standalone program writes it.
func keyJSON(kid, pem string) string {
	text, err := json.Marshal(pem)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"kid":%s,"key":%s}`, kid, text)
}

// inTreeKeyJSON is one as tailscale.com/cmd/tsidp writes it.
func inTreeKeyJSON(id, pem string) string {
	return fmt.Sprintf(`{"Key":%q,"ID":%s}`, base64.URLEncoding.EncodeToString([]byte(pem)), id)
}

// imported fills in what every imported client has unless the test says
// otherwise.
func imported(c Client) Client {
	if c.Secret.IsZero() {
		c.Secret = newSecret(testSecret)
	}
	if c.TokenEndpointAuthMethod == "" {
		c.TokenEndpointAuthMethod = "client_secret_basic"
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{"authorization_code", "refresh_token"}
	}
	if c.ApplicationType == "" {
		c.ApplicationType = "web"
	}
	c.ResponseTypes = []string{"code"}
	return c
}

func TestReadClients(t *testing.T) {
	const secret = `"client_secret":"` + testSecret + `"`
	tests := []struct {
		name string
		file string
		want []Client
	}{
		{"empty set", `{}`, nil},
		{"made in the pages", `{"c0ffee":{"client_id":"c0ffee",` + secret + `,"client_name":"Grafana",
			"redirect_uris":["https://grafana.example/login/generic_oauth"],"created_at":"0001-01-01T00:00:00Z",
			"redirect_uri":"https://grafana.example/login/generic_oauth"}}`,
			[]Client{imported(Client{ID: "c0ffee", Name: "Grafana",
				RedirectURIs: []string{"https://grafana.example/login/generic_oauth"}})}},
		{"registered itself", `{"d0d0":{"client_id":"d0d0",` + secret + `,"client_name":"MCP Inspector",
			"redirect_uris":["http://localhost:6274/oauth/callback","http://localhost:6274/oauth/callback/debug"],
			"token_endpoint_auth_method":"client_secret_post","grant_types":["authorization_code","refresh_token"],
			"response_types":["code"],"scope":"openid profile","client_uri":"https://github.com/modelcontextprotocol/inspector",
			"logo_uri":"https://example.com/logo.png","contacts":["ops@example.com"],"application_type":"native",
			"dynamically_registered":true,"created_at":"2026-03-04T05:06:07.123456789+02:00","redirect_uri":"http://localhost:6274/oauth/callback"}}`,
			[]Client{imported(Client{ID: "d0d0", Name: "MCP Inspector",
				RedirectURIs:            []string{"http://localhost:6274/oauth/callback", "http://localhost:6274/oauth/callback/debug"},
				TokenEndpointAuthMethod: "client_secret_post", Scope: "openid profile",
				ClientURI: "https://github.com/modelcontextprotocol/inspector", LogoURI: "https://example.com/logo.png",
				Contacts: []string{"ops@example.com"}, ApplicationType: "native", DynamicallyRegistered: true,
				CreatedAt: time.Date(2026, 3, 4, 3, 6, 7, 123456789, time.UTC)})}},
		{"tailscale.com/cmd/tsidp", `{"c0ffee":{"client_id":"c0ffee",` + secret + `,"name":"Proxmox","redirect_uri":"https://pve.example:8006"}}`,
			[]Client{imported(Client{ID: "c0ffee", Name: "Proxmox", RedirectURIs: []string{"https://pve.example:8006"}})}},
		{"client_name wins over name", `{"a":{"client_id":"a",` + secret + `,"name":"Old","client_name":"New","redirect_uris":["https://a.example/"]}}`,
			[]Client{imported(Client{ID: "a", Name: "New", RedirectURIs: []string{"https://a.example/"}})}},
		{"redirect_uris null", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":null,"redirect_uri":"https://a.example/"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},
		{"redirect_uris of one empty text", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":[""],"redirect_uri":"https://a.example/"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},
		{"redirect_uri out of date", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://new.example/"],"redirect_uri":"https://old.example/"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://new.example/"}})}},
		{"redirect_uris with duplicates and null", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/",null,"https://b.example/","https://a.example/"]}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/", "https://b.example/"}})}},
		{"no redirect URI", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":[],"redirect_uri":""}}`,
			[]Client{imported(Client{ID: "a", Notes: []string{"It has no redirect URI, without which it could not log anybody in; add one."}})}},
		{"nothing", `{"a":{}}`, []Client{{ID: "a", TokenEndpointAuthMethod: "client_secret_basic", GrantTypes: []string{"authorization_code", "refresh_token"},
			ResponseTypes: []string{"code"}, ApplicationType: "web", Notes: []string{
				"It has no secret, without which it could not log anybody in; make one for it.",
				"It has no redirect URI, without which it could not log anybody in; add one."}}}},
		{"all null", `{"a":{"client_id":null,` + secret + `,"client_name":null,"name":null,"redirect_uris":["https://a.example/"],"redirect_uri":null,
			"token_endpoint_auth_method":null,"grant_types":null,"response_types":null,"scope":null,"client_uri":null,"logo_uri":null,"contacts":null,
			"application_type":null,"dynamically_registered":null,"created_at":null}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},
		{"short secret", `{"a":{"client_id":"a","client_secret":"hunter2","redirect_uris":["https://a.example/"]}}`,
			[]Client{imported(Client{ID: "a", Secret: newSecret("hunter2"), RedirectURIs: []string{"https://a.example/"},
				Notes: []string{"Its secret has fewer than 32 characters and stays valid; make a new one."}})}},
		{"escapes in a secret", `{"a":{"client_id":"a","client_secret":"\u0026\u003c\"\\ and thirty-two characters or more","redirect_uris":["https://a.example/?a=b\u0026c=d"]}}`,
			[]Client{imported(Client{ID: "a", Secret: newSecret(`&<"\ and thirty-two characters or more`), RedirectURIs: []string{"https://a.example/?a=b&c=d"}})}},
		{"order, and letter case of ids", `{"b":{"client_id":"b",` + secret + `,"redirect_uris":["https://b.example/"]},
			"C0FFEE":{"client_id":"C0FFEE",` + secret + `,"redirect_uris":["https://c.example/"]},
			"c0ffee":{"client_id":"c0ffee",` + secret + `,"redirect_uris":["https://d.example/"]}}`,
			[]Client{
				imported(Client{ID: "C0FFEE", RedirectURIs: []string{"https://c.example/"}}),
				imported(Client{ID: "b", RedirectURIs: []string{"https://b.example/"}}),
				imported(Client{ID: "c0ffee", RedirectURIs: []string{"https://d.example/"}}),
			}},
		{"byte order mark, CRLF, blanks", "\ufeff{\r\n\t\"a\": {\r\n\t\t\"client_id\": \"a\",\r\n\t\t" + secret + ",\r\n\t\t\"redirect_uris\": [\r\n\t\t\t\"https://a.example/\"\r\n\t\t]\r\n\t}\r\n}\r\n\r\n",
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},
		{"unknown members", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"note":{"x":[1,{}]},"id":7}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"},
				Notes: []string{`It has unknown members, which are not imported: "note", "id".`}})}},
		{"many unknown members", `{"a":{` + secret + `,"redirect_uris":["https://a.example/"],"1":1,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8,"9":9,"10":10,"11":11,"12":12}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"},
				Notes: []string{`It has unknown members, which are not imported: "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", and 2 more.`}})}},
		{"letter case of members", `{"a":{"Client_ID":"a","CLIENT_SECRET":"` + testSecret + `","Redirect_URIs":["https://a.example/"]}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},

		{"http to a host, by an administrator", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["http://nas.example/cb"]}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"http://nas.example/cb"},
				Notes: []string{`The redirect URI "http://nas.example/cb" sends authorization codes in clear text; use https where the application can.`}})}},
		{"http to a host, by itself", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["http://nas.example/cb"],"dynamically_registered":true}}`,
			[]Client{imported(Client{ID: "a", DynamicallyRegistered: true,
				RedirectURIs: []string{"http://nas.example/cb"}, LegacyRedirectURIs: []string{"http://nas.example/cb"},
				Notes: []string{`The redirect URI "http://nas.example/cb" stays valid for this client, but not for new ones: the redirect URI uses http to a host ` +
					`that is not 127.0.0.1, [::1] or localhost: use https, or let an administrator register the application.`}})}},
		{"refused today", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://u@a.example/","myapp:/cb"]}}`,
			[]Client{imported(Client{ID: "a",
				RedirectURIs: []string{"https://u@a.example/", "myapp:/cb"}, LegacyRedirectURIs: []string{"https://u@a.example/"},
				Notes: []string{`The redirect URI "https://u@a.example/" stays valid for this client, but not for new ones: the redirect URI has a user name in ` +
					`front of the host: remove everything between "//" and "@".`}})}},
		{"fragment", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://nas.example:5001/#/signin","https://nas.example/"]}}`,
			[]Client{imported(Client{ID: "a", IgnoreFragment: true,
				RedirectURIs:       []string{"https://nas.example:5001/#/signin", "https://nas.example/"},
				LegacyRedirectURIs: []string{"https://nas.example:5001/#/signin"},
				Notes:              []string{`The redirect URI "https://nas.example:5001/#/signin" has a fragment, so ignore_fragment is set: what follows a # is not compared, and not sent.`}})}},
		{"fragment and refused today", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https:#x"]}}`,
			[]Client{imported(Client{ID: "a", IgnoreFragment: true, RedirectURIs: []string{"https:#x"}, LegacyRedirectURIs: []string{"https:#x"},
				Notes: []string{
					`The redirect URI "https:#x" has a fragment, so ignore_fragment is set: what follows a # is not compared, and not sent.`,
					`The redirect URI "https:#x" stays valid for this client, but not for new ones: the redirect URI names no host: write it as https://host/path.`}})}},
		{"one dangerous scheme", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["javascript:alert(1)","https://a.example/"]}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"},
				Notes: []string{`The redirect URI "javascript:alert(1)" is left out: the redirect URI uses the scheme "javascript", to which no code may be sent: use https.`}})}},
		{"dangerous schemes only", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["DATA:text/html,x","file:///etc/passwd","vbscript:x"]}}`,
			[]Client{imported(Client{ID: "a", Disabled: true, Notes: []string{
				`The redirect URI "DATA:text/html,x" is left out: the redirect URI uses the scheme "data", to which no code may be sent: use https.`,
				`The redirect URI "file:///etc/passwd" is left out: the redirect URI uses the scheme "file", to which no code may be sent: use https.`,
				`The redirect URI "vbscript:x" is left out: the redirect URI uses the scheme "vbscript", to which no code may be sent: use https.`,
				`It is disabled: no redirect URI is left.`}})}},
		{"no URI at all", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["/cb\n"]}}`,
			[]Client{imported(Client{ID: "a", Disabled: true, Notes: []string{
				`The redirect URI "/cb\n" is left out: the redirect URI contains a control character such as a line break or a tab: remove it.`,
				`It is disabled: no redirect URI is left.`}})}},

		{"authentication none", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"},
				Notes: []string{`It registered the authentication method "none", but had to send its secret all the same, and still has to.`}})}},
		{"grant types", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"grant_types":["implicit","urn:ietf:params:oauth:grant-type:token-exchange","client_credentials","authorization_code"]}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"},
				GrantTypes: []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"},
				Notes:      []string{`It registered grant types that it could not use, which are not imported: "implicit", "client_credentials".`}})}},
		{"authorization_code only", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"grant_types":["authorization_code"],"response_types":["token"]}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},
		{"texts that corrupt a page", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"client_name":"Gra\u202efana\u0007","scope":"openid \"","client_uri":"javascript:alert(1)",
			"logo_uri":"https://a.example/\n","contacts":["ok@example.com","\u0000","","ok@example.com"],"application_type":"tv"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}, Name: "Grafana", Contacts: []string{"ok@example.com"}, Notes: []string{
				"Its name is imported without what cannot be shown, and up to 2048 bytes.",
				"Its client_uri is not imported: it is not an http or https URL.",
				"Its logo_uri is not imported: it is not an http or https URL.",
				"Its scope is not imported: scope contains a character that no scope has.",
				"1 of its contacts are not imported: they cannot be shown, or are too many."}})}},
		{"long name", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"client_name":"x` + strings.Repeat("é", 2048) + `"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}, Name: "x" + strings.Repeat("é", 1023),
				Notes: []string{"Its name is imported without what cannot be shown, and up to 2048 bytes."}})}},
		{"time before tsidp", `{"a":{"client_id":"a",` + secret + `,"redirect_uris":["https://a.example/"],"created_at":"0000-01-01T00:00:00+23:59"}}`,
			[]Client{imported(Client{ID: "a", RedirectURIs: []string{"https://a.example/"}})}},

		{"ids made by hand", `{"http-proxy":{"client_id":"http-proxy",` + secret + `,"redirect_uris":["https://a.example/"]},"my app/é":{` + secret + `,"redirect_uris":["https://a.example/"]}}`,
			[]Client{imported(Client{ID: "http-proxy", RedirectURIs: []string{"https://a.example/"}}),
				imported(Client{ID: "my app/é", RedirectURIs: []string{"https://a.example/"}})}},
		{"ids that mean something else", `{"Userid:5":{` + secret + `,"redirect_uris":["https://a.example/"]},"https://a.example/client.json":{` + secret + `,"redirect_uris":["https://a.example/"]},"..":{` + secret + `,"redirect_uris":["https://a.example/"]}}`,
			[]Client{imported(Client{ID: "..", RedirectURIs: []string{"https://a.example/"}, Disabled: true,
				Notes: []string{"It is disabled: its id cannot be shown or be part of a URL; make a new client for the application."}}),
				imported(Client{ID: "Userid:5", RedirectURIs: []string{"https://a.example/"}, Disabled: true,
					Notes: []string{"It is disabled: its id begins with userid:, which means something else; make a new client for the application."}}),
				imported(Client{ID: "https://a.example/client.json", RedirectURIs: []string{"https://a.example/"}, Disabled: true,
					Notes: []string{"It is disabled: its id begins with https://, which means something else; make a new client for the application."}})}},
		{"id with control characters", `{"a\u001b[31m":{` + secret + `,"redirect_uris":["https://a.example/"]}}`,
			[]Client{imported(Client{ID: "a\x1b[31m", RedirectURIs: []string{"https://a.example/"}, Disabled: true,
				Notes: []string{"It is disabled: its id cannot be shown or be part of a URL; make a new client for the application."}})}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{clientFile, strictFile} {
				got, err := read(files{name: test.file}.directory())
				if err != nil {
					t.Fatal(err)
				}
				want := &State{Clients: test.want, Files: []string{"/state/" + name}}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestReadFiles(t *testing.T) {
	const (
		funnel = `{"funnel":{"redirect_uris":["https://a.example/"]}}`
		strict = `{"strict":{"redirect_uris":["https://a.example/"]}}`
	)
	deprecated := "/state/deprecated-oidc-funnel-clients.json is not imported: it was put aside when tailscale.com/cmd/tsidp began to use oauth-clients.json."
	tests := []struct {
		name      string
		files     files
		wantIDs   []string
		wantFiles []string
		wantNotes []string
	}{
		{"none", files{"tailscaled.state": "{}", "tsidp.db": "x"}, nil, nil, nil},
		{"key only", files{keyFile: keyJSON("1", rsa2048)}, nil, []string{"/state/oidc-key.json"}, nil},
		{"clients only", files{clientFile: funnel}, []string{"funnel"}, []string{"/state/oidc-funnel-clients.json"}, nil},
		{"all three", files{keyFile: keyJSON("1", rsa2048), clientFile: funnel, strictFile: strict}, []string{"funnel"},
			[]string{"/state/oidc-key.json", "/state/oidc-funnel-clients.json"},
			[]string{"/state/oauth-clients.json is not imported, since /state/oidc-funnel-clients.json is what tsidp has used. If the last program on this directory " +
				"was tailscale.com/cmd/tsidp with -allow-insecure-registration=false, it is the other way round: move oidc-funnel-clients.json away."}},
		{"the one not read is broken", files{clientFile: `{}`, strictFile: "\x00"}, nil, []string{"/state/oidc-funnel-clients.json"},
			[]string{"/state/oauth-clients.json is not imported, since /state/oidc-funnel-clients.json is what tsidp has used. If the last program on this directory " +
				"was tailscale.com/cmd/tsidp with -allow-insecure-registration=false, it is the other way round: move oidc-funnel-clients.json away."}},
		{"strict and deprecated", files{strictFile: strict, deprecatedFile: funnel}, []string{"strict"}, []string{"/state/oauth-clients.json"}, []string{deprecated}},
		{"deprecated only", files{deprecatedFile: funnel}, nil, nil, []string{deprecated}},
		{"copies only", files{keyFile + ".bak": keyJSON("1", rsa2048), clientFile + ".tmp": funnel}, nil, nil, nil},
		{"good files with bad copies", files{clientFile: funnel, clientFile + ".tmp": "{", clientFile + ".bak": ""}, []string{"funnel"},
			[]string{"/state/oidc-funnel-clients.json"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := read(test.files.directory())
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, c := range s.Clients {
				ids = append(ids, c.ID)
			}
			if diff := cmp.Diff(test.wantIDs, ids); diff != "" {
				t.Errorf("clients (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantFiles, s.Files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantNotes, s.Notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadDisk reads real files, through links, and finds them untouched.
func TestReadDisk(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "state")
	elsewhere := filepath.Join(base, "elsewhere.json")
	for _, err := range []error{
		os.Mkdir(dir, 0o500),
		os.WriteFile(elsewhere, []byte(keyJSON("18446744073709551557", rsa2048)), 0o400),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s, err := Read(dir); err != nil || s.Key != nil || s.Clients != nil || s.Files != nil || s.Notes != nil {
		t.Fatalf("Read of an empty directory = %+v, %v", s, err)
	}
	for _, err := range []error{
		os.Chmod(dir, 0o700),
		os.Symlink("../elsewhere.json", filepath.Join(dir, keyFile)),
		os.WriteFile(filepath.Join(dir, clientFile), []byte(`{"a":{"client_id":"a","redirect_uris":["https://a.example/"]}}`), 0o400),
		os.WriteFile(filepath.Join(dir, strictFile), []byte(`{`), 0o400),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, base)
	s, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Key.ID != "18446744073709551557" || len(s.Clients) != 1 {
		t.Errorf("Read = %v, %d clients", s.Key, len(s.Clients))
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, keyFile), filepath.Join(dir, clientFile)}, s.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, snapshot(t, base)); diff != "" {
		t.Errorf("Read changed the directory (-before +after):\n%s", diff)
	}

	if err := os.Remove(elsewhere); err != nil {
		t.Fatal(err)
	}
	_, err = Read(dir)
	want := "reading " + filepath.Join(dir, keyFile) + ": it is a symbolic link to ../elsewhere.json, which does not exist; mount or create what it points to, or remove the link"
	if err == nil || err.Error() != want || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read with a link into nothing:\n got %v\nwant %s", err, want)
	}
	if _, err := Read(filepath.Join(base, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of a missing directory: %v", err)
	}
	if _, err := Read(filepath.Join(dir, clientFile)); err == nil || !strings.HasSuffix(err.Error(), "is not a directory") {
		t.Errorf("Read of a file: %v", err)
	}
}

// snapshot describes every file below dir, with its mode, time and content.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %v %v", path, info.Mode(), info.Mode().IsRegular())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %v %q", info.ModTime(), data)
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestImports holds that the package only parses and judges.
func TestImports(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := goparser.ParseFile(token.NewFileSet(), name, nil, goparser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range source.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if strings.Contains(path, ".") && path != "github.com/tailscale/tsidp/internal/oauth" {
				t.Errorf("%s imports %s: the importer knows the provider and the store, this package knows neither", name, path)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	s, err := read(files{
		keyFile:    keyJSON("18446744073709551557", rsa2048),
		strictFile: `{}`,
		clientFile: `{
			"d0d0":{"client_id":"d0d0","client_secret":"` + testSecret + `","client_name":"Ev\u001b[2Jil\u202e","redirect_uris":["http://localhost:1/cb","http://nas.example/cb"],"dynamically_registered":true},
			"a b\u001b":{"client_secret":"hunter2","redirect_uris":["javascript:\u001b[2J"]},
			"c0ffee":{"client_id":"c0ffee","client_secret":"` + testSecret + `","client_name":"Grafana of the whole company, which has a long name","redirect_uris":["https://grafana.example/login"]},
			"e":{}}`,
	}.directory())
	if err != nil {
		t.Fatal(err)
	}
	const want = `Read /state/oidc-key.json
Read /state/oidc-funnel-clients.json

Signing key: 18446744073709551557, RSA with 2048 bits
Clients: 4

ID         NAME                                       MADE BY        SECRET  STATE     REDIRECT URIS
"a b\x1b"  -                                          administrator  yes     disabled  -
c0ffee     Grafana of the whole company, which has …  administrator  yes     enabled   https://grafana.example/login
d0d0       Ev[2Jil                                    itself         yes     enabled   http://localhost:1/cb
                                                                                       http://nas.example/cb (legacy)
e          -                                          administrator  none    enabled   -

Files:
- /state/oauth-clients.json is not imported, since /state/oidc-funnel-clients.json is what tsidp has used. If the last program on this directory was tailscale.com/cmd/tsidp with -allow-insecure-registration=false, it is the other way round: move oidc-funnel-clients.json away.

Client "a b\x1b":
- It is disabled: its id cannot be shown or be part of a URL; make a new client for the application.
- Its secret has fewer than 32 characters and stays valid; make a new one.
- The redirect URI "javascript:\x1b[2J" is left out: the redirect URI contains a control character such as a line break or a tab: remove it.
- It is disabled: no redirect URI is left.

Client d0d0:
- The redirect URI "http://nas.example/cb" stays valid for this client, but not for new ones: the redirect URI uses http to a host that is not 127.0.0.1, [::1] or localhost: use https, or let an administrator register the application.
- Its name is imported without what cannot be shown, and up to 2048 bytes.

Client e:
- It has no secret, without which it could not log anybody in; make one for it.
- It has no redirect URI, without which it could not log anybody in; add one.
`
	checkSummary(t, s, want)
	checkSummary(t, new(State), "There is nothing to import.\n")
	checkSummary(t, &State{Files: []string{"/state/oauth-clients.json"}}, "Read /state/oauth-clients.json\n\nSigning key: none\nClients: 0\n")
	checkSummary(t, &State{Notes: []string{"A note."}}, "There is nothing to import.\n\nFiles:\n- A note.\n")
	if err := s.Summary(brokenWriter{}); err != errBroken {
		t.Errorf("Summary to a broken writer: %v", err)
	}
}

func checkSummary(t *testing.T, s *State, want string) {
	t.Helper()
	var b bytes.Buffer
	if err := s.Summary(&b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

var errBroken = errors.New("broken pipe")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
