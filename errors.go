// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/tsidp/store"
)

// An errorCode is the error member of a protocol error. The set is closed:
// errorStatus lists it.
type errorCode string

const (
	// RFC 6749 sections 4.1.2.1 and 5.2.
	codeInvalidRequest       errorCode = "invalid_request"
	codeInvalidClient        errorCode = "invalid_client"
	codeInvalidGrant         errorCode = "invalid_grant"
	codeInvalidScope         errorCode = "invalid_scope"
	codeUnauthorizedClient   errorCode = "unauthorized_client"
	codeUnsupportedGrantType errorCode = "unsupported_grant_type"
	codeUnsupportedResponse  errorCode = "unsupported_response_type"
	codeAccessDenied         errorCode = "access_denied"
	codeServerError          errorCode = "server_error"
	codeUnavailable          errorCode = "temporarily_unavailable"
	// RFC 8707 section 2.
	codeInvalidTarget errorCode = "invalid_target"
	// RFC 6750 section 3.1.
	codeInvalidToken      errorCode = "invalid_token"
	codeInsufficientScope errorCode = "insufficient_scope"
	// RFC 7591 section 3.2.2.
	codeInvalidRedirectURI    errorCode = "invalid_redirect_uri"
	codeInvalidClientMetadata errorCode = "invalid_client_metadata"
	// RFC 8628 section 3.5.
	codeAuthorizationPending errorCode = "authorization_pending"
	codeSlowDown             errorCode = "slow_down"
	codeExpiredToken         errorCode = "expired_token"
	// OpenID Connect Core section 3.1.2.6.
	codeLoginRequired          errorCode = "login_required"
	codeConsentRequired        errorCode = "consent_required"
	codeRequestNotSupported    errorCode = "request_not_supported"
	codeRequestURINotSupported errorCode = "request_uri_not_supported"
	codeRegistrationNotSupport errorCode = "registration_not_supported"
	// Ours, for the parts that no standard covers.
	codeNotFound         errorCode = "not_found"
	codeConflict         errorCode = "conflict"
	codeMethodNotAllowed errorCode = "method_not_allowed"
	codeMisdirected      errorCode = "misdirected_request"
	codeTooLarge         errorCode = "request_too_large"
	codeTooManyRequests  errorCode = "too_many_requests"
	codePrecondition     errorCode = "precondition_failed"
	codeNoPrecondition   errorCode = "precondition_required"
)

// errorStatus is the one table from error code to HTTP status, for answers
// that are not redirects.
var errorStatus = map[errorCode]int{
	codeInvalidRequest:       http.StatusBadRequest,
	codeInvalidClient:        http.StatusUnauthorized, // RFC 6749 section 5.2
	codeInvalidGrant:         http.StatusBadRequest,
	codeInvalidScope:         http.StatusBadRequest,
	codeUnauthorizedClient:   http.StatusBadRequest,
	codeUnsupportedGrantType: http.StatusBadRequest,
	codeUnsupportedResponse:  http.StatusBadRequest,
	codeAccessDenied:         http.StatusForbidden,
	codeServerError:          http.StatusInternalServerError,
	codeUnavailable:          http.StatusServiceUnavailable,

	codeInvalidTarget: http.StatusBadRequest,

	codeInvalidToken:      http.StatusUnauthorized,
	codeInsufficientScope: http.StatusForbidden,

	codeInvalidRedirectURI:    http.StatusBadRequest,
	codeInvalidClientMetadata: http.StatusBadRequest,

	codeAuthorizationPending: http.StatusBadRequest,
	codeSlowDown:             http.StatusBadRequest,
	codeExpiredToken:         http.StatusBadRequest,

	codeLoginRequired:          http.StatusBadRequest,
	codeConsentRequired:        http.StatusBadRequest,
	codeRequestNotSupported:    http.StatusBadRequest,
	codeRequestURINotSupported: http.StatusBadRequest,
	codeRegistrationNotSupport: http.StatusBadRequest,

	codeNotFound:         http.StatusNotFound,
	codeConflict:         http.StatusConflict,
	codeMethodNotAllowed: http.StatusMethodNotAllowed,
	codeMisdirected:      http.StatusMisdirectedRequest,
	codeTooLarge:         http.StatusRequestEntityTooLarge,
	codeTooManyRequests:  http.StatusTooManyRequests,
	codePrecondition:     http.StatusPreconditionFailed,
	codeNoPrecondition:   http.StatusPreconditionRequired, // RFC 6585 section 3
}

// A protocolError has two faces: code and description, which the peer reads,
// and cause, which only the log does.
type protocolError struct {
	code        errorCode
	description string
	cause       error
	// field is the path of the JSON member at fault, such as
	// "redirect_uris[1]"; empty: none.
	field string
	// refusal is set when decide said no; pages show it in full.
	refusal *refusal
	// challenge is the WWW-Authenticate header of a 401 or 403.
	challenge string
	// grant is JSON for the tailnet's policy file, for who may read it.
	grant string
	// wait is how long until it is worth trying again; 0 for unknown.
	wait time.Duration
	// answer replaces the status of errorStatus; 0 for none.
	answer int
}

// fail makes a protocolError. The description is for the developer of the
// client: it says what is wrong and what to do, and holds no secret.
func fail(code errorCode, format string, args ...any) *protocolError {
	return &protocolError{code: code, description: fmt.Sprintf(format, args...)}
}

// failAt makes a protocolError about a member of a JSON document, with which
// the description begins.
func failAt(code errorCode, field, format string, args ...any) *protocolError {
	e := fail(code, field+": "+format, args...)
	e.field = field
	return e
}

// because attaches the private cause.
func (e *protocolError) because(err error) *protocolError {
	e.cause = err
	return e
}

func (e *protocolError) Error() string {
	s := string(e.code) + ": " + e.description
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *protocolError) Unwrap() error { return e.cause }

func (e *protocolError) status() int {
	if e.answer != 0 {
		return e.answer
	}
	if s, ok := errorStatus[e.code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// asProtocolError turns any error into one that can be shown. What is not
// recognised is a fault of ours: its text stays in the log.
func asProtocolError(err error) *protocolError {
	if e, ok := errors.AsType[*protocolError](err); ok {
		return e
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fail(codeTooLarge, "the request body is larger than %d bytes", maxBody).because(err)
	}
	return fail(codeServerError, "internal error; the server's log has the cause under this request's id").because(err)
}

// storeError turns a failure of the store into "try again": nothing has been
// consumed. Sentinels must have been handled before; what is a protocolError
// already stays one.
func storeError(err error) *protocolError {
	if e, ok := errors.AsType[*protocolError](err); ok {
		return e
	}
	return fail(codeUnavailable, "the state store cannot answer now; nothing was consumed, try again").because(err)
}

// retryAfter is what clients are told to wait when something is unavailable.
const retryAfter = 2 // seconds

// writeError answers an API request: "The parameters are included in the
// entity-body of the HTTP response using the application/json media type"
// (RFC 6749 section 5.2).
func (p *Provider) writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := asProtocolError(err)
	p.logError(r, e)
	h := w.Header()
	setChallenge(h, e)
	writeJSON(w, e.status(), errorBody{Code: string(e.code), Description: descriptionText(e.description), Field: descriptionText(e.field), Grant: json.RawMessage(e.grant)})
}

type errorBody struct {
	Code        string          `json:"error"`
	Description string          `json:"error_description,omitempty"`
	Field       string          `json:"field,omitempty"`
	Grant       json.RawMessage `json:"grant,omitempty"`
}

// setChallenge fills the headers that belong to a status: a 401 must carry
// WWW-Authenticate (RFC 9110 section 15.5.2), a 503 says when to return.
func setChallenge(h http.Header, e *protocolError) {
	switch {
	case e.challenge != "":
		h.Set("WWW-Authenticate", e.challenge)
	case e.code == codeInvalidClient && e.status() == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="tsidp"`)
	case e.wait > 0:
		h.Set("Retry-After", strconv.Itoa(int((e.wait+time.Second-1)/time.Second)))
	case e.code == codeUnavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
}

// bearerChallenge is the WWW-Authenticate of RFC 6750 section 3. Without an
// error code it is the bare challenge for a request without a token.
func bearerChallenge(code errorCode, description, scope string) string {
	var b strings.Builder
	b.WriteString(`Bearer realm="tsidp"`)
	if code != "" {
		fmt.Fprintf(&b, `, error="%s", error_description="%s"`, code, descriptionText(description))
	}
	if scope != "" {
		fmt.Fprintf(&b, `, scope="%s"`, scope)
	}
	return b.String()
}

// descriptionText reduces s to the characters that an error_description may
// have: "%x20-21 / %x23-5B / %x5D-7E" (RFC 6749 section 5.2).
func descriptionText(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c == '\\':
			return '/'
		case c < 0x20 || c > 0x7e:
			return '?'
		}
		return c
	}, s)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // our own types always marshal
		panic(fmt.Sprintf("marshalling %T: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// logError notes a failed request: faults of ours as errors, the rest for
// those who look for it.
func (p *Provider) logError(r *http.Request, e *protocolError) {
	p.metrics.errors.inc(string(e.code))
	log := p.log.Info
	if e.status() >= 500 {
		log = p.log.Error
	}
	attrs := []any{"request", requestID(r.Context()), "path", r.URL.Path, "error", string(e.code), "description", e.description}
	if e.cause != nil {
		attrs = append(attrs, "cause", e.cause.Error())
	}
	if e.refusal != nil {
		attrs = append(attrs, "reason", e.refusal.reason)
	}
	who := notes(r.Context()).event
	log("request failed", append(attrs, (&AuditEvent{Event: who.Event, Client: who.Client, User: who.User, Node: who.Node, Grant: who.Grant}).attrs()...)...)
	p.auditRefusal(r.Context(), e)
}

// notFoundOr passes store.ErrNotFound on as e and everything else as "the
// store cannot answer".
func notFoundOr(err error, e *protocolError) error {
	if errors.Is(err, store.ErrNotFound) {
		return e
	}
	return storeError(err)
}

// Problem implements [admin.Problem].
func (e *protocolError) Problem() (code, field, message string) {
	return string(e.code), e.field, strings.TrimPrefix(e.description, e.field+": ")
}
