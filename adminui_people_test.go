// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
)

// TestUISessions: found by login, node and client, and ended.
func TestUISessions(t *testing.T) {
	f := newFixture(t)
	first, second, other := f.login(ada), f.login(ada), f.login(gus)
	path := "/admin/sessions"
	for query, want := range map[string]int{"": 3, "?user=ada@example.com": 2, "?user=userid:1002": 1, "?node=n1001CNTRL": 2, "?client=web": 3, "?client=pub": 0, "?user=userid:9": 0} {
		if n := strings.Count(f.look(adm, path+query).page(200), `value="end" `); n != want {
			t.Errorf("%s: %d sessions, want %d", query, n, want)
		}
	}
	end := withForm(formOf(t, f.look(adm, path+"?user=gus@github").page(200), `placeholder="login`), "action", "end")
	if end.Get("user") != "gus@github" {
		t.Errorf("the filter forgets: %v", end)
	}
	form := formOf(t, f.look(adm, path+"?user=userid:1002").page(200), `value="end"`)
	says(t, f.seeOther(adm, f.submit(adm, path, withForm(form, "action", "end"))), "The session has ended.", "There is no live session of userid:1002.")
	f.refresh(other.RefreshToken).wantError(400, "invalid_grant")
	// Somebody else may have been first.
	says(t, f.seeOther(adm, f.submit(adm, path, withForm(form, "action", "end"))), "The session has ended.")

	form = formOf(t, f.look(adm, path+"?user=ada@example.com&client=web").page(200), `value="end-all"`)
	says(t, f.seeOther(adm, f.submit(adm, path, withForm(form, "action", "end-all"))), "The sessions have ended.", "There is no live session of ada@example.com (userid:1001) in web.")
	for _, res := range []tokenResponse{first, second} {
		f.refresh(res.RefreshToken).wantError(400, "invalid_grant")
	}
	if f.submit(adm, path, url.Values{"action": {"end-all"}}).status != 400 {
		t.Error("a form that names nobody ends everybody's sessions")
	}
}

// TestUIConsents: withdrawn by an administrator, and by oneself.
func TestUIConsents(t *testing.T) {
	f := withAgent(t)
	allow := func(as netip.Addr) {
		t.Helper()
		b := f.browser(as)
		if b.press(b.login(forAgent()...).page(200), "yes").redirect().Get("code") == "" {
			t.Fatal("no code")
		}
	}
	allow(ada)
	body := f.look(adm, "/admin/consents").page(200)
	says(t, body, "ada@example.com", "Agent", "https://agent.example")
	says(t, f.seeOther(adm, f.submit(adm, "/admin/consents", formOf(t, body, ">Withdraw<"))), "The consent is withdrawn", "Nobody has been asked.")
	allow(ada)
	allow(gus)
	mine := formOf(t, f.look(ada, "/me").page(200), `value="consent"`)
	// Not somebody else's, whoever knows its id.
	f.seeOther(gus, f.submit(gus, "/me", withForm(mine, "action", "consent")))
	says(t, f.look(ada, "/me").page(200), "What you have allowed", "Agent")
	body = f.seeOther(ada, f.submit(ada, "/me", withForm(mine, "action", "consent")))
	if strings.Contains(body, "What you have allowed") {
		t.Error("the consent is still there")
	}
	says(t, f.look(gus, "/").page(200), "What you have allowed")
}

// TestUIMe: everybody sees and ends what is theirs, and nothing else.
func TestUIMe(t *testing.T) {
	f := newFixture(t)
	f.addClient("wiki", webSecret, admin.ClientMetadata{Name: "Wiki", RedirectURIs: []string{webRedirect}, ClientURI: "https://wiki.example/"})
	f.addClient("mail", webSecret, admin.ClientMetadata{Name: "A Mail", RedirectURIs: []string{webRedirect}, ClientURI: "https://mail.example/", InitiateLoginURI: "https://mail.example/login?x=1"})
	f.addClient("some", webSecret, admin.ClientMetadata{Name: "For some", RedirectURIs: []string{webRedirect}, ClientURI: "https://some.example/", Access: accessGranted})
	f.addClient("off", webSecret, admin.ClientMetadata{Name: "Off", RedirectURIs: []string{webRedirect}, ClientURI: "https://off.example/", Disabled: true})
	f.addRegistered("self", admin.ClientMetadata{Name: "Self made", RedirectURIs: []string{webRedirect}, ClientURI: "https://self.example/"})
	f.allow(gus, `{"clients":["some"]}`)
	launcher := func(as netip.Addr) []string {
		t.Helper()
		var all []string
		for _, m := range address.FindAllStringSubmatch(f.look(as, "/me").page(200), -1) {
			if strings.HasPrefix(m[2], "https://") {
				all = append(all, m[2])
			}
		}
		return all
	}
	const mail, wiki, some = "https://mail.example/login?x=1&amp;iss=https%3A%2F%2Fidp.tail1234.ts.net", "https://wiki.example/", "https://some.example/"
	for as, want := range map[netip.Addr][]string{ada: {mail, wiki}, gus: {mail, some, wiki}, ci: nil, eve: nil, adm: {mail, wiki}} {
		if diff := gocmp.Diff(want, launcher(as)); diff != "" {
			t.Errorf("launcher of %v (-want +got):\n%s", as, diff)
		}
	}
	says(t, f.look(ada, "/").page(200), "Hello, Ada Ó Briain", "ada@example.com, on lap.tail1234.ts.net", `"src": ["ada@example.com"]`, `"allow_admin_ui": true`, "Nowhere.")
	says(t, f.look(ci, "/").page(200), "This device is tagged tag:ci")
	says(t, f.look(eve, "/").page(200), "of another tailnet", "Only people of this tailnet can administer")
	if strings.Contains(f.look(adm, "/me").page(200), "How to become an administrator") {
		t.Error("an administrator is told how to become one")
	}

	mine, other := f.login(ada), f.login(gus)
	body := f.look(ada, "/").page(200)
	says(t, body, "Where you are logged in", "Web App lap.tail1234.ts.net")
	form := withForm(formOf(t, body, `value="session"`), "action", "session")
	f.seeOther(gus, f.submit(gus, "/me", form))
	refreshed := f.refresh(mine.RefreshToken).tokens()
	says(t, f.seeOther(ada, f.submit(ada, "/me", form)), "The session has ended.", "Nowhere.")
	f.refresh(refreshed.RefreshToken).wantError(400, "invalid_grant")
	f.login(ada)
	says(t, f.seeOther(ada, f.submit(ada, "/me", url.Values{"action": {"sessions"}})), "The sessions have ended.", "Nowhere.")
	f.refresh(other.RefreshToken).tokens()
}

// TestUIWhoseRevocation: the audit log tells who has ended a session.
func TestUIWhoseRevocation(t *testing.T) {
	sink := new(auditSink)
	f := newFixture(t, func(c *Config) { c.Audit = sink.take })
	reasons := func(do func()) (all []string) {
		t.Helper()
		f.clock.advance(time.Second) // past the last revocation
		f.login(ada)
		n := len(sink.since(0))
		do()
		for _, e := range sink.since(n) {
			if e.Event == eventRevoke {
				all = append(all, e.Reason)
			}
		}
		return all
	}
	one := func(as netip.Addr, path, action string) func() {
		return func() {
			form := withForm(formOf(t, f.look(as, path).page(200), `value="`+action+`"`), "action", action)
			f.seeOther(as, f.submit(as, path, form))
		}
	}
	for name, tt := range map[string]struct {
		do   func()
		want string
	}{
		"one of one's own":        {one(ada, "/me", "session"), "user"},
		"all of one's own":        {one(ada, "/me", "sessions"), "user"},
		"by an administrator":     {one(adm, "/admin/sessions?user=userid:1001", "end"), "administrator"},
		"all by an administrator": {one(adm, "/admin/sessions?user=userid:1001", "end-all"), "administrator"},
	} {
		if got := reasons(tt.do); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: reasons %v, want %s", name, got, tt.want)
		}
	}
}

// A countingStore counts what a page asks of the store.
type countingStore struct {
	store.Store
	mu      sync.Mutex
	asked   map[string]int
	records int // that lists have returned
}

func (s *countingStore) count(verb string, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[verb]++
	s.records += records
}

func (s *countingStore) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.records = make(map[string]int), 0
}

func (s *countingStore) List(ctx context.Context, q store.Query) (store.Page, error) {
	p, err := s.Store.List(ctx, q)
	s.count("List", len(p.Records))
	return p, err
}

func (s *countingStore) Get(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
	s.count("Get", 0)
	return s.Store.Get(ctx, kind, id, now)
}

// manyClients is a fixture with 10 000 clients, 5 of which registered
// themselves, and 500 sessions.
func manyClients(t testing.TB) (*fixture, *countingStore) {
	s := &countingStore{Store: memory.New()}
	s.reset()
	f := newFixture(t, func(c *Config) { c.Store = s }, seedKeys)
	var made client
	for i := range 10_000 {
		made = client{ClientMetadata: admin.ClientMetadata{ID: fmt.Sprintf("c%05d", i), Name: fmt.Sprintf("Application %d", i), RedirectURIs: []string{webRedirect}, GrantTypes: defaultGrantTypes}, Origin: originAdministrator, CreatedAt: f.clock.now()}
		if i%2000 == 0 {
			made.Origin, made.Owner = originRegistered, &clientOwner{Subject: "userid:1001", Node: "n1001CNTRL"}
		}
		if err := f.p.putClient(t.Context(), &made); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 500 {
		a := authorization{grantID: fmt.Sprintf("%032x", i), clientID: fmt.Sprintf("c%05d", i), subject: "userid:1002", node: "n1002CNTRL", addr: gus}
		rec, err := a.record(f.clock.now(), f.clock.now().Add(time.Hour), f.clock.now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Redeem(t.Context(), store.Redemption{Grant: rec, IssuedAt: f.clock.now(), Now: f.clock.now()}); err != nil {
			t.Fatal(err)
		}
	}
	return f, s
}

// TestUIReads: however many clients there are, a page reads as many as it
// shows.
func TestUIReads(t *testing.T) {
	f, s := manyClients(t)
	for path, most := range map[string]struct{ lists, gets, records int }{
		"/":                       {1, 0, 10}, // the audit log's
		"/me":                     {3, 0, 5},
		"/admin/clients":          {1, 0, 50},
		"/admin/clients/c00001":   {1, 2, 1},
		"/admin/registrations":    {1, 0, 5},
		"/admin/sessions":         {1, 50, 50},
		"/admin/consents":         {1, 0, 0},
		"/admin/audit":            {1, 0, 10},
		"/admin/keys":             {0, 0, 0},
		"/admin/new":              {0, 0, 0},
		"/admin/policy":           {0, 0, 0},
		"/admin/clients?q=c09999": {20, 0, 5000},
	} {
		s.reset()
		f.look(adm, path).page(200)
		s.mu.Lock()
		lists, gets, records := s.asked["List"], s.asked["Get"], s.records
		s.mu.Unlock()
		if lists > most.lists || gets > most.gets || records > most.records {
			t.Errorf("%s: %d lists with %d records, %d gets; want at most %v", path, lists, records, gets, most)
		}
	}
	// Whoever reloads their page cannot make the store look up each client of
	// theirs again.
	f.look(gus, "/me").page(200)
	s.reset()
	f.look(gus, "/me").page(200)
	s.mu.Lock()
	lists, gets := s.asked["List"], s.asked["Get"]
	s.mu.Unlock()
	if lists > 2 || gets > 0 {
		t.Errorf("/me again: %d lists, %d gets; want sessions and consents alone", lists, gets)
	}
	// The second page begins where the first ended.
	page := f.look(adm, "/admin/clients").page(200)
	next := readNext(t, page)
	says(t, f.look(adm, next).page(200), "Application 50", "First page")
}

// BenchmarkUI renders pages of a provider with 10 000 clients.
func BenchmarkUI(b *testing.B) {
	f, _ := manyClients(b)
	for _, path := range []string{"/", "/me", "/admin/clients", "/admin/clients/c00001", "/admin/sessions", "/admin/registrations", "/admin/new"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				f.look(adm, path).page(200)
			}
		})
	}
}
