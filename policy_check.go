// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

// The check of the policy: how the rules of all nodes are read. The provider
// sees no policy file, but what each node has of it.

// Bounds on a check.
const (
	maxCheckedNodes  = 5000
	maxCheckedRules  = 1000    // different ones
	maxCheckedBytes  = 4 << 20 // texts of all of them
	maxNodesOfRule   = 20      // that are named
	maxProblemsShown = 50      // of one rule
	// policyReportAge is how long one check answers all who ask: it asks the
	// tailnet about every node.
	policyReportAge = 5 * time.Second
	policyCheckTime = 50 * time.Second
)

// A policyCheck gathers the rules of nodes.
type policyCheck struct {
	report admin.PolicyReport
	at     map[string]int // place in the report, by text
	bytes  int
}

// PolicyCheck implements [admin.Backend].
func (b *backend) PolicyCheck(ctx context.Context) (admin.PolicyReport, error) {
	return b.p.policyReport.get(ctx, b.p.now, b.checkPolicy)
}

func (b *backend) checkPolicy(ctx context.Context) (admin.PolicyReport, error) {
	nodes, err := b.p.listNodes(ctx)
	if err != nil {
		return admin.PolicyReport{}, err
	}
	c := &policyCheck{at: make(map[string]int), report: admin.PolicyReport{Rules: []admin.PolicyRule{}, LeftOut: max(len(nodes)-maxCheckedNodes, 0)}}
	for _, n := range nodes[:len(nodes)-c.report.LeftOut] {
		who, err := b.p.peerRules(ctx, n.addr)
		switch {
		case isAnswer(err): // it has left, or may not do anything
		case err != nil:
			return admin.PolicyReport{}, identityError(err)
		default:
			c.add(who)
		}
	}
	// What is wrong comes first.
	slices.SortStableFunc(c.report.Rules, func(a, b admin.PolicyRule) int {
		return cmp.Compare(min(len(b.Problems), 1), min(len(a.Problems), 1))
	})
	return c.report, nil
}

// add adds the rules of one node.
func (c *policyCheck) add(who *peerRules) {
	c.report.Nodes++
	problems := who.problems()
	for i, text := range who.texts {
		if i > maxRules { // the first of these says that all are ignored
			break
		}
		at, known := c.at[string(text)]
		if !known {
			if c.bytes += len(text); len(c.at) == maxCheckedRules || c.bytes > maxCheckedBytes {
				c.report.LeftOut++
				continue
			}
			at = len(c.report.Rules)
			c.at[string(text)] = at
			c.report.Rules = append(c.report.Rules, admin.PolicyRule{Rule: ruleText(string(text))})
		}
		r := &c.report.Rules[at]
		r.NodeCount++
		if len(r.Nodes) < maxNodesOfRule {
			r.Nodes = append(r.Nodes, admin.RulePeer{Peer: who.view(), Index: i})
		}
		for _, p := range problems {
			// A problem may be due to the node's other rules.
			same := func(q admin.RuleProblem) bool { return q.Kind == p.Kind && q.Text == p.Text }
			if p.Index == i && len(r.Problems) < maxProblemsShown && !slices.ContainsFunc(r.Problems, same) {
				r.Problems = append(r.Problems, p)
			}
		}
	}
}
