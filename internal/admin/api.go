// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

// An API serves /api/v1. Its handlers return the errors that they cannot
// answer themselves.
type API struct {
	Backend Backend
	Now     func() time.Time
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
