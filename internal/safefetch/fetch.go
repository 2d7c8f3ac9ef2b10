// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	// maxHeaderBytes bounds the headers of an answer.
	maxHeaderBytes = 16 << 10
	// maxDials is how many of a host's addresses are tried.
	maxDials = 4
)

// fetch gets the document from its host: its body, and how long the host says
// that it will be good.
func (c *Client) fetch(ctx context.Context, t target, want Want) ([]byte, time.Duration, error) {
	conn, err := c.connect(ctx, t)
	if err != nil {
		return nil, 0, err
	}
	// The socket itself, since a TLS connection says goodbye first and waits
	// for a peer that does not listen.
	defer conn.Close()
	secure, err := c.secure(ctx, conn, t)
	if err != nil {
		return nil, 0, err
	}
	transport := newTransport(secure)
	defer transport.CloseIdleConnections()
	// RoundTrip follows no redirects and knows no cookies.
	response, err := transport.RoundTrip(request(ctx, t, want))
	if err != nil {
		return nil, 0, unavailable(err, "the host did not answer properly, or not in time")
	}
	defer response.Body.Close()
	if err := checkHeader(response, want); err != nil {
		return nil, 0, err
	}
	body, err := readBody(ctx, response, want.MaxBytes)
	if err != nil {
		return nil, 0, err
	}
	return body, freshness(response.Header), nil
}

// connect connects to the host, at an address that may be fetched from.
func (c *Client) connect(ctx context.Context, t target) (net.Conn, error) {
	if t.listed && c.dialTailnet != nil && strings.HasSuffix(t.host, ".ts.net") {
		conn, err := c.dialTailnet(ctx, "tcp", net.JoinHostPort(t.host, t.port))
		if err != nil {
			return nil, unavailable(err, "no connection to its host in the tailnet")
		}
		return conn, nil
	}
	addrs, err := c.resolve(ctx, t)
	if err != nil {
		return nil, err
	}
	// All of them, before any is dialled: a host that mixes private with
	// public ones is up to no good, or broken.
	for _, a := range addrs {
		if err := checkAddr(a, t); err != nil {
			return nil, err
		}
	}
	return c.dialFirst(ctx, addrs, t)
}

// resolve asks once for the addresses of the host.
func (c *Client) resolve(ctx context.Context, t target) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(t.host); err == nil {
		return []netip.Addr{addr}, nil
	}
	host := t.host
	if !t.listed {
		host += "." // or a search domain might make an internal name of it
	}
	addrs, err := c.resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("the resolver knows no address")
	}
	if err != nil {
		return nil, unavailable(err, "its host has no address, or could not be looked up")
	}
	return addrs, nil
}

// checkAddr refuses an address that is not public, for a host that is listed
// one that is nobody's.
func checkAddr(a netip.Addr, t target) error {
	reach, name := judge(a)
	if reach == public || reach == private && t.listed {
		return nil
	}
	e := &Error{Kind: ErrRefused, Reason: "its host has an address that is not on the public internet", Cause: fmt.Errorf("%v is %s", a, name)}
	if reach == private {
		e.Reason += "; " + hint + t.String()
	}
	return e
}

// dialFirst connects to the first address that answers. What it dials is the
// number, not the name.
func (c *Client) dialFirst(ctx context.Context, addrs []netip.Addr, t target) (net.Conn, error) {
	var errs []error
	addrs = addrs[:min(len(addrs), maxDials)]
	for i, a := range addrs {
		conn, err := c.dialOne(ctx, a.Unmap(), t, len(addrs)-i)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, unavailable(errors.Join(errs...), "no connection to its host")
}

// dialOne connects to an address, in that address's share of the time that is
// left to so many.
func (c *Client) dialOne(ctx context.Context, a netip.Addr, t target, left int) (net.Conn, error) {
	deadline, _ := ctx.Deadline() // Config.Timeout sets one
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	dial := c.dial
	if c.dialTailnet != nil && inTailnet(a) {
		dial = c.dialTailnet
	}
	return dial(ctx, "tcp", net.JoinHostPort(a.String(), t.port))
}

// secure makes conn a TLS connection with the host, whose certificate it
// verifies.
func (c *Client) secure(ctx context.Context, conn net.Conn, t target) (*tls.Conn, error) {
	secure := tls.Client(conn, &tls.Config{
		ServerName: t.host,
		RootCAs:    c.roots,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		Time:       c.now,
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, unavailable(err, "no secure connection with its host (TLS)")
	}
	return secure, nil
}

// newTransport speaks HTTP/1.1 over conn, for one request.
//
// It has no proxy, whatever the environment says: a proxy does the resolving
// itself, at its own place in the network, which undoes every check of the
// address. It does not keep the connection: another host might have the same
// address later, and another address the same host.
func newTransport(conn net.Conn) *http.Transport {
	return &http.Transport{
		DialTLSContext:         func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

func request(ctx context.Context, t target, want Want) *http.Request {
	accept := make([]string, len(want.ContentTypes))
	for i, typ := range want.ContentTypes {
		accept[i] = typ
		if prefix, _, ok := strings.Cut(typ, "*"); ok {
			accept[i] = prefix + "*;q=0.5" // a range ends at the slash (RFC 9110 section 12.5.1)
		}
	}
	r := &http.Request{
		Method: http.MethodGet,
		URL:    t.url,
		Host:   t.url.Host,
		Header: http.Header{
			"Accept":          {strings.Join(accept, ", ")},
			"Accept-Encoding": {"identity"}, // a few kilobytes need no compression, and could become gigabytes
			"User-Agent":      {"tsidp"},
		},
	}
	return r.WithContext(ctx)
}

// checkHeader judges an answer before its body is read.
//
// "The authorization server MUST treat all other HTTP status codes as an error
// response", "MUST NOT automatically follow HTTP redirects"
// (draft-ietf-oauth-client-id-metadata-document-02 section 5).
func checkHeader(r *http.Response, want Want) error {
	switch code := r.StatusCode; {
	case code == http.StatusOK:
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return unavailable(nil, fmt.Sprintf("the host answered with status %d", code))
	case code >= 300 && code < 400:
		return unusable(fmt.Errorf("to %.200q", r.Header.Get("Location")), "the host answered with a redirect (status %d), which is not followed", code)
	default:
		return unusable(nil, "the host answered with status %d, not 200", code)
	}
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(encoding, "identity") {
			return unusable(fmt.Errorf("encoding %.200q", encoding), "the document is compressed or otherwise encoded, although it was asked for as it is")
		}
	}
	types := r.Header.Values("Content-Type")
	if len(types) != 1 || !want.takes(types[0]) {
		return unusable(fmt.Errorf("types %.200q", types), "the document does not have the type %s", strings.Join(want.ContentTypes, " or "))
	}
	if r.ContentLength > want.MaxBytes {
		return tooLong(want.MaxBytes)
	}
	return nil
}

func tooLong(limit int64) error {
	return unusable(nil, "the document is longer than %d bytes", limit)
}

// takes reports whether a Content-Type is one of those wanted.
func (w Want) takes(contentType string) bool {
	typ, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	for _, wanted := range w.ContentTypes {
		before, after, pattern := strings.Cut(wanted, "*")
		if typ == wanted || pattern && len(typ) > len(before)+len(after) && strings.HasPrefix(typ, before) && strings.HasSuffix(typ, after) {
			return true
		}
	}
	return false
}

// readBody reads at most limit bytes, and one to know that there are more.
func readBody(ctx context.Context, r *http.Response, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	// A server that is told goodbye when the time is up may end the body where
	// it stands, in due form.
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if int64(len(body)) > limit {
		return nil, tooLong(limit)
	}
	if err != nil {
		return nil, unavailable(err, "the document was cut off, or did not come in time")
	}
	return body, nil
}
