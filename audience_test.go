// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/client/tailscale/apitype"
)

// TestAudienceParameter: audience counts where it is a resource that the rules
// allow, and does nothing otherwise.
func TestAudienceParameter(t *testing.T) {
	f := newDeviceFixture(t)
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { setRules(res, `{"users":["*"],"resources":["`+testResource+`"]}`) })
	for _, tt := range []struct {
		change []string
		want   any
	}{
		{[]string{"audience", testResource}, testResource},
		{[]string{"audience", testResource, "resource", testResource}, testResource},
		{[]string{"audience", "https://elsewhere.example"}, f.p.issuer},
		{[]string{"audience", "my-api"}, f.p.issuer},
		{[]string{"audience", f.p.issuer, "resource", testResource}, []any{testResource, f.p.issuer}},
	} {
		if got := claimsOf(t, f.login(ada, tt.change...).AccessToken)["aud"]; !cmp.Equal(got, tt.want) {
			t.Errorf("/authorize with %q: aud %v, want %v", tt.change, got, tt.want)
		}
	}
	for audience, want := range map[string]string{testResource: testResource, "https://elsewhere.example": f.p.issuer} {
		d := f.beginDevice(ada, "audience", audience)
		f.decide(ada, d.UserCode, "approve")
		if got := audienceOf(t, f.poll(d.DeviceCode).tokens().AccessToken); got != want {
			t.Errorf("device with %q: aud %q, want %q", audience, got, want)
		}
	}
}

// TestDefaultResources: a client that names no resource has tokens for those
// that an administrator has registered for it, if the rules allow them.
func TestDefaultResources(t *testing.T) {
	f := newDeviceFixture(t)
	defaults := func(c *client) { c.DefaultResources = []string{testResource} }
	for _, id := range []string{"web", "cli"} {
		f.editClient(id, defaults)
	}
	// Without a rule it is as if the client had named it.
	if page := f.authorize(ada).page(403); !strings.Contains(page, testResource) {
		t.Errorf("page %s", page)
	}
	f.allow(ada, resourceRule(testResource, otherResource))
	for _, tt := range []struct {
		change []string
		want   any
	}{
		{nil, testResource},
		{[]string{"resource", ""}, testResource},
		{[]string{"audience", "my-api"}, testResource},
		{[]string{"resource", otherResource}, otherResource},
		{[]string{"resource", testIssuer}, testIssuer},
		{[]string{"audience", otherResource}, otherResource},
	} {
		res := f.login(ada, tt.change...)
		if got := claimsOf(t, res.AccessToken)["aud"]; got != tt.want {
			t.Errorf("%q: aud %v, want %v", tt.change, got, tt.want)
		}
		if got := audienceOf(t, f.refresh(res.RefreshToken).tokens().AccessToken); got != tt.want {
			t.Errorf("%q, refreshed: aud %v, want %v", tt.change, got, tt.want)
		}
	}
	d := f.beginDevice(ada)
	f.decide(ada, d.UserCode, "approve")
	if got := audienceOf(t, f.poll(d.DeviceCode).tokens().AccessToken); got != testResource {
		t.Errorf("device: aud %v", got)
	}
}

// TestDefaultResourcesOfMachine: the same for a client without a person; the
// rules are those of the node on which it runs.
func TestDefaultResourcesOfMachine(t *testing.T) {
	f := withMachine(t)
	f.editClient("job", func(c *client) { c.DefaultResources = []string{upstream} })
	ask := func(as netip.Addr, change ...string) *reply {
		t.Helper()
		return f.do(as, "POST", "/token", "application/x-www-form-urlencoded", edited(url.Values{"grant_type": {"client_credentials"}}, change).Encode(), basicAuth("job", webSecret)...)
	}
	ask(ada).wantError(400, "invalid_target")
	ask(netip.Addr{}).wantError(400, "invalid_target")
	f.allow(ada, resourceRule(upstream))
	if got := audienceOf(t, ask(ada).json(200)["access_token"].(string)); got != upstream {
		t.Errorf("aud %v", got)
	}
	if got := audienceOf(t, ask(ada, "resource", testIssuer).json(200)["access_token"].(string)); got != testIssuer {
		t.Errorf("with a resource: aud %v", got)
	}
}

// TestDefaultResourcesStay: what an administrator has registered is not for
// the client to change.
func TestDefaultResourcesStay(t *testing.T) {
	f := newFixture(t)
	c := f.registered(adm)
	f.editClient(c.ID, func(c *client) { c.DefaultResources = []string{testResource} })
	f.manage("PUT", c, "client_id", c.ID, "default_resources", []string{otherResource}).json(200)
	f.editClient(c.ID, func(c *client) {
		if len(c.DefaultResources) != 1 || c.DefaultResources[0] != testResource {
			t.Errorf("default resources %q", c.DefaultResources)
		}
	})
}
