// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
)

// The life of a key:
//
//	created ──── prepublish ────► usable ──── rotation ────► replaced ──── keepKeys ────► removed
//	 in the JWKS, signs nothing     signs                     in the JWKS, signs nothing
//
// Applications cache the JWKS, some for hours: hence a key is published long
// before it signs. It stays until everything that it may have signed has
// expired, and a day more for clocks that are wrong.
const (
	defaultKeyRotation = 90 * 24 * time.Hour
	minKeyRotation     = 7 * 24 * time.Hour
	prepublish         = 48 * time.Hour
	keepKeys           = maxIDTokenLifetime + 24*time.Hour
)

// byUse returns the keys in the order in which they become usable.
func (doc *keyDocument) byUse() []storedKey {
	keys := slices.Clone(doc.Keys)
	slices.SortStableFunc(keys, func(a, b storedKey) int { return a.UsableAt.Compare(b.UsableAt) })
	return keys
}

// of returns the keys of alg in the order in which they become usable, and
// the place of the current one, -1 if none is usable yet.
func (doc *keyDocument) of(alg string, now time.Time) (keys []storedKey, current int) {
	current = -1
	for _, k := range doc.byUse() {
		if k.Alg != alg {
			continue
		}
		if !k.UsableAt.After(now) {
			current = len(keys)
		}
		keys = append(keys, k)
	}
	return keys, current
}

// algs returns the algorithms that doc has keys of, each once.
func (doc *keyDocument) algs() []string {
	var algs []string
	for _, k := range doc.Keys {
		if !slices.Contains(algs, k.Alg) {
			algs = append(algs, k.Alg)
		}
	}
	return algs
}

// maintain makes the keys that will be due, and removes those that nothing
// needs any more.
func (doc *keyDocument) maintain(now time.Time, rotation time.Duration) (changed bool, err error) {
	for _, alg := range doc.algs() {
		keys, current := doc.of(alg, now)
		if current < 0 {
			continue
		}
		due := keys[current].UsableAt.Add(rotation - prepublish)
		if current == len(keys)-1 && !now.Before(due) {
			if err := doc.appendNext(alg, now); err != nil {
				return false, err
			}
			changed = true
		}
		for i, k := range keys[:current] {
			if !now.Before(keys[i+1].UsableAt.Add(keepKeys)) {
				doc.remove(k.ID)
				changed = true
			}
		}
	}
	return changed, nil
}

// appendNext adds a key that becomes usable after prepublish.
func (doc *keyDocument) appendNext(alg string, now time.Time) error {
	k, err := newStoredKey(alg, now)
	if err != nil {
		return err
	}
	k.UsableAt = now.Add(prepublish)
	doc.Keys = append(doc.Keys, k)
	return nil
}

func (doc *keyDocument) remove(id string) {
	doc.Keys = slices.DeleteFunc(doc.Keys, func(k storedKey) bool { return k.ID == id })
}

// rotate begins a rotation of every algorithm that has none under way.
func (doc *keyDocument) rotate(now time.Time) (changed bool, err error) {
	for _, alg := range doc.algs() {
		keys, current := doc.of(alg, now)
		if current != len(keys)-1 {
			continue
		}
		if err := doc.appendNext(alg, now); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// errNoKey says that there is no key with that id.
var errNoKey = errors.New("no such key")

// retire removes a key at once: whatever it signed or sealed is worth nothing
// from then on. If it was the current one, the next takes its place now.
func (doc *keyDocument) retire(id string, now time.Time) error {
	i := slices.IndexFunc(doc.Keys, func(k storedKey) bool { return k.ID == id })
	if i < 0 {
		return errNoKey
	}
	alg := doc.Keys[i].Alg
	doc.remove(id)
	keys, current := doc.of(alg, now)
	switch {
	case current >= 0:
		return nil
	case len(keys) > 0:
		for i := range doc.Keys {
			if doc.Keys[i].ID == keys[0].ID {
				doc.Keys[i].UsableAt = now
			}
		}
		return nil
	}
	k, err := newStoredKey(alg, now)
	doc.Keys = append(doc.Keys, k)
	return err
}

// reloadKeys follows what other instances did, and does what is due.
func (p *Provider) reloadKeys(ctx context.Context) error {
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	ring, err := p.updateKeys(ctx, func(doc *keyDocument, now time.Time) (bool, error) { return doc.maintain(now, p.keyRotation()) })
	if err != nil {
		return err
	}
	p.useKeys(ring)
	return nil
}

// useKeys puts ring in place of an older one.
func (p *Provider) useKeys(ring *keyring) {
	if old := p.keys.Load(); old != nil && old.version != ring.version {
		p.log.Info("keys changed", "version", ring.version)
	}
	p.keys.Store(ring)
}

// refreshKeys reads the keys again if another instance, or the clock, has
// changed them. It is cheap when nothing has.
func (p *Provider) refreshKeys(ctx context.Context) {
	ring := p.keys.Load()
	set, err := p.store.Keys(ctx)
	if err == nil && set.Version == ring.version && (ring.changesAt.IsZero() || p.now().Before(ring.changesAt)) {
		return
	}
	if err == nil {
		err = p.reloadKeys(ctx)
	}
	if err != nil && ctx.Err() == nil {
		p.log.Error("reading keys", "error", err.Error())
	}
}

const (
	// missedEvery is how often, at most, the store is asked for keys that are
	// missing.
	missedEvery = 50 * time.Millisecond
	// missedTimeout bounds one such question.
	missedTimeout = 5 * time.Second
)

// A keyQuestion is what the calls of missedKeys share.
type keyQuestion struct {
	turn  chan struct{} // holds one value while somebody has the turn to ask
	begun atomic.Int64  // questions so far
	// pause ends missedEvery after the last question; nil before the first.
	// It belongs to whoever has the turn.
	pause *time.Timer
}

// missedKeys is called when something names a key that is not in ring:
// another instance may have made it a moment ago. It reports whether there is
// another ring now, so that it is worth trying again.
//
// Strangers can call it as often as they like, so the store is asked once for
// all that wait, and then not for missedEvery. Nobody is refused for that: a
// call waits for a question that begins after it.
func (p *Provider) missedKeys(ctx context.Context, ring *keyring) bool {
	q := &p.missed
	before := q.begun.Load()
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return false
	}
	if p.keys.Load() == ring && q.begun.Load() == before {
		p.askForKeys(ctx)
	}
	return p.keys.Load() != ring
}

// unseal opens what this instance or another has sealed.
func (p *Provider) unseal(ctx context.Context, purpose, sealed string) ([]byte, error) {
	ring := p.keys.Load()
	b, err := ring.sealer.Open(purpose, sealed)
	if errors.Is(err, jwt.ErrUnknownKey) && p.missedKeys(ctx, ring) {
		return p.keys.Load().sealer.Open(purpose, sealed)
	}
	return b, err
}

// askForKeys asks the store when missedEvery has passed. The caller has the
// turn.
func (p *Provider) askForKeys(ctx context.Context) {
	q := &p.missed
	if q.pause != nil {
		select {
		case <-q.pause.C:
		case <-ctx.Done():
			return // the next in turn waits for what is left of it
		}
	}
	q.begun.Add(1)
	// Others wait for the answer: it must not end with this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missedTimeout)
	defer cancel()
	p.refreshKeys(ctx)
	q.pause = time.NewTimer(missedEvery)
}

// keyRotation is how long a key signs.
func (p *Provider) keyRotation() time.Duration {
	return cmp.Or(p.cfg.KeyRotation, defaultKeyRotation)
}

// Keys at rest. With a key encryption key, the document in the store holds
// each key sealed under it, bound to the issuer and the key's id.

func (p *Provider) keyEncryption() (*jwt.Sealer, error) {
	if p.cfg.KeyEncryptionKey == nil {
		return nil, nil
	}
	return jwt.NewSealer(p.issuer, jwt.SealKey{ID: 1, Key: *p.cfg.KeyEncryptionKey})
}

func sealedKeyPurpose(id string) string { return "key " + id }

// unsealKeys opens what is sealed. rewrite says that something was not,
// though it should be.
func (p *Provider) unsealKeys(doc *keyDocument) (rewrite bool, err error) {
	kek, err := p.keyEncryption()
	if err != nil {
		return false, err
	}
	for i := range doc.Keys {
		k := &doc.Keys[i]
		switch {
		case k.Sealed == "":
			rewrite = rewrite || kek != nil
		case kek == nil:
			return false, errors.New("reading keys: they are encrypted; give the provider the key encryption key (TSIDP_KEY_FILE) that they were written with")
		default:
			if k.Key, err = kek.Open(sealedKeyPurpose(k.ID), k.Sealed); err != nil {
				return false, fmt.Errorf("reading key %s: the key encryption key (TSIDP_KEY_FILE) is not the one that it was written with: %w", k.ID, err)
			}
			k.Sealed = ""
		}
	}
	return rewrite, nil
}

// marshalKeys is the document as the store gets it.
func (p *Provider) marshalKeys(doc keyDocument) ([]byte, error) {
	kek, err := p.keyEncryption()
	if err != nil {
		return nil, err
	}
	doc.Keys = slices.Clone(doc.Keys)
	for i := range doc.Keys {
		k := &doc.Keys[i]
		if kek != nil {
			k.Sealed, k.Key = kek.Seal(sealedKeyPurpose(k.ID), k.Key), nil
		}
	}
	return json.Marshal(doc)
}

// What the administration sees and does.

// Keys returns the keys by age, without the keys themselves.
func (b *backend) Keys(ctx context.Context) ([]admin.Key, error) {
	set, err := b.p.store.Keys(ctx)
	if err != nil {
		return nil, storeError(err)
	}
	doc, _, err := b.p.keyDocument(set)
	if err != nil {
		return nil, err
	}
	return doc.view(b.p.now(), b.p.keyRotation()), nil
}

// view shows the keys, the current one of each algorithm as such.
func (doc *keyDocument) view(now time.Time, rotation time.Duration) []admin.Key {
	list := []admin.Key{}
	for _, alg := range doc.algs() {
		keys, current := doc.of(alg, now)
		for i, k := range keys {
			v := admin.Key{ID: k.ID, Alg: k.Alg, CreatedAt: k.CreatedAt, UsableAt: k.UsableAt}
			switch {
			case i < current:
				until := keys[i+1].UsableAt.Add(keepKeys)
				v.State, v.Until = admin.KeyReplaced, &until
			case i == current:
				until := k.UsableAt.Add(rotation)
				if i+1 < len(keys) {
					until = keys[i+1].UsableAt
				}
				v.State, v.Until = admin.KeyCurrent, &until
			default:
				v.State = admin.KeyNext
			}
			list = append(list, v)
		}
	}
	return list
}

// RotateKeys publishes the next key of every algorithm; it signs two days
// later.
func (b *backend) RotateKeys(ctx context.Context) ([]admin.Key, error) {
	if err := b.changeKeys(ctx, func(doc *keyDocument, now time.Time) (bool, error) { return doc.rotate(now) }); err != nil {
		return nil, err
	}
	b.p.audit(ctx, "key rotation begun by an administrator", AuditEvent{Event: eventKey}, "change", "rotation begun")
	return b.Keys(ctx)
}

// RetireKey removes a key at once.
func (b *backend) RetireKey(ctx context.Context, id string) ([]admin.Key, error) {
	err := b.changeKeys(ctx, func(doc *keyDocument, now time.Time) (bool, error) { return true, doc.retire(id, now) })
	if errors.Is(err, errNoKey) {
		return nil, fail(codeNotFound, "there is no key with this id")
	}
	if err != nil {
		return nil, err
	}
	b.p.audit(ctx, "key retired by an administrator", AuditEvent{Event: eventKey}, "change", "retired", "key", id)
	return b.Keys(ctx)
}

func (b *backend) changeKeys(ctx context.Context, update func(*keyDocument, time.Time) (bool, error)) error {
	b.p.keysMu.Lock()
	defer b.p.keysMu.Unlock()
	ring, err := b.p.updateKeys(ctx, update)
	if errors.Is(err, errNoKey) {
		return err
	}
	if err != nil {
		return storeError(err)
	}
	b.p.useKeys(ring)
	return nil
}
