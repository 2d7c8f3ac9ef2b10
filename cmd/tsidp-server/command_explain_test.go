// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store/memory"
)

// adminAnswering is a way to an administration that answers everything with v.
func adminAnswering(t *testing.T, status int, v any) *adminClient {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeAnswer(w, status, v) })
	p, err := tsidp.New(tsidp.Config{Issuer: "https://idp.example", Tailnet: nobody{}, Store: memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	return &adminClient{&http.Client{Transport: inProcess{p, h}}, func() error { return nil }}
}

// TestCheckPolicy: what is wrong with rules is one line each, so many and no
// more, and the check fails.
func TestCheckPolicy(t *testing.T) {
	check := func(status int, v any) (string, int) {
		var out strings.Builder
		r := &checkReport{w: &out}
		checkPolicy(t.Context(), r, adminAnswering(t, status, v))
		return out.String(), r.failed
	}
	rule := admin.PolicyRule{
		Rule: json.RawMessage(`{"Users":["*"]}`), NodeCount: 3,
		Nodes:    []admin.RulePeer{{Peer: admin.Peer{Name: "lap.example", User: "ada\x1b@example.com"}, Index: 1}},
		Problems: []admin.RuleProblem{{Index: 1, Kind: admin.ProblemKey, Text: `the key "Users" is unknown and ignored; did you mean "users"?`}},
	}
	out, failed := check(200, admin.PolicyReport{Rules: []admin.PolicyRule{rule}, Nodes: 3, LeftOut: 2})
	for _, want := range []string{
		`FAIL  policy       rule 1 of lap.example ("ada\x1b@example.com") and 2 more: the key "Users" is unknown and ignored; did you mean "users"?`,
		`mend: correct it in the policy file (https://login.tailscale.com/admin/acls): {"Users":["*"]}`,
		"2 nodes and rules are too many to be looked at",
	} {
		if !strings.Contains(out, want) || failed != 1 {
			t.Errorf("%d failed, %q is missing in\n%s", failed, want, out)
		}
	}
	rule.Rule = json.RawMessage(`"` + strings.Repeat("é", 1000) + `"`)
	for range 60 {
		rule.Problems = append(rule.Problems, rule.Problems[0])
	}
	out, failed = check(200, admin.PolicyReport{Rules: []admin.PolicyRule{rule}})
	if failed != maxPolicyLines+1 || !strings.Contains(out, "and 41 more faults") || strings.Contains(out, strings.Repeat("é", 100)) {
		t.Errorf("%d failed:\n%s", failed, out)
	}
	rule.Nodes, rule.NodeCount = nil, 0
	if out, _ := check(200, admin.PolicyReport{Rules: []admin.PolicyRule{rule}}); !strings.Contains(out, "of no node: ") {
		t.Error(out)
	}
	if out, failed := check(503, failure{"temporarily_unavailable", "the tailnet cannot be asked"}); failed != 1 || !strings.Contains(out, "FAIL  policy       the tailnet cannot be asked") {
		t.Error(out)
	}
	if out, failed := check(200, "x"); failed != 1 || !strings.Contains(out, "reading answer") {
		t.Error(out)
	}
}

// TestPrintExplanation: what peers and policies say cannot write escape
// sequences to a terminal.
func TestPrintExplanation(t *testing.T) {
	var out strings.Builder
	err := printExplanation(&out, admin.Explanation{LeftOut: 7, Verdicts: []admin.Verdict{{
		Peer: admin.Peer{Name: "a\x1b[2J"}, Allowed: true, Message: "b\x1b", Rules: []admin.RuleRef{{Rule: json.RawMessage("{\n}")}},
		Problems: []admin.RuleProblem{{Index: 4, Text: "c\x1b"}}, Resources: []string{"d\x1b"}, Grant: json.RawMessage(`{"e":["f"]}`),
	}}})
	if err != nil || strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "and 7 nodes more") ||
		!strings.Contains(out.String(), "beware: rule 4: ") || !strings.Contains(out.String(), `"e": [`) {
		t.Errorf("%v\n%s", err, &out)
	}
}
