// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// This file is the application that -dev logs in to: a relying party like any
// other. But for its registration it knows the provider only by its issuer,
// and speaks to it over HTTP.

const (
	demoID       = "demo"
	demoCallback = "/dev/callback"
	demoCookie   = "tsidp-dev-login" // state, verifier and nonce of the login under way
	demoTimeout  = 10 * time.Minute  // for a login, which may wait for a person

	// demoSecret is the same everywhere, so that the application works with a
	// store that knows it from an earlier start. It opens nothing: everybody
	// who reaches the development server is an administrator anyway.
	demoSecret = "a-secret-that-everybody-may-know-for-demonstration"
)

// A demoApp is the demo application. It may be used concurrently.
type demoApp struct {
	issuer string
	hosts  []string // under which browsers reach the application
	client *http.Client
}

// newDemoApp returns the application for a provider at port of this machine.
func newDemoApp(issuer string, hosts []string, port int) *demoApp {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return &demoApp{
		issuer: issuer,
		hosts:  hosts,
		client: &http.Client{
			Timeout: 10 * time.Second,
			Transport: &http.Transport{
				// The provider is on this machine, whatever the resolver or
				// a proxy setting makes of its name.
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, addr)
				},
			},
		},
	}
}

func redirectURI(host string) string { return "http://" + strings.ToLower(host) + demoCallback }

// register creates the application's client, unless there is one already,
// through the administration API that h serves to an administrator.
func (a *demoApp) register(ctx context.Context, h http.Handler) error {
	var uris []string
	for _, host := range a.hosts {
		uris = append(uris, redirectURI(host))
	}
	metadata, err := json.Marshal(map[string]any{
		"client_id":                  demoID,
		"client_secret":              demoSecret,
		"client_name":                "Demo application",
		"redirect_uris":              uris,
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"token_endpoint_auth_method": "client_secret_basic",
	})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.issuer+"/api/v1/clients", bytes.NewReader(metadata))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	w := &memoryResponse{header: make(http.Header)}
	h.ServeHTTP(w, r)
	if w.status != http.StatusCreated && w.status != http.StatusConflict {
		return fmt.Errorf("status %d: %s", w.status, w.body.Bytes())
	}
	return nil
}

// A memoryResponse is a response to a request that came over no network.
type memoryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *memoryResponse) Header() http.Header { return w.header }

func (w *memoryResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *memoryResponse) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// start begins a login at the page under host: it returns where to send the
// browser and the cookie that binds the login to this browser.
func (a *demoApp) start(ctx context.Context, host string) (to string, cookie *http.Cookie, err error) {
	m, err := a.metadata(ctx)
	if err != nil {
		return "", nil, err
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	u, err := url.Parse(a.oauth2(m, host).AuthCodeURL(state,
		oauth2.S256ChallengeOption(verifier),
		oauth2.SetAuthURLParam("nonce", nonce)))
	if err != nil {
		return "", nil, fmt.Errorf("authorization endpoint: %w", err)
	}
	// Stay under the name that the browser uses: the cookie of the switcher
	// belongs to it.
	u.Host = host
	return u.String(), &http.Cookie{
		Name:     demoCookie,
		Value:    strings.Join([]string{state, verifier, nonce}, "."),
		Path:     demoCallback,
		MaxAge:   int(demoTimeout.Seconds()),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}, nil
}

// An authorizationError is the provider's refusal in an authorization
// response.
type authorizationError struct{ code, description string }

func (e *authorizationError) Error() string {
	if e.description == "" {
		return e.code
	}
	return e.code + ": " + e.description
}

// finish completes the login that the authorization response r belongs to.
func (a *demoApp) finish(r *http.Request) (*demoResult, error) {
	cookie, err := r.Cookie(demoCookie)
	if err != nil {
		return nil, errors.New("no login is under way in this browser: it took too long, or its answer has been used before; start again")
	}
	secrets := strings.Split(cookie.Value, ".")
	if len(secrets) != 3 {
		return nil, errors.New("the cookie of the login is damaged; start again")
	}
	state, verifier, nonce := secrets[0], secrets[1], secrets[2]
	m, err := a.metadata(r.Context())
	if err != nil {
		return nil, err
	}
	code, err := m.response(r.URL.Query(), state)
	if err != nil {
		return nil, err
	}
	// The body of the token response is shown as it came.
	tap := &tap{next: a.client.Transport}
	ctx := context.WithValue(r.Context(), oauth2.HTTPClient, &http.Client{Transport: tap, Timeout: a.client.Timeout})
	token, err := a.oauth2(m, r.Host).Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, fmt.Errorf("exchanging code: %w", err)
	}
	return a.result(r.Context(), m, token, nonce, tap.body)
}

// metadata is the part of the provider's discovery document that the
// application needs.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	UserinfoEndpoint      string `json:"userinfo_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	ResponseIss           bool   `json:"authorization_response_iss_parameter_supported"`
}

func (a *demoApp) metadata(ctx context.Context) (*metadata, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err
	}
	body, err := a.fetch(r)
	if err != nil {
		return nil, fmt.Errorf("fetching metadata: %w", err)
	}
	var m metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("reading metadata: %w", err)
	}
	// "MUST be identical to the Issuer URL that was used as the prefix"
	// (OpenID Connect Discovery 1.0 section 4.3).
	if m.Issuer != a.issuer {
		return nil, fmt.Errorf("the metadata are those of %q", m.Issuer)
	}
	return &m, nil
}

// response returns the authorization code of an authorization response q to
// the request with that state.
func (m *metadata) response(q url.Values, state string) (code string, err error) {
	if q.Get("state") != state {
		return "", errors.New("the answer belongs to another login: its state is not the one that was sent; start again")
	}
	// RFC 9207 section 2.4: an iss that differs is refused, and so is a
	// response without one if the server's metadata promise it.
	if iss := q.Get("iss"); iss != m.Issuer && (iss != "" || m.ResponseIss) {
		return "", fmt.Errorf("the answer comes from the issuer %q", iss)
	}
	if e := q.Get("error"); e != "" {
		return "", &authorizationError{e, q.Get("error_description")}
	}
	if code = q.Get("code"); code == "" {
		return "", errors.New("the answer holds neither a code nor an error")
	}
	return code, nil
}

func (a *demoApp) oauth2(m *metadata, host string) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     demoID,
		ClientSecret: demoSecret,
		Endpoint: oauth2.Endpoint{
			AuthURL:   m.AuthorizationEndpoint,
			TokenURL:  m.TokenEndpoint,
			AuthStyle: oauth2.AuthStyleInHeader,
		},
		RedirectURL: redirectURI(host),
		Scopes:      []string{"openid", "profile", "email", "groups", "tailscale", "offline_access"},
	}
}

const maxAnswer = 1 << 20 // bytes of an answer of the provider

// fetch sends r and returns the body of a successful answer.
func (a *demoApp) fetch(r *http.Request) ([]byte, error) {
	r.Header.Set("Accept", "application/json")
	res, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s: %s", res.Status, body)
	}
	return body, nil
}

// A tap keeps a copy of the last body that went through it. It serves one
// request at a time.
type tap struct {
	next http.RoundTripper
	body []byte
}

// RoundTrip implements [http.RoundTripper].
func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if t.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer)); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(t.body))
	return res, nil
}
