// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package crashtest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/tailscale/tsidp/store"
)

// An event is what the load tells of an operation.
type event struct {
	what string // begin, ack or fail
	op   op
	id   string
	err  string // of fail
}

const (
	begin = "begin"
	ack   = "ack"
	fail  = "fail"
)

// String returns e as one line.
func (e event) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.what, e.op, e.id, strings.ReplaceAll(e.err, "\n", "; ")))
}

func parseEvent(line string) (event, error) {
	f := strings.SplitN(line, " ", 4)
	if len(f) < 3 {
		return event{}, fmt.Errorf("not an event: %q", line)
	}
	e := event{what: f[0], op: op(f[1]), id: f[2]}
	if len(f) == 4 {
		e.err = f[3]
	}
	return e, nil
}

// workers is how many goroutines a load has.
const workers = 8

// A load works at a store until its context ends or an operation fails.
type load struct {
	store store.Store
	round int
	tell  func(event) // called by all workers
}

// run returns when all workers have ended, each with its operation finished.
func (l load) run(ctx context.Context) {
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { l.work(ctx, w) })
	}
	all.Wait()
}

func (l load) work(ctx context.Context, w int) {
	for i := 0; ; i++ {
		if !l.perform(ctx, &subject{id: fmt.Sprintf("grant-%d-%d-%d", l.round, w, i)}, grantPlan(w+i)) ||
			!l.perform(ctx, &subject{id: fmt.Sprintf("client-%d-%d-%d", l.round, w, i)}, clientPlan(w+i)) {
			return
		}
	}
}

// grantPlan returns what happens to the grant number n.
func grantPlan(n int) []op {
	plan := []op{opRedeem}
	for range n % 5 {
		plan = append(plan, opRotate)
	}
	if n%3 == 0 {
		plan = append(plan, opRevoke)
	}
	return plan
}

// clientPlan returns what happens to the client number n.
func clientPlan(n int) []op { return []op{opPut, opPut, opDelete, opPut}[:1+n%4] }

// perform reports whether all of plan was done.
func (l load) perform(ctx context.Context, s *subject, plan []op) bool {
	for _, o := range plan {
		if ctx.Err() != nil {
			return false
		}
		l.tell(event{what: begin, op: o, id: s.id})
		// Not ctx: what has begun is to be finished.
		if err := s.do(context.WithoutCancel(ctx), l.store, o); err != nil {
			l.tell(event{what: fail, op: o, id: s.id, err: err.Error()})
			return false
		}
		s.done = append(s.done, o)
		l.tell(event{what: ack, op: o, id: s.id})
	}
	return true
}
