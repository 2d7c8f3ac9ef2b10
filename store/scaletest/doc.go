// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package scaletest holds the test of what many grants cost. It exports
// nothing.
//
// Two providers, each a process of its own on SQLite, one with few grants and
// one with many, take turns in rotating and introspecting tokens of grants at
// random. The median of each call and the resident memory must hardly differ.
// With -long there are 1 000 000 grants, and the bounds are those that the
// project promises; that takes ten minutes, and a machine that is not always
// busy with something else:
//
//	go test ./store/scaletest -long -v -timeout 1h
package scaletest
