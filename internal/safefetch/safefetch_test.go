// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{AllowHosts: []string{""}}, "empty"},
		{Config{AllowHosts: []string{"https://a.example"}}, "port"},
		{Config{AllowHosts: []string{"*.example"}}, "character"},
		{Config{AllowHosts: []string{"a.example."}}, "dot"},
		{Config{AllowHosts: []string{"a.example/x"}}, "character"},
		{Config{AllowHosts: []string{"u@a.example"}}, "user name"},
		{Config{AllowHosts: []string{"10.1"}}, "disguise"},
		{Config{AllowHosts: []string{"::1"}}, "empty"},
		{Config{AllowHosts: []string{"a.example", "b.example:x"}}, `"b.example:x"`},
		{Config{OwnNames: []string{"a b"}}, "own names"},
		{Config{OwnNames: []string{"a.example"}, AllowHosts: []string{"A.example:8443"}}, "a.example:8443 is this server itself"},
		{Config{OwnNames: []string{"[::1]:443"}, AllowHosts: []string{"[0::1]"}}, "[::1] is this server itself"},
		{Config{Timeout: -1}, "negative"},
		{Config{MinAge: -1}, "negative"},
		{Config{MinAge: 25 * time.Hour}, "least age"},
		{Config{MaxAge: time.Second}, "least age"},
		{Config{MaxDocuments: -1}, "negative"},
	} {
		if _, err := New(tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%+v): error %v, want %q in it", tt.config, err, tt.want)
		}
	}
	mustNew(t, Config{OwnNames: []string{"a.example:443"}, AllowHosts: []string{"a.example:8443"}})
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		err  error
		kind error
		text string
	}{
		{refused("%d reasons", 2), ErrRefused, "refused by policy: 2 reasons"},
		{busy(time.Second, "wait"), ErrBusy, "too many fetches: wait"},
		{unavailable(cause, "gone"), ErrUnavailable, "unavailable: gone (cause)"},
		{unusable(nil, "odd"), ErrUnusable, "unusable answer: odd"},
	} {
		e := failure(t, fmt.Errorf("fetching: %w", tt.err), tt.kind)
		for _, kind := range []error{ErrRefused, ErrBusy, ErrUnavailable, ErrUnusable} {
			if errors.Is(tt.err, kind) != (kind == tt.kind) {
				t.Errorf("%v is %v", tt.err, kind)
			}
		}
		if e.Error() != tt.text || errors.Is(e, cause) != (e.Cause != nil) {
			t.Errorf("error %q with cause %v, want %q", e, e.Cause, tt.text)
		}
	}
}

func TestFreshness(t *testing.T) {
	for _, tt := range []struct {
		header []string
		want   time.Duration
	}{
		{nil, 0},
		{[]string{"Cache-Control", "max-age=60"}, time.Minute},
		{[]string{"Cache-Control", "Public, MAX-AGE=60 , immutable"}, time.Minute},
		{[]string{"Cache-Control", `max-age="60"`}, time.Minute},
		{[]string{"Cache-Control", "public", "Cache-Control", "max-age=60"}, time.Minute},
		{[]string{"Cache-Control", "max-age=60", "Age", "20"}, 40 * time.Second},
		{[]string{"Cache-Control", "max-age=60", "Age", "61"}, 0},
		{[]string{"Cache-Control", "max-age=60", "Age", "-5"}, time.Minute},
		{[]string{"Cache-Control", "max-age=60, max-age=600"}, time.Minute},
		{[]string{"Cache-Control", "max-age=0"}, 0},
		{[]string{"Cache-Control", "max-age"}, 0},
		{[]string{"Cache-Control", "max-age=-1"}, 0},
		{[]string{"Cache-Control", "max-age=1.5"}, 0},
		{[]string{"Cache-Control", "max-age=4294967296"}, maxSeconds * time.Second},
		{[]string{"Cache-Control", "max-age=99999999999999999999999"}, maxSeconds * time.Second},
		{[]string{"Cache-Control", "max-age=60, no-store"}, 0},
		{[]string{"Cache-Control", "no-cache, max-age=60"}, 0},
		{[]string{"Cache-Control", `no-cache="x", max-age=60`}, 0},
		{[]string{"Cache-Control", "s-maxage=60"}, 0},
		{[]string{"Age", "60"}, 0},
		{[]string{"Expires", "Thu, 01 Jan 2099 00:00:00 GMT"}, 0},
	} {
		header := make(http.Header)
		for i := 0; i < len(tt.header); i += 2 {
			header.Add(tt.header[i], tt.header[i+1])
		}
		if got := freshness(header); got != tt.want {
			t.Errorf("freshness(%q) = %v, want %v", tt.header, got, tt.want)
		}
	}
}

func FuzzFreshness(f *testing.F) {
	f.Add("public, max-age=60", "5")
	f.Add(`max-age="99999999999999999999", no-store`, "x")
	f.Fuzz(func(t *testing.T, control, age string) {
		got := freshness(http.Header{"Cache-Control": {control}, "Age": {age}})
		if got < 0 || got > maxSeconds*time.Second || got%time.Second != 0 {
			t.Errorf("freshness(%q, %q) = %v", control, age, got)
		}
	})
}

// TestCache: a document is kept as long as its host says, within our bounds.
func TestCache(t *testing.T) {
	for _, tt := range []struct {
		control string
		want    time.Duration
	}{
		{"", time.Minute},
		{"no-store", time.Minute},
		{"max-age=0", time.Minute},
		{"max-age=3600", time.Hour},
		{"max-age=99999999", 24 * time.Hour},
	} {
		t.Run(tt.control, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				var n int
				w.document(counted(&n, answer(`{}`, "Cache-Control", tt.control)))
				c := w.client()
				get := func() {
					t.Helper()
					d, err := c.Get(t.Context(), docURL, Want{})
					if err != nil || string(d.Body) != `{}` {
						t.Fatalf("body %q, error %v", d.Body, err)
					}
					clear(d.Body) // ours: the next one gets another
				}
				get()
				pass(tt.want - 1)
				get()
				if n != 1 {
					t.Errorf("%d requests before %v, want 1", n, tt.want)
				}
				pass(1)
				get()
				if n != 2 {
					t.Errorf("%d requests after %v, want 2", n, tt.want)
				}
			})
		})
	}
}

// TestCacheTellsApart: what a document was fetched for is part of it.
func TestCacheTellsApart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var n int
		w.document(counted(&n, answer(`{"a":"long one"}`)))
		c := w.client()
		for _, want := range []Want{{}, {MaxBytes: 4}, {MaxBytes: 64}, {ContentTypes: []string{"text/plain"}}} {
			c.Get(t.Context(), docURL, want)
			pass(fetchInterval)
		}
		c.Get(t.Context(), docURL+"?", Want{})
		if n != 5 {
			t.Errorf("%d requests, want 5", n)
		}
		if _, err := c.Get(t.Context(), docURL, Want{MaxBytes: 5120, ContentTypes: []string{"application/json"}}); err != nil || n != 5 {
			t.Errorf("%d requests, error %v: the defaults are the same document", n, err)
		}
	})
}

// TestFetchedAfter: a caller who needs a newer one gets it, and all others
// with him.
func TestFetchedAfter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var n int
		w.document(counted(&n, func(rw http.ResponseWriter, r *http.Request) {
			answer(fmt.Sprint(n), "Cache-Control", "max-age=600")(rw, r)
		}))
		c := w.client()
		get := func(after time.Time) Document {
			t.Helper()
			d, err := c.Get(t.Context(), docURL, Want{FetchedAfter: after})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		first := get(time.Time{})
		pass(time.Minute)
		if d := get(first.FetchedAt.Add(-1)); string(d.Body) != "1" {
			t.Errorf("body %s, want the kept one", d.Body)
		}
		second := get(first.FetchedAt)
		if string(second.Body) != "2" {
			t.Errorf("body %s, want a new one", second.Body)
		}
		if d := get(time.Time{}); string(d.Body) != "2" {
			t.Errorf("body %s, want the new one", d.Body)
		}
		// A failure leaves what was kept.
		_, err := c.Get(t.Context(), docURL, Want{FetchedAfter: second.FetchedAt})
		failure(t, err, ErrBusy)
		if d := get(time.Time{}); string(d.Body) != "2" {
			t.Errorf("body %s, want the kept one", d.Body)
		}
	})
}

// TestValid: nobody gets a document that he holds invalid, whoever fetched it.
func TestValid(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var n int
		w.document(counted(&n, answer(`{}`)))
		c := w.client()
		if _, err := c.Get(t.Context(), docURL, Want{Valid: func([]byte) error { return nil }}); err != nil {
			t.Fatal(err)
		}
		_, err := c.Get(t.Context(), docURL, Want{Valid: func([]byte) error { return errors.New("no") }})
		failure(t, err, ErrUnusable)
		if _, err := c.Get(t.Context(), docURL, Want{}); err != nil || n != 1 {
			t.Errorf("error %v, %d requests: want the kept one", err, n)
		}
	})
}

func TestClockSetBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var n int
		w.document(counted(&n, answer(`{}`)))
		var offset time.Duration
		w.config.Now = func() time.Time { return time.Now().Add(offset) }
		c := w.client()
		for range 2 {
			if _, err := c.Get(t.Context(), docURL, Want{}); err != nil {
				t.Fatal(err)
			}
			offset -= time.Hour
		}
		if n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

func TestCacheBounds(t *testing.T) {
	start := time.Unix(1e9, 0)
	c := cache{max: 3}
	doc := func(age time.Duration) Document {
		return Document{FetchedAt: start, Expires: start.Add(age)}
	}
	has := func(now time.Time, want string) {
		t.Helper()
		var got string
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			if e, ok := c.entries[key]; ok && now.Before(e.doc.Expires) {
				got += key
			}
		}
		if got != want || len(c.entries) > c.max {
			t.Errorf("%d kept, of these valid %s, want %s", len(c.entries), got, want)
		}
	}
	c.put("a", doc(time.Hour), start)
	c.put("b", doc(time.Minute), start)
	c.put("c", doc(time.Hour), start)
	has(start, "abc")
	c.get("a", start, time.Time{})
	c.get("b", start, time.Time{})
	c.put("b", doc(time.Minute), start) // in place of itself
	has(start, "abc")
	c.put("d", doc(time.Hour), start) // in place of c, not used for longest
	has(start, "abd")
	later := start.Add(2 * time.Minute)
	c.put("e", doc(time.Hour), later) // in place of b, expired although used last
	has(later, "ade")
}

// TestSharedFlight: all who want the same at the same time get it from one
// fetch, and who leaves does not take it along.
func TestSharedFlight(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var n int
		release := make(chan struct{})
		w.document(counted(&n, func(rw http.ResponseWriter, r *http.Request) {
			<-release
			answer(`{}`)(rw, r)
		}))
		c := w.client()
		var callers sync.WaitGroup
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the first caller left")
		callers.Go(func() {
			_, err := c.Get(ctx, docURL, Want{})
			if failure(t, err, ErrUnavailable); !errors.Is(err, gone) {
				t.Errorf("error %v, want the caller's", err)
			}
		})
		synctest.Wait()
		for range 100 {
			callers.Go(func() {
				if d, err := c.Get(t.Context(), docURL, Want{}); err != nil || string(d.Body) != `{}` {
					t.Errorf("body %q, error %v", d.Body, err)
				}
			})
		}
		synctest.Wait()
		cancel(gone)
		synctest.Wait()
		close(release)
		callers.Wait()
		if looked, dialed := w.record(); n != 1 || len(looked) != 1 || len(dialed) != 1 {
			t.Errorf("%d requests, looked up %v, dialled %v: want one each", n, looked, dialed)
		}
	})
}

// TestAllLeave: a fetch that nobody waits for any more ends all the same, and
// its document is kept.
func TestAllLeave(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var n int
		release := make(chan struct{})
		w.document(counted(&n, func(rw http.ResponseWriter, r *http.Request) {
			<-release
			answer(`{}`)(rw, r)
		}))
		c := w.client()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, docURL, Want{})
		if failure(t, err, ErrUnavailable); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		close(release)
		synctest.Wait()
		if _, err := c.Get(t.Context(), docURL, Want{}); err != nil || n != 1 {
			t.Errorf("error %v, %d requests", err, n)
		}
	})
}

// TestLateJoin: who looked into the cache before a fetch ended, and asks for a
// flight after that, finds its document.
func TestLateJoin(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.client()
		target, err := c.target(docURL)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		c.cache.put("key", Document{Body: []byte("kept"), FetchedAt: now, Expires: now.Add(time.Minute)}, now)
		if d, err := c.join(t.Context(), "key", target, Want{}); err != nil || string(d.Body) != "kept" {
			t.Errorf("body %q, error %v", d.Body, err)
		}
	})
}

// TestPace: one fetch per host and second, whatever becomes of it.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.document(answer(`{}`))
		w.name("other.example.", "10.0.0.1")
		c := w.client()
		busyFor := func(url string, want time.Duration) {
			t.Helper()
			_, err := c.Get(t.Context(), url, Want{})
			if e := failure(t, err, ErrBusy); e.RetryAfter != want {
				t.Errorf("retry after %v, want %v", e.RetryAfter, want)
			}
		}
		if _, err := c.Get(t.Context(), docURL, Want{}); err != nil {
			t.Fatal(err)
		}
		busyFor("https://cl.example/other", time.Second)
		pass(400 * time.Millisecond)
		busyFor("https://CL.example:443/another", 600*time.Millisecond)
		_, err := c.Get(t.Context(), "https://other.example/", Want{})
		failure(t, err, ErrRefused) // another host
		busyFor("https://other.example/", time.Second)
		pass(600 * time.Millisecond)
		if _, err := c.Get(t.Context(), "https://cl.example/other", Want{}); err != nil {
			t.Fatal(err)
		}
		if looked, _ := w.record(); len(looked) != 3 {
			t.Errorf("looked up %v, want three", looked)
		}
	})
}

func TestPaceBounds(t *testing.T) {
	var p pace
	now := time.Unix(1e9, 0)
	for i := range maxHosts {
		if wait := p.start(fmt.Sprint(i), now); wait != 0 {
			t.Fatalf("host %d has to wait %v", i, wait)
		}
	}
	if wait := p.start("more", now.Add(fetchInterval-1)); wait != fetchInterval {
		t.Errorf("one more waits %v, want %v", wait, fetchInterval)
	}
	if wait := p.start("more", now.Add(fetchInterval)); wait != 0 || len(p.last) != 1 {
		t.Errorf("one more waits %v, %d hosts are remembered", wait, len(p.last))
	}
	// A clock that was set back holds nobody up.
	if wait := p.start("more", now); wait != 0 {
		t.Errorf("with the clock set back it waits %v", wait)
	}
}

// TestSlots: there is an end to how many fetches run at a time.
func TestSlots(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		c := w.client()
		var callers sync.WaitGroup
		for i := range maxFetches {
			host := fmt.Sprintf("h%d.example", i)
			w.name(host+".", public4) // where nobody answers
			callers.Go(func() {
				_, err := c.Get(t.Context(), "https://"+host+"/", Want{})
				failure(t, err, ErrUnavailable)
			})
		}
		synctest.Wait()
		w.name("more.example.", other4)
		w.serve(other4+":443", answer(`{}`), "more.example")
		_, err := c.Get(t.Context(), "https://more.example/", Want{})
		if e := failure(t, err, ErrBusy); e.RetryAfter != fetchInterval {
			t.Errorf("retry after %v", e.RetryAfter)
		}
		callers.Wait()
		if _, err := c.Get(t.Context(), "https://more.example/", Want{}); err != nil {
			t.Error(err)
		}
	})
}

func TestLog(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var b bytes.Buffer
		w.config.Logger = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		w.document(answer(`{}`))
		w.name("private.example.", "10.0.0.1")
		c := w.client()
		c.Get(t.Context(), docURL, Want{})
		c.Get(t.Context(), docURL, Want{}) // kept: no line
		c.Get(t.Context(), docURL+"?x", Want{})
		c.Get(t.Context(), "https://private.example/", Want{})
		c.Get(t.Context(), "https://127.0.0.1/", Want{}) // the caller's to tell
		const want = `level=DEBUG msg=fetched url=https://cl.example/c.json
level=DEBUG msg="not fetched" url=https://cl.example/c.json?x error="too many fetches: something has just been fetched from this host"
level=INFO msg="not fetched" url=https://private.example/ error="refused by policy: its host has an address that is not on the public internet; an administrator can allow it with -client-metadata-allow private.example (10.0.0.1 is private (RFC 1918))"
`
		if got := b.String(); got != want {
			t.Errorf("log\n%swant\n%s", got, want)
		}
	})
}

func TestGetMessage(t *testing.T) {
	_, err := mustNew(t, Config{}).Get(t.Context(), "gopher://x\n"+strings.Repeat("y", 300), Want{})
	want := `fetching "gopher://x\n` + strings.Repeat("y", 189) + `": refused by policy: it does not begin with https://`
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
}
