// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/tailscale/tsidp"
)

// runKeys is the command keys.
func runKeys(ctx context.Context, inv *invocation) error {
	action, want := "", 1
	if len(inv.args) > 0 {
		action = inv.args[0]
	}
	method, path := http.MethodGet, "/api/v1/keys"
	switch action {
	case "list":
	case "rotate":
		method, path = http.MethodPost, path+"/rotate"
	case "retire":
		want = 2
		if len(inv.args) == want {
			method, path = http.MethodDelete, path+"/"+url.PathEscape(inv.args[1])
		}
	default:
		return usageError{errors.New("want list, rotate or retire KID")}
	}
	if len(inv.args) != want {
		return usageError{fmt.Errorf("%s takes %d arguments, there are %d", action, want-1, len(inv.args)-1)}
	}
	c, err := connect(ctx, inv)
	if err != nil {
		return err
	}
	body, err := c.call(ctx, method, path, nil)
	if err := errors.Join(err, c.close()); err != nil {
		return err
	}
	if inv.json {
		return printJSON(inv.out, body)
	}
	return printKeys(inv.out, body)
}

func printJSON(w io.Writer, body []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// printKeys shows a list of keys as a table.
func printKeys(w io.Writer, body []byte) error {
	var list struct {
		Keys []struct {
			ID        string    `json:"kid"`
			Alg       string    `json:"alg"`
			State     string    `json:"state"`
			CreatedAt time.Time `json:"created_at"`
			UsableAt  time.Time `json:"usable_at"`
			Until     time.Time `json:"until"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	moment := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.UTC().Format("2006-01-02T15:04Z")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KID\tALG\tSTATE\tCREATED\tUSABLE\tUNTIL")
	for _, k := range list.Keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Alg, k.State, moment(k.CreatedAt), moment(k.UsableAt), moment(k.Until))
	}
	return table.Flush()
}

// runBackup is the command backup.
func runBackup(ctx context.Context, inv *invocation) error {
	if len(inv.args) != 1 {
		return usageError{fmt.Errorf("want one argument, the new file; there are %d", len(inv.args))}
	}
	file, err := filepath.Abs(inv.args[0])
	if err != nil {
		return err
	}
	if err := backUp(ctx, inv, file); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("looking at the backup: %w", err)
	}
	if inv.json {
		return json.NewEncoder(inv.out).Encode(map[string]any{"path": file, "bytes": info.Size()})
	}
	_, err = fmt.Fprintf(inv.out, "%s: %d bytes\n", file, info.Size())
	return err
}

// backUp lets the server write the snapshot, or writes it if none runs.
func backUp(ctx context.Context, inv *invocation, file string) error {
	c, err := dialServer(inv.config)
	if err != nil {
		return err
	}
	if c != nil {
		body, err := json.Marshal(backupMessage{Path: file})
		if err == nil {
			_, err = c.call(ctx, http.MethodPost, "/backup", body)
		}
		return errors.Join(err, c.close())
	}
	if inv.config.store != "" {
		return errNoFile
	}
	st, err := openAlone(ctx, inv)
	if err != nil {
		return err
	}
	return errors.Join(st.backup(ctx, file), st.store.Close())
}

// runImport is the command import.
func runImport(_ context.Context, inv *invocation) error {
	if len(inv.args) > 1 {
		return usageError{fmt.Errorf("want one directory, there are %d", len(inv.args))}
	}
	if len(inv.args) == 1 {
		inv.config.dir = inv.args[0]
	}
	dir, err := inv.config.stateDir()
	if err != nil {
		return err
	}
	if !inv.dryRun {
		return usageError{fmt.Errorf("the import happens at the first start of a server with -dir %s, once; use -n to see what it would take over", dir)}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no directory that can be read: name the state directory of the earlier version", dir)
	}
	return tsidp.DescribeImport(inv.out, dir)
}
