// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"fmt"
	"slices"
)

// A checker notes what is wrong. It stands in for testing.T, so that a test
// can be shown to fail.
type checker struct {
	failures, warnings []string

	report func(text string) // of failures, if set
	stop   func()            // ends the goroutine; a panic if nil
}

// stopped is what fatalf panics with.
type stopped struct{}

func (c *checker) errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.failures = append(c.failures, text)
	if c.report != nil {
		c.report(text)
	}
}

// fatalf is errorf for what makes everything after it pointless.
func (c *checker) fatalf(format string, args ...any) {
	c.errorf(format, args...)
	if c.stop != nil {
		c.stop()
	}
	panic(stopped{})
}

// warnf notes what certification tolerates.
func (c *checker) warnf(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}

func (c *checker) noError(err error, doing string) {
	if err != nil {
		c.fatalf("%s: %v", doing, err)
	}
}

// try runs f until it ends or fatalf ends it.
func (c *checker) try(f func()) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(stopped); !ok {
				panic(v)
			}
		}
	}()
	f()
}
