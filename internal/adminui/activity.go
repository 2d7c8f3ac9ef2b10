// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
)

// What happened lately, from the audit log.

const (
	activityHours = 24
	// activityPages bounds how much of the log one look reads.
	activityPages = 20
	activityPage  = 1000
	// activityFresh is how long one look serves all who open the page.
	activityFresh = 10 * time.Second
	lastRefusals  = 8
)

// An event is an event of the audit log, as the pages show it.
type event struct {
	Time      time.Time `json:"time"`
	Event     string    `json:"event"`
	Result    string    `json:"result"`
	Request   string    `json:"request"`
	User      string    `json:"user"`
	Login     string    `json:"login"`
	Node      string    `json:"node"`
	Client    string    `json:"client"`
	Grant     string    `json:"grant"`
	Resources []string  `json:"resources"`
	Scopes    []string  `json:"scopes"`
	Rules     []int     `json:"rules"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail"`
}

// Who names the user, or nobody.
func (e *event) Who() string {
	if e.Login != "" {
		return e.Login
	}
	return e.User
}

// Refused reports whether it was.
func (e *event) Refused() bool { return e.Result == "refused" }

// An activity is what happened in the last hours.
type activity struct {
	Hours    []hour // the oldest first
	Today    int    // logins since midnight, UTC
	Logins   int
	Refused  int
	Refusals []event // the last ones, the newest first
	Partial  bool    // there was more than one look reads
}

// An hour is what happened in one.
type hour struct {
	Begin           time.Time
	Logins, Refused int
}

// Label is the hour of the day.
func (h hour) Label() string { return h.Begin.Format("15:04") }

type activityCache struct {
	mu   sync.Mutex
	at   time.Time
	last activity
}

// recent returns what happened lately.
func (u *UI) recent(ctx context.Context) (activity, error) {
	c := &u.activity
	c.mu.Lock()
	defer c.mu.Unlock()
	now := u.cfg.Now()
	if age := now.Sub(c.at); !c.at.IsZero() && age >= 0 && age < activityFresh {
		return c.last, nil
	}
	a, err := u.readActivity(ctx, now.UTC())
	if err == nil {
		c.last, c.at = a, now
	}
	return a, err
}

func (u *UI) readActivity(ctx context.Context, now time.Time) (activity, error) {
	begin := now.Truncate(time.Hour).Add(-(activityHours - 1) * time.Hour)
	a := activity{Hours: make([]hour, activityHours)}
	for i := range a.Hours {
		a.Hours[i].Begin = begin.Add(time.Duration(i) * time.Hour)
	}
	q := admin.AuditQuery{Since: begin, Limit: activityPage}
	for range activityPages {
		page, err := u.cfg.Backend.Audit(ctx, q)
		if err != nil {
			return activity{}, err
		}
		for _, raw := range page.Events {
			var e event
			if err := json.Unmarshal(raw, &e); err != nil {
				return activity{}, fmt.Errorf("reading audit log: %w", err)
			}
			a.add(e, begin, now)
		}
		if q.After = page.Next; q.After == "" {
			return a, nil
		}
	}
	a.Partial = true
	return a, nil
}

func (a *activity) add(e event, begin, now time.Time) {
	i := int(e.Time.Sub(begin) / time.Hour)
	if i < 0 || i >= len(a.Hours) {
		return
	}
	switch {
	case e.Refused():
		a.Hours[i].Refused++
		a.Refused++
		if len(a.Refusals) < lastRefusals {
			a.Refusals = append(a.Refusals, e)
		}
	case e.Event == "login":
		a.Hours[i].Logins++
		a.Logins++
		if e.Time.UTC().YearDay() == now.YearDay() {
			a.Today++
		}
	}
}

// A chart is where the bars of an activity stand.
type chart struct {
	Width, Height int
	Most          int
	Bars          []bar
	Summary       string
}

// A bar is one hour: logins below, refusals on top of them.
type bar struct {
	X, Width              int
	LoginY, LoginHeight   int
	RefuseY, RefuseHeight int
	hour
	Mark bool // its hour is written below
}

// Middle is that of the bar, from left to right.
func (b bar) Middle() int { return b.X + b.Width/2 }

// newChart places the bars.
func newChart(a activity) chart {
	const step, height = 20, 160
	c := chart{Width: step * len(a.Hours), Height: height, Most: 1}
	for _, h := range a.Hours {
		c.Most = max(c.Most, h.Logins+h.Refused)
	}
	for i, h := range a.Hours {
		scale := func(n int) int {
			if n == 0 {
				return 0
			}
			return max(n*height/c.Most, 2) // one in a thousand is to be seen
		}
		b := bar{X: i*step + 3, Width: step - 6, LoginHeight: scale(h.Logins), RefuseHeight: scale(h.Refused), hour: h, Mark: i%6 == 4}
		b.LoginY = height - b.LoginHeight
		b.RefuseY = max(b.LoginY-b.RefuseHeight, 0)
		c.Bars = append(c.Bars, b)
	}
	c.Summary = fmt.Sprintf("Logins and refusals by hour: %s and %s in the last %d hours", plural(a.Logins, "login"), plural(a.Refused, "refusal"), activityHours)
	return c
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
