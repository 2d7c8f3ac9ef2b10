// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"
)

// owning is the naming policy of an example.com tailnet by default.
func owning() naming { return newNaming(EmailVerified{}, "example.com") }

// TestC20EmailVerified: true for addresses of the owner's domains, absent
// for all others, and never anything else (DESIGN §4, email_verified).
func TestC20EmailVerified(t *testing.T) {
	own := func(domains ...string) EmailVerified { return EmailVerified{Domains: domains} }
	all, none := EmailVerified{All: true}, EmailVerified{None: true}
	for _, tt := range []struct {
		login    string
		policy   EmailVerified
		tailnet  string
		external bool
		email    string
		verified bool
	}{
		// The default follows the tailnet's name, if that is a domain.
		{"ada@example.com", EmailVerified{}, "example.com", false, "ada@example.com", true},
		{"ada@example.com", EmailVerified{}, "Example.Com", false, "ada@example.com", true},
		{"ada@other.example", EmailVerified{}, "example.com", false, "ada@other.example", false},
		{"ada@sub.example.com", EmailVerified{}, "example.com", false, "ada@sub.example.com", false},
		{"ada@notexample.com", EmailVerified{}, "example.com", false, "ada@notexample.com", false},
		{"ada@example.com", EmailVerified{}, "", false, "ada@example.com", false},
		{"ada@example.com", EmailVerified{}, "acme", false, "ada@example.com", false},
		// A personal tailnet's name is an address: its domain belongs to
		// somebody else.
		{"alice@gmail.com", EmailVerified{}, "alice@gmail.com", false, "alice@gmail.com", false},
		{"bob@gmail.com", EmailVerified{}, "alice@gmail.com", false, "bob@gmail.com", false},
		// The configured domains replace it.
		{"ada@example.com", own("example.org", "example.com"), "other.example", false, "ada@example.com", true},
		{"ada@other.example", own("example.org"), "other.example", false, "ada@other.example", false},
		{"alice@gmail.com", own("gmail.com"), "alice@gmail.com", false, "alice@gmail.com", true},
		{"ada@anything.example", all, "", false, "ada@anything.example", true},
		{"ada@example.com", none, "example.com", false, "ada@example.com", false},
		// The spelling of the login stays; domains compare without case.
		{"UPPER@Example.COM", EmailVerified{}, "example.com", false, "UPPER@Example.COM", true},
		{"o'neil@example.com", EmailVerified{}, "example.com", false, "o'neil@example.com", true},
		{"ada+x@example.com", EmailVerified{}, "example.com", false, "ada+x@example.com", true},

		// C26: what is no address is no email, whatever the policy.
		{"gus@github", EmailVerified{}, "example.com", false, "", false},
		{"gus@github", all, "example.com", false, "", false},
		{"x@passkey", all, "example.com", false, "", false},
		{"gus", all, "example.com", false, "", false},
		{"", all, "example.com", false, "", false},
		{"@example.com", all, "example.com", false, "", false},
		{"ada@", all, "example.com", false, "", false},
		{"ada@bob@example.com", all, "example.com", false, "", false},
		{"ada@-example.com", all, "example.com", false, "", false},

		// Users of other tailnets are never verified.
		{"eve@other.example", all, "example.com", true, "eve@other.example", false},
		{"eve@example.com", EmailVerified{}, "example.com", true, "eve@example.com", false},
		{"eve@example.com", own("example.com"), "example.com", true, "eve@example.com", false},
	} {
		name := fmt.Sprintf("%s of %s with %+v external %t", tt.login, tt.tailnet, tt.policy, tt.external)
		id := &identity{userID: 7, login: tt.login, external: tt.external}
		c := claimsFor(id, []string{scopeEmail}, newNaming(tt.policy, tt.tailnet))
		if c.Email != tt.email {
			t.Errorf("%s: email %q, want %q", name, c.Email, tt.email)
		}
		if got := c.EmailVerified != nil; got != tt.verified || got && !*c.EmailVerified {
			t.Errorf("%s: email_verified present %t, want %t (and true)", name, got, tt.verified)
		}
	}
}

// TestC26PreferredUsername: [a-z0-9._-], the plain local part only for logins
// of the first own domain that need no cleaning and do not look like the
// others' names; the cleaned part with the user id for everybody else.
func TestC26PreferredUsername(t *testing.T) {
	for _, tt := range []struct {
		login    string
		policy   EmailVerified
		tailnet  string
		external bool
		want     string
	}{
		{"ada@example.com", EmailVerified{}, "example.com", false, "ada"},
		{"ada.b_c-d9@example.com", EmailVerified{}, "example.com", false, "ada.b_c-d9"},
		{"ada@other.example", EmailVerified{}, "example.com", false, "ada-u1002"},
		{"ada@github", EmailVerified{}, "example.com", false, "ada-u1002"},
		{"ada+x@example.com", EmailVerified{}, "example.com", false, "ada-x-u1002"},
		{"UPPER@Example.COM", EmailVerified{}, "example.com", false, "upper-u1002"},
		{"UPPER@example.com", EmailVerified{}, "example.com", false, "upper-u1002"},
		{"ada@Example.com", EmailVerified{}, "example.com", false, "ada-u1002"}, // else it would be ada@example.com's
		{"x@passkey", EmailVerified{}, "example.com", false, "x-u1002"},
		{"o'neil@example.com", EmailVerified{}, "example.com", false, "o-neil-u1002"},
		{"größe@example.com", EmailVerified{}, "example.com", false, "gr--e-u1002"},
		{"\u017fmith@example.com", EmailVerified{}, "example.com", false, "-mith-u1002"}, // folds to smith
		{"\u212a9@example.com", EmailVerified{}, "example.com", false, "-9-u1002"},       // KELVIN SIGN folds to k9
		{"a b/c:d@example.com", EmailVerified{}, "example.com", false, "a-b-c-d-u1002"},
		{"ada\x00\n@example.com", EmailVerified{}, "example.com", false, "ada---u1002"},
		{"ada\xff@example.com", EmailVerified{}, "example.com", false, "ada--u1002"},
		// Logins that look like a name that was given out.
		{"ada-u1001@example.com", EmailVerified{}, "example.com", false, "ada-u1001-u1002"},
		{"ada-u1002@example.com", EmailVerified{}, "example.com", false, "ada-u1002-u1002"},
		{"-u1@example.com", EmailVerified{}, "example.com", false, "-u1-u1002"},
		{"ada-u@example.com", EmailVerified{}, "example.com", false, "ada-u"},
		{"ada-u1x@example.com", EmailVerified{}, "example.com", false, "ada-u1x"},
		{"adau1@example.com", EmailVerified{}, "example.com", false, "adau1"},
		{"1001@example.com", EmailVerified{}, "example.com", false, "1001"},
		// Only the first own domain is plain.
		{"ada@example.org", EmailVerified{Domains: []string{"example.org", "example.com"}}, "example.com", false, "ada"},
		{"ada@example.com", EmailVerified{Domains: []string{"example.org", "example.com"}}, "example.com", false, "ada-u1002"},
		// What is verified does not change names.
		{"ada@example.com", EmailVerified{None: true}, "example.com", false, "ada"},
		{"ada@example.com", EmailVerified{All: true}, "example.com", false, "ada"},
		{"ada@other.example", EmailVerified{All: true}, "example.com", false, "ada-u1002"},
		// Personal tailnets.
		{"alice@gmail.com", EmailVerified{}, "alice@gmail.com", false, "alice"},
		{"bob@gmail.com", EmailVerified{}, "Alice@Gmail.com", false, "bob"},
		{"bob@github", EmailVerified{}, "alice@github", false, "bob"},
		{"bob@gmail.com", EmailVerified{}, "alice@github", false, "bob-u1002"},
		{"ada@example.com", EmailVerified{}, "", false, "ada-u1002"},
		{"ada@acme", EmailVerified{}, "acme", false, "ada-u1002"},
		{"ada", EmailVerified{}, "", false, "ada-u1002"},
		{"ada@", EmailVerified{}, "", false, "ada-u1002"},
		{"ada@a@example.com", EmailVerified{}, "example.com", false, "ada-u1002"},
		{"", EmailVerified{}, "example.com", false, ""},
		{"@example.com", EmailVerified{}, "example.com", false, ""},
		// Users of other tailnets are never plain.
		{"eve@example.com", EmailVerified{}, "example.com", true, "eve-u1002"},
		{"eve@other.example", EmailVerified{All: true}, "example.com", true, "eve-u1002"},
	} {
		id := &identity{userID: 1002, login: tt.login, external: tt.external}
		c := claimsFor(id, []string{scopeProfile}, newNaming(tt.policy, tt.tailnet))
		if c.PreferredUsername != tt.want {
			t.Errorf("%q of %q with %+v external %t: preferred_username %q, want %q", tt.login, tt.tailnet, tt.policy, tt.external, c.PreferredUsername, tt.want)
		}
	}
}

var usernamePattern = regexp.MustCompile(`^[a-z0-9._-]+$`)

// checkDistinct: two users of one tailnet never have one name.
func checkDistinct(t *testing.T, n naming, a, b *identity) {
	t.Helper()
	x, y := preferredUsername(a, n), preferredUsername(b, n)
	for _, name := range []string{x, y} {
		if name != "" && !usernamePattern.MatchString(name) {
			t.Fatalf("preferred_username %q has characters that account names may not have", name)
		}
	}
	if x != "" && x == y && a.login != b.login && a.userID != b.userID {
		t.Fatalf("%q (%d) and %q (%d) are both %q", a.login, a.userID, b.login, b.userID, x)
	}
}

// TestPreferredUsernamesDiffer tries logins that are made to collide.
func TestPreferredUsernamesDiffer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	user := func() *identity {
		id := tailcfg.UserID(1 + rnd.IntN(12))
		local := pick("ada", "Ada", "a", "ada-u", "ad+a", "ad-a", "-u", "ä", "")
		if rnd.IntN(2) == 0 {
			local += fmt.Sprintf("-u%d", 1+rnd.IntN(12))
		}
		domain := pick("example.com", "Example.com", "example.org", "gmail.com", "github", "passkey", "")
		return &identity{userID: id, login: local + pick("@", "@", "@", "") + domain, external: rnd.IntN(4) == 0}
	}
	for range 30_000 {
		n := newNaming(EmailVerified{}, pick("example.com", "alice@gmail.com", "alice@github", "", "acme"))
		if rnd.IntN(3) == 0 {
			n = newNaming(EmailVerified{Domains: []string{"example.org", "example.com"}}, "example.com")
		}
		checkDistinct(t, n, user(), user())
	}
}

func FuzzPreferredUsername(f *testing.F) {
	f.Add("ada@example.com", int64(1), false, "ada@github", int64(2), false, "example.com")
	f.Add("ada-u2@example.com", int64(1), false, "ada@github", int64(2), false, "example.com")
	f.Add("ada@example.com", int64(1), false, "ADA@EXAMPLE.COM", int64(2), true, "alice@gmail.com")
	f.Fuzz(func(t *testing.T, loginA string, idA int64, externalA bool, loginB string, idB int64, externalB bool, tailnet string) {
		if idA <= 0 || idB <= 0 {
			return // user ids are positive
		}
		a := &identity{userID: tailcfg.UserID(idA), login: loginA, external: externalA}
		b := &identity{userID: tailcfg.UserID(idB), login: loginB, external: externalB}
		checkDistinct(t, newNaming(EmailVerified{}, tailnet), a, b)
	})
}

// TestClaimsByScope: a scope adds its claims and nothing else does.
func TestClaimsByScope(t *testing.T) {
	id := &identity{
		addr: ada, userID: 1001, login: "ada@example.com", displayName: "Ada", pictureURL: "https://pics.example/1", groups: []string{"ops"},
		node: "n1", nodeID: 41, nodeKey: "nodekey:00", nodeName: "lap.tail1234.ts.net", addresses: []netip.Prefix{netip.PrefixFrom(ada, 32)},
	}
	of := map[string][]string{
		scopeOpenID:        {},
		scopeOfflineAccess: {},
		"unknown":          {},
		"":                 {},
		scopeEmail:         {"email", "email_verified"},
		scopeProfile:       {"name", "picture", "preferred_username"},
		scopeGroups:        {"groups"},
		scopeTailscale:     {"addresses", "key", "nid", "node", "tailnet", "uid"},
	}
	names := slices.Sorted(maps.Keys(of))
	for set := range 1 << len(names) {
		var scopes, want []string
		for i, name := range names {
			if set&(1<<i) != 0 {
				scopes = append(scopes, name)
				want = append(want, of[name]...)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(jsonMembers(t, claimsFor(id, scopes, owning())))); !slices.Equal(got, want) {
			t.Fatalf("scopes %q: claims %q, want %q", scopes, got, want)
		}
	}
}

func jsonMembers(t testing.TB, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestClaimsShape has the JSON of a user's and a machine's claims, byte for
// byte: applications parse it.
func TestClaimsShape(t *testing.T) {
	res := userPeer(1001, "ada@example.com", "Ada Ó Briain", "lap", ada, `{"groups":["ops"]}`)
	user, _ := newIdentity(ada, res, tailnetInfo{name: "example.com", suffix: "tail1234.ts.net"})
	user.nodeKey = "nodekey:00"
	tagged := userPeer(999, "tagged-devices", "Tagged Devices", "ci1", ci)
	tagged.Node.Tags = []string{"tag:ci"}
	node, _ := newIdentity(ci, tagged, tailnetInfo{name: "example.com", suffix: "tail1234.ts.net"})
	node.nodeKey = "nodekey:00"
	for _, tt := range []struct {
		name   string
		id     identity
		scopes []string
		want   string
	}{
		{"nothing", user, nil, `{}`},
		{"user", user, supportedScopes, `{"email":"ada@example.com","email_verified":true,"name":"Ada Ó Briain","preferred_username":"ada","picture":"https://pics.example/lap",` +
			`"groups":["ops"],"node":"lap.tail1234.ts.net","nid":41001,"key":"nodekey:00","addresses":["100.64.0.1/32"],"tailnet":"tail1234.ts.net","uid":1001}`},
		{"machine", node, supportedScopes, `{"groups":[],"node":"ci1.tail1234.ts.net","nid":40999,"key":"nodekey:00","addresses":["100.64.0.3/32"],"tags":["tag:ci"],"tailnet":"tail1234.ts.net"}`},
		{"nobody", identity{}, supportedScopes, `{"groups":[]}`},
	} {
		b, err := json.Marshal(claimsFor(&tt.id, tt.scopes, owning()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(b)); diff != "" {
			t.Errorf("%s: claims (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestC24MachineClaims: the stand-in that all tagged nodes share is nobody's
// name, and two machines are not one account.
func TestC24MachineClaims(t *testing.T) {
	subjects := make(map[string]bool)
	for i, host := range []string{"ci1", "ci2"} {
		res := userPeer(999, "tagged-devices", "Tagged Devices", host, ci)
		res.Node.Tags, res.Node.StableID = []string{"tag:ci"}, tailcfg.StableNodeID(fmt.Sprint("n", i))
		res.UserProfile.Groups = []string{"tagged-devices"}
		id, _ := newIdentity(ci, res, tailnetInfo{name: "example.com", suffix: "tail1234.ts.net"})
		b, err := json.Marshal(claimsFor(&id, supportedScopes, newNaming(EmailVerified{All: true}, "example.com")))
		if err != nil {
			t.Fatal(err)
		}
		if text := string(b) + id.subject() + id.principal(); strings.Contains(text, "agged") || strings.Contains(text, "999\"") || strings.Contains(text, "uid") {
			t.Errorf("%s is named after the stand-in: %s", host, text)
		}
		subjects[id.subject()] = true
	}
	if !subjects["node:n0"] || !subjects["node:n1"] {
		t.Errorf("subjects %v, want node:n0 and node:n1", subjects)
	}
}

// TestC25ForeignClaims: nothing of an external user says that she is ours.
func TestC25ForeignClaims(t *testing.T) {
	for _, name := range []string{"", "device-of-shared-to-user.", "device-of-shared-to-user.tail1234.ts.net.", "eve.tail9999.ts.net."} {
		res := userPeer(9009, "eve@other.example", "Eve", "", eve)
		res.Node.Name, res.Node.Sharer, res.CapMap = name, 77, nil
		id, _ := newIdentity(eve, res, tailnetInfo{name: "example.com", suffix: "tail1234.ts.net"})
		m := jsonMembers(t, claimsFor(&id, supportedScopes, owning()))
		if id.subject() != "userid:9009" || m["uid"] != 9009.0 {
			t.Errorf("node %q: sub %s, uid %v, want eve's own", name, id.subject(), m["uid"])
		}
		var node, tailnet any
		if name == "eve.tail9999.ts.net." {
			node, tailnet = "eve.tail9999.ts.net", "tail9999.ts.net"
		}
		if m["node"] != node || m["tailnet"] != tailnet {
			t.Errorf("node %q: node %v in tailnet %v, want %v in %v", name, m["node"], m["tailnet"], node, tailnet)
		}
		if m["email_verified"] != nil || m["preferred_username"] != "eve-u9009" {
			t.Errorf("node %q: claims %v", name, m)
		}
	}
}

// TestC23Groups: always a sorted array without duplicates if its scope was
// asked for, absent otherwise, and equal in ID token and userinfo, each time.
func TestC23Groups(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		name    string
		rules   []string
		control []string
		want    []any
	}{
		{"one", []string{`{"groups":["ops"]}`}, nil, []any{"ops"}},
		{"one as text", []string{`{"groups":"ops"}`}, nil, []any{"ops"}},
		{"empty list", []string{`{"groups":[]}`}, nil, []any{}},
		{"none", nil, nil, []any{}},
		{"no capability, empty list of the control plane", nil, []string{}, []any{}},
		{"two rules", []string{`{"groups":["ops","dev"]}`, `{"groups":["dev","äöü team"]}`}, nil, []any{"dev", "ops", "äöü team"}},
		{"control plane", nil, []string{"zebra", "ant", "zebra"}, []any{"ant", "zebra"}},
		{"both", []string{`{"groups":["ops","ant"]}`}, []string{"zebra", "ant"}, []any{"ant", "ops", "zebra"}},
		{"a broken rule beside", []string{`{"groups":["ops"]}`, `{"groups":["root",1]}`}, nil, []any{"ops"}},
	} {
		f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, tt.rules...); res.UserProfile.Groups = tt.control })
		f.clock.advance(time.Second)
		for range 10 {
			token := f.login(ada, "scope", "openid groups")
			if got := claimsOf(t, token.IDToken)["groups"]; !cmp.Equal(got, any(tt.want)) {
				t.Fatalf("%s: groups of the ID token %v, want %v", tt.name, got, tt.want)
			}
			if got := f.userinfo(token.AccessToken).json(200)["groups"]; !cmp.Equal(got, any(tt.want)) {
				t.Fatalf("%s: groups of userinfo %v, want %v", tt.name, got, tt.want)
			}
		}
		token := f.login(ada, "scope", "openid profile email")
		if got, ok := claimsOf(t, token.IDToken)["groups"]; ok {
			t.Errorf("%s: groups %v without the scope", tt.name, got)
		}
		if got, ok := f.userinfo(token.AccessToken).json(200)["groups"]; ok {
			t.Errorf("%s: groups %v of userinfo without the scope", tt.name, got)
		}
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("group-%03d", i)
	}
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res); res.UserProfile.Groups = many })
	f.clock.advance(time.Second)
	token := f.login(ada, "scope", "openid groups")
	if got, _ := f.userinfo(token.AccessToken).json(200)["groups"].([]any); len(got) != 300 || got[299] != "group-299" {
		t.Errorf("300 groups: userinfo has %d", len(got))
	}
}

// claimsEverywhere logs in and returns the user's claims as the ID token,
// userinfo and introspection have them, without those of the protocol.
func (f *fixture) claimsEverywhere(as netip.Addr) map[string]map[string]any {
	f.t.Helper()
	token := f.login(as, "scope", strings.Join(supportedScopes, " "))
	all := map[string]map[string]any{
		"ID token":      claimsOf(f.t, token.IDToken),
		"userinfo":      f.userinfo(token.AccessToken).json(200),
		"introspection": f.introspect("web", token.AccessToken),
	}
	for _, m := range all {
		for _, name := range []string{
			"iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "at_hash", // OpenID Connect Core §2
			"active", "scope", "client_id", "username", "token_type", "jti", // RFC 7662 §2.2
		} {
			delete(m, name)
		}
	}
	return all
}

// TestClaimsAreTheSameEverywhere: one mapping, three places.
func TestClaimsAreTheSameEverywhere(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"groups":["ops","dev"]}`) })
	f.tailnet.edit(gus, func(res *apitype.WhoIsResponse) {
		res.Node.Addresses, res.Node.Tags, res.UserProfile.Groups, res.UserProfile.ProfilePicURL = []netip.Prefix{}, []string{}, []string{}, ""
	})
	f.tailnet.edit(eve, func(res *apitype.WhoIsResponse) { setRules(res, `{"users":["eve@other.example"]}`) })
	for _, who := range []netip.Addr{ada, gus, adm, eve} {
		all := f.claimsEverywhere(who)
		for _, place := range []string{"userinfo", "introspection"} {
			if diff := cmp.Diff(all["ID token"], all[place]); diff != "" {
				t.Errorf("%v: ID token and %s differ (-ID token +%s):\n%s", who, place, place, diff)
			}
		}
		switch m := all["ID token"]; who {
		case ada:
			if m["email"] != "ada@example.com" || m["email_verified"] != true {
				t.Errorf("ada: email %v, email_verified %v", m["email"], m["email_verified"])
			}
		case gus:
			for _, name := range []string{"email", "email_verified", "tags", "addresses", "picture"} {
				if v, ok := m[name]; ok {
					t.Errorf("gus: %s is %v, want absent", name, v)
				}
			}
			if m["name"] != "gus@github" {
				t.Errorf("gus: name is %v, want the login of somebody without a name", m["name"])
			}
		case eve:
			if m["sub"] != "userid:9009" || m["email_verified"] != nil || m["node"] != nil || m["tailnet"] != nil {
				t.Errorf("eve: %v", m)
			}
		}
	}
}

// TestC26Rename: after a rename the subject stays, and the next refresh and
// userinfo have the new names.
func TestC26Rename(t *testing.T) {
	f := newFixture(t)
	token := f.login(ada, "scope", "openid profile email")
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) {
		res.UserProfile.LoginName, res.UserProfile.DisplayName = "ada.new@example.com", "Ada New"
	})
	f.clock.advance(time.Second)
	next := f.refresh(token.RefreshToken).tokens()
	for place, m := range map[string]map[string]any{
		"refreshed ID token":            claimsOf(t, next.IDToken),
		"userinfo":                      f.userinfo(next.AccessToken).json(200),
		"userinfo with the older token": f.userinfo(token.AccessToken).json(200),
	} {
		if m["sub"] != "userid:1001" || m["email"] != "ada.new@example.com" || m["preferred_username"] != "ada.new" || m["name"] != "Ada New" {
			t.Errorf("%s: %v", place, m)
		}
	}
}

// TestLeanIDToken: lean_id_token leaves the claims of scopes to userinfo.
func TestClaimsOfLeanIDToken(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) { c.LeanIDToken = true })
	token := f.login(ada, "scope", strings.Join(supportedScopes, " "), "nonce", "N1")
	want := []string{"acr", "amr", "at_hash", "aud", "auth_time", "exp", "iat", "iss", "jti", "nonce", "sub"}
	if got := slices.Sorted(maps.Keys(claimsOf(t, token.IDToken))); !slices.Equal(got, want) {
		t.Errorf("claims of the ID token %q, want %q", got, want)
	}
	if m := f.userinfo(token.AccessToken).json(200); m["email"] != "ada@example.com" || m["groups"] == nil || m["node"] == nil {
		t.Errorf("userinfo %v", m)
	}
}

// TestClaimNames: what the metadata promise is what ID tokens have members
// for, but for those of imported clients.
func TestClaimNames(t *testing.T) {
	var want []string
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for field := range typ.Fields() {
			if field.Anonymous {
				walk(field.Type)
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.IsExported() && name != "azp" && name != "username" {
				want = append(want, name)
			}
		}
	}
	walk(reflect.TypeFor[idTokenClaims]())
	got := slices.Clone(claimNames)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claimNames (-members of ID tokens +claimNames):\n%s", diff)
	}
}

// TestDefaultScope: what a client gets that asks for nothing.
func TestDefaultScope(t *testing.T) {
	for _, tt := range []struct {
		registered string
		want       []string
	}{
		{"", []string{"openid", "profile", "email"}},
		{" \t ", []string{"openid", "profile", "email"}},
		{"email", []string{"email"}},
		{"openid  groups openid", []string{"openid", "groups"}},
		{"openid,email", []string{"openid", "email"}},
		{"\x00", []string{"openid", "profile", "email"}},
	} {
		c := &client{ClientMetadata: admin.ClientMetadata{Scope: tt.registered}}
		if got := c.defaultScope(); !slices.Equal(got, tt.want) {
			t.Errorf("scope %q: default %q, want %q", tt.registered, got, tt.want)
		}
	}
}
