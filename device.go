// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// The device authorization endpoint (RFC 8628 section 3.1), for programs that
// have no browser beside them: command lines on servers. What follows is on
// the page of device_page.go and in grant_device.go.

// deviceResponse is the answer (RFC 8628 section 3.2).
type deviceResponse struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	VerificationAll string `json:"verification_uri_complete"`
	ExpiresIn       int64  `json:"expires_in"`
	Interval        int64  `json:"interval"`
}

// Bounds on the requests of one node, each of which is a row of the store.
const (
	maxDeviceRequests   = 60
	deviceRequestWindow = 10 * time.Minute
)

// serveDeviceAuthorization begins a device's login. Its sender has proved to
// be a client and, since a public client proves nothing, to be in the tailnet
// as well: a request from nowhere writes nothing. A tagged node may ask, for
// it is a person who approves.
func (p *Provider) serveDeviceAuthorization(w http.ResponseWriter, r *http.Request) error {
	f, err := parseForm(r)
	if err != nil {
		return err
	}
	c, err := p.authenticateClient(r, f)
	if err != nil {
		return err
	}
	if !c.allowsGrantType(grantDeviceCode) {
		return fail(codeUnauthorizedClient, "this client is not registered for the grant type %s", grantDeviceCode)
	}
	if c.Disabled {
		return fail(codeUnauthorizedClient, "this client is disabled")
	}
	if p.fromForeignPage(r) {
		return fail(codeAccessDenied, "a web page of another origin may not begin a login as its reader's device")
	}
	who, err := p.identify(r.Context())
	if err != nil {
		return identityError(err)
	}
	d, err := p.newDeviceRequest(c, &who, f)
	if err != nil {
		return err
	}
	if wait, ok := p.deviceRequests.take(string(who.node), p.now()); !ok {
		return tooMany(wait, "this node has begun %d logins within %v; finish one of them, or wait", maxDeviceRequests, deviceRequestWindow)
	}
	deviceCode, userCode, err := p.storage.createDevice(r.Context(), d)
	if err != nil {
		return err
	}
	p.audit(r.Context(), "device login begun", AuditEvent{}, "state", "begun")
	uri, shown := p.issuer+pathDevice, showUserCode(userCode)
	writeJSON(w, http.StatusOK, deviceResponse{
		DeviceCode: deviceCode, UserCode: shown, VerificationURI: uri, VerificationAll: uri + "?user_code=" + shown,
		ExpiresIn: int64(deviceLifetime / time.Second), Interval: pollInterval,
	})
	return nil
}

// newDeviceRequest reads what the device asks for, as /authorize would.
func (p *Provider) newDeviceRequest(c *client, who *identity, f *form) (*deviceRequest, error) {
	scopes, err := c.checkScope(f.get("scope"))
	if err != nil {
		return nil, err
	}
	resources := askedResources(f, who, c, p.issuer)
	if err := checkResources(resources); err != nil {
		return nil, err
	}
	return &deviceRequest{
		authorization: authorization{clientID: c.ID, scopes: scopes, resources: resources},
		asker:         asker{Addr: who.addr, Node: who.nodeName, Who: who.principal(), Subject: who.subject(), Tagged: who.tagged()},
		expiresAt:     p.now().Add(deviceLifetime).UTC(),
		state:         devicePending,
		poll:          polling{Interval: pollInterval},
	}, nil
}

// userCodeLetters are those that RFC 8628 section 6.1 proposes: without
// vowels, so that no words come out, and without what looks alike.
const userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"

// userCodeLen makes 20^8 codes: 34.5 bits, which with few tries is the chance
// of 2^-32 that RFC 8628 section 5.1 has in mind.
const userCodeLen = 8

func newUserCode() string {
	code := make([]byte, 0, userCodeLen)
	for len(code) < userCodeLen {
		var b [1]byte
		rand.Read(b[:])
		if n := len(userCodeLetters); int(b[0]) < 256/n*n { // each letter equally often
			code = append(code, userCodeLetters[int(b[0])%n])
		}
	}
	return string(code)
}

// showUserCode is how people see a code: in two halves.
func showUserCode(code string) string {
	return code[:userCodeLen/2] + "-" + code[userCodeLen/2:]
}

// parseUserCode reads what somebody has typed: letter case and everything
// that is neither letter nor digit is ignored (RFC 8628 section 6.1). ok says
// whether it could be a code.
func parseUserCode(typed string) (code string, ok bool) {
	if len(typed) > 256 {
		return "", false
	}
	code = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case unicode.IsLetter(r), unicode.IsDigit(r):
			return r
		}
		return -1
	}, typed)
	return code, len(code) == userCodeLen && strings.Trim(code, userCodeLetters) == ""
}

// tooMany refuses what was tried too often.
func tooMany(wait time.Duration, format string, args ...any) *protocolError {
	e := fail(codeTooManyRequests, "%s", fmt.Sprintf(format, args...))
	e.wait = wait
	return e
}
