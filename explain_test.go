// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"
)

// explain asks about the policy as an administrator.
func (f *fixture) explain(params ...string) *reply {
	f.t.Helper()
	q := url.Values{}
	for pair := range slices.Chunk(params, 2) {
		q.Add(pair[0], pair[1])
	}
	return f.do(adm, "GET", pathPolicy+"/explain?"+q.Encode(), "", "")
}

// explained reads an explanation.
func (r *reply) explained() admin.Explanation {
	r.t.Helper()
	r.json(200)
	var e admin.Explanation
	if err := json.Unmarshal([]byte(r.body), &e); err != nil {
		r.t.Fatal(err)
	}
	return e
}

// verdict reads an explanation about one node.
func (r *reply) verdict() admin.Verdict {
	r.t.Helper()
	e := r.explained()
	if len(e.Verdicts) != 1 {
		r.t.Fatalf("%d verdicts: %s", len(e.Verdicts), r.body)
	}
	return e.Verdicts[0]
}

// TestExplain: the questions that people have, and the answers.
func TestExplain(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TokenExchange = new(TokenExchange) })
	const resource = testResource
	f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) {
		setRules(res, `{"groups":["a"]}`, `{"users":3}`, `{"users":["gus@github"],"resources":["`+resource+`"]}`, `{"scopes":["mcp:*"],"extraClaims":{"sub":"x"}}`)
	})
	f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) {
		setRules(res, `{"machine":true}`, `{"users":["tag:ci"],"resources":["*"]}`, `{"exchange":["`+resource+`"]}`)
	})
	f.addClient("closed", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, Access: accessGranted})
	f.addClient("off", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, Disabled: true})
	f.addClient("svc", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, GrantTypes: []string{grantClientCredentials, grantTokenExchange}})
	f.addClient("usual", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}, DefaultResources: []string{resource}, GrantTypes: []string{grantAuthorizationCode, grantClientCredentials}})
	f.editClient("pub", func(c *client) { c.Origin = originRegistered })
	ask := func(params ...string) []string { return params }
	for _, tt := range []struct {
		ask     []string
		allowed bool
		reason  string
		message string // part of it
		rules   []int
		grant   string // part of the rule that is missing
	}{
		{ask("user", "ada@example.com"), true, "", "No rule is needed.", nil, ""},
		{ask("user", "ADA@example.com", "client", "web"), true, "", "No rule is needed.", nil, ""},
		{ask("user", "userid:1001"), true, "", "", nil, ""},
		{ask("node", "lap"), true, "", "", nil, ""},
		{ask("node", "lap.tail1234.ts.net."), true, "", "", nil, ""},
		{ask("node", "n1001CNTRL"), true, "", "", nil, ""},
		{ask("node", ada.String()), true, "", "", nil, ""},
		{ask("node", "::ffff:"+ada.String()), true, "", "", nil, ""},
		{ask("node", ada.String(), "user", "ada@example.com"), true, "", "", nil, ""},
		{ask("user", "ada@example.com", "resource", resource), false, reasonResource, "No rule allows ada@example.com to obtain tokens for " + resource, nil, `{"resources":["` + resource + `"],"users":["*"]}`},
		{ask("user", "gus@github", "resource", resource), true, "", "Rule 2 allows it.", []int{2}, ""},
		{ask("user", "gus@github", "resource", resource, "scope", "openid mcp:read"), true, "", "The rules 2, 3 allow it together.", []int{2, 3}, ""},
		{ask("user", "gus@github", "scope", "openid", "scope", "x"), true, "", "No rule allows x, which would be left out.", nil, `{"scopes":["x"]}`},
		{ask("user", "gus@github", "scope", "x"), false, "invalid_scope", "none of the scopes is known", nil, `{"scopes":["x"]}`},
		{ask("user", "gus@github", "action", "refresh", "resource", resource, "resource", "https://b.example/"), true, "", "No rule allows https://b.example/", []int{2}, `{"resources":["https://b.example/"],"users":["*"]}`},
		{ask("user", "ada@example.com", "client", "closed"), false, reasonClient, "open only to those", nil, `{"clients":["closed"]}`},
		{ask("user", "ada@example.com", "client", "off"), false, reasonDisabled, "is disabled", nil, ""},
		{ask("user", "ada@example.com", "client", "svc"), false, "unauthorized_client", "not registered for the grant type authorization_code or ", nil, ""},
		{ask("user", "ada@example.com", "client", "usual"), false, reasonResource, "tokens for " + resource, nil, `"resources":["` + resource + `"]`},
		{ask("user", "gus@github", "client", "usual"), true, "", "", []int{2}, ""},
		{ask("node", "ci1", "client", "usual", "action", "machine"), true, "", "", []int{1}, ""},
		{ask("user", "ada@example.com", "client", "pub"), true, "", "The person is asked to agree", nil, ""},
		{ask("node", eve.String()), false, reasonExternal, "belongs to another tailnet", nil, `{"clients":["CLIENT_ID"]}`},
		{ask("node", "ci1"), false, reasonTagged, "Tags are for machines", nil, ""},
		{ask("node", "tag:ci", "action", "machine", "resource", resource), true, "", "The rules 0, 1 allow it together.", []int{0, 1}, ""},
		{ask("node", "node:n999CNTRL", "action", "machine", "scope", "openid"), true, "", "No rule allows openid", []int{0}, ""},
		{ask("node", "ci1", "action", "machine", "client", "svc"), true, "", "No rule is needed.", nil, ""},
		{ask("node", "ci1", "action", "machine", "client", "web"), false, "unauthorized_client", "grant type client_credentials", nil, ""},
		{ask("node", "lap", "action", "machine"), false, reasonMachine, "only tagged nodes", nil, ""},
		{ask("user", "ada@example.com", "action", "register"), false, reasonRegister, "", nil, `{"allow_dcr":true}`},
		{ask("user", "root@example.com", "action", "register"), true, "", "Rule 0", []int{0}, ""},
		{ask("user", "root@example.com", "action", "administer"), true, "", "", []int{0}, ""},
		{ask("user", "ada@example.com", "action", "administer"), false, reasonAdmin, "", nil, `{"allow_admin_ui":true}`},
		{ask("node", "ci1", "action", "metrics"), false, reasonMetrics, "", nil, `{"allow_metrics":true}`},
		{ask("user", "ada@example.com", "action", "exchange", "client", "web", "exchanger", "svc"), false, reasonExchange, "neither issued to svc", nil, ""},
		{ask("user", "gus@github", "action", "exchange", "exchanger", "svc", "exchanger_node", "ci1", "audience", resource), true, "", "A rule of tag:ci lets it exchange the token.", []int{2}, ""},
		{ask("user", "gus@github", "action", "exchange", "exchanger_node", "ci1", "audience", resource), true, "", "", []int{2}, ""},
		{ask("user", "gus@github", "action", "exchange", "exchanger_node", "ci1", "audience", "https://b.example/"), false, reasonExchange, "", nil, `{"exchange":["https://b.example/"]}`},
		{ask("user", "gus@github", "action", "exchange", "client", "svc", "exchanger", "svc"), true, "", "No rule is needed.", nil, ""},
		{ask("user", "ada@example.com", "action", "exchange", "client", "svc", "exchanger", "svc", "resource", resource), false, reasonResource, "", nil, `"resources"`},
		{ask("user", "ada@example.com", "action", "exchange", "exchanger", "rs"), false, "unauthorized_client", "", nil, ""},
	} {
		t.Run(strings.Join(tt.ask, " "), func(t *testing.T) {
			f := f.in(t)
			v := f.explain(tt.ask...).verdict()
			if v.Allowed != tt.allowed || v.Reason != tt.reason || !strings.Contains(v.Message, tt.message) || v.Message == "" {
				t.Errorf("%+v", v)
			}
			var places []int
			for _, r := range v.Rules {
				places = append(places, r.Index)
			}
			if diff := cmp.Diff(tt.rules, places); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if (tt.grant == "") != (len(v.Grant) == 0) || !strings.Contains(string(v.Grant), tt.grant) {
				t.Errorf("grant %s, want %s", v.Grant, tt.grant)
			}
		})
	}
	v := f.explain("user", "gus@github", "resource", resource).verdict()
	want := admin.Verdict{
		Peer: admin.Peer{Node: "n1002CNTRL", Name: "gusbook.tail1234.ts.net", User: "gus@github"}, Allowed: true, Message: "Rule 2 allows it.",
		Rules:     []admin.RuleRef{{Index: 2, Rule: json.RawMessage(`{"users":["gus@github"],"resources":["` + resource + `"]}`)}},
		Resources: []string{resource}, Scopes: defaultScopes,
		Problems: []admin.RuleProblem{
			{Index: 1, Kind: admin.ProblemRule, Text: `key "users" must be a list of texts, such as ["*"]`},
			{Index: 3, Kind: admin.ProblemClaim, Text: `extraClaims: the claim "sub" is ignored, the rest of the rule holds: this claim is protected`},
		},
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

// TestExplainAgrees: what is explained is what happens, and by which rule.
func TestExplainAgrees(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) {
		setRules(res, `{}`, `{"users":["*"],"resources":["`+testResource+`"]}`)
	})
	for _, who := range []netip.Addr{ada, gus, ci, eve, adm} {
		for _, resource := range []string{"", testResource, "https://b.example/"} {
			change, ask := []string(nil), []string{"node", who.String(), "client", "web"}
			if resource != "" {
				change, ask = []string{"resource", resource}, append(ask, "resource", resource)
			}
			v := f.explain(ask...).verdict()
			r := f.authorize(who, change...)
			if r.status == 302 != v.Allowed {
				t.Errorf("%v for %q: %+v, but the answer is %d", who, resource, v, r.status)
			}
			if v.Allowed {
				continue
			}
			page := strings.NewReplacer("&#34;", `"`, "&#39;", "'").Replace(r.page(403))
			var pretty strings.Builder
			enc := json.NewEncoder(&pretty)
			enc.SetIndent("", "  ")
			if err := enc.Encode(v.Grant); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(page, v.Message) || len(v.Grant) > 0 != strings.Contains(page, "<pre") || len(v.Grant) > 0 && !strings.Contains(page, strings.TrimSpace(pretty.String())) {
				t.Errorf("the page does not say %q with %s:\n%s", v.Message, pretty.String(), withoutStyle(page))
			}
		}
	}
}

// TestExplainAllNodes: a user is judged on each node.
func TestExplainAllNodes(t *testing.T) {
	f := newFixture(t)
	f.tailnet.set(func(tn *fakeTailnet) {
		for i := range maxExplained {
			addr := netip.AddrFrom4([4]byte{100, 64, 1, byte(i)})
			res := userPeer(1001, "ada@example.com", "Ada", fmt.Sprintf("n%02d", i), addr, `{"allow_dcr":true}`)
			res.Node.StableID = tailcfg.StableNodeID(fmt.Sprint("n", i))
			tn.peers[addr] = res
		}
	})
	e := f.explain("user", "ada@example.com", "action", "register").explained()
	if len(e.Verdicts) != maxExplained || e.LeftOut != 1 || e.Allowed() || e.Verdicts[0].Allowed || !e.Verdicts[1].Allowed {
		t.Errorf("%d verdicts, %d left out: %+v", len(e.Verdicts), e.LeftOut, e)
	}
	if e := f.explain("user", "ada@example.com", "node", "n07", "action", "register").explained(); !e.Allowed() {
		t.Errorf("%+v", e)
	}
}

// TestExplainAsksNow: explanations are about this moment, count as no refusal,
// and say what is wrong with a node.
func TestExplainAsksNow(t *testing.T) {
	f := newFixture(t)
	if v := f.explain("user", "ada@example.com", "resource", testResource).verdict(); v.Allowed {
		t.Error("allowed")
	}
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"users":["*"],"resources":["*"]}`) })
	if v := f.explain("user", "ada@example.com", "resource", testResource).verdict(); !v.Allowed {
		t.Errorf("the clock stands still: %+v", v)
	}
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.Node.Expired = true })
	if v := f.explain("user", "ada@example.com").verdict(); v.Allowed || v.Reason != reasonUnknownPeer || !strings.Contains(v.Message, "has expired") {
		t.Errorf("%+v", v)
	}
	if v := f.explain("node", "100.64.9.9").verdict(); v.Allowed || v.Reason != reasonUnknownPeer || !strings.Contains(v.Message, "knows no node 100.64.9.9") {
		t.Errorf("%+v", v)
	}
	if n := f.p.metrics.refusals[reasonResource].Load() + f.p.metrics.refusals[reasonUnknownPeer].Load(); n != 0 {
		t.Errorf("%d refusals are counted", n)
	}
}

// TestExplainRefuses: questions that make no sense, and people who may not ask.
func TestExplainRefuses(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		ask    []string
		status int
		code   string
		field  string
	}{
		{nil, 400, "invalid_request", ""},
		{[]string{"client", "web"}, 400, "invalid_request", ""},
		{[]string{"user", "ada@example.com", "resorce", "x"}, 400, "invalid_request", ""},
		{[]string{"user", "ada@example.com", "user", "x"}, 400, "invalid_request", "user"},
		{[]string{"user", "ada@example.com", "action", "dance"}, 400, "invalid_request", "action"},
		{[]string{"user", "ada@example.com", "action", "exchange", "exchanger", "web"}, 400, "invalid_request", "action"},
		{[]string{"user", "ada@example.com", "exchanger", "web"}, 400, "invalid_request", "exchanger"},
		{[]string{"user", "ada@example.com", "action", "register", "client", "web"}, 400, "invalid_request", ""},
		{[]string{"user", "ada@example.com", "client", "nobody"}, 404, "not_found", "client"},
		{[]string{"node", "ci1", "action", "machine", "client", "node:n999CNTRL"}, 400, "invalid_request", "client"},
		{[]string{"user", "nobody@example.com"}, 404, "not_found", ""},
		{[]string{"user", "tagged-devices"}, 404, "not_found", ""},
		{[]string{"node", "nowhere"}, 404, "not_found", ""},
		{[]string{"node", "lap", "user", "gus@github"}, 404, "not_found", ""},
		{[]string{"user", "ada@example.com", "resource", "mcp"}, 400, "invalid_target", ""},
		{[]string{"user", "ada@example.com", "scope", "\x01"}, 400, "invalid_request", "scope"},
		{[]string{"user", strings.Repeat("a", 3000)}, 400, "invalid_request", "user"},
		{slices.Repeat([]string{"resource", "https://a.example/"}, 30), 400, "invalid_request", "resource"},
		{[]string{"user", "ada@example.com", "scope", strings.Repeat("a ", 30)}, 400, "invalid_request", "scope"},
	} {
		r := f.explain(tt.ask...)
		r.wantError(tt.status, tt.code)
		if got, _ := r.json(tt.status)["field"].(string); got != tt.field {
			t.Errorf("%v: field %q, want %q", tt.ask, got, tt.field)
		}
	}
	for _, path := range []string{"/explain?user=ada@example.com", "/check"} {
		f.do(ada, "GET", pathPolicy+path, "", "").wantError(403, "access_denied")
		f.do(netip.Addr{}, "GET", pathPolicy+path, "", "").wantError(500, "server_error")
		f.do(adm, "GET", pathPolicy+path, "", "", "Origin", "https://evil.example").wantError(403, "access_denied")
	}
	f.tailnet.set(func(tn *fakeTailnet) { tn.err = errTest })
	f.clock.advance(maxAnswerAge / 2)
	for _, path := range []string{"/explain?user=ada@example.com", "/check"} {
		f.do(adm, "GET", pathPolicy+path, "", "").wantError(503, "temporarily_unavailable")
	}
	f.do(adm, "GET", pathPolicy+"/explain?node="+ada.String(), "", "").wantError(503, "temporarily_unavailable")
}

// TestExplainExchangeNode: the node that exchanges must be one, and there.
func TestExplainExchangeNode(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TokenExchange = new(TokenExchange) })
	second := netip.MustParseAddr("100.64.1.1")
	f.tailnet.set(func(tn *fakeTailnet) {
		tn.peers[second] = userPeer(998, "tagged-devices", "", "ci2", second)
		tn.peers[second].Node.Tags = []string{"tag:ci"}
	})
	ask := func(node string) *reply {
		return f.explain("user", "ada@example.com", "action", "exchange", "exchanger_node", node)
	}
	ask("tag:ci").wantError(400, "invalid_request")
	ask("nowhere").wantError(404, "not_found")
	ask("100.64.9.9").wantError(404, "not_found")
	f.explain("user", "ada@example.com", "action", "exchange").wantError(400, "invalid_request")
	f.explain("user", "ada@example.com", "action", "exchange", "exchanger", "nobody").wantError(404, "not_found")
	f.explain("user", "ada@example.com", "action", "exchange", "exchanger", "pub").verdict()
	f.editClient("pub", func(c *client) { c.GrantTypes = append(c.GrantTypes, grantTokenExchange) })
	if v := f.explain("user", "ada@example.com", "action", "exchange", "exchanger", "pub").verdict(); v.Allowed || !strings.Contains(v.Message, "has no credentials") {
		t.Errorf("%+v", v)
	}
	f.tailnet.set(func(tn *fakeTailnet) { tn.err = errTest })
	f.explain("user", "ada@example.com", "action", "exchange", "exchanger_node", ci.String()).wantError(503, "temporarily_unavailable")
}

// TestPolicyCheck: rules as they are read, those with problems first, each once.
func TestPolicyCheck(t *testing.T) {
	f := newFixture(t)
	shared := `{"users":["*"],"resources":["https://a.example/"]}`
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) {
		setRules(res, shared, `{`, `{"Users":["*"],"resource":["x"],"comment":1}`)
	})
	f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) {
		setRules(res, `{"extraClaims":{"sub":1,"a":2},"x":0}`, shared)
	})
	f.tailnet.edit(eve, func(res *apitype.WhoIsResponse) { res.Node.Expired = true })
	r := f.do(adm, "GET", pathPolicy+"/check", "", "")
	r.json(200)
	var got admin.PolicyReport
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatal(err)
	}
	adaPeer := admin.Peer{Node: "n1001CNTRL", Name: "lap.tail1234.ts.net", User: "ada@example.com"}
	gusPeer := admin.Peer{Node: "n1002CNTRL", Name: "gusbook.tail1234.ts.net", User: "gus@github"}
	want := admin.PolicyReport{Nodes: 4, Rules: []admin.PolicyRule{
		{
			Rule: json.RawMessage(`{"extraClaims":{"sub":1,"a":2},"x":0}`), NodeCount: 1, Nodes: []admin.RulePeer{{Peer: gusPeer, Index: 0}},
			Problems: []admin.RuleProblem{
				{Index: 0, Kind: "key", Text: `the key "x" is unknown and ignored`},
				{Index: 0, Kind: "claim", Text: `extraClaims: the claim "sub" is ignored, the rest of the rule holds: this claim is protected`},
			},
		},
		{
			Rule: json.RawMessage(`"{"`), NodeCount: 1, Nodes: []admin.RulePeer{{Peer: adaPeer, Index: 1}},
			Problems: []admin.RuleProblem{{Index: 1, Kind: "rule", Text: "not a JSON object: unexpected end of JSON input"}},
		},
		{
			Rule: json.RawMessage(`{"Users":["*"],"resource":["x"],"comment":1}`), NodeCount: 1, Nodes: []admin.RulePeer{{Peer: adaPeer, Index: 2}},
			Problems: []admin.RuleProblem{
				{Index: 2, Kind: "key", Text: `the key "Users" is unknown and ignored; did you mean "users"?`},
				{Index: 2, Kind: "key", Text: `the key "comment" is unknown and ignored`},
				{Index: 2, Kind: "key", Text: `the key "resource" is unknown and ignored; did you mean "resources"?`},
			},
		},
		{
			Rule:      json.RawMessage(`{"users":["*"],"resources":["*"],"allow_admin_ui":true,"allow_dcr":true,"allow_metrics":true}`),
			NodeCount: 1, Nodes: []admin.RulePeer{{Peer: admin.Peer{Node: "n1003CNTRL", Name: "desk.tail1234.ts.net", User: "root@example.com"}, Index: 0}},
		},
		{Rule: json.RawMessage(shared), NodeCount: 2, Nodes: []admin.RulePeer{{Peer: gusPeer, Index: 1}, {Peer: adaPeer, Index: 0}}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if n := got.Problems(); n != 6 {
		t.Errorf("%d problems", n)
	}
}

// TestPolicyCheckReused: one check serves all who ask within seconds; a failed
// one serves nobody else.
func TestPolicyCheckReused(t *testing.T) {
	f := newFixture(t)
	b := &backend{f.p}
	check := func() (nodes, asked int) {
		t.Helper()
		before, after := 0, 0
		f.tailnet.set(func(tn *fakeTailnet) { before = tn.asked })
		report, err := b.PolicyCheck(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.tailnet.set(func(tn *fakeTailnet) { after = tn.asked })
		return report.Nodes, after - before
	}
	f.tailnet.set(func(tn *fakeTailnet) { tn.err = errTest })
	if _, err := b.PolicyCheck(t.Context()); err == nil {
		t.Fatal("checked what the tailnet does not tell")
	}
	f.tailnet.set(func(tn *fakeTailnet) { tn.err = nil })
	nodes, asked := check()
	if nodes == 0 || asked < nodes {
		t.Fatalf("%d nodes, asked %d times", nodes, asked)
	}
	f.tailnet.set(func(tn *fakeTailnet) { delete(tn.peers, gus) })
	if n, asked := check(); n != nodes || asked != 0 {
		t.Errorf("again at once: %d nodes, want %d; asked %d times", n, nodes, asked)
	}
	f.clock.advance(policyReportAge)
	if n, _ := check(); n != nodes-1 {
		t.Errorf("some seconds later: %d nodes, want %d", n, nodes-1)
	}
}

// TestPolicyCheckBounds: no policy makes a report that grows without end.
func TestPolicyCheckBounds(t *testing.T) {
	c := &policyCheck{at: make(map[string]int)}
	who := func(i int, texts ...string) *peerRules {
		res := userPeer(tailcfg.UserID(i), "ada@example.com", "", "lap", ada, texts...)
		id, _ := newIdentity(ada, res, tailnetInfo{suffix: "tail1234.ts.net"})
		return &peerRules{id, res.CapMap[capability]}
	}
	for i := range 40 {
		c.add(who(i, `{"allow_dcr":true}`))
	}
	if r := c.report.Rules; len(r) != 1 || r[0].NodeCount != 40 || len(r[0].Nodes) != maxNodesOfRule || c.report.Nodes != 40 {
		t.Errorf("%+v", c.report)
	}
	var many []string
	for i := range maxRules + 50 {
		many = append(many, fmt.Sprintf(`{"groups":["g%d"]}`, i))
	}
	c.add(who(1, many...))
	if len(c.report.Rules) != maxCheckedRules || c.report.LeftOut != 2 {
		t.Errorf("%d rules, %d left out", len(c.report.Rules), c.report.LeftOut)
	}
	c = &policyCheck{at: make(map[string]int)}
	long := strings.Repeat("x", maxRuleBytes-100)
	for i := range 20 {
		c.add(who(i, fmt.Sprintf(`{"groups":["%d%s"]}`, i, long)))
	}
	if n := len(c.report.Rules); n < 10 || n > 16 || c.report.LeftOut != 20-n {
		t.Errorf("%d rules, %d left out", n, c.report.LeftOut)
	}
	// Claims that one node's other rules leave room for may lack it on another.
	c = &policyCheck{at: make(map[string]int)}
	claim := fmt.Sprintf(`{"extraClaims":{"b":%q}}`, strings.Repeat("x", maxExtraClaimBytes-10))
	c.add(who(1, claim))
	c.add(who(2, `{"extraClaims":{"a":"0123456789"}}`, claim))
	if r := c.report.Rules; len(r) != 2 || len(r[0].Problems) != 1 || r[0].Problems[0].Index != 1 {
		t.Errorf("%+v", r)
	}
}

// TestExplainWithoutList: a tailnet that cannot list its nodes can be asked by
// address.
func TestExplainWithoutList(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Tailnet = struct{ Tailnet }{c.Tailnet} })
	f.explain("user", "ada@example.com").wantError(400, "invalid_request")
	f.do(adm, "GET", pathPolicy+"/check", "", "").wantError(400, "invalid_request")
	if !f.explain("node", ada.String()).verdict().Allowed {
		t.Error("refused")
	}
}

// TestNearestKey: typing errors are told from other words.
func TestNearestKey(t *testing.T) {
	for key, want := range map[string]string{
		"Users": "users", "user": "users", "usres": "", "USERS": "users", "Resources": "resources", "resource": "resources", "ressource": "resources",
		"allowDCR": "allow_dcr", "allow-dcr": "allow_dcr", "allow_admin": "allow_admin_ui", "extra_claims": "extraClaims", "extraclaims": "extraClaims",
		"include_in_userinfo": "includeInUserInfo", "machineLogin": "machine_login", "group": "groups", "client": "clients", "scope": "scopes",
		"comment": "", "x": "", "": "", "name": "", "dcr": "", strings.Repeat("users", 20): "",
	} {
		if got := nearestKey(key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
	if err := unknownKey(strings.Repeat("k", 1<<20)); len(err.Error()) > 300 {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

// TestGrantsDoc: the examples of docs/grants.md are rules that are read whole, and
// there is one of each key.
func TestGrantsDoc(t *testing.T) {
	doc, err := os.ReadFile("docs/grants.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for line := range strings.Lines(string(doc)) {
		text := strings.TrimSpace(line)
		if !strings.HasPrefix(line, "    {") || !strings.HasSuffix(text, "}") {
			continue
		}
		if rs, faults := parseRules(rawRules(text)); len(rs) != 1 || len(faults) != 0 {
			t.Errorf("%s: %v", text, faults)
		}
		var keys map[string]any
		if err := json.Unmarshal([]byte(text), &keys); err != nil {
			t.Fatal(err)
		}
		for k := range keys {
			shown[k] = true
		}
	}
	for _, k := range ruleKeys {
		if !shown[k.name] {
			t.Errorf("docs/grants.md has no example of %s", k.name)
		}
	}
}
