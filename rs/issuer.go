// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package rs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// askTimeout bounds every question to the issuer.
	askTimeout = 10 * time.Second
	// maxAnswer is the longest answer of the issuer that is read, in bytes.
	maxAnswer = 256 << 10

	// freshFor is the age at which a value of the issuer is fetched anew.
	freshFor = 5 * time.Minute
	// goodFor is the age at which it is not used any more. Tokens end long
	// before: this is against somebody who stole a key that was retired, and
	// keeps us from hearing of it.
	goodFor = 24 * time.Hour
	// Pauses between questions, so that senders of nonsense cannot make us
	// flood the issuer.
	pauseAfterAnswer  = 10 * time.Second
	pauseAfterFailure = 2 * time.Second
)

// An issuer is asked over HTTP.
type issuer struct {
	url    string
	client *http.Client
}

func newIssuer(url string, client *http.Client) *issuer {
	if client == nil {
		client = &http.Client{}
	}
	// A redirect would lead around the checks of addresses, and carry
	// credentials along.
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &issuer{url, &c}
}

// issuerMetadata is what we need of the issuer's (RFC 8414 section 2).
type issuerMetadata struct {
	Issuer                string `json:"issuer"`
	JWKSURI               string `json:"jwks_uri"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
}

var errNotFound = errors.New("not found")

// discover fetches the metadata, by the name of RFC 8414 or by that of OpenID
// Connect Discovery.
func (i *issuer) discover(ctx context.Context) (*issuerMetadata, error) {
	m, _, err := i.metadata(ctx)
	return m, err
}

// metadata returns the whole document too.
func (i *issuer) metadata(ctx context.Context) (*issuerMetadata, []byte, error) {
	for _, address := range i.wellKnown() {
		body, err := i.get(ctx, address)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("fetching metadata of issuer: %w", err)
		}
		var m issuerMetadata
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, nil, fmt.Errorf("fetching metadata of issuer: %s is not a JSON object", address)
		}
		// RFC 8414 §3.3: "The "issuer" value returned MUST be identical to the
		// authorization server's issuer identifier value".
		if m.Issuer != i.url {
			return nil, nil, fmt.Errorf("fetching metadata of issuer: %s is about %q", address, m.Issuer)
		}
		return &m, body, nil
	}
	return nil, nil, fmt.Errorf("fetching metadata of issuer: %s has none", i.url)
}

func (i *issuer) wellKnown() []string {
	const oauthName, openIDName = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	base := strings.TrimSuffix(i.url, "/")
	u, err := url.Parse(base)
	if err != nil || u.EscapedPath() == "" {
		return []string{base + oauthName, base + openIDName}
	}
	// RFC 8414 §3.1: inserted "between the host component and the path
	// component".
	path := u.EscapedPath()
	return []string{strings.TrimSuffix(base, path) + oauthName + path, base + openIDName}
}

// introspectionEndpoint finds where to ask about tokens.
func (i *issuer) introspectionEndpoint(ctx context.Context, _ *string) (*string, error) {
	m, err := i.discover(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.checkEndpoint(m.IntrospectionEndpoint); err != nil {
		return nil, fmt.Errorf("introspection endpoint %w", err)
	}
	return &m.IntrospectionEndpoint, nil
}

// checkEndpoint refuses addresses that are less well protected than the
// issuer's own.
func (i *issuer) checkEndpoint(address string) error {
	if strings.HasPrefix(i.url, "https:") && !strings.HasPrefix(address, "https:") {
		return fmt.Errorf("%q is not https", address)
	}
	return checkURL(address)
}

func (i *issuer) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return i.do(req)
}

// do returns the body of an answer 200.
func (i *issuer) do(req *http.Request) ([]byte, error) {
	req.Header.Set("Accept", "application/json")
	res, err := i.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", req.URL.Redacted(), errNotFound)
	default:
		return nil, fmt.Errorf("%s: answer %s", req.URL.Redacted(), res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Redacted(), err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%s: answer of more than %d bytes", req.URL.Redacted(), maxAnswer)
	}
	return body, nil
}

// A source holds the latest value of something that the issuer publishes.
// Whoever needs it while it is being fetched waits for the same fetch.
type source[T any] struct {
	name  string
	fetch func(ctx context.Context, old *T) (*T, error)
	now   func() time.Time
	log   *slog.Logger

	current atomic.Pointer[fetched[T]]

	mu     sync.Mutex
	flight chan struct{} // closed when the fetch that runs ends; nil if none runs
	tried  time.Time     // when the latest fetch ended,
	err    error         // and how
}

// fetched is a value and when it was fetched.
type fetched[T any] struct {
	value *T
	at    time.Time
}

func newSource[T any](name string, fetch func(context.Context, *T) (*T, error), now func() time.Time, log *slog.Logger) *source[T] {
	return &source[T]{name: name, fetch: fetch, now: now, log: log}
}

// get returns the value if good reports that it will do, however old: it is
// renewed in the background. Otherwise get asks, unless it has just done so,
// and returns what is then the value, good or not.
func (s *source[T]) get(ctx context.Context, good func(*T) bool) (*T, error) {
	if c := s.current.Load(); c != nil && good(c.value) {
		switch age := s.now().Sub(c.at); {
		case 0 <= age && age < freshFor:
			return c.value, nil
		case age < goodFor: // also when the clock was set back
			s.begin()
			return c.value, nil
		}
	}
	flight, err := s.begin()
	if flight != nil {
		select {
		case <-flight:
			err = s.latest()
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return s.current.Load().value, nil
}

// begin returns the fetch that runs, perhaps because it started it; if it is
// too early for another, nil and how the latest ended.
func (s *source[T]) begin() (flight chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, nil
	}
	pause := pauseAfterAnswer
	if s.err != nil {
		pause = pauseAfterFailure
	}
	// A clock that was set back must not stop us for long.
	if since := s.now().Sub(s.tried); !s.tried.IsZero() && 0 <= since && since < pause {
		return nil, s.err
	}
	s.flight = make(chan struct{})
	go s.run(s.flight)
	return s.flight, nil
}

func (s *source[T]) latest() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// run fetches. It has a context of its own: many may be waiting for it, and
// the first to give up must not fail the others.
func (s *source[T]) run(flight chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var old *T
	if c := s.current.Load(); c != nil {
		old = c.value
	}
	value, err := s.fetch(ctx, old)
	now := s.now()
	if err != nil {
		s.log.Warn("cannot ask the issuer", "what", s.name, "error", err)
	} else {
		s.current.Store(&fetched[T]{value, now})
	}
	s.mu.Lock()
	s.tried, s.err, s.flight = now, err, nil
	s.mu.Unlock()
	close(flight)
}
