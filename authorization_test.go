// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
	"tailscale.com/tailcfg"
)

var equateCodes = cmp.Options{
	cmp.AllowUnexported(codeRequest{}, authorization{}),
	cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty(),
}

// goldenCode is a codeRequest with something in every member.
func goldenCode() *codeRequest {
	c := &codeRequest{
		authorization: authorization{
			grantID: "000102030405060708090a0b0c0d0e0f", clientID: "c0ffee", subject: "userid:1001", node: "n1001CNTRL", addr: ada,
			scopes:    []string{scopeOpenID, scopeGroups, scopeOfflineAccess, "other"},
			resources: []string{testResource},
			authTime:  time.Unix(1793534395, 0).UTC(),
		},
		issuedAt: time.UnixMicro(1793534400_000001).UTC(), nonce: "N1", hasPKCE: true,
	}
	for i := range c.redirectHash {
		c.redirectHash[i], c.challenge[i] = 0xa0, 0xb0
	}
	return c
}

// TestCodeBytes pins the encoding: codes of one version must be readable by
// another that runs beside it, and the scopes' bits are their places in
// codeScopes, so that a reorder would grant something else.
func TestCodeBytes(t *testing.T) {
	const want = "01" + "000102030405060708090a0b0c0d0e0f" + // version, grant
		"00065f35c4cdf001" + "09" + // issued at in µs; auth_time 5 s before it, zigzag
		"a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0" + // hash of the redirect URI
		"01" + "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0" + // PKCE
		"06" + "633066666565" + // client
		"0b" + "7573657269643a31303031" + // subject
		"0a" + "6e31303031434e54524c" + // node
		"04" + "64400001" + // address
		"02" + "4e31" + // nonce
		"29" + "01" + "05" + "6f74686572" + // scopes: bits 0, 3 and 5, and one more
		"01" + "1f" + "68747470733a2f2f6d63702e7461696c313233342e74732e6e65742f6d6370" // resources
	b, err := goldenCode().encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("encoding\n got %s\nwant %s", got, want)
	}
	if want := []string{"openid", "profile", "email", "groups", "tailscale", "offline_access"}; !slices.Equal(codeScopes, want) {
		t.Errorf("codeScopes are %q, want %q and new ones at the end only", codeScopes, want)
	}
	for _, s := range supportedScopes {
		if !slices.Contains(codeScopes, s) {
			t.Errorf("scope %s has no bit", s)
		}
	}
	data, _ := hex.DecodeString(want)
	c, err := decodeCode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenCode(), c, equateCodes); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// randomCode returns a codeRequest whose known scopes are in the order of
// codeScopes, which encoding does not keep.
func randomCode(rnd *rand.Rand) *codeRequest {
	text := func(most int) string {
		b := make([]byte, rnd.IntN(most+1))
		for i := range b {
			b[i] = byte(rnd.UintN(256))
		}
		return string(b)
	}
	texts := func() (list []string) {
		for range rnd.IntN(4) {
			list = append(list, "x"+text(300))
		}
		return list
	}
	c := &codeRequest{
		authorization: authorization{clientID: text(200), subject: text(40), node: tailcfg.StableNodeID(text(40)), resources: texts()},
		nonce:         text(300), hasPKCE: rnd.IntN(2) == 0,
	}
	c.grantID = hex.EncodeToString([]byte(strings.Repeat(string(rune('a'+rnd.IntN(26))), 16)))
	c.issuedAt = time.UnixMicro(rnd.Int64N(1 << 52)).UTC()
	c.authTime = time.Unix(c.issuedAt.Unix()-rnd.Int64N(1<<30)+1<<20, 0).UTC()
	for i := range c.redirectHash {
		c.redirectHash[i] = byte(rnd.UintN(256))
		if c.hasPKCE {
			c.challenge[i] = byte(rnd.UintN(256))
		}
	}
	for _, s := range codeScopes {
		if rnd.IntN(2) == 0 {
			c.scopes = append(c.scopes, s)
		}
	}
	c.scopes = append(c.scopes, texts()...)
	switch rnd.IntN(4) {
	case 0:
		c.addr = ada
	case 1:
		c.addr = netip.MustParseAddr("fd7a:115c:a1e0::1")
	case 2:
		c.addr = netip.MustParseAddr("fe80::1%eth0")
	}
	return c
}

func TestCodeRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		c := randomCode(rnd)
		b, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCode(b)
		if err != nil {
			t.Fatalf("%v for %+v", err, c)
		}
		if diff := cmp.Diff(c, got, equateCodes); diff != "" {
			t.Fatalf("decoded (-want +got):\n%s", diff)
		}
		// Neither a shorter nor a longer text is a code.
		if _, err := decodeCode(b[:rnd.IntN(len(b))]); !errors.Is(err, errCodeFormat) {
			t.Fatalf("cut off: %v", err)
		}
		if _, err := decodeCode(append(b, 0)); !errors.Is(err, errCodeFormat) {
			t.Fatalf("longer: %v", err)
		}
	}
}

func TestCodeScopesAreASet(t *testing.T) {
	c := goldenCode()
	c.scopes = []string{scopeOfflineAccess, "b", scopeOpenID, "a"}
	b, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeCode(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{scopeOpenID, scopeOfflineAccess, "b", "a"}; !slices.Equal(got.scopes, want) {
		t.Errorf("scopes %q, want %q", got.scopes, want)
	}
}

func TestCodeWithoutGrant(t *testing.T) {
	for _, id := range []string{"", "00", "zz0102030405060708090a0b0c0d0e0f", strings.Repeat("00", 17)} {
		c := goldenCode()
		c.grantID = id
		if b, err := c.encode(); err == nil {
			t.Errorf("grant id %q: encoded as %x", id, b)
		}
	}
}

// FuzzDecodeCode: no bytes panic, and what is read is read the same way after
// it was written again.
func FuzzDecodeCode(f *testing.F) {
	b, err := goldenCode().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:50])
	f.Add([]byte{})
	f.Add([]byte{codeVersion})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Add(append(slices.Clone(b[:26]), bytes.Repeat([]byte{0xff}, 60)...))
	rnd := rand.New(rand.NewPCG(9, 10))
	for range 5 {
		b, err := randomCode(rnd).encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCode(b)
		if err != nil {
			if !errors.Is(err, errCodeFormat) {
				t.Errorf("error %v", err)
			}
			return
		}
		again, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCode(again)
		if err != nil {
			t.Fatalf("%v in what encode wrote: %x", err, again)
		}
		slices.Sort(c.scopes)
		slices.Sort(got.scopes)
		c.scopes, got.scopes = slices.Compact(c.scopes), slices.Compact(got.scopes)
		if diff := cmp.Diff(c, got, equateCodes); diff != "" {
			t.Errorf("written and read again (-before +after):\n%s", diff)
		}
	})
}

// opensCode asks the provider of f about a code.
func (f *fixture) opensCode(code string) error {
	_, err := f.p.storage.AuthRequestByCode(context.Background(), code)
	return err
}

func wantInvalidGrant(t *testing.T, what string, err error) {
	t.Helper()
	e, ok := errors.AsType[*protocolError](err)
	if !ok || e.code != codeInvalidGrant || e.description != "the authorization code is not valid or has expired" {
		t.Errorf("%s: %v, want invalid_grant without details", what, err)
	}
}

// TestCodeSeal: a code is what the provider sealed for this purpose, under
// its issuer, bit by bit.
func TestCodeSeal(t *testing.T) {
	f := newFixture(t)
	code := f.code(ada)
	if err := f.opensCode(code); err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(code) {
		for _, bit := range []int{1, 32} { // each character, a low and a high bit
			b := []byte(code)
			b[i] = alphabet[strings.IndexByte(alphabet, b[i])^bit]
			if f.opensCode(string(b)) == nil {
				t.Fatalf("a code with another character at %d is opened", i)
			}
		}
	}
	wantInvalidGrant(t, "cut off", f.opensCode(code[:len(code)-1]))
	wantInvalidGrant(t, "twice", f.opensCode(code+code))
	wantInvalidGrant(t, "padded", f.opensCode(code+"="))
	wantInvalidGrant(t, "with a blank", f.opensCode(code+" "))
	wantInvalidGrant(t, "in other base64", f.opensCode(strings.NewReplacer("-", "+", "_", "/").Replace(code)+"+"))
	wantInvalidGrant(t, "empty", f.opensCode(""))
	wantInvalidGrant(t, "no code", f.opensCode("hello"))
	wantInvalidGrant(t, "huge", f.opensCode(strings.Repeat("A", 1<<20)))

	c := goldenCode()
	c.issuedAt = f.clock.now()
	b, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	sealer := f.p.keys.Load().sealer
	if err := f.opensCode(sealer.Seal(purposeCode, b)); err != nil {
		t.Fatal(err)
	}
	for _, purpose := range []string{"", "Code", "cod", "consent", "device", "logout"} {
		wantInvalidGrant(t, "sealed for "+purpose, f.opensCode(sealer.Seal(purpose, b)))
	}
	wantInvalidGrant(t, "nothing sealed", f.opensCode(sealer.Seal(purposeCode, nil)))
	wantInvalidGrant(t, "another version", f.opensCode(sealer.Seal(purposeCode, append([]byte{2}, b[1:]...))))

	// Another issuer with the same keys.
	var doc keyDocument
	set, err := f.store.Keys(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(set.Data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, sk := range doc.Keys {
		if sk.Alg != algSeal {
			continue
		}
		key, err := sealKey(sk)
		if err != nil {
			t.Fatal(err)
		}
		other, err := jwt.NewSealer("https://other.example", key)
		if err != nil {
			t.Fatal(err)
		}
		wantInvalidGrant(t, "sealed by another issuer", f.opensCode(other.Seal(purposeCode, b)))
		same, err := jwt.NewSealer(testIssuer, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.opensCode(same.Seal(purposeCode, b)); err != nil {
			t.Errorf("sealed with the stored key: %v", err)
		}
	}
}

// TestCodeAge: a code lives at most 60 s (DESIGN §4), by any clock of ours.
func TestCodeAge(t *testing.T) {
	f := newFixture(t)
	most := f.p.life.Code
	if most != 60*time.Second {
		t.Errorf("codes live for %v", most)
	}
	for _, tt := range []struct {
		life, age time.Duration
		good      bool
	}{
		{most, 0, true},
		{most, 59*time.Second + 999*time.Millisecond, true},
		{most, 60 * time.Second, false},
		{most, 61 * time.Second, false},
		{most, 10 * time.Minute, false},
		{most, 100 * 365 * 24 * time.Hour, false},
		{5 * time.Second, 4 * time.Second, true},
		{5 * time.Second, 5 * time.Second, false},
		// From an instance whose clock is ahead, but not by much.
		{most, -5 * time.Second, true},
		{most, -5*time.Second - time.Microsecond, false},
		{most, -time.Hour, false},
	} {
		f.p.life.Code = tt.life
		c := goldenCode()
		c.issuedAt = f.clock.now().Add(-tt.age)
		b, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		switch err := f.opensCode(f.p.keys.Load().sealer.Seal(purposeCode, b)); {
		case tt.good && err != nil:
			t.Errorf("a code of %v that is %v old: %v", tt.life, tt.age, err)
		case !tt.good:
			wantInvalidGrant(t, "a code that is "+tt.age.String()+" old", err)
		}
	}
}

// TestCodeSize: "≤ 700 characters of [A-Za-z0-9_-] for one resource and a
// 200-byte nonce, above 1500 invalid_request" (DESIGN §4).
func TestCodeSize(t *testing.T) {
	f := newFixture(t)
	asAdmin := func(change ...string) *reply {
		return f.authorize(adm, append([]string{"prompt", "none"}, change...)...)
	}
	scope := strings.Join(supportedScopes, " ")
	code := asAdmin("resource", testResource, "nonce", strings.Repeat("n", 200), "scope", scope).redirect().Get("code")
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{1,700}$`).MatchString(code) {
		t.Errorf("code of %d characters: %s", len(code), code)
	}
	f.code(ada, "state", strings.Repeat("s", 4096)) // the state is not inside

	var long int
	for n := 500; n < 1500; n += 10 {
		r := asAdmin("nonce", strings.Repeat("n", n))
		if q := r.redirect(); !q.Has("code") {
			r.redirectError("invalid_request")
			break
		} else if long = len(q.Get("code")); long > maxCodeLen {
			t.Fatalf("a code of %d characters", long)
		}
	}
	if long < maxCodeLen-20 {
		t.Errorf("the longest code has %d characters, want about %d", long, maxCodeLen)
	}
	var many []string
	for i := range maxResources {
		many = append(many, "resource", fmt.Sprintf("https://a.example/%d/%s", i, strings.Repeat("r", 150)))
	}
	asAdmin(many...).redirectError("invalid_request")
}

// TestGrantRecord: what the store keeps of a login comes back.
func TestGrantRecord(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	a := &goldenCode().authorization
	a.life = Lifetimes{}.withDefaults() // kept nowhere
	rec, err := a.record(now, now.Add(time.Hour), now.Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := store.Record{
		Kind: "grant", ID: a.grantID, CreatedAt: now, UsedAt: now, ExpiresAt: now.Add(time.Hour),
		Index: map[string]string{"client": "c0ffee", "user": "userid:1001", "node": "n1001CNTRL"},
		Data: []byte(`{"addr":"100.64.0.1","scopes":["openid","groups","offline_access","other"],"resources":["https://mcp.tail1234.ts.net/mcp"],` +
			`"auth_time":"2026-11-01T11:59:55Z","ends_at":"2026-11-01T14:00:00Z"}`),
	}
	if diff := cmp.Diff(want, rec, cmp.Transformer("text", func(b []byte) string { return string(b) })); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	got, ends, err := decodeGrant(rec)
	if err != nil {
		t.Fatal(err)
	}
	a.life = Lifetimes{}
	if diff := cmp.Diff(a, got, equateCodes); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	if !ends.Equal(now.Add(2 * time.Hour)) {
		t.Errorf("ends at %v", ends)
	}
	for _, data := range []string{"", "{", `[]`, `{"addr":1}`, `{"addr":"x"}`} {
		rec.Data = []byte(data)
		if _, _, err := decodeGrant(rec); err == nil {
			t.Errorf("grant %q is read", data)
		}
	}
}

func TestGrantOf(t *testing.T) {
	id := newID()
	for _, tt := range []struct {
		jti string
		ok  bool
	}{
		{newTokenID(id), true}, {id + ".", true},
		{"", false}, {id, false}, {id[1:] + "..", false}, {id + "x", false}, {"z" + id[1:] + ".x", false},
	} {
		got, ok := grantOf(tt.jti)
		if ok != tt.ok || ok && got != id {
			t.Errorf("grantOf(%q) is %q, %t", tt.jti, got, ok)
		}
	}
	if a, b := newTokenID(id), newTokenID(id); a == b {
		t.Error("two tokens have one id")
	}
}
