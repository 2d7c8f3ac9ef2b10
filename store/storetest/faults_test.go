// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package storetest_test

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

// A fault is a way to be wrong, and the checks that must see it.
type fault struct {
	name   string
	wrap   func(store.Store) store.Store
	caught []string
}

// far is longer than anything lives.
const far = 100 * 365 * 24 * time.Hour

func faults() []fault {
	return slices.Concat(recordFaults(), listFaults(), redeemFaults(), rotateFaults(), revokeFaults(), otherFaults(), uselessFaults())
}

func recordFaults() []fault {
	getting := func(change func(store.Record) store.Record) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				r, err := s.Get(ctx, kind, id, now)
				if err != nil {
					return r, err
				}
				return change(r), nil
			}}
		}
	}
	putting := func(put func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error)) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, put: func(ctx context.Context, r store.Record, now time.Time) (int64, error) {
				return put(s, ctx, r, now)
			}}
		}
	}
	return []fault{
		{"Get ignores expiry", func(s store.Store) store.Store {
			return &override{Store: s, get: func(ctx context.Context, kind store.Kind, id string, _ time.Time) (store.Record, error) {
				return s.Get(ctx, kind, id, time.Time{})
			}}
		}, []string{"Record/expires at ExpiresAt"}},
		{"Get expires late", func(s store.Store) store.Store {
			return &override{Store: s, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				return s.Get(ctx, kind, id, now.Add(-time.Microsecond))
			}}
		}, []string{"Record/expires at ExpiresAt", "Revoke/brings ExpiresAt forward to KeepFor"}},
		{"Get cuts to milliseconds", getting(func(r store.Record) store.Record {
			r.CreatedAt = r.CreatedAt.Truncate(time.Millisecond)
			return r
		}), []string{"Record/comes back as written", "Record/times are cut to microseconds"}},
		{"Get rounds up", getting(func(r store.Record) store.Record {
			r.ExpiresAt = r.ExpiresAt.Add(time.Microsecond - 1).Truncate(time.Microsecond)
			return r
		}), []string{"Record/times are cut to microseconds"}},
		{"Get returns local times", getting(func(r store.Record) store.Record {
			r.CreatedAt = r.CreatedAt.In(time.FixedZone("here", 60*60))
			return r
		}), []string{"Record/times come back in UTC"}},
		{"Get takes the epoch for zero", getting(func(r store.Record) store.Record {
			if r.CreatedAt.Equal(time.Unix(0, 0)) {
				r.CreatedAt = time.Time{}
			}
			return r
		}), []string{"Record/comes back as written"}},
		{"Get makes strings UTF-8", getting(func(r store.Record) store.Record {
			r.ID = strings.ToValidUTF8(r.ID, "?")
			return r
		}), []string{"Record/strings are bytes"}},
		{"Get folds case", func(s store.Store) store.Store {
			return &override{Store: s, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				return s.Get(ctx, kind, strings.ToLower(id), now)
			}}
		}, []string{"Record/unknown is ErrNotFound", "Record/strings are bytes"}},
		{"Get mixes kinds", func(s store.Store) store.Store {
			return &override{Store: s, get: func(ctx context.Context, _ store.Kind, id string, now time.Time) (store.Record, error) {
				return s.Get(ctx, "thing", id, now)
			}}
		}, []string{"Record/kinds are apart", "Record/unknown is ErrNotFound"}},
		{"Get returns what it keeps", func(s store.Store) store.Store {
			var kept notes[store.Key, store.Record]
			return &override{Store: s, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				r, err := s.Get(ctx, kind, id, now)
				key := store.Key{Kind: kind, ID: id}
				if old, ok := kept.get(key); ok && old.Version == r.Version {
					return old, err
				}
				kept.set(key, r)
				return r, err
			}}
		}, []string{"Owner/what Get and List return is the caller's"}},
		{"Put keeps what it was given", func(s store.Store) store.Store {
			var kept notes[string, store.Record]
			return &override{Store: s, put: func(ctx context.Context, r store.Record, now time.Time) (int64, error) {
				kept.set(r.ID, r)
				return s.Put(ctx, r, now)
			}, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				r, err := s.Get(ctx, kind, id, now)
				old, _ := kept.get(id)
				r.Data, r.Index = old.Data, old.Index
				return r, err
			}}
		}, []string{"Owner/Put does not retain"}},
		{"Put ignores the version", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			version, err := s.Put(ctx, r, now)
			if errors.Is(err, store.ErrConflict) {
				old, _ := s.Get(ctx, r.Kind, r.ID, now)
				r.Version = old.Version
				return s.Put(ctx, r, now)
			}
			return version, err
		}), []string{"Version/Put of another is ErrConflict", "Race/Put of one version has one winner"}},
		{"Put counts an expired record", putting(func(s store.Store, ctx context.Context, r store.Record, _ time.Time) (int64, error) {
			return s.Put(ctx, r, time.Time{})
		}), []string{"Version/begins anew after expiry"}},
		{"Put merges indexes", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			old, _ := s.Get(ctx, r.Kind, r.ID, now)
			index := maps.Clone(r.Index)
			if index == nil {
				index = make(map[string]string)
			}
			for name, value := range old.Index {
				if _, ok := index[name]; !ok {
					index[name] = value
				}
			}
			r.Index = index
			return s.Put(ctx, r, now)
		}), []string{"Record/Put writes all", "Record/Put moves in indexes"}},
		{"Put keeps CreatedAt", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			if old, err := s.Get(ctx, r.Kind, r.ID, now); err == nil {
				r.CreatedAt = old.CreatedAt
			}
			return s.Put(ctx, r, now)
		}), []string{"Record/Put writes all"}},
		{"Put cuts what is too long", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			r.ID, r.Data = r.ID[:min(len(r.ID), store.MaxIDLen)], r.Data[:min(len(r.Data), store.MaxDataLen)]
			return s.Put(ctx, r, now)
		}), []string{"Limit/over it is refused by Put"}},
		{"Put answers too much with a sentinel", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			version, err := s.Put(ctx, r, now)
			if err != nil {
				err = store.ErrConflict
			}
			return version, err
		}), []string{"Limit/over it is refused by Put", "Record/Put and Delete refuse grants"}},
		{"Put allows less data", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			if len(r.Data) >= store.MaxDataLen {
				return 0, errors.New("too long")
			}
			return s.Put(ctx, r, now)
		}), []string{"Limit/at it is stored"}},
		{"Put gives each record an end", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			if r.ExpiresAt.IsZero() {
				r.ExpiresAt = now.Add(far)
			}
			return s.Put(ctx, r, now)
		}), []string{"Record/zero ExpiresAt is never", "Record/comes back as written"}},
		{"Put returns the version before", putting(func(s store.Store, ctx context.Context, r store.Record, now time.Time) (int64, error) {
			_, err := s.Put(ctx, r, now)
			return r.Version, err
		}), []string{"Version/counts the writes"}},
		{"Delete ignores the version", func(s store.Store) store.Store {
			return &override{Store: s, del: func(ctx context.Context, kind store.Kind, id string, _ int64, now time.Time) error {
				r, _ := s.Get(ctx, kind, id, now)
				return s.Delete(ctx, kind, id, r.Version, now)
			}}
		}, []string{"Version/Delete of another is ErrConflict"}},
		{"Delete lets a second caller win", func(s store.Store) store.Store {
			crowded := crowd[string]()
			return &override{Store: s, del: func(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
				err := s.Delete(ctx, kind, id, version, now)
				if crowded(id) {
					return nil
				}
				return err
			}}
		}, []string{"Race/Put and Delete of one version have one winner"}},
		{"Delete deletes the expired", func(s store.Store) store.Store {
			return &override{Store: s, del: func(ctx context.Context, kind store.Kind, id string, version int64, _ time.Time) error {
				return s.Delete(ctx, kind, id, version, time.Time{})
			}}
		}, []string{"Record/expires at ExpiresAt"}},
		{"Delete leaves a version behind", func(s store.Store) store.Store {
			var deleted notes[string, bool]
			return &override{Store: s, del: func(ctx context.Context, kind store.Kind, id string, version int64, now time.Time) error {
				deleted.set(id, true)
				return s.Delete(ctx, kind, id, version, now)
			}, put: func(ctx context.Context, r store.Record, now time.Time) (int64, error) {
				version, err := s.Put(ctx, r, now)
				if ok, _ := deleted.get(r.ID); ok {
					version += 2
				}
				return version, err
			}}
		}, []string{"Version/begins anew after Delete"}},
	}
}

// listing returns a fault of List with a notion of prefixes of its own.
func listing(match func(value, prefix string) bool) func(store.Store) store.Store {
	return func(s store.Store) store.Store {
		list := func(ctx context.Context, q store.Query) (store.Page, error) {
			if !q.Prefix {
				return s.List(ctx, q)
			}
			var page store.Page
			all := q
			all.Value, all.Limit = "", 0
			found, err := s.List(ctx, all)
			for _, r := range found.Records {
				value := r.ID
				if q.Index != "" {
					value = r.Index[q.Index]
				}
				if match(value, q.Value) {
					page.Records = append(page.Records, r)
				}
			}
			return page, err
		}
		return &override{Store: s, list: list}
	}
}

func listFaults() []fault {
	paging := func(change func(q store.Query, page store.Page) store.Page) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, list: func(ctx context.Context, q store.Query) (store.Page, error) {
				page, err := s.List(ctx, q)
				return change(q, page), err
			}}
		}
	}
	asking := func(change func(store.Query) store.Query) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, list: func(ctx context.Context, q store.Query) (store.Page, error) {
				return s.List(ctx, change(q))
			}}
		}
	}
	return []fault{
		{"List goes backwards", paging(func(_ store.Query, page store.Page) store.Page {
			slices.Reverse(page.Records)
			return page
		}), []string{"List/orders by ID", "List/orders by index value, then ID"}},
		{"List orders without case", paging(func(_ store.Query, page store.Page) store.Page {
			slices.SortStableFunc(page.Records, func(a, b store.Record) int {
				return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID))
			})
			return page
		}), []string{"List/orders by ID"}},
		{"List orders by ID only", paging(func(_ store.Query, page store.Page) store.Page {
			slices.SortFunc(page.Records, func(a, b store.Record) int { return strings.Compare(a.ID, b.ID) })
			return page
		}), []string{"List/orders by index value, then ID"}},
		{"List takes prefixes for patterns", listing(func(value, prefix string) bool {
			pattern := strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(prefix))
			ok, err := regexp.MatchString("(?s)^"+pattern, value)
			return ok && err == nil
		}), []string{"List/selects by prefix"}},
		{"List compares prefixes without case", listing(func(value, prefix string) bool {
			return strings.HasPrefix(strings.ToLower(value), strings.ToLower(prefix))
		}), []string{"List/selects by prefix"}},
		{"List compares prefixes as UTF-8", listing(func(value, prefix string) bool {
			return strings.HasPrefix(strings.ToValidUTF8(value, "\ufffd"), strings.ToValidUTF8(prefix, "\ufffd"))
		}), []string{"List/selects by prefix"}},
		{"List ends a prefix at its last byte plus one", listing(func(value, prefix string) bool {
			if prefix == "" {
				return true
			}
			end := []byte(prefix)
			end[len(end)-1]++
			return prefix <= value && value < string(end)
		}), []string{"List/selects by prefix"}},
		{"List ends a prefix at a character", listing(func(value, prefix string) bool {
			return prefix <= value && value < prefix+"\uffff"
		}), []string{"List/selects by prefix"}},
		{"List takes values for prefixes", asking(func(q store.Query) store.Query {
			q.Prefix = true
			return q
		}), []string{"List/selects an exact value", "List/Value without Index or Prefix is refused"}},
		{"List ignores kinds", asking(func(q store.Query) store.Query {
			q.Kind = "thing"
			return q
		}), []string{"List/of nothing is empty"}},
		{"List ignores expiry", asking(func(q store.Query) store.Query {
			q.Now = time.Time{}
			return q
		}), []string{"Record/expires at ExpiresAt", "Page/is full in spite of expired records"}},
		{"List limits before it looks at expiry", func(s store.Store) store.Store {
			return &override{Store: s, list: func(ctx context.Context, q store.Query) (store.Page, error) {
				now := q.Now
				q.Now = time.Time{}
				page, err := s.List(ctx, q)
				page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool {
					return !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(now)
				})
				return page, err
			}}
		}, []string{"Page/is full in spite of expired records"}},
		{"List hides the dead", paging(func(_ store.Query, page store.Page) store.Page {
			page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool { return r.DeadReason != "" })
			return page
		}), []string{"List/has dead grants"}},
		{"List has a Next after the last page", func(s store.Store) store.Store {
			return &override{Store: s, list: func(ctx context.Context, q store.Query) (store.Page, error) {
				if q.After == "end" {
					return store.Page{}, nil
				}
				page, err := s.List(ctx, q)
				if err == nil && page.Next == "" && len(page.Records) > 0 {
					page.Next = "end"
				}
				return page, err
			}}
		}, []string{"Page/holds Limit records"}},
		{"List has one page", paging(func(_ store.Query, page store.Page) store.Page {
			page.Next = ""
			return page
		}), []string{"Page/holds Limit records", "Page/breaks ties", "Page/Limit 0 is MaxPage", "Page/survives changes between", "Page/After must be a Next"}},
		{"List ignores After", asking(func(q store.Query) store.Query {
			q.After = ""
			return q
		}), []string{"Page/breaks ties", "Page/After must be a Next"}},
		{"List skips ties", func(s store.Store) store.Store {
			var last notes[string, string] // value by Next
			return &override{Store: s, list: func(ctx context.Context, q store.Query) (store.Page, error) {
				page, err := s.List(ctx, q)
				if value, ok := last.get(q.After); ok && q.Index != "" {
					page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool { return r.Index[q.Index] == value })
				}
				if n := len(page.Records); n > 0 && q.Index != "" {
					last.set(page.Next, page.Records[n-1].Index[q.Index])
				}
				return page, err
			}}
		}, []string{"Page/breaks ties", "List/orders by index value, then ID"}},
		{"List counts from the start", func(s store.Store) store.Store {
			return &override{Store: s, list: func(ctx context.Context, q store.Query) (store.Page, error) {
				skip := len(strings.TrimPrefix(q.After, "skip"))
				limit := q.Limit
				q.After, q.Limit = "", 0
				page, err := s.List(ctx, q)
				page.Records = page.Records[min(skip, len(page.Records)):]
				if limit > 0 && len(page.Records) > limit {
					page.Records = page.Records[:limit]
					page.Next = "skip" + strings.Repeat("x", skip+limit)
				}
				return page, err
			}}
		}, []string{"Page/survives changes between", "Page/After must be a Next"}},
		{"List cuts limits to the allowed", asking(func(q store.Query) store.Query {
			q.Limit = min(max(q.Limit, 0), store.MaxPage)
			return q
		}), []string{"Page/other limits are refused"}},
		{"List has a smaller MaxPage", asking(func(q store.Query) store.Query {
			if q.Limit == 0 {
				q.Limit = 100
			}
			return q
		}), []string{"Page/Limit 0 is MaxPage"}},
		{"Count counts a page", func(s store.Store) store.Store {
			return &override{Store: s, count: func(ctx context.Context, q store.Query) (int, error) {
				page, err := s.List(ctx, q)
				return len(page.Records), err
			}}
		}, []string{"List/Count ignores Limit and After"}},
		{"Count ignores expiry", func(s store.Store) store.Store {
			return &override{Store: s, count: func(ctx context.Context, q store.Query) (int, error) {
				q.Now = time.Time{}
				return s.Count(ctx, q)
			}}
		}, []string{"Record/expires at ExpiresAt", "Page/is full in spite of expired records"}},
	}
}

func redeemFaults() []fault {
	asking := func(change func(store.Redemption) store.Redemption) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				return s.Redeem(ctx, change(r))
			}}
		}
	}
	answering := func(change func(s store.Store, r store.Redemption, err error) error) func(store.Store) store.Store {
		return func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				return change(s, r, s.Redeem(ctx, r))
			}}
		}
	}
	return []fault{
		{"Redeem never says ErrSpent", answering(func(_ store.Store, _ store.Redemption, err error) error {
			if errors.Is(err, store.ErrSpent) {
				return nil
			}
			return err
		}), []string{"Redeem/twice is ErrSpent", "Redeem/after death is ErrSpent", "Redeem/after reuse is ErrSpent",
			"Redeem/after expiry is ErrSpent", "Race/Redeem of one grant has one winner", "Expire/never removes a grant early"}},
		{"Redeem says ErrDead of dead grants", answering(func(s store.Store, r store.Redemption, err error) error {
			if g, _ := s.Get(context.Background(), store.KindGrant, r.Grant.ID, r.Now); g.DeadReason != "" {
				return store.ErrDead
			}
			return err
		}), []string{"Redeem/after death is ErrSpent", "Redeem/after reuse is ErrSpent"}},
		{"Redeem begins anew after expiry", answering(func(s store.Store, r store.Redemption, err error) error {
			if _, getErr := s.Get(context.Background(), store.KindGrant, r.Grant.ID, r.Now); errors.Is(err, store.ErrSpent) && getErr != nil {
				return nil
			}
			return err
		}), []string{"Redeem/after expiry is ErrSpent"}},
		{"Redeem lets a second caller win", func(s store.Store) store.Store {
			crowded := crowd[string]()
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				err := s.Redeem(ctx, r)
				if crowded(r.Grant.ID) {
					return nil
				}
				return err
			}}
		}, []string{"Race/Redeem of one grant has one winner"}},
		{"Redeem looks at watermarks first", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				probe := r
				probe.Grant.ID += " probe"
				probe.Refresh, probe.Marks = nil, nil
				if err := s.Redeem(ctx, probe); errors.Is(err, store.ErrDead) {
					return err
				}
				return s.Redeem(ctx, r)
			}}
		}, []string{"Redeem/ErrSpent goes before ErrDead"}},
		{"Redeem overwrites marks", answering(func(s store.Store, r store.Redemption, err error) error {
			if err == nil {
				for _, mark := range r.Marks {
					old, _ := s.Get(context.Background(), mark.Kind, mark.ID, r.Now)
					mark.Version = old.Version
					s.Put(context.Background(), mark, r.Now)
				}
			}
			return err
		}), []string{"Redeem/leaves marks that exist", "Redeem/inserts the first of two marks", "Race/Redeem with one mark inserts it once"}},
		{"Redeem keeps what it was given", func(s store.Store) store.Store {
			var kept notes[string, []byte]
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				kept.set(r.Grant.ID, r.Grant.Data)
				return s.Redeem(ctx, r)
			}, get: func(ctx context.Context, kind store.Kind, id string, now time.Time) (store.Record, error) {
				r, err := s.Get(ctx, kind, id, now)
				if data, ok := kept.get(id); ok {
					r.Data = data
				}
				return r, err
			}}
		}, []string{"Owner/Redeem does not retain"}},
		{"Redeem forgets marks", asking(func(r store.Redemption) store.Redemption {
			r.Marks = nil
			return r
		}), []string{"Redeem/inserts all", "Limit/over it is refused by Redeem", "Redeem/inserts marks that have expired"}},
		{"Redeem inserts marks first", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				for _, mark := range r.Marks {
					mark.Version = 0
					s.Put(ctx, mark, r.Now)
				}
				return s.Redeem(ctx, r)
			}}
		}, []string{"Redeem/twice is ErrSpent", "Watermark/lets a refused Redeem leave no trace", "Redeem/of a token in use is ErrConflict",
			"Limit/over it is refused by Redeem", "Race/Redeem of one grant has one winner"}},
		{"Redeem demands a refresh token", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				if r.Refresh == nil {
					return errors.New("no refresh token")
				}
				return s.Redeem(ctx, r)
			}}
		}, []string{"Redeem/needs no refresh token"}},
		{"Redeem forgets the refresh token", asking(func(r store.Redemption) store.Redemption {
			r.Refresh = nil
			return r
		}), []string{"Redeem/inserts all", "Refresh/finds spent and unspent tokens"}},
		{"Redeem takes any token", asking(func(r store.Redemption) store.Redemption {
			if r.Refresh != nil {
				token := *r.Refresh
				token.Grant = r.Grant.ID
				r.Refresh = &token
			}
			return r
		}), []string{"Redeem/refuses what is no redemption"}},
		{"Redeem refuses a dead grant", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				if r.Grant.DeadReason != "" {
					return errors.New("dead")
				}
				return s.Redeem(ctx, r)
			}}
		}, []string{"Redeem/inserts alive and unspent"}},
		{"Redeem ignores watermarks", asking(func(r store.Redemption) store.Redemption {
			r.IssuedAt = r.Now.Add(far)
			return r
		}), []string{"Watermark/refuses codes issued until then", "Watermark/is left where no grant is", "Watermark/stands beside others",
			"Watermark/compares whole values", "Watermark/does not replace another"}},
		{"Redeem takes the watermark's own instant", asking(func(r store.Redemption) store.Redemption {
			r.IssuedAt = r.IssuedAt.Add(time.Microsecond)
			return r
		}), []string{"Watermark/refuses codes issued until then"}},
		{"Redeem compares its own time with watermarks", asking(func(r store.Redemption) store.Redemption {
			r.IssuedAt = r.Now
			return r
		}), []string{"Watermark/refuses codes issued until then"}},
		{"Redeem spends the refused code", func(s store.Store) store.Store {
			var refused notes[string, bool]
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				if ok, _ := refused.get(r.Grant.ID); ok {
					return store.ErrSpent
				}
				err := s.Redeem(ctx, r)
				refused.set(r.Grant.ID, errors.Is(err, store.ErrDead))
				return err
			}}
		}, []string{"Watermark/does not spend the code"}},
		{"Redeem takes a token in use for another error", answering(func(_ store.Store, _ store.Redemption, err error) error {
			if errors.Is(err, store.ErrConflict) {
				return errors.New("unique constraint")
			}
			return err
		}), []string{"Redeem/of a token in use is ErrConflict"}},
		{"Redeem ignores an ended context", func(s store.Store) store.Store {
			return &override{Store: s, redeem: func(ctx context.Context, r store.Redemption) error {
				return s.Redeem(context.WithoutCancel(ctx), r)
			}}
		}, []string{"End/an ended context changes nothing"}},
	}
}
