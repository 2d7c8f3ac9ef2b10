// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// dial connects to the listener.
func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// TestSlowClients: who sends a header or a body a byte at a time is cut off,
// when the time is up and not before, and holds nobody else up.
func TestSlowClients(t *testing.T) {
	for name, tt := range map[string]struct {
		start string
		after time.Duration
	}{
		"no header":   {"", 10 * time.Second},
		"slow header": {"POST /token HTTP/1.1\r\nHost: idp\r\n", 10 * time.Second},
		"slow body":   {"POST /token HTTP/1.1\r\nHost: idp\r\nContent-Length: 5000\r\n\r\n", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err != nil {
						panic(http.ErrAbortHandler)
					}
					io.WriteString(w, "ok")
				})
				srv := newServers([]endpoint{{listener: l, handler: answer}}, silent)[0]
				go srv.Serve(l)
				defer srv.Close()

				slow := l.dial()
				defer slow.Close()
				began := time.Now()
				ended := make(chan time.Duration, 1)
				go func() {
					io.Copy(io.Discard, slow) // until the server hangs up
					ended <- time.Since(began)
				}()
				if _, err := io.WriteString(slow, tt.start); err != nil {
					t.Fatal(err)
				}
				for {
					select {
					case took := <-ended:
						if took != tt.after {
							t.Errorf("cut off after %v, want %v", took, tt.after)
						}
						other := l.dial()
						defer other.Close()
						go io.WriteString(other, "GET /healthz HTTP/1.1\r\nHost: idp\r\n\r\n")
						res, err := http.ReadResponse(bufio.NewReader(other), nil)
						if err != nil || res.StatusCode != http.StatusOK {
							t.Errorf("somebody else: %v, %v", res, err)
						}
						return
					case <-time.After(700 * time.Millisecond):
						if tt.start != "" {
							go io.WriteString(slow, "x")
						}
					}
				}
			})
		})
	}
}

// TestHugeHeader: it is refused before it fills the memory.
func TestHugeHeader(t *testing.T) {
	l := newPipeListener()
	srv := newServers([]endpoint{{listener: l, handler: http.NotFoundHandler()}}, silent)[0]
	go srv.Serve(l)
	defer srv.Close()
	c := l.dial()
	defer c.Close()
	go func() {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: idp\r\nX: ")
		io.Copy(c, io.LimitReader(neverending('x'), 1<<20))
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("answer %v, %v", res, err)
	}
}

type neverending byte

func (b neverending) Read(p []byte) (int, error) {
	copy(p, strings.Repeat(string(rune(b)), len(p)))
	return len(p), nil
}
