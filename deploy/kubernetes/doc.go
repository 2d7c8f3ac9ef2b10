// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package kubernetes tests the manifests beside it. It is a module of its own
// so that nobody else needs the types of Kubernetes.
package kubernetes
