// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// keyDocument is the provider's key set as the store keeps it. It also says
// whose store it is: a provider with another issuer, or a development server,
// must not mint from these keys.
type keyDocument struct {
	Issuer      string      `json:"issuer"`
	Development bool        `json:"development"`
	Keys        []storedKey `json:"keys"`
}

// A storedKey is one private or symmetric key.
type storedKey struct {
	ID  string `json:"kid"`
	Alg string `json:"alg"` // RS256, ES256, EdDSA, or algSeal
	// Key is PKCS #8 for signing keys, 32 bytes for sealing keys. With a key
	// encryption key, the store has it in Sealed instead.
	Key       []byte    `json:"key,omitempty"`
	Sealed    string    `json:"sealed,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// UsableAt is when the key begins to sign or seal; until then it is only
	// published. The newest usable key of an algorithm is the current one.
	UsableAt time.Time `json:"usable_at"`
}

// algSeal marks the keys of internal/jwt's Sealer.
const algSeal = "seal"

// A keyring is what the keys of one document can do. It is immutable.
type keyring struct {
	version int64
	signers map[string]*jwt.Signer // by algorithm: the current key of each
	since   map[string]time.Time   // when each of them began to sign
	public  map[string]jwt.PublicKey
	sealer  *jwt.Sealer
	jwks    document
	all     []jwt.PublicKey
	// changesAt is when the next key becomes current; zero if none will.
	changesAt time.Time
}

// lookup finds a verification key for jwt.Verify.
func (k *keyring) lookup(kid string) (jwt.PublicKey, bool) {
	key, ok := k.public[kid]
	return key, ok
}

// newKeyring prepares the keys of doc for use from now on.
func newKeyring(doc keyDocument, version int64, now time.Time) (*keyring, error) {
	k := &keyring{version: version, signers: make(map[string]*jwt.Signer), since: make(map[string]time.Time), public: make(map[string]jwt.PublicKey)}
	var seals, laterSeals []jwt.SealKey
	for _, sk := range slices.Backward(doc.byUse()) { // newest first
		usable := !sk.UsableAt.After(now)
		if !usable && (k.changesAt.IsZero() || sk.UsableAt.Before(k.changesAt)) {
			k.changesAt = sk.UsableAt
		}
		if sk.Alg == algSeal {
			seal, err := sealKey(sk)
			if err != nil {
				return nil, err
			}
			if usable {
				seals = append(seals, seal)
			} else {
				laterSeals = append(laterSeals, seal) // another instance's clock may be ahead
			}
			continue
		}
		private, err := jwt.ParsePrivateKey(sk.Alg, sk.Key)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", sk.ID, err)
		}
		signer, err := jwt.NewSigner(sk.ID, sk.Alg, private)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", sk.ID, err)
		}
		if usable && k.signers[sk.Alg] == nil {
			k.signers[sk.Alg], k.since[sk.Alg] = signer, sk.UsableAt
		}
		k.public[sk.ID] = signer.Public()
		k.all = append(k.all, signer.Public())
	}
	var err error
	if k.sealer, err = jwt.NewSealer(doc.Issuer, append(seals, laterSeals...)...); err != nil {
		return nil, fmt.Errorf("reading sealing keys: %w", err)
	}
	body, err := jwt.JWKS(k.all)
	if err != nil {
		return nil, fmt.Errorf("rendering the key set: %w", err)
	}
	k.jwks = newDocument("application/json", body)
	return k, nil
}

func sealKey(sk storedKey) (jwt.SealKey, error) {
	var key jwt.SealKey
	if len(sk.Key) != len(key.Key) || len(sk.ID) < 4 {
		return key, fmt.Errorf("sealing key %s is malformed", sk.ID)
	}
	copy(key.Key[:], sk.Key)
	id := sha256.Sum256([]byte(sk.ID))
	key.ID = binary.BigEndian.Uint32(id[:])
	return key, nil
}

// newStoredKey generates a key.
func newStoredKey(alg string, now time.Time) (storedKey, error) {
	sk := storedKey{ID: rand.Text()[:16], Alg: alg, CreatedAt: now, UsableAt: now}
	if alg == algSeal {
		sk.Key = make([]byte, 32)
		rand.Read(sk.Key)
		return sk, nil
	}
	private, err := jwt.GenerateKey(alg)
	if err != nil {
		return sk, fmt.Errorf("generating %s key: %w", alg, err)
	}
	sk.Key, err = jwt.MarshalPrivateKey(private)
	return sk, err
}

// updateKeys reads the key set, lets update change it, and writes it back if
// it did. Several processes may do so at once: one wins, the others start over
// from what it wrote.
func (p *Provider) updateKeys(ctx context.Context, update func(doc *keyDocument, now time.Time) (changed bool, err error)) (*keyring, error) {
	for {
		set, err := p.store.Keys(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		doc, rewrite, err := p.keyDocument(set)
		if err != nil {
			return nil, err
		}
		now := p.now()
		changed, err := update(&doc, now)
		if err != nil {
			return nil, err
		}
		// Before anything is written: what cannot be read is not replaced.
		ring, err := newKeyring(doc, set.Version, now)
		if err != nil || !changed && !rewrite {
			return ring, err
		}
		data, err := p.marshalKeys(doc)
		if err != nil {
			return nil, fmt.Errorf("writing keys: %w", err)
		}
		ring.version, err = p.store.SwapKeys(ctx, set.Version, data)
		if errors.Is(err, store.ErrConflict) {
			continue // another process was first
		}
		if err != nil {
			return nil, fmt.Errorf("writing keys: %w", err)
		}
		return ring, nil
	}
}

// keyDocument reads set, or begins a document if there is none. rewrite says
// that the keys should be written again, sealed.
func (p *Provider) keyDocument(set store.KeySet) (doc keyDocument, rewrite bool, err error) {
	if set.Version == 0 {
		return keyDocument{Issuer: p.issuer, Development: p.cfg.Development}, false, nil
	}
	if err := json.Unmarshal(set.Data, &doc); err != nil {
		return doc, false, fmt.Errorf("reading keys: %w", err)
	}
	if doc.Issuer == "" || len(doc.Keys) == 0 {
		return doc, false, errors.New("reading keys: the document in the store has no issuer or no keys; restore it from a backup, or use another store")
	}
	if err := p.checkStamp(doc); err != nil {
		return doc, false, err
	}
	rewrite, err = p.unsealKeys(&doc)
	return doc, rewrite, err
}

// add generates the keys that doc lacks among algs.
func (doc *keyDocument) add(algs []string, now time.Time) (changed bool, err error) {
	for _, alg := range algs {
		if slices.ContainsFunc(doc.Keys, func(k storedKey) bool { return k.Alg == alg }) {
			continue
		}
		key, err := newStoredKey(alg, now)
		if err != nil {
			return false, err
		}
		doc.Keys, changed = append(doc.Keys, key), true
	}
	return changed, nil
}

// checkStamp refuses the store of somebody else: its codes, grants and
// client secrets would be valid under another name.
func (p *Provider) checkStamp(doc keyDocument) error {
	if doc.Issuer != p.issuer {
		return fmt.Errorf("the store belongs to the issuer %s, this provider is %s: use another store, or the issuer's own name again", doc.Issuer, p.issuer)
	}
	if doc.Development != p.cfg.Development {
		return fmt.Errorf("the store was made with development=%t, this provider has development=%t: use another store", doc.Development, p.cfg.Development)
	}
	return nil
}

// initialAlgs are made at the first start; EdDSA when a client asks for it.
var initialAlgs = []string{jwt.RS256, jwt.ES256, algSeal}

// signer returns the signer for alg, and makes its key if there is none.
func (p *Provider) signer(ctx context.Context, alg string) (*jwt.Signer, error) {
	if s := p.keys.Load().signers[alg]; s != nil {
		return s, nil
	}
	p.keysMu.Lock() // one at a time: generating is slow
	defer p.keysMu.Unlock()
	if s := p.keys.Load().signers[alg]; s != nil {
		return s, nil
	}
	ring, err := p.updateKeys(ctx, func(doc *keyDocument, now time.Time) (bool, error) { return doc.add([]string{alg}, now) })
	if err != nil {
		return nil, err
	}
	p.keys.Store(ring)
	return ring.signers[alg], nil
}

// A document is prepared bytes with their validator.
type document struct {
	body   []byte
	etag   string
	header http.Header // shared by all answers
}

func newDocument(contentType string, body []byte) document {
	sum := sha256.Sum256(body)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return document{body, etag, http.Header{
		"Content-Type": {contentType}, "Content-Length": {strconv.Itoa(len(body))},
		"Cache-Control": {"public, max-age=" + documentMaxAge}, "Etag": {etag},
	}}
}

// documentMaxAge is how long clients may keep metadata and keys, in seconds.
const documentMaxAge = "300"

func (d *document) serve(w http.ResponseWriter, r *http.Request) error {
	maps.Copy(w.Header(), d.header)
	if d.isAt(r.Header.Values("If-None-Match")) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Write(d.body)
	return nil
}

// isAt reports whether one of the entity tags is that of d. "A recipient MUST
// use the weak comparison function" (RFC 9110 section 13.1.2).
func (d *document) isAt(ifNoneMatch []string) bool {
	for tag := range strings.SplitSeq(strings.Join(ifNoneMatch, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == d.etag {
			return true
		}
	}
	return false
}

// opKey shows a public key to the engine.
type opKey struct{ jwt.PublicKey }

var _ op.Key = opKey{}

func (k opKey) ID() string                         { return k.PublicKey.ID }
func (k opKey) Algorithm() jose.SignatureAlgorithm { return jose.SignatureAlgorithm(k.Alg) }
func (k opKey) Use() string                        { return "sig" }
func (k opKey) Key() any                           { return k.PublicKey.Key }

// StoredIssuer tells whose store s is: the issuer, and whether it belongs to
// development. It returns store.ErrNotFound for a store that nobody has opened
// yet. Commands that work on a store without its provider running use it to
// make one.
func StoredIssuer(ctx context.Context, s store.Store) (issuer string, development bool, err error) {
	set, err := s.Keys(ctx)
	if err != nil {
		return "", false, fmt.Errorf("reading keys: %w", err)
	}
	if set.Version == 0 {
		return "", false, store.ErrNotFound
	}
	var doc keyDocument
	if err := json.Unmarshal(set.Data, &doc); err != nil {
		return "", false, fmt.Errorf("reading keys: %w", err)
	}
	return doc.Issuer, doc.Development, nil
}
