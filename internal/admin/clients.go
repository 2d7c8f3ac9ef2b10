// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The handlers of /api/v1/clients. docs/api.md describes them.

// Bounds on the parameters of a list.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxQuery     = 256 // bytes of q
)

// ListClients answers GET /api/v1/clients. Query: q, origin, after, limit (1
// to 1000, default 100).
func (a *API) ListClients(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	q := ClientQuery{Text: values.Get("q"), Origin: values.Get("origin"), After: values.Get("after")}
	var err error
	if q.Limit, err = a.limit(r); err != nil {
		return err
	}
	if len(q.Text) > maxQuery {
		return a.Backend.Reject("q", "must not be longer than %d bytes", maxQuery)
	}
	page, err := a.Backend.Clients(r.Context(), q)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

// limit is how many entries of a list r asks for.
func (a *API) limit(r *http.Request) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, a.Backend.Reject("limit", "must be a number from 1 to %d", maxLimit)
	}
	return n, nil
}

// GetClient answers GET /api/v1/clients/{id}.
func (a *API) GetClient(w http.ResponseWriter, r *http.Request) error {
	c, err := a.Backend.Client(r.Context(), r.PathValue("id"))
	return answerClient(w, http.StatusOK, c, err)
}

// CreateClient answers POST /api/v1/clients: 201 with the client as it was
// stored, and its secret, which is shown this once.
func (a *API) CreateClient(w http.ResponseWriter, r *http.Request) error {
	var c Client
	if err := a.decode(r, &c); err != nil {
		return err
	}
	created, err := a.Backend.CreateClient(r.Context(), c, a.Now())
	return answerClient(w, http.StatusCreated, created, err)
}

// ReplaceClient answers PUT /api/v1/clients/{id}: 200 with the client as it
// is stored now.
func (a *API) ReplaceClient(w http.ResponseWriter, r *http.Request) error {
	var c Client
	if err := a.decode(r, &c); err != nil {
		return err
	}
	replaced, err := a.Backend.ReplaceClient(r.Context(), r.PathValue("id"), match(r), c, a.Now())
	return answerClient(w, http.StatusOK, replaced, err)
}

// DeleteClient answers DELETE /api/v1/clients/{id}.
func (a *API) DeleteClient(w http.ResponseWriter, r *http.Request) error {
	if err := a.Backend.DeleteClient(r.Context(), r.PathValue("id"), match(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// AdoptClient answers POST /api/v1/clients/{id}/adopt, which needs If-Match:
// 200 with the client, which is one of the administrator's now.
func (a *API) AdoptClient(w http.ResponseWriter, r *http.Request) error {
	c, err := a.Backend.AdoptClient(r.Context(), r.PathValue("id"), match(r))
	return answerClient(w, http.StatusOK, c, err)
}

// AddSecret answers POST /api/v1/clients/{id}/secrets: 201 with the secret,
// which is shown this once. The body may bring one along, or be empty.
func (a *API) AddSecret(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Secret string `json:"client_secret"`
	}
	if r.ContentLength != 0 {
		if err := a.decode(r, &body); err != nil {
			return err
		}
	}
	s, err := a.Backend.AddSecret(r.Context(), r.PathValue("id"), match(r), body.Secret, a.Now())
	if err != nil {
		return err
	}
	w.Header().Set("ETag", s.ETag)
	return answer(w, http.StatusCreated, s)
}

// EndSecret answers DELETE /api/v1/clients/{id}/secrets/{secret}.
func (a *API) EndSecret(w http.ResponseWriter, r *http.Request) error {
	c, err := a.Backend.EndSecret(r.Context(), r.PathValue("id"), match(r), r.PathValue("secret"))
	if err != nil {
		return err
	}
	w.Header().Set("ETag", c.ETag)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func answerClient(w http.ResponseWriter, status int, c Client, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("ETag", c.ETag)
	return answer(w, status, c)
}

// match is the condition of r: "If-Match ... the origin server MUST NOT
// perform the requested method if ... none of the listed tags match" (RFC
// 9110 section 13.1.1). What is no tag matches nothing.
func match(r *http.Request) Match {
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return nil
	}
	var tags []string
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") { // our tags hold no comma
			tags = append(tags, strings.TrimSpace(tag))
		}
	}
	return func(etag string) bool { return slices.Contains(tags, "*") || slices.Contains(tags, etag) }
}

// decode reads the body, strictly. The type must be right, for a page of
// another origin can send JSON as text/plain without asking.
func (a *API) decode(r *http.Request, v any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return a.Backend.Reject("", "the Content-Type must be application/json")
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return a.unread(err)
	}
	if err := Decode(data, v); err != nil {
		if e, ok := errors.AsType[*FieldError](err); ok {
			return a.Backend.Reject(e.Field, "%s", e.Problem)
		}
		return a.Backend.Reject("", "the body cannot be read: %v", err)
	}
	return nil
}

// unread is the error for a body that did not arrive whole.
func (a *API) unread(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	return a.Backend.Reject("", "the request body ended early")
}
