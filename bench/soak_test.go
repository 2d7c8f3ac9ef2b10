// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

//go:build bench && linux

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

var soakFor = flag.Duration("soak", 10*time.Minute, "how long TestSoak runs")

const (
	soakWorkers = 4
	maxGrowth   = 16 << 20 // of memory, from the first quarter on
	maxNewFiles = 8
)

// TestSoak: under load for a long time memory, file descriptors and goroutines
// stay what they are.
func TestSoak(t *testing.T) {
	issuer := "http://" + freeAddress(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(issuer, "http://"), ":")
	p := start(t, nil, "tsidp-server", "-dev", "-local-port", port, "-dir", t.TempDir(), "-log", "warn")
	issuer = "http://localhost:" + port
	id, secret := register(t, issuer)

	ctx, cancel := context.WithTimeout(t.Context(), *soakFor)
	defer cancel()
	var logins atomic.Int64
	var workers sync.WaitGroup
	for range soakWorkers {
		workers.Go(func() {
			u := newUser(issuer, id, secret)
			for ctx.Err() == nil {
				if err := u.login(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					cancel()
					return
				}
				logins.Add(1)
			}
		})
	}
	samples := p.sample(ctx, issuer)
	workers.Wait()
	if t.Failed() {
		t.Fatalf("%s", p.stderr)
	}
	early, late := middle(samples[len(samples)/4:len(samples)/2]), middle(samples[len(samples)*3/4:])
	t.Logf("%d logins with a refresh, an introspection and a userinfo each, in %v", logins.Load(), *soakFor)
	t.Logf("second quarter: %v; last quarter: %v", early, late)
	if late.memory-early.memory > maxGrowth {
		t.Errorf("memory has grown by %.1f MB", mb(late.memory-early.memory))
	}
	if late.files-early.files > maxNewFiles || late.goroutines-early.goroutines > maxNewFiles {
		t.Error("file descriptors or goroutines are leaking")
	}
}

// A sample is what the process holds at a moment.
type sample struct {
	memory            int64
	files, goroutines int
}

func (s sample) String() string {
	return fmt.Sprintf("%.1f MB, %d file descriptors, %d goroutines", mb(s.memory), s.files, s.goroutines)
}

// sample looks at the process every two seconds until ctx ends.
func (p *process) sample(ctx context.Context, issuer string) []sample {
	p.t.Helper()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var list []sample
	for {
		select {
		case <-ctx.Done():
			if len(list) < 8 {
				p.t.Fatalf("%d samples only", len(list))
			}
			return list
		case <-tick.C:
			list = append(list, sample{p.resident(), p.files(), goroutines(p.t, issuer)})
		}
	}
}

// goroutines asks the server's metrics.
func goroutines(t testing.TB, issuer string) int {
	t.Helper()
	res, err := http.Get(issuer + "/metrics")
	if err != nil {
		t.Error(err)
		return 0
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	_, rest, ok := strings.Cut(string(data), "\ngo_goroutines ")
	var n int
	if _, scanErr := fmt.Sscan(rest, &n); err != nil || !ok || scanErr != nil {
		t.Errorf("no goroutines among the metrics: %v", err)
	}
	return n
}

// middle is the median of each.
func middle(list []sample) sample {
	var m, f, g []int64
	for _, s := range list {
		m, f, g = append(m, s.memory), append(f, int64(s.files)), append(g, int64(s.goroutines))
	}
	for _, l := range [][]int64{m, f, g} {
		slices.Sort(l)
	}
	i := len(list) / 2
	return sample{m[i], int(f[i]), int(g[i])}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

const redirectURI = "https://app.example/callback"

// register makes a client; the caller of a development server is an
// administrator.
func register(t testing.TB, issuer string) (id, secret string) {
	t.Helper()
	res, err := http.Post(issuer+"/api/v1/clients", "application/json", strings.NewReader(`{"redirect_uris": ["`+redirectURI+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var c struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil || c.ID == "" {
		t.Fatalf("registering: %s, %v", res.Status, err)
	}
	return c.ID, c.Secret
}

// A user logs in to an application.
type user struct {
	issuer, id, secret string
	client             *http.Client
}

func newUser(issuer, id, secret string) *user {
	return &user{issuer, id, secret, &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// login is all that an application does with a login.
func (u *user) login(ctx context.Context) error {
	verifier := oauth2.GenerateVerifier()
	q := url.Values{
		"response_type": {"code"}, "client_id": {u.id}, "redirect_uri": {redirectURI}, "scope": {"openid profile email"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	res, _, err := u.do(ctx, "GET", "/authorize?"+q.Encode(), "", nil)
	if err != nil {
		return err
	}
	to, err := res.Location()
	if err != nil {
		return fmt.Errorf("authorize: %s: %w", res.Status, err)
	}
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := u.post(ctx, "/token", url.Values{"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "redirect_uri": {redirectURI}, "code_verifier": {verifier}}, &tokens); err != nil {
		return err
	}
	if err := u.post(ctx, "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}}, &tokens); err != nil {
		return err
	}
	var about struct {
		Active bool `json:"active"`
	}
	if err := u.post(ctx, "/introspect", url.Values{"token": {tokens.Access}}, &about); err != nil || !about.Active {
		return fmt.Errorf("introspection: active %t, %w", about.Active, err)
	}
	res, body, err := u.do(ctx, "GET", "/userinfo", tokens.Access, nil)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("userinfo: %s %s", res.Status, body)
	}
	return err
}

func (u *user) post(ctx context.Context, path string, form url.Values, answer any) error {
	form.Set("client_id", u.id)
	form.Set("client_secret", u.secret)
	res, body, err := u.do(ctx, "POST", path, "", []byte(form.Encode()))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, res.Status, body)
	}
	return json.Unmarshal(body, answer)
}

func (u *user) do(ctx context.Context, method, path, token string, form []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.issuer+path, bytes.NewReader(form))
	if err != nil {
		return nil, nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := u.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}
