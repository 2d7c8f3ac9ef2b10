// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
)

// An auditSink takes events, or refuses to.
type auditSink struct {
	mu     sync.Mutex
	events []AuditEvent
	err    error
}

func (s *auditSink) take(_ context.Context, e AuditEvent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.events = append(s.events, e)
	return nil
}

// since returns the events after the first n.
func (s *auditSink) since(n int) []AuditEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events[n:])
}

func (s *auditSink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (e AuditEvent) short() string {
	s := strings.Join([]string{e.Event, e.Result, e.User, e.Node, e.Client, e.Reason}, " ")
	if len(e.Rules) > 0 {
		s += fmt.Sprint(e.Rules)
	}
	return strings.TrimSpace(s)
}

// TestAuditEvents: each decision is one event, and no secret is in any.
func TestAuditEvents(t *testing.T) {
	sink := new(auditSink)
	f := newFixture(t, func(c *Config) { c.Audit, c.TokenExchange = sink.take, new(TokenExchange) })
	f.addDeviceClients()
	f.allow(ci, `{"frob":true`, machineRule)
	f.editClient("web", func(c *client) { c.GrantTypes = append(c.GrantTypes, grantTokenExchange) })
	const adaOn, admOn = "userid:1001 n1001CNTRL", "userid:1003 n1003CNTRL"
	secrets := []string{webSecret, testVerifier}
	var code string
	var res tokenResponse
	var device deviceResponse
	var made map[string]any
	keep := func(r tokenResponse) {
		for _, s := range []string{r.AccessToken, r.RefreshToken, r.IDToken} {
			if s != "" {
				secrets = append(secrets, s)
			}
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"login", func() { code = f.code(adm, "resource", testResource) }, []string{"login allowed " + admOn + " web [0]"}},
		{"login without a rule", func() { f.code(ada) }, []string{"login allowed " + adaOn + " web"}},
		{"login refused", func() { f.authorize(ci) }, []string{"login refused node:n999CNTRL n999CNTRL web tagged_node"}},
		{"resource refused", func() { f.authorize(ada, "resource", testResource) }, []string{"login refused " + adaOn + " web resource_not_granted"}},
		{"code", func() { res = f.redeem(code).tokens() }, []string{"code allowed " + admOn + " web [0]"}},
		{"bad code", func() { f.redeem("x") }, []string{"code refused   web invalid_grant"}},
		{"bad secret", func() { f.post("/token", refreshForm("x"), basicAuth("web", "wrong")...) }, []string{"refresh refused    invalid_client"}},
		{"refresh", func() { keep(res); res = f.refresh(res.RefreshToken).tokens() }, []string{"refresh allowed " + admOn + " web [0]"}},
		{"exchange", func() {
			form := url.Values{"grant_type": {grantTokenExchange}, "subject_token": {res.AccessToken}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}}
			keep(f.post("/token", form, basicAuth("web", webSecret)...).tokens())
		}, []string{"exchange allowed " + admOn + " web [0]"}},
		{"machine", func() { keep(f.machine(ci).tokens()) }, []string{"machine allowed node:n999CNTRL n999CNTRL node:n999CNTRL [1]"}},
		{"device", func() { device = f.beginDevice(ci); f.decide(ada, device.UserCode, "approve") }, nil},
		{"revocation", func() { keep(res); f.revoke("web", res.RefreshToken) }, nil},
		{"logout", func() {
			r := f.login(ada)
			keep(r)
			f.do(ada, "GET", "/logout?id_token_hint="+r.IDToken, "", "", "Accept", "text/html")
		}, []string{"login allowed " + adaOn + " web", "code allowed " + adaOn + " web", "logout allowed " + adaOn + " web"}},
		{"not an administrator", func() { f.do(ada, "GET", pathKeys, "", "") }, []string{"administration refused " + adaOn + "  not_an_administrator"}},
		{"client made", func() {
			made = f.do(adm, "POST", pathClients, "application/json", `{"client_id":"made","redirect_uris":["https://made.example/cb"]}`).json(201)
			secrets = append(secrets, made["client_secret"].(string))
		}, []string{"client allowed " + admOn + " made"}},
		{"client removed", func() { f.do(adm, "DELETE", pathClients+"/made", "", "") }, []string{"client allowed " + admOn + " made"}},
		{"keys", func() { f.do(adm, "POST", pathKeys+"/rotate", "", "") }, []string{"key allowed " + admOn}},
		{"registration", func() {
			r := f.register(adm, registrationOf()).json(201)
			secrets = append(secrets, r["registration_access_token"].(string))
		}, nil},
	} {
		n := len(sink.since(0))
		step.do()
		var got []string
		for _, e := range sink.since(n) {
			got = append(got, e.short())
		}
		if len(got) == 0 {
			t.Errorf("%s: no event", step.name)
		}
		if diff := cmp.Diff(step.want, got); step.want != nil && diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	secrets = append(secrets, code, device.DeviceCode, device.UserCode)
	all, err := json.Marshal(sink.since(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"device"`, `"registration"`, `"revocation"`} {
		if !strings.Contains(string(all), `"event":`+want) {
			t.Errorf("no event %s in %s", want, all)
		}
	}
	for _, s := range secrets {
		if s == "" || strings.Contains(string(all), s) {
			t.Errorf("an event holds the secret %q", s)
		}
	}
	f.wantSilentLog(secrets...)
}

// TestAuditRequired: what the sink does not take does not happen, and can be
// done again.
func TestAuditRequired(t *testing.T) {
	for _, required := range []bool{true, false} {
		sink := new(auditSink)
		f := newFixture(t, func(c *Config) { c.Audit, c.AuditRequired = sink.take, required })
		code, res := f.code(ada), f.login(ada)
		f.allow(ci, machineRule)
		sink.fail(errTest)
		for name, send := range map[string]func() *reply{
			"login": func() *reply {
				return f.do(ada, "GET", "/authorize?"+authorizeQuery().Encode(), "", "", "Accept", "text/html")
			},
			"code":    func() *reply { return f.redeem(code) },
			"refresh": func() *reply { return f.refresh(res.RefreshToken) },
			"machine": func() *reply { return f.machine(ci) },
		} {
			r := send()
			refused := r.status == 503 || strings.Contains(r.header.Get("Location"), "temporarily_unavailable")
			if refused != required {
				t.Errorf("required %t, %s: answer %d %s %s", required, name, r.status, r.header.Get("Location"), r.body)
			}
		}
		sink.fail(nil)
		if required {
			f.redeem(code).tokens()
			f.refresh(res.RefreshToken).tokens()
		}
	}
	if _, err := New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: memory.New(), AuditRequired: true}); err == nil {
		t.Error("AuditRequired without Audit is accepted")
	}
}

// auditProvider returns a provider without a server that runs in a bubble.
func auditProvider(t *testing.T, s store.Store) *Provider {
	t.Helper()
	p, err := New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func auditRecords(t *testing.T, s store.Store) (sizes []int) {
	t.Helper()
	page, err := s.List(t.Context(), store.Query{Kind: kindAudit, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range page.Records {
		var events []AuditEvent
		if err := json.Unmarshal(rec.Data, &events); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(events))
	}
	return sizes
}

// TestAuditBatches: events are written a second after the first, or when there
// are a hundred; while the store does not answer they wait, and what is too
// much is dropped and counted; the rest is written at the end.
func TestAuditBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFaultStore(t)
		p := auditProvider(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		<-p.Ready()
		add := func(n int) {
			for range n {
				p.noteAudit(ctx, "x", AuditEvent{Event: eventClient})
			}
			synctest.Wait()
		}
		want := func(sizes ...int) {
			t.Helper()
			if got := auditRecords(t, s.Store); !slices.Equal(got, sizes) {
				t.Errorf("records of %v events, want %v", got, sizes)
			}
		}
		wait := func(d time.Duration) {
			select {
			case <-time.After(d):
			case err := <-done:
				t.Fatal(err)
			}
			synctest.Wait()
		}
		add(3)
		wait(auditEvery - time.Millisecond)
		want()
		wait(time.Millisecond)
		want(3)
		add(250)
		if got := auditRecords(t, s.Store); len(got) != 3 {
			t.Errorf("records of %v events, want two full ones more", got)
		}
		wait(auditEvery)
		s.setBroken("Put", false)
		add(auditBatch)
		add(auditQueue + 7)
		s.setBroken("", false)
		wait(2 * auditEvery)
		total := 0
		for _, n := range auditRecords(t, s.Store) {
			total += n
		}
		if want := 3 + 250 + auditBatch + auditQueue; total != want {
			t.Errorf("%d events in the store, want %d", total, want)
		}
		if n := p.metrics.auditDropped.Load(); n != 7 {
			t.Errorf("%d events dropped, want 7", n)
		}
		add(2)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		after := 0
		for _, n := range auditRecords(t, s.Store) {
			after += n
		}
		if after != total+2 {
			t.Errorf("%d events at the end, want %d", after, total+2)
		}
	})
}

// TestTrimAudit: the oldest go.
func TestTrimAudit(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.clock.advance(time.Second)
		if err := f.p.writeAudit(t.Context(), []AuditEvent{{Event: fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.p.trimAudit(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	page, err := (&backend{f.p}).Audit(t.Context(), admin.AuditQuery{Limit: 10})
	if err != nil || len(page.Events) != 3 || !strings.Contains(string(page.Events[2]), `"event":"2"`) {
		t.Errorf("left are %s, %v", page.Events, err)
	}
	f.clock.advance(auditLifetime)
	if page, err = (&backend{f.p}).Audit(t.Context(), admin.AuditQuery{Limit: 10}); err != nil || len(page.Events) != 0 {
		t.Errorf("after %v there are %s, %v", auditLifetime, page.Events, err)
	}
}

// TestAuditAPI: filters, and pages from the newest to the oldest.
func TestAuditAPI(t *testing.T) {
	f := newFixture(t)
	begin := f.clock.now()
	for i := range 4 {
		var batch []AuditEvent
		for j := range 3 {
			batch = append(batch, AuditEvent{
				Time: f.clock.now(), Event: fmt.Sprint("e", j), Client: fmt.Sprint("c", i),
				User: "userid:1", Login: "ada@example.com", Node: fmt.Sprint("n", i*3+j),
			})
		}
		if err := f.p.writeAudit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(time.Minute)
	}
	get := func(query string) (nodes []string, next string) {
		t.Helper()
		var page struct {
			Events []AuditEvent
			Next   string
		}
		r := f.do(adm, "GET", pathAudit+"?"+query, "", "")
		if r.json(200); json.Unmarshal([]byte(r.body), &page) != nil {
			t.Fatal(r.body)
		}
		for _, e := range page.Events {
			if e.Login == "ada@example.com" {
				nodes = append(nodes, e.Node)
			}
		}
		return nodes, page.Next
	}
	at := func(d time.Duration) string { return url.QueryEscape(begin.Add(d).Format(time.RFC3339)) }
	for query, want := range map[string]string{
		"":                               "n11 n10 n9 n8 n7 n6 n5 n4 n3 n2 n1 n0",
		"client=c1":                      "n5 n4 n3",
		"event=e2":                       "n11 n8 n5 n2",
		"event=e2&client=c1":             "n5",
		"node=n4":                        "n4",
		"user=userid:1&event=e0":         "n9 n6 n3 n0",
		"user=ada@example.com&client=c0": "n2 n1 n0",
		"user=userid:2":                  "",
		"since=" + at(2*time.Minute):     "n11 n10 n9 n8 n7 n6",
		"until=" + at(time.Minute):       "n2 n1 n0",
		"since=" + at(1) + "&until=" + at(2*time.Minute): "n5 n4 n3 n2 n1 n0",
	} {
		if got, _ := get(query); strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	var all []string
	for next, n := "", 0; ; n++ {
		var nodes []string
		nodes, next = get("limit=2&after=" + next)
		all = append(all, nodes...)
		// What comes meanwhile moves nothing.
		if err := f.p.writeAudit(t.Context(), []AuditEvent{{Event: "late"}}); err != nil || n > 20 {
			t.Fatal(n, err)
		}
		if next == "" {
			break
		}
	}
	if got := strings.Join(all, " "); got != "n11 n10 n9 n8 n7 n6 n5 n4 n3 n2 n1 n0" {
		t.Errorf("by pages: %s", got)
	}
	for _, query := range []string{"limit=0", "limit=x", "since=yesterday", "after=x", "after=x.y", "after=!.y.0", "after=.y.z"} {
		f.do(adm, "GET", pathAudit+"?"+query, "", "").wantError(400, "invalid_request")
	}
	f.do(ada, "GET", pathAudit, "", "").wantError(403, "access_denied")
	f.do(netip.Addr{}, "GET", pathAudit, "", "").wantError(500, "server_error")
}

// TestAuditProof: who has proved nothing makes the store keep nothing.
func TestAuditProof(t *testing.T) {
	f := newFixture(t)
	queued := func() int { return int(f.p.auditLog.seen.Load()) }
	for _, test := range []struct {
		name string
		do   func()
		kept bool
	}{
		{"wrong secret", func() { f.post("/token", codeForm("x"), basicAuth("web", "wrong")...) }, false},
		{"public client", func() { f.redeemPub("x") }, false},
		{"unknown peer", func() { f.authorize(netip.MustParseAddr("100.64.9.9")) }, false},
		{"bad bearer token", func() { f.userinfo("x") }, false},
		{"authenticated client", func() { f.redeem("x") }, true},
		{"user", func() { f.authorize(ada, "resource", testResource) }, true},
	} {
		before := queued()
		test.do()
		if kept := queued() > before; kept != test.kept {
			t.Errorf("%s: kept %t, want %t", test.name, kept, test.kept)
		}
	}
	long := AuditEvent{Detail: strings.Repeat("é", maxAuditText), Scopes: make([]string, 500)}.clipped()
	if len(long.Detail) > maxAuditText+len("…") || len(long.Scopes) > maxResources {
		t.Errorf("an event keeps %d bytes and %d scopes", len(long.Detail), len(long.Scopes))
	}
}

// TestRulesBehind: the rules that decided, and no others.
func TestRulesBehind(t *testing.T) {
	a, b := `{"users":["*"],"resources":["https://a.example/"]}`, `{"users":["*"],"resources":["https://b.example/"]}`
	for _, test := range []struct {
		rules     []string
		resources []string
		want      []int
	}{
		{nil, nil, nil},
		{[]string{a}, nil, nil},
		{[]string{b, a, a}, []string{"https://a.example/"}, []int{1}},
		{[]string{`{}`, a, `{}`, b, `{}`}, []string{"https://a.example/", "https://b.example/"}, []int{1, 3}},
		{[]string{`{`, a, `{`, b}, []string{"https://b.example/"}, []int{3}},
		{[]string{a}, []string{"https://b.example/"}, nil},
	} {
		res := userPeer(1, "ada@example.com", "Ada", "lap", ada, test.rules...)
		who, _ := newIdentity(ada, res, tailnetInfo{suffix: "tail1234.ts.net"})
		c := &client{ClientMetadata: admin.ClientMetadata{ID: "web"}}
		got := who.policyPlaces(rulesBehind(question{action: actAuthorize, who: who, client: c, resources: test.resources, scopes: []string{scopeOpenID}, issuer: testIssuer}))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v for %v (-want +got):\n%s", test.rules, test.resources, diff)
		}
	}
}
