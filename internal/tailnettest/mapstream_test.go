// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import "testing"

func TestNetmapGeneration(t *testing.T) {
	t.Parallel()
	tests := []struct {
		answer  string
		want    uint64
		wantErr bool
	}{
		{`{"Current":{"SelfNode":{"CapMap":{"tailnettest/generation":[17]}}}}`, 17, false},
		{`{"Current":{"SelfNode":{"CapMap":{"https":null}}}}`, 0, false},
		{`{"Current":{"SelfNode":null}}`, 0, false},
		{`{"Current":null}`, 0, false}, // no netmap yet
		{`{}`, 0, false},
		{`{"Current":{"SelfNode":{"CapMap":{"tailnettest/generation":["x"]}}}}`, 0, true},
		{`internal error`, 0, true},
		{``, 0, true},
	}
	for _, tt := range tests {
		got, err := netmapGeneration([]byte(tt.answer))
		if got != tt.want || (err != nil) != tt.wantErr {
			t.Errorf("netmapGeneration(%q) = %d, %v; want %d, error %v", tt.answer, got, err, tt.want, tt.wantErr)
		}
	}
}
