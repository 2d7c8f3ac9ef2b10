// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

const policyPath = "/api/v1/policy"

// explainCommand is the command explain.
func explainCommand() command {
	var flags []ownFlag
	for _, f := range explainFlags {
		flags = append(flags, f)
	}
	return command{
		name: "explain", args: "-user LOGIN|-node NODE [FLAG...]", run: runExplain, json: true,
		summary: "say whether the policy allows something, and by which rule",
		help: `The command asks the running server what the tailnet's policy says at this
moment, for each node of a user or for one node: whether it would be allowed,
and by which rules, or which grant is missing. Rules are counted from 0, in the
order of the policy, for each node.

	explain -user ada@example.com -client wiki
	explain -user ada@example.com -resource https://mcp.example.ts.net/mcp
	explain -node ci-runner -action machine -resource https://api.example.com/
	explain -node 100.64.0.7 -action register

The exit code is 0 if all of it is allowed from every node that is meant, 1 if
something is refused, and 2 if the question makes no sense. Rules that cannot be
read at all are what the command check tells.`,
		options: []string{"dir"},
		flags:   flags,
	}
}

// An explainFlag is a parameter of the question.
type explainFlag struct {
	name, arg, help string
	param           string // its name in the API
}

var explainFlags = []explainFlag{
	{"user", "LOGIN", "who: a login name, or the sub of tokens", "user"},
	{"node", "NODE", "on which node: a name, an address, a stable id, or a tag", "node"},
	{"client", "ID", "with which application; left out: one that is open to everybody", "client"},
	{"resource", "URI", "a resource that tokens are wanted for; may be repeated", "resource"},
	{"scope", "SCOPES", "the scopes that are wanted", "scope"},
	{"action", "ACTION", strings.Join(admin.Actions, ", ") + "; login unless given", "action"},
	{"exchanger", "ID", "for an exchange: the client that exchanges; -client is whom the token was issued to", "exchanger"},
	{"exchanger-node", "NODE", "for an exchange: the node that the exchanger runs on", "exchanger_node"},
	{"audience", "URI", "for an exchange: what the token is for; may be repeated", "audience"},
}

func (f explainFlag) define(fs *flag.FlagSet, inv *invocation) {
	fs.Func(f.name, f.help, func(s string) error {
		if inv.asked == nil {
			inv.asked = make(url.Values)
		}
		inv.asked.Add(f.param, s)
		return nil
	})
}

func (f explainFlag) usage(w io.Writer) { fmt.Fprintf(w, "  -%s %s\n\t%s\n", f.name, f.arg, f.help) }

// runExplain is the command explain. Without a server there is no tailnet to
// ask.
func runExplain(ctx context.Context, inv *invocation) error {
	if len(inv.args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", inv.args[0])}
	}
	c, err := dialServer(inv.config)
	if err != nil {
		return err
	}
	if c == nil {
		return noServer(inv.config)
	}
	body, err := c.call(ctx, http.MethodGet, policyPath+"/explain?"+inv.asked.Encode(), nil)
	if err = errors.Join(err, c.close()); err != nil {
		if refused, ok := errors.AsType[*refusedError](err); ok && refused.status == http.StatusBadRequest {
			return usageError{err}
		}
		return err
	}
	var e admin.Explanation
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	if inv.json {
		err = printJSON(inv.out, body)
	} else {
		err = printExplanation(inv.out, e)
	}
	if err != nil {
		return err
	}
	refused := 0
	for _, v := range e.Verdicts {
		if !v.Allowed || v.Partly() {
			refused++
		}
	}
	if refused > 0 {
		return fmt.Errorf("refused on %d of %d nodes", refused, len(e.Verdicts))
	}
	return nil
}

// printExplanation shows verdicts to people.
func printExplanation(w io.Writer, e admin.Explanation) error {
	var b bytes.Buffer
	for _, v := range e.Verdicts {
		printVerdict(&b, v)
	}
	if e.LeftOut > 0 {
		fmt.Fprintf(&b, "and %d nodes more: name one by -node\n", e.LeftOut)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func printVerdict(b *bytes.Buffer, v admin.Verdict) {
	state := "allowed"
	switch {
	case !v.Allowed:
		state = "REFUSED"
	case v.Partly():
		state = "PARTLY "
	}
	line := func(format string, args ...any) { fmt.Fprintf(b, "         "+format+"\n", args...) }
	fmt.Fprintf(b, "%s  %s\n", state, peerName(v.Peer))
	line("%s", printable(v.Message))
	for _, r := range v.Rules {
		line("rule %d: %s", r.Index, clipped(string(r.Rule)))
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"resources", v.Resources}, {"scopes", v.Scopes}} {
		if len(list.values) > 0 {
			line("%s: %s", list.name, printable(strings.Join(list.values, " ")))
		}
	}
	for _, p := range v.Problems {
		line("beware: rule %d: %s", p.Index, clipped(p.Text))
	}
	if len(v.Grant) > 0 {
		line("This grant in the tailnet's policy file would allow it:")
		b.WriteString("\n")
		var grant bytes.Buffer
		if json.Indent(&grant, v.Grant, "         ", "  ") != nil {
			grant.Reset()
			grant.Write(v.Grant)
		}
		line("%s\n", grant.String())
	}
}
