// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/tailcfg"
)

// addPeer adds a user's node to the tailnet.
func (f *fixture) addPeer(addr netip.Addr, id int64, login, host string, tags ...string) {
	f.tailnet.set(func(tn *fakeTailnet) {
		res := userPeer(tailcfg.UserID(id), login, "", host, addr, machineRule)
		res.Node.Tags = tags
		tn.peers[addr] = res
	})
}

var (
	ada2 = netip.MustParseAddr("100.64.7.1")
	ci2  = netip.MustParseAddr("100.64.7.2")
)

// TestSubjects: whom a name means.
func TestSubjects(t *testing.T) {
	f := newFixture(t)
	f.addPeer(ada2, 2001, "Ada@Example.com", "old") // another account with her login
	f.addPeer(ci2, 998, "tagged-devices", "ci2", "tag:ci")
	f.addClient("a@b", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
	f.writeEvents(
		AuditEvent{Event: "login", Login: "gone@example.com", User: "userid:77"}, AuditEvent{Event: "login", Login: "Gone@example.com", User: "userid:78"},
		AuditEvent{Event: "login", Login: "gone@example.com", User: "userid:77"}, AuditEvent{Event: "login", Login: "root@example.com", User: "userid:5"},
	)
	b := &backend{f.p}
	for name, want := range map[string]string{
		"ada@example.com": "userid:1001 userid:2001", "ADA@EXAMPLE.COM": "userid:1001 userid:2001", "gus@github": "userid:1002",
		"tag:ci": "node:n998CNTRL node:n999CNTRL", "userid:1001": "userid:1001", "node:n999CNTRL": "node:n999CNTRL", "lap": "lap",
		"gone@example.com": "userid:77 userid:78", "GONE@EXAMPLE.COM": "userid:77 userid:78",
		"root@example.com": "userid:1003", // the tailnet says who has that login now
		"a@b":              "a@b",
	} {
		got, err := b.Subjects(t.Context(), name)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, want)
		}
	}
	for name, want := range map[string]string{"nobody@example.com": "give its sub (userid:N)", "tag:none": "give the sub of the node's tokens", "@": "not known here"} {
		if got, err := b.Subjects(t.Context(), name); err == nil || asProtocolError(err).code != codeNotFound || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", name, got, err, want)
		}
	}
	// Who cannot be asked does not become nobody, but a sub needs no asking.
	f.tailnet.set(func(tn *fakeTailnet) { tn.err = errTest })
	if _, err := b.Subjects(t.Context(), "gone@example.com"); err == nil || asProtocolError(err).code != codeUnavailable {
		t.Errorf("with the tailnet down: %v", err)
	}
	if got, err := b.Subjects(t.Context(), "userid:1001"); err != nil || len(got) != 1 {
		t.Errorf("with the tailnet down: %v, %v", got, err)
	}
}

// TestSubjectsWithoutList: the audit log knows people of a tailnet that lists
// no nodes.
func TestSubjectsWithoutList(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tailnet = struct{ Tailnet }{c.Tailnet} })
	f.writeEvents(AuditEvent{Event: "login", Login: "ada@example.com", User: "userid:1001"})
	b := &backend{f.p}
	if got, err := b.Subjects(t.Context(), "ada@example.com"); err != nil || !slices.Equal(got, []string{"userid:1001"}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := b.Subjects(t.Context(), "gus@github"); err == nil || asProtocolError(err).code != codeNotFound {
		t.Error(err)
	}
}

// TestSubjectsMany: a tag that very many nodes have is refused, not cut short.
func TestSubjectsMany(t *testing.T) {
	f := newFixture(t)
	for i := range maxSubjects + 1 {
		f.addPeer(netip.AddrFrom4([4]byte{100, 70, byte(i >> 8), byte(i)}), int64(30000+i), "tagged-devices", fmt.Sprintf("s%d", i), "tag:many")
	}
	_, err := (&backend{f.p}).Subjects(t.Context(), "tag:many")
	if err == nil || asProtocolError(err).code != codeInvalidRequest || !strings.Contains(err.Error(), "1001 nodes") {
		t.Error(err)
	}
	says(t, f.look(adm, "/admin/sessions?user=tag:many").page(400), "give one of them as node")
}

// TestSessionsOfLogin: by a login, in any letter case, and however much the
// audit log has seen since, an administrator finds and ends all that it means.
func TestSessionsOfLogin(t *testing.T) {
	f := newFixture(t)
	f.addPeer(ada2, 2001, "Ada@Example.com", "old")
	tokens := []tokenResponse{f.login(ada), f.login(ada), f.login(ada2)}
	other := f.login(gus)
	for range 5 {
		f.writeEvents(AuditEvent{Event: "login", Login: "ada@example.com", User: "userid:2001"})
	}
	path := pathSessions + "?user=ADA@example.com"
	// One at a time, each once.
	seen := make(map[string]bool)
	for after, pages := "", 0; ; pages++ {
		page := f.do(adm, "GET", path+"&limit=1&after="+url.QueryEscape(after), "", "").json(200)
		for _, s := range page["sessions"].([]any) {
			id := s.(map[string]any)["id"].(string)
			if seen[id] {
				t.Errorf("session %s is on two pages", id)
			}
			seen[id] = true
		}
		var more bool
		if after, more = page["next"].(string); !more {
			break
		}
		if pages > 10 {
			t.Fatal("the list does not end")
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d sessions, want 3", len(seen))
	}
	if got := f.sessions("user=ada@example.com&node=n2001CNTRL"); len(got) != 1 || got[0]["sub"] != "userid:2001" {
		t.Errorf("on one node: %v", got)
	}
	for _, after := range []string{".userid:1002", "eA.userid:1001"} {
		f.do(adm, "GET", path+"&after="+after, "", "").wantError(400, "invalid_request")
	}
	body := f.look(adm, "/admin/sessions?user=ADA@example.com").page(200)
	says(t, body, "All sessions of ADA@example.com (userid:1001, userid:2001) end")
	if form := formOf(t, body, `value="end-all"`); !slices.Equal(form["user"], []string{"userid:1001", "userid:2001"}) {
		t.Errorf("the form is about %v", form["user"])
	}
	if r := f.do(adm, "DELETE", path, "", ""); r.status != 200 || strings.TrimSpace(r.body) != `{"revoked":3}` {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	for _, res := range tokens {
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
	}
	f.refresh(other.RefreshToken).tokens()

	// Nobody by that name is not the same as no session.
	for _, method := range []string{"GET", "DELETE"} {
		f.do(adm, method, pathSessions+"?user=nobody@example.com", "", "").wantError(404, "not_found")
	}
	f.do(adm, "GET", pathConsents+"?user=nobody@example.com", "", "").wantError(404, "not_found")
	for page, none := range map[string]string{"/admin/sessions": "There is no live session", "/admin/consents": "Nobody has been asked"} {
		body := f.look(adm, page+"?user=nobody@example.com").page(404)
		says(t, body, "is not known here", "give its sub (userid:N)")
		if strings.Contains(body, none) || strings.Contains(body, `value="end-all"`) {
			t.Errorf("%s speaks of nobody's as if there were none: %s", page, readable(body))
		}
	}
	// A form that names nobody ends nobody's.
	for _, form := range []url.Values{{"user": {""}}, {"user": {"userid:1001", ""}}, {"user": {""}, "client": {"web"}}} {
		if r := f.submit(adm, "/admin/sessions", withForm(form, "action", "end-all")); r.status != 400 {
			t.Errorf("%v: %d", form, r.status)
		}
	}
	if got := f.sessions(""); len(got) != 1 {
		t.Errorf("%d sessions left, want 1", len(got))
	}
}

// TestSessionsOfTag: a tag means all its nodes.
func TestSessionsOfTag(t *testing.T) {
	f := newFixture(t)
	f.allow(ci, machineRule)
	f.addPeer(ci2, 998, "tagged-devices", "ci2", "tag:ci")
	for _, at := range []netip.Addr{ci, ci2} {
		f.do(at, "POST", "/token", "application/x-www-form-urlencoded", "grant_type=client_credentials").tokens()
	}
	f.login(ada)
	form := formOf(t, f.look(adm, "/admin/sessions?user=tag:ci").page(200), `value="end-all"`)
	body := f.seeOther(adm, f.submit(adm, "/admin/sessions", withForm(form, "action", "end-all")))
	says(t, body, "There is no live session of tag:ci (node:n998CNTRL, node:n999CNTRL).")
	if got := f.sessions(""); len(got) != 1 || got[0]["sub"] != "userid:1001" {
		t.Errorf("left: %v", got)
	}
}

// TestConsentsOfLogin: as for sessions.
func TestConsentsOfLogin(t *testing.T) {
	f := withAgent(t)
	b := f.browser(ada)
	b.press(b.login(forAgent()...).page(200), "yes").redirect()
	for user, want := range map[string]int{"Ada@example.com": 1, "gus@github": 0, "userid:1001": 1} {
		list := f.do(adm, "GET", pathConsents+"?user="+user, "", "").json(200)["consents"].([]any)
		if len(list) != want {
			t.Errorf("%s: %d consents, want %d", user, len(list), want)
		}
	}
	says(t, f.look(adm, "/admin/consents?user=ADA@example.com").page(200), "Agent")
}
