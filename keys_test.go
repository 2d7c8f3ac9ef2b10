// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
)

// start runs a provider over s and returns it once it is ready, or the error
// of Run.
func start(t testing.TB, s store.Store, configure ...func(*Config)) (*Provider, error) {
	t.Helper()
	cfg := goodConfig(configure...)
	cfg.Store = s
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(context.Background()) }()
	select {
	case <-p.Ready():
	case err := <-done:
		if err == nil {
			t.Fatal("Run ends without an error before it is ready")
		}
		return p, err
	}
	t.Cleanup(func() {
		p.Close()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p, nil
}

func mustStart(t testing.TB, s store.Store, configure ...func(*Config)) *Provider {
	t.Helper()
	p, err := start(t, s, configure...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// storedKeys reads the key document.
func storedKeys(t testing.TB, s store.Store) (store.KeySet, keyDocument) {
	t.Helper()
	set, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var doc keyDocument
	if err := json.Unmarshal(set.Data, &doc); err != nil {
		t.Fatal(err)
	}
	return set, doc
}

// withKeys returns a store with a key document.
func withKeys(t testing.TB, data []byte) store.Store {
	t.Helper()
	s := memory.New()
	if _, err := s.SwapKeys(t.Context(), 0, data); err != nil {
		t.Fatal(err)
	}
	return s
}

func algs(doc keyDocument) []string {
	var list []string
	for _, k := range doc.Keys {
		list = append(list, k.Alg)
	}
	slices.Sort(list)
	return list
}

func kids(p *Provider) []string {
	return slices.Sorted(maps.Keys(p.keys.Load().public))
}

// TestKeysOverStarts: the first start makes the keys, every other uses them.
func TestKeysOverStarts(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) func(*Config) {
		return func(c *Config) { c.Now = func() time.Time { return now.Add(d) } }
	}
	s := memory.New()
	first := mustStart(t, s, at(0))
	set, doc := storedKeys(t, s)
	if got, want := algs(doc), []string{"ES256", "RS256", "seal"}; !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	if doc.Issuer != testIssuer || doc.Development || set.Version != 1 {
		t.Errorf("document of %s, development %t, version %d", doc.Issuer, doc.Development, set.Version)
	}
	ids := make(map[string]bool)
	for _, k := range doc.Keys {
		if ids[k.ID] = true; len(k.ID) < 16 || !k.CreatedAt.Equal(now) {
			t.Errorf("key %q made at %v", k.ID, k.CreatedAt)
		}
	}
	if len(ids) != 3 {
		t.Errorf("key ids %v are not distinct", ids)
	}
	code := first.keys.Load().sealer.Seal(purposeCode, []byte("x"))

	second := mustStart(t, s, at(time.Hour))
	again, _ := storedKeys(t, s)
	if diff := cmp.Diff(set, again); diff != "" {
		t.Errorf("the second start changed the keys (-first +second):\n%s", diff)
	}
	if a, b := kids(first), kids(second); !slices.Equal(a, b) {
		t.Errorf("kids %q, then %q", a, b)
	}
	if a, b := first.keys.Load().jwks, second.keys.Load().jwks; string(a.body) != string(b.body) || a.etag != b.etag {
		t.Errorf("key set %s, then %s", a.body, b.body)
	}
	if _, err := second.keys.Load().sealer.Open(purposeCode, code); err != nil {
		t.Errorf("a code from before the restart: %v", err)
	}

	t.Run("other stamp", func(t *testing.T) { checkStamps(t, s) })
	t.Run("corrupt", func(t *testing.T) { checkCorrupt(t, set.Data, doc) })
	t.Run("later keys", func(t *testing.T) { checkLaterKeys(t, set.Data, doc) })
	t.Run("rotated", func(t *testing.T) { checkRotated(t, doc) })
}

// checkStamps: "A store is stamped with its issuer and with dev or not at
// birth; another start is refused" (DESIGN §4, seals).
func checkStamps(t *testing.T, s store.Store) {
	before, _ := storedKeys(t, s)
	for _, tt := range []struct {
		name      string
		configure func(*Config)
		says      []string
	}{
		{"issuer", func(c *Config) { c.Issuer = "https://other.example" }, []string{testIssuer, "https://other.example"}},
		{"issuer with a path", func(c *Config) { c.Issuer = testIssuer + "/idp" }, []string{testIssuer + ",", testIssuer + "/idp"}},
		{"development", func(c *Config) { c.Development = true }, []string{"development=false", "development=true"}},
	} {
		_, err := start(t, s, tt.configure)
		if err == nil {
			t.Errorf("%s: a store of somebody else is opened", tt.name)
			continue
		}
		for _, want := range tt.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", tt.name, err, want)
			}
		}
	}
	if after, _ := storedKeys(t, s); !cmp.Equal(before, after) {
		t.Error("a refused start has changed the keys")
	}
}

// checkCorrupt: what cannot be read is not replaced.
func checkCorrupt(t *testing.T, data []byte, doc keyDocument) {
	edited := func(change func(*keyDocument)) string {
		d := doc
		d.Keys = slices.Clone(doc.Keys)
		change(&d)
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	key := func(alg string, change func(*storedKey)) string {
		return edited(func(d *keyDocument) {
			for i := range d.Keys {
				if d.Keys[i].Alg == alg {
					change(&d.Keys[i])
				}
			}
		})
	}
	garbage := func(k *storedKey) { k.Key = []byte("garbage") }
	for name, data := range map[string]string{
		"empty":               "",
		"NUL":                 "\x00\x00",
		"null":                "null",
		"empty object":        "{}",
		"list":                "[]",
		"text":                `"x"`,
		"cut off":             string(data[:len(data)/2]),
		"garbage behind":      string(data) + "x",
		"no issuer":           edited(func(d *keyDocument) { d.Issuer = "" }),
		"no keys":             edited(func(d *keyDocument) { d.Keys = nil }),
		"RS256 unreadable":    key(jwt.RS256, garbage),
		"ES256 unreadable":    key(jwt.ES256, garbage),
		"ES256 empty":         key(jwt.ES256, func(k *storedKey) { k.Key = nil }),
		"seal unreadable":     key(algSeal, garbage),
		"seal of zeros":       key(algSeal, func(k *storedKey) { k.Key = make([]byte, 32) }),
		"seal without id":     key(algSeal, func(k *storedKey) { k.ID = "" }),
		"no kid":              key(jwt.RS256, func(k *storedKey) { k.ID = "" }),
		"another algorithm":   key(jwt.RS256, func(k *storedKey) { k.Alg = "PS256" }),
		"algorithms swapped":  edited(func(d *keyDocument) { d.Keys[0].Key, d.Keys[1].Key = d.Keys[1].Key, d.Keys[0].Key }),
		"a kid twice":         edited(func(d *keyDocument) { d.Keys[1].ID = d.Keys[0].ID }),
		"seal twice":          edited(func(d *keyDocument) { d.Keys = append(d.Keys, d.Keys[2]) }),
		"broken and one less": strings.Replace(key(jwt.RS256, garbage), `"alg":"ES256"`, `"alg":"frob"`, 1),
	} {
		s := withKeys(t, []byte(data))
		if _, err := start(t, s); err == nil {
			t.Errorf("%s: a corrupt document is opened", name)
		} else if strings.Contains(err.Error(), "garbage") {
			t.Errorf("%s: the error shows a key: %v", name, err)
		}
		if set, err := s.Keys(t.Context()); err != nil || set.Version != 1 || string(set.Data) != data {
			t.Errorf("%s: the document was overwritten (version %d)", name, set.Version)
		}
	}
}

// checkLaterKeys: a key that a later version or a client needs is added to
// those there are, once, whoever asks.
func checkLaterKeys(t *testing.T, data []byte, doc keyDocument) {
	s := withKeys(t, data)
	p := mustStart(t, s)
	before := kids(p)
	var wg sync.WaitGroup
	signers := make([]*jwt.Signer, 20)
	for i := range signers {
		wg.Go(func() {
			var err error
			if signers[i], err = p.signer(context.Background(), jwt.EdDSA); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(slices.Compact(signers)) != 1 {
		t.Error("several EdDSA keys were made at once")
	}
	set, now := storedKeys(t, s)
	if set.Version != 2 || !cmp.Equal(now.Keys[:3], doc.Keys) || now.Keys[3].Alg != jwt.EdDSA {
		t.Errorf("version %d with keys %q, want one more than before", set.Version, algs(now))
	}
	for _, kid := range before {
		if _, ok := p.keys.Load().lookup(kid); !ok {
			t.Errorf("key %s is gone", kid)
		}
	}
	if body := string(p.keys.Load().jwks.body); !strings.Contains(body, `"Ed25519"`) {
		t.Errorf("the new key is not published: %s", body)
	}
	// A provider of a version without it keeps it.
	other := mustStart(t, s)
	if a, b := kids(p), kids(other); !slices.Equal(a, b) {
		t.Errorf("kids %q, at another start %q", a, b)
	}
	got, err := other.storage.SignatureAlgorithms(t.Context())
	if err != nil || len(got) != 3 {
		t.Errorf("algorithms %q, %v", got, err)
	}

	failing := mustStart(t, &keyStore{Store: withKeys(t, data), swapErr: errTest})
	if _, err := failing.signer(context.Background(), jwt.EdDSA); !errors.Is(err, errTest) {
		t.Errorf("signer while the store fails: %v", err)
	}
	if failing.keys.Load().signers[jwt.EdDSA] != nil {
		t.Error("a key that could not be stored is used")
	}
	if _, err := failing.signer(context.Background(), "HS256"); err == nil {
		t.Error("a signer for HS256")
	}
}

// checkRotated: of two keys of one algorithm the newer signs, and the older
// still verifies (op-engine §8 item 18).
func checkRotated(t *testing.T, doc keyDocument) {
	newer, err := newStoredKey(jwt.ES256, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	seal, err := newStoredKey(algSeal, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	old, err := newKeyring(doc, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	token, err := old.signers[jwt.ES256].Sign(jwt.TypeAccessToken, map[string]string{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	code := old.sealer.Seal(purposeCode, []byte("x"))

	doc.Keys = append(slices.Clone(doc.Keys), newer, seal)
	ring, err := newKeyring(doc, 2, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := ring.signers[jwt.ES256].Public().ID; got != newer.ID {
		t.Errorf("key %s signs, want the newer %s", got, newer.ID)
	}
	if len(ring.all) != 3 || ring.all[0].ID != newer.ID {
		t.Errorf("%d keys are published, want 3 with the newest first", len(ring.all))
	}
	if _, err := jwt.Verify(token, jwt.TypeAccessToken, ring.lookup); err != nil {
		t.Errorf("a token of the older key: %v", err)
	}
	if _, err := ring.sealer.Open(purposeCode, code); err != nil {
		t.Errorf("a code of the older key: %v", err)
	}
	if _, err := old.sealer.Open(purposeCode, ring.sealer.Seal(purposeCode, nil)); err == nil {
		t.Error("the older key seals")
	}
}

// A keyStore fails, or waits, where keys are read and written.
type keyStore struct {
	store.Store
	keysErr, swapErr error
	read             *sync.WaitGroup // Keys waits until all have read, once
	once             sync.Once
}

func (s *keyStore) Keys(ctx context.Context) (store.KeySet, error) {
	if s.keysErr != nil {
		return store.KeySet{}, s.keysErr
	}
	set, err := s.Store.Keys(ctx)
	if s.read != nil {
		s.once.Do(func() { s.read.Done(); s.read.Wait() })
	}
	return set, err
}

func (s *keyStore) SwapKeys(ctx context.Context, version int64, data []byte) (int64, error) {
	if s.swapErr != nil {
		return 0, s.swapErr
	}
	return s.Store.SwapKeys(ctx, version, data)
}

// TestKeysOfTwoAtOnce: two providers that start at once on one empty store
// end with the same keys.
func TestKeysOfTwoAtOnce(t *testing.T) {
	s := memory.New()
	var read, done sync.WaitGroup
	read.Add(2)
	var ps [2]*Provider
	for i := range ps {
		done.Go(func() { ps[i], _ = start(t, &keyStore{Store: s, read: &read}) })
	}
	done.Wait()
	for i, p := range ps {
		if p == nil || p.keys.Load() == nil {
			t.Fatalf("provider %d did not start", i)
		}
	}
	if a, b := kids(ps[0]), kids(ps[1]); !slices.Equal(a, b) || len(a) != 2 {
		t.Errorf("kids %q and %q", a, b)
	}
	if _, err := ps[1].keys.Load().sealer.Open(purposeCode, ps[0].keys.Load().sealer.Seal(purposeCode, nil)); err != nil {
		t.Errorf("a code of one at the other: %v", err)
	}
	if set, doc := storedKeys(t, s); set.Version != 1 || len(doc.Keys) != 3 {
		t.Errorf("version %d with %d keys, want one document with 3", set.Version, len(doc.Keys))
	}
}

// TestKeysWithoutStore: a store that cannot answer ends Run with an error
// that says so; a provider that is closed meanwhile just ends.
func TestKeysWithoutStore(t *testing.T) {
	if _, err := start(t, &keyStore{Store: memory.New(), keysErr: errTest}); !errors.Is(err, errTest) || !strings.Contains(err.Error(), "tsidp: reading keys: ") {
		t.Errorf("reading fails: %v", err)
	}
	if _, err := start(t, &keyStore{Store: memory.New(), swapErr: errTest}); !errors.Is(err, errTest) || !strings.Contains(err.Error(), "tsidp: writing keys: ") {
		t.Errorf("writing fails: %v", err)
	}
	p, err := New(goodConfig(func(c *Config) { c.Store = &keyStore{keysErr: errTest} }))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Errorf("Run of a closed provider: %v", err)
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("Run can be called twice")
	}
}

// TestJWKS: distinct kids, only public members, no sealing key.
func TestJWKS(t *testing.T) {
	f := newFixture(t)
	f.editClient("web", func(c *client) { c.IDTokenAlg = jwt.EdDSA })
	token := f.login(ada)
	r := f.do(ada, "GET", "/.well-known/jwks.json", "", "")
	m := r.json(200)
	list, _ := m["keys"].([]any)
	public := map[string][]string{
		"RSA": {"alg", "e", "kid", "kty", "n", "use"},
		"EC":  {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"OKP": {"alg", "crv", "kid", "kty", "use", "x"},
	}
	seen := make(map[any]bool)
	for _, k := range list {
		k := k.(map[string]any)
		if got, want := slices.Sorted(maps.Keys(k)), public[k["kty"].(string)]; !slices.Equal(got, want) {
			t.Errorf("%v key has members %q, want %q", k["kty"], got, want)
		}
		if k["use"] != "sig" || seen[k["kid"]] {
			t.Errorf("key %v: use %v, kid seen before: %t", k["kid"], k["use"], seen[k["kid"]])
		}
		seen[k["kid"]] = true
	}
	if len(list) != 3 || len(m) != 1 {
		t.Errorf("%d keys and %d members, want RS256, ES256 and EdDSA", len(list), len(m))
	}
	for _, jws := range []string{token.AccessToken, token.IDToken} {
		if kid := headerOf(t, jws)["kid"]; !seen[kid] {
			t.Errorf("kid %v is not published", kid)
		}
	}
	_, doc := storedKeys(t, f.store)
	for _, k := range doc.Keys {
		if k.Alg == algSeal && seen[k.ID] {
			t.Error("the sealing key is published")
		}
	}
	keys, err := f.p.storage.KeySet(t.Context())
	if err != nil || len(keys) != 3 {
		t.Fatalf("the engine sees %d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		if !seen[k.ID()] || k.Use() != "sig" || k.Key() == nil || string(k.Algorithm()) == "" {
			t.Errorf("the engine sees key %s for %s, %s", k.ID(), k.Use(), k.Algorithm())
		}
	}
}
