// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// maxShown is how many bytes of a name the table shows.
const maxShown = 40

// Summary writes what an import of s would bring, for people: a table of the
// clients, and all notes. It holds no secret and, whatever the files hold, no
// control character but line feeds. It returns the error of w.
func (s *State) Summary(w io.Writer) error {
	var b bytes.Buffer
	s.summarizeFiles(&b)
	if len(s.Clients) > 0 {
		fmt.Fprintln(&b)
		summarizeClients(&b, s.Clients)
	}
	s.summarizeNotes(&b)
	_, err := w.Write(b.Bytes())
	return err
}

func (s *State) summarizeFiles(b *bytes.Buffer) {
	if len(s.Files) == 0 {
		fmt.Fprintln(b, "There is nothing to import.")
		return
	}
	for _, file := range s.Files {
		fmt.Fprintf(b, "Read %s\n", show(file))
	}
	fmt.Fprintln(b)
	if s.Key != nil {
		fmt.Fprintf(b, "Signing key: %s, RSA with %d bits\n", s.Key.ID, s.Key.Private.N.BitLen())
	} else {
		fmt.Fprintln(b, "Signing key: none")
	}
	fmt.Fprintf(b, "Clients: %d\n", len(s.Clients))
}

// summarizeClients writes one line for each redirect URI, the first beside the
// client.
func summarizeClients(b *bytes.Buffer, clients []Client) {
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tMADE BY\tSECRET\tSTATE\tREDIRECT URIS")
	for i := range clients {
		c := &clients[i]
		uris := []string{"-"}
		if len(c.RedirectURIs) > 0 {
			uris = c.showRedirectURIs()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", show(c.ID), c.showName(),
			choose(c.DynamicallyRegistered, "itself", "administrator"),
			choose(c.Secret.IsZero(), "none", "yes"),
			choose(c.Disabled, "disabled", "enabled"), uris[0])
		for _, uri := range uris[1:] {
			fmt.Fprintf(table, "\t\t\t\t\t%s\n", uri)
		}
	}
	table.Flush() // into a buffer
}

func (c *Client) showName() string {
	if len(c.Name) > maxShown {
		return show(cut(c.Name, maxShown)) + "…"
	}
	return show(c.Name)
}

func (c *Client) showRedirectURIs() []string {
	legacy := make(map[string]bool)
	for _, uri := range c.LegacyRedirectURIs {
		legacy[uri] = true
	}
	var shown []string
	for _, uri := range c.RedirectURIs {
		shown = append(shown, show(uri)+choose(legacy[uri], " (legacy)", ""))
	}
	return shown
}

func (s *State) summarizeNotes(b *bytes.Buffer) {
	if len(s.Notes) > 0 {
		fmt.Fprint(b, "\nFiles:\n")
		writeNotes(b, s.Notes)
	}
	for _, c := range s.Clients {
		if len(c.Notes) > 0 {
			fmt.Fprintf(b, "\nClient %s:\n", show(c.ID))
			writeNotes(b, c.Notes)
		}
	}
}

func writeNotes(b *bytes.Buffer, notes []string) {
	for _, note := range notes {
		fmt.Fprintf(b, "- %s\n", note)
	}
}

// show returns s as it is if a terminal shows it as it is, and quoted otherwise.
func show(s string) string {
	switch {
	case s == "":
		return "-"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strconv.Quote(s)
	}
	return s
}

func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}
