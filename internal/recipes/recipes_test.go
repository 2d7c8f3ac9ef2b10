// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/recipes"
	"github.com/tailscale/tsidp/internal/recipes/recipetest"
)

func TestAll(t *testing.T) {
	all := recipes.All()
	names := func(a, b recipes.Recipe) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	}
	if named := all[:len(all)-1]; !slices.IsSortedFunc(named, names) || len(named) < 27 {
		t.Errorf("%d recipes, sorted: %v", len(named), slices.IsSortedFunc(named, names))
	}
	seen := make(map[string]bool)
	for _, r := range all {
		if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(r.ID) || seen[r.ID] {
			t.Errorf("id %q", r.ID)
		}
		seen[r.ID] = true
		if found, ok := recipes.Find(r.ID); !ok || found.Name != r.Name {
			t.Errorf("%s is not found", r.ID)
		}
		if r.Name == "" || r.About == "" || r.Sees == "" || len(r.Faults) < 2 || len(r.Settings(r.Example())) == 0 {
			t.Errorf("%s lacks something", r.ID)
		}
		with := r.Example()
		without := with
		without.Values = nil
		if printed1(r, without) != printed1(r, with) {
			t.Errorf("%s prints no examples where values are missing", r.ID)
		}
		if secret := strings.Contains(printed1(r, r.Example()), "CLIENT_SECRET"); secret == r.Public() {
			t.Errorf("%s: the secret is printed: %v", r.ID, secret)
		}
	}
	if all[len(all)-1].ID != "openid-connect" {
		t.Errorf("the last one is %s", all[len(all)-1].ID)
	}
	if _, ok := recipes.Find("nonsense"); ok {
		t.Error("found nonsense")
	}
}

// printed1 is all that a recipe prints, as one text.
func printed1(r recipes.Recipe, s recipes.Setup) string {
	var b strings.Builder
	for _, section := range r.Settings(s) {
		b.WriteString(section.Title + section.Text + section.Code)
		for _, row := range section.Rows {
			b.WriteString(row.Label + row.Value)
		}
	}
	return b.String() + r.Grant(s)
}

func TestFields(t *testing.T) {
	for _, tt := range []struct {
		recipe, field, value string
		want                 string // of the error; "" if there is none
	}{
		{"grafana", "url", "", "needed"},
		{"grafana", "url", "grafana.example.com", "https://"},
		{"grafana", "url", "ftp://grafana.example.com", "https://"},
		{"grafana", "url", "https://", "no address"},
		{"grafana", "url", "https://grafana.example.com:99999", "no address"},
		{"grafana", "url", "https://grafana.example.com/?a=b", "?"},
		{"grafana", "url", "https://me@grafana.example.com", "user name"},
		{"grafana", "url", "https://grafana.example.com/a b", "blanks"},
		{"grafana", "url", "https://grafana.example.com/$(id)", "characters"},
		{"grafana", "url", "https://grafana.example.com/';x", "characters"},
		{"grafana", "url", "https://" + strings.Repeat("a", 3000), "longer"},
		{"grafana", "url", " https://grafana.example.com/ ", ""},
		{"grafana", "url", "http://grafana.lan:3000/monitoring", ""},
		{"grafana", "nonsense", "x", "no field"},
		{"proxmox", "url", "https://pve.example:8006/", ""},
		{"proxmox", "url", "https://pve.example:8006,\nhttps://pve2.example:8006", ""},
		{"proxmox", "url", "https://pve.example:8006/index", "after the host"},
		{"proxmox", "url", "http://pve.example:8006", "https://"},
		{"proxmox", "url", " , ", "at least one"},
		{"proxmox", "realm", "two words", "letters"},
		{"proxmox", "realm", "--type", "letters"},
		{"proxmox", "realm", "a;b", "letters"},
		{"proxmox", "realm", strings.Repeat("a", 65), "letters"},
		{"proxmox", "realm", "", ""},
		{"openid-connect", "redirect_uris", "https://a.example/cb app.immich:///oauth", ""},
		{"openid-connect", "redirect_uris", "https://a.example/cb javascript:alert(1)", "javascript"},
		{"openid-connect", "redirect_uris", "https://a.example/#x", "fragment"},
		{"openid-connect", "name", "a\nb", "control"},
		{"openid-connect", "name", "<Wiki> & \"Söhne\"", ""},
	} {
		r, _ := recipes.Find(tt.recipe)
		values := r.Example().Values
		values[tt.field] = tt.value
		_, err := r.Client(values)
		e, ok := errors.AsType[*admin.FieldError](err)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s %s %q: %v", tt.recipe, tt.field, tt.value, err)
		case tt.want != "" && (!ok || e.Field != tt.field || !strings.Contains(e.Problem, tt.want)):
			t.Errorf("%s %s %q: error %v, want one with %q", tt.recipe, tt.field, tt.value, err, tt.want)
		}
		if tt.want != "" {
			// What could not be used is not printed.
			setup := r.Example()
			setup.Values = values
			if text := printed1(r, setup); strings.ContainsAny(tt.value, "$;'") && strings.Contains(text, tt.value) {
				t.Errorf("%s prints %q", tt.recipe, tt.value)
			}
		}
	}
}

// TestOwnSecrets: what an administrator brings along may have any printable
// character, and comes out of what is printed as it is.
func TestOwnSecrets(t *testing.T) {
	const secret = `it's "$(id)" \ & <b> = #; ` + "`x`"
	for _, a := range apps {
		r, _ := recipes.Find(a.id)
		if r.Public() {
			continue
		}
		setup := r.Example()
		setup.ClientID, setup.ClientSecret = "a:b@c~d", secret
		p, err := recipetest.Read(r.Settings(setup))
		if err != nil {
			t.Errorf("%s: %v", r.ID, err)
			continue
		}
		if p.Get(a.clientID) != setup.ClientID || p.Get(a.secret) != secret {
			t.Errorf("%s: read %q and %q", r.ID, p.Get(a.clientID), p.Get(a.secret))
		}
	}
}

// TestClientIsNew: changing what a recipe gave does not change the recipe.
func TestClientIsNew(t *testing.T) {
	for _, r := range recipes.All() {
		first, err := r.Client(r.Example().Values)
		if err != nil {
			t.Fatalf("%s: %v", r.ID, err)
		}
		for _, list := range [][]string{first.RedirectURIs, first.GrantTypes} {
			for i := range list {
				list[i] = "changed"
			}
		}
		second, err := r.Client(r.Example().Values)
		if err != nil || slices.Contains(second.RedirectURIs, "changed") || slices.Contains(second.GrantTypes, "changed") {
			t.Errorf("%s: %+v, %v", r.ID, second, err)
		}
	}
}
