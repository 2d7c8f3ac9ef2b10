// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Actions of an [ExplainQuery].
const (
	ActionLogin      = "login" // the default
	ActionRefresh    = "refresh"
	ActionMachine    = "machine"
	ActionExchange   = "exchange"
	ActionRegister   = "register"
	ActionAdminister = "administer"
	ActionMetrics    = "metrics"
)

// Actions are all of them.
var Actions = []string{ActionLogin, ActionRefresh, ActionMachine, ActionExchange, ActionRegister, ActionAdminister, ActionMetrics}

// An ExplainQuery asks whether somebody may do something now.
type ExplainQuery struct {
	// User is a login or the sub of tokens, Node a name, an address, a stable
	// id or the sub of tokens. One of them is needed; both mean this node of
	// this user.
	User, Node string
	// Client is an id; empty means any that is open to everybody.
	Client            string
	Resources, Scopes []string
	Action            string // empty: login
	// Of an exchange: the client that exchanges, the node that it runs on, and
	// what the subject token is for. Client is whom that was issued to.
	Exchanger, ExchangerNode string
	Audience                 []string
}

// An Explanation answers an [ExplainQuery], for each node that it means.
type Explanation struct {
	Action   string    `json:"action"`
	Verdicts []Verdict `json:"verdicts"`
	// LeftOut is how many nodes more the query means: too many to be shown.
	LeftOut int `json:"left_out,omitempty"`
}

// Allowed reports whether all verdicts say so.
func (e Explanation) Allowed() bool {
	return !slices.ContainsFunc(e.Verdicts, func(v Verdict) bool { return !v.Allowed })
}

// A Peer is a node of the tailnet.
type Peer struct {
	Node string `json:"node"` // its stable id
	Name string `json:"node_name,omitempty"`
	User string `json:"user,omitempty"` // the login, or the tags
}

// A Verdict is what the policy says of one node.
type Verdict struct {
	Peer
	Allowed bool `json:"allowed"`
	// Reason is a fixed word for a refusal, Message the whole sentence.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	// Rules are those without which it would be refused.
	Rules []RuleRef `json:"rules,omitempty"`
	// Resources and Scopes are those that would be granted, the others those
	// that would be left out.
	Resources        []string `json:"resources,omitempty"`
	Scopes           []string `json:"scopes,omitempty"`
	RefusedResources []string `json:"refused_resources,omitempty"`
	RefusedScopes    []string `json:"refused_scopes,omitempty"`
	// Grant is for the tailnet's policy file: with it nothing would be refused.
	// There is none where no rule would help.
	Grant json.RawMessage `json:"grant,omitempty"`
	// Problems are those of the rules that the node has.
	Problems []RuleProblem `json:"problems,omitempty"`
}

// Partly reports whether something that was asked for would be left out.
func (v Verdict) Partly() bool {
	return v.Allowed && len(v.RefusedResources)+len(v.RefusedScopes) > 0
}

// A RuleRef is a rule and its place, from 0, among those of a node.
type RuleRef struct {
	Index int             `json:"index"`
	Rule  json.RawMessage `json:"rule"`
}

// A RuleProblem says what of a rule does not count, and why.
type RuleProblem struct {
	Index int    `json:"index"` // of the rule, among those of the node
	Kind  string `json:"kind"`
	Text  string `json:"text"`
}

// Kinds of a RuleProblem.
const (
	ProblemRule  = "rule"  // the rule grants nothing
	ProblemClaim = "claim" // one of its claims is left out
	ProblemKey   = "key"   // one of its keys is unknown, and ignored
)

// A PolicyReport says how the rules of the tailnet's nodes are read. Nodes that
// have the same rule share it: a grant has many sources.
type PolicyReport struct {
	Rules []PolicyRule `json:"rules"`
	Nodes int          `json:"nodes"` // that were asked for
	// LeftOut is how many nodes and rules are too many to be looked at.
	LeftOut int `json:"left_out,omitempty"`
}

// Problems counts those of all rules.
func (r PolicyReport) Problems() int {
	n := 0
	for _, rule := range r.Rules {
		n += len(rule.Problems)
	}
	return n
}

// A PolicyRule is one rule of the policy.
type PolicyRule struct {
	// Rule is its text; a string if it is not JSON.
	Rule     json.RawMessage `json:"rule"`
	Problems []RuleProblem   `json:"problems,omitempty"`
	// Nodes have the rule, at their Index. They are the first ones of NodeCount.
	Nodes     []RulePeer `json:"nodes"`
	NodeCount int        `json:"node_count"`
}

// A RulePeer is a node that has a rule, and where among its rules.
type RulePeer struct {
	Peer
	Index int `json:"index"`
}

// Bounds on the parameters of a question.
const (
	maxExplainValue  = 2048 // bytes
	maxExplainValues = 20   // of one parameter
)

// ExplainPolicy answers GET /api/v1/policy/explain. Its parameters are strict: a
// misspelled one would answer another question.
func (a *API) ExplainPolicy(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	q := ExplainQuery{
		User: values.Get("user"), Node: values.Get("node"), Client: values.Get("client"), Action: values.Get("action"),
		Resources: values["resource"], Scopes: strings.Fields(strings.Join(values["scope"], " ")),
		Exchanger: values.Get("exchanger"), ExchangerNode: values.Get("exchanger_node"), Audience: values["audience"],
	}
	if err := a.checkExplain(values, q); err != nil {
		return err
	}
	e, err := a.Backend.Explain(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, e)
}

func (a *API) checkExplain(values url.Values, q ExplainQuery) error {
	many := []string{"resource", "scope", "audience"}
	known := append([]string{"user", "node", "client", "action", "exchanger", "exchanger_node"}, many...)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !slices.Contains(known, name):
			return a.Backend.Reject("", "there is no parameter %.64q; there are %s", name, strings.Join(known, ", "))
		case len(values[name]) > 1 && !slices.Contains(many, name):
			return a.Backend.Reject(name, "must not be repeated")
		case len(values[name]) > maxExplainValues:
			return a.Backend.Reject(name, "more than %d of them", maxExplainValues)
		case slices.ContainsFunc(values[name], func(s string) bool { return len(s) > maxExplainValue }):
			return a.Backend.Reject(name, "must not be longer than %d bytes", maxExplainValue)
		}
	}
	if len(q.Scopes) > maxExplainValues {
		return a.Backend.Reject("scope", "more than %d of them", maxExplainValues)
	}
	return nil
}

// CheckPolicy answers GET /api/v1/policy/check.
func (a *API) CheckPolicy(w http.ResponseWriter, r *http.Request) error {
	report, err := a.Backend.PolicyCheck(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, report)
}
