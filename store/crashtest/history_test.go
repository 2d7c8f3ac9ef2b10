// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package crashtest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

const (
	kindClient store.Kind = "client"
	kindMark   store.Kind = "mark"

	grace    = 30 * time.Second
	lifetime = 365 * 24 * time.Hour // of everything: nothing expires here
)

// start is the clock of everything but attempts at reuse.
func start() time.Time { return time.Date(2031, time.March, 4, 5, 6, 7, 0, time.UTC) }

// An op is a kind of operation.
type op string

const (
	opRedeem op = "redeem" // opens a grant, with a refresh token and a mark
	opRotate op = "rotate" // replaces its latest refresh token
	opRevoke op = "revoke" // kills it by an index, and deletes the mark
	opReuse  op = "reuse"  // kills it by a token that is spent
	opPut    op = "put"    // writes a client: creates it, or writes it anew
	opDelete op = "delete" // deletes a client
)

// A subject is a grant or a client, and what has happened to it. One
// goroutine works at it, so at most one operation is not acknowledged.
type subject struct {
	id      string
	done    []op // acknowledged, in this order
	pending op   // begun and not acknowledged; empty for none
	round   int  // the last round that had to do with it
}

func (s *subject) isClient() bool { return strings.HasPrefix(s.id, "client") }

// A state is what can be seen of a subject. The zero state is absence.
type state struct {
	Version int64
	Data    string
	Dead    string   // why
	Mark    bool     // whether the mark is there
	Tokens  []string // what each refresh token is, up to the last that is there
}

const (
	absent = "absent"
	unused = "unused"
	spent  = "spent"
)

// stateAfter returns what operations lead to.
func stateAfter(ops []op) (s state) {
	for _, o := range ops {
		s.Version++
		switch o {
		case opRedeem:
			s.Mark, s.Tokens = true, []string{unused}
		case opRotate:
			s.Tokens[len(s.Tokens)-1] = spent
			s.Tokens = append(s.Tokens, unused)
		case opRevoke:
			s.Dead, s.Mark = "revoked", false
		case opReuse:
			s.Dead = "reuse"
		case opPut:
			s.Data = clientData(s.Version)
		case opDelete:
			s = state{}
		}
	}
	return s
}

// count returns how often o has happened.
func (s *subject) count(o op) (n int) {
	for _, done := range s.done {
		if done == o {
			n++
		}
	}
	return n
}

func clientData(version int64) string { return fmt.Sprint("version ", version) }

func token(id string, n int) store.Hash {
	return sha256.Sum256(fmt.Append(nil, "refresh token ", id, " ", n))
}

// saltOf returns the salt that the rotation of token n writes.
func saltOf(id string, n int) [32]byte {
	return sha256.Sum256(fmt.Append(nil, "salt ", id, " ", n))
}

func redemption(id, user string, refresh store.Hash) store.Redemption {
	now := start()
	return store.Redemption{
		Grant: store.Record{
			Kind:      store.KindGrant,
			ID:        id,
			Data:      []byte("grant " + id),
			Index:     map[string]string{"user": user},
			CreatedAt: now,
			ExpiresAt: now.Add(lifetime),
		},
		IssuedAt: now,
		Refresh:  &store.Refresh{Hash: refresh, Grant: id, CreatedAt: now, ExpiresAt: now.Add(lifetime)},
		Marks:    []store.Record{{Kind: kindMark, ID: id, CreatedAt: now, ExpiresAt: now.Add(lifetime)}},
		Now:      now,
	}
}

// rotation replaces token n.
func rotation(id string, n int) store.Rotation {
	now := start()
	return store.Rotation{
		Old:            token(id, n),
		Salt:           saltOf(id, n),
		Next:           token(id, n+1),
		NextExpiresAt:  now.Add(lifetime),
		GrantExpiresAt: now.Add(lifetime),
		Now:            now,
		Grace:          grace,
	}
}

// reuse presents token n again when the grace period is over.
func reuse(id string, n int) store.Rotation {
	r := rotation(id, n)
	r.Now = r.Now.Add(grace)
	r.Salt = sha256.Sum256([]byte("another salt"))
	r.Next = sha256.Sum256([]byte("another token"))
	return r
}

// do performs an operation, which is to succeed.
func (s *subject) do(ctx context.Context, st store.Store, o op) error {
	switch o {
	case opRedeem:
		return st.Redeem(ctx, redemption(s.id, s.id, token(s.id, 0)))
	case opRotate:
		n := s.count(opRotate)
		salt, err := st.Rotate(ctx, rotation(s.id, n))
		if err == nil && salt != saltOf(s.id, n) {
			err = fmt.Errorf("salt %x of the first rotation, want %x", salt, saltOf(s.id, n))
		}
		return err
	case opRevoke:
		n, err := st.Revoke(ctx, store.Revocation{
			Select:  store.Selector{Index: map[string]string{"user": s.id}},
			Reason:  "revoked",
			Now:     start(),
			KeepFor: lifetime,
			Delete:  []store.Key{{Kind: kindMark, ID: s.id}},
		})
		if err == nil && n != 1 {
			err = fmt.Errorf("%d grants revoked, want 1", n)
		}
		return err
	}
	version := stateAfter(s.done).Version
	if o == opDelete {
		return st.Delete(ctx, kindClient, s.id, version, start())
	}
	_, err := st.Put(ctx, store.Record{
		Kind:      kindClient,
		ID:        s.id,
		Version:   version,
		Data:      []byte(clientData(version + 1)),
		Index:     map[string]string{"name": s.id},
		CreatedAt: start(),
	}, start())
	return err
}

// A history is all that the load has told.
type history struct {
	subjects map[string]*subject
	acked    int // operations
	round    int
}

func newHistory() *history { return &history{subjects: make(map[string]*subject)} }

// add notes what the load tells of an operation.
func (h *history) add(e event) error {
	s := h.subjects[e.id]
	if s == nil {
		s = &subject{id: e.id}
		h.subjects[e.id] = s
	}
	s.round = h.round
	switch {
	case e.what == begin && s.pending == "":
		s.pending = e.op
	case e.what == ack && s.pending == e.op:
		s.done = append(s.done, e.op)
		s.pending = ""
		h.acked++
	default:
		return fmt.Errorf("%v out of order", e)
	}
	return nil
}

// inFlight returns how many operations are begun and not acknowledged.
func (h *history) inFlight() (n int) {
	for _, s := range h.subjects {
		if s.pending != "" {
			n++
		}
	}
	return n
}

// since returns the subjects of a round and those after it.
func (h *history) since(round int) (found []*subject) {
	for _, s := range h.subjects {
		if s.round >= round {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *subject) int { return strings.Compare(a.id, b.id) })
	return found
}
