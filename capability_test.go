// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
)

func rawRules(values ...string) []tailcfg.RawMessage {
	var raw []tailcfg.RawMessage
	for _, v := range values {
		raw = append(raw, tailcfg.RawMessage(v))
	}
	return raw
}

// wantRules parses values, which must have no fault.
func wantRules(t testing.TB, values ...string) rules {
	t.Helper()
	rs, faults := parseRules(rawRules(values...))
	if len(faults) > 0 {
		t.Fatalf("faults %v in %q", faults, values)
	}
	return rs
}

var equateRules = cmp.AllowUnexported(rule{}, extraClaim{})

// TestC41Rules has the rows of case C41, and DESIGN's "a text where a list
// belongs is that list of one; a known key of any other wrong type breaks its
// whole rule; unknown keys are ignored; a broken rule grants nothing and hurts
// no other".
func TestC41Rules(t *testing.T) {
	const all = `{"users":["*"],"resources":["*"]}`
	everything := rule{users: []string{"*"}, resources: []string{"*"}}
	for _, tt := range []struct {
		name   string
		values []string
		want   rules
		broken []int // indexes of the rules that are reported
	}{
		{name: "a nil"},
		{name: "b none", values: []string{}},
		{name: "c null", values: []string{`null`}, want: rules{{}}},
		{name: "d empty rule", values: []string{`{}`}, want: rules{{}}},
		{name: "e text boolean", values: []string{`{"allow_admin_ui":"true"}`}, broken: []int{0}},
		{name: "f text for list", values: []string{`{"users":"*","resources":"*"}`}, want: rules{everything}},
		{name: "g true and false", values: []string{`{"allow_dcr":true}`, `{"allow_dcr":false}`}, want: rules{{dcr: true}, {}}},
		{name: "h good beside broken", values: []string{all, `{"users":`, all}, want: rules{everything, everything}, broken: []int{1}},
		{name: "i other spelling", values: []string{`{"extraclaims":{"a":1},"AllowAdminUI":true,"allowAdminUI":true,"Allow_Admin_UI":true,"ALLOW_DCR":true,"Users":["*"],"RESOURCES":["*"]}`}, want: rules{{}}},
		{name: "j unknown keys", values: []string{`{"frob":{"a":[1,null]},"allow_dcr":true}`}, want: rules{{dcr: true}}},
		{name: "l slash", values: []string{`{"users":["*"],"resources":["https://mcp.tail1234.ts.net/mcp/"]}`}, want: rules{{users: []string{"*"}, resources: []string{testResource + "/"}}}},

		{name: "null members", values: []string{`{"users":null,"resources": null ,"clients":null,"groups":null,"allow_admin_ui":null,"allow_dcr":null,"allow_metrics":null}`}, want: rules{{}}},
		{name: "all keys", values: []string{` {"users":["a"],"resources":["b"],"clients":["c"],"groups":["d","d"],"allow_admin_ui":true,"allow_dcr":true,"allow_metrics":true} `},
			want: rules{{users: []string{"a"}, resources: []string{"b"}, clients: []string{"c"}, groups: []string{"d", "d"}, adminUI: true, dcr: true, metrics: true}}},
		{name: "text for every list", values: []string{`{"users":"a","resources":"b","clients":"c","groups":"d"}`},
			want: rules{{users: []string{"a"}, resources: []string{"b"}, clients: []string{"c"}, groups: []string{"d"}}}},
		{name: "empty lists", values: []string{`{"users":[],"resources":[],"clients":[],"groups":[]}`}, want: rules{{}}},
		// As today's tsidp has it.
		{name: "key twice", values: []string{`{"allow_admin_ui":true,"allow_admin_ui":false}`}, want: rules{{}}},

		{name: "not an object", values: []string{`[]`, `"x"`, `1`, `true`, ``, ` `, `{`, `{}{}`, `{} x`, "\x00"}, broken: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{name: "all broken", values: []string{`{"users":[1]}`, `{"users":{}}`}, broken: []int{0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs, faults := parseRules(rawRules(tt.values...))
			if diff := cmp.Diff(tt.want, rs, equateRules); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			var broken []int
			for _, f := range faults {
				if f.Kind == faultKey {
					continue // the rule holds
				}
				broken = append(broken, f.Index)
				if want := fmt.Sprintf("rule %d of tailscale.com/cap/tsidp grants nothing: ", f.Index); !strings.HasPrefix(f.Error(), want) {
					t.Errorf("fault %q does not begin with %q", f.Error(), want)
				}
			}
			if !slices.Equal(broken, tt.broken) {
				t.Errorf("broken rules %v, want %v: %v", broken, tt.broken, faults)
			}
		})
	}
}

// TestRuleKeyTypes tries every known key with every type of JSON value. What
// breaks a rule takes the right members of the same rule with it, and the
// fault names the key.
func TestRuleKeyTypes(t *testing.T) {
	kinds := map[string]string{
		"users": "list", "resources": "list", "clients": "list", "groups": "list", "allow_admin_ui": "bool", "allow_dcr": "bool", "allow_metrics": "bool", "includeInUserInfo": "bool",
		"exchange": "list", "introspect": "list", "scopes": "list", "impersonate": "bool", "machine": "bool", "machine_login": "bool",
	}
	if n := len(ruleKeys); n != len(kinds)+1 { // extraClaims is an object
		t.Errorf("%d keys, %d of them tried", n, len(kinds))
	}
	values := map[string]string{ // JSON → the kind that takes it
		`"x"`: "list", `["x"]`: "list", `[]`: "list", `true`: "bool", `false`: "bool",
		`1`: "", `0`: "", `{}`: "", `{"a":"b"}`: "", `[1]`: "", `["x",null]`: "", `[["x"]]`: "", `["x",true]`: "", `"true"`: "list", `"false"`: "list", `[true]`: "", `[{}]`: "",
	}
	for key, kind := range kinds {
		for value, takes := range values {
			text := fmt.Sprintf(`{"allow_dcr":true,"users":["*"],"resources":["*"],%q:%s,"allow_admin_ui":true}`, key, value)
			if key == "allow_admin_ui" {
				text = strings.Replace(text, `,"allow_admin_ui":true}`, "}", 1)
			}
			rs, faults := parseRules(rawRules(text))
			switch {
			case takes == kind && (len(faults) != 0 || len(rs) != 1):
				t.Errorf("%s: faults %v, want none", text, faults)
			case takes != kind && (len(faults) != 1 || len(rs) != 0):
				t.Errorf("%s: rules %+v and faults %v, want one fault and no rule", text, rs, faults)
			case takes != kind && !strings.Contains(faults[0].Error(), fmt.Sprintf("key %q must be", key)):
				t.Errorf("%s: fault %v does not name the key", text, faults[0])
			}
		}
	}
}

// TestRuleFaultIsStable: of several wrong keys always the same is reported.
func TestRuleFaultIsStable(t *testing.T) {
	const broken = `{"allow_dcr":1,"allow_admin_ui":1,"groups":1,"clients":1,"resources":1,"users":1}`
	for range 50 {
		_, faults := parseRules(rawRules(broken))
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), `key "users"`) {
			t.Fatalf("faults %v, want the one of users", faults)
		}
	}
}

// TestC41Bounds is row (k): what a policy holds cannot keep us busy, and
// nothing beyond a bound grants anything.
func TestC41Bounds(t *testing.T) {
	long := `{"allow_admin_ui":true,"groups":["` + strings.Repeat("g", maxRuleBytes) + `"]}`
	rs, faults := parseRules(rawRules(long, `{"allow_dcr":true}`))
	if rs.allowsAdmin() || !rs.allowsRegistration() || len(faults) != 1 || faults[0].Index != 0 {
		t.Errorf("a rule of %d bytes: rules %+v, faults %v", len(long), rs, faults)
	}
	const begin, end = `{"allow_admin_ui":true,"x":"`, `"}`
	fits := begin + strings.Repeat("g", maxRuleBytes-len(begin+end)) + end
	if rs, faults := parseRules(rawRules(fits)); !rs.allowsAdmin() {
		t.Errorf("a rule of %d bytes: faults %v", len(fits), faults)
	}

	values := slices.Repeat([]string{`{"allow_dcr":true}`}, maxRules)
	if rs, faults := parseRules(rawRules(values...)); len(rs) != maxRules || len(faults) != 0 {
		t.Errorf("%d rules: %d parsed, faults %v", len(values), len(rs), faults)
	}
	values = append(values, `{"allow_admin_ui":true}`, `{`)
	rs, faults = parseRules(rawRules(values...))
	if len(rs) != maxRules || rs.allowsAdmin() || len(faults) != 1 || faults[0].Index != maxRules {
		t.Errorf("%d rules: %d parsed, faults %v; want one fault at %d", len(values), len(rs), faults, maxRules)
	}

	// Nesting that encoding/json refuses is one broken rule.
	deep := `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`
	if rs, faults := parseRules(rawRules(deep)); len(rs) != 0 || len(faults) != 1 {
		t.Errorf("deep nesting: %d rules, faults %v", len(rs), faults)
	}
}

// TestC41Megabyte is row (k) with rules that are right: they are read, in
// milliseconds; the bound is generous for slow machines.
func TestC41Megabyte(t *testing.T) {
	one := `{"users":["` + strings.Repeat(`a@example.com","`, 600) + `*"],"resources":["*"]}`
	var values []string
	for n := 0; n < 1<<20; n += len(one) {
		values = append(values, one)
	}
	start := time.Now()
	rs, faults := parseRules(rawRules(values...))
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("reading %d rules took %v", len(values), d)
	}
	if len(faults) != 0 || len(rs) != len(values) || !rs.allowsResource([]string{"ada@example.com"}, testResource) {
		t.Errorf("%d of %d rules, faults %v", len(rs), len(values), faults)
	}
}

func TestAllowsResource(t *testing.T) {
	for _, tt := range []struct {
		name     string
		rules    []string
		resource string
		want     bool
	}{
		{"no rule", nil, testResource, false},
		{"stars", []string{`{"users":["*"],"resources":["*"]}`}, testResource, true},
		{"login", []string{`{"users":["ada@example.com"],"resources":["*"]}`}, testResource, true},
		{"other login", []string{`{"users":["bob@example.com"],"resources":["*"]}`}, testResource, false},
		{"login in other case", []string{`{"users":["ADA@example.com"],"resources":["*"]}`}, testResource, false},
		{"part of login", []string{`{"users":["ada@*","ada","*@example.com"],"resources":["*"]}`}, testResource, false},
		{"users alone", []string{`{"users":["*"]}`}, testResource, false},
		{"resources alone", []string{`{"resources":["*"]}`}, testResource, false},
		// Both must match within one rule.
		{"users and resources in two rules", []string{`{"users":["*"],"resources":["https://other.example"]}`, `{"users":["bob@example.com"],"resources":["*"]}`}, testResource, false},
		{"C41 l: slash in the rule", []string{`{"users":["*"],"resources":["` + testResource + `/"]}`}, testResource, true},
		{"C41 l: slash asked", []string{`{"users":["*"],"resources":["` + testResource + `"]}`}, testResource + "/", true},
		{"below", []string{`{"users":["*"],"resources":["https://mcp.tail1234.ts.net/*"]}`}, testResource, true},
		{"not below", []string{`{"users":["*"],"resources":["https://mcp.tail1234.ts.net/mcp/*"]}`}, testResource, false},
		{"other host", []string{`{"users":["*"],"resources":["https://mcp.tail1234.ts.net/mcp"]}`}, "https://mcp.tail1234.ts.net.evil.example/mcp", false},
		{"malformed asked", []string{`{"users":["*"],"resources":["*"]}`}, "mcp", false},
		{"empty asked", []string{`{"users":["*"],"resources":["*",""]}`}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := wantRules(t, tt.rules...).allowsResource([]string{"ada@example.com"}, tt.resource); got != tt.want {
				t.Errorf("allowsResource(%q) is %t, want %t", tt.resource, got, tt.want)
			}
		})
	}
}

// TestOpensClient: clients are listed by id or name, in which * is a glob.
func TestOpensClient(t *testing.T) {
	for _, tt := range []struct {
		clients string
		id      string
		name    string
		want    bool
	}{
		{`["c0ffee"]`, "c0ffee", "Grafana", true},
		{`["Grafana"]`, "c0ffee", "Grafana", true},
		{`"Grafana"`, "c0ffee", "Grafana", true},
		{`["grafana"]`, "c0ffee", "Grafana", false},
		{`["Graf*"]`, "c0ffee", "Grafana", true},
		{`["*fana"]`, "c0ffee", "Grafana", true},
		{`["G*f*a"]`, "c0ffee", "Grafana", true},
		{`["G*x*a"]`, "c0ffee", "Grafana", false},
		{`["Graf"]`, "c0ffee", "Grafana", false},
		{`["c0*"]`, "c0ffee", "", true},
		{`["*"]`, "c0ffee", "", true},
		{`["**"]`, "c0ffee", "", true},
		{`[]`, "c0ffee", "Grafana", false},
		{`[""]`, "c0ffee", "Grafana", false},
		{`[""]`, "c0ffee", "", false}, // a client without name is not named ""
		{`["c0ffe?","[c]0ffee","c0ffe."]`, "c0ffee", "Grafana", false},
	} {
		rs := wantRules(t, `{"clients":`+tt.clients+`}`)
		if got := rs.opensClient(tt.id, tt.name); got != tt.want {
			t.Errorf("clients %s: opensClient(%q, %q) is %t, want %t", tt.clients, tt.id, tt.name, got, tt.want)
		}
	}
}

// TestNamesStranger: users of other tailnets need a rule that means them
// (DESIGN §4).
func TestNamesStranger(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		login string
		want  bool
	}{
		{`{"users":["eve@other.example"]}`, "eve@other.example", true},
		{`{"users":"eve@other.example"}`, "eve@other.example", true},
		{`{"users":["*"]}`, "eve@other.example", false},
		{`{"users":["mallory@other.example"]}`, "eve@other.example", false},
		{`{"users":["*@other.example"]}`, "eve@other.example", false},
		{`{"users":[""]}`, "", false},
		{`{"clients":["c0ffee"]}`, "eve@other.example", true},
		{`{"clients":["Grafana"]}`, "eve@other.example", true},
		{`{"clients":["Graf*"]}`, "eve@other.example", true},
		{`{"clients":["*"]}`, "eve@other.example", false},
		{`{"clients":["**","***"]}`, "eve@other.example", false}, // other spellings of *
		{`{"clients":["*","c0ffee"]}`, "eve@other.example", true},
		{`{"clients":["tea"]}`, "eve@other.example", false},
		{`{"users":["*"],"resources":["*"],"allow_admin_ui":true,"allow_dcr":true,"groups":["eve@other.example"]}`, "eve@other.example", false},
	} {
		rs := wantRules(t, tt.rule)
		if got := rs.namesStranger(tt.login, "c0ffee", "Grafana"); got != tt.want {
			t.Errorf("%s: namesStranger(%q) is %t, want %t", tt.rule, tt.login, got, tt.want)
		}
	}
	rs := wantRules(t, `{"clients":["*","c0ffee"]}`)
	rs.namesStranger("eve@other.example", "c0ffee", "")
	if !slices.Equal(rs[0].clients, []string{"*", "c0ffee"}) {
		t.Errorf("namesStranger has changed the rule to %q", rs[0].clients)
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "aa", false}, {"*", "", true}, {"*", "abc", true},
		{"a*", "a", true}, {"a*", "ab", true}, {"a*", "ba", false}, {"*a", "a", true}, {"*a", "ab", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"a*a", "aba", true}, // the ends may not share a letter
		{"ab*ba", "aba", false}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"*b*b*", "ab", false}, {"*b*b*", "abxb", true},
		{"**", "", true}, {"a**b", "ab", true}, {"*ä*", "xäy", true}, {"?", "a", false}, {"[a]", "a", false}, {`\*`, "*", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) is %t, want %t", tt.pattern, tt.s, got, tt.want)
		}
	}
}

// globSlow is the definition of glob.
func globSlow(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return globSlow(pattern[1:], s) || s != "" && globSlow(pattern, s[1:])
	}
	return s != "" && s[0] == pattern[0] && globSlow(pattern[1:], s[1:])
}

func TestGlobAgainstDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func(letters string, most int) string {
		b := make([]byte, rnd.IntN(most+1))
		for i := range b {
			b[i] = letters[rnd.IntN(len(letters))]
		}
		return string(b)
	}
	for range 50_000 {
		pattern, s := text("ab*", 7), text("ab", 8)
		if got, want := glob(pattern, s), globSlow(pattern, s); got != want {
			t.Fatalf("glob(%q, %q) is %t, want %t", pattern, s, got, want)
		}
	}
}

// A policyQuestion is a yes-or-no question to rules.
type policyQuestion struct {
	name string
	ask  func(rules) bool
}

func policyQuestions() []policyQuestion {
	qs := []policyQuestion{
		{"administration", rules.allowsAdmin},
		{"registration", rules.allowsRegistration},
		{"metrics", rules.allowsMetrics},
	}
	for _, login := range []string{"ada@example.com", "bob@example.com"} {
		for _, r := range []string{testResource, "https://a.example/x/y", "urn:a"} {
			qs = append(qs, policyQuestion{login + " " + r, func(rs rules) bool { return rs.allowsResource([]string{login}, r) }})
		}
		for _, c := range []string{"one", "two"} {
			qs = append(qs, policyQuestion{"stranger " + login + " " + c, func(rs rules) bool { return rs.namesStranger(login, c, "App "+c) }},
				policyQuestion{"client " + c, func(rs rules) bool { return rs.opensClient(c, "App "+c) }})
		}
	}
	for _, g := range []string{"ops", "dev"} {
		qs = append(qs, policyQuestion{"group " + g, func(rs rules) bool { return slices.Contains(rs.groups(), g) }})
	}
	for _, s := range []string{"mcp:read", "x"} {
		qs = append(qs, policyQuestion{"scope " + s, func(rs rules) bool { return rs.allowsScope(s) }})
	}
	for _, r := range []string{testResource, "urn:a"} {
		qs = append(qs, policyQuestion{"introspection " + r, func(rs rules) bool { return slices.Contains(rs.introspects(), r) }},
			policyQuestion{"exchange " + r, func(rs rules) bool { ok, _ := rs.allowsExchange([]string{r}); return ok }},
			policyQuestion{"impersonation " + r, func(rs rules) bool { _, ok := rs.allowsExchange([]string{r, testResource}); return ok }})
	}
	return append(qs, decideQuestions()...)
}

// decideQuestions are those that decide answers of a person's and a machine's
// rules.
func decideQuestions() []policyQuestion {
	closed := newTestClient(func(c *client) { c.Name, c.Access = "App one", accessGranted })
	info := tailnetInfo{suffix: "tail1234.ts.net"}
	person, _ := newIdentity(ada, userPeer(1, "ada@example.com", "Ada", "lap", ada), info)
	tagged := userPeer(2, "tagged-devices", "", "ci", ci)
	tagged.Node.Tags = []string{"tag:ci"}
	machine, _ := newIdentity(ci, tagged, info)
	ask := func(name string, who identity, q question) policyQuestion {
		return policyQuestion{"decide " + name, func(rs rules) bool {
			q.who, q.issuer = who, testIssuer
			q.who.rules = rs
			if q.exchange != nil {
				x := *q.exchange
				x.caller = &q.who
				q.exchange = &x
			}
			_, no := decide(q)
			return no == nil
		}}
	}
	node := clientOfNode(&machine)
	return []policyQuestion{
		ask("login", person, question{action: actAuthorize, client: closed, resources: []string{testResource}}),
		ask("machine login", machine, question{action: actAuthorize, client: newTestClient()}),
		ask("machine", machine, question{action: actMachine, client: node, grant: &authorization{subject: machine.subject(), node: machine.node, machine: true, clientID: node.ID}}),
		ask("exchange", person, question{action: actExchange, client: newTestClient(), resources: []string{testIssuer}, grant: &authorization{subject: person.subject(), node: person.node},
			exchange: &exchangeQuestion{by: closed, subject: []string{testResource}, bearer: true}}),
		ask("refresh", person, question{action: actRefresh, client: newTestClient(), resources: []string{testResource, "urn:a"}, grant: &authorization{subject: person.subject(), node: person.node}}),
	}
}

// randomRule returns the text of a rule; sometimes a broken one.
func randomRule(rnd *rand.Rand) string {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	m := map[string]string{}
	keys := []string{"Users", "x"}
	for _, k := range ruleKeys {
		keys = append(keys, k.name)
	}
	for range rnd.IntN(7) {
		switch key := pick(keys...); key {
		case "users":
			m[key] = pick(`"*"`, `["ada@example.com"]`, `["bob@example.com","*"]`, `["tag:ci"]`, `[]`, `null`, `[1]`)
		case "resources":
			m[key] = pick(`"*"`, `["`+testResource+`/"]`, `["https://a.example/*"]`, `["urn:a"]`, `{}`)
		case "exchange", "introspect":
			m[key] = pick(`"*"`, `["`+testResource+`","urn:a"]`, `["urn:a"]`, `["`+testResource+`"]`)
		case "clients":
			m[key] = pick(`"*"`, `["one"]`, `["App *"]`, `["t*"]`, `true`)
		case "groups":
			m[key] = pick(`"ops"`, `["ops","dev"]`, `[]`)
		case "scopes":
			m[key] = pick(`"*"`, `"mcp:*"`, `["x"]`, `{}`)
		case "extraClaims":
			m[key] = randomClaims(rnd)
		case "Users", "x":
			m[key] = pick(`1`, `{"a":[]}`, `true`)
		default: // the others are switches
			m[key] = pick(`true`, `true`, `false`, `"true"`, `null`)
		}
	}
	var parts []string
	for k, v := range m {
		parts = append(parts, fmt.Sprintf("%q:%s", k, v))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// randomClaims returns the text of an extraClaims; sometimes a broken one.
func randomClaims(rnd *rand.Rand) string {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	var parts []string
	for _, name := range []string{"tier", "roles", "groups", "email", "sub", "key", "long"} {
		if rnd.IntN(3) == 0 {
			value := pick(`1`, `1.0`, `"gold"`, `true`, `null`, `[]`, `["a"]`, `["b",["a",2]]`, `[null,{"k":[1]}]`, `{"k":[1]}`, `[[[[[[1]]]]]]`)
			parts = append(parts, fmt.Sprintf("%q:%s", name, value))
		}
	}
	if rnd.IntN(20) == 0 {
		return pick(`[]`, `"x"`, `1`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestRulesAreAUnion: the order of rules does not matter, and one more rule,
// whatever it says and wherever it stands, takes nothing away.
func TestRulesAreAUnion(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	questions := policyQuestions()
	yes := make(map[string]int)
	for range 2000 {
		var values []string
		for range rnd.IntN(6) {
			values = append(values, randomRule(rnd))
		}
		before, _ := parseRules(rawRules(values...))

		shuffled := slices.Clone(values)
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		after, _ := parseRules(rawRules(shuffled...))
		more, _ := parseRules(rawRules(slices.Insert(slices.Clone(values), rnd.IntN(len(values)+1), randomRule(rnd))...))
		for _, q := range questions {
			want := q.ask(before)
			if want {
				yes[q.name]++
			}
			if got := q.ask(after); got != want {
				t.Fatalf("%s: %t for %q, but %t for %q", q.name, want, values, got, shuffled)
			}
			if want && !q.ask(more) {
				t.Fatalf("%s: allowed by %q, but not with one rule more", q.name, values)
			}
		}
	}
	for _, q := range questions {
		if yes[q.name] == 0 || yes[q.name] == 2000 {
			t.Errorf("%s was allowed %d times of 2000: the test does not test it", q.name, yes[q.name])
		}
	}
}

// FuzzParseRules: no value panics; a broken one grants nothing and takes
// nothing from its neighbours; and what is granted was written, in exactly
// these letters.
func FuzzParseRules(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `{"users":"*","resources":"*"}`, `{"allow_admin_ui":"true"}`, `{"allow_admin_ui":true,"allow_dcr":true}`,
		`{"Allow_Admin_UI":true}`, `{"users":["\ud800"],"groups":["äöü team",1]}`, `{"clients":["*"],"x":{"y":[[[]]]}}`, `{"allow_dcr":true`, `{"extraClaims":{"sub":1,"a":[1,["x",null],{"b":1e9}]},"includeInUserInfo":true}`, `{"extraClaims":[]}`, "{\"users\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	neighbour := wantRules(f, `{"groups":["neighbour"]}`)[0]
	f.Fuzz(func(t *testing.T, data []byte) {
		rs, faults := parseRules([]tailcfg.RawMessage{`{"groups":["neighbour"]}`, tailcfg.RawMessage(data), `{"groups":["neighbour"]}`})
		faults = slices.DeleteFunc(faults, func(f ruleFault) bool { return f.Kind != faultRule && f.Index == 1 && f.Error() != "" })
		if len(rs)+len(faults) != 3 || len(faults) == 1 && faults[0].Index != 1 {
			t.Fatalf("%d rules, faults %v", len(rs), faults)
		}
		for _, r := range []rule{rs[0], rs[len(rs)-1]} {
			if diff := cmp.Diff(neighbour, r, equateRules); diff != "" {
				t.Fatalf("a neighbour has changed (-want +got):\n%s", diff)
			}
		}
		if len(faults) == 1 {
			if faults[0].Error() == "" {
				t.Error("a fault without a reason")
			}
			return
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("parsed, though %v", err)
		}
		r := rs[1]
		if r.adminUI && m["allow_admin_ui"] != true || r.dcr && m["allow_dcr"] != true || r.metrics && m["allow_metrics"] != true {
			t.Errorf("%+v grants what is not written", r)
		}
		for key, list := range map[string][]string{"users": r.users, "resources": r.resources, "clients": r.clients, "groups": r.groups} {
			for _, s := range list {
				if many, _ := m[key].([]any); m[key] != s && !slices.Contains(many, any(s)) {
					t.Errorf("%s has %q, which is not written", key, s)
				}
			}
		}
	})
}
