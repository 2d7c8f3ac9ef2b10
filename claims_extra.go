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
)

// Claims beyond those that scopes ask for: what rules say under extraClaims,
// and what a client's setting maps. Both are pure.

// protectedClaims are those that say what a token is, on which security rests.
// Nobody sets them.
var protectedClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "azp", "auth_time", "at_hash", "c_hash", "acr", "amr", "sid",
	"act", "may_act", "client_id", "scope", "cnf", "active", "token_type",
}

// ownClaims are facts about the node and the user, which rules do not change.
// Earlier versions protected them too.
var ownClaims = []string{"key", "addresses", "nid", "node", "tailnet", "tags", "uid", "user", "username"}

// Bounds on extra claims. They end in tokens, which travel in headers.
const (
	maxExtraClaims     = 50       // of one rule
	maxExtraClaimBytes = 16 << 10 // values and names of all rules of a peer
	maxExtraClaimDepth = 5        // levels of lists and objects in a value
	maxClaimName       = 128      // bytes
)

// An extraClaim is one member of extraClaims. value is as encoding/json reads
// it, with numbers as they are written.
type extraClaim struct {
	name  string
	value any
}

// checkClaimName refuses what cannot be the name of a claim.
func checkClaimName(name string, protected ...[]string) error {
	switch {
	case name == "" || len(name) > maxClaimName || strings.ContainsFunc(name, unprintable):
		return fmt.Errorf("a name must have 1 to %d bytes, and no control characters", maxClaimName)
	case slices.Contains(slices.Concat(protected...), name):
		return errors.New("this claim is protected")
	}
	return nil
}

// claimsInto reads an object of claims, in the order of their names.
func claimsInto(dst *[]extraClaim) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		var m map[string]any
		d := json.NewDecoder(bytes.NewReader(v))
		d.UseNumber()
		if err := d.Decode(&m); err != nil {
			return errors.New(`must be an object, such as {"tier": "gold"}`)
		}
		if len(m) > maxExtraClaims {
			return fmt.Errorf("must have at most %d members", maxExtraClaims)
		}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			*dst = append(*dst, extraClaim{name, m[name]})
		}
		return nil
	}
}

// refuseClaims takes from r the claims that it may not grant, and says why; the
// rest of the rule holds. room is how many bytes the rules of this peer still
// may fill; what is left of it is returned.
func (r *rule) refuseClaims(room int) (faults []error, left int) {
	r.extraClaims = slices.DeleteFunc(r.extraClaims, func(c extraClaim) bool {
		err := checkClaimName(c.name, protectedClaims, ownClaims)
		size := len(c.name) + len(claimText(c.value))
		switch {
		case err != nil:
		case c.value == nil:
			err = errors.New("null is no value")
		case claimDepth(c.value) > maxExtraClaimDepth:
			err = fmt.Errorf("nested more than %d levels deep", maxExtraClaimDepth)
		case size > room:
			err = fmt.Errorf("the claims of all rules together have more than %d bytes", maxExtraClaimBytes)
		default:
			room -= size
			return false
		}
		faults = append(faults, fmt.Errorf("extraClaims: the claim %q is ignored, the rest of the rule holds: %w", shortened(c.name), err))
		return true
	})
	return faults, room
}

// claimText is the one text of a value: members of objects are sorted.
func claimText(v any) string {
	b, _ := json.Marshal(v) // what was JSON can be again
	return string(b)
}

func claimDepth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			deepest = max(deepest, claimDepth(e))
		}
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, claimDepth(e))
		}
	default:
		return 0
	}
	return deepest + 1
}

// extraClaims returns what rules add to the claims that a client is told. A
// rule that lists clients does so for these; userinfo leaves out the rules
// that do not say includeInUserInfo.
//
// The first rule wins, unless one of them has a list: then the claim is the
// union of all, in the order of the rules, nested lists flattened.
func (rs rules) extraClaims(clientID, clientName string, userinfo bool) map[string]any {
	all := make(map[string][]any)
	for _, r := range rs {
		if userinfo && !r.inUserInfo || len(r.clients) > 0 && !(rules{r}).opensClient(clientID, clientName) {
			continue
		}
		for _, c := range r.extraClaims {
			all[c.name] = append(all[c.name], c.value)
		}
	}
	merged := make(map[string]any)
	for name, values := range all {
		// Applications that read groups want a list, also of one.
		isList := name == scopeGroups || slices.ContainsFunc(values, func(v any) bool { _, ok := v.([]any); return ok })
		if !isList {
			merged[name] = values[0]
		} else if list := listUnion(values); len(list) > 0 {
			merged[name] = list
		}
	}
	return merged
}

// listUnion flattens values, without null and what has been there.
func listUnion(values []any) []any {
	var list []any
	seen := make(map[string]bool)
	var add func(any)
	add = func(v any) {
		if many, ok := v.([]any); ok {
			for _, e := range many {
				add(e)
			}
			return
		}
		if text := claimText(v); v != nil && !seen[text] {
			seen[text] = true
			list = append(list, v)
		}
	}
	add(values)
	return list
}

// claimSources are what a client's claims may be taken from.
var claimSources = map[string]func(*identity, naming) any{
	"sub":                func(id *identity, _ naming) any { return text(id.subject()) },
	"login":              func(id *identity, _ naming) any { return text(id.login) },
	"local_part":         func(id *identity, _ naming) any { local, _, _ := strings.Cut(id.login, "@"); return text(local) },
	"email":              func(id *identity, n naming) any { email, _ := emailClaims(id, n); return text(email) },
	"preferred_username": func(id *identity, n naming) any { return text(preferredUsername(id, n)) },
	"name":               func(id *identity, n naming) any { return text(claimsFor(id, []string{scopeProfile}, n).Name) },
	"picture":            func(id *identity, _ naming) any { return text(id.pictureURL) },
	"groups":             func(id *identity, _ naming) any { return *groupsClaim(id) },
	"node":               func(id *identity, _ naming) any { return text(id.nodeName) },
	"user_id": func(id *identity, _ naming) any {
		if id.tagged() {
			return nil
		}
		return int64(id.userID)
	},
}

// text is nil for no text.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// mappedClaims returns the claims of a client's setting, name → source. One
// whose source has nothing is nil: it is absent, since the usual value would
// be of another kind than the client expects.
func mappedClaims(mapping map[string]string, id *identity, n naming) map[string]any {
	m := make(map[string]any)
	for name, source := range mapping {
		m[name] = claimSources[source](id, n)
	}
	return m
}

// with sets claims over those of c; nil removes one.
func (c *userClaims) with(claims map[string]any) {
	for name, v := range claims {
		switch name {
		case "email":
			// What was verified is the address, not this one.
			if v != c.Email {
				c.EmailVerified = nil
			}
			c.Email = ""
		case "name":
			c.Name = ""
		case "preferred_username":
			c.PreferredUsername = ""
		case "picture":
			c.Picture = ""
		case "username":
			c.Username = ""
		case "groups":
			c.Groups = nil
		}
	}
	// Afterwards, for what a rule says of an address of its own holds.
	if _, ok := claims["email_verified"]; ok {
		c.EmailVerified = nil
	}
	if len(claims) > 0 && c.added == nil {
		c.added = make(map[string]any)
	}
	for name, v := range claims {
		if v == nil {
			delete(c.added, name)
			continue
		}
		c.added[name] = v
	}
}

// marshalClaims returns standard as JSON with added members, which replace
// those of the same name: sorted, none twice.
func marshalClaims(standard any, added map[string]any) (json.RawMessage, error) {
	b, err := json.Marshal(standard)
	if err != nil || len(added) == 0 {
		return b, err
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	for name, v := range added {
		if m[name], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	return json.Marshal(m)
}

// validateClaims checks the setting claims.
func (c *client) validateClaims() error {
	if len(c.Claims) > maxExtraClaims {
		return fail(codeInvalidClientMetadata, "claims: more than %d members", maxExtraClaims)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		// email_verified is not for one to say of whatever it maps.
		if err := checkClaimName(name, protectedClaims, []string{"email_verified"}); err != nil {
			return fail(codeInvalidClientMetadata, "claims: %.64q: %v", name, err)
		}
		if claimSources[c.Claims[name]] == nil {
			return fail(codeInvalidClientMetadata, "claims: %q: %.64q is none of %s", name, c.Claims[name], strings.Join(slices.Sorted(maps.Keys(claimSources)), ", "))
		}
	}
	return nil
}
