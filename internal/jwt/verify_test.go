// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestVerify(t *testing.T) {
	for _, alg := range algorithms {
		token := sign(t, testSigner(t, alg), TypeAccessToken)
		for _, typ := range []string{"at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"} {
			got, err := Verify(token, typ, testKeys(t))
			if err != nil || string(got) != testClaims {
				t.Errorf("%s: typ %q: %s, %v", alg, typ, got, err)
			}
		}
	}
}

// TestVerifyAsksForKidOnce shows what keys is asked.
func TestVerifyAsksForKidOnce(t *testing.T) {
	s := testSigner(t, EdDSA)
	var asked []string
	_, err := Verify(sign(t, s, TypeJWT), TypeJWT, func(kid string) (PublicKey, bool) {
		asked = append(asked, kid)
		return s.Public(), true
	})
	if err != nil || len(asked) != 1 || asked[0] != s.ID() {
		t.Errorf("asked for %q, %v", asked, err)
	}
}

// TestVerifyType is the confusion of token types, and the spellings of one.
func TestVerifyType(t *testing.T) {
	for _, tt := range []struct {
		header string // the member typ with its comma, or nothing
		typ    string // the expected type
		ok     bool
	}{
		{`"typ":"at+jwt",`, "at+jwt", true},
		{`"typ":"AT+jwt",`, "at+jwt", true},
		{`"typ":"application/at+jwt",`, "at+jwt", true},
		{`"typ":"APPLICATION/AT+JWT",`, "at+jwt", true},
		{`"typ":"at\u002bjwt",`, "at+jwt", true},
		{`"typ":"jwt",`, "JWT", true},
		{`"typ":"logout+jwt",`, "logout+jwt", true},
		{`"typ":"example/at+jwt",`, "example/at+jwt", true},
		{`"typ":"application/a/b",`, "application/a/b", true},

		// ID token as access token, and the reverse.
		{`"typ":"JWT",`, "at+jwt", false},
		{`"typ":"at+jwt",`, "JWT", false},
		{`"typ":"logout+jwt",`, "JWT", false},
		{``, "at+jwt", false},
		{``, "JWT", false},
		{`"typ":"",`, "at+jwt", false},
		{`"typ":null,`, "at+jwt", false},
		{`"typ":1,`, "at+jwt", false},
		{`"typ":["at+jwt"],`, "at+jwt", false},
		{`"typ":"at+jwt ",`, "at+jwt", false},
		{`"typ":"at+jwt;v=1",`, "at+jwt", false},
		{`"typ":"text/at+jwt",`, "at+jwt", false},
		{`"typ":"application/application/at+jwt",`, "at+jwt", false},
		{`"typ":"a/b",`, "application/a/b", false},
		{`"typ":"application/a/b",`, "a/b", false},
		{`"typ":"application/",`, "at+jwt", false},
		{`"TYP":"at+jwt",`, "at+jwt", false},
		{`"typ":"logout+jwt\u0000",`, "logout+jwt", false},
		{`"typ":"` + strings.Repeat("a", 257) + `",`, strings.Repeat("a", 257), false},
		// Letters that fold to ASCII ones: long s, Kelvin sign.
		{"\"typ\":\"\u017fecevent+jwt\",", "secevent+jwt", false},
		{"\"typ\":\"to\u212aen\",", "token", false},
		// A caller's mistake matches nothing, not even itself.
		{`"typ":"at jwt",`, "at jwt", false},

		// A caller that expects no type gets none.
		{``, "", false},
		{`"typ":"JWT",`, "", false},
		{`"typ":"",`, "", false},
	} {
		token := signRaw(t, testSigner(t, EdDSA), `{`+tt.header+`"alg":"EdDSA","kid":"EdDSA"}`, testClaims)
		_, err := Verify(token, tt.typ, testKeys(t))
		if tt.ok {
			if err != nil {
				t.Errorf("%s as %q: %v", tt.header, tt.typ, err)
			}
			continue
		}
		wantInvalid(t, err, "typ is not the expected one", token)
	}
}

// TestVerifyHeader signs hostile and odd headers with the right key: the
// signature is always good, so that the header decides.
func TestVerifyHeader(t *testing.T) {
	attacker, err := GenerateKey(ES256)
	if err != nil {
		t.Fatal(err)
	}
	attackerJWK, err := PublicKey{"ES256", ES256, attacker.Public()}.jwk()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(attackerJWK)
	if err != nil {
		t.Fatal(err)
	}
	const sound = `{"alg":"ES256","kid":"ES256","typ":"JWT"`
	for _, tt := range []struct {
		name, header string
		reason       string // "": verifies
	}{
		{"sound", sound + `}`, ""},
		{"other order and blanks", ` { "typ" : "JWT", "kid":"ES256" , "alg":"ES256" } `, ""},
		{"escaped", `{"\u0061lg":"ES256","kid":"E\u0053256","typ":"JWT"}`, ""},
		{"unknown members", sound + `,"x5t":"abc","cty":"x","ext":[{"a":1}]}`, ""},
		{"1 KiB", sound + `,"pad":"` + strings.Repeat("x", 1024-len(sound)-10) + `"}`, ""},

		{"over 1 KiB", sound + `,"pad":"` + strings.Repeat("x", 1024-len(sound)-9) + `"}`, "header is too long"},
		{"not UTF-8", sound + ",\"x\":\"\xff\"}", "malformed"},
		{"byte order mark", "\ufeff" + sound + `}`, "not a JSON object"},
		{"empty", ``, "not a JSON object"},
		{"array", `["alg","ES256"]`, "not a JSON object"},
		{"string", `"ES256"`, "not a JSON object"},
		{"null", `null`, "typ"},
		{"trailing", sound + `}{}`, "not a JSON object"},
		{"trailing NUL", sound + "}\x00", "not a JSON object"},
		{"cut off", sound, "not a JSON object"},

		{"alg none", `{"alg":"none","kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg of another key", `{"alg":"RS256","kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg ES384", `{"alg":"ES384","kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg of other case", `{"alg":"es256","kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg with blank", `{"alg":"ES256 ","kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg absent", `{"kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg null", `{"alg":null,"kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg array", `{"alg":["ES256"],"kid":"ES256","typ":"JWT"}`, "alg"},
		{"alg name of other case", `{"ALG":"ES256","kid":"ES256","typ":"JWT"}`, "alg"},

		{"duplicate alg", `{"alg":"none","alg":"ES256","kid":"ES256","typ":"JWT"}`, "unique members"},
		{"duplicate alg escaped", `{"alg":"ES256","\u0061lg":"ES256","kid":"ES256","typ":"JWT"}`, "unique members"},
		{"duplicate kid", sound + `,"kid":"ES256"}`, "unique members"},
		{"duplicate typ", sound + `,"typ":"JWT"}`, "unique members"},
		{"duplicate in depth", sound + `,"x":[{"a":1,"a":1}]}`, "unique members"},

		{"kid absent", `{"alg":"ES256","typ":"JWT"}`, "kid is missing or malformed"},
		{"kid empty", `{"alg":"ES256","kid":"","typ":"JWT"}`, "kid is missing or malformed"},
		{"kid null", `{"alg":"ES256","kid":null,"typ":"JWT"}`, "kid is missing or malformed"},
		{"kid number", `{"alg":"ES256","kid":1,"typ":"JWT"}`, "kid is missing or malformed"},
		{"kid of other case", `{"alg":"ES256","kid":"es256","typ":"JWT"}`, "unknown kid"},
		{"kid long", `{"alg":"ES256","kid":"` + strings.Repeat("k", 257) + `","typ":"JWT"}`, "kid is missing or malformed"},
		{"kid NUL", `{"alg":"ES256","kid":"ES256\u0000","typ":"JWT"}`, "kid is missing or malformed"},
		{"kid line break", `{"alg":"ES256","kid":"ES256\n","typ":"JWT"}`, "kid is missing or malformed"},
		{"kid path traversal", `{"alg":"ES256","kid":"../../../../dev/null","typ":"JWT"}`, "unknown kid"},
		{"kid injection", `{"alg":"ES256","kid":"' OR 1=1 --","typ":"JWT"}`, "unknown kid"},
		{"kid address", `{"alg":"ES256","kid":"https://evil.example/key","typ":"JWT"}`, "unknown kid"},

		{"jwk", sound + `,"jwk":` + string(jwk) + `}`, "header has jwk"},
		{"jwk null", sound + `,"jwk":null}`, "header has jwk"},
		{"jku", sound + `,"jku":"https://evil.example/jwks"}`, "header has jku"},
		{"x5u", sound + `,"x5u":"https://evil.example/cert"}`, "header has x5u"},
		{"x5c", sound + `,"x5c":["MIIB"]}`, "header has x5c"},
		{"crit", sound + `,"crit":["exp"],"exp":1}`, "header has crit"},
		{"crit empty", sound + `,"crit":[]}`, "header has crit"},
		{"crit null", sound + `,"crit":null}`, "header has crit"},
		{"crit b64", sound + `,"crit":["b64"],"b64":false}`, "header has"},
		{"b64 false", sound + `,"b64":false}`, "header has b64"},
		{"b64 true", sound + `,"b64":true}`, "header has b64"},
		{"enc", sound + `,"enc":"A256GCM"}`, "header has enc"},
		{"zip", sound + `,"zip":"DEF"}`, "header has zip"},
		{"PBES2", `{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"p2s":"AAAA","enc":"A128GCM","kid":"ES256","typ":"JWT"}`, "header has"},
		{"PBES2 without enc", `{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"kid":"ES256","typ":"JWT"}`, "header has p2c"},
		{"epk", sound + `,"epk":` + string(jwk) + `}`, "header has epk"},
		{"nonce of another type", sound + `,"nonce":1}`, "not a compact JWS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := signRaw(t, testSigner(t, ES256), tt.header, testClaims)
			got, err := Verify(token, TypeJWT, testKeys(t))
			if tt.reason == "" {
				if err != nil || string(got) != testClaims {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			wantInvalid(t, err, tt.reason, token)
			if got != nil {
				t.Errorf("payload %s with an error", got)
			}
		})
	}
}

// TestVerifyForm is about the three parts of a token.
func TestVerifyForm(t *testing.T) {
	token := sign(t, testSigner(t, ES256), TypeJWT)
	part := strings.Split(token, ".")
	h, p, s := part[0], part[1], part[2]
	twin := respell(t, s)
	flood := strings.Repeat(".", MaxTokenLen)
	for _, tt := range []struct{ name, token, reason string }{
		{"nothing", "", "not three parts"},
		{"one part", h, "not three parts"},
		{"two parts", h + "." + p, "not three parts"},
		{"four parts", token + "." + s, "not three parts"},
		{"JWE", h + "." + p + "." + s + "." + p + "." + s, "not three parts"},
		{"trailing dot", token + ".", "not three parts"},
		{"leading dot", "." + token, "not three parts"},
		{"dot flood", flood, "not three parts"},
		{"longer dot flood", flood + ".", "too long"},
		{"megabyte", strings.Repeat(token, 1<<12), "too long"},
		{"too long payload", h + "." + strings.Repeat("A", MaxTokenLen) + "." + s, "too long"},
		{"only dots", "..", "empty"},
		{"no header", "." + p + "." + s, "not a JSON object"},
		{"no payload", h + ".." + s, "empty"},
		{"no signature", h + "." + p + ".", "empty"},
		{"JSON serialization", `{"protected":"` + h + `","payload":"` + p + `","signature":"` + s + `"}`, "not three parts"},
		{"JSON serialization with dots", `{"protected":"` + h + `","payload":"` + p + `","signature":"` + s + `","header":{"a":".."}}`, "base64url"},
		{"another spelling", h + "." + p + "." + twin, "base64url"},
		{"padded signature", token + "==", "base64url"},
		{"padded header", h + "=." + p + "." + s, "header is too long or malformed"},
		{"line break in header", h[:4] + "\n" + h[4:] + "." + p + "." + s, "header is too long or malformed"},
		{"line break in payload", h + "." + p[:4] + "\r\n" + p[4:] + "." + s, "base64url"},
		{"line break at the end", token + "\n", "base64url"},
		{"blank in front", " " + token, "header is too long or malformed"},
		{"blank behind", token + " ", "base64url"},
		{"NUL behind", token + "\x00", "base64url"},
		{"scheme in front", "Bearer " + token, "header is too long or malformed"},
		{"standard base64", h + "." + p + "." + strings.Repeat("+/", 43), "base64url"},
		{"header not base64", "{}." + p + "." + s, "header is too long or malformed"},
		{"huge header", strings.Repeat("A", 12<<10) + "." + p + "." + s, "header is too long or malformed"},
		{"swapped", p + "." + h + "." + s, "typ"},
		{"payload of another", h + "." + encode(`{"sub":"userid:1"}`) + "." + s, "signature does not verify"},
		{"signature of another", h + "." + p + "." + strings.Split(signRaw(t, testSigner(t, ES256), "{}", "{}"), ".")[2], "signature does not verify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Verify(tt.token, TypeJWT, testKeys(t))
			wantInvalid(t, err, tt.reason, token)
		})
	}
}

// TestVerifyLongest verifies the longest token there can be.
func TestVerifyLongest(t *testing.T) {
	s := testSigner(t, EdDSA)
	fit := func(n int) string {
		token, err := s.Sign(TypeJWT, json.RawMessage(`{"x":"`+strings.Repeat("x", n)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	n := 12150 // less than fits
	for len(fit(n+1)) <= MaxTokenLen {
		n++
	}
	// No base64url has a length of 1 modulo 4, so one may be missing.
	token := fit(n)
	if len(token) < MaxTokenLen-1 {
		t.Fatalf("%d bytes", len(token))
	}
	if _, err := Verify(token, TypeJWT, testKeys(t)); err != nil {
		t.Error(err)
	}
	token = fit(n + 1)
	_, err := Verify(token, TypeJWT, testKeys(t))
	wantInvalid(t, err, "too long", token)
}

// TestVerifyCheapRefusal: what is too long, or all dots, is not taken apart.
func TestVerifyCheapRefusal(t *testing.T) {
	keys := testKeys(t)
	for _, token := range []string{strings.Repeat(".", MaxTokenLen), strings.Repeat(".", 1<<20), strings.Repeat("A", 1<<20)} {
		got := testing.AllocsPerRun(10, func() {
			if _, err := Verify(token, TypeJWT, keys); err == nil {
				t.Error("verifies")
			}
		})
		// The error.
		if got > 8 {
			t.Errorf("%d bytes of junk cost %v allocations", len(token), got)
		}
	}
}

// TestVerifyNone has every spelling of alg none, with and without a signature.
func TestVerifyNone(t *testing.T) {
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", "\u0000none", "null", ""} {
		for _, kid := range append(algorithms, "none", "") {
			header, err := json.Marshal(map[string]string{"alg": alg, "kid": kid, "typ": "JWT"})
			if err != nil {
				t.Fatal(err)
			}
			for _, signature := range []string{"", "A", "AA", encode(strings.Repeat("\x00", 64)), encode("none")} {
				token := encode(string(header)) + "." + encode(testClaims) + "." + signature
				_, err := Verify(token, TypeJWT, testKeys(t))
				wantInvalid(t, err, "", token)
			}
		}
	}
}

// TestVerifyHMACWithPublicKey is the algorithm confusion: the public key, in
// all its spellings, as the secret of a MAC.
func TestVerifyHMACWithPublicKey(t *testing.T) {
	macs := map[string]func() hash.Hash{
		"HS256": crypto.SHA256.New,
		"HS384": crypto.SHA384.New,
		"HS512": crypto.SHA512.New,
	}
	for _, alg := range algorithms {
		key := testSigner(t, alg).Public()
		der, err := x509.MarshalPKIXPublicKey(key.Key)
		if err != nil {
			t.Fatal(err)
		}
		block := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		k, err := key.jwk()
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{
			string(der), block, strings.TrimSpace(block), string(jwk), jwks(t, key),
			k.N, k.X, k.X + k.Y, string(decoded(t, k.N)), string(decoded(t, k.X)), key.ID, "",
		} {
			for mac, newHash := range macs {
				for _, name := range []string{mac, alg} {
					input := encode(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, name, alg)) + "." + encode(testClaims)
					h := hmac.New(newHash, []byte(secret))
					h.Write([]byte(input))
					token := input + "." + encode(string(h.Sum(nil)))
					_, err := Verify(token, TypeJWT, testKeys(t))
					wantInvalid(t, err, "", token)
				}
			}
		}
		// Even a key that says so itself makes no MAC.
		input := encode(`{"alg":"HS256","kid":"1","typ":"JWT"}`) + "." + encode(testClaims)
		h := hmac.New(sha256.New, der)
		h.Write([]byte(input))
		token := input + "." + encode(string(h.Sum(nil)))
		for _, k := range []PublicKey{{"1", "HS256", key.Key}, {"1", "HS256", der}, {"1", alg, der}} {
			_, err = Verify(token, TypeJWT, func(string) (PublicKey, bool) { return k, true })
			wantInvalid(t, err, "key cannot verify", token)
		}
	}
}

func decoded(t testing.TB, s string) []byte {
	t.Helper()
	b, err := decode64(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVerifyOtherAlgorithmOfKey has go-jose sign with algorithms that fit the
// key's type, but are not the one that it is pinned to.
func TestVerifyOtherAlgorithmOfKey(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		key := jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: testKey(t, RS256), KeyID: RS256}}
		signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(TypeJWT))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(testClaims))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Verify(token, TypeJWT, testKeys(t))
		wantInvalid(t, err, "alg is not the one of the key", token)
		// Nor with the header changed to the pinned algorithm.
		part := strings.Split(token, ".")
		token = encode(`{"alg":"RS256","kid":"RS256","typ":"JWT"}`) + "." + part[1] + "." + part[2]
		_, err = Verify(token, TypeJWT, testKeys(t))
		wantInvalid(t, err, "signature does not verify", token)
	}
}

// TestVerifyEmbeddedKey has an attacker sign with a key of his own and bring
// it along.
func TestVerifyEmbeddedKey(t *testing.T) {
	for _, alg := range []string{ES256, EdDSA} {
		key, err := GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		attacker, err := NewSigner(alg, alg, key)
		if err != nil {
			t.Fatal(err)
		}
		k, err := attacker.Public().jwk()
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ more, reason string }{
			{`,"jwk":` + string(jwk), "header has jwk"},
			{`,"JWK":` + string(jwk), "signature does not verify"},
			{``, "signature does not verify"},
		} {
			header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"%s}`, alg, alg, tt.more)
			token := signRaw(t, attacker, header, testClaims)
			_, err = Verify(token, TypeJWT, testKeys(t))
			wantInvalid(t, err, tt.reason, token)
		}
	}
}

// TestVerifyPsychicSignature has ECDSA signatures that are right for every
// message if r and s are not checked (CVE-2022-21449), and wrong lengths.
func TestVerifyPsychicSignature(t *testing.T) {
	zero := make([]byte, 32)
	one := append(make([]byte, 31), 1)
	n := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	p := elliptic.P256().Params().P.FillBytes(make([]byte, 32))
	top := []byte(strings.Repeat("\xff", 32))
	token := sign(t, testSigner(t, ES256), TypeJWT)
	i := strings.LastIndexByte(token, '.')
	sound := decoded(t, token[i+1:])
	r, s := sound[:32], sound[32:]
	sequence := func(r, s []byte) []byte {
		return append(append([]byte{0x30, 68, 2, 32}, r...), append([]byte{2, 32}, s...)...)
	}
	for name, signature := range map[string][]byte{
		"zeros":         append(zero, zero...),
		"zero r":        append(zero, s...),
		"zero s":        append(append([]byte{}, r...), zero...),
		"one":           append(append([]byte{}, one...), one...),
		"r is n":        append(append([]byte{}, n...), s...),
		"s is n":        append(append([]byte{}, r...), n...),
		"n and n":       append(append([]byte{}, n...), n...),
		"r is p":        append(append([]byte{}, p...), one...),
		"top":           append(append([]byte{}, top...), top...),
		"swapped":       append(append([]byte{}, s...), r...),
		"short":         sound[:63],
		"long":          append(append([]byte{}, sound...), 0),
		"leading zeros": append(append(append([]byte{0}, r...), 0), s...),
		"half":          r,
		"one byte":      {0},
		"ASN.1":         sequence(r, s),
	} {
		forged := token[:i+1] + encode(string(signature))
		_, err := Verify(forged, TypeJWT, testKeys(t))
		if err == nil {
			t.Errorf("%s verifies", name)
			continue
		}
		wantInvalid(t, err, "signature does not verify", forged)
	}
}

// TestVerifyECDSATwin holds the one fact about ES256 that callers must know:
// a token is not identified by its characters.
func TestVerifyECDSATwin(t *testing.T) {
	token := sign(t, testSigner(t, ES256), TypeJWT)
	i := strings.LastIndexByte(token, '.')
	signature := decoded(t, token[i+1:])
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	got, err := Verify(token[:i+1]+encode(string(signature)), TypeJWT, testKeys(t))
	if err != nil || string(got) != testClaims {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestVerifyJWE has go-jose encrypt to the provider's own key.
func TestVerifyJWE(t *testing.T) {
	for alg, keyAlg := range map[string]jose.KeyAlgorithm{RS256: jose.RSA_OAEP, ES256: jose.ECDH_ES} {
		recipient := jose.Recipient{Algorithm: keyAlg, Key: testSigner(t, alg).Public().Key, KeyID: alg}
		options := (&jose.EncrypterOptions{Compression: jose.DEFLATE}).WithType(TypeJWT)
		encrypter, err := jose.NewEncrypter(jose.A256GCM, recipient, options)
		if err != nil {
			t.Fatal(err)
		}
		jwe, err := encrypter.Encrypt([]byte(testClaims))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwe.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Verify(token, TypeJWT, testKeys(t))
		wantInvalid(t, err, "not three parts", token)
	}
}

// TestVerifyEveryCharacter changes each character of a token in turn.
func TestVerifyEveryCharacter(t *testing.T) {
	keys := testKeys(t)
	for _, alg := range algorithms {
		token := sign(t, testSigner(t, alg), TypeJWT)
		for i := range len(token) {
			for _, c := range []byte("A_.") {
				if token[i] == c {
					continue
				}
				changed := token[:i] + string([]byte{c}) + token[i+1:]
				if _, err := Verify(changed, TypeJWT, keys); err == nil {
					t.Errorf("%s: verifies with %q at %d", alg, c, i)
				}
			}
			if _, err := Verify(token[:i]+token[i+1:], TypeJWT, keys); err == nil {
				t.Errorf("%s: verifies without character %d", alg, i)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	keys := testKeys(f)
	// The test keys sign deterministically: these are all valid tokens.
	valid := make(map[string]bool)
	for _, alg := range algorithms {
		s := testSigner(f, alg)
		for _, token := range []string{
			sign(f, s, TypeJWT),
			sign(f, s, TypeAccessToken),
			signRaw(f, s, fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, alg), "{}"),
		} {
			valid[token] = true
			f.Add(token, 0, byte(0))
			f.Add(token, len(token)-1, byte(1))
		}
		f.Add(signRaw(f, s, `{"alg":"none","kid":"ES256","crit":["b64"],"b64":false}`, "x"), 3, byte(1))
	}
	f.Add("..", 1, byte('.'))
	f.Add("e30.e30.AAAA", 0, byte(0))
	f.Fuzz(func(t *testing.T, token string, at int, flip byte) {
		changed := []byte(token)
		if 0 <= at && at < len(changed) {
			changed[at] ^= flip
		}
		for _, token := range []string{token, string(changed)} {
			for _, typ := range []string{TypeJWT, TypeAccessToken} {
				payload, err := Verify(token, typ, keys)
				if err == nil && !valid[token] {
					t.Errorf("verifies as %q: %s", typ, token)
				}
				if err == nil && encode(string(payload)) != strings.Split(token, ".")[1] {
					t.Errorf("payload %s of %s", payload, token)
				}
				if err != nil {
					wantInvalid(t, err, "", token)
				}
			}
		}
	})
}
