// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"net/http"

	"github.com/tailscale/tsidp/internal/admin"
)

// keysPage is the data of keys.html.
type keysPage struct {
	page
	Keys []keyRow
}

// A keyRow is a key with what it does.
type keyRow struct {
	admin.Key
	Use string
}

// Keys answers GET /admin/keys.
func (u *UI) Keys(w http.ResponseWriter, r *http.Request) error {
	p := keysPage{}
	var err error
	if p.page, err = u.newPage(r, "/admin/keys", "Keys"); err != nil {
		return err
	}
	keys, err := u.cfg.Backend.Keys(r.Context())
	if err != nil {
		return err
	}
	for _, k := range keys {
		row := keyRow{Key: k, Use: "signs tokens"}
		if k.Alg == "seal" {
			row.Use = "seals codes and cookies"
		}
		p.Keys = append(p.Keys, row)
	}
	return u.render(w, http.StatusOK, "keys.html", p)
}

// ChangeKeys answers POST /admin/keys: the action rotate, or retire with the
// kid of a key.
func (u *UI) ChangeKeys(w http.ResponseWriter, r *http.Request) error {
	if err := u.parseForm(r); err != nil {
		return err
	}
	done := "rotated"
	var err error
	switch r.PostForm.Get("action") {
	case "rotate":
		_, err = u.cfg.Backend.RotateKeys(r.Context())
	case "retire":
		done = "retired"
		_, err = u.cfg.Backend.RetireKey(r.Context(), r.PostForm.Get("kid"))
	default:
		err = u.unknownAction()
	}
	if err != nil {
		return err
	}
	return goOn(w, r, u.path("/admin/keys", "done", done))
}
