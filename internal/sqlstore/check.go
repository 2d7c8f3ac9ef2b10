// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package sqlstore

import (
	"errors"
	"fmt"

	"github.com/tailscale/tsidp/store"
)

// CheckRedemption returns an error if r is none that the contract allows.
func CheckRedemption(r store.Redemption) error {
	if r.Grant.Kind != store.KindGrant {
		return fmt.Errorf("checking redemption: grant of kind %q", r.Grant.Kind)
	}
	if err := checkRecord(r.Grant); err != nil {
		return err
	}
	if r.Refresh != nil && r.Refresh.Grant != r.Grant.ID {
		return errors.New("checking redemption: refresh token of another grant")
	}
	if r.Refresh != nil && r.Refresh.ExpiresAt.IsZero() {
		return errors.New("checking redemption: refresh token that never expires")
	}
	for _, mark := range r.Marks {
		if err := checkOther(mark); err != nil {
			return err
		}
	}
	return nil
}

// CheckRotation returns an error if r is none that the contract allows.
func CheckRotation(r store.Rotation) error {
	if r.NextExpiresAt.IsZero() {
		return errors.New("checking rotation: successor that never expires")
	}
	return nil
}

// checkRevocation returns an error if r is none that the contract allows.
func checkRevocation(r store.Revocation) error {
	if r.Select.ID != "" && len(r.Select.Index) > 0 {
		return errors.New("checking revocation: selector with both ID and index")
	}
	if r.KeepFor <= 0 {
		return fmt.Errorf("checking revocation: dead rows kept for %v", r.KeepFor)
	}
	for _, key := range r.Delete {
		if err := checkDelete(key.Kind); err != nil {
			return err
		}
	}
	return checkIndex(r.Select.Index)
}

// checkDelete returns an error if kind is that of grants, since the row of a
// grant is what spends the authorization code.
func checkDelete(kind store.Kind) error {
	if kind == store.KindGrant {
		return errors.New("deleting record: only Expire removes a grant")
	}
	return nil
}

// checkOther returns an error unless r may be stored and is not a grant.
func checkOther(r store.Record) error {
	if r.Kind == store.KindGrant {
		return errors.New("writing record: a grant is written by Redeem, Rotate and Revoke only")
	}
	return checkRecord(r)
}

// checkRecord returns an error unless r may be stored.
func checkRecord(r store.Record) error {
	switch {
	case r.Kind == "":
		return errors.New("checking record: empty kind")
	case r.ID == "":
		return errors.New("checking record: empty ID")
	case len(r.ID) > store.MaxIDLen:
		return fmt.Errorf("checking record: ID of %d bytes, %d allowed", len(r.ID), store.MaxIDLen)
	case len(r.Data) > store.MaxDataLen:
		return fmt.Errorf("checking record: data of %d bytes, %d allowed", len(r.Data), store.MaxDataLen)
	}
	return checkIndex(r.Index)
}

// checkIndex returns an error unless a record may have that index.
func checkIndex(index map[string]string) error {
	if len(index) > store.MaxIndexes {
		return fmt.Errorf("checking index: %d entries, %d allowed", len(index), store.MaxIndexes)
	}
	for name, value := range index {
		if name == "" {
			return errors.New("checking index: empty name")
		}
		if n := max(len(name), len(value)); n > store.MaxIndexLen {
			return fmt.Errorf("checking index: %d bytes in an entry, %d allowed", n, store.MaxIndexLen)
		}
	}
	return nil
}

// checkQuery returns an error unless q is one that Count answers.
func checkQuery(q store.Query) error {
	if q.Index == "" && q.Value != "" && !q.Prefix {
		return errors.New("checking query: value without index or prefix")
	}
	return nil
}

// checkPage returns an error unless q is one that List answers, and after
// what its page begins; nil is the start.
func checkPage(q store.Query) (*cursor, error) {
	if err := checkQuery(q); err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.Limit > store.MaxPage {
		return nil, fmt.Errorf("checking query: limit of %d, 0 to %d allowed", q.Limit, store.MaxPage)
	}
	if q.After == "" {
		return nil, nil
	}
	c, err := parseCursor(q.After)
	if err != nil {
		return nil, err
	}
	if !c.isOf(q) {
		return nil, fmt.Errorf("reading page token: %w: that of another query", store.ErrPage)
	}
	return &c, nil
}
