// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tailscale/tsidp/store"
	"tailscale.com/tailcfg"
)

// kindDevice is the kind of device authorization requests. Their ID is the
// hash of the device code, so that neither code is in the store.
const kindDevice store.Kind = "device"

// indexUserCode is the hash of the user code.
const indexUserCode = "user_code"

const (
	// deviceLifetime is that of both codes: expires_in.
	deviceLifetime = 10 * time.Minute
	// deviceRemembered is how much longer requests are kept, so that a late
	// device or person is told that the code has expired.
	deviceRemembered = 10 * time.Minute
)

// States of a deviceRequest. It leaves pending once, for good.
const (
	devicePending  = "pending"
	deviceApproved = "approved"
	deviceDenied   = "denied"
)

// A deviceRequest is what a device asks for, and what a person says to it.
type deviceRequest struct {
	// authorization has the client, scopes and resources from the beginning.
	// Whose it is, the person who approves says.
	authorization
	asker     asker
	expiresAt time.Time
	state     string
	decidedAt time.Time // also the person's auth_time
	poll      polling

	record store.Record // as it was read
}

// An asker is the node that a request came from, for the person to compare:
// nothing is decided by it.
type asker struct {
	Addr netip.Addr `json:"addr"`
	Node string     `json:"node,omitempty"` // its name, if it has one
	Who  string     `json:"who"`            // its user or tags
	// Subject tells whether it is the approver's own, Tagged that it is
	// nobody's.
	Subject string `json:"sub"`
	Tagged  bool   `json:"tagged,omitempty"`
}

// A deviceRecord is a deviceRequest as the store keeps it.
type deviceRecord struct {
	ClientID  string               `json:"client_id"`
	Scopes    []string             `json:"scopes"`
	Resources []string             `json:"resources,omitempty"`
	Asker     asker                `json:"asker"`
	ExpiresAt time.Time            `json:"expires_at"`
	State     string               `json:"state"`
	Poll      polling              `json:"poll"`
	DecidedAt time.Time            `json:"decided_at,omitzero"`
	Subject   string               `json:"sub,omitempty"`
	Node      tailcfg.StableNodeID `json:"node,omitempty"`
	Addr      netip.Addr           `json:"addr,omitzero"`
}

func (d *deviceRequest) expired(now time.Time) bool { return !now.Before(d.expiresAt) }

// createDevice stores d and returns its two codes.
func (s *storage) createDevice(ctx context.Context, d *deviceRequest) (deviceCode, userCode string, err error) {
	var b [32]byte
	rand.Read(b[:])
	deviceCode, userCode = base64.RawURLEncoding.EncodeToString(b[:]), newUserCode()
	d.record = store.Record{
		Kind: kindDevice, ID: hashText(deviceCode), Index: map[string]string{indexUserCode: hashText(userCode)},
		CreatedAt: s.p.now(), ExpiresAt: d.expiresAt.Add(deviceRemembered),
	}
	if err := s.writeDevice(ctx, d); err != nil {
		return "", "", storeError(err)
	}
	return deviceCode, userCode, nil
}

func hashText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// deviceByCode finds the request of a device code. It returns
// store.ErrNotFound if there is none.
func (s *storage) deviceByCode(ctx context.Context, code string) (*deviceRequest, error) {
	if b, err := base64.RawURLEncoding.Strict().DecodeString(code); err != nil || len(b) != 32 {
		return nil, store.ErrNotFound
	}
	return s.deviceByID(ctx, hashText(code))
}

func (s *storage) deviceByID(ctx context.Context, id string) (*deviceRequest, error) {
	rec, err := s.p.store.Get(ctx, kindDevice, id, s.p.now())
	if err != nil {
		return nil, err
	}
	return decodeDevice(rec)
}

// deviceByUserCode finds the request of a user code, without hyphen. It
// returns store.ErrNotFound if there is none, and also if there are two: of
// 20^8 codes two that live at once are hardly ever the same, and then neither
// person may approve for the other's device.
func (s *storage) deviceByUserCode(ctx context.Context, userCode string) (*deviceRequest, error) {
	page, err := s.p.store.List(ctx, store.Query{Kind: kindDevice, Index: indexUserCode, Value: hashText(userCode), Limit: 2, Now: s.p.now()})
	if err != nil {
		return nil, err
	}
	if len(page.Records) != 1 {
		return nil, store.ErrNotFound
	}
	return decodeDevice(page.Records[0])
}

func decodeDevice(rec store.Record) (*deviceRequest, error) {
	var r deviceRecord
	if err := json.Unmarshal(rec.Data, &r); err != nil {
		return nil, fmt.Errorf("reading device request: %w", err)
	}
	return &deviceRequest{
		authorization: authorization{
			// The grant's id is what makes the device code spent, see redeem.
			grantID: rec.ID[:32], clientID: r.ClientID, scopes: r.Scopes, resources: r.Resources,
			subject: r.Subject, node: r.Node, addr: r.Addr, authTime: r.DecidedAt,
		},
		asker: r.Asker, expiresAt: r.ExpiresAt, state: r.State, decidedAt: r.DecidedAt, poll: r.Poll,
		record: rec,
	}, nil
}

// writeDevice writes d if nobody else has since it was read; else it returns
// store.ErrConflict.
func (s *storage) writeDevice(ctx context.Context, d *deviceRequest) error {
	data, err := json.Marshal(deviceRecord{
		ClientID: d.clientID, Scopes: d.scopes, Resources: d.resources, Asker: d.asker, ExpiresAt: d.expiresAt,
		State: d.state, Poll: d.poll, DecidedAt: d.decidedAt, Subject: d.subject, Node: d.node, Addr: d.addr,
	})
	if err != nil {
		return fmt.Errorf("writing device request: %w", err)
	}
	d.record.Data = data
	d.record.Version, err = s.p.store.Put(ctx, d.record, s.p.now())
	return err
}

// maxDecideTries bounds how often decideDevice meets a poll of the device,
// which writes at most once in pollOnce.
const maxDecideTries = 10

// decideDevice lets apply change the request with this id, in the name of
// who, unless it has been decided or has expired: then nothing happens.
func (s *storage) decideDevice(ctx context.Context, id string, who *identity, apply func(*deviceRequest) error) error {
	for range maxDecideTries {
		d, err := s.deviceByID(ctx, id)
		if err != nil {
			return notFoundOr(err, fail(codeNotFound, "This request has expired. Start again on the device."))
		}
		if d.state != devicePending || d.expired(s.p.now()) {
			return nil
		}
		if err := apply(d); err != nil {
			return err
		}
		e := AuditEvent{Event: eventDevice, Client: d.clientID, User: who.subject(), Node: string(who.node), Grant: d.grantID, Resources: d.resources, Scopes: d.scopes}
		if err := s.p.auditFirst(ctx, e, "state", d.state); err != nil {
			return err
		}
		d.subject, d.node, d.addr, d.decidedAt = who.subject(), who.node, who.addr, s.p.now().UTC()
		switch err := s.writeDevice(ctx, d); {
		case err == nil:
			s.p.noteAudit(ctx, "device login decided", e, "state", d.state)
			return nil
		case !errors.Is(err, store.ErrConflict):
			return storeError(err)
		}
	}
	return storeError(errors.New("deciding device request: it changes all the time"))
}

// A polling is how a device has asked for its tokens so far.
type polling struct {
	At       time.Time `json:"at,omitzero"` // zero: never
	Interval int64     `json:"interval"`    // seconds that must be between two polls
	Slow     bool      `json:"slow,omitempty"`
	// Method is how the client authenticated.
	Method string `json:"method,omitempty"`
}

const (
	pollInterval    = 5  // seconds
	maxPollInterval = 60 // seconds
	// pollSlack is by how much polls that a device sends in time may come
	// closer together.
	pollSlack = time.Second
	// pollOnce is how close together polls count as one.
	pollOnce = time.Second
)

// next judges a poll at now by a client that authenticated by method. write
// says whether q is to be kept: a device that hammers costs one write in
// pollOnce.
func (q polling) next(now time.Time, method string) (_ polling, write bool) {
	since := now.Sub(q.At)
	switch {
	case q.At.IsZero() || since >= time.Duration(q.Interval)*time.Second-pollSlack:
		q.Slow = false
	case since < pollOnce && (q.Slow || method != q.Method):
		// Libraries that do not know how a client authenticates (x/oauth2)
		// try one way, and directly after each error the other: that is one
		// poll, with one answer.
		return q, false
	default:
		// "the interval MUST be increased by 5 seconds for this and all
		// subsequent requests" (RFC 8628 section 3.5).
		q.Slow, q.Interval = true, min(q.Interval+5, maxPollInterval)
	}
	q.At, q.Method = now.UTC(), method
	return q, true
}

// pollDevice notes a poll for a request that nobody has decided, and returns
// what the device is told.
func (s *storage) pollDevice(ctx context.Context, d *deviceRequest, method string) error {
	next, write := d.poll.next(s.p.now(), method)
	if write {
		d.poll = next
		// At a conflict the person has decided, or another poll has come: the
		// next one will see.
		if err := s.writeDevice(ctx, d); err != nil && !errors.Is(err, store.ErrConflict) {
			return storeError(err)
		}
	}
	if next.Slow {
		return fail(codeSlowDown, "the device asks too often; it must wait %d seconds between requests", next.Interval)
	}
	return fail(codeAuthorizationPending, "the person has not decided yet")
}

// opening shows an approved request to redeem.
func (d *deviceRequest) opening() opening {
	return opening{
		authorization: &d.authorization, name: "device code",
		givenAt: d.decidedAt, until: d.expiresAt.Add(clockSkew),
	}
}
