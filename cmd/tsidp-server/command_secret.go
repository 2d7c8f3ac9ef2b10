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
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/tailscale/tsidp/internal/admin"
)

// A secretChange is what rotate-secret has done.
type secretChange struct {
	ID     string   `json:"id,omitempty"` // of the new secret
	Secret string   `json:"client_secret,omitempty"`
	Ended  []string `json:"ended"` // ids
}

// rotateSecret adds a secret and ends the ones before it.
func (c *clientRun) rotateSecret(ctx context.Context) error {
	body, err := c.call(ctx, http.MethodGet, c.path(), nil)
	if err != nil {
		return err
	}
	var client admin.Client
	if err := json.Unmarshal(body, &client); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	old, done := client.Secrets, secretChange{Ended: []string{}}
	if c.inv.client.endOld {
		old = old[:max(len(old)-1, 0)] // the newest is the last one
	} else if err := c.addSecret(ctx, &done); err != nil {
		return err
	}
	if c.inv.client.keepOld {
		old = nil
	}
	for _, s := range old {
		_, endErr := c.call(ctx, http.MethodDelete, c.path("secrets", s.ID), nil)
		if refused, ok := errors.AsType[*refusedError](endErr); ok && refused.status == http.StatusNotFound {
			endErr = nil // it has ended
		}
		if endErr != nil {
			err = errors.Join(err, fmt.Errorf("ending the secret %s: %w", s.ID, endErr))
			continue
		}
		done.Ended = append(done.Ended, s.ID)
	}
	// The new secret is shown whatever came after it: nobody can ask again.
	return errors.Join(c.printRotation(done), err)
}

func (c *clientRun) addSecret(ctx context.Context, done *secretChange) error {
	body := []byte("{}")
	if file := c.inv.client.secretFile; file != "" {
		secret, err := readSecret(file)
		if err != nil {
			return err
		}
		if body, err = json.Marshal(map[string]string{"client_secret": secret}); err != nil {
			return err
		}
	}
	answer, err := c.call(ctx, http.MethodPost, c.path("secrets"), body)
	if err != nil {
		return err
	}
	var s admin.NewSecret
	if err := json.Unmarshal(answer, &s); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	done.ID, done.Secret = s.ID, s.Plaintext
	return nil
}

func (c *clientRun) printRotation(done secretChange) error {
	body, err := json.Marshal(done)
	if err != nil {
		return err
	}
	return c.print(body)
}

// printClients shows a list of clients as a table.
func printClients(w io.Writer, clients []json.RawMessage) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tAUTHENTICATION\tORIGIN\tREDIRECT URIS")
	for _, raw := range clients {
		var c admin.Client
		if err := json.Unmarshal(raw, &c); err != nil {
			return fmt.Errorf("reading answer: %w", err)
		}
		uris := "-"
		if len(c.RedirectURIs) > 0 {
			uris = c.RedirectURIs[0]
		}
		if n := len(c.RedirectURIs); n > 1 {
			uris += fmt.Sprintf(" (+%d)", n-1)
		}
		if c.Disabled {
			uris += " (disabled)"
		}
		name := c.Name
		if name == "" {
			name = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", printable(c.ID), printable(name), printable(c.TokenEndpointAuthMethod), printable(c.Origin), printable(uris))
	}
	return table.Flush()
}

// printMembers shows a JSON object as lines of names and values, in its order.
// The entries of a list stand below each other.
func printMembers(w io.Writer, body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("reading answer: %w", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("reading answer: %w", err)
		}
		label := printable(fmt.Sprint(name)) + ":"
		for _, v := range entries(value) {
			fmt.Fprintf(table, "%s\t%s\n", label, v)
			label = ""
		}
	}
	return table.Flush()
}

// entries are the lines of a value: texts as they are, everything else as
// JSON.
func entries(value json.RawMessage) []string {
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil {
		list = []json.RawMessage{value}
	}
	if len(list) == 0 {
		return []string{"-"}
	}
	var lines []string
	for _, v := range list {
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			s = string(v)
		}
		lines = append(lines, printable(s))
	}
	return lines
}

// printable returns s, quoted if a terminal could take it for something else
// than text.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
