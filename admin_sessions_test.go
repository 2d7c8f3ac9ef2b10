// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

// sessions returns those that a query selects, over all its pages.
func (f *fixture) sessions(query string) []map[string]any {
	f.t.Helper()
	var all []map[string]any
	for after := ""; ; {
		page := f.do(adm, "GET", pathSessions+"?limit=2&"+query+after, "", "").json(200)
		for _, s := range page["sessions"].([]any) {
			all = append(all, s.(map[string]any))
		}
		next, ok := page["next"].(string)
		if !ok {
			return all
		}
		after = "&after=" + url.QueryEscape(next)
	}
}

// wantEmpty checks an answer without a body.
func (r *reply) wantEmpty(status int) {
	r.t.Helper()
	if r.status != status || r.body != "" {
		r.t.Errorf("answer %d %s, want %d and nothing", r.status, r.body, status)
	}
}

// TestSessions: who is logged in where is found by user, node and client, and
// ended one by one or together; what was on its way ends with it.
func TestSessions(t *testing.T) {
	f := newFixture(t)
	first, second := f.login(ada), f.login(ada)
	pub := f.redeemPub(f.code(ada, forPub()...)).tokens()
	other := f.login(gus)
	for query, want := range map[string]int{
		"": 4, "user=userid:1001": 3, "user=userid:1001&client=web": 2, "client=web": 3, "client=pub": 1, "user=userid:1001&client=pub": 1,
		"node=n1001CNTRL": 3, "node=n1002CNTRL&client=web": 1, "node=n1002CNTRL&client=pub": 0, "user=userid:9": 0, "user=ada@example.com": 3,
	} {
		if got := f.sessions(query); len(got) != want {
			t.Errorf("%q: %d sessions, want %d", query, len(got), want)
		}
	}
	s := f.sessions("client=pub")[0]
	for name, want := range map[string]string{
		"client_id": "pub", "sub": "userid:1001", "login": "ada@example.com", "node": "n1001CNTRL", "node_name": "lap.tail1234.ts.net",
		"scopes": "[openid]", "created_at": f.clock.now().Format(time.RFC3339), "used_at": f.clock.now().Format(time.RFC3339),
	} {
		if got := fmt.Sprint(s[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}

	one, _ := grantOf(claimsOf(t, first.AccessToken)["jti"].(string))
	f.do(adm, "DELETE", pathSessions+"/"+one, "", "").wantEmpty(204)
	f.do(adm, "DELETE", pathSessions+"/"+one, "", "").wantError(404, "not_found")
	f.refresh(first.RefreshToken).wantError(400, "invalid_grant")
	f.userinfo(first.AccessToken).wantError(401, "invalid_token")
	f.userinfo(second.AccessToken).json(200)

	code := f.code(ada)
	if r := f.do(adm, "DELETE", pathSessions+"?user=userid:1001&client=web", "", ""); r.status != 200 || strings.TrimSpace(r.body) != `{"revoked":1}` {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	f.refresh(second.RefreshToken).wantError(400, "invalid_grant")
	f.redeem(code).wantError(400, "invalid_grant")
	f.redeemPub("", "grant_type", "refresh_token", "refresh_token", pub.RefreshToken).tokens()
	f.refresh(other.RefreshToken).tokens()
	if got := f.sessions("user=userid:1001"); len(got) != 1 || got[0]["client_id"] != "pub" {
		t.Errorf("left: %v", got)
	}
}

// TestSessionsOfTheGone: sessions outlive their clients' names, devices and a
// tailnet that does not answer.
func TestSessionsOfTheGone(t *testing.T) {
	f := newFixture(t)
	f.login(ada)
	f.login(gus)
	f.tailnet.set(func(n *fakeTailnet) { delete(n.peers, gus) })
	f.clock.advance(2 * maxAnswerAge)
	if s := f.sessions("user=userid:1002")[0]; s["login"] != nil || s["node_name"] != nil || s["node"] != "n1002CNTRL" {
		t.Errorf("session of a device that is gone: %v", s)
	}
	page, err := (&backend{f.p}).Sessions(t.Context(), admin.SessionQuery{Limit: 10})
	if err != nil || len(page.Sessions) != 2 {
		t.Fatalf("%d sessions, %v", len(page.Sessions), err)
	}
	f.tailnet.set(func(n *fakeTailnet) { n.err = errors.New("no answer") })
	f.clock.advance(2 * maxAnswerAge)
	if page, err = (&backend{f.p}).Sessions(t.Context(), admin.SessionQuery{Limit: 10}); err != nil || len(page.Sessions) != 2 || page.Sessions[0].Login != "" {
		t.Errorf("without an answer of the tailnet: %v, %v", page.Sessions, err)
	}
}

// TestSessionsBadInput of an administrator, and of who is none.
func TestSessionsBadInput(t *testing.T) {
	f := newFixture(t)
	f.login(ada)
	f.do(adm, "DELETE", pathSessions, "", "").wantError(400, "invalid_request")
	f.do(adm, "DELETE", pathSessions+"?users=userid:1001", "", "").wantError(400, "invalid_request")
	for _, path := range []string{pathSessions, pathConsents} {
		for _, query := range []string{"limit=0", "limit=x", "limit=1001", "after=%21", "after=eA", "after=eHh4."} {
			f.do(adm, "GET", path+"?"+query, "", "").wantError(400, "invalid_request")
		}
		for _, id := range []string{"x", "%00", strings.Repeat("0", 32), strings.Repeat("x", 3000)} {
			f.do(adm, "DELETE", path+"/"+id, "", "").wantError(404, "not_found")
		}
		f.do(ada, "GET", path, "", "").wantError(403, "access_denied")
		f.do(ada, "DELETE", path+"/x", "", "").wantError(403, "access_denied")
		f.do(adm, "DELETE", path+"/x", "", "", "Sec-Fetch-Site", "cross-site").wantError(403, "access_denied")
	}
	f.do(ada, "DELETE", pathSessions+"?user=userid:1001", "", "").wantError(403, "access_denied")
	if got := f.sessions(""); len(got) != 1 {
		t.Errorf("%d sessions left, want 1", len(got))
	}
}

// TestRevokeConsent: what a person agreed to is shown; taken back, it is asked
// for again, and what was granted on it ends. Other people keep theirs.
func TestRevokeConsent(t *testing.T) {
	f := withAgent(t)
	b := f.browser(ada)
	allow := func() string {
		t.Helper()
		return b.press(b.login(forAgent("scope", "openid email")...).page(http.StatusOK), "yes").redirect().Get("code")
	}
	res := f.redeemPub(allow(), "client_id", "agent", "redirect_uri", agentRedirect).tokens()
	page := f.do(adm, "GET", pathConsents+"?user=userid:1001&client=agent", "", "").json(200)
	list := page["consents"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d consents, want 1: %v", len(list), page)
	}
	c := list[0].(map[string]any)
	for name, want := range map[string]string{
		"client_id": "agent", "client_name": "Agent", "sub": "userid:1001", "login": "ada@example.com", "redirect_host": "https://agent.example", "scopes": "[openid email]",
	} {
		if got := fmt.Sprint(c[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, query := range []string{"user=userid:1002", "client=web", "user=userid:1001&client=web", "client=agent&user=userid:1002"} {
		if page := f.do(adm, "GET", pathConsents+"?"+query, "", "").json(200); len(page["consents"].([]any)) != 0 {
			t.Errorf("%s: %v", query, page)
		}
	}

	id := c["id"].(string)
	own := &backend{f.p}
	if err := own.RevokeConsent(t.Context(), id, "userid:1002"); asProtocolError(err).code != codeNotFound {
		t.Errorf("somebody else's consent: %v", err)
	}
	grant := f.sessions("client=agent")[0]["id"].(string)
	if err := own.RevokeSession(t.Context(), grant, "userid:1002"); asProtocolError(err).code != codeNotFound {
		t.Errorf("somebody else's session: %v", err)
	}
	f.userinfo(res.AccessToken).json(200)

	code := b.login(forAgent("scope", "openid email")...).redirect().Get("code")
	f.do(adm, "DELETE", pathConsents+"/"+id, "", "").wantEmpty(204)
	f.do(adm, "DELETE", pathConsents+"/"+id, "", "").wantError(404, "not_found")
	f.userinfo(res.AccessToken).wantError(401, "invalid_token")
	f.redeemPub(code, "client_id", "agent", "redirect_uri", agentRedirect).wantError(400, "invalid_grant")
	allow()
	if got := f.sessions("client=agent"); len(got) != 0 {
		t.Errorf("sessions left: %v", got)
	}
}

// TestClientTimes: the API says when a client was last used, and being used
// is no change that an administrator's edit would collide with.
func TestClientTimes(t *testing.T) {
	f := newFixture(t)
	before := f.show("web")
	if v := before.json(200); v["used_at"] != nil || v["expires_at"] != nil {
		t.Errorf("an unused client of an administrator: %v", v)
	}
	f.login(ada)
	after := f.show("web")
	if got := after.json(200)["used_at"]; got != f.clock.now().Format(time.RFC3339) {
		t.Errorf("used at %v", got)
	}
	tag := before.header.Get("ETag")
	if after.header.Get("ETag") != tag {
		t.Error("use has changed the ETag")
	}
	f.put("web", `{"redirect_uris":["`+webRedirect+`"],"client_name":"Web"}`, "If-Match", tag).json(200)
	f.put("web", `{"redirect_uris":["`+webRedirect+`"]}`, "If-Match", tag).wantError(412, "precondition_failed")
	if f.show("web").json(200)["used_at"] == nil {
		t.Error("the change has forgotten the use")
	}
	c := f.registered(adm)
	if f.show(c.ID).json(200)["expires_at"] == nil {
		t.Error("a registration that does not say when it ends")
	}
}

// FuzzAfter: what stands for the place in a list is one that a page has named,
// or an error for who sent it.
func FuzzAfter(f *testing.F) {
	fx := newFixture(f)
	for range 3 {
		fx.login(ada)
	}
	b := &backend{fx.p}
	first, err := b.Sessions(f.Context(), admin.SessionQuery{Subjects: []string{"userid:1001", "userid:1002"}, Limit: 1})
	if err != nil || first.Next == "" {
		f.Fatalf("no second page: %v", err)
	}
	for _, s := range []string{first.Next, "", ".", "..", ".userid:1002", "eA.userid:1001", first.Next + "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, after string) {
		for _, q := range []admin.SessionQuery{{}, {Subjects: []string{"userid:1001", "userid:1002"}}, {Client: "web"}} {
			q.After, q.Limit = after, 1
			if _, err := b.Sessions(t.Context(), q); err != nil && asProtocolError(err).code != codeInvalidRequest {
				t.Errorf("after %q: %v", after, err)
			}
		}
	})
}
