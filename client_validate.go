// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tailscale/tsidp/internal/jwt"
	"github.com/tailscale/tsidp/internal/oauth"
)

// Bounds on what a client may be registered with.
const (
	maxRedirectURIs  = 50
	maxClientStrings = 50   // entries of any other list
	maxClientText    = 2048 // bytes of any other text
	minOwnSecret     = 32   // characters of a secret that is brought along
)

// validate is the one validation of client metadata. It fills in defaults
// and reports the first thing wrong, by the name of its member.
func (c *client) validate(policy oauth.RedirectPolicy) error {
	c.fillDefaults()
	for _, check := range []func() error{
		c.validateTexts,
		c.validateID,
		func() error { return c.validateRedirectURIs(policy) },
		c.validateChoices,
		c.validateKeys,
		c.validateResources,
		c.validateClaims,
		c.validateLifetimes,
	} {
		if err := check(); err != nil {
			return withField(err)
		}
	}
	return nil
}

// withField tells programs what the checks tell people: each begins its
// description with the path of the member.
func withField(err error) error {
	if e, ok := errors.AsType[*protocolError](err); ok && e.field == "" {
		e.field, _, _ = strings.Cut(e.description, ": ")
	}
	return err
}

func (c *client) fillDefaults() {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.TokenEndpointAuthMethod, authBasic)
	def(&c.Access, accessTailnet)
	def(&c.PKCE, pkceAuto)
	def(&c.AccessTokenFormat, formatJWT)
	def(&c.ApplicationType, "web")
	def(&c.IDTokenAlg, jwt.RS256)
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = slices.Clone(defaultGrantTypes)
	}
	if len(c.ResponseTypes) == 0 {
		c.ResponseTypes = []string{"code"}
	}
}

func (c *client) validateID() error {
	if c.Origin == originDocument {
		return checkDocumentID(c.ID)
	}
	if c.version > 0 {
		return nil // it has its id
	}
	bad := func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._~:@-", r)
	}
	// The subjects of tokens begin so, and URLs are ids of another sort
	// (RFC 9700 section 4.15: no collision between clients and subjects).
	for _, prefix := range []string{"userid:", "node:", "http"} {
		if strings.HasPrefix(strings.ToLower(c.ID), prefix) {
			return fail(codeInvalidClientMetadata, "client_id: must not begin with %s", prefix)
		}
	}
	if c.ID == "." || c.ID == ".." {
		return fail(codeInvalidClientMetadata, "client_id: %q means another place in a path", c.ID)
	}
	if len(c.ID) > 128 || strings.ContainsFunc(c.ID, bad) {
		return fail(codeInvalidClientMetadata, "client_id: want at most 128 letters, digits and . _ ~ : @ -")
	}
	return nil
}

// validateTexts bounds everything and refuses what would corrupt a page, a
// log line or a policy file.
func (c *client) validateTexts() error {
	for _, f := range []struct {
		name string
		text []string
	}{
		{"client_name", []string{c.Name}},
		{"client_uri", []string{c.ClientURI}},
		{"initiate_login_uri", []string{c.InitiateLoginURI}},
		{"logo_uri", []string{c.LogoURI}},
		{"policy_uri", []string{c.PolicyURI}},
		{"tos_uri", []string{c.TOSURI}},
		{"software_id", []string{c.SoftwareID}},
		{"software_version", []string{c.SoftwareVersion}},
		{"scope", []string{c.Scope}},
		{"contacts", c.Contacts},
		{"grant_types", c.GrantTypes},
		{"response_types", c.ResponseTypes},
		{"resource_identifiers", c.ResourceIdentifiers},
		{"default_resources", c.DefaultResources},
	} {
		if len(f.text) > maxClientStrings {
			return fail(codeInvalidClientMetadata, "%s: more than %d entries", f.name, maxClientStrings)
		}
		for _, s := range f.text {
			if len(s) > maxClientText || strings.ContainsFunc(s, unprintable) {
				return fail(codeInvalidClientMetadata, "%s: longer than %d bytes, or with control characters", f.name, maxClientText)
			}
		}
	}
	for _, f := range []struct{ name, uri string }{
		{"client_uri", c.ClientURI}, {"initiate_login_uri", c.InitiateLoginURI}, {"logo_uri", c.LogoURI}, {"policy_uri", c.PolicyURI}, {"tos_uri", c.TOSURI},
	} {
		if f.uri != "" && webOrigin(f.uri) == "" {
			return fail(codeInvalidClientMetadata, "%s: must be an http or https URL", f.name)
		}
	}
	if _, err := oauth.ParseScope(c.Scope, knownScope); err != nil {
		return fail(codeInvalidClientMetadata, "scope: %v", err)
	}
	return nil
}

// unprintable: control characters, and those that hide or reorder text.
func unprintable(r rune) bool {
	return r == unicode.ReplacementChar || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

func (c *client) validateRedirectURIs(policy oauth.RedirectPolicy) error {
	if len(c.RedirectURIs) == 0 && c.allowsGrantType(grantAuthorizationCode) {
		return fail(codeInvalidRedirectURI, "redirect_uris: at least one is needed for the grant type authorization_code")
	}
	for _, f := range []struct {
		name string
		uris []string
		code errorCode
	}{
		{"redirect_uris", c.RedirectURIs, codeInvalidRedirectURI},
		{"post_logout_redirect_uris", c.PostLogoutRedirectURIs, codeInvalidClientMetadata},
	} {
		if len(f.uris) > max(maxRedirectURIs, len(c.kept)) {
			return fail(f.code, "%s: more than %d", f.name, maxRedirectURIs)
		}
		for i, uri := range f.uris {
			if slices.Contains(c.kept, uri) {
				continue
			}
			if err := oauth.CheckRedirectURI(uri, policy); err != nil {
				return fail(f.code, "%s[%d]: %v", f.name, i, err)
			}
		}
	}
	return nil
}

func (c *client) validateChoices() error {
	may := supportedGrantTypes
	if !c.trusted() {
		may = personGrantTypes
	}
	c.GrantTypes = slices.DeleteFunc(c.GrantTypes, func(t string) bool { return !slices.Contains(may, t) })
	c.ResponseTypes = slices.DeleteFunc(c.ResponseTypes, func(t string) bool { return t != "code" })
	if len(c.GrantTypes) == 0 {
		return fail(codeInvalidClientMetadata, "grant_types: none of those asked for is supported; want some of %s", strings.Join(may, ", "))
	}
	if len(c.ResponseTypes) == 0 {
		return fail(codeInvalidClientMetadata, "response_types: only code is supported")
	}
	for _, f := range []struct {
		name, value string
		of          []string
	}{
		{"token_endpoint_auth_method", c.TokenEndpointAuthMethod, supportedAuthMethods},
		{"access", c.Access, []string{accessTailnet, accessGranted}},
		{"pkce", c.PKCE, []string{pkceAuto, pkceRequired}},
		{"access_token_format", c.AccessTokenFormat, []string{formatJWT, formatOpaque}},
		{"application_type", c.ApplicationType, []string{"web", "native"}},
		{"id_token_signed_response_alg", c.IDTokenAlg, []string{jwt.RS256, jwt.ES256, jwt.EdDSA}},
	} {
		if !slices.Contains(f.of, f.value) {
			return fail(codeInvalidClientMetadata, "%s: %q is none of %s", f.name, f.value, strings.Join(f.of, ", "))
		}
	}
	return nil
}

func (c *client) validateResources() error {
	for _, f := range []struct {
		name      string
		resources []string
	}{{"resource_identifiers", c.ResourceIdentifiers}, {"default_resources", c.DefaultResources}} {
		for i, r := range f.resources {
			if _, err := oauth.CanonicalResource(r); err != nil {
				return fail(codeInvalidClientMetadata, "%s[%d]: %v", f.name, i, err)
			}
		}
	}
	if len(c.DefaultResources) > maxResources {
		return fail(codeInvalidClientMetadata, "default_resources: more than the %d that a request may name", maxResources)
	}
	if len(c.ResourceIdentifiers) > 0 && c.public() {
		return fail(codeInvalidClientMetadata, "resource_identifiers: a public client cannot introspect; choose an authentication method")
	}
	return nil
}

func (c *client) validateLifetimes() error {
	for _, f := range []struct {
		name    string
		seconds int64
		most    time.Duration
	}{
		{"access_token_lifetime", c.AccessTokenSeconds, maxAccessTokenLifetime},
		{"id_token_lifetime", c.IDTokenSeconds, maxIDTokenLifetime},
		{"refresh_token_idle_lifetime", c.RefreshIdleSeconds, maxRefreshLifetime},
		{"refresh_token_total_lifetime", c.RefreshTotalSeconds, maxRefreshLifetime},
	} {
		if most := int64(f.most / time.Second); f.seconds < 0 || f.seconds > most {
			return fail(codeInvalidClientMetadata, "%s: want 1 to %d seconds, or 0 for the provider's", f.name, most)
		}
	}
	return nil
}
