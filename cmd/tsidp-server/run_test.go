// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var silent = slog.New(slog.DiscardHandler)

// A pipeListener accepts connections that dial makes in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	fault  error // what Accept returns at once, if not nil
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	if l.fault != nil {
		return nil, l.fault
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9411} }

// get sends one request and returns the body of the answer.
func (l *pipeListener) get(t *testing.T) (string, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	l.conns <- server
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// A fakeProvider is a provider that keeps a diary.
type fakeProvider struct {
	ready   chan struct{}
	end     chan error // makes Run return
	stopped atomic.Bool
	closed  atomic.Bool
	closing error
}

func newFakeProvider() *fakeProvider {
	return &fakeProvider{ready: make(chan struct{}), end: make(chan error, 1)}
}

func (p *fakeProvider) Run(ctx context.Context) error {
	defer p.stopped.Store(true)
	select {
	case err := <-p.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *fakeProvider) Ready() <-chan struct{} { return p.ready }

func (p *fakeProvider) Close() error { p.closed.Store(true); return p.closing }

// nothing is a ready function for tests that do not care.
func nothing(context.Context) error { return nil }

func TestServeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, ln := newFakeProvider(), newPipeListener()
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cancel() // the signal comes while the request is open
			<-time.After(drainTimeout / 2)
			if p.stopped.Load() {
				t.Error("the provider was stopped under an open request")
			}
			io.WriteString(w, "done")
		})
		served := make(chan error, 1)
		go func() { served <- serve(ctx, silent, p, []endpoint{{ln, handler, nil}}, nothing) }()
		body, err := ln.get(t)
		if err != nil || body != "done" {
			t.Errorf("open request got %q, %v", body, err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if !p.stopped.Load() || !p.closed.Load() {
			t.Errorf("provider stopped %v, closed %v", p.stopped.Load(), p.closed.Load())
		}
	})
}

// TestServeAnswersLate: a connection that was there before the signal has its
// request answered, even if that comes after it.
func TestServeAnswersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ln := newPipeListener()
		served := make(chan error, 1)
		go func() {
			served <- serve(ctx, silent, newFakeProvider(), []endpoint{{ln, http.NotFoundHandler(), nil}}, nothing)
		}()
		client, server := net.Pipe()
		defer client.Close()
		ln.conns <- server
		idle, other := net.Pipe()
		defer idle.Close()
		ln.conns <- other // which never has a request, and must not hold the end up
		synctest.Wait()
		since := time.Now()
		cancel()
		<-time.After(busyTimeout / 2)
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || res.StatusCode != http.StatusNotFound || !res.Close {
			t.Errorf("a late request: %+v, %v; want an answer that closes the connection", res, err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(since); took < busyTimeout || took > drainTimeout {
			t.Errorf("the end took %v", took)
		}
	})
}

func TestServeCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, ln := newFakeProvider(), newPipeListener()
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done() // as long as the client stays
		})
		start := time.Now()
		served := make(chan error, 1)
		go func() { served <- serve(ctx, silent, p, []endpoint{{ln, handler, nil}}, nothing) }()
		if body, err := ln.get(t); err == nil {
			t.Errorf("request without end got %q", body)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if took := time.Since(start); took != drainTimeout {
			t.Errorf("ended after %v, want %v", took, drainTimeout)
		}
	})
}

func TestServeFailures(t *testing.T) {
	fault := errors.New("it broke")
	tests := []struct {
		name    string
		prepare func(p *fakeProvider, second *pipeListener)
		ready   func(context.Context) error
		want    string
	}{
		{
			name:    "a listener fails",
			prepare: func(_ *fakeProvider, second *pipeListener) { second.fault = fault },
			want:    "serving 127.0.0.1:9411: it broke",
		},
		{
			name:    "the provider fails",
			prepare: func(p *fakeProvider, _ *pipeListener) { p.end <- fault },
			want:    "running provider: it broke",
		},
		{
			name:    "the provider ends",
			prepare: func(p *fakeProvider, _ *pipeListener) { p.end <- nil },
			want:    "the provider ended by itself",
		},
		{
			name:    "what is due once ready fails",
			prepare: func(p *fakeProvider, _ *pipeListener) { close(p.ready) },
			ready:   func(context.Context) error { return fault },
			want:    "it broke",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, first, second := newFakeProvider(), newPipeListener(), newPipeListener()
				tt.prepare(p, second)
				ready := tt.ready
				if ready == nil {
					ready = nothing
				}
				h := http.NotFoundHandler()
				err := serve(t.Context(), silent, p, []endpoint{{first, h, nil}, {second, h, nil}}, ready)
				if err == nil || err.Error() != tt.want {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				select {
				case <-first.closed:
				default:
					t.Error("the other listener is still open")
				}
				if !p.stopped.Load() || !p.closed.Load() {
					t.Errorf("provider stopped %v, closed %v", p.stopped.Load(), p.closed.Load())
				}
			})
		})
	}
}

func TestServeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, ln := newFakeProvider(), newPipeListener()
		var called atomic.Bool
		served := make(chan error, 1)
		go func() {
			served <- serve(ctx, silent, p, []endpoint{{ln, http.NotFoundHandler(), nil}}, func(context.Context) error {
				called.Store(true)
				return nil
			})
		}()
		synctest.Wait()
		if called.Load() {
			t.Error("announced before the provider was ready")
		}
		close(p.ready)
		synctest.Wait()
		if !called.Load() {
			t.Error("not announced")
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// A signal during the start is no failure of the start.
func TestServeEndsDuringStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newFakeProvider()
		close(p.ready)
		err := serve(ctx, silent, p, nil, func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func TestServeReportsClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p := newFakeProvider()
		p.closing = errors.New("it stuck")
		if err := serve(ctx, silent, p, nil, nothing); err == nil || !strings.Contains(err.Error(), "it stuck") {
			t.Errorf("error %v, want that of closing", err)
		}
	})
}
