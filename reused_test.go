// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestReused: who asks while an answer is worked out waits for that one, and
// takes nothing from the others by leaving.
func TestReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &reused[int]{maxAge: time.Second, timeout: time.Minute}
		asked := 0
		work := make(chan struct{})
		ask := func(ctx context.Context) (int, error) {
			asked++
			select {
			case <-work:
				return asked, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := u.get(first, time.Now, ask); !errors.Is(err, context.Canceled) {
				t.Errorf("who has left: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if n, err := u.get(t.Context(), time.Now, ask); n != 1 || err != nil {
					t.Errorf("answer %d, %v", n, err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(work)
		wg.Wait()
		time.Sleep(time.Second - time.Nanosecond)
		if n, _ := u.get(t.Context(), time.Now, ask); n != 1 {
			t.Errorf("answer %d within its age", n)
		}
		time.Sleep(time.Nanosecond)
		if n, _ := u.get(t.Context(), time.Now, ask); n != 2 {
			t.Errorf("answer %d after its age", n)
		}
		// The work has an end of its own.
		work = nil
		time.Sleep(time.Second)
		if _, err := u.get(t.Context(), time.Now, ask); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("work without end: %v", err)
		}
	})
}
