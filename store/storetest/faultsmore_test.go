// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

func rotateFaults() []fault {
	asking := func(change func(s store.Store, r store.Rotation) store.Rotation) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				return s.Rotate(ctx, change(s, r))
			}}
		}
	}
	saying := func(instead, of error) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				salt, err := s.Rotate(ctx, r)
				if errors.Is(err, of) {
					err = instead
				}
				return salt, err
			}}
		}
	}
	return []fault{
		{"Rotate returns the loser's salt", func(s store.Store) store.Store {
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				_, err := s.Rotate(ctx, r)
				return r.Salt, err
			}}
		}, []string{"Rotate/again within Grace is the winner's salt", "Rotate/again changes nothing", "Race/Rotate of one token has one successor"}},
		{"Rotate stores the loser's salt", func(s store.Store) store.Store {
			var stored notes[store.Hash, [32]byte]
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				salt, err := s.Rotate(ctx, r)
				if old, ok := stored.get(r.Old); ok && err == nil {
					salt = old
				}
				stored.set(r.Old, r.Salt)
				return salt, err
			}}
		}, []string{"Rotate/again within Grace is the winner's salt"}},
		{"Rotate lets a second caller win", func(s store.Store) store.Store {
			crowded := crowd[store.Hash]()
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				salt, err := s.Rotate(ctx, r)
				if crowded(r.Old) {
					salt = [32]byte{1}
				}
				return salt, err
			}}
		}, []string{"Race/Rotate of one token has one successor"}},
		{"Rotate has no Grace", asking(func(_ store.Store, r store.Rotation) store.Rotation {
			r.Grace = 0
			return r
		}), []string{"Rotate/again within Grace is the winner's salt", "Rotate/goes on from the successor", "Race/Rotate of one token has one successor"}},
		{"Rotate counts the end of Grace in", asking(func(_ store.Store, r store.Rotation) store.Rotation {
			r.Grace += time.Microsecond
			return r
		}), []string{"Reuse/at exactly Grace", "Reuse/with no Grace"}},
		{"Rotate has endless Grace", asking(func(_ store.Store, r store.Rotation) store.Rotation {
			r.Grace = far
			return r
		}), []string{"Reuse/at exactly Grace", "Reuse/after Grace", "Reuse/leaves other grants alone",
			"Race/Rotate of a spent token kills once"}},
		{"Rotate begins Grace anew", func(s store.Store) store.Store {
			var last notes[store.Hash, time.Time]
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				token, _, _ := s.Refresh(ctx, r.Old, r.Now)
				if at, ok := last.get(r.Old); ok && r.Now.Sub(at) < r.Grace {
					r.Grace = r.Now.Sub(token.SpentAt) + 1
				}
				last.set(r.Old, r.Now)
				return s.Rotate(ctx, r)
			}}
		}, []string{"Reuse/after Grace"}},
		{"Rotate refuses a clock behind", func(s store.Store) store.Store {
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				if token, _, _ := s.Refresh(ctx, r.Old, r.Now); r.Now.Before(token.SpentAt) {
					return [32]byte{}, store.ErrReuse
				}
				return s.Rotate(ctx, r)
			}}
		}, []string{"Rotate/again by a clock behind is a retry"}},
		{"Rotate does not look at the successor", func(s store.Store) store.Store {
			var salts notes[store.Hash, [32]byte]
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				token, grant, err := s.Refresh(ctx, r.Old, r.Now)
				if err == nil && grant.DeadReason == "" && !token.SpentAt.IsZero() && r.Now.Sub(token.SpentAt) < r.Grace {
					salt, _ := salts.get(r.Old)
					return salt, nil
				}
				salt, err := s.Rotate(ctx, r)
				salts.set(r.Old, salt)
				return salt, err
			}}
		}, []string{"Reuse/after the successor was used", "Reuse/after the successor expired"}},
		{"Rotate of a spent token only refuses", func(s store.Store) store.Store {
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				token, grant, err := s.Refresh(ctx, r.Old, r.Now)
				if err == nil && grant.DeadReason == "" && !token.SpentAt.IsZero() && r.Now.Sub(token.SpentAt) >= r.Grace {
					return [32]byte{}, store.ErrReuse
				}
				return s.Rotate(ctx, r)
			}}
		}, []string{"Reuse/at exactly Grace", "Reuse/after Grace", "Reuse/of an older token", "Reuse/ends all tokens of the grant", "Race/Rotate of a spent token kills once"}},
		{"Rotate of a spent token revokes the user", func(s store.Store) store.Store {
			return &override{Store: s, rotate: func(ctx context.Context, r store.Rotation) ([32]byte, error) {
				salt, err := s.Rotate(ctx, r)
				if errors.Is(err, store.ErrReuse) {
					s.Revoke(ctx, store.Revocation{Select: store.Selector{Index: map[string]string{"user": "u1"}}, Now: r.Now, KeepFor: time.Hour})
				}
				return salt, err
			}}
		}, []string{"Reuse/leaves other grants alone"}},
		{"Rotate says ErrDead for ErrReuse", saying(store.ErrDead, store.ErrReuse), []string{"Reuse/at exactly Grace"}},
		{"Rotate says ErrReuse for ErrDead", saying(store.ErrReuse, store.ErrDead), []string{"Rotate/of a dead grant is ErrDead", "Revoke/ends the tokens"}},
		{"Rotate says ErrReuse for ErrNotFound", saying(store.ErrReuse, store.ErrNotFound), []string{"Rotate/of an unknown token is ErrNotFound",
			"Rotate/of an expired token is ErrNotFound", "Rotate/of an expired grant is ErrNotFound"}},
		{"Rotate has no word for ErrConflict", saying(errors.New("unique constraint"), store.ErrConflict), []string{"Rotate/into a token in use is ErrConflict"}},
		{"Rotate ignores expiry", asking(func(_ store.Store, r store.Rotation) store.Rotation {
			r.Now = time.Time{}.Add(time.Hour)
			return r
		}), []string{"Rotate/of an expired token is ErrNotFound", "Rotate/of an expired grant is ErrNotFound"}},
		{"Rotate leaves the grant's expiry", asking(func(s store.Store, r store.Rotation) store.Rotation {
			_, grant, _ := s.Refresh(context.Background(), r.Old, r.Now)
			r.GrantExpiresAt = grant.ExpiresAt
			return r
		}), []string{"Rotate/spends and inserts", "Rotate/may end expiry of the grant", "Rotate/may bring the expiry of the grant forward", "Expire/follows changed times"}},
		{"Rotate takes a token without expiry", asking(func(_ store.Store, r store.Rotation) store.Rotation {
			if r.NextExpiresAt.IsZero() {
				r.NextExpiresAt = r.Now.Add(far)
			}
			return r
		}), []string{"Rotate/without NextExpiresAt is refused"}},
		{"Refresh hides spent tokens", func(s store.Store) store.Store {
			return &override{Store: s, refresh: func(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
				token, grant, err := s.Refresh(ctx, h, now)
				if !token.SpentAt.IsZero() {
					return store.Refresh{}, store.Record{}, store.ErrNotFound
				}
				return token, grant, err
			}}
		}, []string{"Refresh/finds spent and unspent tokens"}},
		{"Refresh hides dead grants", func(s store.Store) store.Store {
			return &override{Store: s, refresh: func(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
				token, grant, err := s.Refresh(ctx, h, now)
				if grant.DeadReason != "" {
					return store.Refresh{}, store.Record{}, store.ErrDead
				}
				return token, grant, err
			}}
		}, []string{"Refresh/finds dead grants"}},
		{"Refresh ignores expiry", func(s store.Store) store.Store {
			return &override{Store: s, refresh: func(ctx context.Context, h store.Hash, _ time.Time) (store.Refresh, store.Record, error) {
				return s.Refresh(ctx, h, time.Time{})
			}}
		}, []string{"Refresh/of an expired token is ErrNotFound", "Refresh/of an expired grant is ErrNotFound"}},
		{"Refresh finds the unknown", func(s store.Store) store.Store {
			return &override{Store: s, refresh: func(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
				token, grant, err := s.Refresh(ctx, h, now)
				if errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				return token, grant, err
			}}
		}, []string{"Refresh/of an unknown token is ErrNotFound", "Redeem/after Expire begins anew"}},
		{"Refresh returns the grant that it keeps", func(s store.Store) store.Store {
			var kept notes[store.Key, store.Record]
			return &override{Store: s, refresh: func(ctx context.Context, h store.Hash, now time.Time) (store.Refresh, store.Record, error) {
				token, grant, err := s.Refresh(ctx, h, now)
				kept.set(store.Key{Kind: grant.Kind, ID: grant.ID}, grant)
				return token, grant, err
			}, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				if old, ok := kept.get(store.Key{Kind: kind, ID: id}); ok {
					return old, nil
				}
				return s.Get(ctx, kind, id, now)
			}}
		}, []string{"Owner/what Refresh returns is the caller's"}},
	}
}

func revokeFaults() []fault {
	asking := func(change func(s store.Store, r store.Revocation) store.Revocation) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				return s.Revoke(ctx, change(s, r))
			}}
		}
	}
	grants := func(s store.Store, now time.Time) []store.Record {
		page, _ := s.List(context.Background(), store.Query{Kind: store.KindGrant, Now: now})
		return page.Records
	}
	return []fault{
		{"Revoke leaves no watermark", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				if len(r.Select.Index) == 0 {
					return s.Revoke(ctx, r)
				}
				n := 0
				for _, g := range grants(s, r.Now) {
					all := true
					for name, value := range r.Select.Index {
						v, ok := g.Index[name]
						all = all && ok && v == value
					}
					if all {
						one := r
						one.Select = store.Selector{ID: g.ID}
						killed, err := s.Revoke(ctx, one)
						if err != nil {
							return n, err
						}
						n += killed
					}
				}
				return n, nil
			}}
		}, []string{"Watermark/refuses codes issued until then", "Watermark/is left where no grant is", "Watermark/lets a refused Redeem leave no trace",
			"Watermark/does not spend the code", "Owner/Revoke does not retain"}},
		{"Revoke by ID leaves a watermark", asking(func(s store.Store, r store.Revocation) store.Revocation {
			if g, err := s.Get(context.Background(), store.KindGrant, r.Select.ID, r.Now); err == nil {
				r.Select = store.Selector{Index: g.Index}
			}
			return r
		}), []string{"Watermark/is not left by ID"}},
		{"Revoke by ID takes all of the user", asking(func(s store.Store, r store.Revocation) store.Revocation {
			if r.Select.ID != "" {
				r.Select = store.Selector{Index: map[string]string{"user": "u1"}}
			}
			return r
		}), []string{"Revoke/by ID kills one"}},
		{"Revoke takes grants that have any of the index", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				if len(r.Select.Index) == 0 || r.Select.ID != "" {
					return s.Revoke(ctx, r)
				}
				n := 0
				for name, value := range r.Select.Index {
					one := r
					one.Select.Index = map[string]string{name: value}
					killed, err := s.Revoke(ctx, one)
					if err != nil {
						return n, err
					}
					n += killed
				}
				return n, nil
			}}
		}, []string{"Revoke/by index kills those that have all", "Watermark/refuses codes issued until then", "Watermark/stands beside others",
			"Limit/over it is refused by Revoke"}},
		{"Revoke compares without case", func(s store.Store) store.Store {
			lower := func(index map[string]string) map[string]string {
				l := make(map[string]string)
				for name, value := range index {
					l[name] = strings.ToLower(value)
				}
				return l
			}
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				r.Grant.Index = lower(r.Grant.Index)
				return s.Redeem(ctx, r)
			}, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				r.Select.Index = lower(r.Select.Index)
				return s.Revoke(ctx, r)
			}}
		}, []string{"Revoke/by index compares whole values", "Watermark/compares whole values"}},
		{"Revoke overlooks the last grant", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				if len(r.Select.Index) == 0 {
					return s.Revoke(ctx, r)
				}
				found := grants(s, r.Now)
				for _, g := range found[:max(0, len(found)-1)] {
					one := r
					one.Select = store.Selector{ID: g.ID}
					s.Revoke(ctx, one)
				}
				return len(found), nil
			}}
		}, []string{"Race/Revoke and Redeem leave no living grant"}},
		{"Revoke takes no value for an empty one", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				index := map[string]string{"user": "", "client": ""}
				for name, value := range r.Grant.Index {
					index[name] = value
				}
				r.Grant.Index = index
				return s.Redeem(ctx, r)
			}}
		}, []string{"Revoke/by index kills those that have all"}},
		{"Revoke with the zero Selector takes all", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				if r.Select.ID == "" && len(r.Select.Index) == 0 {
					for _, g := range grants(s, r.Now) {
						one := r
						one.Select.ID = g.ID
						s.Revoke(ctx, one)
					}
				}
				return s.Revoke(ctx, r)
			}}
		}, []string{"Revoke/by the zero Selector picks nothing"}},
		{"Revoke with the zero Selector does nothing at all", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				if r.Select.ID == "" && len(r.Select.Index) == 0 {
					return 0, nil
				}
				return s.Revoke(ctx, r)
			}}
		}, []string{"Revoke/by the zero Selector picks nothing"}},
		{"Revoke counts the dead", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				n, err := s.Revoke(ctx, r)
				if n == 0 && r.Select.ID != "" {
					n = 1
				}
				return n, err
			}}
		}, []string{"Revoke/by ID kills one", "Revoke/leaves the dead as they are", "Revoke/leaves the expired as they are"}},
		{"Revoke counts for each of many callers", func(s store.Store) store.Store {
			crowded := crowd[string]()
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				n, err := s.Revoke(ctx, r)
				if crowded(r.Select.Index["user"]) {
					n++
				}
				return n, err
			}}
		}, []string{"Race/Revoke counts each grant once"}},
		{"Revoke touches records with the index", func(s store.Store) store.Store {
			return &override{Store: s, revoke: func(ctx context.Context, r store.Revocation) (int, error) {
				for name, value := range r.Select.Index {
					page, _ := s.List(ctx, store.Query{Kind: "thing", Index: name, Value: value, Now: r.Now})
					for _, found := range page.Records {
						found.DeadAt = r.Now
						s.Put(ctx, found, r.Now)
					}
				}
				return s.Revoke(ctx, r)
			}}
		}, []string{"Revoke/leaves other kinds alone"}},
		{"Revoke keeps ExpiresAt", asking(func(_ store.Store, r store.Revocation) store.Revocation {
			if r.KeepFor > 0 {
				r.KeepFor = far
			}
			return r
		}), []string{"Revoke/by ID kills one", "Revoke/brings ExpiresAt forward to KeepFor", "Watermark/ends after KeepFor",
			"Expire/removes refresh tokens with their grant", "Expire/goes in batches"}},
		{"Revoke takes any KeepFor", asking(func(_ store.Store, r store.Revocation) store.Revocation {
			r.KeepFor = max(r.KeepFor, 1)
			return r
		}), []string{"Revoke/refuses what is no revocation"}},
		{"Revoke deletes nothing", asking(func(_ store.Store, r store.Revocation) store.Revocation {
			r.Delete = nil
			return r
		}), []string{"Revoke/deletes records", "Revoke/refuses what is no revocation"}},
		{"Revoke deletes first versions only", asking(func(s store.Store, r store.Revocation) store.Revocation {
			var keys []store.Key
			for _, key := range r.Delete {
				if found, _ := s.Get(context.Background(), key.Kind, key.ID, r.Now); found.Version == 1 {
					keys = append(keys, key)
				}
			}
			r.Delete = keys
			return r
		}), []string{"Revoke/deletes records"}},
		{"Revoke leaves a watermark too short", asking(func(_ store.Store, r store.Revocation) store.Revocation {
			r.KeepFor -= time.Microsecond
			return r
		}), []string{"Watermark/ends after KeepFor"}},
		{"Revoke kills nobody", asking(func(_ store.Store, r store.Revocation) store.Revocation {
			if r.Select.ID != "" {
				r.Select.ID += " "
			}
			return r
		}), []string{"Race/Revoke and Rotate leave no usable token", "Refresh/finds dead grants"}},
	}
}
