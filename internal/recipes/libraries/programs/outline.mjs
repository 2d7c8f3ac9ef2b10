// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Outline: passport-oauth2, whose strategy is driven as Express does.
import OAuth2Strategy from 'passport-oauth2';
import { browse, done, get, redirect } from './test.mjs';

const kept = new Map(); // the state store, which Outline has in a cookie
const strategy = new OAuth2Strategy({
  authorizationURL: get('OIDC_AUTH_URI'), tokenURL: get('OIDC_TOKEN_URI'), clientID: get('OIDC_CLIENT_ID'), clientSecret: get('OIDC_CLIENT_SECRET'),
  callbackURL: redirect, scope: get('OIDC_SCOPES').split(' '), pkce: false,
  store: {
    store(req, ...rest) { const state = 'x'.repeat(10) + Math.random(); kept.set(state, true); rest.at(-1)(null, state); },
    verify(req, state, ...rest) { rest.at(-1)(null, kept.delete(state), state); },
  },
}, async (accessToken, refreshToken, params, profile, verified) => {
  const res = await fetch(get('OIDC_USERINFO_URI'), { headers: { Authorization: `Bearer ${accessToken}` } });
  verified(null, { ...(await res.json()), refreshToken, idToken: params.id_token });
});

/** One request to the application; answers with where it leads. */
function request(query) {
  return new Promise((resolve, reject) => {
    const s = Object.create(strategy);
    Object.assign(s, { redirect: resolve, success: resolve, error: reject, fail: (why) => reject(new Error(`failed: ${JSON.stringify(why)}`)) });
    s.authenticate({ query, headers: {}, connection: {} }, {});
  });
}

const back = new URL(await browse(await request({})));
const user = await request(Object.fromEntries(back.searchParams));
done({
  sub: user.sub, account: user[get('OIDC_USERNAME_CLAIM')], email: user.email, name: user.name, refreshable: Boolean(user.refreshToken),
  logout: `${get('OIDC_LOGOUT_URI')}?${new URLSearchParams({ id_token_hint: user.idToken, client_id: get('OIDC_CLIENT_ID'), post_logout_redirect_uri: `${get('URL')}/login` })}`,
});
