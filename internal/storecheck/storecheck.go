// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package storecheck is what the backends of package store do alike before
// they look at their state: it refuses arguments that the contract forbids,
// and reads and writes the page tokens of List. It does no I/O, and its
// functions may be called concurrently.
package storecheck

import (
	"errors"
	"fmt"
	"time"

	"github.com/tailscale/tsidp/store"
)

// Redemption returns an error if r is none that the contract allows.
func Redemption(r store.Redemption) error {
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
		if err := Put(mark); err != nil {
			return err
		}
	}
	return nil
}

// Rotation returns an error if r is none that the contract allows.
func Rotation(r store.Rotation) error {
	if r.NextExpiresAt.IsZero() {
		return errors.New("checking rotation: successor that never expires")
	}
	return nil
}

// Revocation returns an error if r is none that the contract allows.
func Revocation(r store.Revocation) error {
	if r.Select.ID != "" && len(r.Select.Index) > 0 {
		return errors.New("checking revocation: selector with both ID and index")
	}
	if r.KeepFor <= 0 {
		return fmt.Errorf("checking revocation: dead rows kept for %v", r.KeepFor)
	}
	for _, key := range r.Delete {
		if err := Delete(key.Kind); err != nil {
			return err
		}
	}
	return checkIndex(r.Select.Index)
}

// UseOnce returns an error unless id may be used in space until exp.
func UseOnce(space, id string, exp time.Time) error {
	if space == "" || id == "" || len(id) > store.MaxIDLen {
		return fmt.Errorf("checking use-once value: %d bytes in a space of %d bytes", len(id), len(space))
	}
	if exp.IsZero() {
		return fmt.Errorf("checking use-once value in %q: it never expires", space)
	}
	return nil
}

// Put returns an error unless r may be stored and is not a grant.
func Put(r store.Record) error {
	if r.Kind == store.KindGrant {
		return errors.New("writing record: a grant is written by Redeem, Rotate and Revoke only")
	}
	return checkRecord(r)
}

// Delete returns an error if kind is that of grants, since the row of a grant
// is what spends the authorization code.
func Delete(kind store.Kind) error {
	if kind == store.KindGrant {
		return errors.New("deleting record: only Expire removes a grant")
	}
	return nil
}

// Expire returns an error if limit is none that the contract allows.
func Expire(limit int) error {
	if limit < 1 {
		return fmt.Errorf("checking limit of rows to expire: %d", limit)
	}
	return nil
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
