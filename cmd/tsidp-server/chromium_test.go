// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A tab is a page of a headless Chromium, which the DevTools protocol steers
// over a pipe.
type tab struct {
	t       *testing.T
	ctx     context.Context
	in      *os.File
	session string
	loads   chan struct{} // pages that have been loaded

	mu      sync.Mutex
	last    int
	answers map[int]chan devtoolsMessage
}

type devtoolsMessage struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// openTab starts a browser, which ends with the test.
func openTab(t *testing.T) *tab {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium on this machine: the test of the pages in a real browser needs one")
	}
	profile, err := os.MkdirTemp("", "tsidp-browser")
	if err != nil {
		t.Fatal(err)
	}
	toBrowser, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-extensions", "--disable-sync", "--no-proxy-server", "--remote-debugging-pipe", "--user-data-dir="+profile)
	cmd.ExtraFiles = []*os.File{toBrowser, fromBrowser} // 3 and 4
	// All its processes, and nothing else: it has a group of its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toBrowser.Close()
	fromBrowser.Close()
	b := &tab{t: t, ctx: ctx, in: in, loads: make(chan struct{}, 100), answers: make(map[int]chan devtoolsMessage)}
	go b.read(out)
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		in.Close()
		out.Close()
		os.RemoveAll(profile)
	})
	var target struct {
		ID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		Session string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached)
	b.session = attached.Session
	b.call("Page.enable", nil, nil)
	return b
}

func (b *tab) read(out *os.File) {
	r := bufio.NewReader(out)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m devtoolsMessage
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		if m.Method == "Page.loadEventFired" {
			b.loads <- struct{}{}
		}
		b.mu.Lock()
		answer := b.answers[m.ID]
		delete(b.answers, m.ID)
		b.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	}
}

// call sends a command and reads its result.
func (b *tab) call(method string, params map[string]any, result any) {
	b.t.Helper()
	answer := make(chan devtoolsMessage, 1)
	b.mu.Lock()
	b.last++
	m := devtoolsMessage{ID: b.last, Session: b.session, Method: method}
	if params != nil {
		m.Params = params
	}
	b.answers[m.ID] = answer
	b.mu.Unlock()
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	select {
	case res := <-answer:
		if res.Error != nil {
			b.t.Fatalf("%s: %s", method, res.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(res.Result, result); err != nil {
				b.t.Fatalf("%s: %v in %s", method, err, res.Result)
			}
		}
	case <-b.ctx.Done():
		b.t.Fatalf("%s: the browser does not answer", method)
	}
}

// eval returns the value of an expression in the page.
func (b *tab) eval(expression string) string {
	b.t.Helper()
	var res struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception *struct {
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &res)
	if res.Exception != nil {
		b.t.Fatalf("%s: %s", expression, res.Exception.Exception.Description)
	}
	return fmt.Sprint(res.Result.Value)
}

// loaded waits for the page that do leads to.
func (b *tab) loaded(do func()) {
	b.t.Helper()
	for len(b.loads) > 0 {
		<-b.loads
	}
	do()
	select {
	case <-b.loads:
	case <-b.ctx.Done():
		b.t.Fatal("no page comes")
	}
}

// open goes to an address.
func (b *tab) open(address string) {
	b.t.Helper()
	b.loaded(func() { b.call("Page.navigate", map[string]any{"url": address}, nil) })
}

// press clicks on the link or button with that text, in the element that a
// selector finds, and waits for the page that it leads to.
func (b *tab) press(within, text string) {
	b.t.Helper()
	b.loaded(func() {
		b.t.Helper()
		got := b.eval(fmt.Sprintf(`(() => {
			const all = [...document.querySelectorAll(%q)].flatMap(e => [...e.querySelectorAll("a, button")]);
			const it = all.find(e => e.innerText.trim() === %q);
			if (!it) return "there are " + all.map(e => e.innerText).join(" | ");
			it.click();
			return "pressed";
		})()`, within, text))
		if got != "pressed" {
			b.t.Fatalf("no %q to press: %s", text, got)
		}
	})
}

// fill types into the control of that label.
func (b *tab) fill(label, text string) {
	b.t.Helper()
	got := b.eval(fmt.Sprintf(`(() => {
		const l = [...document.querySelectorAll("label")].find(l => l.innerText.trim() === %q);
		if (!l || !l.control) return "there is none: " + [...document.querySelectorAll("label")].map(l => l.innerText).join(" | ");
		l.control.value = %q;
		return "filled";
	})()`, label, text))
	if got != "filled" {
		b.t.Fatalf("%q: %s", label, got)
	}
}

// says checks that the page tells people something.
func (b *tab) says(wants ...string) {
	b.t.Helper()
	text := b.eval("document.body.innerText")
	for _, want := range wants {
		if !strings.Contains(text, want) {
			b.t.Fatalf("%s does not say %q:\n%s", b.eval("location.href"), want, text)
		}
	}
}
