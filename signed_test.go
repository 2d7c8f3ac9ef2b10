// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/jwt"
)

// wantSignatures checks what signatures have been looked at so far.
func (f *fixture) wantSignatures(known, verified, invalid uint64) {
	f.t.Helper()
	m := f.p.metrics.signatures
	got := []uint64{m[signatureKnown].Load(), m[signatureVerified].Load(), m[signatureInvalid].Load(), m[otherLabel].Load()}
	if d := cmp.Diff([]uint64{known, verified, invalid, 0}, got); d != "" {
		f.t.Errorf("access tokens: known, verified, invalid, other (-want +got):\n%s", d)
	}
}

// TestSignatureOnce: no signature of a token that this process has minted is
// verified, and that of another instance's once.
func TestSignatureOnce(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada).AccessToken
	for range 3 {
		f.userinfo(token).json(200)
		if f.introspect("web", token)["active"] != true {
			t.Error("not active")
		}
	}
	f.wantSignatures(6, 0, 0)

	other := &fixture{t: t, tailnet: f.tailnet, clock: f.clock, store: f.store, log: new(syncBuffer)}
	var err error
	if other.p, err = New(Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, Now: f.clock.now}); err != nil {
		t.Fatal(err)
	}
	other.run()
	other.client = serve(t, withTestPeer(other.p.Handler()))
	for range 3 {
		other.userinfo(token).json(200)
	}
	other.wantSignatures(2, 1, 0)

	// All that is not the signature is asked each time.
	f.tailnet.set(func(n *fakeTailnet) { delete(n.peers, ada) })
	f.clock.advance(2 * time.Second)
	f.userinfo(token).wantError(401, "invalid_token")
	if f.introspect("web", token)["active"] != false {
		t.Error("active though its node is gone")
	}
	f.wantSignatures(8, 0, 0)
}

// TestSignedIsWhatWasSigned: what is remembered at minting is what the token
// says, of every kind.
func TestSignedIsWhatWasSigned(t *testing.T) {
	people, machines := withExchange(t), withMachine(t)
	login := people.login(ada, "scope", "openid profile email", "resource", testResource)
	once := people.exchange("gw", login.AccessToken).tokens().AccessToken
	for _, tt := range []struct {
		name  string
		p     *Provider
		token string
	}{
		{"login", people.p, login.AccessToken},
		{"refresh", people.p, people.refresh(login.RefreshToken).tokens().AccessToken},
		{"exchange", people.p, once},
		{"machine", machines.p, machines.machine(ci).tokens().AccessToken},
	} {
		minted, ok := tt.p.signed.Get(tt.token)
		if !ok {
			t.Errorf("%s: not remembered", tt.name)
			continue
		}
		payload, err := jwt.Verify(tt.token, jwt.TypeAccessToken, tt.p.keys.Load().lookup)
		if err != nil {
			t.Fatal(err)
		}
		var said jwt.Claims
		if err := jwt.Unmarshal(payload, &said); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(said, minted.claims); d != "" {
			t.Errorf("%s (-token +remembered):\n%s", tt.name, d)
		}
		if kid := kidOf(t, tt.token); minted.key.ID != kid {
			t.Errorf("%s: key %s, the token says %s", tt.name, minted.key.ID, kid)
		}
	}
}

// TestSignatureOneByte: a token that differs in one byte of its signature is
// another token, and not signed.
func TestSignatureOneByte(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada).AccessToken
	dot := strings.LastIndexByte(token, '.')
	input, encoded := token[:dot], token[dot+1:]
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for i := range signature {
		signature[i] ^= 1
		f.userinfo(input+"."+base64.RawURLEncoding.EncodeToString(signature)).wantError(401, "invalid_token")
		signature[i] ^= 1
	}
	for _, forged := range []string{token + "A", token + "=", token[:len(token)-1], " " + token, strings.ToUpper(token), input + "."} {
		r := f.post("/introspect", url.Values{"token": {forged}}, basicAuth("web", webSecret)...)
		if r.json(200)["active"] != false {
			t.Errorf("active: %q", forged)
		}
	}
	f.wantSignatures(0, 0, uint64(len(signature))+6)
	f.userinfo(token).json(200)
	f.wantSignatures(1, 0, uint64(len(signature))+6)
}

// TestSignatureOfRetiredKey: a key that is retired takes with it what it has
// signed, however well it was known; one under the same id too.
func TestSignatureOfRetiredKey(t *testing.T) {
	for _, how := range []string{"retired", "replaced"} {
		t.Run(how, func(t *testing.T) {
			f := newFixture(t)
			token := f.login(ada).AccessToken
			f.userinfo(token).json(200)
			f.wantSignatures(1, 0, 0)
			id := kidOf(t, token)
			if how == "retired" {
				f.do(adm, "DELETE", pathKeys+"/"+id, "", "").json(200)
			} else {
				f.replaceKey(id)
			}
			f.userinfo(token).wantError(401, "invalid_token")
			if f.introspect("web", token)["active"] != false {
				t.Error("active")
			}
			f.wantSignatures(1, 0, 2)
			if n := f.p.signed.Len(); n != 0 {
				t.Errorf("%d tokens are remembered", n)
			}
			f.userinfo(f.login(ada).AccessToken).json(200)
		})
	}
}

// replaceKey puts another key under the id of an ES256 key.
func (f *fixture) replaceKey(id string) {
	f.t.Helper()
	b := &backend{f.p}
	err := b.changeKeys(f.t.Context(), func(doc *keyDocument, now time.Time) (bool, error) {
		for i, k := range doc.Keys {
			if k.ID != id {
				continue
			}
			fresh, err := newStoredKey(jwt.ES256, now)
			if err != nil {
				return false, err
			}
			doc.Keys[i].Key = fresh.Key
			return true, nil
		}
		return false, fmt.Errorf("no key %s", id)
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestSignedTokenExpires: what has expired is forgotten when it is presented.
func TestSignedTokenExpires(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada).AccessToken
	f.clock.advance(f.p.life.AccessToken + clockSkew - time.Second)
	f.userinfo(token).json(200)
	f.clock.advance(time.Second)
	f.userinfo(token).wantError(401, "invalid_token")
	if n := f.p.signed.Len(); n != 0 {
		t.Errorf("%d tokens are remembered", n)
	}
}

// TestSignedTokensAreBounded: more logins take no more memory.
func TestSignedTokensAreBounded(t *testing.T) {
	f := newFixture(t)
	f.p.signed = jwt.NewSeen[*signedToken](4)
	for range 6 {
		token := f.login(ada).AccessToken
		if n := f.p.signed.Len(); n < 1 || n > 4 {
			t.Fatalf("%d tokens are remembered, want 1 to 4", n)
		}
		f.userinfo(token).json(200)
	}
}
