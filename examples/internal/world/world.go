// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package world is what the tests of the examples run against: the real
// programs on this machine, and a person with a browser.
package world

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a program may take until it is ready.
const startTimeout = 60 * time.Second

// programs is where Main has built them.
var programs string

// Main builds programs for the tests of a package directly below examples,
// and runs these. It is for TestMain.
func Main(m *testing.M, names ...string) {
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "tsidp-examples"); err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(programs)
		for _, name := range names {
			cmd := exec.Command("go", "build", "-o", filepath.Join(programs, name), "./"+name)
			cmd.Dir = ".."
			if name == server { // of another module
				cmd = exec.Command("go", "build", "-o", filepath.Join(programs, name), "./cmd/"+name)
				cmd.Dir = filepath.Join("..", "..")
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				log.Printf("building %s: %v\n%s", name, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

const server = "tsidp-server"

// Start runs a program that Main has built until the test ends, and returns
// what follows the word ready in a line of its output, once it is there.
func Start(t testing.TB, ready string, env []string, name string, args ...string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(programs, name), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	found, ended := make(chan string, 1), make(chan struct{})
	var output bytes.Buffer
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			output.WriteString(lines.Text() + "\n")
			if _, after, ok := strings.Cut(lines.Text(), ready); ok {
				select {
				case found <- strings.TrimSpace(after):
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		<-ended
		r.Close()
		if t.Failed() {
			t.Logf("%s:\n%s", name, &output)
		}
	})
	select {
	case s := <-found:
		return s
	case <-ended:
		t.Fatalf("%s ended", name)
	case <-time.After(startTimeout):
		t.Fatalf("%s is not ready after %v", name, startTimeout)
	}
	return ""
}

// Provider runs a tsidp on a simulated tailnet and returns its issuer.
func Provider(t testing.TB, env []string, args ...string) string {
	t.Helper()
	return Start(t, "issuer: ", env, server, append([]string{"-dev", "-local-port", "0"}, args...)...)
}

// FreeAddress is an address of loopback at which nothing listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return fmt.Sprintf("localhost:%d", ln.Addr().(*net.TCPAddr).Port)
}

// A Client is what an administrator made.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// Register has alice, who is an administrator, register a client.
func Register(t testing.TB, issuer string, metadata map[string]any) Client {
	t.Helper()
	body, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(issuer+"/api/v1/clients", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Client
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.ID == "" {
		t.Fatalf("registering: %s, %s, error %v", res.Status, answer.Description, err)
	}
	return answer.Client
}
