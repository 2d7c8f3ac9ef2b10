// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package scaletest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// now is the clock of stores and providers, at which nothing expires.
func now() time.Time { return time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC) }

// grantID returns the ID of grant i, which looks like any.
func grantID(i int) string {
	sum := sha256.Sum256(fmt.Append(nil, "grant ", i))
	return hex.EncodeToString(sum[:16])
}

// firstToken returns the refresh token with which grant i is opened.
func firstToken(i int) string { return newToken(fmt.Sprint("token ", i)) }

// newToken returns a refresh token that follows from another.
func newToken(old string) string {
	sum := sha256.Sum256([]byte(old))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const (
	issuer   = "https://idp.example.ts.net"
	callback = "https://app.example/callback"
)

// ada is the only peer of the tailnet; she may do everything.
var ada = netip.MustParseAddr("100.64.0.1")

type tailnet struct{}

func (tailnet) WhoIs(context.Context, string) (*apitype.WhoIsResponse, error) {
	return &apitype.WhoIsResponse{
		Node: &tailcfg.Node{
			ID: 1, StableID: "n1CNTRL", Name: "laptop.example.ts.net.", User: 7,
			Addresses: []netip.Prefix{netip.PrefixFrom(ada, ada.BitLen())},
		},
		UserProfile: &tailcfg.UserProfile{ID: 7, LoginName: "ada@example.com", DisplayName: "Ada"},
		CapMap: tailcfg.PeerCapMap{
			"tailscale.com/cap/tsidp": {`{"users":["*"],"resources":["*"],"allow_admin_ui":true}`},
		},
	}, nil
}

func (tailnet) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return &ipnstate.Status{
		BackendState:   "Running",
		CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "example.ts.net", MagicDNSEnabled: true},
	}, nil
}

// A provider is one that runs. It is asked without a network, which would only
// add to all times.
type provider struct {
	*tsidp.Provider
	stop context.CancelFunc
	done chan error
}

func newProvider(s store.Store) (*provider, error) {
	p, err := tsidp.New(tsidp.Config{Issuer: issuer, Tailnet: tailnet{}, Store: s, Now: now})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	select {
	case <-p.Ready():
	case err := <-done:
		stop()
		return nil, fmt.Errorf("running provider: %w", err)
	}
	return &provider{p, stop, done}, nil
}

func (p *provider) close() error {
	p.stop()
	return <-p.done
}

// send sends a request of ada's, and stores the answer if there is a place for
// it.
func (p *provider) send(method, path string, header http.Header, body string, status int, answer any) (http.Header, error) {
	r := httptest.NewRequest(method, issuer+path, strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r.WithContext(tsidp.WithPeer(r.Context(), ada)))
	if w.Code != status {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if answer == nil {
		return w.Header(), nil
	}
	return w.Header(), json.Unmarshal(w.Body.Bytes(), answer)
}

// post sends a form of a client, and stores the answer.
func (p *provider) post(path, id, secret string, form url.Values, answer any) error {
	r := http.Request{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	_, err := p.send("POST", path, r.Header, form.Encode(), http.StatusOK, answer)
	return err
}

// register makes a client.
func (p *provider) register() (id, secret string, err error) {
	var answer struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	_, err = p.send("POST", "/api/v1/clients", http.Header{"Content-Type": {"application/json"}},
		`{"redirect_uris":["`+callback+`"]}`, http.StatusCreated, &answer)
	return answer.ID, answer.Secret, err
}

// login opens a grant.
func (p *provider) login(id, secret string) error {
	// Without openid there is no ID token, whose signature would take longer
	// than all else.
	query := url.Values{"response_type": {"code"}, "client_id": {id}, "redirect_uri": {callback}, "scope": {"email"}}
	header, err := p.send("GET", "/authorize?"+query.Encode(), http.Header{}, "", http.StatusFound, nil)
	if err != nil {
		return err
	}
	location, err := url.Parse(header.Get("Location"))
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {location.Query().Get("code")}, "redirect_uri": {callback}}
	return p.post("/token", id, secret, form, nil)
}

// refresh rotates a refresh token, and returns its successor and an access
// token.
func (p *provider) refresh(id, secret, token string) (refresh, access string, err error) {
	var answer struct {
		Refresh string `json:"refresh_token"`
		Access  string `json:"access_token"`
	}
	err = p.post("/token", id, secret, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, &answer)
	return answer.Refresh, answer.Access, err
}

// introspect looks at a token, which must be active.
func (p *provider) introspect(id, secret, token string) error {
	var answer struct {
		Active bool `json:"active"`
	}
	if err := p.post("/introspect", id, secret, url.Values{"token": {token}}, &answer); err != nil {
		return err
	}
	if !answer.Active {
		return fmt.Errorf("introspecting: the token is not active")
	}
	return nil
}
