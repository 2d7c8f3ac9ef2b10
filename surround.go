// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
)

// What surrounds every request: a bound on its body, an id, headers that
// make browsers careful, and the net under a panic.

type requestIDKey struct{}

// requestID names a request in the log and on error pages.
func requestID(ctx context.Context) string {
	return notes(ctx).id
}

// carefulHeaders are those of every answer, which share their values.
var carefulHeaders = http.Header{
	"X-Content-Type-Options": {"nosniff"},
	"Referrer-Policy":        {"no-referrer"}, // URLs carry codes
	"Cache-Control":          {"no-store"},    // RFC 6749 section 5.1; documents say otherwise
}

func (p *Provider) surround(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:12]
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, &requestNotes{id: id}))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)

		h := w.Header()
		maps.Copy(h, carefulHeaders)
		h.Set("X-Request-Id", id)

		defer func() {
			v := recover()
			switch v {
			case nil:
				return
			case http.ErrAbortHandler:
				panic(v) // net/http breaks the connection; swallowed, it would be a whole answer
			}
			p.log.Error("panic", "request", id, "path", r.URL.Path, "error", fmt.Sprint(v), "stack", string(debug.Stack()))
			// If the answer has begun, this changes nothing of it.
			writeJSON(w, http.StatusInternalServerError, errorBody{Code: string(codeServerError), Description: "internal error"})
		}()
		if p.cfg.DebugRequests {
			p.logExchange(next, w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
