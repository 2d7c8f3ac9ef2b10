// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tailscale/tsidp/internal/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(withPostgres{m}, map[string]func(){"tsidp-server": main})
}

// withPostgres runs tests that may have used a PostgreSQL server.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int {
	code := pgtest.Main(w.m)
	if serverDir != "" {
		os.RemoveAll(serverDir)
	}
	return code
}

// TestScripts runs the real program as testdata/script says. Beside the
// commands of testscript there are:
//
//	fails CODE [ARG...]   run the server with these arguments; it must exit with CODE
//	start [ARG...]        run the server and wait for its issuer: sets $ISSUER and $PORT
//	http [-H 'NAME: VALUE']... METHOD URL [BODY]
//	                      send a request; status line, headers and body become stdout
//	signal TERM|INT|HUP   send a signal to the started server
//	ended CODE            wait for the end of the started server; it must exit with CODE;
//	                      its outputs become stdout and stderr; another may be started then
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values[startedKey{}] = new(started)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":  scriptFails,
			"start":  scriptStart,
			"http":   scriptHTTP,
			"signal": scriptSignal,
			"ended":  scriptEnded,
		},
	})
}

// TestScriptsCoverFlags: there is a script with each flag.
func TestScriptsCoverFlags(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	for _, o := range options(new(config)) {
		// As an argument, not as a part of a message.
		if !regexp.MustCompile(`(?m)^(fails|start|exec) .* -` + o.flag + `(=| |$)`).Match(all) {
			t.Errorf("no script starts the server with -%s", o.flag)
		}
	}
}

type startedKey struct{}

// A started is the server that a script has started.
type started struct {
	cmd            *exec.Cmd
	out            *bufio.Reader
	stdout, stderr bytes.Buffer
}

func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fails CODE [ARG...]")
	}
	checkExit(ts, ts.Exec("tsidp-server", args[1:]...), args[0])
}

// checkExit checks err, of running a program, against the wanted exit code.
func checkExit(ts *testscript.TestScript, err error, want string) {
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(startedKey{}).(*started)
	if neg || s.cmd != nil {
		ts.Fatalf("usage: start [ARG...], one at a time")
	}
	s.cmd = exec.Command("tsidp-server", args...)
	s.cmd.Dir = ts.Getenv("WORK")
	s.cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH")}
	names := tsnetVars()
	for _, o := range options(new(config)) {
		names = append(names, o.vars...)
	}
	for _, name := range names {
		if v := ts.Getenv(name); v != "" {
			s.cmd.Env = append(s.cmd.Env, name+"="+v)
		}
	}
	s.cmd.Stderr = &s.stderr
	pipe, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	cmd := s.cmd // s is that of another server later
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	s.out = bufio.NewReader(io.TeeReader(pipe, &s.stdout))
	line, err := s.out.ReadString('\n')
	issuer, ok := strings.CutPrefix(line, "issuer: ")
	if err != nil || !ok {
		_ = s.cmd.Wait()
		ts.Fatalf("the first line is %q (%v)\n%s", line, err, &s.stderr)
	}
	u, err := url.Parse(strings.TrimSpace(issuer))
	ts.Check(err)
	ts.Setenv("ISSUER", u.String())
	ts.Setenv("PORT", u.Port())
}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(startedKey{}).(*started)
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "HUP": syscall.SIGHUP}
	if neg || len(args) != 1 || signals[args[0]] == nil || s.cmd == nil {
		ts.Fatalf("usage: signal TERM|INT|HUP, after start")
	}
	ts.Check(s.cmd.Process.Signal(signals[args[0]]))
}

func scriptEnded(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(startedKey{}).(*started)
	if neg || len(args) != 1 || s.cmd == nil {
		ts.Fatalf("usage: ended CODE, after start")
	}
	_, err := io.Copy(io.Discard, s.out) // to its end, before Wait closes the pipe
	ts.Check(err)
	checkExit(ts, s.cmd.Wait(), args[0])
	fmt.Fprint(ts.Stdout(), s.stdout.String())
	fmt.Fprint(ts.Stderr(), s.stderr.String())
	*s = started{}
}

func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	header := make(http.Header)
	for len(args) > 1 && args[0] == "-H" {
		name, value, ok := strings.Cut(args[1], ": ")
		if !ok {
			ts.Fatalf("header %q has no value", args[1])
		}
		header.Add(name, value)
		args = args[2:]
	}
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: http [-H 'NAME: VALUE']... METHOD URL [BODY]")
	}
	body := strings.Join(args[2:], "")
	r, err := http.NewRequest(args[0], args[1], strings.NewReader(body))
	ts.Check(err)
	r.Header = header
	r.Host = header.Get("Host")
	res, err := http.DefaultTransport.RoundTrip(r) // as it comes: no redirects, no cookies
	ts.Check(err)
	defer res.Body.Close()
	var head bytes.Buffer
	ts.Check(res.Header.Write(&head))
	fmt.Fprintf(ts.Stdout(), "%s %s\n%s\n", res.Proto, res.Status, strings.ReplaceAll(head.String(), "\r", ""))
	_, err = io.Copy(ts.Stdout(), res.Body)
	ts.Check(err)
}
