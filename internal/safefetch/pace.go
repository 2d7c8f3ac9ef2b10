// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"maps"
	"sync"
	"time"
)

const (
	// fetchInterval is the least time between two fetches from one host: we
	// are no means to attack it with.
	fetchInterval = time.Second
	// maxHosts is how many hosts may be fetched from within fetchInterval.
	maxHosts = 1024
)

// pace spaces the fetches from each host. The zero value is ready.
type pace struct {
	mu   sync.Mutex
	last map[string]time.Time // host → when the last fetch began; at most maxHosts
}

// start counts a fetch from host that begins now, and returns zero, or returns
// how long to wait with it.
func (p *pace) start(host string, now time.Time) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A clock that was set back leaves times to come: those hold nobody up.
	recent := func(last time.Time) bool {
		since := now.Sub(last)
		return 0 <= since && since < fetchInterval
	}
	if last, ok := p.last[host]; ok && recent(last) {
		return last.Add(fetchInterval).Sub(now)
	}
	if len(p.last) >= maxHosts {
		maps.DeleteFunc(p.last, func(_ string, last time.Time) bool { return !recent(last) })
	}
	if len(p.last) >= maxHosts {
		return fetchInterval
	}
	if p.last == nil {
		p.last = make(map[string]time.Time)
	}
	p.last[host] = now
	return 0
}
