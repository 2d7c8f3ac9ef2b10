// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/tailscale/tsidp/internal/recipes/recipetest"
	"golang.org/x/oauth2"
)

// An app is how an application behaves towards a provider. It knows its
// settings and nothing else.
type app struct {
	id string // of its recipe

	// Names of settings: the issuer or the address of its document, or else the
	// endpoints.
	issuer                 string
	authorize, token, info string
	keys                   string
	clientID, secret       string
	scope                  func(p *recipetest.Printed) string
	redirects              func(p *recipetest.Printed, address string) []string // as it sends them
	pkce                   func(p *recipetest.Printed, m metadata) bool
	auth                   clientAuth
	nonce                  bool
	state                  string     // what it sends, "" for something short
	send                   url.Values // more of the authorization request
	check                  func(m metadata) error
	source                 source
	unverified             bool                               // it does not look at the signature
	account                func(p *recipetest.Printed) string // the claim that is the account
	needs                  []string                           // claims without which it fails
	role                   func(p *recipetest.Printed) (claim, value string)
	roleFrom               string   // whose rules give the role
	base                   []string // whose rules everybody needs
	refresh, device        bool
	verifiedEmail          bool // it wants email_verified
	logout                 func(p *recipetest.Printed, m metadata, s *session) string
}

// A clientAuth is how an application authenticates at the token endpoint.
type clientAuth int

const (
	basic        clientAuth = iota // values form-encoded, as RFC 6749 has it
	rawBasic                       // values as they are
	post                           // in the body
	none                           // client_id alone
	auto                           // basic, and if that fails post
	postIfListed                   // post if the metadata have it, else rawBasic
)

// A source is where an application looks for claims.
type source int

const (
	idToken     source = iota
	userinfo           // only
	idFirst            // each claim in the ID token, then in userinfo
	infoFirst          // the other way round
	infoIfPoor         // userinfo, if the ID token has no email
	accessToken        // which must be a JWT
)

type metadata map[string]any

func (m metadata) text(name string) string {
	s, _ := m[name].(string)
	return s
}

func (m metadata) lists(name, value string) bool {
	list, _ := m[name].([]any)
	return slices.Contains(list, any(value))
}

// A session is what a login has led to.
type session struct {
	claims                             map[string]any
	account                            string
	idToken, accessToken, refreshToken string
	app                                *app
	settings                           *recipetest.Printed
	meta                               metadata
	redirect                           string
}

// A client is the application at work in a world.
type client struct {
	app
	world    *recipetest.World
	settings *recipetest.Printed
	meta     metadata
	http     *http.Client
}

const wellKnown = "/.well-known/openid-configuration"

// start does what the application does before anybody logs in.
func (a app) start(w *recipetest.World, settings *recipetest.Printed) (*client, error) {
	c := &client{app: a, world: w, settings: settings, http: &http.Client{Transport: w.Transport}}
	if a.issuer == "" {
		c.meta = metadata{
			"authorization_endpoint": settings.Get(a.authorize), "token_endpoint": settings.Get(a.token), "userinfo_endpoint": settings.Get(a.info),
			"jwks_uri": settings.Get(a.keys),
		}
		return c, nil
	}
	issuer := strings.TrimSuffix(settings.Get(a.issuer), wellKnown)
	var err error
	if c.meta, err = c.getJSON(issuer+wellKnown, ""); err != nil {
		return nil, err
	}
	if c.meta["issuer"] != issuer {
		return nil, fmt.Errorf("the issuer is %v, want %s", c.meta["issuer"], issuer)
	}
	if a.check != nil {
		return c, a.check(c.meta)
	}
	return c, nil
}

// login logs somebody in, by the browser.
func (c *client) login(b *recipetest.Browser, redirect string) (*session, error) {
	state, nonce, verifier := c.state, "", ""
	if state == "" {
		state = oauth2.GenerateVerifier()[:8]
	}
	q := url.Values{"client_id": {c.settings.Get(c.clientID)}, "response_type": {"code"}, "redirect_uri": {redirect}, "state": {state}}
	if scope := c.scope(c.settings); scope != "" {
		q.Set("scope", scope)
	}
	if c.nonce {
		nonce = oauth2.GenerateVerifier()
		q.Set("nonce", nonce)
	}
	if c.pkce(c.settings, c.meta) {
		verifier = oauth2.GenerateVerifier()
		q.Set("code_challenge", oauth2.S256ChallengeFromVerifier(verifier))
		q.Set("code_challenge_method", "S256")
	}
	for name, v := range c.send {
		q[name] = v
	}
	page, err := b.Open(c.meta.text("authorization_endpoint") + "?" + q.Encode())
	if err != nil {
		return nil, err
	}
	code, err := c.response(page, redirect, state)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}}
	if verifier != "" {
		form.Set("code_verifier", verifier)
	}
	if v, ok := c.send["resource"]; ok {
		form["resource"] = v
	}
	answer, err := c.postToken(form)
	if err != nil {
		return nil, err
	}
	return c.finish(answer, nonce, redirect)
}

// response reads the code out of where the browser was sent.
func (c *client) response(page *recipetest.Page, redirect, state string) (string, error) {
	redirect, _, _ = strings.Cut(redirect, "#")
	query, ok := strings.CutPrefix(page.Location, redirect+"?")
	if !ok {
		return "", fmt.Errorf("sent to %q, want %s: %d %s", page.Location, redirect, page.Status, page.Text)
	}
	v, err := url.ParseQuery(query)
	switch {
	case err != nil:
		return "", err
	case v.Get("state") != state:
		return "", fmt.Errorf("state %q, want %q", v.Get("state"), state)
	case c.issuer != "" && v.Get("iss") != c.meta["issuer"]:
		return "", fmt.Errorf("iss %q, want %s", v.Get("iss"), c.meta["issuer"])
	case v.Get("code") == "":
		return "", fmt.Errorf("response %v", v)
	}
	// Portainer unescapes it twice.
	return url.QueryUnescape(v.Get("code"))
}

// finish reads tokens and claims.
func (c *client) finish(answer map[string]any, nonce, redirect string) (*session, error) {
	text := func(name string) string { s, _ := answer[name].(string); return s }
	s := &session{idToken: text("id_token"), accessToken: text("access_token"), refreshToken: text("refresh_token"), app: &c.app, settings: c.settings, meta: c.meta, redirect: redirect}
	if s.accessToken == "" || !strings.EqualFold(text("token_type"), "Bearer") {
		return nil, fmt.Errorf("token response %v", answer)
	}
	id, err := c.readIDToken(s.idToken, nonce)
	if err != nil {
		return nil, err
	}
	if s.claims, err = c.claims(id, s.accessToken); err != nil {
		return nil, err
	}
	for _, name := range c.needs {
		if v, _ := s.claims[name].(string); v == "" {
			return nil, fmt.Errorf("the claim %s is %v", name, s.claims[name])
		}
	}
	if c.verifiedEmail && s.claims["email_verified"] != true {
		return nil, fmt.Errorf("email_verified is %#v", s.claims["email_verified"])
	}
	name := c.account(c.settings)
	if s.account, _ = s.claims[name].(string); s.account == "" {
		return nil, fmt.Errorf("the claim %q, which is the account, is %v", name, s.claims[name])
	}
	return s, nil
}

// readIDToken is stricter than any of the applications: what one of them
// refuses, it refuses for all.
func (c *client) readIDToken(raw, nonce string) (map[string]any, error) {
	claims, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("ID token: %w", err)
	}
	id := c.settings.Get(c.clientID)
	azp, hasAZP := claims["azp"]
	got, hasNonce := claims["nonce"]
	switch {
	case claims["aud"] != id:
		return nil, fmt.Errorf("aud is %#v, want the text %s", claims["aud"], id)
	case hasAZP && azp != id:
		return nil, fmt.Errorf("azp is %v", azp)
	case hasNonce != (nonce != "") || hasNonce && got != nonce:
		return nil, fmt.Errorf("nonce is %v, want %q", got, nonce)
	case c.send.Has("max_age") && claims["auth_time"] == nil:
		return nil, fmt.Errorf("no auth_time, though max_age was sent: %v", claims)
	case claims["sub"] == nil || claims["jti"] == nil:
		return nil, fmt.Errorf("no sub or jti: %v", claims)
	case c.issuer != "" && claims["iss"] != c.meta["issuer"]:
		return nil, fmt.Errorf("iss is %v", claims["iss"])
	}
	if keys := c.meta.text("jwks_uri"); keys != "" && !c.unverified {
		ctx := oidc.ClientContext(context.Background(), c.http)
		v := oidc.NewVerifier(fmt.Sprint(claims["iss"]), oidc.NewRemoteKeySet(ctx, keys), &oidc.Config{ClientID: id, Now: c.world.Now, SupportedSigningAlgs: []string{"RS256"}})
		if _, err := v.Verify(ctx, raw); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// claims are those that the application sees.
func (c *client) claims(id map[string]any, access string) (map[string]any, error) {
	switch email, _ := id["email"].(string); {
	case c.source == idToken, c.source == infoIfPoor && email != "":
		return id, nil
	case c.source == accessToken:
		return decode(access)
	}
	info, err := c.getJSON(c.meta.text("userinfo_endpoint"), access)
	if err != nil {
		return nil, err
	}
	if info["sub"] != id["sub"] {
		return nil, fmt.Errorf("sub is %v in userinfo, %v in the ID token", info["sub"], id["sub"])
	}
	first, second := id, map[string]any(info)
	switch c.source {
	case userinfo:
		return info, nil
	case infoFirst:
		first, second = second, first
	}
	merged := make(map[string]any)
	for _, m := range []map[string]any{second, first} {
		for name, v := range m {
			if v != nil && v != "" {
				merged[name] = v
			}
		}
	}
	return merged, nil
}

// renew refreshes the session.
func (c *client) renew(s *session) (*session, error) {
	if s.refreshToken == "" {
		return nil, fmt.Errorf("there is no refresh token")
	}
	answer, err := c.postToken(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.refreshToken}})
	if err != nil {
		return nil, err
	}
	return c.finish(answer, "", s.redirect)
}

// postToken asks the token endpoint.
func (c *client) postToken(form url.Values) (map[string]any, error) {
	switch c.auth {
	case auto:
		if answer, err := c.postForm("token_endpoint", form, basic); err == nil {
			return answer, nil
		}
		return c.postForm("token_endpoint", form, post)
	case postIfListed:
		if c.meta.lists("token_endpoint_auth_methods_supported", "client_secret_post") {
			return c.postForm("token_endpoint", form, post)
		}
		return c.postForm("token_endpoint", form, rawBasic)
	}
	return c.postForm("token_endpoint", form, c.auth)
}

func (c *client) postForm(endpoint string, form url.Values, auth clientAuth) (map[string]any, error) {
	id, secret := c.settings.Get(c.clientID), ""
	if auth != none {
		secret = c.settings.Get(c.secret)
	}
	v := url.Values{}
	for name, value := range form {
		v[name] = value
	}
	if auth == post || auth == none {
		v.Set("client_id", id)
	}
	if auth == post {
		v.Set("client_secret", secret)
	}
	req, err := http.NewRequest("POST", c.meta.text(endpoint), strings.NewReader(v.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	switch auth {
	case basic:
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	case rawBasic:
		req.SetBasicAuth(id, secret)
	}
	return c.do(req)
}

func (c *client) getJSON(address, bearer string) (metadata, error) {
	req, err := http.NewRequest("GET", address, nil)
	if err != nil {
		return nil, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return c.do(req)
}

// do sends a request. Some applications read the answer by its type.
func (c *client) do(req *http.Request) (map[string]any, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	typ, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil || res.StatusCode != http.StatusOK || typ != "application/json" {
		return nil, fmt.Errorf("%s: %d %s %s", req.URL.Path, res.StatusCode, typ, body)
	}
	return m, nil
}

// decode reads the claims of a JWT.
func decode(jwt string) (map[string]any, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is no JWT", jwt)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}
