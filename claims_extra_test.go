// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/oauth"

	"tailscale.com/client/tailscale/apitype"
)

// TestC42Merge has case C42: the first wins, lists are unions in order, and
// types stay.
func TestC42Merge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		rules    []string
		userinfo bool
		want     string
	}{
		{"the case", []string{
			`{"extraClaims":{"preferred_username":"ada","groups":["ops"],"tier":2,"on":true,"o":{"k":[1]}}}`,
			`{"extraClaims":{"groups":"dev","tier":3}}`,
		}, false, `{"groups":["ops","dev"],"o":{"k":[1]},"on":true,"preferred_username":"ada","tier":2}`},
		{"types in lists", []string{`{"extraClaims":{"x":"1"}}`, `{"extraClaims":{"x":[1,"1",true,[2,[1]],null,{"b":1,"a":2},{"a":2,"b":1}]}}`}, false,
			`{"x":["1",1,true,2,{"a":2,"b":1}]}`},
		{"numbers as written", []string{`{"extraClaims":{"x":12345678901234567890}}`}, false, `{"x":12345678901234567890}`},
		{"empty list", []string{`{"extraClaims":{"x":[],"y":[[]]}}`}, false, `{}`},
		{"one group", []string{`{"extraClaims":{"groups":"dev"}}`}, false, `{"groups":["dev"]}`},
		{"clients", []string{`{"clients":["other"],"extraClaims":{"x":1}}`, `{"clients":["We*"],"extraClaims":{"x":2}}`, `{"extraClaims":{"x":3}}`}, false, `{"x":2}`},
		{"userinfo", []string{`{"extraClaims":{"x":1}}`, `{"extraClaims":{"x":2},"includeInUserInfo":true}`}, true, `{"x":2}`},
		{"nothing", []string{`{}`}, false, `{}`},
	} {
		rs := wantRules(t, tt.rules...)
		for range 20 { // maps have no order
			if got := claimText(rs.extraClaims("web", "Web", tt.userinfo)); got != tt.want {
				t.Fatalf("%s: %s, want %s", tt.name, got, tt.want)
			}
		}
	}
}

// TestC42Protected: what may not be granted is left out by itself, with a
// fault that names it.
func TestC42Protected(t *testing.T) {
	deep := strings.Repeat("[", maxExtraClaimDepth+1) + strings.Repeat("]", maxExtraClaimDepth+1)
	refused := map[string]string{"": "1", "null": "null", "deep": deep, "deep object": `{"a":` + deep + `}`, "a\nb": "1", strings.Repeat("n", maxClaimName+1): "1",
		"long": `"` + strings.Repeat("x", maxExtraClaimBytes) + `"`}
	for _, name := range slices.Concat(protectedClaims, ownClaims) {
		refused[name] = `"x"`
	}
	for name, value := range refused {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		rs, faults := parseRules(rawRules(fmt.Sprintf(`{"allow_dcr":true,"extraClaims":{"tier":1,%s:%s}}`, quoted, value)))
		if len(faults) != 1 || faults[0].Kind != faultClaim || !strings.Contains(faults[0].Error(), fmt.Sprintf("the claim %q is ignored", name)) || strings.Contains(faults[0].Error(), "grants nothing") {
			t.Errorf("%q: faults %v", name, faults)
		}
		if got := claimText(rs.extraClaims("web", "", false)); got != `{"tier":1}` || !rs.allowsRegistration() {
			t.Errorf("%q: the rest grants %s, %+v", name, got, rs)
		}
	}
	for _, name := range []string{"email", "groups", "email_verified", "name", "preferred_username"} {
		wantRules(t, fmt.Sprintf(`{"extraClaims":{%q:"x"}}`, name))
	}
	many := make(map[string]int)
	for i := range maxExtraClaims + 1 {
		many[fmt.Sprint("c", i)] = i
	}
	b, err := json.Marshal(map[string]any{"extraClaims": many})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []string{string(b), `{"extraClaims":[]}`, `{"extraClaims":"x"}`} {
		if rs, faults := parseRules(rawRules(broken)); len(rs) != 0 || len(faults) != 1 || faults[0].Kind == faultClaim {
			t.Errorf("%.40s: rules %v, faults %v", broken, rs, faults)
		}
	}
	// The bound on bytes is on all rules together.
	half := fmt.Sprintf(`{"extraClaims":{"a":%q}}`, strings.Repeat("x", maxExtraClaimBytes/2))
	if _, faults := parseRules(rawRules(half, half, `{"extraClaims":{"b":1}}`)); len(faults) != 1 || faults[0].Index != 1 {
		t.Errorf("two halves: faults %.200v", faults)
	}
}

// TestExtraClaimsEverywhere: ID token always, userinfo and introspection by
// includeInUserInfo; over the claims of scopes.
func TestExtraClaimsEverywhere(t *testing.T) {
	for _, lean := range []bool{false, true} {
		for _, imported := range []bool{false, true} {
			f := newFixture(t)
			f.editClient("web", func(c *client) { c.LeanIDToken, c.Imported = lean, imported })
			f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) {
				setRules(res, `{"extraClaims":{"tier":2,"sub":"root","aud":"x"}}`, `{"extraClaims":{"email":"boss@corp.example","groups":["ops"],"on":true},"includeInUserInfo":true}`)
			})
			token := f.login(ada, "scope", "openid email groups")
			places := map[string]map[string]any{
				"ID token":      claimsOf(t, token.IDToken),
				"userinfo":      f.userinfo(token.AccessToken).json(200),
				"introspection": f.introspect("web", token.AccessToken),
			}
			for place, m := range places {
				var tier any
				if place == "ID token" {
					tier = 2.0
				}
				// What was verified is another address.
				want := map[string]any{"email": "boss@corp.example", "email_verified": nil, "groups": []any{"ops"}, "on": true, "tier": tier, "sub": "userid:1001"}
				got := make(map[string]any)
				for name := range want {
					got[name] = m[name]
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("lean %t, imported %t: %s (-want +got):\n%s", lean, imported, place, diff)
				}
			}
		}
	}
}

// TestClientClaims: a client's setting takes claims from other attributes.
func TestClientClaims(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) {
		c.Claims = map[string]string{"username": "email", "preferred_username": "local_part", "who": "sub", "id": "user_id", "roles": "groups", "host": "node", "pic": "picture", "full": "name", "log": "login", "safe": "preferred_username"}
	})
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"groups":["ops"]}`) })
	token := f.login(ada, "scope", "openid email profile")
	for place, m := range map[string]map[string]any{"ID token": claimsOf(t, token.IDToken), "userinfo": f.userinfo(token.AccessToken).json(200)} {
		for name, want := range map[string]any{"username": "ada@example.com", "preferred_username": "ada", "who": "userid:1001", "id": 1001.0, "log": "ada@example.com", "safe": "ada", "email_verified": true} {
			if m[name] != want {
				t.Errorf("%s: %s is %v, want %v", place, name, m[name], want)
			}
		}
		if !cmp.Equal(m["roles"], []any{"ops"}) || m["host"] == nil || m["full"] == nil {
			t.Errorf("%s: %v", place, m)
		}
	}
	// A login that is no address has none, rather than something else.
	f.clock.advance(time.Second)
	m := claimsOf(t, f.login(gus, "scope", "openid profile").IDToken)
	if v, ok := m["username"]; ok || m["preferred_username"] != "gus" {
		t.Errorf("gus: username %v, preferred_username %v", v, m["preferred_username"])
	}
}

func TestClientClaimsRefused(t *testing.T) {
	many := make(map[string]string)
	for i := range maxExtraClaims + 1 {
		many[fmt.Sprint("c", i)] = "email"
	}
	for _, claims := range []map[string]string{{"sub": "email"}, {"act": "email"}, {"email_verified": "login"}, {"": "email"}, {"x": "frob"}, {"x": ""}, many} {
		c := newTestClient(func(c *client) { c.Claims = claims })
		if err := c.validate(oauth.AdministratorRedirects); err == nil || !strings.HasPrefix(asProtocolError(err).description, "claims: ") {
			t.Errorf("%.60v: %v", claims, err)
		}
	}
	c := newTestClient(func(c *client) { c.Claims = map[string]string{"x": "local_part"} })
	if err := c.validate(oauth.AdministratorRedirects); err != nil || len(c.warnings()) != 1 {
		t.Errorf("%v, warnings %q", err, c.warnings())
	}
}

// TestUserClaimsWith: what is set replaces, and an address that is set is not
// the one that was verified.
func TestUserClaimsWith(t *testing.T) {
	full := func() userClaims {
		return userClaims{Email: "a@b.example", EmailVerified: new(true), Name: "A", PreferredUsername: "a", Picture: "p", Username: "u", Groups: &[]string{"g"}}
	}
	for _, tt := range []struct {
		set  map[string]any
		want string
	}{
		{map[string]any{"name": nil, "preferred_username": nil, "picture": nil, "username": nil, "groups": nil, "email": nil}, `{}`},
		{map[string]any{"email": "a@b.example"}, `{"email":"a@b.example","email_verified":true,"groups":["g"],"name":"A","picture":"p","preferred_username":"a","username":"u"}`},
		{map[string]any{"email": "c@b.example", "email_verified": true, "groups": 1, "name": 2, "picture": 3, "preferred_username": 4, "username": 5}, `{"email":"c@b.example","email_verified":true,"groups":1,"name":2,"picture":3,"preferred_username":4,"username":5}`},
	} {
		c := full()
		c.with(tt.set)
		if got, err := marshalClaims(c, c.added); err != nil || string(got) != tt.want {
			t.Errorf("%v: %s, %v", tt.set, got, err)
		}
	}
	for _, bad := range []any{func() {}, []int{}} {
		if b, err := marshalClaims(bad, map[string]any{"a": 1}); err == nil {
			t.Errorf("%T marshals as %s", bad, b)
		}
	}
	if b, err := marshalClaims(struct{}{}, map[string]any{"a": func() {}}); err == nil {
		t.Errorf("a function marshals as %s", b)
	}
	if v := claimSources["user_id"](&identity{tags: []string{"tag:a"}}, naming{}); v != nil {
		t.Errorf("user_id of a machine %v", v)
	}
}
