// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// protocols are the transports of a world that speak one version of HTTP each.
func protocols(w *world) map[int]*http.Transport {
	one, two := w.base.Clone(), w.base.Clone()
	one.Protocols, two.Protocols = new(http.Protocols), new(http.Protocols)
	one.Protocols.SetHTTP1(true)
	two.Protocols.SetHTTP2(true)
	one.TLSClientConfig.NextProtos, two.TLSClientConfig.NextProtos = nil, nil
	return map[int]*http.Transport{1: one, 2: two}
}

// TestProtocols logs in over each version of HTTP that servers speak.
func TestProtocols(t *testing.T) {
	for version, transport := range protocols(shared()) {
		t.Run(transport.Protocols.String(), func(t *testing.T) {
			defer transport.CloseIdleConnections()
			res, err := (&http.Client{Transport: transport}).Get(shared().issuer + discoveryPath)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.ProtoMajor != version {
				t.Fatalf("HTTP/%d, want %d", res.ProtoMajor, version)
			}
			w := *shared()
			w.base = transport
			r := begin(t, &w)
			r.pkce = true
			r.checkKeys()
			l := r.login("scope", "openid offline_access")
			r.checkTokenAnswer(r.refresh(l.app, l.token.RefreshToken))
			_, a := r.authorize("response_mode", "form_post")
			if !bytes.Contains(a.body, []byte("<form")) {
				r.errorf("no form in %s", text(a.body))
			}
		})
	}
}

// An endless body counts what is taken of it.
type endless struct{ taken atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.taken.Add(int64(len(p)))
	return len(p), nil
}

// mostTaken is what a server may take of an endless body: what we read, and
// what the buffers of two sockets on loopback hold.
const mostTaken = 32 << 20

// TestBodyFlood sends bodies without an end, and without saying how long they
// are: each is refused as soon as it is too long, and the server goes on.
func TestBodyFlood(t *testing.T) {
	for version, transport := range protocols(shared()) {
		for _, path := range []string{"/token", "/introspect", "/revoke", "/userinfo", "/device_authorization", "/register", "/authorize", "/logout", "/device"} {
			t.Run(transport.Protocols.String()+path, func(t *testing.T) {
				defer transport.CloseIdleConnections()
				body := new(endless)
				req, err := http.NewRequest("POST", shared().issuer+path, io.MultiReader(strings.NewReader("token="), body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", formType)
				if path == "/register" {
					req.Header.Set("Content-Type", "application/json")
				}
				req.Header.Set(peerHeader, developers+"251")
				res, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if res.ProtoMajor != version || res.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("answer %d over HTTP/%d, want 413", res.StatusCode, res.ProtoMajor)
				}
				if n := body.taken.Load(); n > mostTaken {
					t.Errorf("%d bytes were taken", n)
				}
			})
		}
		r := begin(t, shared())
		r.pkce = true
		r.login()
	}
}
