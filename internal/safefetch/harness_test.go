// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// Addresses that the tests take for public ones. They are not of the blocks
// for documentation, since those are refused.
const (
	public4 = "93.184.215.14"
	other4  = "93.184.215.15"
	public6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
)

// A world is a fake internet: names, addresses, servers, and a record of who
// was asked for what.
type world struct {
	t      *testing.T
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	config Config // for the client under test

	mu      sync.Mutex
	names   map[string][][]netip.Addr // answers, in their order; the last one stays
	looked  []string
	servers map[string]func(net.Conn) // "IP:PORT" → takes connections
	dialed  []string
	open    int
}

// newWorld returns a world in which nothing exists. At the end of the test no
// connection may be open.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, names: make(map[string][][]netip.Addr), servers: make(map[string]func(net.Conn))}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.caKey = key
	w.ca = w.sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "the authority of the test"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, key)
	roots := x509.NewCertPool()
	roots.AddCert(w.ca)
	w.config = Config{Resolver: w, Dial: w.dial, RootCAs: roots}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.open != 0 {
			t.Errorf("%d connections are open still", w.open)
		}
	})
	return w
}

func (w *world) sign(template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	w.t.Helper()
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotBefore = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
		template.NotAfter = time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	parent := w.ca
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, w.caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// certificate returns one for hosts, by name or address.
func (w *world) certificate(template *x509.Certificate, hosts ...string) tls.Certificate {
	w.t.Helper()
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{w.sign(template, key).Raw}, PrivateKey: key}
}

// client returns the client under test.
func (w *world) client() *Client {
	w.t.Helper()
	c, err := New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// name lets host have addresses. A second call is for the second look-up.
func (w *world) name(host string, addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := []netip.Addr{}
	for _, a := range addrs {
		answer = append(answer, netip.MustParseAddr(a))
	}
	w.names[host] = append(w.names[host], answer)
}

// LookupNetIP implements Resolver.
func (w *world) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if network != "ip" {
		w.t.Errorf("looking up %s in network %q", host, network)
	}
	w.looked = append(w.looked, host)
	answers, ok := w.names[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		w.names[host] = answers[1:]
	}
	return slices.Clone(answers[0]), nil
}

// serveConns lets take have the connections to address, HOST:PORT.
func (w *world) serveConns(address string, take func(net.Conn)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[address] = take
}

// serve lets a handler answer at address, under hosts.
func (w *world) serve(address string, handler http.HandlerFunc, hosts ...string) {
	w.t.Helper()
	w.serveTLS(address, handler, &tls.Config{Certificates: []tls.Certificate{w.certificate(new(x509.Certificate), hosts...)}})
}

func (w *world) serveTLS(address string, handler http.HandlerFunc, config *tls.Config) {
	listener := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(tls.NewListener(listener, config)) })
	w.t.Cleanup(func() {
		server.Close()
		running.Wait()
	})
	w.serveConns(address, func(conn net.Conn) { listener.conns <- conn })
}

// dial is a Config.Dial. Where nobody serves, nobody answers.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	if network != "tcp" {
		w.t.Errorf("dialling %s in network %q", address, network)
	}
	w.dialed = append(w.dialed, address)
	take, ok := w.servers[address]
	w.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if take == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	w.mu.Lock()
	w.open++
	w.mu.Unlock()
	take(theirs)
	return &countedConn{Conn: ours, closed: func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open--
	}}, nil
}

// dialTailnet is a Config.DialTailnet, and another record than dial's.
func (w *world) dialTailnet(ctx context.Context, network, address string) (net.Conn, error) {
	return w.dial(ctx, network, "tailnet "+address)
}

// record returns, and forgets, who was looked up and dialled.
func (w *world) record() (looked, dialed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	looked, dialed = w.looked, w.dialed
	w.looked, w.dialed = nil, nil
	return looked, dialed
}

type countedConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// answer is a handler that answers with JSON and further headers.
func answer(body string, header ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		fmt.Fprint(rw, body)
	}
}

// counted counts the requests for a handler.
func counted(n *int, handler http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		*n++
		mu.Unlock()
		handler(rw, r)
	}
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// failure returns the Error within err, which must be of a kind.
func failure(t *testing.T, err, kind error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Errorf("error %v, want one of kind %v", err, kind)
		return new(Error)
	}
	if !errors.Is(err, kind) || e.Kind != kind {
		t.Errorf("error %v, want one of kind %v", err, kind)
	}
	return e
}
