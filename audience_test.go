// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
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
