// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tailscale/tsidp/internal/pgtest"
	"github.com/tailscale/tsidp/internal/tailnettest"
	"golang.org/x/oauth2"
)

const (
	// revokedWithin is how soon one server honours what was revoked at
	// another.
	revokedWithin = time.Second
	// keysWithin is how soon one server publishes the keys that another has
	// made, see docs/state.md.
	keysWithin = 10 * time.Second
)

// TestTwoProcesses runs the real program twice, as two nodes of a tailnet on
// one PostgreSQL and under one issuer, and an application for which either of
// them is the provider. The application's requests go to the issuer's name,
// which leads here or there.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	tn.SetGrants(tailnettest.Allow("root@example.com", "", `{"allow_admin_ui": true}`))
	p := &twoProcesses{issuer: "https://" + tn.FQDN("login")}
	dsn := pgtest.Start(t)
	for i, host := range []string{"idp-a", "idp-b"} {
		p.servers[i] = newInstance(t, tn, host, "-hostname", host, "-issuer", p.issuer, "-store", dsn)
		p.servers[i].start() // both at once, on an empty database
	}
	desk := tn.Node(t, "desk", tailnettest.User("root@example.com")).Up(t)
	for _, s := range p.servers {
		s.await(p.issuer)
		s.client = clientOf(desk, tn.FQDN(s.host), p.issuer)
	}
	p.register(t)
	for _, tt := range []struct {
		name string
		test func(*testing.T, *twoProcesses)
	}{
		{"codes", testTwoCodes},
		{"refresh tokens", testTwoRefresh},
		{"revocation", testTwoRevocation},
		{"keys", testTwoKeys},
		{"kill", testTwoKill},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, p) })
	}
	for _, s := range p.servers {
		if code := s.process.end(syscall.SIGTERM); code != exitOK || strings.Contains(s.process.stderr.String(), "level=ERROR") {
			t.Errorf("%s: exit code %d\n%s", s.host, code, s.process.stderr)
		}
	}
}

// An instance is one of several servers of a provider.
type instance struct {
	t         *testing.T
	tn        *tailnettest.Tailnet
	host, dir string
	args      []string
	process   *process
	client    *http.Client // for it the issuer's name leads here
}

func newInstance(t *testing.T, tn *tailnettest.Tailnet, host string, args ...string) *instance {
	t.Helper()
	s := &instance{t: t, tn: tn, host: host, dir: socketDir(t)}
	s.args = append([]string{"-dir", s.dir}, args...)
	tn.Expect(host, tailnettest.Tagged("tag:tsidp"))
	tn.CertFiles(t, s.dir, tn.FQDN(host))
	return s
}

func (s *instance) start() {
	s.t.Helper()
	s.process = startServer(s.t, s.tn.Env(), s.args...)
}

// await returns when the server answers.
func (s *instance) await(issuer string) {
	s.t.Helper()
	if got := s.process.line(); got != "issuer: "+issuer {
		s.t.Fatalf("%s printed %q, want issuer %s", s.host, got, issuer)
	}
	s.tn.AwaitReady(s.t, s.host)
}

// clientOf returns the client of a person at desk for whom the issuer's name
// leads to the node called fqdn.
func clientOf(desk *tailnettest.Node, fqdn, issuer string) *http.Client {
	client := desk.HTTPClient()
	transport := client.Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != strings.TrimPrefix(issuer, "https://")+":443" {
			return nil, errors.New("a request to another server: " + addr)
		}
		return desk.Dial(ctx, network, fqdn+":443")
	}
	transport.TLSClientConfig.ServerName = fqdn
	client.Transport = transport
	client.Timeout = 30 * time.Second
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// twoProcesses are the two servers, and an application that is known to both.
type twoProcesses struct {
	issuer  string
	servers [2]*instance
	app     oauth2.Config
}

// register makes the application at one server.
func (p *twoProcesses) register(t *testing.T) {
	t.Helper()
	p.app = oauth2.Config{
		ClientID:    "wiki",
		RedirectURL: "https://wiki.example/callback",
		Scopes:      []string{"openid"},
		Endpoint:    oauth2.Endpoint{AuthURL: p.issuer + "/authorize", TokenURL: p.issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	res, err := p.servers[0].client.Post(p.issuer+"/api/v1/clients", "application/json", strings.NewReader(`{"client_id": "wiki", "redirect_uris": ["https://wiki.example/callback"]}`))
	if err != nil {
		t.Fatal(err)
	}
	var created struct {
		Secret string `json:"client_secret"`
	}
	(&application{t: t}).decode(res, http.StatusCreated, &created)
	p.app.ClientSecret = created.Secret
}

// A loginCode is an authorization code with what is needed to redeem it.
type loginCode struct{ code, verifier string }

// authorize gets a code from s.
func (p *twoProcesses) authorize(t *testing.T, s *instance) loginCode {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	res, err := s.client.Get(p.app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		t.Fatalf("%s answers %s with the location %q (%v), want a code", s.host, res.Status, to, err)
	}
	return loginCode{to.Query().Get("code"), verifier}
}

// redeem trades a code for tokens at s.
func (p *twoProcesses) redeem(t *testing.T, s *instance, c loginCode) (*oauth2.Token, error) {
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, s.client)
	return p.app.Exchange(ctx, c.code, oauth2.VerifierOption(c.verifier))
}

// logIn gets tokens, all from s.
func (p *twoProcesses) logIn(t *testing.T, s *instance) *oauth2.Token {
	t.Helper()
	return must(p.redeem(t, s, p.authorize(t, s)))(t)
}

// rotate uses a refresh token at s.
func (p *twoProcesses) rotate(t *testing.T, s *instance, refresh string) (*oauth2.Token, error) {
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, s.client)
	return p.app.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
}

// must fails the test if there are no tokens.
func must(tokens *oauth2.Token, err error) func(*testing.T) *oauth2.Token {
	return func(t *testing.T) *oauth2.Token {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if tokens.RefreshToken == "" {
			t.Fatal("no refresh token")
		}
		return tokens
	}
}

// refused reports whether the token endpoint has refused what it was given.
func refused(err error) bool {
	var e *oauth2.RetrieveError
	return errors.As(err, &e) && e.ErrorCode == "invalid_grant"
}

// post sends a form as the application.
func (p *twoProcesses) post(t *testing.T, s *instance, path, token string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.issuer+path, strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(p.app.ClientID, p.app.ClientSecret)
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s%s answers %s, %q (%v)", s.host, path, res.Status, body, err)
	}
	return body
}

// active asks s about a token.
func (p *twoProcesses) active(t *testing.T, s *instance, token string) bool {
	t.Helper()
	var answer struct{ Active bool }
	if err := json.Unmarshal(p.post(t, s, "/introspect", token), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Active
}

// userinfo reports whether s accepts an access token.
func (p *twoProcesses) userinfo(t *testing.T, s *instance, token string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", p.issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%s answers %s", s.host, res.Status)
	}
	return res.StatusCode == http.StatusOK
}

// jwks returns the keys that s publishes, as it does.
func (p *twoProcesses) jwks(t *testing.T, s *instance) string {
	t.Helper()
	var keys json.RawMessage
	getJSON(t, s.client, p.issuer+"/.well-known/jwks.json", &keys)
	return string(keys)
}

// everywhere calls f n times at once, at the servers by turns.
func (p *twoProcesses) everywhere(n int, f func(*instance)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(p.servers[i%len(p.servers)])
		})
	}
	close(start)
	wg.Wait()
}

// both calls f with each server as the one, and the other one.
func (p *twoProcesses) both(f func(one, other *instance)) {
	f(p.servers[0], p.servers[1])
	f(p.servers[1], p.servers[0])
}

// soon asks until the answer is yes. An answer that was asked for after the
// time that there is must be.
func soon(t *testing.T, within time.Duration, what string, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	since := time.Now()
	for asked := since; !yes(); asked = <-tick.C {
		if asked.Sub(since) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// testTwoCodes: a code of one server is redeemed at the other, exactly once.
func testTwoCodes(t *testing.T, p *twoProcesses) {
	p.both(func(one, other *instance) {
		tokens := must(p.redeem(t, other, p.authorize(t, one)))(t)
		if !p.userinfo(t, one, tokens.AccessToken) || !p.active(t, one, tokens.AccessToken) {
			t.Errorf("%s does not know the tokens of %s", one.host, other.host)
		}

		code := p.authorize(t, one)
		var mu sync.Mutex
		won, lost := 0, 0
		p.everywhere(20, func(s *instance) {
			_, err := p.redeem(t, s, code)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case refused(err):
				lost++
			default:
				t.Error(err)
			}
		})
		if won != 1 || lost != 19 {
			t.Errorf("a code of %s was redeemed %d times and refused %d times, want 1 and 19", one.host, won, lost)
		}
	})
}

// testTwoRefresh: a refresh token has one successor, wherever it is used, and
// none once that has been used.
func testTwoRefresh(t *testing.T, p *twoProcesses) {
	p.both(func(one, other *instance) {
		first := p.logIn(t, one).RefreshToken
		second := must(p.rotate(t, other, first))(t)
		if retry := must(p.rotate(t, one, first))(t); retry.RefreshToken != second.RefreshToken {
			t.Errorf("a retry at %s gives another successor than %s has given", one.host, other.host)
		}
		var mu sync.Mutex
		successors := make(map[string]int)
		p.everywhere(20, func(s *instance) {
			tokens, err := p.rotate(t, s, second.RefreshToken)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			successors[tokens.RefreshToken]++
		})
		if len(successors) != 1 {
			t.Fatalf("20 uses at once have given %d successors", len(successors))
		}
		if t.Failed() {
			return
		}
		// The successor of first has been used, so this is a thief, or the
		// other one was.
		if _, err := p.rotate(t, other, first); !refused(err) {
			t.Errorf("a refresh token whose successor was used: %v", err)
		}
		for third := range successors {
			for _, s := range p.servers {
				if _, err := p.rotate(t, s, third); !refused(err) {
					t.Errorf("after the reuse at %s, its grant at %s: %v", other.host, s.host, err)
				}
				if p.active(t, s, second.AccessToken) {
					t.Errorf("after the reuse at %s, an access token of its grant is active at %s", other.host, s.host)
				}
			}
		}
	})
}

// testTwoRevocation: what one server has revoked is refused by the other.
func testTwoRevocation(t *testing.T, p *twoProcesses) {
	p.both(func(one, other *instance) {
		for what, pick := range map[string]func(*oauth2.Token) string{
			"refresh token": func(tokens *oauth2.Token) string { return tokens.RefreshToken },
			"access token":  func(tokens *oauth2.Token) string { return tokens.AccessToken },
		} {
			tokens := p.logIn(t, other)
			if !p.active(t, other, tokens.AccessToken) || !p.active(t, other, tokens.RefreshToken) || !p.userinfo(t, other, tokens.AccessToken) {
				t.Fatalf("the tokens of %s are worth nothing there", other.host)
			}
			p.post(t, one, "/revoke", pick(tokens))
			what = what + " revoked at " + one.host + ", then at " + other.host + ": "
			soon(t, revokedWithin, what+"introspection of the access token", func() bool { return !p.active(t, other, tokens.AccessToken) })
			soon(t, revokedWithin, what+"introspection of the refresh token", func() bool { return !p.active(t, other, tokens.RefreshToken) })
			soon(t, revokedWithin, what+"userinfo", func() bool { return !p.userinfo(t, other, tokens.AccessToken) })
			refresh := tokens.RefreshToken
			soon(t, revokedWithin, what+"refresh", func() bool {
				next, err := p.rotate(t, other, refresh)
				if err == nil {
					refresh = next.RefreshToken
				} else if !refused(err) {
					t.Fatal(err)
				}
				return err != nil
			})
		}
	})
}

// A listedKey is a line of the command keys list.
type listedKey struct{ Kid, Alg, State string }

// keys runs the command keys against s.
func (s *instance) keys(t *testing.T, args ...string) []listedKey {
	t.Helper()
	code, out, errs := runTool(t, append([]string{"keys", "-json", "-dir", s.dir}, args...)...)
	var list struct{ Keys []listedKey }
	if err := json.Unmarshal([]byte(out), &list); code != exitOK || err != nil {
		t.Fatalf("keys %v: exit code %d, %s (%v)", args, code, errs, err)
	}
	return list.Keys
}

// current returns the id of the key of alg that is in use.
func current(t *testing.T, keys []listedKey, alg string) string {
	t.Helper()
	for _, k := range keys {
		if k.Alg == alg && k.State == "current" {
			return k.Kid
		}
	}
	t.Fatalf("there is no key of %s in %v", alg, keys)
	return ""
}

// signedBy returns the id of the key that has signed a token.
func signedBy(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Kid string }
	if err := json.Unmarshal(data, &header); err != nil {
		t.Fatal(err)
	}
	return header.Kid
}

// testTwoKeys: both publish the same keys. What one signs or seals with a key
// that it has just made is good at the other at once, which publishes the key
// soon.
func testTwoKeys(t *testing.T, p *twoProcesses) {
	one, other := p.servers[0], p.servers[1]
	if at, there := p.jwks(t, one), p.jwks(t, other); at != there {
		t.Fatalf("keys at %s: %s\nat %s: %s", one.host, at, other.host, there)
	}
	p.both(func(one, other *instance) {
		old := current(t, one.keys(t, "list"), "ES256")
		before := p.logIn(t, one)
		fresh := current(t, one.keys(t, "retire", old), "ES256") // none was next: it is made now
		after := must(p.rotate(t, one, before.RefreshToken))(t)
		if kid := signedBy(t, after.AccessToken); kid != fresh || kid == old {
			t.Fatalf("%s signs by the key %s, want %s", one.host, kid, fresh)
		}
		p.everywhere(20, func(s *instance) {
			if !p.active(t, s, after.AccessToken) {
				t.Errorf("%s does not know the key that %s has just made", s.host, one.host)
			}
		})
		for _, s := range p.servers {
			if p.userinfo(t, s, before.AccessToken) {
				t.Errorf("%s accepts what the key signed that %s has retired", s.host, one.host)
			}
		}
	})
	p.both(func(one, other *instance) {
		one.keys(t, "retire", current(t, one.keys(t, "list"), "seal"))
		code := p.authorize(t, one)
		if _, err := p.redeem(t, other, code); err != nil {
			t.Errorf("a code of %s at %s, just after its key was made: %v", one.host, other.host, err)
		}
	})

	known := p.jwks(t, one)
	var next []listedKey
	for _, k := range one.keys(t, "rotate") {
		if k.State == "next" && k.Alg != "seal" {
			next = append(next, k)
		}
	}
	published := p.jwks(t, one)
	if len(next) != 2 || published == known {
		t.Fatalf("keys after the rotation: %v are new, %s publishes %s", next, one.host, published)
	}
	for _, k := range next {
		if !strings.Contains(published, `"`+k.Kid+`"`) {
			t.Errorf("%s does not publish its new key %s: %s", one.host, k.Kid, published)
		}
	}
	soon(t, keysWithin, other.host+" publishes the keys that "+one.host+" has made", func() bool { return p.jwks(t, other) == published })
}

// testTwoKill: a server that was killed is not missed, and goes on where it
// was.
func testTwoKill(t *testing.T, p *twoProcesses) {
	one, other := p.servers[0], p.servers[1]
	used, kept := p.logIn(t, one), p.logIn(t, one)
	toRedeem, toRefuse := p.authorize(t, one), p.authorize(t, one)
	keys := p.jwks(t, one)
	one.process.end(syscall.SIGKILL)

	successor := must(p.rotate(t, other, used.RefreshToken))(t)
	must(p.redeem(t, other, toRefuse))(t)
	if !p.active(t, other, kept.AccessToken) {
		t.Errorf("%s does not know the tokens of the server that was killed", other.host)
	}

	one.client.CloseIdleConnections() // nobody is there to say that they are closed
	one.start()
	one.await(p.issuer)
	if got := p.jwks(t, one); got != keys {
		t.Errorf("keys after the restart: %s, before: %s", got, keys)
	}
	if retry := must(p.rotate(t, one, used.RefreshToken))(t); retry.RefreshToken != successor.RefreshToken {
		t.Error("a retry after the restart gives another successor")
	}
	must(p.rotate(t, one, successor.RefreshToken))(t)
	must(p.rotate(t, one, kept.RefreshToken))(t)
	must(p.redeem(t, one, toRedeem))(t)
	if _, err := p.redeem(t, one, toRefuse); !refused(err) {
		t.Errorf("a code that was redeemed while the server was away: %v", err)
	}
	if !p.userinfo(t, one, kept.AccessToken) || !p.active(t, one, kept.AccessToken) {
		t.Error("an access token from before is worth nothing")
	}
	must(p.redeem(t, other, p.authorize(t, one)))(t)
	if len(one.keys(t, "list")) == 0 {
		t.Error("the socket of the restarted server shows no keys")
	}
}
