// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An API serves /api/v1. Its handlers return the errors that they cannot
// answer themselves.
type API struct {
	Backend Backend
	Now     func() time.Time
}

// ListClients answers GET /api/v1/clients. Query: after, limit (1 to 1000,
// default 100).
func (a *API) ListClients(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit := 100
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1000 {
			return a.Backend.Reject("limit must be a number from 1 to 1000")
		}
		limit = n
	}
	page, err := a.Backend.Clients(r.Context(), q.Get("after"), limit)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, page)
}

// GetClient answers GET /api/v1/clients/{id}.
func (a *API) GetClient(w http.ResponseWriter, r *http.Request) error {
	c, err := a.Backend.Client(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, c)
}

// CreateClient answers POST /api/v1/clients: 201 with the client as it was
// stored, and its secret, which is shown this once.
func (a *API) CreateClient(w http.ResponseWriter, r *http.Request) error {
	var c Client
	if err := a.decode(r, &c); err != nil {
		return err
	}
	created, err := a.Backend.CreateClient(r.Context(), c, a.Now())
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, created)
}

// DeleteClient answers DELETE /api/v1/clients/{id}.
func (a *API) DeleteClient(w http.ResponseWriter, r *http.Request) error {
	if err := a.Backend.DeleteClient(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ListKeys answers GET /api/v1/keys.
func (a *API) ListKeys(w http.ResponseWriter, r *http.Request) error {
	return answerKeys(w)(a.Backend.Keys(r.Context()))
}

// RotateKeys answers POST /api/v1/keys/rotate with the keys as they are then.
func (a *API) RotateKeys(w http.ResponseWriter, r *http.Request) error {
	return answerKeys(w)(a.Backend.RotateKeys(r.Context()))
}

// RetireKey answers DELETE /api/v1/keys/{kid} with the keys that are left.
func (a *API) RetireKey(w http.ResponseWriter, r *http.Request) error {
	return answerKeys(w)(a.Backend.RetireKey(r.Context(), r.PathValue("kid")))
}

func answerKeys(w http.ResponseWriter) func([]Key, error) error {
	return func(keys []Key, err error) error {
		if err != nil {
			return err
		}
		return answer(w, http.StatusOK, map[string][]Key{"keys": keys})
	}
}

// decode reads one JSON value. Unknown members are ignored, as RFC 7591
// section 2 wants; the type must be right, for a page of another origin can
// send JSON as text/plain without asking.
func (a *API) decode(r *http.Request, v any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return a.Backend.Reject("the Content-Type must be application/json")
	}
	dec := json.NewDecoder(r.Body)
	err := dec.Decode(v)
	if err == nil {
		_, err = dec.Token()
		if err == nil {
			return a.Backend.Reject("the body must be one JSON object and nothing after it")
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// The path may begin with the name of an embedded struct.
		member := typeErr.Field[strings.LastIndexByte(typeErr.Field, '.')+1:]
		if member == "" {
			return a.Backend.Reject("the body must be a JSON object")
		}
		return a.Backend.Reject("%s: a JSON %s does not fit here", member, typeErr.Value)
	}
	if !errors.Is(err, io.EOF) || dec.InputOffset() == 0 {
		return a.Backend.Reject("the body is not valid JSON: %v", err)
	}
	return nil
}

func answer(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
	return nil
}
