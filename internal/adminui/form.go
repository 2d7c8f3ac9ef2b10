// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"errors"
	"mime"
	"net/http"
	"strings"
)

// parseForm reads the form that a page of ours has sent.
func (u *UI) parseForm(r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return u.cfg.Backend.Reject("", "the Content-Type must be application/x-www-form-urlencoded")
	}
	if err := r.ParseForm(); err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return tooLarge
		}
		return u.cfg.Backend.Reject("", "the form did not arrive whole")
	}
	return nil
}

func (u *UI) unknownAction() error {
	return u.cfg.Backend.Reject("action", "is none that this page has: load the page again")
}

// lines returns what is on the lines of s, without blanks around it.
func lines(s string) []string {
	var list []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}
