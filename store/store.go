// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package store is the contract between the provider and what keeps its
// state: records, a handful of atomic transitions, and the errors a backend
// answers with.
//
// Backends live in the packages below this one (memory, …). A backend is
// correct when it passes the suite of package storetest.
//
// # What a store never sees
//
// No plaintext secret crosses this interface: client secrets and refresh
// tokens arrive as SHA-256 hashes of 256-bit random values, and authorization
// codes do not arrive at all (a code is a sealed request that names the grant
// it opens).
//
// # Rules for every backend
//
//   - Each method is atomic and durable: when it returns nil, the change
//     survives a crash of the process; when it returns an error, nothing has
//     changed (except where a method's comment says that the error itself
//     is a transition, such as reuse killing a grant). Where the answer to a
//     commit is lost on its way, an error may stand for the whole change,
//     never for a part of it.
//   - All methods may be called concurrently, also from other processes that
//     share the same database.
//   - Reads see every write that was acknowledged before they began.
//   - Expiry never depends on a sweeper: a row (record, refresh token,
//     use-once value or watermark) whose ExpiresAt is not after the caller's
//     clock does not exist for any method, whether or not Expire has run. The
//     one exception is the use-once key of a grant: while its row is there,
//     Redeem refuses the same ID.
//   - Times are kept with microsecond precision or finer, cut off and not
//     rounded up, and come back in UTC. The zero Time comes back as zero.
//   - Strings are bytes: IDs, index names and values and use-once values may
//     hold any, also NUL and what is not UTF-8, and compare byte by byte. What
//     no record can have (such as an ID that is too long) is not found.
//   - Empty and nil are the same for Data and Index.
//   - An error that is none of this package's sentinels means "the store
//     cannot answer now": the caller reports 503 and has lost nothing. The
//     same kind of error answers arguments that the contract forbids, an
//     ended context, and calls after Close.
//   - Values passed in are not retained and values returned are the caller's:
//     both sides may modify them afterwards.
package store

import (
	"context"
	"errors"
	"time"
)

// Sentinels that callers branch on. Backends may wrap them.
var (
	// ErrNotFound says that the record does not exist or has expired.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the record's version is not the one the caller
	// has read, or that a record to be created exists already.
	ErrConflict = errors.New("version conflict")
	// ErrSpent says that a use-once value has been used before.
	ErrSpent = errors.New("already used")
	// ErrDead says that the grant has been revoked, or that a revocation
	// watermark is newer than the authorization code.
	ErrDead = errors.New("grant revoked")
	// ErrReuse says that a rotated refresh token was presented outside its
	// grace period, or after its successor had been used. The grant is dead.
	ErrReuse = errors.New("refresh token reused")
	// ErrPage says that Query.After is no Next that List could have returned.
	ErrPage = errors.New("not a page token")
)

// A Kind names a class of records. The provider chooses kinds; a backend
// gives meaning only to KindGrant.
type Kind string

// KindGrant is the kind of grants. Redeem creates them, Rotate touches them,
// Revoke marks them dead, Expire removes them; Put and Delete refuse them.
const KindGrant Kind = "grant"

// Limits that every backend enforces by returning an error.
const (
	MaxIDLen    = 1024    // bytes of Record.ID, and of an id of UseOnce
	MaxDataLen  = 1 << 20 // bytes of Record.Data
	MaxIndexes  = 6       // entries of Record.Index, and of Selector.Index
	MaxIndexLen = 1024    // bytes of one index name or value
	MaxPage     = 1000    // records in one answer of List
)

// A Record is one stored value. Data is opaque to the store, which gives a
// meaning to UsedAt, DeadAt and DeadReason in grants only; other records keep
// them as written.
type Record struct {
	Kind Kind   // not empty
	ID   string // unique within Kind, not empty
	// Version counts the writes of this record: 1 after its creation, one
	// more after each Put and, for grants, after each Rotate or Revoke that
	// changed it.
	Version int64
	Data    []byte
	// Index holds the named values by which List finds the record, for
	// example {"client": "c0ffee"}. One value per name. A name is not empty;
	// a value may be, which is not the same as having none.
	Index map[string]string

	CreatedAt time.Time // as written: no backend sets it
	UsedAt    time.Time // grants: the last rotation, if there was one
	ExpiresAt time.Time // zero: never
	DeadAt    time.Time // grants: when it was revoked; zero: alive
	// DeadReason is a short fixed word for people, such as "reuse".
	DeadReason string
}

// A Key names one record.
type Key struct {
	Kind Kind
	ID   string
}

// A Hash is the SHA-256 of a secret with at least 256 bits of entropy.
type Hash [32]byte

// A Refresh is a refresh token as the store keeps it.
type Refresh struct {
	Hash      Hash
	Grant     string // ID of the KindGrant record, with which it vanishes
	CreatedAt time.Time
	ExpiresAt time.Time // never zero
	SpentAt   time.Time // zero: not rotated yet
}

// A Redemption is what Redeem does in one transaction.
type Redemption struct {
	// Grant is inserted, alive and with Version 1 whatever it says itself.
	// Its ID is the use-once key of the authorization code; its ExpiresAt is
	// never before the code's own expiry. Any Kind but KindGrant is an error.
	Grant Record
	// IssuedAt is when the code was issued; it is compared with the
	// watermarks that Revoke has left.
	IssuedAt time.Time
	// Refresh is the grant's first refresh token, inserted unspent; nil for
	// none. A token of another grant or without ExpiresAt is an error.
	Refresh *Refresh
	// Marks are records inserted with it, with Version 1, where they are
	// absent (or expired); those that exist are left as they are. Of two with
	// one key the first counts. A mark of KindGrant is an error.
	Marks []Record
	Now   time.Time
}

// A Rotation replaces a refresh token by its successor.
type Rotation struct {
	Old Hash
	// Salt is written into the spent row if this rotation wins. The caller
	// derives the successor token from it and the presented token.
	Salt [32]byte
	Next Hash
	// NextExpiresAt is the successor's idle expiry; zero is an error.
	NextExpiresAt time.Time
	// GrantExpiresAt becomes the ExpiresAt of the grant; zero: never.
	GrantExpiresAt time.Time
	Now            time.Time
	// Grace is how long after a rotation the same token may be presented
	// again, as long as its successor is unused: a call is such a retry if
	// Now - SpentAt < Grace.
	Grace time.Duration
}

// A Selector picks grants: by ID, or by all of the Index values given (grants
// that have each of them, and possibly more). Giving both is an error. The
// zero Selector, also with an empty Index, picks nothing.
type Selector struct {
	ID    string
	Index map[string]string
}

// A Revocation marks grants dead.
type Revocation struct {
	Select Selector
	Reason string
	Now    time.Time
	// KeepFor is how long dead rows and the watermark stay, at least the
	// lifetime of an authorization code; anything not positive is an error.
	// The ExpiresAt of a grant that dies becomes Now+KeepFor if that is
	// earlier than what it was. The watermark's is Now+KeepFor.
	KeepFor time.Duration
	// Delete names records that vanish in the same transaction, whatever
	// their version and whatever Select picks; absent ones are ignored.
	// A key of KindGrant is an error.
	Delete []Key
}

// A Query selects records of one kind, in ascending order of (index value,
// ID), or of ID when Index is empty. Records without that index are not
// selected; dead grants are.
type Query struct {
	Kind  Kind
	Index string // name of an index; empty: all records of Kind
	Value string // value of that index
	// Prefix makes Value a prefix instead of an exact value. With an empty
	// Index it filters by prefix of the ID; a Value with neither Index nor
	// Prefix is an error.
	Prefix bool
	// Limit is the size of a page: 1 to MaxPage; 0 means MaxPage; anything
	// else is an error.
	Limit int
	// After is the Next of the previous page of the same query; empty for
	// the first one. What was never a Next is ErrPage, or a place in
	// the order where a backend cannot tell.
	After string
	Now   time.Time
}

// A Page is one answer of List.
type Page struct {
	Records []Record
	Next    string // opaque; empty if nothing was left when the page was read
}

// KeySet is the provider's signing and sealing keys, as one document that is
// exchanged whole. Data is opaque to the store.
type KeySet struct {
	Version int64 // 0: there is none yet
	Data    []byte
}

// A Store keeps the provider's state. See the package comment for what holds
// for every method.
type Store interface {
	// Redeem opens a grant, which spends the code that names it.
	//
	// It returns ErrSpent if a grant with that ID exists, alive, dead or
	// expired; otherwise ErrDead if a watermark (see Revoke) that matches the
	// grant is not before r.IssuedAt; otherwise ErrConflict if the hash of
	// r.Refresh is in use. Of any number of concurrent calls with one ID, one
	// succeeds.
	Redeem(ctx context.Context, r Redemption) error

	// Refresh returns a refresh token, spent or not, and its grant, dead or
	// not. It returns ErrNotFound if either does not exist or has expired at
	// now.
	Refresh(ctx context.Context, h Hash, now time.Time) (Refresh, Record, error)

	// Rotate spends r.Old and inserts its successor, and sets the grant's
	// UsedAt and ExpiresAt.
	//
	// It returns the salt that the successor derives from: r.Salt if this
	// call won, or the winner's if r.Old was rotated less than r.Grace ago and
	// its successor is unused; in that case nothing changes. A token rotated
	// before that, or whose successor has been used (rotated, or expired),
	// kills the grant (DeadAt r.Now, reason "reuse", nothing else) and gives
	// ErrReuse.
	//
	// ErrNotFound: unknown or expired token or grant. ErrDead: the grant was
	// dead before. ErrConflict: r.Old is unspent, and r.Next is in use. They
	// are told in this order, and each before ErrReuse.
	Rotate(ctx context.Context, r Rotation) (salt [32]byte, err error)

	// Revoke marks the selected grants dead (DeadAt r.Now, DeadReason
	// r.Reason), and leaves a watermark: a code issued at or before r.Now that
	// would open a grant so selected is refused by Redeem, whether or not
	// there are such grants now. (Selecting by ID leaves none.) Watermarks do
	// not replace each other. It returns how many living grants died; grants
	// already dead are left as they are.
	Revoke(ctx context.Context, r Revocation) (int, error)

	// UseOnce records that id was used in space, until exp. It returns
	// ErrSpent if that is recorded already and has not expired at now, and
	// leaves it as it is. Of any number of concurrent calls one succeeds. An
	// empty space or id, or a zero exp, is an error.
	UseOnce(ctx context.Context, space, id string, now, exp time.Time) error

	// Keys returns the current key set; Version 0 if there is none.
	Keys(ctx context.Context) (KeySet, error)

	// SwapKeys replaces the key set if its version is still version, and
	// returns the new version. It returns ErrConflict otherwise.
	SwapKeys(ctx context.Context, version int64, data []byte) (int64, error)

	// Get returns the record, dead or not, or ErrNotFound.
	Get(ctx context.Context, kind Kind, id string, now time.Time) (Record, error)

	// Put writes r if the stored version is r.Version, where 0 means that
	// there must be none (an expired record counts as none). It returns the
	// new version, or ErrConflict. All of r is written, nothing of what was
	// there is kept.
	Put(ctx context.Context, r Record, now time.Time) (int64, error)

	// Delete removes the record if its version is version. It returns
	// ErrNotFound if there is none and ErrConflict if the version differs.
	Delete(ctx context.Context, kind Kind, id string, version int64, now time.Time) error

	// List returns one page of records, full unless it is the last. Records
	// created or deleted between two pages may be missed; none is returned
	// twice, unless a Put has moved it on by changing its index value.
	List(ctx context.Context, q Query) (Page, error)

	// Count returns how many records q selects, ignoring Limit and After
	// whatever they are.
	Count(ctx context.Context, q Query) (int, error)

	// Expire removes up to limit rows (records, refresh tokens, use-once
	// values, watermarks) that have expired at now, and returns how many. A
	// refresh token whose grant has expired counts as expired, and goes before
	// it. Expire is meant to be called until it returns less than limit; a
	// limit below 1 is an error.
	Expire(ctx context.Context, now time.Time, limit int) (int, error)

	// Close releases the store. Calls after Close, of Close too, return an
	// error.
	Close() error
}
