// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"context"
	"fmt"
	"go/ast"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/store"
	"github.com/tailscale/tsidp/store/memory"
	"tailscale.com/client/tailscale/apitype"
)

// parseExposition reads the text format of Prometheus strictly: each sample
// belongs to the family before it, and is there once. Keys are the samples as
// they are written, without value.
func parseExposition(t testing.TB, text string) map[string]float64 {
	t.Helper()
	sample := regexp.MustCompile(`^([a-z_]+)((?:\{[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\["\\n])*")*\})?) (\S+)$`)
	samples, families := make(map[string]float64), make(map[string]bool)
	var family, typ string
	for line := range strings.Lines(text) {
		line, ok := strings.CutSuffix(line, "\n")
		if !ok {
			t.Fatalf("the last line %q does not end", line)
		}
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if families[family] {
				t.Errorf("family %s is there twice", family)
			}
			families[family] = true
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "+family+" "); ok {
			typ = rest
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line %q", line)
		}
		name := m[1]
		if typ == "histogram" {
			name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		}
		if name != family || typ == "counter" && !strings.HasSuffix(name, "_total") {
			t.Errorf("sample %s in family %s %s", m[1], typ, family)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if _, ok := samples[m[1]+m[2]]; ok {
			t.Errorf("%s%s is there twice", m[1], m[2])
		}
		samples[m[1]+m[2]] = v
	}
	return samples
}

// metrics reads the metrics as the administrator, who may.
func (f *fixture) metrics() map[string]float64 {
	f.t.Helper()
	r := f.do(adm, "GET", "/metrics", "", "")
	if ct := r.header.Get("Content-Type"); r.status != 200 || ct != "text/plain; version=0.0.4; charset=utf-8" {
		f.t.Fatalf("answer %d %s %s", r.status, ct, r.body)
	}
	return parseExposition(f.t, r.body)
}

// TestMetrics: what happens is counted once, where it belongs.
func TestMetrics(t *testing.T) {
	f := newFixture(t)
	f.addDeviceClients()
	before := f.metrics()
	first := f.login(ada)
	f.refresh(first.RefreshToken).tokens()
	f.authorize(ci)
	f.authorize(eve)
	f.authorize(netip.MustParseAddr("100.64.9.9"))
	f.redeem("nonsense").wantError(400, "invalid_grant")
	f.do(ada, "GET", "/metrics", "", "").wantError(403, "access_denied")
	f.do(ada, "GET", "/api/v1/clients/web", "", "").wantError(403, "access_denied")
	f.do(ada, "GET", "/no/such/place", "", "")
	device := f.beginDevice(ci)
	f.decide(ada, device.UserCode, "approve")
	f.poll(device.DeviceCode).tokens()
	f.clock.advance(time.Minute)
	after := f.metrics()
	for name, want := range map[string]float64{
		`tsidp_logins_total{by="browser"}`:                                              1,
		`tsidp_logins_total{by="device"}`:                                               1,
		`tsidp_tokens_total{grant_type="authorization_code"}`:                           1,
		`tsidp_tokens_total{grant_type="refresh_token"}`:                                1,
		`tsidp_tokens_total{grant_type="urn:ietf:params:oauth:grant-type:device_code"}`: 1,
		`tsidp_refusals_total{reason="tagged_node"}`:                                    1,
		`tsidp_refusals_total{reason="external_user"}`:                                  1,
		`tsidp_refusals_total{reason="unknown_peer"}`:                                   1,
		`tsidp_refusals_total{reason="metrics_not_granted"}`:                            1,
		`tsidp_refusals_total{reason="not_an_administrator"}`:                           1,
		`tsidp_refusals_total{reason="other"}`:                                          0,
		`tsidp_errors_total{error="invalid_grant"}`:                                     1,
		`tsidp_errors_total{error="other"}`:                                             0,
		`tsidp_requests_total{route="/authorize",status="3xx"}`:                         1,
		`tsidp_requests_total{route="/authorize",status="4xx"}`:                         3,
		`tsidp_requests_total{route="/token",status="2xx"}`:                             3,
		`tsidp_requests_total{route="/token",status="4xx"}`:                             1,
		`tsidp_requests_total{route="/metrics",status="4xx"}`:                           1,
		`tsidp_requests_total{route="/api/v1/clients/{id}",status="4xx"}`:               1,
		`tsidp_requests_total{route="other",status="4xx"}`:                              1,
		`tsidp_store_seconds_count{verb="redeem"}`:                                      2,
		`tsidp_store_seconds_count{verb="rotate"}`:                                      1,
		`tsidp_grants`:                         2,
		`tsidp_key_age_seconds{alg="ES256"}`:   60,
		`tsidp_store_errors_total{verb="get"}`: 0,
		`tsidp_whois_errors_total`:             0,
		`tsidp_tailnet_map_age_seconds`:        0, // absent
	} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("%s has grown by %v, want %v", name, got, want)
		}
	}
	if after["tsidp_whois_seconds_count"] <= before["tsidp_whois_seconds_count"] {
		t.Error("no question to the tailnet was counted")
	}
}

// TestMetricsLabels: no request makes a new label, and nothing says who.
func TestMetricsLabels(t *testing.T) {
	f := newFixture(t)
	f.login(ada)
	names := slices.Sorted(maps.Keys(f.metrics()))
	for i := range 20 {
		f.do(ada, "GET", fmt.Sprintf("/nothing/%d", i), "", "")
		f.post("/token", map[string][]string{"grant_type": {fmt.Sprint("made up ", i)}})
		f.do(ada, "PURGE", "/authorize", "", "")
		f.authorize(ada, "client_id", fmt.Sprint("unknown", i))
	}
	var added []string
	text := f.do(adm, "GET", "/metrics", "", "").body
	for name := range parseExposition(t, text) {
		if !slices.Contains(names, name) {
			added = append(added, name)
		}
	}
	slices.Sort(added)
	// Classes of status that had not been there.
	want := []string{
		`tsidp_requests_total{route="/authorize",status="4xx"}`, `tsidp_requests_total{route="/metrics",status="2xx"}`,
		`tsidp_requests_total{route="/token",status="4xx"}`, `tsidp_requests_total{route="other",status="4xx"}`,
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Errorf("new samples (-want +got):\n%s", diff)
	}
	for _, secret := range []string{"ada@", "web", "Ada", "100.64", "CNTRL", "1001", "unknown1"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the metrics", secret)
		}
	}
}

// TestMetricsAccess: who may read them, through which handler.
func TestMetricsAccess(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(ci, func(res *apitype.WhoIsResponse) { setRules(res, `{"allow_metrics":true}`) })
	if r := f.do(ci, "GET", "/metrics", "", ""); r.status != 200 {
		t.Errorf("a collector with the rule: %d %s", r.status, r.body)
	}
	r := f.do(ada, "GET", "/metrics", "", "")
	r.wantError(403, "access_denied")
	grant, _ := r.json(403)["grant"].(map[string]any)
	app, _ := grant["app"].(map[string]any)
	if diff := cmp.Diff([]any{map[string]any{"allow_metrics": true}}, app["tailscale.com/cap/tsidp"]); diff != "" {
		t.Errorf("the missing grant (-want +got):\n%s", diff)
	}
	f.do(adm, "GET", "/metrics", "", "", "Origin", "https://evil.example").wantError(403, "access_denied")
	f.do(adm, "GET", "/metrics", "", "", "Host", "evil.example").wantError(421, "misdirected_request")
	if r := do(t, serve(t, withTestPeer(f.p.PublicHandler())), "GET", "/metrics", "", "", testPeer, adm.String()); r.status != 404 {
		t.Errorf("PublicHandler: %d", r.status)
	}
	if r := do(t, serve(t, withTestPeer(f.p.AdminHandler())), "GET", "/metrics", "", "", testPeer, adm.String()); r.status != 403 {
		t.Errorf("AdminHandler by TCP: %d", r.status)
	}
	socket := listen(t, &http.Server{Handler: f.p.AdminHandler(), ConnContext: f.p.ConnContext}, unixListener(t))
	if r := do(t, socket, "GET", "/metrics", "", ""); r.status != 200 || !strings.Contains(r.body, "tsidp_build_info{version=") {
		t.Errorf("AdminHandler: %d %s", r.status, r.body)
	}
	own := serve(t, f.p.MetricsHandler())
	if r := do(t, own, "GET", "/metrics", "", ""); r.status != 200 || !strings.Contains(r.body, "tsidp_build_info{version=") {
		t.Errorf("MetricsHandler: %d %s", r.status, r.body)
	}
	for _, path := range []string{"/", "/authorize", "/token", "/api/v1/clients", "/healthz"} {
		if r := do(t, own, "GET", path, "", ""); r.status != 404 {
			t.Errorf("MetricsHandler: %s: %d", path, r.status)
		}
	}
}

// TestMetricsGrants: the store is asked at most every 30 s, and what it
// cannot answer is left out.
func TestMetricsGrants(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	f.login(ada)
	for range 3 {
		if n := f.metrics()["tsidp_grants"]; n != 1 {
			t.Fatalf("%v grants", n)
		}
	}
	f.login(ada)
	f.clock.advance(grantsMaxAge - time.Second)
	if n := f.metrics()["tsidp_grants"]; n != 1 || s.called("Count") != 1 {
		t.Errorf("%v grants, counted %d times", n, s.called("Count"))
	}
	f.clock.advance(time.Second)
	if n := f.metrics()["tsidp_grants"]; n != 2 || s.called("Count") != 2 {
		t.Errorf("%v grants, counted %d times", n, s.called("Count"))
	}
	f.clock.advance(grantsMaxAge)
	s.setBroken("Count", false)
	m := f.metrics()
	if n, ok := m["tsidp_grants"]; ok {
		t.Errorf("%v grants, though the store does not say", n)
	}
	if n := m[`tsidp_store_errors_total{verb="count"}`]; n != 0 {
		t.Errorf("%v errors before the question", n) // the text was written first
	}
	if n := f.metrics()[`tsidp_store_errors_total{verb="count"}`]; n != 1 {
		t.Errorf("%v errors, want 1", n)
	}
	if !strings.Contains(f.log.String(), "counting grants") {
		t.Error("the log does not say it")
	}
}

// TestTimedStore: every verb passes through unchanged and is timed as itself;
// answers are no errors.
func TestTimedStore(t *testing.T) {
	clock := &fakeClock{t: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	m := newMetrics()
	slow := &slowStore{faultStore: &faultStore{Store: memory.New(), calls: make(map[string]int)}, clock: clock}
	s := &timedStore{slow, clock.now, m}
	ctx, now := t.Context(), clock.now()
	calls := map[string]func() error{
		"redeem":    func() error { return s.Redeem(ctx, store.Redemption{}) },
		"refresh":   func() error { _, _, err := s.Refresh(ctx, store.Hash{}, now); return err },
		"rotate":    func() error { _, err := s.Rotate(ctx, store.Rotation{}); return err },
		"revoke":    func() error { _, err := s.Revoke(ctx, store.Revocation{}); return err },
		"use_once":  func() error { return s.UseOnce(ctx, "", "", now, now) },
		"keys":      func() error { _, err := s.Keys(ctx); return err },
		"swap_keys": func() error { _, err := s.SwapKeys(ctx, 1, nil); return err },
		"get":       func() error { _, err := s.Get(ctx, "k", "i", now); return err },
		"put":       func() error { _, err := s.Put(ctx, store.Record{}, now); return err },
		"delete":    func() error { return s.Delete(ctx, "k", "i", 1, now) },
		"list":      func() error { _, err := s.List(ctx, store.Query{Limit: -1}); return err },
		"count":     func() error { _, err := s.Count(ctx, store.Query{}); return err },
		"expire":    func() error { _, err := s.Expire(ctx, now, -1); return err },
	}
	if diff := cmp.Diff(storeVerbNames, slices.Sorted(maps.Keys(calls))); diff != "" {
		t.Fatalf("verbs (-names +calls):\n%s", diff)
	}
	for i, verb := range storeVerbNames {
		slow.answer = fmt.Errorf("wrapped: %w", store.ErrConflict)
		for want := range 2 {
			if err := calls[verb](); err != slow.answer {
				t.Errorf("%s returns %v, want %v", verb, err, slow.answer)
			}
			if got := m.storeErrors[verb].Load(); got != uint64(want) {
				t.Errorf("%s: %d errors after %v, want %d", verb, got, slow.answer, want)
			}
			slow.answer = errTest
		}
		slow.answer = context.Canceled
		if err := calls[verb](); err != context.Canceled || m.storeErrors[verb].Load() != 1 {
			t.Errorf("%s: the end of a request is an error of the store", verb)
		}
		// 3 ms lie between 2.5 ms and 5 ms.
		if got := m.store[verb].buckets[4].Load(); got != 3 || time.Duration(m.store[verb].sum.Load()) != 9*time.Millisecond {
			t.Errorf("%s (%d): %d calls of 3 ms, want 3", verb, i, got)
		}
	}
}

// A slowStore takes 3 ms for every answer, which is always the same.
type slowStore struct {
	*faultStore
	clock  *fakeClock
	answer error
}

func (s *slowStore) slow() error { s.clock.advance(3 * time.Millisecond); return s.answer }

func (s *slowStore) Redeem(context.Context, store.Redemption) error { return s.slow() }
func (s *slowStore) Refresh(context.Context, store.Hash, time.Time) (store.Refresh, store.Record, error) {
	return store.Refresh{}, store.Record{}, s.slow()
}
func (s *slowStore) Rotate(context.Context, store.Rotation) ([32]byte, error) {
	return [32]byte{}, s.slow()
}
func (s *slowStore) Revoke(context.Context, store.Revocation) (int, error) { return 0, s.slow() }
func (s *slowStore) UseOnce(context.Context, string, string, time.Time, time.Time) error {
	return s.slow()
}
func (s *slowStore) Keys(context.Context) (store.KeySet, error) { return store.KeySet{}, s.slow() }
func (s *slowStore) SwapKeys(context.Context, int64, []byte) (int64, error) {
	return 0, s.slow()
}
func (s *slowStore) Get(context.Context, store.Kind, string, time.Time) (store.Record, error) {
	return store.Record{}, s.slow()
}
func (s *slowStore) Put(context.Context, store.Record, time.Time) (int64, error) {
	return 0, s.slow()
}
func (s *slowStore) Delete(context.Context, store.Kind, string, int64, time.Time) error {
	return s.slow()
}
func (s *slowStore) List(context.Context, store.Query) (store.Page, error) {
	return store.Page{}, s.slow()
}
func (s *slowStore) Count(context.Context, store.Query) (int, error) { return 0, s.slow() }
func (s *slowStore) Expire(context.Context, time.Time, int) (int, error) {
	return 0, s.slow()
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-time.Second, 0, 100 * time.Microsecond, 101 * time.Microsecond, 5 * time.Second, time.Hour} {
		h.observe(d)
	}
	var e exposition
	e.family("x", "histogram", "…")
	e.histogram("x", &h, "verb", "a\"b\\c\nd")
	m := parseExposition(t, e.String())
	label := `verb="a\"b\\c\nd"`
	for sample, want := range map[string]float64{
		`x_bucket{` + label + `,le="0.0001"}`: 3, `x_bucket{` + label + `,le="0.0005"}`: 4, `x_bucket{` + label + `,le="2.5"}`: 4,
		`x_bucket{` + label + `,le="5"}`: 5, `x_bucket{` + label + `,le="+Inf"}`: 6, `x_count{` + label + `}`: 6, `x_sum{` + label + `}`: 3605.000201,
	} {
		if got := m[sample]; got != want {
			t.Errorf("%s is %v, want %v", sample, got, want)
		}
	}
}

// TestCounted: the status that the peer gets is the one that counts.
func TestCounted(t *testing.T) {
	p := newProvider(t, newConfig(t, t.Output()))
	for class, h := range map[int]http.HandlerFunc{
		0: nil,
		2: func(w http.ResponseWriter, r *http.Request) {},
		3: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(302)
			w.WriteHeader(500)
		},
		4: func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			w.WriteHeader(418)
		},
		5: func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		if h == nil {
			continue
		}
		name := fmt.Sprint("/", class)
		func() {
			defer func() { recover() }()
			p.counted(name, h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
		for i := range p.metrics.route(name) {
			want := uint64(0)
			if i == class {
				want = 1
			}
			if got := p.metrics.route(name)[i].Load(); got != want {
				t.Errorf("%s: %d answers of class %d, want %d", name, got, i, want)
			}
		}
	}
	w := httptest.NewRecorder()
	p.counted("/w", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("x")) })).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Body.String() != "x" || p.metrics.route("/w")[2].Load() != 1 {
		t.Errorf("a plain answer: %q", w.Body)
	}
}

// TestMetricsConcurrently is for the race detector: to read is to disturb
// nothing.
func TestMetricsConcurrently(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				f.authorize(ada)
				f.do(adm, "GET", "/metrics", "", "")
				f.do(adm, "GET", "/readyz", "", "")
				f.p.MetricsHandler()
			}
		})
	}
	wg.Wait()
	if n := f.metrics()[`tsidp_logins_total{by="browser"}`]; n != 20 {
		t.Errorf("%v logins, want 20", n)
	}
}

// TestRefusalReasons: every reason has its counter.
func TestRefusalReasons(t *testing.T) {
	_, files := rootFiles(t)
	var consts []string
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, id := range spec.Names {
					if strings.HasPrefix(id.Name, "reason") && i < len(spec.Values) {
						if lit, ok := spec.Values[i].(*ast.BasicLit); ok {
							s, _ := strconv.Unquote(lit.Value)
							consts = append(consts, s)
						}
					}
				}
			}
			return true
		})
	}
	slices.Sort(consts)
	if diff := cmp.Diff(consts, slices.Sorted(slices.Values(refusalReasons))); diff != "" {
		t.Errorf("reasons (-constants +counted):\n%s", diff)
	}
}
