// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// A login on its way, and what came of it.
type login struct {
	app             oauth2.Config
	query           url.Values // of the authorization request
	state, nonce    string
	verifier        string // of PKCE, "" without
	response        url.Values
	token           *oauth2.Token
	raw             string // the ID token
	id              *oidc.IDToken
	claims, userdom map[string]any // of the ID token, of userinfo
}

// request makes an authorization request, with changes: names and values,
// where "" removes.
func (r *run) request(app oauth2.Config, change ...string) *login {
	l := &login{app: app, state: oauth2.GenerateVerifier()[:12], nonce: oauth2.GenerateVerifier()[:16]}
	options := []oauth2.AuthCodeOption{oidc.Nonce(l.nonce)}
	if r.pkce {
		l.verifier = oauth2.GenerateVerifier()
		options = append(options, oauth2.S256ChallengeOption(l.verifier))
	}
	u, err := url.Parse(app.AuthCodeURL(l.state, options...))
	r.noError(err, "making an authorization request")
	l.query = u.Query()
	if r.mode != "query" {
		l.query.Set("response_mode", r.mode)
	}
	for pair := range slices.Chunk(change, 2) {
		if pair[1] == "" {
			l.query.Del(pair[0])
		} else {
			l.query.Set(pair[0], pair[1])
		}
	}
	l.state, l.nonce = l.query.Get("state"), l.query.Get("nonce")
	return l
}

// send sends the request in the browser.
func (r *run) send(l *login) *answer {
	return r.browser.open(l.app.Endpoint.AuthURL+"?"+l.query.Encode(), appOrigin)
}

// authorize sends a request of the application.
func (r *run) authorize(change ...string) (*login, *answer) {
	r.discover()
	l := r.request(r.app, change...)
	return l, r.send(l)
}

// authorization reads the authorization response out of what the browser got;
// nil if it is none.
func (r *run) authorization(a *answer, redirectURI string) url.Values {
	if f := a.form(); f != nil && f.action == redirectURI {
		// "the authorization response parameters are encoded as HTML form values
		// that are auto-submitted ... via the HTTP POST method, with the result
		// parameters being encoded in the body using the
		// application/x-www-form-urlencoded format" (Form Post Response Mode
		// section 2).
		if f.method != "post" || f.enctype != "" && f.enctype != formType || a.status != http.StatusOK {
			r.errorf("the response's form has status %d, method %q and type %q", a.status, f.method, f.enctype)
		}
		return f.fields
	}
	rest, ok := strings.CutPrefix(a.location(), redirectURI)
	if !ok || a.status != http.StatusFound && a.status != http.StatusSeeOther {
		return nil
	}
	if rest == "" || rest[0] != '?' && rest[0] != '&' {
		return nil
	}
	v, err := url.ParseQuery(rest[1:])
	if err != nil || strings.Contains(rest, "+") {
		r.errorf("authorization response in %q: plus sign, or %v", rest, err)
	}
	return v
}

// wantResponse reads a response with a code and checks it (2.2).
func (r *run) wantResponse(l *login, a *answer) {
	v := r.authorization(a, l.query.Get("redirect_uri"))
	if v == nil {
		r.fatalf("no authorization response, but %d %s %s", a.status, a.location(), text(a.body))
	}
	if v.Has("error") {
		r.fatalf("authorization failed: %v", v)
	}
	if posted := a.location() == ""; posted != (l.query.Get("response_mode") == "form_post") {
		r.errorf("response posted: %v, for response_mode %q", posted, r.mode)
	}
	r.checkEcho(v, l)
	if len(v["code"]) != 1 {
		r.fatalf("code %q", v["code"])
	}
	r.checkCode(v.Get("code"))
	l.response = v
}

func (r *run) checkEcho(v url.Values, l *login) {
	if l.state == "" && v.Has("state") || l.state != "" && !slices.Equal(v["state"], []string{l.state}) {
		r.errorf("state %q, want %q", v["state"], l.state)
	}
	// RFC 9207 section 2.
	if v.Has("iss") && !slices.Equal(v["iss"], []string{r.w.issuer}) || !v.Has("iss") && r.advertises("authorization_response_iss_parameter_supported") {
		r.errorf("iss %q, want %s", v["iss"], r.w.issuer)
	}
}

func (r *run) metadata() map[string]any {
	r.discover()
	var m map[string]any
	r.noError(r.op.Claims(&m), "reading metadata")
	return m
}

func (r *run) advertises(member string) bool { return r.metadata()[member] == true }

var codeText = regexp.MustCompile(`^[A-Za-z0-9._~-]{22,}$`)

// checkCode wants at least 96 bits, as counted by the letters' frequency.
func (r *run) checkCode(code string) {
	if !codeText.MatchString(code) {
		r.errorf("code %q has letters that URLs escape, or is short", code)
	}
	r.checkEntropy("code", code)
}

func (r *run) checkEntropy(what, s string) {
	count := make(map[rune]float64)
	for _, c := range s {
		count[c]++
	}
	var bits float64
	for _, n := range count {
		bits -= n * math.Log2(n/float64(len(s)))
	}
	if bits < 96 {
		r.errorf("%s has %.0f bits of entropy, want 96", what, bits)
	}
}

// redeem exchanges the code and checks what comes (2.2).
func (r *run) redeem(l *login, options ...oauth2.AuthCodeOption) {
	if l.verifier != "" {
		options = append(options, oauth2.VerifierOption(l.verifier))
	}
	var err error
	l.token, err = l.app.Exchange(r.ctx, l.response.Get("code"), options...)
	r.noError(err, "redeeming the code")
	r.checkTokenAnswer(r.lastOf(l.app.Endpoint.TokenURL))
	r.checkIDToken(l)
}

// lastOf is the last answer from an endpoint.
func (r *run) lastOf(endpoint string) *answer {
	u, err := url.Parse(endpoint)
	r.noError(err, "parsing an endpoint")
	a := r.wire.last[u.Path]
	if a == nil {
		r.fatalf("nothing was sent to %s", endpoint)
	}
	return a
}

// checkTokenAnswer: RFC 6749 section 5.1.
func (r *run) checkTokenAnswer(a *answer) {
	m := a.json()
	if a.status != http.StatusOK || !isJSON(a) || m == nil {
		r.fatalf("token response %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		r.errorf("token response may be stored: Cache-Control %q", a.header.Get("Cache-Control"))
	}
	if typ, _ := m["token_type"].(string); !strings.EqualFold(typ, "Bearer") {
		r.errorf("token_type %v", m["token_type"])
	}
	if n, ok := m["expires_in"].(float64); !ok || n <= 0 {
		r.errorf("expires_in %v, want a number", m["expires_in"])
	}
	for name, v := range m {
		if v == nil || v == "" {
			r.errorf("%s is empty", name)
		}
	}
	access, _ := m["access_token"].(string)
	if !printable(access) {
		r.errorf("access_token %q", access)
	}
	r.checkEntropy("access token", access)
}

func isJSON(a *answer) bool {
	typ, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	return typ == "application/json"
}

// printable: %x20-7E, and something.
func printable(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c > 0x7e })
}

// checkIDToken: OpenID Connect Core sections 2 and 3.1.3.7.
func (r *run) checkIDToken(l *login) {
	l.raw, _ = l.token.Extra("id_token").(string)
	if l.raw == "" {
		r.fatalf("no id_token")
	}
	var err error
	verifier := r.op.VerifierContext(r.ctx, &oidc.Config{ClientID: l.app.ClientID, Now: r.w.clock.now, SupportedSigningAlgs: []string{"RS256"}})
	l.id, err = verifier.Verify(r.ctx, l.raw)
	r.noError(err, "verifying the ID token")
	r.noError(l.id.Claims(&l.claims), "reading the ID token")
	if l.id.Nonce != l.nonce || l.nonce == "" && l.claims["nonce"] != nil {
		r.errorf("nonce %v, want %q", l.claims["nonce"], l.nonce)
	}
	if azp, ok := l.claims["azp"]; ok && azp != l.app.ClientID {
		r.errorf("azp %v, want the client", azp)
	}
	if len(l.id.Audience) != 1 {
		r.errorf("aud %v, want the client alone", l.id.Audience)
	}
	if age := r.w.clock.now().Sub(l.id.IssuedAt); age < -time.Minute || age > time.Minute {
		r.errorf("iat is %v old", age)
	}
	if len(l.id.Subject) > 255 || !printable(l.id.Subject) {
		r.errorf("sub %q, want at most 255 ASCII characters", l.id.Subject)
	}
	if l.id.AccessTokenHash != "" {
		r.noError(l.id.VerifyAccessToken(l.token.AccessToken), "checking at_hash")
	}
	r.checkClaimTypes("ID token", l.claims)
	for _, name := range []string{"name", "email", "picture", "preferred_username"} {
		if l.claims[name] != nil {
			r.warnf("%s stands in the ID token, though it belongs in userinfo", name)
		}
	}
}

// checkClaimTypes: OpenID Connect Core section 5.1.
func (r *run) checkClaimTypes(where string, m map[string]any) {
	for name, v := range m {
		var ok bool
		switch name {
		case "email_verified", "phone_number_verified":
			_, ok = v.(bool)
		case "updated_at", "auth_time", "exp", "iat":
			_, ok = v.(float64)
		case "address":
			_, ok = v.(map[string]any)
		case "sub", "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
			"website", "email", "gender", "birthdate", "zoneinfo", "locale", "phone_number", "acr", "nonce", "at_hash", "azp", "iss":
			s, isString := v.(string)
			ok = isString && s != ""
		default:
			ok = v != nil
		}
		if !ok {
			r.errorf("%s of the %s is %#v", name, where, v)
		}
	}
}

// userinfo asks for the claims and checks what comes (2.2). method is as in
// RFC 6750: "get", "post" with the header, "body".
func (r *run) userinfo(l *login, method string) {
	var a *answer
	endpoint := r.op.UserInfoEndpoint()
	bearer := []string{"Authorization", "Bearer " + l.token.AccessToken}
	switch method {
	case "get":
		if _, err := r.op.UserInfo(r.ctx, oauth2.StaticTokenSource(l.token)); err != nil {
			r.errorf("userinfo by go-oidc: %v", err)
		}
		a = r.lastOf(endpoint)
	case "post":
		a = r.postForm(endpoint, nil, bearer...)
	case "body":
		a = r.postForm(endpoint, url.Values{"access_token": {l.token.AccessToken}})
	}
	m := a.json()
	if a.status != http.StatusOK || !isJSON(a) {
		r.fatalf("userinfo: %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	// "The sub Claim in the UserInfo Response MUST be verified to exactly match
	// the sub Claim in the ID Token" (OpenID Connect Core section 5.3.2).
	if m["sub"] != l.id.Subject {
		r.errorf("sub %v of userinfo, %s in the ID token", m["sub"], l.id.Subject)
	}
	r.checkClaimTypes("userinfo", m)
	l.userdom = m
}

// finish takes a login that was answered to its end.
func (r *run) finish(l *login, a *answer) *login {
	r.wantResponse(l, a)
	r.redeem(l)
	r.userinfo(l, "get")
	return l
}

// login is a whole login of the application, with all checks of 2.2.
func (r *run) login(change ...string) *login {
	l, a := r.authorize(change...)
	r.checkKeys()
	return r.finish(l, a)
}

// checkKeys: "each key has distinct kid, no private or symmetric members".
func (r *run) checkKeys() []string {
	uri, _ := r.metadata()["jwks_uri"].(string)
	a := r.call("GET", uri, "")
	var set jose.JSONWebKeySet
	if a.status != http.StatusOK || json.Unmarshal(a.body, &set) != nil || len(set.Keys) == 0 {
		r.fatalf("keys: %d %s", a.status, a.body)
	}
	var doc struct{ Keys []map[string]any }
	r.noError(json.Unmarshal(a.body, &doc), "reading keys")
	var ids []string
	for i, k := range set.Keys {
		if k.KeyID == "" || slices.Contains(ids, k.KeyID) {
			r.errorf("kid %q is empty, or not the only one", k.KeyID)
		}
		ids = append(ids, k.KeyID)
		if !k.Valid() || !k.IsPublic() || k.Use != "sig" || k.Algorithm == "" {
			r.errorf("key %s is not usable: %v", k.KeyID, doc.Keys[i])
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, ok := doc.Keys[i][private]; ok {
				r.errorf("key %s has the private member %s", k.KeyID, private)
			}
		}
		if n, ok := doc.Keys[i]["n"].(string); ok && base64.RawURLEncoding.DecodedLen(len(n)) < 256 {
			r.errorf("RSA key %s has fewer than 2048 bits", k.KeyID)
		}
	}
	return ids
}

var descriptionText = regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]*$`)

// wantRedirectError checks an error response (2.2): one of codes.
func (r *run) wantRedirectError(l *login, a *answer, codes ...string) {
	v := r.authorization(a, l.query.Get("redirect_uri"))
	if v == nil {
		r.fatalf("no error response, but %d %s", a.status, text(a.body))
	}
	if v.Has("code") || !slices.Contains(codes, v.Get("error")) {
		r.errorf("response %v, want error %s", v, strings.Join(codes, " or "))
	}
	if !descriptionText.MatchString(v.Get("error_description")) {
		r.errorf("error_description %q", v.Get("error_description"))
	}
	r.checkEcho(v, l)
}

// wantErrorPage checks that the person got a page, and the application
// nothing.
func (r *run) wantErrorPage(a *answer) {
	if a.status < 400 || a.status >= 500 || !a.isPage() || a.form() != nil {
		r.errorf("answer %d %s %q %s, want an error page", a.status, a.header.Get("Content-Type"), a.location(), text(a.body))
	}
}

// wantPage checks that the person was asked.
func (r *run) wantPage(a *answer) {
	f := a.form()
	if a.status != http.StatusOK || f == nil || !slices.Contains(f.buttons, "yes") {
		r.fatalf("answer %d %q %s, want a page that asks", a.status, a.location(), text(a.body))
	}
}

// wantError checks an error answer in JSON (RFC 6749 section 5.2).
func (r *run) wantError(a *answer, status int, code string) {
	m := a.json()
	description, _ := m["error_description"].(string)
	if a.status != status || !isJSON(a) || m["error"] != code || !descriptionText.MatchString(description) {
		r.errorf("answer %d %s %s, want %d %s", a.status, a.header.Get("Content-Type"), bytes.TrimSpace(a.body), status, code)
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		r.errorf("error may be stored: Cache-Control %q", a.header.Get("Cache-Control"))
	}
}

// replay presents the code of l once more.
func (r *run) replay(l *login) *answer {
	v := url.Values{"grant_type": {"authorization_code"}, "code": {l.response.Get("code")}, "redirect_uri": {l.app.RedirectURL}}
	if l.verifier != "" {
		v.Set("code_verifier", l.verifier)
	}
	return r.postForm(l.app.Endpoint.TokenURL, v, basic(l.app)...)
}

// refresh presents a refresh token.
func (r *run) refresh(app oauth2.Config, token string, change ...string) *answer {
	v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for pair := range slices.Chunk(change, 2) {
		v.Set(pair[0], pair[1])
	}
	if app.ClientSecret == "" {
		v.Set("client_id", app.ClientID)
		return r.postForm(app.Endpoint.TokenURL, v)
	}
	return r.postForm(app.Endpoint.TokenURL, v, basic(app)...)
}

// decode reads a segment of a JWT.
func (r *run) decode(token string, segment int) map[string]any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		r.fatalf("not a JWT: %q", token)
	}
	var m map[string]any
	dec := json.NewDecoder(base64.NewDecoder(base64.RawURLEncoding, strings.NewReader(parts[segment])))
	r.noError(dec.Decode(&m), "decoding a JWT")
	if _, err := dec.Token(); err != io.EOF {
		r.errorf("JWT with something behind its object")
	}
	return m
}
