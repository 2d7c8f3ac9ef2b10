// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Audiobookshelf: openid-client 5 with the endpoints of its form.
import { Issuer, generators } from 'openid-client-5';
import { browse, done, get, redirect } from './test.mjs';

const issuer = new Issuer({
  issuer: get('Issuer URL'), authorization_endpoint: get('Authorize URL'), token_endpoint: get('Token URL'),
  userinfo_endpoint: get('Userinfo URL'), jwks_uri: get('JWKS URL'), end_session_endpoint: get('Logout URL'),
});
const app = new issuer.Client({ client_id: get('Client ID'), client_secret: get('Client Secret'), id_token_signed_response_alg: get('Signing Algorithm') });
const verifier = generators.codeVerifier(), state = generators.random();
const back = await browse(app.authorizationUrl({
  scope: `openid profile email ${get('Group Claim')}`, state, redirect_uri: redirect, response_type: 'code',
  code_challenge: generators.codeChallenge(verifier), code_challenge_method: 'S256',
}));
const tokens = await app.callback(redirect, app.callbackParams(back), { code_verifier: verifier, state, response_type: 'code' });
const user = await app.userinfo(tokens);
const groups = user[get('Group Claim')].map((g) => g.toLowerCase());
done({
  sub: user.sub, account: user.preferred_username, email: user.email_verified && user.email, name: user.name, role: groups.includes('admin') ? 'admin' : groups[0],
  logout: app.endSessionUrl({ id_token_hint: tokens.id_token, post_logout_redirect_uri: `${new URL(redirect).origin}/login` }),
});
