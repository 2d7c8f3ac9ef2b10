// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"errors"
	"fmt"
	"time"
)

// The kinds of failure. Every error of a [Client] is exactly one of them, by
// [errors.Is], and has an [*Error] in it.
var (
	// ErrRefused: the URL, or an address of its host, is one that is never
	// fetched. Trying again changes nothing; an administrator can.
	ErrRefused = errors.New("refused by policy")
	// ErrBusy: too much is being fetched, from this host or in total. Try
	// again after Error.RetryAfter.
	ErrBusy = errors.New("too many fetches")
	// ErrUnavailable: the host did not answer: no address, no connection, no
	// valid certificate, out of time, cut off, or an error of the server's
	// own. The caller's context ending is one too, with its error inside.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnusable: the host answered, but not with a document as asked for:
	// another status than 200, a redirect among them, another type, encoded,
	// too long.
	ErrUnusable = errors.New("unusable answer")
)

// An Error says why nothing was fetched.
type Error struct {
	// Kind is ErrRefused, ErrBusy, ErrUnavailable or ErrUnusable.
	Kind error
	// Reason says it in a plain sentence that may be shown to whoever named
	// the URL. It tells nothing about the network that we are in beyond the
	// fact of the refusal, and repeats nothing of the answer.
	Reason string
	// RetryAfter is how long to wait, if Kind is ErrBusy; otherwise zero.
	RetryAfter time.Duration
	// Cause is for the log only: it has addresses, and text of the host's
	// making. It may be nil.
	Cause error
}

// Error is the text for the log. Reason is that for people.
func (e *Error) Error() string {
	text := fmt.Sprintf("%v: %s", e.Kind, e.Reason)
	if e.Cause != nil {
		text += fmt.Sprintf(" (%v)", e.Cause)
	}
	return text
}

// Unwrap returns Kind and, if there is one, Cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func refused(format string, args ...any) error {
	return &Error{Kind: ErrRefused, Reason: fmt.Sprintf(format, args...)}
}

func busy(wait time.Duration, reason string) error {
	return &Error{Kind: ErrBusy, Reason: reason, RetryAfter: wait}
}

func unavailable(cause error, reason string) error {
	return &Error{Kind: ErrUnavailable, Reason: reason, Cause: cause}
}

func unusable(cause error, format string, args ...any) error {
	return &Error{Kind: ErrUnusable, Reason: fmt.Sprintf(format, args...), Cause: cause}
}
