// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"time"
	"unicode/utf8"

	strictjson "github.com/go-jose/go-jose/v4/json"
)

// Claims are those common to what we mint and verify. A caller that needs more
// embeds Claims in a struct of its own.
type Claims struct {
	Issuer    string       `json:"iss,omitempty"`
	Subject   string       `json:"sub,omitempty"`
	Audience  Audience     `json:"aud,omitempty"`
	Expiry    *NumericDate `json:"exp,omitempty"`
	NotBefore *NumericDate `json:"nbf,omitempty"`
	IssuedAt  *NumericDate `json:"iat,omitempty"`
	AuthTime  *NumericDate `json:"auth_time,omitempty"`
	ACR       string       `json:"acr,omitempty"`
	AMR       []string     `json:"amr,omitempty"`
	ID        string       `json:"jti,omitempty"`
	ClientID  string       `json:"client_id,omitempty"`
	Scope     string       `json:"scope,omitempty"`
	Tags      []string     `json:"tags,omitempty"`
	Act       *Actor       `json:"act,omitempty"`
	MayAct    *Actor       `json:"may_act,omitempty"`
}

// An Actor is a party that acts for the subject of a token (RFC 8693 §4.1). A
// nested one acted before it.
type Actor struct {
	Issuer   string `json:"iss,omitempty"`
	Subject  string `json:"sub,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Act      *Actor `json:"act,omitempty"`
}

// Depth returns the length of the chain that begins with a; 0 for nil.
func (a *Actor) Depth() int {
	n := 0
	for ; a != nil; a = a.Act {
		n++
	}
	return n
}

// Before returns a copy of the chain of a, continued by that of earlier. It
// shares earlier and changes neither.
func (a *Actor) Before(earlier *Actor) *Actor {
	if a == nil {
		return earlier
	}
	b := *a
	b.Act = a.Act.Before(earlier)
	return &b
}

// Unmarshal decodes the payload of a verified token into the struct that v
// points to. Other than encoding/json it matches names with their case, and
// refuses repeated members and text that is not UTF-8 (RFC 7519 §4: "The Claim
// Names within a JWT Claims Set MUST be unique"). Claims that v does not know
// are ignored.
func Unmarshal(payload []byte, v any) error {
	if !utf8.Valid(payload) || !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return invalid("claims are not a JSON object")
	}
	// The decoder's own message quotes the payload.
	if err := strictjson.Unmarshal(payload, v); err != nil {
		return invalid("claims are malformed, repeated or of the wrong type")
	}
	return nil
}

// CheckTime checks exp, which is required, and nbf and iat where present. The
// leeway allows for clocks that differ.
func (c *Claims) CheckTime(now time.Time, leeway time.Duration) error {
	if c.Expiry == nil {
		return invalid("no exp")
	}
	// RFC 7519 §4.1.4: exp is the time "on or after which the JWT MUST NOT be
	// accepted for processing".
	if !now.Before(c.Expiry.Time().Add(leeway)) {
		return invalid("expired")
	}
	// RFC 7519 §4.1.5: nbf is the time "before which the JWT MUST NOT be
	// accepted for processing".
	if c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time()) {
		return invalid("not valid yet")
	}
	if c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.Time()) {
		return invalid("issued in the future")
	}
	return nil
}

// An Audience is the aud claim: a string for one value, an array otherwise.
// Both are read, so an Audience does not tell whether one value came alone or
// in an array. Where that matters (a client assertion names its audience as
// one string), embed [Claims] and declare a field of type string with the tag
// `json:"aud"` beside it.
type Audience []string

// MarshalJSON implements [json.Marshaler].
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses everything but a
// string and an array of strings.
func (a *Audience) UnmarshalJSON(data []byte) error {
	var values []*string
	if bytes.HasPrefix(data, []byte(`"`)) {
		values = make([]*string, 1)
		if err := json.Unmarshal(data, &values[0]); err != nil {
			return err
		}
	} else if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	if values == nil {
		return errors.New("audience is null")
	}
	out := make(Audience, 0, len(values))
	for _, value := range values {
		if value == nil {
			return errors.New("audience has a null")
		}
		out = append(out, *value)
	}
	*a = out
	return nil
}

// A NumericDate is a time in seconds since 1970-01-01T00:00:00Z (RFC 7519 §2).
// It marshals as an integer.
type NumericDate int64

// NewNumericDate returns t, cut to the second, as claims hold it.
func NewNumericDate(t time.Time) *NumericDate { return new(NumericDate(t.Unix())) }

// Time returns the date in UTC.
func (n NumericDate) Time() time.Time { return time.Unix(int64(n), 0).UTC() }

// UnmarshalJSON implements [json.Unmarshaler]. RFC 7519 §2: a NumericDate is "a
// JSON numeric value", and "non-integer values can be represented"; they are
// rounded down. Everything else is refused, as is a number of 2⁵³ or more,
// which not every parser reads the same (RFC 7493 §2.2).
func (n *NumericDate) UnmarshalJSON(data []byte) error {
	var seconds *float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	if seconds == nil || math.Abs(*seconds) >= 1<<53 {
		return errors.New("date is null or out of range")
	}
	*n = NumericDate(math.Floor(*seconds))
	return nil
}
