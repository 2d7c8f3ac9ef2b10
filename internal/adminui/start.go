// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"net/http"

	"github.com/tailscale/tsidp/internal/admin"
)

// startPage is the data of start.html.
type startPage struct {
	page
	Status   admin.Status
	Keys     []admin.Key
	Activity *activity // nil: the audit log cannot be read now
	Chart    chart
}

// Start answers GET / for administrators. Whoever comes when something is
// down comes because of that, so it shows what can be known.
func (u *UI) Start(w http.ResponseWriter, r *http.Request) error {
	p := startPage{}
	var err error
	if p.page, err = u.newPage(r, "/", "Overview"); err != nil {
		return err
	}
	if p.Status, err = u.cfg.Backend.Status(r.Context()); err != nil {
		return err
	}
	if a, err := u.recent(r.Context()); err == nil {
		p.Activity, p.Chart = &a, newChart(a)
	}
	if keys, err := u.cfg.Backend.Keys(r.Context()); err == nil {
		for _, k := range keys {
			if k.State == admin.KeyCurrent {
				p.Keys = append(p.Keys, k)
			}
		}
	}
	return u.render(w, http.StatusOK, "start.html", p)
}
