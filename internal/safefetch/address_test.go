// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"net/netip"
	"testing"
)

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want reach
	}{
		// The public internet, up to the edges of what is not.
		{"1.1.1.1", public},
		{"8.8.8.8", public},
		{"9.255.255.255", public},
		{"11.0.0.0", public},
		{"100.63.255.255", public},
		{"100.128.0.0", public},
		{"126.255.255.255", public},
		{"128.0.0.0", public},
		{"168.63.129.15", public},
		{"169.253.255.255", public},
		{"169.255.0.0", public},
		{"172.15.255.255", public},
		{"172.32.0.0", public},
		{"191.255.255.255", public},
		{"192.0.1.0", public},
		{"192.0.3.0", public},
		{"192.167.255.255", public},
		{"192.169.0.0", public},
		{"198.17.255.255", public},
		{"198.20.0.0", public},
		{"198.51.99.255", public},
		{"203.0.112.255", public},
		{"223.255.255.255", public},
		{"2001:200::", public},
		{"2001:db7:ffff::", public},
		{"2001:db9::", public},
		{"2003::1", public},
		{"2606:4700:4700::1111", public},
		{"2a00:1450:4001::200e", public},
		{"3ffe:ffff::1", public},

		// Private: for listed hosts.
		{"10.0.0.0", private},
		{"10.255.255.255", private},
		{"100.64.0.0", private},
		{"100.100.100.100", private},
		{"100.127.255.255", private},
		{"127.0.0.1", private},
		{"127.255.255.255", private},
		{"172.16.0.0", private},
		{"172.31.255.255", private},
		{"192.168.0.0", private},
		{"192.168.255.255", private},
		{"198.18.0.0", private},
		{"198.19.255.255", private},
		{"::1", private},
		{"fc00::1", private},
		{"fd00:ec2::254", private},
		{"fd7a:115c:a1e0::1", private},
		{"fd7a:115c:a1e0:b1a:0:7:a00:1", private}, // 4via6
		{"fdff:ffff::1", private},

		// Nobody's.
		{"0.0.0.0", never},
		{"0.255.255.255", never},
		{"168.63.129.16", never},
		{"169.254.0.0", never},
		{"169.254.169.254", never},
		{"192.0.0.0", never},
		{"192.0.0.192", never},
		{"192.0.2.1", never},
		{"192.31.196.1", never},
		{"192.52.193.1", never},
		{"192.88.99.1", never},
		{"192.175.48.1", never},
		{"198.51.100.1", never},
		{"203.0.113.255", never},
		{"224.0.0.1", never},
		{"239.255.255.255", never},
		{"240.0.0.0", never},
		{"255.255.255.254", never},
		{"255.255.255.255", never},
		{"::", never},
		{"::2", never},
		{"::7f00:1", never}, // IPv4-compatible 127.0.0.1
		{"::808:808", never},
		{"64:ff9b:1::1", never},
		{"100::1", never},
		{"2001::1", never},              // Teredo
		{"2001:0:808:808::1", never},    // Teredo
		{"2001:10::1", never},           // ORCHID
		{"2001:1ff:ffff::", never},      // the end of 2001::/23
		{"2001:db8::1", never},          // documentation
		{"2002:7f00:1::", never},        // 6to4 127.0.0.1
		{"2002:808:808::1", never},      // 6to4 8.8.8.8
		{"2620:4f:8000::1", never},      // AS112
		{"3fff::1", never},              // documentation
		{"4000::", never},               // nobody's yet
		{"5f00::1", never},              // segment identifiers
		{"fe80::1", never},              // link-local
		{"fe80::1%eth0", never},         // and with a zone
		{"2606:4700::1111%eth0", never}, // a zone where none belongs
		{"febf::1", never},
		{"fec0::1", never},
		{"ff02::1", never},
		{"ffff::1", never},

		// Addresses in addresses.
		{"::ffff:8.8.8.8", public},
		{"::ffff:127.0.0.1", private},
		{"::ffff:10.0.0.1", private},
		{"::ffff:100.64.0.1", private},
		{"::ffff:169.254.169.254", never},
		{"::ffff:0.0.0.0", never},
		{"::ffff:0:808:808", public},
		{"::ffff:0:7f00:1", private},
		{"::ffff:0:a9fe:a9fe", never},
		{"64:ff9b::808:808", public},
		{"64:ff9b::7f00:1", private},
		{"64:ff9b::6464:6464", private},
		{"64:ff9b::a9fe:a9fe", never},
		{"64:ff9b::1:808:808", never}, // beyond the /96
	} {
		got, name := judge(netip.MustParseAddr(tt.addr))
		if got != tt.want || (name == "") != (tt.want == public) {
			t.Errorf("judge(%s) = %d, %q, want %d and a name unless public", tt.addr, got, name, tt.want)
		}
	}
	if got, _ := judge(netip.Addr{}); got != never {
		t.Errorf("judge(no address) = %d, want never", got)
	}
}

func TestInTailnet(t *testing.T) {
	for addr, want := range map[string]bool{
		"100.64.0.1": true, "100.127.255.255": true, "::ffff:100.64.0.1": true, "fd7a:115c:a1e0::1": true,
		"100.63.0.1": false, "10.0.0.1": false, "fd7a:115c:a1e1::1": false, "8.8.8.8": false,
	} {
		if got := inTailnet(netip.MustParseAddr(addr)); got != want {
			t.Errorf("inTailnet(%s) = %t, want %t", addr, got, want)
		}
	}
}

// looksPrivate is a second opinion on addresses, by package netip's notions
// and by arithmetic, not by the table under test.
func looksPrivate(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if a.IsPrivate() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return true
	}
	if a.Is4() {
		b := a.As4()
		return b[0] == 0 || b[0] >= 224 || b[0] == 100 && b[1]&0xc0 == 64 || b[0] == 192 && b[1] == 0 && (b[2] == 0 || b[2] == 2) ||
			b[0] == 198 && b[1]&0xfe == 18 || b[0] == 198 && b[1] == 51 && b[2] == 100 || b[0] == 203 && b[1] == 0 && b[2] == 113
	}
	b := a.As16()
	v4 := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	case b[0] == 0 && b[1] == 0x64: // NAT64
		return looksPrivate(v4)
	case b[0] == 0: // compatible, translated
		return looksPrivate(v4) || b[8] == 0 && b[9] == 0 && b[10] == 0
	case b[0] == 0x20 && b[1] == 2: // 6to4
		return looksPrivate(netip.AddrFrom4([4]byte(b[2:6])))
	case b[0] == 0x20 && b[1] == 1 && b[2] == 0 && b[3] == 0: // Teredo
		return true
	}
	return b[0]&0xe0 != 0x20
}

// FuzzJudge: nothing that is judged public is private by another judgement.
func FuzzJudge(f *testing.F) {
	for _, s := range []string{"8.8.8.8", "127.0.0.1", "100.64.0.1", "::1", "2002:7f00:1::", "64:ff9b::7f00:1", "::ffff:0:7f00:1", "2606:4700::1", "fd7a:115c:a1e0::1"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		reach, name := judge(a)
		if reach == public && looksPrivate(a) {
			t.Errorf("judge(%v) = public", a)
		}
		if mapped, _ := judge(netip.AddrFrom16(a.As16())); mapped != reach {
			t.Errorf("judge(%v) = %d, but %d in its 16-byte form", a, reach, mapped)
		}
		if reach != public && name == "" {
			t.Errorf("judge(%v) = %d without a reason", a, reach)
		}
	})
}
