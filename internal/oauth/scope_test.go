// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func knownScope(s string) bool {
	return slices.Contains([]string{"openid", "email", "profile", "groups", "offline_access", "a,b"}, s)
}

// TestParseScope holds the rows of case C28 as they are after form decoding.
func TestParseScope(t *testing.T) {
	many := make([]string, maxScopes)
	for i := range many {
		many[i] = fmt.Sprintf("s%03d", i)
	}
	tests := []struct {
		name, in string
		want     []string
	}{
		{"C28 a", "openid email profile groups offline_access", []string{"openid", "email", "profile", "groups", "offline_access"}},
		{"C28 b", "openid  email", []string{"openid", "email"}},
		{"C28 c", "openid profile ", []string{"openid", "profile"}},
		{"C28 d", "openid openid email", []string{"openid", "email"}},
		{"C28 e", "openid,email", []string{"openid", "email"}},
		{"C28 f", "openid unknown:thing", []string{"openid", "unknown:thing"}},
		{"C28 h", "", nil},
		{"C28 i", "OPENID", []string{"OPENID"}},
		{"C28 j", strings.Join(many, " "), many},
		{"C28 k", "openid\temail", []string{"openid", "email"}},
		{"only separators", " \t ", nil},
		{"leading blank", " openid", []string{"openid"}},
		{"order", "email openid email", []string{"email", "openid"}},
		{"commas and blanks", "openid,email profile,email", []string{"openid", "email", "profile"}},
		{"comma and blank", "openid, email, profile", []string{"openid", "email", "profile"}},
		{"commas around", ",openid,,email,", []string{"openid", "email"}},
		{"comma with an unknown part", "openid,unknown", []string{"openid,unknown"}},
		{"comma in letter case", "openid,EMAIL", []string{"openid,EMAIL"}},
		{"only commas", "openid ,,", []string{"openid", ",,"}},
		{"all permitted characters", "!#$%&'()*+-./09:;<=>?@AZ[]^_`az{|}~", []string{"!#$%&'()*+-./09:;<=>?@AZ[]^_`az{|}~"}},
		{"URL", "https://graph.example/.default", []string{"https://graph.example/.default"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseScope(test.in, knownScope)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ParseScope(%q) (-want +got):\n%s", test.in, diff)
			}
		})
	}
}

func TestParseScopeWithoutKnown(t *testing.T) {
	got, err := ParseScope("openid,email profile", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"openid,email", "profile"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseScopeErrors(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%x ", i)
		}
		return b.String()
	}
	tests := []struct{ in, want string }{
		{"openid\nemail", "character"},
		{"openid\r", "character"},
		{"openid \x00", "character"},
		{"openid\x7f", "character"},
		{"openid\u00a0email", "character"},
		{"öpenid", "character"},
		{"openid\xff", "character"},
		{`"openid"`, "character"},
		{`openid\email`, "character"},
		{many(maxScopes + 1), "more than 300"},
		{strings.Repeat(" ", maxScopeBytes+1), "longer than 2048 bytes"},
	}
	for _, test := range tests {
		got, err := ParseScope(test.in, knownScope)
		checkError(t, "ParseScope", test.in, err, test.want)
		if got != nil {
			t.Errorf("ParseScope(%q) = %q beside an error", test.in, got)
		}
	}
	if _, err := ParseScope(strings.Repeat(" ", maxScopeBytes), knownScope); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"openid email", "openid,email\tprofile ", "a,b a", ",,", "openid\n", "\"", "openid, email"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scopes, err := ParseScope(s, knownScope)
		if err != nil {
			if scopes != nil {
				t.Fatalf("%q beside an error", scopes)
			}
			return
		}
		seen := make(map[string]bool)
		for _, scope := range scopes {
			if seen[scope] || scope == "" || strings.ContainsAny(scope, " \t\r\n\"\\") || !strings.Contains(s, scope) {
				t.Fatalf("scope %q in %q from %q", scope, scopes, s)
			}
			seen[scope] = true
		}
		again, err := ParseScope(strings.Join(scopes, " "), knownScope)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(scopes, again); diff != "" {
			t.Fatalf("parsing the result once more (-first +second):\n%s", diff)
		}
	})
}
