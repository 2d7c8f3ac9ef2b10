// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tsidp

import (
	"encoding/json"
	"fmt"

	"github.com/tailscale/tsidp/internal/jwt"
)

// metadata is the authorization server's metadata (RFC 8414 section 2, OpenID
// Connect Discovery section 3). One document serves both well-known names.
// It lists what is on, and only what every client may ask for: whatever is
// listed, somebody asks for.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	UserinfoEndpoint      string `json:"userinfo_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	DeviceEndpoint        string `json:"device_authorization_endpoint"`
	EndSessionEndpoint    string `json:"end_session_endpoint"`
	RegistrationEndpoint  string `json:"registration_endpoint"`

	ScopesSupported           []string `json:"scopes_supported"`
	ResponseTypesSupported    []string `json:"response_types_supported"`
	ResponseModesSupported    []string `json:"response_modes_supported"`
	GrantTypesSupported       []string `json:"grant_types_supported"`
	SubjectTypesSupported     []string `json:"subject_types_supported"`
	IDTokenAlgsSupported      []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods          []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported"`
	TokenAuthAlgs             []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthAlgs     []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthAlgs        []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	CodeChallengeMethods      []string `json:"code_challenge_methods_supported"`
	ClaimsSupported           []string `json:"claims_supported"`
	ACRValuesSupported        []string `json:"acr_values_supported"`
	PromptValuesSupported     []string `json:"prompt_values_supported"`
	ClaimsParameterSupported  bool     `json:"claims_parameter_supported"`
	RequestParameterSupported bool     `json:"request_parameter_supported"`
	// RequestURIParameterSupported must be stated: left out, it means true.
	RequestURIParameterSupported bool `json:"request_uri_parameter_supported"`
	ClientDocuments              bool `json:"client_id_metadata_document_supported,omitempty"`
	ResponseIssuer               bool `json:"authorization_response_iss_parameter_supported,omitempty"`
}

// Paths of the endpoints, below that of the issuer. They are today's.
const (
	pathAuthorize  = "/authorize"
	pathToken      = "/token"
	pathJWKS       = "/.well-known/jwks.json"
	pathUserinfo   = "/userinfo"
	pathIntrospect = "/introspect"
	pathRevoke     = "/revoke"
	pathLogout     = "/logout"
	pathRegister   = "/register"
	pathDevice     = "/device"
	pathHealth     = "/healthz"
	pathAPI        = "/api/v1/"
	pathReady      = "/readyz"
	pathMetrics    = "/metrics"
	pathClients    = "/api/v1/clients"
	pathKeys       = "/api/v1/keys"
	pathAudit      = "/api/v1/audit"
	pathSessions   = "/api/v1/sessions"
	pathConsents   = "/api/v1/consents"
	pathPolicy     = "/api/v1/policy"

	pathDeviceAuthorization = "/device_authorization"
	// Of earlier versions.
	pathCompatClients = "/clients/"
	pathCompatEdit    = "/edit/"

	// pathContinue, below the path of an endpoint, takes the answers to its
	// pages.
	pathContinue = "/continue"
	// pathDevelopment is the page of development servers, which are not ours.
	pathDevelopment = "/dev"

	wellKnownOpenID = "/.well-known/openid-configuration"
	wellKnownOAuth  = "/.well-known/oauth-authorization-server"
)

// tokenEndpoint is also an audience of client assertions, which must be what
// the metadata say.
func (p *Provider) tokenEndpoint() string { return p.issuer + pathToken }

// newMetadata renders the document from the configuration alone; no request
// has a part in it.
func (p *Provider) newMetadata() (document, error) {
	m := metadata{
		Issuer:                p.issuer,
		AuthorizationEndpoint: p.issuer + pathAuthorize,
		TokenEndpoint:         p.tokenEndpoint(),
		JWKSURI:               p.issuer + pathJWKS,
		UserinfoEndpoint:      p.issuer + pathUserinfo,
		IntrospectionEndpoint: p.issuer + pathIntrospect,
		RevocationEndpoint:    p.issuer + pathRevoke,
		DeviceEndpoint:        p.issuer + pathDeviceAuthorization,
		EndSessionEndpoint:    p.issuer + pathLogout,
		RegistrationEndpoint:  p.issuer + pathRegister,

		ScopesSupported:          supportedScopes,
		ResponseTypesSupported:   []string{"code"},
		ResponseModesSupported:   supportedResponseModes,
		GrantTypesSupported:      p.grantTypeNames(),
		SubjectTypesSupported:    []string{"public"},
		IDTokenAlgsSupported:     []string{jwt.RS256, jwt.ES256, jwt.EdDSA},
		TokenAuthMethods:         supportedAuthMethods,
		IntrospectionAuthMethods: []string{authBasic, authPost, authPrivateKeyJWT},
		RevocationAuthMethods:    supportedAuthMethods,
		TokenAuthAlgs:            jwt.AssertionAlgs,
		IntrospectionAuthAlgs:    jwt.AssertionAlgs,
		RevocationAuthAlgs:       jwt.AssertionAlgs,
		CodeChallengeMethods:     []string{"S256"},
		ClaimsSupported:          claimNames,
		ACRValuesSupported:       []string{acrNode},
		PromptValuesSupported:    supportedPrompts,
		ClientDocuments:          p.cfg.ClientDocuments != nil,
		ResponseIssuer:           !p.cfg.OmitResponseIssuer,
	}
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return document{}, fmt.Errorf("rendering metadata: %w", err)
	}
	return newDocument("application/json", append(body, '\n')), nil
}
