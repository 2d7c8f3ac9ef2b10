// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// The audit log in the store. Each record holds the events of about a second,
// so that a busy provider writes as often as an idle one.

// kindAudit is the kind of its records. Their ID begins with the time, so that
// the oldest come first; by indexRecent the newest do.
const kindAudit store.Kind = "audit"

const (
	indexRecent = "recent"

	auditEvery = time.Second
	auditBatch = 100  // events in a record
	auditQueue = 1000 // events that wait; more are dropped
	// auditLifetime and maxAuditRecords bound it. The oldest go first.
	auditLifetime   = 90 * 24 * time.Hour
	maxAuditRecords = 100_000
	// maxAuditText bounds each text of an event, in bytes.
	maxAuditText = 1024
	// auditSearchMost is how many records one question looks at.
	auditSearchMost = 5000
)

// An auditLog collects events. Run's goroutine writes them.
type auditLog struct {
	queue   chan AuditEvent
	dropped atomic.Int64
	seen    atomic.Int64 // all that came

	// Of Run's goroutine.
	batch   []AuditEvent
	due     <-chan time.Time // nil: there is nothing to write
	failing bool
}

func newAuditLog() *auditLog { return &auditLog{queue: make(chan AuditEvent, auditQueue)} }

// add takes e without waiting: nobody's login waits for the audit log.
func (l *auditLog) add(e AuditEvent) {
	l.seen.Add(1)
	select {
	case l.queue <- e.clipped():
	default:
		l.dropped.Add(1)
	}
}

// clipped bounds what outsiders may write into e.
func (e AuditEvent) clipped() AuditEvent {
	for _, s := range []*string{&e.User, &e.Login, &e.Node, &e.Client, &e.Grant, &e.Reason, &e.Detail} {
		*s = clip(*s)
	}
	clipAll := func(list []string) []string {
		var all []string
		for _, s := range list[:min(len(list), maxResources)] {
			all = append(all, clip(s))
		}
		return all
	}
	e.Resources, e.Scopes = clipAll(e.Resources), clipAll(e.Scopes)
	return e
}

func clip(s string) string {
	if len(s) <= maxAuditText {
		return s
	}
	return strings.ToValidUTF8(s[:maxAuditText], "") + "…"
}

// incoming is where the next event comes from; nil while a full batch waits
// for the store.
func (l *auditLog) incoming() <-chan AuditEvent {
	if len(l.batch) >= auditBatch {
		return nil
	}
	return l.queue
}

// take adds e to the batch, and writes it if it is full.
func (l *auditLog) take(ctx context.Context, p *Provider, e AuditEvent) {
	l.batch = append(l.batch, e)
	switch {
	case len(l.batch) >= auditBatch && !l.failing:
		l.flush(ctx, p)
	case l.due == nil:
		l.due = time.After(auditEvery)
	}
}

// flush writes the batch. If it cannot, it is tried again.
func (l *auditLog) flush(ctx context.Context, p *Provider) {
	l.due = nil
	if n := l.dropped.Swap(0); n > 0 {
		p.metrics.auditDropped.Add(uint64(n))
		p.log.Error("audit events dropped", "events", n)
	}
	if len(l.batch) == 0 {
		return
	}
	if err := p.writeAudit(ctx, l.batch); err != nil {
		if !l.failing {
			p.log.Error("writing audit log", "error", err.Error())
		}
		l.failing, l.due = true, time.After(auditEvery)
		return
	}
	l.failing, l.batch = false, nil
}

// finish writes what is left when Run ends.
func (l *auditLog) finish(ctx context.Context, p *Provider) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for len(l.batch) > 0 || len(l.queue) > 0 {
		for len(l.batch) < auditBatch && len(l.queue) > 0 {
			l.batch = append(l.batch, <-l.queue)
		}
		if l.flush(ctx, p); l.failing {
			p.log.Error("audit events lost at the end", "events", len(l.batch)+len(l.queue))
			return
		}
	}
}

func (p *Provider) writeAudit(ctx context.Context, batch []AuditEvent) error {
	data, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	now := p.now()
	at := now.UnixMicro()
	_, err = p.store.Put(ctx, store.Record{
		Kind: kindAudit, ID: fmt.Sprintf("%016x-%s", at, rand.Text()[:12]), Data: data,
		Index:     map[string]string{indexRecent: fmt.Sprintf("%016x", math.MaxInt64-at)},
		CreatedAt: now, ExpiresAt: now.Add(auditLifetime),
	}, now)
	return err
}

// trimAudit removes the oldest records of too many.
func (p *Provider) trimAudit(ctx context.Context, most int) error {
	q := store.Query{Kind: kindAudit, Now: p.now()}
	n, err := p.store.Count(ctx, q)
	if err != nil || n <= most {
		return err
	}
	q.Limit = min(n-most, store.MaxPage)
	page, err := p.store.List(ctx, q)
	if err != nil {
		return err
	}
	for _, rec := range page.Records {
		err := p.store.Delete(ctx, kindAudit, rec.ID, rec.Version, p.now())
		if err != nil && !errors.Is(err, store.ErrNotFound) { // another instance was first
			return err
		}
	}
	return nil
}

// Audit returns one page of the events that q selects, the newest first. Its
// Next names the store's page, and the record and event it ended at.
func (b *backend) Audit(ctx context.Context, q admin.AuditQuery) (admin.AuditPage, error) {
	at, err := parseAuditPlace(q.After)
	if err != nil {
		return admin.AuditPage{}, err
	}
	res := admin.AuditPage{Events: []json.RawMessage{}}
	for seen := 0; ; {
		page, err := b.p.store.List(ctx, store.Query{
			Kind: kindAudit, Index: indexRecent, Prefix: true, After: at.page, Limit: searchPage, Now: b.p.now(),
		})
		if errors.Is(err, store.ErrPage) {
			return admin.AuditPage{}, errClientsAfter()
		}
		if err != nil {
			return admin.AuditPage{}, storeError(err)
		}
		for _, rec := range page.Records {
			var events []json.RawMessage
			if err := json.Unmarshal(rec.Data, &events); err != nil {
				return admin.AuditPage{}, fmt.Errorf("reading audit log: %w", err)
			}
			for i := len(events) - 1; i >= 0; i-- {
				if at.before(rec.ID, i) {
					continue
				}
				var e AuditEvent
				if err := json.Unmarshal(events[i], &e); err != nil {
					return admin.AuditPage{}, fmt.Errorf("reading audit log: %w", err)
				}
				if !e.matches(q) {
					continue
				}
				if res.Events = append(res.Events, events[i]); len(res.Events) == q.Limit {
					res.Next = auditPlace{at.page, rec.ID, i}.String()
					return res, nil
				}
			}
			if !q.Since.IsZero() && rec.CreatedAt.Before(q.Since) { // all that follow are older
				return res, nil
			}
		}
		at.page, seen = page.Next, seen+len(page.Records)
		if at.page == "" {
			return res, nil
		}
		if seen >= auditSearchMost {
			res.Next = auditPlace{at.page, "", 0}.String()
			return res, nil
		}
	}
}

func (e *AuditEvent) matches(q admin.AuditQuery) bool {
	is := func(want string, has ...string) bool {
		for _, s := range has {
			if s == want {
				return true
			}
		}
		return want == ""
	}
	user := is(q.User, e.User) || strings.EqualFold(q.User, e.Login)
	return user && is(q.Client, e.Client) && is(q.Node, e.Node) && is(q.Event, e.Event) && is(q.Result, e.Result) &&
		(q.Since.IsZero() || !e.Time.Before(q.Since)) && (q.Until.IsZero() || e.Time.Before(q.Until))
}

// An auditPlace is how far a reader has come.
type auditPlace struct {
	page   string // the store's
	record string // the last one; empty: none of this page
	event  int    // the last one in it
}

// before reports whether the event has been passed. Records that came in
// meanwhile have a greater ID.
func (at auditPlace) before(record string, event int) bool {
	if at.record == "" {
		return false
	}
	return cmp.Or(cmp.Compare(record, at.record), cmp.Compare(event, at.event)) >= 0
}

func (at auditPlace) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(at.page)) + "." + at.record + "." + strconv.Itoa(at.event)
}

func parseAuditPlace(s string) (at auditPlace, err error) {
	if s == "" {
		return at, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return at, errClientsAfter()
	}
	page, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return at, errClientsAfter()
	}
	at.page, at.record = string(page), parts[1]
	if at.event, err = strconv.Atoi(parts[2]); err != nil {
		return at, errClientsAfter()
	}
	return at, nil
}
