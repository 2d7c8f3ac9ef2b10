// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecondSignal: a request that does not end holds up the end that SIGTERM
// asks for, and a second signal does not wait for it.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	p := startServer(t, nil, "-dev", "-local-port", "0")
	issuer, err := url.Parse(strings.TrimPrefix(p.line(), "issuer: "))
	if err != nil {
		t.Fatal(err)
	}
	stuck, err := net.Dial("tcp", issuer.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	const head = "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\n"
	if _, err := io.WriteString(stuck, head); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The listener is closed once the first signal is being obeyed.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(issuer.String() + "/healthz")
		if err != nil {
			break
		}
		res.Body.Close()
		if time.Since(since) > drainTimeout {
			t.Fatal("SIGTERM does not end the server")
		}
		<-tick.C
	}
	if code := p.end(syscall.SIGTERM); code != -1 {
		t.Errorf("exit code %d, want the end by a signal\n%s", code, p.stderr)
	}
	if took := time.Since(since); took > drainTimeout {
		t.Errorf("the end took %v", took)
	}
}
