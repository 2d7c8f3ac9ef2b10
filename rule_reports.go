// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"crypto/sha256"
	"sync"
	"time"
)

// ruleReports remembers which faults of rules have been logged: rules are read
// at every question, and the log is for people.
type ruleReports struct {
	mu sync.Mutex
	at map[[sha256.Size]byte]time.Time
}

const (
	// reportEvery is how often a fault is logged while it lasts.
	reportEvery = 24 * time.Hour
	// maxReports bounds the memory. When it is full, it is forgotten.
	maxReports = 4096
)

// due reports whether fault is to be logged now.
func (r *ruleReports) due(fault string, now time.Time) bool {
	key := sha256.Sum256([]byte(fault))
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.at[key]; ok && now.Sub(at) < reportEvery {
		return false
	}
	if r.at == nil || len(r.at) >= maxReports {
		r.at = make(map[[sha256.Size]byte]time.Time)
	}
	r.at[key] = now
	return true
}

// reportMessages say what does not count.
var reportMessages = map[faultKind]string{
	faultRule: "policy rule ignored", faultClaim: "claim of policy rule ignored", faultKey: "key of policy rule ignored",
}

// reportRules logs what of a peer's rules does not count.
func (p *Provider) reportRules(id *identity, faults []ruleFault) {
	for _, f := range faults {
		// A rule has many peers, who would all repeat it.
		if p.ruleReports.due(f.Error(), p.now()) {
			p.log.Warn(reportMessages[f.Kind], "node", string(id.node), "user", id.subject(), "rule", f.Index, "error", f.Error())
		}
	}
}
