// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

// all are the recipes, sorted by name. The last one is for everything else.
var all = []Recipe{
	actual,
	argoCD,
	audiobookshelf,
	boundary,
	cloudflare,
	coder,
	gitea,
	grafana,
	headscale,
	homeAssistant,
	immich,
	incus,
	jellyfin,
	kubernetes,
	mcp,
	mealie,
	minio,
	nextcloud,
	oauth2Proxy,
	openWebUI,
	outline,
	paperless,
	portainer,
	proxmox,
	salesforce,
	synology,
	vault,
	generic,
}
