// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
)

// secretsOf runs everything that there is, with all sorts of mistakes, and
// returns what must be in no log.
func (f *fixture) secretsOf() map[string]string {
	const state, nonce, cookie, password = "STATE-0f3a91", "NONCE-77ab02", "COOKIE-55d1c0", "PASSWORD-9c31e4"
	noise := []string{"Accept", "text/html", "Cookie", "tsidp=" + cookie, "Referer", "https://app.example/cb?code=REFERER-1", "Proxy-Authorization", "Basic " + password,
		"X-Api-Key", password, "Tailscale-User-Login", "HEADER-1"}
	secrets := map[string]string{
		"state": state, "nonce": nonce, "cookie": cookie, "password": password, "verifier": testVerifier, "challenge": authorizeQuery().Get("code_challenge"),
		"secret": webSecret, "Basic": strings.TrimPrefix(basicAuth("web", webSecret)[1], "Basic "), "Referer": "REFERER-1", "header": "HEADER-1", "hint": "HINT-6b01",
	}
	q := authorizeQuery("state", state, "nonce", nonce, "scope", strings.Join(supportedScopes, " "), "login_hint", "HINT-6b01", "id_token_hint", "HINT-6b01")
	r := f.do(ada, "GET", "/authorize?"+q.Encode(), "", "", noise...)
	code := r.redirect().Get("code")
	post := f.do(ada, "POST", "/authorize", "application/x-www-form-urlencoded", q.Encode(), noise...).redirect().Get("code")
	f.do(ci, "GET", "/authorize?"+q.Encode(), "", "", noise...).page(403)
	f.do(ci, "GET", "/authorize?"+q.Encode()+"&prompt=none", "", "", noise...).redirect()
	q.Set("redirect_uri", "https://evil.example/")
	f.do(ada, "GET", "/authorize?"+q.Encode(), "", "", noise...).page(400)
	f.do(ada, "GET", "/authorize?"+q.Encode()+"&x=%zz", "", "", noise...).page(400)
	f.do(ada, "GET", "/authorize?"+q.Encode(), "", "", append(noise, "Host", "evil.example")...).page(421)
	f.do(ada, "GET", "/nothing?code="+code+"&"+nonce, "", "", noise...).json(404)

	bad := []string{"WRONG-SECRET-8d1f00", "WRONG-CODE-31ab77", "WRONG-VERIFIER-" + strings.Repeat("x", 40)}
	secrets["wrong secret"], secrets["wrong code"], secrets["wrong verifier"] = bad[0], bad[1], bad[2]
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {testVerifier}}
	with := func(change ...string) url.Values {
		c := make(url.Values)
		for k, v := range form {
			c[k] = v
		}
		return edited(c, change)
	}
	auth := basicAuth("web", webSecret)
	// Each of these mistakes must not show what it holds.
	f.post("/token", form, basicAuth("web", bad[0])...).json(401)
	f.post("/token", with("client_id", "web", "client_secret", bad[0])).json(401)
	f.post("/token", form, "Authorization", "Token "+password).json(401)
	f.post("/token", form, "Authorization", password).json(401)
	f.post("/token", form, "Authorization", "Basic "+password).json(401)
	f.post("/token", with("code", bad[1]), auth...).json(400)
	f.post("/token", with("code_verifier", bad[2]), auth...).json(400)
	f.post("/token", with("grant_type", "unheard-of"), auth...).json(400)
	f.post("/token?client_secret="+webSecret, form, auth...).json(400)
	f.post("/token?"+form.Encode(), form, auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", fmt.Sprintf(`{"code":"%s","client_secret":"%s"}`, code, webSecret), auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", code, auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "application/json", fmt.Sprintf(`{"%s":1,"code":"%s","client_secret":"%s"}`, code, code, webSecret), auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "text/plain", form.Encode(), auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "multipart/form-data; boundary=x", "--x\r\n\r\n"+code+"\r\n--x--", auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", form.Encode()+"&client_secret="+webSecret+"%zz", auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", form.Encode()+"&code="+code, auth...).json(400)
	f.do(netip.Addr{}, "POST", "/token", "application/x-www-form-urlencoded", form.Encode()+strings.Repeat("&x="+code, 600), auth...).json(413)
	f.do(netip.Addr{}, "GET", "/token?"+form.Encode(), "", "", auth...).json(405)

	res := f.post("/token", form, auth...).tokens()
	again := f.refresh(res.RefreshToken).tokens()
	f.post("/token", with("code", post, "client_id", "web", "client_secret", webSecret)).tokens()
	f.post("/token", form, auth...).json(400) // the code again
	f.userinfo(again.AccessToken).json(200)
	f.post("/userinfo", url.Values{"access_token": {again.AccessToken}}).json(200)
	f.userinfo(again.IDToken).json(401)
	f.do(netip.Addr{}, "GET", "/userinfo?access_token="+again.AccessToken, "", "").json(400)
	for _, token := range []string{again.AccessToken, again.RefreshToken, again.IDToken, res.RefreshToken, res.AccessToken} {
		f.introspect("web", token)
		f.introspect("rs", token)
	}
	secrets["code"], secrets["other code"] = code, post
	for i, t := range []tokenResponse{res, again} {
		secrets[fmt.Sprint("access token ", i)], secrets[fmt.Sprint("ID token ", i)], secrets[fmt.Sprint("refresh token ", i)] = t.AccessToken, t.IDToken, t.RefreshToken
		secrets[fmt.Sprint("claims ", i)], secrets[fmt.Sprint("signature ", i)] = strings.Split(t.IDToken, ".")[1], strings.Split(t.AccessToken, ".")[2]
	}

	const brought = "BROUGHT-SECRET-0123456789abcdef0123456789"
	secrets["brought secret"], secrets["short secret"] = brought, "SHORT-1c9e"
	made := f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_name":"x","redirect_uris":["https://x.example/cb"]}`, noise...).json(201)
	secrets["generated secret"] = made["client_secret"].(string)
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_id":"x","client_secret":"`+brought+`","redirect_uris":["https://x.example/cb"]}`, noise...).json(201)
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_secret":"SHORT-1c9e","redirect_uris":["https://x.example/cb"]}`, noise...).json(400)
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_secret":"`+brought+`","redirect_uris":"`+brought+`"}`, noise...).json(400)
	f.do(adm, "POST", "/api/v1/clients", "application/json", `{"client_secret":"`+brought+`" x`, noise...).json(400)
	f.do(adm, "POST", "/api/v1/clients", "text/plain", `{"client_secret":"`+brought+`"}`, noise...).json(400)
	f.do(adm, "POST", "/api/v1/clients", "application/x-www-form-urlencoded", `{"client_secret":"`+brought+`"}`, noise...).json(400)
	f.do(ada, "POST", "/api/v1/clients", "application/json", `{"client_secret":"`+brought+`"}`, noise...).json(403)
	f.do(adm, "GET", "/api/v1/clients?limit=2", "", "", noise...).json(200)
	f.do(adm, "DELETE", "/api/v1/clients/x", "", "", noise...)
	return secrets
}

// TestNoSecretsInLog: with DebugRequests and without, no log line has a
// secret, code, token, cookie, state or nonce.
func TestNoSecretsInLog(t *testing.T) {
	t.Parallel() // a refused body delays the end of its server
	for _, debug := range []bool{true, false} {
		t.Run(fmt.Sprint("DebugRequests=", debug), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, func(c *Config) { c.DebugRequests = debug })
			f.addClient("other", webSecret, admin.ClientMetadata{RedirectURIs: []string{webRedirect}})
			secrets := f.secretsOf()
			log := f.log.String()
			for name, secret := range secrets {
				if len(secret) < 6 {
					t.Errorf("%s is %q", name, secret)
				}
				for _, spelling := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
					if i := strings.Index(log, spelling); i >= 0 {
						line := log[strings.LastIndexByte(log[:i], '\n')+1:]
						line, _, _ = strings.Cut(line, "\n")
						t.Errorf("the log has the %s %s: %s", name, secret, line)
					}
				}
			}
			// It says what may be said.
			wants := []string{"client=web", "user=userid:1001"}
			if debug {
				wants = append(wants, "msg=exchange", "path=/token", "client_id=web", "status=302", "method=POST", "grant_type=authorization_code",
					"Authorization: Basic [redacted]", "Authorization: Bearer [redacted]", "code=[redacted]", "state=[redacted]", "client_secret=[redacted]", "access_token")
			} else if strings.Contains(log, "msg=exchange") {
				t.Error("exchanges are logged")
			}
			for _, want := range wants {
				if !strings.Contains(log, want) {
					t.Errorf("the log lacks %q", want)
				}
			}
		})
	}
}

// TestDebugChangesNothing: answers are the same with DebugRequests, also
// where a body is too large or breaks off, and without a logger.
func TestDebugChangesNothing(t *testing.T) {
	t.Parallel() // a refused body delays the end of its server
	plain, debug := newFixture(t), newFixture(t, func(c *Config) { c.DebugRequests, c.Logger = true, nil })
	const formType = "application/x-www-form-urlencoded"
	secretID := regexp.MustCompile(`"id":"[A-Z2-7]+"`)
	for name, send := range map[string]func(f *fixture) *reply{
		"page":      func(f *fixture) *reply { return f.authorize(ci) },
		"too large": func(f *fixture) *reply { return f.do(adm, "POST", "/token", formType, strings.Repeat("x", 70000)) },
		"limit":     func(f *fixture) *reply { return f.do(adm, "POST", "/token", formType, strings.Repeat("x", 64<<10)) },
		"document":  func(f *fixture) *reply { return f.do(adm, "GET", "/.well-known/openid-configuration", "", "") },
		"HEAD":      func(f *fixture) *reply { return f.do(adm, "HEAD", "/.well-known/openid-configuration", "", "") },
		"not found": func(f *fixture) *reply { return f.do(adm, "GET", "/nothing", "", "") },
		"list":      func(f *fixture) *reply { return f.do(adm, "GET", "/api/v1/clients", "", "") },
		"delete":    func(f *fixture) *reply { return f.do(adm, "DELETE", "/api/v1/clients/pub", "", "") },
	} {
		a, b := send(plain), send(debug)
		id := func(r *reply) string {
			return secretID.ReplaceAllString(strings.ReplaceAll(r.body, r.header.Get("X-Request-Id"), "ID"), `"id":""`)
		}
		if a.status != b.status || id(a) != id(b) {
			t.Errorf("%s: %d %s, with DebugRequests %d %s", name, a.status, a.body, b.status, b.body)
		}
		for _, r := range []*reply{a, b} {
			r.header.Del("Date")
			r.header.Del("X-Request-Id")
		}
		if diff := cmp.Diff(a.header, b.header); diff != "" {
			t.Errorf("%s: headers (-without +with DebugRequests):\n%s", name, diff)
		}
	}
	debug.login(ada)
}

func TestPlainForm(t *testing.T) {
	for encoded, want := range map[string]string{
		"":                                 "",
		"client_id=web&code=C&state=S":     "client_id=web&code=[redacted]&state=[redacted]",
		"scope=a+b&resource=x&resource=y":  "resource=x&resource=y&scope=a b",
		"redirect_uri=https%3A%2F%2Fa%2Fb": "redirect_uri=https://a/b",
		"CLIENT_ID=web":                    "[redacted]=[redacted]",
		"new_parameter=1":                  "new_parameter=[redacted]",
		"eyJhbGciOi.eyJpc3Mi.c2ln":         "[redacted]=[redacted]",
		`{"client_secret":"x"}`:            "[redacted]=[redacted]",
		"4b958f865588d45a17282f39ffde63d0": "[redacted]=[redacted]",
		strings.Repeat("a", 33):            "[redacted]=[redacted]",
		"code=%zz":                         "[redacted]",
		"code=a;client_secret=b":           "[redacted]",
	} {
		if got := plainForm(encoded); got != want {
			t.Errorf("plainForm(%q) is %q, want %q", encoded, got, want)
		}
	}
}

func TestPlainBody(t *testing.T) {
	for _, test := range []struct{ contentType, body, want string }{
		{"application/json", `{"error":"invalid_grant","error_description":"x"}`, `error="invalid_grant" error_description="x"`},
		{"application/json; charset=utf-8", `{"access_token":"T","active":true}`, "access_token active=true"},
		{"application/json", `{"eyJhbGciOi":1}`, "[redacted]"},
		{"application/json", `{"client_secret":"x"`, "[redacted]"},
		{"application/json", `["secret"]`, "[redacted]"},
		{"application/json", `"secret"`, "[redacted]"},
		{"application/json", "", "[redacted]"},
		{"application/x-www-form-urlencoded", "code=x", "code=[redacted]"},
		{"text/html", "<p>state</p>", ""},
		{"", "client_secret=x", ""},
		{"text/plain", "client_secret=x", ""},
	} {
		h := http.Header{"Content-Type": {test.contentType}}
		if got := plainBody(h, []byte(test.body)); got != test.want {
			t.Errorf("plainBody(%s, %s) is %q, want %q", test.contentType, test.body, got, test.want)
		}
	}
	if got := plainURL("https://app.example/cb?code=C&iss=I"); got != "https://app.example/cb?code=[redacted]&iss=I" {
		t.Errorf("plainURL: %s", got)
	}
	if got := plainURL("/x"); got != "/x" {
		t.Errorf("plainURL: %s", got)
	}
}

// FuzzPlain: the value of a parameter that is not on the list is not shown,
// however it is written.
func FuzzPlain(f *testing.F) {
	f.Add("code", "C0FFEE-C0FFEE")
	f.Add("client_secret", "s%2B+é:/=")
	f.Add("", "eyJhbGciOiJub25lIn0")
	f.Add("State", "a;b&c=d\x00\xff")
	f.Fuzz(func(t *testing.T, name, secret string) {
		if len(secret) < 8 || plainParameters[name] || strings.Contains(redacted, secret) || strings.Contains(name, secret) {
			return
		}
		form := url.Values{name: {secret}, "client_id": {"web"}}.Encode()
		header := http.Header{"Authorization": {secret}, "Cookie": {secret}, name: {secret}, "Content-Type": {"application/x-www-form-urlencoded"}}
		for _, h := range plainHeaders {
			if http.CanonicalHeaderKey(name) == h {
				delete(header, name)
			}
		}
		for _, got := range []string{plainForm(form), plainURL("/x?" + form), plainHeader(header), plainBody(header, []byte(form))} {
			if strings.Contains(got, secret) && !strings.Contains("client_id=web&"+name+"="+redacted, secret) && !strings.Contains("Content-Type: application/x-www-form-urlencoded; Authorization: "+redacted, secret) && !strings.Contains("/x?client_id=web&"+name+"="+redacted, secret) {
				t.Errorf("%q is shown: %s", secret, got)
			}
		}
	})
}
