// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tailscale/tsidp/internal/tailnettest"
)

// A keyAPI is the part of Tailscale's API that turns an OAuth client secret
// into an auth key.
type keyAPI struct {
	*httptest.Server
	refuses atomic.Bool
	asked   atomic.Pointer[string] // the last key that was asked for
}

func newKeyAPI(t *testing.T) *keyAPI {
	a := new(keyAPI)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/oauth/token", func(w http.ResponseWriter, r *http.Request) {
		if a.refuses.Load() {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"x","token_type":"Bearer","expires_in":3600}`)
	})
	mux.HandleFunc("POST /api/v2/tailnet/-/keys", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a.asked.Store(new(string(body)))
		io.WriteString(w, `{"id":"k1","key":"tskey-auth-made"}`)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// TestClientSecret: an OAuth client secret becomes an auth key with the tags
// of -advertise-tags; one that has been revoked stops only nodes that have no
// login, or are to log in again.
func TestClientSecret(t *testing.T) {
	t.Parallel()
	api := newKeyAPI(t)
	tn := tailnettest.Start(t)
	s := newInstance(t, tn, "idp", "-advertise-tags", "tag:tsidp")
	start := func(env ...string) {
		t.Helper()
		secret := "tskey-client-hush?ephemeral=false&preauthorized=true&baseURL=" + api.URL
		s.process = startServer(t, append(tn.Env(), append(env, "TS_AUTHKEY="+secret)...), s.args...)
	}
	end := func() {
		t.Helper()
		if code := s.process.end(syscall.SIGTERM); code != exitOK || strings.Contains(s.process.stderr.String(), "hush") {
			t.Errorf("exit code %d\n%s", code, s.process.stderr)
		}
	}
	issuer := "https://" + tn.FQDN("idp")
	start()
	s.await(issuer)
	end()
	var asked struct {
		Capabilities struct {
			Devices struct {
				Create struct {
					Ephemeral, Preauthorized bool
					Tags                     []string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(*api.asked.Load()), &asked); err != nil {
		t.Fatal(err)
	}
	if c := asked.Capabilities.Devices.Create; c.Ephemeral || !c.Preauthorized || fmt.Sprint(c.Tags) != "[tag:tsidp]" {
		t.Errorf("asked for a key with %+v", c)
	}

	api.refuses.Store(true)
	start()
	s.await(issuer)
	end()
	if log := s.process.stderr.String(); !strings.Contains(log, "going on without, as the state holds a login") {
		t.Errorf("the log does not say that there is no key:\n%s", log)
	}
	start("TSNET_FORCE_LOGIN=1")
	if log := s.process.fail(); !strings.Contains(log, "resolving auth key") {
		t.Errorf("a login was asked for, and the log says:\n%s", log)
	}
	s.args[1] = socketDir(t)
	start()
	if log := s.process.fail(); !strings.Contains(log, "resolving auth key") || strings.Contains(log, "hush") {
		t.Errorf("without a login, the log says:\n%s", log)
	}
}

// A workloadAPI is a control server that takes tokens of platforms, too.
type workloadAPI struct {
	*httptest.Server
	refuses atomic.Bool
	forms   chan url.Values // of the exchanges
	keys    chan string     // that were asked for
}

func newWorkloadAPI(t *testing.T, control string) *workloadAPI {
	target, err := url.Parse(control)
	if err != nil {
		t.Fatal(err)
	}
	a := &workloadAPI{forms: make(chan url.Values, 10), keys: make(chan string, 10)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/oauth/token-exchange", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		a.forms <- r.PostForm
		w.Header().Set("Content-Type", "application/json")
		if a.refuses.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error":"invalid_grant"}`)
			return
		}
		io.WriteString(w, `{"access_token":"x","token_type":"Bearer","expires_in":3600}`)
	})
	mux.HandleFunc("POST /api/v2/tailnet/-/keys", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a.keys <- string(body)
		io.WriteString(w, `{"id":"k1","key":"tskey-auth-made"}`)
	})
	mux.Handle("/", httputil.NewSingleHostReverseProxy(target))
	a.Server = httptest.NewServer(mux)
	// Not Close, which waits for the nodes, who poll.
	t.Cleanup(func() { a.CloseClientConnections(); a.Listener.Close() })
	return a
}

// startWorkload starts a server with the token of a platform.
func (s *instance) startWorkload() {
	s.t.Helper()
	env := without(without(s.tn.Env(), "TS_AUTHKEY"), "TS_CONTROL_URL")
	s.process = startServer(s.t, append(env, "TS_CLIENT_ID=ours?ephemeral=false&preauthorized=true", "TS_ID_TOKEN=hush"), s.args...)
}

// TestWorkloadIdentity: the token of a platform becomes an auth key with the
// tags of -advertise-tags, and the node joins by it.
func TestWorkloadIdentity(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t, tailnettest.WithAuthKey("tskey-auth-made"))
	api := newWorkloadAPI(t, tn.URL)
	s := newInstance(t, tn, "idp", "-advertise-tags", "tag:tsidp", "-control-url", api.URL)
	s.startWorkload()
	s.await("https://" + tn.FQDN("idp"))
	if form := <-api.forms; form.Get("client_id") != "ours" || form.Get("jwt") != "hush" {
		t.Errorf("exchanged %v", form)
	}
	if key := <-api.keys; !strings.Contains(key, `"tags":["tag:tsidp"]`) || strings.Contains(key, `"ephemeral":true`) || !strings.Contains(key, `"preauthorized":true`) {
		t.Errorf("asked for the key %s", key)
	}
	if code := s.process.end(syscall.SIGTERM); code != exitOK || strings.Contains(s.process.stderr.String(), "hush") {
		t.Errorf("exit code %d\n%s", code, s.process.stderr)
	}
}

// TestWorkloadIdentityExpired: a token that has expired stops only nodes that
// have no login.
func TestWorkloadIdentityExpired(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	api := newWorkloadAPI(t, tn.URL)
	s := newInstance(t, tn, "idp", "-advertise-tags", "tag:tsidp", "-control-url", api.URL)
	for _, want := range []string{"the node is on the tailnet", "going on without, as the state holds a login"} {
		s.startWorkload()
		s.await("https://" + tn.FQDN("idp"))
		if code := s.process.end(syscall.SIGTERM); code != exitOK || !strings.Contains(s.process.stderr.String(), want) {
			t.Errorf("exit code %d, want %q in the log:\n%s", code, want, s.process.stderr)
		}
		api.refuses.Store(true)
	}
	s.args[1] = socketDir(t)
	s.startWorkload()
	if log := s.process.fail(); !strings.Contains(log, "token exchange failed with status 401") || strings.Contains(log, "hush") {
		t.Errorf("without a login, the log says:\n%s", log)
	}
}

// TestForceLogin: a node with a login leaves its auth key alone, unless told
// otherwise.
func TestForceLogin(t *testing.T) {
	t.Parallel()
	tn := tailnettest.Start(t)
	s := newInstance(t, tn, "idp", "-debug-tsnet", "-authkey-file", writeTo(t, filepath.Join(t.TempDir(), "key"), "tskey-auth-used"))
	for _, tt := range []struct {
		name, env, want, not string
	}{
		{"the first start", "TSNET_FORCE_LOGIN=", "running StartLoginInteractive", "Ignoring authkey"},
		{"a start with a login", "TSNET_FORCE_LOGIN=0", "Ignoring authkey", "running StartLoginInteractive"},
		{"a start that is to log in", "TSNET_FORCE_LOGIN=1", "running StartLoginInteractive", "Ignoring authkey"},
	} {
		s.process = startServer(t, append(tn.Env(), tt.env), s.args...)
		s.await("https://" + tn.FQDN("idp"))
		if code := s.process.end(syscall.SIGTERM); code != exitOK {
			t.Errorf("%s: exit code %d", tt.name, code)
		}
		if log := s.process.stderr.String(); !strings.Contains(log, tt.want) || strings.Contains(log, tt.not) {
			t.Errorf("%s: want %q and not %q in the log:\n%s", tt.name, tt.want, tt.not, log)
		}
	}
}

func TestHasJoined(t *testing.T) {
	for content, want := range map[string]bool{
		`{"_current-profile":"cHJvZmlsZS0x"}`: true,
		`{"_current-profile":""}`:             false,
		`{"_machinekey":"eA=="}`:              false,
		`{`:                                   false,
		``:                                    false,
	} {
		dir := t.TempDir()
		writeTo(t, filepath.Join(dir, nodeStateName), content)
		if got := hasJoined(dir); got != want {
			t.Errorf("%q: %v, want %v", content, got, want)
		}
	}
	if hasJoined(t.TempDir()) {
		t.Error("an empty directory holds a login")
	}
}
