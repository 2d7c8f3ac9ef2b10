// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package bench measures the program as a whole: size, memory, start, and
// whether they stay what they are. Its tests take minutes, so they have a build
// tag:
//
//	go test -tags bench -v -timeout 30m ./bench
//	go test -tags bench -v -run Footprint ./bench
//
// Benchmarks of single paths are beside what they measure.
package bench
