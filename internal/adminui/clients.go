// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package adminui

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tailscale/tsidp/internal/admin"
)

const (
	clientsLimit = 50
	maxSearch    = 256 // bytes
)

// origins are those to choose from.
var origins = []choice{{"", "all"}, {"administrator", "made here"}, {"declared", "declared in a file"}, {"registered", "registered itself"}}

// clientsPage is the data of clients.html.
type clientsPage struct {
	page
	Text, Origin string
	Origins      []choice
	Clients      []clientRow
	First, Next  string
}

// A clientRow is a client in a list.
type clientRow struct{ admin.Client }

// Display is the client's name, or its id.
func (c clientRow) Display() string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}

// Unusable reports whether it needs a secret and has none.
func (c clientRow) Unusable() bool {
	return len(c.Secrets) == 0 && c.TokenEndpointAuthMethod != "none" && c.TokenEndpointAuthMethod != "private_key_jwt"
}

// Hosts are where it takes its codes.
func (c clientRow) Hosts() []string {
	var hosts []string
	seen := make(map[string]bool)
	for _, uri := range c.RedirectURIs {
		if h := host(uri); !seen[h] {
			seen[h] = true
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// host is the part of an address by which people know it.
func host(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return uri
	case u.Scheme != "http" && u.Scheme != "https":
		return u.Scheme + ":"
	}
	return u.Host
}

// Clients answers GET /admin/clients.
func (u *UI) Clients(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	p := clientsPage{Text: v.Get("q"), Origin: v.Get("origin"), Origins: origins}
	var err error
	if p.page, err = u.newPage(r, "/admin/clients", "Clients"); err != nil {
		return err
	}
	p.Clients, p.Next, err = u.findClients(r, p.Text, p.Origin)
	status := http.StatusOK
	if err != nil {
		_, _, message, ok := problem(err)
		if !ok {
			return err
		}
		p.Problem, status = message, http.StatusBadRequest
	}
	if p.Next != "" {
		p.Next = u.path("/admin/clients", "q", p.Text, "origin", p.Origin, "after", p.Next)
	}
	if v.Get("after") != "" {
		p.First = u.path("/admin/clients", "q", p.Text, "origin", p.Origin)
	}
	return u.render(w, status, "clients.html", p)
}

// findClients returns the page of clients that the request asks for, and the
// name of the next.
func (u *UI) findClients(r *http.Request, text, origin string) (rows []clientRow, next string, err error) {
	if len(text) > maxSearch {
		return nil, "", u.cfg.Backend.Reject("", "Search for at most %d bytes.", maxSearch)
	}
	res, err := u.cfg.Backend.Clients(r.Context(), admin.ClientQuery{Text: text, Origin: origin, After: r.URL.Query().Get("after"), Limit: clientsLimit})
	if err != nil {
		return nil, "", err
	}
	for _, c := range res.Clients {
		rows = append(rows, clientRow{c})
	}
	if res.Next == "" && !r.URL.Query().Has("after") { // that is all there are
		slices.SortStableFunc(rows, func(a, b clientRow) int {
			return cmp.Compare(strings.ToLower(a.Display()), strings.ToLower(b.Display()))
		})
	}
	return rows, res.Next, nil
}
