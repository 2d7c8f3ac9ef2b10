// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// leaves are the texts of what v holds, without the lists around it.
func leaves(v any) map[string]bool {
	set := make(map[string]bool)
	for _, e := range listUnion([]any{v}) {
		set[claimText(e)] = true
	}
	return set
}

// subset reports whether all of a is in b.
func subset(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// written are the values that rules have under a name, by what
// encoding/json alone says of their texts.
func written(t *testing.T, values []string) map[string]map[string]bool {
	t.Helper()
	all := make(map[string]map[string]bool)
	for _, text := range values {
		var m struct {
			Claims json.RawMessage `json:"extraClaims"`
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		d := json.NewDecoder(strings.NewReader(string(m.Claims)))
		d.UseNumber()
		if d.Decode(&claims) != nil {
			continue
		}
		for name, v := range claims {
			if all[name] == nil {
				all[name] = make(map[string]bool)
			}
			maps.Copy(all[name], leaves(v))
		}
	}
	return all
}

// randomClaimRule is a rule with claims more often than not.
func randomClaimRule(rnd *rand.Rand) string {
	switch rnd.IntN(4) {
	case 0:
		return randomRule(rnd)
	case 1:
		return `{"extraClaims":` + randomClaims(rnd) + `,"includeInUserInfo":true}`
	case 2:
		return `{"extraClaims":` + randomClaims(rnd) + `,"clients":["one"]}`
	}
	return `{"extraClaims":` + randomClaims(rnd) + `}`
}

// TestExtraClaimsProperties: whatever rules say, the merge is a function of
// them; it says nothing that none of them says, and nothing protected; order
// changes which scalar wins and how lists are sorted, but neither names nor
// members; and one more rule takes no name and no member of a list away.
func TestExtraClaimsProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var scalars, lists, moved, inUserInfo int
	for range 3000 {
		var values []string
		for range rnd.IntN(6) {
			values = append(values, randomClaimRule(rnd))
		}
		rs, _ := parseRules(rawRules(values...))
		claims := rs.extraClaims("one", "App one", false)
		text := claimText(claims)
		again, _ := parseRules(rawRules(values...))
		if got := claimText(again.extraClaims("one", "App one", false)); got != text {
			t.Fatalf("%q: once %s, once %s", values, text, got)
		}
		said := written(t, values)
		for name, v := range claims {
			if slices.Contains(protectedClaims, name) || slices.Contains(ownClaims, name) || !subset(leaves(v), said[name]) {
				t.Fatalf("%q: %s is %v, of what was written %v", values, name, v, said[name])
			}
			if _, isList := v.([]any); isList {
				lists++
			} else {
				scalars++
			}
		}

		order := rnd.Perm(len(values))
		var shuffled []string
		for _, i := range order {
			shuffled = append(shuffled, values[i])
		}
		other, _ := parseRules(rawRules(shuffled...))
		after := other.extraClaims("one", "App one", false)
		if !slices.Equal(slices.Sorted(maps.Keys(claims)), slices.Sorted(maps.Keys(after))) {
			t.Fatalf("%q: %s, but %s for %q", values, text, claimText(after), shuffled)
		}
		for name, v := range claims {
			list, isList := v.([]any)
			_, stillList := after[name].([]any)
			if isList != stillList || isList && !maps.Equal(leaves(list), leaves(after[name])) {
				t.Fatalf("%q: %s is %v, but %v for %q", values, name, v, after[name], shuffled)
			}
			if claimText(v) != claimText(after[name]) {
				moved++
			}
		}

		at := rnd.IntN(len(values) + 1)
		more, _ := parseRules(rawRules(slices.Insert(slices.Clone(values), at, randomClaimRule(rnd))...))
		grown := more.extraClaims("one", "App one", false)
		for name, v := range claims {
			if _, there := grown[name]; !there {
				t.Fatalf("%q: %s has gone with one rule more", values, name)
			}
			// A scalar may lose to one of an earlier rule.
			if _, isList := grown[name].([]any); (isList || at == len(values)) && !subset(leaves(v), leaves(grown[name])) {
				t.Fatalf("%q: %s was %v, and is %v with one rule more", values, name, v, grown[name])
			}
		}

		for name, v := range rs.extraClaims("one", "App one", true) {
			if inUserInfo++; !subset(leaves(v), said[name]) || claims[name] == nil {
				t.Fatalf("%q: userinfo has %s", values, name)
			}
		}
	}
	for what, n := range map[string]int{"scalar": scalars, "list": lists, "change by order": moved, "claim in userinfo": inUserInfo} {
		if n < 100 {
			t.Errorf("%s: %d times only: the test does not test it", what, n)
		}
	}
}
