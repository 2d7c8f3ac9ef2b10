// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package recipetest is what tests of recipes need: a tailnet with a provider
// on it, a person's browser, and a reader of printed settings.
package recipetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tailscale/tsidp"
	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/recipes"
	"github.com/tailscale/tsidp/internal/simtailnet"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/tailcfg"
)

// A Person has one device on the tailnet example.com.
type Person string

// The people.
const (
	Alice   Person = "alice@example.com"
	Octocat Person = "octocat@github" // is no e-mail address
	root    Person = "root@example.com"
)

var people = []Person{Alice, Octocat, root}

// peer is the person's device.
func (p Person) peer() simtailnet.Peer {
	i := slices.Index(people, p)
	if i < 0 {
		panic("nobody called " + string(p))
	}
	return simtailnet.Peer{
		ID: tailcfg.NodeID(11 + i), Host: fmt.Sprintf("device%d", i),
		User: tailcfg.UserProfile{ID: tailcfg.UserID(1001 + i), LoginName: string(p), DisplayName: "A Person", ProfilePicURL: "https://pics.example/1"},
	}
}

func (p Person) address() string { return p.peer().Addrs()[0].String() }

// peerHeader stands in for the tailnet's listener: who sends. A request
// without it comes from nobody.
const peerHeader = "Test-Peer"

// A World is a provider on a tailnet, behind a server with TLS on loopback.
type World struct {
	Issuer string
	// Transport trusts the server.
	Transport *http.Transport

	server  *httptest.Server
	tailnet simtailnet.Tailnet
	mu      sync.Mutex
	ahead   time.Duration
}

// New starts a world. It ends with the process.
func New() (*World, error) {
	w := new(World)
	for _, p := range people {
		w.tailnet.Put(p.peer())
	}
	w.grant(root, []string{`{"allow_admin_ui": true}`})
	w.server = httptest.NewUnstartedServer(nil)
	w.Issuer = "https://" + w.server.Listener.Addr().String()
	provider, err := tsidp.New(tsidp.Config{Issuer: w.Issuer, Tailnet: &w.tailnet, Store: memory.New(), Now: w.Now})
	if err != nil {
		return nil, err
	}
	go provider.Run(context.Background())
	<-provider.Ready()
	handler := provider.Handler()
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if addr, err := netip.ParseAddr(r.Header.Get(peerHeader)); err == nil {
			r = r.WithContext(tsidp.WithPeer(r.Context(), addr))
		}
		handler.ServeHTTP(rw, r)
	})
	w.server.StartTLS()
	w.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	return w, nil
}

// WriteCertificate writes the server's certificate for other programs.
func (w *World) WriteCertificate(file string) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw}), 0o600)
}

// Now is the world's time, which only differs from the clock by what Advance
// was told.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

// Advance lets time pass.
func (w *World) Advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// grant gives p these rules, and takes away what they had.
func (w *World) grant(p Person, rules []string) {
	peer := p.peer()
	peer.Rules = rules
	w.tailnet.Put(peer)
}

// Apply gives p the rules that a printed grant has for the sources, all if
// there are none, and takes away what they had. An answer of the policy that
// has been given holds for a second more.
func (w *World) Apply(p Person, grant string, sources ...string) error {
	var policy struct {
		Grants []struct {
			Src, Dst, IP []string
			App          map[tailcfg.PeerCapability][]tailcfg.RawMessage
		}
	}
	if grant == "" {
		grant = `"grants": []`
	}
	if err := json.Unmarshal([]byte("{"+grant+"}"), &policy); err != nil {
		return fmt.Errorf("the grant is no JSON: %w", err)
	}
	var rules []string
	for _, g := range policy.Grants {
		if len(g.Src) != 1 || len(g.Dst) != 1 || len(g.IP) != 1 || len(g.App[tailcfg.PeerCapabilityTsIDP]) == 0 {
			return fmt.Errorf("grant without source, destination, port or rule: %+v", g)
		}
		if len(sources) > 0 && !slices.Contains(sources, g.Src[0]) {
			continue
		}
		for _, r := range g.App[tailcfg.PeerCapabilityTsIDP] {
			rules = append(rules, string(r))
		}
	}
	w.grant(p, rules)
	return nil
}

// Register makes a client as an administrator does, over the API.
func (w *World) Register(m admin.ClientMetadata) (admin.Client, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return admin.Client{}, err
	}
	req, err := http.NewRequest("POST", w.Issuer+"/api/v1/clients", bytes.NewReader(body))
	if err != nil {
		return admin.Client{}, err
	}
	req.Header.Set(peerHeader, root.address())
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: w.Transport}).Do(req)
	if err != nil {
		return admin.Client{}, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return admin.Client{}, err
	}
	if res.StatusCode != http.StatusCreated {
		return admin.Client{}, fmt.Errorf("registering %s: %d %s", body, res.StatusCode, answer)
	}
	var c admin.Client
	return c, json.Unmarshal(answer, &c)
}

// SetUp registers the client of a recipe and returns what its settings are
// made from.
func (w *World) SetUp(r recipes.Recipe, values map[string]string, change func(*admin.ClientMetadata)) (recipes.Setup, error) {
	m, err := r.Client(values)
	if err != nil {
		return recipes.Setup{}, err
	}
	if change != nil {
		change(&m)
	}
	c, err := w.Register(m)
	if err == nil && len(c.Warnings) > 0 {
		err = fmt.Errorf("%s is registered with warnings: %q", r.ID, c.Warnings)
	}
	return recipes.Setup{Issuer: w.Issuer, ClientID: c.ID, ClientSecret: c.Secret, Values: values}, err
}
