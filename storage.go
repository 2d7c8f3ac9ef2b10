// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/store"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// storage maps Tailscale identities and grants onto the engine's storage,
// over store.Store. It is the only way from the protocol to the state.
//
//	what the engine names              what it is here
//	AuthRequestByCode                  opens the seal of a code
//	TokenRequestByRefreshToken         reads a refresh token and its grant
//	CreateAccessToken                  redeems a code, or an approved device
//	                                   code, without refresh token
//	CreateAccessAndRefreshTokens       redeems either with one, or rotates
//	RevokeToken                        kills a grant
//	GetClientByClientID                reads a client
//	AuthorizeClientIDSecret            checks a client's secret
//	KeySet, SignatureAlgorithms        the keyring
//	SetUserinfoFromToken,              claims of the verified token in the
//	SetIntrospectionFromToken          context
//	Health                             reads the key set
//
// Everything else is reached by no route and refuses: CreateAuthRequest,
// AuthRequestByID, SaveAuthCode and DeleteAuthRequest (authorize.go has no
// stored requests), TerminateSession, GetRefreshTokenInfo,
// SigningKey, SetUserinfoFromScopes, GetPrivateClaimsFromScopes (mint.go mints),
// GetKeyByIDAndClientID and ValidateJWTProfileScopes.
type storage struct{ p *Provider }

var _ op.Storage = (*storage)(nil)

// purposeCode is the purpose of sealed authorization codes.
const purposeCode = "code"

// Codes longer than maxCodeLen are not issued: applications and proxies cut
// long URLs.
const maxCodeLen = 1500

// sealCode returns the authorization code for c.
func (s *storage) sealCode(c *codeRequest) (string, error) {
	b, err := c.encode()
	if err != nil {
		return "", fmt.Errorf("encoding authorization code: %w", err)
	}
	code := s.p.keys.Load().sealer.Seal(purposeCode, b)
	if len(code) > maxCodeLen {
		return "", fail(codeInvalidRequest, "nonce and resources are too long together")
	}
	return code, nil
}

// AuthRequestByCode opens an authorization code. It spends nothing. The
// result is a *codeRequest.
func (s *storage) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	invalid := fail(codeInvalidGrant, "the authorization code is not valid or has expired")
	b, err := s.p.unseal(ctx, purposeCode, code)
	if err != nil {
		return nil, invalid.because(err)
	}
	c, err := decodeCode(b)
	if err != nil {
		return nil, invalid.because(err)
	}
	age := s.p.now().Sub(c.issuedAt)
	if age < -clockSkew || age >= s.p.life.Code {
		return nil, invalid.because(fmt.Errorf("code is %v old", age))
	}
	return c, nil
}

// clockSkew is how much the clocks of several instances may differ.
const clockSkew = 5 * time.Second

// A refreshRequest is a presented refresh token with the authorization
// behind it. (The engine tells codes from refresh tokens by type, so these
// are two.)
type refreshRequest struct {
	authorization
	token     string
	hash      store.Hash
	createdAt time.Time
	expiresAt time.Time
	spent     bool
	dead      bool
	endsAt    time.Time
}

// TokenRequestByRefreshToken reads a refresh token. It spends nothing. The
// result is a *refreshRequest; it may be spent or dead.
func (s *storage) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	r, err := s.refreshToken(ctx, token)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (s *storage) refreshToken(ctx context.Context, token string) (*refreshRequest, error) {
	invalid := fail(codeInvalidGrant, "the refresh token is not valid, has expired or has been revoked")
	if b, err := base64.RawURLEncoding.Strict().DecodeString(token); err != nil || len(b) != 32 {
		return nil, invalid
	}
	hash := store.Hash(sha256.Sum256([]byte(token)))
	rt, rec, err := s.p.store.Refresh(ctx, hash, s.p.now())
	if err != nil {
		return nil, notFoundOr(err, invalid)
	}
	a, ends, err := decodeGrant(rec)
	if err != nil {
		return nil, err
	}
	return &refreshRequest{
		authorization: *a, token: token, hash: hash,
		createdAt: rt.CreatedAt, expiresAt: rt.ExpiresAt,
		spent: !rt.SpentAt.IsZero(), dead: !rec.DeadAt.IsZero(), endsAt: ends,
	}, nil
}

// newTokenID returns the jti of a token that hangs from a grant. It names the
// grant, so that introspection finds it; the rest is random.
func newTokenID(grantID string) string {
	var b [12]byte
	rand.Read(b[:])
	return grantID + "." + base64.RawURLEncoding.EncodeToString(b[:])
}

// An opening is what a grant opens with: an authorization code, or a device
// code that a person has approved. The grant's id is what makes it spent.
type opening struct {
	*authorization
	name    string    // of what is presented, for people
	givenAt time.Time // by the person: a revocation since then counts
	until   time.Time // nobody takes it any longer, whatever their clock
	hasPKCE bool
}

// opening shows a code to redeem.
func (c *codeRequest) opening() opening {
	return opening{
		authorization: &c.authorization, name: "authorization code",
		givenAt: c.issuedAt, until: c.issuedAt.Add(maxCodeLifetime + clockSkew), hasPKCE: c.hasPKCE,
	}
}

// CreateAccessToken redeems the code in request, which spends it, and opens
// a grant that lives as long as its access token.
func (s *storage) CreateAccessToken(ctx context.Context, request op.TokenRequest) (string, time.Time, error) {
	id, _, expires, err := s.redeem(ctx, request, false)
	return id, expires, err
}

// CreateAccessAndRefreshTokens redeems the code in request, if current is
// empty, or rotates the refresh token current.
func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	if current == "" {
		return s.redeem(ctx, request, true)
	}
	r, ok := request.(*refreshRequest)
	if !ok || r.token != current {
		return "", "", time.Time{}, unreachable("rotating %T", request)
	}
	return s.rotate(ctx, r)
}

// redeem is one store verb.
func (s *storage) redeem(ctx context.Context, request op.TokenRequest, withRefresh bool) (id, refresh string, expires time.Time, err error) {
	code, ok := request.(interface{ opening() opening })
	if !ok {
		return "", "", time.Time{}, unreachable("redeeming %T", request)
	}
	c := code.opening()
	life, now := c.life, s.p.now()
	expires = now.Add(life.AccessToken)
	red := store.Redemption{IssuedAt: c.givenAt, Now: now}
	grantEnds, ends := expires, expires
	if withRefresh {
		ends = now.Add(life.RefreshTotal)
		red.Refresh, refresh = newRefresh(c.grantID, now, refreshExpiry(now, ends, life))
		grantEnds = red.Refresh.ExpiresAt
	}
	// "never before the code's expiry": the row is what makes the code spent.
	grantEnds = later(grantEnds, c.until, expires)
	if red.Grant, err = c.record(now, grantEnds, ends); err != nil {
		return "", "", time.Time{}, err
	}
	if c.hasPKCE {
		red.Marks = []store.Record{{Kind: kindPKCESeen, ID: c.clientID, CreatedAt: now}}
	}
	switch err := s.p.store.Redeem(ctx, red); {
	case errors.Is(err, store.ErrSpent):
		return "", "", time.Time{}, s.replayed(ctx, c)
	case errors.Is(err, store.ErrDead):
		return "", "", time.Time{}, fail(codeInvalidGrant, "the authorization has been revoked")
	case err != nil:
		return "", "", time.Time{}, storeError(err)
	}
	return newTokenID(c.grantID), refresh, expires, nil
}

// doubleClick is how soon after its redemption a code may come again without
// being taken for stolen: an impatient browser sends a request twice.
const doubleClick = 2 * time.Second

// replayed answers a code that was spent before. "If an authorization code is
// used more than once, the authorization server MUST deny the request and
// SHOULD revoke ... all access tokens and refresh tokens previously issued
// based on that authorization code" (RFC 6749 section 4.1.2). The caller has
// proved to be the client and, for a code, to hold the verifier.
func (s *storage) replayed(ctx context.Context, c opening) error {
	answer := fail(codeInvalidGrant, "the %s has been used before", c.name)
	rec, err := s.p.store.Get(ctx, store.KindGrant, c.grantID, s.p.now())
	if errors.Is(err, store.ErrNotFound) {
		return answer
	}
	if err != nil {
		return storeError(err)
	}
	if s.p.now().Sub(rec.CreatedAt) < doubleClick {
		return answer
	}
	if err := s.killGrant(ctx, c.grantID, "code_replay"); err != nil {
		return err
	}
	return answer
}

// rotate is one store verb. The successor derives from the presented token
// and a salt, so that whoever holds the token and retries gets the same one,
// on any instance, while the store holds nothing that could make it.
func (s *storage) rotate(ctx context.Context, r *refreshRequest) (id, refresh string, expires time.Time, err error) {
	life, now := r.life, s.p.now()
	rot := store.Rotation{
		Old: r.hash, Now: now, Grace: refreshGrace,
		NextExpiresAt: refreshExpiry(now, r.endsAt, life),
	}
	expires = now.Add(life.AccessToken)
	rot.GrantExpiresAt = later(rot.NextExpiresAt, expires)
	rand.Read(rot.Salt[:])
	rot.Next = sha256.Sum256([]byte(successor(r.token, rot.Salt)))
	salt, err := s.p.store.Rotate(ctx, rot)
	switch {
	case errors.Is(err, store.ErrReuse):
		s.p.audit(ctx, "refresh token reused; its grant is revoked", AuditEvent{Event: eventRevoke, Grant: r.grantID, Client: r.clientID, Reason: "reuse"})
		fallthrough
	case errors.Is(err, store.ErrDead), errors.Is(err, store.ErrNotFound):
		return "", "", time.Time{}, fail(codeInvalidGrant, "the refresh token is not valid, has expired or has been revoked").because(err)
	case err != nil:
		return "", "", time.Time{}, storeError(err)
	}
	return newTokenID(r.grantID), successor(r.token, salt), expires, nil
}

// refreshTokenLen is the length of a refresh token: 256 bits as text. No access
// token is that short.
const refreshTokenLen = 43

// successor is the refresh token that follows token.
func successor(token string, salt [32]byte) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write(salt[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func newRefresh(grantID string, now, expires time.Time) (*store.Refresh, string) {
	var b [32]byte
	rand.Read(b[:])
	token := base64.RawURLEncoding.EncodeToString(b[:])
	return &store.Refresh{Hash: sha256.Sum256([]byte(token)), Grant: grantID, CreatedAt: now, ExpiresAt: expires}, token
}

// refreshExpiry is the idle expiry, bounded by the end of the login.
func refreshExpiry(now, ends time.Time, life Lifetimes) time.Time {
	if t := now.Add(life.RefreshIdle); t.Before(ends) {
		return t
	}
	return ends
}

func later(ts ...time.Time) time.Time {
	return slices.MaxFunc(ts, time.Time.Compare)
}

// killGrant revokes one grant and everything that hangs from it.
func (s *storage) killGrant(ctx context.Context, id, reason string) error {
	n, err := s.p.store.Revoke(ctx, store.Revocation{
		Select: store.Selector{ID: id}, Reason: reason, Now: s.p.now(), KeepFor: deadFor,
	})
	if err != nil {
		return storeError(err)
	}
	if n > 0 {
		s.p.audit(ctx, "grant revoked", AuditEvent{Event: eventRevoke, Grant: id, Reason: reason})
	}
	return nil
}

// deadFor is how long dead grants stay, for administrators to see.
const deadFor = 24 * time.Hour

// RevokeToken kills the grant that a token, by its id, hangs from: all of it,
// whichever token was presented.
func (s *storage) RevokeToken(ctx context.Context, tokenID, _, _ string) *oidc.Error {
	grantID, ok := grantOf(tokenID)
	if !ok {
		return oidc.ErrInvalidRequest().WithDescription("not a token id")
	}
	if err := s.killGrant(ctx, grantID, "revoked"); err != nil {
		return oidc.ErrServerError().WithParent(err)
	}
	return nil
}

// grantOf returns the grant that a jti names.
func grantOf(tokenID string) (string, bool) {
	if len(tokenID) < 33 || tokenID[32] != '.' {
		return "", false
	}
	_, err := hex.DecodeString(tokenID[:32])
	return tokenID[:32], err == nil
}

// liveGrant loads a grant that is alive. It returns store.ErrNotFound for
// those that are not.
func (s *storage) liveGrant(ctx context.Context, id string) (*authorization, error) {
	rec, err := s.p.store.Get(ctx, store.KindGrant, id, s.p.now())
	if err != nil {
		return nil, err
	}
	if !rec.DeadAt.IsZero() {
		return nil, store.ErrNotFound
	}
	a, _, err := decodeGrant(rec)
	return a, err
}

// GetClientByClientID returns an opClient.
func (s *storage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.p.clientByID(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.p.opClient(c), nil
}

// AuthorizeClientIDSecret checks the secret of a client.
func (s *storage) AuthorizeClientIDSecret(ctx context.Context, id, secret string) error {
	c, err := s.p.clientByID(ctx, id)
	if err != nil {
		return notFoundOr(err, errClient("no client with this id and these credentials"))
	}
	return c.authenticate(credentials{id: id, secret: secret, method: c.TokenEndpointAuthMethod})
}

// SigningKey refuses: private keys stay in the keyring, which mints.
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	return nil, unreachable("signing outside of the keyring")
}

// SignatureAlgorithms returns those of the keys that exist.
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	var algs []jose.SignatureAlgorithm
	for _, alg := range []string{jwt.RS256, jwt.ES256, jwt.EdDSA} {
		if s.p.keys.Load().signers[alg] != nil {
			algs = append(algs, jose.SignatureAlgorithm(alg))
		}
	}
	return algs, nil
}

// KeySet returns the published keys.
func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	var keys []op.Key
	for _, k := range s.p.keys.Load().all {
		keys = append(keys, opKey{k})
	}
	return keys, nil
}

// SetUserinfoFromToken fills in what the scopes of the verified token in ctx
// ask for.
func (s *storage) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, _ string) error {
	t, ok := ctx.Value(tokenKey{}).(*verifiedToken)
	if !ok || t.claims.ID != tokenID || t.claims.Subject != subject {
		return unreachable("userinfo without a verified token")
	}
	c := t.userClaims
	info.Subject = subject
	info.Name, info.PreferredUsername, info.Picture, info.Email = c.Name, c.PreferredUsername, c.Picture, c.Email
	info.EmailVerified = oidc.Bool(c.EmailVerified != nil && *c.EmailVerified)
	info.Claims = c.extra()
	return nil
}

// SetIntrospectionFromToken fills in what a resource server may know of the
// verified token in ctx.
func (s *storage) SetIntrospectionFromToken(ctx context.Context, res *oidc.IntrospectionResponse, tokenID, subject, clientID string) error {
	t, ok := ctx.Value(tokenKey{}).(*verifiedToken)
	if !ok || t.claims.ID != tokenID || t.claims.Subject != subject {
		return unreachable("introspection without a verified token")
	}
	t.introspection(res, s.p.issuer)
	return nil
}

// Health reads the key set.
func (s *storage) Health(ctx context.Context) error {
	_, err := s.p.store.Keys(ctx)
	return err
}
