// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// A reused is an answer that costs much. It is worked out once for all who ask
// meanwhile, and serves those who ask within maxAge, so that nobody can make
// the provider work by asking often. All share it: it is never modified.
type reused[T any] struct {
	maxAge time.Duration
	// timeout bounds the work, which does not end with who asked first.
	timeout time.Duration

	flight singleflight.Group

	mu   sync.Mutex // guards what follows
	at   time.Time  // zero: never
	last T
}

// get returns the answer, which ask works out. Errors are not kept.
func (u *reused[T]) get(ctx context.Context, now func() time.Time, ask func(context.Context) (T, error)) (T, error) {
	if last, ok := u.cached(now()); ok {
		return last, nil
	}
	ch := u.flight.DoChan("", func() (any, error) {
		at := now()
		if last, ok := u.cached(at); ok { // worked out while this call was waiting
			return last, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.timeout)
		defer cancel()
		res, err := ask(ctx)
		if err == nil {
			u.mu.Lock()
			u.last, u.at = res, at
			u.mu.Unlock()
		}
		return res, err
	})
	select {
	case res := <-ch:
		return res.Val.(T), res.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (u *reused[T]) cached(now time.Time) (T, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	age := now.Sub(u.at)
	return u.last, !u.at.IsZero() && age >= 0 && age < u.maxAge
}
