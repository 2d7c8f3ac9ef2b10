// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package crashtest holds the tests of what a store keeps when its process,
// or its database's, is killed in the middle of its work. It exports nothing.
//
// A load of several goroutines says of each operation, before it begins and
// after the store has acknowledged it, what it is. Then comes SIGKILL. What
// was acknowledged must be there afterwards, and what was begun and not
// acknowledged must be there as a whole or not at all. One round follows the
// other on the same database; -long makes them 200.
package crashtest
