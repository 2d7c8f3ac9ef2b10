// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/store/memory"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// handlerTransport sends requests to a handler as those of the peer at addr,
// without a network, so that they can be sent in a bubble of synctest.
type handlerTransport struct {
	h    http.Handler
	addr netip.Addr
	sent func(*http.Request, *http.Response)
}

func (ht *handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(WithPeer(r.Context(), ht.addr))
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.Host = r.URL.Host
	w := httptest.NewRecorder()
	ht.h.ServeHTTP(w, in)
	res := w.Result()
	res.Request = r
	if ht.sent != nil {
		ht.sent(r, res)
	}
	return res, nil
}

// inBubble runs test with a fixture that has no network and the bubble's
// clock: time passes only while everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, tailnet: newFakeTailnet(), clock: &fakeClock{t: time.Now()}, store: memory.New(), log: new(syncBuffer)}
		var doc keyDocument
		if err := json.Unmarshal(sharedKeys(), &doc); err != nil {
			t.Fatal(err)
		}
		for i := range doc.Keys { // bubbles begin in the year 2000
			doc.Keys[i].CreatedAt, doc.Keys[i].UsableAt = time.Now(), time.Now()
		}
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.store.SwapKeys(t.Context(), 0, data); err != nil {
			t.Fatal(err)
		}
		f.p, err = New(Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, Logger: slog.New(slog.NewTextHandler(f.log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		f.client = &http.Client{
			Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				return (&handlerTransport{h: withTestPeer(f.p.Handler())}).RoundTrip(r)
			}),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		f.run()
		f.addDeviceClients()
		test(t, f)
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// noted collects the answers of the token endpoint.
type noted struct {
	mu    sync.Mutex
	codes []string
}

func (n *noted) sent(r *http.Request, res *http.Response) {
	if !strings.HasSuffix(r.URL.Path, "/token") {
		return
	}
	body, _ := io.ReadAll(res.Body)
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	var m struct {
		Error string `json:"error"`
	}
	json.Unmarshal(body, &m)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.codes = append(n.codes, m.Error)
}

// TestDeviceOAuth2 runs golang.org/x/oauth2, as command lines have it: with
// the authentication style that it finds out by itself, too, for which it
// sends each poll twice.
func TestDeviceOAuth2(t *testing.T) {
	for name, tt := range map[string]struct {
		id, secret string
		style      oauth2.AuthStyle
		decision   string
		want       []string // answers of the token endpoint
	}{
		"public":            {"cli", "", oauth2.AuthStyleInParams, "approve", []string{"authorization_pending", "authorization_pending", ""}},
		"public, by itself": {"cli", "", oauth2.AuthStyleAutoDetect, "approve", []string{"authorization_pending", "authorization_pending", "authorization_pending", "authorization_pending", ""}},
		"secret":            {"box", webSecret, oauth2.AuthStyleInHeader, "approve", []string{"authorization_pending", "authorization_pending", ""}},
		"denied":            {"cli", "", oauth2.AuthStyleInParams, "deny", []string{"authorization_pending", "authorization_pending", "access_denied"}},
		"never decided":     {"cli", "", oauth2.AuthStyleInParams, "", slices.Repeat([]string{"authorization_pending"}, 119)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				answers := new(noted)
				ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: &handlerTransport{f.p.Handler(), ci, answers.sent}})
				cfg := &oauth2.Config{ClientID: tt.id, ClientSecret: tt.secret, Scopes: []string{"openid", "email"}, Endpoint: oauth2.Endpoint{
					DeviceAuthURL: testIssuer + "/device_authorization", TokenURL: testIssuer + "/token", AuthStyle: tt.style,
				}}
				var opts []oauth2.AuthCodeOption
				if tt.secret != "" { // it does not send the secret there by itself
					opts = append(opts, oauth2.SetAuthURLParam("client_secret", tt.secret))
				}
				d, err := cfg.DeviceAuth(ctx, opts...)
				if err != nil {
					t.Fatal(err)
				}
				if tt.decision != "" {
					time.AfterFunc(12*time.Second, func() { f.decide(ada, d.UserCode, tt.decision) })
				}
				tok, err := cfg.DeviceAccessToken(ctx, d)
				if tt.decision == "approve" && (err != nil || !tok.Valid() || tok.RefreshToken == "") {
					t.Errorf("token %v, %v", tok, err)
				}
				var re *oauth2.RetrieveError
				if tt.decision == "deny" && (!errors.As(err, &re) || re.ErrorCode != "access_denied") {
					t.Errorf("error %v, want access_denied", err)
				}
				if tt.decision == "" && err == nil {
					t.Error("no error")
				}
				if tt.decision == "" { // the last poll and the deadline are at one instant
					answers.codes = answers.codes[:min(len(answers.codes), len(tt.want))]
				}
				if diff := cmp.Diff(tt.want, answers.codes); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestDeviceIncus runs what Incus's command line does: the relying party of
// zitadel/oidc, with scopes joined by commas and blanks, and the parameter
// audience of other providers.
func TestDeviceIncus(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		answers := new(noted)
		inner := &handlerTransport{f.p.Handler(), ada, answers.sent}
		client := &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/device_authorization") {
				r = r.Clone(r.Context())
				if err := r.ParseForm(); err != nil {
					return nil, err
				}
				r.Form.Add("audience", "https://incus.example")
				body := r.Form.Encode()
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			}
			return inner.RoundTrip(r)
		})}
		party, err := rp.NewRelyingPartyOIDC(t.Context(), testIssuer, "cli", "", "", []string{"openid", "offline_access"}, rp.WithHTTPClient(client))
		if err != nil {
			t.Fatal(err)
		}
		d, err := rp.DeviceAuthorization(t.Context(), []string{"openid,", "", "offline_access"}, party, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d.VerificationURIComplete != testIssuer+"/device?user_code="+d.UserCode || d.Interval != 5 || d.ExpiresIn != 600 {
			t.Errorf("answer %+v", d)
		}
		time.AfterFunc(7*time.Second, func() { f.decide(ada, d.UserCode, "approve") })
		res, err := rp.DeviceAccessToken(t.Context(), d.DeviceCode, time.Duration(d.Interval)*time.Second, party)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := rp.VerifyTokens[*oidc.IDTokenClaims](t.Context(), res.AccessToken, res.IDToken, party.IDTokenVerifier())
		if err != nil || claims.Subject != "userid:1001" || res.RefreshToken == "" || res.ExpiresIn == 0 {
			t.Errorf("answer %+v, claims %+v, %v", res, claims, err)
		}
		if diff := cmp.Diff([]string{"authorization_pending", ""}, answers.codes); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		// Its server looks at the access token alone.
		if c := claimsOf(t, res.AccessToken); c["sub"] != "userid:1001" || c["iss"] != testIssuer || c["aud"] != testIssuer {
			t.Errorf("access token %v", c)
		}
	})
}
