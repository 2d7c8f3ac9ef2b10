// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

// policyPage is the data of policy.html.
type policyPage struct {
	page
	Ask         askForm
	Actions     []choice
	Explanation *admin.Explanation // nil: nothing was asked
	AskProblem  string

	Own    []ownRule
	Report *admin.PolicyReport // nil: nobody asked for it

	Build        grantForm
	BuildProblem string
	Grant        string // what was built
}

// An askForm is the question "may X use Y".
type askForm struct {
	User, Node, Client, Action, Resources, Scopes string
}

// An ownRule is a rule of who asks, with what is wrong with it.
type ownRule struct {
	admin.RuleRef
	Problems []admin.RuleProblem
}

var actions = []choice{
	{admin.ActionLogin, "log in"}, {admin.ActionRefresh, "stay logged in"}, {admin.ActionMachine, "get tokens as a machine"},
	{admin.ActionExchange, "exchange tokens"}, {admin.ActionRegister, "register applications"},
	{admin.ActionAdminister, "administer"}, {admin.ActionMetrics, "read the metrics"},
}

// Policy answers GET /admin/policy: the rules of who asks; with ask, a
// question; with check, the rules of all nodes; with build, a grant.
func (u *UI) Policy(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p := policyPage{Actions: actions}
	var err error
	if p.page, err = u.newPage(r, "/admin/policy", "Policy"); err != nil {
		return err
	}
	own, err := u.cfg.Backend.OwnPolicy(r.Context())
	if err != nil {
		return err
	}
	for _, ref := range own.Rules {
		rule := ownRule{RuleRef: ref}
		for _, problem := range own.Problems {
			if problem.Index == ref.Index {
				rule.Problems = append(rule.Problems, problem)
			}
		}
		p.Own = append(p.Own, rule)
	}
	status := http.StatusOK
	if v.Has("ask") {
		p.Ask = readAsk(v)
		if p.AskProblem, err = u.ask(r, &p); err != nil {
			return err
		}
	}
	if v.Has("check") {
		report, err := u.cfg.Backend.PolicyCheck(r.Context())
		if err != nil {
			return err
		}
		p.Report = &report
	}
	p.Build = readGrantForm(v, own.Destinations)
	if v.Has("build") {
		if p.Grant, err = p.Build.grant(); err != nil {
			p.BuildProblem = err.Error()
		}
	}
	if p.AskProblem != "" || p.BuildProblem != "" {
		status = http.StatusBadRequest
	}
	return u.render(w, status, "policy.html", p)
}

func readAsk(v url.Values) askForm {
	get := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	return askForm{get("user"), get("node"), get("client"), get("action"), get("resources"), get("scopes")}
}

// ask answers the question of the form. trouble is what is wrong with it.
func (u *UI) ask(r *http.Request, p *policyPage) (trouble string, err error) {
	f := p.Ask
	e, err := u.cfg.Backend.Explain(r.Context(), admin.ExplainQuery{
		User: f.User, Node: f.Node, Client: f.Client, Action: f.Action, Resources: strings.Fields(f.Resources), Scopes: strings.Fields(f.Scopes),
	})
	if err == nil {
		p.Explanation = &e
		return "", nil
	}
	code, at, message, ok := problem(err)
	if !ok && code != "not_found" {
		return "", err
	}
	if at != "" {
		message = at + ": " + message
	}
	return message, nil
}

var (
	lineEnd = regexp.MustCompile(`\n\s*`)
	// flatList is a list of texts over several lines.
	flatList = regexp.MustCompile(`\[\s+("(?:[^"\\]|\\.)*"(?:,\s+"(?:[^"\\]|\\.)*")*)\s+\]`)
)

// pretty shows JSON to people, lists of texts in one line.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return flatList.ReplaceAllStringFunc(b.String(), func(list string) string {
		// No line ends within a text: JSON escapes them.
		list = lineEnd.ReplaceAllString(list, " ")
		return "[" + list[2:len(list)-2] + "]"
	})
}
