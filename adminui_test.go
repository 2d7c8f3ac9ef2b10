// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/tailscale/tsidp/internal/admin"
	"tailscale.com/client/tailscale/apitype"
)

// look opens a page as a browser at addr does.
func (f *fixture) look(as netip.Addr, path string) *reply {
	f.t.Helper()
	return f.do(as, "GET", path, "", "", "Accept", "text/html", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate")
}

// submit sends the form of a page as a browser at addr does.
func (f *fixture) submit(as netip.Addr, path string, form url.Values, header ...string) *reply {
	f.t.Helper()
	if len(header) == 0 {
		header = []string{"Origin", testIssuer, "Sec-Fetch-Site", "same-origin", "Accept", "text/html"}
	}
	return f.do(as, "POST", path, "application/x-www-form-urlencoded", form.Encode(), header...)
}

// seeOther checks that a form has done its work, and opens the page after it.
func (f *fixture) seeOther(as netip.Addr, r *reply) string {
	f.t.Helper()
	if r.status != http.StatusSeeOther {
		f.t.Fatalf("answer %d %s, want a redirect", r.status, readable(r.body))
	}
	return f.follow(as, r.header.Get("Location"), "Sec-Fetch-Site", "same-origin").page(200)
}

// follow opens a page as a browser does that a page has led there.
func (f *fixture) follow(as netip.Addr, path string, header ...string) *reply {
	f.t.Helper()
	return f.do(as, "GET", path, "", "", append(header, "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")...)
}

var (
	scriptElement = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	inlineTag     = regexp.MustCompile(`</?(bdi|strong|code|time|em)\b[^>]*>`)
	anyTag        = regexp.MustCompile(`<[^>]*>`)
)

// readable is the text of a page.
func readable(body string) string {
	body = inlineTag.ReplaceAllString(scriptElement.ReplaceAllString(styleElement.ReplaceAllString(body, ""), ""), "")
	return strings.Join(strings.Fields(html.UnescapeString(anyTag.ReplaceAllString(body, " "))), " ")
}

// says checks that a page tells people something.
func says(t testing.TB, body string, wants ...string) {
	t.Helper()
	text := readable(body)
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q: %s", want, text)
		}
	}
}

// formOf returns the controls of the form in which a page has this text, as a
// browser would send them.
func formOf(t testing.TB, body, holds string) url.Values {
	t.Helper()
	for _, form := range strings.Split(body, "<form ")[1:] {
		form, _, _ = strings.Cut(form, "</form>")
		if !strings.Contains(form, holds) {
			continue
		}
		v := url.Values{}
		for _, m := range regexp.MustCompile(`<input type="(?:text|search|hidden|datetime-local)"[^>]* name="([^"]*)" value="([^"]*)"|<input type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
			v.Add(m[1]+m[3], html.UnescapeString(m[2]+m[4]))
		}
		for _, m := range regexp.MustCompile(`<input type="(?:checkbox|radio)" name="([^"]*)" value="([^"]*)" checked`).FindAllStringSubmatch(form, -1) {
			v.Add(m[1], html.UnescapeString(m[2]))
		}
		for _, m := range regexp.MustCompile(`(?s)<textarea[^>]* name="([^"]*)"[^>]*>\n(.*?)</textarea>`).FindAllStringSubmatch(form, -1) {
			v.Add(m[1], html.UnescapeString(m[2]))
		}
		for _, m := range regexp.MustCompile(`(?s)<select[^>]* name="([^"]*)"[^>]*>(.*?)</select>`).FindAllStringSubmatch(form, -1) {
			if chosen := regexp.MustCompile(`<option value="([^"]*)" selected`).FindStringSubmatch(m[2]); chosen != nil {
				v.Add(m[1], html.UnescapeString(chosen[1]))
			}
		}
		return v
	}
	t.Fatalf("no form has %q: %s", holds, readable(body))
	return nil
}

// withForm changes a form: pairs of name and value.
func withForm(form url.Values, change ...string) url.Values {
	for pair := range slices.Chunk(change, 2) {
		form.Set(pair[0], pair[1])
	}
	return form
}

// readNext is where the next page of a list is.
func readNext(t testing.TB, body string) string {
	t.Helper()
	m := regexp.MustCompile(`<a href="([^"]*)" rel="next">`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no next page: %s", readable(body))
	}
	return html.UnescapeString(m[1])
}

// writeEvents puts events into the audit log.
func (f *fixture) writeEvents(events ...AuditEvent) {
	f.t.Helper()
	for i := range events {
		e := &events[i]
		e.Result = cmp.Or(e.Result, resultAllowed)
		if e.Time.IsZero() {
			e.Time = f.clock.now()
		}
	}
	if err := f.p.writeAudit(f.t.Context(), events); err != nil {
		f.t.Fatal(err)
	}
}

// uiPages are all pages of the administration, of what a fixture has.
var uiPages = []string{
	"/", "/me", "/admin/clients", "/admin/clients/web", "/admin/clients/pub", "/admin/new", "/admin/new?recipe=grafana", "/admin/new?recipe=blank",
	"/admin/sessions", "/admin/consents", "/admin/registrations", "/admin/policy", "/admin/policy?check=1", "/admin/audit", "/admin/keys",
}

// TestUIHeaders: what each page says about itself, and that it is whole.
func TestUIHeaders(t *testing.T) {
	f := newFixture(t)
	for _, path := range uiPages {
		r := f.look(adm, path)
		body := r.page(200)
		style, script := styleElement.FindAllStringSubmatch(body, -1), scriptElement.FindAllStringSubmatch(body, -1)
		if len(style) != 1 || len(script) != 1 {
			t.Fatalf("%s: %d styles, %d scripts", path, len(style), len(script))
		}
		hash := func(s string) string {
			sum := sha256.Sum256([]byte(s))
			return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src " + hash(style[0][1]) + "; script-src " + hash(script[0][1]) + "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"Cache-Control":           "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY",
			"Set-Cookie": "", "Content-Type": "text/html; charset=utf-8",
		} {
			if got := strings.Join(r.header.Values(header), ", "); got != want {
				t.Errorf("%s: %s is %q, want %q", path, header, got, want)
			}
		}
		for _, want := range []string{`<html lang="en">`, `<main id="main"`, `href="#main"`, `<nav aria-label="Administration">`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
		if n := strings.Count(body, "<h1>"); n != 1 {
			t.Errorf("%s has %d first headings", path, n)
		}
		for _, hole := range []string{"ZgotmplZ", "no value", "%!", "<nil>", " style=\"", " onclick="} {
			if strings.Contains(body, hole) {
				t.Errorf("%s has %q", path, hole)
			}
		}
	}
}

// TestUIWho: what each page says to whom. The administration is for those to
// whom a rule opens it; everybody else has a page of their own.
func TestUIWho(t *testing.T) {
	f := newFixture(t)
	for _, rt := range f.p.uiRoutes() {
		path := strings.NewReplacer("{$}", "", "{id}", "web").Replace(rt.path)
		own := path == "/" || path == "/me"
		for who, at := range map[string]netip.Addr{"person": ada, "tagged": ci, "stranger": eve} {
			r := f.look(at, path)
			if own {
				r.page(200)
				continue
			}
			body := r.page(403)
			if hasGrant := strings.Contains(readable(body), `"allow_admin_ui": true`); hasGrant != (at != eve) {
				t.Errorf("%s at %s: grant %t", who, path, hasGrant)
			}
			if body := f.submit(at, path, url.Values{"action": {"delete"}}); body.status != 403 && body.status != 405 {
				t.Errorf("%s posts to %s: %d", who, path, body.status)
			}
		}
		f.look(netip.MustParseAddr("100.64.9.9"), path).page(403)
		f.look(netip.Addr{}, path).page(500)
		if r := f.do(adm, "GET", path, "", "", "Host", "evil.example", "Accept", "text/html"); r.status != http.StatusMisdirectedRequest {
			t.Errorf("%s under another name: %d", path, r.status)
		}
		if r := f.do(adm, "GET", path, "", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Origin", "https://evil.example"); r.status != 403 {
			t.Errorf("%s for a script of another origin: %d", path, r.status)
		}
		if rt.methods["POST"] == nil {
			continue
		}
		for _, header := range [][]string{
			{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Origin", testIssuer, "Sec-Fetch-Site", "cross-site"}, {"Origin", testIssuer + ":444"},
		} {
			if r := f.submit(adm, path, url.Values{"action": {"rotate"}}, header...); r.status != 403 {
				t.Errorf("%s posted with %v: %d", path, header, r.status)
			}
		}
		if r := f.submit(adm, path, url.Values{"action": {"nothing"}}); path != "/admin/consents" && r.status != 400 {
			t.Errorf("%s posted with an unknown action: %d", path, r.status)
		}
		if r := f.do(adm, "POST", path, "text/plain", "action=rotate"); r.status != 400 {
			t.Errorf("%s posted as text: %d", path, r.status)
		}
	}
	if keys := f.do(adm, "GET", "/api/v1/keys", "", "").json(200)["keys"].([]any); len(keys) != len(initialAlgs) {
		t.Errorf("%d keys: one of these has rotated them", len(keys))
	}
	// What is not there stays not there.
	f.do(adm, "GET", "/nothing", "", "").wantError(404, "not_found")
	f.do(adm, "GET", "/admin", "", "").wantError(404, "not_found")
	f.look(adm, "/admin/clients/nobody").page(404)
}

// TestUIElsewhere: no other listener has the pages.
func TestUIElsewhere(t *testing.T) {
	f := newFixture(t)
	for name, h := range map[string]http.Handler{"public": f.p.PublicHandler(), "socket": f.p.AdminHandler()} {
		other := &fixture{t: t, client: serve(t, withTestPeer(h))}
		for _, rt := range f.p.uiRoutes() {
			path := strings.NewReplacer("{$}", "", "{id}", "web").Replace(rt.path)
			if r := other.look(adm, path); r.status != 404 {
				t.Errorf("%s has %s: %d", name, path, r.status)
			}
		}
	}
}

// TestUIPath: under an issuer with a path all addresses have it.
func TestUIPath(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Issuer = testIssuer + "/idp" }, seedKeys)
	for _, path := range uiPages {
		body := f.look(adm, "/idp"+path).page(200)
		for _, m := range regexp.MustCompile(`(?:href|action)="(/[^"]*)"`).FindAllStringSubmatch(body, -1) {
			if !strings.HasPrefix(m[1], "/idp/") {
				t.Errorf("%s leads to %s", path, m[1])
			}
		}
	}
	if r := f.look(adm, "/idp"); r.header.Get("Location") != "/idp/" && r.status != 200 {
		t.Errorf("/idp: %d to %q", r.status, r.header.Get("Location"))
	}
}

// TestUIGolden has the structure of the pages that matter, byte for byte.
func TestUIGolden(t *testing.T) {
	f := newFixture(t)
	f.addClient("wiki", webSecret, admin.ClientMetadata{Name: "Wiki", RedirectURIs: []string{"https://wiki.example/cb"}, ClientURI: "https://wiki.example/"})
	f.login(ada)
	f.clock.advance(3 * time.Hour)
	for name, page := range map[string]struct {
		as   netip.Addr
		path string
	}{"me": {ada, "/"}, "clients": {adm, "/admin/clients"}, "client": {adm, "/admin/clients/web"}, "sessions": {adm, "/admin/sessions"}, "keys": {adm, "/admin/keys"}} {
		body := f.look(page.as, page.path).page(200)
		body = scriptElement.ReplaceAllString(styleElement.ReplaceAllString(body, "<style></style>"), "<script></script>")
		body = regexp.MustCompile(`\b([A-Z2-7]{16}|[A-Z2-7]{8}|[0-9a-f]{32})\b`).ReplaceAllString(body, "ID")
		body = regexp.MustCompile(`(etag" value=")[^"]*`).ReplaceAllString(body, "${1}TAG")
		file := "testdata/ui-" + name + ".html"
		if *update {
			if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(strings.Split(string(want), "\n"), strings.Split(body, "\n")); diff != "" {
			t.Errorf("%s (-golden +page; go test . -run UIGolden -update):\n%s", file, diff)
		}
	}
}

// TestUIStoreDown: the start page says what is wrong; all others, that
// nothing is lost.
func TestUIStoreDown(t *testing.T) {
	s := newFaultStore(t)
	f := newFixture(t, func(c *Config) { c.Store = s })
	for verb, down := range map[string][]string{
		"List": {"/me", "/admin/clients", "/admin/sessions", "/admin/consents", "/admin/registrations", "/admin/audit", "/admin/audit.jsonl"},
		"Keys": {"/admin/keys"},
	} {
		s.setBroken(verb, false)
		for _, path := range down {
			r := f.look(adm, path)
			says(t, r.page(503), "Not available right now", "Nothing was lost", "Return to the start page")
			if r.header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", path)
			}
		}
		says(t, f.look(adm, "/").page(200), "Health")
	}
	s.setBroken("Count", false)
	says(t, f.look(adm, "/").page(200), "– clients", "– sessions")
	s.setBroken("Put", false)
	form := withForm(formOf(t, f.look(adm, "/admin/clients/web").page(200), `value="save"`), "action", "save", "client_name", "Other")
	says(t, f.submit(adm, "/admin/clients/web", form).page(503), "nothing was consumed")
	s.setBroken("", false)
	f.tailnet.set(func(n *fakeTailnet) { n.err = errTest })
	f.clock.advance(time.Hour)
	says(t, f.look(adm, "/").page(503), "Not available right now", "the tailnet cannot be asked")
}

// TestUIStart: figures, the chart, the last refusals.
func TestUIStart(t *testing.T) {
	f := newFixture(t)
	f.writeEvents(
		AuditEvent{Event: "login", Login: "gus@github"}, AuditEvent{Event: "login", Login: "ada@example.com"}, AuditEvent{Event: "code"},
		AuditEvent{Event: "login", Login: "ada@example.com", Client: "web", Result: resultRefused, Reason: reasonResource},
		AuditEvent{Event: "login", Time: f.clock.now().Add(-25 * time.Hour)},
	)
	body := f.look(adm, "/").page(200)
	says(t, body, "3 clients", "0 sessions", "2 logins today", "1 refusals in 24 hours", "ready", "ada@example.com login web resource_not_granted",
		testIssuer+"/.well-known/openid-configuration", "RS256 key")
	if n := strings.Count(body, `<rect class="login"`); n != 1 {
		t.Errorf("%d bars of logins", n)
	}
	if !strings.Contains(body, `aria-label="Logins and refusals by hour: 2 logins and 1 refusal in the last 24 hours"`) {
		t.Error("the chart does not say what it shows")
	}
}

// TestUIAudit: filters, pages, and the export of everything.
func TestUIAudit(t *testing.T) {
	f := newFixture(t)
	for range 60 {
		f.writeEvents(AuditEvent{Event: "login", Login: "ada@example.com", Client: "web"}, AuditEvent{Event: "code", Login: "ada@example.com", Client: "web"})
	}
	f.writeEvents(AuditEvent{Event: "login", Login: "gus@github", Client: "web", Result: resultRefused, Reason: reasonResource})
	body := f.look(adm, "/admin/audit").page(200)
	if n := strings.Count(body, "<tr>"); n != 51 {
		t.Errorf("%d rows, want 50 and the head", n)
	}
	says(t, f.look(adm, readNext(t, body)).page(200), "First page")
	says(t, f.look(adm, "/admin/audit?user=gus@github&result=refused").page(200), "gus@github", "login refused resource_not_granted")
	if body := f.look(adm, "/admin/audit?user=gus@github&result=allowed").page(200); !strings.Contains(body, "No event matches") {
		t.Error("a refusal counts as allowed")
	}
	says(t, f.look(adm, "/admin/audit?since=2026-11-01T11:00&until=2026-11-01T13:00&event=login").page(200), "ada@example.com")
	says(t, f.look(adm, "/admin/audit?since=2026-11-01T13:00").page(200), "No event matches")
	says(t, f.look(adm, "/admin/audit?since=yesterday").page(400), "From: want a time such as")
	says(t, f.look(adm, "/admin/audit?after=x").page(400), "must be the next of an earlier page")
	f.look(adm, "/admin/audit.jsonl?since=yesterday").page(400)

	r := f.look(adm, "/admin/audit.jsonl?user=ada@example.com")
	lines := strings.Split(strings.TrimSpace(r.body), "\n")
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Disposition"), "attachment") || len(lines) != 120 {
		t.Fatalf("export: %d, %q, %d lines", r.status, r.header.Get("Content-Disposition"), len(lines))
	}
	for _, line := range lines {
		var e AuditEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Login != "ada@example.com" {
			t.Fatalf("line %s: %v", line, err)
		}
	}
}

// A deadlineWriter counts how often it is given more time.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	extended int
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error {
	if time.Until(t) > 0 {
		w.extended++
	}
	return nil
}

// TestUIExportTime: an export may take longer than the server gives an answer,
// as long as each page of it comes through.
func TestUIExportTime(t *testing.T) {
	for _, debug := range []bool{false, true} {
		f := newFixture(t, func(c *Config) { c.DebugRequests = debug })
		var batch []AuditEvent
		for range 2500 {
			batch = append(batch, AuditEvent{Event: "login", Login: "ada@example.com"})
		}
		f.writeEvents(batch...)
		w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("GET", "/admin/audit.jsonl?user=ada@example.com", nil)
		r.Host = strings.TrimPrefix(testIssuer, "https://")
		r.Header.Set(testPeer, adm.String())
		withTestPeer(f.p.Handler()).ServeHTTP(w, r)
		if lines := strings.Count(w.Body.String(), "\n"); w.Code != 200 || lines != len(batch) || w.extended != 3 {
			t.Errorf("debug %t: status %d, %d lines, given more time %d times, want 3", debug, w.Code, lines, w.extended)
		}
	}
}

// TestUIFrames: a page of another site, read by an administrator, can send them
// here, but not load our pages behind their back, and not what costs much at all.
func TestUIFrames(t *testing.T) {
	f := newFixture(t)
	var paths []string
	for _, rt := range append(f.p.uiRoutes(), f.p.apiRoutes(f.p.requireAdmin)...) {
		if rt.methods["GET"] != nil {
			paths = append(paths, strings.NewReplacer("{$}", "", "{id}", "web").Replace(rt.path))
		}
	}
	for _, path := range append(paths, "/metrics", "/admin/policy?check=1") {
		costly := path == "/admin/policy?check=1" || path == "/admin/audit.jsonl" || path == pathPolicy+"/check"
		for _, site := range []string{"cross-site", "same-site"} {
			for dest, passes := range map[string]bool{"iframe": false, "frame": false, "embed": false, "object": false, "document": !costly, "": !costly} {
				header := []string{"Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate"}
				if dest != "" {
					header = append(header, "Sec-Fetch-Dest", dest)
				}
				if r := f.do(adm, "GET", path, "", "", header...); (r.status != 403) != passes {
					t.Errorf("%s, %s as %q: %d", path, site, dest, r.status)
				}
			}
		}
		for _, site := range []string{"same-origin", "none"} {
			if r := f.do(adm, "GET", path, "", "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); r.status == 403 {
				t.Errorf("%s, %s: %d", path, site, r.status)
			}
		}
	}
	asked := func() (n int) {
		f.tailnet.set(func(tn *fakeTailnet) { n = tn.asked })
		return n
	}
	before := asked()
	f.do(adm, "GET", "/admin/policy?check=1", "", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")
	f.do(adm, "GET", pathPolicy+"/check", "", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if n := asked() - before; n != 0 {
		t.Errorf("the tailnet was asked %d times for another site", n)
	}
}

// TestUIDone: what a page says has been done, a link from elsewhere cannot make
// it say.
func TestUIDone(t *testing.T) {
	f := newFixture(t)
	for name, tt := range map[string]struct {
		header []string
		want   bool
	}{
		"own page":           {[]string{"Sec-Fetch-Site", "same-origin"}, true},
		"own page, http":     {[]string{"Referer", testIssuer + "/admin/keys"}, true},
		"other site":         {[]string{"Sec-Fetch-Site", "cross-site", "Referer", testIssuer + "/admin/keys"}, false},
		"neighbour":          {[]string{"Sec-Fetch-Site", "same-site"}, false},
		"typed, or a mail":   {[]string{"Sec-Fetch-Site", "none"}, false},
		"other site, http":   {[]string{"Referer", "https://evil.example/" + testIssuer}, false},
		"other port, http":   {[]string{"Referer", testIssuer + ":444/"}, false},
		"nothing, http":      {nil, false},
		"no address, http":   {[]string{"Referer", "about:blank"}, false},
		"broken, http":       {[]string{"Referer", "https://%zz/"}, false},
		"other scheme, http": {[]string{"Referer", strings.Replace(testIssuer, "https", "ftp", 1) + "/"}, false},
	} {
		body := f.follow(adm, "/admin/keys?done=retired", tt.header...).page(200)
		if got := strings.Contains(body, "The key is gone"); got != tt.want {
			t.Errorf("%s: says so %t, want %t", name, got, tt.want)
		}
	}
	if r := f.submit(adm, "/admin/keys", url.Values{"action": {"rotate"}}); r.header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("over http the next page would not know where it comes from: Referrer-Policy %q", r.header.Get("Referrer-Policy"))
	}
}

// TestUIKeys: rotation and retirement.
func TestUIKeys(t *testing.T) {
	f := newFixture(t)
	says(t, f.seeOther(adm, f.submit(adm, "/admin/keys", url.Values{"action": {"rotate"}})), "The next keys are published", "RS256", "next")
	token := f.login(ada).AccessToken
	kid := headerOf(t, token)["kid"].(string)
	if r := f.userinfo(token); r.status != 200 {
		t.Fatalf("userinfo %d", r.status)
	}
	body := f.seeOther(adm, f.submit(adm, "/admin/keys", url.Values{"action": {"retire"}, "kid": {kid}}))
	says(t, body, "The key is gone")
	if strings.Contains(body, kid) || f.userinfo(token).status != 401 {
		t.Error("the key still counts")
	}
	f.submit(adm, "/admin/keys", url.Values{"action": {"retire"}, "kid": {kid}}).page(404)
}

// TestUIPolicy: the rules of who asks, questions, and grants to paste.
func TestUIPolicy(t *testing.T) {
	f := newFixture(t)
	f.tailnet.edit(adm, func(res *apitype.WhoIsResponse) {
		setRules(res, `{"allow_admin_ui":true}`, `{"users":7}`, `{"resourcez":["x"]}`)
	})
	says(t, f.look(adm, "/admin/policy").page(200), `{ "allow_admin_ui": true }`, `Rule 1 grants nothing: key "users" must be a list of texts`, "resourcez")

	built := func(query string) string {
		body := f.look(adm, "/admin/policy?build=1&"+query).page(200)
		m := regexp.MustCompile(`(?s)<pre tabindex="0" data-copy="the grant">(.*?)</pre>`).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no grant for %s: %s", query, readable(body))
		}
		return html.UnescapeString(m[1])
	}
	for query, want := range map[string]string{
		"src=alice@example.com&dst=tag:idp&allow_admin_ui=true":                                                    `{"allow_admin_ui": true}`,
		"src=group:eng,+group:ops&dst=tag:idp&resources=https://a.example/*+https://b.example/":                    `{"users": ["*"], "resources": ["https://a.example/*", "https://b.example/"]}`,
		"src=tag:ci&dst=tag:idp&machine=true&scopes=read&introspect=https://a.example/":                            `{"scopes": ["read"], "introspect": ["https://a.example/"], "machine": true}`,
		"src=a@b.example&dst=tag:idp&extraClaims=" + url.QueryEscape(`{"a<b": ["&"]}`) + "&includeInUserInfo=true": `{"extraClaims": {"a<b": ["&"]}, "includeInUserInfo": true}`,
	} {
		var grant struct {
			Src, Dst, IP []string
			App          map[string][]json.RawMessage
		}
		text := built(query)
		if err := json.Unmarshal([]byte(text), &grant); err != nil {
			t.Fatalf("%s: %v in %s", query, err, text)
		}
		rule := grant.App["tailscale.com/cap/tsidp"][0]
		if _, _, err := parseRule(rule); err != nil {
			t.Errorf("%s: our own rule: %v", query, err)
		}
		var got, wanted any
		if json.Unmarshal(rule, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || !gocmp.Equal(got, wanted) || len(grant.Src) == 0 || grant.Dst[0] != "tag:idp" {
			t.Errorf("%s: %s, want the rule %s", query, text, want)
		}
	}
	for query, want := range map[string]string{
		"dst=tag:idp&machine=true": "say who", "src=x&machine=true": "say what the destination is", "src=x&dst=y": "say what the grant allows",
		"src=x&dst=y&extraClaims=[1]": "want a JSON object",
	} {
		says(t, f.look(adm, "/admin/policy?build=1&"+query).page(400), want)
	}
	// A question about nobody is a mistake of the form, not of the page.
	says(t, f.look(adm, "/admin/policy?ask=1").page(400), "May they?")
}
