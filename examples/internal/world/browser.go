// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/html"
)

// A Browser is a person at a browser who agrees to whatever tsidp asks. It is
// safe for concurrent use.
type Browser struct {
	issuer   string
	client   *http.Client
	consents atomic.Int32
}

// NewBrowser returns the browser of alice.
func NewBrowser(issuer string) *Browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &Browser{issuer: issuer, client: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Consents is how many pages have been agreed to.
func (b *Browser) Consents() int { return int(b.consents.Load()) }

// Open opens an address of the tsidp, and returns where the browser is sent
// in the end: an address of the client, which is not opened.
func (b *Browser) Open(ctx context.Context, address string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return nil, err
	}
	for range 5 {
		at, form, err := b.send(req)
		if err != nil {
			return nil, err
		}
		if form == nil {
			if at.Scheme+"://"+at.Host != b.issuer {
				return at, nil
			}
			if req, err = http.NewRequestWithContext(ctx, "GET", at.String(), nil); err != nil {
				return nil, err
			}
			continue
		}
		b.consents.Add(1)
		if req, err = http.NewRequestWithContext(ctx, "POST", at.String(), strings.NewReader(form.Encode())); err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.issuer)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return nil, errors.New("too many pages")
}

// listenTimeout is how long a client may take until it listens at its redirect
// URI: some print the link first, since people are slow.
const listenTimeout = 20 * time.Second

// Follow opens an address and then that of the client.
func (b *Browser) Follow(ctx context.Context, address string) error {
	back, err := b.Open(ctx, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", back.String(), nil)
		if err != nil {
			return err
		}
		res, err := b.client.Do(req)
		if err == nil {
			return res.Body.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// send returns where a redirect leads, or the form of a page and where to
// send it.
func (b *Browser) send(req *http.Request) (*url.URL, url.Values, error) {
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	res, err := b.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode/100 == 3 {
		at, err := res.Location()
		return at, nil, err
	}
	page, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, nil, err
	}
	action, fields, err := readForm(string(page))
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: %s", res.Status, text(string(page)))
	}
	at, err := req.URL.Parse(action)
	return at, fields, err
}

// readForm returns the form of a page, as it is after a click on its first
// button.
func readForm(page string) (action string, fields url.Values, err error) {
	fields = url.Values{}
	found, pressed := false, false
	for z := html.NewTokenizer(strings.NewReader(page)); z.Next() != html.ErrorToken; {
		token := z.Token()
		if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
			continue
		}
		attr := map[string]string{}
		for _, a := range token.Attr {
			attr[a.Key] = a.Val
		}
		switch {
		case token.Data == "form":
			found, action = true, attr["action"]
		case token.Data == "input" && attr["type"] == "hidden":
			fields.Add(attr["name"], attr["value"])
		case token.Data == "button" && !pressed:
			pressed = true
			fields.Add(attr["name"], attr["value"])
		}
	}
	if !found || !pressed {
		return "", nil, errors.New("the page asks for nothing")
	}
	return action, fields, nil
}

// text is what a person reads of a page.
func text(page string) string {
	var b strings.Builder
	for z := html.NewTokenizer(strings.NewReader(page)); z.Next() != html.ErrorToken; {
		if t := z.Token(); t.Type == html.TextToken {
			b.WriteString(strings.Join(strings.Fields(t.Data), " ") + " ")
		}
	}
	return b.String()
}
