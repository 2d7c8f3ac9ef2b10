// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"fmt"
	"log"
	"strings"
	"sync"
	"testing"

	"tailscale.com/types/logger"
)

// output is where the tailnet's servers and nodes write. Their goroutines can
// outlive the test by a moment, and a test that has ended must not be written to.
// It has its own mutex, because control logs while others' locks are held.
type output struct {
	verbose bool // immutable once the tailnet runs

	mu     sync.Mutex
	closed bool
	t      testing.TB
}

// logf is a [logger.Logf].
func (o *output) logf(format string, args ...any) {
	if !o.verbose {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		fmt.Fprintf(o.t.Output(), strings.TrimSuffix(format, "\n")+"\n", args...)
	}
}

// nodeLogf is logf with the host's name before each line.
func (o *output) nodeLogf(host string) logger.Logf {
	return logger.WithPrefix(o.logf, host+": ")
}

// errorf fails the test. Any goroutine may call it.
func (o *output) errorf(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.t.Errorf(format, args...)
	}
}

// stdLogger adapts logf for net/http.
func (o *output) stdLogger() *log.Logger {
	return log.New(logger.FuncWriter(o.logf), "", 0)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}
