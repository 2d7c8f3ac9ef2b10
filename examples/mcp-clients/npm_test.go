// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package clients

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/tailscale/tsidp/examples/internal/world"
)

// npmDirectory is where the npm clients and a Node.js that is new enough are.
func npmDirectory(t *testing.T) string {
	dir := os.Getenv("TSIDP_NPM_CLIENTS")
	if dir == "" {
		t.Skip("there are no npm clients: scripts/mcp-clients installs them and runs this test")
	}
	return dir
}

// npmCommand is a program of Node.js with a home of its own.
func npmCommand(t *testing.T, home string, args ...string) *exec.Cmd {
	dir := npmDirectory(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "node_modules", "node", "bin", "node"), args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "MCP_REMOTE_CONFIG_DIR="+home, "MCP_INSPECTOR_SECRET_STORE=file", "DISPLAY=", "NO_COLOR=1")
	return cmd
}

// An opener is the person in front of a terminal: who sees a link opens it,
// and says yes to a question.
type opener struct {
	s        *stage
	keyboard io.Writer // nil for a program that asks nothing

	mu       sync.Mutex
	seen     bytes.Buffer
	answered bool
	done     map[string]bool
	wg       sync.WaitGroup
}

// link is an authorization request in the output of a program, up to what
// ends it: a blank or a control character.
var link = regexp.MustCompile(`https?://[^\x00-\x20"'\x7f]*response_type=code[^\x00-\x20"'\x7f]*[\x00-\x20"'\x7f]`)

func (o *opener) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen.Write(p)
	for _, match := range link.FindAllString(o.seen.String(), -1) {
		address := match[:len(match)-1]
		if o.done[address] {
			continue
		}
		if o.done == nil {
			o.done = map[string]bool{}
		}
		o.done[address] = true
		o.wg.Go(func() {
			if err := o.s.browser.Follow(o.s.t.Context(), address); err != nil && o.s.t.Context().Err() == nil {
				o.s.t.Errorf("opening the link: %v", err)
			}
		})
	}
	if o.keyboard != nil && !o.answered && strings.Contains(o.seen.String(), "[y/N]") {
		o.answered = true
		if _, err := io.WriteString(o.keyboard, "y\r"); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (o *opener) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen.String()
}

// opened is how many links there were.
func (o *opener) opened() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.done)
}

// registrations are the three ways for a public client to be known.
var registrations = []struct {
	name     string
	consents int
	client   func(s *stage) (id, document string)
}{
	{"pre-registered client", 0, func(s *stage) (string, string) { return s.preregistered("none").ID, "" }},
	{"client metadata document", 2, func(s *stage) (string, string) { return s.documentID(), s.documentID() }},
	{"dynamic registration", 2, func(*stage) (string, string) { return "", "" }},
}

// TestTypeScriptSDK is both generations of the official SDK.
func TestTypeScriptSDK(t *testing.T) {
	npmDirectory(t)
	for _, pkg := range []string{"@modelcontextprotocol/sdk", "@modelcontextprotocol/client"} {
		for _, tt := range registrations {
			t.Run(pkg+"/"+tt.name, func(t *testing.T) {
				s := newStage(t)
				id, document := tt.client(s)
				options := map[string]any{"scope": "openid " + writeScope}
				switch {
				case document != "":
					options["document"] = document
				case id != "":
					options["client"] = map[string]string{"client_id": id}
				}
				s.runSDK(pkg, options)
				s.server.wantCaller(id, writeScope)
				if n := s.browser.Consents(); n != tt.consents {
					t.Errorf("%d consents, want %d", n, tt.consents)
				}
			})
		}
	}
}

// TestTypeScriptSDKMachine is its clients without a person.
func TestTypeScriptSDKMachine(t *testing.T) {
	npmDirectory(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public := map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:])}
	for _, pkg := range []string{"@modelcontextprotocol/sdk", "@modelcontextprotocol/client"} {
		for machine, metadata := range map[string]map[string]any{
			"secret": {},
			"key":    {"token_endpoint_auth_method": "private_key_jwt", "jwks": map[string]any{"keys": []any{public}}},
		} {
			t.Run(pkg+"/"+machine, func(t *testing.T) {
				s := newStage(t)
				metadata["client_name"], metadata["grant_types"] = "nightly report", []string{"client_credentials"}
				c := world.Register(t, s.issuer, metadata)
				s.runSDK(pkg, map[string]any{
					// The first generation does not step up.
					"scope": writeScope, "machine": machine, "client": map[string]string{"client_id": c.ID, "client_secret": c.Secret},
					"key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
				})
				if got := s.server.last; got == nil || got.Subject != c.ID || got.ClientID != c.ID {
					t.Errorf("the call is by %+v", got)
				}
			})
		}
	}
}

// runSDK runs testdata/sdk.mjs.
func (s *stage) runSDK(pkg string, options map[string]any) {
	s.t.Helper()
	options["server"], options["issuer"] = s.server.url, s.issuer
	arg, err := json.Marshal(options)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := npmCommand(s.t, s.t.TempDir(), filepath.Join("testdata", "sdk.mjs"), pkg, string(arg))
	answers, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	o := &opener{s: s}
	cmd.Stdout = io.MultiWriter(o, &expirer{s: s, answers: answers})
	cmd.Stderr = o
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%v\n%s", err, o)
	}
	o.wg.Wait()
	if strings.Count(o.String(), "whoami: you are ") != 2 || strings.Count(o.String(), "write: you are ") != 1 {
		s.t.Errorf("output:\n%s", o)
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if len(s.server.refused) != 1 {
		s.t.Error("no token has ended")
	}
}

// An expirer ends the token when the script says so.
type expirer struct {
	s       *stage
	answers io.Writer
	seen    bytes.Buffer
	done    bool
}

func (e *expirer) Write(p []byte) (int, error) {
	e.seen.Write(p)
	if !e.done && strings.Contains(e.seen.String(), "EXPIRE\n") {
		e.done = true
		e.s.server.expire()
		if _, err := io.WriteString(e.answers, "done\n"); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestInspector is the command line of the MCP Inspector. It wants a terminal.
func TestInspector(t *testing.T) {
	dir := npmDirectory(t)
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("there is no program script, which plays the terminal")
	}
	for _, tt := range registrations {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			id, document := tt.client(s)
			home := t.TempDir()
			run := func(tool string) *opener {
				t.Helper()
				args := []string{filepath.Join(dir, "node_modules", "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js"),
					"--cli", s.server.url, "--callback-url", "http://" + strings.Replace(world.FreeAddress(t), "localhost", "127.0.0.1", 1) + "/oauth/callback",
					"--method", "tools/call", "--tool-name", tool}
				switch {
				case document != "":
					args = append(args, "--client-metadata-url", document)
				case id != "":
					args = append(args, "--client-id", id)
				}
				node := npmCommand(t, home, args...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, "script", "-qec", "exec '"+strings.Join(node.Args, "' '")+"'", "/dev/null")
				cmd.Env = node.Env
				keyboard, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				o := &opener{s: s, keyboard: keyboard}
				cmd.Stdout, cmd.Stderr = o, o
				if err := cmd.Run(); err != nil {
					t.Fatalf("%s: %v\n%s", tool, err, o)
				}
				o.wg.Wait()
				if !strings.Contains(o.String(), "you are "+alice) {
					t.Fatalf("%s:\n%s", tool, o)
				}
				return o
			}
			if o := run("whoami"); o.opened() != 1 {
				t.Errorf("%d logins, want 1", o.opened())
			}
			s.server.wantCaller(id)
			s.server.expire()
			if o := run("whoami"); o.opened() != 0 {
				t.Errorf("%d logins after the token has ended, want 0", o.opened())
			}
			if id == "" {
				// Without options for OAuth it knows one way to meet a challenge,
				// which is to refresh, and gives up.
				return
			}
			run("write")
			s.server.wantCaller(id, writeScope)
			if n := s.browser.Consents(); n != tt.consents {
				t.Errorf("%d consents, want %d", n, tt.consents)
			}
		})
	}
}

// TestMCPRemote is the proxy between clients that know standard input and
// output only, and servers like ours.
func TestMCPRemote(t *testing.T) {
	dir := npmDirectory(t)
	for _, tt := range registrations {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			id, document := tt.client(s)
			_, port, _ := strings.Cut(world.FreeAddress(t), ":")
			args := []string{filepath.Join(dir, "node_modules", "mcp-remote", "dist", "proxy.js"), s.server.url, port, "--host", "127.0.0.1"}
			switch {
			case document != "":
				args = append(args, "--client-metadata-url", document)
			case id != "":
				args = append(args, "--static-oauth-client-info", `{"client_id": "`+id+`"}`)
			}
			cmd := npmCommand(t, t.TempDir(), args...)
			o := &opener{s: s}
			cmd.Stderr = o
			defer o.wg.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil).Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, o)
			}
			defer session.Close()
			defer func() {
				if t.Failed() {
					t.Logf("mcp-remote says:\n%s", o)
				}
			}()
			s.call(session, "whoami")
			s.server.wantCaller(id)
			logins := o.opened()
			s.server.expire()
			s.call(session, "whoami")
			if n := o.opened(); n != logins || n != 1 {
				t.Errorf("%d logins, want 1", n)
			}
			s.call(session, "write")
			s.server.wantCaller(id, writeScope)
			if n := s.browser.Consents(); n != tt.consents {
				t.Errorf("%d consents, want %d", n, tt.consents)
			}
		})
	}
}
