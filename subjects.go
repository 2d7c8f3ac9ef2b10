// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// Administrators know people by their logins and machines by their tags; what
// is granted, the store has under subjects.

// maxSubjects bounds how many one name may mean: each is a question to the
// store.
const maxSubjects = 1000

// Subjects returns the subjects that name means, at least one: those of a
// login, which may be several people's, or of the nodes that have a tag. Any
// other name is a subject already.
//
// The tailnet knows who is called so now. Whoever has no node any more, or none
// that this one sees, the audit log may know.
func (b *backend) Subjects(ctx context.Context, name string) ([]string, error) {
	tag := strings.HasPrefix(name, "tag:")
	if !tag && !strings.Contains(name, "@") {
		return []string{name}, nil
	}
	nodes, err := b.p.listNodes(ctx)
	if err != nil && asProtocolError(err).code != codeInvalidRequest { // which is a tailnet without a list
		return nil, err
	}
	var subjects []string
	for _, n := range nodes {
		switch {
		case n.isOf(name):
			subjects = append(subjects, n.user)
		case tag && n.isCalled(name):
			subjects = append(subjects, "node:"+string(n.id))
		}
	}
	if len(subjects) == 0 {
		if subjects, err = b.subjectsOfLog(ctx, name); err != nil {
			return nil, err
		}
	}
	slices.Sort(subjects)
	switch subjects = slices.Compact(subjects); {
	case len(subjects) > maxSubjects:
		return nil, failAt(codeInvalidRequest, "user", "%q means %d nodes, more than the %d that can be asked about at once: give one of them as node, by its stable id", name, len(subjects), maxSubjects)
	case len(subjects) > 0:
		return subjects, nil
	case tag:
		return nil, failAt(codeNotFound, "user", "no node with the tag %q is known here; give the sub of the node's tokens (node:ID)", name)
	}
	return nil, failAt(codeNotFound, "user", "the login %q is not known here: neither the tailnet's nodes nor the audit log have it; give its sub (userid:N)", name)
}

// subjectsOfLog returns those who were called name in the audit log, as far
// back as one look goes, and the client with that id.
func (b *backend) subjectsOfLog(ctx context.Context, name string) ([]string, error) {
	page, err := b.Audit(ctx, admin.AuditQuery{User: name, Limit: searchPage})
	if err != nil {
		return nil, err
	}
	var subjects []string
	for _, raw := range page.Events {
		var e AuditEvent
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("reading audit log: %w", err)
		}
		if e.User != "" {
			subjects = append(subjects, e.User)
		}
	}
	switch _, err := b.p.clients.get(ctx, name, b.p.now()); {
	case err == nil:
		subjects = append(subjects, name)
	case !errors.Is(err, store.ErrNotFound):
		return nil, storeError(err)
	}
	return subjects, nil
}

// listOf is listPage for the records of subjects, one after the other; all, if
// there are none. The next of a page names the subject that it goes on with.
func (b *backend) listOf(ctx context.Context, q store.Query, subjects []string, after string, limit int, take func(store.Record) error) (next string, err error) {
	if q.Index != indexUser {
		return b.listPage(ctx, q, after, limit, take)
	}
	_, at, err := parseClientsAfter(after)
	if err != nil {
		return "", err
	}
	i := max(slices.Index(subjects, at), 0)
	if at != "" && subjects[i] != at {
		return "", errClientsAfter()
	}
	seen := 0
	for ; i < len(subjects); i++ {
		if seen >= limit {
			return clientsAfter("", subjects[i]), nil
		}
		q.Value = subjects[i]
		next, err := b.listPage(ctx, q, after, limit-seen, func(rec store.Record) error {
			seen++
			return take(rec)
		})
		if err != nil {
			return "", err
		}
		if next != "" {
			return next + subjects[i], nil // clientsAfter leaves it empty
		}
		after = ""
	}
	return "", nil
}
