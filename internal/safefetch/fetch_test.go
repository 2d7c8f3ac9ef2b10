// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	docURL  = "https://cl.example/c.json"
	docName = "cl.example."
)

// bubble runs a test in a world with a clock of its own. A goroutine that is
// left behind fails it.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

// document lets the handler answer for docURL.
func (w *world) document(handler http.HandlerFunc) {
	w.t.Helper()
	w.name(docName, public4)
	w.serve(public4+":443", handler, "cl.example")
}

func TestGet(t *testing.T) {
	// Were a proxy taken from the environment, it would be dialled.
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("ALL_PROXY", "http://proxy.example:3128")
	bubble(t, func(t *testing.T, w *world) {
		var got *http.Request
		w.document(func(rw http.ResponseWriter, r *http.Request) {
			got = r.Clone(t.Context())
			http.SetCookie(rw, &http.Cookie{Name: "a", Value: "b"})
			answer(`{"x":1}`, "Cache-Control", "public, max-age=600")(rw, r)
		})
		c := w.client()
		started := time.Now()
		d, err := c.Get(t.Context(), "https://CL.example:443/c.json?q=%2e", Want{ContentTypes: []string{"application/json", "application/*+json"}})
		if err != nil {
			t.Fatal(err)
		}
		want := Document{Body: []byte(`{"x":1}`), FetchedAt: started, Expires: started.Add(10 * time.Minute)}
		if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
		if got.Method != "GET" || got.Host != "cl.example" || got.RequestURI != "/c.json?q=%2e" || got.Proto != "HTTP/1.1" || got.TLS.ServerName != "cl.example" {
			t.Errorf("request %s %s %s for %s, SNI %s", got.Method, got.RequestURI, got.Proto, got.Host, got.TLS.ServerName)
		}
		header := http.Header{
			"Accept":          {"application/json, application/*;q=0.5"},
			"Accept-Encoding": {"identity"},
			"Connection":      {"close"},
			"User-Agent":      {"tsidp"},
		}
		if diff := cmp.Diff(header, got.Header); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		looked, dialed := w.record()
		if diff := cmp.Diff([][]string{{docName}, {public4 + ":443"}}, [][]string{looked, dialed}); diff != "" {
			t.Errorf("looked up and dialled (-want +got):\n%s", diff)
		}
		// Another second, another connection, and no cookie.
		pass(time.Second)
		if _, err := c.Get(t.Context(), docURL, Want{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("", got.Header.Get("Cookie")); diff != "" {
			t.Errorf("cookie (-want +got):\n%s", diff)
		}
		if _, dialed := w.record(); len(dialed) != 1 {
			t.Errorf("dialled %v the second time", dialed)
		}
	})
}

// TestPrivateAddresses: no address of a host may be other than public, and
// none is dialled before all are judged.
func TestPrivateAddresses(t *testing.T) {
	for _, tt := range []struct {
		addrs []string
		hint  bool // listing the host would help
	}{
		{[]string{"127.0.0.1"}, true},
		{[]string{"10.0.0.1"}, true},
		{[]string{"100.64.0.1"}, true},
		{[]string{"fd7a:115c:a1e0::1"}, true},
		{[]string{"::1"}, true},
		{[]string{"::ffff:127.0.0.1"}, true},
		{[]string{"64:ff9b::a00:1"}, true},
		{[]string{"169.254.169.254"}, false},
		{[]string{"0.0.0.0"}, false},
		{[]string{"::"}, false},
		{[]string{"2002:7f00:1::"}, false},
		{[]string{"fe80::1%eth0"}, false},
		{[]string{public4, "192.168.1.1"}, true},
		{[]string{public4, public6, other4, public4, public4, public4, "192.168.1.1"}, true},
		{[]string{"192.168.1.1", public4}, true},
	} {
		t.Run(fmt.Sprint(tt.addrs), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.name(docName, tt.addrs...)
				_, err := w.client().Get(t.Context(), docURL, Want{})
				e := failure(t, err, ErrRefused)
				if got := strings.Contains(e.Reason, "-client-metadata-allow cl.example"); got != tt.hint {
					t.Errorf("reason %q, want the flag in it: %t", e.Reason, tt.hint)
				}
				for _, a := range tt.addrs {
					if strings.Contains(e.Reason, a) {
						t.Errorf("the reason %q tells an address", e.Reason)
					}
				}
				if _, dialed := w.record(); len(dialed) != 0 {
					t.Errorf("dialled %v", dialed)
				}
			})
		})
	}
}

// TestRebinding: between judgement and connection nobody is asked again.
func TestRebinding(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.document(answer(`{}`))
		w.name(docName, "127.0.0.1") // from the second look-up on
		w.serve("127.0.0.1:443", answer(`{"secret":1}`), "cl.example")
		c := w.client()
		if _, err := c.Get(t.Context(), docURL, Want{}); err != nil {
			t.Fatal(err)
		}
		looked, dialed := w.record()
		if len(looked) != 1 || !slices.Equal(dialed, []string{public4 + ":443"}) {
			t.Errorf("looked up %v and dialled %v", looked, dialed)
		}
		pass(time.Minute) // the document expires
		_, err := c.Get(t.Context(), docURL, Want{})
		failure(t, err, ErrRefused)
		if _, dialed := w.record(); len(dialed) != 0 {
			t.Errorf("dialled %v", dialed)
		}
	})
}

func gzipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(bytes.Repeat([]byte(" "), n))
	z.Close()
	return b.Bytes()
}

func TestAnswers(t *testing.T) {
	status := func(code int, header ...string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			for i := 0; i < len(header); i += 2 {
				rw.Header().Add(header[i], header[i+1])
			}
			rw.WriteHeader(code)
			if code != 304 {
				io.WriteString(rw, `{}`)
			}
		}
	}
	typed := func(types ...string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			rw.Header()["Content-Type"] = types
			io.WriteString(rw, `{}`)
		}
	}
	chunks := func(n int) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			for range n {
				io.WriteString(rw, " ")
				rw.(http.Flusher).Flush()
			}
		}
	}
	bomb := gzipped(10 << 20)
	json := []string{"application/json", "application/*+json"}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    Want
		kind    error // nil: fine
		reason  string
	}{
		{"plain", answer(`{}`), Want{}, nil, ""},
		{"empty", answer(``), Want{}, nil, ""},
		{"charset", typed("application/json;charset=utf-8"), Want{}, nil, ""},
		{"charset, blank, case", typed("Application/JSON; Charset=UTF-8"), Want{}, nil, ""},
		{"+json", typed("application/cimd+json; charset=utf-8"), Want{ContentTypes: json}, nil, ""},
		{"+json, not wanted", typed("application/cimd+json"), Want{}, ErrUnusable, "type"},
		{"+json alone", typed("application/+json"), Want{ContentTypes: json}, ErrUnusable, "type"},
		{"+json elsewhere", typed("text/cimd+json"), Want{ContentTypes: json}, ErrUnusable, "application/json or application/*+json"},
		{"key set", typed("application/jwk-set+json"), Want{ContentTypes: []string{"application/jwk-set+json"}}, nil, ""},
		{"html", typed("text/html"), Want{}, ErrUnusable, "type"},
		{"text", typed("text/plain"), Want{}, ErrUnusable, "type"},
		{"no type", typed(), Want{}, ErrUnusable, "type"},
		{"empty type", typed(""), Want{}, ErrUnusable, "type"},
		{"two types", typed("application/json", "text/html"), Want{}, ErrUnusable, "type"},
		{"bad type", typed("application/json; charset"), Want{}, ErrUnusable, "type"},

		{"201", status(201), Want{}, ErrUnusable, "201"},
		{"203", status(203), Want{}, ErrUnusable, "203"},
		{"206", status(206, "Content-Range", "bytes 0-1/10"), Want{}, ErrUnusable, "206"},
		{"301", status(301, "Location", docURL+"/"), Want{}, ErrUnusable, "redirect"},
		{"302", status(302, "Location", "http://169.254.169.254/"), Want{}, ErrUnusable, "redirect"},
		{"303", status(303), Want{}, ErrUnusable, "redirect"},
		{"304", status(304), Want{}, ErrUnusable, "redirect"},
		{"307", status(307, "Location", "https://other.example/"), Want{}, ErrUnusable, "redirect"},
		{"308", status(308, "Location", "/elsewhere"), Want{}, ErrUnusable, "redirect"},
		{"401", status(401, "WWW-Authenticate", "Basic"), Want{}, ErrUnusable, "401"},
		{"404", status(404), Want{}, ErrUnusable, "404"},
		{"408", status(408), Want{}, ErrUnavailable, "408"},
		{"429", status(429), Want{}, ErrUnavailable, "429"},
		{"500", status(500), Want{}, ErrUnavailable, "500"},
		{"503", status(503), Want{}, ErrUnavailable, "503"},
		{"999", status(999), Want{}, ErrUnavailable, "999"},

		{"as long as allowed", answer(strings.Repeat(" ", DefaultMaxBytes)), Want{}, nil, ""},
		{"too long, declared", answer(strings.Repeat(" ", DefaultMaxBytes+1), "Content-Length", "5121"), Want{}, ErrUnusable, "longer than 5120 bytes"},
		{"too long, streamed", chunks(11), Want{MaxBytes: 10}, ErrUnusable, "longer than 10 bytes"},
		{"as long as allowed, streamed", chunks(10), Want{MaxBytes: 10}, nil, ""},
		{"endless", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			for {
				if _, err := rw.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, Want{MaxBytes: 1 << 16}, ErrUnusable, "longer"},
		{"longer than anybody may want", answer(strings.Repeat(" ", maxBytes+1)), Want{MaxBytes: 1 << 62}, ErrUnusable, "longer than 1048576 bytes"},
		{"negative limit", answer(`{}`), Want{MaxBytes: -1}, ErrUnusable, "longer"},

		{"gzip", answer(string(gzipped(100)), "Content-Encoding", "gzip"), Want{}, ErrUnusable, "compressed"},
		{"gzip bomb", answer(string(bomb), "Content-Encoding", "gzip"), Want{MaxBytes: 1 << 20}, ErrUnusable, "compressed"},
		{"brotli", answer(`x`, "Content-Encoding", "br"), Want{}, ErrUnusable, "compressed"},
		{"encoded twice", status(200, "Content-Encoding", "identity", "Content-Encoding", "gzip"), Want{}, ErrUnusable, "compressed"},
		{"identity", answer(`{}`, "Content-Encoding", "identity"), Want{}, nil, ""},

		{"cut off", func(rw http.ResponseWriter, r *http.Request) {
			answer(`{"half":`, "Content-Length", "100")(rw, r)
		}, Want{}, ErrUnavailable, "cut off"},
		{"cut off between chunks", func(rw http.ResponseWriter, r *http.Request) {
			chunks(3)(rw, r)
			panic(http.ErrAbortHandler)
		}, Want{}, ErrUnavailable, "cut off"},
		{"closed", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Want{}, ErrUnavailable, "did not answer properly"},
		{"endless header", func(rw http.ResponseWriter, r *http.Request) {
			answer(`{}`, "X", strings.Repeat("x", maxHeaderBytes))(rw, r)
		}, Want{}, ErrUnavailable, "did not answer properly"},
		{"not valid", answer(`[]`), Want{Valid: func([]byte) error { return io.ErrNoProgress }}, ErrUnusable, "not valid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.document(tt.handler)
				c := w.client()
				_, err := c.Get(t.Context(), docURL, tt.want)
				if tt.kind == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if e := failure(t, err, tt.kind); !strings.Contains(e.Reason, tt.reason) {
					t.Errorf("reason %q, want %q in it", e.Reason, tt.reason)
				}
				if tt.want.Valid != nil && !errors.Is(err, io.ErrNoProgress) {
					t.Errorf("error %v does not wrap that of Valid", err)
				}
				if looked, dialed := w.record(); len(looked) != 1 || len(dialed) != 1 {
					t.Errorf("looked up %v, dialled %v: want one each", looked, dialed)
				}
				// Not kept: the next one asks again.
				pass(fetchInterval)
				c.Get(t.Context(), docURL, tt.want)
				if _, dialed := w.record(); len(dialed) != 1 {
					t.Errorf("dialled %v after an error, want one", dialed)
				}
			})
		})
	}
}

// TestSlow: whatever the host does, it does it for five seconds at most.
func TestSlow(t *testing.T) {
	hang := func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, tt := range []struct {
		name  string
		build func(w *world)
	}{
		{"look-up", func(w *world) { w.config.Resolver = slowResolver{} }},
		{"connection", func(w *world) { w.name(docName, public4) }},
		{"connections", func(w *world) { w.name(docName, public4, other4, public6, public4, other4, public6) }},
		{"handshake", func(w *world) {
			w.name(docName, public4)
			w.serveConns(public4+":443", func(conn net.Conn) { w.t.Cleanup(func() { conn.Close() }) })
		}},
		{"header", func(w *world) { w.document(hang) }},
		{"body", func(w *world) {
			w.document(func(rw http.ResponseWriter, r *http.Request) {
				answer("{", "Content-Length", "2")(rw, r)
				rw.(http.Flusher).Flush()
				hang(rw, r)
			})
		}},
		{"trickle", func(w *world) {
			w.document(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				ticker := time.NewTicker(10 * time.Millisecond)
				defer ticker.Stop()
				for {
					io.WriteString(rw, " ")
					rw.(http.Flusher).Flush()
					select {
					case <-ticker.C:
					case <-r.Context().Done():
						return
					}
				}
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				tt.build(w)
				started := time.Now()
				_, err := w.client().Get(t.Context(), docURL, Want{})
				failure(t, err, ErrUnavailable)
				if took := time.Since(started); took != 5*time.Second {
					t.Errorf("took %v, want 5s: %v", took, err)
				}
			})
		})
	}
}

type slowResolver struct{}

func (slowResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestManyAddresses: an address that does not answer costs its share only, and
// four are tried.
func TestManyAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.name(docName, public6, other4, public4)
		w.serveConns(net.JoinHostPort(public6, "443"), nil) // refuses; other4 is silent
		w.serve(public4+":443", answer(`{}`), "cl.example")
		if _, err := w.client().Get(t.Context(), docURL, Want{}); err != nil {
			t.Fatal(err)
		}
		if _, dialed := w.record(); !slices.Equal(dialed, []string{"[" + public6 + "]:443", other4 + ":443", public4 + ":443"}) {
			t.Errorf("dialled %v", dialed)
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		w.name(docName, public4, public4, public4, public4, public4, public4)
		_, err := w.client().Get(t.Context(), docURL, Want{})
		failure(t, err, ErrUnavailable)
		if _, dialed := w.record(); len(dialed) != maxDials {
			t.Errorf("dialled %v", dialed)
		}
	})
}

// TestMappedAddress: the resolver of package net answers ::ffff:1.2.3.4 for
// 1.2.3.4.
func TestMappedAddress(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.name(docName, "::ffff:"+public4)
		w.serve(public4+":443", answer(`{}`), "cl.example")
		if _, err := w.client().Get(t.Context(), docURL, Want{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNoAddress(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.name("empty.example.")
		c := w.client()
		for _, url := range []string{"https://empty.example/", "https://unknown.example/"} {
			_, err := c.Get(t.Context(), url, Want{})
			if e := failure(t, err, ErrUnavailable); !strings.Contains(e.Reason, "no address") {
				t.Errorf("reason %q", e.Reason)
			}
		}
	})
}

// TestListed: what an administrator lists may be private, and is dialled
// through the tailnet if it is there.
func TestListed(t *testing.T) {
	allow := []string{"git.tail1234.ts.net", "wiki.corp.example:8443", "[fd7a:115c:a1e0::5]:8443", "10.1.2.3", "intranet"}
	for _, tt := range []struct {
		name    string
		url     string
		lookup  string // with addr
		addr    string
		tailnet bool // DialTailnet is set
		dialed  string
		refused bool
	}{
		{"tailnet name", "https://git.tail1234.ts.net/", "", "", true, "tailnet git.tail1234.ts.net:443", false},
		{"tailnet name, no tailnet", "https://git.tail1234.ts.net/", "git.tail1234.ts.net", "100.64.1.2", false, "100.64.1.2:443", false},
		{"tailnet address", "https://wiki.corp.example:8443/", "wiki.corp.example", "100.64.1.2", true, "tailnet 100.64.1.2:8443", false},
		{"tailnet address, mapped", "https://wiki.corp.example:8443/", "wiki.corp.example", "::ffff:100.64.1.2", true, "tailnet 100.64.1.2:8443", false},
		{"tailnet IPv6", "https://[fd7a:115c:a1e0::5]:8443/", "", "", true, "tailnet [fd7a:115c:a1e0::5]:8443", false},
		{"private address", "https://wiki.corp.example:8443/", "wiki.corp.example", "192.168.1.1", true, "192.168.1.1:8443", false},
		{"public address", "https://wiki.corp.example:8443/", "wiki.corp.example", public4, true, public4 + ":8443", false},
		{"loopback", "https://wiki.corp.example:8443/", "wiki.corp.example", "127.0.0.1", true, "127.0.0.1:8443", false},
		{"address", "https://10.1.2.3/", "", "", true, "10.1.2.3:443", false},
		{"short name", "https://intranet/", "intranet", "10.0.0.1", true, "10.0.0.1:443", false},
		{"link-local", "https://wiki.corp.example:8443/", "wiki.corp.example", "169.254.169.254", true, "", true},
		{"unspecified", "https://wiki.corp.example:8443/", "wiki.corp.example", "0.0.0.0", true, "", true},
		{"another port", "https://wiki.corp.example/", "wiki.corp.example.", "192.168.1.1", true, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.config.AllowHosts = allow
				if tt.tailnet {
					w.config.DialTailnet = w.dialTailnet
				}
				if tt.lookup != "" {
					w.name(tt.lookup, tt.addr)
				}
				if tt.dialed != "" {
					w.serve(tt.dialed, answer(`{}`), "git.tail1234.ts.net", "wiki.corp.example", "intranet", "10.1.2.3", "fd7a:115c:a1e0::5")
				}
				_, err := w.client().Get(t.Context(), tt.url, Want{})
				if tt.refused {
					failure(t, err, ErrRefused)
				} else if err != nil {
					t.Error(err)
				}
				looked, dialed := w.record()
				if got := strings.Join(dialed, " "); got != tt.dialed {
					t.Errorf("dialled %s, want %s", got, tt.dialed)
				}
				if got := strings.Join(looked, " "); got != tt.lookup {
					t.Errorf("looked up %s, want %s", got, tt.lookup)
				}
			})
		})
	}
}

func TestTailnetUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.config.AllowHosts = []string{"git.tail1234.ts.net"}
		w.config.DialTailnet = w.dialTailnet
		_, err := w.client().Get(t.Context(), "https://git.tail1234.ts.net/", Want{})
		failure(t, err, ErrUnavailable)
	})
}

// TestTLS: a host proves who it is, listed or not.
func TestTLS(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(w *world)
		fine  bool
	}{
		{"right", func(w *world) { w.serve("10.0.0.1:443", answer(`{}`), "cl.example") }, true},
		{"wrong name", func(w *world) { w.serve("10.0.0.1:443", answer(`{}`), "other.example") }, false},
		{"name of its address", func(w *world) { w.serve("10.0.0.1:443", answer(`{}`), "10.0.0.1") }, false},
		{"unknown authority", func(w *world) {
			w.config.RootCAs = x509.NewCertPool()
			w.serve("10.0.0.1:443", answer(`{}`), "cl.example")
		}, false},
		{"expired", func(w *world) {
			expired := &x509.Certificate{NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0)}
			w.serveTLS("10.0.0.1:443", answer(`{}`), &tls.Config{Certificates: []tls.Certificate{w.certificate(expired, "cl.example")}})
		}, false},
		{"expired by our clock", func(w *world) {
			w.config.Now = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
			w.serve("10.0.0.1:443", answer(`{}`), "cl.example")
		}, false},
		{"TLS 1.2", func(w *world) {
			w.serveTLS("10.0.0.1:443", answer(`{}`), &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{w.certificate(new(x509.Certificate), "cl.example")}})
		}, true},
		{"TLS 1.1", func(w *world) {
			w.serveTLS("10.0.0.1:443", answer(`{}`), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{w.certificate(new(x509.Certificate), "cl.example")}})
		}, false},
		{"no TLS", func(w *world) {
			w.serveConns("10.0.0.1:443", func(conn net.Conn) {
				go func() {
					defer conn.Close()
					conn.Read(make([]byte, 1024))
					io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
				}()
			})
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.config.AllowHosts = []string{"cl.example"}
				w.name("cl.example", "10.0.0.1")
				tt.serve(w)
				_, err := w.client().Get(t.Context(), docURL, Want{})
				if tt.fine {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if e := failure(t, err, ErrUnavailable); !strings.Contains(e.Reason, "TLS") {
					t.Errorf("reason %q", e.Reason)
				}
			})
		})
	}
}

// TestRealNetwork fetches from a socket, by the resolver and dialler that a
// zero Config has.
func TestRealNetwork(t *testing.T) {
	server := httptest.NewUnstartedServer(answer(`{}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	address := server.Listener.Addr().String() // 127.0.0.1:PORT, which is in the certificate
	c := mustNew(t, Config{AllowHosts: []string{address}, RootCAs: roots})
	d, err := c.Get(t.Context(), "https://"+address+"/c.json", Want{})
	if err != nil || string(d.Body) != `{}` {
		t.Errorf("body %q, error %v", d.Body, err)
	}
	_, port, _ := net.SplitHostPort(address)
	c = mustNew(t, Config{AllowHosts: []string{"localhost:" + port}, RootCAs: roots})
	_, err = c.Get(t.Context(), "https://localhost:"+port+"/", Want{})
	// The certificate is for other names: so far it got, and no further.
	if e := failure(t, err, ErrUnavailable); !strings.Contains(e.Reason, "TLS") {
		t.Errorf("error %v", e)
	}
}
