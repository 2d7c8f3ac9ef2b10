// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Immich: openid-client 6.
import * as client from 'openid-client';
import { browse, done, get, redirect } from './test.mjs';

const config = await client.discovery(
  new URL(get('Issuer URL')), get('Client ID'),
  {
    client_secret: get('Client Secret'), response_types: ['code'],
    id_token_signed_response_alg: get('Signing Algorithm'), timeout: 30000,
  },
  { client_secret_post: client.ClientSecretPost, client_secret_basic: client.ClientSecretBasic }[get('Token Endpoint Auth Method')](get('Client Secret')),
);
client.enableNonRepudiationChecks(config);
const state = client.randomState();
const params = { redirect_uri: redirect, scope: get('Scope'), state };
let verifier;
if (config.serverMetadata().supportsPKCE()) {
  verifier = client.randomPKCECodeVerifier();
  params.code_challenge = await client.calculatePKCECodeChallenge(verifier);
  params.code_challenge_method = 'S256';
}
const back = await browse(client.buildAuthorizationUrl(config, params));
const tokens = await client.authorizationCodeGrant(config, new URL(back), { expectedState: state, pkceCodeVerifier: verifier });
let profile = tokens.claims();
if (!profile.email) profile = await client.fetchUserInfo(config, tokens.access_token, profile.sub);
done({
  sub: profile.sub, account: profile[get('Storage Label Claim')], email: profile.email, name: profile.name, role: profile[get('Role Claim')],
  logout: config.serverMetadata().end_session_endpoint,
});
