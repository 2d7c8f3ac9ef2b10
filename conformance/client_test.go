// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// The client side: a person's browser, and an application with go-oidc and
// x/oauth2.

const (
	appOrigin   = "https://rp.example"
	appRedirect = appOrigin + "/cb"
)

// An answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   []byte
	at     *url.URL // of the request
}

// location is where a redirect goes.
func (a *answer) location() string { return a.header.Get("Location") }

func (a *answer) json() map[string]any {
	var m map[string]any
	if json.Unmarshal(a.body, &m) != nil {
		return nil
	}
	return m
}

func (a *answer) isPage() bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && a.location() == ""
}

// An exchange sends a request and reads the answer.
type exchange func(req *http.Request, body []byte) *answer

// A wire is the connection of a run to the provider, perhaps a faulty one. It
// remembers the last answer of each path.
type wire struct {
	send exchange
	last map[string]*answer
}

func newWire(base http.RoundTripper, f *fault) *wire {
	w := &wire{last: make(map[string]*answer)}
	w.send = func(req *http.Request, body []byte) *answer {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		res, err := base.RoundTrip(req)
		if err != nil {
			return &answer{status: http.StatusBadGateway, header: http.Header{}, body: []byte(err.Error())}
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return &answer{status: http.StatusBadGateway, header: http.Header{}, body: []byte(err.Error())}
		}
		return &answer{status: res.StatusCode, header: res.Header, body: b}
	}
	if f != nil {
		w.send = f.apply(w.send)
	}
	return w
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
	}
	a := w.send(req.Clone(req.Context()), body)
	a.at = req.URL
	w.last[req.URL.Path] = a
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Header: a.header, Request: req, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
	}, nil
}

// A browser has cookies and sits on a device of the tailnet.
type browser struct {
	run    *run
	peer   string
	client *http.Client
}

func (r *run) newBrowser(peer string) *browser {
	jar, err := cookiejar.New(nil)
	r.noError(err, "making a cookie jar")
	return &browser{r, peer, &http.Client{Jar: jar, Transport: r.wire, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// open follows a link of a page of origin, "" for the address bar.
func (b *browser) open(link, origin string) *answer { return b.navigate("GET", link, origin, nil) }

// post sends a form of a page of origin.
func (b *browser) post(action, origin string, form url.Values) *answer {
	return b.navigate("POST", action, origin, form)
}

// navigate follows redirects as long as they stay at the provider.
func (b *browser) navigate(method, to, origin string, form url.Values) *answer {
	for range 5 {
		req, err := http.NewRequest(method, to, strings.NewReader(form.Encode()))
		b.run.noError(err, "navigating")
		req.Header.Set(peerHeader, b.peer)
		req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Site", site(req.URL, origin))
		if method == "POST" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", origin)
		}
		a := b.run.do(b.client, req)
		if next := a.location(); next == "" || a.status/100 != 3 || !b.run.w.owns(next) {
			return a
		}
		// 303, and by long custom 302, turn a POST into a GET.
		method, to, form = "GET", a.location(), nil
	}
	b.run.fatalf("redirected in circles")
	return nil
}

func site(to *url.URL, origin string) string {
	switch origin {
	case "":
		return "none"
	case to.Scheme + "://" + to.Host:
		return "same-origin"
	}
	return "cross-site"
}

func (w *world) owns(link string) bool { return strings.HasPrefix(link, w.origin()+"/") }

func (w *world) origin() string {
	u, err := url.Parse(w.issuer)
	if err != nil {
		panic(err)
	}
	return u.Scheme + "://" + u.Host
}

// An htmlForm is the first form of a page.
type htmlForm struct {
	method, action, enctype string
	fields                  url.Values
	buttons                 []string // values of those named answer
}

var (
	formTag  = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	fieldTag = regexp.MustCompile(`<(input|button)\b([^>]*)>`)
)

func attribute(tag, name string) string {
	m := regexp.MustCompile(`\b` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// form reads the form of a page; nil if there is none.
func (a *answer) form() *htmlForm {
	m := formTag.FindStringSubmatch(string(a.body))
	if m == nil || !a.isPage() {
		return nil
	}
	f := &htmlForm{strings.ToLower(attribute(m[1], "method")), attribute(m[1], "action"), attribute(m[1], "enctype"), url.Values{}, nil}
	for _, field := range fieldTag.FindAllStringSubmatch(m[2], -1) {
		switch name := attribute(field[2], "name"); {
		case name == "":
		case field[1] == "button":
			f.buttons = append(f.buttons, attribute(field[2], "value"))
		default:
			f.fields.Add(name, attribute(field[2], "value"))
		}
	}
	return f
}

// press presses a button of a page.
func (b *browser) press(a *answer, button string) *answer {
	f := a.form()
	if f == nil || !slices.Contains(f.buttons, button) {
		b.run.fatalf("page without a button %q: %d %s", button, a.status, text(a.body))
	}
	action, err := a.at.Parse(f.action)
	b.run.noError(err, "reading a form")
	f.fields.Set("answer", button)
	return b.post(action.String(), b.run.w.origin(), f.fields)
}

// text is what of a page is worth reading.
func text(page []byte) string {
	s := regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>|<[^>]*>`).ReplaceAllString(string(page), " ")
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 300)]
}

// A run is one module, or one test, at work: a browser of alice, and the
// application "app" with its own connections.
type run struct {
	checker
	w       *world
	mode    string // response_mode
	wire    *wire
	browser *browser
	back    *http.Client // the application's
	ctx     context.Context
	op      *oidc.Provider
	app     oauth2.Config
	pkce    bool
}

func newRun(w *world, mode string, f *fault) *run {
	w.clock.advance(time.Second) // what one run revokes is not issued in the next
	r := &run{w: w, mode: mode, wire: newWire(w.base, f)}
	r.browser = r.newBrowser(alice)
	r.back = &http.Client{Transport: r.wire, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r.ctx = oidc.ClientContext(context.Background(), r.back)
	return r
}

// discover sets the application up, as its developer would: register it,
// and give its library the issuer.
func (r *run) discover() {
	if r.op != nil {
		return
	}
	var err error
	r.op, err = oidc.NewProvider(r.ctx, r.w.issuer)
	r.noError(err, "discovery by go-oidc")
	r.app = r.register(map[string]any{"redirect_uris": []string{appRedirect}, "lean_id_token": true})
}

// register makes a client as an administrator does.
func (r *run) register(metadata map[string]any) oauth2.Config {
	a := r.api("POST", "/api/v1/clients", metadata)
	m := a.json()
	id, _ := m["client_id"].(string)
	if a.status != http.StatusCreated || id == "" {
		r.fatalf("registering: %d %s", a.status, a.body)
	}
	secret, _ := m["client_secret"].(string)
	c := oauth2.Config{ClientID: id, ClientSecret: secret, RedirectURL: appRedirect, Scopes: []string{"openid"}}
	if r.op != nil {
		c.Endpoint = r.op.Endpoint()
	}
	c.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if secret == "" {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	if uris, _ := m["redirect_uris"].([]any); len(uris) > 0 {
		c.RedirectURL, _ = uris[0].(string)
	}
	return c
}

// api calls the administration, past any fault.
func (r *run) api(method, path string, v any) *answer {
	body, err := json.Marshal(v)
	r.noError(err, "calling the administration")
	req, err := http.NewRequest(method, r.w.issuer+path, nil)
	r.noError(err, "calling the administration")
	req.Header.Set(peerHeader, admin)
	req.Header.Set("Content-Type", "application/json")
	return newWire(r.w.base, nil).send(req, body)
}

// do sends a request.
func (r *run) do(c *http.Client, req *http.Request) *answer {
	res, err := c.Do(req)
	r.noError(err, "sending")
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	r.noError(err, "reading")
	return &answer{res.StatusCode, res.Header, b, req.URL}
}

// call sends a request of a program; header is names and values.
func (r *run) call(method, target, body string, header ...string) *answer {
	if strings.HasPrefix(target, "/") {
		target = r.w.origin() + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	r.noError(err, "calling "+target)
	for pair := range slices.Chunk(header, 2) {
		if pair[0] == "Host" {
			req.Host = pair[1]
			continue
		}
		req.Header.Add(pair[0], pair[1])
	}
	return r.do(r.back, req)
}

const formType = "application/x-www-form-urlencoded"

// postForm posts a form as a program.
func (r *run) postForm(target string, v url.Values, header ...string) *answer {
	return r.call("POST", target, v.Encode(), append([]string{"Content-Type", formType}, header...)...)
}

// basic is the Authorization header of c.
func basic(c oauth2.Config) []string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret))
	return []string{"Authorization", req.Header.Get("Authorization")}
}
