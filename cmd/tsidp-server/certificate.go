// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tailscale.com/client/local"
)

// certificates has the certificate of each name under which the node is
// reached over TLS.
type certificates struct {
	own     *fileCertificate // of -tls-cert; nil: none
	tailnet func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// waiting: there is none from Tailscale yet.
	waiting atomic.Bool
}

// newCertificates returns the certificates of a node.
func newCertificates(c config, issuer string, tailnet *local.Client, log *slog.Logger) (*certificates, error) {
	certs := &certificates{tailnet: tailnet.GetCertificate}
	if c.tlsCert == "" {
		return certs, nil
	}
	var err error
	certs.own, err = openCertificate(c.tlsCert, c.tlsKey, hostOf(issuer), log)
	return certs, err
}

// fetchCertificate returns what makes the node have the certificate of a
// name.
func fetchCertificate(tailnet *local.Client) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		_, _, err := tailnet.CertPair(ctx, name)
		return err
	}
}

// config returns the configuration of a listener. The one of tsnet's own
// listeners offers HTTP/1.1 only.
func (c *certificates) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}}
}

func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.own != nil && (hello.ServerName == "" || c.own.covers(hello.ServerName)) {
		return c.own.get(), nil
	}
	cert, err := c.tailnet(hello)
	if err == nil {
		c.waiting.Store(false)
	}
	return cert, err
}

// condition tells what is missing, for the health endpoint; nothing if empty.
func (c *certificates) condition() string {
	if c.waiting.Load() {
		return "waiting for TLS certificate"
	}
	return ""
}

const (
	// sayWaiting is how long a certificate may take without a word: one that
	// is on disk takes no time, the first one of a name a minute.
	sayWaiting = time.Second
	// retryCertificate is the first pause after a failure; it doubles up to
	// maxRetryCertificate. Let's Encrypt bounds failures to 5 an hour.
	retryCertificate    = 30 * time.Second
	maxRetryCertificate = 15 * time.Minute
)

// await fetches the certificate of host in advance, so that the first person
// need not wait for it, until it is there or ctx ends. Meanwhile the server
// serves: that a certificate is late must not end it, since each start would
// ask for one again.
func (c *certificates) await(ctx context.Context, log *slog.Logger, host string, fetch func(ctx context.Context, host string) error) {
	start := time.Now()
	say := time.AfterFunc(sayWaiting, func() { log.Info("waiting for TLS certificate", "name", host) })
	defer say.Stop()
	for pause := retryCertificate; ; pause = min(2*pause, maxRetryCertificate) {
		err := fetch(ctx, host)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			c.waiting.Store(false)
			if took := time.Since(start); took >= sayWaiting {
				log.Info("TLS certificate is there", "name", host, "after", took.Round(time.Second))
			}
			return
		}
		if wait, ok := local.RateLimitRetryAfter(err); ok {
			pause = max(pause, wait)
		}
		log.Warn("waiting for TLS certificate: nobody can connect by https until it is there", "name", host, "error", err, "retry", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// lookEvery is how often the files of a certificate are looked at, at most.
const lookEvery = 10 * time.Second

// A fileCertificate is the certificate of -tls-cert. It is read again when its
// files have changed, as they do at each renewal.
type fileCertificate struct {
	certFile, keyFile string
	host              string // what it is for
	log               *slog.Logger

	mu     sync.Mutex // guards what follows
	cert   *tls.Certificate
	stamp  string    // of the files as they were when last read
	looked time.Time // when that was last compared
}

// openCertificate reads a certificate that must be for host.
func openCertificate(certFile, keyFile, host string, log *slog.Logger) (*fileCertificate, error) {
	c := &fileCertificate{certFile: certFile, keyFile: keyFile, host: host, log: log, looked: time.Now()}
	var err error
	if c.stamp, err = c.stat(); err == nil {
		c.cert, err = c.read()
	}
	if err != nil {
		return nil, fmt.Errorf("reading TLS certificate: %w", err)
	}
	if info, err := os.Stat(keyFile); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		log.Warn("all users can read the key of the TLS certificate: chmod 600 it", "path", keyFile, "mode", info.Mode().Perm().String())
	}
	return c, nil
}

// stat returns what changes when the files do.
func (c *fileCertificate) stat() (string, error) {
	var stamp strings.Builder
	for _, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&stamp, info.ModTime().UnixNano(), info.Size())
	}
	return stamp.String(), nil
}

func (c *fileCertificate) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, err // it names the file
	}
	if err != nil {
		return nil, fmt.Errorf("%s with the key %s: %w", c.certFile, c.keyFile, err)
	}
	if err := cert.Leaf.VerifyHostname(c.host); err != nil {
		return nil, fmt.Errorf("%s: %w; the name is that of -issuer", c.certFile, err)
	}
	if time.Now().After(cert.Leaf.NotAfter) {
		c.log.Error("the TLS certificate has expired: nobody can connect until it is renewed", "path", c.certFile, "expired", cert.Leaf.NotAfter)
	}
	return &cert, nil
}

// get returns the certificate as it is in the files. If they cannot be used
// (one of them may be new and the other not yet), it stays as it was.
func (c *fileCertificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.looked) < lookEvery {
		return c.cert
	}
	c.looked = now
	stamp, err := c.stat() // before reading: what changes later shows next time
	if err != nil {
		c.log.Error("TLS certificate cannot be read again, the old one stays in use", "error", err)
		return c.cert
	}
	if stamp == c.stamp {
		return c.cert
	}
	c.stamp = stamp
	cert, err := c.read()
	if err != nil {
		c.log.Error("TLS certificate has changed but cannot be used, the old one stays in use", "error", err)
		return c.cert
	}
	c.cert = cert
	c.log.Info("TLS certificate was read again", "path", c.certFile, "expires", cert.Leaf.NotAfter)
	return c.cert
}

// covers reports whether a client that asks for that name means this
// certificate.
func (c *fileCertificate) covers(name string) bool {
	if strings.EqualFold(name, c.host) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert.Leaf.VerifyHostname(name) == nil
}
