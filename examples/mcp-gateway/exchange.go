// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
)

// An exchanger exchanges tokens at a tsidp.
type exchanger struct {
	issuer           string
	clientID, secret string // both empty: a tagged node, which needs neither

	endpoint atomic.Pointer[string] // of tokens; nil until the issuer has told it
}

// A refusal is an error of RFC 6749 section 5.2.
type refusal struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (r *refusal) Error() string { return r.Code + ": " + r.Description }

var client = &http.Client{
	Timeout: 10 * time.Second,
	// Whoever a redirect leads to must not get tokens.
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// exchange returns a token for resource, for the person of the given token.
//
// Nothing is kept: each call asks, so what the policy takes away is gone at
// once. A gateway with much traffic would keep answers for a short while.
func (x *exchanger) exchange(ctx context.Context, token, resource string) (string, error) {
	endpoint, err := x.tokenEndpoint(ctx)
	if err != nil {
		return "", err
	}
	form := url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {token},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"resource":           {resource},
	}
	req, err := http.NewRequestWithContext(ctx, "POST", endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if x.clientID != "" {
		// RFC 6749 section 2.3.1: both are form-encoded.
		req.SetBasicAuth(url.QueryEscape(x.clientID), url.QueryEscape(x.secret))
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		refusal
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("token endpoint: %s, %w", res.Status, err)
	}
	switch {
	case res.StatusCode == http.StatusOK && answer.AccessToken != "":
		return answer.AccessToken, nil
	case answer.Code != "":
		return "", &answer.refusal
	}
	return "", fmt.Errorf("token endpoint: %s without a token", res.Status)
}

// tokenEndpoint asks the issuer until it has answered once.
func (x *exchanger) tokenEndpoint(ctx context.Context) (string, error) {
	if known := x.endpoint.Load(); known != nil {
		return *known, nil
	}
	metadata, err := auth.GetAuthServerMetadata(ctx, x.issuer, client)
	if err != nil {
		return "", err
	}
	if metadata == nil {
		return "", errors.New("there is no metadata at " + x.issuer)
	}
	x.endpoint.Store(&metadata.TokenEndpoint)
	return metadata.TokenEndpoint, nil
}
