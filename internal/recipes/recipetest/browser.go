// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipetest

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// A Browser has cookies, and sits on the device of a person.
type Browser struct {
	world  *World
	person Person
	client *http.Client
}

// NewBrowser opens a browser.
func (w *World) NewBrowser(p Person) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it has no options that could be wrong
	}
	return &Browser{w, p, &http.Client{Jar: jar, Transport: w.Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// A Page is where a browser has ended up.
type Page struct {
	// Location is the address outside of the provider that it was sent to, as
	// the provider wrote it. It was not asked for.
	Location string
	Status   int
	Text     string

	at   string
	form string
}

// Open opens a link of a page of an application.
func (b *Browser) Open(link string) (*Page, error) { return b.navigate("GET", link, "cross-site", nil) }

// Press presses a button of the page's form, after filling in fields.
func (b *Browser) Press(p *Page, name, value string) (*Page, error) {
	tag := regexp.MustCompile(`<form\b([^>]*)>`).FindStringSubmatch(p.form)
	if tag == nil || !strings.Contains(p.form, fmt.Sprintf(`name="%s" value="%s"`, name, value)) {
		return nil, fmt.Errorf("there is no button %s: %d %s", value, p.Status, p.Text)
	}
	form := url.Values{name: {value}}
	for _, field := range regexp.MustCompile(`<input\b([^>]*)>`).FindAllStringSubmatch(p.form, -1) {
		form.Add(attribute(field[1], "name"), attribute(field[1], "value"))
	}
	at, err := url.Parse(p.at)
	if err != nil {
		return nil, err
	}
	action, err := at.Parse(attribute(tag[1], "action"))
	if err != nil {
		return nil, err
	}
	return b.navigate("POST", action.String(), "same-origin", form)
}

func attribute(tag, name string) string {
	m := regexp.MustCompile(`\b` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// navigate follows redirects as long as they stay at the provider.
func (b *Browser) navigate(method, to, site string, form url.Values) (*Page, error) {
	for range 5 {
		req, err := http.NewRequest(method, to, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set(peerHeader, b.person.address())
		req.Header.Set("Accept", "text/html,*/*;q=0.8")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Site", site)
		if method == "POST" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", b.world.Issuer)
		}
		res, err := b.client.Do(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return nil, err
		}
		location := res.Header.Get("Location")
		if location == "" || res.StatusCode/100 != 3 {
			return newPage(res.StatusCode, to, string(body)), nil
		}
		if !strings.HasPrefix(location, b.world.Issuer+"/") {
			return &Page{Location: location, Status: res.StatusCode}, nil
		}
		method, to, form = "GET", location, nil
	}
	return nil, fmt.Errorf("redirected in circles at %s", to)
}

func newPage(status int, at, body string) *Page {
	text := regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>|<[^>]*>`).ReplaceAllString(body, " ")
	text = strings.Join(strings.Fields(html.UnescapeString(text)), " ")
	return &Page{Status: status, Text: text[:min(len(text), 500)], at: at, form: regexp.MustCompile(`(?s)<form\b.*?</form>`).FindString(body)}
}

// Device returns how programs on a person's device connect.
func (w *World) Device(p Person) *http.Client {
	return &http.Client{Transport: deviceTransport{w, p}}
}

type deviceTransport struct {
	world  *World
	person Person
}

// RoundTrip implements [http.RoundTripper].
func (d deviceTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(peerHeader, d.person.address())
	return d.world.Transport.RoundTrip(r)
}
