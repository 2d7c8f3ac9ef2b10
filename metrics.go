// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tailscale/tsidp/store"
)

// What is counted, for Prometheus. Every label has a closed set of values,
// which the code names: routes, reasons, verbs. Nothing says who somebody is
// or which client was used, so that the numbers may be kept for years, and no
// request can make them grow.

// A counter counts by one label.
type counter map[string]*atomic.Uint64 // constant; see newCounter

// otherLabel counts what has a label that nobody thought of.
const otherLabel = "other"

func newCounter(labels ...string) counter {
	c := counter{otherLabel: new(atomic.Uint64)}
	for _, l := range labels {
		c[l] = new(atomic.Uint64)
	}
	return c
}

func (c counter) inc(label string) {
	v, ok := c[label]
	if !ok {
		v = c[otherLabel]
	}
	v.Add(1)
}

// latencies are the bounds of all histograms, in seconds.
var latencies = [...]float64{0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}

// A histogram is of durations.
type histogram struct {
	buckets [len(latencies) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	d = max(d, 0) // the clock was set back
	i, _ := slices.BinarySearch(latencies[:], d.Seconds())
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// metrics are those of one provider.
type metrics struct {
	mu       sync.Mutex
	requests map[string]*statusClasses // by route

	logins, tokens, refusals, errors counter
	signatures                       counter
	storeErrors                      counter
	store                            map[string]*histogram // by verb; constant
	whoIs                            histogram
	whoIsErrors, auditDropped        atomic.Uint64
}

// statusClasses counts answers by the first digit of their status.
type statusClasses [6]atomic.Uint64

// Ways to log in.
const (
	loginBrowser = "browser"
	loginDevice  = "device"
)

func newMetrics() *metrics {
	m := &metrics{
		requests:    make(map[string]*statusClasses),
		logins:      newCounter(loginBrowser, loginDevice),
		tokens:      newCounter(supportedGrantTypes...),
		refusals:    newCounter(refusalReasons...),
		errors:      newCounter(),
		signatures:  newCounter(signatureKnown, signatureVerified, signatureInvalid),
		storeErrors: newCounter(storeVerbNames...),
		store:       make(map[string]*histogram),
	}
	for code := range errorStatus {
		m.errors[string(code)] = new(atomic.Uint64)
	}
	for _, verb := range storeVerbNames {
		m.store[verb] = new(histogram)
	}
	return m
}

// route returns what counts the requests to one route. Callers have a fixed
// number of names.
func (m *metrics) route(name string) *statusClasses {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.requests[name]
	if !ok {
		c = new(statusClasses)
		m.requests[name] = c
	}
	return c
}

// counted returns next with its answers counted under the path of its route,
// less that of the issuer; a panic counts as 5xx.
func (p *Provider) counted(path string, next http.Handler) http.Handler {
	classes := p.metrics.route(cmp.Or(strings.Replace(path, p.path, "", 1), otherLabel))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusInternalServerError}
		defer func() { classes[min(max(rec.status/100, 0), len(classes)-1)].Add(1) }()
		next.ServeHTTP(rec, r)
		if !rec.wrote {
			rec.status = http.StatusOK
		}
	})
}

// A statusRecorder remembers the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (rec *statusRecorder) WriteHeader(status int) {
	if !rec.wrote && status >= 200 { // others are no answers yet
		rec.status, rec.wrote = status, true
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *statusRecorder) Write(b []byte) (int, error) {
	if !rec.wrote {
		rec.status, rec.wrote = http.StatusOK, true
	}
	return rec.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (rec *statusRecorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// decide is the function decide, counted.
func (p *Provider) decide(q question) (decision, *refusal) {
	d, no := decide(q)
	if no != nil {
		p.metrics.refusals.inc(no.reason)
	}
	return d, no
}

// countUnknown counts an error of identify that says that nobody is there.
func (p *Provider) countUnknown(err error) {
	if isAnswer(err) || errors.Is(err, errPublicPeer) {
		p.metrics.refusals.inc(reasonUnknownPeer)
	}
}

// grantsMaxAge is how long the number of grants is kept: to count is the one
// thing here that costs.
const grantsMaxAge = 30 * time.Second

// countGrants returns the number of grants that have not expired, as it was
// lately.
func (p *Provider) countGrants(ctx context.Context) (int, error) {
	return p.grantCount.get(ctx, p.now, func(ctx context.Context) (int, error) {
		return p.store.Count(ctx, store.Query{Kind: store.KindGrant, Now: p.now()})
	})
}

// MetricsHandler serves /metrics to everybody who can connect: what the
// provider has done, in the text format of Prometheus. It says nothing about
// any person, device or client. On the tailnet, [Provider.Handler] serves the
// same behind the capability allow_metrics; this is for a listener of its own
// that nobody else reaches, such as one on loopback.
func (p *Provider) MetricsHandler() http.Handler {
	return p.handler([]route{{path: p.path + pathMetrics, methods: get(p.serveMetrics)}})
}

// requireMetrics lets through who may read the metrics.
func (p *Provider) requireMetrics(h handlerFunc) handlerFunc {
	return p.require(actMetrics, "read the metrics", h)
}

// serveMetrics answers in the text format of Prometheus, version 0.0.4.
func (p *Provider) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	var e exposition
	p.metrics.write(&e)
	now := p.now()
	if ring := p.keys.Load(); ring != nil {
		e.family("tsidp_key_age_seconds", "gauge", "How long the current key of each algorithm has been signing.")
		for _, alg := range slices.Sorted(maps.Keys(ring.since)) {
			e.sample("tsidp_key_age_seconds", now.Sub(ring.since[alg]).Seconds(), "alg", alg)
		}
	}
	if n, err := p.countGrants(r.Context()); err != nil {
		p.log.Warn("counting grants", "request", requestID(r.Context()), "error", err.Error())
	} else {
		e.family("tsidp_grants", "gauge", "Grants in the store that have not expired, those revoked within a day included; up to 30 s old.")
		e.sample("tsidp_grants", float64(n))
	}
	if seen := p.tailnet.seen(now); seen.mapKnown {
		e.family("tsidp_tailnet_map_age_seconds", "gauge", "How long ago the node was last seen connected to the control plane, when it was last asked.")
		e.sample("tsidp_tailnet_map_age_seconds", seen.mapAge.Seconds())
	}
	e.family("tsidp_build_info", "gauge", "1; the labels say what runs.")
	e.sample("tsidp_build_info", 1, "version", moduleVersion(), "goversion", runtime.Version())
	e.family("go_goroutines", "gauge", "Goroutines of the whole program.")
	e.sample("go_goroutines", float64(runtime.NumGoroutine()))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, err := w.Write(e.Bytes())
	return err
}

// write writes what m has counted.
func (m *metrics) write(e *exposition) {
	m.mu.Lock()
	routes := maps.Clone(m.requests)
	m.mu.Unlock()
	e.family("tsidp_requests_total", "counter", "Requests by route and class of the answer's status.")
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		for class := range routes[name] {
			if n := routes[name][class].Load(); n > 0 {
				e.sample("tsidp_requests_total", float64(n), "route", name, "status", strconv.Itoa(class)+"xx")
			}
		}
	}
	e.counter("tsidp_logins_total", "Logins of people: codes issued to browsers, requests of devices approved.", "by", m.logins)
	e.counter("tsidp_tokens_total", "Answers with tokens by grant type.", "grant_type", m.tokens)
	e.counter("tsidp_refusals_total", "What the tailnet's policy refused, by reason.", "reason", m.refusals)
	e.counter("tsidp_errors_total", "Error answers by their code.", "error", m.errors)
	e.counter("tsidp_access_tokens_total", "Access tokens presented, by whether the signature was known from before.", "signature", m.signatures)
	e.family("tsidp_store_seconds", "histogram", "How long the store takes, by verb.")
	for _, verb := range storeVerbNames {
		e.histogram("tsidp_store_seconds", m.store[verb], "verb", verb)
	}
	e.counter("tsidp_store_errors_total", "Calls of the store that could not be answered, by verb.", "verb", m.storeErrors)
	e.family("tsidp_whois_seconds", "histogram", "How long the tailnet takes to say who a peer is.")
	e.histogram("tsidp_whois_seconds", &m.whoIs)
	e.family("tsidp_whois_errors_total", "counter", "Questions to the tailnet that it could not answer.")
	e.sample("tsidp_whois_errors_total", float64(m.whoIsErrors.Load()))
	e.family("tsidp_audit_dropped_total", "counter", "Audit events that the store took too slowly to keep.")
	e.sample("tsidp_audit_dropped_total", float64(m.auditDropped.Load()))
}

// An exposition is a text in the format of Prometheus.
type exposition struct{ bytes.Buffer }

// family begins the samples called name.
func (e *exposition) family(name, typ, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, typ)
}

// labelEscapes: "label_value can be any sequence of UTF-8 characters, but the
// backslash, double-quote, and line feed characters have to be escaped".
var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample writes one value; labels are pairs of name and value.
func (e *exposition) sample(name string, value float64, labels ...string) {
	e.WriteString(name)
	if len(labels) > 0 {
		var pairs []string
		for pair := range slices.Chunk(labels, 2) {
			pairs = append(pairs, pair[0]+`="`+labelEscapes.Replace(pair[1])+`"`)
		}
		e.WriteString("{" + strings.Join(pairs, ",") + "}")
	}
	e.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// counter writes all values of c, zeros too: a rate needs a beginning.
func (e *exposition) counter(name, help, label string, c counter) {
	e.family(name, "counter", help)
	for _, l := range slices.Sorted(maps.Keys(c)) {
		e.sample(name, float64(c[l].Load()), label, l)
	}
}

func (e *exposition) histogram(name string, h *histogram, labels ...string) {
	var n uint64
	for i, bound := range latencies {
		n += h.buckets[i].Load()
		e.sample(name+"_bucket", float64(n), append(slices.Clone(labels), "le", strconv.FormatFloat(bound, 'g', -1, 64))...)
	}
	n += h.buckets[len(latencies)].Load()
	e.sample(name+"_bucket", float64(n), append(slices.Clone(labels), "le", "+Inf")...)
	e.sample(name+"_sum", time.Duration(h.sum.Load()).Seconds(), labels...)
	e.sample(name+"_count", float64(n), labels...)
}

// modulePath is this module's.
const modulePath = "github.com/tailscale/tsidp"

// moduleVersion is the version of this module in the running program.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(slices.Clone(info.Deps), &info.Main) {
		if m.Path == modulePath && m.Version != "" {
			return m.Version
		}
	}
	return "(devel)"
}
