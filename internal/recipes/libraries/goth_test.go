// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package libraries

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/markbates/goth/providers/openidConnect"
)

// TestGoth runs goth as Gitea and Forgejo do.
func TestGoth(t *testing.T) {
	a := setUp(t, "gitea")
	redirect := a.address + "/user/oauth2/" + a.Get("--name") + "/callback"
	provider, err := openidConnect.NewNamed(a.Get("--name"), a.Get("--key"), a.Get("--secret"), redirect, a.Get("--auto-discover-url"), strings.Fields(a.Get("--scopes"))...)
	if err != nil {
		t.Fatal(err)
	}
	session, err := provider.BeginAuth("a state")
	if err != nil {
		t.Fatal(err)
	}
	link, err := session.GetAuthURL()
	if err != nil {
		t.Fatal(err)
	}
	back := a.browse(link, redirect).Query()
	if _, err := session.Authorize(provider, url.Values{"code": {back.Get("code")}}); err != nil {
		t.Fatal(err)
	}
	user, err := provider.FetchUser(session)
	if err != nil {
		t.Fatal(err)
	}
	if user.UserID != "userid:1001" || user.NickName != "alice" || user.Email != "alice@example.com" || user.Name != "A Person" {
		t.Errorf("user %+v", user)
	}
	groups, _ := user.RawData[a.Get("--group-claim-name")].([]any)
	if !slices.Contains(groups, any(a.Get("--admin-group"))) {
		t.Errorf("groups %v", groups)
	}
	token, err := provider.RefreshToken(user.RefreshToken)
	if err != nil || token.AccessToken == user.AccessToken {
		t.Errorf("refreshing: %v", err)
	}
}
