// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
	"github.com/tailscale/tsidp/internal/safefetch"
)

// A clientKey is a client's. Its tests sign with go-jose, as clients do.
type clientKey struct {
	alg, kid string
	private  crypto.Signer
}

// sharedRSA is the one RSA key of all clients: making one is slow.
var sharedRSA = sync.OnceValue(func() crypto.Signer {
	key, err := jwt.GenerateKey(jwt.RS256)
	if err != nil {
		panic(err)
	}
	return key
})

func newClientKey(t testing.TB, alg, kid string) clientKey {
	t.Helper()
	if alg == jwt.RS256 || alg == jwt.PS256 {
		return clientKey{alg, kid, sharedRSA()}
	}
	key, err := jwt.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return clientKey{alg, kid, key}
}

// jwksOf is the key set of a client, as go-jose writes it.
func jwksOf(t testing.TB, keys ...clientKey) json.RawMessage {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: k.alg, Use: "sig"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sign signs a payload; header is a list of names and values.
func (k clientKey) sign(t testing.TB, payload string, header ...any) string {
	t.Helper()
	options := new(jose.SignerOptions)
	for pair := range slices.Chunk(header, 2) {
		options.WithHeader(jose.HeaderKey(pair[0].(string)), pair[1])
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.alg), Key: jose.JSONWebKey{Key: k.private, KeyID: k.kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims are those of a good assertion, changed: a list of names and values,
// where nil removes one.
func (f *fixture) claims(id string, change ...any) string {
	f.t.Helper()
	now := f.clock.now()
	claims := map[string]any{
		"iss": id, "sub": id, "aud": testIssuer, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
	for pair := range slices.Chunk(change, 2) {
		name := pair[0].(string)
		if claims[name] = pair[1]; pair[1] == nil {
			delete(claims, name)
		}
	}
	data, err := json.Marshal(claims)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

// assert makes the assertion of a client, with changed claims.
func (f *fixture) assert(k clientKey, id string, change ...any) string {
	f.t.Helper()
	return k.sign(f.t, f.claims(id, change...))
}

func assertionForm(assertion string) url.Values {
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
}

// addKeyClient adds a client that authenticates by private_key_jwt.
func (f *fixture) addKeyClient(id string, jwks json.RawMessage, change ...func(*admin.ClientMetadata)) {
	f.t.Helper()
	m := admin.ClientMetadata{RedirectURIs: []string{webRedirect}, TokenEndpointAuthMethod: authPrivateKeyJWT, JWKS: jwks}
	for _, c := range change {
		c(&m)
	}
	f.addClient(id, "", m)
}

// ask introspects nothing with an assertion, and further parameters: 200 says
// that it was good.
func (f *fixture) ask(assertion string, more ...string) *reply {
	f.t.Helper()
	form := assertionForm(assertion)
	form.Set("token", "x")
	return f.post("/introspect", edited(form, more))
}

// says checks for a refusal, and that it names the reason.
func (r *reply) says(status int, code, reason string) {
	r.t.Helper()
	r.wantError(status, code)
	if got := r.json(status)["error_description"].(string); !strings.Contains(got, reason) {
		r.t.Errorf("description %q does not say %q", got, reason)
	}
}

// TestAssertion: every endpoint takes assertions, of every algorithm, for each
// of the two audiences, with and without what may be left out (C40 a, b).
func TestAssertion(t *testing.T) {
	for _, alg := range jwt.AssertionAlgs {
		t.Run(alg, func(t *testing.T) {
			f := newFixture(t)
			key := newClientKey(t, alg, "k1")
			f.addKeyClient("signer", jwksOf(t, key))
			code := f.code(ada, "client_id", "signer")
			a := f.assert(key, "signer")
			first := f.post("/token", codeForm(code, "client_assertion_type", assertionType, "client_assertion", a)).tokens()
			b := f.assert(key, "signer", "aud", testIssuer+"/token")
			second := f.post("/token", refreshForm(first.RefreshToken, "client_id", "signer", "client_assertion_type", assertionType, "client_assertion", b)).tokens()
			if got := f.ask(f.assert(key, "signer"), "token", second.AccessToken).json(200); got["active"] != true {
				t.Errorf("introspection answers %v", got)
			}
			form := assertionForm(f.assert(key, "signer"))
			form.Set("token", second.RefreshToken)
			if r := f.post("/revoke", form); r.status != 200 {
				t.Errorf("revocation answers %d %s", r.status, r.body)
			}
			f.wantDead(second)
			f.wantSilentLog(a, b, a[len(a)-40:], b[len(b)-40:])
		})
	}
}

// TestAssertionGood are those at the edge of what is taken.
func TestAssertionGood(t *testing.T) {
	f := newFixture(t)
	key := newClientKey(t, jwt.ES256, "k1")
	f.addKeyClient("signer", jwksOf(t, key))
	bare := newClientKey(t, jwt.EdDSA, "")
	f.addKeyClient("bare", jwksOf(t, bare, key))
	sign := func(header ...any) string { return key.sign(t, f.claims("signer"), header...) }
	in := func(d time.Duration) int64 { return f.clock.now().Add(d).Unix() }
	for name, assertion := range map[string]string{
		"typ JWT":                    sign("typ", "JWT"),
		"typ of RFC 7523bis":         sign("typ", "client-authentication+jwt"),
		"typ in full":                sign("typ", "application/client-authentication+jwt"),
		"exp as far as it may be":    f.assert(key, "signer", "exp", in(maxAssertionLife+assertionLeeway)),
		"expired by a slow clock":    f.assert(key, "signer", "exp", in(time.Second-assertionLeeway)),
		"from a fast clock":          f.assert(key, "signer", "iat", in(assertionLeeway), "nbf", in(assertionLeeway)),
		"exp with a fraction":        f.assert(key, "signer", "exp", float64(in(time.Minute))+0.5),
		"no iat":                     f.assert(key, "signer", "iat", nil),
		"old iat":                    f.assert(key, "signer", "iat", in(-24*time.Hour)),
		"longest jti":                f.assert(key, "signer", "jti", strings.Repeat("j", maxAssertionID)),
		"jti in another script":      f.assert(key, "signer", "jti", "größe-日本"),
		"more claims":                f.assert(key, "signer", "scope", "admin", "client_id", "web", "x", []int{1}),
		"no kid, one key of the alg": f.assert(bare, "bare"),
		"kid of the other key":       f.assert(key, "bare"),
	} {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			if r := f.ask(assertion); r.status != 200 {
				t.Errorf("answer %d %s", r.status, r.body)
			}
			f.ask(assertion).says(401, "invalid_client", "used before")
		})
	}
}

// unsigned puts a token together by hand.
func unsigned(header, payload, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte(signature))
}

// TestAssertionBad is standards §7, with C40 (c)–(f), (h)–(j). Nothing of it
// writes anything, and none is taken for a good one.
func TestAssertionBad(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	key, rsaKey := newClientKey(t, jwt.ES256, "k1"), newClientKey(t, jwt.RS256, "r1")
	f.addKeyClient("signer", jwksOf(t, key, rsaKey))
	f.addKeyClient("other", jwksOf(t, newClientKey(t, jwt.ES256, "k1")))
	foreign := newClientKey(t, jwt.ES256, "k1")
	idToken := f.login(ada).IDToken
	der, err := x509.MarshalPKIXPublicKey(rsaKey.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hs256 := func(secret []byte) string {
		token := unsigned(`{"alg":"HS256","kid":"r1"}`, f.claims("signer"), "")
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(strings.TrimSuffix(token, ".")))
		return token + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	good := f.claims("signer")
	jwk := jose.JSONWebKey{Key: foreign.private.Public(), KeyID: "k1"}
	claim := func(change ...any) string { return f.assert(key, "signer", change...) }
	header := func(k clientKey, header ...any) string { return k.sign(t, f.claims("signer"), header...) }
	in := func(d time.Duration) int64 { return f.clock.now().Add(d).Unix() }
	const aud, names, exp, jti = "aud must be one string, https://idp.tail1234.ts.net or https://idp.tail1234.ts.net/token exactly", "iss and sub must both be the client_id", "no exp", "jti must be"
	const malformed = "claims are malformed, repeated or of the wrong type"
	before := s.called("UseOnce")
	for _, tt := range []struct{ name, assertion, says string }{
		// Audience injection: CVE-2025-27370, CVE-2025-27371.
		{"aud (c) with a slash", claim("aud", testIssuer+"/"), aud},
		{"aud (d) with two slashes", claim("aud", testIssuer+"//token"), aud},
		{"aud (e) several", claim("aud", []string{testIssuer, "https://evil.example"}), aud},
		{"aud an array of one", claim("aud", []string{testIssuer}), aud},
		{"aud (f) absent", claim("aud", nil), aud},
		{"aud null", key.sign(t, strings.Replace(good, `"aud":"`+testIssuer+`"`, `"aud":null`, 1)), aud},
		{"aud empty", claim("aud", ""), aud},
		{"aud a number", claim("aud", 1), aud},
		{"aud an object", claim("aud", map[string]string{"x": testIssuer}), aud},
		{"aud token endpoint with a slash", claim("aud", testIssuer+"/token/"), aud},
		{"aud token endpoint of another host", claim("aud", "https://evil.example/token"), aud},
		{"aud issuer in capitals", claim("aud", strings.ToUpper(testIssuer)), aud},
		{"aud issuer by http", claim("aud", "http://idp.tail1234.ts.net"), aud},
		{"aud issuer with its port", claim("aud", testIssuer+":443"), aud},
		{"aud issuer and a blank", claim("aud", testIssuer+" "), aud},
		{"aud the endpoint itself", claim("aud", testIssuer+"/introspect"), aud},
		{"aud the client", claim("aud", "signer"), aud},
		{"aud twice", key.sign(t, `{"aud":"https://evil.example",`+good[1:]), malformed},

		{"no iss", claim("iss", nil), names},
		{"no sub", claim("sub", nil), "no sub"},
		{"(i) another sub", claim("sub", "other"), "signature does not verify"},
		{"another iss", claim("iss", "other"), names},
		{"iss of ours", claim("iss", testIssuer), names},
		{"sub a number", claim("sub", 1), malformed},
		{"sub twice", key.sign(t, `{"sub":"other",`+good[1:]), malformed},
		{"sub in capitals too", key.sign(t, `{"SUB":"other",`+f.claims("signer", "sub", nil)[1:]), "no sub"},
		{"sub nobody", claim("sub", "nobody", "iss", "nobody"), "no client with this id"},
		{"sub with a secret", claim("sub", "web", "iss", "web"), "not registered for private_key_jwt"},
		{"sub public", claim("sub", "pub", "iss", "pub"), "not registered for private_key_jwt"},

		{"no exp", claim("exp", nil), exp},
		{"expired", claim("exp", in(-assertionLeeway)), "expired"},
		{"(h) exp too far ahead", claim("exp", in(maxAssertionLife+assertionLeeway+time.Second)), "exp is more than 10 minutes ahead"},
		{"exp in an hour", claim("exp", in(time.Hour)), "exp is more than 10 minutes ahead"},
		{"exp a text", claim("exp", "2026-11-01"), malformed},
		{"exp in milliseconds", claim("exp", in(time.Minute)*1000), "exp is more than 10 minutes ahead"},
		{"exp beyond numbers", key.sign(t, `{"sub":"signer","exp":1e300}`), malformed},
		{"not valid yet", claim("nbf", in(assertionLeeway+time.Second)), "not valid yet"},
		{"from the future", claim("iat", in(assertionLeeway+time.Second)), "issued in the future"},

		{"no jti", claim("jti", nil), jti},
		{"empty jti", claim("jti", ""), jti},
		{"long jti", claim("jti", strings.Repeat("j", maxAssertionID+1)), jti},
		{"jti with NUL", claim("jti", "a\x00"), jti},
		{"jti a number", claim("jti", 1), malformed},

		{"payload no object", key.sign(t, `["signer"]`), "claims are not a JSON object"},
		{"payload no JSON", key.sign(t, `signer`), "claims are not a JSON object"},
		{"payload not UTF-8", key.sign(t, "{\"sub\":\"\xff\"}"), "claims are not a JSON object"},

		// Algorithm confusion: CVE-2015-9235, CVE-2016-10555, CVE-2022-21449.
		{"(j) HS256 with the PEM", hs256(public), "alg is none of"},
		{"(j) HS256 with the DER", hs256(der), "alg is none of"},
		{"alg none", unsigned(`{"alg":"none","kid":"k1"}`, good, "x"), "alg is none of"},
		{"alg nOnE", unsigned(`{"alg":"nOnE","kid":"k1"}`, good, "x"), "alg is none of"},
		{"alg none, no signature", unsigned(`{"alg":"none"}`, good, ""), "signature is empty"},
		{"no alg", unsigned(`{"kid":"k1"}`, good, "x"), "alg is none of"},
		{"alg of another key", unsigned(`{"alg":"RS256","kid":"k1"}`, good, "x"), "alg is not the one of the key"},
		{"PS256 with the key for RS256", header(clientKey{jwt.PS256, "r1", rsaKey.private}), "alg is not the one of the key"},
		{"ES256 of zeros", unsigned(`{"alg":"ES256","kid":"k1"}`, good, strings.Repeat("\x00", 64)), "signature does not verify"},
		{"signed by somebody else", header(foreign), "signature does not verify"},
		{"signed by somebody else, without kid", header(clientKey{foreign.alg, "", foreign.private}), "signature does not verify"},

		// Keys that the sender would like us to use.
		{"jku", header(foreign, "jku", "https://evil.example/jwks"), "header has jku"},
		{"x5u", header(foreign, "x5u", "https://evil.example/x5u"), "header has x5u"},
		{"x5c", header(foreign, "x5c", []string{base64.StdEncoding.EncodeToString(der)}), "header has x5c"},
		{"jwk", header(foreign, "jwk", jwk), "header has jwk"},
		{"crit", header(key, "crit", []string{"b64"}, "b64", false), "header has"},
		{"kid a path", header(clientKey{key.alg, "../../../../dev/null", key.private}), "unknown kid"},
		{"kid a query", header(clientKey{key.alg, "k1' OR '1'='1", key.private}), "unknown kid"},
		{"kid an address", header(clientKey{key.alg, "https://evil.example/jwks", key.private}), "unknown kid"},
		{"kid with NUL", header(clientKey{key.alg, "k1\x00", key.private}), "kid is malformed"},
		{"kid a number", header(clientKey{key.alg, "", key.private}, "kid", 1), "kid is malformed"},
		{"kid empty", unsigned(`{"alg":"ES256","kid":""}`, good, "x"), "kid is malformed"},
		{"kid of nobody", header(clientKey{key.alg, "k2", key.private}), "unknown kid"},
		{"alg that no key has", unsigned(`{"alg":"EdDSA"}`, good, "x"), "no kid, and not exactly one key"},
		{"alg twice", unsigned(`{"alg":"none","alg":"ES256","kid":"k1"}`, good, "x"), "header is not"},

		// Type confusion.
		{"an ID token", idToken, "no client with this id"},
		{"typ of access tokens", header(key, "typ", "at+jwt"), "typ is not the expected one"},
		{"typ of proofs", header(key, "typ", "dpop+jwt"), "typ is not the expected one"},
		{"typ null", header(key, "typ", nil), "typ is not the expected one"},

		{"no token", "signer", "not three parts"},
		{"parts alone", "a.b.c", "not base64url"},
		{"five parts", "a.b.c.d.e", "not three parts"},
		{"too long", claim("pad", strings.Repeat("x", maxAssertionLen)), "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			r := f.ask(tt.assertion)
			r.wantClientError(401, "invalid_client")
			r.says(401, "invalid_client", tt.says)
			if named := f.ask(tt.assertion, "client_id", "signer"); named.status != 401 {
				t.Errorf("with client_id: answer %d %s", named.status, named.body)
			}
			f.wantSilentLog(tt.assertion)
		})
	}
	if n := s.called("UseOnce") - before; n != 0 {
		t.Errorf("%d uses of a jti were recorded, want none", n)
	}
	if r := f.ask(key.sign(t, good)); r.status != 200 {
		t.Errorf("the good one: answer %d %s", r.status, r.body)
	}
}

// TestAssertionForm: what else is in the request.
func TestAssertionForm(t *testing.T) {
	f := newFixture(t)
	key := newClientKey(t, jwt.ES256, "k1")
	f.addKeyClient("signer", jwksOf(t, key))
	// One that had a secret before must not be able to use it.
	f.editClient("signer", func(c *client) { c.Secrets = []clientSecret{hashSecret(webSecret, f.clock.now())} })
	code := f.code(ada, "client_id", "signer")
	typed := func(typ string, more ...string) []string {
		return append([]string{"client_assertion_type", typ, "client_assertion", f.assert(key, "signer")}, more...)
	}
	proof := func(more ...string) []string { return typed(assertionType, more...) }
	for _, tt := range []struct {
		name   string
		header []string
		body   []string
		status int
		code   string
	}{
		{"secret", nil, proof("client_secret", webSecret), 400, "invalid_request"},
		{"id and secret", nil, proof("client_id", "signer", "client_secret", webSecret), 400, "invalid_request"},
		{"Basic", basicAuth("signer", webSecret), proof(), 400, "invalid_request"},
		{"Basic of another client", basicAuth("web", webSecret), proof(), 400, "invalid_request"},
		{"Bearer", []string{"Authorization", "Bearer x"}, proof(), 400, "invalid_request"},
		{"two headers", append(basicAuth("a", "b"), basicAuth("a", "b")...), proof(), 400, "invalid_request"},
		{"no type", nil, typed(""), 400, "invalid_request"},
		{"type alone", nil, []string{"client_id", "signer", "client_assertion_type", assertionType}, 400, "invalid_request"},
		{"type of SAML", nil, typed("urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), 401, "invalid_client"},
		{"type in capitals", nil, typed(strings.ToUpper(assertionType)), 401, "invalid_client"},
		{"two assertions", nil, proof("client_assertion", f.assert(key, "signer")), 400, "invalid_request"},
		{"another client_id", nil, proof("client_id", "web"), 401, "invalid_client"},
		{"client_id of nobody", nil, proof("client_id", "nobody"), 401, "invalid_client"},
		{"client_id that is public", nil, proof("client_id", "pub"), 401, "invalid_client"},
		{"nothing", nil, []string{"client_id", "signer"}, 401, "invalid_client"},
		{"secret instead", nil, []string{"client_id", "signer", "client_secret", webSecret}, 401, "invalid_client"},
		{"Basic instead", basicAuth("signer", webSecret), nil, 401, "invalid_client"},
		{"Basic without secret", basicAuth("signer", ""), nil, 401, "invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.in(t).post("/token", codeForm(code, tt.body...), tt.header...).wantClientError(tt.status, tt.code)
		})
	}
	f.post("/token", codeForm(code, proof("client_id", "signer")...)).tokens()
}

// TestAssertionStrict: a client may insist on the issuer, as FAPI 2.0 does.
func TestAssertionStrict(t *testing.T) {
	f := newFixture(t)
	key := newClientKey(t, jwt.ES256, "k1")
	f.addKeyClient("signer", jwksOf(t, key), func(m *admin.ClientMetadata) { m.AssertionAudienceStrict = true })
	f.ask(f.assert(key, "signer", "aud", testIssuer+"/token")).says(401, "invalid_client", "aud must be one string, "+testIssuer+" exactly")
	f.ask(f.assert(key, "signer", "aud", []string{testIssuer})).says(401, "invalid_client", "aud must be one string")
	f.ask(f.assert(key, "signer")).json(200)
}

// TestAssertionSigningAlg: what is registered binds, and decides what an RSA
// key is for that does not say.
func TestAssertionSigningAlg(t *testing.T) {
	f := newFixture(t)
	ps, es := newClientKey(t, jwt.PS256, "r1"), newClientKey(t, jwt.ES256, "k1")
	jwks := json.RawMessage(strings.Replace(string(jwksOf(t, ps, es)), `"alg":"PS256",`, "", 1))
	f.addKeyClient("ps", jwks, func(m *admin.ClientMetadata) { m.TokenEndpointAuthSigningAlg = jwt.PS256 })
	f.addKeyClient("any", jwks)
	rs := clientKey{jwt.RS256, "r1", ps.private}
	f.ask(f.assert(ps, "ps")).json(200)
	f.ask(f.assert(rs, "ps")).says(401, "invalid_client", "alg must be PS256")
	f.ask(f.assert(es, "ps")).says(401, "invalid_client", "alg must be PS256")
	f.ask(f.assert(rs, "any")).json(200)
	f.ask(f.assert(es, "any")).json(200)
	f.ask(f.assert(ps, "any")).says(401, "invalid_client", "alg is not the one of the key")
}

// TestAssertionReplay: CVE-2020-5300, CVE-2020-15222. A jti counts once per
// client, whatever the endpoint, also after a restart and on another instance
// (C40 g).
func TestAssertionReplay(t *testing.T) {
	f := newFixture(t)
	key := newClientKey(t, jwt.ES256, "k1")
	for _, id := range []string{"signer", "other"} {
		f.addKeyClient(id, jwksOf(t, key))
	}
	used := f.assert(key, "signer", "jti", "one")
	f.ask(used).json(200)
	refuse := func(f *fixture, assertion string) {
		t.Helper()
		for _, path := range []string{"/token", "/introspect", "/revoke"} {
			form := assertionForm(assertion)
			form.Set("token", "x")
			form.Set("grant_type", "refresh_token")
			f.post(path, form).says(401, "invalid_client", "used before")
		}
	}
	refuse(f, used)
	refuse(f, f.assert(key, "signer", "jti", "one", "exp", f.clock.now().Add(5*time.Minute).Unix()))
	f.ask(f.assert(key, "other", "jti", "one")).json(200)

	p, err := New(Config{Issuer: testIssuer, Tailnet: f.tailnet, Store: f.store, Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	again := f.in(t)
	again.p = p
	again.run()
	again.client = serve(t, withTestPeer(p.Handler()))
	refuse(again, used)
	// As long as it could pass for a good one, and what is expired does not.
	for range 9 {
		f.clock.advance(10 * time.Second)
		p.expire(t.Context())
		if r := again.ask(used); r.status != 401 {
			t.Fatalf("answer %d %s", r.status, r.body)
		}
	}
	again.ask(used).says(401, "invalid_client", "expired")
	again.ask(f.assert(key, "signer", "jti", "one")).says(401, "invalid_client", "used before")
	f.clock.advance(clockSkew)
	again.ask(f.assert(key, "signer", "jti", "one")).json(200)
}

// TestAssertionRace: of many requests with one assertion one succeeds.
func TestAssertionRace(t *testing.T) {
	f := newFixture(t)
	key := newClientKey(t, jwt.ES256, "k1")
	f.addKeyClient("signer", jwksOf(t, key))
	form := assertionForm(f.assert(key, "signer"))
	form.Set("token", "x")
	var good int
	for _, r := range f.postAll(20, "/introspect", func(int) url.Values { return form }) {
		if r.status == 200 {
			good++
			continue
		}
		r.says(401, "invalid_client", "used before")
	}
	if good != 1 {
		t.Errorf("%d of 20 succeeded, want 1", good)
	}
}

// A keyHost is a web server for key sets, by TLS, of which requests are
// counted.
type keyHost struct {
	mu      sync.Mutex
	handler http.HandlerFunc
	asked   int
}

// answer lets the host answer with a key set from now on.
func (h *keyHost) answer(contentType, body string) {
	h.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write([]byte(body))
	})
}

func (h *keyHost) set(handler http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handler = handler
}

func (h *keyHost) requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

func (h *keyHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	handler := h.handler
	h.asked++
	h.mu.Unlock()
	handler(w, r)
}

// everyName resolves all names to one public address.
type everyName struct{}

func (everyName) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
}

// keysURI is where a keyHost is.
const keysURI = "https://example.com/jwks.json"

// keyHost starts a server that the fixture's provider takes for example.com.
func (f *fixture) keyHost() *keyHost {
	f.t.Helper()
	h := new(keyHost)
	srv := httptest.NewTLSServer(h)
	f.t.Cleanup(srv.Close)
	srv.Config.ErrorLog = nil
	config := f.p.fetchConfig()
	config.Resolver = everyName{}
	config.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}
	var err error
	if f.p.fetch, err = safefetch.New(config); err != nil {
		f.t.Fatal(err)
	}
	return h
}

func atKeysURI(m *admin.ClientMetadata) { m.JWKSURI = keysURI }

// TestAssertionJWKSURI: keys are fetched once, kept, and fetched again for a
// kid that is new (C40 k), though not as often as anybody likes.
func TestAssertionJWKSURI(t *testing.T) {
	f := newFixture(t)
	host := f.keyHost()
	f.addKeyClient("signer", nil, atKeysURI)
	k1, k2 := newClientKey(t, jwt.ES256, "k1"), newClientKey(t, jwt.EdDSA, "k2")
	wantRequests := func(n int) {
		t.Helper()
		if got := host.requests(); got != n {
			t.Errorf("%d requests to the host of the keys, want %d", got, n)
		}
	}
	host.answer("application/jwk-set+json", string(jwksOf(t, k1)))
	f.ask(f.assert(k1, "signer")).json(200)
	f.ask(f.assert(k1, "signer")).json(200)
	wantRequests(1)

	host.answer("application/json; charset=utf-8", string(jwksOf(t, k2)))
	f.ask(f.assert(k2, "signer")).says(401, "invalid_client", "unknown kid")
	wantRequests(1)
	f.clock.advance(keysRefetch)
	f.ask(f.assert(k2, "signer")).json(200)
	wantRequests(2)
	// The old key has gone with the old set.
	f.ask(f.assert(k1, "signer")).says(401, "invalid_client", "unknown kid")
	wantRequests(2)

	f.clock.advance(keysRefetch)
	form := func(i int) url.Values {
		v := assertionForm(f.assert(clientKey{jwt.ES256, "made-up", k1.private}, "signer"))
		v.Set("token", "x")
		return v
	}
	for _, r := range f.postAll(20, "/introspect", form) {
		r.says(401, "invalid_client", "unknown kid")
	}
	wantRequests(3)
}

// TestAssertionJWKSURIFails: a host that cannot be asked is no fault of the
// client's, and its assertion stays good; a document that is none is one.
func TestAssertionJWKSURIFails(t *testing.T) {
	f := newFixture(t)
	host := f.keyHost()
	f.addKeyClient("signer", nil, atKeysURI)
	key := newClientKey(t, jwt.ES256, "k1")
	assertion := f.assert(key, "signer", "exp", f.clock.now().Add(maxAssertionLife).Unix())
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.private, KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://example.com/other")
			w.WriteHeader(code)
		}
	}
	body := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Write([]byte(body))
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		says    string // of a 401; empty: 503
	}{
		{"server error", status(500), ""},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ""},
		{"not found", status(404), "jwks_uri: "},
		{"redirect", status(302), "jwks_uri: "},
		{"a page", body("text/html", "<p>"), "jwks_uri: "},
		{"too long", body("application/json", `{"keys":[]}`+strings.Repeat(" ", maxFetchedJWKS)), "jwks_uri: "},
		{"no key set", body("application/json", `{}`), "jwks_uri: not a JSON object with unique members and an array of keys"},
		{"no key", body("application/json", `{"keys":[]}`), "jwks_uri: no key for signatures"},
		{"private key", body("application/json", string(private)), "jwks_uri: keys[0] is a private or symmetric key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			host.set(tt.handler)
			f.clock.advance(2 * time.Second)
			r := f.ask(assertion)
			if tt.says == "" {
				r.wantUnavailable()
				return
			}
			r.says(401, "invalid_client", tt.says)
		})
	}
	f.clock.advance(2 * time.Second)
	host.answer("application/json", string(jwksOf(t, key)))
	f.ask(assertion).json(200)

	// A host that only the provider reaches, in a record that got past the
	// check at registration.
	f.editClient("signer", func(c *client) { c.JWKSURI = "https://127.0.0.1/jwks" })
	f.ask(f.assert(key, "signer")).says(401, "invalid_client", "jwks_uri: its host is an IP address")
}

// TestAssertionStoreFails: if it cannot be told whether an assertion was used,
// it is good for another attempt, and so is the code.
func TestAssertionStoreFails(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	key := newClientKey(t, jwt.ES256, "k1")
	f.addKeyClient("signer", jwksOf(t, key))
	code := f.code(ada, "client_id", "signer")
	form := codeForm(code)
	maps.Copy(form, assertionForm(f.assert(key, "signer")))
	s.setBroken("UseOnce", false)
	f.post("/token", form).wantUnavailable()
	s.setBroken("", false)
	f.post("/token", form).tokens()
}

// TestFetchDocumentWaits: a request waits for its turn once, not for longer
// than its sender does.
func TestFetchDocumentWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(goodConfig())
		if err != nil {
			t.Fatal(err)
		}
		var dialed int
		config := p.fetchConfig()
		config.Resolver = everyName{}
		config.Dial = func(context.Context, string, string) (net.Conn, error) { dialed++; return nil, errTest }
		if p.fetch, err = safefetch.New(config); err != nil {
			t.Fatal(err)
		}
		fetch := func(ctx context.Context) (errorCode, time.Duration) {
			began := time.Now()
			_, err := p.fetchDocument(ctx, keysURI, safefetch.Want{})
			return fetchError(err, codeInvalidClient, "jwks_uri").code, time.Since(began)
		}
		if code, took := fetch(t.Context()); code != codeUnavailable || took != 0 || dialed != 1 {
			t.Errorf("first: %s after %v, %d connections", code, took, dialed)
		}
		if code, took := fetch(t.Context()); code != codeUnavailable || took != time.Second || dialed != 2 {
			t.Errorf("second: %s after %v, %d connections; want it to wait a second for its own", code, took, dialed)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if code, took := fetch(ctx); code != codeUnavailable || took != 300*time.Millisecond || dialed != 2 {
			t.Errorf("impatient: %s after %v, %d connections", code, took, dialed)
		}
	})
}

// TestClientFetch: Config.ClientFetch reaches the fetcher.
func TestClientFetch(t *testing.T) {
	const internal = "https://ci.tail1234.ts.net:8443/jwks"
	var dialed []string
	p, err := New(goodConfig(func(c *Config) {
		c.ClientFetch = &ClientFetch{
			AllowHosts: []string{"ci.tail1234.ts.net:8443"},
			DialTailnet: func(_ context.Context, _, address string) (net.Conn, error) {
				dialed = append(dialed, address)
				return nil, errTest
			},
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	signer := func(uri string) *client {
		return newTestClient(func(c *client) { c.TokenEndpointAuthMethod, c.JWKSURI = authPrivateKeyJWT, uri })
	}
	if err := p.validateClient(signer(internal), oauth.AdministratorRedirects); err != nil {
		t.Errorf("a listed host: %v", err)
	}
	if err := p.validateClient(signer("https://db.tail1234.ts.net/jwks"), oauth.AdministratorRedirects); err == nil {
		t.Error("a host of the tailnet that is not listed is taken")
	}
	if _, err := p.fetchDocument(t.Context(), internal, safefetch.Want{}); err == nil || !slices.Equal(dialed, []string{"ci.tail1234.ts.net:8443"}) {
		t.Errorf("fetching %s: %v, dialled %q", internal, err, dialed)
	}
	for _, host := range []string{"*.example.com", "a/b", "idp.tail1234.ts.net", ""} {
		if _, err := New(goodConfig(func(c *Config) { c.ClientFetch = &ClientFetch{AllowHosts: []string{host}} })); err == nil {
			t.Errorf("AllowHosts %q is taken", host)
		}
	}
}

// TestClientKeysRefused: each fault of the keys is reported under the name of
// its member.
func TestClientKeysRefused(t *testing.T) {
	key := newClientKey(t, jwt.ES256, "k1")
	jwks := jwksOf(t, key)
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.private, KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	set := func(jwks, uri, alg string) func(*client) {
		return func(c *client) {
			c.TokenEndpointAuthMethod, c.JWKS, c.JWKSURI, c.TokenEndpointAuthSigningAlg = authPrivateKeyJWT, json.RawMessage(jwks), uri, alg
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*client)
		says   string // empty: taken
	}{
		{"jwks", set(string(jwks), "", ""), ""},
		{"jwks and alg", set(string(jwks), "", "ES256"), ""},
		{"jwks_uri", set("", keysURI, "RS256"), ""},
		{"jwks null", set("null", keysURI, ""), ""},
		{"jwks without need", func(c *client) { c.JWKS = jwks }, ""},
		{"jwks_uri of a public client", func(c *client) { c.TokenEndpointAuthMethod, c.JWKSURI = authNone, keysURI }, ""},

		{"neither", set("", "", ""), "jwks: private_key_jwt needs"},
		{"both", set(string(jwks), keysURI, ""), "jwks: excludes jwks_uri"},
		{"another alg", set(string(jwks), "", "RS256"), "jwks: no key for token_endpoint_auth_signing_alg RS256"},
		{"alg none", set(string(jwks), "", "none"), "token_endpoint_auth_signing_alg: "},
		{"alg HS256", set(string(jwks), "", "HS256"), "token_endpoint_auth_signing_alg: "},
		{"private", set(string(private), "", ""), "jwks: keys[0] is a private or symmetric key"},
		{"private without need", func(c *client) { c.JWKS = private }, "jwks: keys[0] is a private or symmetric key"},
		{"symmetric", set(`{"keys":[{"kty":"oct","k":"AAAA","kid":"1"}]}`, "", ""), "jwks: keys[0] is a private or symmetric key"},
		{"short RSA", set(`{"keys":[`+`{"kty":"RSA","n":"`+strings.Repeat("____", 42)+`_w","e":"AQAB"}]}`, "", ""), "jwks: keys[0]: RSA modulus of 1016 bits"},
		{"too long", set(`{"keys":[]}`+strings.Repeat(" ", maxJWKS), "", ""), "jwks: longer than"},
		{"no keys", set(`{"keys":[]}`, "", ""), "jwks: no key for signatures"},
		{"keys twice", set(`{"keys":[],`+string(jwks)[1:], "", ""), "jwks: not a JSON object with unique members"},
		{"jwks a text", set(`"`+keysURI+`"`, "", ""), "jwks: not a JSON object"},
		{"jwks_uri by http", set("", "http://example.com/jwks", ""), "jwks_uri: "},
		{"jwks_uri with a script", set("", "javascript:alert(1)", ""), "jwks_uri: "},
		{"jwks_uri of a file", set("", "file:///etc/passwd", ""), "jwks_uri: "},
		{"jwks_uri with a line break", set("", keysURI+"\n", ""), "jwks_uri: "},
		{"jwks_uri without host", set("", "https:///jwks", ""), "jwks_uri: "},
		{"jwks_uri in capitals", set("", "HTTPS://example.com/jwks", ""), "jwks_uri: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := newTestClient(tt.change).validate(oauth.AdministratorRedirects)
			if tt.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if e, ok := err.(*protocolError); !ok || e.code != codeInvalidClientMetadata || !strings.HasPrefix(e.description, tt.says) {
				t.Errorf("error %v, want invalid_client_metadata %q", err, tt.says)
			}
		})
	}
}

// TestCreateKeyClient: such a client has no secret, and its keys come back.
func TestCreateKeyClient(t *testing.T) {
	f := newFixture(t)
	key := newClientKey(t, jwt.ES256, "k1")
	metadata := `{"client_id":"signer","redirect_uris":["` + webRedirect + `"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + string(jwksOf(t, key))
	create := func(body string) *reply {
		return f.do(adm, "POST", "/api/v1/clients", "application/json", body)
	}
	create(metadata+`,"client_secret":"`+webSecret+`"}`).says(400, "invalid_client_metadata", "client_secret: a client with token_endpoint_auth_method private_key_jwt has none")
	made := create(metadata + "}").json(201)
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if v, ok := made[name]; ok {
			t.Errorf("%s is %v", name, v)
		}
	}
	shown := f.do(adm, "GET", "/api/v1/clients/signer", "", "").json(200)
	if keys := shown["jwks"].(map[string]any)["keys"].([]any); len(keys) != 1 || keys[0].(map[string]any)["kid"] != "k1" {
		t.Errorf("jwks %v", shown["jwks"])
	}
	f.ask(f.assert(key, "signer")).json(200)
}

// FuzzAssertion changes assertions. Whatever comes, the answer is a refusal
// that repeats nothing of it, unless somebody with the key has signed it.
func FuzzAssertion(f *testing.F) {
	x := newFixture(f)
	key := newClientKey(f, jwt.ES256, "k1")
	x.addKeyClient("signer", jwksOf(f, key))
	signed := make(map[string]bool)
	for _, token := range []string{
		x.assert(key, "signer"),
		x.assert(key, "signer", "aud", testIssuer+"/token"),
		x.assert(key, "signer", "aud", []string{testIssuer}),
		x.assert(key, "signer", "exp", nil, "jti", nil),
		key.sign(f, `{"sub":"signer","sub":"web"}`, "typ", "JWT"),
	} {
		signed[token[:strings.LastIndexByte(token, '.')]] = true
		f.Add(token, "", 0, byte(0))
		f.Add(token, "signer", len(token)/2, byte(1))
	}
	f.Add(unsigned(`{"alg":"none"}`, `{"sub":"signer"}`, "x"), "signer", 3, byte(1))
	f.Add("..", "", 0, byte('.'))
	f.Fuzz(func(t *testing.T, token, id string, at int, flip byte) {
		changed := []byte(token)
		if 0 <= at && at < len(changed) {
			changed[at] ^= flip
		}
		values := assertionForm(string(changed))
		if id != "" {
			values.Set("client_id", id)
		}
		c, err := x.p.authenticateClient(httptest.NewRequest("POST", "/token", nil), &form{values: values})
		if err == nil {
			i := strings.LastIndexByte(string(changed), '.')
			if c.ID != "signer" || i < 0 || !signed[string(changed[:i])] {
				t.Errorf("%q authenticates %s", changed, c.ID)
			}
			return
		}
		e, ok := err.(*protocolError)
		if !ok || e.status() >= 500 || len(changed) > 20 && strings.Contains(e.Error(), string(changed)) {
			t.Errorf("%q: error %v", changed, err)
		}
	})
}
