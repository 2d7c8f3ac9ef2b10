// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/tailscale/tsidp"
	"golang.org/x/oauth2"
)

// Applications that register themselves, and authenticate by private_key_jwt.

// A documentHost serves what applications publish, on a name of the tailnet.
type documentHost struct {
	server *httptest.Server
	roots  *x509.CertPool

	mu   sync.Mutex
	docs map[string][]byte // by path
}

const keyHostName = "keys.tail1234.ts.net"

// keyHost lives as long as the process.
var keyHost = sync.OnceValue(func() *documentHost {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{keyHostName}, NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	h := &documentHost{roots: x509.NewCertPool(), docs: make(map[string][]byte)}
	h.roots.AddCert(cert)
	h.server = httptest.NewUnstartedServer(h)
	h.server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	h.server.StartTLS()
	return h
})

func (h *documentHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	doc, ok := h.docs[r.URL.Path]
	h.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Write(doc)
}

// publish puts the keys of an application at a path, and returns its URL.
func (h *documentHost) publish(path string, keys ...*appKey) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.docs[path] = keySet(keys...)
	return "https://" + keyHostName + path
}

// fetch is how a provider reaches h.
func (h *documentHost) fetch() *tsidp.ClientFetch {
	return &tsidp.ClientFetch{
		AllowHosts: []string{keyHostName}, RootCAs: h.roots,
		DialTailnet: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, h.server.Listener.Addr().String())
		},
	}
}

// An appKey is the key of an application.
type appKey struct {
	id      string
	private *ecdsa.PrivateKey
}

func (r *run) newKey(id string) *appKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.noError(err, "generating a key")
	return &appKey{id, private}
}

func keySet(keys ...*appKey) []byte {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Use: "sig", Algorithm: "ES256"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

// assertion is a client assertion (OpenID Connect Core section 9).
func (r *run) assertion(k *appKey, clientID string, audience any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}}, nil)
	r.noError(err, "making an assertion")
	now := r.w.clock.now()
	claims, err := json.Marshal(map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	r.noError(err, "making an assertion")
	jws, err := signer.Sign(claims)
	r.noError(err, "making an assertion")
	token, err := jws.CompactSerialize()
	r.noError(err, "making an assertion")
	return token
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authentication are the parameters by which r.app authenticates with k.
func (r *run) authentication(k *appKey) url.Values {
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {r.assertion(k, r.app.ClientID, r.w.issuer)}}
}

// A registered is an application that has registered itself.
type registered struct {
	metadata map[string]any // of the answer
	key      *appKey
}

var devices atomic.Int64

// askToRegister sends a registration, from a device that sent none before.
func (r *run) askToRegister(metadata map[string]any) *answer {
	body, err := json.Marshal(metadata)
	r.noError(err, "registering")
	device := fmt.Sprint(developers, devices.Add(1)%250+1)
	return r.call("POST", r.endpoint("registration_endpoint"), string(body), "Content-Type", "application/json", peerHeader, device)
}

// registerSelf registers an application by private_key_jwt, with its key in
// the request unless metadata says where it is, and makes it r.app.
func (r *run) registerSelf(metadata map[string]any) *registered {
	r.discover()
	r.pkce = true
	reg := &registered{key: r.newKey("k1")}
	sent := map[string]any{
		"redirect_uris": []string{appRedirect}, "token_endpoint_auth_method": "private_key_jwt", "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "client_name": "Conformance", "contacts": []string{"dev@example.com"}, "jwks": json.RawMessage(keySet(reg.key)),
	}
	merge(sent, metadata)
	a := r.askToRegister(sent)
	reg.metadata = r.checkRegistration(sent, a)
	r.app = oauth2.Config{Endpoint: r.op.Endpoint(), Scopes: []string{"openid"}}
	r.app.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	r.app.ClientID, _ = reg.metadata["client_id"].(string)
	if uris, _ := reg.metadata["redirect_uris"].([]any); len(uris) > 0 {
		r.app.RedirectURL, _ = uris[0].(string)
	}
	return reg
}

// checkRegistration checks the answer to a registration (RFC 7591 section
// 3.2.1, OpenID Connect Registration section 3.2).
func (r *run) checkRegistration(sent map[string]any, a *answer) map[string]any {
	m := a.json()
	id, _ := m["client_id"].(string)
	if a.status != http.StatusCreated || !isJSON(a) || id == "" {
		r.fatalf("registering: %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		r.errorf("registration may be stored: Cache-Control %q", a.header.Get("Cache-Control"))
	}
	r.checkRegistered(sent, m)
	for name, v := range m {
		if v == nil || v == "" {
			r.errorf("%s is empty", name)
		}
	}
	if _, ok := m["client_secret_expires_at"].(float64); !ok && m["client_secret"] != nil {
		r.errorf("client_secret_expires_at %v beside a client_secret", m["client_secret_expires_at"])
	}
	if m["client_secret"] != nil && sent["token_endpoint_auth_method"] == "private_key_jwt" {
		r.errorf("a client_secret for a client that signs")
	}
	// "Implementations MUST either return both a Client Configuration Endpoint
	// and a Registration Access Token or neither of them."
	uri, _ := m["registration_client_uri"].(string)
	token, _ := m["registration_access_token"].(string)
	if (uri == "") != (token == "") {
		r.fatalf("registration_client_uri %q, but registration_access_token %q", uri, token)
	}
	if uri == "" {
		return m
	}
	read := r.call("GET", uri, "", "Authorization", "Bearer "+token)
	if read.status != http.StatusOK || !isJSON(read) {
		r.fatalf("reading the registration: %d %s", read.status, read.body)
	}
	again := read.json()
	if again["client_id"] != id {
		r.errorf("client_id %v at registration_client_uri, want %s", again["client_id"], id)
	}
	r.checkRegistered(sent, again)
	return m
}

// checkRegistered: "The authorization server MUST return all registered metadata
// about this client" (RFC 7591 section 3.2.1).
func (r *run) checkRegistered(sent, got map[string]any) {
	for name, v := range sent {
		b, err := json.Marshal(v)
		r.noError(err, "comparing metadata")
		var want any
		r.noError(json.Unmarshal(b, &want), "comparing metadata")
		if !reflect.DeepEqual(want, got[name]) {
			r.errorf("%s %v, registered as %v", name, got[name], want)
		}
	}
}

// consentPage sends an authorization request of r.app, and returns the page
// that asks about the application, which nobody has vouched for.
func (r *run) consentPage(change ...string) (*login, *answer) {
	l := r.request(r.app, change...)
	a := r.send(l)
	r.wantPage(a)
	return l, a
}

// loginSelf is a login of an application that registered itself.
func (r *run) loginSelf(k *appKey, change ...string) *login {
	l, a := r.consentPage(change...)
	r.wantResponse(l, r.browser.press(a, "yes"))
	var options []oauth2.AuthCodeOption
	for name, v := range r.authentication(k) {
		options = append(options, oauth2.SetAuthURLParam(name, v[0]))
	}
	r.redeem(l, options...)
	r.userinfo(l, "get")
	return l
}
