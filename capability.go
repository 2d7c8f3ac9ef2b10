// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/oauth"
	"tailscale.com/tailcfg"
)

// capability is the peer capability whose values are the rules of this file:
// what the tailnet's policy file says under grants[].app.
const capability = tailcfg.PeerCapabilityTsIDP

// A rule is one object under the capability in a grant. Rules only ever
// allow; a peer has the union of what its rules say. docs/grants.md explains
// each key.
type rule struct {
	// users and resources: who may obtain tokens for which resources. Both
	// must match within one rule. "*" matches all.
	users, resources []string
	// clients are ids or names (with * as a glob) of the clients that the
	// peer may use where clients are opened one by one.
	clients []string
	// groups are added to those that the control plane reports.
	groups []string
	// exchange are the resources whose tokens the peer may exchange though
	// they were not issued to it. impersonate leaves the peer out of the
	// actors of what it exchanges.
	exchange    []string
	impersonate bool
	// machine: a tagged node may obtain tokens for itself. machineLogin: it may
	// also log in like a person. introspects are the resources that it is.
	machine, machineLogin bool
	introspects           []string
	// scopes are those beyond ours that may be granted.
	scopes []string
	// adminUI opens the administration, dcr the registration of clients,
	// metrics the metrics.
	adminUI, dcr, metrics bool
	// extraClaims are added to those about the peer, in ID tokens, and with
	// inUserInfo in userinfo too; sorted by name. See claims_extra.go.
	extraClaims []extraClaim
	inUserInfo  bool
}

// rules are those of one peer, in the order of the policy.
type rules []rule

// A ruleFault says what of a rule does not count, and why.
type ruleFault struct {
	Index int // place of the rule among the peer's rules, from 0
	Err   error
	Kind  faultKind
}

// A faultKind says how much of the rule does not count.
type faultKind int

const (
	faultRule  faultKind = iota // all of it
	faultClaim                  // one claim
	faultKey                    // one key, which is unknown
)

func (f ruleFault) Error() string {
	if f.Kind == faultRule {
		return fmt.Sprintf("rule %d of %s grants nothing: %v", f.Index, capability, f.Err)
	}
	return fmt.Sprintf("rule %d of %s: %v", f.Index, capability, f.Err)
}

// Bounds on what a policy may make us parse at each question.
const (
	maxRules     = 1000
	maxRuleBytes = 256 << 10 // one rule
	// maxUnknownKeys is how many keys of one rule are reported.
	maxUnknownKeys = 10
)

// parseRules reads the values of the capability. A rule that cannot be read
// grants nothing and is reported; the others hold: one typing error must
// neither lock people out nor let anybody in. An unknown key may be one of
// another version, so the rest of its rule holds.
func parseRules(values []tailcfg.RawMessage) (rules, []ruleFault) {
	var rs rules
	var faults []ruleFault
	room := maxExtraClaimBytes
	for i, v := range values {
		if i == maxRules {
			faults = append(faults, ruleFault{Index: i, Err: fmt.Errorf("more than %d rules; this and all after it are ignored", maxRules)})
			break
		}
		r, unknown, err := parseRule([]byte(v))
		if err != nil {
			faults = append(faults, ruleFault{Index: i, Err: err})
			continue
		}
		for _, key := range unknown {
			faults = append(faults, ruleFault{i, unknownKey(key), faultKey})
		}
		var refused []error
		refused, room = r.refuseClaims(room)
		for _, err := range refused {
			faults = append(faults, ruleFault{i, err, faultClaim})
		}
		rs = append(rs, r)
	}
	return rs, faults
}

// parseRule reads one rule, and returns the keys that it does not know. Keys
// are matched exactly, not as encoding/json would: an obeyed misspelling is a
// rule that nobody wrote.
func parseRule(data []byte) (r rule, unknown []string, err error) {
	if len(data) > maxRuleBytes {
		return r, nil, fmt.Errorf("longer than %d bytes", maxRuleBytes)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return r, nil, fmt.Errorf("not a JSON object: %w", err)
	}
	for _, k := range ruleKeys {
		if v, ok := m[k.name]; ok && !bytes.Equal(v, []byte("null")) {
			if err := k.into(&r)(v); err != nil {
				return rule{}, nil, fmt.Errorf("key %q %w", k.name, err)
			}
		}
		delete(m, k.name)
	}
	unknown = slices.Sorted(maps.Keys(m))
	return r, unknown[:min(len(unknown), maxUnknownKeys)], nil
}

// ruleKeys are all keys of a rule, and how their values are read into it.
var ruleKeys = []struct {
	name string
	into func(*rule) func(json.RawMessage) error
}{
	{"users", func(r *rule) func(json.RawMessage) error { return listInto(&r.users) }},
	{"resources", func(r *rule) func(json.RawMessage) error { return listInto(&r.resources) }},
	{"clients", func(r *rule) func(json.RawMessage) error { return listInto(&r.clients) }},
	{"groups", func(r *rule) func(json.RawMessage) error { return listInto(&r.groups) }},
	{"exchange", func(r *rule) func(json.RawMessage) error { return listInto(&r.exchange) }},
	{"impersonate", func(r *rule) func(json.RawMessage) error { return boolInto(&r.impersonate) }},
	{"machine", func(r *rule) func(json.RawMessage) error { return boolInto(&r.machine) }},
	{"machine_login", func(r *rule) func(json.RawMessage) error { return boolInto(&r.machineLogin) }},
	{"introspect", func(r *rule) func(json.RawMessage) error { return listInto(&r.introspects) }},
	{"scopes", func(r *rule) func(json.RawMessage) error { return listInto(&r.scopes) }},
	{"allow_admin_ui", func(r *rule) func(json.RawMessage) error { return boolInto(&r.adminUI) }},
	{"allow_dcr", func(r *rule) func(json.RawMessage) error { return boolInto(&r.dcr) }},
	{"allow_metrics", func(r *rule) func(json.RawMessage) error { return boolInto(&r.metrics) }},
	{"extraClaims", func(r *rule) func(json.RawMessage) error { return claimsInto(&r.extraClaims) }},
	{"includeInUserInfo", func(r *rule) func(json.RawMessage) error { return boolInto(&r.inUserInfo) }},
}

// listInto reads a list of texts; a text alone is a list of one.
func listInto(dst *[]string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		var one string
		if json.Unmarshal(v, &one) == nil {
			*dst = []string{one}
			return nil
		}
		var list []any
		if err := json.Unmarshal(v, &list); err != nil {
			return errors.New(`must be a list of texts, such as ["*"]`)
		}
		for _, e := range list {
			s, ok := e.(string)
			if !ok {
				return errors.New("must be a list that holds only texts")
			}
			*dst = append(*dst, s)
		}
		return nil
	}
}

func boolInto(dst *bool) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		if err := json.Unmarshal(v, dst); err != nil {
			return errors.New("must be true or false, without quotation marks")
		}
		return nil
	}
}

// allowsAdmin reports whether some rule opens the administration.
func (rs rules) allowsAdmin() bool {
	return slices.ContainsFunc(rs, func(r rule) bool { return r.adminUI })
}

// allowsRegistration reports whether some rule opens dynamic registration.
func (rs rules) allowsRegistration() bool {
	return slices.ContainsFunc(rs, func(r rule) bool { return r.dcr })
}

// allowsMetrics reports whether some rule opens the metrics.
func (rs rules) allowsMetrics() bool {
	return slices.ContainsFunc(rs, func(r rule) bool { return r.metrics })
}

// allowsMachine reports whether some rule lets a tagged node have tokens.
func (rs rules) allowsMachine() bool {
	return slices.ContainsFunc(rs, func(r rule) bool { return r.machine })
}

// allowsMachineLogin reports whether some rule lets a tagged node log in.
func (rs rules) allowsMachineLogin() bool {
	return slices.ContainsFunc(rs, func(r rule) bool { return r.machineLogin })
}

// introspects returns the resources that rules say the node is. A pattern is
// no resource.
func (rs rules) introspects() []string {
	var all []string
	for _, r := range rs {
		for _, resource := range r.introspects {
			if _, err := oauth.CanonicalResource(resource); err == nil && !slices.Contains(all, resource) {
				all = append(all, resource)
			}
		}
	}
	return all
}

// allowsScope reports whether some rule grants a scope that is not ours.
func (rs rules) allowsScope(scope string) bool {
	return slices.ContainsFunc(rs, func(r rule) bool { return globsAny(r.scopes, scope) })
}

// allowsResource reports whether one rule names both the peer, by one of its
// names, and the resource.
func (rs rules) allowsResource(names []string, resource string) bool {
	return slices.ContainsFunc(rs, func(r rule) bool {
		named := slices.ContainsFunc(names, func(name string) bool { return matchesAny(r.users, name) })
		return named && slices.ContainsFunc(r.resources, func(pattern string) bool {
			return oauth.ResourcePatternMatches(pattern, resource)
		})
	})
}

// allowsExchange reports whether one rule opens the exchange of tokens for all
// of these resources, and whether such a one allows impersonation.
func (rs rules) allowsExchange(audience []string) (ok, impersonate bool) {
	for _, r := range rs {
		if len(audience) == 0 || slices.ContainsFunc(audience, func(aud string) bool {
			return !slices.ContainsFunc(r.exchange, func(pattern string) bool { return oauth.ResourcePatternMatches(pattern, aud) })
		}) {
			continue
		}
		ok, impersonate = true, impersonate || r.impersonate
	}
	return ok, impersonate
}

// opensClient reports whether a rule lists the client, by id or name.
func (rs rules) opensClient(id, name string) bool {
	return slices.ContainsFunc(rs, func(r rule) bool {
		return globsAny(r.clients, id) || name != "" && globsAny(r.clients, name)
	})
}

// namesStranger reports whether a rule means a user of another tailnet on
// purpose: it lists the client, or holds the user's login. "*" is no purpose,
// for a grant whose source is everybody reaches strangers too.
func (rs rules) namesStranger(login, clientID, clientName string) bool {
	return slices.ContainsFunc(rs, func(r rule) bool {
		clients := slices.DeleteFunc(slices.Clone(r.clients), func(s string) bool { return strings.Trim(s, "*") == "" })
		return login != "" && slices.Contains(r.users, login) || rules{{clients: clients}}.opensClient(clientID, clientName)
	})
}

// groups returns the groups that rules grant; unsorted, with duplicates.
func (rs rules) groups() []string {
	var all []string
	for _, r := range rs {
		all = append(all, r.groups...)
	}
	return all
}

func matchesAny(list []string, s string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return e == "*" || e == s })
}

// globsAny matches s against patterns in which only * is special.
func globsAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return glob(pattern, s) })
}

// glob reports whether pattern, in which * stands for any text, covers all
// of s.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || s[:len(first)] != first || s[len(s)-len(last):] != last {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
