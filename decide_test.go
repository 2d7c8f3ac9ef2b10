// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"
)

// clientActions are the actions on behalf of a client.
var clientActions = map[string]action{
	"authorize": actAuthorize, "redeem": actRedeem, "refresh": actRefresh, "userinfo": actUserinfo, "introspect": actIntrospect,
}

// grantedTo is the grant that an action after the first has.
func grantedTo(act action, who identity) *authorization {
	if act == actAuthorize {
		return nil
	}
	return &authorization{subject: who.subject(), node: who.node, addr: who.addr}
}

// somebody is ada on her laptop with the given rules.
func somebody(t testing.TB, ruleTexts ...string) identity {
	t.Helper()
	return identity{
		addr: ada, userID: 1001, login: "ada@example.com", node: "n1001CNTRL", nodeName: "lap.tail1234.ts.net",
		tailnet: tailnetInfo{name: "example.com", suffix: "tail1234.ts.net", tags: []string{"tag:idp", "tag:prod"}},
		rules:   wantRules(t, ruleTexts...),
	}
}

func stranger(t testing.TB, ruleTexts ...string) identity {
	t.Helper()
	id := somebody(t, ruleTexts...)
	id.addr, id.userID, id.login, id.node, id.nodeName, id.external = eve, 9009, "eve@other.example", "n9009CNTRL", "", true
	return id
}

func machine(t testing.TB, ruleTexts ...string) identity {
	t.Helper()
	id := somebody(t, ruleTexts...)
	id.addr, id.login, id.node, id.tags = ci, "", "n999CNTRL", []string{"tag:ci", "tag:prod"}
	return id
}

func grafana(change ...func(*client)) *client {
	c := &client{ClientMetadata: admin.ClientMetadata{ID: "c0ffee", Name: "Grafana", Access: accessTailnet}, Origin: originAdministrator}
	for _, f := range change {
		f(c)
	}
	return c
}

func opened(c *client)   { c.Access = accessGranted }
func disabled(c *client) { c.Disabled = true }
func nameless(c *client) { c.Name = "" }

const allResources = `{"users":["*"],"resources":["*"]}`

// TestDecide asks every question of the table for every action.
func TestDecide(t *testing.T) {
	const other = "https://other.example/api"
	for _, tt := range []struct {
		name      string
		who       identity
		client    *client
		resources []string
		want      []string // resources
		// reason is empty where the question is allowed. notFirst is the
		// answer of the actions that narrow, where it differs.
		reason   string
		narrowed []string
	}{
		{name: "a user without rules", who: somebody(t)},
		{name: "a user whose rules say something else", who: somebody(t, `{"clients":["tea"],"groups":["ops"]}`)}, // a rule never closes a client
		{name: "a user with a broken policy", who: somebody(t, `{}`, `null`)},

		// C24: machines are nobody, whatever they are granted.
		{name: "tagged", who: machine(t), reason: reasonTagged},
		{name: "tagged with all rules", who: machine(t, `{"users":["*"],"resources":["*"],"clients":["*","c0ffee"],"allow_admin_ui":true}`), resources: []string{testResource}, reason: reasonTagged},
		{name: "tagged at a granted client", who: machine(t, `{"clients":["c0ffee"]}`), client: grafana(opened), reason: reasonTagged},

		// C25.
		{name: "external without rules", who: stranger(t), reason: reasonExternal},
		{name: "external with stars", who: stranger(t, `{"users":["*"],"resources":["*"],"clients":["*"]}`), resources: []string{testResource}, reason: reasonExternal},
		{name: "external by login", who: stranger(t, `{"users":["eve@other.example"]}`)},
		{name: "external by another's login", who: stranger(t, `{"users":["ada@example.com"],"resources":["*"]}`), reason: reasonExternal},
		{name: "external by client id", who: stranger(t, `{"clients":["c0ffee"]}`)},
		{name: "external by client name", who: stranger(t, `{"clients":["Graf*"]}`)},
		{name: "external by another client", who: stranger(t, `{"clients":["tea"]}`), reason: reasonExternal},
		{name: "external by login, resource", who: stranger(t, `{"users":["eve@other.example"],"resources":["`+testResource+`"]}`), resources: []string{testResource}, want: []string{testResource}},
		{name: "external by client, resource", who: stranger(t, `{"clients":["c0ffee"]}`), resources: []string{testResource}, reason: reasonResource},
		{name: "external by login at a granted client", who: stranger(t, `{"users":["eve@other.example"]}`), client: grafana(opened), reason: reasonClient},
		{name: "external by id at a granted client", who: stranger(t, `{"clients":["c0ffee"]}`), client: grafana(opened)},
		// Stars open the client, but do not mean her; both in one rule list do.
		{name: "external by star at a granted client", who: stranger(t, `{"clients":["*"]}`), client: grafana(opened), reason: reasonExternal},

		{name: "granted client without rules", who: somebody(t), client: grafana(opened), reason: reasonClient},
		{name: "granted client with other rules", who: somebody(t, allResources, `{"clients":["tea"]}`), client: grafana(opened), reason: reasonClient},
		{name: "granted client by id", who: somebody(t, `{"clients":["tea","c0ffee"]}`), client: grafana(opened)},
		{name: "granted client by name", who: somebody(t, `{"clients":["Grafana"]}`), client: grafana(opened)},
		{name: "granted client by glob of id", who: somebody(t, `{"clients":["c0*"]}`), client: grafana(opened)},
		{name: "granted client by glob of name", who: somebody(t, `{"clients":["*fana"]}`), client: grafana(opened)},
		{name: "granted client by star", who: somebody(t, `{"clients":["*"]}`), client: grafana(opened)},
		{name: "granted client, name in lower case", who: somebody(t, `{"clients":["grafana"]}`), client: grafana(opened), reason: reasonClient},
		{name: "granted client without name, by empty text", who: somebody(t, `{"clients":[""]}`), client: grafana(opened, nameless), reason: reasonClient},

		{name: "disabled client", who: somebody(t, allResources), client: grafana(disabled), reason: reasonDisabled},
		{name: "disabled granted client", who: somebody(t, `{"clients":["c0ffee"]}`), client: grafana(disabled, opened), reason: reasonDisabled},

		{name: "resource without rules", who: somebody(t), resources: []string{testResource}, reason: reasonResource},
		{name: "resource by star", who: somebody(t, allResources), resources: []string{testResource, other}, want: []string{testResource, other}},
		{name: "resource by login", who: somebody(t, `{"users":["ada@example.com"],"resources":["`+testResource+`"]}`), resources: []string{testResource}, want: []string{testResource}},
		{name: "resource for others", who: somebody(t, `{"users":["bob@example.com"],"resources":["*"]}`), resources: []string{testResource}, reason: reasonResource},
		{name: "resource in the client's spelling", who: somebody(t, `{"users":["*"],"resources":["`+testResource+`"]}`), resources: []string{testResource + "/"}, want: []string{testResource + "/"}},
		{name: "one resource twice", who: somebody(t, allResources), resources: []string{testResource, other, testResource}, want: []string{testResource, other}},
		{name: "one resource of two", who: somebody(t, `{"users":["*"],"resources":["`+testResource+`"]}`), resources: []string{other, testResource}, reason: reasonResource, narrowed: []string{testResource}},
		{name: "none of two", who: somebody(t, `{"users":["*"],"resources":["https://x.example"]}`), resources: []string{other, testResource}, reason: reasonResource},

		{name: "the issuer", who: somebody(t), resources: []string{testIssuer}, want: []string{testIssuer}},
		{name: "the issuer with a slash", who: somebody(t), resources: []string{testIssuer + "/"}, want: []string{testIssuer + "/"}},
		{name: "below the issuer", who: somebody(t), resources: []string{testIssuer + "/userinfo"}, reason: reasonResource},
		{name: "the issuer and one that is not allowed", who: somebody(t), resources: []string{testIssuer, testResource}, reason: reasonResource, narrowed: []string{testIssuer}},
		{name: "the issuer for a stranger", who: stranger(t, `{"clients":["c0ffee"]}`), resources: []string{testIssuer}, want: []string{testIssuer}},
	} {
		for actName, act := range clientActions {
			t.Run(tt.name+"/"+actName, func(t *testing.T) {
				c := tt.client
				if c == nil {
					c = grafana()
				}
				q := question{action: act, who: tt.who, client: c, grant: grantedTo(act, tt.who), resources: tt.resources, issuer: testIssuer}
				reason, want := tt.reason, tt.want
				if tt.narrowed != nil && act != actAuthorize && act != actRedeem {
					reason, want = "", tt.narrowed
				}
				d, no := decide(q)
				if reason == "" {
					if no != nil {
						t.Fatalf("refused: %s %s", no.reason, no.message)
					}
					if !slices.Equal(d.resources, want) {
						t.Errorf("resources %q, want %q", d.resources, want)
					}
					return
				}
				if no == nil {
					t.Fatalf("allowed with %q, want %s", d.resources, reason)
				}
				checkRefusal(t, q, no, reason)
			})
		}
	}
}

// checkRefusal checks what holds for every refusal.
func checkRefusal(t *testing.T, q question, no *refusal, reason string) {
	t.Helper()
	if no.reason != reason {
		t.Fatalf("refused because of %s, want %s", no.reason, reason)
	}
	code := codeInvalidGrant
	switch {
	case reason == reasonResource:
		code = codeInvalidTarget
	case q.action == actAuthorize || q.action == actAdminister:
		code = codeAccessDenied
	}
	if no.code != code {
		t.Errorf("code %s, want %s", no.code, code)
	}
	if no.kill {
		t.Error("a refusal by policy kills the grant")
	}
	if !strings.HasSuffix(no.message, ".") || strings.Contains(no.message, "  ") || strings.HasPrefix(no.message, " ") {
		t.Errorf("message %q is no sentence", no.message)
	}
	if e := no.err(); e.refusal != no || e.code != no.code || e.description != no.message {
		t.Errorf("err() is %+v", e)
	}
	if helps := reason != reasonTagged && reason != reasonDisabled; (no.missing != nil) != helps {
		t.Errorf("missing rule %v; a rule would help: %t", no.missing, helps)
	}
	checkMissing(t, q, no)
}

// checkMissing follows the advice of a refusal: the peer with the missing
// rule is allowed.
func checkMissing(t *testing.T, q question, no *refusal) {
	t.Helper()
	text := no.grantJSON()
	if no.missing == nil {
		if text != "" {
			t.Errorf("a grant though none helps: %s", text)
		}
		return
	}
	var grant struct {
		Src, Dst, IP []string
		App          map[tailcfg.PeerCapability][]tailcfg.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &grant); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	src := q.who.login
	if q.who.tagged() {
		src = q.who.tags[0]
	}
	if !slices.Equal(grant.Src, []string{src}) || !slices.Equal(grant.Dst, []string{"tag:idp", "tag:prod"}) || len(grant.IP) == 0 {
		t.Errorf("grant from %q to %q, want from %s to the server's tags", grant.Src, grant.Dst, src)
	}
	if len(grant.App) != 1 || len(grant.App["tailscale.com/cap/tsidp"]) != 1 {
		t.Fatalf("grant %s has not one rule of tailscale.com/cap/tsidp", text)
	}
	rule, faults := parseRules(grant.App["tailscale.com/cap/tsidp"])
	if len(faults) > 0 {
		t.Fatalf("the missing rule is broken: %v", faults)
	}
	q.who.rules = append(slices.Clone(q.who.rules), rule...)
	if _, still := decide(q); still != nil && still.reason == no.reason {
		t.Errorf("the advice %s does not help: %s", text, still.message)
	}
}

// TestDecideGrantJSON has the text of a refusal, byte for byte: people paste
// it into their policy file.
func TestDecideGrantJSON(t *testing.T) {
	_, no := decide(question{action: actAuthorize, who: somebody(t), client: grafana(opened), issuer: testIssuer})
	want := `{
  "app": {
    "tailscale.com/cap/tsidp": [
      {
        "clients": [
          "c0ffee"
        ]
      }
    ]
  },
  "dst": [
    "tag:idp",
    "tag:prod"
  ],
  "ip": [
    "tcp:443"
  ],
  "src": [
    "ada@example.com"
  ]
}`
	if diff := cmp.Diff(want, no.grantJSON()); diff != "" {
		t.Errorf("grant (-want +got):\n%s", diff)
	}

	who := somebody(t)
	who.tailnet.tags = nil // the server runs as a user's node
	_, no = decide(question{action: actAuthorize, who: who, client: grafana(), resources: []string{testResource}, issuer: testIssuer})
	if got := no.grantJSON(); !strings.Contains(got, "\"dst\": [\n    \"tag:tsidp\"\n  ]") {
		t.Errorf("grant without tags of the server: %s", got)
	}

	who = stranger(t)
	who.login = ""
	_, no = decide(question{action: actAuthorize, who: who, client: grafana(), issuer: testIssuer})
	if got := no.grantJSON(); !strings.Contains(got, "\"src\": [\n    \"100.64.0.4\"\n  ]") {
		t.Errorf("grant for somebody without login: %s", got)
	}
	if !strings.HasPrefix(no.message, "userid:9009 ") {
		t.Errorf("message %q does not name the user", no.message)
	}
}

// TestDecideDoesNotShare: what a decision returns is not the question's.
func TestDecideDoesNotShare(t *testing.T) {
	asked := []string{testResource, "https://other.example"}
	q := question{action: actRefresh, who: somebody(t, allResources), client: grafana(), resources: asked, issuer: testIssuer}
	q.grant = grantedTo(actRefresh, q.who)
	d, _ := decide(q)
	d.resources[0] = "changed"
	if asked[0] != testResource {
		t.Error("changing a decision changes the question")
	}
}

// TestDecideMoved: a grant whose address belongs to another node or user is
// dead, and this is the only refusal that kills (DESIGN §4, re-evaluation).
func TestDecideMoved(t *testing.T) {
	granted := grantedTo(actRefresh, somebody(t))
	for _, tt := range []struct {
		name   string
		change func(*identity)
		moved  bool
	}{
		{"nothing", func(*identity) {}, false},
		{"renamed user", func(id *identity) { id.login, id.displayName = "ada.new@example.com", "Ada New" }, false},
		{"renamed node", func(id *identity) { id.nodeName = "lap-2.tail1234.ts.net" }, false},
		{"new node key", func(id *identity) { id.nodeKey = "nodekey:ff" }, false},
		{"new numeric id", func(id *identity) { id.nodeID++ }, false},
		{"rules withdrawn", func(id *identity) { id.rules = nil }, false},
		{"other node", func(id *identity) { id.node = "n2CNTRL" }, true},
		{"other user", func(id *identity) { id.userID = 1002 }, true},
		{"other node and user", func(id *identity) { id.node, id.userID = "n2CNTRL", 1002 }, true},
		{"now tagged", func(id *identity) { id.tags, id.login = []string{"tag:ci"}, "" }, true},
		{"no user and node", func(id *identity) { *id = identity{} }, true},
	} {
		for actName, act := range clientActions {
			if act == actAuthorize {
				continue
			}
			t.Run(tt.name+"/"+actName, func(t *testing.T) {
				// Even where the policy refuses as well: dead is dead.
				for _, c := range []*client{grafana(), grafana(disabled), grafana(opened)} {
					who := somebody(t)
					tt.change(&who)
					_, no := decide(question{action: act, who: who, client: c, grant: granted, issuer: testIssuer})
					if killed := no != nil && no.kill; killed != tt.moved {
						t.Fatalf("refusal %+v, want dead: %t", no, tt.moved)
					}
					if tt.moved && (no.reason != reasonMoved || no.code != codeInvalidGrant || no.grantJSON() != "") {
						t.Errorf("refusal %+v, want %s with invalid_grant and no advice", no, reasonMoved)
					}
				}
			})
		}
	}
}

func TestDecideAdminister(t *testing.T) {
	const adminRule = `{"allow_admin_ui":true}`
	for _, tt := range []struct {
		name    string
		who     identity
		allowed bool
		helps   bool // whether a rule would change a refusal
	}{
		{"administrator", somebody(t, adminRule), true, false},
		{"one rule of several", somebody(t, allResources, `{"allow_admin_ui":false}`, adminRule), true, false},
		{"without rules", somebody(t), false, true},
		{"with other rules", somebody(t, `{"users":["*"],"resources":["*"],"clients":["*"],"allow_dcr":true}`), false, true},
		{"machine", machine(t), false, true},
		{"machine with the rule", machine(t, adminRule), true, false},
		// No rule makes users of other tailnets administrators of ours.
		{"stranger", stranger(t), false, false},
		{"stranger with the rule", stranger(t, `{"users":["eve@other.example"],"allow_admin_ui":true}`), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := question{action: actAdminister, who: tt.who}
			d, no := decide(q)
			if (no == nil) != tt.allowed {
				t.Fatalf("refusal %+v, want allowed: %t", no, tt.allowed)
			}
			if d.resources != nil {
				t.Errorf("resources %q", d.resources)
			}
			if no == nil {
				return
			}
			if no.reason != reasonAdmin || no.code != codeAccessDenied || no.kill {
				t.Errorf("refusal %+v", no)
			}
			if (no.missing != nil) != tt.helps {
				t.Errorf("missing %v, want a rule: %t", no.missing, tt.helps)
			}
			checkMissing(t, q, no)
		})
	}
}

// TestDecideMetrics: whoever collects metrics needs allow_metrics, and neither
// more nor anything else.
func TestDecideMetrics(t *testing.T) {
	const rule = `{"allow_metrics":true}`
	for _, tt := range []struct {
		name    string
		who     identity
		allowed bool
		helps   bool // whether a rule would change a refusal
	}{
		{"person with the rule", somebody(t, rule), true, false},
		{"machine with the rule", machine(t, `{"allow_metrics":false}`, rule), true, false},
		{"machine", machine(t), false, true},
		{"administrator", somebody(t, `{"allow_admin_ui":true,"allow_dcr":true,"users":["*"],"resources":["*"],"clients":["*"]}`), false, true},
		{"stranger with the rule", stranger(t, rule), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := question{action: actMetrics, who: tt.who}
			_, no := decide(q)
			if (no == nil) != tt.allowed {
				t.Fatalf("refusal %+v, want allowed: %t", no, tt.allowed)
			}
			if no == nil {
				return
			}
			if no.reason != reasonMetrics || no.code != codeAccessDenied || no.kill || (no.missing != nil) != tt.helps {
				t.Errorf("refusal %+v, want a rule that helps: %t", no, tt.helps)
			}
			checkMissing(t, q, no)
		})
	}
	if _, no := decide(question{action: actAdminister, who: somebody(t, rule)}); no == nil {
		t.Error("who may read the metrics may administer")
	}
}

// TestRefusalOfUnmarshalable: grantJSON has no error to return.
func TestRefusalOfUnmarshalable(t *testing.T) {
	r := &refusal{missing: map[string]any{"clients": func() {}}}
	if got := r.grantJSON(); got != "" {
		t.Errorf("grant %s", got)
	}
}

// An endpoint is one door that policy guards, with the request that passes
// it if the policy allows.
type endpoint struct {
	name string
	// call sends the request and reports whether it was let through.
	call func() bool
}

// guardedEndpoints are all doors of f at which decide must be asked about
// ada and client web. A refusal spends nothing of what they present.
func guardedEndpoints(f *fixture) []endpoint {
	newCode := func() string {
		return f.code(ada, "scope", "openid", "resource", testResource, "resource", testIssuer)
	}
	token := f.redeem(newCode()).tokens()
	next := f.redeem(newCode()).tokens().RefreshToken
	code := newCode()
	return []endpoint{
		{"GET /authorize", func() bool {
			return strings.Contains(f.authorize(ada, "prompt", "none").header.Get("Location"), "code=")
		}},
		{"POST /authorize", func() bool {
			r := f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", authorizeQuery().Encode())
			return strings.Contains(r.header.Get("Location"), "code=")
		}},
		{"/userinfo", func() bool { return f.userinfo(token.AccessToken).status == 200 }},
		{"/introspect by the client", func() bool { return f.introspect("web", token.AccessToken)["active"] == true }},
		{"/introspect by the resource", func() bool { return f.introspect("rs", token.AccessToken)["active"] == true }},
		{"/introspect a refresh token", func() bool { return f.introspect("web", token.RefreshToken)["active"] == true }},
		{"/token refresh_token", func() bool {
			r := f.refresh(next)
			if r.status == 200 {
				next = r.tokens().RefreshToken
			}
			return r.status == 200
		}},
		{"/token authorization_code", func() bool { return f.redeem(code).status == 200 }}, // last: it spends
	}
}

// asks reports whether call has asked the tailnet.
func (f *fixture) asks(call func()) bool {
	f.clock.advance(maxAnswerAge) // forget
	var before, after int
	f.tailnet.set(func(tn *fakeTailnet) { before = tn.asked })
	call()
	f.tailnet.set(func(tn *fakeTailnet) { after = tn.asked })
	return after > before
}

// TestEveryEndpointAsks walks the endpoints and shows that each asks the
// tailnet and decide, each time: under a policy that refuses, none lets
// through what it lets through before and after, and nothing dies of it.
func TestEveryEndpointAsks(t *testing.T) {
	edit := func(change func(n *tailcfg.Node)) func(*fixture) {
		return func(f *fixture) { f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { change(res.Node) }) }
	}
	web := func(change func(*client)) func(*fixture) {
		return func(f *fixture) { f.editClient("web", change) }
	}
	for _, policy := range []struct {
		name        string
		refuse, end func(*fixture)
	}{
		{"client opened one by one", web(opened), web(func(c *client) { c.Access = accessTailnet })},
		{"client disabled", web(disabled), web(func(c *client) { c.Disabled = false })},
		{"user of another tailnet", edit(func(n *tailcfg.Node) { n.Sharer = 77 }), edit(func(n *tailcfg.Node) { n.Sharer = 0 })},
		{"expired key", edit(func(n *tailcfg.Node) { n.Expired = true }), edit(func(n *tailcfg.Node) { n.Expired = false })},
		{"peer is gone", func(f *fixture) {
			f.tailnet.set(func(tn *fakeTailnet) { tn.peers[netip.Addr{}] = tn.peers[ada]; delete(tn.peers, ada) })
		}, func(f *fixture) {
			f.tailnet.set(func(tn *fakeTailnet) { tn.peers[ada] = tn.peers[netip.Addr{}] })
		}},
	} {
		t.Run(policy.name, func(t *testing.T) {
			f := newFixture(t)
			f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, allResources) })
			doors := guardedEndpoints(f)
			for _, door := range doors[:len(doors)-1] {
				if !f.asks(func() {
					if !door.call() {
						t.Fatalf("%s refuses before the policy does", door.name)
					}
				}) {
					t.Errorf("%s lets through without asking the tailnet", door.name)
				}
			}
			policy.refuse(f)
			for _, door := range doors {
				if !f.asks(func() {
					if door.call() {
						t.Errorf("%s lets through what the policy refuses", door.name)
					}
				}) && policy.name != "client disabled" {
					t.Errorf("%s refuses without asking the tailnet", door.name)
				}
			}
			policy.end(f)
			for _, door := range doors {
				if !f.asks(func() {
					if !door.call() {
						t.Errorf("%s refuses though the policy allows again", door.name)
					}
				}) {
					t.Errorf("%s lets through without asking the tailnet again", door.name)
				}
			}
		})
	}
}

// TestAdministrationAsks does the same for the administration.
func TestAdministrationAsks(t *testing.T) {
	f := newFixture(t)
	const good = `{"redirect_uris":["https://app.example/cb"],"client_id":"new"}`
	doors := []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/api/v1/clients", "", 200},
		{"POST", "/api/v1/clients", good, 201},
		{"GET", "/api/v1/clients/new", "", 200},
		{"DELETE", "/api/v1/clients/new", "", 204},
	}
	contentType := map[string]string{"POST": "application/json"}
	walk := func(allowed bool) {
		t.Helper()
		for _, door := range doors {
			want := door.status
			if !allowed {
				want = 403
			}
			if !f.asks(func() {
				if r := f.do(adm, door.method, door.path, contentType[door.method], door.body); r.status != want {
					t.Errorf("%s %s: status %d %s, want %d", door.method, door.path, r.status, r.body, want)
				} else if !allowed {
					r.wantError(403, "access_denied")
				}
			}) {
				t.Errorf("%s %s does not ask the tailnet", door.method, door.path)
			}
		}
	}
	walk(true)
	f.tailnet.edit(adm, func(res *apitype.WhoIsResponse) { setRules(res, allResources, `{"allow_admin_ui":"true"}`) })
	walk(false)
	f.tailnet.edit(adm, func(res *apitype.WhoIsResponse) { setRules(res, `{"allow_admin_ui":true}`) })
	walk(true)
	f.tailnet.edit(adm, func(res *apitype.WhoIsResponse) { res.Node.Sharer = 77 })
	walk(false)
	if r := f.do(adm, "GET", "/api/v1/clients", "", ""); strings.Contains(r.body, "grant that would") {
		t.Errorf("a stranger is told of a grant that would not help: %s", r.body)
	}
}

// TestResourcesNarrow: what the rules no longer allow is left out where an
// earlier grant is used, and refused where a grant is made.
func TestResourcesNarrow(t *testing.T) {
	f := newFixture(t)
	const one, two = testResource, "https://two.tail1234.ts.net"
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, allResources) })
	asking := []string{"resource", one, "resource", two, "resource", testIssuer}
	token := f.login(ada, asking...)
	code := f.code(ada, asking...)
	rules := func(texts ...string) {
		f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, texts...) })
		f.clock.advance(time.Second)
	}
	audience := func(v any) []any {
		if list, ok := v.([]any); ok {
			return list
		}
		return []any{v}
	}

	rules(`{"users":["ada@example.com"],"resources":["` + one + `"]}`)
	f.authorize(ada, append(asking, "prompt", "none")...).redirectError("invalid_target")
	f.redeem(code).wantError(400, "invalid_target")
	if got, want := audience(f.introspect("web", token.AccessToken)["aud"]), []any{one, testIssuer}; !cmp.Equal(got, want) {
		t.Errorf("introspection: aud %v, want %v", got, want)
	}
	f.userinfo(token.AccessToken).json(200)
	next := f.refresh(token.RefreshToken).tokens()
	if got, want := audience(claimsOf(t, next.AccessToken)["aud"]), []any{one, testIssuer}; !cmp.Equal(got, want) {
		t.Errorf("refreshed token: aud %v, want %v", got, want)
	}
	// To the resource that was withdrawn the token is none.
	f.editClient("rs", func(c *client) { c.ResourceIdentifiers = []string{two} })
	if got := f.introspect("rs", token.AccessToken); got["active"] != false || len(got) != 1 {
		t.Errorf("introspection by the withdrawn resource: %v", got)
	}
	f.editClient("rs", func(c *client) { c.ResourceIdentifiers = []string{one} })
	if got := f.introspect("rs", token.AccessToken); got["active"] != true {
		t.Errorf("introspection by the resource that is left: %v", got)
	}

	rules() // only the issuer is left
	next = f.refresh(next.RefreshToken).tokens()
	if got := claimsOf(t, next.AccessToken)["aud"]; got != testIssuer {
		t.Errorf("refreshed token: aud %v, want the issuer", got)
	}
	f.refresh(next.RefreshToken, "resource", one).wantError(400, "invalid_target")

	rules(allResources) // nothing was lost
	next = f.refresh(next.RefreshToken).tokens()
	if got, want := audience(claimsOf(t, next.AccessToken)["aud"]), []any{one, two, testIssuer}; !cmp.Equal(got, want) {
		t.Errorf("refreshed token: aud %v, want %v", got, want)
	}
	f.redeem(code).tokens()
}

// TestRefusalPage: a person reads why, and what a policy file would need.
func TestRefusalPage(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) { c.Access, c.Name = accessGranted, "<Web & App>" })
	body := f.authorize(ada).page(403)
	for _, want := range []string{
		"The application &lt;Web &amp; App&gt; is open only to those whose rules list it; those of ada@example.com do not.",
		"tailscale.com/cap/tsidp", webRedirect + "?error=access_denied",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page without %q:\n%s", want, body)
		}
	}
	body = f.authorize(ci).page(403)
	if !strings.Contains(body, "tagged tag:ci") || strings.Contains(body, "cap/tsidp") || strings.Contains(body, "tagged-devices") {
		t.Errorf("page for a machine:\n%s", body)
	}
	f.authorize(ci, "prompt", "none").redirectError("access_denied")
}

// TestNamesOfSelfRegistered: a rule that opens "Grafana" means the one that
// an administrator made, not whoever calls itself so.
func TestNamesOfSelfRegistered(t *testing.T) {
	who := identity{userID: 1, login: "ada@example.com", node: "n1", rules: rules{{clients: []string{"Grafana"}}}}
	for origin, allowed := range map[string]bool{originAdministrator: true, originRegistered: false} {
		c := &client{ClientMetadata: admin.ClientMetadata{ID: "x", Name: "Grafana", Access: accessGranted}, Origin: origin}
		if _, no := decide(question{action: actAuthorize, who: who, client: c}); (no == nil) != allowed {
			t.Errorf("client of origin %q: refusal %+v, want allowed: %t", origin, no, allowed)
		}
	}
}
