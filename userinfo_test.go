// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/jwt"
	"tailscale.com/client/tailscale/apitype"
)

const formType = "application/x-www-form-urlencoded"

// TestC29Userinfo: where the token may be, and what is answered.
func TestC29Userinfo(t *testing.T) {
	f := newFixture(t)
	res, plain := f.login(ada), f.login(ada, "scope", "email")
	bearer := "Bearer " + res.AccessToken
	body := "access_token=" + res.AccessToken
	for _, tt := range []struct {
		name, method, path string
		contentType, body  string
		header             []string
		status             int
		challenge          string // for 401 and 403: part of it
		code               string // for the others
	}{
		{"GET", "GET", "", "", "", []string{"Authorization", bearer}, 200, "", ""},
		{"(b) none", "GET", "", "", "", nil, 401, "", ""},
		{"(b) none by POST", "POST", "", "", "", nil, 401, "", ""},
		{"(b) empty form", "POST", "", formType, "", nil, 401, "", ""},
		{"(b) empty token", "POST", "", formType, "access_token=", nil, 401, "", ""},
		{"(c) lower case", "GET", "", "", "", []string{"Authorization", "bearer " + res.AccessToken}, 200, "", ""},
		{"(c) capitals and blanks", "GET", "", "", "", []string{"Authorization", "BEARER   " + res.AccessToken}, 200, "", ""},
		{"(d) POST with header", "POST", "", "", "", []string{"Authorization", bearer}, 200, "", ""},
		{"(d) POST with header, empty form", "POST", "", formType, "", []string{"Authorization", bearer}, 200, "", ""},
		{"(d) POST with header, other form", "POST", "", formType, "x=1", []string{"Authorization", bearer}, 200, "", ""},
		{"(d) POST with header, JSON", "POST", "", "application/json", "{}", []string{"Authorization", bearer}, 200, "", ""},
		{"(e) POST body", "POST", "", formType, body, nil, 200, "", ""},
		{"(e) POST body with charset", "POST", "", formType + ";charset=UTF-8", body, nil, 200, "", ""},
		{"body of another type", "POST", "", "text/plain", body, nil, 401, "", ""},
		{"body of a GET", "GET", "", formType, body, nil, 401, "", ""},
		{"(f) query", "GET", "?" + body, "", "", nil, 400, "", "invalid_request"},
		{"(f) query and header", "GET", "?" + body, "", "", []string{"Authorization", bearer}, 400, "", "invalid_request"},
		{"(g) header and body", "POST", "", formType, body, []string{"Authorization", bearer}, 400, "", "invalid_request"},
		{"(g) two headers", "GET", "", "", "", []string{"Authorization", bearer, "Authorization", bearer}, 400, "", "invalid_request"},
		{"(g) twice in the body", "POST", "", formType, body + "&" + body, nil, 400, "", "invalid_request"},
		{"(h) without openid", "GET", "", "", "", []string{"Authorization", "Bearer " + plain.AccessToken}, 403, `error="insufficient_scope"`, ""},
		{"(i) any", "GET", "", "", "", []string{"Authorization", bearer, "Accept", "*/*"}, 200, "", ""},
		{"(i) HTML", "GET", "", "", "", []string{"Authorization", bearer, "Accept", "text/html"}, 200, "", ""},
		{"(i) JWT", "GET", "", "", "", []string{"Authorization", bearer, "Accept", "application/jwt"}, 200, "", ""},
		{"(i) refused, HTML", "GET", "", "", "", []string{"Authorization", "Bearer x", "Accept", "text/html"}, 401, `error="invalid_token"`, ""},
		{"(j) ID token", "GET", "", "", "", []string{"Authorization", "Bearer " + res.IDToken}, 401, `error="invalid_token"`, ""},
		{"scheme alone", "GET", "", "", "", []string{"Authorization", "Bearer"}, 400, "", "invalid_request"},
		{"Basic", "GET", "", "", "", basicAuth("web", webSecret), 400, "", "invalid_request"},
		{"two words", "GET", "", "", "", []string{"Authorization", bearer + " x"}, 401, `error="invalid_token"`, ""},
		{"64 KiB and more", "POST", "", formType, body + "&x=" + strings.Repeat("x", maxBody), nil, 413, "", "request_too_large"},
		{"malformed form", "POST", "", formType, body + "&x=%zz", nil, 400, "", "invalid_request"},
		{"PUT", "PUT", "", "", "", []string{"Authorization", bearer}, 405, "", "method_not_allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			r := f.do(netip.Addr{}, tt.method, "/userinfo"+tt.path, tt.contentType, tt.body, tt.header...)
			switch tt.status {
			case 200:
				if m := r.json(200); m["sub"] != "userid:1001" {
					t.Errorf("sub is %v in %s", m["sub"], r.body)
				}
				if cc := r.header.Get("Cache-Control"); cc != "no-store" {
					t.Errorf("Cache-Control %q", cc)
				}
			case 401, 403:
				r.wantChallenge(tt.status, tt.challenge)
				if c := r.header.Get("WWW-Authenticate"); (tt.challenge == "") != !strings.Contains(c, "error") {
					t.Errorf("WWW-Authenticate %q", c)
				}
			default:
				r.wantError(tt.status, tt.code)
			}
		})
	}
	f.wantSilentLog(res.AccessToken, plain.AccessToken)
}

// TestC29Expired: row (a). The login itself lives on.
func TestC29Expired(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada)
	f.clock.advance(5*time.Minute - time.Second)
	f.wantAlive(res)
	f.clock.advance(time.Second + clockSkew)
	f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
	f.wantInactive("web", res.AccessToken)
	f.wantAlive(f.refresh(res.RefreshToken).tokens())
}

// TestUserinfoClaims: by scope, with the values and types of the ID token.
func TestUserinfoClaims(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, `{"groups":["ops"]}`)
	own := []string{"aud", "at_hash", "acr", "amr", "jti", "auth_time", "exp", "iat", "iss", "nonce"} // of the ID token alone
	for scope, want := range map[string][]string{
		"openid":                      {"sub"},
		"openid email":                {"email", "email_verified", "sub"},
		"openid profile":              {"name", "picture", "preferred_username", "sub"},
		"openid groups":               {"groups", "sub"},
		"openid tailscale":            {"addresses", "key", "nid", "node", "sub", "tailnet", "uid"},
		"openid email offline_access": {"email", "email_verified", "sub"},
	} {
		for _, who := range []netip.Addr{ada, gus} {
			res := f.login(who, "scope", scope)
			info := f.userinfo(res.AccessToken).json(200)
			id := claimsOf(t, res.IDToken)
			maps.DeleteFunc(id, func(name string, _ any) bool { return slices.Contains(own, name) })
			if d := cmp.Diff(id, info); d != "" {
				t.Errorf("scope %s: ID token and userinfo differ (-ID +userinfo):\n%s", scope, d)
			}
			if names := slices.Sorted(maps.Keys(info)); who == ada && !slices.Equal(names, want) {
				t.Errorf("scope %s: claims %v, want %v", scope, names, want)
			}
			if v, ok := info["email_verified"]; ok && v != true || ok && who == gus {
				t.Errorf("scope %s: email_verified is %v", scope, v)
			}
		}
	}
}

// TestUserinfoResource: a resource server must not read more with a token
// that it was given (RFC 9068 section 4).
func TestUserinfoResource(t *testing.T) {
	f := newFixture(t)
	f.allow(ada, resourceRule(testResource))
	res := f.login(ada, "resource", testResource)
	r := f.userinfo(res.AccessToken)
	r.wantChallenge(401, `error="invalid_token"`)
	if r.wantError(401, "invalid_token"); !strings.Contains(r.body, "resource "+testIssuer) {
		t.Errorf("the answer does not say how to get a token for this: %s", r.body)
	}
	if in := f.introspect("rs", res.AccessToken); in["active"] != true {
		t.Errorf("introspection %v", in)
	}
	for _, issuer := range []string{testIssuer, testIssuer + "/", "https://IDP.tail1234.ts.net:443"} {
		res := f.login(ada, "resource", testResource, "resource", issuer)
		f.wantAlive(res)
		// Narrowed to either.
		f.userinfo(f.refresh(res.RefreshToken, "resource", testResource).tokens().AccessToken).wantChallenge(401, `error="invalid_token"`)
		f.wantAlive(f.redeem(f.code(ada, "resource", testResource, "resource", issuer), "resource", issuer).tokens())
	}
	// What is for the issuer stays so when the other resource is withdrawn.
	res = f.login(ada, "resource", testResource, "resource", testIssuer)
	f.allow(ada)
	f.wantAlive(res)
}

// TestUserinfoPolicy: userinfo asks the tailnet each time.
func TestUserinfoPolicy(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada, "scope", "openid profile groups")
	f.tailnet.edit(ada, func(res *apitype.WhoIsResponse) { res.UserProfile.DisplayName = "Ada the Second" })
	f.allow(ada, `{"groups":["ops"]}`)
	if info := f.userinfo(res.AccessToken).json(200); info["name"] != "Ada the Second" || !cmp.Equal(info["groups"], any([]any{"ops"})) {
		t.Errorf("userinfo %v", info)
	}
	f.editClient("web", func(c *client) { c.Access = accessGranted })
	f.userinfo(res.AccessToken).wantChallenge(401, `error="invalid_token"`)
	f.allow(ada, `{"clients":["web"]}`)
	f.userinfo(res.AccessToken).json(200)
}

// segment encodes one part of a JWT.
func segment(t testing.TB, v any) string {
	t.Helper()
	b, ok := v.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// badTokens makes tokens that are none of ours, or not for this, from a good
// login: standards.md §7, "Token and key handling".
func badTokens(f *fixture, res tokenResponse) map[string]string {
	t := f.t
	t.Helper()
	parts := strings.Split(res.AccessToken, ".")
	header, claims := headerOf(t, res.AccessToken), claimsOf(t, res.AccessToken)
	with := func(m map[string]any, pairs ...any) map[string]any {
		m = maps.Clone(m)
		for pair := range slices.Chunk(pairs, 2) {
			if m[pair[0].(string)] = pair[1]; pair[1] == nil {
				delete(m, pair[0].(string))
			}
		}
		return m
	}
	// Ours in all but one thing: signed by the provider's own key.
	signer, err := f.p.signer(t.Context(), jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(typ string, claims any) string {
		token, err := signer.Sign(typ, claims)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	but := func(pairs ...any) string { return signed(jwt.TypeAccessToken, with(claims, pairs...)) }
	// Somebody else's key under our kid.
	private, err := jwt.GenerateKey(jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := jwt.NewSigner(header["kid"].(string), jwt.ES256, private)
	if err != nil {
		t.Fatal(err)
	}
	byForeign, err := foreign.Sign(jwt.TypeAccessToken, claims)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public().Key.(*ecdsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	jwks := f.do(netip.Addr{}, "GET", "/.well-known/jwks.json", "", "").body
	hs256 := func(key []byte, header map[string]any) string {
		input := segment(t, with(header, "alg", "HS256")) + "." + parts[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		return input + "." + segment(t, mac.Sum(nil))
	}
	headed := func(pairs ...any) string { return segment(t, with(header, pairs...)) + "." + parts[1] + "." + parts[2] }
	jti := claims["jti"].(string)
	return map[string]string{
		"ID token":       res.IDToken,
		"refresh token":  res.RefreshToken,
		"code":           f.code(ada),
		"rubbish":        "x",
		"dots":           "..",
		"many dots":      strings.Repeat(".", 5000),
		"JWE":            "a.b.c.d.e",
		"non-ASCII":      "é.é.é",
		"too long":       res.AccessToken + strings.Repeat("A", jwt.MaxTokenLen),
		"truncated":      res.AccessToken[:len(res.AccessToken)-1],
		"half":           res.AccessToken[:len(res.AccessToken)/2],
		"no signature":   parts[0] + "." + parts[1] + ".",
		"two parts":      parts[0] + "." + parts[1],
		"four parts":     res.AccessToken + "." + parts[2],
		"zero signature": parts[0] + "." + parts[1] + "." + segment(t, make([]byte, 64)), // CVE-2022-21449
		"padding":        res.AccessToken + "==",
		"line break":     parts[0] + "." + parts[1] + ".\n" + parts[2],

		"other payload":      parts[0] + "." + segment(t, with(claims, "sub", "userid:1003")) + "." + parts[2],
		"other scope":        parts[0] + "." + segment(t, with(claims, "scope", "openid email groups")) + "." + parts[2],
		"header of another":  headed("kid", headerOf(t, res.IDToken)["kid"]),
		"alg none":           segment(t, with(header, "alg", "none")) + "." + parts[1] + ".",
		"alg none, signed":   headed("alg", "none"),
		"alg None":           segment(t, with(header, "alg", "None")) + "." + parts[1] + ".",
		"alg nOnE":           segment(t, with(header, "alg", "nOnE")) + "." + parts[1] + "." + parts[2],
		"no alg":             headed("alg", nil),
		"no kid":             headed("kid", nil),
		"unknown kid":        headed("kid", "nobody"),
		"kid with a path":    headed("kid", "../../../dev/null"),
		"no typ":             headed("typ", nil),
		"typ JWT":            headed("typ", "JWT"),
		"alg RS256":          headed("alg", "RS256"),
		"alg ES384":          headed("alg", "ES384"),
		"crit":               headed("crit", []string{"exp"}),
		"HS256 by DER":       hs256(der, header),
		"HS256 by PEM":       hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), header),
		"HS256 by JWKS":      hs256([]byte(jwks), header),
		"HS256 without kid":  hs256(der, with(header, "kid", nil)),
		"HS256 by RSA's kid": hs256(der, with(header, "kid", headerOf(t, res.IDToken)["kid"])),
		"other key":          byForeign,
		"own jwk":            segment(t, with(header, "jwk", map[string]any{"kty": "EC"})) + "." + strings.Join(strings.Split(byForeign, ".")[1:], "."),

		"typ JWT, signed":     signed(jwt.TypeJWT, claims),
		"logout token":        signed("logout+jwt", claims),
		"another issuer":      but("iss", "https://evil.example"),
		"issuer with slash":   but("iss", testIssuer+"/"),
		"no issuer":           but("iss", nil),
		"expired":             but("exp", f.clock.now().Add(-clockSkew).Unix()),
		"no exp":              but("exp", nil),
		"exp as text":         but("exp", "9999999999"),
		"from the future":     but("iat", f.clock.now().Add(time.Hour).Unix()),
		"not yet":             but("nbf", f.clock.now().Add(time.Hour).Unix()),
		"no aud":              but("aud", nil),
		"empty aud":           but("aud", []string{}),
		"aud of the client":   but("aud", "web"),
		"no jti":              but("jti", nil),
		"jti of no grant":     but("jti", strings.Repeat("0", 32)+".x"),
		"short jti":           but("jti", jti[:32]),
		"jti with capitals":   but("jti", strings.ToUpper(jti[:32])+"x"),
		"another's sub":       but("sub", "userid:1003"),
		"no sub":              but("sub", nil),
		"another's client_id": but("client_id", "rs"),
		"no client_id":        but("client_id", nil),
		"claims as a list":    signed(jwt.TypeAccessToken, []byte(`{"iss":"`+testIssuer+`","iss":"`+testIssuer+`"}`)),
	}
}

// TestTokenConfusion: op-engine §8 item 4. One token is not another, and what
// is not ours is nothing.
func TestTokenConfusion(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada)
	for name, token := range badTokens(f, res) {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			if !strings.ContainsAny(token, "\n") {
				f.userinfo(token).wantChallenge(401, `error="invalid_token"`)
			}
			f.do(netip.Addr{}, "POST", "/userinfo", formType, url.Values{"access_token": {token}}.Encode()).wantChallenge(401, `error="invalid_token"`)
			if name != "refresh token" { // which its client may ask about
				f.wantInactive("web", token)
			}
			f.wantInactive("rs", token)
			if name != "refresh token" {
				f.refresh(token).wantError(400, "invalid_grant")
			}
			if name != "code" {
				f.redeem(token).wantError(400, "invalid_grant")
			}
		})
	}
	f.refresh(res.AccessToken).wantError(400, "invalid_grant")
	f.redeem(res.AccessToken).wantError(400, "invalid_grant")
	// Nothing of this has hurt the login.
	f.wantAlive(res)
	f.refresh(res.RefreshToken).tokens()
	f.wantSilentLog(res.AccessToken, res.RefreshToken)
}

// TestForgedToken checks badTokens' way of making tokens: with nothing
// changed, the same claims under the same key are a good token.
func TestForgedToken(t *testing.T) {
	f := newFixture(t)
	res := f.login(ada)
	signer, err := f.p.signer(t.Context(), jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(jwt.TypeAccessToken, claimsOf(t, res.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	f.wantAlive(tokenResponse{AccessToken: token})
}
