// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailscale/tsidp/internal/admin"
	"github.com/tailscale/tsidp/internal/adminui"
	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/safefetch"
	"github.com/tailscale/tsidp/store"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// A Provider is an identity provider. Make it with [New], mount its handlers,
// and keep [Provider.Run] running. Its methods are safe for concurrent use.
// Providers in one process share nothing.
type Provider struct {
	// Set by New and constant from then on.
	cfg       Config
	issuer    string
	path      string   // of the issuer: "" or "/idp"
	hostname  string   // of the issuer, without port
	hosts     []string // own names, as in Host headers
	life      Lifetimes
	log       *slog.Logger
	now       func() time.Time
	store     store.Store // which is clients, too
	clients   *clientCache
	storage   *storage
	opServer  *opServer
	engine    http.Handler // the engine's router over opServer
	directory *directory
	fetch     *safefetch.Client
	documents atomic.Pointer[documentPolicy] // see SetClientDocuments
	pages     *pageSet
	ui        *adminui.UI
	// crossOrigin looks at what the forms of pages send.
	crossOrigin *http.CrossOriginProtection
	metadata    document
	api         *admin.API
	metrics     *metrics
	auditLog    *auditLog
	tailnet     *watchedTailnet

	keys   atomic.Pointer[keyring] // nil until Run has opened the store
	keysMu sync.Mutex              // held while keys are made
	missed keyQuestion             // what missedKeys shares
	signed *jwt.Seen[*signedToken] // access tokens

	ruleReports    ruleReports
	failures       *tries        // of clients; see ratelimit.go
	codeTries      *tries        // wrong user codes, by subject
	deviceRequests *tries        // device authorization requests, by node
	registrations  *tries        // of clients, by node
	registering    chan struct{} // holds one value while a client is registered

	readyAnswer  reused[readiness]
	readyLogged  atomic.Pointer[string] // the last state that the log tells
	grantCount   reused[int]
	policyReport reused[admin.PolicyReport]
	launchers    reused[[]*client] // those that have indexLauncher

	ready   chan struct{} // closed when keys are there
	running atomic.Bool
	closed  chan struct{} // closed by Close
	close   sync.Once
}

// New validates cfg and returns a provider. It starts nothing, and touches
// neither the store nor the tailnet. An error lists everything that is wrong
// with cfg.
func New(cfg Config) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("tsidp: %w", err)
	}
	u, err := url.Parse(cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("tsidp: %w", err)
	}
	p := &Provider{
		cfg: cfg, issuer: cfg.Issuer, path: u.Path, hostname: u.Hostname(), hosts: ownHosts(u, cfg.Hosts),
		log: cfg.Logger, now: cfg.Now, metrics: newMetrics(), auditLog: newAuditLog(),
		ready: make(chan struct{}), closed: make(chan struct{}),
		missed: keyQuestion{turn: make(chan struct{}, 1)}, signed: jwt.NewSeen[*signedToken](maxSignedTokens),

		failures:       newTries(maxFailures, failureWindow),
		codeTries:      newTries(maxCodeTries, codeTryWindow),
		deviceRequests: newTries(maxDeviceRequests, deviceRequestWindow),
		registrations:  newTries(maxRegistrations, registrationWindow),
		registering:    make(chan struct{}, 1),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.cfg.EmailVerified.Domains = slices.Clone(cfg.EmailVerified.Domains)
	var l Lifetimes
	if cfg.Lifetimes != nil {
		l = *cfg.Lifetimes
	}
	p.life = l.withDefaults()
	p.clients = newClientCache(&timedStore{cfg.Store, p.now, p.metrics})
	p.store = p.clients
	p.tailnet = &watchedTailnet{Tailnet: cfg.Tailnet, now: p.now, metrics: p.metrics}
	p.directory = &directory{tailnet: p.tailnet, now: p.now, report: p.reportRules, answers: make(map[netip.Addr]answer)}
	p.storage = &storage{p}
	p.opServer = &opServer{p: p}
	p.engine = op.RegisterServer(p.opServer, op.Endpoints{Userinfo: op.NewEndpoint(p.path + pathUserinfo)}, op.WithServerCORSOptions(nil))
	p.readyAnswer = reused[readiness]{maxAge: readyMaxAge, timeout: askTimeout}
	p.grantCount = reused[int]{maxAge: grantsMaxAge, timeout: askTimeout}
	p.policyReport = reused[admin.PolicyReport]{maxAge: policyReportAge, timeout: policyCheckTime}
	p.launchers = reused[[]*client]{maxAge: maxClientAge, timeout: askTimeout}
	p.api = &admin.API{Backend: &backend{p}, Now: p.now}
	if p.fetch, err = safefetch.New(p.fetchConfig()); err != nil {
		return nil, fmt.Errorf("tsidp: fetching documents of clients: %w", err)
	}
	if err := p.SetClientDocuments(cfg.ClientDocuments); err != nil {
		return nil, err
	}
	if err := p.prepareAnswers(); err != nil {
		return nil, fmt.Errorf("tsidp: %w", err)
	}
	return p, nil
}

// prepareAnswers makes what is the same for every request: pages and metadata.
func (p *Provider) prepareAnswers() (err error) {
	if p.pages, err = newPageSet(); err != nil {
		return err
	}
	p.crossOrigin = http.NewCrossOriginProtection()
	p.ui, err = adminui.New(adminui.Config{
		Backend: p.api.Backend, Now: p.now, Path: p.path, OwnOrigin: p.ownOrigin, Style: p.pages.style, Development: p.cfg.Development,
	})
	if err != nil {
		return err
	}
	p.metadata, err = p.newMetadata()
	return err
}

// ownHosts are the names by which a browser may reach the pages: the
// issuer's, with and without its default port, and the configured ones.
func ownHosts(issuer *url.URL, more []string) []string {
	port := ":443"
	if issuer.Scheme == "http" {
		port = ":80"
	}
	hosts := []string{issuer.Host}
	if bare, ok := strings.CutSuffix(issuer.Host, port); ok {
		hosts = append(hosts, bare) // browsers leave it out
	} else if issuer.Port() == "" {
		hosts = append(hosts, issuer.Host+port)
	}
	return append(hosts, more...)
}

// opClient shows c to the engine with the lifetimes that it has.
func (p *Provider) opClient(c *client) opClient { return opClient{c, c.lifetimes(p.life)} }

// expireEvery is how often expired rows are removed, expireBatch how many at
// a time.
const (
	expireEvery = time.Minute
	expireBatch = 1000
	// keysEvery is how often the keys of other instances are looked for.
	keysEvery = 5 * time.Second
)

// Run opens the store, which makes the keys at the first start, and works in
// the background until ctx ends or Close is called; then it returns nil. It
// returns an error if the store cannot be opened or belongs to another
// provider. It may be called once.
//
// Until the store is open, every route answers 503.
func (p *Provider) Run(ctx context.Context) error {
	if p.running.Swap(true) {
		return errors.New("tsidp: Run was called before")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.closed:
			cancel()
		case <-ctx.Done(): // at the latest when Run returns
		}
	}()

	ring, err := p.updateKeys(ctx, func(doc *keyDocument, now time.Time) (bool, error) {
		if len(doc.Keys) == 0 {
			if err := p.importState(ctx, doc, now); err != nil {
				return false, err
			}
		}
		added, err := doc.add(initialAlgs, now)
		if err != nil {
			return false, err
		}
		due, err := doc.maintain(now, p.keyRotation())
		return added || due, err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("tsidp: %w", err)
	}
	p.keys.Store(ring)
	close(p.ready)
	p.log.Info("ready", "issuer", p.issuer)

	p.work(ctx)
	return nil
}

// work does until ctx ends what nobody waits for.
func (p *Provider) work(ctx context.Context) {
	expire, keys := time.NewTicker(expireEvery), time.NewTicker(keysEvery)
	defer expire.Stop()
	defer keys.Stop()
	defer p.auditLog.finish(ctx, p)
	for {
		select {
		case <-ctx.Done():
			return
		case <-expire.C:
			p.expire(ctx)
			if err := p.trimAudit(ctx, maxAuditRecords); err != nil && ctx.Err() == nil {
				p.log.Warn("trimming audit log", "error", err.Error())
			}
			if err := p.reloadKeys(ctx); err != nil && ctx.Err() == nil {
				p.log.Error("maintaining keys", "error", err.Error())
			}
		case <-keys.C:
			p.refreshKeys(ctx)
		case e := <-p.auditLog.incoming():
			p.auditLog.take(ctx, p, e)
		case <-p.auditLog.due:
			p.auditLog.flush(ctx, p)
		}
	}
}

// expire removes what has expired. A failure is for the log: nothing relies
// on it.
func (p *Provider) expire(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := p.store.Expire(ctx, p.now(), expireBatch)
		if err != nil {
			p.log.Warn("removing expired state", "error", err.Error())
			return
		}
		if n < expireBatch {
			return
		}
	}
}

// Ready is closed once the provider answers requests: when [Provider.Run] has
// opened the store.
func (p *Provider) Ready() <-chan struct{} { return p.ready }

// Close ends Run. It does not close the store, and does not wait.
func (p *Provider) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

func (p *Provider) serveMetadata(w http.ResponseWriter, r *http.Request) error {
	return p.metadata.serve(w, r)
}

func (p *Provider) serveKeys(w http.ResponseWriter, r *http.Request) error {
	return p.keys.Load().jwks.serve(w, r)
}

// serveHealth says whether the provider does its own work: 200 or 503. It
// does not ask the tailnet; see serveReady. What
// Config.Condition tells is no reason to end the process, so it is no 503.
func (p *Provider) serveHealth(w http.ResponseWriter, r *http.Request) error {
	status, state := http.StatusOK, "ok"
	switch {
	case p.keys.Load() == nil:
		status, state = http.StatusServiceUnavailable, "starting"
	case p.storage.Health(r.Context()) != nil:
		status, state = http.StatusServiceUnavailable, "the store does not answer"
	case p.cfg.Condition != nil:
		state = cmp.Or(p.cfg.Condition(), state)
	}
	writeJSON(w, status, map[string]string{"status": state})
	return nil
}
