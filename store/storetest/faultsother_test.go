// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tailscale/tsidp/store"
)

func otherFaults() []fault {
	using := func(use func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, useOnce: func(ctx context.Context, space, id string, now, exp time.Time) error {
				return use(s, ctx, space, id, now, exp)
			}}
		}
	}
	return []fault{
		{"UseOnce never says ErrSpent", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			if err := s.UseOnce(ctx, space, id, now, exp); !errors.Is(err, store.ErrSpent) {
				return err
			}
			return nil
		}), []string{"UseOnce/twice is ErrSpent", "Race/UseOnce of one value has one winner", "Race/UseOnce of an expired value has one winner"}},
		{"UseOnce ignores expiry", using(func(s store.Store, ctx context.Context, space, id string, _, exp time.Time) error {
			return s.UseOnce(ctx, space, id, time.Time{}, exp)
		}), []string{"UseOnce/is free again at exp"}},
		{"UseOnce expires late", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			return s.UseOnce(ctx, space, id, now.Add(-time.Microsecond), exp)
		}), []string{"UseOnce/is free again at exp"}},
		{"UseOnce has one space", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			if space != "" {
				space = "one"
			}
			return s.UseOnce(ctx, space, id, now, exp)
		}), []string{"UseOnce/spaces are apart"}},
		{"UseOnce joins space and id", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			if space != "" && id != "" {
				space, id = "one", space+":"+id
			}
			return s.UseOnce(ctx, space, id, now, exp)
		}), []string{"UseOnce/spaces are apart"}},
		{"UseOnce ends ids at NUL", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			if before, _, ok := bytes.Cut([]byte(id), []byte{0}); ok {
				id = string(before) + "?"
			}
			return s.UseOnce(ctx, space, id, now, exp)
		}), []string{"UseOnce/ids are bytes"}},
		{"UseOnce moves exp", func(s store.Store) store.Store {
			var until notes[string, time.Time]
			return &override{Store: s, useOnce: func(_ context.Context, space, id string, now, exp time.Time) error {
				old, _ := until.get(space + id)
				until.set(space+id, exp)
				if old.After(now) {
					return store.ErrSpent
				}
				return nil
			}}
		}, []string{"UseOnce/ErrSpent does not move exp"}},
		{"UseOnce makes a record", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			s.Put(ctx, store.Record{Kind: "thing", ID: id + "'s use"}, now)
			return s.UseOnce(ctx, space, id, now, exp)
		}), []string{"UseOnce/is no record"}},
		{"UseOnce cuts what is too long", using(func(s store.Store, ctx context.Context, space, id string, now, exp time.Time) error {
			return s.UseOnce(ctx, space, id[:min(len(id), store.MaxIDLen)], now, exp)
		}), []string{"Limit/over it is refused by UseOnce"}},
		{"SwapKeys ignores the version", func(s store.Store) store.Store {
			return &override{Store: s, swapKeys: func(ctx context.Context, _ int64, data []byte) (int64, error) {
				keys, err := s.Keys(ctx)
				if err != nil {
					return 0, err
				}
				return s.SwapKeys(ctx, keys.Version, data)
			}}
		}, []string{"Keys/of another version are ErrConflict", "Race/SwapKeys from one version has one winner"}},
		{"SwapKeys returns the version before", func(s store.Store) store.Store {
			return &override{Store: s, swapKeys: func(ctx context.Context, version int64, data []byte) (int64, error) {
				_, err := s.SwapKeys(ctx, version, data)
				return version, err
			}}
		}, []string{"Keys/are swapped from version to version"}},
		{"SwapKeys keeps what it was given", func(s store.Store) store.Store {
			var kept notes[string, []byte]
			return &override{Store: s, swapKeys: func(ctx context.Context, version int64, data []byte) (int64, error) {
				kept.set("", data)
				return s.SwapKeys(ctx, version, data)
			}, keys: func(ctx context.Context) (store.KeySet, error) {
				keys, err := s.Keys(ctx)
				keys.Data, _ = kept.get("")
				return keys, err
			}}
		}, []string{"Owner/SwapKeys does not retain", "Owner/what Keys returns is the caller's"}},
		{"SwapKeys takes no data for none", func(s store.Store) store.Store {
			return &override{Store: s, keys: func(ctx context.Context) (store.KeySet, error) {
				keys, err := s.Keys(ctx)
				if len(keys.Data) == 0 {
					keys.Version = 0
				}
				return keys, err
			}}
		}, []string{"Keys/come back as written"}},
		{"Keys fails where there are none", func(s store.Store) store.Store {
			return &override{Store: s, keys: func(ctx context.Context) (store.KeySet, error) {
				keys, err := s.Keys(ctx)
				if err == nil && keys.Version == 0 {
					err = store.ErrNotFound
				}
				return keys, err
			}}
		}, []string{"Keys/begin with none"}},
		{"Expire has no limit", func(s store.Store) store.Store {
			return &override{Store: s, expire: func(ctx context.Context, now time.Time, _ int) (int, error) {
				return s.Expire(ctx, now, 1000)
			}}
		}, []string{"Expire/goes in batches", "Expire/removes refresh tokens with their grant", "Expire/limit below 1 is refused"}},
		{"Expire comes late", func(s store.Store) store.Store {
			return &override{Store: s, expire: func(ctx context.Context, now time.Time, limit int) (int, error) {
				return s.Expire(ctx, now.Add(-time.Microsecond), limit)
			}}
		}, []string{"Expire/removes each sort of row", "Expire/follows changed times"}},
		{"Expire comes early", func(s store.Store) store.Store {
			return &override{Store: s, expire: func(ctx context.Context, now time.Time, limit int) (int, error) {
				return s.Expire(ctx, now.Add(time.Microsecond), limit)
			}}
		}, []string{"Expire/removes each sort of row", "Expire/never removes a grant early"}},
		{"Expire removes all", func(s store.Store) store.Store {
			return &override{Store: s, expire: func(ctx context.Context, now time.Time, limit int) (int, error) {
				return s.Expire(ctx, now.Add(far), limit)
			}}
		}, []string{"Expire/leaves what lives"}},
		{"Expire counts what others remove", func(s store.Store) store.Store {
			var calls atomic.Int64
			return &override{Store: s, expire: func(ctx context.Context, now time.Time, limit int) (int, error) {
				n, err := s.Expire(ctx, now, limit)
				if n == 0 && calls.Add(1) == 3 {
					n = 1
				}
				return n, err
			}}
		}, []string{"Race/Expire counts each row once"}},
		{"Close leaves the store open", func(s store.Store) store.Store {
			return &override{Store: s, close: func() error { return nil }}
		}, []string{"End/calls after Close give an error"}},
		{"Close says ErrNotFound", func(s store.Store) store.Store {
			var closed atomic.Bool
			return &override{Store: s, close: func() error {
				closed.Store(true)
				return s.Close()
			}, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				r, err := s.Get(ctx, kind, id, now)
				if closed.Load() {
					err = store.ErrNotFound
				}
				return r, err
			}}
		}, []string{"End/calls after Close give an error"}},
		{"an ended context leaves a half", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				half := r
				half.Marks = nil
				if err := s.Redeem(context.WithoutCancel(ctx), half); err != nil {
					return err
				}
				return errors.New("ended")
			}}
		}, []string{"Race/an ending context leaves the whole or nothing"}},
		{"reads are torn", func(s store.Store) store.Store {
			var calls atomic.Int64
			return &override{Store: s, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				r, err := s.Get(ctx, kind, id, now)
				if calls.Add(1) == 20 {
					r.Data = nil
				}
				return r, err
			}}
		}, []string{"Race/readers see whole writes"}},
	}
}

// uselessFaults are two stores of which one always agrees and one never does.
func uselessFaults() []fault {
	return []fault{
		{"the store agrees with everything", func(store.Store) store.Store {
			return &override{
				redeem: func(context.Context, store.Redemption) error { return nil },
				refresh: func(context.Context, store.Hash, time.Time) (t store.Refresh, r store.Record, err error) {
					return t, r, nil
				},
				rotate:   func(context.Context, store.Rotation) ([32]byte, error) { return [32]byte{}, nil },
				revoke:   func(context.Context, store.Revocation) (int, error) { return 0, nil },
				useOnce:  func(context.Context, string, string, time.Time, time.Time) error { return nil },
				keys:     func(context.Context) (store.KeySet, error) { return store.KeySet{}, nil },
				swapKeys: func(context.Context, int64, []byte) (int64, error) { return 0, nil },
				get:      func(context.Context, store.Kind, string, time.Time) (store.Record, error) { return store.Record{}, nil },
				put:      func(context.Context, store.Record, time.Time) (int64, error) { return 0, nil },
				del:      func(context.Context, store.Kind, string, int64, time.Time) error { return nil },
				list:     func(context.Context, store.Query) (store.Page, error) { return store.Page{}, nil },
				count:    func(context.Context, store.Query) (int, error) { return 0, nil },
				expire:   func(context.Context, time.Time, int) (int, error) { return 0, nil },
				close:    func() error { return nil },
			}
		}, []string{"End/an ended context changes nothing"}},
		{"the store is closed", func(s store.Store) store.Store {
			s.Close()
			return s
		}, []string{"End/calls after Close give an error"}},
	}
}
