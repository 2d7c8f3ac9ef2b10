// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build !linux && !darwin && !freebsd

package main

import (
	"errors"
	"net"
)

// peerUID returns [errors.ErrUnsupported]: this system has no portable way to
// ask, and the modes of the socket and its directory have to do.
func peerUID(*net.UnixConn) (int, error) { return 0, errors.ErrUnsupported }
