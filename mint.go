// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/tsidp/internal/jwt"
)

// A mintRequest is all that goes into a token response.
type mintRequest struct {
	client *client
	life   Lifetimes
	who    *identity
	*authorization
	scopes    []string
	resources []string
	nonce     string

	// Of an exchanged token.
	act        *jwt.Actor
	issuedType string

	accessSigner, idSigner *jwt.Signer

	// What consume returned.
	tokenID string
	refresh string
	expires time.Time
}

// tokenResponse is the answer of the token endpoint (RFC 6749 section 5.1).
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	IssuedType   string `json:"issued_token_type,omitempty"`
}

// idTokenClaims are those of an ID token (OpenID Connect Core section 2).
type idTokenClaims struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	// Audience is the client alone: strict applications trust no other.
	// Imported clients have the resources beside it, as they are used to.
	Audience jwt.Audience `json:"aud"`
	Azp      string       `json:"azp,omitempty"`
	Expiry   int64        `json:"exp"`
	IssuedAt int64        `json:"iat"`
	AuthTime int64        `json:"auth_time"`
	ACR      string       `json:"acr"`
	AMR      []string     `json:"amr"`
	Nonce    string       `json:"nonce,omitempty"`
	AtHash   string       `json:"at_hash"`
	ID       string       `json:"jti"`
	userClaims
}

// mint signs the tokens of a response.
func (p *Provider) mint(m *mintRequest) (*tokenResponse, error) {
	now := p.now()
	access, err := p.mintAccessToken(m, now)
	if err != nil {
		return nil, err
	}
	res := &tokenResponse{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int64(m.expires.Sub(now) / time.Second),
		RefreshToken: m.refresh, Scope: strings.Join(m.scopes, " "), IssuedType: m.issuedType,
	}
	if slices.Contains(m.scopes, scopeOpenID) && m.issuedType == "" {
		res.IDToken, err = p.mintIDToken(m, access, now)
	}
	return res, err
}

// mintAccessToken signs an access token by RFC 9068, or seals it if nobody but
// us shall read what it says. Who exchanges a token for a JWT gets one.
func (p *Provider) mintAccessToken(m *mintRequest, now time.Time) (string, error) {
	audience := jwt.Audience(m.resources)
	if len(audience) == 0 {
		audience = jwt.Audience{p.issuer}
	}
	c := &jwt.Claims{
		Issuer: p.issuer, Subject: m.subject, Audience: audience,
		Expiry: jwt.NewNumericDate(m.expires), IssuedAt: jwt.NewNumericDate(now),
		ID: m.tokenID, ClientID: m.client.ID, Scope: strings.Join(m.scopes, " "), Act: m.act,
	}
	if m.machine {
		c.Tags = m.who.tags
	} else {
		c.AuthTime, c.ACR, c.AMR = jwt.NewNumericDate(m.authTime), acrNode, amrNode
	}
	if m.client.AccessTokenFormat == formatOpaque && m.issuedType != tokenTypeJWT {
		payload, err := json.Marshal(c)
		if err != nil {
			return "", err
		}
		return p.keys.Load().sealer.Seal(purposeAccessToken, payload), nil
	}
	token, err := m.accessSigner.Sign(jwt.TypeAccessToken, c)
	if err == nil {
		p.signed.Put(token, &signedToken{*c, m.accessSigner.Public()})
	}
	return token, err
}

func (p *Provider) mintIDToken(m *mintRequest, access string, now time.Time) (string, error) {
	claims := &idTokenClaims{
		Issuer: p.issuer, Subject: m.subject, Audience: jwt.Audience{m.client.ID},
		Expiry: now.Add(m.life.IDToken).Unix(), IssuedAt: now.Unix(), AuthTime: m.authTime.Unix(), ACR: acrNode, AMR: amrNode,
		Nonce: m.nonce, AtHash: jwt.HalfHash(m.idSigner.Alg(), access), ID: newTokenID(m.grantID),
	}
	if m.client.Imported && len(m.resources) > 0 {
		claims.Audience, claims.Azp = append(claims.Audience, m.resources...), m.client.ID
	}
	if !m.client.LeanIDToken {
		claims.userClaims = p.claimsFor(m.client, m.who, m.scopes)
	}
	// No scope asks for these, so a lean token has them too.
	claims.with(m.who.rules.extraClaims(m.client.ID, m.client.trustedName(), false))
	payload, err := marshalClaims(claims, claims.added)
	if err != nil {
		return "", err
	}
	return m.idSigner.Sign(jwt.TypeJWT, payload)
}
