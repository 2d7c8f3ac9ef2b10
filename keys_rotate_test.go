// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
)

// kids returns the key ids of the published set, in the order of the document.
func (f *fixture) kids() []string {
	f.t.Helper()
	var set struct{ Keys []struct{ Kid, Alg string } }
	if err := json.Unmarshal([]byte(f.do(ada, "GET", pathJWKS, "", "").body), &set); err != nil {
		f.t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.Alg+" "+k.Kid)
	}
	return ids
}

// maintain does what Run does every minute.
func (f *fixture) maintain() {
	f.t.Helper()
	if err := f.p.reloadKeys(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

func kidOf(t testing.TB, token string) string {
	kid, _ := headerOf(t, token)["kid"].(string)
	return kid
}

// TestKeyRotation follows a key through its life (C19 a): the next one is
// published two days before it signs, and the old one stays until whatever it
// signed has expired and a day more.
func TestKeyRotation(t *testing.T) {
	f := newFixture(t)
	const day = 24 * time.Hour
	before := f.kids()
	first := kidOf(t, f.login(ada).IDToken)

	f.clock.advance(88*day - time.Second)
	f.maintain()
	if got := f.kids(); !slices.Equal(got, before) {
		t.Fatalf("a second early: keys %v, want %v", got, before)
	}
	f.clock.advance(time.Second)
	f.maintain()
	published := f.kids()
	if len(published) != 2*len(before) {
		t.Fatalf("two days before their use: keys %v, want the next ones beside %v", published, before)
	}
	if got := kidOf(t, f.login(ada).IDToken); got != first {
		t.Errorf("signed by %s, which is published only since now", got)
	}
	f.maintain()
	if got := f.kids(); len(got) != len(published) {
		t.Errorf("a rotation under way was begun again: %v", got)
	}

	f.clock.advance(2 * day)
	f.p.refreshKeys(context.Background()) // the clock alone makes the next key current
	last := f.login(ada)
	second := kidOf(t, last.IDToken)
	if second == first || !slices.Contains(published, "RS256 "+second) {
		t.Errorf("signed by %s, want another than %s that was published: %v", second, first, published)
	}

	f.clock.advance(31*day - time.Second)
	f.maintain()
	if !slices.Contains(f.kids(), "RS256 "+first) {
		t.Error("the replaced key is gone before all that it signed has expired")
	}
	f.clock.advance(time.Second)
	f.maintain()
	if got := f.kids(); slices.Contains(got, "RS256 "+first) || len(got) != len(before) {
		t.Errorf("keys %v, want the replaced ones gone", got)
	}
	if _, ok := f.p.keys.Load().lookup(second); !ok {
		t.Error("the current key is gone")
	}
}

// TestKeyRotationSeal: codes sealed before a rotation can be redeemed after
// it.
func TestKeyRotationSeal(t *testing.T) {
	f := newFixture(t)
	f.clock.advance(90*24*time.Hour - 30*time.Second - prepublish)
	f.maintain() // publishes the next keys: too early
	f.clock.advance(prepublish)
	f.maintain()
	code := f.code(ada)
	f.clock.advance(31 * time.Second)
	f.maintain()
	f.redeem(code).tokens()
}

// TestRotateAndRetire drives the administration.
func TestRotateAndRetire(t *testing.T) {
	f := newFixture(t)
	list := func(r *reply) []admin.Key {
		t.Helper()
		var v struct{ Keys []admin.Key }
		r.json(200)
		if err := json.Unmarshal([]byte(r.body), &v); err != nil {
			t.Fatal(err)
		}
		return v.Keys
	}
	f.do(ada, "GET", pathKeys, "", "").wantError(403, "access_denied")
	f.do(ada, "POST", pathKeys+"/rotate", "", "").wantError(403, "access_denied")

	keys := list(f.do(adm, "GET", pathKeys, "", ""))
	if len(keys) != 3 || slices.ContainsFunc(keys, func(k admin.Key) bool { return k.State != admin.KeyCurrent || k.ID == "" }) {
		t.Fatalf("keys %+v", keys)
	}
	rotated := list(f.do(adm, "POST", pathKeys+"/rotate", "", ""))
	if len(rotated) != 6 || rotated[1].State != admin.KeyNext || !rotated[1].UsableAt.Equal(f.clock.now().Add(prepublish)) {
		t.Fatalf("after rotate: %+v", rotated)
	}
	if again := list(f.do(adm, "POST", pathKeys+"/rotate", "", "")); len(again) != 6 {
		t.Errorf("rotating twice: %+v", again)
	}

	// Retiring the current access token key: its tokens are worth nothing at
	// once, and the next key signs at once.
	tokens := f.login(ada)
	access := kidOf(t, tokens.AccessToken)
	left := list(f.do(adm, "DELETE", pathKeys+"/"+access, "", ""))
	if slices.ContainsFunc(left, func(k admin.Key) bool { return k.ID == access }) {
		t.Errorf("retired key listed: %+v", left)
	}
	if got := f.userinfo(tokens.AccessToken); got.status != 401 {
		t.Errorf("a token of a retired key: %d", got.status)
	}
	next := f.refresh(tokens.RefreshToken).tokens()
	if kidOf(t, next.AccessToken) == access || f.userinfo(next.AccessToken).status != 200 {
		t.Error("no new key has taken the retired one's place")
	}
	f.do(adm, "DELETE", pathKeys+"/"+access, "", "").wantError(404, "not_found")

	// Without a next key, a new one is made.
	id := kidOf(t, next.AccessToken)
	f.do(adm, "DELETE", pathKeys+"/"+id, "", "").json(200)
	if got := kidOf(t, f.login(ada).AccessToken); got == id || got == access {
		t.Errorf("signed by %s", got)
	}
	if !strings.Contains(f.log.String(), "key retired by an administrator") {
		t.Error("no word in the log")
	}
}

// TestKeysOfTwoInstances: what one instance does to the keys, the other
// follows, at the latest when it meets what it does not know.
func TestKeysOfTwoInstances(t *testing.T) {
	a := newFixture(t)
	b := &fixture{t: t, tailnet: a.tailnet, clock: a.clock, store: a.store, log: new(syncBuffer)}
	var err error
	if b.p, err = New(Config{Issuer: testIssuer, Tailnet: a.tailnet, Store: a.store, Now: a.clock.now}); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.client = serve(t, withTestPeer(b.p.Handler()))

	token := a.login(ada)
	a.do(adm, "DELETE", pathKeys+"/"+kidOf(t, token.AccessToken), "", "").json(200)
	var seal string
	for _, k := range doKeys(t, a) {
		if k.Alg == algSeal {
			seal = k.ID
		}
	}
	a.do(adm, "DELETE", pathKeys+"/"+seal, "", "").json(200)

	if got := b.userinfo(a.login(ada).AccessToken); got.status != 200 {
		t.Errorf("a token of the other's new key: %d %s", got.status, got.body)
	}
	if got := b.redeem(a.code(ada)); got.status != 200 {
		t.Errorf("a code under the other's new key: %d %s", got.status, got.body)
	}
	b.p.refreshKeys(context.Background())
	if got, want := b.p.keys.Load().jwks.etag, a.p.keys.Load().jwks.etag; got != want {
		t.Errorf("the instances publish different keys")
	}
}

func doKeys(t *testing.T, f *fixture) []admin.Key {
	t.Helper()
	keys, err := (&backend{f.p}).Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// newKeyHolder returns a provider that has the keys of s and does not run.
func newKeyHolder(t *testing.T, s store.Store) *Provider {
	t.Helper()
	p, err := New(Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := p.updateKeys(t.Context(), func(doc *keyDocument, now time.Time) (bool, error) { return doc.add([]string{algSeal}, now) })
	if err != nil {
		t.Fatal(err)
	}
	p.useKeys(ring)
	return p
}

// TestMissedKeys: strangers cannot make the provider ask its store for each
// token that they make up, and do not keep it from finding what is there.
func TestMissedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		p := newKeyHolder(t, s)
		start, ring := time.Now(), p.keys.Load()
		const calls = 50
		for range calls {
			if p.missedKeys(t.Context(), ring) {
				t.Fatal("another ring, from nowhere")
			}
		}
		if asked, most := p.missed.begun.Load(), 1+int64(time.Since(start)/missedEvery); asked > most {
			t.Errorf("one after the other, %d calls have asked %d times in %v, want %d at most", calls, asked, time.Since(start), most)
		}

		// All at once, just after a question, and another instance has made a
		// key.
		err := (&backend{newKeyHolder(t, s)}).changeKeys(t.Context(), func(doc *keyDocument, now time.Time) (bool, error) {
			return true, doc.retire(doc.Keys[0].ID, now)
		})
		if err != nil {
			t.Fatal(err)
		}
		before := p.missed.begun.Load()
		gone, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() { p.missedKeys(gone, ring) })
		}
		synctest.Wait()
		cancel() // whoever was first is
		for range calls {
			wg.Go(func() {
				if !p.missedKeys(t.Context(), ring) {
					t.Error("the other's key was not found")
				}
			})
		}
		wg.Wait()
		if asked := p.missed.begun.Load() - before; asked != 1 {
			t.Errorf("at once, %d calls have asked %d times, want once", calls, asked)
		}
	})
}

// TestKeyEncryption: keys are sealed at rest under a key encryption key, from
// its first use on.
func TestKeyEncryption(t *testing.T) {
	s := memory.New()
	cfg := Config{Issuer: testIssuer, Tailnet: newFakeTailnet(), Store: s}
	start := func(kek *[32]byte) error {
		t.Helper()
		cfg.KeyEncryptionKey = kek
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		select {
		case <-p.Ready():
			cancel()
			return <-done
		case err := <-done:
			return err
		}
	}
	stored := func() []byte {
		set, err := s.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return set.Data
	}
	right, wrong := &[32]byte{1}, &[32]byte{2}
	if err := start(nil); err != nil {
		t.Fatal(err)
	}
	var plain keyDocument
	if err := json.Unmarshal(stored(), &plain); err != nil {
		t.Fatal(err)
	}
	if err := start(right); err != nil {
		t.Fatal(err)
	}
	data := stored()
	for _, k := range plain.Keys {
		b64, err := json.Marshal(k.Key)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, bytes.Trim(b64, `"`)) {
			t.Errorf("key %s is still in the store as it is", k.ID)
		}
	}
	if !bytes.Contains(data, []byte(plain.Keys[0].ID)) {
		t.Error("the keys were replaced, not sealed")
	}
	for name, kek := range map[string]*[32]byte{"wrong": wrong, "none": nil} {
		if err := start(kek); err == nil || !strings.Contains(err.Error(), "TSIDP_KEY_FILE") {
			t.Errorf("%s: error %v, want one that names TSIDP_KEY_FILE", name, err)
		}
	}
	if !bytes.Equal(stored(), data) {
		t.Error("a refused start changed the store")
	}
	if err := start(right); err != nil {
		t.Error(err)
	}
}

// TestMaintainIsBounded: keys do not pile up over the years.
func TestMaintainIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	doc := keyDocument{Issuer: testIssuer}
	if _, err := doc.add([]string{jwt.ES256, algSeal}, now); err != nil {
		t.Fatal(err)
	}
	most := 0
	for range 5 * 365 {
		now = now.Add(24 * time.Hour)
		if _, err := doc.maintain(now, defaultKeyRotation); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(doc.Keys))
		for _, alg := range doc.algs() {
			if _, current := doc.of(alg, now); current < 0 {
				t.Fatalf("%v: no current key of %s", now, alg)
			}
		}
	}
	if most > 4 {
		t.Errorf("%d keys at once, want at most 4", most)
	}
}
