// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// A fault breaks one thing between a provider and its client. It is made
// anew for each run, so that it may remember.
type fault struct {
	name  string
	apply func(next exchange) exchange
}

// onAnswer changes the answers from paths that end in path.
func onAnswer(name, path string, change func(a *answer)) fault {
	return fault{name, func(next exchange) exchange {
		return func(req *http.Request, body []byte) *answer {
			a := next(req, body)
			if strings.HasSuffix(req.URL.Path, path) {
				change(a)
			}
			return a
		}
	}}
}

// onJSON changes members of JSON answers; nil removes one.
func onJSON(name, path string, change map[string]any) fault {
	return onAnswer(name, path, func(a *answer) {
		m := a.json()
		if m == nil || m["error"] != nil {
			return
		}
		merge(m, change)
		a.body, _ = json.Marshal(m)
	})
}

func merge(m, change map[string]any) {
	for k, v := range change {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
}

// onHeader sets a header of answers.
func onHeader(path, header, value string) fault {
	return onAnswer(fmt.Sprintf("%s %q", header, value), path, func(a *answer) { a.header.Set(header, value) })
}

// refused answers a path with a status.
func refused(name, path string, when func(req *http.Request, form url.Values) bool, status int, body string) fault {
	return fault{name, func(next exchange) exchange {
		return func(req *http.Request, b []byte) *answer {
			form, _ := url.ParseQuery(string(b))
			if strings.HasSuffix(req.URL.Path, path) && when(req, form) {
				return &answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(body)}
			}
			return next(req, b)
		}
	}}
}

// onParameters changes what the client sends to a path: that a provider
// ignores a parameter is the same as that it never came.
func onParameters(name, path string, change func(v url.Values)) fault {
	return fault{name, func(next exchange) exchange {
		return func(req *http.Request, body []byte) *answer {
			if strings.HasSuffix(req.URL.Path, path) {
				if v := req.URL.Query(); len(v) > 0 {
					change(v)
					req.URL.RawQuery = v.Encode()
				}
				if v, err := url.ParseQuery(string(body)); err == nil && len(v) > 0 {
					change(v)
					body = []byte(v.Encode())
				}
			}
			return next(req, body)
		}
	}}
}

// ignored makes the provider blind to a parameter of a path.
func ignored(path, parameter string) fault {
	return onParameters(parameter+" ignored", path, func(v url.Values) { v.Del(parameter) })
}

// onResponse changes authorization responses, however they travel.
func onResponse(name string, change func(v url.Values)) fault {
	return onAnswer(name, "", func(a *answer) { rewrite(a, func(_ *url.URL, v url.Values) { change(v) }) })
}

func rewrite(a *answer, change func(uri *url.URL, v url.Values)) {
	if f := a.form(); f != nil && strings.HasPrefix(f.action, appOrigin) {
		u, _ := url.Parse(f.action)
		change(u, f.fields)
		var b bytes.Buffer
		fmt.Fprintf(&b, `<form method="post" action="%s">`, html.EscapeString(u.String()))
		for _, name := range slices.Sorted(maps.Keys(f.fields)) {
			fmt.Fprintf(&b, `<input type="hidden" name="%s" value="%s">`, html.EscapeString(name), html.EscapeString(f.fields.Get(name)))
		}
		a.body = append(b.Bytes(), "</form>"...)
		return
	}
	if strings.HasPrefix(a.location(), appOrigin) {
		u, _ := url.Parse(a.location())
		v := u.Query()
		change(u, v)
		u.RawQuery = strings.ReplaceAll(v.Encode(), "+", "%20")
		a.header.Set("Location", u.String())
	}
}

// failed turns successful responses to requests that have a parameter into
// errors.
func failed(parameter string) fault {
	return fault{"error for " + parameter, func(next exchange) exchange {
		asked := false
		return func(req *http.Request, body []byte) *answer {
			form, _ := url.ParseQuery(string(body))
			asked = asked || req.URL.Query().Has(parameter) || form.Has(parameter)
			a := next(req, body)
			if asked {
				rewrite(a, func(_ *url.URL, v url.Values) {
					v.Del("code")
					v.Set("error", "invalid_request")
				})
			}
			return a
		}
	}}
}

// otherKey is the key of somebody else.
var otherKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// sign makes a JWT with otherKey.
func sign(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	key := jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: otherKey(), KeyID: "other"}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

// unsigned makes a JWT with the algorithm none.
func unsigned(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

// onIDToken changes claims of ID tokens, and signs them again: with otherKey,
// which is published beside the provider's.
func onIDToken(name string, change func(n int, claims map[string]any)) fault {
	return fault{name, func(next exchange) exchange {
		n := 0
		return func(req *http.Request, body []byte) *answer {
			a := next(req, body)
			switch {
			case strings.HasSuffix(req.URL.Path, "/jwks.json"):
				var set jose.JSONWebKeySet
				if json.Unmarshal(a.body, &set) == nil {
					set.Keys = append(set.Keys, jose.JSONWebKey{Key: otherKey().Public(), KeyID: "other", Use: "sig", Algorithm: "RS256"})
					a.body, _ = json.Marshal(set)
				}
			case strings.HasSuffix(req.URL.Path, "/token"):
				m := a.json()
				if token, _ := m["id_token"].(string); token != "" {
					var claims map[string]any
					payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
					if json.Unmarshal(payload, &claims) == nil {
						n++
						change(n, claims)
						m["id_token"] = sign(claims)
						a.body, _ = json.Marshal(m)
					}
				}
			}
			return a
		}
	}}
}

// claim changes one claim of ID tokens; nil removes it.
func claim(name string, v any) fault {
	return onIDToken(fmt.Sprintf("ID token with %s %.20v", name, v), func(_ int, c map[string]any) { merge(c, map[string]any{name: v}) })
}

// foreignSignature signs ID tokens with a key that is published nowhere.
func foreignSignature() fault {
	f := onIDToken("", func(int, map[string]any) {})
	return fault{"ID token signed by somebody else", func(next exchange) exchange {
		changed := f.apply(next)
		return func(req *http.Request, body []byte) *answer {
			if strings.HasSuffix(req.URL.Path, "/jwks.json") {
				return next(req, body)
			}
			return changed(req, body)
		}
	}}
}

// cached answers what was answered before: a code, or a token, that can be
// used twice.
func cached(path, parameter string) fault {
	return fault{"the same " + parameter + " answered again", func(next exchange) exchange {
		seen := make(map[string]answer)
		return func(req *http.Request, body []byte) *answer {
			form, _ := url.ParseQuery(string(body))
			key := form.Get(parameter)
			if !strings.HasSuffix(req.URL.Path, path) || key == "" {
				return next(req, body)
			}
			old, ok := seen[key]
			if !ok {
				old = *next(req, body)
				seen[key] = old
			}
			a := old
			a.header = old.header.Clone()
			return &a
		}
	}}
}

// redirected sends the browser to the redirect URI that it asked for, or to
// where when says, whatever the provider says.
func redirected(path, parameter string) fault {
	return fault{"redirect to whatever " + parameter + " says", func(next exchange) exchange {
		return func(req *http.Request, body []byte) *answer {
			form, _ := url.ParseQuery(string(body))
			to := req.URL.Query().Get(parameter) + form.Get(parameter)
			if strings.HasSuffix(req.URL.Path, path) && to != "" {
				next(req, body)
				return &answer{status: http.StatusFound, header: http.Header{"Location": {to}}}
			}
			return next(req, body)
		}
	}}
}
