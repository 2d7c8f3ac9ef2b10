// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

// An AuditQuery selects events of the audit log. Empty fields select all.
type AuditQuery struct {
	User                string // subject or login
	Client, Node, Event string
	Result              string    // allowed or refused
	Since, Until        time.Time // from the one, before the other
	After               string    // the Next of the page before
	Limit               int
}

// An AuditPage is one page of the audit log, the newest event first. It may
// have fewer events than asked for, or none, and a Next all the same.
type AuditPage struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next,omitempty"`
}

// ListAudit answers GET /api/v1/audit.
func (a *API) ListAudit(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	q := AuditQuery{User: v.Get("user"), Client: v.Get("client"), Node: v.Get("node"), Event: v.Get("event"), Result: v.Get("result"), After: v.Get("after")}
	var err error
	if q.Limit, err = a.limit(r); err != nil {
		return err
	}
	for name, dst := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := v.Get(name); s != "" {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return a.Backend.Reject(name, "must be a time such as 2026-01-02T15:04:05Z")
			}
			*dst = t
		}
	}
	page, err := a.Backend.Audit(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}
