// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cache keeps documents until they expire, and of those the ones used last.
type cache struct {
	max int

	mu      sync.Mutex        // guards what follows
	entries map[string]*entry // at most max
	uses    uint64
}

type entry struct {
	doc  Document
	used uint64 // cache.uses at the last use
}

// get returns the document of a key that serves at now and was fetched after
// a time. Its body is shared.
func (c *cache) get(key string, now, after time.Time) (Document, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !now.Before(e.doc.Expires) || !e.doc.FetchedAt.After(after) {
		return Document{}, false
	}
	// A clock that was set back must not make documents live on.
	if now.Before(e.doc.FetchedAt) {
		return Document{}, false
	}
	c.uses++
	e.used = c.uses
	return e.doc, true
}

// put keeps a document. If there are too many it drops one that has expired,
// else the one that has not been used for longest.
func (c *cache) put(key string, doc Document, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; !ok && len(c.entries) >= c.max {
		var victim string
		least := uint64(math.MaxUint64)
		for k, e := range c.entries {
			if !now.Before(e.doc.Expires) {
				victim = k
				break
			}
			if e.used < least {
				victim, least = k, e.used
			}
		}
		delete(c.entries, victim)
	}
	if c.entries == nil {
		c.entries = make(map[string]*entry)
	}
	c.uses++
	c.entries[key] = &entry{doc, c.uses}
}

// maxSeconds: "If a cache receives a delta-seconds value greater than the
// greatest integer it can represent, […] the cache MUST consider the value to
// be 2147483648 (2^31) or the greatest positive integer it can conveniently
// represent" (RFC 9111 section 1.2.2).
const maxSeconds = 1 << 31

// freshness returns how long an answer says that it will be good, zero if it
// says nothing or wants not to be kept: the caller has bounds of its own.
//
// "The authorization server SHOULD respect HTTP cache headers [RFC9111] when
// caching client metadata, but MAY define its own upper and/or lower bounds on
// an acceptable cache lifetime as well."
// (draft-ietf-oauth-client-id-metadata-document-02 section 5.2)
func freshness(header http.Header) time.Duration {
	age := int64(-1) // nothing said
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			// Of several "either the first occurrence should be used or the
			// response should be considered stale" (RFC 9111 section 4.2.1).
			if age < 0 {
				age = seconds(strings.Trim(value, `"`))
			}
		}
	}
	return max(0, time.Duration(age-seconds(header.Get("Age")))*time.Second)
}

// seconds reads delta-seconds; what is none counts as zero.
func seconds(s string) int64 {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if s != "" && err != nil {
		return maxSeconds
	}
	return min(n, maxSeconds)
}
