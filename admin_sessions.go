// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/store"
)

// How people and administrators look through what is granted, and end it.

// narrowest picks the index of a query that selects the fewest records; the
// rest is left to the caller, and so are the values of indexUser.
func narrowest(kind store.Kind, subjects []string, node, client string) store.Query {
	switch {
	case node != "":
		return store.Query{Kind: kind, Index: indexNode, Value: node}
	case len(subjects) > 0:
		return store.Query{Kind: kind, Index: indexUser}
	case client != "":
		return store.Query{Kind: kind, Index: indexClient, Value: client}
	}
	return store.Query{Kind: kind}
}

// listPage reads one page of the store, which starts after what an earlier
// answer named.
func (b *backend) listPage(ctx context.Context, q store.Query, after string, limit int, take func(store.Record) error) (next string, err error) {
	if q.After, _, err = parseClientsAfter(after); err != nil {
		return "", err
	}
	q.Limit, q.Now = limit, b.p.now()
	page, err := b.p.store.List(ctx, q)
	if errors.Is(err, store.ErrPage) {
		return "", errClientsAfter()
	}
	if err != nil {
		return "", storeError(err)
	}
	for _, rec := range page.Records {
		if err := take(rec); err != nil {
			return "", err
		}
	}
	if page.Next == "" {
		return "", nil
	}
	return clientsAfter(page.Next, ""), nil
}

// among reports whether a record has the value of an index; any, if that is
// empty.
func among(rec store.Record, index, value string) bool {
	return value == "" || rec.Index[index] == value
}

// isOf reports whether a record is one of subjects'; any, if there are none.
func isOf(rec store.Record, subjects []string) bool {
	return len(subjects) == 0 || slices.Contains(subjects, rec.Index[indexUser])
}

// Sessions returns one page of the live grants.
func (b *backend) Sessions(ctx context.Context, q admin.SessionQuery) (admin.SessionPage, error) {
	res := admin.SessionPage{Sessions: []admin.Session{}}
	names := make(map[string]string) // of clients, by id
	var err error
	res.Next, err = b.listOf(ctx, narrowest(store.KindGrant, q.Subjects, q.Node, q.Client), q.Subjects, q.After, q.Limit, func(rec store.Record) error {
		if !rec.DeadAt.IsZero() || !isOf(rec, q.Subjects) || !among(rec, indexNode, q.Node) || !among(rec, indexClient, q.Client) {
			return nil
		}
		s, err := b.session(ctx, rec, names)
		res.Sessions = append(res.Sessions, s)
		return err
	})
	if err != nil {
		return admin.SessionPage{}, err
	}
	return res, nil
}

// session shows the grant of a record.
func (b *backend) session(ctx context.Context, rec store.Record, names map[string]string) (admin.Session, error) {
	a, _, err := decodeGrant(rec)
	if err != nil {
		return admin.Session{}, err
	}
	name, ok := names[a.clientID]
	if !ok {
		if name, err = b.clientName(ctx, a.clientID); err != nil {
			return admin.Session{}, err
		}
		names[a.clientID] = name
	}
	s := admin.Session{
		ID: rec.ID, Client: a.clientID, ClientName: name, Subject: a.subject, Node: string(a.node), Machine: a.machine,
		Scopes: a.scopes, Resources: a.resources,
		CreatedAt: rec.CreatedAt, UsedAt: rec.UsedAt, ExpiresAt: rec.ExpiresAt,
	}
	// Names are a courtesy: a tailnet that cannot be asked hides no session.
	if who, err := b.p.directory.identify(ctx, a.addr); err == nil && who.node == a.node {
		s.NodeName = who.nodeName
		if who.subject() == a.subject {
			s.Login = who.principal()
		}
	}
	return s, nil
}

// clientName is that of a client of the store; empty for all others.
func (b *backend) clientName(ctx context.Context, id string) (string, error) {
	c, err := b.p.clients.get(ctx, id, b.p.now())
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", storeError(err)
	}
	return c.displayName(), nil
}

func errNoSession() *protocolError {
	return fail(codeNotFound, "there is no live session with this id")
}

// whoseRevocation is the reason for which sessions end: their person's wish, or
// an administrator's.
func whoseRevocation(own bool) string {
	if own {
		return "user"
	}
	return "administrator"
}

// RevokeSession ends one.
func (b *backend) RevokeSession(ctx context.Context, id, subject string) error {
	rec, err := b.p.store.Get(ctx, store.KindGrant, id, b.p.now())
	if err != nil {
		return notFoundOr(err, errNoSession())
	}
	if !rec.DeadAt.IsZero() || !among(rec, indexUser, subject) {
		return errNoSession()
	}
	return b.p.storage.killGrant(ctx, id, whoseRevocation(subject != ""))
}

// RevokeSessions ends all that q names.
func (b *backend) RevokeSessions(ctx context.Context, q admin.SessionQuery) (int, error) {
	if len(q.Subjects) == 0 && q.Node == "" && q.Client == "" {
		return 0, b.Reject("", "say whose sessions: user, node, client, or several of them")
	}
	if slices.Contains(q.Subjects, "") { // it would mean anybody
		return 0, b.Reject("user", "must not be empty")
	}
	subjects := q.Subjects
	if len(subjects) == 0 {
		subjects = []string{""}
	}
	reason := whoseRevocation(q.Own)
	total := 0
	for i, subject := range subjects {
		index := make(map[string]string)
		for name, value := range map[string]string{indexUser: subject, indexNode: q.Node, indexClient: q.Client} {
			if value != "" {
				index[name] = value
			}
		}
		n, err := b.p.store.Revoke(ctx, store.Revocation{
			Select: store.Selector{Index: index}, Reason: reason, Now: b.p.now(), KeepFor: deadFor,
		})
		if err != nil {
			b.auditRevocation(ctx, q, subjects[:i], reason, total)
			return total, storeError(err)
		}
		total += n
	}
	b.auditRevocation(ctx, q, subjects, reason, total)
	return total, nil
}

// auditRevocation tells what has been ended, which is less than q if the store
// has failed on the way.
func (b *backend) auditRevocation(ctx context.Context, q admin.SessionQuery, subjects []string, reason string, n int) {
	if len(subjects) == 0 {
		return
	}
	b.p.audit(ctx, "sessions revoked", AuditEvent{Event: eventRevoke, Reason: reason},
		"of_user", strings.Join(subjects, " "), "of_node", q.Node, "of_client", q.Client, "sessions", n)
}

// Consents returns one page of what people have agreed to.
func (b *backend) Consents(ctx context.Context, q admin.ConsentQuery) (admin.ConsentPage, error) {
	res := admin.ConsentPage{Consents: []admin.Consent{}}
	var err error
	res.Next, err = b.listOf(ctx, narrowest(kindConsent, q.Subjects, "", q.Client), q.Subjects, q.After, q.Limit, func(rec store.Record) error {
		if !isOf(rec, q.Subjects) || !among(rec, indexClient, q.Client) {
			return nil
		}
		r, err := decodeConsent(rec)
		if err != nil {
			return err
		}
		res.Consents = append(res.Consents, admin.Consent{
			ID: rec.ID, Client: rec.Index[indexClient], ClientName: r.ClientName, Subject: rec.Index[indexUser],
			Login: r.Login, Node: string(r.Node), Host: r.Host, Scopes: r.Scopes, Resources: r.Resources,
			CreatedAt: rec.CreatedAt, ExpiresAt: rec.ExpiresAt,
		})
		return nil
	})
	if err != nil {
		return admin.ConsentPage{}, err
	}
	return res, nil
}

// RevokeConsent forgets one. Which of the person's sessions rest on it is not
// kept, so all those at the client end: the person is asked at the next login.
func (b *backend) RevokeConsent(ctx context.Context, id, subject string) error {
	missing := fail(codeNotFound, "there is no consent with this id")
	rec, err := b.p.store.Get(ctx, kindConsent, id, b.p.now())
	if err != nil {
		return notFoundOr(err, missing)
	}
	if !among(rec, indexUser, subject) {
		return missing
	}
	e := AuditEvent{Event: eventConsent, Client: rec.Index[indexClient]}
	_, err = b.p.store.Revoke(ctx, store.Revocation{
		Select: store.Selector{Index: map[string]string{indexUser: rec.Index[indexUser], indexClient: e.Client}},
		Reason: "consent_revoked", Now: b.p.now(), KeepFor: deadFor,
		Delete: []store.Key{{Kind: kindConsent, ID: id}},
	})
	if err != nil {
		return storeError(err)
	}
	b.p.audit(ctx, "consent revoked", e, "change", "revoked", "of_user", rec.Index[indexUser])
	return nil
}
