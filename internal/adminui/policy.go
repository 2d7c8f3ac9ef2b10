// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"net/http"
)

// policyPage is the data of policy.html.
type policyPage struct {
	page
}

// Policy answers GET /admin/policy.
func (u *UI) Policy(w http.ResponseWriter, r *http.Request) error {
	p := policyPage{}
	var err error
	if p.page, err = u.newPage(r, "/admin/policy", "Policy"); err != nil {
		return err
	}
	return u.render(w, http.StatusOK, "policy.html", p)
}
