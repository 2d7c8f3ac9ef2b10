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
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
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

// people have their addresses in this order, from 100.64.0.1 on.
var people = []Person{Alice, Octocat, root}

func (p Person) address() string {
	for i, other := range people {
		if p == other {
			return fmt.Sprintf("100.64.0.%d", i+1)
		}
	}
	panic("nobody called " + string(p))
}

// peerHeader stands in for the tailnet's listener: who sends. A request
// without it comes from nobody.
const peerHeader = "Test-Peer"

// A World is a provider on a tailnet, behind a server with TLS on loopback.
type World struct {
	Issuer string
	// Transport trusts the server.
	Transport *http.Transport

	server *httptest.Server
	mu     sync.Mutex
	rules  map[Person][]tailcfg.RawMessage
	ahead  time.Duration
}

// New starts a world. It ends with the process.
func New() (*World, error) {
	w := &World{rules: map[Person][]tailcfg.RawMessage{root: {`{"allow_admin_ui": true}`}}}
	w.server = httptest.NewUnstartedServer(nil)
	w.Issuer = "https://" + w.server.Listener.Addr().String()
	provider, err := tsidp.New(tsidp.Config{Issuer: w.Issuer, Tailnet: w, Store: memory.New(), Now: w.Now})
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

// WhoIs is part of the tailnet that the provider asks.
func (w *World) WhoIs(_ context.Context, addr string) (*apitype.WhoIsResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range people {
		if p.address() != addr {
			continue
		}
		id := tailcfg.UserID(1001 + i)
		ip := netip.MustParseAddr(addr)
		return &apitype.WhoIsResponse{
			Node: &tailcfg.Node{
				ID: tailcfg.NodeID(id), StableID: tailcfg.StableNodeID(fmt.Sprint("n", id)), Name: fmt.Sprintf("device%d.tail1234.ts.net.", id), User: id,
				Addresses: []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())},
			},
			UserProfile: &tailcfg.UserProfile{ID: id, LoginName: string(p), DisplayName: "A Person", ProfilePicURL: "https://pics.example/1"},
			CapMap:      tailcfg.PeerCapMap{tailcfg.PeerCapabilityTsIDP: w.rules[p]},
		}, nil
	}
	return nil, local.ErrPeerNotFound
}

// StatusWithoutPeers is part of the tailnet that the provider asks.
func (w *World) StatusWithoutPeers(context.Context) (*ipnstate.Status, error) {
	return &ipnstate.Status{
		BackendState:   "Running",
		CurrentTailnet: &ipnstate.TailnetStatus{Name: "example.com", MagicDNSSuffix: "tail1234.ts.net"},
	}, nil
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
	var rules []tailcfg.RawMessage
	for _, g := range policy.Grants {
		if len(g.Src) != 1 || len(g.Dst) != 1 || len(g.IP) != 1 || len(g.App[tailcfg.PeerCapabilityTsIDP]) == 0 {
			return fmt.Errorf("grant without source, destination, port or rule: %+v", g)
		}
		if len(sources) > 0 && !slices.Contains(sources, g.Src[0]) {
			continue
		}
		rules = append(rules, g.App[tailcfg.PeerCapabilityTsIDP]...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules[p] = rules
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
