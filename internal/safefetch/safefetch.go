// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

// A Resolver finds the addresses of hosts. [*net.Resolver] is one.
type Resolver interface {
	// LookupNetIP is asked once per fetch, with network "ip". The host is
	// rooted ("example.com."), so that no search domain is tried, unless an
	// administrator listed it. It must honour the context.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A DialFunc connects to an address as [net.Dialer.DialContext] does. It must
// honour the context.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config is what [New] needs. The zero value of every field is a sound choice.
type Config struct {
	// OwnNames are the HOST[:PORT] under which we are reached ourselves:
	// nothing is fetched from them. Without a port, all ports are ours.
	OwnNames []string

	// AllowHosts are the HOST[:PORT] (port 443 unless given, exactly that one)
	// that may be on private addresses. HOST is a name or an IP address, one
	// of IPv6 in brackets. There are no wildcards.
	AllowHosts []string

	// Resolver answers for all hosts but those that are left to DialTailnet by
	// name. Nil means [net.DefaultResolver].
	Resolver Resolver

	// Dial connects to addresses of the form IP:PORT, all of them checked. Nil
	// means a [net.Dialer].
	Dial DialFunc

	// DialTailnet, if not nil, takes the place of Dial for hosts of AllowHosts
	// in the tailnet: to IP:PORT if the address is a tailnet's, and to
	// HOST:PORT, unresolved, if the name ends in .ts.net: the resolver of the
	// machine may not know the names of the tailnet, and in these the control
	// plane is to be believed.
	DialTailnet DialFunc

	// RootCAs are the certificate authorities. Nil means the system's.
	RootCAs *x509.CertPool

	// Timeout is how long a fetch may take, from the look-up to the last byte:
	// 5 s by default.
	Timeout time.Duration

	// MinAge and MaxAge bound how long a document is kept, whatever its host
	// says: 1 min and 24 h by default. A document whose host says nothing is
	// kept for MinAge.
	MinAge, MaxAge time.Duration

	// MaxDocuments is how many documents are kept: 256 by default.
	MaxDocuments int

	// Logger receives a line for each fetch, with the keys url and error. Nil
	// discards it.
	Logger *slog.Logger

	// Now is the clock of cache, pace and certificates. Nil means time.Now.
	// Timeout is measured in real time.
	Now func() time.Time
}

// A Want is the document that a caller can use.
type Want struct {
	// MaxBytes is the length of the longest body, at most 1 MiB. Zero means
	// [DefaultMaxBytes].
	MaxBytes int64
	// ContentTypes are the media types, lower case and without parameters,
	// that the document may have. "application/*+json" means any that begins
	// and ends like that. Nil means application/json alone.
	ContentTypes []string
	// Valid, if not nil, judges the body. The error of one that it refuses is
	// ErrUnusable and wraps its error; the document is not kept. It must be
	// safe for concurrent use and must neither keep nor change the body.
	Valid func(body []byte) error
	// FetchedAfter, if not zero, is a time before which a kept document does
	// not serve: for a caller whom [Document.FetchedAt] did not help.
	FetchedAfter time.Time
}

// DefaultMaxBytes is the limit for client id metadata documents: "The
// recommended maximum size to read is 5 kilobytes."
// (draft-ietf-oauth-client-id-metadata-document-02 section 8.7)
const DefaultMaxBytes = 5 << 10

// maxBytes bounds the memory that a document takes.
const maxBytes = 1 << 20

// A Document is what a host answered.
type Document struct {
	// Body belongs to the caller.
	Body []byte
	// FetchedAt is when the fetch began, Expires when the document will be
	// fetched anew.
	FetchedAt, Expires time.Time
}

// A Client fetches documents. It is safe for concurrent use and needs no
// closing: it has no goroutines but for running fetches, each of which ends
// within Config.Timeout, and keeps no connections.
type Client struct {
	allowed, own      map[hostPort]struct{}
	resolver          Resolver
	dial, dialTailnet DialFunc
	roots             *x509.CertPool
	timeout           time.Duration
	minAge, maxAge    time.Duration
	log               *slog.Logger
	now               func() time.Time

	flights singleflight.Group // key: Want.key
	slots   chan struct{}      // one element for each running fetch
	cache   cache
	pace    pace
}

// maxFetches is how many fetches may run at the same time.
const maxFetches = 64

// New returns a client. It starts nothing. It refuses entries of OwnNames and
// AllowHosts that are no HOST[:PORT] or are in both, and negative or
// contradictory bounds.
func New(config Config) (*Client, error) {
	c := &Client{
		resolver:    config.Resolver,
		dial:        config.Dial,
		dialTailnet: config.DialTailnet,
		roots:       config.RootCAs,
		timeout:     defaultTo(config.Timeout, 5*time.Second),
		minAge:      defaultTo(config.MinAge, time.Minute),
		maxAge:      defaultTo(config.MaxAge, 24*time.Hour),
		log:         config.Logger,
		now:         config.Now,
		slots:       make(chan struct{}, maxFetches),
		cache:       cache{max: defaultTo(config.MaxDocuments, 256)},
	}
	if c.resolver == nil {
		c.resolver = net.DefaultResolver
	}
	if c.dial == nil {
		c.dial = new(net.Dialer).DialContext
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.timeout < 0 || c.minAge < 0 || c.maxAge < c.minAge || c.cache.max < 0 {
		return nil, errors.New("timeout, ages and number of documents must not be negative, and the least age not above the greatest")
	}
	var err error
	if c.own, err = parseHosts(config.OwnNames, ""); err != nil {
		return nil, fmt.Errorf("reading own names: %w", err)
	}
	if c.allowed, err = parseHosts(config.AllowHosts, defaultPort); err != nil {
		return nil, fmt.Errorf("reading allowed hosts: %w", err)
	}
	for h := range c.allowed {
		if c.isOwn(h) {
			return nil, fmt.Errorf("reading allowed hosts: %v is this server itself", h)
		}
	}
	return c, nil
}

func defaultTo[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// parseHosts reads a list of HOST[:PORT].
func parseHosts(list []string, port string) (map[hostPort]struct{}, error) {
	set := make(map[hostPort]struct{}, len(list))
	for _, entry := range list {
		h, err := parseHostPort(entry)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, err)
		}
		if h.port == "" {
			h.port = port
		}
		set[h] = struct{}{}
	}
	return set, nil
}

// Check judges the text of a URL as Get does before it asks anybody: for a
// URL that is to be fetched some day. Errors: ErrRefused.
func (c *Client) Check(url string) error {
	if _, err := c.target(url); err != nil {
		return fmt.Errorf("checking %.200q: %w", url, err)
	}
	return nil
}

// Get returns the document at url, from the cache or from its host.
//
// Calls for the same document at the same time share one fetch. It does not
// end with the context of a caller, only that caller's waiting does.
//
// Errors: ErrRefused, ErrBusy, ErrUnavailable, ErrUnusable, with an [*Error]
// in them. They are not kept: the next call tries again.
func (c *Client) Get(ctx context.Context, url string, want Want) (Document, error) {
	d, err := c.get(ctx, url, want)
	if err != nil {
		return Document{}, fmt.Errorf("fetching %.200q: %w", url, err)
	}
	d.Body = bytes.Clone(d.Body)
	return d, nil
}

func (c *Client) get(ctx context.Context, url string, want Want) (Document, error) {
	t, err := c.target(url)
	if err != nil {
		return Document{}, err
	}
	want = want.withDefaults()
	key := want.key(url)
	d, ok := c.cache.get(key, c.now(), want.FetchedAfter)
	if !ok {
		if d, err = c.join(ctx, key, t, want); err != nil {
			return Document{}, err
		}
	}
	// Whoever fetched it may have had another judge.
	if err := want.valid(d.Body); err != nil {
		return Document{}, err
	}
	return d, nil
}

// join fetches the document, or waits for whoever is at it.
func (c *Client) join(ctx context.Context, key string, t target, want Want) (Document, error) {
	flight := c.flights.DoChan(key, func() (any, error) {
		// One that has ended since we looked has left its document.
		if d, ok := c.cache.get(key, c.now(), want.FetchedAfter); ok {
			return d, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		d, err := c.fetchOnce(ctx, t, want)
		c.report(ctx, t, err)
		if err != nil {
			return nil, err
		}
		c.cache.put(key, d, c.now())
		return d, nil
	})
	select {
	case r := <-flight:
		d, _ := r.Val.(Document)
		return d, r.Err
	case <-ctx.Done():
		return Document{}, unavailable(context.Cause(ctx), "the request ended before the host answered")
	}
}

// report writes the one line of a fetch. Whoever asks too much must not fill
// the log with it.
func (c *Client) report(ctx context.Context, t target, err error) {
	switch {
	case err == nil:
		c.log.DebugContext(ctx, "fetched", "url", t.url.String())
	case errors.Is(err, ErrBusy):
		c.log.DebugContext(ctx, "not fetched", "url", t.url.String(), "error", err)
	default:
		c.log.InfoContext(ctx, "not fetched", "url", t.url.String(), "error", err)
	}
}

// fetchOnce fetches the document, if it is time to, and judges it.
//
// "The authorization server MUST NOT cache error responses. The authorization
// server also MUST NOT cache documents which are invalid or malformed."
// (draft-ietf-oauth-client-id-metadata-document-02 section 5.2)
func (c *Client) fetchOnce(ctx context.Context, t target, want Want) (Document, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		return Document{}, busy(fetchInterval, "this server is fetching too much at the moment")
	}
	began := c.now()
	if wait := c.pace.start(t.host, began); wait > 0 {
		return Document{}, busy(wait, "something has just been fetched from this host")
	}
	body, age, err := c.fetch(ctx, t, want)
	if err != nil {
		return Document{}, err
	}
	if err := want.valid(body); err != nil {
		return Document{}, err
	}
	age = min(max(age, c.minAge), c.maxAge)
	return Document{Body: body, FetchedAt: began, Expires: began.Add(age)}, nil
}

func (w Want) withDefaults() Want {
	if w.MaxBytes == 0 {
		w.MaxBytes = DefaultMaxBytes
	}
	w.MaxBytes = min(w.MaxBytes, maxBytes)
	if w.ContentTypes == nil {
		w.ContentTypes = []string{"application/json"}
	}
	return w
}

// key tells documents apart: the same URL with other bounds is another one.
// The headers of a request depend on nothing else, so that Vary says nothing.
func (w Want) key(url string) string {
	return strconv.FormatInt(w.MaxBytes, 10) + " " + strings.Join(w.ContentTypes, ",") + " " + url
}

func (w Want) valid(body []byte) error {
	if w.Valid == nil {
		return nil
	}
	if err := w.Valid(body); err != nil {
		return unusable(err, "the document is not valid")
	}
	return nil
}
