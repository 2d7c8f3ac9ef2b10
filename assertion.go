// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
)

// Client authentication by private_key_jwt (RFC 7523 section 2.2, OpenID
// Connect Core section 9): the client signs a short statement of who it is,
// for us, for once.

// assertionType is the only value of client_assertion_type.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// maxAssertionLen in bytes. One with a signature by RSA of 8192 bits and
	// long names has 3 KiB.
	maxAssertionLen = 8 << 10
	// maxAssertionLife is how far ahead exp may be: "The authorization server
	// MAY reject JWTs with an "exp" claim value that is unreasonably far in
	// the future" (RFC 7523 section 3). It is how long a stolen one that was
	// never sent is good, and how long each jti is kept.
	maxAssertionLife = 10 * time.Minute
	// assertionLeeway is how much a client's clock may differ from ours.
	assertionLeeway = 30 * time.Second
	// maxAssertionID in bytes, of the jti.
	maxAssertionID = 256
)

// parseAssertionCredentials reads the credentials of a request with a client
// assertion. Who sends it is a claim only, until checkAssertion.
func parseAssertionCredentials(header http.Header, f *form) (credentials, error) {
	cred := credentials{id: f.get("client_id"), assertion: f.get("client_assertion"), method: authPrivateKeyJWT}
	switch {
	// "utilizes more than one mechanism for authenticating the client" (RFC
	// 6749 section 5.2).
	case header.Get("Authorization") != "" || f.get("client_secret") != "":
		return credentials{}, fail(codeInvalidRequest, "client_assertion comes alone, without an Authorization header and client_secret")
	case cred.assertion == "":
		return credentials{}, fail(codeInvalidRequest, "client_assertion is missing")
	case f.get("client_assertion_type") == "":
		return credentials{}, fail(codeInvalidRequest, "client_assertion_type is missing; want %s", assertionType)
	case f.get("client_assertion_type") != assertionType:
		return credentials{}, errClient("client_assertion_type must be " + assertionType)
	case len(cred.assertion) > maxAssertionLen:
		return credentials{}, errClient("client_assertion: too long")
	case cred.id != "":
		return cred, nil
	}
	// "The "client_id" parameter is unnecessary for client assertion
	// authentication because the client is identified by the subject" (RFC
	// 7521 section 4.2).
	id, err := jwt.ClaimedSubject(cred.assertion)
	if err != nil {
		return credentials{}, assertionError(err)
	}
	if id == "" {
		return credentials{}, errClient("client_assertion: no sub")
	}
	cred.id = id
	return cred, nil
}

// assertionError is the answer to an assertion that package jwt refuses.
func assertionError(err error) *protocolError {
	reason := jwt.Reason(err)
	if reason == "" {
		reason = "cannot be read"
	}
	return errClient("client_assertion: " + reason).because(err)
}

// assertionClaims are those of RFC 7523 section 3.
type assertionClaims struct {
	jwt.Claims
	Audience soleAudience `json:"aud"`
}

// A soleAudience is an aud that is one string. Everything else, an array of
// one string too, is not an error but no audience: an assertion that names
// several could be passed on from one server to the other (CVE-2025-27370).
type soleAudience string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *soleAudience) UnmarshalJSON(data []byte) error {
	*a = ""
	if !bytes.HasPrefix(data, []byte(`"`)) {
		return nil
	}
	return json.Unmarshal(data, (*string)(a))
}

// checkAssertion verifies that c has made the assertion, for us, and that it
// was not used before. That comes last: what fails before it can be mended
// and sent again, and nobody but the client can use up a jti of its.
func (p *Provider) checkAssertion(ctx context.Context, c *client, assertion string) error {
	payload, err := p.verifyAssertion(ctx, c, assertion)
	if err != nil {
		return err
	}
	var claims assertionClaims
	if err := jwt.Unmarshal(payload, &claims); err != nil {
		return assertionError(err)
	}
	if err := p.checkAssertionClaims(c, &claims); err != nil {
		return err
	}
	// The clock of another instance may be behind.
	until := claims.Expiry.Time().Add(assertionLeeway + clockSkew)
	err = p.store.UseOnce(ctx, "assertion:"+c.ID, claims.ID, p.now(), until)
	switch {
	case errors.Is(err, store.ErrSpent):
		return errClient("client_assertion: used before; make a new one, with another jti, for each request")
	case err != nil:
		return storeError(err)
	}
	return nil
}

// checkAssertionClaims checks what the client says with its signature.
func (p *Provider) checkAssertionClaims(c *client, claims *assertionClaims) error {
	// "The JWT MUST contain an "iss" ... For client authentication, the
	// subject MUST be the "client_id" of the OAuth client" (RFC 7523 section
	// 3). OpenID Connect Core section 9 wants both to be.
	if claims.Issuer != c.ID || claims.Subject != c.ID {
		return errClient("client_assertion: iss and sub must both be the client_id")
	}
	if aud := string(claims.Audience); aud != p.issuer && (c.AssertionAudienceStrict || aud != p.tokenEndpoint()) {
		return errClient("client_assertion: aud must be one string, " + p.wantedAudience(c))
	}
	now := p.now()
	if err := claims.CheckTime(now, assertionLeeway); err != nil {
		return assertionError(err)
	}
	if claims.Expiry.Time().After(now.Add(maxAssertionLife + assertionLeeway)) {
		return errClient("client_assertion: exp is more than 10 minutes ahead")
	}
	if claims.ID == "" || len(claims.ID) > maxAssertionID || strings.ContainsFunc(claims.ID, unprintable) {
		return errClient("client_assertion: jti must be printable text of 1 to 256 bytes, another one each time")
	}
	return nil
}

// wantedAudience says it to the developer.
func (p *Provider) wantedAudience(c *client) string {
	if c.AssertionAudienceStrict {
		return p.issuer + " exactly"
	}
	return p.issuer + " or " + p.tokenEndpoint() + " exactly"
}

// verifyAssertion checks the signature.
func (p *Provider) verifyAssertion(ctx context.Context, c *client, assertion string) ([]byte, error) {
	var failed error // why the key could not be looked up
	payload, err := jwt.VerifyAssertion(assertion, func(kid, alg string) (jwt.PublicKey, bool) {
		key, ok, err := p.clientKey(ctx, c, kid, alg)
		failed = err
		return key, ok
	})
	switch {
	case failed != nil:
		return nil, failed
	case err != nil:
		return nil, assertionError(err)
	}
	return payload, nil
}

// clientKey finds the key of c by which an assertion says to be signed.
func (p *Provider) clientKey(ctx context.Context, c *client, kid, alg string) (key jwt.PublicKey, ok bool, err error) {
	if want := c.TokenEndpointAuthSigningAlg; want != "" && alg != want {
		return jwt.PublicKey{}, false, errClient("client_assertion: alg must be " + want + ", for which this client is registered")
	}
	if c.JWKSURI == "" {
		keys, _, err := jwt.ParseClientKeys(c.JWKS, c.rsaAlg())
		if err != nil {
			// Its registration was checked.
			return jwt.PublicKey{}, false, errClient("jwks: " + err.Error())
		}
		key, ok := jwt.FindKey(keys, kid, alg)
		return key, ok, nil
	}
	keys, err := p.fetchKeys(ctx, c, time.Time{})
	if err != nil {
		return jwt.PublicKey{}, false, err
	}
	if key, ok := jwt.FindKey(keys, kid, alg); ok {
		return key, true, nil
	}
	// "The signer can begin using a new key by simply adding it to the set and
	// using the "kid" value ... The verifier knows to go back to the jwks_uri
	// location to re-retrieve the keys when it sees an unfamiliar "kid"
	// value" (OpenID Connect Core section 10.1.1).
	if keys, err = p.fetchKeys(ctx, c, p.now().Add(-keysRefetch)); err != nil {
		return jwt.PublicKey{}, false, err
	}
	key, ok = jwt.FindKey(keys, kid, alg)
	return key, ok, nil
}
