// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidptest_test

import (
	"io"
	"testing"

	"github.com/tailscale/tsidp/tsidptest"
)

func TestLogin(t *testing.T) {
	idp := tsidptest.New(t, nil)
	app := newApp(t)
	id, secret := idp.AddClient(app.URL + "/callback")
	app.configure(idp.Issuer, id, secret)

	res, err := idp.Client(tsidptest.Alice).Get(app.URL + "/login")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if page, _ := io.ReadAll(res.Body); string(page) != "hello alice@example.com" {
		t.Errorf("the page says %q", page)
	}
}
