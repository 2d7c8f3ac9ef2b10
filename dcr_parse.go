// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	strictjson "github.com/go-jose/go-jose/v4/json"
	"github.com/tailscale/tsidp/internal/admin"
)

// A registration is what a client sends to register itself, or to replace its
// registration.
type registration struct {
	admin.ClientMetadata        // only what selfDeclared keeps, and the ID
	secret               string // of an update: the one that the client has
}

// selfDeclared keeps what a client may say of itself. The rest, such as who may
// use it, is an administrator's.
func selfDeclared(m admin.ClientMetadata) admin.ClientMetadata {
	return declaredOver(admin.ClientMetadata{ID: m.ID}, m)
}

// declaredOver returns m with all that a client says of itself in place of
// what it said before.
func declaredOver(m, says admin.ClientMetadata) admin.ClientMetadata {
	m.Name, m.RedirectURIs, m.PostLogoutRedirectURIs = says.Name, says.RedirectURIs, says.PostLogoutRedirectURIs
	m.GrantTypes, m.ResponseTypes, m.TokenEndpointAuthMethod = says.GrantTypes, says.ResponseTypes, says.TokenEndpointAuthMethod
	m.Scope, m.ApplicationType, m.IDTokenAlg = says.Scope, says.ApplicationType, says.IDTokenAlg
	m.ClientURI, m.InitiateLoginURI, m.LogoURI, m.PolicyURI, m.TOSURI = says.ClientURI, says.InitiateLoginURI, says.LogoURI, says.PolicyURI, says.TOSURI
	m.Contacts, m.SoftwareID, m.SoftwareVersion = says.Contacts, says.SoftwareID, says.SoftwareVersion
	m.JWKS, m.JWKSURI, m.TokenEndpointAuthSigningAlg = says.JWKS, says.JWKSURI, says.TokenEndpointAuthSigningAlg
	return m
}

// readRegistration reads the body of a request. It must say that it is JSON: a
// page of another origin can send any text as text/plain without asking.
func readRegistration(r *http.Request) (*registration, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, fail(codeInvalidClientMetadata, "the Content-Type must be application/json")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, err
		}
		return nil, fail(codeInvalidClientMetadata, "the request body ended early").because(err)
	}
	return parseRegistration(body)
}

// parseRegistration reads the client metadata of RFC 7591 section 2. "The
// authorization server MUST ignore any client metadata sent by the client that
// it does not understand"; of those it does, names count letter by letter,
// types must be right, and none may appear twice. A null is the same as leaving
// the member out, and so is an empty text, which many clients send.
//
// What is ignored is not decoded either, however deep or long it is.
func parseRegistration(body []byte) (*registration, error) {
	if !utf8.Valid(body) {
		return nil, fail(codeInvalidClientMetadata, "the body is not UTF-8 text")
	}
	var members map[string]strictjson.RawMessage
	if err := strictjson.Unmarshal(body, &members); err != nil {
		return nil, fail(codeInvalidClientMetadata, "the body is not one JSON object in which no member appears twice").because(err)
	}
	if members == nil { // null
		return nil, fail(codeInvalidClientMetadata, "the body is not a JSON object")
	}
	reg := new(registration)
	for _, m := range reg.members() {
		v, ok := members[m.name]
		if !ok || string(v) == "null" {
			continue
		}
		if err := m.read(v); err != nil {
			return nil, fail(codeInvalidClientMetadata, "%s: %v", m.name, err)
		}
	}
	return reg, nil
}

// A registrationMember is one member of the metadata, and how it is read.
type registrationMember struct {
	name string
	read func(strictjson.RawMessage) error
}

func (reg *registration) members() []registrationMember {
	return []registrationMember{
		{"client_id", readText(&reg.ID)},
		{"client_secret", readText(&reg.secret)},
		{"client_name", readText(&reg.Name)},
		{"redirect_uris", readTexts(&reg.RedirectURIs)},
		{"post_logout_redirect_uris", readTexts(&reg.PostLogoutRedirectURIs)},
		{"grant_types", readTexts(&reg.GrantTypes)},
		{"response_types", readTexts(&reg.ResponseTypes)},
		{"token_endpoint_auth_method", readText(&reg.TokenEndpointAuthMethod)},
		{"scope", readText(&reg.Scope)},
		{"application_type", readText(&reg.ApplicationType)},
		{"client_uri", readText(&reg.ClientURI)},
		{"initiate_login_uri", readText(&reg.InitiateLoginURI)},
		{"logo_uri", readText(&reg.LogoURI)},
		{"policy_uri", readText(&reg.PolicyURI)},
		{"tos_uri", readText(&reg.TOSURI)},
		{"contacts", readTexts(&reg.Contacts)},
		{"software_id", readText(&reg.SoftwareID)},
		{"software_version", readText(&reg.SoftwareVersion)},
		{"id_token_signed_response_alg", readText(&reg.IDTokenAlg)},
		{"token_endpoint_auth_signing_alg", readText(&reg.TokenEndpointAuthSigningAlg)},
		{"jwks_uri", readText(&reg.JWKSURI)},
		{"jwks", func(v strictjson.RawMessage) error { reg.JWKS = slices.Clone([]byte(v)); return nil }},
	}
}

func readText(dst *string) func(strictjson.RawMessage) error {
	return func(v strictjson.RawMessage) error {
		if v[0] != '"' {
			return errors.New("must be a text")
		}
		return strictjson.Unmarshal(v, dst)
	}
}

// readTexts reads a list. Empty texts in it are left out.
func readTexts(dst *[]string) func(strictjson.RawMessage) error {
	return func(v strictjson.RawMessage) error {
		wrong := errors.New("must be a list that holds only texts")
		var list []strictjson.RawMessage
		if v[0] != '[' || strictjson.Unmarshal(v, &list) != nil {
			return wrong
		}
		for _, entry := range list {
			var s string
			if entry[0] != '"' || strictjson.Unmarshal(entry, &s) != nil {
				return wrong
			}
			if s != "" {
				*dst = append(*dst, s)
			}
		}
		return nil
	}
}

// joinKnown joins the scopes that exist here.
func joinKnown(scopes []string) string {
	known := slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !knownScope(s) })
	return strings.Join(known, " ")
}
