// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"
)

// A notifier tells the service manager, by the protocol of sd_notify(3), that
// the server is ready, still alive, and ending. The zero value tells nobody.
type notifier struct {
	socket   string        // NOTIFY_SOCKET; "@" begins an abstract one
	watchdog time.Duration // how long a silence may last; 0: for ever
}

// newNotifier reads what the manager has put into the environment.
func newNotifier(getenv func(string) string, pid int) notifier {
	n := notifier{socket: getenv("NOTIFY_SOCKET")}
	us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return n
	}
	if p := getenv("WATCHDOG_PID"); p == "" || p == strconv.Itoa(pid) { // else it means another process
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n
}

// send tells the manager state.
func (n notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	return nil
}

// after returns a function for serve that calls ready and then keeps the
// manager informed until its context ends.
func (n notifier) after(ready func(context.Context) error, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := ready(ctx); err != nil {
			return err
		}
		keepInformed(ctx, n.send, n.watchdog, log)
		return nil
	}
}

// keepInformed says READY at once, WATCHDOG twice as often as it must, and
// STOPPING when ctx ends. It returns at once.
//
// A sign of life says that this process is scheduled and its memory holds. It
// does not ask the store or the tailnet: to restart the server mends neither.
func keepInformed(ctx context.Context, send func(string) error, watchdog time.Duration, log *slog.Logger) {
	tell := func(state string) {
		if err := send(state); err != nil {
			log.Warn("the service manager does not listen", "error", err)
		}
	}
	tell("READY=1")
	go func() {
		defer tell("STOPPING=1")
		if watchdog <= 0 {
			<-ctx.Done()
			return
		}
		t := time.NewTicker(watchdog / 2)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				tell("WATCHDOG=1")
			}
		}
	}()
}
