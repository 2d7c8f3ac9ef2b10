// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", -time.Second: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 2*time.Hour - 1: "1 hour ago",
		47 * time.Hour: "47 hours ago", 49 * time.Hour: "2 days ago", -time.Hour: "in 1 hour", -72 * time.Hour: "in 3 days",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestPretty: what is shown is the same JSON.
func TestPretty(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":["x","y"],"b":[]}`:            "{\n  \"a\": [\"x\", \"y\"],\n  \"b\": []\n}",
		`{"a":[",","\",\"","[ \"","\n\\"]}`: "{\n  \"a\": [\",\", \"\\\",\\\"\", \"[ \\\"\", \"\\n\\\\\"]\n}",
		`{"a":[1,"x"]}`:                     "{\n  \"a\": [\n    1,\n    \"x\"\n  ]\n}",
		`no JSON`:                           "no JSON",
	} {
		got := pretty(json.RawMessage(in))
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		var a, b any
		if json.Unmarshal([]byte(in), &a) == nil && (json.Unmarshal([]byte(got), &b) != nil || !cmp.Equal(a, b)) {
			t.Errorf("%s became %s", in, got)
		}
	}
}

// TestChart: the tallest hour fills the height, the smallest is to be seen, and
// nothing stands outside.
func TestChart(t *testing.T) {
	a := activity{Hours: make([]hour, activityHours)}
	a.Hours[0], a.Hours[1], a.Hours[2] = hour{Logins: 1000}, hour{Logins: 1, Refused: 1}, hour{Logins: 999, Refused: 1}
	c := newChart(a)
	if c.Bars[0].LoginHeight != c.Height || c.Bars[1].LoginHeight < 2 || c.Bars[1].RefuseHeight < 2 || c.Bars[3].LoginHeight != 0 {
		t.Errorf("bars %+v", c.Bars[:4])
	}
	for _, b := range c.Bars {
		if b.LoginY < 0 || b.RefuseY < 0 || b.LoginY+b.LoginHeight != c.Height || b.X < 0 || b.X+b.Width > c.Width {
			t.Errorf("bar %+v stands outside of %d×%d", b, c.Width, c.Height)
		}
	}
	if c := newChart(activity{Hours: make([]hour, activityHours)}); c.Most != 1 {
		t.Errorf("an empty chart has the scale %d", c.Most)
	}
}

// TestDone: whatever a form has done is told.
func TestDone(t *testing.T) {
	for _, word := range strings.Fields("saved deleted disabled enabled secret-ended adopted session sessions consent rotated retired") {
		if done[word] == "" {
			t.Errorf("%s has no text", word)
		}
	}
	if len(done) != 11 {
		t.Errorf("%d texts, want one for each word", len(done))
	}
}
