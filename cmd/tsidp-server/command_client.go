// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

const clientsPath = "/api/v1/clients"

// clientCommand is the command client.
func clientCommand() command {
	var flags []ownFlag
	for _, f := range clientFlags() {
		flags = append(flags, f)
	}
	return command{
		name: "client", args: "ACTION [ID]", run: runClient, json: true,
		summary: "list, show, create, update, delete clients; rotate their secrets",
		help: `The actions are:

	client list              all clients, or those that -q and -origin look for
	client show ID           one client, with all that is registered for it
	client create            a new client; prints its secret, once
	client update ID         change what the flags say, and leave the rest
	client delete ID         and everything that was granted to it, at once
	client rotate-secret ID  a new secret, printed once; the ones before it end

To rotate without downtime: rotate-secret -keep-old, give the application the
new secret, then rotate-secret -end-old.

FILE holds a client as JSON, with the names of the API (docs/api.md), as show
-json prints it; - is the standard input. Flags count more than the file. With
update, the file replaces everything.

The command asks the server that runs with the state directory. If none runs, it
opens the database itself; then it needs the -store and -key-file of the server.`,
		options: []string{"dir", "store", "key-file", "key-rotation"},
		flags:   flags,
	}
}

// clientOptions are what the flags of the command client say.
type clientOptions struct {
	given            []string // names of the flags
	query, origin    string
	file, secretFile string
	keepOld, endOld  bool
	redirectURIs     []string
	postLogoutURIs   []string
	changes          []func(*admin.ClientMetadata)
}

// A clientFlag is a flag of the command client.
type clientFlag struct {
	name, arg string
	help      string
	actions   string // that take it
	set       func(o *clientOptions, value string) error
}

func (f clientFlag) define(fs *flag.FlagSet, inv *invocation) {
	o := &inv.client
	set := func(s string) error {
		o.given = append(o.given, f.name)
		return f.set(o, s)
	}
	if f.arg == "" {
		fs.BoolFunc(f.name, f.help, set)
		return
	}
	fs.Func(f.name, f.help, set)
}

func (f clientFlag) usage(w io.Writer) {
	fmt.Fprintf(w, "  %s\n\t%s [%s]\n", strings.TrimSpace("-"+f.name+" "+f.arg), f.help, f.actions)
}

// clientFlags returns the flags, in the order of the help.
func clientFlags() []clientFlag {
	const changing = "create, update"
	text := func(name, arg, help string, at func(*admin.ClientMetadata) *string) clientFlag {
		return clientFlag{name, arg, help, changing, func(o *clientOptions, s string) error {
			o.changes = append(o.changes, func(m *admin.ClientMetadata) { *at(m) = s })
			return nil
		}}
	}
	return []clientFlag{
		{"q", "TEXT", "clients with TEXT in id, name or redirect URI", "list", func(o *clientOptions, s string) error { o.query = s; return nil }},
		{"origin", "ORIGIN", "clients made by: administrator, declared, registered, document", "list", func(o *clientOptions, s string) error { o.origin = s; return nil }},
		{"file", "FILE", "the client as JSON", changing, func(o *clientOptions, s string) error { o.file = s; return nil }},
		{"id", "ID", "its id; a random one if left out", "create", func(o *clientOptions, s string) error {
			o.changes = append(o.changes, func(m *admin.ClientMetadata) { m.ID = s })
			return nil
		}},
		text("name", "NAME", "its name, for people", func(m *admin.ClientMetadata) *string { return &m.Name }),
		{"redirect-uri", "URI", "where logins end; repeat it for more than one. These replace the ones before", changing, func(o *clientOptions, s string) error {
			o.redirectURIs = append(o.redirectURIs, s)
			return nil
		}},
		{"post-logout-redirect-uri", "URI", "where logouts may end; may be repeated", changing, func(o *clientOptions, s string) error {
			o.postLogoutURIs = append(o.postLogoutURIs, s)
			return nil
		}},
		switchFlag("public", "it has no secret (an application on people's machines)", changing, func(m *admin.ClientMetadata, on bool) {
			switch {
			case on:
				m.TokenEndpointAuthMethod = "none"
			case m.TokenEndpointAuthMethod == "none":
				m.TokenEndpointAuthMethod = "" // the default, with a secret
			}
		}),
		text("auth-method", "METHOD", "how it authenticates: none, client_secret_basic, client_secret_post", func(m *admin.ClientMetadata) *string { return &m.TokenEndpointAuthMethod }),
		text("access", "WHO", "who may use it: tailnet (everybody), granted (by the policy)", func(m *admin.ClientMetadata) *string { return &m.Access }),
		text("pkce", "WHEN", "auto or required", func(m *admin.ClientMetadata) *string { return &m.PKCE }),
		text("access-token-format", "FORMAT", "jwt, or opaque: only this server can read them", func(m *admin.ClientMetadata) *string { return &m.AccessTokenFormat }),
		text("scope", "SCOPES", "the scopes it gets when it asks for none", func(m *admin.ClientMetadata) *string { return &m.Scope }),
		switchFlag("disabled", "nobody can use it; -disabled=false ends that", changing, func(m *admin.ClientMetadata, on bool) { m.Disabled = on }),
		{"secret-file", "FILE", "a file with the secret, if it has one already (32 characters or more)", "create, rotate-secret", func(o *clientOptions, s string) error {
			o.secretFile = s
			return nil
		}},
		{"keep-old", "", "leave the secrets before it valid", "rotate-secret", func(o *clientOptions, s string) error { return boolean(&o.keepOld)(s) }},
		{"end-old", "", "make no new secret; end all but the newest", "rotate-secret", func(o *clientOptions, s string) error { return boolean(&o.endOld)(s) }},
	}
}

func switchFlag(name, help, actions string, set func(*admin.ClientMetadata, bool)) clientFlag {
	return clientFlag{name, "", help, actions, func(o *clientOptions, s string) error {
		var on bool
		err := boolean(&on)(s)
		o.changes = append(o.changes, func(m *admin.ClientMetadata) { set(m, on) })
		return err
	}}
}

// apply changes m as the flags say.
func (o *clientOptions) apply(m *admin.ClientMetadata) {
	for _, change := range o.changes {
		change(m)
	}
	if o.redirectURIs != nil {
		m.RedirectURIs = o.redirectURIs
	}
	if o.postLogoutURIs != nil {
		m.PostLogoutRedirectURIs = o.postLogoutURIs
	}
}

// check refuses what does not fit together.
func (o *clientOptions) check(action string) error {
	for _, f := range clientFlags() {
		if slices.Contains(o.given, f.name) && !slices.Contains(strings.Split(f.actions, ", "), action) {
			return fmt.Errorf("-%s is for %s, not for %s", f.name, f.actions, action)
		}
	}
	switch {
	case action == "update" && len(o.given) == 0:
		return errors.New("nothing to change: say it by flags, or by -file")
	case o.endOld && (o.keepOld || o.secretFile != ""):
		return errors.New("-end-old makes no new secret")
	}
	return nil
}

// A clientRun is one run of the command client.
type clientRun struct {
	*adminClient
	inv *invocation
	id  string // empty for list and create
}

// path is that of the client, or of what is below it.
func (c *clientRun) path(below ...string) string {
	path := clientsPath + "/" + url.PathEscape(c.id)
	for _, s := range below {
		path += "/" + url.PathEscape(s)
	}
	return path
}

func runClient(ctx context.Context, inv *invocation) error {
	actions := map[string]func(*clientRun, context.Context) error{
		"list": (*clientRun).list, "create": (*clientRun).create, "show": (*clientRun).show,
		"update": (*clientRun).update, "delete": (*clientRun).delete, "rotate-secret": (*clientRun).rotateSecret,
	}
	var action string
	if len(inv.args) > 0 {
		action = inv.args[0]
	}
	act, ok := actions[action]
	if !ok {
		return usageError{errors.New("want list, show ID, create, update ID, delete ID or rotate-secret ID")}
	}
	run := &clientRun{inv: inv}
	switch takesID := action != "list" && action != "create"; {
	case takesID && len(inv.args) == 2 && inv.args[1] != "":
		run.id = inv.args[1]
	case takesID:
		return usageError{fmt.Errorf("%s takes one argument, the id of the client; there are %d", action, len(inv.args)-1)}
	case len(inv.args) > 1:
		return usageError{fmt.Errorf("%s takes no arguments, there are %d: its values are flags", action, len(inv.args)-1)}
	}
	if err := inv.client.check(action); err != nil {
		return usageError{err}
	}
	var err error
	if run.adminClient, err = connect(ctx, inv); err != nil {
		return err
	}
	return errors.Join(act(run, ctx), run.close())
}

// list shows all clients that there are, page by page.
func (c *clientRun) list(ctx context.Context) error {
	q := url.Values{"limit": {"100"}}
	if c.inv.client.query != "" {
		q.Set("q", c.inv.client.query)
	}
	if c.inv.client.origin != "" {
		q.Set("origin", c.inv.client.origin)
	}
	clients := []json.RawMessage{}
	for {
		body, err := c.call(ctx, http.MethodGet, clientsPath+"?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		var page struct {
			Clients []json.RawMessage `json:"clients"`
			Next    string            `json:"next"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("reading answer: %w", err)
		}
		clients = append(clients, page.Clients...)
		if page.Next == "" {
			break
		}
		q.Set("after", page.Next)
	}
	if !c.inv.json {
		return printClients(c.inv.out, clients)
	}
	body, err := json.Marshal(map[string]any{"clients": clients})
	if err != nil {
		return err
	}
	return printJSON(c.inv.out, body)
}

func (c *clientRun) show(ctx context.Context) error {
	body, err := c.call(ctx, http.MethodGet, c.path(), nil)
	if err != nil {
		return err
	}
	return c.print(body)
}

// print shows an answer that is one JSON object.
func (c *clientRun) print(body []byte) error {
	if c.inv.json {
		return printJSON(c.inv.out, body)
	}
	return printMembers(c.inv.out, body)
}

func (c *clientRun) create(ctx context.Context) error {
	client, err := c.fromFile()
	if err != nil {
		return err
	}
	c.inv.client.apply(&client.ClientMetadata)
	if c.inv.client.secretFile != "" {
		if client.Secret, err = readSecret(c.inv.client.secretFile); err != nil {
			return err
		}
	}
	return c.send(ctx, http.MethodPost, clientsPath, "", client)
}

// send sends a client and shows the answer.
func (c *clientRun) send(ctx context.Context, method, path, ifMatch string, client admin.Client) error {
	if client.RedirectURIs == nil {
		client.RedirectURIs = []string{}
	}
	body, err := json.Marshal(client)
	if err != nil {
		return err
	}
	answer, _, err := c.exchange(ctx, method, path, ifMatch, body)
	if err != nil {
		return err
	}
	return c.print(answer)
}

// update sends the client as it is, changed by the flags. If it is changed by
// others in between, it begins anew.
func (c *clientRun) update(ctx context.Context) error {
	const tries = 5
	for try := 1; ; try++ {
		client, err := c.fromFile()
		if err != nil {
			return err
		}
		etag := ""
		if c.inv.client.file == "" {
			var body []byte
			if body, etag, err = c.exchange(ctx, http.MethodGet, c.path(), "", nil); err != nil {
				return err
			}
			if err := admin.Decode(body, &client); err != nil {
				return fmt.Errorf("the server is of another version than this program, which cannot read what it answers: %w", err)
			}
		}
		c.inv.client.apply(&client.ClientMetadata)
		err = c.send(ctx, http.MethodPut, c.path(), etag, client)
		if refused, ok := errors.AsType[*refusedError](err); !ok || refused.status != http.StatusPreconditionFailed || try == tries {
			return err
		}
	}
}

// fromFile returns the client of -file, or an empty one.
func (c *clientRun) fromFile() (client admin.Client, err error) {
	name := c.inv.client.file
	if name == "" {
		return client, nil
	}
	var data []byte
	if name == "-" {
		data, err = io.ReadAll(os.Stdin)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return client, fmt.Errorf("reading client: %w", err)
	}
	if err := admin.Decode(data, &client); err != nil {
		if e, ok := errors.AsType[*admin.FieldError](err); ok {
			return client, fmt.Errorf("%s:%s: %w", name, position(data, e.Offset), err)
		}
		return client, fmt.Errorf("%s: %w", name, err)
	}
	return client, nil
}

// position is an offset as line and column, in bytes, both from 1 on.
func position(data []byte, offset int64) string {
	before := data[:min(offset, int64(len(data)))]
	return fmt.Sprintf("%d:%d", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

// readSecret reads a secret from a file, without the end of its line.
func readSecret(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading secret: %w", err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("the secret file %s is empty", file)
	}
	return secret, nil
}

func (c *clientRun) delete(ctx context.Context) error {
	if _, err := c.call(ctx, http.MethodDelete, c.path(), nil); err != nil {
		return err
	}
	if c.inv.json {
		return json.NewEncoder(c.inv.out).Encode(map[string]any{"client_id": c.id, "deleted": true})
	}
	_, err := fmt.Fprintf(c.inv.out, "%s is deleted, with everything granted to it\n", c.id)
	return err
}
