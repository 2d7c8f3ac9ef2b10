// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"net/http"
	"time"
)

// deviceGrant is the grant type device_code (RFC 8628 section 3.4): a device
// asks for its tokens, again and again, until the person has decided on the
// page of device_page.go.
type deviceGrant struct {
	plainGrant
	code string

	request *deviceRequest // set by bind
}

func (g *deviceGrant) action() action { return actRedeem }

// bind answers by what has become of the request (RFC 8628 section 3.5).
func (g *deviceGrant) bind(ctx context.Context, p *Provider, req *tokenRequest) (*authorization, error) {
	if g.code == "" {
		return nil, fail(codeInvalidRequest, "device_code is missing")
	}
	d, err := p.storage.deviceByCode(ctx, g.code)
	if err != nil {
		return nil, notFoundOr(err, fail(codeInvalidGrant, "the device code is not valid, or expired long ago"))
	}
	switch {
	case d.clientID != req.client.ID:
		return nil, fail(codeInvalidGrant, "the device code was issued to another client")
	case d.expired(p.now()):
		return nil, fail(codeExpiredToken, "the device code has expired; ask for a new one")
	case d.state == devicePending:
		return nil, p.storage.pollDevice(ctx, d, req.client.method)
	case d.state != deviceApproved:
		e := fail(codeAccessDenied, "the person has denied the request")
		e.answer = http.StatusBadRequest // as all errors of the token endpoint (RFC 6749 section 5.2)
		return nil, e
	}
	g.request = d
	return &d.authorization, nil
}

func (g *deviceGrant) consume(ctx context.Context, p *Provider, req *tokenRequest) (string, string, time.Time, error) {
	return p.openGrant(ctx, req.client, g.request)
}
