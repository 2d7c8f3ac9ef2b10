// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tailscale/tsidp/store"
	"tailscale.com/tailcfg"
)

// An authorization is what somebody allowed a client to do: the content of
// an authorization code before its redemption, and of a grant after it. It
// keeps who it was and on which node, not what the rules said: each use asks
// for the rules of that moment.
type authorization struct {
	grantID   string // also the code's use-once key; 32 hexadecimal digits
	clientID  string
	subject   string
	node      tailcfg.StableNodeID
	addr      netip.Addr // where to ask for the node
	scopes    []string
	resources []string
	authTime  time.Time
	// machine: no person is behind it; see grant_client.go. subject is then
	// the client, and node the one that asked, if anybody knows it.
	machine bool

	// life is what the client may have; whoever loads an authorization to
	// make tokens sets it. It is kept nowhere.
	life Lifetimes
}

// A codeRequest is the content of an authorization code. The redirect URI is
// kept as its hash, the state not at all.
type codeRequest struct {
	authorization
	issuedAt     time.Time
	redirectHash [32]byte
	challenge    [32]byte // decoded code_challenge; meaningful if hasPKCE
	hasPKCE      bool
	nonce        string
}

// grantRecord is an authorization as the store keeps it.
type grantRecord struct {
	Addr      netip.Addr `json:"addr"`
	Scopes    []string   `json:"scopes"`
	Resources []string   `json:"resources,omitempty"`
	AuthTime  time.Time  `json:"auth_time"`
	// EndsAt is when it can be refreshed no longer.
	EndsAt  time.Time `json:"ends_at"`
	Machine bool      `json:"machine,omitempty"`
}

// Indexes of grant records.
const (
	indexClient = "client"
	indexUser   = "user" // the subject
	indexNode   = "node"
)

// record returns the store's record of a new grant.
func (a *authorization) record(now, expires, ends time.Time) (store.Record, error) {
	data, err := json.Marshal(grantRecord{a.addr, a.scopes, a.resources, a.authTime, ends, a.machine})
	if err != nil {
		return store.Record{}, fmt.Errorf("writing grant: %w", err)
	}
	return store.Record{
		Kind: store.KindGrant, ID: a.grantID, Data: data,
		Index:     map[string]string{indexClient: a.clientID, indexUser: a.subject, indexNode: string(a.node)},
		CreatedAt: now, UsedAt: now, ExpiresAt: expires,
	}, nil
}

// decodeGrant reads a grant from the store.
func decodeGrant(rec store.Record) (*authorization, time.Time, error) {
	var g grantRecord
	if err := json.Unmarshal(rec.Data, &g); err != nil {
		return nil, time.Time{}, fmt.Errorf("reading grant %q: %w", rec.ID, err)
	}
	return &authorization{
		grantID: rec.ID, clientID: rec.Index[indexClient], subject: rec.Index[indexUser],
		node: tailcfg.StableNodeID(rec.Index[indexNode]), addr: g.Addr,
		scopes: g.Scopes, resources: g.Resources, authTime: g.AuthTime, machine: g.Machine,
	}, g.EndsAt, nil
}

// codeVersion begins every encoded codeRequest.
const codeVersion = 1

var errCodeFormat = errors.New("malformed authorization code")

// encode returns c in a compact binary form: codes travel in URLs, and some
// applications cut long ones.
func (c *codeRequest) encode() ([]byte, error) {
	id, err := hex.DecodeString(c.grantID)
	if err != nil || len(id) != 16 {
		return nil, errCodeFormat
	}
	b := append([]byte{codeVersion}, id...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.issuedAt.UnixMicro()))
	b = binary.AppendVarint(b, c.authTime.Unix()-c.issuedAt.Unix())
	b = append(b, c.redirectHash[:]...)
	if c.hasPKCE {
		b = append(append(b, 1), c.challenge[:]...)
	} else {
		b = append(b, 0)
	}
	addr, err := c.addr.MarshalBinary()
	if err != nil {
		return nil, err
	}
	for _, s := range []string{c.clientID, c.subject, string(c.node), string(addr), c.nonce} {
		b = appendText(b, s)
	}
	b = appendScopes(b, c.scopes)
	return appendTexts(b, c.resources), nil
}

// codeScopes are the scopes that a code has as one bit each, by position: it
// may grow at its end only. All others are written out.
var codeScopes = []string{scopeOpenID, scopeProfile, scopeEmail, scopeGroups, scopeTailscale, scopeOfflineAccess}

func appendScopes(b []byte, scopes []string) []byte {
	var bits uint64
	var others []string
	for _, s := range scopes {
		if i := slices.Index(codeScopes, s); i >= 0 {
			bits |= 1 << i
		} else {
			others = append(others, s)
		}
	}
	return appendTexts(binary.AppendUvarint(b, bits), others)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeCode reads what encode wrote. The bytes come out of a seal, so they
// are ours, but perhaps those of another version.
func decodeCode(b []byte) (*codeRequest, error) {
	d := codeDecoder{b: b}
	if d.byte() != codeVersion {
		return nil, errCodeFormat
	}
	var c codeRequest
	c.grantID = hex.EncodeToString(d.bytes(16))
	c.issuedAt = time.UnixMicro(int64(d.uint64())).UTC()
	c.authTime = time.Unix(c.issuedAt.Unix()+d.varint(), 0).UTC()
	copy(c.redirectHash[:], d.bytes(32))
	if c.hasPKCE = d.byte() == 1; c.hasPKCE {
		copy(c.challenge[:], d.bytes(32))
	}
	c.clientID, c.subject, c.node = d.text(), d.text(), tailcfg.StableNodeID(d.text())
	if err := c.addr.UnmarshalBinary([]byte(d.text())); err != nil {
		return nil, errCodeFormat
	}
	c.nonce = d.text()
	bits := d.uvarint()
	for i, scope := range codeScopes {
		if bits&(1<<i) != 0 {
			c.scopes = append(c.scopes, scope)
		}
	}
	c.scopes = append(c.scopes, d.texts()...)
	c.resources = d.texts()
	if d.failed || len(d.b) > 0 {
		return nil, errCodeFormat
	}
	return &c, nil
}

// A codeDecoder takes values off the front of b. After the first failure it
// returns zero values.
type codeDecoder struct {
	b      []byte
	failed bool
}

func (d *codeDecoder) bytes(n int) []byte {
	if d.failed || n < 0 || n > len(d.b) {
		d.failed = true
		return make([]byte, min(max(n, 0), 64))
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *codeDecoder) byte() byte     { return d.bytes(1)[0] }
func (d *codeDecoder) uint64() uint64 { return binary.BigEndian.Uint64(d.bytes(8)) }

func (d *codeDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *codeDecoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *codeDecoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed = true
		return ""
	}
	return string(d.bytes(int(n)))
}

func (d *codeDecoder) texts() []string {
	var list []string
	for n := d.uvarint(); n > 0 && !d.failed; n-- {
		list = append(list, d.text())
	}
	return list
}
