// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/client/tailscale/apitype"
)

// newDeviceFixture has two clients more: "cli" (public) and "box"
// (confidential), which log in by a device code.
func newDeviceFixture(t testing.TB, configure ...func(*Config)) *fixture {
	t.Helper()
	f := newFixture(t, configure...)
	f.addDeviceClients()
	return f
}

func (f *fixture) addDeviceClients() {
	f.t.Helper()
	grants := []string{grantDeviceCode, grantRefreshToken}
	f.addClient("cli", "", admin.ClientMetadata{Name: "Cluster Tool", TokenEndpointAuthMethod: authNone, GrantTypes: grants})
	f.addClient("box", webSecret, admin.ClientMetadata{Name: "Box", GrantTypes: grants})
}

// deviceAuthorization asks for codes as a device at addr, for client cli.
func (f *fixture) deviceAuthorization(as netip.Addr, change ...string) *reply {
	f.t.Helper()
	form := edited(url.Values{"client_id": {"cli"}, "scope": {"openid"}}, change)
	return f.do(as, "POST", "/device_authorization", "application/x-www-form-urlencoded", form.Encode())
}

// beginDevice asks for codes and must get them.
func (f *fixture) beginDevice(as netip.Addr, change ...string) deviceResponse {
	f.t.Helper()
	r := f.deviceAuthorization(as, change...)
	r.json(200)
	var res deviceResponse
	if err := json.Unmarshal([]byte(r.body), &res); err != nil {
		f.t.Fatal(err)
	}
	return res
}

// poll asks for the tokens of a device code, as cli.
func (f *fixture) poll(deviceCode string, change ...string) *reply {
	f.t.Helper()
	return f.post("/token", pollForm(deviceCode, change...))
}

func pollForm(deviceCode string, change ...string) url.Values {
	return edited(url.Values{"grant_type": {grantDeviceCode}, "client_id": {"cli"}, "device_code": {deviceCode}}, change)
}

// devicePage opens the page with a code, as a person who follows a link.
func (f *fixture) devicePage(as netip.Addr, userCode string, header ...string) *reply {
	f.t.Helper()
	return f.do(as, "GET", "/device?user_code="+url.QueryEscape(userCode), "", "", append([]string{"Accept", "text/html"}, header...)...)
}

var proofField = regexp.MustCompile(`name="proof" value="([^"]*)"`)

// proof opens the page, which must ask, and returns the proof in it.
func (f *fixture) proof(as netip.Addr, userCode string) string {
	f.t.Helper()
	body := f.devicePage(as, userCode).page(200)
	m := proofField.FindStringSubmatch(body)
	if m == nil {
		f.t.Fatalf("the page does not ask: %s", content(body))
	}
	return html.UnescapeString(m[1])
}

// decideBy posts the form of the page.
func (f *fixture) decideBy(as netip.Addr, proof, decision string, header ...string) *reply {
	f.t.Helper()
	form := url.Values{"proof": {proof}, "decision": {decision}}
	return f.do(as, "POST", "/device", "application/x-www-form-urlencoded", form.Encode(), append([]string{"Accept", "text/html"}, header...)...)
}

// decide goes the way of a person at a browser and returns the page at its
// end.
func (f *fixture) decide(as netip.Addr, userCode, decision string) string {
	f.t.Helper()
	r := f.decideBy(as, f.proof(as, userCode), decision, "Origin", testIssuer, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
	if r.status != http.StatusSeeOther {
		f.t.Fatalf("deciding: answer %d %s, want 303", r.status, r.body)
	}
	return f.do(as, "GET", r.header.Get("Location"), "", "", "Accept", "text/html").page(200)
}

// stateOf reads what has become of a request.
func (f *fixture) stateOf(d deviceResponse) string {
	f.t.Helper()
	rec, err := f.p.storage.deviceByCode(context.Background(), d.DeviceCode)
	if err != nil {
		f.t.Fatal(err)
	}
	return rec.state
}

// TestDeviceFlow is the whole way: a server without a person asks, a person
// elsewhere approves.
func TestDeviceFlow(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci, "scope", "openid email offline_access")
	f.poll(d.DeviceCode).wantError(400, "authorization_pending")

	body := f.devicePage(ada, d.UserCode).page(200)
	for _, want := range []string{"Cluster Tool", d.UserCode, "ada@example.com", "lap.tail1234.ts.net", "ci1.tail1234.ts.net", ci.String(), "tag:ci", "email address", "stays logged in"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q: %s", want, content(body))
		}
	}
	f.clock.advance(5 * time.Second)
	f.poll(d.DeviceCode).wantError(400, "authorization_pending") // to look is not to decide
	approved := f.clock.now()
	if body := f.decide(ada, d.UserCode, "approve"); !strings.Contains(body, "You have approved") || strings.Contains(body, "<form") {
		t.Errorf("result %s", content(body))
	}
	f.clock.advance(3 * time.Second) // an approved device need not wait
	res := f.poll(d.DeviceCode).tokens()

	claims := claimsOf(t, res.AccessToken)
	for name, want := range map[string]any{"sub": "userid:1001", "client_id": "cli", "aud": testIssuer, "scope": "openid email offline_access"} {
		if claims[name] != want {
			t.Errorf("access token has %s %v, want %v", name, claims[name], want)
		}
	}
	id := claimsOf(t, res.IDToken)
	if id["aud"] != "cli" || id["email"] != "ada@example.com" || id["nonce"] != nil || id["auth_time"] != float64(approved.Unix()) {
		t.Errorf("ID token %v", id)
	}
	if f.userinfo(res.AccessToken).json(200)["sub"] != "userid:1001" {
		t.Error("userinfo names another")
	}
	// From here on it is a login like any other: of ada, on ada's node.
	form := refreshForm(res.RefreshToken, "client_id", "cli")
	next := f.post("/token", form).tokens()
	f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHERCNTRL" })
	f.clock.advance(time.Second)
	next = f.post("/token", refreshForm(next.RefreshToken, "client_id", "cli")).tokens()
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHERCNTRL" })
	f.clock.advance(time.Second)
	f.post("/token", refreshForm(next.RefreshToken, "client_id", "cli")).wantError(400, "invalid_grant")
	f.wantSilentLog(d.DeviceCode, d.UserCode, strings.ReplaceAll(d.UserCode, "-", ""), res.AccessToken)
}

// TestDeviceConfidential: with a secret, and without a refresh token for who
// is not registered for one.
func TestDeviceConfidential(t *testing.T) {
	f := newDeviceFixture(t)
	f.addClient("once", webSecret, admin.ClientMetadata{GrantTypes: []string{grantDeviceCode}})
	for _, id := range []string{"box", "once"} {
		form := url.Values{"scope": {"openid"}}.Encode()
		r := f.do(ada, "POST", "/device_authorization", "application/x-www-form-urlencoded", form, basicAuth(id, webSecret)...)
		m := r.json(200)
		f.decide(ada, m["user_code"].(string), "approve")
		form = pollForm(m["device_code"].(string), "client_id", "").Encode()
		res := f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", form, basicAuth(id, webSecret)...).tokens()
		if got := res.RefreshToken != ""; got != (id == "box") {
			t.Errorf("client %s: refresh token %t", id, got)
		}
	}
}

// TestDeviceResponse is RFC 8628 section 3.2.
func TestDeviceResponse(t *testing.T) {
	f := newDeviceFixture(t, func(c *Config) { c.Issuer, c.Hosts = "https://idp.tail1234.ts.net/idp", nil }, seedKeys)
	form := url.Values{"client_id": {"cli"}}.Encode()
	r := f.do(ci, "POST", "/idp/device_authorization", "application/x-www-form-urlencoded", form)
	m := r.json(200)
	code, user := m["device_code"].(string), m["user_code"].(string)
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`).MatchString(code) || !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(user) {
		t.Errorf("device code %q, user code %q", code, user)
	}
	want := map[string]any{
		"device_code": code, "user_code": user, "expires_in": 600.0, "interval": 5.0,
		"verification_uri": "https://idp.tail1234.ts.net/idp/device", "verification_uri_complete": "https://idp.tail1234.ts.net/idp/device?user_code=" + user,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if cc := r.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("Cache-Control %q", cc)
	}
	// The forms lead below the issuer's path.
	for _, target := range []string{"/idp/device", "/idp/device?user_code=" + user} {
		if body := f.do(ada, "GET", target, "", "", "Accept", "text/html").page(200); !strings.Contains(body, `action="/idp/device"`) {
			t.Errorf("%s: the form leads elsewhere: %s", target, content(body))
		}
	}
}

// TestDeviceAuthorizationErrors: what is refused at the device authorization
// endpoint, and that it writes nothing.
func TestDeviceAuthorizationErrors(t *testing.T) {
	s := newFaultStore(t)
	f := newDeviceFixture(t, func(c *Config) { c.Store = s })
	f.editClient("cli", func(c *client) { c.Scope = "openid" })
	f.addClient("off", "", admin.ClientMetadata{TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantDeviceCode}, Disabled: true})
	const formType = "application/x-www-form-urlencoded"
	good := url.Values{"client_id": {"cli"}, "scope": {"openid"}}.Encode()
	before := s.called("Put")
	for _, tt := range []struct {
		name        string
		as          netip.Addr
		method      string
		target      string
		contentType string
		body        string
		header      []string
		status      int
		code        string
	}{
		{name: "no client_id", body: "scope=openid", status: 401, code: "invalid_client"},
		{name: "unknown client", body: "client_id=nobody", status: 401, code: "invalid_client"},
		{name: "not registered for it", body: "client_id=pub", status: 400, code: "unauthorized_client"},
		{name: "disabled", body: "client_id=off", status: 400, code: "unauthorized_client"},
		{name: "confidential without secret", body: "client_id=box", status: 401, code: "invalid_client"},
		{name: "wrong secret", body: "scope=openid", header: basicAuth("box", "wrong"), status: 401, code: "invalid_client"},
		{name: "public with a secret", body: "client_id=cli&client_secret=x", status: 401, code: "invalid_client"},
		{name: "repeated parameter", body: good + "&scope=email", status: 400, code: "invalid_request"},
		{name: "not a form", contentType: "application/json", body: `{"client_id":"cli"}`, status: 400, code: "invalid_request"},
		{name: "in the URL", target: "/device_authorization?client_id=cli", status: 400, code: "invalid_request"},
		{name: "GET", method: "GET", status: 405, code: "method_not_allowed"},
		{name: "HEAD", method: "HEAD", status: 405},
		{name: "malformed scope", body: "client_id=cli&scope=%22", status: 400, code: "invalid_scope"},
		{name: "relative resource", body: good + "&resource=x", status: 400, code: "invalid_target"},
		{name: "resource with a fragment", body: good + "&resource=" + url.QueryEscape("https://r.example/#f"), status: 400, code: "invalid_target"},
		{name: "21 resources", body: good + strings.Repeat("&resource=https%3A%2F%2Fr.example%2F", 21), status: 400, code: "invalid_target"},
		{name: "not in the tailnet", as: netip.MustParseAddr("100.64.9.9"), body: good, status: 403, code: "access_denied"},
		{name: "script of another origin", body: good, header: []string{"Origin", "https://evil.example"}, status: 403, code: "access_denied"},
		{name: "script of a sandbox", body: good, header: []string{"Origin", "null"}, status: 403, code: "access_denied"},
		{name: "form of another site", body: good, header: []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, status: 403, code: "access_denied"},
		{name: "form of a neighbour", body: good, header: []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}, status: 403, code: "access_denied"},
		{name: "foreign host", body: good, header: []string{"Host", "evil.example"}, status: 421, code: "misdirected_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			def := func(s *string, v string) {
				if *s == "" {
					*s = v
				}
			}
			def(&tt.method, "POST")
			def(&tt.target, "/device_authorization")
			def(&tt.contentType, formType)
			if !tt.as.IsValid() {
				tt.as = ci
			}
			r := f.do(tt.as, tt.method, tt.target, tt.contentType, tt.body, tt.header...)
			if tt.method == "HEAD" {
				if r.status != tt.status {
					t.Errorf("status %d", r.status)
				}
				return
			}
			r.wantError(tt.status, tt.code)
			if r.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("open to other origins")
			}
		})
	}
	f.tailnet.set(func(ft *fakeTailnet) { ft.err = errTest })
	f.clock.advance(2 * time.Second)
	f.deviceAuthorization(ci).wantUnavailable()
	if n := s.called("Put") - before; n != 0 {
		t.Errorf("%d records written, want none", n)
	}
	public := f.in(t)
	public.client = serve(t, withTestPeer(f.p.PublicHandler()))
	public.deviceAuthorization(ci).wantError(404, "not_found")
	if body := public.devicePage(ada, "WDJB-MJHT").page(403); !strings.Contains(body, "You are not on the tailnet") {
		t.Errorf("page %s", content(body))
	}
}

// TestDeviceDefaultScope: as at the authorization endpoint.
func TestDeviceDefaultScope(t *testing.T) {
	f := newDeviceFixture(t)
	f.editClient("box", func(c *client) { c.Scope = "openid groups" })
	for _, tt := range []struct{ id, scope, want string }{
		{"cli", "", "openid profile email"}, {"cli", "openid,offline_access", "openid offline_access"},
		{"cli", " email  frob openid email ", "email openid"}, {"box", "", "openid groups"},
	} {
		secret := ""
		if tt.id == "box" {
			secret = webSecret
		}
		d := f.beginDevice(ada, "client_id", tt.id, "client_secret", secret, "scope", tt.scope)
		f.decide(ada, d.UserCode, "approve")
		if got := f.poll(d.DeviceCode, "client_id", tt.id, "client_secret", secret).tokens().Scope; got != tt.want {
			t.Errorf("scope %q of %s: got %q, want %q", tt.scope, tt.id, got, tt.want)
		}
	}
}

// TestDeviceTokenErrors is RFC 8628 section 3.5.
func TestDeviceTokenErrors(t *testing.T) {
	f := newDeviceFixture(t)
	f.addClient("cli2", "", admin.ClientMetadata{TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantDeviceCode}})
	pending, denied, approved := f.beginDevice(ci), f.beginDevice(ci), f.beginDevice(ci)
	if body := f.decide(ada, denied.UserCode, "deny"); !strings.Contains(body, "You have denied") {
		t.Errorf("result %s", content(body))
	}
	f.decide(ada, approved.UserCode, "approve")
	for _, tt := range []struct {
		name   string
		reply  *reply
		status int
		code   string
	}{
		{"no device code", f.poll(""), 400, "invalid_request"},
		{"garbage", f.poll("x"), 400, "invalid_grant"},
		{"unknown", f.poll(strings.Repeat("A", 43)), 400, "invalid_grant"},
		{"user code", f.poll(approved.UserCode), 400, "invalid_grant"},
		{"another client", f.poll(approved.DeviceCode, "client_id", "cli2"), 400, "invalid_grant"},
		{"another client, pending", f.poll(pending.DeviceCode, "client_id", "cli2"), 400, "invalid_grant"},
		{"not registered for it", f.poll(approved.DeviceCode, "client_id", "pub"), 400, "unauthorized_client"},
		{"unknown client", f.poll(approved.DeviceCode, "client_id", "nobody"), 401, "invalid_client"},
		{"no client", f.poll(approved.DeviceCode, "client_id", ""), 401, "invalid_client"},
		{"as an authorization code", f.post("/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {"pub"}, "code": {approved.DeviceCode}, "redirect_uri": {pubRedirect}}), 400, "invalid_grant"},
		{"more scope", f.poll(approved.DeviceCode, "scope", "openid groups"), 400, "invalid_scope"},
		{"more resources", f.poll(approved.DeviceCode, "resource", testResource), 400, "invalid_target"},
		{"denied", f.poll(denied.DeviceCode), 400, "access_denied"},
		{"denied, again", f.poll(denied.DeviceCode), 400, "access_denied"},
		{"pending", f.poll(pending.DeviceCode), 400, "authorization_pending"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.reply.t = t
			tt.reply.wantError(tt.status, tt.code)
		})
	}
	f.poll(approved.DeviceCode).tokens() // nothing of that has spent it
}

// TestDeviceExpiry: both codes end together, and who comes late is told.
func TestDeviceExpiry(t *testing.T) {
	f := newDeviceFixture(t)
	d, approved := f.beginDevice(ci), f.beginDevice(ci)
	f.decide(ada, approved.UserCode, "approve")
	proof := f.proof(ada, d.UserCode)
	f.clock.advance(10*time.Minute - time.Second)
	f.poll(d.DeviceCode).wantError(400, "authorization_pending")
	f.devicePage(ada, d.UserCode).page(200)
	late := f.proof(ada, d.UserCode)
	f.clock.advance(time.Second)
	for _, r := range []deviceResponse{d, approved} {
		f.poll(r.DeviceCode).wantError(400, "expired_token")
		if body := f.devicePage(ada, r.UserCode).page(400); !strings.Contains(body, "This code has expired") {
			t.Errorf("page %s", content(body))
		}
	}
	f.decideBy(ada, proof, "approve").page(400) // the form has expired, too
	r := f.decideBy(ada, late, "approve")
	if body := f.do(ada, "GET", r.header.Get("Location"), "", "", "Accept", "text/html").page(400); !strings.Contains(body, "This code has expired") {
		t.Errorf("page %s", content(body))
	}
	if got := f.stateOf(d); got != devicePending {
		t.Errorf("the request is %s, want it as it was", got)
	}
	// Long after, nobody remembers it.
	f.clock.advance(9*time.Minute + 59*time.Second)
	f.poll(d.DeviceCode).wantError(400, "expired_token")
	f.clock.advance(time.Second)
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
	if body := f.devicePage(ada, d.UserCode).page(400); !strings.Contains(body, "No device is waiting") {
		t.Errorf("page %s", content(body))
	}
}

// TestDeviceApprovedLast: what was approved in the last second is redeemed
// once, even if its record of being spent may go soon.
func TestDeviceApprovedLast(t *testing.T) {
	f := newDeviceFixture(t, func(c *Config) { c.Lifetimes = &Lifetimes{AccessToken: time.Second} })
	f.editClient("cli", func(c *client) { c.GrantTypes = []string{grantDeviceCode} })
	d := f.beginDevice(ci)
	f.decide(ada, d.UserCode, "approve")
	f.poll(d.DeviceCode).tokens()
	f.clock.advance(10*time.Minute - time.Second)
	if _, err := f.store.Expire(t.Context(), f.clock.now(), 1000); err != nil {
		t.Fatal(err)
	}
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
}

// TestDeviceSlowDown: "the interval MUST be increased by 5 seconds for this
// and all subsequent requests" (RFC 8628 section 3.5).
func TestDeviceSlowDown(t *testing.T) {
	s := newFaultStore(t)
	f := newDeviceFixture(t, func(c *Config) { c.Store = s })
	d := f.beginDevice(ci)
	for i, step := range []struct {
		after time.Duration
		want  string
		write bool
	}{
		{0, "authorization_pending", true},
		{0, "slow_down", true},                            // 10 s now
		{0, "slow_down", false},                           // and it hammers: told, not noted
		{9 * time.Second, "authorization_pending", true},  // a second of slack for the way
		{5 * time.Second, "slow_down", true},              // 15 s now
		{10 * time.Second, "slow_down", true},             // 20 s
		{20 * time.Second, "authorization_pending", true}, // as told
		{4 * time.Second, "slow_down", true},              // 25 s
		{500 * time.Millisecond, "slow_down", false},      // hammers
		{24*time.Second - 500*time.Millisecond, "authorization_pending", true},
		{25 * time.Second, "authorization_pending", true},
	} {
		f.clock.advance(step.after)
		before := s.called("Put")
		r := f.poll(d.DeviceCode)
		r.t = named{t, fmt.Sprintf("step %d", i)}
		r.wantError(400, step.want)
		if got := s.called("Put") > before; got != step.write {
			t.Errorf("step %d: written %t, want %t", i, got, step.write)
		}
	}
	for range 20 {
		f.clock.advance(2 * time.Second)
		f.poll(d.DeviceCode).wantError(400, "slow_down")
	}
	f.clock.advance(maxPollInterval * time.Second)
	f.poll(d.DeviceCode).wantError(400, "authorization_pending")
	// Whoever was too fast gets the tokens like anybody else.
	f.poll(d.DeviceCode).wantError(400, "slow_down")
	f.decide(ada, d.UserCode, "approve")
	f.poll(d.DeviceCode).tokens()
}

// TestDeviceSingleUse: of any number of polls one gets the tokens, and a
// replay ends them, except directly after.
func TestDeviceSingleUse(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	f.decide(ada, d.UserCode, "approve")
	var got []tokenResponse
	for _, r := range f.postAll(20, "/token", func(int) url.Values { return pollForm(d.DeviceCode) }) {
		if r.status == 200 {
			got = append(got, r.tokens())
			continue
		}
		r.wantError(400, "invalid_grant")
	}
	if len(got) != 1 {
		t.Fatalf("%d of 20 polls get tokens, want one", len(got))
	}
	if f.userinfo(got[0].AccessToken).status != 200 {
		t.Error("the tokens are dead at once")
	}
	f.clock.advance(doubleClick)
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
	f.userinfo(got[0].AccessToken).wantChallenge(401, `error="invalid_token"`)
	f.post("/token", refreshForm(got[0].RefreshToken, "client_id", "cli")).wantError(400, "invalid_grant")
}

// TestDevicePendingTogether: polls at once are none of them an error of ours.
func TestDevicePendingTogether(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	for _, r := range f.postAll(20, "/token", func(int) url.Values { return pollForm(d.DeviceCode) }) {
		if code := r.json(400)["error"]; code != "authorization_pending" && code != "slow_down" {
			t.Errorf("answer %s", r.body)
		}
	}
	f.decide(ada, d.UserCode, "approve")
	f.poll(d.DeviceCode).tokens()
}

// TestDeviceDecidedOnce: the first decision holds, whoever else wants to
// decide, and how.
func TestDeviceDecidedOnce(t *testing.T) {
	f := newDeviceFixture(t)
	t.Run("in turn", func(t *testing.T) {
		f := f.in(t)
		d := f.beginDevice(ci)
		adas, guss := f.proof(ada, d.UserCode), f.proof(gus, d.UserCode)
		f.decideBy(ada, adas, "approve")
		for _, again := range []*reply{f.decideBy(ada, adas, "deny"), f.decideBy(ada, adas, "approve"), f.decideBy(gus, guss, "deny"), f.decideBy(gus, guss, "approve")} {
			if again.status != http.StatusSeeOther {
				t.Errorf("answer %d %s", again.status, again.body)
			}
		}
		if body := f.devicePage(ada, d.UserCode).page(200); !strings.Contains(body, "which can be done once") || strings.Contains(body, "<form") {
			t.Errorf("ada sees %s", content(body))
		}
		if body := f.devicePage(gus, d.UserCode).page(200); !strings.Contains(body, "decided about this code already") || strings.Contains(body, "ada@") {
			t.Errorf("gus sees %s", content(body))
		}
		if sub := claimsOf(t, f.poll(d.DeviceCode).tokens().AccessToken)["sub"]; sub != "userid:1001" {
			t.Errorf("sub %v, want ada's", sub)
		}
		if body := f.devicePage(ada, d.UserCode).page(200); !strings.Contains(body, "You have approved") {
			t.Errorf("after the device has come, ada sees %s", content(body))
		}
	})
	t.Run("at once", func(t *testing.T) {
		f := f.in(t)
		d := f.beginDevice(ci)
		proofs := map[netip.Addr]string{ada: f.proof(ada, d.UserCode), gus: f.proof(gus, d.UserCode)}
		var wg sync.WaitGroup
		for i := range 20 {
			as, decision := []netip.Addr{ada, gus}[i%2], []string{"approve", "deny"}[i/2%2]
			wg.Go(func() {
				form := url.Values{"proof": {proofs[as]}, "decision": {decision}}
				req := httptest.NewRequest("POST", testIssuer+"/device", strings.NewReader(form.Encode()))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				w := httptest.NewRecorder()
				f.p.Handler().ServeHTTP(w, req.WithContext(WithPeer(req.Context(), as)))
				if w.Code != http.StatusSeeOther {
					t.Errorf("answer %d %s", w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if n := strings.Count(f.log.String(), "device login decided"); n != 2 { // one of them above
			t.Errorf("decided %d times", n)
		}
		switch f.stateOf(d) {
		case deviceApproved:
			f.poll(d.DeviceCode).tokens()
		case deviceDenied:
			f.poll(d.DeviceCode).wantError(400, "access_denied")
		default:
			t.Error("not decided")
		}
	})
}

// TestDeviceForged: nobody decides but the person who was shown the page, on
// that node, on purpose.
func TestDeviceForged(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	other := f.beginDevice(ci)
	proof, code := f.proof(ada, d.UserCode), f.code(ada)
	f.tailnet.set(func(ft *fakeTailnet) {
		ft.peers[netip.MustParseAddr("100.64.0.9")] = userPeer(1001, "ada@example.com", "Ada", "phone", netip.MustParseAddr("100.64.0.9"))
		ft.peers[netip.MustParseAddr("100.64.0.9")].Node.StableID = "nPHONECNTRL"
	})
	for _, tt := range []struct {
		name   string
		as     netip.Addr
		proof  string
		header []string
		status int
	}{
		{"other origin", ada, proof, []string{"Origin", "https://evil.example"}, 403},
		{"sandbox", ada, proof, []string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}, 403},
		{"http", ada, proof, []string{"Origin", "http://idp.tail1234.ts.net"}, 403},
		{"cross-site", ada, proof, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403},
		{"same-site", ada, proof, []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}, 403},
		{"no proof", ada, "", nil, 400},
		{"garbage", ada, "AAAA", nil, 400},
		{"changed", ada, proof[:len(proof)-4] + "AAAA", nil, 400},
		{"a code", ada, code, nil, 400},
		{"of somebody else", gus, proof, nil, 400},
		{"of another node", netip.MustParseAddr("100.64.0.9"), proof, nil, 400},
		{"of a machine", ci, proof, nil, 400},
		{"nobody", netip.MustParseAddr("100.64.9.9"), proof, nil, 403},
		{"foreign host", ada, proof, []string{"Host", "evil.example"}, 421},
	} {
		for _, decision := range []string{"approve", "deny"} {
			t.Run(tt.name+", "+decision, func(t *testing.T) {
				f := f.in(t)
				f.decideBy(tt.as, tt.proof, decision, tt.header...).page(tt.status)
				if got := f.stateOf(d); got != devicePending {
					t.Fatalf("the request is %s", got)
				}
			})
		}
	}
	f.decideBy(ada, proof, "perhaps").page(400)
	f.decideBy(ada, proof, "").page(400)
	f.do(ada, "POST", "/device?decision=approve", "application/x-www-form-urlencoded", "proof="+proof, "Accept", "text/html").page(400)
	f.do(ada, "POST", "/device", "text/plain", "decision=approve&proof="+proof, "Accept", "text/html").page(400)
	// A link decides nothing, whatever it says.
	f.do(ada, "GET", "/device?decision=approve&proof="+proof+"&user_code="+d.UserCode, "", "", "Accept", "text/html").page(200)
	f.clock.advance(10 * time.Minute)
	f.decideBy(ada, proof, "approve").page(400)
	if a, b := f.stateOf(d), f.stateOf(other); a != devicePending || b != devicePending {
		t.Errorf("the requests are %s and %s", a, b)
	}
}

// TestDeviceLink: a link in a mail opens the page; a page of another site
// cannot fetch it.
func TestDeviceLink(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	f.devicePage(ada, d.UserCode, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate").page(200)
	f.devicePage(ada, d.UserCode, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors").page(403)
	f.devicePage(ada, d.UserCode, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors").page(403)
	r := f.devicePage(ada, d.UserCode)
	// With no-referrer a browser would send the form with Origin: null.
	if got := r.header.Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("Referrer-Policy %q", got)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Access-Control-Allow-Origin": "", "Set-Cookie": ""} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	f.devicePage(ada, d.UserCode, "Host", "evil.example").page(421)
	if body := f.do(ada, "GET", "/device", "", "", "Accept", "text/html").page(200); !strings.Contains(body, `name="user_code"`) {
		t.Errorf("page %s", content(body))
	}
	f.devicePage(netip.MustParseAddr("100.64.9.9"), d.UserCode).page(403)
	f.do(ada, "PUT", "/device", "", "", "Accept", "text/html").page(405)
}

// TestDeviceApprover: who may approve is who may log in.
func TestDeviceApprover(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ada)
	if body := f.devicePage(ci, d.UserCode).page(403); !strings.Contains(body, "tagged tag:ci") {
		t.Errorf("page %s", content(body))
	}
	f.devicePage(eve, d.UserCode).page(403)
	// The proof of somebody who was allowed when the page was shown.
	proof := f.proof(gus, d.UserCode)
	f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) { res.Node.Tags = []string{"tag:x"} })
	f.clock.advance(time.Second)
	f.decideBy(gus, proof, "approve").page(400)
	if got := f.stateOf(d); got != devicePending {
		t.Errorf("the request is %s", got)
	}
	// On somebody else's device the page says so.
	const warning = "This is not a device of yours"
	if body := f.devicePage(adm, d.UserCode).page(200); !strings.Contains(body, warning) || !strings.Contains(body, "of ada@example.com") {
		t.Errorf("page %s", content(body))
	}
	if body := f.devicePage(ada, d.UserCode).page(200); strings.Contains(body, warning) {
		t.Errorf("page %s", content(body))
	}
	if body := f.devicePage(ada, f.beginDevice(ci).UserCode).page(200); strings.Contains(body, warning) {
		t.Errorf("page %s", content(body))
	}
}

// TestDevicePolicy: the policy is asked when the page is shown, when the
// person approves, and when the device comes.
func TestDevicePolicy(t *testing.T) {
	f := newDeviceFixture(t)
	f.editClient("cli", func(c *client) { c.Access = accessGranted })
	const open = `{"clients":["cli"]}`
	d := f.beginDevice(ci, "resource", testResource)
	refusal := func(body, want string) {
		t.Helper()
		m := grantElement.FindStringSubmatch(body)
		if m == nil || !strings.Contains(html.UnescapeString(m[1]), want) {
			t.Errorf("the page has no grant with %s: %s", want, content(body))
		}
	}
	refusal(f.devicePage(ada, d.UserCode).page(403), `"clients"`)
	f.allow(ada, open)
	refusal(f.devicePage(ada, d.UserCode).page(403), testResource)
	f.allow(ada, open, resourceRule(testResource))
	proof := f.proof(ada, d.UserCode)
	if body := f.devicePage(ada, d.UserCode).page(200); !strings.Contains(body, testResource) {
		t.Errorf("the page lacks the resource: %s", content(body))
	}
	f.allow(ada)
	refusal(f.decideBy(ada, proof, "approve").page(403), `"clients"`)
	if got := f.stateOf(d); got != devicePending {
		t.Fatalf("the request is %s", got)
	}
	f.allow(ada, open, resourceRule(testResource))
	f.decideBy(ada, proof, "approve")
	f.allow(ada)
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
	f.tailnet.set(func(ft *fakeTailnet) { ft.err = errTest })
	f.clock.advance(time.Second)
	f.poll(d.DeviceCode).wantUnavailable()
	f.tailnet.set(func(ft *fakeTailnet) { ft.err = nil })
	f.allow(ada, open, resourceRule(testResource))
	res := f.poll(d.DeviceCode).tokens()
	if aud := audienceOf(t, res.AccessToken); aud != testResource {
		t.Errorf("aud %v", aud)
	}
	// Who may not approve may still deny what they were shown.
	d = f.beginDevice(ci)
	proof = f.proof(ada, d.UserCode)
	f.allow(ada)
	f.decideBy(ada, proof, "deny")
	f.poll(d.DeviceCode).wantError(400, "access_denied")
}

// TestDeviceMoved: the approver's node is not the one it was.
func TestDeviceMoved(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	f.decide(ada, d.UserCode, "approve")
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.StableID = "nOTHERCNTRL" })
	f.clock.advance(time.Second)
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
	f.tailnet.set(func(ft *fakeTailnet) { delete(ft.peers, ada) })
	f.clock.advance(time.Second)
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
}

// TestDeviceClientDeleted at each step of the way.
func TestDeviceClientDeleted(t *testing.T) {
	f := newDeviceFixture(t)
	begin := func(id string) deviceResponse {
		f.addClient(id, "", admin.ClientMetadata{TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantDeviceCode, grantRefreshToken}})
		return f.beginDevice(ci, "client_id", id)
	}
	first, second, third, fourth := begin("c1"), begin("c2"), begin("c3"), begin("c4")
	f.deleteClient("c1")
	if body := f.devicePage(ada, first.UserCode).page(400); !strings.Contains(body, "no longer registered") {
		t.Errorf("page %s", content(body))
	}
	f.poll(first.DeviceCode, "client_id", "c1").wantError(401, "invalid_client")

	proof := f.proof(ada, second.UserCode)
	f.deleteClient("c2")
	f.decideBy(ada, proof, "approve").page(400)
	if got := f.stateOf(second); got != devicePending {
		t.Errorf("the request is %s", got)
	}

	f.decide(ada, third.UserCode, "approve")
	f.clock.advance(time.Second)
	f.deleteClient("c3")
	f.poll(third.DeviceCode, "client_id", "c3").wantError(401, "invalid_client")
	// A client of that name is another one: what was approved is revoked.
	f.addClient("c3", "", admin.ClientMetadata{TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantDeviceCode}})
	f.poll(third.DeviceCode, "client_id", "c3").wantError(400, "invalid_grant")

	f.decide(ada, fourth.UserCode, "approve")
	f.editClient("c4", func(c *client) { c.Disabled = true })
	f.poll(fourth.DeviceCode, "client_id", "c4").wantError(400, "invalid_grant")
}

// TestDeviceRevoked: a revocation stops what was approved before it, and not
// what is approved after it.
func TestDeviceRevoked(t *testing.T) {
	f := newDeviceFixture(t)
	before, after := f.beginDevice(ci), f.beginDevice(ci)
	f.decide(ada, before.UserCode, "approve")
	f.clock.advance(time.Second)
	if _, err := f.store.Revoke(t.Context(), store.Revocation{
		Select: store.Selector{Index: map[string]string{indexUser: "userid:1001", indexClient: "cli"}}, Reason: "test", Now: f.clock.now(), KeepFor: deadFor,
	}); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(time.Second)
	f.decide(ada, after.UserCode, "approve")
	f.poll(before.DeviceCode).wantError(400, "invalid_grant")
	f.poll(after.DeviceCode).tokens()
}

// TestDeviceRestart: what has begun goes on at another instance.
func TestDeviceRestart(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	proof := f.proof(ada, d.UserCode)
	restart := func() *fixture {
		t.Helper()
		cfg := f.p.cfg
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		g := f.in(t)
		g.p = p
		g.run()
		g.client = serve(t, withTestPeer(p.Handler()))
		return g
	}
	second := restart()
	second.poll(d.DeviceCode).wantError(400, "authorization_pending")
	second.devicePage(ada, d.UserCode).page(200)
	second.decideBy(ada, proof, "approve")
	third := restart()
	third.poll(d.DeviceCode).tokens()
	f.poll(d.DeviceCode).wantError(400, "invalid_grant")
}

// A conflictStore has writes of device requests meet others.
type conflictStore struct {
	store.Store
	mu    sync.Mutex
	first int // so many writes fail
}

func (s *conflictStore) Put(ctx context.Context, r store.Record, now time.Time) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Kind == kindDevice && r.Version > 0 && s.first > 0 {
		s.first--
		return 0, store.ErrConflict
	}
	return s.Store.Put(ctx, r, now)
}

// TestDeviceConflict: a poll that meets a decision is no error, and a decision
// that meets polls is not lost.
func TestDeviceConflict(t *testing.T) {
	s := &conflictStore{Store: newFaultStore(t)}
	f := newDeviceFixture(t, func(c *Config) { c.Store = s })
	set := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.first = n
	}
	d := f.beginDevice(ci)
	set(1)
	f.poll(d.DeviceCode).wantError(400, "authorization_pending")
	proof := f.proof(ada, d.UserCode)
	set(maxDecideTries)
	f.decideBy(ada, proof, "approve").wantUnavailable()
	set(maxDecideTries - 1)
	f.decideBy(ada, proof, "approve")
	f.poll(d.DeviceCode).tokens()
}

// TestDeviceSecretsAtRest: the store has neither code.
func TestDeviceSecretsAtRest(t *testing.T) {
	s := &spyStore{faultStore: newFaultStore(t)}
	f := newDeviceFixture(t, func(c *Config) { c.Store, c.DebugRequests = s, true })
	d := f.beginDevice(ci)
	f.poll(d.DeviceCode)
	f.decide(ada, d.UserCode, "approve")
	res := f.poll(d.DeviceCode).tokens()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(s.seen.String(), "ci1.tail1234.ts.net") {
		t.Fatal("the store has not seen the request")
	}
	secrets := []string{d.DeviceCode, d.UserCode, strings.ReplaceAll(d.UserCode, "-", ""), res.AccessToken, res.RefreshToken}
	for _, secret := range secrets {
		if strings.Contains(s.seen.String(), secret) {
			t.Errorf("the store has seen %s", secret)
		}
	}
	f.wantSilentLog(secrets...)
}

// TestC57Spelling: all spellings of a code that people type.
func TestC57Spelling(t *testing.T) {
	for typed, want := range map[string]string{
		"WDJB-MJHT": "WDJBMJHT", "wdjb-mjht": "WDJBMJHT", "WDJBMJHT": "WDJBMJHT", " WDJB MJHT ": "WDJBMJHT", "W D J B M J H T": "WDJBMJHT",
		"WDJB\u2010MJHT": "WDJBMJHT", "WDJB\u2013MJHT": "WDJBMJHT", "WDJB\u2212MJHT": "WDJBMJHT", "WDJB\u00a0MJHT\u200b": "WDJBMJHT",
		"WDJB_MJHT.": "WDJBMJHT", "\tWdJb--mJhT\n": "WDJBMJHT",
		"": "", "WDJB": "", "WDJB-MJH": "", "WDJB-MJHTT": "", "WDJB-MJH0": "", "WDJB-MJHO": "", "WDJB-MJHA": "", "WDJB-MJHÄ": "", "WDJB-MJH\u017f": "", "ＷDJB-MJHT": "",
		"WDJB0MJHT": "", "WDJB-MJHT\x00": "WDJBMJHT", "WDJB-MJHT" + strings.Repeat(" ", 300): "",
	} {
		got, ok := parseUserCode(typed)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q is %q, %t; want %q", typed, got, ok, want)
		}
	}
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	for _, typed := range []string{strings.ToLower(d.UserCode), strings.ReplaceAll(d.UserCode, "-", ""), " " + strings.ReplaceAll(d.UserCode, "-", "\u2013") + " "} {
		if body := f.devicePage(ada, typed).page(200); !strings.Contains(body, d.UserCode) {
			t.Errorf("%q: %s", typed, content(body))
		}
	}
	if body := f.devicePage(ada, "WDJB-MJH0").page(400); !strings.Contains(body, "no digits and no vowels") || !strings.Contains(body, `value="WDJB-MJH0"`) {
		t.Errorf("page %s", content(body))
	}
}

func FuzzParseUserCode(f *testing.F) {
	for _, s := range []string{"WDJB-MJHT", "wdjb mjht", "", "WDJB\u2013MJHT", "AEIOU", "\xff\xfe", "ſſſſſſſſ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code, ok := parseUserCode(s)
		if !ok {
			return
		}
		if len(code) != userCodeLen || strings.Trim(code, userCodeLetters) != "" {
			t.Fatalf("%q is %q", s, code)
		}
		if again, ok := parseUserCode(showUserCode(code)); !ok || again != code {
			t.Fatalf("%q shown and read again is %q", code, again)
		}
	})
}

// TestUserCodes: codes are of the letters that they may have, all of them.
func TestUserCodes(t *testing.T) {
	seen, letters := make(map[string]bool), make(map[rune]int)
	for range 1000 {
		code := newUserCode()
		if again, ok := parseUserCode(showUserCode(code)); !ok || again != code || seen[code] {
			t.Fatalf("code %q", code)
		}
		seen[code] = true
		for _, r := range code {
			letters[r]++
		}
	}
	for _, r := range userCodeLetters {
		if n := letters[r]; n < 250 || n > 600 { // 400 of 8000, σ = 19.5
			t.Errorf("%c comes %d times of 8000", r, n)
		}
	}
}

// wrongCode is a code that no device has, nearly certainly.
func wrongCode(i int) string {
	return "BBBBBB" + string(userCodeLetters[i/20%20]) + string(userCodeLetters[i%20])
}

// TestDeviceTries: five wrong codes, for each person by themselves (RFC 8628
// section 5.1).
func TestDeviceTries(t *testing.T) {
	f := newDeviceFixture(t)
	d := f.beginDevice(ci)
	for range 20 { // right codes and what could be none cost nothing
		f.devicePage(ada, d.UserCode).page(200)
		f.devicePage(ada, "WDJB-MJH0").page(400)
	}
	for i := range 5 {
		f.devicePage(ada, wrongCode(i)).page(400)
		f.clock.advance(time.Second)
	}
	for _, code := range []string{wrongCode(6), d.UserCode} {
		r := f.devicePage(ada, code)
		if body := r.page(429); !strings.Contains(body, "Too many tries") || proofField.MatchString(body) {
			t.Errorf("page %s", content(body))
		}
		if got := r.header.Get("Retry-After"); got != "595" {
			t.Errorf("Retry-After %q, want 595", got)
		}
	}
	f.devicePage(gus, d.UserCode).page(200)
	f.clock.advance(595*time.Second - time.Millisecond)
	f.devicePage(ada, wrongCode(7)).page(429)
	f.clock.advance(time.Millisecond)
	d = f.beginDevice(ci)
	f.devicePage(ada, d.UserCode).page(200)
	f.devicePage(ada, wrongCode(7)).page(400)
	f.devicePage(ada, wrongCode(7)).page(429)

	// All at once is not more.
	f.clock.advance(time.Hour)
	var mu sync.Mutex
	statuses := make(map[int]int)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			w := httptest.NewRecorder()
			req := httptest.NewRequest("GET", testIssuer+"/device?user_code="+wrongCode(i), nil)
			f.p.Handler().ServeHTTP(w, req.WithContext(WithPeer(req.Context(), ada)))
			mu.Lock()
			defer mu.Unlock()
			statuses[w.Code]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{400: 5, 429: 45}, statuses); diff != "" {
		t.Errorf("50 guesses (-want +got):\n%s", diff)
	}
}

// TestDeviceRequestsBounded: each is a row of the store.
func TestDeviceRequestsBounded(t *testing.T) {
	f := newDeviceFixture(t)
	for range maxDeviceRequests {
		f.beginDevice(ci)
	}
	r := f.deviceAuthorization(ci)
	r.wantError(429, "too_many_requests")
	if r.header.Get("Retry-After") != "600" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	f.beginDevice(ada)
	f.clock.advance(deviceRequestWindow)
	f.beginDevice(ci)
}

// TestDeviceSameUserCode: neither of two devices with one code is approved.
func TestDeviceSameUserCode(t *testing.T) {
	f := newDeviceFixture(t)
	one, two := f.beginDevice(ci), f.beginDevice(ci)
	rec, err := f.p.storage.deviceByCode(t.Context(), two.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	code, _ := parseUserCode(one.UserCode)
	rec.record.Index = map[string]string{indexUserCode: hashText(code)}
	if err := f.p.storage.writeDevice(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	f.devicePage(ada, one.UserCode).page(400)
}

// TestDevicePageEscapes: what others have written is text on the page.
func TestDevicePageEscapes(t *testing.T) {
	for _, payload := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</title><script>alert(1)</script>`, `javascript:alert(1)`, `{{.Code}}`, `&lt;b&gt;`,
	} {
		f := newDeviceFixture(t)
		f.addClient("evil", "", admin.ClientMetadata{Name: payload, ClientURI: "https://evil.example/" + payload, TokenEndpointAuthMethod: authNone, GrantTypes: []string{grantDeviceCode}})
		f.allow(ada, `{"users":["*"],"resources":["*"]}`)
		f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) {
			res.UserProfile.LoginName, res.Node.Name = payload, "n"+payload+".tail1234.ts.net."
		})
		f.clock.advance(time.Second)
		d := f.beginDevice(gus, "client_id", "evil", "resource", "https://r.example/")
		for _, body := range []string{
			f.devicePage(ada, d.UserCode).page(200), f.devicePage(ada, payload).page(400), f.devicePage(gus, payload+"-"+d.UserCode).page(400),
		} {
			rest := styleElement.ReplaceAllString(body, "")
			if strings.Contains(rest, "<script") || strings.Contains(rest, "<img") || strings.Count(rest, "</title>") != 1 || strings.Contains(rest, "href") {
				t.Errorf("%s is markup: %s", payload, rest)
			}
			if strings.Contains(body, "no value") || strings.Contains(body, "ZgotmplZ") {
				t.Errorf("the page has holes: %s", content(body))
			}
		}
		if body := f.devicePage(ada, d.UserCode).page(200); !strings.Contains(html.UnescapeString(body), payload) {
			t.Errorf("the page does not show the name %s: %s", payload, content(body))
		}
	}
}

// TestDeviceSelfNamed: a name that only the client stands for is marked, and
// the page says where it comes from.
func TestDeviceSelfNamed(t *testing.T) {
	f := newDeviceFixture(t)
	const warning = "has chosen this name itself"
	d := f.beginDevice(ci)
	for _, origin := range []string{originAdministrator, originDeclared} {
		f.editClient("cli", func(c *client) { c.Origin = origin })
		if body := f.devicePage(ada, d.UserCode).page(200); strings.Contains(body, warning) {
			t.Errorf("%s: page %s", origin, content(body))
		}
	}
	f.editClient("cli", func(c *client) {
		c.Origin, c.Owner = originRegistered, &clientOwner{Subject: "userid:1002", Login: "gus@github", Name: "gusbook"}
	})
	if body := f.devicePage(ada, d.UserCode).page(200); !strings.Contains(body, warning) || !strings.Contains(body, "gus@github on gusbook") {
		t.Errorf("page %s", content(body))
	}
}

// TestDeviceShowsAllScopes: whatever would be granted stands on the page, also
// what only a rule knows.
func TestDeviceShowsAllScopes(t *testing.T) {
	f := newDeviceFixture(t)
	f.allow(ada, `{"scopes":["mcp:*"]}`)
	d := f.beginDevice(ci, "scope", "openid mcp:write offline_access")
	body := f.devicePage(ada, d.UserCode).page(200)
	for _, scope := range []string{scopeOpenID, "mcp:write", scopeOfflineAccess} {
		if !strings.Contains(body, scopeInWords(scope)) {
			t.Errorf("the page does not show %s: %s", scope, content(body))
		}
	}
}

// TestDeviceApprovalIsForWhatWasShown: what has changed since is looked at
// again.
func TestDeviceApprovalIsForWhatWasShown(t *testing.T) {
	for name, change := range map[string]func(*fixture){
		"name":  func(f *fixture) { f.editClient("cli", func(c *client) { c.Name = "Bank" }) },
		"scope": func(f *fixture) { f.allow(ada, `{"scopes":["mcp:*"]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newDeviceFixture(t)
			d := f.beginDevice(ci, "scope", "openid mcp:write")
			proof := f.proof(ada, d.UserCode)
			change(f)
			f.clock.advance(2 * time.Second)
			f.decideBy(ada, proof, "approve").page(http.StatusBadRequest)
			f.poll(d.DeviceCode).wantError(400, "authorization_pending")
			f.decide(ada, d.UserCode, "approve")
			f.clock.advance(10 * time.Second)
			f.poll(d.DeviceCode).tokens()
		})
	}
}
