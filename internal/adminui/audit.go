// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

const (
	auditLimit = 50
	// exportPages bounds an export: more than the log ever holds in pages that
	// are full, and an end for the others.
	exportPages = 20_000
	exportLimit = 1000
	// exportPageTime bounds how long one page of an export may take, read and
	// sent; the export as a whole takes longer than other answers may.
	exportPageTime = time.Minute
)

// auditEvents are the kinds of events to choose from.
var auditEvents = []string{
	"login", "consent", "device", "code", "refresh", "exchange", "machine", "userinfo", "introspection", "logout", "revocation",
	"registration", "client", "key", "administration", "request",
}

// An auditFilter is what the form of the page says.
type auditFilter struct{ User, Client, Node, Event, Result, Since, Until string }

// auditPage is the data of audit.html.
type auditPage struct {
	page
	Filter  auditFilter
	Kinds   []string
	Events  []event
	Next    string // address of the next page
	First   string // address of the first page; empty on it
	Export  string
	Partial bool // the search has not reached the end, and found less than a page
}

// Audit answers GET /admin/audit.
func (u *UI) Audit(w http.ResponseWriter, r *http.Request) error {
	p := auditPage{Kinds: auditEvents}
	var err error
	if p.page, err = u.newPage(r, "/admin/audit", "Audit log"); err != nil {
		return err
	}
	var q admin.AuditQuery
	status := http.StatusOK
	p.Filter, q, err = u.auditQuery(r)
	q.Limit = auditLimit
	var res admin.AuditPage
	if err == nil {
		res, err = u.cfg.Backend.Audit(r.Context(), q)
	}
	if err != nil {
		_, _, message, ok := problem(err)
		if !ok {
			return err
		}
		p.Problem, status = message, http.StatusBadRequest
	}
	for _, raw := range res.Events {
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("reading audit log: %w", err)
		}
		p.Events = append(p.Events, e)
	}
	f := p.Filter
	query := []string{"user", f.User, "client", f.Client, "node", f.Node, "event", f.Event, "result", f.Result, "since", f.Since, "until", f.Until}
	p.Export = u.path("/admin/audit.jsonl", query...)
	if q.After != "" {
		p.First = u.path("/admin/audit", query...)
	}
	if res.Next != "" {
		p.Next = u.path("/admin/audit", append(query, "after", res.Next)...)
		p.Partial = len(p.Events) < auditLimit
	}
	return u.render(w, status, "audit.html", p)
}

// auditQuery reads the form. Times are UTC, as the page shows them.
func (u *UI) auditQuery(r *http.Request) (auditFilter, admin.AuditQuery, error) {
	v := r.URL.Query()
	f := auditFilter{v.Get("user"), v.Get("client"), v.Get("node"), v.Get("event"), v.Get("result"), v.Get("since"), v.Get("until")}
	q := admin.AuditQuery{User: f.User, Client: f.Client, Node: f.Node, Event: f.Event, Result: f.Result, After: v.Get("after")}
	for _, t := range []struct {
		name, value string
		dst         *time.Time
	}{{"From", f.Since, &q.Since}, {"Until", f.Until, &q.Until}} {
		if t.value == "" {
			continue
		}
		var err error
		for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02"} {
			if *t.dst, err = time.Parse(layout, t.value); err == nil {
				break
			}
		}
		if err != nil {
			return f, q, u.cfg.Backend.Reject("", "%s: want a time such as 2026-01-02T15:04", t.name)
		}
	}
	return f, q, nil
}

// ExportAudit answers GET /admin/audit.jsonl: all events that the filter
// selects, the newest first, one in a line.
func (u *UI) ExportAudit(w http.ResponseWriter, r *http.Request) error {
	_, q, err := u.auditQuery(r)
	if err != nil {
		return err
	}
	q.Limit = exportLimit
	res, err := u.cfg.Backend.Audit(r.Context(), q)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/jsonl; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="tsidp-audit.jsonl"`)
	deadline := http.NewResponseController(w)
	for range exportPages {
		// An error means that there is no deadline to extend.
		_ = deadline.SetWriteDeadline(time.Now().Add(exportPageTime))
		for _, raw := range res.Events {
			if _, err := w.Write(append(raw, '\n')); err != nil {
				return nil // nobody is there any more
			}
		}
		if q.After = res.Next; q.After == "" {
			return nil
		}
		if res, err = u.cfg.Backend.Audit(r.Context(), q); err != nil {
			break
		}
	}
	// What is there must not pass for all there is: the connection breaks.
	panic(http.ErrAbortHandler)
}
