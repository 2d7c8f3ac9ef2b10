// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

// all are the recipes, sorted by name.
var all = []Recipe{
	grafana,
	mcp,
	proxmox,
}
